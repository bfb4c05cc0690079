//! The procedure: read the configuration, check, report.

use anyhow::Result;
use failover_core::disk::{DiskCheck, Mount};
use failover_core::exit::{Exit, usage};
use failover_core::host::ThisHost;
use failover_core::journal::Journal;
use failover_core::teller::Teller;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use rw_check::cli::Cli;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Does what the command line asks.
pub fn run(cli: &Cli, teller: &Teller) -> Result<Exit> {
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
    let failures = mounts.iter().filter_map(|mount| mount.failure.as_deref());
    let failures: Vec<&str> = failures.collect();
    failures.iter().for_each(|why| teller.complain(why));
    let (exit, text) = match mounts.iter().all(Mount::is_good) {
        true => (Exit::Done, "all disks are good".to_owned()),
        false => (Exit::Failed, failures.join("; ")),
    };
    Ok(teller.object(exit, &text, report(&mounts)))
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
