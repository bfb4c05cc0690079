//! The tools themselves are killed, meet each other, or find things wrong; and the long run.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::killed;
use super::scene::{FAILOVER, Played, RECOVERY, SHORT, Scene};
use super::{Drill, by_cron, three_hosts, two_hosts};
use crate::enter::{Running, ToolRun};
use crate::flavor::Flavor;
use crate::host::Node;
use crate::lab::{Lab, LabOptions};
use crate::layout::{DATA, DB_BIN, LOG, POOL_BIN, POSTGRES_BIN, UID, USER};
use crate::wait::wait_for;
use crate::watch::{Excuse, Expected};

pub(super) const DRILLS: &[Drill] = &[
    Drill {
        row: "D1",
        way: "failover",
        flavor: Flavor::Postgres,
        what: "`failover_stream` killed after each step of a failover, here and over ssh, and of a standby's death, then run again",
        fast: false,
        options: killed::three_hosts_options,
        play: killed::failover,
    },
    Drill {
        row: "D1",
        way: "recovery",
        flavor: Flavor::Postgres,
        what: "`network_rewind` killed after each of its steps, then run again: recoveries, standbys, the VIP, every database down, the primary cut off",
        fast: false,
        options: killed::recovery_options,
        play: killed::recovery,
    },
    Drill {
        row: "D1",
        way: "inside",
        flavor: Flavor::Postgres,
        what: "`network_rewind` killed inside the rewind and the base backup, then run again",
        fast: false,
        options: at_once,
        play: killed::inside,
    },
    Drill {
        row: "D1",
        way: "small tools",
        flavor: Flavor::Postgres,
        what: "`vip_ctl`, `attach_node`, `rw_check` killed at any moment, then run again",
        fast: false,
        options: two_hosts,
        play: killed::small_tools,
    },
    Drill {
        row: "D2",
        way: "",
        flavor: Flavor::Postgres,
        what: "rewind's source dies in the middle of the rewind",
        fast: false,
        options: at_once,
        play: source_dies,
    },
    Drill {
        row: "D3",
        way: "",
        flavor: Flavor::Postgres,
        what: "old primary has lost WAL that a rewind needs",
        fast: false,
        options: at_once,
        play: wal_lost,
    },
    Drill {
        row: "D4",
        way: "",
        flavor: Flavor::Postgres,
        what: "failover, recovery, failover back, ten times in a row under load",
        fast: false,
        options: two_hosts,
        play: ten_times,
    },
    Drill {
        row: "D5",
        way: "",
        flavor: Flavor::Postgres,
        what: "two `network_rewind` at once; one while a failover promotes this node",
        fast: false,
        options: || super::asynchronous(two_hosts()),
        play: at_the_same_time,
    },
    Drill {
        row: "D6",
        way: "",
        flavor: Flavor::Postgres,
        what: "log on a full disk, unreadable configuration, wrong password, wrong PCP password, \
               missing program",
        fast: false,
        options: two_hosts,
        play: wrong_input,
    },
    Drill {
        row: "D7",
        way: "",
        flavor: Flavor::Postgres,
        what: "paused: a standby stopped for patching stays down; resumed: it comes back",
        fast: true,
        options: two_hosts,
        play: paused,
    },
    Drill {
        row: "D8",
        way: "",
        flavor: Flavor::Postgres,
        what: "switch reboot: every link down for 40 s, then up",
        fast: false,
        options: || by_cron(two_hosts()),
        play: |scene| switch_reboot(scene, None),
    },
    Drill {
        row: "D8",
        way: "down at the minute",
        flavor: Flavor::Postgres,
        what: "the same, three databases: the pools notice when cron's minute begins",
        fast: false,
        options: three_databases_by_cron,
        play: |scene| switch_reboot(scene, Some(NOTICED_AFTER)),
    },
    Drill {
        row: "D8",
        way: "up at the minute",
        flavor: Flavor::Postgres,
        what: "the same, three databases: the links are up again just before cron's minute begins",
        fast: false,
        options: three_databases_by_cron,
        play: |scene| switch_reboot(scene, Some(REBOOT + Duration::from_secs(2))),
    },
];

/// Two hosts whose pools fail over at the first sign of a database that is gone.
pub(super) fn at_once() -> LabOptions {
    two_hosts().failing_over_at_once()
}

/// The primary's database is killed with rows that no other has, and the pool fails over to the other
/// host, which is returned, and has gone on meanwhile.
pub(super) fn killed_with_rows_of_its_own(scene: &mut Scene<'_>, old: u8) -> Result<u8> {
    let new = if old == 101 { 102 } else { 101 };
    let what = format!("node{old}, the primary, is killed with rows that no other has");
    scene.breaks(&what, |lab| lab.kill_with_rows_of_its_own(old, new))?;
    let promoted = scene.fails_over(old)?;
    ensure!(promoted == new, "node{promoted} was promoted");
    scene.lab.node(new).go_on_with_own_rows()?;
    Ok(new)
}

