//! A page of the manual and the completions for each tool, from its command line.

use anyhow::Result;
use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};
use std::path::PathBuf;

/// The command lines of all tools. A page has the number of the version and not the day of its build: two
/// builds of one commit are the same.
pub fn commands() -> Vec<Command> {
    [
        ("attach_node", attach_node::cli::Cli::command()),
        ("cluster_ctl", cluster_ctl::cli::Cli::command()),
        ("failover_stream", failover_stream::args::Args::command()),
        ("network_rewind", network_rewind::cli::Cli::command()),
        ("rw_check", rw_check::cli::Cli::command()),
        ("vip_ctl", vip_ctl::cli::Cli::command()),
    ]
    .map(|(name, command)| {
        let command = command.name(name).bin_name(name).display_name(name);
        command.version(env!("CARGO_PKG_VERSION"))
    })
    .into()
}

/// Each file with its path below a prefix.
pub fn all() -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    for mut command in commands() {
        let name = command.get_name().to_owned();
        files.push((PathBuf::from(format!("man/man8/{name}.8")), page(&command)?));
        for part in command.get_subcommands() {
            let name = format!("{name}-{}", part.get_name());
            let part = part.clone().display_name(&name);
            files.push((PathBuf::from(format!("man/man8/{name}.8")), page(&part)?));
        }
        for (shell, path) in [
            (Shell::Bash, format!("completions/bash/{name}")),
            (Shell::Zsh, format!("completions/zsh/_{name}")),
            (Shell::Fish, format!("completions/fish/{name}.fish")),
        ] {
            let mut script = Vec::new();
            generate(shell, &mut command, &name, &mut script);
            files.push((PathBuf::from(path), script));
        }
    }
    Ok(files)
}

/// Its page.
fn page(command: &Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .section("8")
        .manual("failover-tools")
        .render(&mut page)?;
    page.extend_from_slice(SEE_ALSO.as_bytes());
    Ok(page)
}

const SEE_ALSO: &str = "\
.SH \"SEE ALSO\"
\\fBHAmodule.conf\\fR(5), /usr/share/doc/failover\\-tools
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_that_is_shown_is_on_its_page_and_in_the_completions() {
        let files = all().unwrap();
        // A page and three completions of each tool, and a page of each of its commands.
        let parts: usize = commands()
            .iter()
            .map(|it| it.get_subcommands().count())
            .sum();
        assert!(parts > 3, "the commands of cluster_ctl");
        assert_eq!(files.len(), commands().len() * 4 + parts);
        let text = |path: String| {
            let found = files.iter().find(|(it, _)| it.as_os_str() == path.as_str());
            String::from_utf8(found.unwrap().1.clone()).unwrap()
        };
        for command in commands() {
            let name = command.get_name();
            let page = text(format!("man/man8/{name}.8")).replace("\\-", "-");
            let bash = text(format!("completions/bash/{name}"));
            for option in command.get_arguments().filter(|it| !it.is_hide_set()) {
                let Some(long) = option.get_long() else {
                    continue;
                };
                assert!(page.contains(&format!("--{long}")), "{name} --{long}");
                assert!(bash.contains(&format!("--{long}")), "{name} --{long}");
            }
            assert!(page.contains("SEE ALSO"), "{name}");
            assert!(!page.contains("--meant-for") && !page.contains("--die-after"));
            assert!(!page.contains("(commit"), "{name}: two builds would differ");
        }
    }
}
