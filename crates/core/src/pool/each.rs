//! Several pools, each at its own address: old ones keep each a list of its own, and do not agree by
//! themselves.

use super::{Pool, PoolError, PoolNodes};
use crate::deadline::Deadline;
use crate::workers;
use std::net::IpAddr;
use std::sync::mpsc::channel;

/// What one of several pools says, which takes no sessions where that is by PCP: then the error tells why.
pub type Said = Result<(PoolNodes, Option<PoolError>), PoolError>;

impl Pool {
    /// What the same cluster's pool at each of `hosts` says within `deadline`, side by side and in their
    /// order. One that is not heard in time is left out.
    pub fn ask_each(&self, hosts: &[IpAddr], deadline: Deadline) -> Vec<(Self, Said)> {
        let (told, answers) = channel();
        for (at, host) in hosts.iter().copied().enumerate() {
            let (told, pool) = (told.clone(), self.at(host));
            workers::start(move || {
                let said = pool.nodes_by_any_way(deadline);
                let _ = told.send((at, pool, said));
            });
        }
        drop(told);
        let mut found = Vec::new();
        while let Ok(one) = answers.recv_timeout(deadline.remaining()) {
            found.push(one);
        }
        found.sort_by_key(|(at, ..)| *at);
        let said = found.into_iter().map(|(_, pool, said)| (pool, said));
        said.collect()
    }
}
