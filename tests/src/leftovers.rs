//! What no run of a tool may leave behind.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::host::Node;
use crate::lab::Lab;
use crate::layout::{LOG, R3HA, TOOLS};
use crate::wait::wait_for;

const LIMIT: Duration = Duration::from_secs(10);

/// Files that none of them leaves behind, beside those that are written under another name first.
const TEMPORARY: [&str; 8] = [
    "rw_status_file_*",
    "pcppass*",
    "data.rewind-*",
    "data.new",
    "*.aside",
    "failover-tools.*",
    "promotion.wanted",
    "backup_label",
];

/// Programs that the tools start, by the names that the kernel has; "exe" is a disk check's child.
const STARTED: [&str; 12] = [
    "exe",
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
        let mut ours: Vec<String> = list.lines().filter(is_ours).map(str::to_owned).collect();
        ours.retain(|line| !self.watches_in_vain(line));
        Ok(ours)
    }

    /// Whether the process with this command line is the watch over a host whose sshd does not answer: it
    /// stays as long as that.
    fn watches_in_vain(&self, line: &str) -> bool {
        let mut words = line
            .split_whitespace()
            .skip_while(|word| *word != "--watch");
        let Some(host) = words.nth(1) else {
            return false;
        };
        let knock = format!("timeout 1 bash -c '</dev/tcp/{host}/22'");
        let knocked = self.run(&["sh", "-c", &knock], LIMIT);
        knocked.is_ok_and(|end| end.code != Some(0))
    }

    /// Files below the installation (programs, configuration, data, logs) that are there only while
    /// a tool runs, or has not finished what it began.
    ///
    /// # Errors
    /// The host is off.
    pub fn temporary_files(&self) -> Result<Vec<String>> {
        let mut find = vec!["find", R3HA, "-name", ".*.new"];
        for name in TEMPORARY {
            find.extend(["-o", "-name", name]);
        }
        // A file of the database may go while it looks.
        let found = self.run(&find, LIMIT)?.stdout;
        Ok(found.lines().map(str::to_owned).collect())
    }

    /// The tools' locks that somebody holds, and what they have not written to the end: the state of
    /// a recovery, an event.
    ///
    /// # Errors
    /// The host is off.
    pub fn unfinished(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        for lock in ["network_rewind.lock", "instance.lock"] {
            let path = format!("{LOG}/{lock}");
            let test = format!("[ ! -e {path} ] || flock -n {path} true");
            if self.run(&["sh", "-c", &test], LIMIT)?.code != Some(0) {
                found.push(format!("{lock} is held"));
            }
        }
        let state = self.log("network_rewind.json")?;
        if !state.is_empty() {
            match serde_json::from_str::<serde_json::Value>(&state) {
                Ok(state) if state["recovery"].is_null() => {}
                Ok(_) => found.push(format!("a recovery is unfinished: {state}")),
                Err(error) => found.push(format!("network_rewind.json: {error}")),
            }
        }
        if let Err(error) = self.events() {
            found.push(format!("events.jsonl: {error:#}"));
        }
        Ok(found)
    }

    /// All of it: processes, files, and what is unfinished.
    ///
    /// # Errors
    /// The host is off.
    pub fn leftovers(&self) -> Result<Vec<String>> {
        let files = self.temporary_files()?;
        Ok([self.tool_processes()?, files, self.unfinished()?].concat())
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

    /// [`Self::wait_until_nothing_runs`], and nothing else is left either, see [`Node::leftovers`].
    /// Cron may start the next run meanwhile: it has to be so at one moment.
    ///
    /// # Errors
    /// Something is, all the time; the text has its command line or name.
    pub fn wait_until_nothing_is_left(&self, limit: Duration) -> Result<()> {
        self.wait_for_none("the last trace of a run", limit, Node::leftovers)
    }

    fn wait_for_none(
        &self,
        what: &str,
        limit: Duration,
        left: impl Fn(&Node) -> Result<Vec<String>>,
    ) -> Result<()> {
        for node in self.hosts().iter().filter(|node| node.is_up()) {
            wait_for(what, limit, || {
                let left = left(node)?;
                ensure!(left.is_empty(), "{}: {left:?}", node.name());
                Ok(())
            })?;
        }
        Ok(())
    }
}
