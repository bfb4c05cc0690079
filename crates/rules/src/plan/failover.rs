//! The steps of a failover: the coordinator's, and those that it has done on other hosts.

use super::{Budget, Step, may_fail, step};
use std::time::Duration;

/// How long the trust IP may take.
pub const TRUST_IP_TIME: Duration = Duration::from_secs(2);
/// For enough of the other hosts to show life: `PROBE_TIMEOUT`, and what it takes to begin.
pub const QUORUM_TIME: Duration = Duration::from_secs(2);
/// For the standbys to stop listening to an old primary that nobody could fence.
pub const HOLD_TIME: Duration = Duration::from_millis(1500);
/// After the promotion, for the other standbys to follow.
pub const FOLLOW_TIME: Duration = Duration::from_millis(1500);
/// For a pool that does not wait for us to be told of the new primary, and to show it.
pub const SHOW_TIME: Duration = Duration::from_secs(30);
/// What a promotion may take beyond its budget and `PROMOTE_TIMEOUT`: the least time of its last
/// steps, and the way back.
pub const PROMOTION_SLACK: Duration = Duration::from_secs(3);
/// For the end of a fence that has begun and is late: without it nobody is promoted, and the old primary is
/// down.
pub const LAST_LOOK: Duration = Duration::from_millis(1500);
/// For one answer of a server that lives.
pub const ANSWER_TIME: Duration = Duration::from_secs(2);
/// For `ip`, which takes milliseconds.
pub const VIP_TIME: Duration = Duration::from_secs(1);
/// For a few bytes of state and settings, on disks that may hang.
pub const MARK_TIME: Duration = Duration::from_millis(500);
/// For the old primary's last WAL to arrive after its clean stop.
pub const WAL_TIME: Duration = Duration::from_secs(1);
/// For the reload, or the restart where the server's version needs one.
pub const SERVER_TIME: Duration = Duration::from_secs(4);

/// The steps of the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each row of the list says what it does")]
pub enum Coordinator {
    TrustIp,
    Quorum,
    Fence,
    Hold,
    Choose,
    Promote,
    Follow,
    Watch,
    Attach,
}

const TRUST_IP: Step<Coordinator> = step(
    "trust-ip",
    "see that this host has a network: one trust IP answers",
    Coordinator::TrustIp,
    Budget::Of(TRUST_IP_TIME),
);
const QUORUM: Step<Coordinator> = step(
    "quorum",
    "of three or more hosts, see more than half",
    Coordinator::Quorum,
    Budget::Of(QUORUM_TIME),
);

/// A primary is down.
pub const COORDINATOR: [Step<Coordinator>; 9] = [
    TRUST_IP,
    QUORUM,
    step(
        "fence",
        "fence the old primary, if a standby can be promoted; look at who has the VIP",
        Coordinator::Fence,
        Budget::HalfOfFailover,
    ),
    step(
        "hold",
        "if the old primary may be writing: have every standby stop listening to it",
        Coordinator::Hold,
        Budget::Of(HOLD_TIME),
    ),
    step(
        "choose",
        "choose the standby to promote",
        Coordinator::Choose,
        Budget::Rest,
    ),
    step(
        "promote",
        "promote it, with the database VIP",
        Coordinator::Promote,
        Budget::PromotionAnd(PROMOTION_SLACK),
    ),
    // The promotion stands, and the minute's run makes up for it.
    may_fail(step(
        "follow",
        "see that the other standbys follow it",
        Coordinator::Follow,
        Budget::Of(FOLLOW_TIME),
    )),
    // Its own minute's run does the same, only later.
    may_fail(step(
        "watch",
        "if the old primary's own host did not fence it: leave a watch, which has that host look as soon \
         as it answers",
        Coordinator::Watch,
        Budget::Of(ANSWER_TIME),
    )),
    // The promotion stands, and a person can do it.
    may_fail(step(
        "attach",
        "see that the pool finds it: queue its attachment, or tell a pool that looks no more",
        Coordinator::Attach,
        Budget::Of(SHOW_TIME),
    )),
];

/// The steps where a standby is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each row of the list says what it does")]
pub enum StandbyDown {
    TrustIp,
    Quorum,
    FindPrimary,
    Look,
    Async,
    Sender,
}

