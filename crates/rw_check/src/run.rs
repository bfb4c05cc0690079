//! The procedure: read the configuration, check, report.

use crate::cli::Cli;
use anyhow::Result;
use failover_core::disk::{DiskCheck, Mount};
use failover_core::exit::{Exit, usage};
use failover_core::host::ThisHost;
use failover_core::journal::{Journal, print_json};
use failover_core::terminal::complain;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Does what the command line asks.
pub fn run(cli: &Cli) -> Result<Exit> {
    let host = ThisHost::load(cli.config.as_deref())?;
    let configured = DiskCheck::from_config(&host.config).map_err(usage)?;
    let check = cli.apply_to(configured).map_err(usage)?;
    may_write(&host, &check)?;
    // Not into the log of the recovery, which may be on the disk that hangs.
    let journal = match cli.json {
        true => Journal::to_nobody(),
        false => Journal::to_terminal(),
    };
    let mounts = check.run(&journal);
    if cli.json {
        print_json(&report(&mounts));
    }
    let failures = mounts.iter().filter_map(|mount| mount.failure.as_ref());
    failures.for_each(|why| complain("rw_check", why));
    Ok(match mounts.iter().all(Mount::is_good) {
        true => Exit::Done,
        false => Exit::Failed,
    })
}

/// That another user may not write is no fault of a disk.
fn may_write(host: &ThisHost, check: &DiskCheck) -> Result<()> {
    let user = &host.config.kb_execute_sys_user;
    if host.us.is_root() || host.us.name == *user {
        return Ok(());
    }
    let refused = |it: &&PathBuf| access(it.as_path(), AccessFlags::W_OK) == Err(Errno::EACCES);
    match check.directories.iter().find(refused) {
        Some(directory) => Err(usage(format!(
            "{} may not write in {}: run it as {user} (KB_EXECUTE_SYS_USER) or root",
            host.us.name,
            directory.display()
        ))),
        None => Ok(()),
    }
}

fn report(mounts: &[Mount]) -> Value {
    let each = mounts.iter().map(|mount| {
        json!({
            "directory": mount.directory.display().to_string(),
            "good": mount.is_good(),
            "tries": mount.tries,
            "failure": mount.failure,
        })
    });
    json!({
        "good": mounts.iter().all(Mount::is_good),
        "mount_points": each.collect::<Vec<_>>(),
    })
}
