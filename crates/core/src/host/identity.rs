//! Which host this is. A `HAmodule.conf` copied from another host, with that one's
//! `KB_LOCALHOST_IP`, makes a tool take this host for the other: it would stop the only standby in
//! the place of the primary.

use crate::config::Config;
use nix::ifaddrs::getifaddrs;
use std::net::IpAddr;

/// Addresses that a message names at most.
const SHOWN: usize = 4;

/// What the addresses of this host say about its `KB_LOCALHOST_IP`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// It has that address; or it cannot be told.
    Ours,
    /// It has no address of its own at all, as when a network service has taken them away with the
    /// cable. Such a host reaches nobody, so it does no harm, and a primary on it must stop itself.
    Unplugged,
    /// It has others, and none of another host of the cluster: the address was taken away, or the
    /// file is wrong. What follows is the sentence for a person.
    Lost(String),
    /// It has the address of another host of the cluster: the file is that of somebody else.
    Another(String),
}

impl Identity {
    /// That of the host on which this runs.
    pub fn of(config: &Config) -> Self {
        // Where the kernel does not tell there is no proof of a wrong file, and a failover is worth
        // more than a check that cannot be made.
        match addresses() {
            Ok(held) => judge(config, &held),
            Err(_) => Self::Ours,
        }
    }

    /// What is wrong with the file, for a person.
    pub fn trouble(&self) -> Option<&str> {
        match self {
            Self::Ours | Self::Unplugged => None,
            Self::Lost(why) | Self::Another(why) => Some(why),
        }
    }
}

/// Whether a device of this host has `address`. Where the kernel does not tell, none has.
pub fn is_here(address: IpAddr) -> bool {
    addresses().is_ok_and(|held| held.iter().any(|(_, it)| *it == address))
}

/// The addresses of this host's devices that are up or down, with their devices.
fn addresses() -> nix::Result<Vec<(String, IpAddr)>> {
    Ok(getifaddrs()?
        .filter_map(|entry| {
            let address = entry.address?;
            let ip = match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
                (Some(v4), _) => IpAddr::V4(v4.ip()),
                (None, Some(v6)) => IpAddr::V6(v6.ip()),
                (None, None) => return None,
            };
            // For IPv4 it may be a label, `enp0s3:2`.
            let device = entry.interface_name.split(':').next()?.to_owned();
            Some((device, ip))
        })
        .collect())
}

/// Whether it is the address of a host of the cluster.
fn is_of_cluster(config: &Config, ip: IpAddr) -> bool {
    config.kb_all_ip.contains(&ip) || config.kb_pool_ips.contains(&ip)
}

/// Whether an address tells hosts apart. Every host has loopback addresses; link-local ones come by
/// themselves where a network is missing; the VIPs move, unless a cluster with one pool has that
/// pool's host in the place of one.
fn is_own(config: &Config, ip: IpAddr) -> bool {
    let vip = config.kb_vip.map(|vip| IpAddr::V4(vip.addr));
    let moves = vip == Some(ip) || config.kb_pool_vip == ip;
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    is_of_cluster(config, ip) || !(moves || link_local || ip.is_loopback())
}

fn judge(config: &Config, held: &[(String, IpAddr)]) -> Identity {
    let wanted = config.kb_localhost_ip;
    let own = || held.iter().filter(|(_, ip)| is_own(config, *ip));
    if own().any(|(_, ip)| *ip == wanted) {
        return Identity::Ours;
    }
    if own().next().is_none() {
        return Identity::Unplugged;
    }
    let shown = own()
        .take(SHOWN)
        .map(|(device, ip)| format!("{device} has {ip}"));
    let text = format!(
        "KB_LOCALHOST_IP: {wanted} is not an address of this host ({}): if the file is a copy of \
         another host's, set KB_LOCALHOST_IP, NODE_NAME and DEV to this host's own; if the address \
         was taken from its device, give it back",
        shown.collect::<Vec<_>>().join(", ")
    );
    match own().any(|(_, ip)| is_of_cluster(config, *ip)) {
        true => Identity::Another(text),
        false => Identity::Lost(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(held: &[(&str, &str)]) -> Identity {
        judged_with("", held)
    }

    fn judged_with(more: &str, held: &[(&str, &str)]) -> Identity {
        let text = include_str!("../../../../etc/HAmodule.conf");
        let text = format!("{text}\n{more}\n");
        let config = Config::parse("HAmodule.conf".as_ref(), text.as_bytes()).unwrap();
        let held = held
            .iter()
            .map(|(device, ip)| ((*device).to_owned(), ip.parse().unwrap()));
        judge(&config, &held.collect::<Vec<_>>())
    }

    #[test]
    fn the_address_may_be_on_any_device() {
        for held in [
            &[("lo", "127.0.0.1"), ("enp0s3", "192.168.1.101")][..],
            &[("enp0s3", "10.0.0.7"), ("enp0s3", "192.168.1.101")],
            // An anycast or routed host address.
            &[("lo", "192.168.1.101"), ("enp0s3", "10.0.0.7")],
            // Even beside that of a host that was given up.
            &[("br0", "192.168.1.102"), ("br0", "192.168.1.101")],
        ] {
            assert_eq!(judged(held), Identity::Ours, "{held:?}");
        }
    }

    #[test]
    fn a_copied_file_is_told_by_the_address_of_another_host() {
        let found = judged(&[("lo", "127.0.0.1"), ("enp0s3", "192.168.1.102")]);
        let Identity::Another(why) = found else {
            panic!("{found:?}");
        };
        let expected = "KB_LOCALHOST_IP: 192.168.1.101 is not an address of this host \
                        (enp0s3 has 192.168.1.102): ";
        assert!(why.starts_with(expected), "{why}");
    }

    #[test]
    fn a_pool_without_a_vip_of_its_own_is_reached_by_its_hosts_address() {
        for (pool, held, ours) in [
            ("192.168.1.101", "192.168.1.101", true),
            ("192.168.1.102", "192.168.1.102", false),
        ] {
            let found = judged_with(&format!("KB_POOL_VIP={pool}"), &[("enp0s3", held)]);
            assert_eq!(found == Identity::Ours, ours, "{found:?}");
            assert_eq!(matches!(found, Identity::Another(_)), !ours, "{found:?}");
        }
    }

    #[test]
    fn a_host_without_a_network_is_not_taken_for_another() {
        for held in [
            &[("lo", "127.0.0.1"), ("lo", "::1")][..],
            &[],
            // What comes by itself, and what is no host's own.
            &[("enp0s3", "169.254.7.7"), ("enp0s3", "fe80::1")],
            &[("enp0s3", "192.168.1.200"), ("enp0s3", "192.168.1.201")],
        ] {
            assert_eq!(judged(held), Identity::Unplugged, "{held:?}");
        }
        let managed = judged(&[("eth9", "10.0.0.7"), ("enp0s3", "169.254.7.7")]);
        assert!(matches!(managed, Identity::Lost(_)), "{managed:?}");
    }

    #[test]
    fn the_kernel_tells_this_hosts_addresses() {
        let all = addresses().unwrap();
        let loopback = ("lo".to_owned(), IpAddr::from([127, 0, 0, 1]));
        assert!(all.contains(&loopback), "{all:?}");
    }
}
