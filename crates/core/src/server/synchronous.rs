//! From synchronous to asynchronous, where commits would wait for a standby that is not there, and
//! back.

use crate::config::SyncDegrade;
use crate::deadline::Deadline;
use crate::flavor::Flavor;
use crate::instance::Instance;
use crate::journal::Journal;
use crate::procedure::Done;
use crate::replication::{Standby, standbys};
use crate::sql::{Session, SqlError, SqlFailure, quote};
use crate::standby::StandbyFiles;
use anyhow::{Result, bail};
pub use failover_rules::synchronous::{Wait, judge, number};
use failover_rules::synchronous::{before as whole, for_all, names as is_named};
use std::net::IpAddr;
use std::time::Duration;

const SETTING: &str = "synchronous_standby_names";
/// Under which the last value of that is remembered, for our own logins and nobody else's. It stands in the
/// database, and so the next primary has it, too.
const MEMORY: &str = "failover_tools.synchronous_standby_names";

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

/// Where the setting is changed: by the server, or in its files where it does not change it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// A session with the primary.
    pub session: &'a Session,
    /// Its names.
    pub names: &'a Flavor,
    /// The primary's files, where this is its host.
    pub files: Option<(&'a Instance, &'a StandbyFiles<'a>)>,
    /// It was promoted just now: what the primary before it had counts for more than its own settings.
    pub new: bool,
    /// For what is done.
    pub journal: &'a Journal,
}

/// Takes the primary from synchronous to asynchronous, unless a standby streams for which its commits may
/// wait. Where fewer stream than commits wait for, they wait for those.
pub fn to_async(
    place: Place<'_>,
    policy: SyncDegrade,
    gone: Option<&Gone>,
    deadline: Deadline,
) -> Result<Done> {
    let journal = place.journal;
    let before = show(place.session, deadline)?;
    if before.is_empty() {
        journal.line("it is asynchronous already");
        return Ok(Done::AlreadySo("asynchronous already".to_owned()));
    }
    let all = waited_for(place.session, place.names, gone, deadline)?;
    let wanted = match judge(&before, all.len()) {
        Wait::Enough | Wait::Raise(_) => {
            let standby = all.first().cloned().unwrap_or_default();
            journal.line(format!("standby {standby} streams, it stays synchronous"));
            return Ok(Done::Skipped(format!("standby {standby} streams")));
        }
        Wait::Nobody => String::new(),
        Wait::Lower(lowered) => lowered,
    };
    if policy == SyncDegrade::Never {
        journal.line(match wanted.is_empty() {
            true => {
                "no standby streams and SYNC_DEGRADE is never: it stays synchronous, commits wait for \
                 a standby"
            }
            false => {
                "fewer standbys stream than commits wait for and SYNC_DEGRADE is never: it stays as it \
                 is, commits wait for more of them"
            }
        });
        return Ok(Done::Skipped("SYNC_DEGRADE is never".to_owned()));
    }
    if !wanted.is_empty() {
        journal.stamped(format!(
            "commits wait for {} standbys, and only {} of them stream ({}): they wait for those, until \
             the others stream again",
            number(&before),
            all.len(),
            all.join(", ")
        ));
    }
    set(place, &wanted, deadline)?;
    if wanted.is_empty() && !(place.new && recall(place.session, deadline).is_some()) {
        remember(place, &before, deadline);
    }
    Ok(Done::Did(format!(
        "{SETTING} was '{before}', is '{wanted}'"
    )))
}

/// What commits waited for before they waited for nobody, on this primary or on one before it.
fn recall(session: &Session, deadline: Deadline) -> Option<String> {
    let statement = format!("SELECT current_setting({}, true)", quote(MEMORY));
    let value = session.value(&statement, deadline).ok().flatten();
    value.filter(|value| !value.is_empty())
}

