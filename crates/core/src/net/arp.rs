//! Who has an address on the local network: asking (ARP probe) and telling (gratuitous ARP), with
//! iputils' `arping`.

use crate::deadline::Deadline;
use crate::process::{Background, Cmd, Output, run};
use crate::programs::{ChildRights, MissingProgram, Programs, carries_rights};
use crate::vip::{Report, Vip};
pub use failover_rules::facts::mac::{Mac, NoMac};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two probes of one question. One `arping` sends once a second only, so several run
/// side by side.
const TRY_INTERVAL: Duration = Duration::from_millis(125);
/// So many side by side send one probe each [`TRY_INTERVAL`] for as long as it takes.
const TRIES: usize = 8;
/// How often the running ones are asked whether they ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(3);
/// For an interrupted `arping` to print its summary; it takes a millisecond or two.
const SUMMARY_TIME: Duration = Duration::from_millis(200);
/// What `vip_ctl` may need beyond the window it is given, on a busy host.
const STARTUP: Duration = Duration::from_secs(1);

/// An address that nobody has: kept for documentation (RFC 5737).
const NOBODYS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// For a router that answers for every address to do so once more.
const CONTROL_TIME: Duration = Duration::from_millis(200);

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

/// Who else on `dev`'s network answers for `ip`? The first answer ends it at once; nobody within
/// `window` is `None`. It makes no difference whether this host has the address itself: a kernel
/// does not answer itself, and answers from this host's other devices on the same network don't
/// count.
///
/// The probes are those of duplicate address detection (sender address 0.0.0.0, RFC 5227). With
/// the address itself as sender, which is what a plain `arping` takes on the host that has it, a
/// second holder sees a packet from its own address, drops it as martian and stays silent. They
/// also teach nobody's neighbor table anything.
///
/// Without the right to send, the installed `vip_ctl` is asked.
pub fn who_has(
    programs: &Programs,
    ip: Ipv4Addr,
    dev: &str,
    window: Duration,
) -> Result<Option<Mac>, ProbeError> {
    let answers = who_answers(programs, ip, dev, window)?;
    match (answers.host, answers.router) {
        (None, Some(router)) => {
            // It may have the address, or answer for every one: then it does for one that nobody has, too.
            let nobodys = who_answers(programs, NOBODYS, dev, CONTROL_TIME)?;
            Ok((nobodys.router != Some(router)).then_some(router))
        }
        (host, _) => Ok(host),
    }
}

/// Who answers for an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Whoever has it, for all that is known.
    pub host: Option<Mac>,
    /// A router, which may answer for every address: that proves nothing.
    pub router: Option<Mac>,
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
    match sender(programs)? {
        Sender::Arping(arping) => {
            let routers = routers(programs, ip);
            probe(&arping, ip, dev, window, &routers).map_err(cannot)
        }
        Sender::VipCtl(vip_ctl) => {
            let host = ask_vip_ctl(&vip_ctl, ip, dev, window).map_err(cannot)?;
            // Which leaves its routers out by itself.
            Ok(Answers { host, router: None })
        }
        Sender::Nobody(why) => Err(cannot(why)),
    }
}

/// Who sends ARP for us.
enum Sender {
    Arping(PathBuf),
    VipCtl(PathBuf),
    Nobody(String),
}

