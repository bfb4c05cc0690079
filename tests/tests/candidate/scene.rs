//! What the scenarios have in common.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
pub use lab::layout::PRIMARY_DOWN;
use lab::layout::{DATA, DB_BIN, LOG, USER};
use lab::{Lab, LabOptions, Node, Running, ToolRun, wait_for};

/// More than any failover takes here, restarts and patience with what hangs included.
pub const FAILOVER: Duration = Duration::from_secs(40);
/// For everything else that is waited for.
pub const SOON: Duration = Duration::from_secs(10);

/// What a host's tools remember.
pub const STATE: &str = "/home/kingbase/cluster/R3HA/log/network_rewind.json";

/// Two hosts, synchronous.
pub fn two_hosts(name: &str) -> Result<Lab> {
    Lab::start(LabOptions {
        name: name.into(),
        ..LabOptions::default()
    })
}

/// Three hosts, synchronous.
pub fn three_hosts(name: &str) -> Result<Lab> {
    Lab::start(LabOptions {
        name: name.into(),
        nodes: 3,
        ..LabOptions::default()
    })
}

/// The last line of the host's `failover.log` with this text in it.
pub fn log_line(node: &Node, wanted: &str) -> Result<String> {
    let log = node.failover_log()?;
    let line = log.lines().rev().find(|line| line.contains(wanted));
    let line = line.with_context(|| format!("no {wanted:?} in {log}"))?;
    Ok(line.to_owned())
}

/// It went through: node 102 is the primary with the VIP, takes writes, and no other one does.
pub fn went_through(lab: &Lab, run: &ToolRun) -> Result<()> {
    let (old, new) = (lab.node(101), lab.node(102));
    let log = format!("{}\n{}", new.failover_log()?, new.log("database.log")?);
    ensure!(run.code == Some(0), "{run}\n{log}");
    ensure!(new.has_vip()?, "no VIP: {log}");
    ensure!(!new.in_recovery()?, "in recovery: {log}");
    new.psql("insert into probe values ('primary')")?;
    let down = !old.is_up() || old.pids_of_database().is_empty() || old.in_recovery()?;
    ensure!(down, "two primaries: {log}");
    Ok(())
}

/// After a failover that was refused or failed: no promotion is pending, the VIP is nobody's or a writing
/// primary's, nothing is held. What the run on `coordinator` said last: what to do.
pub fn left_nothing(lab: &Lab, coordinator: &Node) -> Result<String> {
    for node in lab.nodes() {
        let name = node.name();
        // The data directory may be a link to another disk.
        let data = format!(
            "test ! -e {DATA}/promote && ! grep -qx \"primary_conninfo = ''\" {DATA}/postgresql.auto.conf"
        );
        let clean = node.run(&["sh", "-c", &data], SOON)?;
        ensure!(
            clean.code == Some(0),
            "{name}: a promotion is pending, or it is held"
        );
        let state = node.path(STATE)?;
        let state = std::fs::read_to_string(state).unwrap_or_default();
        for mark in ["\"held\":{", "\"promotion\":{"] {
            ensure!(!state.contains(mark), "{name}: {state}");
        }
        if node.has_vip()? {
            node.psql("set synchronous_commit = local; insert into probe values ('has the VIP')")?;
        }
    }
    let log = coordinator.failover_log()?;
    let (_, said) = log
        .rsplit_once("failover failed: ")
        .with_context(|| log.clone())?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

/// Keeps a transaction open on `node` that has begun with `sql`, until the lab ends.
pub fn keep_open(node: &Node, application: &str, sql: &str) -> Result<Running> {
    // The last statement is at work, or sleeps with the transaction open.
    let script = format!(
        "PGPASSFILE=/home/kingbase/.pgpass exec /usr/lib/postgresql/15/bin/psql -h {address} -p 54321 \
         -U SUPERMANAGER_V8ADMIN -d TEST -v ON_ERROR_STOP=1 -c \"set application_name = '{application}'\" -c \"{sql}\"",
        address = node.address()
    );
    node.spawn(USER, &["/bin/sh", "-c", &script], Duration::from_secs(300))
}

/// Settings of a server, reloaded.
pub fn set(node: &Node, settings: &[(&str, &str)]) -> Result<()> {
    for (name, value) in settings {
        node.psql(&format!("alter system set {name} = {value}"))?;
    }
    node.psql("select pg_reload_conf()")?;
    Ok(())
}

/// Stops the database of `node`, and starts it without waiting for a session.
pub fn restart_without_waiting(node: &Node) -> Result<()> {
    node.stop_database("fast")?;
    let ctl = format!("{DB_BIN}/pg_ctl");
    let log = format!("{LOG}/database.log");
    let start = [
        ctl.as_str(),
        "start",
        "-W",
        "-D",
        lab::layout::DATA,
        "-l",
        log.as_str(),
    ];
    node.run_as(USER, &start, SOON)?.success()?;
    Ok(())
}

/// Whether the primary shows its standbys streaming.
pub fn all_stream(primary: &Node, count: usize) -> Result<()> {
    wait_for("the standbys to stream", SOON, || {
        let seen = primary.psql("select state from pg_stat_replication")?;
        ensure!(seen.matches("streaming").count() == count, "{seen}");
        Ok(())
    })
}
