//! The primary, its host, its disk or its network goes away.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::scene::{FAILOVER, Played, RECOVERY, SHORT, Scene};
use super::{Drill, asynchronous, by_cron, settings, three_hosts, two_hosts};
use crate::flavor::Flavor;
use crate::lab::LabOptions;
use crate::layout::{DATA, DB_BIN};
use crate::watch::{Excuse, Expected, Loss};

pub(super) const DRILLS: &[Drill] = &[
    Drill {
        row: "A1",
        way: "",
        flavor: Flavor::Postgres,
        what: "power off the primary's host, power on",
        fast: false,
        options: || by_cron(two_hosts()),
        play: power_off,
    },
    Drill {
        row: "A2",
        way: "",
        flavor: Flavor::Postgres,
        what: "primary database killed, host alive",
        fast: true,
        options: two_hosts,
        play: killed,
    },
    Drill {
        row: "A2",
        way: "pool elsewhere",
        flavor: Flavor::Postgres,
        what: "the same, and the pool that leads is on a host without a database",
        fast: true,
        options: || LabOptions {
            leader: 103,
            ..three_pools()
        },
        play: killed_and_pool_elsewhere,
    },
    Drill {
        row: "A3",
        way: "",
        flavor: Flavor::Postgres,
        what: "primary database stopped by hand",
        fast: true,
        options: two_hosts,
        play: stopped,
    },
    Drill {
        row: "A4",
        way: "",
        flavor: Flavor::Postgres,
        what: "primary database frozen, continued after the failover",
        fast: true,
        options: two_hosts,
        play: frozen,
    },
    Drill {
        row: "A4",
        way: "asynchronous",
        flavor: Flavor::Postgres,
        what: "primary database frozen, continued after the failover",
        fast: false,
        options: || asynchronous(two_hosts()),
        play: frozen,
    },
    Drill {
        row: "A4",
        way: "whole host",
        flavor: Flavor::Postgres,
        what: "primary's machine paused (nothing of it runs, nothing is on the network), continued \
               after the failover",
        fast: false,
        options: two_hosts,
        play: paused,
    },
    Drill {
        row: "A4",
        way: "whole host asynchronous",
        flavor: Flavor::Postgres,
        what: "primary's machine paused, continued after the failover",
        fast: false,
        options: || asynchronous(two_hosts()),
        play: paused,
    },
    Drill {
        row: "A4",
        way: "three databases",
        flavor: Flavor::Postgres,
        what: "three databases: primary database frozen, continued at once after the failover",
        fast: false,
        options: || by_cron(three_databases()),
        play: frozen,
    },
    Drill {
        row: "A4",
        way: "whole host three",
        flavor: Flavor::Postgres,
        what: "three databases: primary's machine paused, continued within the minute, cron on it as ever",
        fast: false,
        options: || by_cron(three_databases()),
        play: paused_within_the_minute,
    },
    Drill {
        row: "A5",
        way: "hangs",
        flavor: Flavor::Postgres,
        what: "primary's data disk hangs",
        fast: false,
        options: data_disk,
        play: disk_hangs,
    },
    Drill {
        row: "A5",
        way: "read-only",
        flavor: Flavor::Postgres,
        what: "primary's data disk turns read-only",
        fast: false,
        options: data_disk,
        play: disk_fails,
    },
    Drill {
        row: "A5",
        way: "full",
        flavor: Flavor::Postgres,
        what: "primary's data disk is full",
        fast: false,
        options: data_disk,
        play: disk_full,
    },
    Drill {
        row: "A6",
        way: "20 s",
        flavor: Flavor::Postgres,
        what: "primary's network cut off, healed after 20 s",
        fast: false,
        options: || by_cron(two_hosts()),
        play: |scene| cut_off(scene, Duration::from_secs(20)),
    },
    Drill {
        row: "A6",
        way: "90 s",
        flavor: Flavor::Postgres,
        what: "primary's network cut off, healed after 90 s",
        fast: false,
        options: || by_cron(two_hosts()),
        play: |scene| cut_off(scene, Duration::from_secs(90)),
    },
    Drill {
        row: "A6",
        way: "90 s asynchronous",
        flavor: Flavor::Postgres,
        what: "primary's network cut off, healed after 90 s, with a client on its side",
        fast: false,
        options: || by_cron(asynchronous(two_hosts())),
        play: |scene| cut_off(scene, Duration::from_secs(90)),
    },
    Drill {
        row: "A6",
        way: "three databases",
        flavor: Flavor::Postgres,
        what: "three databases: primary's network cut off, healed within the minute, a client on its side",
        fast: false,
        options: || by_cron(three_databases()),
        play: |scene| cut_off(scene, Duration::from_secs(20)),
    },
    Drill {
        row: "A7",
        way: "three pools",
        flavor: Flavor::Postgres,
        what: "primary loses its peer, not the gateway; a third pool on a host of its own",
        fast: false,
        options: three_pools,
        play: |scene| peer_lost(scene, Split::Quorum),
    },
    Drill {
        row: "A7",
        way: "three pools asynchronous",
        flavor: Flavor::Postgres,
        what: "the same",
        fast: false,
        options: || asynchronous(three_pools()),
        play: |scene| peer_lost(scene, Split::Quorum),
    },
    Drill {
        row: "A7",
        way: "two pools never",
        flavor: Flavor::Postgres,
        what: "primary loses its peer, not the gateway; two pools, `SYNC_DEGRADE=never`",
        fast: false,
        options: || with_setting(two_hosts(), "SYNC_DEGRADE", "never"),
        play: |scene| peer_lost(scene, Split::Waits),
    },
    Drill {
        row: "A7",
        way: "two pools always",
        flavor: Flavor::Postgres,
        what: "the same, `SYNC_DEGRADE=always`",
        fast: false,
        options: two_hosts,
        play: |scene| peer_lost(scene, Split::Writes),
    },
    Drill {
        row: "A7",
        way: "two pools asynchronous",
        flavor: Flavor::Postgres,
        what: "the same, asynchronous",
        fast: false,
        options: || asynchronous(two_hosts()),
        play: |scene| peer_lost(scene, Split::Writes),
    },
    Drill {
        row: "A8",
        way: "",
        flavor: Flavor::Postgres,
        what: "operator detaches the primary at the pool",
        fast: true,
        options: two_hosts,
        play: detached,
    },
    Drill {
        row: "A9",
        way: "",
        flavor: Flavor::Postgres,
        what: "primary's data directory deleted",
        fast: false,
        options: two_hosts,
        play: data_deleted,
    },
];

