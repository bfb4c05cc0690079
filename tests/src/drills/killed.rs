//! D1: each tool is killed after each of its steps, and at moments inside what takes long; the next run
//! ends where an undisturbed one would. The steps are what the tools themselves list with `--dry-run`.

use std::collections::BTreeSet;
use std::mem::swap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::d::{at_once, killed_with_rows_of_its_own};
use super::needs::{NEEDS, Need, take_vip};
use super::scene::{FAILOVER, Played, RECOVERY, SHORT, Scene};
use super::{settings, two_hosts};
use crate::events::Event;
use crate::host::Node;
use crate::lab::{Lab, LabOptions};
use crate::layout::{DATA, DB_BIN, PRIMARY_DOWN, STANDBY_DOWN, USER};
use crate::manual;
use crate::wait::{moments, wait_for};
use crate::watch::{Excuse, Expected};

const FAILOVER_LOG: &str = "failover.log";
const FIRST_STEP: &str = "trust-ip";

/// Runs the failover command twice: as long as there is a step in `/root/die-after`, the first run
/// dies after it. The second one waits as long as there is a file `/root/wait`, and never comes where
/// there is `/root/stay-dead`.
const TWICE: &str = "/root/failover-twice";
const SCRIPT: &str = "#!/bin/sh\n\
    tool=/home/kingbase/cluster/R3HA/kingbasecluster/bin/failover_stream\n\
    if [ -s /root/die-after ]; then\n\
    $tool \"$@\" --die-after $(cat /root/die-after); echo $? >/root/dying; mv /root/dying /root/died\n\
    while [ -e /root/wait ]; do sleep 0.02; done\n\
    [ -e /root/stay-dead ] && exit 1\n\
    fi\n\
    exec $tool \"$@\"\n";

pub(super) fn failover_options() -> LabOptions {
    let (_, arguments) = crate::pool::FAILOVER_COMMAND
        .split_once(' ')
        .unwrap_or_default();
    LabOptions {
        failover_command: format!("{TWICE} {arguments}"),
        ..two_hosts()
    }
}

/// The third host is there to follow. By turns one of the two others is the lowest id that is left.
pub(super) fn three_hosts_options() -> LabOptions {
    let mut options = failover_options();
    let given = settings(&[("FAILOVER_CANDIDATE", "given")]);
    options.config.extend(given);
    LabOptions {
        nodes: 3,
        ..options
    }
}

/// Columns of a plan before the step's name.
const WHERE: usize = 16;

/// Puts the script on every host: see [`TWICE`].
pub(super) fn prepare(lab: &Lab) -> Result<()> {
    let mut nodes = lab.nodes().iter();
    nodes.try_for_each(|node| node.write(TWICE, SCRIPT, 0o755, 0))
}

/// The next failover dies after `step`, and nobody runs it again.
pub(super) fn stay_dead(leader: &Node, step: &str) -> Result<()> {
    leader.write("/root/stay-dead", "", 0o600, 0)?;
    die_after(leader, step).map(drop)
}

/// The next failover dies after `step`, and the second one waits for [`live`].
pub(super) fn wait_when_dead(leader: &Node, step: &str) -> Result<()> {
    leader.write("/root/wait", "", 0o600, 0)?;
    die_after(leader, step).map(drop)
}

/// From now on no failover dies, and one that waits goes on.
pub(super) fn live(leader: &Node) -> Result<()> {
    let files = [
        "/root/die-after",
        "/root/died",
        "/root/stay-dead",
        "/root/wait",
    ];
    let command = [&["rm", "-f"], &files[..]].concat();
    leader.run(&command, SHORT)?.success().map(drop)
}

/// The first run is dead.
pub(super) fn is_dead(leader: &Node) -> Result<()> {
    ensure!(leader.path("/root/died")?.exists(), "it goes on");
    Ok(())
}

/// The steps of a failover.
pub(super) fn steps_of_failover(coordinator: &Node, args: &[&str]) -> Result<Vec<String>> {
    let args = [&["--dry-run"], args].concat();
    let plan = coordinator.failover(&args, SHORT)?.success()?;
    let steps = plan.lines().filter_map(|line| {
        // Where it is done comes first, in as many columns as an address needs.
        let step = line.get(WHERE..)?.split_whitespace().next()?;
        Some(step.to_owned())
    });
    let steps: Vec<String> = steps.collect();
    ensure!(steps.len() > 3, "not a plan: {plan}");
    Ok(steps)
}

