//! Who is a primary, and who streams from it, as the primary itself sees it: the only one who
//! knows both ends.

use crate::deadline::Deadline;
use crate::flavor::Flavor;
use crate::lsn::Lsn;
use crate::sql::{Row, Session, SqlError};
use std::net::IpAddr;

/// A WAL sender of the primary, and the standby at its other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

    /// Host, name, state, the standby's position, the primary's, the synchronous state.
    fn from_row(row: &Row) -> Self {
        let cell = |at: usize| row.get(at).cloned().flatten();
        let position = |at: usize| cell(at)?.parse::<Lsn>().ok();
        Self {
            address: cell(0).and_then(|address| address.parse().ok()),
            name: cell(1).unwrap_or_default(),
            state: cell(2).unwrap_or_default(),
            sync_state: cell(5).unwrap_or_default(),
            behind: position(3)
                .zip(position(4))
                .map(|(own, primary)| primary.since(own)),
        }
    }
}

/// Whether the server of `session` is in recovery: a standby, not a primary.
///
/// # Errors
/// It does not answer.
pub fn is_in_recovery(
    session: &Session,
    names: &Flavor,
    deadline: Deadline,
) -> Result<bool, SqlError> {
    session.truth(&format!("SELECT {}()", names.is_in_recovery), deadline)
}

/// The standbys of the primary that `session` is with.
///
/// # Errors
/// It does not answer, or is no primary.
pub fn standbys(
    session: &Session,
    names: &Flavor,
    deadline: Deadline,
) -> Result<Vec<Standby>, SqlError> {
    let statement = format!(
        "SELECT host(client_addr), application_name, state, {}, {}(), sync_state FROM {}",
        names.write_column, names.current_flush, names.stat_replication
    );
    let rows = session.query(&statement, deadline)?;
    Ok(rows.iter().map(Standby::from_row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_what_the_standby_has_not_written() {
        let row = |cells: [Option<&str>; 6]| cells.map(|cell| cell.map(str::to_owned)).to_vec();
        let standby = Standby::from_row(&row([
            Some("192.168.1.102"),
            Some("node102"),
            Some("streaming"),
            Some("0/1000"),
            Some("0/1800"),
            Some("sync"),
        ]));
        assert_eq!((standby.streams(), standby.behind), (true, Some(0x800)));
        assert!(standby.is_waited_for());
        assert!(standby.can_be_waited_for(0x800, ["node101", "node102"]));
        assert!(!standby.can_be_waited_for(0x7ff, ["node102"]));
        assert!(!standby.can_be_waited_for(0x800, ["node101"]));
        let cells = [None, None, Some("startup"), None, Some("0/1"), Some("sync")];
        let starting = Standby::from_row(&row(cells));
        assert_eq!((starting.streams(), starting.behind), (false, None));
        assert!(!starting.is_waited_for());
        let archiver = Standby {
            sync_state: "async".to_owned(),
            ..standby
        };
        assert!(archiver.streams() && !archiver.is_waited_for());
    }
}
