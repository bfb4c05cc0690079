//! Who is a primary, and who streams from it, as the primary itself sees it: the only one who
//! knows both ends.

use crate::deadline::Deadline;
use crate::flavor::Flavor;
use crate::lsn::Lsn;
use crate::sql::{Row, Session, SqlError};
pub use failover_rules::facts::standby::Standby;

/// Host, name, state, the standby's position, the primary's, the synchronous state.
fn from_row(row: &Row) -> Standby {
    let cell = |at: usize| row.get(at).cloned().flatten();
    let position = |at: usize| cell(at)?.parse::<Lsn>().ok();
    Standby {
        address: cell(0).and_then(|address| address.parse().ok()),
        name: cell(1).unwrap_or_default(),
        state: cell(2).unwrap_or_default(),
        sync_state: cell(5).unwrap_or_default(),
        behind: position(3)
            .zip(position(4))
            .map(|(own, primary)| primary.since(own)),
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
    Ok(rows.iter().map(from_row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_what_the_standby_has_not_written() {
        let row = |cells: [Option<&str>; 6]| cells.map(|cell| cell.map(str::to_owned)).to_vec();
        let standby = from_row(&row([
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
        let starting = from_row(&row(cells));
        assert_eq!((starting.streams(), starting.behind), (false, None));
        assert!(!starting.is_waited_for());
        let archiver = Standby {
            sync_state: "async".to_owned(),
            ..standby
        };
        assert!(archiver.streams() && !archiver.is_waited_for());
    }
}
