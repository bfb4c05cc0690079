//! Who is a primary, and who streams from it, as the primary itself sees it: the only one who
//! knows both ends.

use crate::deadline::Deadline;
use crate::flavor::Flavor;
use crate::lsn::Lsn;
use crate::sql::{Row, Session, SqlError, quote};
pub use failover_rules::facts::standby::Standby;
use failover_rules::promotion::ReplaySession;
use std::net::IpAddr;
use std::time::Duration;

/// For a standby that lives to confirm a record: the server writes one of a transaction that has changed
/// nothing within three of its `wal_writer_delay`.
const CONFIRM_TIME: Duration = Duration::from_millis(1500);
/// How often it is looked for.
const CONFIRM_INTERVAL: Duration = Duration::from_millis(20);

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

/// Has the primary end its connections to the standby with this name or address; how many there were. One that
/// lives connects again.
///
/// # Errors
/// The primary does not answer, or does not let us.
pub fn end_senders(
    session: &Session,
    names: &Flavor,
    name: &str,
    address: IpAddr,
    deadline: Deadline,
) -> Result<usize, SqlError> {
    let statement = format!(
        "SELECT {}(pid) FROM {} WHERE application_name = {} OR host(client_addr) = {}",
        names.terminate_backend,
        names.stat_replication,
        quote(name),
        quote(&address.to_string())
    );
    Ok(session.query(&statement, deadline)?.len())
}

/// Whether the standby `name` confirms WAL that is written now. One whose host has died is still shown as
/// streaming, where it was when it died: for as long as `wal_sender_timeout`, or until its host is back and
/// resets the connection.
///
/// # Errors
/// The primary does not answer.
pub fn confirms(
    session: &Session,
    names: &Flavor,
    name: &str,
    deadline: Deadline,
) -> Result<bool, SqlError> {
    let before = session.value(&format!("SELECT {}()", names.current_flush), deadline)?;
    let before = before.and_then(|it| it.parse::<Lsn>().ok());
    // A transaction with a number leaves a record, whether it changes anything or not.
    session.value("SELECT txid_current()", deadline)?;
    let statement = format!(
        "SELECT application_name, {} FROM {}",
        names.write_column, names.stat_replication
    );
    let limit = deadline.at_most(CONFIRM_TIME);
    let found = limit.poll(CONFIRM_INTERVAL, || {
        let rows = match session.query(&statement, deadline) {
            Ok(rows) => rows,
            Err(error) => return Some(Err(error)),
        };
        let is_past = |row: &Row| {
            let cell = |at: usize| row.get(at).cloned().flatten();
            let written = cell(1).and_then(|it| it.parse::<Lsn>().ok());
            cell(0).as_deref() == Some(name) && written > before
        };
        rows.iter().any(is_past).then_some(Ok(()))
    });
    found.transpose().map(|it| it.is_some())
}

/// What the process `startup`, which replays, waits for, as `type:event`; `None`: for nothing, or the server
/// does not tell (up to version 9.6).
///
/// # Errors
/// It does not answer.
pub fn replay_waits_for(
    session: &Session,
    names: &Flavor,
    startup: i32,
    deadline: Deadline,
) -> Result<Option<String>, SqlError> {
    let statement = format!(
        "SELECT wait_event_type || ':' || wait_event FROM {} WHERE pid = {startup}",
        names.stat_activity
    );
    let mut rows = session.query(&statement, deadline)?;
    Ok(rows.pop().and_then(|row| row.into_iter().next().flatten()))
}

/// The sessions that may hold up the replay by the process `startup`: those with an open transaction.
///
/// # Errors
/// It does not answer.
pub fn replay_sessions(
    session: &Session,
    names: &Flavor,
    startup: i32,
    deadline: Deadline,
) -> Result<Vec<ReplaySession>, SqlError> {
    let statement = format!(
        "SELECT pid, usename, application_name, xact_start, age(backend_xmin), \
         pid = ANY ({}({startup})) FROM {} \
         WHERE xact_start IS NOT NULL AND usename IS NOT NULL AND pid <> pg_backend_pid()",
        names.blocking_pids, names.stat_activity
    );
    let rows = session.query(&statement, deadline)?;
    Ok(rows.iter().filter_map(replay_session).collect())
}

fn replay_session(row: &Row) -> Option<ReplaySession> {
    let cell = |at: usize| row.get(at).cloned().flatten();
    Some(ReplaySession {
        pid: cell(0)?.parse().ok()?,
        user: cell(1).unwrap_or_default(),
        application: cell(2).unwrap_or_default(),
        since: cell(3),
        snapshot_age: cell(4).and_then(|age| age.parse().ok()),
        blocks: cell(5).is_some_and(|it| it.starts_with('t')),
    })
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
