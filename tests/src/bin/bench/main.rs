//! `bench`: the tools beside what they could be replaced by, on the same hosts in the same minute.

mod contenders;
mod failover;
mod figures;
mod idle;
mod recovery;
mod snapshot;
mod steps;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};

use figures::{Table, Verdict, verdicts};
use steps::{Steps, svg};

/// Fewer are for a quick look, and not for the docs.
const COMPLETE: usize = 9;

/// Measures failover, recovery and the idle minute against bare steps, pgpool-II's sample, repmgr and
/// a shell version of the case study. A complete run takes about an hour. Needs root, and the packages
/// that `make bench` installs.
#[derive(Debug, Parser)]
#[command(version, after_help = "Example: bench --only idle --repetitions 3")]
struct Cli {
    /// One part only
    #[arg(long)]
    only: Option<Name>,
    /// How often each contender is measured
    #[arg(long, default_value_t = COMPLETE)]
    repetitions: usize,
    /// Directory for bench.md and bench.svg; written after a complete run
    #[arg(long)]
    docs: Option<PathBuf>,
    /// Beside another build of the tools, in this directory, and nothing else
    #[arg(long, value_name = "DIR")]
    beside: Option<PathBuf>,
    /// Name of the lab
    #[arg(long, default_value = "bench")]
    lab: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Failover,
    Recovery,
    /// Of a large data directory, and of one with many files
    Large,
    Idle,
}

/// What one part has measured.
#[derive(Default)]
struct Part {
    tables: Vec<Table>,
    verdicts: Vec<Verdict>,
    steps: Vec<Steps>,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    ensure!(cli.repetitions > 0, "at least one repetition");
    let (begin, load) = (Instant::now(), load_before());
    let beside = cli.beside.as_deref();
    let mut parts = Vec::new();
    for name in [Name::Failover, Name::Recovery, Name::Large, Name::Idle] {
        if cli.only.is_some_and(|only| only != name) {
            continue;
        }
        let part = match name {
            Name::Failover => failover::run(&cli.lab, cli.repetitions, beside)?,
            Name::Recovery => recovery::run(&cli.lab, cli.repetitions, beside, false)?,
            Name::Large => recovery::run(&cli.lab, cli.repetitions, beside, true)?,
            Name::Idle => idle::run(&cli.lab, cli.repetitions, beside)?,
        };
        lab::show(&text(&part));
        for steps in &part.steps {
            lab::say!("{}", steps.chart());
        }
        parts.push(part);
    }
    let minutes = begin.elapsed().as_secs() / 60;
    lab::say!("{minutes} minutes, {} repetitions", cli.repetitions);
    match cli.docs {
        Some(docs) if cli.only.is_none() && beside.is_none() && cli.repetitions >= COMPLETE => {
            let run = format!("{} repetitions, {minutes} minutes. {load}", cli.repetitions);
            write_docs(&docs, &parts, &run)
        }
        Some(_) => {
            lab::say!("not a complete run: the docs stay as they are");
            Ok(())
        }
        None => Ok(()),
    }
}

/// In which order the contenders take their turns: who comes first changes, and who comes after whom.
fn order(repetition: usize, of: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..of).map(|turn| (turn + repetition) % of).collect();
    if repetition % 2 == 1 {
        order.reverse();
    }
    order
}

/// A figure of these tools beside that of another build.
fn beside_before(what: &str, ours: Option<f64>, before: Option<f64>) -> Verdict {
    let ratio = ours.zip(before).map(|(ours, before)| ours / before);
    Verdict::at_most(format!("{what}, to the other build"), 1.1, "times", ratio)
}

/// For whoever waits.
fn progress(what: &str, done: usize, of: usize) {
    lab::complain!("{what}: repetition {} of {of}", done + 1);
}

/// How often something was measured anew.
static REPEATED: AtomicUsize = AtomicUsize::new(0);

/// Measures once. What the tools are compared with may fail one time in an hour, and is tried again;
/// the tools may not.
fn measured(what: &str, ours: bool, mut measure: impl FnMut() -> Result<()>) -> Result<()> {
    match measure() {
        Err(error) if !ours => {
            lab::complain!("{what} failed, once more: {error:#}");
            REPEATED.fetch_add(1, Ordering::Relaxed);
            measure().with_context(|| what.to_owned())
        }
        result => result.with_context(|| what.to_owned()),
    }
}

fn text(part: &Part) -> String {
    let tables = part.tables.iter();
    let text = tables.fold(String::new(), |text, table| text + &format!("{table}\n"));
    text + &verdicts(&part.verdicts) + "\n"
}

fn write_docs(docs: &Path, parts: &[Part], run: &str) -> Result<()> {
    let mut text = format!(
        "# Figures side by side\n\n\
         Written by `make bench`, which runs everything below on the same hosts (namespaces of one machine: \
         {}) in the same minutes: the contenders take turns within a repetition, and their order changes. \
         {run} A cell is min / median / max; a ratio is that of the medians, to the first row that has one. \
         Measurements of others that failed and were made anew: {}; of ours none may fail.\n\n\
         - *failover*: from the start of the command on the new primary's host; the pool's own time to notice \
         is not in it. Ours, the shell version and pgpool-II's sample are started as the pool starts them, the \
         bare promotion and repmgr there as the database's user. These two and pgpool-II's sample fence \
         nothing, leave the database VIP where it is, and do not make the new primary asynchronous: that is done \
         for them beforehand, else they would never come to a commit. repmgr asks the old primary first, with \
         the `connect_timeout=2` of its manual. The longest client gap is that of a client that writes through the \
         VIP all the time.\n\
         - *recovery*: from the start of the command until the primary shows the node streaming. The old \
         primary was shut down cleanly, since repmgr rejoins no other; where it was killed, that is said.\n\
         - *idle minute*: a run with nothing to do, on a cluster that is well. Its ping is measured apart, the \
         processes and logins (connections to 22, to the database and to the pool) are counted by `strace` in a run \
         that is not timed; memory is that of the largest process.\n\
         - *shell*: the case study's scripts, written from its logs with the waits that these show \
         (`tests/shell`).\n\n\
         ![Where the time goes, step by step](bench.svg)\n\n",
        machine(),
        REPEATED.load(Ordering::Relaxed)
    );
    for part in parts {
        let _ = writeln!(text, "{}", self::text(part));
    }
    for (name, text) in [
        ("bench.md", text.trim_end().to_owned() + "\n"),
        ("bench.svg", drawing(parts)),
    ] {
        let path = docs.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn drawing(parts: &[Part]) -> String {
    svg(parts.iter().flat_map(|part| &part.steps))
}

/// Whether others were at work on the machine.
fn load_before() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let of_a_minute = load.split_whitespace().next().unwrap_or("unknown");
    format!("Load average before: {of_a_minute}.")
}

/// Whoever compares has to know on what.
fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |it| it.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, {model}")
}
