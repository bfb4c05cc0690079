//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  cluster_ctl show                 one look at all hosts and all pools
  cluster_ctl show --watch         the same again every two seconds
  cluster_ctl check                would a failover and a recovery work now?
  cluster_ctl check --what-if      and what would happen if the primary's host died?
  cluster_ctl history              what did failovers and recoveries do?
  cluster_ctl report DIRECTORY     what happened last night, by these logs?
  cluster_ctl pause \"new kernel\"   no host changes anything until cluster_ctl resume
  cluster_ctl init cluster         on the primary's host: files for each host, below cluster

Run it as root or as the database's user, on any host of the cluster.

Exit codes: 0 done, or all is well; 1 something fails, and what to do is said; 2 wrong arguments or
configuration; 66 a host could not be told, or what init needs could not be seen.";

/// Shows a whole cluster, and says whether a failover and a recovery would work now.
#[derive(Debug, Parser)]
#[command(name = "cluster_ctl", version = failover_version::VERSION, after_help = EXAMPLES)]
pub struct Cli {
    /// What is to be done
    #[command(subcommand)]
    pub command: Command,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show every host and every pool, and what is wrong
    Show(Show),
    /// Say whether a failover and a recovery would work now; changes nothing
    Check(Check),
    /// Show what failovers and recoveries did on all hosts
    History(History),
    /// Tell from logs what happened: when each phase began, why it took that long, what was lost
    Report(Report),
    /// Have network_rewind on every host change nothing until resume
    Pause(Pause),
    /// The end of pause
    Resume(Resume),
    /// Write the files of each host from the cluster that runs here; overwrites nothing
    Init(Init),
}

/// What all commands know.
#[derive(Args, Debug)]
pub struct Common {
    /// Print one JSON object instead of tables and sentences
    #[arg(long)]
    pub json: bool,
    /// The configuration [default: ../etc/HAmodule.conf beside the program]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `show`.
#[derive(Args, Debug)]
pub struct Show {
    /// Show it again every two seconds, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "they have their own")]
    pub common: Common,
}

/// `check`.
#[derive(Args, Debug)]
pub struct Check {
    /// Also say what would happen if this host died, its database was killed, it was cut off, or the gateway
    /// died: the node's name or address [default: the primary]
    #[arg(long, value_name = "HOST", num_args = 0..=1, default_missing_value = "")]
    pub what_if: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "they have their own")]
    pub common: Common,
}

/// `history`.
#[derive(Args, Debug)]
pub struct History {
    /// So many runs at most, the last ones
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 50)]
    pub last: usize,
    /// Also what was done for a primary that went on: its VIP, its standbys, its place in the pool
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "they have their own")]
    pub common: Common,
}

/// `report`.
#[derive(Args, Debug)]
pub struct Report {
    /// Logs, or directories with logs of all hosts (one below for each host); packed (.gz) and rotated ones, too
    #[arg(value_name = "FILE|DIRECTORY")]
    pub files: Vec<PathBuf>,
    /// Only the last failover, with what came of it
    #[arg(long, conflicts_with_all = ["since", "until"])]
    pub last: bool,
    /// Only what was not over by then ("2022-08-30 15:38")
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only what had begun by then
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// The language [default: by LC_ALL, LC_MESSAGES, LANG]
    #[arg(long, value_enum)]
    pub lang: Option<Lang>,
    /// What to write to standard output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// As --format json
    #[arg(long)]
    pub json: bool,
}

/// A language.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lang {
    /// English
    En,
    /// Chinese
    Zh,
}

/// What a report is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a terminal
    Text,
    /// One object
    Json,
    /// One file, with a picture
    Html,
}

/// `pause`.
#[derive(Args, Debug)]
pub struct Pause {
    /// Why, for whoever finds it paused
    #[arg(value_name = "WHY", default_value = "")]
    pub why: String,
    #[command(flatten)]
    #[allow(missing_docs, reason = "they have their own")]
    pub common: Common,
}

/// `resume`.
#[derive(Args, Debug)]
pub struct Resume {
    #[command(flatten)]
    #[allow(missing_docs, reason = "they have their own")]
    pub common: Common,
}

/// `init`.
#[derive(Args, Debug)]
pub struct Init {
    /// The directory that is written: it must not be there, or be empty
    #[arg(value_name = "DIRECTORY", default_value = "failover-cluster")]
    pub directory: PathBuf,
    /// The data directory of the server that is meant, where several run
    #[arg(long, value_name = "DIRECTORY")]
    pub data: Option<PathBuf>,
    /// The pool's configuration, where it is in no usual place
    #[arg(long, value_name = "FILE")]
    pub pool_config: Option<PathBuf>,
    /// The superuser that the tools are to log in as [default: the server's system user]
    #[arg(long, value_name = "NAME")]
    pub sql_user: Option<String>,
    /// Print one JSON object instead of sentences
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_needed_and_options_come_after_it() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        for line in [
            "cluster_ctl show",
            "cluster_ctl show --watch --json",
            "cluster_ctl check --json --config /etc/HAmodule.conf",
            "cluster_ctl check --what-if",
            "cluster_ctl check --what-if node102 --json",
            "cluster_ctl history -n 3 --all",
            "cluster_ctl report a b --last --lang zh --format html",
            "cluster_ctl report --since 2022-08-30 a --json",
            "cluster_ctl pause",
            "cluster_ctl pause kernel",
            "cluster_ctl resume",
            "cluster_ctl init",
            "cluster_ctl init cluster --data /data --pool-config /p.conf --sql-user a",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in [
            "cluster_ctl",
            "cluster_ctl frobnicate",
            "cluster_ctl show 101",
            "cluster_ctl resume now",
            "cluster_ctl report --last --since 2022-08-30 a",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
