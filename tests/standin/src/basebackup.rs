//! `sys_basebackup`: `pg_basebackup` with the options and the defaults of 9.6.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};

use crate::conninfo;
use crate::preload::{exec, postgres, with_password};

/// Runs it.
pub fn run(args: &[OsString]) -> Result<ExitCode> {
    let (mut wal, mut slot) = (false, false);
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let arg = arg.to_string_lossy();
        let (option, inline) = match arg.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option, Some(value)),
            _ => (&*arg, None),
        };
        match option {
            "-c" | "--checkpoint" | "-D" | "--pgdata" | "-l" | "--label" | "-d" | "--dbname"
            | "-h" | "--host" | "-p" | "--port" | "-U" | "--username" | "-s"
            | "--status-interval" | "-X" | "-S" | "--slot" | "-F" | "--format" => {
                let value = match inline {
                    Some(value) => value.to_owned(),
                    None => rest
                        .next()
                        .cloned()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into(),
                };
                match option {
                    "-d" | "--dbname" => conninfo::check(&value)?,
                    "-F" | "--format" => ensure!(value.starts_with('p'), "only plain, here"),
                    "-S" | "--slot" => slot = true,
                    "-X" => {
                        ensure!(
                            matches!(&*value, "fetch" | "f" | "stream" | "s"),
                            "invalid xlog-method option \"{value}\", must be \"fetch\" or \"stream\""
                        );
                        wal = true;
                    }
                    _ => {}
                }
            }
            "-P" | "--progress" | "-v" | "--verbose" | "-w" | "--no-password" => {}
            other => bail!("unrecognized option '{other}', or one that this stand-in lacks"),
        }
    }
    let mut command = postgres("pg_basebackup", "sys_basebackup")?;
    command.arg("--no-manifest");
    if !wal {
        command.args(["-X", "none"]);
    }
    // 9.6 has no temporary slots.
    if !slot {
        command.arg("--no-slot");
    }
    exec(with_password(command.args(args)))
}
