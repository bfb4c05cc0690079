//! The follow step: on the host of a standby, it follows the new primary; or, held, nobody.
//!
//! A standby that goes on acknowledging an old primary nobody could fence lets that one's clients believe
//! in commits that the new primary will never have. So before anybody's position counts, all that can be
//! reached are held; and as soon as one of them is chosen, the others follow it.

use super::here::Here;
use crate::clock;
use crate::config::Config;
use crate::deadline::Deadline;
use crate::flavor::StandbySettings;
use crate::instance::{Process, START_LOG, terminate};
use crate::journal::Journal;
use crate::lsn::Timeline;
use crate::procedure::{self, Done, Frame, Procedure};
use crate::promotion;
use crate::replication::is_in_recovery;
use crate::slots;
use crate::sql::{Session, Target};
use crate::standby::{NOBODY, Pointed, StandbyFiles};
use crate::state::{FenceMark, Followed, InstanceLock, LockError, StateDir, failover_mark};
use crate::status;
use anyhow::{Context, Result, bail};
use failover_rules::failover::{Back, back_to, follows_another};
use failover_rules::plan::failover::{self as plan, ANSWER_TIME};
use std::net::IpAddr;
use std::time::Duration;

/// How often the server's WAL receivers are looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// So long none may be seen until the last one counts as gone: the server starts another within
/// milliseconds if it does.
const QUIET: Duration = Duration::from_millis(60);

/// Whom to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// The host.
    pub address: IpAddr,
    /// The timeline that its promotion will have, or has; 0: it is the old primary, and the standby was
    /// held for nothing.
    pub timeline: Timeline,
    /// With timeline 0: whom the standby may have been told to follow meanwhile. One that follows yet
    /// another by now was told so by somebody else.
    pub instead_of: Option<IpAddr>,
}

/// Whom the standby is to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Nobody: it is held.
    Nobody {
        /// The timeline that whoever is promoted gets; 0: not known.
        newer: Timeline,
        /// The old primary, which it is not to listen to any more.
        old: Option<IpAddr>,
    },
    /// This one.
    Host(Leader),
}

/// The steps, in order.
fn steps<'a>() -> Procedure<Follow<'a>, plan::Follow> {
    let limit =
        |follow: &Follow<'a>, budget| procedure::limit(budget, follow.config(), Duration::ZERO);
    Procedure {
        steps: &plan::FOLLOW,
        limit,
        carry_out,
    }
}

fn carry_out(step: plan::Follow, follow: &mut Follow<'_>, deadline: Deadline) -> Result<Done> {
    match step {
        plan::Follow::Check => check(follow, deadline),
        plan::Follow::Slot => slot(follow, deadline),
        plan::Follow::Settings => point(follow, deadline),
        plan::Follow::Receiver => leave(follow, deadline),
    }
}

/// What the steps work on.
pub struct Follow<'a> {
    here: &'a Here<'a>,
    journal: &'a Journal,
    whom: Whom,
    /// Why nothing is changed, once that is known.
    nothing: Option<String>,
    /// It goes back to whom another failover had had it follow, which has seen to the rest.
    goes_back: bool,
    /// The server does not run: its settings are for its next start.
    down: bool,
    lock: Option<InstanceLock>,
    /// The receivers of the old primary.
    before: Vec<Process>,
    pointed: Option<Pointed>,
}

impl<'a> Follow<'a> {
    fn config(&self) -> &'a Config {
        &self.here.host.config
    }

    fn files(&self) -> StandbyFiles<'a> {
        StandbyFiles::of(&self.here.instance, self.config())
    }

    fn leave(&mut self, why: impl Into<String>) -> Done {
        let why = why.into();
        self.nothing = Some(why.clone());
        Done::Skipped(why)
    }

    fn leader(&self) -> Option<Leader> {
        match self.whom {
            Whom::Host(leader) => Some(leader),
            Whom::Nobody { .. } => None,
        }
    }

    /// The host to follow; `None`: nobody.
    fn primary(&self) -> Option<IpAddr> {
        self.leader().map(|it| it.address)
    }

    /// It was held for nothing, and listens to the old primary again.
    fn is_let_go(&self) -> bool {
        self.leader().is_some_and(|it| it.timeline == 0)
    }

    fn name(&self) -> String {
        let named = self.primary().map(|it| it.to_string());
        named.unwrap_or_else(|| "nobody".to_owned())
    }
}

