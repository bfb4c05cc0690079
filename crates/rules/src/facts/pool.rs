//! What the pool says of a node.

use std::fmt;
use std::net::IpAddr;

/// A backend node as the pool sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolNode {
    /// Its id in the pool.
    pub id: u32,
    /// Its address, or its name where the pool is configured with names.
    pub host: String,
    /// `up`, `down`, `waiting`, `quarantine`, `unused`.
    pub status: String,
    /// `primary`, `standby`.
    pub role: String,
    /// Bytes (or, where the pool is told so, seconds) behind the primary; `None` if not shown.
    pub replication_delay: Option<u64>,
}

impl PoolNode {
    /// Whether clients are sent there: `waiting` has had no client yet and counts, `quarantine`
    /// does not.
    pub fn is_up(&self) -> bool {
        matches!(self.status.as_str(), "up" | "waiting")
    }

    /// Whether the pool sends nobody there until it is attached: `quarantine` ends by itself.
    pub fn is_down(&self) -> bool {
        self.status == "down"
    }

    /// Whether it is the node with this address, which the pool may know by its node name.
    pub fn is(&self, address: IpAddr, node_name: Option<&str>) -> bool {
        self.host.parse() == Ok(address) || Some(self.host.as_str()) == node_name
    }

    /// Whether the pool sends writes there.
    pub fn is_primary(&self) -> bool {
        self.role == "primary"
    }
}

impl fmt::Display for PoolNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} ({})", self.id, self.host)
    }
}

/// A change to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Send clients there again.
    Attach,
    /// Send no more there.
    Detach,
    /// Send writes there: the database is a primary, and the pool, which has the node up, names none. It
    /// looks for one only when a node comes or goes, and for `search_primary_node_timeout` at most. This
    /// tells it, runs no `failover_command`, and leaves it at no moment without a node. The pool takes
    /// all other nodes out: their next `network_rewind` attaches them.
    MakePrimary,
}

impl Change {
    /// Whether there is nothing to do for `node`.
    pub fn is_done(self, node: &PoolNode) -> bool {
        match self {
            Self::Attach => node.is_up(),
            Self::Detach => !node.is_up(),
            Self::MakePrimary => node.is_up() && node.is_primary(),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attach => "attach",
            Self::Detach => "detach",
            Self::MakePrimary => "send writes to",
        })
    }
}