fn with_setting(mut options: LabOptions, key: &str, value: &str) -> LabOptions {
    options.config.extend(settings(&[(key, value)]));
    options
}

/// The data directory is on a disk of its own.
fn data_disk() -> LabOptions {
    LabOptions {
        data_disk: 1024,
        ..two_hosts()
    }
}

/// Two hosts with a database, and a third pool on a host that has none: half is not enough then.
fn three_pools() -> LabOptions {
    LabOptions {
        witness: true,
        pgpool: settings(&[("enable_consensus_with_half_votes", "off")]),
        ..two_hosts()
    }
}

/// Three hosts with a database and a pool each.
fn three_databases() -> LabOptions {
    LabOptions {
        pools: 3,
        ..three_hosts()
    }
}

fn power_off(scene: &mut Scene<'_>) -> Played {
    scene.breaks("node101 loses its power", |lab| lab.node(101).power_off())?;
    scene.fails_over(101)?;
    scene.client_writes(SHORT)?;
    scene.reads(
        102,
        "failover.log",
        "old primary 192.168.1.101 is unreachable",
    )?;
    scene.does("the power is back", |lab| lab.node(101).power_on())?;
    let end = scene.is_whole(102);
    scene.reads(101, "recovery.log", "recovery success")?;
    end
}

