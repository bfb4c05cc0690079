//! What is judged from facts alone.

use super::fact::{Arguments, Seen};
use super::*;

fn source(name: &str, kind: LogKind, host: &str) -> Source {
    Source {
        name: name.to_owned(),
        kind: Some(kind),
        host: Some(host.to_owned()),
        zone: None,
        lines: 0,
        plain: 0,
        strange: 0,
        flaws: Vec::new(),
    }
}

const POOL: usize = 0;
const SCRIPT: usize = 1;
const OLD_SERVER: usize = 2;

/// A failover of 10.0.0.1 to 10.0.0.2, with seconds since midnight: the pool and the script of the one host, the
/// server of the other.
fn logs(more: &[(usize, i64, Fact)]) -> Logs {
    let arguments = Arguments {
        new_host: "10.0.0.2".to_owned(),
        failed_host: "10.0.0.1".to_owned(),
        old_host: "10.0.0.1".to_owned(),
        new_main: 1,
        ..Arguments::default()
    };
    let host = |it: &str| it.to_owned();
    let mut facts = vec![
        (POOL, 10, Fact::HealthTry(Some(0), 1)),
        (POOL, 20, Fact::NodeDown(0)),
        (POOL, 20, Fact::Degenerating(host("10.0.0.1"))),
        (POOL, 21, Fact::Command("failover_stream".to_owned())),
        (SCRIPT, 21, Fact::Begins),
        (SCRIPT, 21, Fact::Arguments(Box::new(arguments))),
        (SCRIPT, 21, Fact::Fences(host("10.0.0.1"))),
        (SCRIPT, 22, Fact::Promotes(host("10.0.0.2"))),
        (SCRIPT, 23, Fact::Promoted),
        (SCRIPT, 24, Fact::Ends),
        (POOL, 25, Fact::NewPrimary(1)),
        (POOL, 25, Fact::FailoverDone(host("10.0.0.1"))),
    ];
    facts.extend_from_slice(more);
    Logs {
        sources: vec![
            source("cluster.log", LogKind::Pool, "10.0.0.2"),
            source("failover.log", LogKind::Failover, "10.0.0.2"),
            source("server.log", LogKind::Server, "10.0.0.1"),
        ],
        facts: facts
            .into_iter()
            .map(|(source, at, fact)| Seen {
                at: at * 1_000,
                source,
                line: 1,
                fact,
            })
            .collect(),
    }
}

fn verdict(logs: &Logs, topic: Topic) -> (Level, Word) {
    let told = report(logs);
    assert_eq!(told.stories.len(), 1, "{:#?}", told.stories);
    let found = told.stories[0].verdicts.iter().find(|it| it.topic == topic);
    found.map(|it| (it.level, it.saying.word)).unwrap()
}

#[test]
fn two_writers_are_seen_in_the_old_primarys_own_log() {
    let stops = |at| (OLD_SERVER, at, Fact::ServerStops("fast".to_owned()));
    for (more, expected) in [
        (vec![], (Level::Unknown, Word::WritersUnknown)),
        (vec![stops(60)], (Level::Bad, Word::TwoWriters)),
        (
            vec![stops(12), (OLD_SERVER, 13, Fact::ServerDown)],
            (Level::Good, Word::OneWriterDown),
        ),
        // A power cut: it says nothing, and starts later.
        (
            vec![(OLD_SERVER, 60, Fact::ServerStarts), stops(70)],
            (Level::Unknown, Word::WritersUnknown),
        ),
        (
            vec![(SCRIPT, 22, Fact::Fenced("database was stopped".to_owned()))],
            (Level::Good, Word::OneWriterFenced),
        ),
        (
            vec![(SCRIPT, 22, Fact::Alive("it answers".to_owned()))],
            (Level::Bad, Word::OldAlive),
        ),
    ] {
        assert_eq!(verdict(&logs(&more), Topic::Writers), expected, "{more:?}");
    }
}

#[test]
fn what_is_lost_follows_from_how_commits_waited() {
    for (more, expected) in [
        (vec![], (Level::Unknown, Word::LossUnknown)),
        (
            vec![(SCRIPT, 23, Fact::Asynchronous)],
            (Level::Good, Word::NothingLostSync),
        ),
        (
            vec![(
                SCRIPT,
                22,
                Fact::Fenced("database was stopped, clean, shutdown checkpoint at 0/1".to_owned()),
            )],
            (Level::Good, Word::NothingLostClean),
        ),
    ] {
        assert_eq!(verdict(&logs(&more), Topic::Lost), expected, "{more:?}");
    }
}

#[test]
fn a_refusal_is_told_with_its_reason() {
    let mut logs = logs(&[(SCRIPT, 23, Fact::Refused("it lives".to_owned()))]);
    logs.facts.retain(|it| {
        !matches!(
            it.fact,
            Fact::Promoted | Fact::Promotes(_) | Fact::NewPrimary(_)
        )
    });
    let told = verdict(&logs, Topic::Refused);
    assert_eq!(told, (Level::Bad, Word::WasRefused));
}

#[test]
fn clocks_are_brought_together_by_what_both_saw() {
    const HOUR: i64 = 3_600_000;
    for (by, expected) in [
        (0, 0),
        // What lies between a command and its first line is no difference.
        (2_000, 0),
        (8 * HOUR, -8 * HOUR),
        (-8 * HOUR + 1_000, 8 * HOUR),
        (90_000, -90_000),
    ] {
        let mut logs = logs(&[]);
        for seen in logs.facts.iter_mut().filter(|it| it.source == SCRIPT) {
            seen.at += by;
        }
        let told = report(&logs);
        assert_eq!(told.sources[SCRIPT].2, expected, "{by}");
        assert_eq!(told.stories.len(), 1);
        let words: Vec<Word> = told.notes.iter().map(|it| it.word).collect();
        let word = match expected {
            0 => Word::ClocksAgree,
            -90_000 => Word::ClockOff,
            _ => Word::ZoneOff,
        };
        assert!(words.contains(&word), "{words:?}");
    }
}

#[test]
fn a_power_cut_begins_with_the_last_word_of_the_old_primary() {
    let mut logs = logs(&[
        (OLD_SERVER, 8, Fact::LastWord),
        (OLD_SERVER, 60, Fact::ServerStarts),
    ]);
    logs.facts.sort_by_key(|it| it.at);
    assert_eq!(report(&logs).stories[0].outage, Some((8_000, 25_000)));
}

#[test]
fn what_was_well_again_is_no_sign_of_trouble() {
    let logs = logs(&[
        (POOL, 2, Fact::HealthTry(Some(0), 1)),
        (POOL, 4, Fact::HealthGood),
    ]);
    let mut logs = logs;
    logs.facts.sort_by_key(|it| it.at);
    assert_eq!(report(&logs).stories[0].from, 10_000);
}
