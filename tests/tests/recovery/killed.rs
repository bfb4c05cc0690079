//! Killed at any point, and started again by cron: the same end.

use std::collections::BTreeMap;
use std::mem::swap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::layout::{DB_BIN, USER};
use lab::{Lab, Node, wait_for};

use crate::drill::{
    Kept, assert_same_files, at_once, check_pages, killed_with_rows_of_its_own, moments, own_files,
    recovers, time_of, wait_until,
};
use crate::own_files::{following, furnish};
use crate::scene::{RECOVERY, SHORT};

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

/// Starts a recovery, and kills it so long after `program` has begun. Was it at work still?
pub fn killed_inside(node: &Node, program: &str, moment: Duration) -> Result<bool> {
    let tool = format!("{DB_BIN}/network_rewind");
    let running = node.spawn(USER, &[&tool], RECOVERY)?;
    wait_for(program, SHORT, || {
        ensure!(!node.pids_of(program).is_empty(), "it does not run");
        Ok(())
    })?;
    wait_until(Instant::now(), moment)?;
    let inside = !node.pids_of(program).is_empty();
    // It may be over already.
    let _ = running.signal(libc::SIGKILL);
    let run = running.wait()?;
    let killed = run.signal == Some(libc::SIGKILL);
    ensure!(killed || run.code == Some(0), "{run}");
    // Its child, which has the lock, dies a moment later. What it has started may be there still: a
    // base backup has a child of its own, and the next run has to see to that.
    wait_for("it to be gone", SHORT, || {
        let left = node.pids_of("network_rewind");
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })?;
    Ok(inside && killed)
}

#[test]
fn inside_the_rewind() -> Result<()> {
    Lab::with(at_once("brk-rewinding"), |lab| {
        let (mut old, mut new) = (101, 102);
        let fork = |old: u8, round: usize| -> Result<()> {
            let new = killed_with_rows_of_its_own(lab, old)?;
            // Something to copy.
            lab.node(new).psql(&format!(
                "drop table if exists big{}; create table big{round} as select n, repeat(md5(n::text), 30) as t \
                 from generate_series(1, 15000) n",
                round.saturating_sub(1)
            ))?;
            Ok(())
        };
        fork(old, 0)?;
        recovers(lab, lab.node(old), new)?;
        // How long it takes is not the same each time: the shortest tells what is inside it.
        let mut time = time_of(lab.node(old), "recover.rewind")?;
        let mut inside = 0;
        for (round, share) in (1..).zip(moments(10, Duration::from_secs(1))) {
            swap(&mut old, &mut new);
            let moment = time.mul_f64(share.as_secs_f64());
            let mut turn = || -> Result<()> {
                fork(old, round)?;
                let was_inside = killed_inside(lab.node(old), "pg_rewind", moment)?;
                recovers(lab, lab.node(old), new)?;
                if was_inside {
                    inside += 1;
                    time = time.min(time_of(lab.node(old), "recover.rewind")?);
                }
                Ok(())
            };
            turn().with_context(|| format!("killed after {moment:?}"))?;
        }
        ensure!(inside >= 3, "only {inside} were killed inside it");
        check_pages(lab, new)
    })
}