/// Starts `network_rewind` as cron does.
fn start(node: &Node) -> Result<Running> {
    let tool = format!("{DB_BIN}/network_rewind");
    node.spawn(USER, &[&tool], RECOVERY)
}

/// It ended with this code, and said why in one line.
pub(super) fn says(run: &ToolRun, code: i32, words: &str) -> Result<()> {
    ensure!(run.code == Some(code), "not {code}: {run}");
    ensure!(run.stderr.lines().count() == 1, "not one line: {run}");
    ensure!(!run.stderr.contains("panicked"), "{run}");
    ensure!(run.stderr.contains(words), "no {words:?}: {run}");
    Ok(())
}

/// A run on the node cannot recover it: it says so, and the database stays down.
fn stays_down(node: &Node, code: i32, words: &str) -> Result<()> {
    says(&node.recover(&[], RECOVERY)?, code, words)?;
    ensure!(node.pids_of_database().is_empty(), "it runs");
    Ok(())
}

fn source_dies(scene: &mut Scene<'_>) -> Played {
    scene.stop_rounds();
    let lab = scene.lab;
    let (old, new) = (lab.node(101), lab.node(102));
    killed_with_rows_of_its_own(scene, 101)?;
    new.psql(
        "create table big as select n, repeat(md5(n::text), 30) as t \
         from generate_series(1, 150000) n",
    )?;
    let big = new.psql("select pg_relation_filepath('big')")?;
    let big = old.path(&format!("{DATA}/{big}"))?;
    let running = start(old)?;
    scene.sees("node101: a part of the rewind is done", RECOVERY, || {
        ensure!(big.exists(), "not yet");
        Ok(())
    })?;
    let run = scene.does("node102, the source, is killed", |_| {
        new.kill_database()?;
        running.wait()
    })?;
    says(&run, 66, "the rewind failed")?;
    stays_down(old, 1, "an interrupted rewind")?;
    scene.reads(
        101,
        "recovery.log",
        "an interrupted rewind left the data directory half written",
    )?;
    scene.sees("the pool gives up", FAILOVER, || {
        ensure!(lab.pool_nodes().is_err(), "it answers");
        Ok(())
    })?;
    ensure!(
        old.pids_of_database().is_empty(),
        "node101 runs half rewound"
    );
    scene.does("node102's database is started", |_| new.start_database())?;
    scene.start_rounds();
    scene.is_whole(102)
}

fn wal_lost(scene: &mut Scene<'_>) -> Played {
    scene.stop_rounds();
    let old = scene.lab.node(101);
    killed_with_rows_of_its_own(scene, 101)?;
    scene.does("node101 loses its WAL", |_| {
        let remove = format!("rm {DATA}/pg_wal/????????????????????????");
        old.run(&["sh", "-c", &remove], SHORT)?.success()
    })?;
    stays_down(old, 1, "WAL does not go back to the fork")?;
    scene.reads(101, "recovery.log", "WAL does not go back to the fork")?;
    scene.does("a copy is allowed", |_| {
        old.set_config(&[("REWIND_FALLBACK", "basebackup")])
    })?;
    scene.start_rounds();
    scene.is_whole(102)
}

fn ten_times(scene: &mut Scene<'_>) -> Played {
    let (mut old, mut new) = (101, 102);
    for round in 1..=10 {
        let mut turn = || -> Result<()> {
            let lab = scene.lab;
            match round % 3 {
                0 => scene.breaks("the primary loses its power", |lab| {
                    lab.node(old).power_off()
                })?,
                1 => scene.breaks("the primary database is killed", |lab| {
                    lab.node(old).kill_database()
                })?,
                _ => scene.breaks("the operator detaches the primary", |lab| {
                    lab.pcp_detach(lab.node(old).id())
                })?,
            }
            scene.fails_over(old)?;
            if !lab.node(old).is_up() {
                scene.does("the power is back", |lab| lab.node(old).power_on())?;
            }
            scene.is_whole(new)?;
            scene.watch().check(new)
        };
        turn().with_context(|| format!("round {round}"))?;
        std::mem::swap(&mut old, &mut new);
    }
    Ok(Expected::whole(old))
}

