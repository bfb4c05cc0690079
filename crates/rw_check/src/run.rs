//! The procedure: read the configuration, check, report.

use crate::cli::Cli;
use anyhow::Result;
use failover_core::disk::{DiskCheck, Mount};
use failover_core::exit::{Exit, usage};
use failover_core::host::ThisHost;
use failover_core::journal::{Journal, print_json};
use failover_core::terminal::complain;
use serde_json::{Value, json};

/// Does what the command line asks.
pub fn run(cli: &Cli) -> Result<Exit> {
    let host = ThisHost::load(cli.config.as_deref())?;
    let configured = DiskCheck::from_config(&host.config).map_err(usage)?;
    let check = cli.apply_to(configured).map_err(usage)?;
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
