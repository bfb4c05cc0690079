//! E: three databases, and what two tools on different hosts make of the same failure.

use std::time::Duration;

use anyhow::ensure;

use super::a::paused_and_back;
use super::scene::{Played, SHORT, Scene};
use super::{Drill, by_cron, settings, three_hosts};
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

/// Up to a minute, from the time of day: each play has another one, which its diary tells.
#[allow(
    clippy::disallowed_methods,
    reason = "a seed, and no time that is waited for"
)]
fn random_moment() -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = now.map(|it| it.subsec_nanos()).unwrap_or_default();
    Duration::from_millis(u64::from(nanos) / 1000 % 60_000)
}

fn cable_back_within_the_minute(scene: &mut Scene<'_>) -> Played {
    scene.add_client_on(101)?;
    scene.breaks("node101's cable is out", |lab| lab.node(101).link_down())?;
    let new = scene.fails_over(101)?;
    let third = if new == 102 { 103 } else { 102 };
    let lab = scene.lab;
    scene.sees("the third host follows the new primary", AT_ONCE, || {
        lab.streams(third, new)
    })?;
    scene.client_writes(SHORT)?;
    let moment = random_moment();
    let begun = std::time::Instant::now();
    let what = format!("{} ms have passed since", moment.as_millis());
    scene.sees(&what, moment + SHORT, || {
        ensure!(begun.elapsed() >= moment, "not yet");
        Ok(())
    })?;
    scene.does("the cable is back", |lab| lab.node(101).link_up())?;
    let end = scene.is_whole(new)?;
    Ok(Expected {
        two: Some(Excuse {
            why: "cut off it takes writes that wait for no standby until its next run of \
                  network_rewind, a minute at most",
            at_most: Duration::from_secs(75),
        }),
        ..end
    })
}
