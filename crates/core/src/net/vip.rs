//! The database VIP on this host: is it here, put it on, take it off.

use crate::config::{Cidr, Config};
use crate::deadline::Deadline;
use crate::process::{Cmd, Output, RunError, run};
use crate::programs::{MissingProgram, Programs, RootSsh};
use crate::rights::{self, Lent};
use failover_rules::facts::mac::Mac;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The longest name of a device, and so of an address label: `IFNAMSIZ` without its NUL.
const LABEL_LIMIT: usize = 15;

/// The database VIP as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// The address with its prefix length.
    pub cidr: Cidr,
    /// The device of this host that it is put on.
    pub dev: String,
}

/// Where this host has an address. It need not be as configured: a person may have added it by
/// hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The device.
    pub dev: String,
    /// Prefix length, 0 to 32.
    pub prefix: u8,
    /// The label, where the address has one, such as `enp0s3:2`.
    pub label: Option<String>,
}

/// What a call changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Did {
    /// Put it on.
    Added,
    /// Took it off.
    Removed,
    /// Nothing: it was as wanted, or was only looked at.
    Nothing,
    /// Nothing: somebody else answers for the address.
    Refused,
}

/// What `vip_ctl --json` prints: one object on one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The address with its prefix length.
    pub vip: String,
    /// The device that it is on, or would be.
    pub device: String,
    /// Whether this host has it.
    pub here: bool,
    /// Who else answers for it; `null` when nobody does, or nobody was asked (`del`, `--force`).
    pub answered_by: Option<Mac>,
    /// Those that answer for it beside that one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_by: Vec<Mac>,
    /// What was changed.
    pub did: Did,
}

/// Why the VIP is not as wanted.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VipError {
    /// `ip` is not on this host.
    #[error(transparent)]
    Missing(#[from] MissingProgram),
    /// A command failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The kernel did not list this host's addresses.
    #[error("this host's addresses could not be listed: {0}")]
    Unlisted(#[from] nix::Error),
    /// All commands went well, and yet.
    #[error("{addr} is {} this host, although {command} reported success", if *.here { "still on" } else { "not on" })]
    NotReached {
        /// The address.
        addr: Ipv4Addr,
        /// Whether it is here.
        here: bool,
        /// The last command.
        command: String,
    },
    /// Nobody is there who may change addresses.
    #[error(
        "this user may neither change addresses nor send ARP: give {} the file capabilities cap_net_admin,cap_net_raw+ep, or let this user in by ssh as root@localhost{}",
        .vip_ctl.as_deref().unwrap_or(Path::new("vip_ctl in KB_PATH")).display(),
        .ssh.as_ref().map(|why| format!(" ({why})")).unwrap_or_default()
    )]
    NoRights {
        /// The installed `vip_ctl`.
        vip_ctl: Option<PathBuf>,
        /// Why root@localhost did not let us in, if that was tried.
        ssh: Option<String>,
    },
}

/// How this process gets addresses changed, and ARP sent. Chosen once.
#[derive(Clone, Debug)]
pub enum Rights {
    /// It is root, or has the capabilities and lends them to `ip`.
    Direct,
    /// The installed `vip_ctl` has file capabilities.
    ViaVipCtl(PathBuf),
    /// `vip_ctl` run over ssh as root@localhost: what the scripts did.
    ViaSsh {
        /// The installed `vip_ctl`.
        vip_ctl: PathBuf,
        /// The connection.
        root: RootSsh,
    },
}

impl Rights {
    /// The first way that is open, in the order of the variants.
    pub fn choose(programs: &Programs) -> Result<Self, VipError> {
        if rights::addresses() {
            return Ok(Self::Direct);
        }
        if let Some(vip_ctl) = programs.capable_vip_ctl() {
            return Ok(Self::ViaVipCtl(vip_ctl.to_owned()));
        }
        match (&programs.root, &programs.vip_ctl) {
            (Some(root), Some(vip_ctl)) => Ok(Self::ViaSsh {
                vip_ctl: vip_ctl.clone(),
                root: root.clone(),
            }),
            _ => Err(VipError::NoRights {
                vip_ctl: programs.vip_ctl.clone(),
                ssh: None,
            }),
        }
    }

    /// Who does it in our place; `None` where we do.
    pub(crate) fn vip_ctl(&self) -> Option<&Path> {
        match self {
            Self::Direct => None,
            Self::ViaVipCtl(vip_ctl) | Self::ViaSsh { vip_ctl, .. } => Some(vip_ctl),
        }
    }

