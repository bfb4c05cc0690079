//! How long the pools take to notice that a database is gone, from their own settings. pgpool-II's health
//! check: it tries to connect, waits `health_check_retry_delay` and tries again, `health_check_max_retries`
//! times; between two of these rounds lies `health_check_period`. Its watchdog: a pool that sends no
//! heartbeat for `wd_heartbeat_deadtime` is lost, and the others elect a new leader.

use super::{Part, Span};
use crate::facts::cluster::{Cluster, Host, PoolSeen};
use std::net::IpAddr;

/// The kernel asks three times, a second apart, who has an address; then a connection to it fails.
const NEIGHBOR_LOST: u64 = 3_100;
/// Tries of a health check that are counted.
const MOST: u64 = 100_000;
/// `connect_timeout` of a pool that does not say: its default, in milliseconds.
const CONNECT_TIMEOUT: u64 = 10_000;
/// From the loss of the leader until another pool leads: its watchdog waits for others to answer.
const ELECTION: Span = Span::of(6_000, 6_500);
/// For the new leader to take the cluster VIP and announce it.
const TAKES_VIP: Span = Span::of(1_000, 4_000);

/// More than that, and nothing is said in seconds any more: eleven days.
const LONGEST: u64 = 1_000_000_000;

/// How the database is gone, as a pool that tries to connect sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// Its host refuses.
    Refused,
    /// Nothing answers.
    Silent,
}

/// Why no pool fails over.
pub(super) type Nobody = String;

/// The time until the pools have noticed, part by part, and which of them leads then. An error: why they
/// do nothing.
pub(super) fn notice(
    cluster: &Cluster,
    node: &Host,
    gone: Gone,
) -> Result<(Vec<Part>, Option<IpAddr>), Nobody> {
    let all: Vec<&PoolSeen> = cluster.pools.iter().filter(|it| it.nodes.is_ok()).collect();
    let alive: Vec<&PoolSeen> = match gone {
        Gone::Refused => all,
        Gone::Silent => all
            .into_iter()
            .filter(|it| it.host != node.address)
            .collect(),
    };
    let leader = leader(cluster);
    let votes = votes(cluster, &alive)?;
    let mut rounds: Vec<Round> = alive
        .iter()
        .filter_map(|pool| Round::of(cluster, pool, node, gone))
        .collect();
    if rounds.len() < votes {
        return Err(
            "no pool looks at its databases by itself (health_check_period is 0): a failover begins only when a \
             client wants to go there"
                .to_owned(),
        );
    }
    rounds.sort_by_key(Round::end);
    let Some(slowest) = rounds.get(votes.saturating_sub(1)) else {
        return Err("no pool is left that could notice".to_owned());
    };
    let mut parts = slowest.parts();
    let leader_lost =
        gone == Gone::Silent && leader == Some(node.address) && cluster.pools.len() > 1;
    if !leader_lost {
        return Ok((parts, leader));
    }
    let lost = heartbeat_lost(&alive);
    let elected = lost.span.plus(ELECTION);
    parts.push(slowest.anew(elected, &lost));
    Ok((parts, None))
}

/// The time until the cluster VIP is elsewhere, where its host is gone. `None`: nobody is left to take it.
pub(super) fn vip_moves(cluster: &Cluster, gone: IpAddr) -> Option<Vec<Part>> {
    let alive: Vec<&PoolSeen> = cluster
        .pools
        .iter()
        .filter(|it| it.nodes.is_ok() && it.host != gone)
        .collect();
    if alive.is_empty() {
        return None;
    }
    Some(vec![
        heartbeat_lost(&alive),
        Part::new("the other pools elect a new leader", ELECTION),
        Part::new("it takes the cluster VIP", TAKES_VIP),
    ])
}

/// The host that has the cluster VIP.
fn leader(cluster: &Cluster) -> Option<IpAddr> {
    let has_it = |host: &&Host| host.facts().is_some_and(|facts| facts.pool_vip_here);
    cluster.hosts.iter().find(has_it).map(|host| host.address)
}

/// How many of the pools `alive` have to notice. An error: they are too few to do anything.
fn votes(cluster: &Cluster, alive: &[&PoolSeen]) -> Result<usize, Nobody> {
    let is_on = |name: &str| {
        let mut told = alive.iter().filter_map(|pool| pool.settings.get(name));
        told.next().is_some_and(|it| on(it))
    };
    if alive.is_empty() {
        return Err("no pool is left that could notice".to_owned());
    }
    let pools = cluster.pools.len();
    let half = pools.is_multiple_of(2) && is_on("enable_consensus_with_half_votes");
    let majority = match half {
        true => pools / 2,
        false => pools / 2 + 1,
    };
    if !is_on("use_watchdog") || !is_on("failover_when_quorum_exists") {
        return Ok(1);
    }
    if alive.len() < majority {
        return Err(format!(
            "{} of {pools} pools are left, no majority: they do not fail over (failover_when_quorum_exists). A third \
             pool, or enable_consensus_with_half_votes = on, would let them",
            alive.len()
        ));
    }
    Ok(match is_on("failover_require_consensus") {
        true => majority,
        false => 1,
    })
}

/// A setting of a pool in its ways to say so.
fn on(value: &str) -> bool {
    matches!(value, "on" | "1" | "true" | "yes")
}

/// A pool's health check of one node. Times in milliseconds.
struct Round {
    period: u64,
    retries: u64,
    delay: u64,
    /// One try to connect.
    attempt: u64,
    /// What limits one try.
    limit: &'static str,
}

