//! Killed after each step, and started again by cron: the same end, the node's own files included. Inside
//! the programs that take long: drill D1.

use std::collections::BTreeMap;
use std::mem::swap;

use anyhow::{Context, Result, ensure};
use lab::{Lab, Node};

use crate::drill::{
    Kept, assert_same_files, at_once, check_pages, killed_with_rows_of_its_own, own_files, recovers,
};
use crate::own_files::{following, furnish};
use crate::scene::RECOVERY;

/// The steps of a recovery as the tool itself lists them.
fn steps(node: &Node) -> Result<Vec<String>> {
    let plan = node
        .recover(&["--dry-run", "--force"], RECOVERY)?
        .success()?;
    let steps = plan
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1));
    let steps: Vec<String> = steps
        .filter(|step| step.starts_with("recover."))
        .map(str::to_owned)
        .collect();
    ensure!(steps.len() > 15, "not a plan: {plan}");
    Ok(steps)
}

/// Kills a recovery after each of its steps, the two hosts taking turns, and runs it again. `files` of
/// the node are then those that were `wanted`, asked before, of the node and its new primary.
pub fn die_after_each(
    lab: &Lab,
    files: impl Fn(&Node) -> Result<BTreeMap<String, Kept>>,
    wanted: impl Fn(&Node, u8) -> Result<BTreeMap<String, Kept>>,
) -> Result<()> {
    let (mut old, mut new) = (101, 102);
    killed_with_rows_of_its_own(lab, old)?;
    let steps = steps(lab.node(old))?;
    recovers(lab, lab.node(old), new)?;
    for step in &steps {
        swap(&mut old, &mut new);
        let turn = || -> Result<()> {
            killed_with_rows_of_its_own(lab, old)?;
            let node = lab.node(old);
            let wanted = wanted(node, new)?;
            let died = node.recover(&["--die-after", step], RECOVERY)?;
            ensure!(died.signal == Some(9), "{died}");
            ensure!(lab.primaries()? == [new], "{:?}", lab.primaries());
            recovers(lab, node, new)?;
            assert_same_files(&files(node)?, &wanted);
            Ok(())
        };
        turn().with_context(|| format!("died after {step}"))?;
    }
    Ok(())
}

#[test]
fn after_each_step() -> Result<()> {
    Lab::with(at_once("brk-steps"), |lab| {
        for node in lab.nodes() {
            furnish(node, false)?;
        }
        let wanted = |node: &Node, new| Ok(following(own_files(node)?, new));
        die_after_each(lab, own_files, wanted)?;
        check_pages(lab, lab.primaries()?[0])
    })
}
