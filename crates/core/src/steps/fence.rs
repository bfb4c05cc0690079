//! The fence step: on the host where it runs no database takes writes any more, and the database
//! VIP is off.

use super::here::Here;
use crate::config::Config;
use crate::deadline::Deadline;
use crate::instance::{Instance, Process, StopError, Stopped, started_by};
use crate::journal::Journal;
use crate::procedure::{self, Done, Frame, Procedure};
use crate::replication::is_in_recovery;
use crate::sql::Session;
use crate::standby::StandbyFiles;
use crate::state::{Claim, FenceMark, failover_mark};
use crate::vip::Did;
use crate::workers;
use anyhow::{Context, Result, bail};
use failover_rules::facts::report::FenceReport;
use failover_rules::plan::failover::{self as plan, MARK_TIME};
use std::net::IpAddr;
use std::time::Duration;

/// How long a server set up as a standby may take to say that it is one.
const ASK_TIME: Duration = Duration::from_millis(500);
/// How long a server that was started again may take to say that it is a standby.
const RESTARTED_TIME: Duration = Duration::from_secs(2);
/// How often it is asked.
const ASK_INTERVAL: Duration = Duration::from_millis(20);
/// How often the port is tried.
const PORT_INTERVAL: Duration = Duration::from_millis(5);

/// The steps, in order.
fn steps<'a>() -> Procedure<Fence<'a>, plan::Fence> {
    let limit =
        |fence: &Fence<'a>, budget| procedure::limit(budget, fence.config(), Duration::ZERO);
    Procedure {
        steps: &plan::FENCE,
        limit,
        carry_out,
    }
}

fn carry_out(step: plan::Fence, fence: &mut Fence<'_>, deadline: Deadline) -> Result<Done> {
    match step {
        plan::Fence::VipOff => vip_off(fence, deadline),
        plan::Fence::Mark => mark(fence, deadline),
        plan::Fence::Stop => stop(fence, deadline),
        plan::Fence::Verify => verify(fence, deadline),
    }
}

/// What the steps work on.
pub struct Fence<'a> {
    here: &'a Here<'a>,
    journal: &'a Journal,
    /// The coordinator's host, if it says so.
    by: Option<IpAddr>,
    standby: bool,
    /// The mark is there, put by this run.
    marked: bool,
    /// That of a failover before this one, which holds still.
    before: Option<FenceMark>,
    report: FenceReport,
}

impl<'a> Fence<'a> {
    fn config(&self) -> &'a Config {
        &self.here.host.config
    }
}

/// Fences this host.
pub fn fence(here: &Here<'_>, by: Option<IpAddr>, frame: Frame<'_>) -> Result<FenceReport> {
    let mut fence = Fence {
        here,
        journal: frame.journal,
        by,
        standby: false,
        marked: false,
        before: None,
        report: FenceReport {
            macs: here.host.macs(),
            ..FenceReport::default()
        },
    };
    let result = procedure::run(&steps(), &mut fence, frame);
    if result.is_err() && fence.marked {
        // Its database goes on as a primary, and has to be able to come back as one.
        take_mark_back(&fence);
    }
    result.map(|()| fence.report)
}

