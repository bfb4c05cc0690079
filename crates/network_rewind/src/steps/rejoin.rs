//! The way back into the cluster: the primary, the stream from it, the pool.

use crate::ask::down_at;
use crate::budget;
use crate::steps::{own, primary};
use crate::work::{Break, Work};
use anyhow::{Context, Result, bail};
use failover_core::deadline::Deadline;
use failover_core::history::Standing;
use failover_core::pool::{Change, Pool, PoolNodes};
use failover_core::procedure::Done;
use failover_core::replication::Standby;
use failover_core::screen::Amount;
use failover_core::slots;
use failover_core::state::Stage;
use failover_core::status;
use failover_core::synchronous::{Place, to_sync};
use std::net::IpAddr;
use std::time::Duration;

/// How often the primary is asked for its standbys.
const ASK_INTERVAL: Duration = Duration::from_millis(50);
/// How often this node itself is looked at meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How often the other pools are asked, which the first one may tell.
const POOLS_INTERVAL: Duration = Duration::from_millis(200);
/// For one of them to do as it is told.
const ELSEWHERE: Duration = Duration::from_secs(10);

/// Before anything is stopped: the primary itself, and the pool once more.
pub fn ask_primary(work: &mut Work<'_>, _: Deadline) -> Result<Done> {
    let (journal, address) = (work.journal, work.primary);
    let name = &work.config().node_name;
    let (me, sql_client) = (work.me(), work.names().sql_client);
    let primary = work
        .ask_primary(Deadline::after(budget::ANSWER))
        .with_context(|| format!("the primary {address} does not answer, nothing is changed"))?;
    if primary.in_recovery {
        bail!(Break::Changed(format!(
            "{address} is in recovery, no primary"
        )));
    }
    let streams = primary.standby(me, name).is_some_and(Standby::streams);
    if !streams {
        journal.line(format!(
            "{sql_client} execute success,but node:{name} does not have correct streaming(or \
             catchup) replication ,will retry ,retry times:[1/1]"
        ));
    }
    let nodes = match work.pool.nodes(Deadline::after(budget::POOL)) {
        Ok(nodes) => nodes,
        Err(_) if work.unnamed => PoolNodes::default(),
        Err(error) => bail!(Break::Changed(format!("the pool has gone ({error})"))),
    };
    let named = nodes
        .primary()
        .and_then(|node| failover_core::pool::address_of(node, work.config()));
    let unnamed = work.unnamed && named.is_none_or(|it| it == me);
    if named != Some(address) && !unnamed {
        let named = named.map_or("nobody".to_owned(), |it| it.to_string());
        bail!(Break::Changed(format!(
            "the pool has {named} as its primary"
        )));
    }
    if !streams {
        let data = work.data();
        let follows = work.standby_files(data).follows().unwrap_or_default();
        let change = u8::from(follows == address.to_string());
        let up = nodes
            .by_address(me, work.config())
            .is_some_and(|node| node.is_up());
        journal.line(format!(
            "primary node/Im node status is changed, primary ip[{address}], recovery.conf \
             NEED_CHANGE [{change}] (0 is need ), I,m status is [{}] (1 is down), I will be in \
             recovery.",
            u8::from(!up)
        ));
        journal.lines(nodes.table.to_string());
    }
    work.nodes = Some(nodes);
    Ok(Done::Did(format!(
        "{address} is a primary, also for the pool"
    )))
}

/// The primary keeps WAL for this node.
pub fn reserve_slot(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    work.yield_to_promotion()?;
    let names = work.names();
    let own = own::settings(work)?;
    let Some(slot) = work.standby_files(&own).primary_slot() else {
        return Ok(Done::Skipped(
            "the standby settings name no slot".to_owned(),
        ));
    };
    let primary = work.primary;
    let done = slots::reserve(work.session(deadline)?, names, &slot, deadline)
        .with_context(|| format!("failed to reserve WAL on {primary}"))?;
    if let Done::Did(what) = &done {
        work.journal
            .stamped(format!("{what} on the primary {primary}"));
    }
    Ok(done)
}

