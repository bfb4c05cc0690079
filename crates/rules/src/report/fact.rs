//! What the lines of the logs say, one fact for each line that tells something.

use serde::{Deserialize, Serialize};

/// Which log a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogKind {
    /// `cluster.log` of kingbasecluster, or pgpool-II's.
    Pool,
    /// `failover.log`, of the scripts or ours.
    Failover,
    /// `recovery.log`, of the scripts or ours.
    Recovery,
    /// Our `events.jsonl`.
    Events,
    /// The database server's.
    Server,
}

/// A log that was read: one file, or what is left of several after a rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file, as it was given.
    pub name: String,
    /// Which log it is; `None`: not a line of it is one of a log that is known.
    pub kind: Option<LogKind>,
    /// The host that it was fetched from, or the directory that it lies in.
    pub host: Option<String>,
    /// Minutes that its clock is east of UTC, where its lines tell.
    pub zone: Option<i32>,
    /// Lines that were read.
    pub lines: u64,
    /// Lines of the form of this log with nothing in them that a report needs.
    pub plain: u64,
    /// Lines that have no form that is known.
    pub strange: u64,
    /// What is wrong with the file, if anything.
    pub flaws: Vec<Flaw>,
}

/// What is wrong with a file; the rest of it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flaw {
    /// It could not be read, for this reason.
    Unreadable(String),
    /// It ends within a compressed block.
    Torn(String),
    /// It is compressed in a way that is not known.
    Packed(String),
    /// It is not text.
    Binary,
    /// So many lines have no time.
    Timeless(u64),
    /// Its lines have no year, which was taken from the file's own time.
    Yearless,
    /// It had more facts than are kept; the oldest so many were left out.
    TooMany(u64),
    /// It is longer than was read: so many bytes from its beginning were passed over.
    Skipped(u64),
}

/// A fact, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Milliseconds since 1970, the log's own wall clock read as if it were UTC.
    pub at: i64,
    /// The source, by its place in the list of sources.
    pub source: usize,
    /// The line in it, from 1 on.
    pub line: u64,
    /// What it says.
    pub fact: Fact,
}

/// How a step of ours ended, as the log of events has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It did its work.
    Done,
    /// What it is for was so already.
    AlreadySo,
    /// It did not apply.
    Skipped,
    /// It failed, and the procedure went on without it.
    Warned,
    /// It failed, and the procedure ended.
    Failed,
}

