//! Who has an address on the local network: asking (ARP probe) and telling (gratuitous ARP).

use super::packet::{Operation, Packet, Socket};
use crate::deadline::Deadline;
use crate::process::{Cmd, Output};
use crate::programs::{MissingProgram, Programs};
use crate::rights;
use crate::vip::{self, Report, Rights, Vip, VipError};
pub use failover_rules::facts::mac::{Mac, NoMac};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

/// After the first answer, for others: an address that two have is answered for twice. Whoever has it
/// answers within milliseconds.
const ALSO: Duration = Duration::from_millis(50);
/// Between two probes of one question.
const TRY_INTERVAL: Duration = Duration::from_millis(125);
/// What `vip_ctl` may need beyond the window it is given, on a busy host, a login as root included.
const STARTUP: Duration = Duration::from_secs(1);

/// An address that nobody has: kept for documentation (RFC 5737).
const NOBODYS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// After a router's answer, for one that answers for every address to answer for that one, too.
const CONTROL_TIME: Duration = Duration::from_millis(100);

/// Why a question could not be put to the network. Never to be read as "nobody answered".
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProbeError {
    /// The program is not on this host.
    #[error(transparent)]
    Missing(#[from] MissingProgram),
    /// No probe could be sent.
    #[error("{what} could not be sent: {why}")]
    CannotProbe {
        /// Such as `an ARP probe for 192.168.1.200 on enp0s3`.
        what: String,
        /// The reason.
        why: String,
    },
}

/// Who else on `dev`'s network answers for `ip`? Whoever does so within `ALSO` after the first answer;
/// nobody within `window` is empty. It makes no difference whether this host has the address itself: a kernel
/// does not answer itself, and answers from this host's other devices on the same network don't
/// count.
///
/// The probes are those of duplicate address detection (sender address 0.0.0.0, RFC 5227). With
/// the address itself as sender, a second holder sees a packet from its own address, drops it as martian and stays silent. They
/// also teach nobody's neighbor table anything.
///
/// Without the right to send, the installed `vip_ctl` is asked, in the last resort as root@localhost.
pub fn who_has(
    programs: &Programs,
    ip: Ipv4Addr,
    dev: &str,
    window: Duration,
) -> Result<Vec<Mac>, ProbeError> {
    let answers = who_answers(programs, ip, dev, window)?;
    let router = answers.router.filter(|_| !answers.for_all);
    Ok(answers.hosts.into_iter().chain(router).collect())
}

/// Who answers for an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Those that have it, for all that is known, in the order of their answers.
    pub hosts: Vec<Mac>,
    /// A router, which may answer for every address: that proves nothing.
    pub router: Option<Mac>,
    /// It does: it answers for an address that nobody has, too.
    pub for_all: bool,
}

/// The same, and whether a router answers.
///
/// # Errors
/// The question could not be put to the network.
pub fn who_answers(
    programs: &Programs,
    ip: Ipv4Addr,
    dev: &str,
    window: Duration,
) -> Result<Answers, ProbeError> {
    let cannot = |why: String| ProbeError::CannotProbe {
        what: format!("an ARP probe for {ip} on {dev}"),
        why,
    };
    let sender = sender(programs).map_err(|error| cannot(error.to_string()))?;
    let answers = match sender.vip_ctl() {
        None => probe(ip, dev, window, &routers(programs, ip)),
        // Which leaves its routers out by itself.
        Some(vip_ctl) => ask_vip_ctl(&sender, vip_ctl, ip, dev, window).map(|hosts| Answers {
            hosts,
            ..Answers::default()
        }),
    };
    answers.map_err(cannot)
}

/// Who sends ARP for us: we ourselves, also where we may not change addresses, or who may do both.
fn sender(programs: &Programs) -> Result<Rights, VipError> {
    match rights::raw() {
        true => Ok(Rights::Direct),
        false => Rights::choose(programs),
    }
}

/// The hardware addresses of the routers that are not `ip` itself.
fn routers(programs: &Programs, ip: Ipv4Addr) -> Vec<Mac> {
    let all = programs.routers.iter().filter_map(|it| match it {
        IpAddr::V4(router) if *router != ip => neighbor_mac(*router),
        _ => None,
    });
    all.collect()
}

