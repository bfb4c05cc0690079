//! A host sees its gateway no more, or nobody.

use anyhow::{Result, ensure};
use lab::layout::DEVICE;
use lab::{Lab, wait_for};

use super::no_pool::without_pool;
use super::{changes_nothing, ends, run, runs};
use crate::scene::{SHORT, assert_logged, failed_over, recover, two_hosts, wait_until_whole};

#[test]
fn cut_off_and_replaced() -> Result<()> {
    Lab::with(two_hosts("tab-cut-off"), |lab| {
        lab.gateway_down()?;
        for node in lab.nodes() {
            changes_nothing(lab, node, 66, "no trust IP answers")?;
        }
        lab.gateway_up()?;
        lab.is_whole(101)?;

        let old = lab.node(101);
        // Two pools that do not see each other would both lead: another drill.
        old.kill_pool()?;
        old.link_down()?;
        // As a host's network service does it when the cable is out.
        old.run(&["ip", "addr", "flush", "dev", DEVICE], SHORT)?
            .success()?;
        ends(old, &[], 66, "this host is cut off")?;
        ensure!(!runs(old), "it runs");
        ensure!(!old.has_vip()?, "it has the VIP");
        ends(old, &[], 66, "no trust IP answers")?;
        ensure!(!runs(old), "it runs");
        ensure!(failed_over(lab, 101)? == 102, "not node102");

        old.link_up()?;
        let address = format!("{}/24", old.address());
        old.run(&["ip", "addr", "add", &address, "dev", DEVICE], SHORT)?
            .success()?;
        old.start_pool()?;
        recover(old)?;
        wait_until_whole(lab, 102, SHORT)?;
        lab.wait_until_nothing_is_left(SHORT)
    })
}

#[test]
fn cut_off_and_not_replaced() -> Result<()> {
    Lab::with(without_pool("tab-fenced", 3), |lab| {
        let node = lab.node(101);
        let others = [lab.node(102), lab.node(103)];

        let fenced = |why: &str| -> Result<()> {
            ends(node, &[], 66, why)?;
            ensure!(!runs(node), "it runs");
            ensure!(!node.has_vip()?, "it has the VIP");
            for other in others {
                ensure!(other.in_recovery()?, "{} is a primary", other.name());
            }
            Ok(())
        };
        let starts_again = || -> Result<()> {
            // For a moment the network may still have the others as gone.
            wait_for("it to start again", SHORT, || {
                let run = run(node, &[])?;
                ensure!(run.code == Some(0), "{run}");
                Ok(())
            })?;
            let why = "this host stopped its primary when it was cut off";
            assert_logged(&node.recovery_log()?, why);
            // Synchronous again when a standby is.
            wait_for("the cluster to be whole", SHORT, || {
                run(node, &[])?;
                lab.is_whole(101)
            })?;
            changes_nothing(lab, node, 0, "no other host has one")
        };

        node.set_config(&[("GATEWAY_LOST_ACTION", "never")])?;
        node.link_down()?;
        changes_nothing(lab, node, 66, "GATEWAY_LOST_ACTION is never")?;
        node.set_config(&[("GATEWAY_LOST_ACTION", "isolated")])?;
        fenced("this host is cut off")?;
        // A standby that is cut off, too, goes on.
        others[0].link_down()?;
        changes_nothing(lab, others[0], 66, "no trust IP answers")?;
        node.link_up()?;
        // Not before all others say that they were not promoted.
        changes_nothing(lab, node, 66, "192.168.1.102 does not answer")?;
        others[0].link_up()?;
        starts_again()?;

        for node in lab.nodes() {
            node.set_config(&[("GATEWAY_LOST_ACTION", "always")])?;
        }
        lab.gateway_down()?;
        changes_nothing(lab, others[0], 66, "no trust IP answers")?;
        fenced("GATEWAY_LOST_ACTION is always")?;
        lab.gateway_up()?;
        starts_again()?;

        // The gateway is there, and no pool: it depends on how many hosts are.
        others[0].link_down()?;
        // So that it is known at once.
        node.run(&["ip", "neigh", "flush", "all"], SHORT)?
            .success()?;
        changes_nothing(lab, node, 66, "192.168.1.102 does not answer")?;
        others[1].link_down()?;
        fenced("of 3 hosts only 1 are seen")?;
        others[0].link_up()?;
        others[1].link_up()?;
        starts_again()?;
        lab.wait_until_nothing_is_left(SHORT)
    })
}
