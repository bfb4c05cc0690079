//! From synchronous to asynchronous, where commits would wait for a standby that is not there, and
//! back.

use crate::config::SyncDegrade;
use crate::deadline::Deadline;
use crate::flavor::Flavor;
use crate::journal::Journal;
use crate::procedure::Done;
use crate::replication::{Standby, standbys};
use crate::sql::{Session, SqlError, quote};
use anyhow::{Result, bail};
use std::net::IpAddr;
use std::time::Duration;

const SETTING: &str = "synchronous_standby_names";

/// Between two looks at who streams, all of them together, and for the answer to one.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);
const LOOK_TIME: Duration = Duration::from_millis(1500);
const ONE_LOOK: Duration = Duration::from_secs(2);

/// How often the server is asked whether it has read its settings.
const ASK_INTERVAL: Duration = Duration::from_millis(10);

/// A standby that went down. The primary's WAL sender for it lives on until the server notices.
#[derive(Clone, Debug)]
pub struct Gone {
    /// Its address.
    pub address: IpAddr,
    /// Its `application_name`.
    pub name: String,
}

/// Takes the primary of `session` from synchronous to asynchronous, unless a standby streams for
/// which its commits may wait.
pub fn to_async(
    session: &Session,
    names: &Flavor,
    policy: SyncDegrade,
    gone: Option<&Gone>,
    journal: &Journal,
    deadline: Deadline,
) -> Result<Done> {
    let before = show(session, deadline)?;
    if before.is_empty() {
        journal.line("it is asynchronous already");
        return Ok(Done::AlreadySo("asynchronous already".to_owned()));
    }
    if let Some(standby) = streaming_standby(session, names, gone, deadline)? {
        journal.line(format!("standby {standby} streams, it stays synchronous"));
        return Ok(Done::Skipped(format!("standby {standby} streams")));
    }
    if policy == SyncDegrade::Never {
        journal.line(
            "no standby streams and SYNC_DEGRADE is never: it stays synchronous, commits wait for \
             a standby",
        );
        return Ok(Done::Skipped("SYNC_DEGRADE is never".to_owned()));
    }
    set(session, names, "", journal, deadline)?;
    Ok(Done::Did(format!("{SETTING} was '{before}', is ''")))
}

/// Takes the primary of `session` from asynchronous to synchronous: its commits wait for one of
/// `nodes` (the primary itself may be among them: it is no standby of its own).
pub fn to_sync(
    session: &Session,
    names: &Flavor,
    nodes: &[String],
    journal: &Journal,
    deadline: Deadline,
) -> Result<Done> {
    let wanted = format!("1 ({})", nodes.join(", "));
    let before = show(session, deadline)?;
    if before == wanted {
        return Ok(Done::AlreadySo(format!("{SETTING} is '{wanted}'")));
    }
    set(session, names, &wanted, journal, deadline)?;
    Ok(Done::Did(format!(
        "{SETTING} was '{before}', is '{wanted}'"
    )))
}

/// What the primary of `session` has as the names of its synchronous standbys.
pub fn show(session: &Session, deadline: Deadline) -> Result<String, SqlError> {
    let value = session.value(&format!("SHOW {SETTING}"), deadline)?;
    Ok(value.unwrap_or_default())
}

/// Sets it, and waits until the server has taken it.
fn set(
    session: &Session,
    names: &Flavor,
    value: &str,
    journal: &Journal,
    deadline: Deadline,
) -> Result<()> {
    let statement = format!("ALTER SYSTEM SET {SETTING} = {}", quote(value));
    session.query(&statement, deadline)?;
    journal.line("ALTER SYSTEM");
    session.query(&format!("SELECT {}()", names.reload_conf), deadline)?;
    journal.line(format!(
        "{}\n-----------------\n t\n(1 row)",
        names.reload_heading
    ));
    let mut has = String::new();
    let taken = deadline.poll(ASK_INTERVAL, || match show(session, deadline) {
        Ok(now) if now == value => Some(Ok(())),
        Ok(now) => {
            has = now;
            None
        }
        Err(error) => Some(Err(error)),
    });
    match taken {
        Some(result) => Ok(result?),
        None => bail!("{SETTING} was set to '{value}' and reloaded, the server still has '{has}'"),
    }
}

/// The same, seen none in `times` looks within a second or two: the time that a standby with a hiccup
/// needs to come back.
///
/// # Errors
/// The server does not answer, or there was no time to look that often.
pub fn streaming_after_looks(
    session: &Session,
    names: &Flavor,
    gone: Option<&Gone>,
    times: u32,
    deadline: Deadline,
) -> Result<Option<String>> {
    let mut left = times;
    let found = deadline.poll(LOOK_INTERVAL.min(LOOK_TIME / times), || {
        match streaming_standby(session, names, gone, Deadline::after(ONE_LOOK)) {
            Ok(Some(standby)) => return Some(Ok(Some(standby))),
            Ok(None) => left -= 1,
            Err(error) => return Some(Err(error)),
        }
        (left == 0).then_some(Ok(None))
    });
    match found {
        Some(result) => Ok(result?),
        None => bail!("there was no time to look often enough whether a standby streams"),
    }
}

/// A standby that streams and that commits may wait for; `gone` does not count.
pub fn streaming_standby(
    session: &Session,
    names: &Flavor,
    gone: Option<&Gone>,
    deadline: Deadline,
) -> Result<Option<String>, SqlError> {
    let standbys = standbys(session, names, deadline)?;
    Ok(first_that_counts(&standbys, gone))
}

fn first_that_counts(standbys: &[Standby], gone: Option<&Gone>) -> Option<String> {
    let is_gone = |standby: &Standby| gone.is_some_and(|gone| standby.is(gone.address, &gone.name));
    let mut counting = standbys.iter().filter(|standby| standby.is_waited_for());
    let found = counting.find(|standby| !is_gone(standby))?;
    let address = found.address.map(|address| address.to_string());
    Some(format!("{} ({})", found.name, address.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_for_a_dead_standby_does_not_count() {
        let gone = Gone {
            address: [192, 168, 1, 102].into(),
            name: "node102".to_owned(),
        };
        let row = |name: &str, address: &str| Standby {
            address: address.parse().ok(),
            name: name.to_owned(),
            state: "streaming".to_owned(),
            sync_state: "sync".to_owned(),
            behind: None,
        };
        for (rows, expected) in [
            (vec![], None),
            (vec![row("node102", "192.168.1.102")], None),
            // Behind an address translation, or with a name of its own.
            (vec![row("node102", "10.0.0.7")], None),
            (vec![row("walreceiver", "192.168.1.102")], None),
            (
                vec![
                    row("node102", "192.168.1.102"),
                    row("node103", "192.168.1.103"),
                ],
                Some("node103 (192.168.1.103)"),
            ),
            // Over a unix socket.
            (vec![row("node103", "")], Some("node103 ()")),
        ] {
            assert_eq!(first_that_counts(&rows, Some(&gone)).as_deref(), expected);
        }
        assert!(first_that_counts(&[row("node102", "192.168.1.102")], None).is_some());
    }
}