fn probe(ip: Ipv4Addr, dev: &str, window: Duration, routers: &[Mac]) -> Result<Answers, String> {
    let own = own_macs().map_err(|e| format!("this host's devices could not be listed: {e}"))?;
    let socket = Socket::open(dev)?;
    let question = |target| Packet {
        operation: Operation::Request,
        sender_mac: socket.mac(),
        sender: Ipv4Addr::UNSPECIFIED,
        target_mac: Mac([0; 6]),
        target,
    };
    let mut deadline = Deadline::after(window);
    let mut answers = Answers::default();
    while !deadline.passed() {
        socket.send(&question(ip))?;
        if !routers.is_empty() {
            socket.send(&question(NOBODYS))?;
        }
        let next = Deadline::after(TRY_INTERVAL);
        while let Some(packet) = socket.receive(deadline.at_most(next.remaining()))? {
            let mac = packet.sender_mac;
            let of_router = routers.contains(&mac);
            answers.for_all |= of_router && packet.sender == NOBODYS;
            // A request whose sender has the address is as good as an answer.
            if packet.sender != ip || own.contains(&mac) {
                continue;
            }
            if of_router {
                answers.router = Some(mac);
                deadline = deadline.at_most(CONTROL_TIME);
            } else if !answers.hosts.contains(&mac) {
                answers.hosts.push(mac);
                deadline = deadline.at_most(ALSO);
            }
        }
    }
    socket.close_beside();
    Ok(answers)
}

fn ask_vip_ctl(
    rights: &Rights,
    vip_ctl: &Path,
    ip: Ipv4Addr,
    dev: &str,
    window: Duration,
) -> Result<Vec<Mac>, String> {
    let vip = format!("{ip}/32");
    let window_ms = window.as_millis().to_string();
    let cmd = Cmd::new(vip_ctl).args(["status", "--json", "--vip", &vip, "--dev", dev]);
    let cmd = cmd.args(["--window", &window_ms]);
    let out = run_for(rights, &cmd, Deadline::after(window + STARTUP))?;
    serde_json::from_str::<Report>(out.stdout.trim())
        .map(|report| {
            report
                .answered_by
                .into_iter()
                .chain(report.also_by)
                .collect()
        })
        .map_err(|error| format!("{cmd} printed no report ({error}): {}", out.last_line()))
}

fn run_for(rights: &Rights, cmd: &Cmd, deadline: Deadline) -> Result<Output, String> {
    let out = rights
        .run(cmd, deadline)
        .map_err(|error| error.to_string())?;
    out.checked(cmd).map_err(|error| error.to_string())
}

/// Tells the network that this host has the address: gratuitous ARP, once as a request and once as a
/// reply, because some switches and hosts learn from only one of them. From the device that the address
/// is on. Gives the lines that the script had in its log, which ran `arping` for the request only, and
/// waited a second for it.
///
/// Without the right to send, the installed `vip_ctl` does it (`add` announces an address that is there
/// already).
///
/// # Errors
/// It could not be sent; the address is not here.
pub fn announce(
    programs: &Programs,
    vip: &Vip,
    deadline: Deadline,
) -> Result<Vec<String>, ProbeError> {
    let addr = vip.cidr.addr;
    let cannot = |why: String| ProbeError::CannotProbe {
        what: format!("gratuitous ARP for {addr} on {}", vip.dev),
        why,
    };
    let held = vip::find(addr).map_err(|error| cannot(error.to_string()))?;
    let dev = held
        .ok_or_else(|| cannot("the address is not on this host".to_owned()))?
        .dev;
    let sender = sender(programs).map_err(|error| cannot(error.to_string()))?;
    let sent = match sender.vip_ctl() {
        None => send_gratuitous(addr, &dev),
        Some(vip_ctl) => run_for(&sender, &vip.vip_ctl_add(vip_ctl), deadline).map(drop),
    };
    sent.map_err(cannot)?;
    let arping = programs.arping_dir.clone().unwrap_or_default();
    let command = Cmd::new(arping.join("arping")).args(["-U", &addr.to_string()]);
    Ok(vec![
        format!("execute: {}", command.args(["-I", &dev, "-w", "1"])),
        format!("ARPING {addr} from {addr} {dev}"),
        "Sent 1 probes (1 broadcast(s))".to_owned(),
        "Received 0 response(s)".to_owned(),
    ])
}

fn send_gratuitous(addr: Ipv4Addr, dev: &str) -> Result<(), String> {
    let socket = Socket::open(dev)?;
    for (operation, target_mac) in [
        (Operation::Request, Mac([0; 6])),
        (Operation::Reply, socket.mac()),
    ] {
        socket.send(&Packet {
            operation,
            sender_mac: socket.mac(),
            sender: addr,
            target_mac,
            target: addr,
        })?;
    }
    socket.close_beside();
    Ok(())
}

