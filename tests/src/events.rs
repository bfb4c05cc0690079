//! The tools' event log.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::host::Node;

/// One step of one run: a line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// The run that it belongs to.
    pub run: String,
    /// The step's name.
    pub step: String,
    /// Address of the host that it was done on.
    pub host: String,
    /// `done`, `already-so`, `skipped`, `warned` or `failed`.
    pub outcome: String,
    /// What was seen or done, or why it failed.
    pub detail: String,
    /// Wall clock at its start: `2026-01-31T16:42:01.123+00:00`.
    pub started: String,
    /// How long it took.
    pub milliseconds: u64,
}

impl Node {
    /// The events of all runs that this host has coordinated, oldest first.
    ///
    /// # Errors
    /// There are some that cannot be read, or make no sense.
    pub fn events(&self) -> Result<Vec<Event>> {
        let log = self.log("events.jsonl")?;
        log.lines()
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }
}
