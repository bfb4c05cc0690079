//! A promotion that was asked for: the mark that it leaves, and how it is withdrawn. One that is given up and
//! stays asked for comes true minutes later, beside a primary that was started meanwhile.

use crate::deadline::Deadline;
use crate::host::ThisHost;
use crate::instance::{Instance, START_LOG};
use crate::journal::Journal;
use crate::lsn::Timeline;
use crate::replication::is_in_recovery;
use crate::sql::Session;
use crate::state::{FenceMark, State, StateDir};
use crate::status::recovers;
use crate::vip::Did;
use crate::workers::{self, Pending};
use anyhow::{Context, Result, bail};
use failover_rules::facts::status::is_primary_state;
use failover_rules::promotion::{Withdrawal, withdrawal};
use std::io;
use std::time::Duration;

/// For a withdrawal, the restart of the standby included.
pub const WITHDRAW_TIME: Duration = Duration::from_secs(5);
/// For one answer of a server that may be stuck.
const ANSWER_TIME: Duration = Duration::from_millis(500);
/// For the VIP.
const VIP_TIME: Duration = Duration::from_secs(1);
/// For the mark, on a disk that may hang.
const MARK_TIME: Duration = Duration::from_millis(300);
/// What is said of a disk that gives no answer.
const HANGS: &str = "its disk gives no answer in time";
/// How often a standby that was started is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A mark that is being written.
pub struct Marking(Pending<io::Result<State>>);

impl Marking {
    /// Waits for it.
    ///
    /// # Errors
    /// It cannot be written, or its disk hangs.
    pub fn is_done(self) -> Result<()> {
        let written = self.0.within(Deadline::after(MARK_TIME));
        written.context(HANGS)??;
        Ok(())
    }
}

/// Begins to leave the mark: should this run be killed, the next one knows what it asked for.
pub fn mark(state: StateDir, mark: FenceMark) -> Marking {
    Marking(workers::begin(move || {
        state.update(move |it| it.promotion = Some(mark))
    }))
}

/// Takes it back. `timeline`: the one that the promotion has made, where it has come true (0: it has not);
/// the failover has told of it.
///
/// # Errors
/// It cannot be written, or its disk hangs.
pub fn forget(state: StateDir, timeline: Timeline) -> Result<()> {
    let work = move || {
        state.update(move |it| {
            it.promotion = None;
            it.timeline = it.timeline.max(timeline);
        })
    };
    let done = workers::within(Deadline::after(MARK_TIME), work);
    done.context(HANGS)??;
    Ok(())
}

/// Withdraws what was asked for on this host. The caller has the instance lock.
///
/// # Errors
/// The standby may yet become a primary, or did not come back: what a person has to do.
pub fn withdraw(
    host: &ThisHost,
    instance: &Instance,
    journal: &Journal,
    deadline: Deadline,
) -> Result<Withdrawal> {
    if is_primary(host, instance) {
        journal.stamped("the promotion has come true late: this host is the primary");
        return Ok(Withdrawal::CameTrue);
    }
    vip_off(host, journal);
    let taken_back = instance.take_promotion_back()?;
    let running = !instance.processes()?.is_empty();
    let how = withdrawal(running, running && is_primary(host, instance), taken_back);
    match how {
        Withdrawal::Restart => restart(host, instance, deadline)?,
        Withdrawal::CameTrue | Withdrawal::TakenBack | Withdrawal::Down => {}
    }
    journal.stamped(match how {
        Withdrawal::CameTrue => "the promotion has come true late: this host is the primary",
        Withdrawal::TakenBack => {
            "the promotion is withdrawn: the server had not begun it, and goes on as a standby"
        }
        Withdrawal::Down => "the promotion is withdrawn: the server does not run",
        Withdrawal::Restart => {
            "the promotion is withdrawn: the server was stopped, and started again as a standby"
        }
    });
    Ok(how)
}

/// Whether the server is a primary, by its own word, else by its control file.
fn is_primary(host: &ThisHost, instance: &Instance) -> bool {
    let deadline = Deadline::after(ANSWER_TIME);
    let said = Session::open(&host.sql_target(), deadline)
        .and_then(|session| is_in_recovery(&session, instance.flavor, deadline));
    match said {
        Ok(in_recovery) => !in_recovery,
        Err(_) => instance
            .control_data(Deadline::after(ANSWER_TIME))
            .is_ok_and(|control| is_primary_state(&control.state)),
    }
}

/// A VIP on a host that is no primary sends clients to a database that refuses writes.
fn vip_off(host: &ThisHost, journal: &Journal) {
    let Some(vip) = &host.vip else { return };
    match host.vip_off(vip, Deadline::after(VIP_TIME)) {
        Ok(Did::Removed) => {
            journal.stamped(format!("del VIP on {} again", host.config.kb_localhost_ip));
        }
        Ok(_) => {}
        Err(error) => journal.stamped(format!("warning: the VIP stays: {error}")),
    }
}

/// The server may have read of the promotion, and then nothing takes it back but a new start.
fn restart(host: &ThisHost, instance: &Instance, deadline: Deadline) -> Result<()> {
    instance.stop(deadline.at_most(deadline.remaining() / 2))?;
    let control = instance.control_data(deadline)?;
    if !instance.is_set_up_as_standby() || is_primary_state(&control.state) {
        bail!(
            "a promotion was given up when it was all but done: the database is stopped and stays \
             down, its control file says \"{}\". Find out which host has the data, then start this one \
             as its standby (network_rewind --force)",
            control.state
        );
    }
    let log = host.config.state_dir.join(START_LOG);
    instance.start(&log, deadline)?;
    let comes_up = || {
        let control = instance.control_data(Deadline::after(ANSWER_TIME)).ok()?;
        recovers(instance, Some(&control.state)).then_some(())
    };
    match deadline.poll(LOOK_INTERVAL, comes_up) {
        Some(()) => Ok(()),
        None => bail!(
            "a promotion was given up, the database was stopped, and does not come up as a standby: see {}",
            log.display()
        ),
    }
}

/// What a promotion has left that nobody has seen the end of: its run was killed, or the host went down. The
/// caller has the instance lock, so none is at work.
///
/// # Errors
/// As [`withdraw`].
pub fn clear_up(
    host: &ThisHost,
    instance: &Instance,
    state: &StateDir,
    journal: &Journal,
    deadline: Deadline,
) -> Result<()> {
    let Some(mark) = state.load()?.promotion else {
        return Ok(());
    };
    journal.stamped(format!(
        "run {} asked for a promotion of this host on {} and did not see it through",
        mark.run, mark.since
    ));
    let made = match withdraw(host, instance, journal, deadline)? {
        Withdrawal::CameTrue => instance.newest_timeline_in_wal().unwrap_or(0),
        Withdrawal::TakenBack | Withdrawal::Down | Withdrawal::Restart => 0,
    };
    forget(state.clone(), made)
}
