//! The host's own network programs, `ip`, `arping` and `ping`: where they are, and whether they
//! may do their work for us. They are used instead of raw sockets because they work on every
//! kernel a cluster still runs on and bring their own rights.

use crate::config::Config;
use crate::process::SAFE_PATH;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, Uid, access};
use std::env;
use std::ffi::CString;
use std::fs;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the programs are looked for: the configured directory, PATH, `/sbin`, `/usr/sbin`.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// `CMD_IP_PATH`.
    pub ip_dir: Option<PathBuf>,
    /// `CMD_ARPING_PATH`.
    pub arping_dir: Option<PathBuf>,
    /// The installed `vip_ctl` (in `KB_PATH`), which may have the rights that we lack.
    pub vip_ctl: Option<PathBuf>,
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
            routers: routers(config),
            only_roots: false,
        }
    }

    /// `ip` of iproute2.
    pub fn ip(&self) -> Result<PathBuf, MissingProgram> {
        self.find("ip", self.ip_dir.as_deref(), Some("CMD_IP_PATH"))
    }

    /// `arping` of iputils.
    pub fn arping(&self) -> Result<PathBuf, MissingProgram> {
        self.find(
            "arping",
            self.arping_dir.as_deref(),
            Some("CMD_ARPING_PATH"),
        )
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

/// Whether `program`, symlinks resolved, and every directory above it belong to root and are not
/// writable by anybody else.
fn only_root_can_replace(program: &Path) -> bool {
    fs::canonicalize(program).is_ok_and(|real| {
        real.ancestors().all(|part| {
            fs::metadata(part).is_ok_and(|meta| meta.uid() == 0 && meta.mode() & 0o022 == 0)
        })
    })
}

/// Whether the file brings rights along: setuid root, or file capabilities that are worth something.
/// Anybody may ask.
pub(crate) fn carries_rights(path: &Path) -> bool {
    brings_rights(path) && rights_count(path)
}

/// Whether rights that a file brings along have an effect on us: not where its file system is mounted
/// `nosuid`, and not where we may get no new ones (a unit with `NoNewPrivileges=`, a container
/// that has lost them).
fn rights_count(path: &Path) -> bool {
    let nosuid = statvfs(path).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_NOSUID));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    !nosuid && gets_rights(&status)
}

fn gets_rights(status: &str) -> bool {
    let none_new = status
        .lines()
        .any(|line| line.split_whitespace().eq(["NoNewPrivs:", "1"]));
    // A kernel that does not tell what we may get at most limits nothing that we know of.
    let limited = status.contains("CapBnd:") && !ChildRights::parse(status, "CapBnd:").raw();
    !none_new && !limited
}

fn brings_rights(path: &Path) -> bool {
    const SETUID: u32 = 0o4000;
    if fs::metadata(path).is_ok_and(|meta| meta.uid() == 0 && meta.mode() & SETUID != 0) {
        return true;
    }
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: both strings end in NUL; a null buffer of length 0 asks for the size only.
    let size = unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"security.capability".as_ptr(),
            std::ptr::null_mut(),
            0,
        )
    };
    size > 0
}

/// Capabilities that a program started by us has, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChildRights(u64);

impl ChildRights {
    const NET_ADMIN: u64 = 1 << 12;
    const NET_RAW: u64 = 1 << 13;

    /// Root hands on what it has; anybody else only the ambient set (our own effective rights,
    /// from file capabilities, end at an exec).
    pub(crate) fn ours() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let set = if Uid::effective().is_root() {
            "CapEff:"
        } else {
            "CapAmb:"
        };
        Self::parse(&status, set)
    }

    fn parse(status: &str, set: &str) -> Self {
        let bits = status
            .lines()
            .find_map(|line| line.strip_prefix(set))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
        Self(bits.unwrap_or(0))
    }

    /// Whether it may send and receive raw packets.
    pub(crate) fn raw(self) -> bool {
        self.0 & Self::NET_RAW != 0
    }

    /// Whether it may also change addresses.
    pub(crate) fn addresses(self) -> bool {
        self.raw() && self.0 & Self::NET_ADMIN != 0
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
            .find("no-such-arping", None, Some("CMD_ARPING_PATH"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("no program no-such-arping in /"),
            "{error}"
        );
        assert!(
            error.ends_with("or set CMD_ARPING_PATH to its directory"),
            "{error}"
        );
        assert!(!error.contains('\n'));
    }

    #[test]
    fn what_others_can_replace_is_not_trusted() {
        assert!(only_root_can_replace(Path::new("/bin/sh")));
        // A directory that everybody may write to.
        assert!(!only_root_can_replace(&env::temp_dir()));
        assert!(!only_root_can_replace(Path::new("/nonexistent/ip")));
    }

    #[test]
    fn capability_sets_are_read_as_bits() {
        let status = "Name:\tx\nCapEff:\t0000000000003000\nCapAmb:\t0000000000002000\n";
        assert!(ChildRights::parse(status, "CapEff:").addresses());
        let ambient = ChildRights::parse(status, "CapAmb:");
        assert!(ambient.raw() && !ambient.addresses());
        assert!(!ChildRights::parse("", "CapAmb:").raw());
    }

    #[test]
    fn rights_of_a_file_count_unless_we_may_get_none() {
        let bound = "CapBnd:\t000001ffffffffff\n";
        assert!(gets_rights(""));
        assert!(gets_rights(&format!("{bound}NoNewPrivs:\t0\n")));
        assert!(!gets_rights(&format!("{bound}NoNewPrivs:\t1\n")));
        assert!(!gets_rights("CapBnd:\t0000000000000400\n"));
    }
}
