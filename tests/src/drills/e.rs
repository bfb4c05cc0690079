//! E: three databases, and what two tools on different hosts make of the same failure.

mod cuts;
mod fenced;
mod minute;
mod power;
mod promoted;
mod refused;

use std::time::Duration;

use anyhow::{Context, ensure};

use super::a::paused_and_back;
use super::scene::{Played, SHORT, Scene};
use super::{Drill, by_cron, settings, three_hosts, two_hosts};
use crate::client::Client;
use crate::flavor::Flavor;
use crate::lab::LabOptions;
use crate::watch::{Excuse, Expected};

pub(super) const DRILLS: &[Drill] = &[
    Drill {
        row: "E1",
        way: "",
        flavor: Flavor::Postgres,
        what: "three databases, `SYNC_DEGRADE=never`: the primary's cable out, back at a random moment \
               of the minute after the failover",
        fast: false,
        options: three_databases,
        play: cable_back_within_the_minute,
    },
    Drill {
        row: "E2",
        way: "",
        flavor: Flavor::Postgres,
        what: "three databases, `SYNC_DEGRADE=never`: the primary's machine paused, continued after the \
               failover",
        fast: false,
        options: || LabOptions {
            recovery: false,
            ..three_databases()
        },
        play: paused_and_back,
    },
    Drill {
        row: "E3",
        way: "supervisor",
        flavor: Flavor::Postgres,
        what: "a fenced primary that a supervisor starts again within 0.1 s, all the time",
        fast: false,
        options: two_hosts,
        play: fenced::supervised,
    },
    Drill {
        row: "E3",
        way: "supervisor after a kill",
        flavor: Flavor::Postgres,
        what: "the same, and the fence killed it: a rewind is due",
        fast: false,
        options: two_hosts,
        play: fenced::supervised_after_a_kill,
    },
    Drill {
        row: "E3",
        way: "boot",
        flavor: Flavor::Postgres,
        what: "a fenced primary whose host loses its power, and whose boot starts the database",
        fast: true,
        options: two_hosts,
        play: fenced::booted,
    },
    Drill {
        row: "E3",
        way: "boot before the promotion",
        flavor: Flavor::Postgres,
        what: "the same, and the failover died between the fence and the promotion",
        fast: false,
        options: fenced::dying_once,
        play: fenced::booted_before_the_promotion,
    },
    Drill {
        row: "E4",
        way: "candidate",
        flavor: Flavor::Postgres,
        what: "a failover stops short after each of its steps while `network_rewind` runs on the host that \
               is to be promoted",
        fast: false,
        options: minute::options,
        play: |scene| minute::between_the_steps(scene, minute::Whose::Candidate),
    },
    Drill {
        row: "E4",
        way: "old primary",
        flavor: Flavor::Postgres,
        what: "the same, on the old primary's host",
        fast: false,
        options: minute::options,
        play: |scene| minute::between_the_steps(scene, minute::Whose::OldPrimary),
    },
    Drill {
        row: "E4",
        way: "third",
        flavor: Flavor::Postgres,
        what: "the same, on the third host",
        fast: false,
        options: minute::options,
        play: |scene| minute::between_the_steps(scene, minute::Whose::Third),
    },
    Drill {
        row: "E4",
        way: "all the time",
        flavor: Flavor::Postgres,
        what: "nine failovers, and `network_rewind` is at work on all three hosts all the time",
        fast: false,
        options: || LabOptions {
            pools: 3,
            ..three_hosts().failing_over_at_once()
        },
        play: minute::all_the_time,
    },
    Drill {
        row: "E5",
        way: "refused run again",
        flavor: Flavor::Postgres,
        what: "trust IP away in the moment of the failover; the command is run again by hand after a \
               minute in which nothing else runs",
        fast: false,
        options: refused::options_of_refused,
        play: refused::refused_and_run_again,
    },
    Drill {
        row: "E5",
        way: "refused",
        flavor: Flavor::Postgres,
        what: "the same, and nobody runs it again",
        fast: false,
        options: refused::options_of_refused_alone,
        play: refused::refused_and_left,
    },
    Drill {
        row: "E5",
        way: "killed run again",
        flavor: Flavor::Postgres,
        what: "`failover_stream` killed after a step; the command is run again by hand after a minute in \
               which nothing else runs",
        fast: false,
        options: refused::options_of_killed,
        play: refused::killed_and_run_again,
    },
    Drill {
        row: "E5",
        way: "killed",
        flavor: Flavor::Postgres,
        what: "`failover_stream` killed after each of its steps, the primary dead or alive, and nobody \
               runs it again",
        fast: false,
        options: refused::options_of_killed,
        play: refused::killed_and_left,
    },
    Drill {
        row: "E6",
        way: "1 to 2",
        flavor: Flavor::Postgres,
        what: "three hosts, pools that count only those they see: the primary's host is cut from both \
               others, not from the gateway",
        fast: false,
        options: cuts::pools_without_quorum,
        play: cuts::primary_alone,
    },
    Drill {
        row: "E6",
        way: "1 to 2 with the leader",
        flavor: Flavor::Postgres,
        what: "the same, and the pool that leads is on the primary's host",
        fast: false,
        options: || LabOptions {
            leader: 101,
            ..cuts::pools_without_quorum()
        },
        play: cuts::primary_alone,
    },
    Drill {
        row: "E6",
        way: "2 to 1",
        flavor: Flavor::Postgres,
        what: "the same: a standby's host is cut from both others",
        fast: false,
        options: cuts::pools_without_quorum,
        play: cuts::standby_alone,
    },
    Drill {
        row: "E7",
        way: "to the standby",
        flavor: Flavor::Postgres,
        what: "for two minutes nothing that the primary's host sends reaches the standby's; the other \
               direction and the gateway are fine",
        fast: false,
        options: two_hosts,
        play: |scene| cuts::one_direction(scene, 101, 102, 100),
    },
    Drill {
        row: "E7",
        way: "from the standby",
        flavor: Flavor::Postgres,
        what: "the same, and nothing that the standby's host sends reaches the primary's",
        fast: false,
        options: two_hosts,
        play: |scene| cuts::one_direction(scene, 102, 101, 100),
    },
    Drill {
        row: "E7",
        way: "half",
        flavor: Flavor::Postgres,
        what: "the same, and half of what the primary's host sends is lost",
        fast: false,
        options: two_hosts,
        play: |scene| cuts::one_direction(scene, 101, 102, 50),
    },
    Drill {
        row: "E7",
        way: "three hosts",
        flavor: Flavor::Postgres,
        what: "three databases: nothing that the primary's host sends reaches one standby's",
        fast: false,
        options: || LabOptions {
            pools: 3,
            ..three_hosts()
        },
        play: |scene| cuts::one_direction(scene, 101, 103, 100),
    },
    Drill {
        row: "E8",
        way: "primary first",
        flavor: Flavor::Postgres,
        what: "both hosts lose their power at once, the primary's is back first, `MAX_AVAILABLE_LEVEL=1`",
        fast: false,
        options: power::options,
        play: power::primary_first,
    },
    Drill {
        row: "E8",
        way: "standby first",
        flavor: Flavor::Postgres,
        what: "the same, the standby's is back first",
        fast: false,
        options: power::options,
        play: power::standby_first,
    },
    Drill {
        row: "E8",
        way: "standby later",
        flavor: Flavor::Postgres,
        what: "the same, the standby's is back a minute after the primary's",
        fast: false,
        options: power::options,
        play: power::standby_much_later,
    },
    Drill {
        row: "E8",
        way: "primary later",
        flavor: Flavor::Postgres,
        what: "the same, the primary's is back a minute after the standby's",
        fast: false,
        options: power::options,
        play: power::primary_much_later,
    },
    Drill {
        row: "E8",
        way: "by hand",
        flavor: Flavor::Postgres,
        what: "the same, without `MAX_AVAILABLE_LEVEL`: a person starts the last primary",
        fast: false,
        options: two_hosts,
        play: power::without_the_level,
    },
    Drill {
        row: "E9",
        way: "beside a primary",
        flavor: Flavor::Postgres,
        what: "two standbys promoted by hand from the same position, the primary alive",
        fast: false,
        options: promoted::options_by_hand,
        play: promoted::beside_a_primary,
    },
    Drill {
        row: "E9",
        way: "without a primary",
        flavor: Flavor::Postgres,
        what: "the same, the primary dead and the failover command without effect: two timelines of one \
               number",
        fast: false,
        options: promoted::options_by_hand,
        play: promoted::without_a_primary,
    },
    Drill {
        row: "E9",
        way: "one after the other",
        flavor: Flavor::Postgres,
        what: "primary dies; the promoted standby dies before the other has heard of its timeline, \
               `SYNC_DEGRADE=never`",
        fast: false,
        options: promoted::options,
        play: promoted::one_after_the_other,
    },
];

