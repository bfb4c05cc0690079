//! What happened last night: from the facts of all logs to failovers and recoveries, each with its phases, what
//! made them as long as they were, and what is known of losses. No words: [`said::Saying`] is put into a language
//! by `cluster_ctl`.

mod advice;
mod clocks;
pub mod fact;
mod failover;
mod hosts;
mod phases;
mod recovery;
pub mod said;
mod verdicts;

use fact::{Fact, Flaw, LogKind, Logs, Source, Step};
use hosts::Hosts;
use said::{Saying, Word};
use serde::Serialize;

pub use advice::Advice;

/// A host of the picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lane {
    /// Its address, or how the logs call it.
    pub host: String,
    /// Its name where that is another one; else empty.
    pub name: String,
}

/// What a story is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StoryKind {
    /// The primary's node went down.
    Failover,
    /// A standby's did.
    StandbyDown,
    /// A node came back.
    Recovery,
}

/// A failover or a recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Story {
    /// What it is about.
    pub kind: StoryKind,
    /// The host that the work was done from, a place in [`Report::lanes`].
    pub lane: Option<usize>,
    /// The host whose node went down or came back.
    pub node: Option<usize>,
    /// The run's name in the log of events.
    pub run: Option<String>,
    /// Begin, milliseconds since 1970 of the report's clock.
    pub from: i64,
    /// End.
    pub to: i64,
    /// It came to an end in the logs.
    pub is_over: bool,
    /// From when to when clients could not write, as far as the logs tell.
    pub outage: Option<(i64, i64)>,
    /// Who was promoted, and when it was out of recovery.
    pub promoted: Option<(Option<usize>, i64)>,
    /// What happened, by time.
    pub moments: Vec<Moment>,
    /// What took how long.
    pub phases: Vec<Phase>,
    /// How long it could have taken, in milliseconds, were the advice of all phases taken.
    pub could: Option<i64>,
    /// What is known of losses, second writers and refusals.
    pub verdicts: Vec<Verdict>,
    /// Of a recovery: the failover that it makes up for, a place in [`Report::stories`].
    pub cause: Option<usize>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// When.
    pub at: i64,
    /// On which host it was seen.
    pub lane: Option<usize>,
    /// What.
    pub saying: Saying,
}

/// Something that took time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Phase {
    /// Which one.
    pub kind: PhaseKind,
    /// The step's name in the log of events, where it is one.
    pub step: Option<String>,
    /// On which host.
    pub lane: Option<usize>,
    /// Begin.
    pub from: i64,
    /// End.
    pub to: i64,
    /// 0: a phase of the story; 1: a part of the phase before it.
    pub depth: u8,
    /// How many times it was tried, where it was.
    pub rounds: Option<u32>,
    /// What makes it that long, and what would make it shorter; `None` where it took no time.
    pub advice: Option<Advice>,
}

/// The phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(
    missing_docs,
    reason = "each has its words in cluster_ctl's table of words"
)]
pub enum PhaseKind {
    Notice,
    Tries,
    Election,
    PoolVip,
    Votes,
    Command,
    TrustIp,
    Fence,
    Vip,
    Promote,
    Async,
    Checkpoint,
    Search,
    Clients,
    Look,
    Looks,
    Rewind,
    Files,
    Start,
    Sync,
    Attach,
    Step,
}

impl PhaseKind {
    /// All of them, for whoever has to have words for each.
    pub const ALL: [Self; 22] = [
        Self::Notice,
        Self::Tries,
        Self::Election,
        Self::PoolVip,
        Self::Votes,
        Self::Command,
        Self::TrustIp,
        Self::Fence,
        Self::Vip,
        Self::Promote,
        Self::Async,
        Self::Checkpoint,
        Self::Search,
        Self::Clients,
        Self::Look,
        Self::Looks,
        Self::Rewind,
        Self::Files,
        Self::Start,
        Self::Sync,
        Self::Attach,
        Self::Step,
    ];
}

/// A judgement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// About what.
    pub topic: Topic,
    /// How it is.
    pub level: Level,
    /// Why.
    pub saying: Saying,
}

/// What a verdict is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "its words are in cluster_ctl's table")]
pub enum Topic {
    Lost,
    Writers,
    Refused,
    Redundancy,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be.
    Good,
    /// The logs do not tell.
    Unknown,
    /// Somebody has to look.
    Bad,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The hosts.
    pub lanes: Vec<Lane>,
    /// The files, each with its host and by how many milliseconds its times were moved.
    pub sources: Vec<(Source, Option<usize>, i64)>,
    /// What is to be known of clocks and files.
    pub notes: Vec<Saying>,
    /// Failovers and recoveries by their beginning.
    pub stories: Vec<Story>,
}

