//! Programs that behave like those of KingbaseES V8R3 where the tools touch them, and like those of other versions
//! of pgpool-II. One program of many names: it does what the name says that it was started by.
//!
//! What is imitated and what is real: `docs/stand-in.md`.

mod basebackup;
mod cluster;
mod conninfo;
mod controldata;
mod ctl;
#[allow(dead_code, reason = "the library uses the rest")]
mod names;
mod pcp;
mod preload;
mod recovery_conf;
mod rewind;
mod server;
mod ways;

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use ways::Ways;

fn main() -> ExitCode {
    let mut args = env::args_os();
    let name = args.next().unwrap_or_default();
    let name = Path::new(&name).file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    match run(&name, &args.collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, args: &[OsString]) -> Result<ExitCode> {
    match name {
        "kingbase" => server::run(args),
        "sys_ctl" => ctl::run(args),
        "sys_controldata" => controldata::run(args),
        "sys_rewind" => rewind::run(args),
        "sys_basebackup" => basebackup::run(args),
        "ksql" => preload::exec(preload::postgres("psql", "ksql")?.args(args)),
        "kingbasecluster" => cluster::run(args, Ways::kingbase()),
        "pgpool" => cluster::run(args, Ways::beside_us()?.context("no version is given")?),
        "pcp_node_info" => match Ways::beside_us()? {
            Some(ways) => pcp::node_info(args, &ways),
            None => pcp::run(name, args),
        },
        "pcp_attach_node" | "pcp_detach_node" | "pcp_promote_node" => pcp::run(name, args),
        // For whoever makes a data directory: gives the files of PostgreSQL's their names.
        "standin" => match args {
            [word, data] if word == "rename" => server::rename_files(Path::new(data)),
            _ => bail!("to be started by the name of one of V8R3's programs"),
        },
        _ => bail!("V8R3 has no such program, or the tools do not use it"),
    }
}
