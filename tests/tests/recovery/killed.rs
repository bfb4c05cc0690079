//! Killed after each step, and started again by cron: the same end, the node's own files included. Inside
//! the programs that take long: drill D1.

use std::mem::swap;

use anyhow::{Context, Result, ensure};
use lab::{Lab, Node};

use crate::drill::{
    assert_same_files, at_once, check_pages, killed_with_rows_of_its_own, own_files, recovers,
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

#[test]
fn after_each_step() -> Result<()> {
    Lab::with(at_once("brk-steps"), |lab| {
        let (mut old, mut new) = (101, 102);
        for node in lab.nodes() {
            furnish(node, false)?;
        }
        killed_with_rows_of_its_own(lab, old)?;
        let steps = steps(lab.node(old))?;
        recovers(lab, lab.node(old), new)?;
        for step in &steps {
            swap(&mut old, &mut new);
            let turn = || -> Result<()> {
                killed_with_rows_of_its_own(lab, old)?;
                let node = lab.node(old);
                let files = following(own_files(node)?, new);
                let died = node.recover(&["--die-after", step], RECOVERY)?;
                ensure!(died.signal == Some(9), "{died}");
                ensure!(lab.primaries()? == [new], "{:?}", lab.primaries());
                recovers(lab, node, new)?;
                assert_same_files(&own_files(node)?, &files);
                Ok(())
            };
            turn().with_context(|| format!("died after {step}"))?;
        }
        check_pages(lab, new)
    })
}
