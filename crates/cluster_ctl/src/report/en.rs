//! The words in English. `{name}` is a value; the test in `words.rs` holds both languages to the same ones.

use super::words::{Label, Language, PhaseWords};
use failover_rules::report::PhaseKind as P;
use failover_rules::report::said::Word as W;

/// All of them.
pub const ENGLISH: Language = Language {
    code: "en",
    seconds: "s",
    minutes: "min",
    hours: "h",
    between_settings: ", ",
    sentences: &SENTENCES,
    phases: &PHASES,
    labels: &LABELS,
};

const SENTENCES: [(W, &str); 86] = [
    (W::LastHeartbeat, "last heartbeat of {host}"),
    (
        W::LastWord,
        "last line of the server on {host}: after that it was gone",
    ),
    (
        W::PoolLeaves,
        "the pool on {host} said that it is shutting down",
    ),
    (W::PoolLost, "the pool on {host} is lost"),
    (W::LeaderLost, "the pools have lost their leader"),
    (W::OnlyPool, "the pool on {host} makes itself the leader"),
    (W::BecameLeader, "the pool on {host} became the leader"),
    (W::PoolVip, "the pool on {host} has the cluster VIP {vip}"),
    (
        W::DatabaseStops,
        "the database said that it is shutting down",
    ),
    (
        W::ServerStops,
        "the server on {host} was told to stop ({how})",
    ),
    (W::ServerDown, "the server on {host} is down"),
    (W::ServerDied, "the server on {host} died: {why}"),
    (W::FirstTry, "first failed check of the database"),
    (
        W::LastTry,
        "check {round} of the database failed, the last one",
    ),
    (
        W::NoConnection,
        "no connection to the database on {host}: {why}",
    ),
    (W::NodeDown, "the pool set node {node} down"),
    (
        W::VotesWanted,
        "the failover waits for the other pools to agree",
    ),
    (W::VotesGiven, "the pools agree"),
    (
        W::Quarantine,
        "a pool does not use {host} any more, and the other pools did not agree",
    ),
    (
        W::CommandByLeader,
        "failover command, by {host}: its pool has been the leader since {since}",
    ),
    (
        W::CommandByLock,
        "failover command, by {host}: its pool holds the lock",
    ),
    (W::CommandGoesOn, "the failover command goes on"),
    (W::ScriptBegins, "the failover script begins on {host}"),
    (
        W::TrustIpAnswers,
        "the trust IP answers: this host has a network",
    ),
    (
        W::TrustIpSilent,
        "no trust IP answers: this host is the one that is cut off",
    ),
    (W::NoLogin, "no login to {host}: {why}"),
    (W::OldFenced, "the old primary is fenced: {why}"),
    (W::OldUnreachable, "the old primary is unreachable: {why}"),
    (
        W::OldAlive,
        "the old primary is alive and may take writes: {why}",
    ),
    (W::DatabaseVip, "the database VIP goes to {host}"),
    (W::PromotionBegins, "promotion of {host} begins"),
    (W::Promoted, "the promotion is done"),
    (W::NewTimeline, "{host} is on timeline {timeline}"),
    (
        W::Asynchronous,
        "commits wait for no standby any more (sync to async)",
    ),
    (W::Checkpoint, "a checkpoint is made"),
    (W::Refused, "the failover failed: {why}"),
    (W::ScriptEnds, "the failover script ends"),
    (W::NewPrimary, "the pool found its new primary: node {node}"),
    (W::NoPrimary, "the pool found no primary"),
    (
        W::ClientsAgain,
        "the failover is over, clients are let in again",
    ),
    (
        W::NotOver,
        "the logs end here, and the failover is not over",
    ),
    (W::RecoveryBegins, "the recovery begins on {host}"),
    (W::NodeIsDown, "the pool has {host} down"),
    (W::Decided, "decision: {what}"),
    (
        W::Looks,
        "{round} of {most} looks whether {host} streams, in vain: its database was down",
    ),
    (W::Needed, "{host} is to be recovered from {primary}"),
    (
        W::Parts,
        "both histories part at {position} on timeline {timeline}",
    ),
    (W::Rewound, "the rewind is done"),
    (W::Starts, "the server on {host} is started"),
    (W::Streams, "{host} runs as a standby"),
    (W::Synchronous, "the primary is made synchronous again"),
    (W::Attached, "{host} is attached to the pool"),
    (W::RecoveryEnds, "the recovery went well"),
    (W::RecoveryFailed, "the recovery failed: {why}"),
    (
        W::RecoveryUnended,
        "the logs do not tell how the recovery ended",
    ),
    (W::FailbackDone, "the pool has {host} back"),
    (W::StepFailed, "{step}: {why}"),
    (
        W::NothingLostClean,
        "nothing: the old primary stopped cleanly, and its last record was waited for",
    ),
    (
        W::NothingLostSync,
        "no acknowledged row, as far as the logs tell: the cluster was synchronous until the failover made it asynchronous",
    ),
    (
        W::LossUnknown,
        "not known: the logs do not tell whether commits waited for a standby",
    ),
    (
        W::LossPossible,
        "perhaps: commits waited for nobody, and what the old primary wrote after {position} and nobody had received was rewound",
    ),
    (
        W::OneWriterFenced,
        "one: the old primary {host} was fenced ({why})",
    ),
    (
        W::OneWriterDown,
        "one: the server on {host} was down at {at}, before the promotion",
    ),
    (
        W::OneWriterDead,
        "one, as far as the logs tell: {host} was shutting down at {at} and gave no answer after that",
    ),
    (
        W::TwoWriters,
        "two: the server on {host} ran as a primary for {for} after the promotion at {from}",
    ),
    (
        W::WritersUnknown,
        "not known: nobody could stop the database on {host}, and its own log is not here",
    ),
    (W::NothingRefused, "nothing"),
    (W::WasRefused, "{why}"),
    (
        W::NobodyPromoted,
        "nobody was promoted, and no log says why",
    ),
    (W::RedundancyBack, "back at {at}, after {after}"),
    (W::RedundancyMissing, "no log tells of a recovery"),
    (
        W::ClockOff,
        "{log} ({host}): its clock is {by} off; its times were moved to fit",
    ),
    (
        W::ZoneOff,
        "{log} ({host}): it is in another time zone, {by} away; its times were moved to fit",
    ),
    (W::ClocksAgree, "the clocks of the logs agree"),
    (
        W::ClockAsWritten,
        "{log}: nothing in it was seen by another log, so its times are as they are written",
    ),
    (
        W::OtherCluster,
        "{log}: it names no host that the other logs know: another cluster's, left out",
    ),
    (W::Unreadable, "{log}: failed to read it: {why}"),
    (
        W::Torn,
        "{log}: it breaks off within its compressed data ({why}); what came before was read",
    ),
    (
        W::Packed,
        "{log}: it is compressed with {how}, which is not read: unpack it",
    ),
    (W::Binary, "{log}: it is no text, left out"),
    (
        W::Timeless,
        "{log}: {count} lines have no time, left out: log_line_prefix needs %t or %m",
    ),
    (
        W::Yearless,
        "{log}: its lines have no year, which is the file's",
    ),
    (
        W::TooMany,
        "{log}: it tells too much; the oldest {count} facts were left out: use --since",
    ),
    (
        W::Skipped,
        "{log}: it is too long; its first {count} bytes were passed over",
    ),
    (W::NoLog, "{log}: not a log that is known, left out"),
    (W::Strange, "{log}: {count} lines were not understood"),
];

