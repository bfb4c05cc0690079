//! What is known of losses, of second writers, and of what was refused.

use super::fact::{Ending, Fact, Step};
use super::said::{Saying, Word};
use super::{Level, Mark, Scene, Story, StoryKind, Topic, Verdict};

/// For how long after a failover the old primary's log is looked at, in milliseconds.
const AFTER: i64 = 24 * 3_600_000;
/// Two hosts' clocks may differ by so much without that anybody notices.
const CLOCKS: i64 = 1_000;

type Run<'a> = (&'a str, Vec<(Mark<'a>, &'a Step)>);

/// Of one failover.
pub(super) fn of_failover(
    scene: &Scene<'_>,
    story: &Story,
    script: &[Mark<'_>],
    run: Option<&Run<'_>>,
) -> Vec<Verdict> {
    let mut told = Vec::new();
    let steps = run.map_or(&[][..], |(_, steps)| steps.as_slice());
    if story.kind == StoryKind::Failover && story.promoted.is_some() {
        told.push(lost(scene, story, script, steps));
        told.push(writers(scene, story, script));
    }
    told.extend(refused(story, script, steps));
    told
}

fn verdict(topic: Topic, level: Level, saying: Saying) -> Verdict {
    Verdict {
        topic,
        level,
        saying,
    }
}

fn lost(
    scene: &Scene<'_>,
    story: &Story,
    script: &[Mark<'_>],
    steps: &[(Mark<'_>, &Step)],
) -> Verdict {
    let clean = script.iter().any(
        |it| matches!(it.fact, Fact::Fenced(why) if why.contains("clean, shutdown checkpoint")),
    );
    if clean {
        let said = Saying::of(Word::NothingLostClean);
        return verdict(Topic::Lost, Level::Good, said);
    }
    let emptied = |step: &Step| step.name == "promote.async" && step.ending == Ending::Done;
    let synchronous = script.iter().any(|it| *it.fact == Fact::Asynchronous)
        || steps.iter().any(|(_, it)| emptied(it));
    if synchronous {
        let said = Saying::of(Word::NothingLostSync);
        return verdict(Topic::Lost, Level::Good, said);
    }
    let later = scene.between(story.to, story.to + AFTER);
    let parts = later.iter().find_map(|it| match it.fact {
        Fact::PartsAt(position, _) if it.lane == story.node => Some(position),
        _ => None,
    });
    match parts {
        Some(position) => {
            let said = Saying::of(Word::LossPossible).text("position", position);
            verdict(Topic::Lost, Level::Unknown, said)
        }
        None => verdict(Topic::Lost, Level::Unknown, Saying::of(Word::LossUnknown)),
    }
}

fn writers(scene: &Scene<'_>, story: &Story, script: &[Mark<'_>]) -> Verdict {
    let promoted = story.promoted.map_or(story.to, |(_, at)| at);
    let old = story.node.map_or("", |it| scene.hosts.name(it));
    let of = |level, word| verdict(Topic::Writers, level, Saying::of(word).text("host", old));
    if let Some((from, to)) = overlap(scene, story, promoted) {
        let said = Saying::of(Word::TwoWriters).text("host", old);
        let said = said.at("from", from).span("for", to - from);
        return verdict(Topic::Writers, Level::Bad, said);
    }
    for mark in script {
        let with = |level, word, why: &str| {
            let said = Saying::of(word).text("host", old).text("why", why);
            verdict(Topic::Writers, level, said)
        };
        match mark.fact {
            Fact::Fenced(why) => return with(Level::Good, Word::OneWriterFenced, why),
            Fact::Alive(why) => return with(Level::Bad, Word::OldAlive, why),
            Fact::Unreachable(why) => return with(Level::Unknown, Word::OldUnreachable, why),
            _ => {}
        }
    }
    let before = scene.between(story.from, promoted);
    let mut own = before
        .iter()
        .filter(|it| it.lane == story.node && story.node.is_some());
    if let Some(down) = own.find(|it| matches!(it.fact, Fact::ServerDown)) {
        let said = Saying::of(Word::OneWriterDown).text("host", old);
        return verdict(Topic::Writers, Level::Good, said.at("at", down.at));
    }
    let stops = before.iter().find(|it| match it.fact {
        Fact::DatabaseStops => true,
        Fact::PeerLeaves(host) => scene.is_lane(host, story.node),
        _ => false,
    });
    let silent = |fact: &Fact| match fact {
        Fact::NoLogin(host, _) => scene.is_lane(host, story.node),
        Fact::Unreachable(_) => true,
        _ => false,
    };
    let is_silent = script.iter().chain(before).any(|it| silent(it.fact));
    match stops {
        Some(stops) if is_silent => {
            let said = Saying::of(Word::OneWriterDead).text("host", old);
            verdict(Topic::Writers, Level::Good, said.at("at", stops.at))
        }
        _ => of(Level::Unknown, Word::WritersUnknown),
    }
}

/// From the promotion until the old primary's server was told to stop or died, by its own log, where it had not been
/// down before.
fn overlap(scene: &Scene<'_>, story: &Story, promoted: i64) -> Option<(i64, i64)> {
    let node = story.node?;
    let own = |it: &&Mark<'_>| it.lane == Some(node);
    let ended = |fact: &Fact| {
        matches!(
            fact,
            Fact::ServerDown | Fact::ServerStops(_) | Fact::ServerDied(_) | Fact::ServerStarts
        )
    };
    // A power cut leaves no word: what it says next is that it starts.
    let before = scene.between(story.from, promoted + CLOCKS);
    if before.iter().filter(own).any(|it| ended(it.fact)) {
        return None;
    }
    let later = scene.between(promoted + CLOCKS, promoted + AFTER);
    let end = later.iter().filter(own).find(|it| ended(it.fact))?;
    match end.fact {
        Fact::ServerStops(_) | Fact::ServerDied(_) => Some((promoted, end.at)),
        _ => None,
    }
}

fn refused(story: &Story, script: &[Mark<'_>], steps: &[(Mark<'_>, &Step)]) -> Vec<Verdict> {
    let mut told = Vec::new();
    let by_log = script.iter().find_map(|it| match it.fact {
        Fact::Refused(why) => Some(why.clone()),
        _ => None,
    });
    let by_events = || {
        let failed = steps
            .iter()
            .find(|(_, it)| it.ending == Ending::Failed)
            .map(|(_, step)| step);
        failed.map(|step| format!("{}: {}", step.name, step.detail))
    };
    let known = !script.is_empty() || !steps.is_empty();
    match by_log.or_else(by_events) {
        Some(why) => {
            let said = Saying::of(Word::WasRefused).text("why", &why);
            told.push(verdict(Topic::Refused, Level::Bad, said));
        }
        None if story.kind == StoryKind::Failover && story.promoted.is_none() && known => {
            let said = Saying::of(Word::NobodyPromoted);
            told.push(verdict(Topic::Refused, Level::Bad, said));
        }
        None if known => {
            let said = Saying::of(Word::NothingRefused);
            told.push(verdict(Topic::Refused, Level::Good, said));
        }
        None => {}
    }
    told
}

/// Whether a recovery has made up for each failover.
pub(super) fn redundancy(stories: &mut [Story]) {
    for at in 0..stories.len() {
        let Some(story) = stories.get(at) else { break };
        if story.kind == StoryKind::Recovery {
            continue;
        }
        let (from, node) = (story.from, story.node);
        let back = stories
            .iter()
            .filter(|it| it.cause == Some(at) && it.is_over && it.node == node)
            .filter(|it| it.verdicts.iter().all(|it| it.level == Level::Good))
            .map(|it| it.to)
            .min();
        let told = match back {
            Some(back) => {
                let said = Saying::of(Word::RedundancyBack).at("at", back);
                verdict(
                    Topic::Redundancy,
                    Level::Good,
                    said.span("after", back - from),
                )
            }
            None => verdict(
                Topic::Redundancy,
                Level::Unknown,
                Saying::of(Word::RedundancyMissing),
            ),
        };
        if let Some(story) = stories.get_mut(at) {
            story.verdicts.push(told);
        }
    }
}
