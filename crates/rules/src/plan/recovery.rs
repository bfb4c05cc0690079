//! The steps of each action of a recovery.

use super::{Budget, Step, budget, may_fail, step};
use crate::recovery::Action;

/// The steps of all actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each row of the list says what it does")]
pub enum Recovery {
    AskPrimary,
    Can,
    Lock,
    Detach,
    Stop,
    Clean,
    Slot,
    Checkpoint,
    Keep,
    Mark,
    Rewind,
    Copy,
    Files,
    Settings,
    PidFile,
    DropSlots,
    Start,
    MakeSlots,
    Streaming,
    Sync,
    Attach,
    AttachElsewhere,
    Done,
    PrimarySync,
    PrimaryVip,
    PrimaryForget,
    TakeOverAttach,
    FailOverAgain,
    DetachSelf,
    SelfFenceVipOff,
    SelfFenceStop,
    WrongPrimaryVipOff,
    WrongPrimaryStop,
    WrongPrimaryAnnounce,
    FollowReload,
    StartFiles,
    StartStreaming,
    WaitReload,
    TakeOverLook,
    TakeOverUnfence,
    TakeOverStart,
    TakeOverConfirm,
}

type Row = Step<Recovery>;

const ASK_PRIMARY: Row = step(
    "recover.ask-primary",
    "see that the primary answers and is one, and that the pool still names it",
    Recovery::AskPrimary,
    Budget::Of(budget::ANSWER.saturating_add(budget::POOL)),
);
const CAN: Row = step(
    "recover.can",
    "see that it can work: WAL back to the fork, hint bits logged or checksums, space",
    Recovery::Can,
    Budget::Of(budget::CAN),
);
const LOCK: Row = step(
    "recover.lock",
    "take the instance lock; see that the instance is still as it was",
    Recovery::Lock,
    Budget::Of(budget::ANSWER),
);
const DETACH: Row = step(
    "recover.detach",
    "detach this node from the pool, if it is up there",
    Recovery::Detach,
    Budget::Of(budget::ATTACH),
);
const STOP: Row = step(
    "recover.stop",
    "stop the database: fast, then immediate, then SIGKILL; see that nobody starts it",
    Recovery::Stop,
    Budget::Of(budget::STOP),
);
const CLEAN: Row = step(
    "recover.clean",
    "bring the database to a clean shutdown, by crash recovery if need be",
    Recovery::Clean,
    Budget::Of(budget::CRASH_RECOVERY),
);
const SLOT: Row = step(
    "recover.slot",
    "see that the primary keeps WAL for this node in its replication slot",
    Recovery::Slot,
    Budget::Of(budget::ANSWER),
);
const CHECKPOINT: Row = step(
    "recover.checkpoint",
    "see that the primary's control file has its timeline, by a checkpoint if need be",
    Recovery::Checkpoint,
    Budget::Of(budget::CHECKPOINT),
);
const KEEP: Row = step(
    "recover.keep",
    "keep this node's WAL and logical slots aside",
    Recovery::Keep,
    Budget::Of(budget::KEEP),
);
const MARK: Row = step(
    "recover.mark",
    "write the mark: half rewound, the database must not start",
    Recovery::Mark,
    Budget::Of(budget::FILES),
);
const REWIND: Row = step(
    "recover.rewind",
    "rewind the data directory to the primary's history",
    Recovery::Rewind,
    Budget::Of(budget::REWIND),
);
const COPY: Row = step(
    "recover.copy",
    "copy the primary beside the data directory, and swap the two",
    Recovery::Copy,
    Budget::Of(budget::COPY),
);
const FILES: Row = step(
    "recover.files",
    "put this node's own files back",
    Recovery::Files,
    Budget::Of(budget::FILES),
);
const SETTINGS: Row = step(
    "recover.settings",
    "point the standby settings to the primary",
    Recovery::Settings,
    Budget::Of(budget::FILES),
);
const PID_FILE: Row = step(
    "recover.pid-file",
    "remove a stale pid file",
    Recovery::PidFile,
    Budget::Of(budget::FILES),
);
const DROP_SLOTS: Row = step(
    "recover.drop-slots",
    "drop the physical replication slots, the logical ones stay",
    Recovery::DropSlots,
    Budget::Of(budget::FILES),
);
const START: Row = step(
    "recover.start",
    "start the database, and wait until it answers",
    Recovery::Start,
    Budget::Of(budget::START),
);
const MAKE_SLOTS: Row = step(
    "recover.make-slots",
    "create those slots again",
    Recovery::MakeSlots,
    Budget::Of(budget::SETTING),
);
const STREAMING: Row = step(
    "recover.streaming",
    "wait until the primary shows this node streaming, within DATA_SIZE_DIFF",
    Recovery::Streaming,
    Budget::Of(budget::CATCH_UP),
);
const SYNC: Row = step(
    "recover.sync",
    "make the primary synchronous, if SYNC_FLAG wants it and it is not",
    Recovery::Sync,
    Budget::Of(budget::SETTING),
);
const ATTACH: Row = step(
    "recover.attach",
    "attach this node to the pool, and wait until the pool shows it up",
    Recovery::Attach,
    Budget::Of(budget::ATTACH),
);
/// After the first pool has attached it: newer pools tell each other.
const ATTACH_ELSEWHERE: Row = step(
    "recover.attach-elsewhere",
    "attach this node to each other pool that has it down",
    Recovery::AttachElsewhere,
    Budget::Of(budget::ATTACH),
);
const DONE: Row = step(
    "recover.done",
    "forget what was kept",
    Recovery::Done,
    Budget::Of(budget::FILES),
);
/// Before the VIP: commits that hang are an outage, whoever has the address.
const PRIMARY_SYNC: Row = step(
    "primary.sync",
    "what commits wait for: standbys that stream, or none",
    Recovery::PrimarySync,
    Budget::Of(budget::SETTING),
);
const PRIMARY_VIP: Row = step(
    "primary.vip",
    "put the database VIP on, if it is not here and nobody else has it",
    Recovery::PrimaryVip,
    Budget::Of(budget::VIP),
);
const PRIMARY_FORGET: Row = step(
    "primary.forget",
    "forget a recovery that a promotion has overtaken, and why it was stopped once",
    Recovery::PrimaryForget,
    Budget::Of(budget::FILES),
);
const TAKE_OVER_ATTACH: Row = step(
    "take-over.attach",
    "attach this node to the pool, where one answers, or tell it that this is the primary",
    Recovery::TakeOverAttach,
    Budget::Of(budget::ATTACH),
);
const FAIL_OVER_AGAIN: Row = step(
    "failover.again",
    "run the failover again that came to nothing: failover_stream, by its own rules",
    Recovery::FailOverAgain,
    Budget::FailoverAnd(budget::FAILOVER_SLACK),
);
const DETACH_SELF: Row = step(
    "failover.detach",
    "detach this node, which the pool takes for its primary",
    Recovery::DetachSelf,
    Budget::Of(budget::ATTACH),
);
const SELF_FENCE_VIP_OFF: Row = step(
    "self-fence.vip-off",
    "take the database VIP off",
    Recovery::SelfFenceVipOff,
    Budget::Of(budget::VIP),
);
const SELF_FENCE_STOP: Row = step(
    "self-fence.stop",
    "stop the database",
    Recovery::SelfFenceStop,
    Budget::Of(budget::SELF_FENCE),
);
const WRONG_PRIMARY_VIP_OFF: Row = step(
    "wrong-primary.vip-off",
    "take the database VIP off",
    Recovery::WrongPrimaryVipOff,
    Budget::Of(budget::VIP),
);
const WRONG_PRIMARY_STOP: Row = step(
    "wrong-primary.stop",
    "stop the database",
    Recovery::WrongPrimaryStop,
    Budget::Of(budget::STOP),
);
const WRONG_PRIMARY_ANNOUNCE: Row = step(
    "wrong-primary.announce",
    "have the primary's host announce the database VIP",
    Recovery::WrongPrimaryAnnounce,
    Budget::Of(budget::OTHER_HOST),
);
const FOLLOW_RELOAD: Row = step(
    "follow.reload",
    "have the server follow the primary: reload, or restart where it needs that",
    Recovery::FollowReload,
    Budget::Of(budget::START),
);
const START_FILES: Row = step(
    "start.files",
    "put this node's own files back, if a recovery has not come to it",
    Recovery::StartFiles,
    Budget::Of(budget::FILES),
);
const START_STREAMING: Row = step(
    "start.streaming",
    "give it a moment to stream",
    Recovery::StartStreaming,
    Budget::Of(budget::FIRST_LOOK),
);
const WAIT_RELOAD: Row = step(
    "wait.reload",
    "have the server read its settings, which a killed run may have left unread",
    Recovery::WaitReload,
    Budget::Of(budget::ANSWER),
);
const TAKE_OVER_LOOK: Row = step(
    "take-over.look",
    "see once more, now under the lock, that no other host is or becomes a primary",
    Recovery::TakeOverLook,
    Budget::Of(budget::OTHER_HOST),
);
const TAKE_OVER_UNFENCE: Row = step(
    "take-over.unfence",
    "take back the mark of a failover that promoted nobody",
    Recovery::TakeOverUnfence,
    Budget::Of(budget::FILES),
);
const TAKE_OVER_START: Row = step(
    "take-over.start",
    "start the database",
    Recovery::TakeOverStart,
    Budget::Of(budget::START),
);
const TAKE_OVER_CONFIRM: Row = step(
    "take-over.confirm",
    "stop it again, if another host has become a primary meanwhile",
    Recovery::TakeOverConfirm,
    Budget::Of(budget::OTHER_HOST),
);

