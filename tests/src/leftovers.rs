//! What no run of a tool may leave behind.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::host::Node;
use crate::lab::Lab;
use crate::layout::{R3HA, TOOLS};
use crate::wait::wait_for;

const LIMIT: Duration = Duration::from_secs(10);

/// Programs that the tools start.
const STARTED: [&str; 11] = [
    "arping",
    "ping",
    "ip",
    "pg_ctl",
    "pg_controldata",
    "pg_rewind",
    "pg_basebackup",
    "sys_ctl",
    "sys_controldata",
    "sys_rewind",
    "sys_basebackup",
];

impl Node {
    /// Processes of the project, and of what it starts, that run on the host: one line each.
    ///
    /// # Errors
    /// The host is off.
    pub fn tool_processes(&self) -> Result<Vec<String>> {
        let list = self.run(&["ps", "-e", "-o", "comm=,args="], LIMIT)?;
        let list = list.success()?;
        // The kernel cuts names to 15 bytes, which is the longest of ours.
        let is_ours = |line: &&str| {
            let name = line.split_whitespace().next();
            name.is_some_and(|name| TOOLS.contains(&name) || STARTED.contains(&name))
        };
        Ok(list.lines().filter(is_ours).map(str::to_owned).collect())
    }

    /// Files below the installation (programs, configuration, data, logs) that are there only while
    /// a tool runs.
    ///
    /// # Errors
    /// The host is off.
    pub fn temporary_files(&self) -> Result<Vec<String>> {
        let mut find = vec!["find", R3HA, "-name", ".*.new"];
        for name in ["rw_status_file_*", "pcppass*"] {
            find.extend(["-o", "-name", name]);
        }
        // A file of the database may go while it looks.
        let found = self.run(&find, LIMIT)?.stdout;
        Ok(found.lines().map(str::to_owned).collect())
    }
}

impl Lab {
    /// Waits until no process of a run is left on any host.
    ///
    /// # Errors
    /// One is, all the time; the text has its command line.
    pub fn wait_until_nothing_runs(&self, limit: Duration) -> Result<()> {
        self.wait_for_none("the last process of a run", limit, Node::tool_processes)
    }

    /// [`Self::wait_until_nothing_runs`], and no temporary file is left either. Cron may start the
    /// next run meanwhile: it has to be so at one moment.
    ///
    /// # Errors
    /// Something is, all the time; the text has its command line or name.
    pub fn wait_until_nothing_is_left(&self, limit: Duration) -> Result<()> {
        self.wait_for_none("the last trace of a run", limit, |node| {
            Ok([node.tool_processes()?, node.temporary_files()?].concat())
        })
    }

    fn wait_for_none(
        &self,
        what: &str,
        limit: Duration,
        left: impl Fn(&Node) -> Result<Vec<String>>,
    ) -> Result<()> {
        for node in self.nodes().iter().filter(|node| node.is_up()) {
            wait_for(what, limit, || {
                let left = left(node)?;
                ensure!(left.is_empty(), "{}: {left:?}", node.name());
                Ok(())
            })?;
        }
        Ok(())
    }
}
