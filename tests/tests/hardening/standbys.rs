//! Who of several standbys is promoted.

use anyhow::{Result, ensure};
use lab::layout::DATA;
use lab::wait_for;

use crate::scene::{
    FAILOVER, PRIMARY_DOWN, SOON, assert_footer, assert_only_primary, assert_says, log_line, state,
    three_hosts,
};

#[test]
fn the_furthest_is_promoted_though_the_pool_names_the_lowest() -> Result<()> {
    let lab = three_hosts("hard-furthest", false)?;
    let (old, lowest, other) = (lab.node(101), lab.node(102), lab.node(103));
    let prober = lab.start_prober();
    old.block_to(lowest)?;
    old.psql("insert into rows select generate_series(1, 10000)")?;
    let written = old.psql("select pg_current_wal_flush_lsn()")?;
    wait_for("node103 to have it all", SOON, || {
        let question = format!("select pg_last_wal_replay_lsn() >= '{written}'");
        ensure!(other.psql(&question)? == "t", "not yet");
        Ok(())
    })?;
    old.power_off()?;

    lowest.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    log_line(lowest, "192.168.1.103 becomes the new primary")?;
    assert_only_primary(&lab, 103)?;
    assert_eq!(lab.rows_present(other)?.len(), 10_000);
    // And the other follows it at once.
    wait_for("node102 to have them, too", SOON, || {
        ensure!(lab.rows_present(lowest)?.len() == 10_000, "not yet");
        lab.streams(102, 103)
    })?;
    assert_eq!(prober.two_writers(), None);
    Ok(())
}

/// What the pool calls the tool with when node103 alone is left.
const LAST_IS_LEFT: [&str; 8] = [
    "192.168.1.103",
    "0",
    "0",
    "192.168.1.101",
    "192.168.1.101",
    "2",
    "0",
    DATA,
];

/// The smaller side of a cut promotes nobody: the other may go on. It reaches the gateway.
#[test]
fn the_smaller_side_of_a_cut_promotes_nobody() -> Result<()> {
    let lab = three_hosts("hard-quorum", true)?;
    let (old, other, cut) = (lab.node(101), lab.node(102), lab.node(103));
    for node in [old, other] {
        cut.block_to(node)?;
        node.block_to(cut)?;
    }
    let run = cut.failover(&LAST_IS_LEFT, FAILOVER)?;
    assert_says(&run, 66, "of 3 hosts only 1 are seen");
    assert_footer(cut)?;
    assert!(cut.in_recovery()?, "it was promoted");
    assert!(!cut.has_vip()?, "it has the VIP");
    // Nor is anything said to a primary whose standby seems to be gone.
    let standby_down = [
        "192.168.1.103",
        "0",
        "1",
        "192.168.1.102",
        "192.168.1.101",
        "2",
        "0",
        DATA,
    ];
    assert_says(
        &cut.failover(&standby_down, FAILOVER)?,
        66,
        "of 3 hosts only 1 are seen",
    );
    // The larger side has a primary that takes writes.
    old.query("insert into probe values ('larger')", SOON)?;
    Ok(())
}

#[test]
fn a_synchronous_standby_that_is_not_heard_is_named() -> Result<()> {
    let lab = three_hosts("hard-unheard", true)?;
    let last = lab.node(103);
    lab.node(101).power_off()?;
    lab.node(102).power_off()?;
    let state_before = state(&lab);
    let run = last.failover(&LAST_IS_LEFT, FAILOVER)?;
    assert_says(&run, 66, "of 3 hosts only 1 are seen");
    assert_eq!(state(&lab), state_before);
    // What the line says to do.
    last.set_config(&[("FAILOVER_QUORUM", "none")])?;
    let run = last.failover(&LAST_IS_LEFT, FAILOVER)?;
    run.success()?;
    log_line(
        last,
        "warning: 192.168.1.102 was not heard, and may be the one that has the last",
    )?;
    assert_only_primary(&lab, 103)?;
    Ok(())
}

/// Left there by a run that was killed: that run had chosen it.
#[test]
fn of_equals_the_one_with_the_vip_is_promoted() -> Result<()> {
    let lab = three_hosts("hard-vip-holder", false)?;
    lab.node(101).power_off()?;
    lab.node(103).add_vip()?;
    lab.node(102).failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    assert_only_primary(&lab, 103)?;
    Ok(())
}

#[test]
fn a_standby_with_the_vip_that_is_not_chosen_gives_it_up() -> Result<()> {
    let lab = three_hosts("hard-duplicate", false)?;
    let new = lab.node(102);
    new.set_config(&[("FAILOVER_CANDIDATE", "given")])?;
    lab.node(101).power_off()?;
    lab.node(103).add_vip()?;
    new.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    assert_only_primary(&lab, 102)?;
    log_line(new, "del VIP on 192.168.1.103")?;
    Ok(())
}
