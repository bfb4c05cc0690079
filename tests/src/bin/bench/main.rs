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
    /// Name of the lab
    #[arg(long, default_value = "bench")]
    lab: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Failover,
    Recovery,
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
    let begin = Instant::now();
    let mut parts = Vec::new();
    for name in [Name::Failover, Name::Recovery, Name::Idle] {
        if cli.only.is_some_and(|only| only != name) {
            continue;
        }
        let part = match name {
            Name::Failover => failover::run(&cli.lab, cli.repetitions)?,
            Name::Recovery => recovery::run(&cli.lab, cli.repetitions)?,
            Name::Idle => idle::run(&cli.lab, cli.repetitions)?,
        };
        print!("{}", text(&part));
        for steps in &part.steps {
            println!("{}", steps.chart());
        }
        parts.push(part);
    }
    let minutes = begin.elapsed().as_secs() / 60;
    println!("{minutes} minutes, {} repetitions", cli.repetitions);
    match cli.docs {
        Some(docs) if cli.only.is_none() && cli.repetitions >= COMPLETE => {
            write_docs(&docs, &parts, cli.repetitions, minutes)
        }
        Some(_) => {
            println!("not a complete run: the docs stay as they are");
            Ok(())
        }
        None => Ok(()),
    }
}

/// For whoever waits.
fn progress(what: &str, done: usize, of: usize) {
    eprintln!("{what}: repetition {} of {of}", done + 1);
}

/// Measures once. What the tools are compared with may fail one time in an hour, and is tried again;
/// the tools may not.
fn measured(what: &str, ours: bool, mut measure: impl FnMut() -> Result<()>) -> Result<()> {
    match measure() {
        Err(error) if !ours => {
            eprintln!("{what} failed, once more: {error:#}");
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

fn write_docs(docs: &Path, parts: &[Part], repetitions: usize, minutes: u64) -> Result<()> {
    let mut text = format!(
        "# Figures side by side\n\n\
         Written by `make bench`, which runs everything below on the same hosts (namespaces of one machine: \
         {}) in the same minutes: the contenders take turns within a repetition, and who comes first \
         changes. {repetitions} repetitions, {minutes} minutes. A cell is min / median / max; a ratio is that \
         of the medians, to the first row that has one.\n\n\
         - *failover*: from the start of the command, as the pool starts it on the new primary's host. The \
         pool's own time to notice is not in it. The bare promotion, pgpool-II's sample and repmgr fence \
         nothing, and leave the database VIP where it is.\n\
         - *recovery*: from the start of the command until the primary shows the node streaming. The old \
         primary was shut down cleanly: repmgr rejoins no other.\n\
         - *idle minute*: a run with nothing to do, on a cluster that is well. Its ping is measured apart, \
         the processes and logins are counted by `strace` in a run that is not timed.\n\
         - *shell*: the case study's scripts, written from its logs with the waits that these show \
         (`tests/shell`).\n\n\
         ![Where the time goes, step by step](bench.svg)\n\n",
        machine()
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
