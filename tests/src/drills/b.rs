//! A standby goes away, is behind, or is promoted by mistake; and three nodes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::scene::{FAILOVER, Played, RECOVERY, SHORT, Scene};
use super::{Drill, asynchronous, settings, three_hosts, two_hosts};
use crate::flavor::Flavor;
use crate::host::Node;
use crate::lab::{Lab, LabOptions};
use crate::watch::{Excuse, Expected};

pub(super) const DRILLS: &[Drill] = &[
    Drill {
        row: "B1",
        way: "",
        flavor: Flavor::Postgres,
        what: "power off a standby's host, power on",
        fast: true,
        options: two_hosts,
        play: power_off,
    },
    Drill {
        row: "B2",
        way: "",
        flavor: Flavor::Postgres,
        what: "standby database killed, then stopped",
        fast: true,
        options: two_hosts,
        play: killed_and_stopped,
    },
    Drill {
        row: "B3",
        way: "",
        flavor: Flavor::Postgres,
        what: "standby promoted by mistake",
        fast: true,
        options: two_hosts,
        play: promoted,
    },
    Drill {
        row: "B4",
        way: "",
        flavor: Flavor::Postgres,
        what: "standby's network cut, healed",
        fast: true,
        options: two_hosts,
        play: cut_off,
    },
    Drill {
        row: "B5",
        way: "",
        flavor: Flavor::Postgres,
        what: "standby far behind (more than `DATA_SIZE_DIFF`)",
        fast: false,
        options: two_hosts,
        play: far_behind,
    },
    Drill {
        row: "B6",
        way: "",
        flavor: Flavor::Postgres,
        what: "three nodes, the lowest id far behind, primary dies",
        fast: false,
        // A standby keeps no WAL for the other one, whatever its slots: without this the one that was
        // behind has to be copied after the failover, and its log says so.
        options: || LabOptions {
            postgres: settings(&[("wal_keep_size", "256MB")]),
            ..asynchronous(three_hosts())
        },
        play: furthest,
    },
    Drill {
        row: "B7",
        way: "",
        flavor: Flavor::Postgres,
        what: "three nodes, primary dies",
        fast: false,
        options: three_hosts,
        play: follows,
    },
];

/// The primary's commits wait for nobody, and go on.
fn goes_on_alone(scene: &mut Scene<'_>) -> Result<()> {
    scene.sees_on(101, "its commits wait for no standby", FAILOVER, |node| {
        Ok(node.psql("show synchronous_standby_names")?.is_empty())
    })?;
    scene.client_writes(SHORT)
}

fn power_off(scene: &mut Scene<'_>) -> Played {
    scene.breaks("node102, a standby, loses its power", |lab| {
        lab.node(102).power_off()
    })?;
    goes_on_alone(scene)?;
    scene.does("the power is back", |lab| lab.node(102).power_on())?;
    let end = scene.is_whole(101);
    scene.reads(102, "recovery.log", "was a standby: it is started")?;
    end
}

fn killed_and_stopped(scene: &mut Scene<'_>) -> Played {
    scene.breaks("the standby database is killed", |lab| {
        lab.node(102).kill_database()
    })?;
    scene.is_whole(101)?;
    scene.reads(102, "recovery.log", "was a standby: it is started")?;
    scene.breaks("the standby database is stopped", |lab| {
        lab.node(102).stop_database("fast")
    })?;
    scene.is_whole(101)
}

fn promoted(scene: &mut Scene<'_>) -> Played {
    scene.breaks("the standby is promoted by mistake", |lab| {
        let node = lab.node(102);
        node.promote_database()?;
        node.psql("set synchronous_commit = local; insert into probe values ('mistake')")
    })?;
    let end = scene.is_whole(101)?;
    scene.reads(
        102,
        "recovery.log",
        "this node takes writes without being it: it is stopped",
    )?;
    scene.reads(102, "recovery.log", "recovery success")?;
    Ok(Expected {
        two: Some(Excuse {
            why: "promoted by mistake it takes writes until its next run of network_rewind",
            at_most: Duration::from_secs(20),
        }),
        ..end
    })
}

