//! The command line.

use clap::Parser;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  network_rewind                      what cron does each minute
  network_rewind --dry-run            what would it do now, and why?
  network_rewind --status             what is this node, and what has been left here?
  network_rewind --force              make a standby of this old primary
  network_rewind --pause \"patching\"   change nothing until --resume

Exit codes: 0 done, or nothing to do; 1 a person has to do something, the log says what; 2 wrong
arguments or configuration; 66 failed, or not this host's turn.";

/// Makes this node a streaming standby again after a failover, and keeps a primary as it should be.
/// Run by cron each minute on every database host; says what it does in RECOVERY_LOG_DIR.
#[derive(Debug, Parser)]
#[command(name = "network_rewind", version = failover_version::VERSION, after_help = EXAMPLES)]
pub struct Cli {
    /// Make a standby of an old primary, whatever AUTO_PRIMARY_RECOVERY says
    #[arg(long, conflicts_with_all = ["pause", "resume"])]
    pub force: bool,
    /// Take back the mark of a failover that stopped this primary, and promoted nobody
    #[arg(long, conflicts_with_all = ["force", "pause", "resume", "dry_run"])]
    pub unfence: bool,
    /// From now on only look, until --resume
    #[arg(long, value_name = "WHY", num_args = 0..=1, default_missing_value = "",
        conflicts_with_all = ["resume", "dry_run"])]
    pub pause: Option<String>,
    /// The end of --pause
    #[arg(long, conflicts_with = "dry_run")]
    pub resume: bool,
    /// Look, and print what would be done and why
    #[arg(long)]
    pub dry_run: bool,
    /// Show what this node is, what runs have left here, and who is at work; changes nothing
    #[arg(long, conflicts_with_all = ["force", "unfence", "pause", "resume", "dry_run"])]
    pub status: bool,
    /// Print each step's event, and then how it ended, as one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// The configuration [default: ../etc/HAmodule.conf beside the program]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// For drills: die as by a power cut after the step of this name
    #[arg(long, value_name = "STEP", hide = true)]
    pub die_after: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_has_a_reason_or_none() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        let pause = |line: &str| parse(line).unwrap().pause;
        assert_eq!(pause("network_rewind"), None);
        assert_eq!(pause("network_rewind --pause").as_deref(), Some(""));
        assert_eq!(
            pause("network_rewind --pause disk").as_deref(),
            Some("disk")
        );
        for line in [
            "network_rewind now",
            "network_rewind --pause --resume",
            "network_rewind --force --resume",
            "network_rewind --pause --dry-run",
            "network_rewind --status --dry-run",
            "network_rewind --status --force",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
