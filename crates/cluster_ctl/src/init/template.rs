//! The samples of `etc/`, which become a host's own files: their comments stay, their values are the host's.

use failover_core::config::Config;
use failover_core::flavor::KINGBASE;
use failover_core::running::Running;
use std::path::{Path, PathBuf};

const OF_KINGBASE: &str = include_str!("../../../../etc/HAmodule.conf");
const OF_DEBIAN: &str = include_str!("../../../../etc/HAmodule.debian.conf");
const OF_POSTGRES: &str = include_str!("../../../../etc/HAmodule.postgres.conf");
/// Where the samples have the vendor's cluster.
pub const VENDORS_ROOT: &str = "/home/kingbase/cluster/R3HA";
/// Where the manual puts the tools on PostgreSQL.
pub const OUR_ROOT: &str = "/opt/failover-tools";

/// Which sample fits a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// KingbaseES V8R3.
    Kingbase,
    /// PostgreSQL as Debian's packages have it.
    Debian,
    /// Any other PostgreSQL.
    Postgres,
}

impl Template {
    /// That of a server.
    pub fn of(server: &Running) -> Self {
        match (server.flavor == &KINGBASE, debian_cluster(&server.data)) {
            (true, _) => Self::Kingbase,
            (false, Some(_)) => Self::Debian,
            (false, None) => Self::Postgres,
        }
    }

    /// Its text.
    pub fn text(self) -> &'static str {
        match self {
            Self::Kingbase => OF_KINGBASE,
            Self::Debian => OF_DEBIAN,
            Self::Postgres => OF_POSTGRES,
        }
    }

    /// What it says.
    pub fn sample(self) -> Config {
        Config::parse(Path::new("HAmodule.conf"), self.text().as_bytes())
            .unwrap_or_else(|error| unreachable!("a sample is wrong: {error}"))
    }
}

/// The version and the name of a cluster that `pg_createcluster` made, by its data directory.
pub fn debian_cluster(data: &Path) -> Option<(String, String)> {
    let rest = data.strip_prefix("/var/lib/postgresql").ok()?;
    let words: Vec<&str> = rest.iter().filter_map(|word| word.to_str()).collect();
    let [version, name] = words[..] else {
        return None;
    };
    let etc = PathBuf::from(format!("/etc/postgresql/{version}/{name}/postgresql.conf"));
    etc.exists().then(|| (version.to_owned(), name.to_owned()))
}

/// `text` with `value` for `key`: in its line, else in a new one at the end.
pub fn set(text: &str, key: &str, value: &str) -> String {
    let wanted = format!("{key}=");
    let line = format!("{key}={}", written(value));
    let mut found = false;
    let mut lines: Vec<String> = text
        .lines()
        .map(|old| match old.starts_with(&wanted) {
            true => {
                found = true;
                line.clone()
            }
            false => old.to_owned(),
        })
        .collect();
    if !found {
        lines.push(line);
    }
    lines.join("\n") + "\n"
}

/// Plain where that is enough, a list, or in quotes.
fn written(value: &str) -> String {
    let plain = |it: &str| {
        it.chars()
            .all(|c| c.is_ascii_alphanumeric() || "/.:@,_+=-".contains(c))
    };
    let list = value.strip_prefix('(').and_then(|it| it.strip_suffix(')'));
    if plain(value) || list.is_some_and(|list| list.split(' ').all(plain)) {
        return value.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_takes_the_place_of_the_samples() {
        let text = "# KEY=1\nKEY=2\nKEYS=3\n";
        assert_eq!(set(text, "KEY", "a b"), "# KEY=1\nKEY=\"a b\"\nKEYS=3\n");
        assert_eq!(
            set(text, "NEW", "(a b)"),
            "# KEY=1\nKEY=2\nKEYS=3\nNEW=(a b)\n"
        );
        assert_eq!(
            written("$(reboot) `x` \"\\"),
            "\"\\$(reboot) \\`x\\` \\\"\\\\\""
        );
    }

    #[test]
    fn the_samples_can_be_read() {
        for template in [Template::Kingbase, Template::Debian, Template::Postgres] {
            assert!(!template.sample().kb_user.is_empty(), "{template:?}");
        }
    }

    #[test]
    fn a_data_directory_elsewhere_is_not_debians() {
        for data in [
            "/data",
            "/var/lib/postgresql/15",
            "/var/lib/postgresql/1/none",
        ] {
            assert_eq!(debian_cluster(Path::new(data)), None, "{data}");
        }
    }
}
