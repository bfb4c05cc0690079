//! `drills`: plays the failure drills, all of them or those that are named.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Parser;
use lab::drills::{Drill, Outcome, all, by_the_clock, matrix, write_table, write_versions};

/// Plays the failure drills one after the other, each on hosts of its own. Needs root.
#[derive(Debug, Parser)]
#[command(version, after_help = "Example: drills A6 D4; drills --table")]
struct Cli {
    /// Rows (A6) or names (A6-90-s) of the drills; all of them when there are none
    only: Vec<String>,
    /// Only those that `make test` runs, too
    #[arg(long)]
    fast: bool,
    /// The full circle on each version of the server and with the ways of each version of the pool, in place of
    /// the drills
    #[arg(long)]
    versions: bool,
    /// Play none: with --table, for the runs that there were
    #[arg(long)]
    none: bool,
    /// Show their names, and play none
    #[arg(long)]
    list: bool,
    /// Play each so many times, and say each time what was measured
    #[arg(long, value_name = "N", default_value_t = 1)]
    rounds: u64,
    /// What is left to chance follows from it; in the second round it is one more
    #[arg(long)]
    seed: Option<u64>,
    /// Write docs/drills.md (docs/versions.md) afterwards, from the last run of every drill: none may have failed
    #[arg(long)]
    table: bool,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let chosen = chosen(&cli)?;
    if cli.list {
        for drill in chosen {
            lab::say!("{:<28} {}", drill.name(), drill.what);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if cli.none {
        write(&cli)?;
        return Ok(ExitCode::SUCCESS);
    }
    let begun = Instant::now();
    let mut failed = Vec::new();
    let first = cli.seed.unwrap_or_else(by_the_clock);
    let count = cli.rounds;
    let rounds = |drill: &Drill| {
        let drill = *drill;
        (0..count).map(move |round| (drill, first.wrapping_add(round)))
    };
    for (drill, seed) in chosen.iter().flat_map(rounds) {
        let outcome = drill.run_with(seed);
        outcome.keep()?;
        if cli.rounds > 1 || cli.seed.is_some() {
            lab::say!("{}", measured(&outcome, seed));
            outcome.keep_logs(seed)?;
        }
        let (gap, took) = (outcome.gap.as_secs_f64(), outcome.took.as_secs_f64());
        if outcome.passed() {
            lab::say!(
                "{:<28} passed: gap {gap:.1} s, {took:.0} s in all",
                outcome.name
            );
            continue;
        }
        lab::say!(
            "{:<28} FAILED after {took:.0} s: {}",
            outcome.name,
            drill.what
        );
        for problem in &outcome.problems {
            lab::say!("  {problem}");
        }
        lab::show(&outcome.screen);
        failed.push(outcome.name);
    }
    lab::say!(
        "{} drills, {} failed, {:.0} s",
        chosen.len() as u64 * cli.rounds,
        failed.len(),
        begun.elapsed().as_secs_f64()
    );
    if !failed.is_empty() {
        lab::say!("failed: {}", failed.join(" "));
        return Ok(ExitCode::FAILURE);
    }
    write(&cli)?;
    Ok(ExitCode::SUCCESS)
}

/// The page, where it is asked for.
fn write(cli: &Cli) -> Result<()> {
    match (cli.table, cli.versions) {
        (false, _) => Ok(()),
        (true, false) => write_table(),
        (true, true) => write_versions(),
    }
}

/// The figures of one round, in one line.
fn measured(outcome: &Outcome, seed: u64) -> String {
    let figures = outcome.figures.iter();
    let figures = figures.map(|(what, time)| format!(", {what} {:.2} s", time.as_secs_f64()));
    let (rows, lost) = outcome.rows;
    format!(
        "seed {seed}: {rows} rows, {lost} lost{}",
        figures.collect::<String>()
    )
}

fn chosen(cli: &Cli) -> Result<Vec<Drill>> {
    let there = match cli.versions {
        true => matrix(),
        false => all(),
    };
    for word in &cli.only {
        let known = there
            .iter()
            .any(|drill| drill.is_one_of(std::slice::from_ref(word)));
        ensure!(known, "there is no drill {word}: see --list");
    }
    let wanted = |drill: &Drill| {
        (cli.only.is_empty() || drill.is_one_of(&cli.only)) && (drill.fast || !cli.fast)
    };
    Ok(there.into_iter().filter(wanted).collect())
}
