//! A promotion that is given up does not come true later.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::layout::DATA;
use lab::{Flavor, Lab, Node, STATE, wait_for};

use crate::scene::{
    FAILOVER, PRIMARY_DOWN, SOON, all_stream, log_line, on_both, two_hosts, went_through,
};

on_both!(
    it_is_withdrawn_when_its_time_is_over,
    the_next_run_withdraws_it_where_its_own_was_killed
);

/// Its startup process goes on.
fn hear(node: &Node) -> Result<()> {
    node.run(&["pkill", "-CONT", "-f", "startup recovering"], SOON)?;
    Ok(())
}

fn stays_a_standby(lab: &Lab) -> Result<()> {
    let (primary, standby) = (lab.node(101), lab.node(102));
    hear(standby)?;
    let signal = standby.path(&format!("{DATA}/promote"))?;
    ensure!(!signal.exists(), "the promotion is still asked for");
    ensure!(!standby.has_vip()?, "it has the VIP");
    wait_for("the standby to answer", SOON, || {
        standby.in_recovery().map(drop)
    })?;
    // Whatever was to come true has had the time: it replays what comes, and is a standby.
    if primary.pids_of_database().is_empty() {
        take_back(primary)?;
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

/// The old primary becomes the primary again, by the command that the log of its fence names.
fn take_back(primary: &Node) -> Result<()> {
    primary.recover(&["--unfence"], FAILOVER)?.success()?;
    ensure!(!primary.in_recovery()?, "it is no primary");
    Ok(())
}

fn failover() -> Vec<&'static str> {
    let mut command = vec!["/home/kingbase/cluster/R3HA/kingbasecluster/bin/failover_stream"];
    command.extend(PRIMARY_DOWN);
    command
}

fn it_is_withdrawn_when_its_time_is_over(flavor: Flavor) -> Result<()> {
    let lab = two_hosts("cand-given-up", flavor)?;
    let standby = lab.node(102);
    standby.set_config(&[("PROMOTE_TIMEOUT", "3")])?;
    deafen_at_promotion(standby)?;
    let run = standby.failover(&PRIMARY_DOWN, FAILOVER)?;
    ensure!(run.code == Some(66), "{run}\n{}", standby.failover_log()?);
    let said = lab.left_nothing(standby)?;
    for words in [
        "still in recovery 3 s after the promotion was asked for",
        "correct this and run this command again",
    ] {
        ensure!(said.contains(words), "no {words:?} in {said}");
    }
    log_line(standby, "the promotion is withdrawn")?;
    stays_a_standby(&lab)?;

    // What the last line says.
    let ctl = standby.ctl();
    let mended = ["mv", &format!("{ctl}.real"), &ctl];
    standby.run(&mended, SOON)?.success()?;
    all_stream(lab.node(101), 1)?;
    let again = standby.failover(&PRIMARY_DOWN, FAILOVER)?;
    went_through(&lab, &again)
}

/// A `pg_ctl` that asks for the promotion and stops the process that would hear of it.
fn deafen_at_promotion(node: &Node) -> Result<()> {
    let ctl = node.ctl();
    let real = format!("{ctl}.real");
    node.run(&["mv", &ctl, &real], SOON)?.success()?;
    // The stand-in's program is of many names.
    let script = format!(
        "#!/bin/bash\n[ \"$1\" = promote ] && pkill -STOP -f 'startup recovering'\n\
         exec -a '{ctl}' '{real}' \"$@\"\n"
    );
    node.write(&ctl, &script, 0o755, 0)
}

fn the_next_run_withdraws_it_where_its_own_was_killed(flavor: Flavor) -> Result<()> {
    let lab = two_hosts("cand-killed", flavor)?;
    let standby = lab.node(102);
    deafen_at_promotion(standby)?;
    let promotion = standby.spawn_as_pool(&failover(), FAILOVER)?;
    let signal = standby.path(&format!("{DATA}/promote"))?;
    wait_for("the promotion to be asked for", SOON, || {
        let marked = standby.read(STATE)?.contains("\"promotion\":{");
        let log = standby.failover_log()?;
        ensure!(signal.exists() && marked, "not yet: {log}");
        Ok(())
    })?;
    standby.run(&["pkill", "-KILL", "failover_stream"], SOON)?;
    drop(promotion);
    ensure!(signal.exists());
    let run = standby.recover(&[], FAILOVER)?;
    let log = standby.recovery_log()?;
    ensure!(log.contains("the promotion is withdrawn"), "{run}\n{log}");
    lab.nothing_is_left().context("after the next run")?;
    stays_a_standby(&lab)
}
