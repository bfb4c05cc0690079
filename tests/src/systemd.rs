//! A stand-in for systemd on a host: one unit that owns the database and starts it again whenever it ends
//! (`Restart=always`), and a `systemctl` that knows the few words that are said to it.
//!
//! The database runs in the unit's cgroup. Who may give orders is a file: polkit's rule, so to speak.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::host::Node;
use crate::layout::{DATA, DB_BIN, USER};
use crate::wait::wait_for;

const SOON: Duration = Duration::from_secs(10);
/// Its files.
const DIR: &str = "/run/service-manager";

impl Node {
    /// Starts it, for `unit`, to which the database that runs belongs from then on. Nobody but root may give
    /// it orders until [`Self::may_manage_units`].
    ///
    /// # Errors
    /// The host is off, or has no cgroups.
    pub fn start_service_manager(&self, unit: &str) -> Result<()> {
        let cgroup = format!("{DIR}/cgroup/failover-lab/{}/{unit}", self.cgroup_name());
        let prepare = format!(
            "set -e
             mkdir -p {DIR}/cgroup /run/systemd/system
             mount -t cgroup2 none {DIR}/cgroup
             mkdir -p {cgroup}
             echo up >{DIR}/wanted; echo 0 >{DIR}/ticks; chmod 666 {DIR}/wanted; : >{DIR}/lock; chmod 666 {DIR}/lock
             : >{DIR}/said; chmod 666 {DIR}/said
             for pid in $(pgrep -x '{server}'); do echo $pid >{cgroup}/cgroup.procs || :; done",
            server = self.shared.options.flavor.names().server,
        );
        self.run(&["sh", "-c", &prepare], SOON)?.success()?;
        // That of a server alone has a minus before it.
        let alive = format!(
            "kill -0 $(sed -n '1{{/^[0-9]*$/p}}' {DATA}/postmaster.pid 2>/dev/null || echo x) 2>/dev/null"
        );
        // As systemd it starts what ended by itself, after a moment, and only as long as nobody has asked
        // for a stop.
        let watch = format!(
            "echo $$ >{cgroup}/cgroup.procs
             gone=0
             while :; do
               exec 9<{DIR}/lock; flock 9
               echo $(($(cat {DIR}/ticks) + 1)) >{DIR}/ticks
               if {alive}; then
                 gone=0
                 [ $(cat {DIR}/wanted) = up ] || kill -INT $(head -n 1 {DATA}/postmaster.pid)
               elif [ $(cat {DIR}/wanted) = up ]; then
                 gone=$((gone + 1))
                 if [ $gone -ge 30 ] || [ -e {DIR}/now ]; then
                   gone=0; rm -f {DIR}/now
                   setpriv --reuid {USER} --regid {USER} --clear-groups \
                     {DB_BIN}/pg_ctl -D {DATA} -W -l {DIR}/database.log start >/dev/null 2>&1 9<&-
                 fi
               fi
               exec 9<&-
               sleep 0.1
             done"
        );
        let systemctl = format!(
            "#!/bin/bash
             words=()
             for word; do case $word in --no-ask-password|--no-block) ;; *) words+=(\"$word\") ;; esac; done
             echo \"$(id -un): $*\" >>{DIR}/said
             alive() {{ {alive}; }}
             case ${{words[0]}} in
               show) alive && echo MainPID=$(head -n 1 {DATA}/postmaster.pid) || echo MainPID=0; exit ;;
               is-active) alive && echo active || {{ echo inactive; exit 3; }}; exit ;;
             esac
             [ \"${{words[1]}}\" = {unit} ] || {{ echo \"Unit ${{words[1]}} not found.\" >&2; exit 5; }}
             if [ $(id -u) != 0 ] && ! [ -e {DIR}/allowed ]; then
               echo \"Failed to ${{words[0]}} {unit}: Interactive authentication required.\" >&2; exit 1
             fi
             exec 9<{DIR}/lock; flock 9
             case ${{words[0]}} in
               stop) echo down >{DIR}/wanted ;;
               start)
                 echo up >{DIR}/wanted; : >{DIR}/now; exec 9<&-
                 for i in $(seq 100); do alive && exit 0; sleep 0.1; done
                 echo \"Job for {unit} failed.\" >&2; exit 1 ;;
             esac\n"
        );
        self.write(&format!("{DIR}/watch"), &watch, 0o755, 0)?;
        self.run(&["chmod", "777", DIR], SOON)?.success()?;
        self.write("/usr/bin/systemctl", &systemctl, 0o755, 0)?;
        self.spawn_daemon("root", &["bash", &format!("{DIR}/watch")])?;
        self.service_manager_looks(1)
    }

    /// Lets the database's user give orders about units, as a rule of polkit does.
    ///
    /// # Errors
    /// The host is off.
    pub fn may_manage_units(&self) -> Result<()> {
        self.write(&format!("{DIR}/allowed"), "", 0o644, 0)
    }

    /// Waits until the service manager has looked so often again.
    ///
    /// # Errors
    /// It does not run.
    pub fn service_manager_looks(&self, times: u32) -> Result<()> {
        let ticks = || -> Result<u32> {
            let text = self.read(&format!("{DIR}/ticks"))?;
            Ok(text.trim().parse().unwrap_or(0))
        };
        let before = ticks()?;
        wait_for("the service manager to look", SOON, || {
            let now = ticks()?;
            ensure!(now >= before + times, "{now} of {before} + {times}");
            Ok(())
        })
    }

    /// What `systemctl` was told on this host, by whom.
    ///
    /// # Errors
    /// The host is off.
    pub fn told_systemctl(&self) -> Result<String> {
        self.read(&format!("{DIR}/said"))
    }

    fn cgroup_name(&self) -> String {
        format!("{}-{}", self.shared.options.name, self.name())
    }
}