fn killed(scene: &mut Scene<'_>) -> Played {
    scene.breaks("the primary database is killed", |lab| {
        lab.node(101).kill_database()
    })?;
    scene.fails_over(101)?;
    let end = scene.is_whole(102);
    scene.reads(
        102,
        "failover.log",
        "old primary 192.168.1.101 is fenced: database was not running",
    )?;
    scene.reads(101, "recovery.log", "recovery success")?;
    end
}

fn killed_and_pool_elsewhere(scene: &mut Scene<'_>) -> Played {
    scene.breaks("the primary database is killed", |lab| {
        lab.node(101).kill_database()
    })?;
    scene.fails_over(101)?;
    scene.reads(
        103,
        "failover.log",
        "old primary 192.168.1.101 is fenced: database was not running",
    )?;
    let node = scene.lab.node(103);
    let run = scene.does("network_rewind on node103", |_| {
        node.recover(&[], SHORT)?.success()
    })?;
    ensure!(run.contains("this host has no database"), "{run}");
    let vip_ctl = format!("{DB_BIN}/vip_ctl");
    let run = node.run(&[&vip_ctl, "add"], SHORT)?;
    ensure!(run.code == Some(2) && !node.has_vip()?, "{run}");
    scene.is_whole(102)
}

fn stopped(scene: &mut Scene<'_>) -> Played {
    scene.breaks("the primary database is stopped by hand", |lab| {
        lab.node(101).stop_database("fast")
    })?;
    scene.fails_over(101)?;
    let end = scene.is_whole(102);
    scene.reads(102, "failover.log", "clean, shutdown checkpoint at")?;
    end
}

fn frozen(scene: &mut Scene<'_>) -> Played {
    scene.breaks("all processes of the primary database are stopped", |lab| {
        lab.node(101).freeze_database();
        Ok(())
    })?;
    let new = scene.fails_over(101)?;
    scene.does("they may go on", |lab| {
        lab.node(101).thaw_database();
        Ok(())
    })?;
    // The pool that leads is there, whoever is the new primary.
    scene.reads(
        102,
        "failover.log",
        "old primary 192.168.1.101 is fenced: database killed",
    )?;
    scene.is_whole(new)
}

/// Cron goes on, on the paused machine, too: what it starts there begins when the machine goes on.
fn paused_within_the_minute(scene: &mut Scene<'_>) -> Played {
    scene.add_client_on(101)?;
    scene.breaks("node101's machine is paused", |lab| {
        let node = lab.node(101);
        node.link_down()?;
        node.freeze();
        Ok(())
    })?;
    let new = scene.fails_over(101)?;
    scene.client_writes(SHORT)?;
    scene.does("node101's machine goes on", |lab| {
        let node = lab.node(101);
        node.thaw();
        node.link_up()
    })?;
    let end = scene.is_whole(new)?;
    Ok(Expected {
        two: Some(Excuse {
            why: "a machine that goes on does not know what it missed until its next run of \
                  network_rewind, a minute at most",
            at_most: Duration::from_secs(75),
        }),
        ..end
    })
}

fn paused(scene: &mut Scene<'_>) -> Played {
    let end = paused_and_back(scene)?;
    scene.reads(
        102,
        "failover.log",
        "old primary 192.168.1.101 is unreachable",
    )?;
    scene.reads(
        101,
        "recovery.log",
        "decision: 192.168.1.102 is the pool's primary",
    )?;
    Ok(end)
}

