//! Killed after each step, on the stand-in, where a standby has its settings in a file of their own.

use std::collections::BTreeMap;
use std::mem::swap;

use anyhow::{Context, Result, ensure};
use lab::{Lab, LabOptions, Node};

use super::v8r3;
use crate::drill::{
    Kept, assert_same_files, at_once, killed_with_rows_of_its_own, own_files, recovers,
};
use crate::killed::steps;
use crate::scene::RECOVERY;

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
        killed_with_rows_of_its_own(lab, old)?;
        let steps = steps(lab.node(old))?;
        recovers(lab, lab.node(old), new)?;
        for step in &steps {
            swap(&mut old, &mut new);
            let turn = || -> Result<()> {
                killed_with_rows_of_its_own(lab, old)?;
                let node = lab.node(old);
                let died = node.recover(&["--die-after", step], RECOVERY)?;
                ensure!(died.signal == Some(9), "{died}");
                ensure!(lab.primaries()? == [new], "{:?}", lab.primaries());
                recovers(lab, node, new)?;
                assert_same_files(&written(node)?, &wanted[&old]);
                Ok(())
            };
            turn().with_context(|| format!("died after {step}"))?;
        }
        Ok(())
    })
}