/// The pool that leads stays on node102, so that each step is done once over ssh and once here.
pub(super) fn failover(scene: &mut Scene<'_>) -> Played {
    let lab = scene.lab;
    prepare(lab)?;
    let leader = lab.node(102);
    let (mut old, mut new) = (101, 102);
    let mut played = BTreeSet::new();
    for step in steps_of_failover(leader, &PRIMARY_DOWN)? {
        for _ in 0..2 {
            let mut turn = || killed_failover(scene, &step, old, new);
            turn().with_context(|| format!("died after {step}, from node{old} to node{new}"))?;
            swap(&mut old, &mut new);
        }
        played.insert(step);
    }
    for step in steps_of_failover(leader, &STANDBY_DOWN)? {
        let mut turn = || killed_for_a_standby(scene, &step);
        turn().with_context(|| format!("a standby is down, died after {step}"))?;
        played.insert(step);
    }
    each_was_played(manual::FAILOVER, &played)?;
    Ok(Expected::whole(old))
}

/// Node101 is the primary, and node102 is detached.
fn killed_for_a_standby(scene: &mut Scene<'_>, step: &str) -> Result<()> {
    let leader = scene.lab.node(102);
    let before = die_after(leader, step)?;
    scene.breaks(
        &format!("the standby is detached, dies after {step}"),
        |lab| lab.pcp_detach(leader.id()),
    )?;
    scene.sees("the first run's end", SHORT, || is_dead(leader))?;
    died_after(leader, step, before)?;
    scene.is_whole(101)?;
    scene.watch().check(101)
}

/// The next failover's first run dies after `step`. How many events there are, and how much log.
fn die_after(leader: &Node, step: &str) -> Result<(usize, usize)> {
    leader.write("/root/die-after", step, 0o600, 0)?;
    leader.run(&["rm", "-f", "/root/died"], SHORT)?;
    Ok((leader.events()?.len(), leader.log(FAILOVER_LOG)?.len()))
}

fn killed_failover(scene: &mut Scene<'_>, step: &str, old: u8, new: u8) -> Result<()> {
    let leader = scene.lab.node(102);
    let before = die_after(leader, step)?;
    // Alive, and writing: what is not fenced shows.
    scene.breaks(&format!("detached, dies after {step}"), |lab| {
        lab.pcp_detach(lab.node(old).id())
    })?;
    let promoted = scene.fails_over(old)?;
    ensure!(promoted == new, "node{promoted} was promoted");
    died_after(leader, step, before)?;
    scene.is_whole(new)?;
    scene.watch().check(new)
}

/// Whether the first of the failover's runs, that on `leader`, died after `step`; `before`: how many
/// events there had been, and how much log.
fn died_after(leader: &Node, step: &str, before: (usize, usize)) -> Result<()> {
    let code = leader.read("/root/died")?;
    if code.trim() == "137" {
        return Ok(());
    }
    // The step's own process died, on another host. Its coordinator sees that the goal is reached all the
    // same, or says so and fails.
    let known = ["0", "66"].contains(&code.trim());
    ensure!(known, "the first run ended with {code}");
    let (events, log) = (leader.events()?, leader.log(FAILOVER_LOG)?);
    let is_first = |at: &usize| {
        let run = &events[*at].run;
        events[*at].step == FIRST_STEP && events[..*at].iter().all(|it| it.run != *run)
    };
    let first = (before.0..events.len()).find(is_first);
    let run = &events[first.context("no run of the failover")?].run;
    let here = leader.address().to_string();
    let mut of_run = events.iter().filter(|it| it.run == *run && it.step == step);
    ensure!(
        of_run.any(|it| it.host != here),
        "{step} was not done elsewhere in run {run}, which ended with {code}"
    );
    let said = "failover_stream ended there with code ";
    ensure!(log[before.1..].contains(said), "nobody died after {step}");
    Ok(())
}

/// With the setting that lets the last primary of a cluster that is all down come up.
pub(super) fn recovery_options() -> LabOptions {
    let mut options = at_once();
    let level = settings(&[("MAX_AVAILABLE_LEVEL", "1")]);
    options.config.extend(level);
    let gives_up = settings(&[("search_primary_node_timeout", "2")]);
    options.pgpool.extend(gives_up);
    options
}

