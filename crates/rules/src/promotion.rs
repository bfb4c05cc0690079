//! What keeps a promotion from coming through, and what is done about it: sessions that hold the replay up,
//! a program that hangs, a promotion that was given up.

use crate::facts::lsn::Lsn;
use crate::facts::status::is_primary_state;
use std::fmt;

/// A session on a standby that may hold its replay up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplaySession {
    /// Its process.
    pub pid: i32,
    /// Who it is.
    pub user: String,
    /// Its `application_name`; empty: it has none, or it is not known.
    pub application: String,
    /// Since when its transaction is open, if that is known.
    pub since: Option<String>,
    /// How many transactions its snapshot is behind; `None`: it has no snapshot.
    pub snapshot_age: Option<u64>,
    /// The replay waits for a lock of it.
    pub blocks: bool,
}

impl fmt::Display for ReplaySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pid,
            user,
            application,
            ..
        } = self;
        let since = self.since.as_deref().unwrap_or("?");
        write!(
            f,
            "process {pid} (user {user}, application \"{application}\", since {since})"
        )
    }
}

/// Which of `sessions` are ended next, so that the replay goes on: those with a lock that it waits for, else
/// those with the oldest snapshot, else the oldest transaction. Few at a time: what the replay waits for is
/// looked at again after each.
pub fn to_end(sessions: &[ReplaySession]) -> Vec<&ReplaySession> {
    let blocking: Vec<_> = sessions.iter().filter(|it| it.blocks).collect();
    if !blocking.is_empty() {
        return blocking;
    }
    let oldest = sessions.iter().filter_map(|it| it.snapshot_age).max();
    if let Some(oldest) = oldest {
        let is_oldest = |it: &&ReplaySession| it.snapshot_age == Some(oldest);
        return sessions.iter().filter(is_oldest).collect();
    }
    // Without a time, all of them.
    if sessions.iter().all(|it| it.since.is_none()) {
        return sessions.iter().collect();
    }
    let first = sessions.iter().filter(|it| it.since.is_some());
    first
        .min_by_key(|it| it.since.clone())
        .into_iter()
        .collect()
}

/// Whether a server waits for a session while it replays: `event` is what the server says, where it says
/// anything, `titled` what its title says.
pub fn is_held_up(event: Option<&str>, titled: bool) -> bool {
    let conflict = |event: &str| {
        event.contains("RecoveryConflict")
            || event.starts_with("BufferPin")
            || event.starts_with("Lock:")
    };
    titled || event.is_some_and(conflict)
}

/// What a standby that takes no session is promoted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unasked<'a> {
    /// `Database cluster state` of its control file.
    pub control_state: Option<&'a str>,
    /// Its settings make it start as a standby.
    pub set_up_as_standby: bool,
    /// Its startup process runs.
    pub replays: bool,
}

impl Unasked<'_> {
    /// Whether it is in recovery, for all that its files and processes tell.
    pub fn is_in_recovery(&self) -> bool {
        let state = self.control_state.is_some_and(|it| !is_primary_state(it));
        state && self.set_up_as_standby && self.replays
    }
}

/// What becomes of a promotion that was asked for and given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// It has come true: the server is a primary.
    CameTrue,
    /// The server has not read of it, and will not: nothing else has to be done.
    TakenBack,
    /// The server may have read of it: it is stopped, and started as the standby that it was.
    Restart,
    /// It does not run: nothing of it is left in the server.
    Down,
}

/// How a promotion is withdrawn; `taken_back`: its file was there, and the server forgets it with that.
pub fn withdrawal(running: bool, primary: bool, taken_back: bool) -> Withdrawal {
    match (running, primary, taken_back) {
        (_, true, _) => Withdrawal::CameTrue,
        (false, ..) => Withdrawal::Down,
        (true, false, true) => Withdrawal::TakenBack,
        (true, false, false) => Withdrawal::Restart,
    }
}

/// What follows the name of the program, and of the cluster, in the title of one of the server's processes.
fn parts(title: &str) -> impl Iterator<Item = &str> {
    title.split(": ").skip(1)
}

/// Whether `title` is that of the process which replays.
pub fn is_startup(title: &str) -> bool {
    parts(title).any(|part| part == "startup" || part.starts_with("startup "))
}

/// Whether `title` is that of a WAL sender whose standby streams.
pub fn is_sender(title: &str) -> bool {
    let sender = |part: &str| part.starts_with("walsender ") || part.starts_with("wal sender ");
    parts(title).any(|part| sender(part) && part.contains(" streaming"))
}

/// Whether the title of that process says that it waits for a session. It also waits `for` WAL, which is
/// something else.
pub fn waits_in(title: &str) -> bool {
    title.trim_end().ends_with(" waiting")
}

/// What a WAL receiver has received, by its title: `postgres: walreceiver streaming 0/3000148`.
pub fn position_in(title: &str) -> Option<Lsn> {
    title.split_whitespace().last()?.parse().ok()
}

