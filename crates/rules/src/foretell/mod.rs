//! What would happen? Something breaks now, in a cluster as it was just seen: who notices and when, who is
//! promoted, what is lost at most, how long clients wait. The decisions are those that the tools
//! themselves take; the times come from the pools' own settings.

mod notice;
mod standby;
#[cfg(test)]
mod tests;

use crate::facts::cluster::{Cluster, Host, PoolSeen};
use crate::facts::host::ServerFacts;
use crate::facts::policy::{FailoverCandidate, GatewayLostAction, SyncDegrade};
use crate::facts::standby::Standby;
use crate::failover::{self as decide, Candidate, Choice, Unfit};
use crate::fencing::{Fenced, may_promote};
use crate::preflight::bytes;
use crate::synchronous;
use notice::{Gone, notice, vip_moves};
use std::net::IpAddr;

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The host loses its power.
    HostDies,
    /// Its database is killed, and the host lives.
    DatabaseDies,
    /// Its network cable is pulled.
    CutOff,
    /// The trust IPs answer nobody any more.
    GatewayDies,
}

impl Event {
    /// Its name for machines.
    pub fn name(self) -> &'static str {
        match self {
            Self::HostDies => "host-dies",
            Self::DatabaseDies => "database-dies",
            Self::CutOff => "cut-off",
            Self::GatewayDies => "gateway-dies",
        }
    }

    /// As a heading.
    pub fn heading(self, node: &str) -> String {
        match self {
            Self::HostDies => format!("{node} loses its power"),
            Self::DatabaseDies => format!("the database on {node} is killed"),
            Self::CutOff => format!("{node} is cut off from the network"),
            Self::GatewayDies => "the gateway (KB_GATEWAY_IP) dies".to_owned(),
        }
    }

    fn gone(self) -> Gone {
        match self {
            Self::DatabaseDies => Gone::Refused,
            Self::HostDies | Self::CutOff | Self::GatewayDies => Gone::Silent,
        }
    }
}

/// A time that is known to lie between two others. Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// At least.
    pub from: u64,
    /// At most.
    pub to: u64,
}

impl Span {
    const fn of(from: u64, to: u64) -> Self {
        Self { from, to }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            from: self.from.saturating_add(other.from),
            to: self.to.saturating_add(other.to),
        }
    }
}

/// A part of the time that clients wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What takes the time.
    pub what: String,
    /// The settings that make it so long.
    pub setting: Option<String>,
    /// How long it takes.
    pub span: Span,
}

impl Part {
    fn new(what: impl Into<String>, span: Span) -> Self {
        Self {
            what: what.into(),
            setting: None,
            span,
        }
    }

    fn by(mut self, setting: impl Into<String>) -> Self {
        self.setting = Some(setting.into());
        self
    }
}

/// What would happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foretold {
    /// What breaks.
    pub event: Event,
    /// Where.
    pub node: String,
    /// Clients write again by themselves.
    pub ends_well: bool,
    /// Who becomes the primary.
    pub promoted: Option<IpAddr>,
    /// What happens, or why nothing does.
    pub text: String,
    /// What of the acknowledged commits is lost at most.
    pub lost: String,
    /// The parts of the time until clients write again through the database VIP, in their order.
    pub parts: Vec<Part>,
    /// What else follows.
    pub notes: Vec<String>,
}

impl Foretold {
    /// How long clients cannot write. `None`: until a person or the node comes back.
    pub fn waits(&self) -> Option<Span> {
        let sum = |all: &[Part]| {
            let spans = all.iter().map(|part| part.span);
            spans.fold(Span::default(), Span::plus)
        };
        self.ends_well.then(|| sum(&self.parts))
    }
}

/// Nothing that was acknowledged.
const NOTHING: &str = "nothing that was acknowledged";

/// What would happen if something broke at `node`.
pub fn foretell(cluster: &Cluster, node: &Host) -> Vec<Foretold> {
    let events: &[Event] = match node.has_database {
        true => &[
            Event::HostDies,
            Event::DatabaseDies,
            Event::CutOff,
            Event::GatewayDies,
        ],
        false => &[Event::HostDies, Event::GatewayDies],
    };
    events
        .iter()
        .map(|event| of(cluster, node, *event))
        .collect()
}

