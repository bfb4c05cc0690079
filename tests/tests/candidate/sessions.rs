//! Sessions on the standby that hold its replay up.

use anyhow::{Result, ensure};
use lab::{Flavor, Lab, wait_for};

use crate::scene::{
    FAILOVER, PRIMARY_DOWN, SOON, keep_open, log_line, on_both, set, two_hosts, went_through,
};

/// The standby has a report open, and its replay waits for that for ever.
pub fn held_up(lab: &Lab, sql: &str, conflict: &[&str]) -> Result<lab::Running> {
    let (primary, standby) = (lab.node(101), lab.node(102));
    primary.psql("create table report as select n from generate_series(1, 1000) n")?;
    // With feedback the primary would keep what the report sees.
    let settings = [
        ("max_standby_streaming_delay", "-1"),
        ("hot_standby_feedback", "off"),
    ];
    set(standby, &settings)?;
    let end = primary.psql("select pg_current_wal_lsn()")?;
    wait_for("the table to be there", SOON, || {
        let there = standby.psql(&format!("select pg_last_wal_replay_lsn() >= '{end}'"))?;
        ensure!(there == "t", "not yet");
        Ok(())
    })?;
    let report = keep_open(standby, "monthly report", sql)?;
    wait_for("the report to run", SOON, || {
        let open = standby.psql(
            "select count(*) from pg_stat_activity where application_name = 'monthly report' \
             and query like '%pg_sleep%' and state = 'active'",
        )?;
        ensure!(open == "1", "not yet");
        Ok(())
    })?;
    for statement in conflict {
        primary.psql(statement)?;
    }
    wait_for("the replay to wait", SOON, || {
        let waits = standby.psql("select pg_last_wal_replay_lsn() < pg_last_wal_receive_lsn()")?;
        ensure!(waits == "t", "not yet");
        Ok(())
    })?;
    Ok(report)
}

const SNAPSHOT: &str =
    "begin isolation level repeatable read; select count(*) from report; select pg_sleep(200)";
pub const LOCK: &str = "begin; select count(*) from report; select pg_sleep(200)";

on_both!(
    a_report_with_an_old_snapshot_is_ended_and_named,
    a_report_with_a_lock_is_ended_and_named,
);

fn a_report_with_an_old_snapshot_is_ended_and_named(flavor: Flavor) -> Result<()> {
    let lab = two_hosts("cand-snapshot", flavor)?;
    let _report = held_up(
        &lab,
        SNAPSHOT,
        &[
            "set synchronous_commit = local; delete from report",
            "alter role \"SUPERMANAGER_V8ADMIN\" set synchronous_commit = local",
            "vacuum report",
        ],
    )?;
    let run = lab.node(102).failover(&PRIMARY_DOWN, FAILOVER)?;
    went_through(&lab, &run)?;
    let line = log_line(lab.node(102), "holds up the replay")?;
    ensure!(
        line.contains("user SUPERMANAGER_V8ADMIN, application \"monthly report\", since 2"),
        "{line}"
    );
    Ok(())
}

fn a_report_with_a_lock_is_ended_and_named(flavor: Flavor) -> Result<()> {
    let lab = two_hosts("cand-lock", flavor)?;
    let _report = held_up(
        &lab,
        LOCK,
        &["set synchronous_commit = local; truncate report"],
    )?;
    let run = lab.node(101).failover(&PRIMARY_DOWN, FAILOVER)?;
    went_through(&lab, &run)?;
    log_line(lab.node(101), "application \"monthly report\"")?;
    Ok(())
}