/// A standby is down.
pub const STANDBY_DOWN: [Step<StandbyDown>; 6] = [
    step(
        TRUST_IP.name,
        TRUST_IP.what,
        StandbyDown::TrustIp,
        TRUST_IP.budget,
    ),
    step(QUORUM.name, QUORUM.what, StandbyDown::Quorum, QUORUM.budget),
    step(
        "standby.find-primary",
        "find the primary and log in",
        StandbyDown::FindPrimary,
        Budget::Of(ANSWER_TIME),
    ),
    step(
        "standby.look",
        "see, several times, whether another standby streams",
        StandbyDown::Look,
        Budget::Rest,
    ),
    step(
        "standby.async",
        "have commits wait for no more standbys than stream",
        StandbyDown::Async,
        Budget::Rest,
    ),
    // The server does it, too: after wal_sender_timeout.
    may_fail(step(
        "standby.sender",
        "if it gives no answer and commits still wait for it: have the primary end its connection",
        StandbyDown::Sender,
        Budget::Of(ANSWER_TIME),
    )),
];

/// The steps on the old primary's host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each row of the list says what it does")]
pub enum Fence {
    VipOff,
    Mark,
    Stop,
    Verify,
}

/// The old primary is fenced.
pub const FENCE: [Step<Fence>; 4] = [
    // A VIP that stays is bad, a database that goes on writing is worse.
    may_fail(step(
        "fence.vip-off",
        "take the database VIP off",
        Fence::VipOff,
        Budget::Of(VIP_TIME),
    )),
    // What is stopped now may be started again; what goes on writing is worse.
    may_fail(step(
        "fence.mark",
        "leave a mark, and settings by which whoever starts the database gets a standby",
        Fence::Mark,
        Budget::Of(MARK_TIME),
    )),
    step(
        "fence.stop",
        "stop the database: fast, then immediate, then SIGKILL",
        Fence::Stop,
        Budget::HalfOfFailover,
    ),
    step(
        "fence.verify",
        "see that no process is left and that the port refuses",
        Fence::Verify,
        Budget::HalfOfFailover,
    ),
];

/// The steps on the host of a standby that is held, or follows the new primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each row of the list says what it does")]
pub enum Follow {
    Check,
    Slot,
    Settings,
    Receiver,
}

/// A standby follows another host, or nobody.
pub const FOLLOW: [Step<Follow>; 4] = [
    step(
        "follow.check",
        "take the instance lock; see that the standby runs, and is one",
        Follow::Check,
        Budget::Of(ANSWER_TIME),
    ),
    // The stream may do without, and the minute's run makes it.
    may_fail(step(
        "follow.slot",
        "see that the new primary keeps WAL for this node in its replication slot",
        Follow::Slot,
        Budget::Of(ANSWER_TIME),
    )),
    step(
        "follow.settings",
        "point the standby settings to the new primary, or to nobody",
        Follow::Settings,
        Budget::Of(ANSWER_TIME),
    ),
    step(
        "follow.receiver",
        "have the server take them, and see that it hears the old primary no more",
        Follow::Receiver,
        Budget::Of(SERVER_TIME),
    ),
];

/// The steps on the new primary's host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each row of the list says what it does")]
pub enum Promote {
    Check,
    WaitWal,
    VipOn,
    Promote,
    Async,
    Slot,
    Checkpoint,
    Announce,
}

/// A standby becomes the primary.
pub const PROMOTE: [Step<Promote>; 8] = [
    step(
        "promote.check",
        "take the instance lock; see that the database answers and may be promoted",
        Promote::Check,
        Budget::Of(ANSWER_TIME),
    ),
    step(
        "promote.wait-wal",
        "after a clean stop, wait for the shutdown checkpoint of the old primary",
        Promote::WaitWal,
        Budget::Of(WAL_TIME),
    ),
    step(
        "promote.vip-on",
        "put the database VIP on and announce it",
        Promote::VipOn,
        Budget::Of(VIP_TIME),
    ),
    step(
        "promote.promote",
        "promote, and wait until the database is out of recovery",
        Promote::Promote,
        Budget::PromotionAnd(Duration::ZERO),
    ),
    may_fail(step(
        "promote.async",
        "go on asynchronously where no standby streams",
        Promote::Async,
        Budget::Of(ANSWER_TIME),
    )),
    may_fail(step(
        "promote.slot",
        "keep WAL for the old primary in its replication slot",
        Promote::Slot,
        Budget::Of(ANSWER_TIME),
    )),
    may_fail(step(
        "promote.checkpoint",
        "write a checkpoint, so that a rewind sees the new timeline",
        Promote::Checkpoint,
        Budget::CheckpointAnd(ANSWER_TIME),
    )),
    may_fail(step(
        "promote.announce",
        "announce the database VIP once more",
        Promote::Announce,
        Budget::Of(VIP_TIME),
    )),
];
