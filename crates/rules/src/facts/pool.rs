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
}

impl Change {
    /// Whether the node is up when it is done.
    pub fn ends_up(self) -> bool {
        self == Self::Attach
    }

    /// Whether there is nothing to do for `node`.
    pub fn is_done(self, node: &PoolNode) -> bool {
        node.is_up() == self.ends_up()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Attach => "attach",
            Self::Detach => "detach",
        })
    }
}
