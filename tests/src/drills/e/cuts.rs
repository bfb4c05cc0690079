//! A cut between hosts, whole or in one direction, which the gateway does not see.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::drills::scene::{FAILOVER, Played, SHORT, Scene};
use crate::drills::{settings, three_hosts};
use crate::lab::{Lab, LabOptions};
use crate::watch::{Excuse, Expected};

/// Until everybody has noticed, and done what can be done.
const CUT: Duration = Duration::from_secs(75);

/// Pools such as those before 4.0, and of V8R3: each side of a cut has its own leader, its VIP, and
/// fails over by what it sees itself.
pub(super) fn pools_without_quorum() -> LabOptions {
    LabOptions {
        pools: 3,
        pgpool: settings(&[
            ("failover_when_quorum_exists", "off"),
            ("failover_require_consensus", "off"),
            ("enable_consensus_with_half_votes", "on"),
            // Whoever is not seen so long does not count any more: a side is a cluster of its own.
            ("wd_lost_node_removal_timeout", "5s"),
        ]),
        ..three_hosts()
    }
}

fn cut(lab: &Lab, alone: u8) -> Result<()> {
    let mut others = lab.nodes().iter().filter(|it| it.number() != alone);
    others.try_for_each(|it| lab.node(alone).block_to(it))
}

fn heal(lab: &Lab, alone: u8) -> Result<()> {
    let mut others = lab.nodes().iter().filter(|it| it.number() != alone);
    others.try_for_each(|it| lab.node(alone).unblock(it))
}

/// One of the two others is the primary.
fn promoted(lab: &Lab, alone: u8) -> Result<u8> {
    let mut primaries = lab.primaries()?;
    primaries.retain(|number| *number != alone);
    let [new] = primaries[..] else {
        bail!("other primaries are {primaries:?}");
    };
    ensure!(lab.node(new).has_vip()?, "node{new} has no VIP");
    Ok(new)
}

pub(super) fn primary_alone(scene: &mut Scene<'_>) -> Played {
    let lab = scene.lab;
    scene.add_client_on(101)?;
    scene.breaks("node101 sees neither node102 nor node103", |lab| {
        cut(lab, 101)
    })?;
    let new = scene.sees("the larger side has a primary", FAILOVER, || {
        promoted(lab, 101)
    })?;
    let before = scene.watch().acknowledged_on_hosts();
    scene.lasts(CUT)?;
    let after = scene.watch().acknowledged_on_hosts();
    scene.note(format!("the smaller side's client: {before} rows, {after}"));
    scene.does("the cut heals", |lab| heal(lab, 101))?;
    // The pools of both sides tell each other whom they have down: that may be a failover more.
    let primary = scene.one_is_left()?;
    scene.note(format!("node{new} was promoted, node{primary} is left"));
    let end = scene.is_whole(primary)?;
    ensure!(
        after == before,
        "the smaller side has acknowledged {} rows",
        after - before
    );
    Ok(Expected {
        two: Some(Excuse {
            why: "the smaller side's primary takes writes that wait for no standby until its next run \
                  of network_rewind",
            at_most: Duration::from_secs(10),
        }),
        ..end
    })
}

pub(super) fn standby_alone(scene: &mut Scene<'_>) -> Played {
    scene.breaks("node103 sees neither node101 nor node102", |lab| {
        cut(lab, 103)
    })?;
    scene.lasts(CUT)?;
    let primaries = scene.lab.primaries()?;
    ensure!(primaries == [101], "primaries are {primaries:?}");
    scene.client_writes(SHORT)?;
    scene.reads(103, "failover.log", "failover failed: ")?;
    scene.does("the cut heals", |lab| heal(lab, 103))?;
    scene.is_whole(101)
}

/// Packets are lost for so long.
const LOSS: Duration = Duration::from_secs(120);

/// Loses packets from one host to another; both see the gateway, and all others.
pub(super) fn one_direction(scene: &mut Scene<'_>, from: u8, to: u8, percent: u32) -> Played {
    let what = format!("of 100 packets from node{from} to node{to} {percent} are lost");
    scene.breaks(&what, |lab| lab.node(from).loses_to(lab.node(to), percent))?;
    scene.lasts(LOSS)?;
    let primaries = scene.lab.primaries();
    scene.note(format!("primaries are {primaries:?}"));
    scene.does("no packet is lost any more", |lab| {
        lab.node(from).loses_nothing_to(lab.node(to))
    })?;
    let primary = scene.one_is_left()?;
    let end = scene.is_whole(primary)?;
    if scene.lab.nodes().len() > 2 {
        return Ok(end);
    }
    Ok(Expected {
        two: Some(Excuse {
            why: "with two pools nobody can know which side is the right one",
            at_most: LOSS + SHORT,
        }),
        may_lose: scene
            .may_lose("both sides of the cut took writes, and those of one side are discarded"),
        ..end
    })
}