fn sender(programs: &Programs) -> Result<Sender, MissingProgram> {
    let arping = programs.arping();
    let may_send = |arping: &Path| ChildRights::ours().raw() || carries_rights(arping);
    match (arping, programs.capable_vip_ctl()) {
        (Ok(arping), _) if may_send(&arping) => Ok(Sender::Arping(arping)),
        (_, Some(vip_ctl)) => Ok(Sender::VipCtl(vip_ctl.to_owned())),
        (Ok(arping), None) => Ok(Sender::Nobody(format!(
            "neither this user nor {} nor an installed vip_ctl has CAP_NET_RAW",
            arping.display()
        ))),
        (Err(missing), None) => Err(missing),
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

fn probe(
    arping: &Path,
    ip: Ipv4Addr,
    dev: &str,
    window: Duration,
    routers: &[Mac],
) -> Result<Answers, String> {
    let own = own_macs().map_err(|e| format!("this host's devices could not be listed: {e}"))?;
    // Longer than the window: we end it. The limit is for the case that we are killed.
    let limit = (window.as_secs() + 2).to_string();
    let cmd = Cmd::new(arping)
        .args(["-D", "-f", "-w", limit.as_str(), "-I", dev])
        .arg(ip.to_string());
    let foreign = |out: &Output| answer(&out.stdout, ip).filter(|mac| !own.contains(mac));
    let mut router = None;
    let mut host_in = |out: &Output| {
        let mac = foreign(out)?;
        let is_router = routers.contains(&mac);
        if is_router {
            router = Some(mac);
        }
        (!is_router).then_some(mac)
    };

    let deadline = Deadline::after(window);
    let mut next = Deadline::after(Duration::ZERO);
    let mut running: Vec<Background> = Vec::new();
    let mut started = 0;
    let mut sent = 0;
    let early = deadline.poll(LOOK_INTERVAL, || {
        if started < TRIES && next.passed() {
            match Background::spawn(&cmd) {
                Ok(child) => running.push(child),
                Err(error) => return Some(Err(error.to_string())),
            }
            started += 1;
            next = Deadline::after(TRY_INTERVAL);
        }
        let mut verdict = None;
        running.retain_mut(|child| {
            let Some(out) = child.look(|_, _| ()) else {
                return true;
            };
            match (host_in(&out), probes_sent(&out.stdout)) {
                (Some(mac), _) => verdict = Some(Ok(mac)),
                (None, Some(probes)) => sent += probes,
                (None, None) => verdict = Some(Err(complaint(&out))),
            }
            false
        });
        verdict
    });
    // All at once, so that none has to be waited for.
    running.iter().for_each(Background::interrupt);
    if let Some(verdict) = early {
        return verdict.map(|mac| Answers {
            host: Some(mac),
            router,
        });
    }
    let mut found = None;
    let summary = Deadline::after(SUMMARY_TIME);
    for child in running {
        if let Ok(out) = child.wait(summary) {
            sent += probes_sent(&out.stdout).unwrap_or(0);
            found = found.or_else(|| host_in(&out));
        }
    }
    // Silence proves nothing when this host was too busy to ask.
    if found.is_none() && sent == 0 {
        return Err(format!("nothing was sent within {} ms", window.as_millis()));
    }
    Ok(Answers {
        host: found,
        router,
    })
}

fn ask_vip_ctl(
    vip_ctl: &Path,
    ip: Ipv4Addr,
    dev: &str,
    window: Duration,
) -> Result<Option<Mac>, String> {
    let vip = format!("{ip}/32");
    let window_ms = window.as_millis().to_string();
    let cmd = Cmd::new(vip_ctl).args(["status", "--json", "--vip", &vip, "--dev", dev]);
    let cmd = cmd.args(["--window", &window_ms]);
    let out = run(&cmd, Deadline::after(window + STARTUP))
        .and_then(|out| out.checked(&cmd))
        .map_err(|error| error.to_string())?;
    serde_json::from_str::<Report>(out.stdout.trim())
        .map(|report| report.answered_by)
        .map_err(|error| format!("{cmd} printed no report ({error}): {}", out.last_line()))
}

/// The first answer for `ip` that `arping` printed. One that ends before its pipe is flushed
/// prints all at once: `Unicast reply from 10.9.0.2 [0E:EF:14:A9:BE:7D]  0.538ms`. A request
/// whose sender has the address is as good as an answer.
fn answer(stdout: &str, ip: Ipv4Addr) -> Option<Mac> {
    stdout.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let cast = words.next()?;
        let kind = words.next()?;
        let from = words.next()?;
        let sender: Ipv4Addr = words.next()?.parse().ok()?;
        let mac = words.next()?.strip_prefix('[')?.strip_suffix(']')?;
        let answers = ["Unicast", "Broadcast"].contains(&cast)
            && ["reply", "request"].contains(&kind)
            && from == "from"
            && sender == ip;
        answers.then(|| mac.parse().ok()).flatten()
    })
}

/// From the summary `Sent 1 probes (1 broadcast(s))`; `None` where `arping` printed none, which
/// is how it fails.
fn probes_sent(stdout: &str) -> Option<u32> {
    stdout.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("Sent"))
            .then(|| words.next()?.parse().ok())
            .flatten()
    })
}

/// What a failed `arping` says: `arping: socket: Operation not permitted`, or on standard output
/// `Interface "enp0s3" is down`.
fn complaint(out: &Output) -> String {
    match out.last_line() {
        "" => format!("arping ended with code {} and no word", out.code),
        line => line.to_owned(),
    }
}

/// Gratuitous ARP for an address that this host has, sent while the caller goes on: once as a
/// request and once as a reply, because some switches and hosts learn from only one of them. The
/// scripts sent the request only, and waited a second for it.
#[derive(Debug)]
pub struct Announcement {
    /// The command whose lines the log shows.
    command: Cmd,
    shown: Background,
    /// The reply form; `None` where `vip_ctl` sends both.
    reply: Option<Background>,
    started: Deadline,
    /// For errors.
    what: String,
}