    pub(crate) fn run(&self, command: &Cmd, deadline: Deadline) -> Result<Output, VipError> {
        match self {
            Self::Direct => {
                // Without it `ip` says what it may not do.
                let _lent = Lent::to_a_child();
                Ok(run(command, deadline)?)
            }
            Self::ViaVipCtl(_) => Ok(run(command, deadline)?),
            Self::ViaSsh { root, vip_ctl } => match root.run(command, deadline) {
                Err(error @ RunError::Unreachable { .. }) => Err(VipError::NoRights {
                    vip_ctl: Some(vip_ctl.clone()),
                    ssh: Some(error.to_string()),
                }),
                result => Ok(result?),
            },
        }
    }
}

impl Vip {
    /// `KB_VIP` on `DEV`; `None` where there is no database VIP.
    pub fn from_config(config: &Config) -> Option<Self> {
        Some(Self {
            cidr: config.kb_vip?,
            dev: config.dev.clone()?,
        })
    }

    /// `/sbin/ip addr add 192.168.1.200/24 dev enp0s3 label enp0s3:2`, also the line for the log.
    /// A label too long for the kernel is left out: the script failed on it.
    pub fn add_command(&self, ip: &Path) -> Cmd {
        let cmd = Cmd::new(ip)
            .args(["addr", "add"])
            .arg(self.to_string())
            .args(["dev", &self.dev]);
        let label = format!("{}:2", self.dev);
        if label.len() > LABEL_LIMIT {
            return cmd;
        }
        cmd.args(["label", &label])
    }

    /// Puts the address on its device, unless this host has it already (on whatever device). Asks
    /// nobody else whether they have it: that is [`crate::arp::who_has`], before.
    pub fn add(
        &self,
        programs: &Programs,
        rights: &Rights,
        deadline: Deadline,
    ) -> Result<Did, VipError> {
        if find(self.cidr.addr)?.is_some() {
            return Ok(Did::Nothing);
        }
        let command = match rights.vip_ctl() {
            None => self.add_command(&programs.ip()?),
            Some(vip_ctl) => self.vip_ctl_add(vip_ctl),
        };
        let result = rights.run(&command, deadline);
        // The goal counts, not the command: somebody else may have added it meanwhile.
        if find(self.cidr.addr)?.is_some() {
            return Ok(Did::Added);
        }
        result?.checked(&command)?;
        Err(VipError::NotReached {
            addr: self.cidr.addr,
            here: false,
            command: command.to_string(),
        })
    }

    /// Takes the address off this host, with the prefix length and from the device that it really
    /// has, and from all if it is on several. The script went by the configured ones, and found
    /// 192.168.1.20 where 192.168.1.200 was.
    pub fn del(
        &self,
        programs: &Programs,
        rights: &Rights,
        deadline: Deadline,
    ) -> Result<Did, VipError> {
        let mut did = Did::Nothing;
        while let Some(held) = find(self.cidr.addr)? {
            let command = match rights.vip_ctl() {
                None => {
                    keep_other_addresses(&held.dev);
                    held.del_command(&programs.ip()?, self.cidr.addr)
                }
                Some(vip_ctl) => self.vip_ctl(vip_ctl, "del"),
            };
            let result = rights.run(&command, deadline);
            if find(self.cidr.addr)?.as_ref() == Some(&held) {
                result?.checked(&command)?;
                return Err(VipError::NotReached {
                    addr: self.cidr.addr,
                    here: true,
                    command: command.to_string(),
                });
            }
            did = Did::Removed;
        }
        Ok(did)
    }

    /// `vip_ctl add` in place of what we may not do ourselves. With `--force`: whether somebody
    /// else answers is the question of whoever decided to add it.
    pub(crate) fn vip_ctl_add(&self, vip_ctl: &Path) -> Cmd {
        self.vip_ctl(vip_ctl, "add").arg("--force")
    }

    fn vip_ctl(&self, vip_ctl: &Path, action: &str) -> Cmd {
        Cmd::new(vip_ctl)
            .args([action, "--vip"])
            .arg(self.to_string())
            .args(["--dev", &self.dev])
    }
}

impl fmt::Display for Vip {
    /// With its prefix length: `192.168.1.200/24`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cidr.fmt(f)
    }
}

impl Held {
    /// `/sbin/ip addr del 192.168.1.200/24 dev enp0s3`, also the line for the log.
    pub fn del_command(&self, ip: &Path, addr: Ipv4Addr) -> Cmd {
        Cmd::new(ip)
            .args(["addr", "del"])
            .arg(format!("{addr}/{}", self.prefix))
            .args(["dev", &self.dev])
    }
}

/// Where this host has `addr`, on any device and with whatever prefix length. Needs no rights.
pub fn find(addr: Ipv4Addr) -> Result<Option<Held>, VipError> {
    Ok(ipv4_addresses()?
        .into_iter()
        .find(|own| own.addr == addr)
        .map(|own| Held {
            dev: own.dev,
            prefix: own.prefix,
            label: own.label,
        }))
}