fn of(cluster: &Cluster, node: &Host, event: Event) -> Foretold {
    if event == Event::GatewayDies {
        return gateway(cluster, node);
    }
    if !node.has_database {
        return only_a_pool(cluster, node);
    }
    let mut told = match cluster.primary() {
        Some((primary, server)) if primary.address == node.address => {
            primary_gone(cluster, primary, server, event)
        }
        Some((primary, server)) => standby::gone(cluster, (primary, server), node, event),
        None => says(event, node).badly(
            "there is not one primary now, as far as can be seen: see what check says, and mend that first",
        ),
    };
    let pools_left = cluster.pools.iter().filter(|it| it.host != node.address);
    if event.gone() == Gone::Silent
        && pools_left.clone().count() < cluster.pools.len()
        && let Some(parts) = vip_moves(cluster, node.address)
        && node.facts().is_some_and(|facts| facts.pool_vip_here)
    {
        let span = parts
            .iter()
            .fold(Span::default(), |sum, part| sum.plus(part.span));
        told.notes.push(format!(
            "{} has the cluster VIP {}: another pool has it after {}",
            node.name,
            cluster.pool_vip,
            within(span)
        ));
    }
    told
}

/// A span for a person.
pub fn within(span: Span) -> String {
    let (from, to) = (notice::seconds(span.from), notice::seconds(span.to));
    match from == to {
        true => from,
        false => format!("{} to {to}", from.trim_end_matches(" s")),
    }
}

fn says(event: Event, node: &Host) -> Foretold {
    Foretold {
        event,
        node: node.name.clone(),
        ends_well: true,
        promoted: None,
        text: String::new(),
        lost: NOTHING.to_owned(),
        parts: Vec::new(),
        notes: Vec::new(),
    }
}

impl Foretold {
    fn badly(mut self, why: impl Into<String>) -> Self {
        self.ends_well = false;
        self.text = why.into();
        self
    }

    fn well(mut self, what: impl Into<String>) -> Self {
        self.text = what.into();
        self
    }

    fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }
}

/// The primary is gone: a failover.
fn primary_gone(cluster: &Cluster, host: &Host, server: &ServerFacts, event: Event) -> Foretold {
    let told = says(event, host);
    let silent = event.gone() == Gone::Silent;
    let (parts, _) = match notice(cluster, host, event.gone()) {
        Ok(found) => found,
        Err(why) => return told.badly(format!("nobody is promoted: {why}")),
    };
    let chosen = allowed(cluster, host, silent).and_then(|()| choose(cluster, host));
    let chosen = match chosen {
        Ok(chosen) => chosen,
        Err(why) => {
            return Foretold { parts, ..told }.badly(format!(
                "the pools notice, and failover_stream promotes nobody: {why}"
            ));
        }
    };
    let name = cluster.name_of(chosen.address);
    let (lost, missing) = lost(cluster, (host, server), chosen.address);
    if let Some(refusal) =
        missing.and_then(|it| decide::lag_refusal(it, cluster.policies.max_failover_lag))
    {
        return Foretold { parts, ..told }.badly(format!("nobody is promoted: {refusal}"));
    }
    let mut told = Foretold {
        parts,
        lost,
        promoted: Some(chosen.address),
        ..told
    }
    .well(format!("{name} is promoted: {}", chosen.why));
    told.parts.push(command(cluster, silent));
    let told = stays_synchronous(cluster, host, chosen.address, told);
    match event {
        Event::CutOff => cut_off(cluster, host, server, told),
        _ => told,
    }
}

/// What the failover command takes.
fn command(cluster: &Cluster, silent: bool) -> Part {
    let probe = cluster.policies.probe_ms;
    match silent {
        true => Part::new(
            "failover_stream: no sign of life, promotion, database VIP",
            Span::of(probe.saturating_add(50), probe.saturating_add(700)),
        )
        .by("PROBE_TIMEOUT"),
        false => Part::new(
            "failover_stream: fence, promotion, database VIP",
            Span::of(150, 600),
        ),
    }
}

/// Whether a failover from `host` goes as far as to choose somebody.
fn allowed(cluster: &Cluster, host: &Host, silent: bool) -> Result<(), String> {
    let seen = cluster
        .hosts
        .iter()
        .filter(|it| it.answer.is_ok() && !(silent && it.address == host.address));
    decide::quorum(cluster.policies.quorum, seen.count(), cluster.hosts.len())?;
    let outcome = match silent {
        true => Fenced::Unreachable("no sign of life".to_owned()),
        false => Fenced::Yes("its database does not run".to_owned()),
    };
    may_promote(cluster.policies.promote_without_fence, &outcome)
}