/// Remembers `setting`, where it is not known: without that the next one is a standby of `ALL_NODE_NAME`.
pub fn remember(place: Place<'_>, setting: &str, deadline: Deadline) {
    let (session, setting) = (place.session, whole(setting));
    if recall(session, deadline).as_ref() == Some(&setting) {
        return;
    }
    let set = || -> Result<(), SqlError> {
        let database = session.value("SELECT quote_ident(current_database())", deadline)?;
        let statement = format!(
            "ALTER ROLE CURRENT_USER IN DATABASE {} SET {MEMORY} = {}",
            database.unwrap_or_default(),
            quote(&setting)
        );
        session.query(&statement, deadline).map(drop)
    };
    if let Err(error) = set() {
        place.journal.stamped(format!(
            "warning: {SETTING} '{setting}' cannot be remembered, and is to be set by hand ({error})"
        ));
    }
}

/// What commits are to wait for again: as before, as far as such standbys stream; else one of `nodes`.
fn wanted(place: Place<'_>, nodes: &[String], deadline: Deadline) -> Result<String, SqlError> {
    let one = format!("1 ({})", nodes.join(", "));
    let Some(before) = recall(place.session, deadline) else {
        return Ok(one);
    };
    let before = for_all(&before, nodes);
    let standbys = standbys(place.session, place.names, deadline)?;
    let there = standbys
        .iter()
        .filter(|it| it.streams() && is_named(&before, &it.name))
        .count();
    Ok(match judge(&before, there) {
        Wait::Enough | Wait::Raise(_) => before,
        Wait::Lower(lowered) => lowered,
        Wait::Nobody => one,
    })
}

/// Takes the primary from asynchronous to synchronous: its commits wait for whom they waited before, or for
/// one of `nodes` (the primary itself may be among them: it is no standby of its own).
pub fn to_sync(place: Place<'_>, nodes: &[String], deadline: Deadline) -> Result<Done> {
    let wanted = wanted(place, nodes, deadline)?;
    let before = show(place.session, deadline)?;
    if before == wanted {
        return Ok(Done::AlreadySo(format!("{SETTING} is '{wanted}'")));
    }
    set(place, &wanted, deadline)?;
    Ok(Done::Did(format!(
        "{SETTING} was '{before}', is '{wanted}'"
    )))
}

/// Has commits wait for as many standbys as before they were too few. `None`: they do, or it is too soon.
pub fn raise(place: Place<'_>, deadline: Deadline) -> Result<Option<Done>> {
    let before = show(place.session, deadline)?;
    let all = waited_for(place.session, place.names, None, deadline)?;
    let Wait::Raise(wanted) = judge(&before, all.len()) else {
        return Ok(None);
    };
    place.journal.stamped(format!(
        "{} standbys stream again ({}): commits wait for more of them, as before",
        all.len(),
        all.join(", ")
    ));
    set(place, &wanted, deadline)?;
    Ok(Some(Done::Did(format!(
        "{SETTING} was '{before}', is '{wanted}'"
    ))))
}

/// The same as [`to_async`] for a primary that takes no session, on its own host: by its files.
pub fn to_async_by_file(
    instance: &Instance,
    files: &StandbyFiles<'_>,
    policy: SyncDegrade,
    journal: &Journal,
) -> Result<Done> {
    let before = files.of_the_server(SETTING).unwrap_or_default();
    if before.is_empty() {
        journal.line("it is asynchronous already");
        return Ok(Done::AlreadySo("asynchronous already".to_owned()));
    }
    if instance.sends_wal()? {
        return Ok(Done::Skipped("a standby streams".to_owned()));
    }
    if policy == SyncDegrade::Never {
        return Ok(Done::Skipped("SYNC_DEGRADE is never".to_owned()));
    }
    set_in_file(instance, files, "", journal)?;
    Ok(Done::Did(format!("{SETTING} was '{before}', is ''")))
}

fn set_in_file(
    instance: &Instance,
    files: &StandbyFiles<'_>,
    value: &str,
    journal: &Journal,
) -> Result<()> {
    files.set_for_server(SETTING, value)?;
    instance.reload()?;
    journal.stamped(format!(
        "{SETTING} is set to '{value}' in its file {}, and the server told to read it",
        instance.flavor.auto_conf
    ));
    Ok(())
}

