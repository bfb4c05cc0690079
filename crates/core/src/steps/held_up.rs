//! What keeps a promotion waiting in the server, and is ended: sessions that hold the replay up, a
//! `restore_command` that hangs.

use super::candidate::Promote;
use crate::deadline::Deadline;
use crate::instance::{Process, START_LOG};
use crate::lsn::Lsn;
use crate::replay::{Helper, Startup};
use crate::replication::{replay_sessions, replay_waits_for};
use crate::standby::StandbyFiles;
use anyhow::{Result, bail};
use failover_rules::plan::failover::ANSWER_TIME;
use failover_rules::promotion::{ReplaySession, is_held_up, to_end};
use std::time::Duration;

/// A program that the startup process has waited for so long hangs: the next segment from an archive comes
/// sooner, and an outage is no time for patience.
const HANGS_AFTER: Duration = Duration::from_secs(3);
/// Once one has hung, the next one hangs sooner: the server asks for several files at the end of its recovery.
const HANGS_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// For a startup process that has lost its program to end with it.
const END_TIME: Duration = Duration::from_millis(200);
/// For the server to end after it.
const STOP_TIME: Duration = Duration::from_secs(2);
/// How often they are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// For the server to come back after that.
const START_TIME: Duration = Duration::from_secs(10);

/// What is to be done next.
pub enum Seen {
    /// It replays, or was helped to.
    GoesOn,
    /// Nothing is left that it could wait for: the promotion was slept through.
    AskAgain,
}

/// What was seen of the replay before.
#[derive(Default)]
pub struct Replay {
    /// A program has hung.
    hung: bool,
}

impl Replay {
    /// Looks at what the server waits for instead of being promoted, and ends that.
    ///
    /// # Errors
    /// It has ended, and does not come back.
    pub fn see_to(&mut self, context: &mut Promote<'_>, deadline: Deadline) -> Result<Seen> {
        let instance = &context.here.instance;
        let Ok(startup) = instance.startup() else {
            return Ok(Seen::GoesOn);
        };
        let Some(startup) = startup else {
            // A script may have taken its time to tell the server that its program was ended.
            if self.hung && instance.processes().is_ok_and(|it| it.is_empty()) {
                start_again(context, deadline)?;
            }
            return Ok(Seen::GoesOn);
        };
        if let Some(helper) = self.hanging(context, &startup.process) {
            self.hung = true;
            end_helper(context, &startup.process, &helper, deadline)?;
            return Ok(Seen::GoesOn);
        }
        if end_sessions(context, &startup, deadline) {
            return Ok(Seen::GoesOn);
        }
        Ok(match nothing_left(context, deadline.at_most(ANSWER_TIME)) {
            true => Seen::AskAgain,
            false => Seen::GoesOn,
        })
    }

    /// A program that the startup process waits for, and that hangs.
    fn hanging(&self, context: &Promote<'_>, startup: &Process) -> Option<Helper> {
        let patience = match self.hung {
            true => HANGS_AGAIN_AFTER,
            false => HANGS_AFTER,
        };
        let instance = &context.here.instance;
        // At the end of its recovery the server may run another command, and what that one does is not known.
        let restores = instance.is_set_up_as_standby()
            || files(context)
                .of_the_server("recovery_end_command")
                .is_none();
        let mut helpers = instance.helpers(startup).into_iter().filter(|_| restores);
        helpers.find(|it| it.age >= patience)
    }
}

/// Whether all that was received is replayed, as far as that is known.
fn nothing_left(context: &Promote<'_>, deadline: Deadline) -> bool {
    if context.unasked.is_some() {
        return true;
    }
    let names = context.names();
    let question = format!("SELECT {}(), {}()", names.last_receive, names.last_replay);
    let position = |text: Option<String>| text.and_then(|text| text.parse::<Lsn>().ok());
    let answer = context.session().map(|it| it.row::<2>(&question, deadline));
    matches!(answer, Ok(Ok([received, replayed])) if position(replayed.clone()) >= position(received.clone()))
}

/// Ends the sessions that the replay waits for. False: it waits for none.
fn end_sessions(context: &Promote<'_>, startup: &Startup, deadline: Deadline) -> bool {
    let pid = startup.process.pid;
    let limit = deadline.at_most(ANSWER_TIME);
    let names = context.names();
    let session = context.session.as_ref();
    let event = session.and_then(|it| replay_waits_for(it, names, pid, limit).ok()?);
    if !is_held_up(event.as_deref(), startup.waits) {
        return false;
    }
    let known = session.and_then(|it| replay_sessions(it, names, pid, limit).ok());
    let known = known.unwrap_or_else(|| context.here.instance.busy_sessions().unwrap_or_default());
    for it in to_end(&known) {
        end_session(context, it);
    }
    true
}

fn end_session(context: &Promote<'_>, session: &ReplaySession) {
    match context.here.instance.end_session(session.pid) {
        Ok(true) => context.journal.stamped(format!(
            "the session of {session} holds up the replay, and with it the promotion: it is ended"
        )),
        Ok(false) => {}
        Err(error) => context.journal.stamped(format!(
            "warning: the session of {session} holds up the replay and cannot be ended: {error}"
        )),
    }
}

/// A shell takes the end of what it has started for a file that is not in the archive. Without a shell the
/// server takes it for an order to end, and is started again without an archive.
fn end_helper(
    context: &mut Promote<'_>,
    startup: &Process,
    helper: &Helper,
    deadline: Deadline,
) -> Result<()> {
    let (here, journal) = (context.here, context.journal);
    let pid = helper.process.pid;
    journal.stamped(format!(
        "restore_command hangs (process {pid}, {} s: {}), and with it the promotion: it is ended",
        helper.age.as_secs(),
        helper.command
    ));
    here.instance.end_helper(helper);
    let gone = deadline
        .at_most(END_TIME)
        .poll(LOOK_INTERVAL, || (!startup.is_still_there()).then_some(()));
    match gone {
        Some(()) => start_again(context, deadline),
        None => Ok(()),
    }
}

fn files<'a>(context: &Promote<'a>) -> StandbyFiles<'a> {
    StandbyFiles::of(&context.here.instance, context.config())
}

fn start_again(context: &mut Promote<'_>, deadline: Deadline) -> Result<()> {
    let (here, journal) = (context.here, context.journal);
    let instance = &here.instance;
    let limit = deadline.at_most(START_TIME);
    if !instance.ends_within(limit.at_most(STOP_TIME)) {
        instance.stop(limit)?;
    }
    journal.stamped(
        "the server has ended with its restore_command: it is started again as a standby, without one \
         until its next start",
    );
    context.session = None;
    let log = here.host.config.state_dir.join(START_LOG);
    let files = files(context);
    // At the very end of its recovery the server has taken the mark of a standby away.
    files.fence()?;
    match files.forget_archive()? {
        true => instance.start(&log, limit)?,
        false => instance.start_without_archive(&log, limit)?,
    };
    let up = limit.poll(Duration::from_millis(20), || {
        instance.startup().ok().flatten().map(drop)
    });
    if up.is_none() {
        bail!(
            "the server does not come up without its restore_command: see {}",
            log.display()
        );
    }
    // Its signals are understood once it has begun to replay; it is asked until it is heard.
    let _ = context.ask_for_promotion(deadline);
    Ok(())
}
