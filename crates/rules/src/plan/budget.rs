//! How long each step of a recovery may take: the one table, which docs/recovery.md repeats. Long steps
//! say in the log how far they are.

use std::time::Duration;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One answer of a database that lives.
pub const ANSWER: Duration = seconds(5);
/// The pool, which lets sessions wait while it fails over.
pub const POOL: Duration = seconds(5);
/// The pools beside the one that answered, side by side.
pub const POOLS: Duration = seconds(2);
/// All trust IPs together.
pub const TRUST_IP: Duration = seconds(2);
/// What another host says of itself, its ssh login included.
pub const OTHER_HOST: Duration = seconds(10);
/// `ip`, or `vip_ctl` in its place.
pub const VIP: Duration = seconds(5);
/// The database to stop: `fast` gets nearly all of it.
pub const STOP: Duration = seconds(60);
/// The same where this host stops its own primary because it is cut off, or its disk hangs.
pub const SELF_FENCE: Duration = seconds(10);
/// Crash recovery of an old primary, or of a standby that has to be shut down cleanly.
pub const CRASH_RECOVERY: Duration = seconds(3600);
/// Whether a recovery can work: the primary adds up the size of its databases for it.
pub const CAN: Duration = seconds(60);
/// A checkpoint of the primary, so that its control file has its timeline.
pub const CHECKPOINT: Duration = seconds(600);
/// This node's own WAL to copy aside.
pub const KEEP: Duration = seconds(600);
/// The rewind.
pub const REWIND: Duration = seconds(4 * 3600);
/// The copy of the primary.
pub const COPY: Duration = seconds(24 * 3600);
/// A few small files.
pub const FILES: Duration = seconds(30);
/// The database to start and answer: it replays up to a consistent state first.
pub const START: Duration = seconds(3600);
/// The first connection to the primary after a start.
pub const STREAMING: Duration = seconds(60);
/// The same for a standby that was merely started: the next run looks again.
pub const FIRST_LOOK: Duration = seconds(5);
/// To be within `DATA_SIZE_DIFF` of the primary.
pub const CATCH_UP: Duration = seconds(3600);
/// A setting of the primary.
pub const SETTING: Duration = seconds(10);
/// The pool to attach or detach a node, and to show it.
pub const ATTACH: Duration = seconds(30);

/// What a failover may take beyond its own time and that of its promotion.
pub const FAILOVER_SLACK: Duration = seconds(40);

/// Between two lines about how far a long step is.
pub const PROGRESS: Duration = seconds(10);
