//! `cluster_ctl show`: one line for each host and each pool, and what is wrong.

use crate::check::members;
use crate::look;
use crate::words::{ago, column, finding, wrapped};
use anyhow::Result;
use cluster_ctl::cli::Show;
use failover_core::clock;
use failover_core::deadline::Deadline;
use failover_core::exit::Exit;
use failover_core::host::ThisHost;
use failover_core::teller::Teller;
use failover_core::terminal::is_heard;
use failover_rules::facts::cluster::{Cluster, Host, NoFacts, PoolSeen};
use failover_rules::facts::host::{HostFacts, ServerFacts};
use failover_rules::facts::pool::PoolNode;
use failover_rules::facts::standby::Standby;
use failover_rules::preflight::{Finding, Level, bytes, judge};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

/// Whoever has given no answer by then is shown so.
const LIMIT: Duration = Duration::from_millis(2_500);
/// Between two looks of `--watch`.
const PAUSE: Duration = Duration::from_secs(2);
/// Moves to the upper left corner and clears the screen.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Headings and widths of the hosts' table.
const HOSTS: [(&str, usize); 9] = [
    ("NODE", 10),
    ("ADDRESS", 15),
    ("SERVER", 8),
    ("TL", 3),
    ("LAG", 7),
    ("COMMITS", 9),
    ("SLOT", 5),
    ("VIP", 7),
    ("LOOKED", 7),
];

/// The whole command.
pub fn run(args: &Show, teller: &Teller) -> Result<Exit> {
    let here = ThisHost::load(args.common.config.as_deref())?;
    loop {
        let cluster = look::cluster(&here, false, Deadline::after(LIMIT));
        let found = judge(&cluster);
        if !args.common.json && args.watch && std::io::stdout().is_terminal() {
            // Not through the teller, which lets no orders to a terminal through.
            let _ = write!(std::io::stdout(), "{CLEAR}");
        }
        teller.say(&text(&cluster, &found));
        let text = match found.iter().find(|it| it.level == Level::Failure) {
            Some(first) => first.sentence.clone(),
            None => "nothing is wrong".to_owned(),
        };
        teller.object(Exit::Done, &text, object(&cluster, &found));
        if !args.watch || !is_heard() {
            return Ok(Exit::Done);
        }
        Deadline::after(PAUSE).pause(PAUSE);
    }
}

fn text(cluster: &Cluster, found: &[Finding]) -> String {
    let mut lines = vec![format!(
        "{}, seen from {}",
        clock::stamp(),
        cluster.name_of(cluster.me)
    )];
    lines.push(String::new());
    lines.push(row(&HOSTS.map(|(heading, _)| heading.to_owned())));
    lines.extend(cluster.hosts.iter().map(|host| host_line(cluster, host)));
    lines.push(String::new());
    lines.push(format!("{} NODES", column("POOL", 15)));
    lines.extend(cluster.pools.iter().map(|pool| pool_line(cluster, pool)));
    lines.push(String::new());
    lines.extend(versions(cluster));
    let (failures, warnings): (Vec<_>, Vec<_>) =
        found.iter().partition(|it| it.level == Level::Failure);
    if failures.is_empty() {
        lines.push("Nothing is wrong.".to_owned());
    }
    lines.extend(failures.into_iter().map(finding));
    lines.extend(warnings.into_iter().map(finding));
    lines.join("\n")
}

fn row(cells: &[String]) -> String {
    let cells = cells.iter().zip(HOSTS);
    let cells = cells.map(|(cell, (_, width))| column(cell, width));
    cells.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

fn host_line(cluster: &Cluster, host: &Host) -> String {
    let facts = match &host.answer {
        Ok(facts) => facts,
        Err(NoFacts::Unreachable(_)) => return silent(host, "no answer"),
        Err(NoFacts::NoTools(_)) => return silent(host, "its tools give no answer"),
    };
    let server = facts.server.as_ref();
    let sender = sender(cluster, host);
    row(&[
        host.name.clone(),
        host.address.to_string(),
        role(host).to_owned(),
        timeline(server),
        lag(sender),
        commits(cluster, host, sender),
        slot(cluster, server).to_owned(),
        vips(facts),
        looked(facts),
    ])
}

fn silent(host: &Host, why: &str) -> String {
    let (node, address) = (
        column(&host.name, 10),
        column(&host.address.to_string(), 15),
    );
    format!("{node} {address} {why}")
}

/// What the database says.
fn role(host: &Host) -> &'static str {
    let Some(server) = host.server() else {
        return if host.has_database { "?" } else { "none" };
    };
    match (server.status.running, server.status.in_recovery) {
        (false, _) => "down",
        (true, None) => "silent",
        (true, Some(true)) => "standby",
        (true, Some(false)) => "primary",
    }
}

fn timeline(server: Option<&ServerFacts>) -> String {
    match server.map(|server| server.status.timeline) {
        Some(timeline) if timeline > 0 => timeline.to_string(),
        _ => "-".to_owned(),
    }
}

/// The sender of the one primary that serves this host.
fn sender<'a>(cluster: &'a Cluster, host: &Host) -> Option<&'a Standby> {
    let (_, primary) = cluster.primary()?;
    Standby::find(&primary.senders, host.address, &host.name)
}

fn lag(sender: Option<&Standby>) -> String {
    let behind = sender.filter(|it| it.streams()).and_then(|it| it.behind);
    behind.map_or_else(|| "-".to_owned(), bytes)
}