/// The session that process `pid` serves, if `title` is that of one which is not idle: `postgres: main: app
/// shop 10.0.0.9(43210) SELECT`.
pub fn client_of(pid: i32, title: &str) -> Option<ReplaySession> {
    let part = parts(title).last()?;
    let words: Vec<&str> = part.split_whitespace().collect();
    let is_peer = |word: &&str| *word == "[local]" || (word.contains('(') && word.ends_with(')'));
    let at = words.iter().position(is_peer)?;
    let sender = ["walsender", "wal"].contains(words.first()?);
    let does = words[at + 1..].join(" ");
    let busy = !does.is_empty() && does != "idle";
    (at >= 2 && !sender && busy).then(|| ReplaySession {
        pid,
        user: words[0].to_owned(),
        ..ReplaySession::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(pid: i32, age: Option<u64>, since: Option<&str>) -> ReplaySession {
        ReplaySession {
            pid,
            snapshot_age: age,
            since: since.map(str::to_owned),
            ..ReplaySession::default()
        }
    }

    fn ended(sessions: &[ReplaySession]) -> Vec<i32> {
        to_end(sessions).iter().map(|it| it.pid).collect()
    }

    #[test]
    fn who_is_ended_first() {
        let locks = ReplaySession {
            blocks: true,
            ..session(3, None, Some("12:00"))
        };
        let old = session(1, Some(9), Some("12:02"));
        let young = session(2, Some(1), Some("12:01"));
        assert_eq!(ended(&[old.clone(), young.clone(), locks]), [3]);
        assert_eq!(ended(&[young, old]), [1]);
        let pins = [
            session(1, None, Some("12:02")),
            session(2, None, Some("12:01")),
        ];
        assert_eq!(ended(&pins), [2]);
        assert_eq!(
            ended(&[session(1, None, None), session(2, None, None)]),
            [1, 2]
        );
        assert_eq!(ended(&[]), Vec::<i32>::new());
    }

    #[test]
    fn what_the_replay_waits_for() {
        for (event, titled, expected) in [
            (Some("IPC:RecoveryConflictSnapshot"), false, true),
            (Some("BufferPin:BufferPin"), false, true),
            (Some("Lock:relation"), false, true),
            (Some("Activity:RecoveryWalStream"), false, false),
            (None, false, false),
            (None, true, true),
        ] {
            assert_eq!(is_held_up(event, titled), expected, "{event:?} {titled}");
        }
    }

    #[test]
    fn a_standby_that_takes_no_session() {
        let seen = |state, set_up_as_standby, replays| Unasked {
            control_state: state,
            set_up_as_standby,
            replays,
        };
        for (what, unasked, expected) in [
            (
                "a standby",
                seen(Some("in archive recovery"), true, true),
                true,
            ),
            (
                "a primary",
                seen(Some("in production"), false, false),
                false,
            ),
            (
                "a crashed primary",
                seen(Some("in crash recovery"), true, true),
                false,
            ),
            (
                "no standby settings",
                seen(Some("in archive recovery"), false, true),
                false,
            ),
            (
                "nothing replays",
                seen(Some("in archive recovery"), true, false),
                false,
            ),
            ("no control file", seen(None, true, true), false),
        ] {
            assert_eq!(unasked.is_in_recovery(), expected, "{what}");
        }
    }

    #[test]
    fn how_a_promotion_is_withdrawn() {
        for (running, primary, back, expected) in [
            (true, true, true, Withdrawal::CameTrue),
            (true, false, true, Withdrawal::TakenBack),
            (true, false, false, Withdrawal::Restart),
            (false, false, true, Withdrawal::Down),
        ] {
            assert_eq!(withdrawal(running, primary, back), expected);
        }
    }

    #[test]
    fn titles() {
        assert!(is_startup(
            "postgres: node102: startup recovering 000000010000000000000003"
        ));
        assert!(is_startup(
            "kingbase: startup process   recovering 000000010000000000000003"
        ));
        assert!(!is_startup("postgres: startup_user shop 10.0.0.1(1) idle"));
        assert!(is_sender(
            "postgres: main: walsender rep 10.0.0.9(4) streaming 0/3000148"
        ));
        assert!(!is_sender(
            "postgres: walsender rep 10.0.0.9(4) catchup 0/3000148"
        ));
        assert!(waits_in(
            "postgres: startup recovering 000000010000000000000003 waiting"
        ));
        assert!(!waits_in(
            "postgres: startup waiting for 000000010000000000000003"
        ));
        let received = position_in("postgres: node102: walreceiver streaming 0/3000148");
        assert_eq!(received, "0/3000148".parse().ok());
        assert_eq!(position_in("postgres: walreceiver"), None);
        for (title, user) in [
            ("postgres: app shop 10.0.0.9(43210) SELECT", Some("app")),
            (
                "postgres: main: app shop [local] idle in transaction",
                Some("app"),
            ),
            ("postgres: main: app shop [local] idle", None),
            ("postgres: walsender rep 10.0.0.9(4) streaming 0/3", None),
            (
                "postgres: wal sender process rep 10.0.0.9(4) streaming 0/3",
                None,
            ),
            ("postgres: checkpointer", None),
        ] {
            let found = client_of(7, title);
            assert_eq!(found.as_ref().map(|it| it.user.as_str()), user, "{title}");
        }
    }
}