/// With any number of hosts.
pub(super) fn paused_and_back(scene: &mut Scene<'_>) -> Played {
    // What would be started on it now would run.
    scene.stop_rounds();
    scene.breaks("node101's machine is paused", |lab| {
        let node = lab.node(101);
        node.link_down()?;
        node.freeze();
        Ok(())
    })?;
    let new = scene.fails_over(101)?;
    scene.client_writes(SHORT)?;
    scene.does("node101's machine goes on", |lab| {
        let node = lab.node(101);
        node.thaw();
        node.link_up()
    })?;
    scene.start_rounds();
    let end = scene.is_whole(new)?;
    Ok(Expected {
        two: Some(Excuse {
            why: "a machine that goes on does not know what it missed until its next run of \
                  network_rewind",
            at_most: Duration::from_secs(20),
        }),
        may_lose: asynchronous_tail(scene),
        ..end
    })
}

/// What an asynchronous cluster may lose.
fn asynchronous_tail(scene: &Scene<'_>) -> Option<Loss> {
    let loss = scene.may_lose("asynchronous: rows that had not reached the new primary");
    loss.filter(|_| !scene.lab.options().sync)
}

const DISK_FAILED: &str = "the disk check failed, the database is stopped";

/// The disk check has stopped the database before the pool noticed anything. On a disk that turns
/// read-only the server ends by itself.
fn seen_in_time(scene: &Scene<'_>) -> Result<()> {
    let started = |number: u8, step: &str| -> Result<String> {
        let events = scene.lab.node(number).events()?;
        let event = events.into_iter().find(|event| event.step == step);
        Ok(event.with_context(|| format!("no {step}"))?.started)
    };
    let (stopped, fenced) = (started(101, "disk.stop")?, started(102, "fence")?);
    ensure!(stopped < fenced, "stopped {stopped}, fenced {fenced}");
    Ok(())
}

fn disk_hangs(scene: &mut Scene<'_>) -> Played {
    let disk = scene.lab.node(101).data_disk();
    scene.breaks("node101's data disk hangs", |_| disk.hang())?;
    scene.fails_over(101)?;
    scene.client_writes(SHORT)?;
    scene.reads(102, "failover.log", "old primary 192.168.1.101 is fenced")?;
    scene.reads(101, "recovery.log", DISK_FAILED)?;
    seen_in_time(scene)?;
    scene.does("the disk answers again", |_| disk.go_on())?;
    scene.is_whole(102)
}

fn disk_fails(scene: &mut Scene<'_>) -> Played {
    let disk = scene.lab.node(101).data_disk();
    scene.breaks("node101's data disk turns read-only", |_| disk.fail())?;
    scene.fails_over(101)?;
    scene.client_writes(SHORT)?;
    scene.reads(101, "recovery.log", DISK_FAILED)?;
    scene.stop_rounds();
    scene.does("the disk is mounted anew", |_| disk.mount_again())?;
    scene.start_rounds();
    scene.is_whole(102)
}

fn disk_full(scene: &mut Scene<'_>) -> Played {
    let disk = scene.lab.node(101).data_disk();
    scene.breaks("node101's data disk is full", |_| disk.fill())?;
    scene.fails_over(101)?;
    scene.client_writes(SHORT)?;
    scene.reads(101, "recovery.log", DISK_FAILED)?;
    seen_in_time(scene)?;
    scene.does("there is room again", |_| disk.make_room())?;
    scene.is_whole(102)
}

fn cut_off(scene: &mut Scene<'_>, time: Duration) -> Played {
    scene.add_client_on(101)?;
    scene.breaks("node101's network is cut off", |lab| {
        lab.node(101).link_down()
    })?;
    let new = scene.fails_over(101)?;
    scene.client_writes(SHORT)?;
    scene.lasts(time)?;
    scene.does("the network is back", |lab| lab.node(101).link_up())?;
    let end = scene.is_whole(new)?;
    scene.reads(
        102,
        "failover.log",
        "old primary 192.168.1.101 is unreachable",
    )?;
    if time > Duration::from_secs(60) {
        scene.reads(101, "recovery.log", "this host is cut off")?;
    }
    scene.reads(101, "recovery.log", "recovery success")?;
    Ok(Expected {
        two: Some(Excuse {
            why: "cut off it takes writes that wait for no standby until its next run of \
                  network_rewind, a minute at most",
            at_most: Duration::from_secs(75),
        }),
        may_lose: asynchronous_tail(scene),
        ..end
    })
}

