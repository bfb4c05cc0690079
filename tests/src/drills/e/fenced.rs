//! A fenced primary that somebody starts again: it takes no writes, and the log names who it was.

use anyhow::{Error, Result, bail, ensure};

use crate::drills::killed;
use crate::drills::scene::{FAILOVER, Played, RECOVERY, SHORT, Scene};
use crate::host::Node;
use crate::lab::LabOptions;
use crate::layout::{DATA, DB_BIN, LOG, USER};

/// As long as this is there the supervisor goes on.
const SUPERVISED: &str = "/tmp/supervised";

/// Starts a script under a name of its own, which the kernel then knows it by.
fn start(node: &Node, name: &str, script: &str) -> Result<()> {
    let path = format!("/usr/local/bin/{name}");
    node.write(&path, &format!("#!/bin/sh\n{script}"), 0o755, 0)?;
    node.spawn_daemon(USER, &[&path])
}

/// The server is the script's own child, as it is under a supervisor.
fn server() -> String {
    format!("{DB_BIN}/postgres -D {DATA} >>{LOG}/database.log 2>&1")
}

/// Has the database started again within 0.1 s whenever it is down.
fn supervise(node: &Node) -> Result<()> {
    let script = format!(
        "touch {SUPERVISED}\n\
         while [ -e {SUPERVISED} ]; do\n\
         {DB_BIN}/pg_ctl -D {DATA} status >/dev/null || {}\n\
         sleep 0.05\n\
         done\n",
        server()
    );
    start(node, "db-supervisor", &script)
}

fn is_standby(scene: &mut Scene<'_>) -> Result<()> {
    scene.sees_on(101, "it runs again, as a standby", FAILOVER, |node| {
        Ok(!node.pids_of_database().is_empty() && node.in_recovery()?)
    })
}

/// One of the logs has it: that of the failover where it was quicker than the fence, else the host's own.
fn is_named(scene: &mut Scene<'_>, who: &str) -> Result<()> {
    let lab = scene.lab;
    // Where the failover has died, the next one is due only once the pool has given up.
    let log = scene.sees("the log names who started it", RECOVERY, || {
        let has = |number: u8, log: &str| Ok::<_, Error>(lab.node(number).log(log)?.contains(who));
        match (has(102, "failover.log")?, has(101, "recovery.log")?) {
            (true, _) => Ok((102, "failover.log")),
            (_, true) => Ok((101, "recovery.log")),
            _ => bail!("no {who:?}"),
        }
    })?;
    scene.reads(log.0, log.1, who)
}

fn supervisor_watches(scene: &mut Scene<'_>) -> Result<()> {
    scene.does("a supervisor watches node101's database", |lab| {
        supervise(lab.node(101))
    })?;
    scene.sees_on(101, "the supervisor is at work", SHORT, |node| {
        Ok(node.path(SUPERVISED)?.exists())
    })
}

/// It goes on all the time, also while the host is recovered.
fn stays_a_standby(scene: &mut Scene<'_>) -> Played {
    scene.fails_over(101)?;
    is_standby(scene)?;
    is_named(scene, "db-supervisor (process ")?;
    let end = scene.is_whole(102)?;
    scene.does("the supervisor ends", |lab| {
        let rm = ["rm", SUPERVISED];
        lab.node(101).run(&rm, SHORT)?.success()
    })?;
    Ok(end)
}

pub(super) fn supervised(scene: &mut Scene<'_>) -> Played {
    supervisor_watches(scene)?;
    scene.breaks("the operator detaches the primary", |lab| lab.pcp_detach(0))?;
    stays_a_standby(scene)
}

pub(super) fn supervised_after_a_kill(scene: &mut Scene<'_>) -> Played {
    supervisor_watches(scene)?;
    scene.breaks("all processes of the primary database are stopped", |lab| {
        lab.node(101).freeze_database();
        Ok(())
    })?;
    stays_a_standby(scene)
}

/// The host boots, and its boot starts the database at once.
fn boot(scene: &mut Scene<'_>) -> Result<()> {
    scene.does("node101 boots, and starts its database", |lab| {
        let node = lab.node(101);
        node.power_on()?;
        start(node, "db-boot", &server())
    })?;
    is_standby(scene)
}

pub(super) fn booted(scene: &mut Scene<'_>) -> Played {
    // The host's own minute would have recovered it before.
    scene.stop_rounds();
    scene.breaks("the operator detaches the primary", |lab| lab.pcp_detach(0))?;
    scene.fails_over(101)?;
    scene.does("node101 loses its power", |lab| lab.node(101).power_off())?;
    boot(scene)?;
    scene.start_rounds();
    is_named(scene, "db-boot (process ")?;
    scene.is_whole(102)
}

/// The first run of the failover command dies after the step that is asked for.
pub(super) fn dying_once() -> LabOptions {
    killed::failover_options()
}

pub(super) fn booted_before_the_promotion(scene: &mut Scene<'_>) -> Played {
    scene.stop_rounds();
    let leader = scene.lab.node(102);
    killed::prepare(scene.lab)?;
    killed::stay_dead(leader, "fence")?;
    scene.breaks("the primary is detached, and the failover dies", |lab| {
        lab.pcp_detach(0)
    })?;
    scene.sees("the failover is dead", SHORT, || killed::is_dead(leader))?;
    ensure!(leader.in_recovery()?, "it was promoted");
    scene.does("node101 loses its power", |lab| lab.node(101).power_off())?;
    boot(scene)?;
    scene.start_rounds();
    is_named(scene, "db-boot (process ")?;
    let primary = scene.one_is_left()?;
    scene.is_whole(primary)
}
