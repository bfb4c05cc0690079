//! The decision table, row by row: what was brought about, how the run ended, and what was changed.

mod cut_off;
mod everything_down;
mod failing_over;
mod no_pool;
mod old_primary;
mod paused;
mod primary;
mod standby;
mod two_primaries;

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::layout::{DATA, DATABASE_VIP, DB_BIN, DEVICE, UID, USER};
use lab::{Lab, LabOptions, Node, ToolRun, wait_for};

use crate::scene::{RECOVERY, SHORT, two_hosts};

/// Two hosts, synchronous, an old primary does not come back by itself. The one pool is on node101,
/// so that node102 can be kept away from the primary's database without the pool's noticing.
fn one_pool(name: &str) -> LabOptions {
    LabOptions {
        pools: 1,
        leader: 101,
        config: Vec::new(),
        // A watchdog wants another one, which here is never there.
        pgpool: [
            ("hostname1", "'192.168.1.1'"),
            ("wd_port1", "9000"),
            ("pgpool_port1", "9999"),
            ("heartbeat_hostname1", "'192.168.1.1'"),
            ("heartbeat_port1", "9694"),
        ]
        .map(|(key, value)| (key.into(), value.into()))
        .into(),
        // Soon again, where a standby lost its connection.
        postgres: vec![("wal_retrieve_retry_interval".into(), "200ms".into())],
        ..two_hosts(name)
    }
}

/// One run. However it ended: nothing but success is silent, and everything else is one line.
#[track_caller]
fn run(node: &Node, args: &[&str]) -> Result<ToolRun> {
    let run = node.recover(args, RECOVERY)?;
    assert!(!run.stderr.contains("panicked"), "{run}");
    let lines = usize::from(run.code != Some(0));
    assert_eq!(run.stderr.lines().count(), lines, "{run}");
    Ok(run)
}

/// One run that ends with this code, and with these words in its line, or in the log if all is well.
#[track_caller]
fn ends(node: &Node, args: &[&str], code: i32, why: &str) -> Result<()> {
    let before = node.recovery_log()?.len();
    let run = run(node, args)?;
    let log = node.recovery_log()?.split_off(before);
    assert_eq!(run.code, Some(code), "{run}\n{log}");
    let said = if code == 0 { &log } else { &run.stderr };
    assert!(said.contains(why), "no {why:?} in {run}\n{log}");
    Ok(())
}

/// One run that ends so, and changes nothing on any host.
#[track_caller]
fn changes_nothing(lab: &Lab, node: &Node, code: i32, why: &str) -> Result<()> {
    let before = state(lab);
    ends(node, &[], code, why)?;
    assert_eq!(state(lab), before, "after {why:?}");
    Ok(())
}

/// All that a run could change, one line for each host. A restarted server shows, too.
fn state(lab: &Lab) -> Vec<String> {
    let question = "select pg_is_in_recovery(), pg_postmaster_start_time(), \
         current_setting('synchronous_standby_names'), current_setting('primary_conninfo'), \
         (select string_agg(slot_name, ' ' order by slot_name) from pg_replication_slots)";
    let database = |node: &Node| match node.query(question, Duration::from_secs(2)) {
        Ok(table) => table.to_string(),
        Err(_) => format!("runs and does not answer: {}", runs(node)),
    };
    let hosts = lab.nodes().iter();
    hosts
        .map(|node| {
            let vip = node.has_vip();
            format!("{}: VIP {vip:?} {}", node.name(), database(node))
        })
        .collect()
}

fn runs(node: &Node) -> bool {
    !node.pids_of_database().is_empty()
}

/// When its server was started: another time after each restart.
fn started(node: &Node) -> Result<String> {
    node.psql("select pg_postmaster_start_time()")
}

fn commits_wait_for(node: &Node) -> Result<String> {
    node.psql("show synchronous_standby_names")
}

fn take_vip_off(node: &Node) -> Result<()> {
    let address = format!("{DATABASE_VIP}/24");
    let command = ["ip", "addr", "del", &address, "dev", DEVICE];
    node.run(&command, SHORT)?.success().map(drop)
}

fn promote(node: &Node) -> Result<()> {
    let pg_ctl = format!("{DB_BIN}/pg_ctl");
    let command = [&pg_ctl, "promote", "-w", "-D", DATA];
    node.run_as(USER, &command, SHORT)?.success().map(drop)
}

/// A row of this node's own, whatever its commits wait for.
fn insert(node: &Node, row: u64) -> Result<()> {
    let text = format!("set synchronous_commit = local; insert into rows values ({row})");
    node.psql(&text).map(drop)
}

fn wait_for_row(lab: &Lab, node: &Node, row: u64) -> Result<()> {
    wait_for("the row", SHORT, || {
        let rows = lab.rows_present(node)?;
        ensure!(rows.contains(&row), "{} has {rows:?}", node.name());
        Ok(())
    })
}

/// From now on the node's database lets another host not in: no `kind` of session ("all", which is
/// SQL, or "replication"), new or old. Returns the file that admits it again.
fn lock_out(node: &Node, other: &Node, kinds: &[&str]) -> Result<String> {
    let file = format!("{DATA}/pg_hba.conf");
    let before = node.read(&file)?;
    let refused = kinds.iter().fold(String::new(), |text, kind| {
        text + &format!("host {kind} all {}/32 reject\n", other.address())
    });
    node.write(&file, &(refused + &before), 0o600, UID)?;
    node.psql("select pg_reload_conf()")?;
    node.psql(&format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where client_addr = '{}'",
        other.address()
    ))?;
    Ok(before)
}

/// Undoes [`lock_out`].
fn let_in(node: &Node, file: &str) -> Result<()> {
    node.write(&format!("{DATA}/pg_hba.conf"), file, 0o600, UID)?;
    node.psql("select pg_reload_conf()").map(drop)
}
