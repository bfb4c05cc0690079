//! What the scenarios have in common: how a failover is asked for, and what it left behind.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
pub use lab::layout::PRIMARY_DOWN;
use lab::layout::{DATA, PCP_PASSWORD, SQL_PASSWORD};
use lab::{Lab, LabOptions, Node, ToolRun};

/// What the pool calls the command with when node102, the primary, went down and node103 is left.
pub const SECOND_DOWN: [&str; 8] = [
    "192.168.1.103",
    "1",
    "1",
    "192.168.1.102",
    "192.168.1.102",
    "2",
    "0",
    DATA,
];

/// More than any failover takes: `FAILOVER_TIMEOUT` is 8 s, a promotion here well below one.
pub const FAILOVER: Duration = Duration::from_secs(15);
/// A `ping` that was left to itself takes a second.
pub const PROBES: Duration = Duration::from_millis(1500);
/// For everything else that is waited for.
pub const SOON: Duration = Duration::from_secs(10);

/// Two hosts, synchronous.
pub fn two_hosts(name: &str) -> Result<Lab> {
    Lab::start(LabOptions {
        name: name.into(),
        ..LabOptions::default()
    })
}

/// Three hosts.
pub fn three_hosts(name: &str, sync: bool) -> Result<Lab> {
    Lab::start(LabOptions {
        name: name.into(),
        nodes: 3,
        sync,
        ..LabOptions::default()
    })
}

/// All that a failover could change, one line for each host. A restarted server shows, too.
pub fn state(lab: &Lab) -> Vec<String> {
    let question = "select pg_is_in_recovery(), pg_postmaster_start_time(), \
         current_setting('synchronous_standby_names'), \
         (select string_agg(slot_name, ' ' order by slot_name) from pg_replication_slots)";
    let database = |node: &Node| match node.query(question, Duration::from_secs(2)) {
        Ok(table) => table.to_string(),
        Err(_) => format!(
            "{} processes that do not answer",
            node.pids_of_database().len()
        ),
    };
    lab.nodes()
        .iter()
        .map(|node| {
            let addresses = node.addresses().unwrap_or_default();
            format!("{}: {addresses:?} {}", node.name(), database(node))
        })
        .collect()
}

/// It ended with this code, and said why in one line.
#[track_caller]
pub fn assert_says(run: &ToolRun, code: i32, why: &str) {
    assert_eq!(run.code, Some(code), "{run}");
    assert_eq!(run.stderr.lines().count(), 1, "{run}");
    assert!(run.stderr.contains(why), "no {why:?} in {run}");
    assert!(!run.stderr.contains("panicked"), "{run}");
}

/// `node` is the primary, alone, with the VIP, and takes writes without waiting for a standby.
#[track_caller]
pub fn assert_only_primary(lab: &Lab, number: u8) -> Result<()> {
    for node in lab.nodes().iter().filter(|node| node.is_up()) {
        let (is_new, name) = (node.number() == number, node.name());
        assert_eq!(node.has_vip()?, is_new, "VIP on {name}");
        if is_new {
            assert!(!node.in_recovery()?, "{name} is in recovery");
            node.psql("insert into probe values ('primary')")?;
        } else if !node.pids_of_database().is_empty() {
            assert!(node.in_recovery()?, "{name} is a primary, too");
        }
    }
    Ok(())
}

/// No secret, encoded or not, in what a run printed and in any log.
#[track_caller]
pub fn assert_no_secret(lab: &Lab, run: &ToolRun) -> Result<()> {
    let mut texts = vec![run.to_string()];
    for node in lab.nodes() {
        for log in ["failover.log", "events.jsonl"] {
            texts.push(node.log(log)?);
        }
    }
    for secret in [SQL_PASSWORD, PCP_PASSWORD] {
        for secret in [secret.to_owned(), BASE64.encode(secret)] {
            for text in &texts {
                assert!(!text.contains(&secret), "{secret} in {text}");
            }
        }
    }
    Ok(())
}

/// For tables of cases: an error says which one it was.
pub trait Case<T> {
    fn case(self, case: &dyn Debug) -> Result<T>;
}

impl<T> Case<T> for Result<T> {
    fn case(self, case: &dyn Debug) -> Result<T> {
        self.map_err(|error| error.context(format!("case {case:?}")))
    }
}

/// The last line of the host's `failover.log` with this text in it.
pub fn log_line(node: &Node, wanted: &str) -> Result<String> {
    let log = node.failover_log()?;
    let line = log.lines().rev().find(|line| line.contains(wanted));
    let line = line.with_context(|| format!("no {wanted:?} in {log}"))?;
    Ok(line.to_owned())
}
