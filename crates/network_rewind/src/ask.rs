//! Which pool is asked, and what it says. Changes nothing.

use crate::budget;
use failover_core::config::Config;
use failover_core::deadline::Deadline;
use failover_core::identity;
use failover_core::life::{PortState, port_refuses};
use failover_core::pool::{Pool, PoolError, PoolNode, PoolNodes, Said};
use std::net::IpAddr;
use std::time::Duration;

/// For the pool behind the cluster VIP to say by PCP that it has every node down.
const PCP_TIME: Duration = Duration::from_secs(2);

/// For the cluster VIP to show that somebody has it.
const KNOCK_TIME: Duration = Duration::from_millis(500);

/// What the pool said, and where.
pub struct Answer {
    /// The one that answered; where none did, the one behind the cluster VIP.
    pub pool: Pool,
    /// Its nodes.
    pub nodes: Result<PoolNodes, PoolError>,
    /// No pool takes sessions, and each that is there says by PCP that it has every node down.
    pub all_down: bool,
    /// It runs on this very host: that it answers does not prove that anybody else sees this host.
    pub own: bool,
    /// A pool answered in place of the one behind the cluster VIP, which said this.
    pub instead: Option<String>,
}

/// Asks the pool behind the cluster VIP. That address may be nobody's, or be left on the host of a pool
/// that died: then the pools are asked at their own addresses.
pub fn ask(first: &Pool, config: &Config, limit: Duration) -> Answer {
    let others = beside(first, config);
    let begin = match others.is_empty() {
        true => limit,
        false => limit / 2,
    };
    let error = match first.nodes(Deadline::after(begin)) {
        Ok(nodes) => return answer(first.clone(), nodes, None),
        Err(error) => error,
    };
    // What the others say is of before its failover.
    if listens(first, config) && !error.is_closed() {
        return silent(first, error);
    }
    let (mut open, mut closed) = (Vec::new(), Vec::new());
    for (pool, said) in first.ask_each(&others, Deadline::after(limit - begin)) {
        match said {
            Ok((nodes, None)) => open.push((pool, nodes)),
            Ok((nodes, Some(_))) => closed.push((pool, nodes)),
            Err(_) => {}
        }
    }
    if let Some((pool, nodes)) = best(open) {
        return answer(pool, nodes, Some(error.to_string()));
    }
    if error.is_closed()
        && let Ok((nodes, _)) = first.nodes_by_any_way(Deadline::after(PCP_TIME))
    {
        closed.insert(0, (first.clone(), nodes));
    }
    match all_down(first, &others, &closed, config) {
        Some(pool) => Answer {
            all_down: true,
            ..silent(pool, error)
        },
        None => silent(first, error),
    }
}

/// The first of the pools that say by PCP that they have every node down; `None`: there is none, or one
/// that may know better.
fn all_down<'a>(
    first: &Pool,
    others: &[IpAddr],
    closed: &'a [(Pool, PoolNodes)],
    config: &Config,
) -> Option<&'a Pool> {
    let (pool, _) = closed.first()?;
    let mut nodes = closed.iter().flat_map(|(_, nodes)| &nodes.nodes);
    let said = |host: &IpAddr| closed.iter().any(|(pool, _)| pool.host() == *host);
    let mut silent = others.iter().filter(|host| !said(host));
    let all = nodes.all(|node| !node.is_up()) && !silent.any(|it| listens(&first.at(*it), config));
    all.then_some(pool)
}

/// Whether somebody listens there: a pool that is there and says nothing fails over just now.
fn listens(pool: &Pool, config: &Config) -> bool {
    let limit = Deadline::after(KNOCK_TIME);
    port_refuses(pool.host(), config.kb_pool_port, limit) == PortState::Accepts
}

fn silent(pool: &Pool, error: PoolError) -> Answer {
    Answer {
        pool: pool.clone(),
        nodes: Err(error),
        all_down: false,
        own: false,
        instead: None,
    }
}

fn answer(pool: Pool, nodes: PoolNodes, instead: Option<String>) -> Answer {
    Answer {
        own: identity::is_here(pool.host()),
        pool,
        nodes: Ok(nodes),
        all_down: false,
        instead,
    }
}

/// One that names a primary before one that names none; then that of another host, which sees this one.
fn best(mut found: Vec<(Pool, PoolNodes)>) -> Option<(Pool, PoolNodes)> {
    found.sort_by_key(|(pool, nodes)| (nodes.primary().is_none(), identity::is_here(pool.host())));
    found.into_iter().next()
}

/// The pools beside the one that answered that have this host's node down.
pub fn down_at(pool: &Pool, config: &Config) -> Vec<IpAddr> {
    let me = config.kb_localhost_ip;
    let said = pool.ask_each(&beside(pool, config), Deadline::after(budget::POOLS));
    let has_down = |said: &Said| {
        let Ok((nodes, _)) = said else { return false };
        nodes.by_address(me, config).is_some_and(PoolNode::is_down)
    };
    let down = said.into_iter().filter(|(_, said)| has_down(said));
    down.map(|(pool, _)| pool.host()).collect()
}

/// The hosts of the other pools.
pub fn beside(pool: &Pool, config: &Config) -> Vec<IpAddr> {
    let all = config.kb_pool_ips.iter().copied();
    all.filter(|it| *it != pool.host()).collect()
}
