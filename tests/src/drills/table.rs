//! `docs/drills.md`: the table, and the words around it.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::outcome::Outcome;
use super::{all, workspace};

const FILE: &str = "docs/drills.md";

const BEFORE: &str = include_str!("before.md");
const AFTER: &str = "\n## What was lost\n\n\
    A synchronous cluster lost no acknowledged row, but for what an operator allows with \
    `SYNC_DEGRADE=always` or `PROMOTE_WITHOUT_FENCE=always` where both sides of a cut write. An \
    asynchronous one can lose what had not reached the new primary (a few milliseconds of writes, where \
    the old one dies), and all that an old primary acknowledged on its side of a cut until it stopped \
    itself: up to a minute of writes, or as long as the cut lasts where it still sees its gateway. \
    Measured, with clients that write a row each 5 ms:\n\n";

/// Writes the table from what the last run of each drill has measured. One that was not run is in it as
/// that.
///
/// # Errors
/// One of them did not pass.
pub fn write_table() -> Result<()> {
    let mut text = BEFORE.to_owned();
    let mut lost = String::new();
    for drill in all() {
        let way = drill.aside();
        let Some(outcome) = Outcome::kept(&drill)? else {
            let _ = writeln!(
                text,
                "| {} | {}{way} | not run yet | | | |",
                drill.row, drill.what
            );
            continue;
        };
        ensure!(outcome.passed(), "{} did not pass", outcome.name);
        let reads = outcome
            .reads
            .iter()
            .map(|line| format!("`{}`", line.replace('|', "\\|")));
        let _ = writeln!(
            text,
            "| {} | {}{way} | {} | {} | {} | {} |",
            drill.row,
            drill.what,
            result(&outcome),
            seconds(Some(outcome.gap)),
            seconds(outcome.redundant),
            reads.collect::<Vec<_>>().join("<br>"),
        );
        if outcome.rows.1 > 0 {
            let (_, gone) = outcome.rows;
            let both = match outcome.two_writers {
                Duration::ZERO => String::new(),
                time => format!(" in the {} in which two took writes", seconds(Some(time))),
            };
            let _ = writeln!(
                lost,
                "- {}{way}: {gone} acknowledged rows{both}. Why: {}.",
                drill.row, outcome.excuse
            );
        }
    }
    let _ = write!(
        text,
        "{AFTER}{}",
        match lost.as_str() {
            "" => "- nothing in any drill.\n",
            lost => lost,
        }
    );
    fs::write(workspace(FILE)?, text)?;
    Ok(())
}

fn result(outcome: &Outcome) -> String {
    let mut words = vec!["as expected".to_owned()];
    if outcome.rows.1 > 0 {
        words.push(format!("{} rows lost", outcome.rows.1));
    }
    if outcome.two_writers > Duration::ZERO {
        words.push(format!(
            "two took writes for {}",
            seconds(Some(outcome.two_writers))
        ));
    }
    words.join(", ")
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or("-".to_owned(), |time| {
        format!("{:.1} s", time.as_secs_f64())
    })
}
