//! What must hold between keys that are each right by themselves.

use std::collections::HashSet;
use std::hash::Hash;
use std::net::IpAddr;

use super::Severity::{self, Error, Note};
use super::{Config, SslMode};

/// How bad it is, the key that should be changed, and what to say.
pub(super) type Remark = (Severity, &'static str, String);

impl Config {
    pub(super) fn cross_check(&self) -> Vec<Remark> {
        let mut remarks = Vec::new();
        self.check_nodes(&mut remarks);
        self.check_vip(&mut remarks);
        self.check_tls(&mut remarks);
        self.check_trust_ips(&mut remarks);
        // Fencing has half of the failover, and a probe that outlasts it could never tell a dead
        // host from a living one.
        if self.probe_timeout > self.failover_timeout / 2 {
            let text = format!(
                "found {} ms, expected at most half of FAILOVER_TIMEOUT, which is {} s",
                self.probe_timeout.as_millis(),
                self.failover_timeout.as_secs()
            );
            remarks.push((Error, "PROBE_TIMEOUT", text));
        }
        remarks
    }

    fn check_nodes(&self, remarks: &mut Vec<Remark>) {
        let before = remarks.len();
        let only_pool = !self.has_database() && self.kb_pool_ips.contains(&self.kb_localhost_ip);
        if !self.has_database() && !only_pool {
            let text = format!(
                "found {}, expected one of the addresses of KB_ALL_IP (or of the KB_POOL_IPn, on a \
                 host that has only a pool)",
                self.kb_localhost_ip
            );
            remarks.push((Error, "KB_LOCALHOST_IP", text));
        }
        // Every host has those.
        if self.kb_localhost_ip.is_loopback() {
            let text = format!(
                "found {}, expected an address by which the other hosts know this one",
                self.kb_localhost_ip
            );
            remarks.push((Error, "KB_LOCALHOST_IP", text));
        }
        // Signs of life and the database VIP are asked for by ARP.
        if let Some(six) = self.kb_all_ip.iter().find(|address| address.is_ipv6()) {
            let text = format!("found {six}, expected IPv4 addresses");
            remarks.push((Error, "KB_ALL_IP", text));
        }
        // A host without a database is no node.
        if !only_pool && !self.all_node_name.contains(&self.node_name) {
            let text = format!(
                "found {:?}, expected one of the names of ALL_NODE_NAME",
                self.node_name
            );
            remarks.push((Error, "NODE_NAME", text));
        }
        if let Some(twice) = first_duplicate(&self.kb_all_ip) {
            let text = format!("found {twice} twice, expected each address once");
            remarks.push((Error, "KB_ALL_IP", text));
        }
        if let Some(twice) = first_duplicate(&self.all_node_name) {
            let text = format!("found {twice:?} twice, expected each name once");
            remarks.push((Error, "ALL_NODE_NAME", text));
        }
        let (names, addresses) = (self.all_node_name.len(), self.kb_all_ip.len());
        if names != addresses {
            let text = format!(
                "found {names} names, expected {addresses}: one for each address of KB_ALL_IP, \
                 in the same order"
            );
            remarks.push((Error, "ALL_NODE_NAME", text));
        }
        if remarks.len() > before {
            return;
        }
        // The slots of the other hosts are found by this order.
        if let Some(name) = self
            .node_name_of(self.kb_localhost_ip)
            .filter(|name| *name != self.node_name)
        {
            let text = format!(
                "found {:?}, expected {name:?}: the name in ALL_NODE_NAME that stands where \
                 KB_LOCALHOST_IP stands in KB_ALL_IP",
                self.node_name
            );
            remarks.push((Error, "NODE_NAME", text));
        }
    }

    fn check_tls(&self, remarks: &mut Vec<Remark>) {
        let verifies = matches!(self.kb_sslmode, SslMode::VerifyCa | SslMode::VerifyFull);
        if verifies && self.kb_sslrootcert.is_none() {
            let text = format!(
                "not set, but KB_SSLMODE={} is; expected the file of the certificates that the servers' are \
                 believed by",
                self.kb_sslmode
            );
            remarks.push((Error, "KB_SSLROOTCERT", text));
        }
    }

    fn check_vip(&self, remarks: &mut Vec<Remark>) {
        let Some(vip) = self.kb_vip else { return };
        let addr = IpAddr::V4(vip.addr);
        if self.dev.is_none() {
            let text = "not set, but KB_VIP is; expected the network device that carries it";
            remarks.push((Error, "DEV", text.to_owned()));
        }
        for (taken, by) in [
            (addr == self.kb_pool_vip, "KB_POOL_VIP"),
            (self.kb_all_ip.contains(&addr), "KB_ALL_IP"),
        ] {
            if taken {
                let text = format!("found {vip}, expected an address that is not in {by} too");
                remarks.push((Error, "KB_VIP", text));
            }
        }
    }

    /// An address that this host may hold itself answers even when the network is gone.
    fn check_trust_ips(&self, remarks: &mut Vec<Remark>) {
        let vip = self.kb_vip.map(|vip| IpAddr::V4(vip.addr));
        for address in &self.kb_gateway_ip {
            let own = [self.kb_localhost_ip, self.kb_pool_vip];
            if own.contains(address) || vip == Some(*address) {
                let text = format!(
                    "{address} may be on this host itself, and then answers without a network; \
                     better the gateway"
                );
                remarks.push((Note, "KB_GATEWAY_IP", text));
            }
        }
    }
}

fn first_duplicate<T: Eq + Hash>(entries: &[T]) -> Option<&T> {
    let mut seen = HashSet::new();
    entries.iter().find(|entry| !seen.insert(*entry))
}
