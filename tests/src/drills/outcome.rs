//! What became of a drill, and the one screen that a failed one prints.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use serde::{Deserialize, Serialize};

use super::scene::{Played, Scene};
use super::{Drill, workspace};
use crate::host::Node;
use crate::lab::Lab;
use crate::prober::Prober;
use crate::watch::Watch;

/// Below the build directory: what each drill's last run measured, and its hosts' logs.
const RESULTS: &str = "target/drills";

/// What became of a drill.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// What happened that must not; empty if all went well.
    pub problems: Vec<String>,
    /// All that was seen, if something went wrong.
    pub screen: String,
    /// The client's longest time without an acknowledged row.
    pub gap: Duration,
    /// From the harm until the cluster was whole.
    pub redundant: Option<Duration>,
    /// Acknowledged rows, and those of them that were lost.
    pub rows: (usize, usize),
    /// For how long two databases took writes, at most.
    pub two_writers: Duration,
    /// Why rows may be lost, or two write.
    pub excuse: String,
    /// What was done and seen, and when.
    #[serde(default)]
    pub diary: Vec<String>,
    /// Lines that the operator reads.
    pub reads: Vec<String>,
    /// Times that were measured besides, and of what.
    #[serde(default)]
    pub figures: Vec<(String, Duration)>,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    pub(super) fn without_lab(drill: &Drill, error: &Error, took: Duration) -> Self {
        Self {
            name: drill.name(),
            problems: vec![format!("{error:#}")],
            screen: String::new(),
            gap: Duration::ZERO,
            redundant: None,
            rows: (0, 0),
            two_writers: Duration::ZERO,
            excuse: String::new(),
            diary: Vec::new(),
            reads: Vec::new(),
            figures: Vec::new(),
            took,
        }
    }

    pub(super) fn of(
        drill: &Drill,
        lab: &Lab,
        scene: Scene<'_>,
        played: Played,
        begun: Instant,
    ) -> Self {
        let expected = match played {
            Ok(expected) => expected,
            Err(error) => {
                // As it is now, before anything else happens.
                let now = states(lab, scene.watch());
                let (watch, seen) = scene.end();
                let mut outcome = Self::without_lab(drill, &error, begun.elapsed());
                outcome.diary = seen.lines();
                outcome.gap = watch.client().longest_gap();
                outcome.figures = seen.figures;
                outcome.screen = screen(&outcome.diary, &now, &save_logs(drill, lab));
                return outcome;
            }
        };
        let (watch, seen) = scene.end();
        let before = states(lab, &watch);
        let answers = watch.answers(&expected);
        let saved = save_logs(drill, lab);
        let screen = match answers.problems.is_empty() {
            true => String::new(),
            false => screen(&seen.lines(), &before, &saved),
        };
        let excuses = [
            expected.may_lose.map(|it| it.why),
            expected.two.map(|it| it.why),
        ];
        Self {
            name: drill.name(),
            problems: answers.problems,
            screen,
            gap: answers.client.longest_gap,
            redundant: seen.redundant,
            rows: (answers.acknowledged, answers.lost.len()),
            two_writers: answers.two_writers.map(|it| it.overlap).unwrap_or_default(),
            excuse: excuses.into_iter().flatten().collect::<Vec<_>>().join("; "),
            diary: seen.lines(),
            reads: seen.reads,
            figures: seen.figures,
            took: begun.elapsed(),
        }
    }

    /// Did all go well?
    pub fn passed(&self) -> bool {
        self.problems.is_empty()
    }

    /// Keeps it for the table.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn keep(&self) -> Result<()> {
        let directory = workspace(RESULTS)?.join("results");
        fs::create_dir_all(&directory)?;
        let file = directory.join(format!("{}.json", self.name));
        fs::write(&file, serde_json::to_vec_pretty(self)?).context(file.display().to_string())
    }

    /// Keeps the hosts' logs of one round where the next one does not remove them.
    ///
    /// # Errors
    /// They cannot be moved.
    pub fn keep_logs(&self, seed: u64) -> Result<()> {
        let all = workspace(RESULTS)?;
        let kept = all.join(format!("{}-seed-{seed}", self.name));
        crate::files::remove(&kept)?;
        fs::rename(all.join(&self.name), &kept).context(kept.display().to_string())?;
        let diary = self.diary.join("\n") + "\n";
        fs::write(kept.join("diary"), diary).context("the diary")
    }

    /// What the last run of a drill has kept; `None` if there was none.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn kept(drill: &Drill) -> Result<Option<Self>> {
        let file = format!("results/{}.json", drill.name());
        let file = workspace(RESULTS)?.join(file);
        if !file.exists() {
            return Ok(None);
        }
        let text = fs::read(&file).with_context(|| file.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| file.display().to_string())
    }
}

