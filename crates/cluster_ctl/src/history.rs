//! `cluster_ctl history`: what failovers and recoveries did, on all hosts.

use crate::look;
use crate::words::{column, wrapped};
use anyhow::Result;
use cluster_ctl::cli::History;
use failover_core::config::Config;
use failover_core::deadline::Deadline;
use failover_core::exit::Exit;
use failover_core::host::ThisHost;
use failover_core::steps::Order;
use failover_core::teller::Teller;
use failover_rules::facts::cluster::NoFacts;
use failover_rules::facts::run::{Kind, Run, in_order};
use serde_json::{Value, json};
use std::time::Duration;

/// For a host to read its log of events.
const LIMIT: Duration = Duration::from_secs(10);

/// The whole command.
pub fn run(args: &History, teller: &Teller) -> Result<Exit> {
    let here = ThisHost::load(args.common.config.as_deref())?;
    let config = &here.config;
    let answers = look::ask_all(&here, &Order::History, Deadline::after(LIMIT));
    let (mut runs, mut silent): (Vec<Run>, Vec<Value>) = (Vec::new(), Vec::new());
    for (address, answer) in answers {
        match answer {
            Ok(mut told) => runs.append(&mut told),
            Err(NoFacts::Unreachable(why) | NoFacts::NoTools(why)) => {
                let name = config.node_name_of(address).map(str::to_owned);
                let name = name.unwrap_or_else(|| address.to_string());
                teller.complain(&format!("what {name} did is not known: {why}"));
                silent.push(json!({ "address": address, "why_not": why }));
            }
        }
    }
    let mut runs = in_order(runs);
    if !args.all {
        runs.retain(|run| run.kind != Kind::Upkeep);
    }
    let runs = runs.split_off(runs.len().saturating_sub(args.last));
    for run in &runs {
        teller.say(&line(config, run));
    }
    let text = match runs.len() {
        0 => "no failover and no recovery is known".to_owned(),
        count => format!("{count} shown"),
    };
    if runs.is_empty() {
        teller.say(&text);
    }
    let members: Vec<Value> = runs.iter().map(|run| member(config, run)).collect();
    Ok(teller.object(
        Exit::Done,
        &text,
        json!({ "runs": members, "silent": silent }),
    ))
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Failover => "failover",
        Kind::StandbyDown => "standby",
        Kind::Recovery => "recovery",
        Kind::Stop => "stop",
        Kind::Upkeep => "upkeep",
    }
}

fn name(config: &Config, run: &Run) -> String {
    let name = config.node_name_of(run.host).map(str::to_owned);
    name.unwrap_or_else(|| run.host.to_string())
}

/// `2026-12-01 02:35:19 node102    failover    0.8 s  what`.
fn line(config: &Config, run: &Run) -> String {
    let when: String = run.started.chars().take(19).collect();
    let seconds = format!("{:.1} s", run.milliseconds as f64 / 1000.0);
    let first = format!(
        "{} {} {} {seconds:>9}  ",
        when.replace('T', " "),
        column(&name(config, run), 10),
        column(kind(run.kind), 8)
    );
    let again = match run.again {
        0 => String::new(),
        times => format!(" ({times} times more)"),
    };
    wrapped(&first, &format!("{}{again}", run.what))
}

fn member(config: &Config, run: &Run) -> Value {
    json!({
        "run": run.name,
        "node": name(config, run),
        "address": run.host,
        "kind": kind(run.kind),
        "started": run.started,
        "milliseconds": run.milliseconds,
        "succeeded": run.succeeded,
        "what": run.what,
        "timeline_before": run.timelines.map(|(from, _)| from),
        "timeline": run.timelines.map(|(_, to)| to),
        "again": run.again,
    })
}