/// Before the stop: whoever starts the server afterwards reads what was there before.
fn mark(fence: &mut Fence<'_>, deadline: Deadline) -> Result<Done> {
    let (here, instance) = (fence.here, &fence.here.instance);
    if follows_a_primary(here, deadline) {
        return Ok(Done::Skipped("it runs as a standby".to_owned()));
    }
    let config = fence.config();
    let mark = failover_mark(config, fence.journal);
    let (state, config, instance) = (here.host.state()?, config.clone(), instance.clone());
    let by = fence.by;
    let marks_hold = is_of_a_fence(here);
    let settings = workers::begin(move || StandbyFiles::of(&instance, &config).fence());
    let state = workers::within(deadline, move || {
        let mut earlier = None;
        let updated = state.update(|state| {
            earlier = state.fenced.clone().filter(|_| marks_hold);
            let before = state.fenced.as_ref().and_then(|it| it.claim);
            let claim = by.map(|by| Claim::next(before, by, mark.at, mark.lasts));
            state.fenced = Some(FenceMark { claim, ..mark });
        });
        updated.map(|state| (state, earlier))
    });
    // Each is worth something without the other.
    let settings = settings.within(deadline);
    fence.marked = true;
    let hangs = "its disk gives no answer in time";
    let (state, earlier) = state.context(hangs)??;
    fence.before = earlier;
    settings.context(hangs)??;
    let claim = state.fenced.and_then(|mark| mark.claim);
    let other = claim.map(|it| it.by).filter(|it| Some(*it) != fence.by);
    let recovered = state.recovery.map(|it| it.primary);
    fence.report.claimed = match (other, recovered) {
        (Some(it), _) => Some(format!(
            "a failover that {it} runs has fenced it a moment before"
        )),
        (None, Some(it)) => Some(format!("it is being made a standby of {it}")),
        (None, None) => None,
    };
    Ok(Done::Did(
        "network_rewind --unfence takes it back".to_owned(),
    ))
}

fn take_mark_back(fence: &Fence<'_>) {
    let instance = fence.here.instance.clone();
    let (host, deadline) = (fence.here.host, Deadline::after(MARK_TIME));
    let Ok(state) = host.state() else { return };
    let (config, run) = (host.config.clone(), fence.journal.run().to_owned());
    let before = fence.before.clone();
    let taken = workers::within(deadline, move || -> Result<()> {
        // Another failover may have fenced it since: its mark stays.
        if state.load()?.fenced.is_some_and(|mark| mark.run != run) {
            return Ok(());
        }
        // What an earlier one has fenced stays so.
        if before.is_none() {
            StandbyFiles::of(&instance, &config).unfence()?;
        }
        state.update(|state| state.fenced = before)?;
        Ok(())
    });
    if !matches!(taken, Some(Ok(()))) {
        fence.journal.stamped(
            "warning: the mark of this fence stays, though the database may run on: \
             network_rewind --unfence there takes it back",
        );
    }
}

fn vip_off(fence: &mut Fence<'_>, deadline: Deadline) -> Result<Done> {
    let Some(vip) = &fence.here.host.vip else {
        return Ok(Done::Skipped("there is no database VIP".to_owned()));
    };
    fence.report.keeps_vip = true;
    let did = fence.here.host.vip_off(vip, deadline)?;
    fence.report.keeps_vip = false;
    Ok(match did {
        Did::Removed => Done::Did(format!("{vip} taken off")),
        _ => Done::AlreadySo(format!("{vip} is not here")),
    })
}

fn stop(fence: &mut Fence<'_>, deadline: Deadline) -> Result<Done> {
    let instance = &fence.here.instance;
    // A second run may find that recovery made a standby of the old primary: that one takes no
    // writes, and is wanted.
    if instance.is_set_up_as_standby() && runs_as_standby(fence.here, deadline.at_most(ASK_TIME)) {
        fence.standby = true;
        fence.report.how = "runs as a standby".to_owned();
        if !is_of_a_fence(fence.here) {
            // Of another primary, which a failover before this one has promoted.
            fence.report.claimed = Some("it runs as a standby already".to_owned());
        }
        return Ok(Done::AlreadySo(fence.report.how.clone()));
    }
    let stopped = match instance.stop(deadline) {
        // None of them runs the server's program any more, and none ever will: that is what fencing
        // is for. Their disk decides when they are gone.
        Err(StopError::Stuck { pids }) => {
            fence.report.how = Stopped::Killed.how().to_owned();
            fence.report.stuck = pids;
            return Ok(Done::Did(fence.report.to_string()));
        }
        stopped => stopped?,
    };
    fence.report.how = stopped.to_string();
    Ok(match stopped.was_down() {
        true => Done::AlreadySo(stopped.to_string()),
        false => Done::Did(stopped.to_string()),
    })
}