const RECOVER: [Row; 23] = [
    ASK_PRIMARY,
    CAN,
    LOCK,
    DETACH,
    STOP,
    CLEAN,
    SLOT,
    CHECKPOINT,
    KEEP,
    MARK,
    REWIND,
    COPY,
    FILES,
    SETTINGS,
    PID_FILE,
    DROP_SLOTS,
    START,
    may_fail(MAKE_SLOTS),
    STREAMING,
    SYNC,
    ATTACH,
    may_fail(ATTACH_ELSEWHERE),
    DONE,
];

const SELF_FENCE: [Row; 2] = [may_fail(SELF_FENCE_VIP_OFF), SELF_FENCE_STOP];

const KEEP_PRIMARY: [Row; 4] = [
    PRIMARY_SYNC,
    PRIMARY_FORGET,
    PRIMARY_VIP,
    may_fail(ATTACH_ELSEWHERE),
];

const WAIT: [Row; 2] = [SLOT, may_fail(WAIT_RELOAD)];

const STOP_WRONG_PRIMARY: [Row; 5] = [
    ASK_PRIMARY,
    LOCK,
    // It may be on both.
    may_fail(WRONG_PRIMARY_VIP_OFF),
    WRONG_PRIMARY_STOP,
    may_fail(WRONG_PRIMARY_ANNOUNCE),
];

