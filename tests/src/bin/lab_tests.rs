//! `lab_tests`: runs the tests that need the lab. A test that failed runs once more, alone. One that
//! passes then is `flaky`: it is listed at the end, and is a bug to find.

#![allow(
    clippy::disallowed_methods,
    reason = "a test has no deadline of its own: whoever runs all of them has one"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use lab::rerun::{Flaw, Suite, failed_tests, suites, verdict};

/// As many tests may be flaky in one run: more of them are no chance any more.
const TOLERATED: usize = 3;

fn main() -> Result<ExitCode> {
    let filter: Vec<String> = std::env::args().skip(1).collect();
    let all = build()?;
    ensure!(!all.is_empty(), "cargo built no test");
    let mut flaws = Vec::new();
    for suite in &all {
        for name in run(suite, &filter)? {
            lab::say!("\nonce more, alone: {} {name}", suite.name);
            let passed = alone(suite, &name)?;
            flaws.push(Flaw {
                test: format!("{} {name}", suite.name),
                passed,
            });
        }
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
fn threads() -> Vec<String> {
    if std::env::var_os("RUST_TEST_THREADS").is_some() {
        return Vec::new();
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    vec![format!("--test-threads={}", BESIDE * cores)]
}

/// Runs a suite, shows what it says, and tells which of its tests failed.
fn run(suite: &Suite, filter: &[String]) -> Result<Vec<String>> {
    lab::say!("\n     Running {}", suite.name);
    let mut child = command(suite)
        .args(threads())
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
