//! Whose log is it? By what its lines say, by the directory that it lies in, or by a log that saw the same.

use super::fact::{Fact, LogKind, Logs, Seen};
use std::collections::{BTreeMap, BTreeSet};

/// Between a pool's command and the first line of the script, in milliseconds.
const COMMAND_TO_SCRIPT: i64 = 3_000;

/// Steps that a run does on the host that it runs on.
const OWN_STEPS: [&str; 4] = ["trust-ip", "disk", "pool", "decide"];

/// The hosts that the logs speak of, and the host of each source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Address or name of each host, and its name where there is another one.
    pub lanes: Vec<(String, String)>,
    /// For each source its host, by its place in `lanes`.
    pub of: Vec<Option<usize>>,
    /// Sources that speak of hosts that none of the others knows.
    pub strangers: BTreeSet<usize>,
    known: BTreeMap<String, usize>,
}

impl Hosts {
    /// The lane of a host, by its address or one of its names.
    pub fn lane(&self, name: &str) -> Option<usize> {
        self.known.get(name).copied()
    }

    /// How a lane is called.
    pub fn name(&self, lane: usize) -> &str {
        self.lanes.get(lane).map_or("", |(address, _)| address)
    }

    fn add(&mut self, address: &str, name: &str) -> Option<usize> {
        if address.is_empty() {
            return None;
        }
        let lane = match self.lane(address).or_else(|| self.lane(name)) {
            Some(lane) => lane,
            None => {
                self.lanes.push((address.to_owned(), String::new()));
                self.lanes.len() - 1
            }
        };
        self.known.insert(address.to_owned(), lane);
        if !name.is_empty() && name != address {
            self.known.insert(name.to_owned(), lane);
            if let Some(kept) = self.lanes.get_mut(lane) {
                // An address is what the other logs have.
                if is_address(address) && !is_address(&kept.0) {
                    kept.0 = address.to_owned();
                }
                if kept.1.is_empty() && kept.0 != name {
                    kept.1 = name.to_owned();
                }
            }
        }
        Some(lane)
    }

    /// By what the logs say.
    pub fn of(logs: &Logs) -> Self {
        let mut hosts = Self {
            of: vec![None; logs.sources.len()],
            ..Self::default()
        };
        hosts.strangers = strangers(logs);
        let seen: Vec<&Seen> = logs
            .facts
            .iter()
            .filter(|it| !hosts.strangers.contains(&it.source))
            .collect();
        hosts.learn_names(&seen);
        hosts.own_words(logs, &seen);
        hosts.by_directory(logs);
        hosts.by_command(logs, &seen);
        hosts.alone(logs);
        hosts
    }

    fn learn_names(&mut self, seen: &[&Seen]) {
        for it in seen {
            if let Fact::LocalPool(address, name) | Fact::PeerPool(address, name) = &it.fact {
                self.add(address, name);
            }
        }
        for it in seen {
            match &it.fact {
                Fact::Node(row) => {
                    self.add(&row.host, "");
                }
                Fact::Arguments(told) => {
                    self.add(&told.failed_host, "");
                    self.add(&told.new_host, "");
                }
                Fact::Step(step) => {
                    self.add(&step.host, "");
                }
                Fact::Promotes(host) | Fact::Fences(host) | Fact::Degenerating(host) => {
                    self.add(host, "");
                }
                _ => {}
            }
        }
    }

    /// What a log says of its own host.
    fn own_words(&mut self, logs: &Logs, seen: &[&Seen]) {
        let mut rows: BTreeMap<i64, &str> = BTreeMap::new();
        for it in seen {
            if let Fact::Node(row) = &it.fact {
                rows.insert(row.id, &row.host);
            }
        }
        let mut names: BTreeMap<usize, &str> = BTreeMap::new();
        for it in seen {
            let lane = match &it.fact {
                Fact::LocalPool(address, _) => self.lane(address),
                Fact::OwnName(name) => {
                    names.insert(it.source, name);
                    self.lane(name)
                }
                Fact::OwnNode(id) => rows.get(id).and_then(|host| self.lane(host)),
                Fact::Step(step) if OWN_STEPS.contains(&step.name.as_str()) => {
                    self.lane(&step.host)
                }
                _ => None,
            };
            if lane.is_some() {
                self.of[it.source] = lane;
            }
        }
        for (source, name) in names {
            match self.of[source].and_then(|lane| self.lanes.get(lane).cloned()) {
                Some((address, _)) => {
                    self.add(&address, name);
                }
                None => self.of[source] = self.add(name, ""),
            }
        }
        debug_assert_eq!(self.of.len(), logs.sources.len());
    }

    /// Of a directory, or of a host that was asked, all logs are one host's.
    fn by_directory(&mut self, logs: &Logs) {
        let mut lane_of: BTreeMap<&str, usize> = BTreeMap::new();
        for (source, lane) in logs.sources.iter().zip(&self.of) {
            if let (Some(label), Some(lane)) = (&source.host, lane) {
                lane_of.insert(label, *lane);
            }
        }
        for (at, source) in logs.sources.iter().enumerate() {
            let (Some(label), None) = (&source.host, self.of[at]) else {
                continue;
            };
            if self.strangers.contains(&at) || source.kind.is_none() {
                continue;
            }
            let known = lane_of.get(label.as_str()).copied();
            self.of[at] = known.or_else(|| self.lane(label)).or_else(|| {
                let lane = self.add(label, "");
                if let Some(lane) = lane {
                    lane_of.insert(label, lane);
                }
                lane
            });
        }
    }

