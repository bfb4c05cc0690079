//! Both hosts lose their power at once, and come back in either order.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::drills::scene::{FAILOVER, Played, RECOVERY, Scene};
use crate::drills::{settings, two_hosts};
use crate::lab::LabOptions;

/// Longer than any run waits for a host that may come.
const MUCH_LATER: Duration = Duration::from_secs(60);

/// The last primary of a cluster that was all down comes up by itself.
pub(super) fn options() -> LabOptions {
    let mut options = two_hosts();
    let level = settings(&[("MAX_AVAILABLE_LEVEL", "1")]);
    options.config.extend(level);
    options
}

fn both_lose_power(scene: &mut Scene<'_>) -> Result<()> {
    scene.breaks("both hosts lose their power", |lab| {
        lab.node(101).power_off()?;
        lab.node(102).power_off()
    })
}

fn is_back(scene: &mut Scene<'_>, number: u8) -> Result<()> {
    scene.does(&format!("node{number} has power again"), |lab| {
        lab.node(number).power_on()
    })
}

pub(super) fn primary_first(scene: &mut Scene<'_>) -> Played {
    both_lose_power(scene)?;
    is_back(scene, 101)?;
    is_back(scene, 102)?;
    scene.is_whole(101)
}

pub(super) fn standby_first(scene: &mut Scene<'_>) -> Played {
    both_lose_power(scene)?;
    is_back(scene, 102)?;
    is_back(scene, 101)?;
    scene.is_whole(101)
}

/// Alone the old primary cannot know that no other was promoted.
pub(super) fn standby_much_later(scene: &mut Scene<'_>) -> Played {
    both_lose_power(scene)?;
    is_back(scene, 101)?;
    scene.reads_within(101, "recovery.log", "decision: ", FAILOVER)?;
    scene.passes(MUCH_LATER)?;
    scene.reads(101, "recovery.log", "decision: ")?;
    let down = scene.lab.node(101).pids_of_database().is_empty();
    ensure!(down, "it was started alone");
    is_back(scene, 102)?;
    scene.is_whole(101)
}

/// Time enough for what comes by itself.
const BY_ITSELF: Duration = Duration::from_secs(45);

/// It is whole by itself; or the standby's log says what makes it whole, and a person does that.
fn is_whole_or_says_how(scene: &mut Scene<'_>) -> Played {
    let lab = scene.lab;
    let by_itself = scene.sees("the cluster is whole by itself", BY_ITSELF, || {
        lab.is_whole(101)
    });
    if by_itself.is_err() {
        scene.reads(102, "recovery.log", "start the database on 192.168.1.101")?;
        scene.does("a person starts the database on node101", |lab| {
            lab.node(101).start_database()
        })?;
    }
    scene.is_whole(101)
}

/// Alone the standby may lack what the primary has acknowledged since it last heard of it.
pub(super) fn primary_much_later(scene: &mut Scene<'_>) -> Played {
    both_lose_power(scene)?;
    is_back(scene, 102)?;
    scene.sees_on(102, "it runs as a standby", RECOVERY, |node| {
        Ok(!node.pids_of_database().is_empty() && node.in_recovery()?)
    })?;
    scene.passes(MUCH_LATER)?;
    ensure!(scene.lab.node(102).in_recovery()?, "it was promoted alone");
    is_back(scene, 101)?;
    is_whole_or_says_how(scene)
}

/// Without `MAX_AVAILABLE_LEVEL`: a person starts the last primary, as the log says.
pub(super) fn without_the_level(scene: &mut Scene<'_>) -> Played {
    both_lose_power(scene)?;
    is_back(scene, 102)?;
    is_back(scene, 101)?;
    is_whole_or_says_how(scene)
}
