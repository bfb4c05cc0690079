//! Whether this host has a network, and is on the larger side, should the cluster be cut in two.

use crate::peer::Crew;
use anyhow::{Error, Result, bail};
use failover_core::config::FailoverQuorum;
use failover_core::deadline::Deadline;
use failover_core::journal::Journal;
use failover_core::life::seen;
use failover_core::ping;
use failover_core::procedure::Done;
use failover_rules::failover;
use failover_rules::plan::failover::TRUST_IP_TIME;
use std::net::IpAddr;

/// Asks the other hosts until enough of them show life. `besides`: the old primary's host, and why it does
/// not count.
pub fn see_majority(
    crew: &Crew,
    journal: &Journal,
    deadline: Deadline,
    besides: Option<(IpAddr, &str)>,
) -> Result<Done> {
    let config = &crew.here.config;
    let mut others = config.rest_of_cluster();
    let hosts = others.len() + 1;
    if config.failover_quorum == FailoverQuorum::None || !failover::counts(hosts) {
        return Ok(Done::Skipped(format!("{hosts} hosts")));
    }
    others.retain(|host| besides.is_none_or(|(old, _)| old != *host));
    let answers = seen(others, config, &crew.here.programs);
    let mut in_sight = 1;
    while !failover::is_majority(in_sight, hosts) {
        match answers.recv_timeout(deadline.remaining()) {
            Ok(alive) => in_sight += usize::from(alive),
            Err(_) => break,
        }
    }
    let policy = config.failover_quorum;
    match besides {
        None => failover::quorum(policy, in_sight, hosts),
        Some((_, why)) => failover::quorum_besides(policy, in_sight, hosts, why),
    }
    .map_err(Error::msg)?;
    let text = format!("{in_sight} of {hosts} hosts are seen");
    journal.line(&text);
    Ok(Done::Did(text))
}

/// Whether this host has a network: the first answer of any trust IP is enough.
pub fn ask_trust_ip(crew: &Crew, journal: &Journal, deadline: Deadline) -> Result<Done> {
    let config = &crew.here.config;
    journal.line("----ping trust ip");
    let program = crew.here.programs.ping()?;
    let answer = ping::first_answer(&program, &config.kb_gateway_ip, config.ping_times, deadline)?;
    let list = |all: &[IpAddr]| {
        all.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    };
    match answer {
        Some(address) => {
            journal.line(format!("ping trust ip {address} success"));
            Ok(Done::Did(format!("{address} answers")))
        }
        None => {
            let asked = list(&config.kb_gateway_ip);
            journal.line(format!("ping trust ip {asked} failed"));
            bail!(
                "no trust IP ({asked}) answers within {} ms: this host is the one that is cut off, \
                 nothing is changed. If only the trust IP is down, correct KB_GATEWAY_IP and run \
                 this command again",
                TRUST_IP_TIME.as_millis()
            )
        }
    }
}
