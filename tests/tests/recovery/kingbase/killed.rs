//! Killed after each step, on the stand-in, where a standby has its settings in a file of their own.

use std::collections::BTreeMap;
use std::fs;
use std::mem::swap;

use anyhow::{Result, ensure};
use lab::layout::DATA;
use lab::{Lab, LabOptions, Node, wait_for};

use super::v8r3;
use crate::drill::{Kept, killed_with_rows_of_its_own, own_files, recovers};
use crate::killed::die_after_each;
use crate::scene::{FAILOVER, RECOVERY, assert_logged};

/// The files that a person or a recovery writes, not those that the database changes as a primary.
fn written(node: &Node) -> Result<BTreeMap<String, Kept>> {
    let mut files = own_files(node)?;
    files.remove("kingbase.auto.conf");
    Ok(files)
}

#[test]
fn after_each_step() -> Result<()> {
    let options = LabOptions {
        config: vec![("AUTO_PRIMARY_RECOVERY".into(), "1".into())],
        ..v8r3("v8r3-steps").failing_over_at_once()
    };
    Lab::with(options, |lab| {
        let (mut old, mut new) = (101, 102);
        let mut wanted = BTreeMap::new();
        // Undisturbed: what all others have to end with.
        for _ in lab.nodes() {
            killed_with_rows_of_its_own(lab, old)?;
            recovers(lab, lab.node(old), new)?;
            let files = written(lab.node(old))?;
            ensure!(files.contains_key("recovery.conf"), "{:?}", files.keys());
            wanted.insert(old, files);
            swap(&mut old, &mut new);
        }
        die_after_each(lab, written, |node, _| Ok(wanted[&node.number()].clone()))
    })
}

/// V8R3 reads the settings of a standby at its start only: a run that dies before it restarts the
/// server leaves them right, and unread.
#[test]
fn before_the_settings_are_read() -> Result<()> {
    Lab::with(v8r3("v8r3-unread").failing_over_at_once(), |lab| {
        let node = lab.node(102);
        let conf = node.path(&format!("{DATA}/recovery.conf"))?;
        let right = fs::read_to_string(&conf)?;
        for step in ["recover.settings", "follow.reload"] {
            fs::write(&conf, right.replace("192.168.1.101", "192.168.1.1"))?;
            node.stop_database("fast")?;
            wait_for("the pool to be done with that", FAILOVER, || {
                lab.pool_shows(&[("up", "primary"), ("down", "standby")])
            })?;
            node.start_database()?;
            let died = node.recover(&["--die-after", step], RECOVERY)?;
            ensure!(died.signal == Some(9), "{died}");
            ensure!(fs::read_to_string(&conf)? == right, "after {step}");
            wait_for("the cluster to be whole", RECOVERY, || {
                node.recover(&[], RECOVERY)?;
                lab.is_whole(101)
            })?;
        }
        let log = node.recovery_log()?;
        assert_logged(&log, "were written after its database had started");
        Ok(())
    })
}
