//! Takes the facts of one log, and keeps no more of them than a report needs.

use super::stamp::Stamp;
use failover_rules::report::fact::{Fact, Flaw, LogKind, Seen, Source};
use std::collections::{BTreeSet, VecDeque};

/// Facts of one log that are kept, the last ones.
const MOST: usize = 50_000;
/// Of another program's words in a fact.
const LONGEST: usize = 500;
/// What is asked for may be in another zone than the log, in milliseconds.
const ZONES: i64 = 26 * 3_600_000;

/// What is asked for, in milliseconds of the logs' wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Not before.
    pub since: i64,
    /// Not after.
    pub until: i64,
}

impl Window {
    /// All there is.
    pub const ALL: Self = Self {
        since: i64::MIN,
        until: i64::MAX,
    };
}

/// What was read of one log.
pub struct Sink {
    source: Source,
    facts: VecDeque<Seen>,
    names: BTreeSet<String>,
    heartbeat: Option<Seen>,
    dropped: u64,
    timeless: u64,
    window: Window,
    line: u64,
}

impl Sink {
    /// For a log with this name, of this host.
    pub fn new(name: String, host: Option<String>, window: Window) -> Self {
        Self {
            source: Source {
                name,
                kind: None,
                host,
                zone: None,
                lines: 0,
                plain: 0,
                strange: 0,
                flaws: Vec::new(),
            },
            facts: VecDeque::new(),
            names: BTreeSet::new(),
            heartbeat: None,
            dropped: 0,
            timeless: 0,
            window,
            line: 0,
        }
    }

    /// Which log it is.
    pub fn is_of(&mut self, kind: LogKind) {
        self.source.kind = Some(kind);
    }

    /// One more line.
    pub fn begin_line(&mut self) {
        self.line += 1;
        self.source.lines += 1;
    }

    /// It has the form of this log, and tells nothing.
    pub fn plain(&mut self) {
        self.source.plain += 1;
    }

    /// It has no form that is known.
    pub fn strange(&mut self) {
        self.source.strange += 1;
    }

    /// It tells something, and has no time.
    pub fn timeless(&mut self) {
        self.timeless += 1;
    }

    /// What is wrong with the file, once.
    pub fn flaw(&mut self, flaw: Flaw) {
        if !self.source.flaws.contains(&flaw) {
            self.source.flaws.push(flaw);
        }
    }

    /// A time of this log: what its zone is. All times of one log are told by the first zone.
    pub fn at(&mut self, stamp: &Stamp) -> i64 {
        if stamp.yearless {
            self.flaw(Flaw::Yearless);
        }
        match (stamp.zone, self.source.zone) {
            (Some(zone), Some(first)) => stamp.at + i64::from(first - zone) * 60_000,
            (Some(zone), None) => {
                self.source.zone = Some(zone);
                stamp.at
            }
            (None, _) => stamp.at,
        }
    }

    /// A fact of the line.
    pub fn tell(&mut self, at: i64, fact: Fact) {
        if at < self.window.since.saturating_sub(ZONES)
            || at > self.window.until.saturating_add(ZONES)
        {
            return;
        }
        let seen = Seen {
            at,
            source: 0,
            line: self.line,
            fact: short(fact),
        };
        match &seen.fact {
            // One each second: the last one before something else is enough.
            Fact::Heartbeat(..) => {
                self.heartbeat = Some(seen);
                return;
            }
            Fact::LocalPool(one, other) | Fact::PeerPool(one, other) => {
                if !self.names.insert(format!("{one} {other}")) {
                    return;
                }
            }
            Fact::OwnName(name) => {
                if !self.names.insert(name.clone()) {
                    return;
                }
            }
            _ => {
                if let Some(heartbeat) = self.heartbeat.take() {
                    self.keep(heartbeat);
                }
            }
        }
        self.keep(seen);
    }

    /// Of what is said again and again the first and the last are kept.
    fn keep(&mut self, seen: Seen) {
        let mut last = self.facts.iter().rev();
        let again = |it: Option<&Seen>| it.is_some_and(|it| it.fact == seen.fact);
        if again(last.next()) && again(last.next()) {
            self.facts.pop_back();
        }
        if self.facts.len() >= MOST {
            self.facts.pop_front();
            self.dropped += 1;
        }
        self.facts.push_back(seen);
    }

    /// The log and its facts.
    pub fn end(mut self) -> (Source, Vec<Seen>) {
        if let Some(heartbeat) = self.heartbeat.take() {
            self.keep(heartbeat);
        }
        if self.dropped > 0 {
            self.flaw(Flaw::TooMany(self.dropped));
        }
        if self.timeless > 0 {
            self.flaw(Flaw::Timeless(self.timeless));
        }
        (self.source, self.facts.into())
    }
}

/// Without more of others' words than anybody reads.
fn short(mut fact: Fact) -> Fact {
    let cut = |text: &mut String| *text = crate::terminal::foreign(text, LONGEST);
    match &mut fact {
        Fact::NoConnection(one, other)
        | Fact::NoLogin(one, other)
        | Fact::LocalPool(one, other)
        | Fact::PeerPool(one, other) => {
            cut(one);
            cut(other);
        }
        Fact::Command(it)
        | Fact::Fenced(it)
        | Fact::Unreachable(it)
        | Fact::Alive(it)
        | Fact::Refused(it)
        | Fact::Decision(it)
        | Fact::RecoveryFailed(it)
        | Fact::ServerDied(it)
        | Fact::Heartbeat(it, _)
        | Fact::PeerLeaves(it)
        | Fact::PeerLost(it)
        | Fact::WatchdogState(it)
        | Fact::PoolVip(it)
        | Fact::Quarantine(it)
        | Fact::Degenerating(it)
        | Fact::FailoverDone(it)
        | Fact::FailbackDone(it)
        | Fact::PoolStarts(it)
        | Fact::Fences(it)
        | Fact::DatabaseVip(it)
        | Fact::Promotes(it)
        | Fact::OwnName(it)
        | Fact::Needed(it)
        | Fact::PartsAt(it, _)
        | Fact::ServerStops(it)
        | Fact::Streams(it, _) => cut(it),
        Fact::Step(step) => {
            cut(&mut step.detail);
            cut(&mut step.name);
            cut(&mut step.run);
            cut(&mut step.host);
        }
        Fact::Arguments(told) => {
            cut(&mut told.new_host);
            cut(&mut told.failed_host);
            cut(&mut told.old_host);
        }
        Fact::Node(row) => {
            cut(&mut row.host);
            cut(&mut row.status);
            cut(&mut row.role);
        }
        _ => {}
    }
    fact
}