fn cut_off(scene: &mut Scene<'_>) -> Played {
    scene.breaks("the standby's network is cut off", |lab| {
        lab.node(102).link_down()
    })?;
    goes_on_alone(scene)?;
    scene.does("the network is back", |lab| lab.node(102).link_up())?;
    let end = scene.is_whole(101);
    // Whichever of the two looks first.
    let by_standby = scene.lab.node(102).log("recovery.log")?;
    let (host, text) = match by_standby.contains("SYNC RECOVER MODE DONE") {
        true => (102, "remote primary node change sync"),
        false => (101, "async to sync"),
    };
    scene.reads(host, "recovery.log", text)?;
    end
}

/// Stops what receives WAL on a standby, or lets it go on.
fn receiver(node: &Node, signal: &str) -> Result<()> {
    let kill = ["pkill", signal, "-f", "walreceiver"];
    node.run(&kill, SHORT)?.success().map(drop)
}

fn many_rows(primary: &Node) -> Result<()> {
    let sql = "set synchronous_commit = local; create table big as \
               select repeat(md5(n::text), 30) from generate_series(1, 40000) n";
    primary.psql(sql).map(drop)
}

fn status(lab: &Lab, number: u8) -> Result<String> {
    let nodes = lab.pool_nodes()?;
    let node = nodes.iter().find(|it| it.id == lab.node(number).id());
    Ok(node.context("the pool does not know it")?.status.clone())
}

fn far_behind(scene: &mut Scene<'_>) -> Played {
    scene.breaks("the standby is held, and the primary writes 40 MB", |lab| {
        let (primary, standby) = (lab.node(101), lab.node(102));
        primary.psql("alter system set wal_sender_timeout = 0")?;
        primary.psql("select pg_reload_conf()")?;
        receiver(standby, "-STOP")?;
        lab.pcp_detach(1)?;
        many_rows(primary)
    })?;
    scene.reads(
        102,
        "recovery.log",
        "it is attached when that is at most 16 MB",
    )?;
    let lab = scene.lab;
    ensure!(status(lab, 102)? == "down", "it was attached far behind");
    scene.does("the standby goes on", |lab| {
        receiver(lab.node(102), "-CONT")
    })?;
    scene.is_whole(101)
}

fn furthest(scene: &mut Scene<'_>) -> Played {
    scene.breaks("node102, the lowest id, is held", |lab| {
        let primary = lab.node(101);
        primary.psql("alter system set wal_sender_timeout = 0")?;
        primary.psql("select pg_reload_conf()")?;
        receiver(lab.node(102), "-STOP")?;
        many_rows(primary)
    })?;
    let lab = scene.lab;
    let written = lab.node(101).psql("select pg_current_wal_flush_lsn()")?;
    scene.sees_on(103, "it has it all", RECOVERY, |node| {
        let question = format!("select pg_last_wal_replay_lsn() >= '{written}'");
        Ok(node.psql(&question)? == "t")
    })?;
    scene.does("node101 loses its power", |lab| lab.node(101).power_off())?;
    let new = scene.fails_over(101)?;
    ensure!(new == 103, "node{new} was promoted, not node103");
    scene.reads_within(
        102,
        "failover.log",
        "192.168.1.103 becomes the new primary",
        SHORT,
    )?;
    scene.does("node102 goes on, the power of node101 is back", |lab| {
        // It may have been restarted meanwhile.
        let _ = receiver(lab.node(102), "-CONT");
        lab.node(101).power_on()
    })?;
    let end = scene.is_whole(103)?;
    Ok(Expected {
        may_lose: scene.may_lose("asynchronous: rows that had not reached the new primary"),
        ..end
    })
}

fn follows(scene: &mut Scene<'_>) -> Played {
    scene.breaks("node101 loses its power", |lab| lab.node(101).power_off())?;
    let new = scene.fails_over(101)?;
    let other = if new == 102 { 103 } else { 102 };
    let lab = scene.lab;
    let what = format!("node{other} follows node{new}");
    scene.sees(&what, RECOVERY, || lab.streams(other, new))?;
    scene.does("the power is back", |lab| lab.node(101).power_on())?;
    scene.is_whole(new)
}
