//! From synchronous to asynchronous, where commits would wait for a standby that is not there.

use anyhow::{Result, bail};
use failover_core::config::SyncDegrade;
use failover_core::deadline::Deadline;
use failover_core::flavor::Flavor;
use failover_core::journal::Journal;
use failover_core::procedure::Done;
use failover_core::replication::{Standby, standbys};
use failover_core::sql::{Session, SqlError};
use std::net::IpAddr;
use std::time::Duration;

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
    let setting = "synchronous_standby_names";
    let show = format!("SHOW {setting}");
    let before = session.value(&show, deadline)?.unwrap_or_default();
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
    session.query(&format!("ALTER SYSTEM SET {setting} = ''"), deadline)?;
    journal.line("ALTER SYSTEM");
    session.query(&format!("SELECT {}()", names.reload_conf), deadline)?;
    journal.line(format!(
        "{}\n-----------------\n t\n(1 row)",
        names.reload_heading
    ));
    let taken = deadline.poll(ASK_INTERVAL, || match session.value(&show, deadline) {
        Ok(Some(value)) if !value.is_empty() => None,
        Ok(_) => Some(Ok(())),
        Err(error) => Some(Err(error)),
    });
    match taken {
        Some(result) => result?,
        None => bail!("{setting} was set to '' and reloaded, the server still has '{before}'"),
    }
    Ok(Done::Did(format!("{setting} was '{before}', is ''")))
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
    let is_gone = |standby: &Standby| {
        gone.is_some_and(|gone| {
            let named = !standby.name.is_empty() && standby.name == gone.name;
            standby.address == Some(gone.address) || named
        })
    };
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