fn save_logs(drill: &Drill, lab: &Lab) -> Result<PathBuf> {
    let directory = workspace(RESULTS)?.join(drill.name());
    lab.copy_logs(&directory)?;
    Ok(directory)
}

/// One screen: what was seen, when, on which host, and where the logs are.
fn screen(diary: &[String], now: &str, saved: &Result<PathBuf>) -> String {
    let mut text = String::from("  seen (UTC, and since the client began):\n");
    let first = diary.len().saturating_sub(16);
    for line in &diary[first..] {
        let _ = writeln!(text, "    {line}");
    }
    text += now;
    let _ = match saved {
        Ok(directory) => writeln!(text, "  logs of all hosts: {}", directory.display()),
        Err(error) => writeln!(text, "  logs of the hosts are lost: {error:#}"),
    };
    text
}

/// One line for each host and its last words, and one for the pool.
fn states(lab: &Lab, watch: &Watch<'_>) -> String {
    let mut text = String::from("  hosts:\n");
    for node in lab.hosts() {
        let _ = writeln!(text, "    {}: {}", node.name(), state(node));
        let spans = spans(watch.prober(), watch.begun(), node.number());
        if !spans.is_empty() {
            let _ = writeln!(text, "      took writes {spans}");
        }
        for log in ["failover.log", "recovery.log"] {
            for line in last_words(&node.log(log).unwrap_or_default()) {
                let _ = writeln!(text, "      {log}: {line}");
            }
        }
    }
    let pool = match lab.pool_nodes() {
        Ok(nodes) => nodes
            .iter()
            .map(|it| format!("{} {} {}", it.hostname, it.status, it.role))
            .collect::<Vec<_>>()
            .join(", "),
        Err(error) => format!("{error:#}"),
    };
    let _ = writeln!(text, "  pool: {pool}");
    text
}

fn state(node: &Node) -> String {
    if !node.is_up() {
        return "off".to_owned();
    }
    let limit = Duration::from_secs(2);
    let question = "select case when pg_is_in_recovery() then 'standby' else 'primary' end, \
                    timeline_id from pg_control_checkpoint()";
    let database = match (node.has_database(), node.pids_of_database().len()) {
        (false, _) => "none".to_owned(),
        (true, 0) => "down".to_owned(),
        (true, processes) => match node.query(question, limit) {
            Ok(table) => table.to_string().replace('|', ", timeline "),
            Err(_) => format!("{processes} processes that do not answer"),
        },
    };
    let held = [
        (node.has_vip(), ", database VIP"),
        (node.has_pool_vip(), ", pool VIP"),
    ];
    let held = held
        .into_iter()
        .filter(|(held, _)| held.as_ref().is_ok_and(|it| *it));
    let held: String = held.map(|(_, name)| name).collect();
    format!("database {database}{held}")
}

/// When a host's database took writes: the last three times.
fn spans(prober: &Prober, begun: Instant, number: u8) -> String {
    let all = prober.spans(number);
    let first = all.len().saturating_sub(3);
    let words = all[first..].iter().map(|span| {
        let after = |at: Instant| at.saturating_duration_since(begun).as_secs_f64();
        format!("{:.1}-{:.1} s", after(span.from), after(span.to))
    });
    words.collect::<Vec<_>>().join(", ")
}

/// What a log says of its last decision or failure: two lines.
fn last_words(log: &str) -> Vec<&str> {
    let telling = ["decision: ", "failed", "refus", "old primary", "warning: "];
    let mut lines: Vec<&str> = log
        .lines()
        .rev()
        .filter(|line| telling.iter().any(|word| line.contains(word)))
        .take(2)
        .collect();
    lines.reverse();
    lines
}
