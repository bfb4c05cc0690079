//! Which pool is asked, and what it says. Changes nothing.

use failover_core::config::Config;
use failover_core::deadline::Deadline;
use failover_core::identity;
use failover_core::life::{PortState, port_refuses};
use failover_core::pool::{Pool, PoolError, PoolNodes};
use failover_core::workers;
use std::net::IpAddr;
use std::sync::mpsc::channel;
use std::time::Duration;

/// For the pool behind the cluster VIP to say that it has every node down.
const PCP_TIME: Duration = Duration::from_secs(2);

/// For the cluster VIP to show that somebody has it.
const KNOCK_TIME: Duration = Duration::from_millis(500);

/// What the pool said, and where.
pub struct Answer {
    /// The one that answered; where none did, the one behind the cluster VIP.
    pub pool: Pool,
    /// Its nodes.
    pub nodes: Result<PoolNodes, PoolError>,
    /// It takes no sessions, and says by PCP that it has every node down.
    pub all_down: bool,
    /// It runs on this very host: that it answers does not prove that anybody else sees this host.
    pub own: bool,
    /// A pool answered in place of the one behind the cluster VIP, which said this.
    pub instead: Option<String>,
}

/// Asks the pool behind the cluster VIP. That address may be nobody's, or be left on the host of a pool
/// that died: then the pools are asked at their own addresses.
pub fn ask(first: &Pool, config: &Config, limit: Duration) -> Answer {
    let others = config.kb_pool_ips.iter().copied();
    let others: Vec<IpAddr> = others.filter(|it| *it != first.host()).collect();
    let begin = match others.is_empty() {
        true => limit,
        false => limit / 2,
    };
    let error = match first.nodes(Deadline::after(begin)) {
        Ok(nodes) => return answer(first.clone(), nodes, None),
        Err(error) => error,
    };
    // A pool that is there and says nothing fails over just now: what the others say is of before.
    let busy = port_refuses(
        first.host(),
        config.kb_pool_port,
        Deadline::after(KNOCK_TIME),
    ) == PortState::Accepts;
    if busy && !error.is_closed() {
        return silent(first, error);
    }
    let found = ask_all(first, &others, Deadline::after(limit - begin));
    if let Some((pool, nodes)) = best(found) {
        return answer(pool, nodes, Some(error.to_string()));
    }
    let all_down = error.is_closed()
        && first
            .nodes_by_any_way(Deadline::after(PCP_TIME))
            .is_ok_and(|(nodes, _)| nodes.nodes.iter().all(|it| !it.is_up()));
    Answer {
        all_down,
        ..silent(first, error)
    }
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

/// What each of `hosts` says within `deadline`, side by side and in their order.
fn ask_all(pool: &Pool, hosts: &[IpAddr], deadline: Deadline) -> Vec<(Pool, PoolNodes)> {
    let (told, answers) = channel();
    for (at, host) in hosts.iter().copied().enumerate() {
        let (told, pool) = (told.clone(), pool.at(host));
        workers::start(move || {
            if let Ok(nodes) = pool.nodes(deadline) {
                let _ = told.send((at, pool, nodes));
            }
        });
    }
    drop(told);
    let mut found = Vec::new();
    while let Ok(one) = answers.recv_timeout(deadline.remaining()) {
        found.push(one);
    }
    found.sort_by_key(|(at, ..)| *at);
    found
        .into_iter()
        .map(|(_, pool, nodes)| (pool, nodes))
        .collect()
}

/// One that names a primary before one that names none; then that of another host, which sees this one.
fn best(mut found: Vec<(Pool, PoolNodes)>) -> Option<(Pool, PoolNodes)> {
    found.sort_by_key(|(pool, nodes)| (nodes.primary().is_none(), identity::is_here(pool.host())));
    found.into_iter().next()
}