/// What each side of a split may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Split {
    /// One of them has a quorum.
    Quorum,
    /// Both, and commits on the old side wait.
    Waits,
    /// Both write.
    Writes,
}

fn peer_lost(scene: &mut Scene<'_>, split: Split) -> Played {
    scene.add_client_on(101)?;
    scene.breaks(
        "node101 and node102 do not see each other any more",
        |lab| lab.node(101).block_to(lab.node(102)),
    )?;
    if split == Split::Quorum {
        scene.sees_on(102, "nothing comes from the primary any more", SHORT, |node| {
            let silent = "select coalesce(max(last_msg_receipt_time) < now() - interval '3 s', true) \
                          from pg_stat_wal_receiver";
            Ok(node.psql(silent)? == "t")
        })?;
        // The old primary is alive, as one of the two majorities' hosts can still see.
        scene.lasts(Duration::from_secs(30))?;
        let primaries = scene.lab.primaries()?;
        ensure!(primaries == [101], "primaries are {primaries:?}");
        if !scene.lab.options().sync {
            scene.client_writes(SHORT)?;
        }
        scene.reads(
            102,
            "recovery.log",
            "its database is a standby: nothing is changed",
        )?;
    } else {
        scene.sees_on(102, "it is a primary, too", FAILOVER, |node| {
            Ok(!node.in_recovery()?)
        })?;
        scene.lasts(Duration::from_secs(45))?;
    }
    scene.does("they see each other again", |lab| {
        lab.node(101).unblock(lab.node(102))
    })?;
    if split == Split::Quorum {
        // Until its stream goes on, the primary's commits wait, and who gives up waiting and connects
        // again holds one more connection. With none left for its check the pool fails over.
        scene.client_writes(FAILOVER)?;
    }
    let primary = scene.one_is_left()?;
    let end = scene.is_whole(primary)?;
    let old = if primary == 101 { 102 } else { 101 };
    if split != Split::Quorum {
        scene.reads(
            old,
            "recovery.log",
            "that one was promoted from this node's timeline",
        )?;
    }
    Ok(match split {
        Split::Quorum => end,
        _ => Expected {
            two: Some(Excuse {
                why: "with two pools nobody can know which side is the right one",
                at_most: Duration::from_secs(90),
            }),
            may_lose: scene
                .may_lose("both sides of the cut took writes, and those of one side are discarded")
                .filter(|_| split == Split::Writes),
            ..end
        },
    })
}

fn detached(scene: &mut Scene<'_>) -> Played {
    scene.breaks("the operator detaches the primary", |lab| lab.pcp_detach(0))?;
    scene.fails_over(101)?;
    let end = scene.is_whole(102);
    scene.reads(102, "failover.log", "database stopped (fast), clean")?;
    end
}

fn data_deleted(scene: &mut Scene<'_>) -> Played {
    scene.breaks("the primary's data directory is deleted", |lab| {
        // The server makes files in it meanwhile.
        let node = lab.node(101);
        crate::wait::wait_for("it to be gone", SHORT, || {
            let _ = node.delete_data();
            ensure!(!node.path(DATA)?.exists(), "it is there");
            Ok(())
        })
    })?;
    scene.fails_over(101)?;
    scene.client_writes(SHORT)?;
    scene.reads_within(101, "recovery.log", "_basebackup -D", RECOVERY)?;
    scene.does("the operator allows a copy", |lab| {
        lab.node(101)
            .set_config(&[("REWIND_FALLBACK", "basebackup")])
    })?;
    scene.is_whole(102)
}
