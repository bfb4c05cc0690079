//! Hosts with Debian's own packages, as `apt-get install` leaves them.
//!
//! The packages are the machine's. What they make of a host as they are installed (a cluster, the pool's
//! configuration, services that run) is made on the lab's host by the same programs. There is no systemd there:
//! Debian's own scripts for init take its place.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::unistd::User;

use crate::files;
use crate::host::Node;
use crate::process::run_command;

/// For a cluster to be made, or a service to start.
const SERVICE: Duration = Duration::from_secs(60);
const SYSLOG: &str = "/var/log/syslog";

/// In the first process of a host: what the packages have made at each boot (`tmpfiles.d`), and a syslog,
/// without which the pool's output has no place.
pub(crate) fn at_boot() -> Result<()> {
    let owner = User::from_name("postgres")?.context("the machine has no user postgres")?;
    let dir = Path::new("/run/postgresql");
    chown(dir, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))?;
    std::fs::set_permissions(dir, Permissions::from_mode(0o2775))?;

    let socket = UnixDatagram::bind("/dev/log").context("/dev/log")?;
    std::fs::set_permissions("/dev/log", Permissions::from_mode(0o666))?;
    let mut log = File::options().create(true).append(true).open(SYSLOG)?;
    // Ends with the host.
    std::thread::spawn(move || {
        let mut message = [0; 8192];
        while let Ok(length) = socket.recv(&mut message) {
            let text = message[..length].trim_ascii_end();
            // A full disk is no reason to end.
            let _ = log.write_all(&[text, b"\n"].concat());
        }
    });
    Ok(())
}

impl Node {
    /// Does what `apt-get install` of these packages does to a host that has none of them: they have to be
    /// installed on the machine.
    ///
    /// # Errors
    /// One of them is not installed, or the host is not as it should be afterwards.
    pub fn install_packages(&self, packages: &[&str]) -> Result<()> {
        for package in packages {
            let mut query = Command::new("dpkg-query");
            query.args(["-W", "-f", "${Status}", package]);
            let status = run_command(query.stdin(Stdio::null()), SERVICE)
                .with_context(|| format!("make lab-deps: {package} is not installed"))?;
            ensure!(status == "install ok installed", "{package}: {status}");
        }
        // As the scripts of these packages have it, in their order.
        let install = "set -e
            rm -rf /etc/postgresql/15 /etc/pgpool2/pgpool.conf /etc/pgpool2/pgpool_node_id /opt/failover-tools
            install -d -o postgres -g postgres /etc/postgresql /var/lib/postgresql
            install -d -m 1775 -o root -g postgres /var/log/postgresql
            pg_createcluster 15 main
            pg_ctlcluster 15 main start
            cp /usr/share/pgpool2/pgpool.conf /etc/pgpool2/pgpool.conf
            chgrp postgres /etc/pgpool2/pgpool.conf
            chmod 640 /etc/pgpool2/pgpool.conf
            : >/etc/pgpool2/pool_passwd
            service pgpool2 start";
        self.run(&["sh", "-c", install], SERVICE)?
            .success()
            .map(drop)
    }

    /// Copies what a host needs of this project to `to`: its own files below `project`, and the tools.
    ///
    /// # Errors
    /// A file cannot be copied.
    pub fn copy_project(&self, project: &Path, to: &str) -> Result<()> {
        let to = self.path(to)?;
        let built = to.join("target/release");
        files::directory(&to, 0o755, 0)?;
        files::directory(&built, 0o755, 0)?;
        files::copy_tree(&project.join("etc"), &to.join("etc"))?;
        for tool in crate::layout::TOOLS {
            let from = self.shared.options.tools.join(tool);
            files::copy(&from, &built.join(tool), 0o755, 0)?;
        }
        Ok(())
    }

    /// As the boot of a host starts it.
    pub(crate) fn start_packaged_pool(&self) -> Result<()> {
        self.run(&["service", "pgpool2", "start"], SERVICE)?
            .success()
            .map(drop)
    }
}
