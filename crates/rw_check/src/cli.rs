//! The command line.

use clap::Parser;
use failover_core::disk::DiskCheck;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  rw_check                           the directories of MOUNT_POINT_DIR_LIST, as the recovery does
  rw_check --retries 1 /data /wal    these two, once
  rw_check --json --timeout 3        for a monitoring that waits 3 seconds for each operation

Each try creates, writes, syncs, stats, reads back and deletes a file rw_status_file_NUMBER in each
directory, as KB_EXECUTE_SYS_USER where root starts it. Exit codes: 0 all good, 2 wrong arguments or
configuration, 66 a directory failed in all tries.";

/// Checks that the database's disks can be written and read.
#[derive(Debug, Parser)]
#[command(name = "rw_check", version = failover_version::VERSION, after_help = EXAMPLES)]
pub struct Cli {
    /// Directories to check [default: MOUNT_POINT_DIR_LIST]
    #[arg(value_name = "DIR")]
    directories: Vec<PathBuf>,
    /// Tries before a directory counts as failed [default: MOUNT_CHECK_MAX_RETRIES]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    retries: Option<u32>,
    /// Seconds between two tries [default: 1]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(0..=86_400))]
    interval: Option<u64>,
    /// Seconds for each operation, also on a disk that hangs [default: 10]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: Option<u64>,
    /// Print one JSON object instead of the log's lines
    #[arg(long)]
    pub json: bool,
    /// The configuration [default: ../etc/HAmodule.conf beside the program]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Cli {
    /// The configured check with what the command line says of it.
    ///
    /// # Errors
    /// A relative directory, and the current one is gone.
    pub fn apply_to(&self, configured: DiskCheck) -> std::io::Result<DiskCheck> {
        let seconds = |given: Option<u64>| given.map(Duration::from_secs);
        Ok(DiskCheck {
            directories: match self.directories.as_slice() {
                [] => configured.directories,
                // The child works in another directory.
                given => given
                    .iter()
                    .map(std::path::absolute)
                    .collect::<Result<_, _>>()?,
            },
            tries: self.retries.unwrap_or(configured.tries),
            interval: seconds(self.interval).unwrap_or(configured.interval),
            limit: seconds(self.timeout).unwrap_or(configured.limit),
            ..configured
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use failover_core::config::Config;
    use failover_core::users::SystemUser;

    fn configured() -> DiskCheck {
        let us = SystemUser::current().unwrap().name;
        let text = include_str!("../../../etc/HAmodule.conf");
        let text = format!("{text}\nKB_EXECUTE_SYS_USER={us}\n");
        let config = Config::parse("HAmodule.conf".as_ref(), text.as_bytes()).unwrap();
        DiskCheck::from_config(&config).unwrap()
    }

    fn check(line: &str) -> DiskCheck {
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        cli.apply_to(configured()).unwrap()
    }

    #[test]
    fn without_arguments_it_is_the_recoverys_check() {
        let check = check("rw_check");
        assert_eq!(check.directories, configured().directories);
        assert_eq!((check.tries, check.limit), (6, Duration::from_secs(10)));
    }

    #[test]
    fn arguments_come_first() {
        let check = check("rw_check /data wal --retries 2 --interval 0 --timeout 3");
        assert_eq!(check.directories[0], PathBuf::from("/data"));
        assert!(check.directories[1].is_absolute());
        assert_eq!((check.tries, check.interval), (2, Duration::ZERO));
        assert_eq!(check.limit, Duration::from_secs(3));
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for line in [
            "rw_check --retries 0",
            "rw_check --timeout 0",
            "rw_check --interval -1",
            "rw_check --frobnicate",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
