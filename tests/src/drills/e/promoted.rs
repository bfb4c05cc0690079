//! Two standbys are promoted, and neither knows of the other's new timeline.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::drills::scene::{FAILOVER, Played, RECOVERY, SHORT, Scene};
use crate::drills::{settings, three_hosts};
use crate::lab::{Lab, LabOptions};
use crate::watch::{Excuse, Expected};

/// The copy is allowed: a rewind does not tell timelines of one number apart.
fn copying(pgpool: &[(&str, &str)]) -> LabOptions {
    let mut options = LabOptions {
        pools: 3,
        pgpool: settings(pgpool),
        // Commits that wait keep their connections, and a client that gave up makes another.
        postgres: settings(&[("max_connections", "500")]),
        ..three_hosts()
    };
    let config = settings(&[("REWIND_FALLBACK", "basebackup"), ("SYNC_DEGRADE", "never")]);
    options.config.extend(config);
    options
}

/// The pool that leads sees both: it is on the first primary's host.
pub(super) fn options() -> LabOptions {
    LabOptions {
        leader: 101,
        ..copying(&[]).failing_over_at_once()
    }
}

/// The pool's command does nothing: a person acts.
pub(super) fn options_by_hand() -> LabOptions {
    LabOptions {
        failover_command: "/bin/true".into(),
        ..copying(&[("search_primary_node_timeout", "2")]).failing_over_at_once()
    }
}

/// Without its tables no client writes anything.
const AWAY: &str = "alter table rows rename to rows_away; alter table probe rename to probe_away";
const BACK: &str = "alter table rows_away rename to rows; alter table probe_away rename to probe";

/// Nobody writes, and both standbys have it all: they are at one position.
fn stand_still(scene: &mut Scene<'_>) -> Result<()> {
    let lab = scene.lab;
    let primary = lab.node(101);
    scene.stop_rounds();
    scene.does("node101 takes no writes for a while", |_| {
        primary.psql(AWAY)
    })?;
    scene.sees("both standbys are at one position", SHORT, || {
        let position = |number: u8| lab.node(number).psql("select pg_last_wal_replay_lsn()");
        let flushed = primary.psql("select pg_current_wal_flush_lsn()")?;
        let seen = [flushed, position(102)?, position(103)?];
        ensure!(seen[0] == seen[1] && seen[1] == seen[2], "{seen:?}");
        Ok(())
    })
}

fn promote(lab: &Lab, number: u8) -> Result<()> {
    let node = lab.node(number);
    node.promote_database()?;
    node.psql("set synchronous_commit = local; checkpoint")?;
    node.psql(&format!("set synchronous_commit = local; {BACK}"))?;
    let own = format!(
        "set synchronous_commit = local; insert into probe values ('own row of node{number}')"
    );
    node.psql(&own).map(drop)
}

fn both_are_promoted(scene: &mut Scene<'_>) -> Result<()> {
    scene.breaks("node102 and node103 are promoted by hand", |lab| {
        promote(lab, 102)?;
        promote(lab, 103)
    })?;
    let lab = scene.lab;
    let timeline = "select timeline_id from pg_control_checkpoint()";
    let seen = [102, 103].map(|number| lab.node(number).psql(timeline).unwrap_or_default());
    scene.note(format!("their timelines are {seen:?}"));
    Ok(())
}

fn by_mistake() -> Option<Excuse> {
    Some(Excuse {
        why: "promoted by hand, as the drill wants it",
        at_most: Duration::from_secs(60),
    })
}

pub(super) fn beside_a_primary(scene: &mut Scene<'_>) -> Played {
    stand_still(scene)?;
    both_are_promoted(scene)?;
    scene.does("node101 takes writes again", |lab| {
        lab.node(101)
            .psql(&format!("set synchronous_commit = local; {BACK}"))
    })?;
    scene.start_rounds();
    let end = scene.is_whole(101)?;
    nobody_said_so_too_early(scene.lab)?;
    Ok(Expected {
        two: by_mistake(),
        ..end
    })
}

pub(super) fn without_a_primary(scene: &mut Scene<'_>) -> Played {
    stand_still(scene)?;
    scene.breaks("node101's database is killed", |lab| {
        lab.node(101).kill_database()
    })?;
    both_are_promoted(scene)?;
    scene.start_rounds();
    // Nothing proves which of the two is the right one: they say so, and a person decides.
    let primary = a_person_keeps_the_pools(scene)?;
    let end = scene.is_whole(primary)?;
    nobody_said_so_too_early(scene.lab)?;
    Ok(Expected {
        two: by_mistake(),
        ..end
    })
}

/// What the one that the pool does not name says is done: it is stopped, and recovered with `--force`.
/// Which host is kept then.
fn a_person_keeps_the_pools(scene: &mut Scene<'_>) -> Result<u8> {
    const SAYS: &str = "stop the other, and run network_rewind --force there";
    let lab = scene.lab;
    let says = |number: u8| {
        let log = lab.node(number).recovery_log();
        log.is_ok_and(|log| log.contains(SAYS))
    };
    scene.sees("one of them names both, and what to do", RECOVERY, || {
        ensure!(says(102) || says(103), "neither does");
        Ok(())
    })?;
    let (lost, kept) = match says(102) {
        true => (102, 103),
        false => (103, 102),
    };
    scene.does(
        &format!("node{lost} is stopped and recovered by hand, as its log says"),
        |lab| {
            let node = lab.node(lost);
            node.stop_database("fast")?;
            node.recover(&["--force"], RECOVERY)?.success().map(drop)
        },
    )?;
    Ok(kept)
}

/// Whoever said that its recovery went well streamed: the step before had seen it at the primary.
fn nobody_said_so_too_early(lab: &Lab) -> Result<()> {
    for node in lab.nodes() {
        let said = node.recovery_log()?.matches("recovery success").count();
        let events = node.events()?;
        let seen = events
            .iter()
            .filter(|it| it.step == "recover.streaming" && it.outcome != "failed")
            .count();
        ensure!(
            said <= seen,
            "{} said {said} times that it was recovered, and was seen streaming {seen} times",
            node.name()
        );
    }
    Ok(())
}

/// The first one dies, too, before the second has heard of its timeline.
pub(super) fn one_after_the_other(scene: &mut Scene<'_>) -> Played {
    scene.stop_rounds();
    scene.breaks(
        "node102 and node103 do not see each other, and node101's database is killed",
        |lab| {
            lab.node(102).block_to(lab.node(103))?;
            lab.node(101).kill_database()
        },
    )?;
    let first = scene.fails_over(101)?;
    let second = if first == 102 { 103 } else { 102 };
    scene.breaks(
        &format!("node{first}, the new primary, is killed, too"),
        |lab| lab.node(first).kill_database(),
    )?;
    scene.sees_on(second, "it is the primary", FAILOVER, |node| {
        Ok(!node.in_recovery()? && node.has_vip()?)
    })?;
    scene.does("they see each other again", |lab| {
        lab.node(102).unblock(lab.node(103))
    })?;
    scene.start_rounds();
    let end = scene.is_whole(second)?;
    let lab = scene.lab;
    scene.sees("all are on the second one's timeline", RECOVERY, || {
        for number in [101, first] {
            let timeline = "select received_tli from pg_stat_wal_receiver";
            let seen = lab.node(number).psql(timeline)?;
            ensure!(seen == "3", "node{number} is on timeline {seen}");
        }
        Ok(())
    })?;
    nobody_said_so_too_early(scene.lab)?;
    Ok(end)
}
