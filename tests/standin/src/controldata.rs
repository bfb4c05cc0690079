//! `sys_controldata`: `pg_controldata` with the lines of 9.6.

use std::ffi::OsString;
use std::process::{ExitCode, Stdio};

use std::io::{BufRead, BufReader, Write as _};

use anyhow::{Context, Result, bail};

use crate::preload::postgres;

/// Lines of later versions.
const LATER: [&str; 2] = ["Mock authentication nonce", "max_wal_senders setting"];

/// Runs it.
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    if let Some(option) = args
        .iter()
        .find(|arg| arg.to_string_lossy().starts_with("--"))
    {
        bail!("unrecognized option {option:?}");
    }
    let mut command = postgres("pg_controldata", "sys_controldata")?;
    command.args(args);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("its output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        if !LATER.iter().any(|later| line.starts_with(later)) {
            writeln!(
                std::io::stdout(),
                "{}",
                line.replace("pg_control", "sys_control")
            )?;
        }
    }
    let code = child
        .wait()?
        .code()
        .and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
