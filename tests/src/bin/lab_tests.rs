//! `lab_tests`: runs the tests that need the lab, those of all suites of the lab's own package side by side. A test
//! that failed runs once more, alone. One that passes then is `flaky`: it is listed at the end, and is a bug to find.

#![allow(
    clippy::disallowed_methods,
    reason = "a test has no deadline of its own: whoever runs all of them has one"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use lab::rerun::{Flaw, Suite, failed_tests, first_the_long, listed_tests, suites, verdict};

/// As many tests may be flaky in one run: more of them are no chance any more.
const TOLERATED: usize = 3;

fn main() -> Result<ExitCode> {
    let filter: Vec<String> = std::env::args().skip(1).collect();
    let all = build()?;
    ensure!(!all.is_empty(), "cargo built no test");
    let mut failed = Vec::new();
    // Those that measure how long something takes have the machine for themselves.
    for suite in all.iter().filter(|suite| !suite.is_the_labs) {
        let names = run(suite, &filter)?;
        failed.extend(names.into_iter().map(|name| (suite, name)));
    }
    failed.extend(run_side_by_side(&all, &filter)?);
    let mut flaws = Vec::new();
    for (suite, name) in failed {
        lab::say!("\nonce more, alone: {} {name}", suite.name);
        let passed = alone(suite, &name)?;
        flaws.push(Flaw {
            test: format!("{} {name}", suite.name),
            passed,
        });
    }
    let (text, good) = verdict(&flaws, TOLERATED);
    lab::say!("\n{text}");
    Ok(match good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Builds all tests, as `make unit` does (another choice of packages would be built anew), and takes
/// those that need the lab.
fn build() -> Result<Vec<Suite>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["test", "--release", "--locked", "--workspace", "--no-run"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    if !output.status.success() {
        bail!("cargo failed to build the tests");
    }
    let mut all = suites(&String::from_utf8_lossy(&output.stdout))?;
    all.retain(|suite| suite.needs_lab);
    Ok(all)
}

fn command(suite: &Suite) -> Command {
    let mut command = Command::new(&suite.program);
    command.current_dir(suite.dir.clone().unwrap_or_else(|| PathBuf::from(".")));
    command
}

/// Tests wait nearly all of their time: so many for each core run side by side.
const BESIDE: usize = 2;

/// How many run side by side; `RUST_TEST_THREADS` may say otherwise.
fn threads() -> usize {
    let told = std::env::var("RUST_TEST_THREADS");
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    told.ok()
        .and_then(|it| it.parse().ok())
        .filter(|it| *it > 0)
        .unwrap_or_else(|| BESIDE * cores())
}

/// Runs the tests of all the lab's suites, each in a process of its own, so that none waits for the last one of
/// another suite. Tells which failed.
fn run_side_by_side<'a>(all: &'a [Suite], filter: &[String]) -> Result<Vec<(&'a Suite, String)>> {
    let mut waiting = Vec::new();
    for suite in all.iter().filter(|suite| suite.is_the_labs) {
        waiting.extend(tests(suite, filter)?.into_iter().map(|name| (suite, name)));
    }
    first_the_long(&mut waiting);
    waiting.reverse();
    let (count, begun) = (waiting.len(), Instant::now());
    lab::say!("\nrunning {count} tests of the lab");
    let (waiting, failed) = (Mutex::new(waiting), Mutex::new(Vec::new()));
    let next = || waiting.lock().map_or(None, |mut them| them.pop());
    let work = || -> Result<()> {
        while let Some((suite, name)) = next() {
            if !passes(suite, &name)? {
                failed
                    .lock()
                    .map_err(|_| anyhow::anyhow!("another worker panicked"))?
                    .push((suite, name));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads()).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| match worker.join() {
                Ok(ended) => ended,
                Err(_) => bail!("a worker panicked"),
            })
    })?;
    let failed = failed.into_inner().unwrap_or_default();
    lab::say!(
        "\ntest result: {}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out; finished in {:.2}s",
        if failed.is_empty() { "ok" } else { "FAILED" },
        count - failed.len(),
        failed.len(),
        begun.elapsed().as_secs_f64()
    );
    Ok(failed)
}

/// The names of a suite's tests that are not ignored.
fn tests(suite: &Suite, filter: &[String]) -> Result<Vec<String>> {
    let list = |more: &[&str]| -> Result<Vec<String>> {
        let output = command(suite)
            .args(["--list", "--format", "terse"])
            .args(more)
            .args(filter)
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| suite.program.display().to_string())?;
        ensure!(output.status.success(), "{} lists no tests", suite.name);
        Ok(listed_tests(&String::from_utf8_lossy(&output.stdout)))
    };
    let (mut names, ignored) = (list(&[])?, list(&["--ignored"])?);
    names.retain(|name| !ignored.contains(name));
    Ok(names)
}

/// Runs one test, and shows how it ended; what it printed only where it failed.
fn passes(suite: &Suite, name: &str) -> Result<bool> {
    let begun = Instant::now();
    let output = command(suite)
        .args(["--exact", name])
        .output()
        .with_context(|| suite.program.display().to_string())?;
    let passed = output.status.success();
    let mut text = format!(
        "test {} {name} ... {} ({:.0} s)",
        suite.name,
        if passed { "ok" } else { "FAILED" },
        begun.elapsed().as_secs_f64()
    );
    if !passed {
        for said in [&output.stdout, &output.stderr] {
            text = text + "\n" + &String::from_utf8_lossy(said);
        }
    }
    lab::say!("{text}");
    Ok(passed)
}

/// Runs a suite, shows what it says, and tells which of its tests failed.
fn run(suite: &Suite, filter: &[String]) -> Result<Vec<String>> {
    lab::say!("\n     Running {}", suite.name);
    let mut child = command(suite)
        .arg(format!("--test-threads={}", threads()))
        .args(filter)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| suite.program.display().to_string())?;
    let out = child.stdout.take().context("no standard output")?;
    let mut text = String::new();
    for line in BufReader::new(out).lines() {
        let line = line.context("failed to read what the tests say")?;
        lab::say!("{line}");
        std::io::stdout().flush()?;
        text.push_str(&line);
        text.push('\n');
    }
    let status = child.wait()?;
    let failed = failed_tests(&text);
    ensure!(
        status.success() || !failed.is_empty(),
        "{} ended with {status}, and named no test that failed",
        suite.name
    );
    Ok(failed)
}

/// Whether the test passes by itself.
fn alone(suite: &Suite, name: &str) -> Result<bool> {
    let status = command(suite)
        .args(["--exact", name])
        .status()
        .with_context(|| suite.program.display().to_string())?;
    Ok(status.success())
}
