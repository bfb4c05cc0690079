//! A real systemd on a host: the first process of a pid namespace of its own, over the host's own files. It starts
//! nothing but what it is told to.
//!
//! What it starts is on no list of the host's processes: ask the database itself whether it runs.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::host::Node;
use crate::wait::wait_for;

const SOON: Duration = Duration::from_secs(20);
const UNITS: &str = "/etc/systemd/system";
const CGROUPS: &str = "/run/cgroups";

impl Node {
    /// Starts it, and waits until it takes orders.
    ///
    /// # Errors
    /// The host is off, or has no cgroups.
    pub fn start_systemd(&self) -> Result<()> {
        let cgroup = format!(
            "{CGROUPS}/failover-lab/{}-{}",
            self.shared.options.name,
            self.name()
        );
        let script = format!(
            "set -e
             mkdir -p {CGROUPS}
             mount -t cgroup2 none {CGROUPS}
             mkdir -p {cgroup}
             echo $$ >{cgroup}/cgroup.procs
             exec unshare --cgroup --pid --mount --fork --kill-child --mount-proc sh -ec '
                 mount -t cgroup2 none /sys/fs/cgroup
                 exec env -i container=lab PATH=/usr/sbin:/usr/bin:/sbin:/bin \
                     /lib/systemd/systemd --unit=empty.target --log-target=null --show-status=no'"
        );
        // With the usual dependencies it would set up the machine first.
        let empty = "[Unit]\nDefaultDependencies=no\n";
        self.write(&format!("{UNITS}/empty.target"), empty, 0o644, 0)?;
        self.spawn_daemon("root", &["sh", "-c", &script])?;
        wait_for("systemd to take orders", SOON, || {
            self.systemctl(&["daemon-reload"]).map(drop)
        })
    }

    /// Adds a unit with what is to stand in it besides, and reads all units again. `name`: `x.service`.
    ///
    /// # Errors
    /// No systemd runs.
    pub fn add_unit(&self, name: &str, text: &str, besides: &str) -> Result<()> {
        self.write(&format!("{UNITS}/{name}"), text, 0o644, 0)?;
        let directory = format!("{UNITS}/{name}.d");
        self.run(&["mkdir", "-p", &directory], SOON)?.success()?;
        let besides = format!("[Unit]\nDefaultDependencies=no\n{besides}");
        self.write(&format!("{directory}/lab.conf"), &besides, 0o644, 0)?;
        self.systemctl(&["daemon-reload"]).map(drop)
    }

    /// What `systemctl` prints.
    ///
    /// # Errors
    /// It fails.
    pub fn systemctl(&self, words: &[&str]) -> Result<String> {
        // It talks to nobody whom it cannot see.
        let within = "exec nsenter --all --target $(pgrep --exact systemd) systemctl \"$@\"";
        let command = [&["sh", "-c", within, "systemctl"], words].concat();
        let run = self.run(&command, 3 * SOON)?;
        ensure!(run.code == Some(0), "{run}");
        Ok(run.stdout)
    }
}
