//! `sys_ctl`: `pg_ctl` with the options and the defaults of 9.6.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::preload::{bin, exec, postgres};

const ACTIONS: [&str; 6] = ["start", "stop", "restart", "reload", "status", "promote"];

/// Runs it.
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    let mut action = None;
    let mut wait = None;
    let mut passed = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        match &*arg.to_string_lossy() {
            "-w" => wait = Some(true),
            "-W" => wait = Some(false),
            "-D" | "-l" | "-m" | "-o" | "-p" | "-t" => {
                passed.push(arg.clone());
                passed.extend(rest.next().cloned());
            }
            "-c" | "-s" | "-V" | "--version" => passed.push(arg.clone()),
            word if ACTIONS.contains(&word) && action.is_none() => {
                action = Some(word.to_owned());
                passed.push(arg.clone());
            }
            other => bail!("unrecognized option or operation mode \"{other}\""),
        }
    }
    let action = action.unwrap_or_default();
    // It waits for a stop, and for a start only if asked to; a promotion it does not wait for at all.
    let wait = action != "promote" && wait.unwrap_or(action == "stop");
    let mut command = postgres("pg_ctl", "sys_ctl")?;
    command.args(passed);
    command.arg(if wait { "-w" } else { "-W" });
    if matches!(action.as_str(), "start" | "restart") {
        command.arg("-p").arg(bin()?.join("kingbase"));
    }
    exec(&mut command)
}
