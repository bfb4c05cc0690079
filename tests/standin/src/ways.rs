//! The ways of other versions of the pool: what they show of their nodes, of what pgpool-II 4.3 shows. Columns and
//! words are those of pgpool-II's sources (`pool_process_reporting.c`, `pcp_frontend_client.c`).

use std::env;
use std::fs;
use std::io::{self, Write};

use anyhow::{Context, Result, ensure};

/// Beside the programs: the version, `3.6`.
const FILE: &str = "pool-version";

const NINE: [&str; 9] = [
    "node_id",
    "hostname",
    "port",
    "status",
    "lb_weight",
    "role",
    "select_cnt",
    "load_balance_node",
    "replication_delay",
];
/// Those that came after them, at the end.
const CHANGED: &str = "last_status_change";
const REPLICATION: [&str; 2] = ["replication_state", "replication_sync_state"];
const ALL: [&str; 14] = [
    "node_id",
    "hostname",
    "port",
    "status",
    "pg_status",
    "lb_weight",
    "role",
    "pg_role",
    "select_cnt",
    "load_balance_node",
    "replication_delay",
    "replication_state",
    "replication_sync_state",
    "last_status_change",
];

/// What 4.3's `pcp_node_info` prints, by its place: host, port, status, weight, status by name, the same of the
/// server, role, the same of the server, delay, two states of the replication, date, time.
const PRINTED: usize = 13;

/// What a version shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ways {
    /// The columns of `show pool_nodes`.
    pub columns: Vec<&'static str>,
    /// The words that `pcp_node_info` prints, by their places in what 4.3 prints.
    pub printed: Vec<usize>,
    /// No word for a replication that has no state, where 4.3 has `none`.
    pub nothing_is_empty: bool,
    /// Delays in seconds, as from 4.4 on with `delay_threshold_by_time`.
    pub in_seconds: bool,
}

impl Ways {
    /// Of kingbasecluster, which grew out of 3.6.
    pub fn kingbase() -> Self {
        Self::of(306)
    }

    /// `version`: 306 is 3.6.
    fn of(version: u32) -> Self {
        let columns = match version {
            306..=307 => NINE.to_vec(),
            400 => [&NINE[..], &[CHANGED]].concat(),
            401..=402 => [&NINE[..], &REPLICATION, &[CHANGED]].concat(),
            _ => ALL.to_vec(),
        };
        let printed = match version {
            306 => vec![0, 1, 2, 3, 4],
            307 => vec![0, 1, 2, 3, 4, 6],
            400 => vec![0, 1, 2, 3, 4, 6, 8, 11, 12],
            401..=402 => vec![0, 1, 2, 3, 4, 6, 8, 9, 10, 11, 12],
            _ => (0..PRINTED).collect(),
        };
        Self {
            columns,
            printed,
            nothing_is_empty: version < 403,
            in_seconds: version >= 404,
        }
    }

    /// Those of the version that stands beside this program; `None`: no version does.
    pub fn beside_us() -> Result<Option<Self>> {
        let file = env::current_exe()?.with_file_name(FILE);
        match fs::read_to_string(&file) {
            Ok(text) => Self::named(text.trim()).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| file.display().to_string()),
        }
    }

    fn named(version: &str) -> Result<Self> {
        let (major, minor) = version
            .split_once('.')
            .with_context(|| format!("found \"{version}\", expected a version such as 3.6"))?;
        let (major, minor): (u32, u32) = (major.parse()?, minor.parse()?);
        ensure!(
            matches!((major, minor), (3, 6..=7) | (4, 0..=7)),
            "found \"{version}\", expected 3.6 to 4.7"
        );
        Ok(Self::of(100 * major + minor))
    }

    /// A line of 4.3's `pcp_node_info` as this version prints it; any other line as it is.
    pub fn line(&self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        if words.len() != PRINTED {
            return line.to_owned();
        }
        let printed = self.printed.iter().map(|place| match words[*place] {
            "none" if self.nothing_is_empty => "",
            word => word,
        });
        printed.collect::<Vec<_>>().join(" ")
    }

    /// The delay of a standby, in bytes, as this version shows it.
    pub fn delay(&self, bytes: &[u8]) -> Vec<u8> {
        match self.in_seconds {
            // The lab's pools do not look at the replication: it is always 0.
            true if bytes == b"0" => b"0.000000 second".to_vec(),
            _ => bytes.to_vec(),
        }
    }
}

/// `pcp_node_info` of another version: what 4.3's prints, in its words.
pub fn print(ways: &Ways, said: &str) -> io::Result<()> {
    let mut out = io::stdout();
    said.lines()
        .try_for_each(|line| writeln!(out, "{}", ways.line(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_shows_what_it_has() {
        let line =
            "192.168.1.101 54321 2 0.500000 up up standby standby 0 none none 2026-11-25 12:00:00";
        for (version, columns, printed) in [
            ("3.6", 9, "192.168.1.101 54321 2 0.500000 up"),
            ("3.7", 9, "192.168.1.101 54321 2 0.500000 up standby"),
            (
                "4.0",
                10,
                "192.168.1.101 54321 2 0.500000 up standby 0 2026-11-25 12:00:00",
            ),
            (
                "4.2",
                12,
                "192.168.1.101 54321 2 0.500000 up standby 0   2026-11-25 12:00:00",
            ),
            ("4.3", 14, line),
            ("4.7", 14, line),
        ] {
            let ways = Ways::named(version).unwrap();
            assert_eq!(ways.columns.len(), columns, "{version}");
            assert_eq!(ways.line(line), printed, "{version}");
            assert_eq!(ways.line("ERROR: no"), "ERROR: no");
        }
        for other in ["3.5", "4.8", "4", "x.y"] {
            assert!(Ways::named(other).is_err(), "{other}");
        }
    }

    #[test]
    fn only_newer_ones_show_seconds() {
        let shown = |version: &str, bytes: &[u8]| Ways::named(version).unwrap().delay(bytes);
        assert_eq!(shown("4.3", b"0"), b"0");
        assert_eq!(shown("4.4", b"0"), b"0.000000 second");
    }
}
