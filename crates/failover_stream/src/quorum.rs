//! Whether this host is on the larger side, should the cluster be cut in two.

use crate::peer::Crew;
use anyhow::{Error, Result};
use failover_core::config::{Config, FailoverQuorum};
use failover_core::deadline::Deadline;
use failover_core::journal::Journal;
use failover_core::life::{Finding, Target, signs_of_life};
use failover_core::procedure::Done;
use failover_core::workers;
use failover_rules::failover;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::mpsc::channel;

/// Asks the other hosts until enough of them show life.
pub fn see_majority(crew: &Crew, journal: &Journal, deadline: Deadline) -> Result<Done> {
    let config = &crew.here.config;
    let others = other_hosts(config);
    let hosts = others.len() + 1;
    if config.failover_quorum == FailoverQuorum::None || !failover::counts(hosts) {
        return Ok(Done::Skipped(format!("{hosts} hosts")));
    }
    let (told, answers) = channel();
    for host in &others {
        let IpAddr::V4(addr) = *host else { continue };
        let (told, programs) = (told.clone(), crew.here.programs.clone());
        let window = config.probe_timeout;
        let target = Target {
            addr,
            ssh_port: config.ssh_port,
            database_port: config.kb_port,
        };
        workers::start(move || {
            let signs = signs_of_life(target, &programs, window, true);
            // Only one that was really seen: a probe that could not be sent shows nothing.
            let mut seen = signs.signs.iter();
            let alive = seen.any(|sign| matches!(sign.finding, Finding::Alive(_)));
            let _ = told.send(alive);
        });
    }
    drop(told);
    let mut seen = 1;
    while !failover::is_majority(seen, hosts) {
        match answers.recv_timeout(deadline.remaining()) {
            Ok(alive) => seen += usize::from(alive),
            Err(_) => break,
        }
    }
    failover::quorum(config.failover_quorum, seen, hosts).map_err(Error::msg)?;
    let text = format!("{seen} of {hosts} hosts are seen");
    journal.line(&text);
    Ok(Done::Did(text))
}

/// All hosts with a database or a pool but this one.
fn other_hosts(config: &Config) -> HashSet<IpAddr> {
    let all = config.kb_all_ip.iter().chain(&config.kb_pool_ips).copied();
    all.filter(|host| *host != config.kb_localhost_ip).collect()
}