const fn words(name: &'static str, shorter: &'static str, cost: &'static str) -> PhaseWords {
    PhaseWords {
        name,
        shorter,
        cost,
    }
}

const PHASES: [(P, PhaseWords); 22] = [
    (
        P::Notice,
        words(
            "until the first failed check",
            "look more often: health_check_period=1",
            "a session each second on every database",
        ),
    ),
    (
        P::Tries,
        words(
            "tries of the check until the node is down",
            "health_check_max_retries=1, health_check_retry_delay=1, connect_timeout=1000",
            "a network or a server that is gone for 3 s is failed over, too",
        ),
    ),
    (
        P::Election,
        words(
            "the pools elect a leader",
            "shorter wd_interval and wd_heartbeat_deadtime; a third pool",
            "a busy host loses its pool's lead more easily",
        ),
    ),
    (
        P::PoolVip,
        words(
            "the new leader takes the cluster VIP",
            "if_up_cmd and arping_cmd without waits",
            "nothing",
        ),
    ),
    (
        P::Votes,
        words(
            "the pools agree, and lock",
            "failover_require_consensus=off",
            "one pool that sees a database badly fails it over for all",
        ),
    ),
    (P::Command, words("the failover command", "", "")),
    (
        P::TrustIp,
        words(
            "is the network here? (trust IP)",
            "the first answer is enough (failover_stream does so)",
            "nothing",
        ),
    ),
    (
        P::Fence,
        words(
            "the old primary is stopped, or found dead",
            "ask for signs of life beside ssh (failover_stream does so: PROBE_TIMEOUT=500); a dead host then costs no ssh timeout",
            "a host that shows no life for that long counts as dead",
        ),
    ),
    (
        P::Vip,
        words(
            "the database VIP moves",
            "announce it without waiting for answers (failover_stream does so)",
            "nothing",
        ),
    ),
    (
        P::Promote,
        words(
            "promotion",
            "less to replay: a standby that keeps up",
            "nothing",
        ),
    ),
    (
        P::Async,
        words(
            "commits no longer wait for a standby",
            "SYNC_DEGRADE=never",
            "commits hang until a standby is back",
        ),
    ),
    (
        P::Checkpoint,
        words(
            "checkpoint on the new primary",
            "CHECKPOINT_WAIT=1: it goes on in the server",
            "a rewind soon after may have to wait for it",
        ),
    ),
    (
        P::Search,
        words(
            "the pool looks for its primary",
            "a smaller search_primary_node_timeout",
            "a slow promotion is not waited for",
        ),
    ),
    (P::Clients, words("the pool lets clients in", "", "")),
    (P::Look, words("looks: disk, network, pool", "", "")),
    (
        P::Looks,
        words(
            "looks whether a dead database streams",
            "ask the server first whether it runs (network_rewind does so); or fewer HEALTH_CHECK_MAX_RETRIES",
            "nothing; with fewer tries, a standby that only lags may be rewound",
        ),
    ),
    (
        P::Rewind,
        words(
            "rewind",
            "less to copy: a recovery soon after the failover",
            "nothing",
        ),
    ),
    (P::Files, words("files and settings", "", "")),
    (P::Start, words("the server starts", "", "")),
    (
        P::Sync,
        words(
            "the primary is made synchronous again",
            "look until it streams in place of fixed waits (network_rewind does so)",
            "nothing",
        ),
    ),
    (P::Attach, words("the pool gets the node back", "", "")),
    (P::Step, words("step", "", "")),
];

