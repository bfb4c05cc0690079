//! The report for a machine: its members as they are in `failover_rules::report`, each sentence with its text.

use super::words::{Language, clock, date};
use failover_rules::report::said::Saying;
use failover_rules::report::{Phase, Report, Story};
use serde_json::{Value, json};

/// `2022-08-30T15:38:09`, by the clock of the logs.
fn stamp(at: i64) -> String {
    format!("{}T{}", date(at), clock(at))
}

/// One object.
pub fn object(report: &Report, language: &Language) -> Value {
    let stories: Vec<Value> = report
        .stories
        .iter()
        .map(|it| story(report, it, language))
        .collect();
    let sources: Vec<Value> = report
        .sources
        .iter()
        .map(|(source, lane, shift)| {
            json!({
                "name": source.name,
                "kind": source.kind,
                "host": host(report, *lane),
                "moved_ms": shift,
                "lines": source.lines,
                "plain": source.plain,
                "strange": source.strange,
            })
        })
        .collect();
    let notes: Vec<Value> = report.notes.iter().map(|it| said(it, language)).collect();
    json!({
        "exit": 0,
        "message": format!("{} stories", report.stories.len()),
        "hosts": report.lanes,
        "logs": sources,
        "notes": notes,
        "stories": stories,
    })
}

fn host(report: &Report, lane: Option<usize>) -> Option<&str> {
    lane.and_then(|it| report.lanes.get(it))
        .map(|it| it.host.as_str())
}

fn said(saying: &Saying, language: &Language) -> Value {
    json!({ "code": saying.word, "text": language.sentence(saying) })
}

fn story(report: &Report, story: &Story, language: &Language) -> Value {
    let moments = story.moments.iter().map(|it| {
        json!({
            "at": stamp(it.at),
            "at_ms": it.at,
            "host": host(report, it.lane),
            "code": it.saying.word,
            "text": language.sentence(&it.saying),
        })
    });
    let verdicts = story.verdicts.iter().map(|it| {
        json!({
            "topic": it.topic,
            "level": it.level,
            "code": it.saying.word,
            "text": language.sentence(&it.saying),
        })
    });
    let phases = story.phases.iter().map(|it| phase(report, it, language));
    json!({
        "kind": story.kind,
        "run": story.run,
        "node": host(report, story.node),
        "run_by": host(report, story.lane),
        "from": stamp(story.from),
        "from_ms": story.from,
        "milliseconds": story.to - story.from,
        "is_over": story.is_over,
        "outage": story.outage.map(|(from, to)| json!({ "from_ms": from, "to_ms": to, "milliseconds": to - from })),
        "promoted": story.promoted.map(|(lane, at)| json!({ "host": host(report, lane), "at": stamp(at), "at_ms": at })),
        "could_be_milliseconds": story.could,
        "cause": story.cause,
        "moments": moments.collect::<Vec<_>>(),
        "phases": phases.collect::<Vec<_>>(),
        "verdicts": verdicts.collect::<Vec<_>>(),
    })
}

fn phase(report: &Report, phase: &Phase, language: &Language) -> Value {
    let words = language.phase(phase.kind);
    json!({
        "kind": phase.kind,
        "name": words.name,
        "step": phase.step,
        "host": host(report, phase.lane),
        "from": stamp(phase.from),
        "from_ms": phase.from,
        "milliseconds": phase.to - phase.from,
        "depth": phase.depth,
        "rounds": phase.rounds,
        "settings": phase.advice.as_ref().map(|it| &it.settings),
        "could_be_milliseconds": phase.advice.as_ref().and_then(|it| it.could),
        "shorter": words.shorter,
        "costs": words.cost,
    })
}
