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
use failover_core::life::{PortState, port_refuses};
use failover_core::peer;
use failover_core::process::Cmd;
use failover_core::ssh::{Login, Ssh};
use nix::unistd::setsid;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long it watches. Later the host's own minute has to do.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Between two knocks at the host's sshd.
const INTERVAL: Duration = Duration::from_millis(500);
/// For one login, and for an answer.
const LOGIN_TIME: Duration = Duration::from_secs(3);
/// Between two runs on the host: the pool may not have found the new primary before the first ones, and
/// then they change nothing.
const BETWEEN_RUNS: Duration = Duration::from_secs(1);
/// Before the next login, where one was refused: the host may still be booting.
const AFTER_REFUSAL: Duration = Duration::from_secs(5);
/// So many logins are enough.
const LOGINS: u32 = 20;

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
    let watch = Watch {
        here,
        old,
        login,
        journal,
        deadline: Deadline::after(PATIENCE),
    };
    let mut runs = 0;
    let mut refusal = None;
    for _ in 0..LOGINS {
        if !watch.answers() {
            break;
        }
        let pause = match watch.look_once(&mut runs) {
            Ok(true) => return Exit::Done,
            Ok(false) => BETWEEN_RUNS,
            Err(error) => {
                refusal = Some(error);
                AFTER_REFUSAL
            }
        };
        watch.deadline.pause(pause);
    }
    if let (0, Some(error)) = (runs, refusal) {
        journal.stamped(format!(
            "warning: {old} answers again, and network_rewind could not be started there: {error:#}"
        ));
    }
    Exit::Done
}

/// What a watch works with.
struct Watch<'a> {
    here: &'a ThisHost,
    old: IpAddr,
    login: Login,
    journal: &'a Journal,
    deadline: Deadline,
}

impl Watch<'_> {
    /// Waits until the host's sshd takes a connection; false: it never did.
    fn answers(&self) -> bool {
        let port = self.here.config.ssh_port;
        let accepts = || {
            let limit = self.deadline.at_most(LOGIN_TIME);
            (port_refuses(self.old, port, limit) == PortState::Accepts).then_some(())
        };
        self.deadline.poll(INTERVAL, accepts).is_some()
    }

    /// Has the host look after its database, as its cron does each minute, unless it has and that is no
    /// primary any more. Whether it is done with. How a run ends stands in that host's own log.
    ///
    /// # Errors
    /// The host did not let us in, or did not understand us.
    fn look_once(&self, runs: &mut u32) -> Result<bool> {
        let limit = self.deadline.at_most(LOGIN_TIME);
        let (config, run) = (&self.here.config, self.journal.run());
        let status = peer::status(config, &self.login, self.old, run, limit)?;
        let is_primary = status.running && status.in_recovery != Some(true);
        if *runs > 0 && !is_primary {
            return Ok(true);
        }
        let ssh = Ssh::connect(&self.login, self.deadline.at_most(LOGIN_TIME))?;
        if *runs == 0 && is_primary {
            self.journal.stamped(format!(
                "{} answers again, and its database is a primary: network_rewind is started there, see its \
                 recovery.log",
                self.old
            ));
        }
        *runs += 1;
        let cmd = Cmd::new(config.kb_path.join("network_rewind"));
        ssh.run(&cmd, self.deadline)?;
        Ok(!is_primary)
    }
}
