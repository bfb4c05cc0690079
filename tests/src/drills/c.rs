//! The pool, the gateway, the way to the old primary, or everything goes away.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::scene::{FAILOVER, Played, RECOVERY, SHORT, Scene};
use super::{Drill, settings, two_hosts};
use crate::flavor::Flavor;
use crate::lab::{Lab, LabOptions};
use crate::layout::PRIMARY_DOWN;
use crate::watch::{Excuse, Expected};

pub(super) const DRILLS: &[Drill] = &[
    Drill {
        row: "C1",
        way: "",
        flavor: Flavor::Postgres,
        what: "primary's and pool leader's host die together",
        fast: false,
        options: || LabOptions {
            leader: 101,
            ..two_hosts()
        },
        play: leader_dies,
    },
    Drill {
        row: "C2",
        way: "",
        flavor: Flavor::Postgres,
        what: "gateway down, everything else fine",
        fast: true,
        options: two_hosts,
        play: no_gateway,
    },
    Drill {
        row: "C3",
        way: "",
        flavor: Flavor::Postgres,
        what: "pool down on every node",
        fast: true,
        options: two_hosts,
        play: no_pool,
    },
    Drill {
        row: "C4",
        way: "unreachable",
        flavor: Flavor::Postgres,
        what: "sshd down on the old primary, host and database alive, \
               `PROMOTE_WITHOUT_FENCE=unreachable`",
        fast: false,
        options: two_hosts,
        play: no_sshd,
    },
    Drill {
        row: "C4",
        way: "always",
        flavor: Flavor::Postgres,
        what: "the same, `PROMOTE_WITHOUT_FENCE=always`",
        fast: false,
        options: || {
            let mut options = two_hosts();
            let always = settings(&[("PROMOTE_WITHOUT_FENCE", "always")]);
            options.config.extend(always);
            options
        },
        play: no_sshd_and_always,
    },
    Drill {
        row: "C5",
        way: "",
        flavor: Flavor::Postgres,
        what: "somebody else answers for the database VIP",
        fast: true,
        options: two_hosts,
        play: stranger,
    },
    Drill {
        row: "C6",
        way: "",
        flavor: Flavor::Postgres,
        what: "every database down, all hosts up, `MAX_AVAILABLE_LEVEL=1`",
        fast: false,
        options: || {
            let mut options = two_hosts();
            let level = settings(&[("MAX_AVAILABLE_LEVEL", "1")]);
            options.config.extend(level);
            options
        },
        play: everything_down,
    },
];

fn leader_dies(scene: &mut Scene<'_>) -> Played {
    scene.breaks(
        "node101, the primary's and the leader's, loses its power",
        |lab| lab.node(101).power_off(),
    )?;
    scene.fails_over(101)?;
    scene.reads(
        102,
        "failover.log",
        "old primary 192.168.1.101 is unreachable",
    )?;
    scene.does("the power is back", |lab| lab.node(101).power_on())?;
    scene.is_whole(102)
}

/// When each database was started: another time after each restart.
fn started(lab: &Lab) -> Result<BTreeMap<u8, String>> {
    let question = "select pg_postmaster_start_time()";
    let nodes = lab.nodes().iter();
    nodes
        .map(|node| Ok((node.number(), node.psql(question)?)))
        .collect()
}

fn no_gateway(scene: &mut Scene<'_>) -> Played {
    let before = started(scene.lab)?;
    scene.breaks("the gateway is down", Lab::gateway_down)?;
    scene.reads(
        101,
        "recovery.log",
        "the trust IP is down, and nothing is stopped",
    )?;
    scene.reads(
        102,
        "recovery.log",
        "no trust IP answers: nothing is changed",
    )?;
    scene.client_writes(SHORT)?;
    ensure!(started(scene.lab)? == before, "a database was stopped");
    scene.does("the gateway is back", Lab::gateway_up)?;
    let end = scene.is_whole(101);
    ensure!(started(scene.lab)? == before, "a database was stopped");
    end
}

fn no_pool(scene: &mut Scene<'_>) -> Played {
    let before = started(scene.lab)?;
    scene.breaks("the pool is stopped on every node", |lab| {
        lab.nodes().iter().try_for_each(|node| node.stop_pool())
    })?;
    scene.reads(101, "recovery.log", "no other host has one")?;
    scene.reads(102, "recovery.log", "no pool answers")?;
    scene.client_writes(SHORT)?;
    ensure!(started(scene.lab)? == before, "a database was stopped");
    scene.does("the pools are started", |lab| {
        lab.nodes().iter().try_for_each(|node| node.start_pool())
    })?;
    let end = scene.is_whole(101);
    ensure!(started(scene.lab)? == before, "a database was stopped");
    end
}

fn no_sshd(scene: &mut Scene<'_>) -> Played {
    scene.breaks(
        "sshd is stopped on node101, and the pool takes its database for dead",
        |lab| {
            lab.node(101).stop_sshd()?;
            lab.pcp_detach(0)
        },
    )?;
    scene.reads_within(102, "failover.log", "failover failed: ", FAILOVER)?;
    scene.client_writes(SHORT)?;
    let primaries = scene.lab.primaries()?;
    ensure!(primaries == [101], "primaries are {primaries:?}");
    scene.does("sshd is started", |lab| lab.node(101).start_sshd())?;
    scene.is_whole(101)
}

fn no_sshd_and_always(scene: &mut Scene<'_>) -> Played {
    scene.breaks(
        "sshd is stopped on node101, and the pool takes its database for dead",
        |lab| {
            lab.node(101).stop_sshd()?;
            lab.pcp_detach(0)
        },
    )?;
    scene.reads_within(102, "failover.log", "is alive, not fenced", FAILOVER)?;
    scene.does("sshd is started", |lab| lab.node(101).start_sshd())?;
    let end = scene.is_whole(102)?;
    scene.reads(101, "recovery.log", "it is stopped and recovered")?;
    Ok(Expected {
        two: Some(Excuse {
            why: "PROMOTE_WITHOUT_FENCE=always promotes beside a primary that lives",
            at_most: Duration::from_secs(30),
        }),
        may_lose: scene.may_lose(
            "PROMOTE_WITHOUT_FENCE=always: what the old primary acknowledged beside the new",
        ),
        ..end
    })
}

fn stranger(scene: &mut Scene<'_>) -> Played {
    scene.breaks(
        "a stranger has the database VIP, and the primary is killed",
        |lab| {
            lab.gateway_takes_vip()?;
            lab.node(101).kill_database()
        },
    )?;
    scene.reads_within(
        102,
        "failover.log",
        "answers for the database VIP",
        FAILOVER,
    )?;
    let primaries = scene.lab.primaries()?;
    ensure!(primaries.is_empty(), "primaries are {primaries:?}");
    scene.does(
        "the stranger drops it, the operator runs the command again",
        |lab| {
            lab.gateway_drops_vip()?;
            lab.node(102).failover(&PRIMARY_DOWN, SHORT)?.success()
        },
    )?;
    scene.is_whole(102)
}

fn everything_down(scene: &mut Scene<'_>) -> Played {
    scene.breaks("both databases are killed", |lab| {
        lab.node(102).kill_database()?;
        lab.node(101).kill_database()
    })?;
    let lab = scene.lab;
    scene.sees("a primary", RECOVERY, || {
        let primaries = lab.primaries()?;
        ensure!(primaries == [101], "primaries are {primaries:?}");
        Ok(())
    })?;
    scene.is_whole(101)
}
