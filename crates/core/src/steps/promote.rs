//! The promote step: this host becomes the primary. Every part asks first whether its goal holds,
//! so that a second run ends where the first would have.

use super::candidate::{LEAST_TIME, Promote, Promotion, Timelines};
use super::held_up::{Replay, Seen};
use super::here::Here;
use crate::deadline::Deadline;
use crate::instance::Instance;
use crate::lsn::{Lsn, Timeline};
use crate::procedure::{self, Done, Frame, Procedure};
use crate::process::RunError;
use crate::promotion::{self, WITHDRAW_TIME};
use crate::replication::is_in_recovery;
use crate::slots;
use crate::sql::{Session, SqlError, SqlFailure};
use crate::standby::StandbyFiles;
use crate::state::{LockError, StateDir, failover_mark};
use crate::status::recovers;
use crate::synchronous::{Place, number, show, to_async, to_async_by_file, waited_for};
use crate::vip::Did;
use crate::workers::{self, Pending};
use anyhow::{Context, Error, Result, anyhow, bail};
use failover_rules::facts::report::PromoteReport;
use failover_rules::failover::{self, lag_refusal};
use failover_rules::plan::failover::{self as plan, ANSWER_TIME, VIP_TIME};
use failover_rules::promotion::Withdrawal;
use std::time::Duration;

/// How often the server is asked for what it is about to become.
const ASK_INTERVAL: Duration = Duration::from_millis(10);
/// A server under load may owe an answer for a while; one that is frozen owes it for good.
const SILENCE: Duration = Duration::from_secs(10);
/// A promotion that arrives while the WAL receiver dies can be slept through by the server, for
/// up to `wal_retrieve_retry_interval` (5 s): after this long it is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(300);
/// Between two looks at what it waits for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// For a login. A server that lives gives one in milliseconds; one that takes none can be promoted, too.
const LOGIN_TIME: Duration = Duration::from_millis(800);
/// For a few small files.
const FILES_TIME: Duration = Duration::from_millis(500);
/// For the other standbys, which were told to follow this host, to stream from it: the promotion stands,
/// and commits hang meanwhile.
const FOLLOWER_TIME: Duration = Duration::from_millis(1500);
/// How often they are looked for.
const FOLLOWER_INTERVAL: Duration = Duration::from_millis(20);

/// The steps, in order.
fn steps<'a>() -> Procedure<Promote<'a>, plan::Promote> {
    Procedure {
        steps: &plan::PROMOTE,
        limit: Promote::limit,
        carry_out,
    }
}

fn carry_out(step: plan::Promote, promote: &mut Promote<'_>, deadline: Deadline) -> Result<Done> {
    match step {
        plan::Promote::Check => check(promote, deadline),
        plan::Promote::WaitWal => wait_wal(promote, deadline),
        plan::Promote::VipOn => vip_on(promote, deadline),
        plan::Promote::Promote => promote_database(promote, deadline),
        plan::Promote::Async => degrade(promote, deadline),
        plan::Promote::Slot => keep_slot(promote, deadline),
        plan::Promote::Checkpoint => checkpoint(promote, deadline),
        plan::Promote::Announce => announce(promote),
    }
}

/// Makes this host the primary.
pub fn promote(here: &Here<'_>, order: &Promotion, frame: Frame<'_>) -> Result<PromoteReport> {
    let mut context = Promote {
        here,
        order,
        journal: frame.journal,
        deadline: frame.deadline,
        lock: None,
        session: None,
        unasked: None,
        asked: false,
        promoted: false,
        already: false,
        vip_on: false,
        timelines: None,
        own_timeline: None,
    };
    // The promotion has a time of its own.
    let frame = Frame {
        deadline: Deadline::after(
            frame.deadline.remaining() + here.host.config.promote_timeout + 4 * LEAST_TIME,
        ),
        ..frame
    };
    let result = procedure::run(&steps(), &mut context, frame);
    match (&result, context.asked) {
        (Err(_), true) => withdraw(&context),
        (Err(_), false) if context.vip_on && !context.promoted => take_vip_back(&context),
        _ => {}
    }
    let mut timelines = None;
    if context.promoted {
        // At the end: each write that is synced costs the clients milliseconds. Until then a run that is
        // killed leaves the mark, and the next one sees that the promotion has come true.
        let newest = newest_timeline(&context);
        timelines = context
            .own_timeline
            .map(|own| (own, newest))
            .filter(|(own, _)| *own < newest);
        forget_promotion(&context, newest);
        // One that was asked for again may not have been read.
        let _ = context.here.instance.take_promotion_back();
    }
    result.map(|()| PromoteReport {
        already: context.already,
        timelines,
    })
}

