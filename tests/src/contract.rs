//! The logs of the case study, which the tools' logs have to be like: `failover.log` exactly, but for
//! lines of ours, `recovery.log` line by line in its order.

use anyhow::{Result, ensure};

use crate::flavor::Flavor;

const FAILOVER: &str = include_str!("../fixtures/failover.log");
/// As the log has to be here. `?` begins a line that need not be there: the fork's own, and of steps
/// that do not apply. `{time}`, `{number}` and `{lsn}` stand for values of that kind, `{any}` for any
/// text.
const RECOVERY: &str = include_str!("../fixtures/recovery.log");
const RECOVERY_V8R3: &str = include_str!("../fixtures/recovery.v8r3.log");

/// Is this, the log of a power cut of node101, that of the case study?
///
/// # Errors
/// The first line that differs.
pub fn failover(log: &str, flavor: Flavor) -> Result<()> {
    let wanted = case_study(flavor);
    let log = without_times(log);
    let mut lines: Vec<&str> = log.lines().collect();
    let wanted: Vec<&str> = wanted.lines().collect();
    lines.retain(|line| !line.starts_with("TIME old primary 192.168.1.101 is unreachable: "));
    for at in 0..lines.len().max(wanted.len()) {
        let (seen, wanted) = (lines.get(at), wanted.get(at));
        ensure!(
            seen == wanted,
            "{seen:?} in the place of {wanted:?} in {log}"
        );
    }
    Ok(())
}

/// The log of the case study, with the names that are others here.
fn case_study(flavor: Flavor) -> String {
    let names: &[(&str, &str)] = match flavor {
        Flavor::Kingbase => &[],
        Flavor::Postgres => &[
            ("ksql", "psql"),
            ("kingbase is ok", "postgres is ok"),
            ("kingbase status", "postgres status"),
            (" SYS_RELOAD_CONF", " pg_reload_conf"),
            (
                "/home/kingbase/cluster/R3HA/db/bin/arping",
                "/usr/bin/arping",
            ),
        ],
    };
    names
        .iter()
        .fold(without_times(FAILOVER), |log, (theirs, ours)| {
            log.replace(theirs, ours)
        })
}

/// `TIME` in place of each `2022-08-30 15:39:23`.
fn without_times(log: &str) -> String {
    let pattern = b"dddd-dd-dd dd:dd:dd";
    let is_time = |text: &[u8]| {
        let pairs = text.iter().zip(pattern);
        text.len() == pattern.len()
            && pairs.into_iter().all(|(found, wanted)| match wanted {
                b'd' => found.is_ascii_digit(),
                _ => found == wanted,
            })
    };
    let times = log
        .as_bytes()
        .windows(pattern.len())
        .filter(|it| is_time(it));
    times.fold(log.to_owned(), |log, time| {
        log.replace(&*String::from_utf8_lossy(time), "TIME")
    })
}

/// Are the lines of the case study's recovery in this log, in its order? Others of ours may come
/// between them.
///
/// # Errors
/// The first line that is not there.
pub fn recovery(log: &str, flavor: Flavor) -> Result<()> {
    let wanted = match flavor {
        Flavor::Postgres => RECOVERY,
        Flavor::Kingbase => RECOVERY_V8R3,
    };
    // The case study's nodes have the names of their hosts.
    let names = [101, 102].map(|number| (format!("node{number}"), flavor.application_name(number)));
    let wanted = names
        .iter()
        .fold(wanted.to_owned(), |text, (theirs, ours)| {
            text.replace(theirs, ours)
        });
    let mut rest = log.lines();
    for line in wanted.lines() {
        let (pattern, optional) = match line.strip_prefix('?') {
            Some(pattern) => (pattern, true),
            None => (line, false),
        };
        let mut ahead = rest.clone();
        if ahead.any(|line| fits(pattern, line)) {
            rest = ahead;
        } else {
            let rest: Vec<&str> = rest.clone().collect();
            ensure!(optional, "no {pattern:?} in {rest:#?}");
        }
    }
    Ok(())
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
        // No such kind.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