/// Of a primary whether its commits wait, of a standby how it is waited for.
fn commits(cluster: &Cluster, host: &Host, sender: Option<&Standby>) -> String {
    if let Some(sender) = sender {
        return match sender.streams() {
            true => sender.sync_state.clone(),
            false => sender.state.clone(),
        };
    }
    let names = cluster
        .primary()
        .filter(|(primary, _)| primary.address == host.address)
        .and_then(|(_, server)| server.setting("synchronous_standby_names"));
    match names {
        Some("") => "alone".to_owned(),
        Some(_) => "wait".to_owned(),
        None => "-".to_owned(),
    }
}

/// Whether the primary keeps WAL for it.
fn slot(cluster: &Cluster, server: Option<&ServerFacts>) -> &'static str {
    let used = server.and_then(|server| server.uses_slot.as_deref());
    let is_standby = server.is_some_and(|server| server.status.in_recovery == Some(true));
    match (cluster.primary(), used) {
        (Some((_, primary)), Some(used)) if is_standby => {
            match primary.slots.iter().find(|slot| slot.name == used) {
                Some(slot) if slot.active => "used",
                Some(_) => "idle",
                None => "gone",
            }
        }
        _ => "-",
    }
}

fn vips(facts: &HostFacts) -> String {
    let database = facts.server.as_ref().is_some_and(|it| it.status.vip_here);
    match (database, facts.pool_vip_here) {
        (true, true) => "db,pool",
        (true, false) => "db",
        (false, true) => "pool",
        (false, false) => "-",
    }
    .to_owned()
}

/// When `network_rewind` last ran.
fn looked(facts: &HostFacts) -> String {
    if facts.marks.paused.is_some() {
        return "paused".to_owned();
    }
    match (facts.last_look, &facts.server) {
        (Some(seconds), _) => ago(seconds),
        (None, Some(_)) => "never".to_owned(),
        (None, None) => "-".to_owned(),
    }
}

fn pool_line(cluster: &Cluster, pool: &PoolSeen) -> String {
    let first = format!("{} ", column(&pool.host.to_string(), 15));
    let told = match &pool.nodes {
        Err(_) => "no answer".to_owned(),
        Ok(nodes) => {
            let node = |node: &PoolNode| {
                let name = cluster.host_of(node).map_or(&node.host, |host| &host.name);
                let role = if node.is_primary() { " primary" } else { "" };
                format!("{name} {}{role}", node.status)
            };
            nodes.iter().map(node).collect::<Vec<_>>().join(", ")
        }
    };
    wrapped(&first, &told)
}

/// One line where all are alike.
fn versions(cluster: &Cluster) -> Vec<String> {
    let known = || {
        cluster
            .hosts
            .iter()
            .filter_map(|host| Some((host, host.facts()?)))
    };
    let all: BTreeSet<&str> = known().map(|(_, facts)| facts.tools.as_str()).collect();
    match all.len() {
        0 => Vec::new(),
        1 => vec![format!(
            "Tools {} on every host that answers.",
            all.into_iter().collect::<String>()
        )],
        _ => known()
            .map(|(host, facts)| format!("Tools {} on {}.", facts.tools, host.name))
            .collect(),
    }
}

/// For a machine.
fn object(cluster: &Cluster, found: &[Finding]) -> Value {
    let hosts = cluster.hosts.iter().map(|host| host_member(cluster, host));
    let pools = cluster.pools.iter().map(|pool| pool_member(cluster, pool));
    json!({
        "seen_from": cluster.me,
        "time": clock::event_stamp(),
        "hosts": hosts.collect::<Vec<_>>(),
        "pools": pools.collect::<Vec<_>>(),
        "findings": members(found),
    })
}

fn host_member(cluster: &Cluster, host: &Host) -> Value {
    let facts = host.facts();
    let server = host.server();
    let sender = sender(cluster, host);
    let why = match &host.answer {
        Ok(_) => None,
        Err(NoFacts::Unreachable(why) | NoFacts::NoTools(why)) => Some(why),
    };
    json!({
        "name": host.name,
        "address": host.address,
        "answers": facts.is_some(),
        "why_not": why,
        "role": role(host),
        "timeline": server.map(|it| it.status.timeline).filter(|it| *it > 0),
        "lag_bytes": sender.filter(|it| it.streams()).and_then(|it| it.behind),
        "state": sender.map(|it| &it.state),
        "sync_state": sender.map(|it| &it.sync_state),
        "slot": server.and_then(|it| it.uses_slot.as_ref()),
        "slot_state": slot(cluster, server),
        "database_vip": server.is_some_and(|it| it.status.vip_here),
        "cluster_vip": facts.is_some_and(|it| it.pool_vip_here),
        "last_look_seconds": facts.and_then(|it| it.last_look),
        "paused_since": facts.and_then(|it| it.marks.paused.as_ref()).map(|it| &it.0),
        "paused_why": facts.and_then(|it| it.marks.paused.as_ref()).map(|it| &it.1),
        "tools": facts.map(|it| &it.tools),
        "server_version": server.and_then(|it| it.setting("server_version")),
    })
}

fn pool_member(cluster: &Cluster, pool: &PoolSeen) -> Value {
    let node = |node: &PoolNode| {
        json!({
            "id": node.id,
            "host": node.host,
            "node": cluster.host_of(node).map(|host| &host.name),
            "status": node.status,
            "role": node.role,
        })
    };
    let nodes = pool.nodes.as_ref();
    json!({
        "host": pool.host,
        "answers": nodes.is_ok(),
        "why_not": nodes.err(),
        "nodes": nodes.map(|all| all.iter().map(node).collect::<Vec<_>>()).unwrap_or_default(),
    })
}