/// Has this host's standby follow somebody, or nobody.
pub fn follow(here: &Here<'_>, whom: Whom, frame: Frame<'_>) -> Result<()> {
    let mut context = Follow {
        here,
        journal: frame.journal,
        whom,
        nothing: None,
        goes_back: false,
        down: false,
        lock: None,
        before: Vec::new(),
        pointed: None,
    };
    procedure::run(&steps(), &mut context, frame)
}

fn check(context: &mut Follow<'_>, deadline: Deadline) -> Result<Done> {
    let (host, instance) = (context.here.host, &context.here.instance);
    let state = host.state()?;
    let follows = context.files().follows();
    // Before the lock: what another failover has told it since is not touched, whoever works here.
    if let Some(by_now) = moved_on(context.leader(), follows.as_deref()) {
        return Ok(context.leave(format!("it follows {by_now} by now")));
    }
    if context.is_let_go() {
        match let_go_to(
            state.load().ok().and_then(|it| it.held),
            context.journal.run(),
        ) {
            Back::Nowhere => return Ok(context.leave("another failover holds it by now")),
            Back::Old => {}
            Back::To(before) => go_back(context, &before)?,
        }
    }
    context.lock = match state.lock_for_promotion(deadline.at_most(deadline.remaining() / 2)) {
        Ok(lock) => Some(lock),
        // A log directory that is gone must not stop a failover.
        Err(error @ LockError::Nowhere { .. }) => {
            context.journal.stamped(format!("warning: {error}"));
            None
        }
        Err(error) => {
            // The recovery that has the lock asks for the mark once more before it starts the server.
            let before = is_free(context, &state, follows.as_deref(), deadline)?;
            note(context, &state, before, true)?;
            return Err(error.into());
        }
    };
    if state.rewind_is_unfinished(instance.data()) {
        note(context, &state, None, false)?;
        return Ok(context.leave("a rewind of this node is unfinished: it stays down"));
    }
    // Whoever is promoted now, this host must not be it later.
    if let Err(error) = promotion::clear_up(host, instance, &state, context.journal, deadline) {
        context.journal.stamped(format!(
            "warning: a promotion that was asked for here could not be withdrawn: {error:#}"
        ));
    }
    // It may have been written by who had the lock.
    let follows = context.files().follows();
    let before = is_free(context, &state, follows.as_deref(), deadline)?;
    let now = status::look(host, instance, deadline);
    match now.in_recovery {
        Some(false) => bail!("its database is a primary: it follows nobody"),
        None if !now.running && follows.is_none() => {
            // A recovery of it must not begin from the old primary.
            note(context, &state, before, false)?;
            return Ok(context.leave("its database does not run, and is no standby"));
        }
        None if !now.running => context.down = true,
        None if !instance.is_set_up_as_standby() => {
            bail!("its database gives no answer, and has no standby settings")
        }
        _ => {}
    }
    note(context, &state, before, false)?;
    Ok(Done::Did(match context.down {
        true => "a standby is down".to_owned(),
        false => "a standby runs".to_owned(),
    }))
}

fn let_go_to(held: Option<FenceMark>, run: &str) -> Back<Followed> {
    match held {
        Some(mark) => back_to(
            mark.run == run,
            mark.is_young(clock::seconds()),
            mark.before,
        ),
        None => Back::Old,
    }
}

fn go_back(context: &mut Follow<'_>, before: &Followed) -> Result<()> {
    let address = before.host.parse().ok();
    let address = address.or_else(|| context.config().address_of(&before.host));
    context.whom = Whom::Host(Leader {
        address: address
            .with_context(|| format!("it followed {}, which is none of KB_ALL_IP", before.host))?,
        timeline: before.timeline,
        instead_of: None,
    });
    context.goes_back = true;
    Ok(())
}