/// What one line says. Hosts are as the log names them: an address or a name, without a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact {
    /// A pool's log: which host it is of, and that host's name.
    LocalPool(String, String),
    /// Another pool's host, and its name.
    PeerPool(String, String),
    /// The last heartbeat of a peer came so many seconds before.
    Heartbeat(String, u64),
    /// A peer said that it is shutting down.
    PeerLeaves(String),
    /// A peer is lost.
    PeerLost(String),
    /// The leader of the pools is lost.
    LeaderLost,
    /// The watchdog's state changed to this one.
    WatchdogState(String),
    /// This pool is the leader.
    Leader,
    /// This pool has the cluster's address.
    PoolVip(String),
    /// A database said that it is shutting down.
    DatabaseStops,
    /// A failed check of a database: its node where that is told, and which try it was.
    HealthTry(Option<i64>, u32),
    /// A later check went well.
    HealthGood,
    /// A host's database took no connection, and why.
    NoConnection(String, String),
    /// The pool asked for this node to be taken out.
    DownRequest(i64),
    /// A node is set down.
    NodeDown(i64),
    /// A failover waits for other pools to agree.
    VotesWanted,
    /// The pools agree.
    VotesGiven,
    /// A node is out of use in this pool alone: the others did not agree.
    Quarantine(String),
    /// This pool may carry the failover out.
    Lock,
    /// A host's node is being taken out.
    Degenerating(String),
    /// The pool starts a command.
    Command(String),
    /// It looks for the primary.
    Search,
    /// A node is the primary; -1: none was found.
    NewPrimary(i64),
    /// The failover is over; clients are let in.
    FailoverDone(String),
    /// A host's node is back.
    FailbackDone(String),
    /// The pool has started.
    PoolStarts(String),

    /// `failover.log`: a run begins.
    Begins,
    /// It was called with: new primary's host, old primary's id, failed node's id and host, old primary's host,
    /// new primary's id.
    Arguments(Box<Arguments>),
    /// A trust IP answers, or none does.
    TrustIp(bool),
    /// The failed node was no primary.
    StandbyDown,
    /// Fencing of the old primary on this host begins.
    Fences(String),
    /// A login to a host failed, with what ssh said.
    NoLogin(String, String),
    /// The old primary takes no writes, and why that is known.
    Fenced(String),
    /// Nobody sees a sign of life of the old primary.
    Unreachable(String),
    /// The old primary may take writes.
    Alive(String),
    /// The database VIP comes to this host.
    DatabaseVip(String),
    /// This host is being promoted.
    Promotes(String),
    /// It is out of recovery.
    Promoted,
    /// Commits wait for nobody from now on.
    Asynchronous,
    /// A checkpoint is being made.
    Checkpoint,
    /// The run ended without what it is for.
    Refused(String),
    /// The run is over.
    Ends,

    /// `recovery.log`: a run begins.
    RecoveryBegins,
    /// A row of the pool's nodes: id, host, status, role.
    Node(Box<NodeRow>),
    /// This host's name in the cluster.
    OwnName(String),
    /// This host's id in the pool.
    OwnNode(i64),
    /// It was looked whether this node streams: which look, of how many.
    Look(u32, u32),
    /// This node is to be recovered, from this primary.
    Needed(String),
    /// What our run decided.
    Decision(String),
    /// The rewind begins.
    Rewinds,
    /// Both histories part here: position and timeline.
    PartsAt(String, u32),
    /// The rewind is done.
    Rewound,
    /// The files are put in order.
    Files,
    /// The server is started.
    Starts,
    /// It streams, or runs as a standby.
    Started,
    /// The primary is made synchronous again.
    Synchronous,
    /// The node is attached to the pool.
    Attaches,
    /// It is.
    Attached,
    /// The run went well.
    RecoveryEnds,
    /// It did not.
    RecoveryFailed(String),

    /// `events.jsonl`: a step.
    Step(Box<Step>),

    /// The server's log: it starts.
    ServerStarts,
    /// It takes connections.
    ServerReady,
    /// The last line before it starts without having stopped: its host or it was gone from then on.
    LastWord,
    /// It was told to stop.
    ServerStops(String),
    /// It is down.
    ServerDown,
    /// It died.
    ServerDied(String),
    /// It was told to become a primary.
    PromoteRequest,
    /// It is one, on this timeline.
    NewTimeline(u32),
    /// It streams, from this position and timeline on.
    Streams(String, u32),
}

/// What the pool called `failover_command` with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arguments {
    /// `%H`
    pub new_host: String,
    /// `%P`
    pub old_primary: i64,
    /// `%d`
    pub failed: i64,
    /// `%h`
    pub failed_host: String,
    /// `%O`, `%N`
    pub old_host: String,
    /// `%m`
    pub new_main: i64,
}

/// A row of `show pool_nodes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRow {
    /// The node's id.
    pub id: i64,
    /// Its host.
    pub host: String,
    /// Its status.
    pub status: String,
    /// Its role.
    pub role: String,
}

/// A step of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The run that it belongs to.
    pub run: String,
    /// The step's name.
    pub name: String,
    /// The host that it was done on.
    pub host: String,
    /// How it ended.
    pub ending: Ending,
    /// What was seen or done.
    pub detail: String,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

/// All that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// The files.
    pub sources: Vec<Source>,
    /// What they say, of each file in its order.
    pub facts: Vec<Seen>,
}

impl Logs {
    /// Adds what was read elsewhere.
    pub fn add(&mut self, other: Self) {
        let before = self.sources.len();
        self.sources.extend(other.sources);
        let facts = other.facts.into_iter().map(|it| Seen {
            source: it.source + before,
            ..it
        });
        self.facts.extend(facts);
    }
}
