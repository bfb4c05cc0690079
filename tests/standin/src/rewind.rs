//! `sys_rewind`: PostgreSQL's, which since 13 repairs by itself what 9.6 refuses, with 9.6's options
//! and the messages of the case study.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, Local};

use crate::conninfo;
use crate::preload::{dying_with_us, lib, postgres, with_names, with_password};

/// Runs it.
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    let (data, source) = arguments(args)?;
    let mut command = with_names(&lib("sys_rewind")?)?;
    command
        .args(["--no-ensure-shutdown", "-P", "-D"])
        .arg(&data)
        .arg(format!("--source-server={source}"))
        .stderr(Stdio::piped());
    let mut child = dying_with_us(with_password(&mut command))
        .spawn()
        .context("sys_rewind")?;
    writeln!(std::io::stdout(), "datadir_source = {}", data.display())?;
    let mut report = Report::begin(&data);
    let output = child.stderr.take().context("its output")?;
    for line in BufReader::new(output).split(b'\n') {
        // Progress comes with a carriage return.
        for line in String::from_utf8_lossy(&line?).split('\r') {
            report.line(line.strip_prefix("sys_rewind: ").unwrap_or(line))?;
        }
    }
    let status = child.wait()?;
    if !status.success() {
        writeln!(std::io::stdout(), "Failure, exiting")?;
    }
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn arguments(args: &[OsString]) -> Result<(PathBuf, String)> {
    let (mut data, mut source) = (None, None);
    let mut rest = args.iter().map(|arg| arg.to_string_lossy());
    while let Some(arg) = rest.next() {
        let mut value = |name: &str| match arg.strip_prefix(name)? {
            "" => rest.next().map(|it| it.into_owned()),
            value => value.strip_prefix('=').map(str::to_owned),
        };
        if let Some(path) = value("--target-data").or_else(|| value("-D")) {
            data = Some(PathBuf::from(path));
        } else if let Some(text) = value("--source-server") {
            source = Some(text);
        } else if !matches!(&*arg, "-P" | "--progress") {
            bail!("unrecognized option '{arg}'");
        }
    }
    let data = data.context("no target data directory specified (--target-data)")?;
    let source = source.context("no source specified (--source-server)")?;
    conninfo::check(&source)?;
    Ok((data, source))
}

/// What is printed.
struct Report {
    data: PathBuf,
    begun: DateTime<Local>,
    copying: DateTime<Local>,
    /// The last common checkpoint, and its timeline.
    checkpoint: (String, u32),
}

impl Report {
    fn begin(data: &Path) -> Self {
        let now = now();
        Self {
            data: data.to_owned(),
            begun: now,
            copying: now,
            checkpoint: ("0/0".to_owned(), 1),
        }
    }

    /// One line of PostgreSQL's.
    fn line(&mut self, line: &str) -> Result<()> {
        if let Some(found) = line.strip_prefix("rewinding from last common checkpoint at ") {
            let (at, timeline) = found.split_once(" on timeline ").context("no timeline")?;
            self.checkpoint = (at.to_owned(), timeline.trim().parse()?);
            writeln!(std::io::stdout(), "{line}")?;
            writeln!(
                std::io::stdout(),
                "find last common checkpoint start time from {}",
                took(self.begun, now())
            )?;
        } else if line.starts_with("need to copy ") {
            self.copying = now();
            writeln!(std::io::stdout(), "Rewind datadir file from source")?;
        } else if line == "Done!" {
            self.end()?;
            writeln!(std::io::stdout(), "{line}")?;
        } else if let Some(why) = line
            .strip_prefix("error: ")
            .or(line.strip_prefix("fatal: "))
        {
            writeln!(std::io::stdout(), "{why}")?;
        } else if line.starts_with("reading ") || line.starts_with("no rewind required") {
            writeln!(std::io::stdout(), "{line}")?;
        }
        Ok(())
    }

    fn end(&self) -> Result<()> {
        let (at, timeline) = control(&self.data)?;
        let (from, of) = &self.checkpoint;
        writeln!(
            std::io::stdout(),
            "update the control file: minRecoveryPoint is '{at}', minRecoveryPointTLI is \
             '{timeline}', and database state is 'in archive recovery'"
        )?;
        writeln!(
            std::io::stdout(),
            "rewind start wal location {from} (file {}), end wal location {at} (file {}). time from {}",
            segment(*of, from)?,
            segment(timeline, &at)?,
            took(self.copying, now())
        )?;
        Ok(())
    }
}

fn now() -> DateTime<Local> {
    #[expect(
        clippy::disallowed_methods,
        reason = "it prints the time, as the program that it stands in for"
    )]
    Local::now()
}

fn took(from: DateTime<Local>, to: DateTime<Local>) -> String {
    let stamp = |time: DateTime<Local>| time.format("%Y-%m-%d %H:%M:%S%.6f %Z").to_string();
    let micros = (to - from).num_microseconds().unwrap_or_default();
    format!(
        "{} to {}, in \"{}.{:06}\" seconds.",
        stamp(from),
        stamp(to),
        micros / 1_000_000,
        micros % 1_000_000
    )
}

/// The name of the WAL file of a position.
fn segment(timeline: u32, at: &str) -> Result<String> {
    let (high, low) = at.split_once('/').context("no position")?;
    let (high, low) = (
        u32::from_str_radix(high, 16)?,
        u32::from_str_radix(low, 16)?,
    );
    Ok(format!("{timeline:08X}{high:08X}{:08X}", low >> 24))
}

/// Up to where the control file wants WAL replayed, and on which timeline.
fn control(data: &Path) -> Result<(String, u32)> {
    let mut command = postgres("pg_controldata", "sys_controldata")?;
    let mut child = command.arg(data).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("its output")?;
    let (mut at, mut timeline) = (None, None);
    for line in BufReader::new(output).lines() {
        let line = line?;
        if let Some(value) = line.strip_prefix("Minimum recovery ending location:") {
            at = Some(value.trim().to_owned());
        } else if let Some(value) = line.strip_prefix("Min recovery ending loc's timeline:") {
            timeline = Some(value.trim().parse()?);
        }
    }
    ensure!(child.wait()?.success(), "the control file cannot be read");
    at.zip(timeline).context("the control file says nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_lies_in_a_file() {
        assert_eq!(
            segment(15, "0/66000028").unwrap(),
            "0000000F0000000000000066"
        );
        assert!(segment(1, "66").is_err());
    }
}
