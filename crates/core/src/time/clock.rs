//! The wall clock. It is for what people read; time limits are [`crate::deadline::Deadline`]s.
#![allow(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]

use chrono::{DateTime, Local, SecondsFormat};
use std::time::SystemTime;

/// Local time as the operator's log shows it: `2022-08-30 15:39:23`.
pub fn stamp() -> String {
    Local::now().format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Local time with offset and milliseconds (RFC 3339), as the event log shows it.
pub fn event_stamp() -> String {
    Local::now().to_rfc3339_opts(SecondsFormat::Millis, false)
}

/// A name for one run of a tool: start time and pid, unique on a host.
pub fn run_name() -> String {
    format!(
        "{}-{}",
        Local::now().format("%Y%m%dT%H%M%S%3f"),
        std::process::id()
    )
}

/// Seconds since 1970, for what has to be compared with a later run's.
pub fn seconds() -> u64 {
    seconds_since(SystemTime::UNIX_EPOCH).unwrap_or(0)
}

/// Milliseconds since 1970, to be compared with another host's.
pub fn milliseconds() -> i64 {
    Local::now().timestamp_millis()
}

/// Seconds that went by since `time`; `None` when it lies in the future, by a second or more.
pub fn seconds_since(time: SystemTime) -> Option<u64> {
    let then: DateTime<Local> = time.into();
    u64::try_from((Local::now() - then).num_seconds()).ok()
}