/// The kernel removes, with the first address of a network on a device, all others of that
/// network, unless it may promote them. A host whose own address came after the VIP (network
/// manager restarted) would be cut off. Distributions with systemd set it; here it is made sure.
fn keep_other_addresses(dev: &str) {
    let setting = format!("/proc/sys/net/ipv4/conf/{dev}/promote_secondaries");
    if fs::read_to_string(&setting).is_ok_and(|value| value.trim() == "0") {
        // Without the right to set it (a container), the VIP has to go all the same.
        let _ = fs::write(&setting, "1");
    }
}

/// One IPv4 address of this host.
pub(crate) struct OwnAddress {
    pub(crate) addr: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) dev: String,
    pub(crate) label: Option<String>,
    pub(crate) flags: InterfaceFlags,
}

impl OwnAddress {
    /// Whether `other` is on this address's network.
    pub(crate) fn network_has(&self, other: Ipv4Addr) -> bool {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(self.prefix))
            .unwrap_or(0);
        u32::from(self.addr) & mask == u32::from(other) & mask
    }
}

pub(crate) fn ipv4_addresses() -> nix::Result<Vec<OwnAddress>> {
    let entries = getifaddrs()?;
    Ok(entries
        .filter_map(|entry| {
            let addr = entry.address?.as_sockaddr_in()?.ip();
            let mask = entry.netmask?.as_sockaddr_in()?.ip();
            // For IPv4 the C library gives the address's label where one expects the device.
            let name = entry.interface_name;
            let (dev, label) = match name.split_once(':') {
                Some((dev, _)) => (dev.to_owned(), Some(name)),
                None => (name, None),
            };
            Some(OwnAddress {
                addr,
                prefix: u8::try_from(u32::from(mask).count_ones()).ok()?,
                dev,
                label,
                flags: entry.flags,
            })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vip(dev: &str) -> Vip {
        Vip {
            cidr: "192.168.1.200/24".parse().unwrap(),
            dev: dev.to_owned(),
        }
    }

    #[test]
    fn the_command_lines_of_the_log() {
        assert_eq!(
            vip("enp0s3").add_command(Path::new("/sbin/ip")).to_string(),
            "/sbin/ip addr add 192.168.1.200/24 dev enp0s3 label enp0s3:2"
        );
        let held = Held {
            dev: "eth1".to_owned(),
            prefix: 32,
            label: None,
        };
        let del = held.del_command(Path::new("/sbin/ip"), Ipv4Addr::new(192, 168, 1, 200));
        assert_eq!(
            del.to_string(),
            "/sbin/ip addr del 192.168.1.200/32 dev eth1"
        );
    }

    #[test]
    fn a_label_that_the_kernel_would_refuse_is_left_out() {
        let longest = vip("enp0s31f6abcd").add_command(Path::new("ip"));
        assert!(longest.to_string().ends_with("label enp0s31f6abcd:2"));
        let too_long = vip("enp0s31f6abcde").add_command(Path::new("ip"));
        assert!(too_long.to_string().ends_with("dev enp0s31f6abcde"));
    }

    #[test]
    fn networks_by_prefix() {
        let own = |prefix| OwnAddress {
            addr: Ipv4Addr::new(10, 9, 0, 1),
            prefix,
            dev: String::new(),
            label: None,
            flags: InterfaceFlags::empty(),
        };
        assert!(own(24).network_has(Ipv4Addr::new(10, 9, 0, 200)));
        assert!(!own(24).network_has(Ipv4Addr::new(10, 9, 1, 1)));
        assert!(own(0).network_has(Ipv4Addr::new(1, 2, 3, 4)));
        assert!(!own(32).network_has(Ipv4Addr::new(10, 9, 0, 2)));
    }

    #[test]
    fn the_loopback_address_is_here() {
        let held = find(Ipv4Addr::LOCALHOST).unwrap().unwrap();
        assert_eq!((held.dev.as_str(), held.prefix), ("lo", 8));
        assert_eq!(find(Ipv4Addr::new(127, 0, 0, 10)).unwrap(), None);
    }

    #[test]
    fn the_report_is_the_documented_object() {
        let report = Report {
            vip: "192.168.1.200/24".to_owned(),
            device: "enp0s3".to_owned(),
            here: true,
            answered_by: None,
            also_by: Vec::new(),
            did: Did::Added,
        };
        assert_eq!(
            serde_json::to_string(&report).unwrap(),
            r#"{"vip":"192.168.1.200/24","device":"enp0s3","here":true,"answered_by":null,"did":"added"}"#
        );
    }
}