/// A fact where it belongs: on its host, by the report's clock.
#[derive(Clone, Copy, Debug)]
struct Mark<'a> {
    at: i64,
    source: usize,
    kind: LogKind,
    lane: Option<usize>,
    fact: &'a Fact,
}

/// What all stories are told from.
struct Scene<'a> {
    hosts: &'a Hosts,
    marks: Vec<Mark<'a>>,
}

impl<'a> Scene<'a> {
    /// The facts from `from` to `to`, both included.
    fn between(&self, from: i64, to: i64) -> &[Mark<'a>] {
        let first = self.marks.partition_point(|it| it.at < from);
        let end = self.marks.partition_point(|it| it.at <= to);
        self.marks.get(first..end).unwrap_or_default()
    }

    fn is_lane(&self, host: &str, lane: Option<usize>) -> bool {
        lane.is_some() && self.hosts.lane(host) == lane
    }

    /// The steps of each run, in the order of their beginning.
    fn runs(&self) -> Vec<(&'a str, Vec<(Mark<'a>, &'a Step)>)> {
        let mut runs: Vec<(&str, Vec<(Mark<'a>, &Step)>)> = Vec::new();
        for mark in &self.marks {
            let Fact::Step(step) = mark.fact else {
                continue;
            };
            match runs.iter_mut().rev().find(|(name, _)| *name == step.run) {
                Some((_, steps)) => steps.push((*mark, step)),
                None => runs.push((&step.run, vec![(*mark, step)])),
            }
        }
        runs
    }
}

/// The whole report.
pub fn report(logs: &Logs) -> Report {
    let hosts = Hosts::of(logs);
    let (shifts, mut notes) = clocks::shifts(logs, &hosts);
    let mut marks: Vec<Mark<'_>> = logs
        .facts
        .iter()
        .filter(|it| !hosts.strangers.contains(&it.source))
        .filter_map(|it| {
            Some(Mark {
                at: it.at + shifts[it.source],
                source: it.source,
                kind: logs.sources[it.source].kind?,
                lane: hosts.of[it.source],
                fact: &it.fact,
            })
        })
        .collect();
    marks.sort_by_key(|it| it.at);
    let scene = Scene {
        hosts: &hosts,
        marks,
    };
    let mut stories = failover::stories(&scene);
    stories.extend(recovery::stories(&scene));
    stories.sort_by_key(|it| it.from);
    recovery::link(&mut stories);
    verdicts::redundancy(&mut stories);
    notes.extend(flaws(logs, &hosts));
    let sources = logs.sources.iter().cloned().enumerate();
    let lanes = hosts.lanes.iter().map(|(host, name)| Lane {
        host: host.clone(),
        name: name.clone(),
    });
    Report {
        lanes: lanes.collect(),
        sources: sources
            .map(|(at, it)| (it, hosts.of[at], shifts[at]))
            .collect(),
        notes,
        stories,
    }
}

/// What is to be known of the files.
fn flaws(logs: &Logs, hosts: &Hosts) -> Vec<Saying> {
    let mut said = Vec::new();
    for (at, source) in logs.sources.iter().enumerate() {
        let of = |word| Saying::of(word).text("log", &source.name);
        let counted =
            |word, count: u64| of(word).count("count", i64::try_from(count).unwrap_or(i64::MAX));
        for flaw in &source.flaws {
            said.push(match flaw {
                Flaw::Unreadable(why) => of(Word::Unreadable).text("why", why),
                Flaw::Torn(why) => of(Word::Torn).text("why", why),
                Flaw::Packed(how) => of(Word::Packed).text("how", how),
                Flaw::Binary => of(Word::Binary),
                Flaw::Timeless(count) => counted(Word::Timeless, *count),
                Flaw::Yearless => of(Word::Yearless),
                Flaw::TooMany(count) => counted(Word::TooMany, *count),
                Flaw::Skipped(count) => counted(Word::Skipped, *count),
            });
        }
        if source.kind.is_none() && source.flaws.is_empty() {
            said.push(of(Word::NoLog));
        }
        if source.kind.is_some() && source.strange > 0 {
            said.push(counted(Word::Strange, source.strange));
        }
        if hosts.strangers.contains(&at) {
            said.push(of(Word::OtherCluster));
        }
    }
    said
}

#[cfg(test)]
mod tests;