/// For the third host to stream from the new primary, and for the first commit there.
const AT_ONCE: Duration = Duration::from_secs(2);

fn three_databases() -> LabOptions {
    let mut options = LabOptions {
        pools: 3,
        ..by_cron(three_hosts())
    };
    options
        .config
        .extend(settings(&[("SYNC_DEGRADE", "never")]));
    options
}

fn cable_back_within_the_minute(scene: &mut Scene<'_>) -> Played {
    scene.add_client_on(101)?;
    let lab = scene.lab;
    scene.breaks("node101's cable is out", |lab| lab.node(101).link_down())?;
    let followed = [(103, 102), (102, 103)]
        .map(|(third, new)| lab.first_streaming(lab.node(third), lab.node(new)));
    let new = scene.fails_over(101)?;
    let [from_102, from_103] = followed;
    let (third, follows) = match new {
        102 => (103, from_102?),
        _ => (102, from_103?),
    };
    let writable = scene.watch().prober().spans(new);
    let promoted = writable.first().context("nobody was promoted")?.from;
    let what = format!("node{third} streams from node{new}");
    let streams = scene.sees(&what, SHORT, || follows.seen().context("not yet"))?;
    let late = streams.saturating_duration_since(promoted);
    scene.figure("the third host streams after", late);
    scene.client_writes(SHORT)?;
    scene.add_client_on(new)?;
    let moment = scene.some_moment(Duration::from_secs(60));
    scene.passes(moment)?;
    scene.does("the cable is back", |lab| lab.node(101).link_up())?;
    let end = scene.is_whole(new)?;
    let watch = scene.watch();
    // The one on its own host reaches no other primary by the VIP.
    let hung = watch.others().last().map(Client::longest_gap);
    let outside = watch.client().longest_gap_since(promoted);
    scene.figure(
        "commits on the new primary hung for at most",
        hung.unwrap_or_default(),
    );
    scene.figure("those of a client outside for at most", outside);
    scene.figure("the cable was back after", moment);
    ensure!(
        late <= AT_ONCE,
        "the third host followed only {late:?} after the promotion"
    );
    Ok(Expected {
        two: Some(Excuse {
            why: "cut off it takes writes that wait for no standby until its next run of \
                  network_rewind, a minute at most",
            at_most: Duration::from_secs(75),
        }),
        ..end
    })
}
