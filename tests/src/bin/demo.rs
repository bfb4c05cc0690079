//! `demo`: a primary loses its power, and the story is told as it happens.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use lab::{Lab, LabOptions, Node, PoolNode, layout, wait_for};
use serde_json::Value;

/// Brings up two hosts with a pool on each, cuts the power of the primary while a client writes,
/// and tells what the pool, the tool and the client saw. Needs root.
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
    say("two hosts: PostgreSQL, pgpool-II with watchdog, sshd; synchronous replication");
    let begun = Instant::now();
    let lab = Lab::start(LabOptions {
        name: "demo".to_owned(),
        pools: 2,
        ..LabOptions::default()
    })?;
    say(&format!("up after {:.1} s", begun.elapsed().as_secs_f64()));
    show_nodes(&lab.pool_nodes()?);

    let client = lab.start_client()?;
    client.wait_for_acks(500, Duration::from_secs(30))?;
    say(&format!(
        "a client writes numbered rows through the database VIP {}: {} acknowledged so far",
        layout::DATABASE_VIP,
        client.acknowledged().len()
    ));

    let survivor = lab.node(102);
    let mut pool_log = Tail::from_end(survivor, "cluster.log")?;
    let mut failover_log = Tail::from_end(survivor, "failover.log")?;
    say("the power of node101, the primary's host, is cut");
    lab.node(101).power_off()?;
    let cut = Instant::now();
    let before = client.acknowledged().len();
    let mut tell = || -> Result<bool> {
        let after = cut.elapsed().as_secs_f64();
        for line in pool_log.new_lines()? {
            if let Some(text) = decision(&line) {
                println!("{after:7.1} s  pool    | {text}");
            }
        }
        let mut ended = false;
        for line in failover_log.new_lines()? {
            println!("{after:7.1} s  our log | {line}");
            ended |= line.contains(" failover end---");
        }
        Ok(ended)
    };
    wait_for("failover_stream to end", Duration::from_secs(90), || {
        anyhow::ensure!(tell()?, "its log has no last line yet");
        Ok(())
    })?;
    let what = "the pool to show node102 as primary";
    wait_for(what, Duration::from_secs(30), || {
        tell()?;
        let nodes = lab.pool_nodes()?;
        let primary = |n: &PoolNode| n.id == 1 && n.role == "primary" && n.status == "up";
        anyhow::ensure!(nodes.iter().any(primary), "the pool shows {nodes:?}");
        Ok(())
    })?;
    tell()?;
    wait_for("the client to write again", Duration::from_secs(30), || {
        let now = client.acknowledged().len();
        anyhow::ensure!(
            now > before + 100,
            "{} rows since the power cut",
            now - before
        );
        Ok(())
    })?;

    println!();
    show_nodes(&lab.pool_nodes()?);
    let report = client.stop();
    let lost = report.lost(&lab.rows_present(survivor)?);
    println!();
    say(&format!(
        "outage seen by the client: {:.1} s, nearly all of it the pool's time to notice",
        report.longest_gap.as_secs_f64()
    ));
    show_steps(survivor)?;
    say(&format!(
        "rows acknowledged: {}, rows lost: {}",
        report.acknowledged.len(),
        lost.len()
    ));
    anyhow::ensure!(lost.is_empty(), "acknowledged rows are lost: {lost:?}");
    Ok(())
}

fn say(text: &str) {
    println!("== {text}");
}

/// The part of a line of the pool's log after time and process, if it belongs to the story.
fn decision(line: &str) -> Option<&str> {
    POOL_SAYS.iter().any(|part| line.contains(part)).then(|| {
        line.split_once(": LOG:")
            .map_or(line, |(_, text)| text)
            .trim()
    })
}

fn show_nodes(nodes: &[PoolNode]) {
    println!(" node_id |   hostname    | status |  role");
    println!("---------+---------------+--------+---------");
    for node in nodes {
        println!(
            " {:<7} | {:<13} | {:<6} | {}",
            node.id, node.hostname, node.status, node.role
        );
    }
}

/// Where the time inside `failover_stream` went, from its event log.
fn show_steps(node: &Node) -> Result<()> {
    let events = node.log("events.jsonl")?;
    let mut order = Vec::new();
    let mut steps: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut total = 0;
    for line in events.lines() {
        let event: Value = serde_json::from_str(line).with_context(|| format!("event {line:?}"))?;
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let took = event["milliseconds"].as_u64().unwrap_or_default();
        // The coordinator's promote is the sum of the promote.* on the new primary.
        if text("step") == "promote" {
            continue;
        }
        total += took;
        order.push(text("step"));
        let detail = format!(
            "{} on {}: {}",
            text("outcome"),
            text("host"),
            text("detail")
        );
        steps.insert(text("step"), (took, detail));
    }
    say(&format!("time inside failover_stream: {total} ms"));
    for step in order {
        let (took, detail) = &steps[&step];
        println!("   {step:<20} {took:>5} ms  {detail}");
    }
    Ok(())
}

/// The lines that a log on a host got since the last look.
struct Tail<'a> {
    node: &'a Node,
    name: &'static str,
    seen: usize,
}

impl<'a> Tail<'a> {
    fn from_end(node: &'a Node, name: &'static str) -> Result<Self> {
        let seen = node.log(name)?.len();
        Ok(Self { node, name, seen })
    }

    fn new_lines(&mut self) -> Result<Vec<String>> {
        let text = self.node.log(self.name)?;
        let fresh = text.get(self.seen..).unwrap_or_default();
        // A line that is still being written is for the next look.
        let whole = fresh.rfind('\n').map_or(0, |end| end + 1);
        self.seen += whole;
        Ok(fresh[..whole].lines().map(str::to_owned).collect())
    }
}
