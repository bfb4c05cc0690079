//! `recovery.log`, as the scripts write it and `network_rewind` does.

use super::sink::Sink;
use super::stamp::leading;
use super::told::{between, number_after};
use failover_rules::report::fact::{Fact, NodeRow};

/// Reads one log, line by line. A line without a time has that of the one before it.
#[derive(Default)]
pub struct RecoveryReader {
    last: Option<i64>,
    /// Where a table of the pool's nodes has the host, the status and the role.
    columns: Option<[usize; 3]>,
}

impl RecoveryReader {
    /// One line.
    pub fn line(&mut self, raw: &[u8], sink: &mut Sink) {
        let stamp = leading(raw);
        if let Some(stamp) = &stamp {
            self.last = Some(sink.at(stamp));
        }
        let rest = stamp.map_or(raw, |it| raw.get(it.end..).unwrap_or_default());
        let text = String::from_utf8_lossy(rest);
        let text = text.trim();
        let mut told = 0;
        let mut tell = |fact| {
            told += 1;
            match self.last {
                Some(at) => sink.tell(at, fact),
                None => sink.timeless(),
            }
        };
        if text.contains(" | ") {
            if let Some(row) = row(text, &mut self.columns) {
                tell(Fact::Node(Box::new(row)));
            }
        } else if text.contains("does not have correct streaming") {
            looks(text).into_iter().for_each(tell);
        } else if let Some(fact) = fact(text) {
            tell(fact);
        }
        match told {
            0 if text.contains('\u{fffd}') => sink.strange(),
            0 => sink.plain(),
            _ => {}
        }
    }
}

/// A row of `show pool_nodes`, whose columns differ from version to version.
fn row(text: &str, columns: &mut Option<[usize; 3]>) -> Option<NodeRow> {
    let cells: Vec<&str> = text.split('|').map(str::trim).collect();
    if cells.first() == Some(&"node_id") {
        let place = |name: &str| cells.iter().position(|it| *it == name);
        *columns = Some([place("hostname")?, place("status")?, place("role")?]);
        return None;
    }
    let [host, status, role] = (*columns)?;
    let cell = |at: usize| cells.get(at).map(|it| (*it).to_owned());
    Some(NodeRow {
        id: cells.first()?.parse().ok()?,
        host: cell(host)?,
        status: cell(status)?,
        role: cell(role)?,
    })
}

/// `node:node101 does not have correct streaming..., retry times:[1/10]`.
fn looks(text: &str) -> Vec<Fact> {
    let name = between(text, "node:", " ").map(|it| Fact::OwnName(it.to_owned()));
    let look = between(text, "retry times:[", "]").and_then(|it| {
        let (round, most) = it.split_once('/')?;
        Some(Fact::Look(round.parse().ok()?, most.parse().ok()?))
    });
    name.into_iter().chain(look).collect()
}

fn fact(text: &str) -> Option<Fact> {
    let rest = |before: &str| text.strip_prefix(before).map(str::to_owned);
    if text.starts_with("recover beging") {
        return Some(Fact::RecoveryBegins);
    }
    if text.ends_with("I will be in recovery.") {
        let primary = between(text, "primary ip[", "]").unwrap_or_default();
        return Some(Fact::Needed(primary.to_owned()));
    }
    if let Some(what) = rest("decision: ") {
        return Some(Fact::Decision(what));
    }
    if let Some((_, rest)) = text.split_once("rewinding from last common checkpoint at ") {
        let position = rest.split(' ').next().unwrap_or_default();
        let timeline = number_after(rest, "timeline ").and_then(|it| u32::try_from(it).ok());
        return Some(Fact::PartsAt(position.to_owned(), timeline.unwrap_or(0)));
    }
    if let Some(rest) = text.strip_prefix("IM Node is ") {
        return rest.split(',').next()?.parse().ok().map(Fact::OwnNode);
    }
    if let Some(why) = rest("recovery failed: ") {
        return Some(Fact::RecoveryFailed(why));
    }
    if text.starts_with("start up the ") && text.ends_with("...") {
        return Some(Fact::Starts);
    }
    if text.starts_with("recovery success") {
        return Some(Fact::RecoveryEnds);
    }
    match text {
        "sys_rewind..." | "pg_rewind..." => Some(Fact::Rewinds),
        "Done!" | "pg_rewind: Done!" | "sys_rewind: Done!" => Some(Fact::Rewound),
        "file operate" => Some(Fact::Files),
        "start up standby successful!" => Some(Fact::Started),
        "remote primary node change sync" => Some(Fact::Synchronous),
        "attach pool..." => Some(Fact::Attaches),
        "attach end.." => Some(Fact::Attached),
        _ => None,
    }
}
