//! Several pools, each at its own address: old ones keep each a list of its own, and do not agree by
//! themselves.

use super::{Pool, PoolError, PoolNodes};
use crate::deadline::Deadline;
use crate::workers;
use std::net::IpAddr;

/// What one of several pools says, which takes no sessions where that is by PCP: then the error tells why.
pub type Said = Result<(PoolNodes, Option<PoolError>), PoolError>;

impl Pool {
    /// What the same cluster's pool at each of `hosts` says within `deadline`, side by side and in their
    /// order. One that is not heard in time is left out.
    pub fn ask_each(&self, hosts: &[IpAddr], deadline: Deadline) -> Vec<(Self, Said)> {
        let pools: Vec<Self> = hosts.iter().map(|host| self.at(*host)).collect();
        let said = workers::side_by_side(pools, deadline, move |pool| {
            let said = pool.nodes_by_any_way(deadline);
            (pool, said)
        });
        said.into_iter().flatten().collect()
    }
}
