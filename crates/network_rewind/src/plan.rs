//! What carries out each step of [`failover_rules::plan::recovery`].

use crate::steps::{copy, failover, files, primary, rejoin, rewind, server};
use crate::work::Work;
use anyhow::Result;
use failover_core::deadline::Deadline;
use failover_core::procedure::{self, Done, Procedure};
use failover_rules::plan::recovery::{self, Recovery};
use failover_rules::recovery::Action;
use std::time::Duration;

/// The steps of `action`, in order. None for what changes nothing.
pub fn steps<'a>(action: Action) -> Procedure<Work<'a>, Recovery> {
    Procedure {
        steps: recovery::steps(action),
        limit: |work, budget| procedure::limit(budget, work.config(), Duration::ZERO),
        carry_out,
    }
}

fn carry_out(step: Recovery, work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    match step {
        Recovery::AskPrimary => rejoin::ask_primary(work, deadline),
        Recovery::Can => rewind::can(work, deadline),
        Recovery::Lock => server::lock(work, deadline),
        Recovery::Detach => rejoin::detach(work, deadline),
        Recovery::Stop => server::stop_and_bar(work, deadline),
        Recovery::Clean => server::clean(work, deadline),
        Recovery::Slot => rejoin::reserve_slot(work, deadline),
        Recovery::Checkpoint => rewind::checkpoint(work, deadline),
        Recovery::Keep => rewind::keep(work, deadline),
        Recovery::Mark => rewind::mark(work, deadline),
        Recovery::Rewind => rewind::rewind(work, deadline),
        Recovery::Copy => copy::copy(work, deadline),
        Recovery::Files => files::put_back(work, deadline),
        Recovery::Settings => files::settings(work, deadline),
        Recovery::PidFile => files::pid_file(work, deadline),
        Recovery::DropSlots => files::drop_slots(work, deadline),
        Recovery::Start => server::start(work, deadline),
        Recovery::MakeSlots => files::make_slots(work, deadline),
        Recovery::Streaming => rejoin::streaming(work, deadline),
        Recovery::Sync => rejoin::sync(work, deadline),
        Recovery::Attach => rejoin::attach(work, deadline),
        Recovery::AttachElsewhere => rejoin::attach_elsewhere(work, deadline),
        Recovery::Done => files::done(work, deadline),
        Recovery::PrimarySync => primary::sync(work, deadline),
        Recovery::PrimaryVip => primary::vip_on(work, deadline),
        Recovery::PrimaryForget => primary::forget(work, deadline),
        Recovery::TakeOverAttach => primary::attach(work, deadline),
        Recovery::FailOverAgain => failover::again(work, deadline),
        Recovery::DetachSelf => failover::detach(work, deadline),
        Recovery::SelfFenceVipOff => primary::vip_off(work, deadline),
        Recovery::SelfFenceStop => server::self_fence(work, deadline),
        Recovery::WrongPrimaryVipOff => primary::vip_off(work, deadline),
        Recovery::WrongPrimaryStop => server::stop(work, deadline),
        Recovery::WrongPrimaryAnnounce => primary::announce_there(work, deadline),
        Recovery::FollowReload => server::follow(work, deadline),
        Recovery::StartFiles => files::put_back_if_rewound(work, deadline),
        Recovery::StartStreaming => rejoin::first_look(work, deadline),
        Recovery::WaitReload => server::reload(work, deadline),
        Recovery::TakeOverLook => primary::see_no_other(work, deadline),
        Recovery::TakeOverUnfence => primary::unfence(work, deadline),
        Recovery::TakeOverStart => server::start(work, deadline),
        Recovery::TakeOverConfirm => primary::confirm(work, deadline),
    }
}
