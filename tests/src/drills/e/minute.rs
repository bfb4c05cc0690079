//! A failover inside a host's own minute: `network_rewind` is at work there while it is under way.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::drills::killed::{self, is_dead, live};
use crate::drills::scene::{FAILOVER, Played, RECOVERY, SHORT, Scene};
use crate::lab::{Lab, LabOptions};
use crate::layout::PRIMARY_DOWN;
use crate::watch::Expected;

/// Whose minute it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    OldPrimary,
    /// Whom the pool names, and of two that are equally far the tool chooses, too.
    Candidate,
    Third,
}

/// The host that is meant, where `old` is the primary that goes.
fn host(whose: Whose, old: u8) -> u8 {
    let mut others = [101, 102, 103].into_iter().filter(|it| *it != old);
    let (first, second) = (others.next(), others.next());
    let found = match whose {
        Whose::OldPrimary => None,
        Whose::Candidate => first,
        Whose::Third => second,
    };
    found.unwrap_or(old)
}

pub(super) fn options() -> LabOptions {
    LabOptions {
        nodes: 3,
        pools: 3,
        ..killed::failover_options().failing_over_at_once()
    }
}

/// The failover stops short after each of its steps. A run of `network_rewind` begins and ends there; then
/// the failover goes on.
pub(super) fn between_the_steps(scene: &mut Scene<'_>, whose: Whose) -> Played {
    killed::prepare(scene.lab)?;
    scene.stop_rounds();
    let leader = scene.lab.node(102);
    let steps = killed::steps_of_failover(leader, &PRIMARY_DOWN)?;
    let (mut old, mut hits) = (101, 0);
    for (turn, step) in steps.iter().enumerate() {
        let meant = host(whose, old);
        let mut play = || between(scene, step, old, meant, turn % 2 == 0);
        let new = play().with_context(|| {
            format!("network_rewind on node{meant} after {step}, from node{old}")
        })?;
        hits += usize::from(new == meant);
        old = new;
    }
    scene.note(format!(
        "{} failovers, {hits} of them to the host in whose minute they were",
        steps.len()
    ));
    Ok(Expected::whole(old))
}

fn between(scene: &mut Scene<'_>, step: &str, old: u8, meant: u8, dies: bool) -> Result<u8> {
    let lab = scene.lab;
    let leader = lab.node(102);
    killed::wait_when_dead(leader, step)?;
    let how = if dies { "killed" } else { "detached" };
    scene.breaks(
        &format!("node{old}, the primary, is {how}; the failover stops short after {step}"),
        |lab| match dies {
            true => lab.node(old).kill_database(),
            false => lab.pcp_detach(lab.node(old).id()),
        },
    )?;
    scene.sees("the failover has stopped short", FAILOVER, || {
        is_dead(leader)
    })?;
    let run = scene.does(&format!("network_rewind on node{meant}"), |lab| {
        lab.node(meant).recover(&[], RECOVERY)
    })?;
    ensure!(!run.stderr.contains("panicked"), "{run}");
    scene.note(format!(
        "it ended with {:?}: {}",
        run.code,
        run.stderr.trim()
    ));
    scene.does("the failover goes on", |_| live(leader))?;
    let new = scene.fails_over(old)?;
    scene.start_rounds();
    scene.is_whole(new)?;
    scene.stop_rounds();
    scene.watch().check(new)?;
    Ok(new)
}

/// So many failovers while each host begins another run as soon as one is over.
const FAILOVERS: u8 = 9;

pub(super) fn all_the_time(scene: &mut Scene<'_>) -> Played {
    scene.stop_rounds();
    let runs = scene.does("network_rewind all the time, on every host", |lab| {
        Ok(lab.start_rounds_each(Duration::ZERO))
    })?;
    let mut old = 101;
    for round in 1..=FAILOVERS {
        let mut turn = || -> Result<u8> {
            let harm = |lab: &Lab| match round % 3 {
                0 => lab.node(old).kill_database(),
                1 => lab.pcp_detach(lab.node(old).id()),
                _ => lab.node(old).stop_database("fast"),
            };
            let how = ["killed", "detached", "stopped"][usize::from(round % 3)];
            scene.breaks(&format!("node{old}, the primary, is {how}"), harm)?;
            let new = scene.fails_over(old)?;
            scene.is_whole(new)?;
            scene.watch().check(new)?;
            Ok(new)
        };
        old = turn().with_context(|| format!("round {round}, from node{old}"))?;
    }
    drop(runs);
    scene.lab.wait_until_nothing_is_left(SHORT)?;
    Ok(Expected::whole(old))
}
