//! What the runs on this host did, by its log of events. Looks, and changes nothing.

use crate::deadline::Deadline;
use crate::host::ThisHost;
use crate::journal::{Event, Outcome};
use crate::workers;
use anyhow::{Context, Result};
use chrono::DateTime;
use failover_rules::facts::run::{Run, StepSeen, in_order, run};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::IpAddr;
use std::path::Path;

/// Of each file so many bytes from its end: some weeks of quiet minutes.
const MOST_BYTES: u64 = 16 << 20;
/// Runs that are told at most, the last ones.
const MOST_RUNS: usize = 1_000;

/// By `EVENT_LOG`, and the one before it where logs are rotated.
///
/// # Errors
/// The log cannot be read, or not in time. None at all is no error.
pub fn look(host: &ThisHost, deadline: Deadline) -> Result<Vec<Run>> {
    let address = host.config.kb_localhost_ip;
    let log = host.config.event_log.clone();
    let before = log.with_file_name(format!(
        "{}.1",
        log.file_name().unwrap_or_default().to_string_lossy()
    ));
    let read = workers::within(deadline, move || -> Result<String> {
        let text = |file: &Path| {
            end_of(file).with_context(|| format!("failed to read {}", file.display()))
        };
        Ok(text(&before)? + &text(&log)?)
    });
    let text = read.context("the log of events was not read in time: its disk hangs")??;
    Ok(runs(address, &text))
}

fn end_of(file: &Path) -> io::Result<String> {
    let mut file = match File::open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        file => file?,
    };
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(MOST_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A line that is none of ours, or only half of one, is passed over.
fn runs(host: IpAddr, text: &str) -> Vec<Run> {
    let mut steps: BTreeMap<String, Vec<StepSeen>> = BTreeMap::new();
    for line in text.lines() {
        let Ok(event) = serde_json::from_str::<Event>(line) else {
            continue;
        };
        let Ok(started) = DateTime::parse_from_rfc3339(&event.started) else {
            continue;
        };
        let seen = StepSeen {
            run: event.run.clone(),
            step: event.step,
            did: event.outcome == Outcome::Done,
            failed: event.outcome == Outcome::Failed,
            detail: event.detail,
            started: event.started,
            started_ms: started.timestamp_millis(),
            milliseconds: event.milliseconds,
        };
        steps.entry(event.run).or_default().push(seen);
    }
    let all = steps.into_values().filter_map(|steps| run(host, &steps));
    let mut all = in_order(all.collect());
    all.split_off(all.len().saturating_sub(MOST_RUNS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_and_what_is_no_event_are_passed_over() {
        let event = |run: &str, step: &str, at: u8| {
            format!(
                r#"{{"run":"{run}","step":"{step}","host":"192.168.1.102","outcome":"done","detail":"x","started":"2026-12-01T02:35:{at:02}.000+00:00","milliseconds":250}}"#
            )
        };
        let text = [
            r#"ail":"cut at the beginning"}"#,
            &event("b", "fence", 10),
            "{}",
            "nonsense",
            &event("a", "disk", 1),
            &event("b", "promote", 12),
            "{\"run\":\"b\"",
        ]
        .join("\n");
        let host = IpAddr::from([192, 168, 1, 102]);
        let found = runs(host, &text);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].name.as_str(), found[0].milliseconds),
            ("b", 2_250)
        );
        assert_eq!(runs(host, ""), []);
    }

    #[test]
    fn of_a_long_file_the_end_is_read_and_none_at_all_is_no_error() {
        let file = std::env::temp_dir().join(format!("events-{}", crate::clock::run_name()));
        assert_eq!(end_of(&file).unwrap(), "");
        let length = usize::try_from(MOST_BYTES).unwrap();
        std::fs::write(&file, format!("first{}last", " ".repeat(length))).unwrap();
        let end = end_of(&file).unwrap();
        assert_eq!(end.len(), length);
        assert!(end.ends_with("last") && !end.contains("first"));
        std::fs::remove_file(&file).unwrap();
    }
}
