//! `demo`: a primary loses its power, and comes back as a standby; then the other one. The story
//! is told as it happens.

mod story;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use lab::{Client, Event, Lab, LabOptions, Node, PoolNode, Watch, layout, wait_for};

use story::{Story, changes, log_lines};

/// Brings up two hosts with a pool on each. While a client writes, cuts the power of the primary;
/// gives it back, so that cron recovers that host; and does the same in the other direction. Tells
/// what the pool, the tools and the client saw. Needs root, and some five minutes.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {}

/// The pool writes a lot; these are the lines of the decision.
const POOL_SAYS: &[&str] = &[
    "lost the leader",
    "is lost",
    "I am the cluster leader",
    "delegate IP",
    "health check retrying",
    "marked as DOWN",
    "failover request",
    "starting degeneration",
    "execute command",
    "find_primary_node: primary node",
    "set new primary",
    "failover done",
];

fn main() -> Result<()> {
    Cli::parse();
    say("two hosts: PostgreSQL, pgpool-II with watchdog, sshd, cron; synchronous replication");
    let begun = Instant::now();
    let lab = Lab::start(LabOptions {
        name: "demo".to_owned(),
        pools: 2,
        recovery: true,
        config: vec![("AUTO_PRIMARY_RECOVERY".to_owned(), "1".to_owned())],
        ..LabOptions::default()
    })?;
    say(&format!("up after {:.1} s", begun.elapsed().as_secs_f64()));
    show_nodes(&lab.pool_nodes()?);

    let watch = Watch::start(&lab)?;
    watch.client().wait_for_acks(500, Duration::from_secs(30))?;
    say(&format!(
        "a client writes numbered rows through the database VIP {}: {} acknowledged so far",
        layout::DATABASE_VIP,
        watch.client().acknowledged().len()
    ));
    for (old, new) in [(101, 102), (102, 101)] {
        fail_over(&lab, watch.client(), lab.node(old), lab.node(new))?;
        recover(&lab, lab.node(old), lab.node(new))?;
        watch.check(new)?;
    }

    let report = watch.finish(101)?;
    lab::say!();
    say(&format!(
        "longest outage seen by the client: {:.1} s, nearly all of it the pool's time to notice",
        report.longest_gap.as_secs_f64()
    ));
    say(&format!(
        "rows acknowledged: {}, rows lost: none; never did two databases take writes, or two hosts \
         have the VIP",
        report.acknowledged.len()
    ));
    Ok(())
}

/// The power of the primary's host is cut, and the pool lets the other one take over.
fn fail_over(lab: &Lab, client: &Client, old: &Node, new: &Node) -> Result<()> {
    let ends = |log: &str| log.matches(" failover end---").count();
    let (before, written) = (ends(&new.failover_log()?), client.acknowledged().len());
    lab::say!();
    say(&format!(
        "the power of {}, the primary's host, is cut",
        old.name()
    ));
    let mut story = Story::begin(vec![
        ("pool", log_lines(new, "cluster.log", decision)?),
        ("our log", log_lines(new, "failover.log", every)?),
    ]);
    old.power_off()?;
    story.until("failover_stream to end", Duration::from_secs(90), || {
        let log = new.failover_log()?;
        ensure!(ends(&log) > before, "its log has no last line yet");
        Ok(())
    })?;
    let what = format!("the pool to show {} as primary", new.name());
    story.until(&what, Duration::from_secs(30), || {
        let nodes = lab.pool_nodes()?;
        let primary = |n: &PoolNode| n.id == new.id() && n.role == "primary" && n.status == "up";
        ensure!(nodes.iter().any(primary), "the pool shows {nodes:?}");
        Ok(())
    })?;
    wait_for("the client to write again", Duration::from_secs(30), || {
        let rows = client.acknowledged().len() - written;
        ensure!(rows > 100, "{rows} rows since the power cut");
        Ok(())
    })?;
    lab::say!();
    show_nodes(&lab.pool_nodes()?);
    lab::say!();
    show_steps(new, "failover_stream", "promote")
}

/// The power comes back, and cron makes the host's database a standby of the new primary.
fn recover(lab: &Lab, old: &Node, new: &Node) -> Result<()> {
    let ends = |log: &str| log.matches("recovery success,exit script").count();
    let before = ends(&old.recovery_log()?);
    lab::say!();
    say(&format!(
        "the power of {} comes back, its database is down; cron starts network_rewind at the next \
         full minute",
        old.name()
    ));
    let mut story = Story::begin(vec![
        ("our log", log_lines(old, "recovery.log", every)?),
        ("primary", changes(|| seen_by(new, old))),
    ]);
    old.power_on()?;
    let what = format!("{} to be synchronous, and up in the pool", old.name());
    story.until(&what, Duration::from_secs(240), || {
        lab.is_whole(new.number())?;
        ensure!(
            ends(&old.recovery_log()?) > before,
            "network_rewind still runs"
        );
        Ok(())
    })?;
    lab::say!();
    show_nodes(&lab.pool_nodes()?);
    lab::say!();
    show_steps(old, "network_rewind", "recover")
}

/// How a primary sees one of its standbys: the last is `node101: streaming, sync`.
fn seen_by(primary: &Node, standby: &Node) -> Result<String> {
    let name = standby.name();
    let seen = primary.psql(&format!(
        "select state || ', ' || sync_state from pg_stat_replication \
         where application_name = '{name}'"
    ))?;
    Ok(match seen.as_str() {
        "" => format!("{name}: no connection"),
        state => format!("{name}: {state}"),
    })
}

fn say(text: &str) {
    lab::say!("== {text}");
}

/// The part of a line of the pool's log after time and process, if it belongs to the story.
fn decision(line: &str) -> Option<&str> {
    POOL_SAYS.iter().any(|part| line.contains(part)).then(|| {
        line.split_once(": LOG:")
            .map_or(line, |(_, text)| text)
            .trim()
    })
}

/// Our own logs are told whole.
fn every(line: &str) -> Option<&str> {
    Some(line)
}

fn show_nodes(nodes: &[PoolNode]) {
    lab::say!(" node_id |   hostname    | status |  role");
    lab::say!("---------+---------------+--------+---------");
    for node in nodes {
        lab::say!(
            " {:<7} | {:<13} | {:<6} | {}",
            node.id,
            node.hostname,
            node.status,
            node.role
        );
    }
}

/// Where the time inside the last run of a tool went. It is known by a step: `promote` is the sum
/// of the `promote.*`.
fn show_steps(node: &Node, tool: &str, step: &str) -> Result<()> {
    let events = node.events()?;
    let parts = format!("{step}.");
    let run = events.iter().rfind(|event| event.step.starts_with(&parts));
    let run = &run
        .with_context(|| format!("no {parts} in {events:?}"))?
        .run;
    let of_run = |event: &&Event| event.run == *run && event.step != step;
    let steps: Vec<&Event> = events.iter().filter(of_run).collect();
    let total: u64 = steps.iter().map(|event| event.milliseconds).sum();
    say(&format!("time inside {tool}: {total} ms"));
    for event in steps {
        lab::say!(
            "   {:<20} {:>5} ms  {} on {}: {}",
            event.step,
            event.milliseconds,
            event.outcome,
            event.host,
            event.detail
        );
    }
    Ok(())
}