/// No clients here while the node is made anew.
pub fn detach(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    work.yield_to_promotion()?;
    if work.is_started()? {
        return Ok(Done::AlreadySo("it runs as a standby".to_owned()));
    }
    let nodes = work.nodes.as_ref().context("the pool was not asked")?;
    let Some(node) = nodes.by_address(work.me(), work.config()) else {
        bail!("the pool has no node with KB_LOCALHOST_IP {}", work.me());
    };
    if !node.is_up() {
        return Ok(Done::AlreadySo(format!("{node} is {}", node.status)));
    }
    let (id, shown) = (node.id, node.to_string());
    work.journal.stamped("detach pool...");
    work.nodes = Some(
        work.pool
            .change(Change::Detach, id, work.journal, deadline)?,
    );
    Ok(Done::Did(format!("{shown} detached")))
}

/// The primary shows this node streaming, and near enough.
pub fn streaming(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    let first = Deadline::after(budget::STREAMING);
    let behind = wait_for_stream(work, deadline, first)?;
    work.journal.stamped("start up standby successful!");
    release_slot(work);
    Ok(Done::Did(format!("streams, {behind} bytes behind")))
}

/// A failover keeps WAL in the slot of this node's name. Where the settings name another, nobody would
/// ever move it on, until the primary's disk is full.
fn release_slot(work: &mut Work<'_>) {
    let (data, primary, names) = (work.data(), work.primary, work.names());
    let own = format!("slot_{}", work.config().node_name);
    if work.standby_files(data).primary_slot().as_ref() == Some(&own) {
        return;
    }
    let limit = Deadline::after(budget::ANSWER);
    let released = match work.session(limit) {
        Ok(session) => slots::release(session, names, &own, limit).map_err(Into::into),
        Err(error) => Err(anyhow::Error::from(error)),
    };
    match released {
        Ok(true) => work.journal.stamped(format!(
            "{own} on the primary {primary} is dropped: this node reads from another slot"
        )),
        Ok(false) => {}
        Err(error) => work.journal.stamped(format!(
            "warning: nobody reads from {own}, which keeps WAL on {primary}: drop it there ({error:#})"
        )),
    }
}

/// A moment for a standby that was merely started: whatever it does not reach in that, the next look
/// is for.
pub fn first_look(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    let behind = wait_for_stream(work, deadline, deadline)?;
    Ok(Done::Did(format!("streams, {behind} bytes behind")))
}

/// Bytes that this node is behind the primary when it is near enough. An error: it ended, its
/// history has left the primary's, it does not begin to stream by `first`, or is too far behind at
/// the `deadline`.
fn wait_for_stream(work: &mut Work<'_>, deadline: Deadline, first: Deadline) -> Result<u64> {
    let (me, limit) = (work.me(), work.config().data_size_diff << 20);
    let name = work.config().node_name.clone();
    let mut next_look = Deadline::after(LOOK_INTERVAL);
    let mut next_line = Deadline::after(budget::PROGRESS);
    let mut silence = first;
    // Renewed by every step forward: a sender that starts over and over makes none.
    let (mut first, mut nearest) = (first, u64::MAX);
    let mut distance = Distance::default();
    let mut seen = String::new();
    let found = deadline.poll(ASK_INTERVAL, || {
        let answer = work.ask_primary(Deadline::after(budget::ANSWER));
        if answer.is_ok() {
            silence = Deadline::after(budget::STREAMING);
        }
        match answer {
            Ok(primary) if primary.in_recovery => {
                return Some(Err(Break::Changed("the primary is none".to_owned()).into()));
            }
            Ok(primary) => match primary.standby(me, &name).inspect(|it| distance.see(it)) {
                Some(standby) if standby.streams() => {
                    first = Deadline::after(budget::STREAMING);
                    match standby.behind {
                        Some(behind) if behind <= limit => return Some(Ok(behind)),
                        Some(behind) => seen = format!("it is {} MB behind", behind >> 20),
                        None => seen = "it has not said how far it is".to_owned(),
                    }
                }
                Some(standby) => {
                    if let Some(behind) = standby.behind.filter(|behind| *behind < nearest) {
                        nearest = behind;
                        first = Deadline::after(budget::STREAMING);
                    }
                    seen = match standby.behind {
                        Some(behind) => format!("{}, {} MB behind", standby.state, behind >> 20),
                        None => standby.state.clone(),
                    };
                }
                None => seen = "the primary has no WAL sender for it".to_owned(),
            },
            // One that is dead is not waited for: the next run sees who is primary then.
            Err(error) if silence.passed() => return Some(Err(error.into())),
            Err(error) => seen = error.to_string(),
        }
        let amount = distance.amount();
        work.progress(&mut next_line, amount, || {
            format!("waiting for the stream: {seen}")
        });
        if next_look.passed() {
            if let Err(error) = still_follows(work) {
                return Some(Err(error));
            }
            next_look = Deadline::after(LOOK_INTERVAL);
        }
        first.passed().then(|| {
            Err(anyhow::anyhow!(
                "this node does not stream from {}: {seen}; see the server's log",
                work.primary
            ))
        })
    });
    found.unwrap_or_else(|| bail!("this node has not caught up in time: {seen}"))
}