/// A promotion that is given up must not come true later, beside another primary.
fn withdraw(context: &Promote<'_>) {
    let (here, journal) = (context.here, context.journal);
    let deadline = Deadline::after(WITHDRAW_TIME);
    match promotion::withdraw(here.host, &here.instance, journal, deadline) {
        Ok(Withdrawal::CameTrue) => forget_promotion(context, newest_timeline(context)),
        Ok(Withdrawal::TakenBack | Withdrawal::Down | Withdrawal::Restart) => {
            forget_promotion(context, 0);
        }
        Err(error) => journal.stamped(format!(
            "warning: the promotion could not be withdrawn, and may come true later: {error:#}"
        )),
    }
}

fn newest_timeline(context: &Promote<'_>) -> Timeline {
    context.here.instance.newest_timeline_in_wal().unwrap_or(0)
}

/// `made`: the timeline of the promotion, where it has come true.
fn forget_promotion(context: &Promote<'_>, made: Timeline) {
    let Ok(state) = context.here.host.state() else {
        return;
    };
    if let Err(error) = promotion::forget(state, made) {
        context.journal.stamped(format!(
            "warning: the mark of this promotion stays: {error:#}"
        ));
    }
}

/// A VIP on a host that did not become primary sends clients to a database that refuses writes.
/// Unless it did become primary after all: asked for, late, and not seen in time.
fn take_vip_back(context: &Promote<'_>) {
    let deadline = Deadline::after(VIP_TIME);
    let Some(vip) = &context.here.host.vip else {
        return;
    };
    // In a session of its own: ours may be what failed.
    let primary = Session::open(&context.here.host.sql_target(), deadline)
        .and_then(|session| is_in_recovery(&session, context.names(), deadline))
        .is_ok_and(|in_recovery| !in_recovery);
    if primary {
        return;
    }
    let deadline = Deadline::after(VIP_TIME);
    match context.here.host.vip_off(vip, deadline) {
        Ok(_) => context
            .journal
            .stamped(format!("del VIP on {} again", context.me())),
        Err(error) => context
            .journal
            .stamped(format!("warning: the VIP stays: {error}")),
    }
}