/// Who is promoted, by the rules of a failover.
fn choose(cluster: &Cluster, host: &Host) -> Result<Choice, String> {
    let view = leaders_view(cluster);
    let is_down = |it: &Host| {
        let mut nodes = view.into_iter().flatten();
        nodes.any(|node| node.is(it.address, Some(&it.name)) && !node.is_up())
    };
    let standbys: Vec<&Host> = cluster
        .databases()
        .filter(|it| it.address != host.address)
        .collect();
    let mut up: Vec<_> = view
        .into_iter()
        .flatten()
        .filter(|node| node.is_up())
        .filter_map(|node| Some((node.id, cluster.host_of(node)?)))
        .filter(|(_, it)| it.address != host.address)
        .collect();
    up.sort_by_key(|(id, _)| *id);
    let Some(given) = up.first().map(|(_, it)| it.address) else {
        return Err("the pool has no other node up, and gives nobody to promote".to_owned());
    };
    let choice = cluster.policies.candidate == FailoverCandidate::Best && standbys.len() > 1;
    let (mut candidates, mut unfit) = (Vec::new(), Vec::new());
    for standby in standbys
        .into_iter()
        .filter(|it| choice || it.address == given)
    {
        let down = is_down(standby);
        let judged = match standby.server() {
            Some(server) => {
                Candidate::from_status(standby.address, &server.status, down).map_err(|why| {
                    (
                        why.clone(),
                        Unfit::Known(Box::new(server.status.clone()), why),
                    )
                })
            }
            None => Err(("it gives no answer".to_owned(), Unfit::Silent)),
        };
        match judged {
            Ok(candidate) => candidates.push(candidate),
            Err((why, seen)) => unfit.push((standby, down, why, seen)),
        }
    }
    let Some(chosen) = decide::choose(&candidates, given) else {
        let each: Vec<String> = unfit
            .iter()
            .map(|(host, _, why, _)| format!("{}: {why}", host.name))
            .collect();
        return Err(format!("no standby can be promoted ({})", each.join("; ")));
    };
    let best = candidates.iter().find(|it| it.address == chosen.address);
    if cluster.sync && choice {
        for (host, down, _, seen) in &unfit {
            if !down {
                decide::pass_over(host.address, seen, best)?;
            }
        }
    }
    Ok(chosen)
}

/// What the pool that leads says of the nodes, else any.
fn leaders_view(cluster: &Cluster) -> Option<&[crate::facts::pool::PoolNode]> {
    let leads = |pool: &&PoolSeen| {
        let host = cluster.host(pool.host);
        host.and_then(Host::facts)
            .is_some_and(|facts| facts.pool_vip_here)
    };
    let of_leader = cluster.pools.iter().find(leads).and_then(PoolSeen::view);
    of_leader.or_else(|| cluster.pools.iter().find_map(PoolSeen::view))
}

/// Whether the primary's commits wait for a standby that streams.
fn is_synchronous(server: &ServerFacts) -> bool {
    let setting = server
        .setting("synchronous_standby_names")
        .unwrap_or_default();
    let waits = !matches!(server.setting("synchronous_commit"), Some("off" | "local"));
    waits && synchronous::number(setting) > 0 && server.senders.iter().any(Standby::is_waited_for)
}

/// What is lost at most with this new primary, and how many bytes of WAL it lacks where commits wait for
/// nobody.
fn lost(
    cluster: &Cluster,
    (host, server): (&Host, &ServerFacts),
    chosen: IpAddr,
) -> (String, Option<u64>) {
    let name = cluster.name_of(chosen);
    let sender = Standby::find(&server.senders, chosen, &name);
    if is_synchronous(server) {
        let others = cluster
            .databases()
            .filter(|it| it.address != host.address)
            .count();
        let is_sure = others == 1
            || cluster.policies.candidate == FailoverCandidate::Best
            || sender.is_some_and(|it| matches!(it.sync_state.as_str(), "sync"));
        return match is_sure {
            true => (NOTHING.to_owned(), None),
            false => (
                format!(
                    "what another standby than {name} has acknowledged: FAILOVER_CANDIDATE=given promotes whom the \
                     pool names"
                ),
                None,
            ),
        };
    }
    let behind = sender.and_then(|it| it.behind);
    match behind {
        Some(behind) => (
            format!(
                "what {name} has not received at that moment: commits do not wait for it. It lacks {} now",
                bytes(behind)
            ),
            Some(behind),
        ),
        None => (
            format!(
                "what {name} has not received: commits do not wait for it, and it does not stream now"
            ),
            None,
        ),
    }
}

