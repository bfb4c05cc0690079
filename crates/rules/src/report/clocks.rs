//! Brings the clocks of the logs together, by what two of them saw.

use super::fact::{Fact, LogKind, Logs, Seen};
use super::hosts::Hosts;
use super::said::{Saying, Word};
use std::collections::BTreeMap;

/// In which zones differ, in milliseconds.
const QUARTER: i64 = 15 * 60_000;
/// Less than this may be the time between what two logs saw, and no difference of their clocks.
const NOISE: i64 = 2_500;
/// As far as two clocks are believed to be apart, a day of zones included.
const MOST: i64 = 26 * 3_600_000;

/// What a clock that nobody sets is off by, at most.
const FAR: i64 = 10 * 60_000;

/// What two logs see at about the same time, with what tells it from others of its kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Both {
    Script,
    ScriptOver,
    Failover(String),
    Back(i64),
    Promotion,
    Run(String),
}

/// What a fact is for comparing clocks.
fn both(fact: &Fact, kind: LogKind) -> Option<Both> {
    Some(match fact {
        Fact::Command(_) | Fact::Begins => Both::Script,
        Fact::Search if kind == LogKind::Pool => Both::ScriptOver,
        Fact::Ends => Both::ScriptOver,
        Fact::Degenerating(host) => Both::Failover(host.clone()),
        Fact::FailbackDone(_) | Fact::Attached => Both::Back(0),
        Fact::PromoteRequest | Fact::Promotes(_) => Both::Promotion,
        Fact::Step(step) if step.name == "promote.promote" => Both::Promotion,
        Fact::Step(step) if step.name == "trust-ip" => Both::Run("begins".to_owned()),
        _ => return None,
    })
}

/// By how many milliseconds each source is to be moved, and what is said of it.
pub fn shifts(logs: &Logs, hosts: &Hosts) -> (Vec<i64>, Vec<Saying>) {
    let mut marks: Vec<BTreeMap<Both, Vec<i64>>> = vec![BTreeMap::new(); logs.sources.len()];
    for Seen {
        at, source, fact, ..
    } in &logs.facts
    {
        let kind = logs.sources[*source].kind;
        if hosts.strangers.contains(source) {
            continue;
        }
        if let Some(both) = kind.and_then(|kind| both(fact, kind)) {
            marks[*source].entry(both).or_default().push(*at);
        }
    }
    let mut shift: Vec<Option<i64>> = vec![None; logs.sources.len()];
    let mut said = Vec::new();
    // The pool that started a command comes first: all others are told by its clock.
    let mut order: Vec<usize> = (0..logs.sources.len())
        .filter(|at| !hosts.strangers.contains(at) && logs.sources[*at].kind.is_some())
        .collect();
    order.sort_by_key(|at| {
        let runs = marks[*at].contains_key(&Both::Script);
        (!runs, logs.sources[*at].kind, *at)
    });
    let Some(first) = order.first().copied() else {
        return (vec![0; logs.sources.len()], said);
    };
    shift[first] = Some(0);
    let mut compared = false;
    loop {
        let found = order.iter().find_map(|at| {
            if shift[*at].is_some() {
                return None;
            }
            let known = order.iter().filter_map(|it| Some((*it, shift[*it]?)));
            let mut known = known.filter_map(|(it, by)| Some(by + apart(&marks[it], &marks[*at])?));
            known.next().map(|by| (*at, by))
        });
        let Some((at, by)) = found else { break };
        compared = true;
        shift[at] = Some(by);
        said.extend(saying(logs, hosts, at, by));
    }
    if compared && said.is_empty() {
        said.push(Saying::of(Word::ClocksAgree));
    }
    rest(logs, hosts, &order, &mut shift, &mut said);
    (shift.into_iter().map(|it| it.unwrap_or(0)).collect(), said)
}

/// Those with nothing that another one saw: as the other logs of their host, else by their zone, else as they
/// are written.
fn rest(
    logs: &Logs,
    hosts: &Hosts,
    order: &[usize],
    shift: &mut [Option<i64>],
    said: &mut Vec<Saying>,
) {
    let frame = order.iter().find_map(|at| {
        let zone = logs.sources[*at].zone?;
        Some(i64::from(zone) * 60_000 + shift[*at]?)
    });
    let mut told: Vec<Option<usize>> = vec![hosts.of[order[0]]];
    for at in order {
        if shift[*at].is_some() {
            continue;
        }
        let source = &logs.sources[*at];
        let own = i64::from(source.zone.unwrap_or(0)) * 60_000;
        let by_zone = frame
            .filter(|_| source.zone.is_some())
            .map(|frame| frame - own);
        let sibling = order.iter().find_map(|it| {
            let same = hosts.of[*it].is_some() && hosts.of[*it] == hosts.of[*at];
            let alike = logs.sources[*it].zone.is_none() == source.zone.is_none();
            shift[*it].filter(|_| same && alike && it != at)
        });
        let by = by_zone.or(sibling).unwrap_or(0);
        shift[*at] = Some(by);
        if by != 0 {
            said.extend(saying(logs, hosts, *at, by));
        } else if !told.contains(&hosts.of[*at]) && logs.facts.iter().any(|it| it.source == *at) {
            // Once for each host.
            told.push(hosts.of[*at]);
            said.push(Saying::of(Word::ClockAsWritten).text("log", &source.name));
        }
    }
}

fn saying(logs: &Logs, hosts: &Hosts, at: usize, by: i64) -> Option<Saying> {
    if by == 0 {
        return None;
    }
    let word = match by % QUARTER {
        0 => Word::ZoneOff,
        _ => Word::ClockOff,
    };
    let host = hosts.of[at].map_or("", |lane| hosts.name(lane));
    let said = Saying::of(word).text("log", &logs.sources[at].name);
    Some(said.text("host", host).span("by", -by))
}

/// By how much the second is to be moved to fit the first; `None`: they saw nothing in common. Of all differences
/// that occur, the one that most pairs agree with, and of those the smallest.
fn apart(one: &BTreeMap<Both, Vec<i64>>, other: &BTreeMap<Both, Vec<i64>>) -> Option<i64> {
    const PAIRS: usize = 400;
    let mut all: Vec<i64> = Vec::new();
    for (what, times) in one {
        for there in other.get(what).into_iter().flatten() {
            all.extend(times.iter().map(|here| here - there));
        }
    }
    all.retain(|it| it.abs() <= MOST);
    // The smallest are enough where there are many.
    all.sort_by_key(|it| it.abs());
    all.truncate(PAIRS);
    let support = |by: i64| all.iter().filter(|it| (**it - by).abs() <= NOISE).count();
    let best = all
        .iter()
        .copied()
        .max_by_key(|by| (support(*by), -by.abs()))?;
    let zones = (best as f64 / QUARTER as f64).round() as i64 * QUARTER;
    // What is left of a difference between zones is the time between what both saw.
    match (best - zones).abs() <= NOISE {
        true => Some(zones),
        // One pair that far apart is as well two things on two days.
        false if best.abs() > FAR && support(best) < 2 => None,
        false => Some(best),
    }
}