/// Whom the standby follows by now, where it was to be let go and somebody else has told it otherwise.
fn moved_on(leader: Option<Leader>, follows: Option<&str>) -> Option<String> {
    let leader = leader.filter(|it| it.timeline == 0)?;
    let host = follows.unwrap_or_default();
    let named = |it: IpAddr| host == it.to_string();
    let ours = host == NOBODY || named(leader.address) || leader.instead_of.is_some_and(named);
    (!ours).then(|| host.to_owned())
}

/// Two failovers may run at once, from two hosts. What one of them has had follow its new primary is not held
/// for the other one, unless that one is no primary yet: then it is told whom the standby goes back to should
/// the other one come to nothing.
fn is_free(
    context: &Follow<'_>,
    state: &StateDir,
    follows: Option<&str>,
    deadline: Deadline,
) -> Result<Option<Followed>> {
    let Whom::Nobody { old: Some(old), .. } = context.whom else {
        return Ok(None);
    };
    let now = clock::seconds();
    let mark = state.load().ok().and_then(|it| it.held);
    let Some(mark) = mark.filter(|it| it.is_young(now)) else {
        return Ok(None);
    };
    // Held already, by this failover or by another one.
    let Some(host) = follows.filter(|it| *it != NOBODY) else {
        return Ok(mark.before);
    };
    let config = context.config();
    let address = host.parse().ok().or_else(|| config.address_of(host));
    if address == Some(old) || mark.run == context.journal.run() {
        return Ok(None);
    }
    let session =
        address.map(|it| Session::open(&Target::new(config, it), deadline.at_most(ANSWER_TIME)));
    let in_recovery = session.and_then(Result::ok).and_then(|session| {
        let flavor = context.here.instance.flavor;
        is_in_recovery(&session, flavor, deadline.at_most(ANSWER_TIME)).ok()
    });
    match follows_another(host, in_recovery) {
        Some(refusal) => bail!(refusal),
        None => Ok(Some(Followed {
            host: host.to_owned(),
            timeline: mark.newer,
        })),
    }
}

/// For the runs of the recovery on this host, which would point it back to the old primary.
fn note(
    context: &Follow<'_>,
    state: &StateDir,
    before: Option<Followed>,
    word_only: bool,
) -> Result<()> {
    let newer = match context.whom {
        Whom::Nobody { newer, .. } => newer,
        Whom::Host(leader) => leader.timeline,
    };
    let held = FenceMark {
        newer,
        before,
        word_only,
        ..failover_mark(context.config(), context.journal)
    };
    let timeline = context.leader().map(|it| it.timeline);
    state.update(|state| {
        state.held = (timeline != Some(0)).then_some(held);
        // Should it be promoted before the history has come: not to the same number.
        state.timeline = state.timeline.max(timeline.unwrap_or(0));
    })?;
    Ok(())
}

fn slot(context: &mut Follow<'_>, deadline: Deadline) -> Result<Done> {
    if let Some(why) = &context.nothing {
        return Ok(Done::Skipped(why.clone()));
    }
    let Some(primary) = context.primary() else {
        return Ok(Done::Skipped("it is to follow nobody".to_owned()));
    };
    // It may be dead, and nobody waits for that.
    if context.goes_back || context.is_let_go() {
        return Ok(Done::Skipped(format!("{primary} has had it all along")));
    }
    let Some(slot) = context.files().primary_slot() else {
        return Ok(Done::Skipped("its settings name no slot".to_owned()));
    };
    let session = Session::open(&Target::new(context.config(), primary), deadline)?;
    let names = context.here.instance.flavor;
    slots::reserve(&session, names, &slot, deadline)
        .with_context(|| format!("failed to reserve WAL on {primary}"))
}

fn point(context: &mut Follow<'_>, _: Deadline) -> Result<Done> {
    if let Some(why) = &context.nothing {
        return Ok(Done::Skipped(why.clone()));
    }
    let instance = &context.here.instance;
    context.before = instance.wal_receivers()?;
    let files = context.files();
    let pointed = match context.primary() {
        Some(primary) => files.point_to(primary)?,
        None => files.point_to_nobody()?,
    };
    context.pointed = Some(pointed);
    let whom = context.name();
    Ok(match pointed {
        Pointed::Changed => Done::Did(format!("they name {whom}")),
        Pointed::AlreadySo => Done::AlreadySo(format!("they name {whom}")),
    })
}