fn check(context: &mut Promote<'_>, deadline: Deadline) -> Result<Done> {
    let state = context.here.host.state()?;
    // Before the lock, too: a recovery that has begun its rewind does not let go of it.
    is_whole(&state, &context.here.instance)?;
    // Half of the time: a recovery that lets go starts the standby again, which then has to answer.
    let patience = deadline.at_most(deadline.remaining() / 2);
    context.lock = match state.lock_for_promotion(patience) {
        Ok(lock) => Some(lock),
        // A log directory that is gone must not stop a failover.
        Err(error @ LockError::Nowhere { .. }) => {
            context.journal.stamped(format!("warning: {error}"));
            None
        }
        Err(error) => return Err(error.into()),
    };
    is_whole(&state, &context.here.instance)?;
    if let Err(error) = log_in(context, deadline.at_most(LOGIN_TIME)) {
        do_without_session(context, error, deadline)?;
        is_as_seen(context)?;
        return Ok(Done::Did("the database is in recovery".to_owned()));
    }
    context.already = !context.is_in_recovery(deadline)?;
    if context.already {
        is_successor(context, deadline)?;
        return Ok(Done::AlreadySo("it is a primary already".to_owned()));
    }
    is_as_seen(context)?;
    let names = context.names();
    let session = context.session()?;
    match session.truth(&format!("SELECT {}()", names.is_replay_paused), deadline) {
        Ok(true) => {
            session.query(&format!("SELECT {}()", names.replay_resume), deadline)?;
            context.journal.stamped("replay was paused, resumed");
        }
        Ok(false) => {}
        // Hardly ever it is, and a question that the server does not take must not end a failover.
        Err(error) if matches!(error.failure, SqlFailure::Server { .. }) => {
            context.journal.stamped(format!(
                "warning: whether replay is paused is not known: {error}"
            ))
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Done::Did(
        "the database answers and is in recovery".to_owned(),
    ))
}

fn log_in(context: &mut Promote<'_>, deadline: Deadline) -> Result<(), SqlError> {
    let session = Session::open(&context.here.host.sql_target(), deadline)?;
    session.value("select 33333", deadline)?;
    context.session = Some(session);
    Ok(())
}

/// A standby need not take a session to be promoted: `error` is why ours was not taken.
fn do_without_session(
    context: &mut Promote<'_>,
    error: SqlError,
    deadline: Deadline,
) -> Result<()> {
    let instance = &context.here.instance;
    let control = instance.control_data(deadline)?;
    let stopped = instance.stopped_process();
    if stopped.is_some() || !recovers(instance, Some(&control.state)) {
        return Err(error.into());
    }
    context.journal.stamped(format!(
        "its database takes no session, and is in recovery by its control file and its processes: it is \
         promoted all the same ({error})"
    ));
    context.unasked = Some(error.to_string());
    Ok(())
}

/// What a rewind has begun and not finished is no history at all.
fn is_whole(state: &StateDir, instance: &Instance) -> Result<()> {
    if state.rewind_is_unfinished(instance.data()) {
        bail!(
            "a rewind of this node is unfinished: its data is half of another history and must \
             not be promoted; let network_rewind finish it, or promote another node"
        );
    }
    Ok(())
}

/// Two failovers may run at once, from two hosts. Whoever follows what the other one has promoted must not
/// become a second primary.
fn is_as_seen(context: &Promote<'_>) -> Result<()> {
    // Of a version before this one, or of a person: nothing was seen.
    let seen = context.order.newest_timeline;
    let own = newest_timeline(context);
    match failover::promoted_since(own, seen).filter(|_| seen > 0) {
        Some(refusal) => bail!(refusal),
        None => Ok(()),
    }
}

/// A primary that was there when we came has to be the old one's successor: else it is one that
/// somebody started, and lacks what was written since.
fn is_successor(context: &Promote<'_>, deadline: Deadline) -> Result<()> {
    let instance = &context.here.instance;
    let control = instance.control_data(deadline)?;
    let own = control
        .timeline
        .max(instance.newest_timeline_in_wal().unwrap_or(0));
    match context.order.old_timeline {
        Some(old) if own <= old => bail!(
            "it is a primary already, on timeline {own}, and the old primary was one on timeline \
             {old}: it is not its successor. Find out which of the two has the data, stop the \
             other, and let that one be recovered"
        ),
        _ => Ok(()),
    }
}

fn wait_wal(context: &mut Promote<'_>, deadline: Deadline) -> Result<Done> {
    let Some(target) = context.order.wait_for.filter(|_| !context.already) else {
        return Ok(Done::Skipped("no shutdown checkpoint is known".to_owned()));
    };
    let names = context.names();
    let question = format!("SELECT {}(), {}()", names.last_receive, names.last_replay);
    let mut have = Lsn::default();
    if context.unasked.is_some() {
        return Ok(wait_wal_unasked(context, target, deadline));
    }
    let session = context.session()?;
    // A server that stops answering is an error, not a lag.
    let arrived = deadline.poll(ASK_INTERVAL, || {
        match session.row::<2>(&question, Deadline::after(ANSWER_TIME)) {
            Ok(row) => {
                have = row
                    .iter()
                    .flatten()
                    .filter_map(|text| text.parse().ok())
                    .max()
                    .unwrap_or_default();
                // The record begins at the checkpoint's position and has to be there whole.
                (have > target).then_some(Ok(()))
            }
            Err(error) => Some(Err(error)),
        }
    });
    match arrived {
        Some(result) => {
            result?;
            Ok(Done::Did(format!(
                "the shutdown checkpoint at {target} is here"
            )))
        }
        None => {
            let missing = target.since(have);
            if let Some(refusal) = lag_refusal(missing, context.config().max_failover_lag) {
                bail!(refusal);
            }
            let text = format!(
                "{missing} bytes of WAL of the old primary are missing here (at {have}, its \
                 shutdown checkpoint is at {target})"
            );
            context.journal.stamped(format!("warning: {text}"));
            Ok(Done::Did(text))
        }
    }
}

/// The same by the title of the WAL receiver: that of a primary which was stopped cleanly has sent all of it.
fn wait_wal_unasked(context: &Promote<'_>, target: Lsn, deadline: Deadline) -> Done {
    let instance = &context.here.instance;
    let mut have = None;
    let arrived = deadline.poll(ASK_INTERVAL, || {
        have = instance.received_by_title().max(have);
        (have > Some(target)).then_some(())
    });
    let text = match (arrived, have) {
        (Some(()), _) => return Done::Did(format!("the shutdown checkpoint at {target} is here")),
        (None, Some(have)) => format!(
            "it was last seen to receive {have}, the shutdown checkpoint of the old primary is at {target}"
        ),
        (None, None) => format!(
            "whether the shutdown checkpoint of the old primary at {target} is here is not known: the \
             database takes no session, and no WAL receiver runs"
        ),
    };
    context.journal.stamped(format!("warning: {text}"));
    Done::Did(text)
}

fn vip_on(context: &mut Promote<'_>, deadline: Deadline) -> Result<Done> {
    let host = context.here.host;
    let Some(vip) = &host.vip else {
        return Ok(Done::Skipped("there is no database VIP".to_owned()));
    };
    let (journal, me) = (context.journal, context.me());
    journal.stamped(format!("add VIP on {me}"));
    context.vip_on = true;
    context.timelines = Some(look_at_timelines(context));
    let did = host.vip_on(vip, deadline)?;
    match did {
        Did::Added => {
            journal.line(format!(
                "ADD VIP NOW AT {} ON {}",
                crate::clock::stamp(),
                vip.dev
            ));
            journal.line(format!(
                "execute: [{}]",
                vip.add_command(&host.programs.ip()?)
            ));
        }
        _ => journal.line(format!("{vip} is on this host already")),
    }
    match context.announce(vip) {
        Ok(lines) => lines.iter().for_each(|line| journal.line(line)),
        Err(error) => journal.stamped(format!("warning: {error}")),
    }
    Ok(match did {
        Did::Added => Done::Did(format!("{vip} on {}", vip.dev)),
        _ => Done::AlreadySo(format!("{vip} was here")),
    })
}

fn promote_database(context: &mut Promote<'_>, deadline: Deadline) -> Result<Done> {
    let (journal, names, me) = (context.journal, context.names(), context.me());
    let before = context.deadline.remaining();
    journal.stamped(format!("promote begin...let {me} become master"));
    if context.already {
        journal.line(format!(
            "{} is primary already, nothing to promote",
            names.server
        ));
        return Ok(Done::AlreadySo("it was a primary".to_owned()));
    }
    if context.unasked.is_none() {
        journal.line("check db if is alive");
        context.select_33333("  ", deadline.at_most(ANSWER_TIME))?;
        journal.stamped(format!(
            "{} is ok , to prepare execute promote",
            names.server
        ));
    }
    // Both wait for the disk.
    let (reserved, marked) = (reserve_timelines(context), mark_promotion(context));
    context.own_timeline = say_what_is_reserved(context, reserved, deadline);
    say_what_is_marked(context, marked);
    journal.line("execute promote");
    context.asked = true;
    // A program that hangs may have asked all the same; one that failed has not.
    match context.ask_for_promotion(deadline) {
        Ok(_) | Err(RunError::TimedOut { .. }) => journal.line("server promoting"),
        Err(error) => {
            release_timelines(context);
            if asks_nothing(&error) && !context.here.instance.promotion_is_asked_for() {
                context.asked = false;
                forget_promotion(context, 0);
            }
            return Err(error.into());
        }
    }
    let times = wait_until_promoted(context, deadline);
    release_timelines(context);
    let times = times?;
    context.asked = false;
    context.promoted = true;
    if context.unasked.take().is_some() {
        let _ = log_in(context, Deadline::after(ANSWER_TIME));
    }
    // The promotion's own time is not the failover's.
    context.deadline = Deadline::after(before);
    // From here on nothing ends the run: it is the primary, and what follows has to be done.
    if let Some(vip) = &context.here.host.vip
        && let Err(error) = context.announce(vip)
    {
        journal.stamped(format!("warning: {error}"));
    }
    journal.line("check db if is alive after promote");
    match context.select_33333("  ", Deadline::after(ANSWER_TIME)) {
        Ok(()) => {
            journal.stamped(format!(
                "after execute promote , {} status is ok.",
                names.server
            ));
            journal.line(format!("after execute promote, {} is ok.", names.server));
        }
        Err(error) => journal.stamped(format!("warning: it is promoted, but {error:#}")),
    }
    Ok(Done::Did(match times {
        1 => "out of recovery".to_owned(),
        times => format!("out of recovery, asked for {times} times"),
    }))
}

/// For the next run, should this one be killed before it has seen the end.
fn mark_promotion(context: &Promote<'_>) -> Result<promotion::Marking> {
    let mark = failover_mark(context.config(), context.journal);
    Ok(promotion::mark(context.here.host.state()?, mark))
}

fn say_what_is_marked(context: &Promote<'_>, marking: Result<promotion::Marking>) {
    if let Err(error) = marking.and_then(promotion::Marking::is_done) {
        context.journal.stamped(format!(
            "warning: should this run be killed, nobody would know that it asked for a promotion: {error:#}"
        ));
    }
}

/// This host's own timeline, and the newest that any host is known to have: asked for while the VIP is put
/// on, since the program that tells takes some 10 ms.
fn look_at_timelines(context: &Promote<'_>) -> Pending<Result<Timelines>> {
    let (instance, newest) = (context.here.instance.clone(), context.order.newest_timeline);
    let state = context.here.host.state();
    workers::begin(move || {
        let told = state.ok().and_then(|state| state.load().ok());
        let newest = told.map_or(0, |state| state.timeline).max(newest);
        let control = instance.control_data(Deadline::after(FILES_TIME))?;
        let own = control.timeline.max(control.min_recovery_timeline);
        let in_wal = instance.newest_timeline_in_wal().unwrap_or(0);
        let own = own.max(in_wal);
        Ok(Timelines { own, newest })
    })
}

/// Two timelines of one number, from one position, look the same to every tool there is.
fn reserve_timelines(context: &mut Promote<'_>) -> Pending<Result<Reserved>> {
    let looked = context.timelines.take();
    let looked = looked.unwrap_or_else(|| look_at_timelines(context));
    let instance = context.here.instance.clone();
    workers::begin(move || {
        let found = looked.within(Deadline::after(FILES_TIME));
        let Timelines { own, newest } = found.context("its files give no answer in time")??;
        let number = instance.reserve_timelines(own, newest)?;
        Ok(Reserved {
            number,
            newest,
            own,
        })
    })
}

/// Timelines that the promotion leaves out, up to `newest`.
struct Reserved {
    number: u32,
    newest: Timeline,
    own: Timeline,
}

/// The timeline that this host is on, where that was seen.
fn say_what_is_reserved(
    context: &Promote<'_>,
    reserved: Pending<Result<Reserved>>,
    deadline: Deadline,
) -> Option<Timeline> {
    let found = reserved.within(deadline.at_most(FILES_TIME));
    let own = found.as_ref().and_then(|it| Some(it.as_ref().ok()?.own));
    match found {
        Some(Ok(Reserved { number: 0, .. })) => {}
        Some(Ok(Reserved { number, newest, .. })) => context.journal.stamped(format!(
            "{number} timelines up to {newest} are another host's: their numbers are left out"
        )),
        Some(Err(error)) => context.journal.stamped(format!(
            "warning: the new timeline may have a number that another host has used: {error:#}"
        )),
        None => context
            .journal
            .stamped("warning: the numbers of timelines could not be looked at in time"),
    }
    own
}

fn release_timelines(context: &Promote<'_>) {
    let instance = context.here.instance.clone();
    let released = workers::within(Deadline::after(FILES_TIME), move || {
        instance.release_timelines()
    });
    if let Some(Err(error)) = released {
        context.journal.stamped(format!(
            "warning: a file that reserves a timeline's number stays in the WAL directory: {error}"
        ));
    }
}

/// Whether the program that asks for a promotion has ended by itself without having done so. Then there is
/// nothing to withdraw, and the standby goes on.
fn asks_nothing(error: &RunError) -> bool {
    const KILLED: i32 = 128;
    match error {
        RunError::NotStarted { .. } => true,
        RunError::Failed { code, .. } => *code < KILLED,
        RunError::TimedOut { .. } | RunError::Unreachable { .. } => false,
    }
}

/// How often the promotion had to be asked for until the server was out of recovery.
fn wait_until_promoted(context: &mut Promote<'_>, deadline: Deadline) -> Result<u32> {
    let mut times = 1;
    let mut look = Deadline::after(ASK_AGAIN);
    let mut silence = Deadline::after(SILENCE);
    let mut replay = Replay::default();
    let promoted = deadline.poll(ASK_INTERVAL, || {
        match context.is_in_recovery(deadline.at_most(ANSWER_TIME)) {
            Ok(false) => return Some(Ok(())),
            Ok(true) => silence = Deadline::after(SILENCE),
            // The end of recovery may close a session; the next look opens another.
            Err(error) if silence.passed() => return Some(Err(error)),
            Err(_) => {}
        }
        if !look.passed() {
            return None;
        }
        look = Deadline::after(LOOK_AGAIN);
        match replay.see_to(context, deadline) {
            Ok(Seen::GoesOn) => {}
            Ok(Seen::AskAgain) => {
                times += 1;
                // Its failure shows in that the server stays in recovery.
                let _ = context.ask_for_promotion(deadline);
                look = Deadline::after(ASK_AGAIN);
            }
            Err(error) => return Some(Err(error)),
        }
        None
    });
    match promoted {
        Some(Ok(())) => Ok(times),
        Some(Err(error)) => Err(error),
        None => bail!(
            "still in recovery {} s after the promotion was asked for: see the server's log, and \
             raise PROMOTE_TIMEOUT if it replays",
            context.config().promote_timeout.as_secs()
        ),
    }
}

fn degrade(context: &mut Promote<'_>, deadline: Deadline) -> Result<Done> {
    context.journal.stamped("sync to async");
    let (config, instance) = (context.config(), &context.here.instance);
    let files = StandbyFiles::of(instance, config);
    let Some(session) = &context.session else {
        return to_async_by_file(instance, &files, config.sync_degrade, context.journal);
    };
    if context.order.followers > 0 {
        // Those that are being pointed to this host need a moment to stream from it.
        let patience = deadline.at_most(FOLLOWER_TIME);
        let needed = number(&show(session, patience)?);
        let _ = patience.poll(FOLLOWER_INTERVAL, || {
            match waited_for(session, context.names(), None, patience) {
                Ok(all) if all.len() < needed => None,
                // An error shows below, where it counts.
                found => Some(found),
            }
        });
    }
    let place = Place {
        session,
        names: context.names(),
        files: Some((instance, &files)),
        new: true,
        journal: context.journal,
    };
    to_async(place, config.sync_degrade, None, deadline)
}

fn keep_slot(context: &mut Promote<'_>, deadline: Deadline) -> Result<Done> {
    let Some(slot) = context
        .order
        .old_primary
        .and_then(|address| context.config().slot_name_of(address))
    else {
        return Ok(Done::Skipped("no old primary was named".to_owned()));
    };
    slots::reserve(context.session()?, context.names(), &slot, deadline).map_err(Error::from)
}

fn checkpoint(context: &mut Promote<'_>, deadline: Deadline) -> Result<Done> {
    let (journal, names) = (context.journal, context.names());
    journal.stamped("make checkpoint");
    journal.line("check the db to see if it is alive");
    context.select_33333(" ", deadline)?;
    journal.stamped(format!(
        "{} is ok , to prepare execute checkpoint",
        names.server
    ));
    journal.line("execute checkpoint");
    // A session of its own: the one we have must not wait behind it, and no time limit may end it.
    let worker = Session::open(&context.here.host.sql_target(), deadline)?;
    worker.query("SET statement_timeout = 0", deadline)?;
    let wait = context.config().checkpoint_wait;
    match worker.query("CHECKPOINT", Deadline::after(wait)) {
        Ok(_) => journal.line("CHECKPOINT"),
        Err(error) if matches!(error.failure, SqlFailure::Silent(_)) => {
            let text = format!(
                "the checkpoint was not done within {} ms, it goes on in the server",
                wait.as_millis()
            );
            journal.stamped(&text);
            return Ok(Done::Did(text));
        }
        Err(error) => return Err(anyhow!(error)),
    }
    journal.line("check the db to see if it is alive after execute checkpoint");
    context.select_33333("  ", Deadline::after(LEAST_TIME))?;
    journal.stamped(format!("after execute checkpoint, {} is ok.", names.server));
    journal.line(format!("after execute checkpoint, {} is ok.", names.server));
    Ok(Done::Did("written".to_owned()))
}

fn announce(context: &Promote<'_>) -> Result<Done> {
    let Some(vip) = &context.here.host.vip else {
        return Ok(Done::Skipped("there is no database VIP".to_owned()));
    };
    context.announce(vip)?;
    Ok(Done::Did(format!("{vip} announced")))
}
