//! The recovery of a host: by cron, with the sample that the project ships, or by hand.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::enter::ToolRun;
use crate::files;
use crate::flavor::Flavor;
use crate::host::Node;
use crate::layout::{DB_BIN, USER};
use crate::wait::wait_for;

/// For what begins soon.
const SOON: Duration = Duration::from_secs(10);
/// For a run that is killed.
const RUN: Duration = Duration::from_secs(60);

/// The sample, and where its own comment says that it goes.
const SAMPLE: &str = include_str!("../../etc/failover-tools.cron");
/// The line that a V8R3 host has for the script.
const VENDORS: &str = "*/1 * * * * kingbase /home/kingbase/cluster/R3HA/db/bin/network_rewind.sh\n";
const INSTALLED: &str = "/etc/cron.d/failover-tools";

impl Node {
    /// From the next full minute on cron runs `network_rewind` each minute, also after a power cut;
    /// where the lab's options have cron, or it was started by hand. The host may be off.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn enable_recovery(&self) -> Result<()> {
        let text = match self.shared.options.flavor {
            Flavor::Postgres => SAMPLE,
            Flavor::Kingbase => VENDORS,
        };
        self.write(INSTALLED, text, 0o644, 0)
    }

    /// Undoes [`Self::enable_recovery`]; a run that is under way goes on.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn disable_recovery(&self) -> Result<()> {
        files::remove(&self.path(INSTALLED)?)
    }

    /// Runs `network_rewind` with these arguments as cron does: as the database's user.
    ///
    /// # Errors
    /// As [`Self::run`]; the tool may not be built.
    pub fn recover(&self, args: &[&str], limit: Duration) -> Result<ToolRun> {
        let program = format!("{DB_BIN}/network_rewind");
        self.run_as(USER, &[&[program.as_str()], args].concat(), limit)
    }

    /// Starts `network_rewind`, and kills it so long after `program` has begun. Was that at work still?
    /// What the run has started may be there afterwards: the next run has to see to it.
    ///
    /// # Errors
    /// The program is not begun, or the run fails before it is killed.
    pub fn recover_killed_inside(&self, program: &str, moment: Duration) -> Result<bool> {
        let tool = format!("{DB_BIN}/network_rewind");
        let running = self.spawn(USER, &[&tool], RUN)?;
        wait_for(program, SOON, || {
            ensure!(!self.pids_of(program).is_empty(), "it does not run");
            Ok(())
        })?;
        let begun = Instant::now();
        wait_for("a moment", RUN, || {
            ensure!(begun.elapsed() >= moment, "it is too early");
            Ok(())
        })?;
        let inside = !self.pids_of(program).is_empty();
        // It may be over already.
        let _ = running.signal(libc::SIGKILL);
        let run = running.wait()?;
        let killed = run.signal == Some(libc::SIGKILL);
        ensure!(killed || run.code == Some(0), "{run}");
        // Its child, which has the lock, dies a moment later.
        wait_for("it to be gone", SOON, || {
            let left = self.pids_of("network_rewind");
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })?;
        Ok(inside && killed)
    }
}