/// The server reads the new settings at once, and yet ends its receiver only when its replay has run out
/// of WAL: until then one that lags, or whose replay is paused, goes on acknowledging. So the receiver is
/// ended, and the server starts the next one with the new settings.
fn leave(context: &mut Follow<'_>, deadline: Deadline) -> Result<Done> {
    if let Some(why) = &context.nothing {
        return Ok(Done::Skipped(why.clone()));
    }
    if context.down {
        return Ok(Done::Skipped("its database does not run".to_owned()));
    }
    let instance = &context.here.instance;
    if context.pointed == Some(Pointed::AlreadySo) && context.primary().is_some() {
        return Ok(Done::AlreadySo(format!("it follows {}", context.name())));
    }
    let how = match instance.flavor.standby_settings {
        StandbySettings::Configuration { reloads_from, .. }
            if instance.version().is_some_and(|it| it >= reloads_from) =>
        {
            instance.reload()?;
            end_receivers(context, deadline)?;
            "reloaded"
        }
        _ => {
            restart(context, deadline)?;
            "restarted"
        }
    };
    let whom = context.name();
    context.journal.stamped(format!(
        "{} follows {whom}: its database was {how}",
        context.config().kb_localhost_ip
    ));
    Ok(Done::Did(how.to_owned()))
}

fn end_receivers(context: &Follow<'_>, deadline: Deadline) -> Result<()> {
    let instance = &context.here.instance;
    let mut quiet: Option<Deadline> = None;
    let gone = deadline.poll(LOOK_INTERVAL, || {
        let mut left = match instance.wal_receivers() {
            Ok(left) => left,
            Err(error) => return Some(Err(error)),
        };
        // Another one may be that of the new primary already.
        if context.primary().is_some() {
            left.retain(|it| context.before.contains(it));
        }
        left.iter().for_each(terminate);
        match (left.is_empty(), quiet) {
            (false, _) => quiet = None,
            (true, None) => quiet = Some(Deadline::after(QUIET)),
            (true, Some(since)) if since.passed() => return Some(Ok(())),
            (true, Some(_)) => {}
        }
        None
    });
    match gone {
        Some(result) => Ok(result?),
        None => bail!("its WAL receiver did not end in time: it may still hear the old primary"),
    }
}

fn restart(context: &Follow<'_>, deadline: Deadline) -> Result<()> {
    let (host, instance) = (context.here.host, &context.here.instance);
    instance.stop(deadline.at_most(deadline.remaining() / 2))?;
    let log = host.config.state_dir.join(START_LOG);
    instance.start(&log, deadline)?;
    let answers = deadline.poll(LOOK_INTERVAL, || {
        let now = status::look(host, instance, deadline.at_most(ANSWER_TIME));
        (now.in_recovery == Some(true)).then_some(())
    });
    match answers {
        Some(()) => Ok(()),
        None => bail!(
            "its database was restarted and gave no answer in time: see {}",
            log.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_held_for_nothing_goes_back_to_where_it_was() {
        let before = Followed {
            host: "192.168.1.102".to_owned(),
            timeline: 2,
        };
        let mark = |run: &str, at, before| FenceMark {
            since: String::new(),
            at,
            run: run.to_owned(),
            lasts: 60,
            newer: 2,
            claim: None,
            before,
            word_only: false,
        };
        let now = clock::seconds();
        let theirs = |at| Some(mark("theirs", at, Some(before.clone())));
        let taken = Some(mark("ours", now, Some(before.clone())));
        for (what, held, expected) in [
            (
                "nobody else has told it",
                Some(mark("ours", now, None)),
                Back::Old,
            ),
            ("taken from another one", taken, Back::To(before.clone())),
            ("taken by another one", theirs(now), Back::Nowhere),
            ("by one of long ago", theirs(0), Back::Old),
            ("no mark", None, Back::Old),
        ] {
            assert_eq!(let_go_to(held, "ours"), expected, "{what}");
        }
    }
}