pub(super) fn recovery(scene: &mut Scene<'_>) -> Played {
    scene.stop_rounds();
    let mut primary = 101;
    let mut played = BTreeSet::new();
    for need in &NEEDS {
        let mut steps;
        // The first time tells the steps, and is not disturbed.
        (primary, steps) = in_need(scene, need, primary, |_, node| {
            // While the pool is at a failover it gives no answer.
            wait_for("a plan", SHORT, || steps_of(node, need.steps))
        })
        .context(need.what)?;
        scene.note(format!("{}: {}", need.what, steps.join(" ")));
        steps.retain(|step| need.each || !played.contains(step));
        for step in steps {
            let died;
            (primary, died) = in_need(scene, need, primary, |scene, node| {
                scene.note(format!("network_rewind dies after {step}"));
                dies_after(node, &step)
            })
            .with_context(|| format!("{}, died after {step}", need.what))?;
            // What did not apply was not played.
            if died.outcome != "skipped" {
                played.insert(step);
            }
        }
    }
    // A test of the recovery plays it, where a pool that fails over at once does not see the change first.
    played.insert("failover.detach".to_owned());
    each_was_played(manual::RECOVERY, &played)?;
    let end = scene.is_whole(primary)?;
    Ok(Expected {
        two: Some(Excuse {
            why: "promoted by mistake, or killed before it had stopped what was cut off, as the drill \
                  wants it",
            at_most: Duration::from_secs(10),
        }),
        ..end
    })
}

/// Each step that a page of the manual lists, and no other: a new one that nothing here leads to fails
/// the drill.
fn each_was_played(page: &str, played: &BTreeSet<String>) -> Result<()> {
    let listed: BTreeSet<String> = manual::first_columns(page).into_iter().collect();
    let differ: Vec<&String> = listed.symmetric_difference(played).collect();
    ensure!(
        differ.is_empty(),
        "listed or played, and not both: {differ:?}"
    );
    Ok(())
}