/// Makes a standby leave its primary's history: promoted by mistake, and made a standby again by a
/// person who thought that would do. The pool has it `down`.
fn astray(lab: &Lab, node: &Node) -> Result<()> {
    lab.pcp_detach(node.id())?;
    wait_for("the pool to have it down", SHORT, || {
        let nodes = lab.pool_nodes()?;
        let down = |it: &crate::PoolNode| it.id == node.id() && it.status == "down";
        ensure!(nodes.iter().any(down), "the pool shows {nodes:?}");
        Ok(())
    })?;
    node.promote_database()?;
    node.psql("set synchronous_commit = local; insert into probe values ('astray')")?;
    node.stop_database("fast")?;
    node.write(&format!("{DATA}/standby.signal"), "", 0o600, UID)?;
    node.start_database()
}

/// Puts a script in the place of `pg_rewind`: it waits until [`release`] is called.
fn hold(node: &Node) -> Result<()> {
    let script = format!(
        "#!/bin/sh\ntouch /tmp/held\nwhile [ ! -e /tmp/release ]; do sleep 0.02; done\n\
         exec {POSTGRES_BIN}/pg_rewind \"$@\"\n"
    );
    let path = format!("{DB_BIN}/pg_rewind");
    node.run(&["rm", &path], SHORT)?.success()?;
    node.write(&path, &script, 0o755, 0)
}

fn release(node: &Node) -> Result<()> {
    node.write("/tmp/release", "", 0o644, 0)?;
    let (path, real) = (
        format!("{DB_BIN}/pg_rewind"),
        format!("{POSTGRES_BIN}/pg_rewind"),
    );
    node.run(&["ln", "-sf", &real, &path], SHORT)?
        .success()
        .map(drop)
}

fn promotion(node: &Node) -> Result<Running> {
    let program = format!("{POOL_BIN}/failover_stream");
    let command = [&program, "--step", "promote", "--deadline", "8000"];
    node.spawn("root", &command, RECOVERY)
}

fn at_the_same_time(scene: &mut Scene<'_>) -> Played {
    scene.stop_rounds();
    let lab = scene.lab;
    let node = lab.node(102);
    scene.breaks("node102 has left the primary's history", |lab| {
        astray(lab, node)
    })?;
    hold(node)?;
    let recovery = start(node)?;
    scene.sees("node102: a rewind is under way", SHORT, || {
        node.read("/tmp/held").map(drop)
    })?;
    let second = scene.does("a second run", |_| node.recover(&[], SHORT))?;
    ensure!(second.code == Some(0), "{second}");
    ensure!(second.stdout.contains("another run"), "{second}");
    scene.operator_reads(second.stdout.trim());
    let refused = scene.does("a promotion of what is half rewound", |_| {
        promotion(node)?.wait()
    })?;
    ensure!(refused.code != Some(0), "{refused}");
    ensure!(
        refused.stdout.contains("rewind of this node is unfinished"),
        "{refused}"
    );
    release(node)?;
    let recovery = recovery.wait()?;
    ensure!(recovery.code == Some(0), "{recovery}");
    scene.is_whole(101)?;

    scene.breaks("node102 has left it again", |lab| astray(lab, node))?;
    // Its stop takes as long as we want.
    let startup = |signal: &str| node.run(&["pkill", signal, "-f", "startup"], SHORT);
    startup("-STOP")?.success()?;
    let recovery = start(node)?;
    scene.sees("node102: the recovery stops it", SHORT, || {
        ensure!(node.psql("select 1").is_err(), "it answers");
        Ok(())
    })?;
    scene.does("node101 loses its power", |lab| lab.node(101).power_off())?;
    let promoted = promotion(node)?;
    scene.sees("node102: the promotion asks for it", SHORT, || {
        let word = node.path(&format!("{LOG}/promotion.wanted"))?;
        ensure!(word.exists(), "no word");
        Ok(())
    })?;
    startup("-CONT")?.success()?;
    let (promoted, recovery) = (promoted.wait()?, recovery.wait()?);
    ensure!(promoted.code == Some(0), "{promoted}\n{recovery}");
    ensure!(recovery.code == Some(66), "{recovery}");
    scene.reads(
        102,
        "recovery.log",
        "a promotion of this node is wanted, and wins",
    )?;
    ensure!(!node.in_recovery()?, "it was not promoted");
    scene.does("the power is back", |lab| lab.node(101).power_on())?;
    // The pool has no node left; recovery tells it.
    scene.start_rounds();
    let end = scene.is_whole(102)?;
    Ok(Expected {
        two: Some(Excuse {
            why: "promoted by mistake, twice, as the drill wants it",
            at_most: Duration::from_secs(10),
        }),
        may_lose: scene.may_lose("what was promoted had left the primary's history"),
        ..end
    })
}