const FOLLOW: [Row; 9] = [
    ASK_PRIMARY,
    LOCK,
    SLOT,
    SETTINGS,
    FOLLOW_RELOAD,
    STREAMING,
    SYNC,
    ATTACH,
    may_fail(ATTACH_ELSEWHERE),
];

const START_FOLLOWING: [Row; 5] = [
    LOCK,
    START_FILES,
    may_fail(SETTINGS),
    START,
    may_fail(START_STREAMING),
];

const SHOW_PRIMARY: [Row; 5] = [
    LOCK,
    PRIMARY_SYNC,
    PRIMARY_VIP,
    TAKE_OVER_ATTACH,
    PRIMARY_FORGET,
];

const TAKE_OVER: [Row; 6] = [
    LOCK,
    TAKE_OVER_LOOK,
    PRIMARY_SYNC,
    PRIMARY_VIP,
    TAKE_OVER_ATTACH,
    PRIMARY_FORGET,
];

const START_AND_TAKE_OVER: [Row; 9] = [
    LOCK,
    TAKE_OVER_LOOK,
    TAKE_OVER_UNFENCE,
    TAKE_OVER_START,
    TAKE_OVER_CONFIRM,
    PRIMARY_SYNC,
    PRIMARY_VIP,
    TAKE_OVER_ATTACH,
    PRIMARY_FORGET,
];

/// The steps of `action`, in order. None for what changes nothing.
pub const fn steps(action: Action) -> &'static [Row] {
    match action {
        Action::Nothing | Action::Refuse | Action::NeedsPerson => &[],
        Action::FailOver { .. } => &[FAIL_OVER_AGAIN],
        Action::Detach => &[DETACH_SELF],
        Action::SelfFence => &SELF_FENCE,
        Action::KeepPrimary => &KEEP_PRIMARY,
        Action::StopWrongPrimary { .. } => &STOP_WRONG_PRIMARY,
        Action::Recover { .. } => &RECOVER,
        Action::Follow { .. } => &FOLLOW,
        Action::Start { .. } => &START_FOLLOWING,
        Action::StartStandby => &[LOCK, START_FILES, START],
        Action::Rejoin { .. } => &[ASK_PRIMARY, SYNC, ATTACH, ATTACH_ELSEWHERE],
        Action::Wait { .. } => &WAIT,
        Action::ShowPrimary => &SHOW_PRIMARY,
        Action::TakeOver { start: false } => &TAKE_OVER,
        // One that ran when this was decided, and does not any more, was fenced meanwhile.
        Action::TakeOver { start: true } => &START_AND_TAKE_OVER,
    }
}