impl Announcement {
    /// An `arping` needs this long to send its packet, most of it to start; a busy host gets more.
    const SEND_TIME: Duration = Duration::from_millis(30);

    /// Starts sending. It takes a millisecond or two; the packets are out some milliseconds later.
    /// Without the right to send, the installed `vip_ctl` does it (`add` announces an address
    /// that is there already).
    pub fn start(programs: &Programs, vip: &Vip) -> Result<Self, ProbeError> {
        let what = format!("gratuitous ARP for {} on {}", vip.cidr.addr, vip.dev);
        let cannot = |why: String| ProbeError::CannotProbe {
            what: what.clone(),
            why,
        };
        let (command, reply) = match sender(programs)? {
            Sender::Arping(arping) => (
                announcement(&arping, "-U", vip),
                Some(announcement(&arping, "-A", vip)),
            ),
            Sender::VipCtl(vip_ctl) => (vip.vip_ctl_add(&vip_ctl), None),
            Sender::Nobody(why) => return Err(cannot(why)),
        };
        let spawn = |cmd: &Cmd| Background::spawn(cmd).map_err(|error| cannot(error.to_string()));
        Ok(Self {
            shown: spawn(&command)?,
            reply: reply.as_ref().map(spawn).transpose()?,
            started: Deadline::after(Self::SEND_TIME),
            command,
            what,
        })
    }

    /// The command line for the log:
    /// `/sbin/arping -U 192.168.1.200 -I enp0s3 -w 1`.
    pub fn command(&self) -> &Cmd {
        &self.command
    }

    /// Ends it, and gives the lines for the log, those of the request form. Returns as soon as the
    /// packets are out: left alone, `arping` waits a full second for answers that nobody sends.
    pub fn finish(self, deadline: Deadline) -> Result<Vec<String>, ProbeError> {
        let result = match self.reply {
            None => self.shown.wait(deadline),
            Some(reply) => {
                deadline.pause(self.started.remaining());
                self.shown.interrupt();
                reply.interrupt();
                // Only the request is looked at: it fails and succeeds with the reply form.
                let _ = reply.wait(deadline.at_most(SUMMARY_TIME));
                match self.shown.wait(deadline.at_most(SUMMARY_TIME)) {
                    // Interrupted before it had sent anything: once more, to its own end.
                    Ok(out) if out.code >= 128 || probes_sent(&out.stdout) == Some(0) => {
                        run(&self.command, deadline)
                    }
                    result => result,
                }
            }
        };
        let why = match result {
            Ok(out) if out.code == 0 => {
                return Ok(out.stdout.lines().map(str::to_owned).collect());
            }
            Ok(out) => complaint(&out),
            Err(error) => error.to_string(),
        };
        Err(ProbeError::CannotProbe {
            what: self.what,
            why,
        })
    }
}

fn announcement(arping: &Path, form: &str, vip: &Vip) -> Cmd {
    Cmd::new(arping)
        .arg(form)
        .arg(vip.cidr.addr.to_string())
        .args(["-I", &vip.dev, "-w", "1"])
}

/// The hardware address behind `ip` as this host's kernel last saw it; an entry out of date will
/// do. `None`: never seen, or did not answer the last time.
pub fn neighbor_mac(ip: Ipv4Addr) -> Option<Mac> {
    neighbor(&fs::read_to_string("/proc/net/arp").ok()?, ip)
}

/// `/proc/net/arp`: address, type, flags, hardware address, mask, device.
fn neighbor(table: &str, ip: Ipv4Addr) -> Option<Mac> {
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
    fn an_answer_is_for_the_very_address() {
        let reply = "ARPING 10.9.0.2 from 0.0.0.0 eth0\n\
                     Unicast reply from 10.9.0.2 [0E:EF:14:A9:BE:7D]  0.538ms\n\
                     Sent 1 probes (1 broadcast(s))\nReceived 1 response(s)\n";
        let mac = "0e:ef:14:a9:be:7d".parse().unwrap();
        assert_eq!(answer(reply, IP), Some(mac));
        assert_eq!(probes_sent(reply), Some(1));
        let longer = reply.replace("10.9.0.2 [", "10.9.0.20 [");
        assert_eq!(answer(&longer, IP), None);
        let request = "Broadcast request from 10.9.0.2 [0E:EF:14:A9:BE:7D] for 10.9.0.9 \n";
        assert_eq!(answer(request, IP), Some(mac));
        assert_eq!(probes_sent("Interface \"eth0\" is down\n"), None);
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
