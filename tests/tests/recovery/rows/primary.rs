//! The pool names this node.

use anyhow::{Result, ensure};
use lab::layout::{DATA, DB_BIN, UID, USER};
use lab::{Lab, Node, wait_for};

use super::{changes_nothing, ends, one_pool, take_vip_off};
use crate::scene::{RECOVERY, SHORT, recover, wait_until_whole};

#[test]
fn primary() -> Result<()> {
    Lab::with(one_pool("tab-primary"), |lab| {
        let node = lab.node(101);
        take_vip_off(node)?;
        ends(node, &[], 0, "add VIP on 192.168.1.101")?;
        ensure!(node.has_vip()?, "the VIP is not back");

        in_recovery(node)?;
        wait_until_whole(lab, 101, SHORT)?;
        does_not_run(node)?;
        wait_until_whole(lab, 101, SHORT)?;

        // Somebody else answers for the VIP.
        take_vip_off(node)?;
        lab.gateway_takes_vip()?;
        changes_nothing(lab, node, 1, "answers for the database VIP")?;
        changes_nothing(lab, node, 1, "answers for the database VIP")?;
        lab.wait_until_nothing_is_left(SHORT)
    })
}

fn in_recovery(node: &Node) -> Result<()> {
    let signal = format!("{DATA}/standby.signal");
    node.stop_database("fast")?;
    node.write(&signal, "", 0o600, UID)?;
    node.start_database()?;
    ends(node, &[], 1, "in recovery")?;
    ensure!(!node.has_vip()?, "it has the VIP");
    ensure!(node.in_recovery()?, "it was promoted");

    node.run(&["rm", &signal], SHORT)?.success()?;
    node.stop_database("fast")?;
    node.start_database()?;
    recover(node).map(drop)
}

/// The pool is content: from another directory somebody has started a copy, on the same port.
fn does_not_run(node: &Node) -> Result<()> {
    let elsewhere = format!("{DATA}.elsewhere");
    let pg_ctl = format!("{DB_BIN}/pg_ctl");
    let server = |action: &str| -> Result<()> {
        let command = [&pg_ctl, action, "-w", "-D", &elsewhere, "-l", "/dev/null"];
        node.run_as(USER, &command, SHORT)?.success().map(drop)
    };
    node.stop_database("fast")?;
    node.run(&["cp", "-a", DATA, &elsewhere], SHORT)?
        .success()?;
    server("start")?;
    ends(node, &[], 66, "its database does not run")?;
    ensure!(!node.has_vip()?, "it has the VIP");

    server("stop")?;
    node.run(&["rm", "-r", DATA], SHORT)?.success()?;
    node.run(&["mv", &elsewhere, DATA], SHORT)?.success()?;
    node.start_database()?;
    recover(node).map(drop)
}

/// Too quick for the pool to see: this one is a standby by now, and another one the primary.
#[test]
fn another_one_is_the_primary_by_now() -> Result<()> {
    Lab::with(one_pool("tab-not-primary"), |lab| {
        let (old, new) = (lab.node(101), lab.node(102));
        old.stop_database("fast")?;
        new.promote_database()?;
        old.write(&format!("{DATA}/standby.signal"), "", 0o600, UID)?;
        old.start_database()?;
        lab.pool_shows(&[("up", "primary"), ("up", "standby")])?;
        ends(
            old,
            &[],
            0,
            "this node is detached, so that the pool finds that one",
        )?;
        wait_for("the cluster to be whole", RECOVERY, || {
            for node in lab.nodes() {
                node.recover(&[], RECOVERY)?;
            }
            lab.is_whole(102)
        })
    })
}
