//! A server in recovery, seen without a session: its startup process, its WAL receiver, the sessions that
//! hold its replay up, and the file by which a promotion is asked for.
//!
//! A standby can be promoted although it takes no session: it waits for a snapshot, all its connections are
//! in use, or a lock on a catalogue is being replayed.

use crate::deadline::Deadline;
use crate::instance::{Instance, Process, descendants, on_disk, process, send};
use crate::lsn::Lsn;
use failover_rules::promotion::{
    ReplaySession, client_of, is_sender, is_startup, position_in, waits_in,
};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// The files by which a promotion is asked for: the servers' own programs make one or the other.
const PROMOTION_FILES: [&str; 2] = ["promote", "promote.signal"];
/// The first version that forgets a promotion whose file is gone before its startup process looked.
const FORGETS_WITHOUT_FILE: u32 = 130_000;

/// In which the system counts, for programs: a hundredth of a second, on every machine.
const TICKS: u64 = 100;

/// The process that replays, and what its title says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Startup {
    /// The process.
    pub process: Process,
    /// It says that it waits for a session.
    pub waits: bool,
}

/// A program that the startup process waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    /// The process.
    pub process: Process,
    /// Its command line.
    pub command: String,
    /// How long it has been at work.
    pub age: Duration,
}

impl Instance {
    /// The process that replays; `None`: none does.
    ///
    /// # Errors
    /// The processes cannot be looked at.
    pub fn startup(&self) -> io::Result<Option<Startup>> {
        let found = self.processes()?.into_iter().find_map(|process| {
            let title = title_of(process.pid);
            is_startup(&title).then(|| Startup {
                waits: waits_in(&title),
                process,
            })
        });
        Ok(found)
    }

    /// What its WAL receiver has received, by its title.
    pub fn received_by_title(&self) -> Option<Lsn> {
        let receivers = self.wal_receivers().ok()?;
        receivers
            .iter()
            .find_map(|it| position_in(&title_of(it.pid)))
    }

    /// The programs that `startup` waits for, `restore_command` above all; those without children of their
    /// own first.
    pub fn helpers(&self, startup: &Process) -> Vec<Helper> {
        let family = descendants(std::slice::from_ref(startup));
        let is_parent = |pid: i32| family.iter().any(|it| it.parent == pid);
        let mut found: Vec<(bool, Helper)> = family
            .iter()
            .map(|it| {
                let helper = Helper {
                    process: it.clone(),
                    command: title_of(it.pid),
                    age: age_of(it),
                };
                (is_parent(it.pid), helper)
            })
            .collect();
        found.sort_by_key(|(is_parent, _)| *is_parent);
        found.into_iter().map(|(_, helper)| helper).collect()
    }

    /// The sessions of clients that are in the middle of something, by their processes' titles: for a
    /// server that takes no session of ours.
    ///
    /// # Errors
    /// The processes cannot be looked at.
    pub fn busy_sessions(&self) -> io::Result<Vec<ReplaySession>> {
        let all = self.processes()?.into_iter();
        Ok(all
            .filter_map(|it| client_of(it.pid, &title_of(it.pid)))
            .collect())
    }

    /// Whether a standby streams from it, by the titles of its WAL senders.
    ///
    /// # Errors
    /// The processes cannot be looked at.
    pub fn sends_wal(&self) -> io::Result<bool> {
        let all = self.processes()?;
        Ok(all.iter().any(|it| is_sender(&title_of(it.pid))))
    }

    /// Ends the session that process `pid` of this server serves. False: it is none of its processes.
    ///
    /// # Errors
    /// The processes cannot be looked at.
    pub fn end_session(&self, pid: i32) -> io::Result<bool> {
        let is_there = self.processes()?.iter().any(|it| it.pid == pid);
        if is_there {
            send(Signal::SIGTERM, pid);
        }
        Ok(is_there)
    }

    /// Ends a program that the startup process waits for.
    pub fn end_helper(&self, helper: &Helper) {
        if helper.process.is_still_there() {
            send(Signal::SIGKILL, helper.process.pid);
        }
    }

    /// Whether it is the one that replays: without it the server takes sessions all the same.
    pub fn is_startup(process: &Process) -> bool {
        is_startup(&title_of(process.pid))
    }

    /// A process of the server that is stopped (SIGSTOP), and without which nothing is promoted.
    pub fn stopped_process(&self) -> Option<Process> {
        let processes = self.processes().ok()?;
        let postmaster = Self::postmaster(&processes).map(|it| it.pid);
        processes
            .into_iter()
            .find(|it| it.stopped && (Some(it.pid) == postmaster || is_startup(&title_of(it.pid))))
    }

    /// Takes back a promotion that was asked for, and of which the server has not read yet. False: it has
    /// read of it, or may have.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn take_promotion_back(&self) -> io::Result<bool> {
        let mut was_there = false;
        for name in PROMOTION_FILES {
            match fs::remove_file(self.data().join(name)) {
                Ok(()) => was_there = true,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let forgets = self
            .version()
            .is_some_and(|version| version >= FORGETS_WITHOUT_FILE);
        Ok(was_there && forgets)
    }

    /// Whether a promotion is asked for that the server has not read of.
    pub fn promotion_is_asked_for(&self) -> bool {
        let data = self.data().to_owned();
        on_disk(move || PROMOTION_FILES.iter().any(|name| data.join(name).exists()))
            .unwrap_or(false)
    }

    /// Waits until the server has ended by itself. False: it goes on.
    pub fn ends_within(&self, deadline: Deadline) -> bool {
        let interval = Duration::from_millis(10);
        let gone = deadline.poll(interval, || self.processes().ok()?.is_empty().then_some(()));
        gone.is_some()
    }
}

/// The command line of a process; the server's own write what they do into theirs.
fn title_of(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    text.trim_end().to_owned()
}

/// How long ago a process was started.
fn age_of(process: &Process) -> Duration {
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime
        .split_whitespace()
        .next()
        .and_then(|it| it.parse::<f64>().ok());
    let started = Duration::from_millis(process.start.saturating_mul(1000) / TICKS);
    Duration::try_from_secs_f64(seconds.unwrap_or_default())
        .unwrap_or_default()
        .saturating_sub(started)
}

/// How long this process has been there, from its shell on: a login's own scripts run before us, and whoever
/// gave the order has been waiting since.
pub fn time_since_login() -> Duration {
    let own = i32::try_from(std::process::id()).ok().and_then(process);
    let Some(own) = own else {
        return Duration::ZERO;
    };
    let is_shell = |it: &Process| {
        let exe = fs::read_link(format!("/proc/{}/exe", it.pid)).unwrap_or_default();
        let name = exe.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with("sh")
    };
    let shell = process(own.parent).filter(is_shell);
    shell.map_or_else(|| age_of(&own), |it| age_of(&it).max(age_of(&own)))
}
