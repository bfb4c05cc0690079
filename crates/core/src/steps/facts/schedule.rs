//! Who starts `network_rewind` on this host each minute.

use crate::config::Config;
use crate::deadline::Deadline;
use crate::workers;
use failover_rules::facts::host::Schedule;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const PROGRAM: &str = "network_rewind";
/// Where distributions have the tables of users.
const SPOOLS: [&str; 2] = ["var/spool/cron/crontabs", "var/spool/cron"];
const TIMERS: [&str; 3] = [
    "etc/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// By the tables of cron and the units of systemd.
pub fn look(config: &Config, deadline: Deadline) -> Schedule {
    let users = vec!["root".to_owned(), config.kb_execute_sys_user.clone()];
    let found = workers::within(deadline, move || below(Path::new("/"), &users));
    found.unwrap_or_default()
}

fn below(root: &Path, users: &[String]) -> Schedule {
    let mut files = vec![root.join("etc/crontab"), root.join("etc/anacrontab")];
    files.extend(all_in(&root.join("etc/cron.d")));
    for dir in TIMERS {
        let units = all_in(&root.join(dir)).into_iter();
        files.extend(units.filter(|it| it.extension().is_some_and(|it| it == "service")));
    }
    let mut closed = false;
    for spool in SPOOLS {
        for user in users {
            files.push(root.join(spool).join(user));
        }
    }
    let mut found: Vec<String> = Vec::new();
    for file in files {
        match fs::read(&file) {
            Ok(text) if starts_it(&String::from_utf8_lossy(&text)) => {
                found.push(file.display().to_string());
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied => closed = true,
            _ => {}
        }
    }
    found.sort();
    found.dedup();
    match (found.is_empty(), closed) {
        (false, _) => Schedule::Files(found),
        (true, true) => Schedule::Unknown,
        (true, false) => Schedule::Nobody,
    }
}

/// Whether a line that is no comment names the program, or the script that it replaces.
fn starts_it(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_start);
    lines.any(|line| !line.starts_with(['#', ';']) && line.contains(PROGRAM))
}

fn all_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_starts_nothing() {
        let root = std::env::temp_dir().join(format!("cron-{}", crate::clock::run_name()));
        let cron = root.join("etc/cron.d");
        let spool = root.join("var/spool/cron");
        fs::create_dir_all(&cron).unwrap();
        fs::create_dir_all(&spool).unwrap();
        let users = ["root".to_owned(), "kingbase".to_owned()];
        assert_eq!(below(&root, &users), Schedule::Nobody);
        let line = "* * * * * root /opt/db/bin/network_rewind.sh\n";
        fs::write(cron.join("ha"), format!("  # {line}")).unwrap();
        fs::write(spool.join("somebody"), line).unwrap();
        assert_eq!(below(&root, &users), Schedule::Nobody);
        fs::write(spool.join("kingbase"), line).unwrap();
        let file = spool.join("kingbase").display().to_string();
        assert_eq!(below(&root, &users), Schedule::Files(vec![file]));
        fs::remove_dir_all(&root).unwrap();
    }
}