/// Whether it runs as a standby by settings that are not those of a fence.
fn follows_a_primary(here: &Here<'_>, deadline: Deadline) -> bool {
    here.instance.is_set_up_as_standby() && !is_of_a_fence(here) && runs_as_standby(here, deadline)
}

fn is_of_a_fence(here: &Here<'_>) -> bool {
    let instance = here.instance.clone();
    let config = here.host.config.clone();
    let limit = Deadline::after(MARK_TIME);
    workers::within(limit, move || {
        StandbyFiles::of(&instance, &config).are_of_a_fence()
    })
    .unwrap_or(false)
}

fn runs_as_standby(here: &Here<'_>, deadline: Deadline) -> bool {
    Session::open(&here.host.sql_target(), deadline)
        .and_then(|session| is_in_recovery(&session, here.instance.flavor, deadline))
        .unwrap_or(false)
}

/// Somebody has started what was stopped. By the mark it is a standby, which takes no writes.
fn started_again(fence: &mut Fence<'_>, processes: &[Process], deadline: Deadline) -> Result<Done> {
    let who = Instance::postmaster(processes).map_or("nobody knows who".to_owned(), started_by);
    let limit = deadline.at_most(RESTARTED_TIME);
    let is_standby = || runs_as_standby(fence.here, limit).then_some(());
    let by_mark = fence.here.instance.is_set_up_as_standby();
    if !(by_mark && limit.poll(ASK_INTERVAL, is_standby).is_some()) {
        let pid = processes.first().map(|it| it.pid).unwrap_or_default();
        bail!("database process {pid} was started again, by {who}: stop that one first");
    }
    fence.report.restarted_by = Some(who);
    Ok(Done::Did(fence.report.to_string()))
}

fn verify(fence: &mut Fence<'_>, deadline: Deadline) -> Result<Done> {
    if fence.standby {
        return Ok(Done::Skipped("it runs as a standby".to_owned()));
    }
    let instance = &fence.here.instance;
    let stuck = &fence.report.stuck;
    // Exactly those, and still stuck.
    let is_stuck = |process: &Process| {
        stuck.contains(&process.pid) && (process.is_stuck() || !process.is_still_there())
    };
    let mut listener = None;
    // The listening socket of one that is stuck takes connections until it ends, and nobody answers.
    let looked = deadline.poll(PORT_INTERVAL, || {
        let mut left = match instance.processes() {
            Ok(left) => left,
            Err(error) => return Some(Err(error)),
        };
        left.retain(|process| !is_stuck(process));
        let over = !left.is_empty() || !stuck.is_empty() || instance.refuses(deadline);
        if !over {
            // Anybody may listen on a port that is free; that makes no database of it.
            listener = instance.stranger_on_its_port();
        }
        (over || listener.is_some()).then_some(Ok(left))
    });
    let left = match looked {
        Some(left) => left?,
        None => bail!(
            "no database process is left, yet something answers on port {}",
            fence.config().kb_port
        ),
    };
    if !left.is_empty() {
        return started_again(fence, &left, deadline);
    }
    fence.report.listener = listener;
    // A run of the recovery that saw a primary here may have put it on again meanwhile.
    if let Some(vip) = &fence.here.host.vip
        && !fence.report.keeps_vip
    {
        fence.report.keeps_vip = fence.here.host.vip_off(vip, deadline).is_err();
    }
    // It was not stopped cleanly, and whoever looks at its disk hangs, too.
    if !fence.report.stuck.is_empty() {
        return Ok(Done::Did(fence.report.to_string()));
    }
    // Only worth something after a clean stop, and no part of being fenced.
    if let Ok(control) = instance.control_data(deadline) {
        // Right after its own promotion the control file may not know yet.
        let in_wal = instance.newest_timeline_in_wal().unwrap_or(0);
        fence.report.timeline = Some(control.timeline.max(in_wal));
        if control.is_clean_primary() {
            fence.report.shutdown_checkpoint = Some(control.checkpoint);
        }
    }
    Ok(Done::Did(fence.report.to_string()))
}