/// How far a standby has come on its way to its primary.
#[derive(Debug, Default)]
struct Distance {
    /// Bytes between the two, at most so far.
    furthest: u64,
    /// And now.
    now: Option<u64>,
}

impl Distance {
    fn see(&mut self, standby: &Standby) {
        self.now = standby.behind;
        self.furthest = self.furthest.max(standby.behind.unwrap_or(0));
    }

    /// Nothing where it is not known, or where there was none.
    fn amount(&self) -> Option<Amount> {
        let now = self.now.filter(|_| self.furthest > 0)?;
        Some(Amount {
            label: "catching up",
            done: self.furthest - now,
            total: self.furthest,
        })
    }
}

/// It runs, and what it has is still a part of the primary's history.
pub fn still_follows(work: &mut Work<'_>) -> Result<()> {
    let me = status::look(work.here, work.instance, Deadline::after(budget::ANSWER));
    if me.in_recovery == Some(false) {
        bail!(Break::Changed("this node was promoted".to_owned()));
    }
    if !me.running {
        bail!("the database has ended: see the server's log");
    }
    let history = work.seen.as_ref().and_then(|it| it.history.as_ref());
    let (timeline, position) = (me.timeline, me.position());
    match history.map(|it| it.standing(timeline, position)) {
        Some(Standing::Left { .. } | Standing::Foreign) if me.in_recovery == Some(true) => {
            // Not to be gone on with: the next run sees a standby whose history has left.
            work.update(|state| {
                if let Some(recovery) = &mut state.recovery {
                    recovery.stage = Stage::Preparing;
                }
            })?;
            bail!(
                "this node, at {position} on timeline {timeline}, has left the history of {}: the \
                 next run recovers it",
                work.primary
            )
        }
        _ => Ok(()),
    }
}

/// The primary's commits wait for a standby again.
pub fn sync(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    let (config, journal) = (work.config(), work.journal);
    if !config.sync_flag {
        journal.line("cluster is async cluster.");
        return Ok(Done::Skipped("SYNC_FLAG is 0".to_owned()));
    }
    journal.line("cluster is sync cluster.");
    let primary = work.ask_primary(deadline)?;
    if primary.is_synchronous() {
        return Ok(Done::AlreadySo("a standby is synchronous".to_owned()));
    }
    let (limit, nodes) = (config.data_size_diff << 20, &config.all_node_name);
    let mut standbys = primary.standbys.iter();
    if !standbys.any(|it| it.can_be_waited_for(limit, nodes)) {
        let why = format!(
            "no standby streams under a name of ALL_NODE_NAME ({}), all commits would wait: set \
             application_name in primary_conninfo to the node's name",
            nodes.join(", ")
        );
        journal.stamped(format!("warning: {why}"));
        return Ok(Done::Skipped(why));
    }
    let names = work.names();
    journal.line("SYNC RECOVER MODE ...");
    journal.stamped("remote primary node change sync");
    let place = Place {
        session: work.session(deadline)?,
        names,
        files: None,
        new: false,
        journal,
    };
    let done = to_sync(place, nodes, deadline)?;
    journal.line("SYNC RECOVER MODE DONE");
    Ok(done)
}

