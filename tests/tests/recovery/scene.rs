//! What the scenarios have in common: a failover to recover from, a run of the tool, and what was
//! made of it.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use lab::layout::{DATA, UID};
use lab::{Lab, LabOptions, Node, ToolRun, wait_for};

/// For what is nearly there.
pub const SHORT: Duration = Duration::from_secs(10);
/// Until the pool has noticed and failed over; without its leader an election comes on top.
pub const FAILOVER: Duration = Duration::from_secs(120);
/// For one run that recovers a host.
pub const RECOVERY: Duration = Duration::from_secs(60);
/// Two hosts, synchronous, with a pool each; an old primary may come back by itself.
pub fn two_hosts(name: &str) -> LabOptions {
    LabOptions {
        name: name.into(),
        pools: 2,
        config: vec![("AUTO_PRIMARY_RECOVERY".into(), "1".into())],
        ..LabOptions::default()
    }
}

/// Waits until the pool has failed over from a host, which may be off, down or cut off: one other
/// is the primary and has the VIP, and the pool shows it so. Returns its number.
pub fn failed_over(lab: &Lab, from: u8) -> Result<u8> {
    wait_for("the failover", FAILOVER, || {
        let mut primaries = lab.primaries()?;
        primaries.retain(|number| *number != from);
        let [new] = primaries[..] else {
            bail!("other primaries are {primaries:?}");
        };
        ensure!(lab.node(new).has_vip()?, "node{new} has no VIP");
        let seen = |node: &Node| match node.number() {
            it if it == from => ("down", "standby"),
            it if it == new => ("up", "primary"),
            _ => ("up", "standby"),
        };
        let wanted: Vec<_> = lab.nodes().iter().map(seen).collect();
        // It answers only when it has done with the failover.
        lab.pool_shows(&wanted)?;
        Ok(new)
    })
}

/// The power of a host is cut, and the pool fails over; then the power comes back, with the
/// database down. Returns the number of the new primary's host.
pub fn power_cycle(lab: &Lab, old: u8) -> Result<u8> {
    lab.node(old).power_off()?;
    let new = failed_over(lab, old)?;
    lab.node(old).power_on()?;
    Ok(new)
}

/// Waits until all is as it should be, see [`Lab::is_whole`].
pub fn wait_until_whole(lab: &Lab, primary: u8, limit: Duration) -> Result<()> {
    let what = format!("the cluster to be whole, node{primary} its primary");
    wait_for(&what, limit, || lab.is_whole(primary))
}

/// One run by hand that has to go well.
pub fn recover(node: &Node) -> Result<ToolRun> {
    let run = node.recover(&[], RECOVERY)?;
    ensure!(run.code == Some(0), "{run}\n{}", node.recovery_log()?);
    Ok(run)
}

/// The pool's status of a host's database.
pub fn status(lab: &Lab, node: &Node) -> Result<String> {
    let nodes = lab.pool_nodes()?;
    let mut found = nodes.iter().filter(|it| it.id == node.id());
    Ok(found.next().map(|it| it.status.clone()).unwrap_or_default())
}

/// Waits until the pool has that status of a host's database.
pub fn wait_for_status(lab: &Lab, node: &Node, wanted: &str) -> Result<()> {
    wait_for("the pool to show it", SHORT, || {
        let seen = status(lab, node)?;
        ensure!(seen == wanted, "{} is {seen}, not {wanted}", node.name());
        Ok(())
    })
}

/// The running database: its pid on its host, as another one would not have it. Empty: it is down.
pub fn postmaster(node: &Node) -> Result<String> {
    if node.pids_of_database().is_empty() {
        return Ok(String::new());
    }
    let file = node.run(
        &["head", "-n", "3", &format!("{DATA}/postmaster.pid")],
        SHORT,
    )?;
    file.success()
}

/// Makes a standby leave its primary's history: promoted by mistake, and made a standby again by a
/// person who thought that would do. The pool has it `down`.
pub fn astray(lab: &Lab, node: &Node) -> Result<()> {
    lab.pcp_detach(node.id())?;
    wait_for_status(lab, node, "down")?;
    node.promote_database()?;
    node.psql("set synchronous_commit = local; insert into probe values ('astray')")?;
    node.stop_database("fast")?;
    node.write(&format!("{DATA}/standby.signal"), "", 0o600, UID)?;
    node.start_database()?;
    ensure!(node.in_recovery()?, "it is a primary");
    Ok(())
}

#[track_caller]
pub fn assert_logged(log: &str, text: &str) {
    assert!(log.contains(text), "no {text:?} in {log}");
}
