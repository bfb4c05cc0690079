//! `cluster_ctl check --what-if`: what would happen, for a terminal and for a machine.

use crate::words;
use anyhow::Result;
use failover_core::exit::usage;
use failover_rules::facts::cluster::{Cluster, Host};
use failover_rules::foretell::{Foretold, Span, foretell, within};
use serde_json::{Value, json};

/// What would happen at `node` (a name or an address; empty: the primary; nothing is told where there is not one).
///
/// # Errors
/// Nobody has that name.
pub fn foretold(cluster: &Cluster, node: &str) -> Result<Vec<Foretold>> {
    let host = match node {
        "" => cluster.primary().map(|(host, _)| host),
        node => Some(host(cluster, node)?),
    };
    Ok(host.map_or_else(Vec::new, |host| foretell(cluster, host)))
}

/// In the place of what would happen.
pub const NO_PRIMARY: &str =
    "there is not one primary now: mend what fails first, or name a host (--what-if HOST)";

fn host<'a>(cluster: &'a Cluster, node: &str) -> Result<&'a Host> {
    let is_it = |host: &&Host| host.name == node || node.parse() == Ok(host.address);
    let Some(host) = cluster.hosts.iter().find(is_it) else {
        let all: Vec<&str> = cluster
            .hosts
            .iter()
            .map(|host| host.name.as_str())
            .collect();
        return Err(usage(format!(
            "--what-if {node}: no such host, there are {}",
            all.join(", ")
        )));
    };
    Ok(host)
}

/// One event, as a block of lines.
pub fn told(it: &Foretold) -> String {
    let mut lines = vec![words::wrapped("what if ", &it.event.heading(&it.node))];
    lines.push(words::wrapped("  then   ", &it.text));
    match it.waits() {
        Some(span) if span == Span::default() => {
            lines.push("  wait   clients do not wait".to_owned())
        }
        Some(span) => {
            lines.push(words::wrapped(
                "  wait   ",
                &format!("clients wait for {}:", within(span)),
            ));
            lines.extend(it.parts.iter().map(|part| {
                let setting = part
                    .setting
                    .as_ref()
                    .map(|it| format!(" ({it})"))
                    .unwrap_or_default();
                words::wrapped(
                    &format!("         {}  ", words::column(&within(part.span), 13)),
                    &format!("{}{setting}", part.what),
                )
            }));
        }
        None => lines.push("  wait   until a person or the host comes back".to_owned()),
    }
    lines.push(words::wrapped("  lost   ", &it.lost));
    lines.extend(
        it.notes
            .iter()
            .map(|note| words::wrapped("  note   ", note)),
    );
    lines.join("\n")
}

/// The same for a machine.
pub fn member(it: &Foretold, cluster: &Cluster) -> Value {
    let span = |span: Span| json!({ "from_ms": span.from, "to_ms": span.to });
    let parts: Vec<Value> = it
        .parts
        .iter()
        .map(|part| json!({ "what": part.what, "setting": part.setting, "time": span(part.span) }))
        .collect();
    json!({
        "event": it.event.name(),
        "node": it.node,
        "ends_well": it.ends_well,
        "promoted": it.promoted.map(|it| cluster.name_of(it)),
        "text": it.text,
        "lost": it.lost,
        "waits": it.waits().map(span),
        "parts": parts,
        "notes": it.notes,
    })
}
