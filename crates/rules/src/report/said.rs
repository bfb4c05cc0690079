//! What a report says, without the words: those are the reader's language's, in `cluster_ctl`.

use serde::Serialize;

/// A part of a sentence that differs from one time to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// Words of a log, or a host.
    Text(String),
    /// How many.
    Count(i64),
    /// A wall clock, in milliseconds since 1970 as if it were UTC.
    At {
        /// So many.
        at_ms: i64,
    },
    /// How long, in milliseconds.
    Span {
        /// So many.
        ms: i64,
    },
}

/// A sentence: which one, and its values by their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Saying {
    /// Which sentence.
    pub word: Word,
    /// Its values.
    pub values: Vec<(&'static str, Value)>,
}

impl Saying {
    /// A sentence without values.
    pub fn of(word: Word) -> Self {
        Self {
            word,
            values: Vec::new(),
        }
    }

    /// With words in it.
    #[must_use]
    pub fn text(mut self, name: &'static str, text: &str) -> Self {
        self.values.push((name, Value::Text(text.to_owned())));
        self
    }

    /// With a number in it.
    #[must_use]
    pub fn count(mut self, name: &'static str, count: i64) -> Self {
        self.values.push((name, Value::Count(count)));
        self
    }

    /// With a time in it.
    #[must_use]
    pub fn at(mut self, name: &'static str, at: i64) -> Self {
        self.values.push((name, Value::At { at_ms: at }));
        self
    }

    /// With a duration in it.
    #[must_use]
    pub fn span(mut self, name: &'static str, ms: i64) -> Self {
        self.values.push((name, Value::Span { ms }));
        self
    }
}

/// All sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(
    missing_docs,
    reason = "each has its sentence in cluster_ctl's table of words"
)]
pub enum Word {
    // What happened.
    LastHeartbeat,
    LastWord,
    PoolLeaves,
    PoolLost,
    LeaderLost,
    OnlyPool,
    BecameLeader,
    PoolVip,
    DatabaseStops,
    ServerStops,
    ServerDown,
    ServerDied,
    FirstTry,
    LastTry,
    NoConnection,
    NodeDown,
    VotesWanted,
    VotesGiven,
    Quarantine,
    CommandByLeader,
    CommandByLock,
    CommandGoesOn,
    ScriptBegins,
    TrustIpAnswers,
    TrustIpSilent,
    NoLogin,
    OldFenced,
    OldUnreachable,
    OldAlive,
    DatabaseVip,
    PromotionBegins,
    Promoted,
    NewTimeline,
    Asynchronous,
    Checkpoint,
    Refused,
    ScriptEnds,
    NewPrimary,
    NoPrimary,
    ClientsAgain,
    NotOver,
    RecoveryBegins,
    NodeIsDown,
    Decided,
    Looks,
    Needed,
    Parts,
    Rewound,
    Starts,
    Streams,
    Synchronous,
    Attached,
    RecoveryEnds,
    RecoveryFailed,
    RecoveryUnended,
    FailbackDone,
    StepFailed,
    // Verdicts.
    NothingLostClean,
    NothingLostSync,
    LossUnknown,
    LossPossible,
    OneWriterFenced,
    OneWriterDown,
    OneWriterDead,
    TwoWriters,
    WritersUnknown,
    NothingRefused,
    WasRefused,
    NobodyPromoted,
    RedundancyBack,
    RedundancyMissing,
    // Clocks and files.
    ClockOff,
    ZoneOff,
    ClocksAgree,
    ClockAsWritten,
    OtherCluster,
    Unreadable,
    Torn,
    Packed,
    Binary,
    Timeless,
    Yearless,
    TooMany,
    Skipped,
    NoLog,
    Strange,
}

impl Word {
    /// All of them, for whoever has to have a sentence for each.
    pub const ALL: [Self; 86] = [
        Self::LastHeartbeat,
        Self::LastWord,
        Self::PoolLeaves,
        Self::PoolLost,
        Self::LeaderLost,
        Self::OnlyPool,
        Self::BecameLeader,
        Self::PoolVip,
        Self::DatabaseStops,
        Self::ServerStops,
        Self::ServerDown,
        Self::ServerDied,
        Self::FirstTry,
        Self::LastTry,
        Self::NoConnection,
        Self::NodeDown,
        Self::VotesWanted,
        Self::VotesGiven,
        Self::Quarantine,
        Self::CommandByLeader,
        Self::CommandByLock,
        Self::CommandGoesOn,
        Self::ScriptBegins,
        Self::TrustIpAnswers,
        Self::TrustIpSilent,
        Self::NoLogin,
        Self::OldFenced,
        Self::OldUnreachable,
        Self::OldAlive,
        Self::DatabaseVip,
        Self::PromotionBegins,
        Self::Promoted,
        Self::NewTimeline,
        Self::Asynchronous,
        Self::Checkpoint,
        Self::Refused,
        Self::ScriptEnds,
        Self::NewPrimary,
        Self::NoPrimary,
        Self::ClientsAgain,
        Self::NotOver,
        Self::RecoveryBegins,
        Self::NodeIsDown,
        Self::Decided,
        Self::Looks,
        Self::Needed,
        Self::Parts,
        Self::Rewound,
        Self::Starts,
        Self::Streams,
        Self::Synchronous,
        Self::Attached,
        Self::RecoveryEnds,
        Self::RecoveryFailed,
        Self::RecoveryUnended,
        Self::FailbackDone,
        Self::StepFailed,
        Self::NothingLostClean,
        Self::NothingLostSync,
        Self::LossUnknown,
        Self::LossPossible,
        Self::OneWriterFenced,
        Self::OneWriterDown,
        Self::OneWriterDead,
        Self::TwoWriters,
        Self::WritersUnknown,
        Self::NothingRefused,
        Self::WasRefused,
        Self::NobodyPromoted,
        Self::RedundancyBack,
        Self::RedundancyMissing,
        Self::ClockOff,
        Self::ZoneOff,
        Self::ClocksAgree,
        Self::ClockAsWritten,
        Self::OtherCluster,
        Self::Unreadable,
        Self::Torn,
        Self::Packed,
        Self::Binary,
        Self::Timeless,
        Self::Yearless,
        Self::TooMany,
        Self::Skipped,
        Self::NoLog,
        Self::Strange,
    ];
}
