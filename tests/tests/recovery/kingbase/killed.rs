//! Killed after each step, on the stand-in, where a standby has its settings in a file of their own.

use std::collections::BTreeMap;
use std::mem::swap;

use anyhow::{Result, ensure};
use lab::{Lab, LabOptions, Node};

use super::v8r3;
use crate::drill::{Kept, at_once, killed_with_rows_of_its_own, own_files, recovers};
use crate::killed::die_after_each;

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
        pgpool: at_once("").pgpool,
        ..v8r3("v8r3-steps")
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