/// What the new primary's commits wait for.
fn stays_synchronous(cluster: &Cluster, old: &Host, chosen: IpAddr, told: Foretold) -> Foretold {
    if !cluster.sync {
        return told;
    }
    let left = cluster.databases().filter(|it| {
        let serves = it.server().is_some_and(|server| server.status.running);
        it.address != old.address && it.address != chosen && serves
    });
    if left.count() > 0 {
        return told
            .note("the other standbys follow it at once, and its commits wait for one of them");
    }
    match cluster.policies.sync_degrade {
        SyncDegrade::Always => told.note(format!(
            "its commits wait for no standby until {} streams again (SYNC_DEGRADE=always)",
            old.name
        )),
        SyncDegrade::Never => {
            let mut told = told;
            told.ends_well = false;
            told.note(format!(
                "its commits wait until {} streams again (SYNC_DEGRADE=never): clients can read, and not write",
                old.name
            ))
        }
    }
}

/// What becomes of a primary that is cut off, and of who is on its side.
fn cut_off(cluster: &Cluster, host: &Host, server: &ServerFacts, mut told: Foretold) -> Foretold {
    let stops = match cluster.policies.gateway_lost {
        GatewayLostAction::Never => {
            "does not stop its database (GATEWAY_LOST_ACTION=never): it stays a second primary until it is back".to_owned()
        }
        _ => "stops its database at its next network_rewind, within a minute".to_owned(),
    };
    let meanwhile = match is_synchronous(server) {
        true => "until then the commits of clients on its side hang, and are not acknowledged"
            .to_owned(),
        false => {
            told.lost = format!(
                "{}; and all that clients on its own side write until it stops",
                told.lost
            );
            "until then it takes writes from clients on its side, and those are lost".to_owned()
        }
    };
    told.note(format!("{} {stops}; {meanwhile}", host.name))
}

/// A host with only a pool dies.
fn only_a_pool(cluster: &Cluster, node: &Host) -> Foretold {
    let told = says(Event::HostDies, node);
    let mut told = match node.facts().is_some_and(|facts| facts.pool_vip_here) {
        false => told.well("nothing changes for clients: the database VIP and the cluster VIP are elsewhere"),
        true => match vip_moves(cluster, node.address) {
            Some(parts) => Foretold { parts, ..told }.well(
                "another pool takes the cluster VIP; the time is for clients of the pool, those of the database VIP \
                 notice nothing",
            ),
            None => told.badly("no other pool is left: clients of the pool wait until it is back"),
        },
    };
    // What its death means for the next failure.
    if let Some((primary, _)) = cluster.primary() {
        let mut without = cluster.clone();
        without
            .pools
            .iter_mut()
            .filter(|it| it.host == node.address)
            .for_each(|pool| {
                pool.nodes = Err("it is gone".to_owned());
            });
        if let Err(why) = notice(&without, primary, Gone::Refused) {
            told.notes
                .push(format!("no failover is possible then: {why}"));
        }
    }
    told
}

/// No trust IP answers any more.
fn gateway(cluster: &Cluster, node: &Host) -> Foretold {
    let told = Foretold {
        node: node.name.clone(),
        ..says(Event::GatewayDies, node)
    };
    let told = match cluster.policies.gateway_lost {
        GatewayLostAction::Always => told.badly(
            "the primary stops its database at its next network_rewind, within a minute (GATEWAY_LOST_ACTION=always)",
        ),
        GatewayLostAction::Isolated | GatewayLostAction::Never => told.well(
            "nothing is stopped, as long as the hosts reach each other; nothing is promoted or recovered until a trust \
             IP answers again",
        ),
    };
    let told = match cluster.policies.trust_ips {
        1 => told.note(
            "KB_GATEWAY_IP has one address: a second one, of another device, makes this rarer",
        ),
        _ => told,
    };
    let trusting: Vec<String> = cluster
        .pools
        .iter()
        .filter(|pool| {
            pool.settings
                .get("trusted_servers")
                .is_some_and(|it| !it.trim().is_empty())
        })
        .map(|pool| cluster.name_of(pool.host))
        .collect();
    match trusting.is_empty() {
        true => told,
        false => told.note(format!(
            "the pools on {} have trusted_servers: one that reaches none of them gives up the cluster VIP or ends, and \
             clients of the pool wait",
            trusting.join(" and ")
        )),
    }
}
