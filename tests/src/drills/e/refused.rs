//! A failover that comes to nothing, since it is refused or killed: run again by hand after a minute, or
//! by nobody.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::drills::killed::{self, is_dead, live, stay_dead};
use crate::drills::scene::{FAILOVER, Played, SHORT, Scene};
use crate::drills::{by_cron, settings, two_hosts};
use crate::host::Node;
use crate::lab::{Lab, LabOptions};
use crate::layout::{DATA, PRIMARY_DOWN, address};
use crate::watch::Expected;

/// Until the operator has read the log.
const READ: Duration = Duration::from_secs(60);

/// Pools that give up looking for their primary soon.
fn giving_up_soon(mut options: LabOptions) -> LabOptions {
    let soon = settings(&[("search_primary_node_timeout", "2")]);
    options.pgpool.extend(soon);
    options
}

pub(super) fn options_of_refused() -> LabOptions {
    giving_up_soon(two_hosts())
}

pub(super) fn options_of_refused_alone() -> LabOptions {
    giving_up_soon(by_cron(two_hosts()))
}

pub(super) fn options_of_killed() -> LabOptions {
    giving_up_soon(killed::failover_options()).failing_over_at_once()
}

/// What the pool calls the command with when this host, the primary, went down.
fn order(old: u8, new: u8) -> [String; 8] {
    let id = |number: u8| (number - 101).to_string();
    let (gone, left) = (address(old).to_string(), address(new).to_string());
    let main = "0".to_owned();
    let (id_gone, id_left) = (id(old), id(new));
    [
        left,
        id_gone.clone(),
        id_gone,
        gone.clone(),
        gone,
        id_left,
        main,
        DATA.to_owned(),
    ]
}

fn run_by_hand(node: &Node, old: u8, new: u8) -> Result<()> {
    let order = order(old, new);
    let order: Vec<&str> = order.iter().map(String::as_str).collect();
    node.failover(&order, FAILOVER)?.success().map(drop)
}

/// The trust IP is away in the moment of the failover, and comes back.
fn is_refused(scene: &mut Scene<'_>) -> Result<()> {
    scene.breaks(
        "the trust IP does not answer, and the primary is killed",
        |lab| {
            lab.gateway_down()?;
            lab.node(101).kill_database()
        },
    )?;
    scene.reads_within(102, "failover.log", "failover failed: ", FAILOVER)?;
    scene.does("the trust IP is back", Lab::gateway_up)
}

pub(super) fn refused_and_run_again(scene: &mut Scene<'_>) -> Played {
    scene.stop_rounds();
    is_refused(scene)?;
    scene.passes(READ)?;
    ensure!(scene.lab.node(102).in_recovery()?, "it was promoted");
    scene.does("the operator runs the command again", |lab| {
        lab.node(102).failover(&PRIMARY_DOWN, SHORT)?.success()
    })?;
    scene.client_writes(SHORT)?;
    scene.start_rounds();
    scene.is_whole(102)
}

pub(super) fn refused_and_left(scene: &mut Scene<'_>) -> Played {
    is_refused(scene)?;
    let primary = scene.one_is_left()?;
    scene.is_whole(primary)
}

/// The failover dies after `step`, and the primary's database with it, or not.
fn is_killed(scene: &mut Scene<'_>, step: &str, old: u8, dies: bool) -> Result<()> {
    let leader = scene.lab.node(102);
    stay_dead(leader, step)?;
    let how = if dies { "killed" } else { "detached" };
    scene.breaks(
        &format!("node{old}, the primary, is {how}; the failover dies after {step}"),
        |lab| match dies {
            true => lab.node(old).kill_database(),
            false => lab.pcp_detach(lab.node(old).id()),
        },
    )?;
    scene.sees("the failover is dead", FAILOVER, || is_dead(leader))?;
    live(leader)
}

fn other(number: u8) -> u8 {
    if number == 101 { 102 } else { 101 }
}

/// One step after the other. Nobody runs the command again: what cron does has to suffice.
pub(super) fn killed_and_left(scene: &mut Scene<'_>) -> Played {
    killed::prepare(scene.lab)?;
    let mut old = 101;
    let steps = killed::steps_of_failover(scene.lab.node(102), &PRIMARY_DOWN)?;
    for step in &steps {
        for dies in [true, false] {
            let mut turn = || -> Result<u8> {
                is_killed(scene, step, old, dies)?;
                let primary = scene.one_is_left()?;
                scene.is_whole(primary)?;
                scene.watch().check(primary)?;
                Ok(primary)
            };
            old = turn().with_context(|| format!("died after {step}, from node{old}"))?;
        }
    }
    Ok(Expected::whole(old))
}

/// Before, between and after what changes hosts.
const RUN_AGAIN_AFTER: [&str; 5] = [
    "trust-ip",
    "fence",
    "choose",
    "promote.vip-on",
    "promote.promote",
];

pub(super) fn killed_and_run_again(scene: &mut Scene<'_>) -> Played {
    killed::prepare(scene.lab)?;
    let mut old = 101;
    for step in RUN_AGAIN_AFTER {
        let new = other(old);
        let mut turn = || -> Result<()> {
            scene.stop_rounds();
            is_killed(scene, step, old, true)?;
            scene.passes(READ)?;
            scene.does("the operator runs the command again", |lab| {
                run_by_hand(lab.node(102), old, new)
            })?;
            scene.start_rounds();
            scene.is_whole(new)?;
            scene.watch().check(new)
        };
        turn().with_context(|| format!("died after {step}, from node{old}"))?;
        old = new;
    }
    Ok(Expected::whole(old))
}