fn wrong_input(scene: &mut Scene<'_>) -> Played {
    scene.stop_rounds();
    let lab = scene.lab;
    let node = lab.node(102);
    let since = node.psql("select pg_postmaster_start_time()")?;
    let one_line = |code: i32, words: &str| -> Result<()> {
        says(&node.recover(&[], SHORT)?, code, words)?;
        let now = node.psql("select pg_postmaster_start_time()")?;
        ensure!(now == since, "the database was restarted");
        Ok(())
    };
    let shell = |script: &str| node.run(&["sh", "-c", script], SHORT)?.success().map(drop);
    let config = format!("{DB_BIN}/../etc/HAmodule.conf");
    let kept = node.read(&config)?;
    let password = kept.lines().find(|line| line.starts_with("KB_PASS="));
    let password = password.context("KB_PASS")?.replace("KB_PASS=", "");

    scene.note("an unreadable configuration");
    shell(&format!("chmod 000 {config}"))?;
    one_line(2, "permission denied")?;
    shell(&format!("chmod 640 {config}"))?;

    scene.note("a wrong password");
    node.set_config(&[("KB_PASS", "d3Jvbmc=")])?;
    one_line(66, "password")?;
    node.set_config(&[("KB_PASS", &password)])?;

    scene.note("a missing program");
    shell("mv /usr/bin/ping /usr/bin/ping.away")?;
    one_line(66, "no program ping")?;
    shell("mv /usr/bin/ping.away /usr/bin/ping")?;

    scene.note("a wrong PCP password");
    lab.pcp_detach(node.id())?;
    wait_for("the pool to have it down", SHORT, || {
        lab.pool_shows(&[("up", "primary"), ("down", "standby")])
    })?;
    let pcp = kept.lines().find(|line| line.starts_with("PCP_PASS="));
    let pcp = pcp.context("PCP_PASS")?.replace("PCP_PASS=", "");
    node.set_config(&[("PCP_PASS", "d3Jvbmc=")])?;
    one_line(66, "PCP_PASS")?;
    node.set_config(&[("PCP_PASS", &pcp)])?;
    scene.reads(102, "recovery.log", "PCP_PASS")?;
    scene.start_rounds();
    scene.is_whole(101)?;

    // The failover does not wait for its log.
    scene.breaks(
        "the log's disk on node102 is full, and the primary is killed",
        |lab| {
            let full = "mkdir /mnt/full && mount -t tmpfs -o size=16k none /mnt/full && \
                    ! cat /dev/zero >/mnt/full/zeros";
            shell(full)?;
            node.set_config(&[
                ("FAILOVER_LOG_DIR", "/mnt/full/failover.log"),
                ("EVENT_LOG", "/mnt/full/events.jsonl"),
            ])?;
            lab.node(101).kill_database()
        },
    )?;
    scene.fails_over(101)?;
    scene.is_whole(102)
}

fn paused(scene: &mut Scene<'_>) -> Played {
    scene.breaks(
        "recovery is paused on node102, and its standby stopped",
        |lab| {
            let node = lab.node(102);
            node.recover(&["--pause", "patching"], SHORT)?.success()?;
            node.stop_database("fast")
        },
    )?;
    let lab = scene.lab;
    let runs = |lab: &Lab| -> Result<usize> {
        let log = lab.node(102).recovery_log()?;
        Ok(log.matches("(patching): nothing is changed").count())
    };
    let before = runs(lab)?;
    scene.sees(
        "three runs on node102 say that it is paused",
        RECOVERY,
        || {
            let now = runs(lab)?;
            ensure!(now >= before + 3, "{now} have said so");
            Ok(())
        },
    )?;
    ensure!(
        lab.node(102).pids_of_database().is_empty(),
        "it was started"
    );
    scene.client_writes(SHORT)?;
    scene.reads(102, "recovery.log", "paused since")?;
    scene.does("recovery is resumed", |lab| {
        lab.node(102).recover(&["--resume"], SHORT)?.success()
    })?;
    scene.is_whole(101)
}

/// A switch takes so long.
const REBOOT: Duration = Duration::from_secs(40);
/// Until a pool's checks have failed often enough.
const NOTICED_AFTER: Duration = Duration::from_secs(11);

fn three_databases_by_cron() -> LabOptions {
    LabOptions {
        pools: 3,
        ..by_cron(three_hosts())
    }
}

/// `before`: so long before cron's minute begins.
fn switch_reboot(scene: &mut Scene<'_>, before: Option<Duration>) -> Played {
    let links = |lab: &Lab, link: fn(&Node) -> Result<()>| lab.nodes().iter().try_for_each(link);
    if let Some(before) = before {
        scene.waits_for_the_minute(before)?;
    }
    scene.breaks("every link is down", |lab| {
        links(lab, Node::link_down)?;
        lab.gateway_down()
    })?;
    scene.lasts(REBOOT)?;
    scene.does("every link is up", |lab| {
        links(lab, Node::link_up)?;
        lab.gateway_up()
    })?;
    let primary = scene.one_is_left()?;
    scene.is_whole(primary)
}