/// Clients again.
pub fn attach(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    let nodes = work.pool.nodes(deadline.at_most(budget::POOL))?;
    attach_as(work, &nodes, deadline)
}

/// Has the pool attach this node, where `nodes` have it down.
pub fn attach_as(work: &mut Work<'_>, nodes: &PoolNodes, deadline: Deadline) -> Result<Done> {
    let Some(node) = nodes.by_address(work.me(), work.config()) else {
        bail!("the pool has no node with KB_LOCALHOST_IP {}", work.me());
    };
    if node.is_up() {
        return Ok(Done::AlreadySo(format!("{node} is {}", node.status)));
    }
    let journal = work.journal;
    journal.stamped("attach pool...");
    let after = work
        .pool
        .change(Change::Attach, node.id, journal, deadline)?;
    journal.lines(after.table.to_string());
    journal.stamped("attach end..");
    work.nodes = Some(after);
    Ok(Done::Did(format!("{node} attached")))
}

/// Clients of the other pools again. Old ones keep each a list of its own, and one that was busy has let an
/// order fall.
pub fn attach_elsewhere(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    let hosts = match work.down_at.take() {
        Some(hosts) => hosts,
        None => down_after_a_moment(work, deadline),
    };
    if hosts.is_empty() {
        return Ok(Done::AlreadySo("no other pool has it down".to_owned()));
    }
    let mut failures = Vec::new();
    for host in &hosts {
        let pool = work.pool.at(*host);
        if let Err(error) = attach_at(work, &pool, deadline.at_most(ELSEWHERE)) {
            failures.push(format!("{error:#}"));
        }
    }
    match failures.is_empty() {
        true => Ok(Done::Did(format!("attached at {hosts:?}"))),
        false => bail!(failures.join("; ")),
    }
}

/// The hosts of the pools that have this node down although another one has just attached it.
fn down_after_a_moment(work: &Work<'_>, deadline: Deadline) -> Vec<IpAddr> {
    let mut hosts = Vec::new();
    deadline.at_most(budget::POOLS).poll(POOLS_INTERVAL, || {
        hosts = down_at(&work.pool, work.config());
        hosts.is_empty().then_some(())
    });
    hosts
}

/// Has one more pool attach this node.
fn attach_at(work: &mut Work<'_>, pool: &Pool, deadline: Deadline) -> Result<()> {
    let (host, me) = (pool.host(), work.me());
    let (nodes, _) = pool.nodes_by_any_way(deadline.at_most(budget::POOL))?;
    let Some(node) = nodes
        .by_address(me, work.config())
        .filter(|node| node.is_down())
    else {
        return Ok(());
    };
    let by_hand = || {
        format!(
            "the pool at {host} has {node} down: attach_node --pool {host} -n {} attaches it there",
            node.id
        )
    };
    if work.primary == me {
        // A pool that gets back an old primary which lives takes whichever it finds first.
        if let Some(other) = nodes.primary() {
            bail!(
                "the pool at {host} has {other} as its primary, and this node, which is one, down: find out \
                 which of the two has the data; attach_node --pool {host} -n {} --force attaches this one",
                node.id
            );
        }
        primary::see_no_other(work, deadline).with_context(by_hand)?;
    }
    work.journal.stamped(format!(
        "the pool at {host} has {node} down: it is attached there, too"
    ));
    let changed = pool.change(Change::Attach, node.id, work.journal, deadline);
    work.journal
        .lines(changed.with_context(by_hand)?.table.to_string());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_the_primary_is_as_long_as_it_ever_was() {
        let mut distance = Distance::default();
        let mut after = |behind| {
            distance.see(&Standby {
                behind,
                ..Standby::default()
            });
            distance.amount().map(|it| (it.done, it.total))
        };
        assert_eq!(after(None), None);
        assert_eq!(after(Some(0)), None);
        assert_eq!(after(Some(100)), Some((0, 100)));
        assert_eq!(after(Some(30)), Some((70, 100)));
        // Its primary has gone on meanwhile.
        assert_eq!(after(Some(150)), Some((0, 150)));
        assert_eq!(after(None), None);
        assert_eq!(after(Some(0)), Some((150, 150)));
    }
}
