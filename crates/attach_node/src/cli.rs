//! The command line.

use clap::Parser;
use failover_core::pool::Change;
use failover_rules::attach::Wish;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  attach_node                  this host's node, if it streams from the primary
  attach_node -n 1 --dry-run   would node 1 be attached?
  attach_node --detach -n node102   no more clients to that node
  attach_node --status         only show the nodes

Exit codes: 0 done, or so already; 1 refused, the output says why; 2 wrong arguments or
configuration; 66 failed.";

/// Attaches a node to the pool, detaches it, or shows the nodes.
#[derive(Debug, Parser)]
#[command(name = "attach_node", version = failover_version::VERSION, after_help = EXAMPLES)]
pub struct Cli {
    /// The node: its id in the pool, its name or its address [default: the one with KB_LOCALHOST_IP]
    #[arg(short = 'n', long = "node", value_name = "NODE")]
    pub node: Option<String>,
    /// Detach it instead
    #[arg(long)]
    detach: bool,
    /// Only show the nodes
    #[arg(long, conflicts_with_all = ["detach", "force", "dry_run"])]
    status: bool,
    /// Attach a node that does not stream, or detach the primary
    #[arg(long)]
    force: bool,
    /// Seconds until the pool must show the change
    #[arg(long, value_name = "S", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Print one JSON object instead of tables and sentences
    #[arg(long)]
    pub json: bool,
    /// Look, and say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Ask the pool at this address instead of KB_POOL_VIP: one of several that has a node down
    #[arg(long, value_name = "ADDRESS")]
    pub pool: Option<std::net::IpAddr>,
    /// The configuration [default: ../etc/HAmodule.conf beside the program]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Cli {
    /// What is wanted.
    pub fn wish(&self) -> Wish {
        Wish {
            change: match (self.status, self.detach) {
                (true, _) => None,
                (false, true) => Some(Change::Detach),
                (false, false) => Some(Change::Attach),
            },
            force: self.force,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn attaching_is_what_it_is_for() {
        let wish = |line: &str| parse(line).unwrap().wish();
        assert_eq!(wish("attach_node").change, Some(Change::Attach));
        assert_eq!(
            wish("attach_node -n 1 --detach").change,
            Some(Change::Detach)
        );
        assert_eq!(wish("attach_node --status").change, None);
        assert!(wish("attach_node --force").force);
        let node = |line: &str| parse(line).unwrap().node;
        assert_eq!(node("attach_node -n 1").as_deref(), Some("1"));
        assert_eq!(node("attach_node -n node102").as_deref(), Some("node102"));
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for line in [
            "attach_node 1",
            "attach_node -n -1",
            "attach_node --status --detach",
            "attach_node --timeout 0",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
