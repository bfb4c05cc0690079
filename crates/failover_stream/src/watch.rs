//! The watch over an old primary that its own host did not fence.
//!
//! Such a host may come back (a cable is plugged in, a machine goes on) with its database as a second
//! primary, and with the database VIP. Its own `network_rewind` ends that, at its next minute. A watch
//! has that run start as soon as the host answers. It decides nothing: what is done on the host is what
//! its own minute would have done.

use crate::peer::Crew;
use anyhow::{Context, Result};
use failover_core::deadline::Deadline;
use failover_core::exit::Exit;
use failover_core::host::{Host, ThisHost};
use failover_core::journal::Journal;
use failover_core::peer;
use failover_core::process::Cmd;
use failover_core::ssh::{Login, Ssh};
use nix::unistd::setsid;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long it watches. Later the host's own minute has to do.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Between two attempts to reach the host.
const INTERVAL: Duration = Duration::from_millis(500);
/// For one attempt: connection, login, and the answer.
const ATTEMPT_TIME: Duration = Duration::from_secs(3);
/// So many runs on the host are enough. The pool may not have found the new primary before the first
/// ones, and then they change nothing.
const RUNS: u32 = 20;

/// Leaves a process behind that watches `old`, and goes on when this one has ended.
pub fn leave(crew: &Crew, old: IpAddr) -> Result<()> {
    let program = std::env::current_exe().context("failed to find this program")?;
    let mut command = Command::new(program);
    command
        .args(["--watch", &old.to_string(), "--run", &crew.run, "--config"])
        .arg(&crew.here.config.path)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    // Whoever started us reaps it: we end first.
    let child = command.spawn().context("failed to start the watch")?;
    drop(child);
    Ok(())
}

/// Watches `old` until it has looked after its database, and that is no primary any more.
pub fn watch(here: &ThisHost, old: IpAddr, journal: &Journal) -> Exit {
    // A signal to the group of whoever started us is not meant for us. It fails for the leader of a
    // group, who was started by hand.
    let _ = setsid();
    let Host::Remote(login) = here.reach(old) else {
        // Its own minute comes as soon as we could.
        return Exit::Done;
    };
    let deadline = Deadline::after(PATIENCE);
    let mut runs = 0;
    let _ = deadline.poll(INTERVAL, || {
        let limit = deadline.at_most(ATTEMPT_TIME);
        let status = peer::status(&here.config, &login, old, journal.run(), limit).ok()?;
        let is_primary = status.running && status.in_recovery != Some(true);
        if runs > 0 && !is_primary {
            return Some(());
        }
        if runs == 0 {
            let database = match is_primary {
                true => "with a database that is a primary",
                false => "without a primary",
            };
            journal.stamped(format!(
                "{old} answers again, {database}: network_rewind is started there, see its recovery.log"
            ));
        }
        runs += 1;
        if let Err(error) = look(here, &login, deadline) {
            journal.stamped(format!("warning: network_rewind was not started on {old}: {error:#}"));
        }
        (!is_primary || runs >= RUNS).then_some(())
    });
    Exit::Done
}

/// Has the host behind `login` look after its database, as its cron does each minute. How that ends stands
/// in its own log.
fn look(here: &ThisHost, login: &Login, deadline: Deadline) -> Result<()> {
    let cmd = Cmd::new(here.config.kb_path.join("network_rewind"));
    let ssh = Ssh::connect(login, deadline.at_most(ATTEMPT_TIME))?;
    ssh.run(&cmd, deadline)?;
    Ok(())
}