    /// A script's log is of the host whose pool has just started it; a server's, of the host that was promoted
    /// when it was.
    fn by_command(&mut self, logs: &Logs, seen: &[&Seen]) {
        let commands: Vec<(i64, usize)> = seen
            .iter()
            .filter(|it| matches!(it.fact, Fact::Command(_)))
            .filter_map(|it| Some((it.at, self.of[it.source]?)))
            .collect();
        let promotions: Vec<(i64, usize)> = seen
            .iter()
            .filter_map(|it| match &it.fact {
                Fact::Promotes(host) => Some((it.at, self.lane(host)?)),
                _ => None,
            })
            .collect();
        for it in seen {
            if self.of[it.source].is_some() {
                continue;
            }
            let near = |all: &[(i64, usize)]| {
                let found = all
                    .iter()
                    .find(|(at, _)| (it.at - at).abs() <= COMMAND_TO_SCRIPT);
                found.map(|(_, lane)| *lane)
            };
            let lane = match it.fact {
                Fact::Begins => near(&commands),
                Fact::PromoteRequest => near(&promotions),
                _ => None,
            };
            self.of[it.source] = lane;
        }
        debug_assert_eq!(self.of.len(), logs.sources.len());
    }

    /// Where there is nothing else: the host that is promoted runs the script, and a log without any host is a
    /// host of its own.
    fn alone(&mut self, logs: &Logs) {
        for (at, source) in logs.sources.iter().enumerate() {
            if self.of[at].is_some() || source.kind.is_none() || self.strangers.contains(&at) {
                continue;
            }
            let mut own = logs.facts.iter().filter(|it| it.source == at);
            let promoted = own.find_map(|it| match &it.fact {
                Fact::Arguments(told) => Some(told.new_host.clone()),
                _ => None,
            });
            let lane = match (source.kind, promoted) {
                (Some(LogKind::Failover), Some(host)) => self.lane(&host),
                _ => None,
            };
            let has_facts = logs.facts.iter().any(|it| it.source == at);
            let file = source.name.rsplit('/').next().unwrap_or(&source.name);
            self.of[at] = lane.or_else(|| has_facts.then(|| self.add(file, "")).flatten());
        }
    }
}

/// Is it an IPv4 or IPv6 address?
fn is_address(text: &str) -> bool {
    text.parse::<std::net::IpAddr>().is_ok()
}

/// Hosts that a fact names.
fn named(fact: &Fact) -> Vec<&str> {
    match fact {
        Fact::LocalPool(address, name) | Fact::PeerPool(address, name) => vec![address, name],
        Fact::Heartbeat(host, _)
        | Fact::PeerLeaves(host)
        | Fact::PeerLost(host)
        | Fact::NoConnection(host, _)
        | Fact::Degenerating(host)
        | Fact::FailoverDone(host)
        | Fact::FailbackDone(host)
        | Fact::Fences(host)
        | Fact::Promotes(host)
        | Fact::Needed(host)
        | Fact::OwnName(host) => vec![host],
        Fact::Arguments(told) => vec![&told.new_host, &told.failed_host],
        Fact::Node(row) => vec![&row.host],
        Fact::Step(step) => vec![&step.host],
        _ => Vec::new(),
    }
}

/// Sources that share no host with the largest group of those that do. One that names no host is nobody's, and
/// stays.
fn strangers(logs: &Logs) -> BTreeSet<usize> {
    let mut names: Vec<BTreeSet<&str>> = vec![BTreeSet::new(); logs.sources.len()];
    let mut count = vec![0_usize; logs.sources.len()];
    for seen in &logs.facts {
        count[seen.source] += 1;
        let told = named(&seen.fact).into_iter().filter(|it| !it.is_empty());
        names[seen.source].extend(told.filter(|it| *it != "localhost" && *it != "127.0.0.1"));
    }
    // Whoever lies in one directory, or came from one host, belongs together.
    let label = |at: usize| logs.sources.get(at).and_then(|it| it.host.as_deref());
    let mut groups: Vec<(BTreeSet<&str>, Vec<usize>)> = Vec::new();
    for (at, mut own) in names.into_iter().enumerate() {
        if own.is_empty() {
            continue;
        }
        own.extend(label(at));
        let (mut joined, mut members) = (own, vec![at]);
        groups.retain_mut(|(other, others)| {
            let apart = joined.is_disjoint(other);
            if !apart {
                joined.append(other);
                members.append(others);
            }
            apart
        });
        groups.push((joined, members));
    }
    let weight = |members: &[usize]| members.iter().map(|at| count[*at]).sum::<usize>();
    let main = groups.iter().map(|(_, members)| weight(members)).max();
    let mut kept = false;
    let mut apart = BTreeSet::new();
    for (_, members) in &groups {
        if !kept && Some(weight(members)) == main {
            kept = true;
        } else {
            apart.extend(members.iter().copied());
        }
    }
    apart
}
