//! Two promotions from the same position never get timelines of the same number.

use anyhow::{Result, ensure};
use lab::layout::{DATA, DB_BIN, PRIMARY_DOWN};
use lab::{Node, wait_for};

use crate::scene::{FAILOVER, SECOND_DOWN, SOON, assert_only_primary, log_line, three_hosts};

/// A person has promoted node102, and node103 has not followed it when that one dies, too. Its history is
/// not on node103, which would take the same number.
#[test]
fn a_second_promotion_from_the_same_position_has_another_number() -> Result<()> {
    let lab = three_hosts("hard-timelines", true)?;
    let (old, first, second) = (lab.node(101), lab.node(102), lab.node(103));
    old.power_off()?;
    first.promote_database()?;
    first.psql("set synchronous_commit = local; insert into probe values ('first')")?;
    first.kill_database()?;

    second.failover(&SECOND_DOWN, FAILOVER)?.success()?;
    assert_only_primary(&lab, 103)?;
    log_line(second, "timelines up to 2 are another host's")?;
    second.psql("checkpoint")?;
    let timeline = second.psql("select timeline_id from pg_control_checkpoint()")?;
    assert_eq!(timeline, "3");
    // A standby of it asks for the history of each number.
    for file in ["00000002.history", "00000003.history"] {
        let text = second.read(&format!("{DATA}/pg_wal/{file}"))?;
        ensure!(text.starts_with("1\t"), "{file}: {text}");
    }
    second.stop_database("fast")?;
    second
        .run_as(
            lab::layout::USER,
            &[
                &format!("{DB_BIN}/pg_ctl"),
                "-D",
                DATA,
                "-w",
                "-l",
                "/tmp/start.log",
                "start",
            ],
            SOON,
        )?
        .success()?;
    Ok(())
}

/// The command runs twice, as it may. The standby that was told of it twice takes the next number when it
/// is promoted itself: past one that nobody has no standby could follow it.
#[test]
fn a_second_run_of_a_failover_leaves_no_number_out() -> Result<()> {
    let lab = three_hosts("hard-timelines-twice", true)?;
    let (old, first, second) = (lab.node(101), lab.node(102), lab.node(103));
    // A stop sends its last record to both. Of two that are equally far the pool's choice is promoted.
    old.stop_database("fast")?;
    first.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    ensure!(!first.in_recovery()?, "node103 was promoted");
    first.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    wait_for("node103 to follow", SOON, || {
        lab.streams(103, 102)?;
        let has_all =
            "select bool_and(flush_lsn >= pg_current_wal_flush_lsn()) from pg_stat_replication";
        ensure!(first.psql(has_all)? == "t", "node103 has not all WAL yet");
        Ok(())
    })?;
    a_late_promotion_is_refused(second)?;

    first.kill_database()?;
    second.failover(&SECOND_DOWN, FAILOVER)?.success()?;
    second.psql("checkpoint")?;
    let timeline = second.psql("select timeline_id from pg_control_checkpoint()")?;
    assert_eq!(timeline, "3");
    ensure!(
        !second
            .failover_log()?
            .contains("their numbers are left out"),
        "a number was left out"
    );
    Ok(())
}

/// Of a failover that began before the other one had promoted anybody, and that saw timeline 1 only.
fn a_late_promotion_is_refused(node: &Node) -> Result<()> {
    let late = [
        "--step",
        "promote",
        "--deadline",
        "8000",
        "--newest-timeline",
        "1",
    ];
    let run = node.failover(&late, FAILOVER)?;
    let refusal =
        "it has WAL of timeline 2, and none newer than 1 was seen when this failover began";
    ensure!(run.to_string().contains(refusal), "{run}");
    ensure!(node.in_recovery()?, "it was promoted: {run}");
    Ok(())
}
