//! The recovery of a host: by cron, with the sample that the project ships, or by hand.

use std::time::Duration;

use anyhow::Result;

use crate::enter::ToolRun;
use crate::files;
use crate::flavor::Flavor;
use crate::host::Node;
use crate::layout::{DB_BIN, USER};

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
}