/// The hardware address behind `ip` as this host's kernel last saw it; an entry out of date will
/// do. `None`: never seen, or did not answer the last time.
pub fn neighbor_mac(ip: Ipv4Addr) -> Option<Mac> {
    neighbor(&fs::read_to_string("/proc/net/arp").ok()?, ip)
}

/// `/proc/net/arp`: address, type, flags, hardware address, mask, device.
pub(crate) fn neighbor(table: &str, ip: Ipv4Addr) -> Option<Mac> {
    /// `ATF_COM`: the entry has been answered.
    const COMPLETE: u32 = 0x2;
    table.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace();
        let addr: Ipv4Addr = words.next()?.parse().ok()?;
        let flags = u32::from_str_radix(words.nth(1)?.strip_prefix("0x")?, 16).ok()?;
        let mac: Mac = words.next()?.parse().ok()?;
        (addr == ip && flags & COMPLETE != 0 && mac != Mac([0; 6])).then_some(mac)
    })
}

/// The hardware address of this host's device `dev`; `None` if there is no such device, or it has
/// none.
pub fn own_mac(dev: &str) -> Option<Mac> {
    // Asked from the kernel, not from /sys, which may show another network namespace than ours.
    getifaddrs()
        .ok()?
        .filter(|entry| entry.interface_name == dev)
        .find_map(|entry| Some(Mac(entry.address?.as_link_addr()?.addr()?)))
}

fn own_macs() -> nix::Result<Vec<Mac>> {
    let entries = getifaddrs()?;
    Ok(entries
        .filter_map(|entry| Some(Mac(entry.address?.as_link_addr()?.addr()?)))
        .collect())
}

/// The device whose network `ip` is on, if that is a network with ARP: one that is up and has an
/// address with a prefix that covers `ip`, the longest prefix first. `None`: behind a router.
pub fn link_to(ip: Ipv4Addr) -> nix::Result<Option<String>> {
    let usable = |flags: InterfaceFlags| {
        flags.contains(InterfaceFlags::IFF_UP)
            && !flags.intersects(InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_NOARP)
    };
    Ok(crate::vip::ipv4_addresses()?
        .into_iter()
        .filter(|own| usable(own.flags) && own.prefix < 32 && own.network_has(ip))
        .max_by_key(|own| own.prefix)
        .map(|own| own.dev))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

    #[test]
    fn mac_reads_what_programs_print() {
        let mac: Mac = "0E:EF:14:A9:BE:7D".parse().unwrap();
        assert_eq!(mac.to_string(), "0e:ef:14:a9:be:7d");
        assert_eq!(
            serde_json::to_string(&mac).unwrap(),
            "\"0e:ef:14:a9:be:7d\""
        );
        assert_eq!(
            serde_json::from_str::<Mac>("\"0e:ef:14:a9:be:7d\"").unwrap(),
            mac
        );
        for wrong in [
            "",
            "0e:ef:14:a9:be",
            "0e:ef:14:a9:be:7d:00",
            "0e:ef:14:a9:be:+7",
            "x",
        ] {
            assert!(wrong.parse::<Mac>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn neighbors_incomplete_or_of_similar_address_are_none() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
             10.9.0.20        0x1         0x2         0e:ef:14:a9:be:7d     *        eth0\n\
             10.9.0.2         0x1         0x0         0e:ef:14:a9:be:01     *        eth0\n\
             10.9.0.3         0x1         0x0         00:00:00:00:00:00     *        eth0\n\
             10.9.0.4         0x1         0x6         0e:ef:14:a9:be:04     *        eth0\n";
        assert_eq!(neighbor(table, IP), None);
        assert_eq!(neighbor(table, Ipv4Addr::new(10, 9, 0, 3)), None);
        let permanent = neighbor(table, Ipv4Addr::new(10, 9, 0, 4));
        assert_eq!(permanent, Some(Mac([0x0e, 0xef, 0x14, 0xa9, 0xbe, 4])));
        assert_eq!(neighbor("", IP), None);
    }

    #[test]
    fn loopback_is_no_network_with_arp() {
        assert_eq!(link_to(Ipv4Addr::new(127, 0, 0, 2)).unwrap(), None);
        assert_eq!(own_mac("no-such-device"), None);
    }
}