const LABELS: [(Label, &str); 36] = [
    (Label::Title, "What happened"),
    (Label::Failover, "Failover"),
    (Label::StandbyDown, "Standby down"),
    (Label::Recovery, "Recovery"),
    (Label::Of, "of"),
    (Label::To, "to"),
    (Label::ClientsWaited, "clients waited"),
    (Label::ClientsFelt, "clients"),
    (Label::Promoted, "promoted"),
    (Label::NobodyPromoted, "nobody was promoted"),
    (Label::RunBy, "run by"),
    (Label::Run, "run"),
    (Label::Moments, "What happened, when"),
    (Label::Phases, "What took how long"),
    (Label::SetBy, "set by"),
    (Label::Shorter, "shorter"),
    (Label::Costs, "costs"),
    (Label::Tries, "times"),
    (Label::Could, "With all of that it would have been about"),
    (Label::InPlaceOf, "in place of"),
    (Label::Verdicts, "Verdicts"),
    (Label::Lost, "lost"),
    (Label::Writers, "writers"),
    (Label::Refused, "refused"),
    (Label::Redundancy, "redundancy"),
    (Label::Good, "ok"),
    (Label::Unknown, "?"),
    (Label::Bad, "BAD"),
    (Label::Notes, "Files and clocks"),
    (Label::Read, "lines"),
    (
        Label::Nothing,
        "the logs tell of no failover and no recovery",
    ),
    (Label::MakesUpFor, "after the failover of"),
    (Label::LogPool, "pool"),
    (Label::LogServer, "server"),
    (Label::LogScript, "script"),
    (Label::LogEvents, "events"),
];
