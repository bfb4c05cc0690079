//! The host's own network programs, `ip` and `ping`, and the installed `vip_ctl`: where they are. `ping`
//! brings rights of its own, and `ip` knows every kernel that a cluster still runs on.

use crate::config::Config;
use crate::deadline::Deadline;
use crate::process::{Cmd, Output, RunError, SAFE_PATH};
use crate::rights::{carries_rights, only_root_can_replace};
use nix::unistd::{AccessFlags, access};
use std::env;
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Runs a command as root on this host, over ssh: the last way to a right.
#[derive(Clone)]
pub struct RootSsh(Arc<RunAsRoot>);

type RunAsRoot = dyn Fn(&Cmd, Deadline) -> Result<Output, RunError> + Send + Sync;

impl RootSsh {
    /// By `run`.
    pub fn new(
        run: impl Fn(&Cmd, Deadline) -> Result<Output, RunError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(run))
    }

    /// Runs `cmd`.
    pub fn run(&self, cmd: &Cmd, deadline: Deadline) -> Result<Output, RunError> {
        (self.0)(cmd, deadline)
    }
}

impl fmt::Debug for RootSsh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootSsh")
    }
}

/// Where the programs are looked for: the configured directory, PATH, `/sbin`, `/usr/sbin`.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// `CMD_IP_PATH`.
    pub ip_dir: Option<PathBuf>,
    /// `CMD_ARPING_PATH`: only shown, in the line of the log that the script wrote.
    pub arping_dir: Option<PathBuf>,
    /// The installed `vip_ctl` (in `KB_PATH`), which may have the rights that we lack.
    pub vip_ctl: Option<PathBuf>,
    /// The way to root for who has no right of its own.
    pub root: Option<RootSsh>,
    /// The routers of this host's networks, as far as they are no hosts of the cluster: some of them answer
    /// ARP for every address.
    pub routers: Vec<IpAddr>,
    /// Only programs that nobody but root can replace, and no PATH of the caller's. For a process
    /// that has more rights than the user who started it.
    pub only_roots: bool,
}

/// `KB_GATEWAY_IP`, without those that are hosts of the cluster.
fn routers(config: &Config) -> Vec<IpAddr> {
    let is_host = |it: &IpAddr| config.kb_all_ip.contains(it) || config.kb_pool_ips.contains(it);
    let all = config.kb_gateway_ip.iter().copied();
    all.filter(|it| !is_host(it)).collect()
}

/// A program that is nowhere to be found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no {}program {name} in {searched}: install it{}",
    if *.only_roots { "trustworthy (root's, not writable by others) " } else { "" },
    .key.map(|key| format!(" or set {key} to its directory")).unwrap_or_default()
)]
pub struct MissingProgram {
    /// Its name.
    pub name: &'static str,
    /// The directories that were searched, joined by `:`.
    pub searched: String,
    /// The configuration key that names its directory.
    pub key: Option<&'static str>,
    /// Whether only root's own programs were acceptable.
    pub only_roots: bool,
}

impl Programs {
    /// As the configuration says.
    pub fn from_config(config: &Config) -> Self {
        Self {
            ip_dir: config.cmd_ip_path.clone(),
            arping_dir: config.cmd_arping_path.clone(),
            vip_ctl: Some(config.kb_path.join("vip_ctl")),
            root: None,
            routers: routers(config),
            only_roots: false,
        }
    }

    /// `ip` of iproute2.
    pub fn ip(&self) -> Result<PathBuf, MissingProgram> {
        self.find("ip", self.ip_dir.as_deref(), Some("CMD_IP_PATH"))
    }

    /// `ping`.
    pub fn ping(&self) -> Result<PathBuf, MissingProgram> {
        self.find("ping", None, None)
    }

    /// The installed `vip_ctl`, if it has rights of its own and is not this very process: one
    /// whose file capabilities had no effect (`nosuid` mount, `no_new_privs`) must not start
    /// itself for ever.
    pub fn capable_vip_ctl(&self) -> Option<&Path> {
        let path = self.vip_ctl.as_deref()?;
        let file = fs::metadata(path).ok()?;
        let ourselves = fs::metadata("/proc/self/exe")
            .is_ok_and(|own| (own.dev(), own.ino()) == (file.dev(), file.ino()));
        (!ourselves && carries_rights(path) && access(path, AccessFlags::X_OK).is_ok())
            .then_some(path)
    }

    fn find(
        &self,
        name: &'static str,
        configured: Option<&Path>,
        key: Option<&'static str>,
    ) -> Result<PathBuf, MissingProgram> {
        let path = if self.only_roots {
            None
        } else {
            env::var_os("PATH")
        };
        let mut dirs: Vec<PathBuf> = configured.map(Path::to_owned).into_iter().collect();
        dirs.extend(env::split_paths(&path.unwrap_or_else(|| SAFE_PATH.into())));
        dirs.extend(["/sbin", "/usr/sbin"].map(PathBuf::from));
        // Relative entries would depend on the directory that the pool or cron left us in.
        dirs.retain(|dir| dir.is_absolute());
        let mut seen = Vec::new();
        dirs.retain(|dir| {
            let new = !seen.contains(dir);
            seen.push(dir.clone());
            new
        });
        dirs.iter()
            .filter_map(|dir| which::which_in(name, Some(dir), "/").ok())
            .find(|program| !self.only_roots || only_root_can_replace(program))
            .ok_or_else(|| MissingProgram {
                name,
                searched: dirs
                    .iter()
                    .map(|dir| dir.to_string_lossy())
                    .collect::<Vec<_>>()
                    .join(":"),
                key,
                only_roots: self.only_roots,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_directory_comes_first_and_a_wrong_one_is_passed_over() {
        let configured = Programs {
            ip_dir: Some("/sbin".into()),
            ..Programs::default()
        };
        assert_eq!(configured.ip().unwrap(), PathBuf::from("/sbin/ip"));
        let wrong = Programs {
            ip_dir: Some("/nonexistent".into()),
            ..Programs::default()
        };
        assert!(wrong.ip().is_ok());
    }

    #[test]
    fn a_missing_program_is_one_line_that_names_the_key() {
        let error = Programs::default()
            .find("no-such-ip", None, Some("CMD_IP_PATH"))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("no program no-such-ip in /"), "{error}");
        assert!(
            error.ends_with("or set CMD_IP_PATH to its directory"),
            "{error}"
        );
        assert!(!error.contains('\n'));
    }
}
