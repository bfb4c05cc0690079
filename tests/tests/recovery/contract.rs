//! The log of a recovery is that of the case study.

use anyhow::Result;
use lab::Lab;

use crate::scene::{power_cycle, recover, two_hosts};

/// The log of the case study, as it has to be here. `?` begins a line that need not be there: the
/// fork's own, and of steps that do not apply. `{time}`, `{number}` and `{lsn}` stand for values
/// of that kind, `{any}` for any text.
const CASE_STUDY: &str = include_str!("../../fixtures/recovery.log");

#[test]
fn the_log_is_the_contract() -> Result<()> {
    Lab::with(two_hosts("recovery-log"), |lab| {
        let old = lab.node(101);
        let new = power_cycle(lab, 101)?;
        recover(old)?;
        lab.is_whole(new)?;
        assert_is_the_contract(&old.recovery_log()?);
        Ok(())
    })
}

/// The lines of the case study are there in its order. Others of ours may come between them.
fn assert_is_the_contract(log: &str) {
    let mut rest = log.lines();
    for line in CASE_STUDY.lines() {
        let (pattern, optional) = match line.strip_prefix('?') {
            Some(pattern) => (pattern, true),
            None => (line, false),
        };
        let mut ahead = rest.clone();
        if ahead.any(|line| fits(pattern, line)) {
            rest = ahead;
        } else {
            let rest: Vec<&str> = rest.clone().collect();
            assert!(optional, "no {pattern:?} in {rest:#?}");
        }
    }
}

fn fits(pattern: &str, line: &str) -> bool {
    let Some((before, (kind, after))) = pattern
        .split_once('{')
        .and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    else {
        return pattern == line;
    };
    line.strip_prefix(before).is_some_and(|line| {
        let mut ends = (0..=line.len()).filter(|end| line.is_char_boundary(*end));
        ends.any(|end| is_a(kind, &line[..end]) && fits(after, &line[end..]))
    })
}

fn is_a(kind: &str, text: &str) -> bool {
    let all =
        |text: &str, kind: fn(&u8) -> bool| !text.is_empty() && text.bytes().all(|b| kind(&b));
    match kind {
        "time" => {
            let shape = "2022-08-30 16:42:01";
            text.len() == shape.len()
                && text.bytes().zip(shape.bytes()).all(|(found, wanted)| {
                    found == wanted && !wanted.is_ascii_digit()
                        || found.is_ascii_digit() && wanted.is_ascii_digit()
                })
        }
        "number" => all(text, u8::is_ascii_digit),
        "lsn" => text.split_once('/').is_some_and(|(high, low)| {
            all(high, u8::is_ascii_hexdigit) && all(low, u8::is_ascii_hexdigit)
        }),
        "any" => true,
        _ => unreachable!("{{{kind}}} in the pattern"),
    }
}

#[test]
fn patterns_fit_what_they_should() {
    for (pattern, line) in [
        ("my pid is {number},go", "my pid is 11927,go"),
        ("{time} a ... ", "2026-08-30 06:42:59 a ... "),
        (
            "at {lsn} on timeline {number}",
            "at 0/66000028 on timeline 15",
        ),
        (" 0 {any}| down {any}| x", " 0 | 1 | down | 3 | x"),
        ("{any}Done!", "Done!"),
        ("{any}Done!", "pg_rewind: Done!"),
    ] {
        assert!(fits(pattern, line), "{pattern} {line}");
    }
    for (pattern, line) in [
        ("my pid is {number},go", "my pid is ,go"),
        ("{time} a", "2026-08-30 6:42:59 a"),
        ("at {lsn}", "at 0/"),
        ("Done!", "Done! "),
    ] {
        assert!(!fits(pattern, line), "{pattern} {line}");
    }
}
