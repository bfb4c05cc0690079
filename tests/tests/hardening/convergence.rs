//! Killed at any moment, and started again with the same arguments: the same end. After each of its
//! steps: drill D1.

use std::time::Duration;

use anyhow::Result;
use lab::{Lab, Node, ToolRun, moments};

use crate::scene::{Case, FAILOVER, PRIMARY_DOWN, SOON, assert_only_primary, state, two_hosts};

/// A failover from node101, alive and writing, to node102, run on `coordinator`: `first` breaks
/// off, the second run has to bring the cluster to the one good end.
fn converges(
    name: &str,
    coordinator: u8,
    first: impl FnOnce(&Node) -> Result<ToolRun>,
) -> Result<ToolRun> {
    let lab = two_hosts(name)?;
    let node = lab.node(coordinator);
    let prober = lab.start_prober();
    let client = lab.start_client()?;
    client.wait_for_acks(20, SOON)?;

    let first = first(node)?;
    node.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;

    client.wait_for_acks(20, SOON)?;
    let report = client.stop();
    assert_eq!(
        report.lost(&lab.rows_present(lab.node(102))?),
        Vec::<u64>::new()
    );
    assert_eq!(prober.two_writers(), None);
    assert_end(&lab)?;
    Ok(first)
}

fn assert_end(lab: &Lab) -> Result<()> {
    let (old, new) = (lab.node(101), lab.node(102));
    assert_only_primary(lab, 102)?;
    assert!(old.pids_of_database().is_empty(), "{:?}", state(lab));
    assert_eq!(new.psql("show synchronous_standby_names")?, "");
    let slot = "select restart_lsn is not null from pg_replication_slots \
                where slot_name = 'slot_node101'";
    assert_eq!(new.psql(slot)?, "t");
    Ok(())
}

#[test]
fn at_any_moment() -> Result<()> {
    let name = "hard-die-d";
    let undisturbed = converges(name, 102, |node| node.failover(&PRIMARY_DOWN, FAILOVER))?;
    for moment in moments(5, undisturbed.wall) {
        // Its time being over means SIGKILL.
        let moment = moment.max(Duration::from_millis(1));
        converges(name, 102, |node| node.failover(&PRIMARY_DOWN, moment)).case(&moment)?;
    }
    Ok(())
}
