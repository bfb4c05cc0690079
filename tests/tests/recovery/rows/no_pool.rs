//! There is no pool.

use anyhow::{Result, ensure};
use lab::layout::{DB_BIN, USER};
use lab::{Lab, LabOptions, Node, wait_for};

use super::{changes_nothing, commits_wait_for, ends, promote, runs, started, take_vip_off};
use crate::scene::{RECOVERY, SHORT, two_hosts};

/// Where the pool would be, nobody listens, and says so at once.
pub fn without_pool(name: &str, nodes: u8) -> LabOptions {
    LabOptions {
        nodes,
        pools: 0,
        config: vec![("KB_POOL_VIP".into(), "127.0.0.1".into())],
        postgres: vec![("wal_retrieve_retry_interval".into(), "200ms".into())],
        ..two_hosts(name)
    }
}

#[test]
fn no_pool() -> Result<()> {
    Lab::with(without_pool("tab-no-pool", 2), |lab| {
        let (primary, standby) = (lab.node(101), lab.node(102));
        let since = started(primary)?;
        changes_nothing(lab, primary, 0, "no other host has one")?;
        changes_nothing(lab, standby, 66, "its database is a standby")?;
        // By the primary's word alone nothing is done.
        take_vip_off(primary)?;
        standby.stop_sshd()?;
        changes_nothing(lab, primary, 66, "192.168.1.102 does not answer")?;
        standby.start_sshd()?;
        // One whose database cannot be asked may be a primary.
        standby.freeze_database();
        ends(primary, &[], 66, "192.168.1.102")?;
        ensure!(!primary.has_vip()?, "the VIP is back");
        ends(standby, &[], 66, "cannot be asked")?;
        standby.thaw_database();
        ends(primary, &[], 0, "add VIP")?;
        ensure!(primary.has_vip()?, "the VIP is not back");

        fenced_meanwhile(primary, standby)?;

        // It goes on alone, and no longer alone.
        standby.stop_database("fast")?;
        ends(primary, &[], 0, "sync to async")?;
        ensure!(commits_wait_for(primary)?.is_empty(), "still synchronous");
        ends(standby, &[], 66, "its database is a standby")?;
        ensure!(runs(standby), "a standby that is down is started");
        wait_for("it to be synchronous again", SHORT, || {
            ends(primary, &[], 0, "no other host has one")?;
            lab.is_whole(101)
        })?;

        // A running standby is not stopped, whatever becomes of its primary.
        primary.kill_database()?;
        changes_nothing(lab, standby, 66, "its database is a standby")?;
        ends(primary, &[], 66, "its database does not run")?;
        ensure!(!runs(primary) && !primary.has_vip()?, "it was started");
        primary.start_database()?;
        ensure!(started(primary)? != since, "it was restarted");
        ends(primary, &[], 0, "add VIP")?;

        // Two primaries, and nobody to ask which is the right one.
        promote(standby)?;
        changes_nothing(lab, primary, 1, "192.168.1.102 (timeline 2)")?;
        changes_nothing(lab, standby, 1, "192.168.1.101 (timeline 1)")?;
        take_vip_off(primary)?;
        primary.freeze_database();
        ends(standby, &[], 66, "192.168.1.101")?;
        primary.thaw_database();
        standby.stop_database("fast")?;
        changes_nothing(lab, primary, 1, "newer than 1 here")?;
        lab.wait_until_nothing_is_left(SHORT)
    })
}

/// A failover stops the primary while it makes sure that no other host is one: it stays down.
fn fenced_meanwhile(primary: &Node, standby: &Node) -> Result<()> {
    let tool = format!("{DB_BIN}/failover_stream");
    let real = format!("{tool}.real");
    standby.run(&["mv", &tool, &real], SHORT)?.success()?;
    // It is asked for the decision, and once more under the lock.
    let script = format!(
        "#!/bin/sh\n\
         if [ -e /tmp/asked ]; then touch /tmp/held; while [ ! -e /tmp/release ]; do sleep 0.02; done; fi\n\
         touch /tmp/asked\n\
         exec {real} \"$@\"\n"
    );
    standby.write(&tool, &script, 0o755, 0)?;
    let running = primary.spawn(USER, &[&format!("{DB_BIN}/network_rewind")], RECOVERY)?;
    wait_for("the second question", SHORT, || {
        standby.read("/tmp/held").map(drop)
    })?;
    primary.stop_database("fast")?;
    standby.write("/tmp/release", "", 0o644, 0)?;
    let run = running.wait()?;
    ensure!(run.code == Some(66) && !runs(primary), "{run}");
    standby.run(&["mv", &real, &tool], SHORT)?.success()?;
    primary.start_database()?;
    ends(primary, &[], 0, "no other host has one")
}
