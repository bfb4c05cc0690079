//! What makes a phase as long as it is, what would make it shorter, and how short. What that costs is said in the
//! table of words, beside the phase.

use super::PhaseKind;
use serde::Serialize;

/// Of one phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// The settings that make it that long.
    pub settings: Vec<&'static str>,
    /// How long it could be, in milliseconds; `None` where it is as short as it can be.
    pub could: Option<i64>,
    /// It is not known to be as short as it can be.
    pub is_slow: bool,
}

/// Tries of a health check that is set up for speed: two tries of a second at most, a second between them.
const QUICK_TRIES: i64 = 3_000;
/// The first answer of a trust IP is enough.
const QUICK_TRUST_IP: i64 = 100;
/// The default of `PROBE_TIMEOUT`.
const QUICK_FENCE: i64 = 500;
/// An address is there, and announced, within this.
const QUICK_VIP: i64 = 100;
/// The default of `CHECKPOINT_WAIT`.
const QUICK_CHECKPOINT: i64 = 1_000;
/// `wd_heartbeat_deadtime` and `wd_interval` as short as a quiet network allows, and pgpool-II's own wait for answers.
const QUICK_ELECTION: i64 = 9_000;
/// The pool asks each node once.
const QUICK_SEARCH: i64 = 1_000;
/// One look at the primary says whether a node streams.
const QUICK_LOOKS: i64 = 100;
/// For what is done at once, and waited for in whole seconds.
const QUICK: i64 = 1_000;

/// Less saved is not worth a word.
const LEAST_SAVED: i64 = 200;

impl Advice {
    /// For a phase that took so many milliseconds, and was tried so many times.
    pub(super) fn of(kind: PhaseKind, took: i64, rounds: Option<u32>) -> Option<Self> {
        let (settings, quick): (&[&'static str], Option<i64>) = match kind {
            PhaseKind::Notice => (&["health_check_period"], None),
            PhaseKind::Tries => (
                &[
                    "health_check_max_retries",
                    "health_check_retry_delay",
                    "connect_timeout",
                ],
                Some(QUICK_TRIES),
            ),
            PhaseKind::Election => (
                &["wd_interval", "wd_heartbeat_deadtime"],
                Some(QUICK_ELECTION),
            ),
            PhaseKind::PoolVip => (&["if_up_cmd", "arping_cmd"], None),
            PhaseKind::Votes => (
                &["failover_require_consensus", "failover_when_quorum_exists"],
                None,
            ),
            PhaseKind::TrustIp => (&["KB_GATEWAY_IP", "PING_TIMES"], Some(QUICK_TRUST_IP)),
            PhaseKind::Fence => (
                &["CONNECTTIMEOUT", "PROBE_TIMEOUT", "FAILOVER_TIMEOUT"],
                Some(QUICK_FENCE),
            ),
            PhaseKind::Vip => (&[], Some(QUICK_VIP)),
            PhaseKind::Async => (&["SYNC_DEGRADE"], None),
            PhaseKind::Checkpoint => (&["CHECKPOINT_WAIT"], Some(QUICK_CHECKPOINT)),
            PhaseKind::Search => (&["search_primary_node_timeout"], Some(QUICK_SEARCH)),
            PhaseKind::Looks => (
                &["HEALTH_CHECK_MAX_RETRIES", "HEALTH_CHECK_RETRY_DELAY"],
                Some(QUICK_LOOKS),
            ),
            PhaseKind::Sync => (&["SYNC_FLAG"], Some(QUICK)),
            PhaseKind::Promote
            | PhaseKind::Attach
            | PhaseKind::Rewind
            | PhaseKind::Command
            | PhaseKind::Clients
            | PhaseKind::Look
            | PhaseKind::Files
            | PhaseKind::Start
            | PhaseKind::Step => (&[], None),
        };
        let one_try = rounds == Some(1);
        (took > 0).then(|| Self {
            settings: settings.to_vec(),
            is_slow: quick.is_none_or(|quick| quick + LEAST_SAVED < took && !one_try),
            could: quick.filter(|quick| *quick + LEAST_SAVED < took && !one_try),
        })
    }
}

/// How long a story could have been that took so long, by what its phases could save. Phases that run beside
/// others (the pools' election) save nothing.
pub(super) fn could(took: i64, phases: &[super::Phase]) -> Option<i64> {
    let beside = |kind| matches!(kind, PhaseKind::Election | PhaseKind::PoolVip);
    let saved: i64 = phases
        .iter()
        // A part of a part may run beside others, too.
        .filter(|it| !beside(it.kind) && it.depth <= 1)
        .filter_map(|it| Some(it.to - it.from - it.advice.as_ref()?.could?))
        .sum();
    // Less than a tenth is not worth a change.
    (saved * 10 >= took && saved > 0).then_some((took - saved).max(0))
}
