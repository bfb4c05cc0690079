//! A promotion that is given up does not come true later.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::layout::{DATA, DB_BIN, USER};
use lab::{Lab, Node, wait_for};

use crate::scene::{FAILOVER, PRIMARY_DOWN, SOON, log_line, two_hosts};

/// Its startup process goes on.
fn hear(node: &Node) -> Result<()> {
    node.run(&["pkill", "-CONT", "-f", "startup recovering"], SOON)?;
    Ok(())
}

fn stays_a_standby(lab: &Lab) -> Result<()> {
    let standby = lab.node(102);
    hear(standby)?;
    let signal = standby.path(&format!("{DATA}/promote"))?;
    ensure!(!signal.exists(), "the promotion is still asked for");
    ensure!(!standby.has_vip()?, "it has the VIP");
    wait_for("the standby to answer", SOON, || {
        standby.in_recovery().map(drop)
    })?;
    // Whatever was to come true has had the time: it replays what comes, and is a standby.
    let primary = lab.node(101);
    if primary.pids_of_database().is_empty() {
        let signal = primary.path(&format!("{DATA}/standby.signal"))?;
        let _ = std::fs::remove_file(signal);
        primary.start_database()?;
    }
    primary.psql("set synchronous_commit = local; insert into probe values ('later')")?;
    wait_for("the standby to replay", Duration::from_secs(20), || {
        let rows = standby.psql("select count(*) from probe where host = 'later'")?;
        ensure!(rows == "1", "{rows} rows");
        Ok(())
    })?;
    ensure!(standby.in_recovery()?, "it was promoted later");
    Ok(())
}

fn failover() -> Vec<&'static str> {
    let mut command = vec!["/home/kingbase/cluster/R3HA/kingbasecluster/bin/failover_stream"];
    command.extend(PRIMARY_DOWN);
    command
}

#[test]
fn it_is_withdrawn_when_its_time_is_over() -> Result<()> {
    let lab = two_hosts("cand-given-up")?;
    let standby = lab.node(102);
    standby.set_config(&[("PROMOTE_TIMEOUT", "3")])?;
    deafen_at_promotion(standby)?;
    let run = standby.failover(&PRIMARY_DOWN, FAILOVER)?;
    ensure!(run.code == Some(66), "{run}\n{}", standby.failover_log()?);
    log_line(
        standby,
        "still in recovery 3 s after the promotion was asked for",
    )?;
    log_line(standby, "the promotion is withdrawn")?;
    stays_a_standby(&lab)
}

/// A `pg_ctl` that asks for the promotion and stops the process that would hear of it.
fn deafen_at_promotion(node: &Node) -> Result<()> {
    std::fs::remove_file(node.path(&format!("{DB_BIN}/pg_ctl"))?)?;
    let script = "#!/bin/sh\n[ \"$1\" = promote ] && pkill -STOP -f 'startup recovering'\n\
                  exec /usr/lib/postgresql/15/bin/pg_ctl \"$@\"\n";
    node.write(&format!("{DB_BIN}/pg_ctl"), script, 0o755, 0)
}

#[test]
fn the_next_run_withdraws_it_where_its_own_was_killed() -> Result<()> {
    let lab = two_hosts("cand-killed")?;
    let standby = lab.node(102);
    deafen_at_promotion(standby)?;
    let promotion = standby.spawn_as_pool(&failover(), FAILOVER)?;
    let signal = standby.path(&format!("{DATA}/promote"))?;
    wait_for("the promotion to be asked for", SOON, || {
        ensure!(signal.exists(), "not yet: {}", standby.failover_log()?);
        Ok(())
    })?;
    standby.run(&["pkill", "-KILL", "failover_stream"], SOON)?;
    drop(promotion);
    ensure!(signal.exists());
    let rewind = format!("{DB_BIN}/network_rewind");
    standby.run_as(USER, &[&rewind], FAILOVER)?;
    let log = standby.recovery_log()?;
    ensure!(log.contains("the promotion is withdrawn"), "{log}");
    stays_a_standby(&lab)
}
