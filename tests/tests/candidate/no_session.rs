//! Standbys that take no session.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Flavor, Lab, LabOptions, Node, Running, wait_for};

use crate::scene::{
    FAILOVER, PRIMARY_DOWN, SOON, all_stream, keep_open, log_line, on_both, options,
    restart_without_waiting, set, two_hosts, went_through,
};

const REFUSED: &str = "its database takes no session";

on_both!(
    one_that_waits_for_a_snapshot_is_promoted,
    one_whose_connections_are_all_used_is_promoted,
    of_two_standbys_the_one_without_sessions_may_be_the_furthest,
);

fn one_that_waits_for_a_snapshot_is_promoted(flavor: Flavor) -> Result<()> {
    let lab = two_hosts("cand-snapshotless", flavor)?;
    let (primary, standby) = (lab.node(101), lab.node(102));
    primary.psql("create table many (n int)")?;
    // More subtransactions than a standby keeps track of, open while it starts.
    let many = "do \\$\\$ begin for i in 1..100 loop begin insert into many values (i); \
                exception when others then null; end; end loop; perform pg_sleep(200); end \\$\\$";
    let _open = keep_open(primary, "many", many)?;
    wait_for("the transaction to have its parts", SOON, || {
        let waits = primary.psql(
            "select count(*) from pg_stat_activity where application_name = 'many' \
             and wait_event = 'PgSleep'",
        )?;
        ensure!(waits == "1", "not yet");
        Ok(())
    })?;
    has_checkpoint(primary, standby)?;
    restart_without_waiting(standby)?;
    all_stream(primary, 1)?;
    ensure!(
        standby.query("select 1", Duration::from_secs(1)).is_err(),
        "it takes sessions"
    );
    primary.psql("insert into probe values ('last')")?;
    // Stopped, it would end the transaction, and the standby would have its snapshot.
    primary.kill_database()?;
    let run = standby.failover(&PRIMARY_DOWN, FAILOVER)?;
    went_through(&lab, &run)?;
    log_line(standby, REFUSED).with_context(|| standby.log("database.log").unwrap_or_default())?;
    ensure!(standby.psql("select count(*) from probe where host = 'last'")? == "1");
    Ok(())
}

/// The standby has a checkpoint of its own, and begins there when it is started again.
fn has_checkpoint(primary: &Node, standby: &Node) -> Result<()> {
    primary.psql("checkpoint")?;
    let end = primary.psql("select pg_current_wal_lsn()")?;
    wait_for("the standby to have the checkpoint", SOON, || {
        let has = standby.psql(&format!("select pg_last_wal_replay_lsn() >= '{end}'"))?;
        ensure!(has == "t", "not yet");
        Ok(())
    })?;
    standby.psql("checkpoint")?;
    Ok(())
}

/// Settings that both servers take at a start only.
pub fn restart_with(lab: &Lab, settings: &[(&str, &str)]) -> Result<()> {
    let (primary, standby) = (lab.node(101), lab.node(102));
    set(primary, settings)?;
    primary.stop_database("fast")?;
    primary.start_database()?;
    all_stream(primary, 1)?;
    // A standby must have as many connections as the primary for all that it replays.
    has_checkpoint(primary, standby)?;
    set(standby, settings)?;
    standby.stop_database("fast")?;
    standby.start_database()?;
    all_stream(primary, 1)
}

/// Fills all connections of a server, those of superusers, too.
pub fn fill(node: &Node) -> Result<Vec<Running>> {
    // A server ends its processes a moment after their sessions: one refusal may be for one of our own.
    const SURE: usize = 20;
    let (mut sessions, mut refused) = (Vec::new(), 0);
    wait_for("the connections to be used up", 3 * SOON, || {
        let said = node.query("select 1", SOON).map(|_| String::new());
        let said = said.unwrap_or_else(|error| format!("{error:#}"));
        // A host that is busy may refuse us for something else.
        let free = !said.contains("too many clients");
        // Our own question may have been in the way of the one before.
        if free || sessions.is_empty() {
            sessions.push(keep_open(node, "crowd", "select pg_sleep(300)")?);
        }
        refused = if free { 0 } else { refused + 1 };
        ensure!(refused >= SURE, "one is free, or was a moment ago: {said}");
        Ok(())
    })?;
    Ok(sessions)
}

fn one_whose_connections_are_all_used_is_promoted(flavor: Flavor) -> Result<()> {
    let lab = two_hosts("cand-crowded", flavor)?;
    let (primary, standby) = (lab.node(101), lab.node(102));
    let few = [
        ("max_connections", "10"),
        ("superuser_reserved_connections", "3"),
    ];
    restart_with(&lab, &few)?;
    let crowd = fill(standby)?;
    primary.kill_database()?;
    let run = standby.failover(&PRIMARY_DOWN, FAILOVER)?;
    ensure!(run.code == Some(0), "{run}\n{}", standby.failover_log()?);
    log_line(standby, REFUSED)?;
    log_line(
        standby,
        "synchronous_standby_names is set to '' in its file",
    )?;
    drop(crowd);
    standby.run(&["pkill", "-f", "TEST 192.168.1.102.*SELECT"], SOON)?;
    wait_for("a connection to be free", SOON, || {
        standby.psql("select 1").map(drop)
    })?;
    went_through(&lab, &run)
}

fn of_two_standbys_the_one_without_sessions_may_be_the_furthest(flavor: Flavor) -> Result<()> {
    let lab = Lab::start(LabOptions {
        nodes: 3,
        ..options("cand-furthest", flavor)
    })?;
    let (primary, standby) = (lab.node(101), lab.node(102));
    set(standby, &[("hot_standby", "off")])?;
    restart_without_waiting(standby)?;
    all_stream(primary, 2)?;
    // Node 103 hears nothing of what comes next.
    lab.node(103)
        .run(&["pkill", "-STOP", "-f", "walreceiver"], SOON)?
        .success()?;
    primary.psql("insert into probe select 'far' from generate_series(1, 1000)")?;
    primary.kill_database()?;
    lab.node(103)
        .run(&["pkill", "-KILL", "-f", "walreceiver"], SOON)?;
    let run = standby.failover(&PRIMARY_DOWN, FAILOVER)?;
    ensure!(run.code == Some(0), "{run}\n{}", standby.failover_log()?);
    went_through(&lab, &run)
}