/// Makes a need, acts on the host where a run is due, and has runs on both make the cluster whole. Who
/// is the primary then, and what came of the act.
fn in_need<T>(
    scene: &mut Scene<'_>,
    need: &Need,
    primary: u8,
    act: impl FnOnce(&mut Scene<'_>, &Node) -> Result<T>,
) -> Result<(u8, T)> {
    let standby = if primary == 101 { 102 } else { 101 };
    let lab = scene.lab;
    let (due, primary) = (need.make)(scene, primary, standby)?;
    let done = act(scene, lab.node(due))?;
    let primaries = lab.primaries()?;
    // From a primary that is cut off the pool fails over, too, should the run have taken long.
    let replaced = need.steps.starts_with("self-fence");
    let wrong = !replaced && primaries.iter().any(|it| *it != primary && *it != due);
    ensure!(!wrong, "primaries are {primaries:?}");
    let primary = (need.heal)(scene, primary)?;
    converges(lab, primary)?;
    Ok((primary, done))
}

/// What a run would do now, step by step.
fn steps_of(node: &Node, beginning: &str) -> Result<Vec<String>> {
    let plan = node.recover(&["--dry-run"], RECOVERY)?;
    let address = node.address().to_string();
    let steps: Vec<String> = plan
        .stdout
        .lines()
        .filter(|line| line.starts_with(&address))
        .filter_map(|line| line.split_whitespace().nth(1).map(str::to_owned))
        .collect();
    let fits = steps.iter().any(|step| step.starts_with(beginning));
    ensure!(fits, "no {beginning} in {plan}");
    Ok(steps)
}

/// The last event of a run that was killed after `step`.
pub(super) fn dies_after(node: &Node, step: &str) -> Result<Event> {
    let died = wait_for("a run that gets on", SHORT, || {
        let run = node.recover(&["--die-after", step], RECOVERY)?;
        ensure!(run.code != Some(66), "{run}");
        Ok(run)
    })?;
    ensure!(died.signal == Some(libc::SIGKILL), "{died}");
    let last = node.events()?.pop().context("no event")?;
    ensure!(last.step == step, "its last event is {last:?}");
    Ok(last)
}

/// Runs on all hosts, one after the other, end in a whole cluster, with nothing left behind.
pub(super) fn converges(lab: &Lab, primary: u8) -> Result<()> {
    wait_for("the cluster to be whole", RECOVERY, || {
        for node in lab.nodes() {
            let run = node.recover(&[], RECOVERY)?;
            ensure!(!run.stderr.contains("panicked"), "{run}");
        }
        lab.is_whole(primary)
    })?;
    lab.wait_until_nothing_is_left(SHORT)
}

/// A rewind or a copy of a lab's database takes a bit longer.
const INSIDE: Duration = Duration::from_millis(400);

pub(super) fn inside(scene: &mut Scene<'_>) -> Played {
    scene.stop_rounds();
    let lab = scene.lab;
    let (mut primary, mut standby) = (101, 102);
    for program in ["pg_rewind", "pg_basebackup"] {
        let mut inside = 0;
        for (round, moment) in moments(8, INSIDE).enumerate() {
            let mut turn = || -> Result<bool> {
                let new = killed_with_rows_of_its_own(scene, primary)?;
                let old = lab.node(primary);
                lab.node(new).psql(&format!(
                    "drop table if exists big; create table big as \
                     select {round} as r, n, repeat(md5(n::text), 30) as t \
                     from generate_series(1, 15000) n"
                ))?;
                if program == "pg_basebackup" {
                    old.delete_data()?;
                    old.set_config(&[("REWIND_FALLBACK", "basebackup")])?;
                }
                scene.note(format!("killed {moment:?} after the begin of {program}"));
                let hit = old.recover_killed_inside(program, moment)?;
                swap(&mut primary, &mut standby);
                converges(lab, primary)?;
                Ok(hit)
            };
            let hit = turn().with_context(|| format!("{program}, killed after {moment:?}"))?;
            inside += u8::from(hit);
        }
        // How long it takes is not the same each time.
        ensure!(inside >= 2, "only {inside} were killed inside {program}");
    }
    check_pages(lab)?;
    scene.is_whole(primary)
}

/// Are the pages and indexes of every node good, as `pg_amcheck` sees it?
fn check_pages(lab: &Lab) -> Result<()> {
    for number in lab.primaries()? {
        let create = "create extension if not exists amcheck";
        lab.node(number).psql(create)?;
    }
    for node in lab.nodes() {
        let program = format!("{DB_BIN}/pg_amcheck");
        let port = crate::layout::DATABASE_PORT.to_string();
        let login = [
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-U",
            crate::layout::SQL_USER,
            "-w",
        ];
        let database = crate::layout::DATABASE;
        let check = [&[program.as_str()], &login[..], &[database]].concat();
        wait_for("good pages", FAILOVER, || {
            node.run_as(USER, &check, RECOVERY)?.success().map(drop)
        })?;
    }
    Ok(())
}

pub(super) fn small_tools(scene: &mut Scene<'_>) -> Played {
    scene.stop_rounds();
    let lab = scene.lab;
    let node = lab.node(101);
    let standby = lab.node(102);
    let tool = |name: &str| format!("{DB_BIN}/{name}");
    // As long as each takes, about: its time being over means SIGKILL.
    for moment in moments(8, Duration::from_millis(60)) {
        let moment = moment.max(Duration::from_millis(1));
        scene.breaks(&format!("killed after {moment:?}"), |_| {
            take_vip(node)?;
            node.run(&[&tool("vip_ctl"), "add"], moment)?;
            node.run(&[&tool("vip_ctl"), "add"], SHORT)?.success()?;
            ensure!(node.has_vip()?, "the VIP is not there");
            node.run(&[&tool("vip_ctl"), "del"], moment)?;
            node.run(&[&tool("vip_ctl"), "del"], SHORT)?.success()?;
            ensure!(!node.has_vip()?, "the VIP is there");
            node.run(&[&tool("vip_ctl"), "add"], SHORT)?.success()?;

            for args in [&["--detach"][..], &[]] {
                let attach_node = tool("attach_node");
                let command = [&[attach_node.as_str()], args].concat();
                standby.run_as(USER, &command, moment)?;
                // While the pool is at a failover it closes its connections.
                wait_for("a run that is not disturbed", SHORT, || {
                    standby.run_as(USER, &command, SHORT)?.success()
                })?;
            }

            standby.run_as(USER, &[&tool("rw_check"), DATA], moment)?;
            standby
                .run_as(USER, &[&tool("rw_check"), DATA], SHORT)?
                .success()
        })?;
    }
    scene.start_rounds();
    scene.is_whole(101)
}
