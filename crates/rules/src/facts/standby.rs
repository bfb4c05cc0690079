//! Who streams from a primary, as the primary itself sees it: the only one who knows both ends.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A WAL sender of the primary, and the standby at its other end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standby {
    /// The standby's address; `None` on a local socket.
    pub address: Option<IpAddr>,
    /// Its `application_name`: the node's name.
    pub name: String,
    /// `startup`, `catchup`, `streaming`, `backup`, `stopping`.
    pub state: String,
    /// `async`, `potential`, `sync`, `quorum`.
    pub sync_state: String,
    /// Bytes of the primary's WAL that it has not written; `None` if it has not said yet.
    pub behind: Option<u64>,
}

impl Standby {
    /// The one of `all` that is the node with this address and name: the sender that streams, if there is one.
    pub fn find<'a>(all: &'a [Self], address: IpAddr, name: &str) -> Option<&'a Self> {
        let mut mine = all.iter().filter(|it| it.is(address, name));
        let streams = mine.clone().find(|it| it.streams());
        streams.or_else(|| mine.next())
    }

    /// Whether it is the node with this address and name. By name, too: a host with several addresses
    /// may come from another one.
    pub fn is(&self, address: IpAddr, name: &str) -> bool {
        self.address == Some(address) || (!name.is_empty() && self.name == name)
    }

    /// Whether it gets what the primary writes as the primary writes it.
    pub fn streams(&self) -> bool {
        self.state == "streaming"
    }

    /// Whether it streams, and is at most `limit` bytes behind.
    pub fn has_caught_up(&self, limit: u64) -> bool {
        self.streams() && self.behind.is_some_and(|behind| behind <= limit)
    }

    /// Whether commits may wait for it: one that is not in `synchronous_standby_names`, or a WAL
    /// archiver, streams as `async`.
    pub fn is_waited_for(&self) -> bool {
        self.streams() && self.sync_state != "async"
    }

    /// Whether commits could be told to wait for it: it is at most `limit` bytes behind, and streams
    /// under one of `names`, which are those that they would be told.
    pub fn can_be_waited_for<N: AsRef<str>>(
        &self,
        limit: u64,
        names: impl IntoIterator<Item = N>,
    ) -> bool {
        let mut names = names.into_iter();
        self.has_caught_up(limit) && names.any(|name| name.as_ref() == self.name)
    }
}
