//! Who of several standbys is promoted.

use anyhow::{Result, ensure};
use lab::layout::DATA;
use lab::wait_for;

use crate::scene::{FAILOVER, PRIMARY_DOWN, SOON, assert_only_primary, log_line, three_hosts};

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
    assert_eq!(lab.rows_present(lowest)?.len(), 0);
    assert_eq!(prober.two_writers(), None);
    Ok(())
}

#[test]
fn a_synchronous_standby_that_is_not_heard_is_named() -> Result<()> {
    let lab = three_hosts("hard-unheard", true)?;
    let last = lab.node(103);
    lab.node(101).power_off()?;
    lab.node(102).power_off()?;
    let args = [
        "192.168.1.103",
        "0",
        "0",
        "192.168.1.101",
        "192.168.1.101",
        "2",
        "0",
        DATA,
    ];
    let run = last.failover(&args, FAILOVER)?;
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
