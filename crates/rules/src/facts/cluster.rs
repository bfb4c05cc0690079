//! A whole cluster as it was seen from one host at one moment.

use super::host::{HostFacts, ServerFacts};
use super::policy::{
    FailoverCandidate, FailoverQuorum, GatewayLostAction, PromoteWithoutFence, SyncDegrade,
};
use super::pool::PoolNode;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What was seen of a cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The host that looked.
    pub me: IpAddr,
    /// The hosts with a database, those of `KB_ALL_IP` in its order, then those with only a pool.
    pub hosts: Vec<Host>,
    /// The pools, in the order of the `KB_POOL_IPn`.
    pub pools: Vec<PoolSeen>,
    /// `KB_POOL_VIP`.
    pub pool_vip: IpAddr,
    /// Whether a pool answers there; `None`: nobody asked.
    pub pool_vip_answers: Option<Result<(), String>>,
    /// `KB_VIP`, if the cluster has one.
    pub vip: Option<IpAddr>,
    /// `SYNC_FLAG`.
    pub sync: bool,
    /// `DATA_SIZE_DIFF` in bytes.
    pub lag_limit: u64,
    /// `KB_PORT`.
    pub port: u16,
    /// The command that the pools should call.
    pub tool: &'static str,
    /// What the operator allows and wants.
    pub policies: Policies,
}

/// What `HAmodule.conf` allows and wants of a failover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies {
    /// `PROMOTE_WITHOUT_FENCE`.
    pub promote_without_fence: PromoteWithoutFence,
    /// `FAILOVER_CANDIDATE`.
    pub candidate: FailoverCandidate,
    /// `FAILOVER_QUORUM`.
    pub quorum: FailoverQuorum,
    /// `SYNC_DEGRADE`.
    pub sync_degrade: SyncDegrade,
    /// `GATEWAY_LOST_ACTION`.
    pub gateway_lost: GatewayLostAction,
    /// `MAX_FAILOVER_LAG` in MB.
    pub max_failover_lag: Option<u64>,
    /// `PROBE_TIMEOUT` in milliseconds.
    pub probe_ms: u64,
    /// So many addresses are in `KB_GATEWAY_IP`.
    pub trust_ips: usize,
}

/// A host, and what it said.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its address, as `KB_ALL_IP` or `KB_POOL_IPn` has it.
    pub address: IpAddr,
    /// Its name; of a host with only a pool, its address.
    pub name: String,
    /// It has a database.
    pub has_database: bool,
    /// What it said, or why it said nothing.
    pub answer: Result<HostFacts, NoFacts>,
    /// By how many milliseconds its clock is ahead of ours, at least; 0: it may be right.
    pub clock_off_ms: i64,
}

/// Why a host said nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoFacts {
    /// It did not let us in, or did not answer.
    Unreachable(String),
    /// It let us in, and its tools are not there, are another version, or have no configuration.
    NoTools(String),
}

/// A pool, and what it said.
#[derive(Clone, Debug)]
pub struct PoolSeen {
    /// Its host.
    pub host: IpAddr,
    /// What it said of its nodes.
    pub nodes: Result<Vec<PoolNode>, String>,
    /// It let no session in, and this is what PCP told in time: some of its nodes, without their roles. The
    /// reason.
    pub closed: Option<String>,
    /// Its own settings, by name. Empty: not known.
    pub settings: BTreeMap<String, String>,
    /// Whether PCP lets `PCP_USER` in.
    pub pcp: Option<Result<(), String>>,
}

impl PoolSeen {
    /// All of its nodes with their roles, where it told them.
    pub fn view(&self) -> Option<&[PoolNode]> {
        match (&self.nodes, &self.closed) {
            (Ok(nodes), None) => Some(nodes),
            _ => None,
        }
    }
}

impl Host {
    /// What it said.
    pub fn facts(&self) -> Option<&HostFacts> {
        self.answer.as_ref().ok()
    }

    /// What it said of its server.
    pub fn server(&self) -> Option<&ServerFacts> {
        self.facts()?.server.as_ref()
    }

    /// The slot that it streams by.
    pub fn slot(&self) -> String {
        format!("slot_{}", self.name)
    }
}

impl Cluster {
    /// The host with this address.
    pub fn host(&self, address: IpAddr) -> Option<&Host> {
        self.hosts.iter().find(|host| host.address == address)
    }

    /// The hosts with a database.
    pub fn databases(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.has_database)
    }

    /// The hosts whose server says that it is a primary.
    pub fn primaries(&self) -> Vec<&Host> {
        let is_primary = |host: &&Host| host.server().is_some_and(ServerFacts::is_primary);
        self.databases().filter(is_primary).collect()
    }

    /// The one primary, and its server.
    pub fn primary(&self) -> Option<(&Host, &ServerFacts)> {
        match self.primaries()[..] {
            [host] => host.server().map(|server| (host, server)),
            _ => None,
        }
    }

    /// The name of the node with this address, else the address.
    pub fn name_of(&self, address: IpAddr) -> String {
        match self.host(address) {
            Some(host) => host.name.clone(),
            None => address.to_string(),
        }
    }

    /// The host that a pool means by a node.
    pub fn host_of(&self, node: &PoolNode) -> Option<&Host> {
        let is_it = |host: &&Host| node.is(host.address, Some(&host.name));
        self.databases().find(is_it)
    }
}
