//! Two standbys: the one that was not promoted follows the new primary, and one that is far
//! behind is not attached yet.

use anyhow::{Context, Result, ensure};
use lab::layout::DATA;
use lab::{Lab, LabOptions, Node, Watch, wait_for};

use crate::drill::{assert_stays_down, at_once, same_end};
use crate::scene::{
    FAILOVER, RECOVERY, SHORT, failed_over, recover, status, two_hosts, wait_for_status,
    wait_until_whole,
};

#[test]
fn three_hosts() -> Result<()> {
    let options = LabOptions {
        nodes: 3,
        // Carried over from before version 12: with it a standby follows no promotion.
        postgres: vec![("recovery_target_timeline".into(), "'current'".into())],
        ..two_hosts("recovery-three")
    };
    Lab::with(options, |lab| {
        let watch = Watch::start(lab)?;
        let old = lab.node(101);
        old.power_off()?;
        let new = failed_over(lab, 101)?;
        let mut others = lab.nodes().iter().map(Node::number);
        let other = others.find(|number| ![101, new].contains(number));
        let other = lab.node(other.context("three hosts")?);
        recover(other)?;
        wait_for("the other standby to follow", SHORT, || {
            lab.streams(other.number(), new)
        })?;

        old.power_on()?;
        recover(old)?;
        wait_until_whole(lab, new, SHORT)?;
        watch.check(new)?;

        attached_only_when_caught_up(lab, lab.node(new))?;
        wait_until_whole(lab, new, SHORT)?;
        watch.finish(new)?;
        Ok(())
    })
}

fn attached_only_when_caught_up(lab: &Lab, primary: &Node) -> Result<()> {
    // Not the one that commits wait for, where there is such a difference.
    let chosen = "select application_name from pg_stat_replication order by sync_state = 'sync'";
    let chosen = primary
        .query(&format!("{chosen} limit 1"), SHORT)?
        .to_string();
    let mut nodes = lab.nodes().iter();
    let behind = nodes.find(|node| node.name() == chosen).context(chosen)?;
    lab.pcp_detach(behind.id())?;
    wait_for_status(lab, behind, "down")?;

    // Stopped in the middle of what it has to receive.
    let receiver = |signal: &str| -> Result<()> {
        let kill = ["pkill", signal, "-f", "walreceiver"];
        behind.run(&kill, SHORT)?.success().map(drop)
    };
    primary.psql("alter system set wal_sender_timeout = 0")?;
    primary.psql("select pg_reload_conf()")?;
    receiver("-STOP")?;
    primary.psql(
        "set synchronous_commit = local; create table big as \
         select repeat(md5(n::text), 30) from generate_series(1, 40000) n",
    )?;
    let written = primary.psql("select pg_current_wal_flush_lsn()")?;
    // How it ends is not asked: it may say no, or wait for the standby in vain.
    let run = behind.recover(&[], RECOVERY)?;
    let seen = status(lab, behind)?;
    ensure!(seen == "down", "attached far behind: {run}");

    receiver("-CONT")?;
    wait_for("it to catch up", RECOVERY, || {
        let replayed = format!("select pg_last_wal_replay_lsn() >= '{written}'");
        ensure!(behind.psql(&replayed)? == "t", "still behind");
        Ok(())
    })?;
    recover(behind)?;
    wait_for_status(lab, behind, "up")
}

/// What a rewind has brought from one primary, none from another takes out again: neither where it has
/// only begun, nor where it is done and the database not started yet.
#[test]
fn a_rewind_is_not_gone_on_with_from_another_primary() -> Result<()> {
    for step in ["recover.mark", "recover.rewind"] {
        let options = LabOptions {
            nodes: 3,
            sync: false,
            ..at_once("nr-source")
        };
        Lab::with(options, |lab| its_source_is_replaced(lab, step)).context(step)?;
    }
    Ok(())
}

/// By a standby that has less than what the recovery of node101, which dies after `step`, has brought.
fn its_source_is_replaced(lab: &Lab, step: &str) -> Result<()> {
    let old = lab.node(101);
    old.kill_database()?;
    let first = failed_over(lab, 101)?;
    let second = if first == 102 { 103 } else { 102 };
    let (first, second) = (lab.node(first), lab.node(second));
    recover(second)?;
    wait_for("the other standby to follow", SHORT, || {
        lab.streams(second.number(), first.number())
    })?;
    let receiver = |signal: &str| -> Result<()> {
        let kill = ["pkill", signal, "-f", "walreceiver"];
        second.run(&kill, SHORT)?.success().map(drop)
    };
    receiver("-STOP")?;
    first.psql("insert into rows values (1)")?;
    let died = old.recover(&["--die-after", step], RECOVERY)?;
    ensure!(died.signal == Some(9), "{died}");
    first.kill_database()?;
    // What has arrived and was not read yet must not be read.
    receiver("-TERM")?;
    receiver("-CONT")?;
    wait_for("the second failover", FAILOVER, || {
        ensure!(!second.in_recovery()?, "it is not promoted");
        wait_for_status(lab, first, "down")
    })?;

    let from = format!("half of it is the history of {} (", first.address());
    for _ in 0..2 {
        assert_stays_down(old, 1, &[&from, "REWIND_FALLBACK=basebackup"])?;
    }
    old.set_config(&[("REWIND_FALLBACK", "basebackup")])?;
    recover(old)?;
    lab.streams(old.number(), second.number())?;
    recover(first)?;
    // What was never started has its label still.
    let script = format!("rm -r {DATA}.old-*");
    old.run(&["sh", "-c", &script], SHORT)?.success()?;
    same_end(lab, second.number())
}