impl Round {
    /// `None`: this pool looks at nothing.
    fn of(cluster: &Cluster, pool: &PoolSeen, node: &Host, gone: Gone) -> Option<Self> {
        let id = pool.nodes.as_ref().ok().and_then(|nodes| {
            let mut nodes = nodes.iter();
            nodes.find(|it| {
                cluster
                    .host_of(it)
                    .is_some_and(|host| host.address == node.address)
            })
        })?;
        let value = |name: &str, unit: u64| {
            let own = pool.settings.get(&format!("{name}{}", id.id));
            milliseconds(own.or_else(|| pool.settings.get(name))?, unit)
        };
        let period = value("health_check_period", 1_000).filter(|it| *it > 0)?;
        let (attempt, limit) = match gone {
            Gone::Refused => (0, "it is refused at once"),
            Gone::Silent => {
                let limits = [
                    (
                        value("connect_timeout", 1).unwrap_or(CONNECT_TIMEOUT),
                        "connect_timeout",
                    ),
                    (
                        value("health_check_timeout", 1_000).unwrap_or(0),
                        "health_check_timeout",
                    ),
                    (NEIGHBOR_LOST, "the kernel finds nobody there"),
                ];
                let given = limits.into_iter().filter(|(limit, _)| *limit > 0);
                given.min_by_key(|(limit, _)| *limit)?
            }
        };
        let count = |name: &str| {
            let own = pool.settings.get(&format!("{name}{}", id.id));
            let told = own.or_else(|| pool.settings.get(name))?;
            told.trim().parse::<u64>().ok().map(|it| it.min(MOST))
        };
        Some(Self {
            period,
            retries: count("health_check_max_retries").unwrap_or(0),
            delay: value("health_check_retry_delay", 1_000).unwrap_or(1_000),
            attempt,
            limit,
        })
    }

    /// From its first failing try to the end of its last.
    fn length(&self) -> u64 {
        self.attempt * (self.retries + 1) + self.delay * self.retries
    }

    /// When it is over at the latest.
    fn end(&self) -> u64 {
        self.period + self.length()
    }

    fn parts(&self) -> Vec<Part> {
        let mut parts = vec![
            Part::new("the pool's next look", Span::of(0, self.period)).by("health_check_period"),
        ];
        if self.attempt > 0 {
            let what = format!(
                "{} tries to connect, {} each",
                self.retries + 1,
                seconds(self.attempt)
            );
            let time = self.attempt * (self.retries + 1);
            parts.push(Part::new(what, Span::of(time, time)).by(self.limit));
        }
        if self.retries > 0 {
            let what = format!("{} pauses between the tries", self.retries);
            let time = self.delay * self.retries;
            parts.push(
                Part::new(what, Span::of(time, time))
                    .by("health_check_max_retries, health_check_retry_delay"),
            );
        }
        parts
    }

    /// What comes on top where nobody leads until `elected`: a round that ends before that is for nothing,
    /// and the next one begins a period later.
    fn anew(&self, elected: Span, lost: &Part) -> Part {
        let cycle = (self.period + self.length()).max(1);
        let more = |end: u64, elected: u64| elected.saturating_sub(end).div_ceil(cycle) * cycle;
        let from = more(self.length(), elected.from);
        let to = more(self.end(), elected.to).max(from);
        let what = format!(
            "the pool that led is gone: the others elect a leader by {} s, and that one's next round counts",
            elected.to.div_ceil(1_000)
        );
        let part = Part::new(what, Span::of(from, to));
        match &lost.setting {
            Some(setting) => part.by(setting.clone()),
            None => part,
        }
    }
}

/// Until the others know that a pool is gone.
fn heartbeat_lost(alive: &[&PoolSeen]) -> Part {
    let value = |name: &str, default: u64| {
        let mut told = alive.iter().filter_map(|pool| pool.settings.get(name));
        told.next()
            .and_then(|it| milliseconds(it, 1_000))
            .unwrap_or(default)
    };
    let interval = value("wd_interval", 10_000);
    let by_query = alive.iter().any(|pool| {
        pool.settings
            .get("wd_lifecheck_method")
            .is_some_and(|it| it == "query" || it == "1")
    });
    if by_query {
        let tries = value("wd_life_point", 3_000) / 1_000;
        return Part::new(
            "the other pools miss it",
            Span::of(tries * interval, (tries + 1) * interval),
        )
        .by("wd_life_point, wd_interval");
    }
    let dead = value("wd_heartbeat_deadtime", 30_000);
    Part::new(
        "the other pools miss its heartbeat",
        Span::of(dead, dead + interval + 1_000),
    )
    .by("wd_heartbeat_deadtime, wd_interval")
}

/// A time as a pool says it: a number of `unit` milliseconds, or with its own unit.
pub(super) fn milliseconds(value: &str, unit: u64) -> Option<u64> {
    let value = value.trim();
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.trim().parse().ok()?;
    let unit = match value[digits.len()..].trim() {
        "" => unit,
        "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit).map(|it| it.min(LONGEST))
}

/// Milliseconds for a person.
pub(super) fn seconds(milliseconds: u64) -> String {
    format!("{}.{} s", milliseconds / 1_000, milliseconds % 1_000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_and_without_its_unit() {
        for (value, unit, expected) in [
            ("3", 1_000, Some(3_000)),
            ("3s", 1_000, Some(3_000)),
            ("2000", 1, Some(2_000)),
            ("2000ms", 1, Some(2_000)),
            ("1min", 1_000, Some(60_000)),
            ("", 1, None),
            ("x", 1, None),
            ("3 parsecs", 1, None),
            ("99999999999999999999", 1, None),
            ("18446744073709551615", 1_000, None),
            ("9999999999", 1_000, Some(LONGEST)),
        ] {
            assert_eq!(milliseconds(value, unit), expected, "{value}");
        }
    }
}