/// What the primary of `session` has as the names of its synchronous standbys.
pub fn show(session: &Session, deadline: Deadline) -> Result<String, SqlError> {
    let value = session.value(&format!("SHOW {SETTING}"), deadline)?;
    Ok(value.unwrap_or_default())
}

/// Sets it, and waits until the server has taken it.
fn set(place: Place<'_>, value: &str, deadline: Deadline) -> Result<()> {
    let Place {
        session,
        names,
        journal,
        ..
    } = place;
    let statement = format!("ALTER SYSTEM SET {SETTING} = {}", quote(value));
    match (session.query(&statement, deadline), place.files) {
        (Ok(_), _) => {
            journal.line("ALTER SYSTEM");
            session.query(&format!("SELECT {}()", names.reload_conf), deadline)?;
            journal.lines(format!(
                "{}\n-----------------\n t\n(1 row)",
                names.reload_heading
            ));
        }
        (Err(error), Some((instance, files))) if is_refused(&error) => {
            journal.stamped(format!("warning: ALTER SYSTEM is refused ({error})"));
            set_in_file(instance, files, value, journal)?;
        }
        (Err(error), None) if is_refused(&error) => bail!(
            "ALTER SYSTEM is refused ({error}): on the primary's host set {SETTING} = '{value}' where the \
             server's settings are kept, and have it read them; network_rewind there does it at its next run"
        ),
        (Err(error), _) => return Err(error.into()),
    }
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

/// Whether the server changes no settings at all (`allow_alter_system` is off), or not for us.
fn is_refused(error: &SqlError) -> bool {
    let refusals = ["0A000", "42501"];
    matches!(&error.failure, SqlFailure::Server { code, .. } if refusals.contains(&code.as_str()))
}

/// The standbys that stream and that commits wait for, seen fewer than `needed` in `times` looks within a
/// second or two: the time that a standby with a hiccup needs to come back.
///
/// # Errors
/// The server does not answer, or there was no time to look that often.
pub fn waited_for_after_looks(
    session: &Session,
    names: &Flavor,
    gone: Option<&Gone>,
    needed: usize,
    times: u32,
    deadline: Deadline,
) -> Result<Vec<String>> {
    let mut left = times;
    let found = deadline.poll(LOOK_INTERVAL.min(LOOK_TIME / times), || {
        match waited_for(session, names, gone, Deadline::after(ONE_LOOK)) {
            Ok(all) => {
                left -= 1;
                (all.len() >= needed || left == 0).then_some(Ok(all))
            }
            Err(error) => Some(Err(error)),
        }
    });
    match found {
        Some(result) => Ok(result?),
        None => bail!("there was no time to look often enough whether a standby streams"),
    }
}

/// The standbys that stream and that commits may wait for; `gone` does not count.
pub fn waited_for(
    session: &Session,
    names: &Flavor,
    gone: Option<&Gone>,
    deadline: Deadline,
) -> Result<Vec<String>, SqlError> {
    let standbys = standbys(session, names, deadline)?;
    Ok(those_that_count(&standbys, gone))
}

fn those_that_count(standbys: &[Standby], gone: Option<&Gone>) -> Vec<String> {
    let is_gone = |standby: &Standby| gone.is_some_and(|gone| standby.is(gone.address, &gone.name));
    let counting = standbys.iter().filter(|standby| standby.is_waited_for());
    let named = |standby: &Standby| {
        let address = standby.address.map(|address| address.to_string());
        format!("{} ({})", standby.name, address.unwrap_or_default())
    };
    counting.filter(|it| !is_gone(it)).map(named).collect()
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
            let found = those_that_count(&rows, Some(&gone));
            assert_eq!(found.first().map(String::as_str), expected);
        }
        assert_eq!(
            those_that_count(&[row("node102", "192.168.1.102")], None).len(),
            1
        );
    }
}
