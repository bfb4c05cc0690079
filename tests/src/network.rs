//! The network of a lab: one bridge in a namespace of its own, and one network namespace
//! per host plugged into it. Nothing of it touches the machine's own network.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;

use crate::layout::{DATABASE_VIP, DEVICE, GATEWAY};
use crate::process::{Process, run};

const LIMIT: Duration = Duration::from_secs(10);
/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";
const SWITCH: &str = "switch";

/// The namespaces of one lab, by the lab's name.
#[derive(Debug)]
pub(crate) struct Network {
    prefix: String,
}

impl Network {
    pub(crate) fn of(lab: &str) -> Self {
        Self {
            prefix: format!("lab.{lab}."),
        }
    }

    /// Makes the switch, with nothing plugged in.
    pub(crate) fn create(&self) -> Result<()> {
        self.add_namespace(SWITCH)?;
        // No forwarding delay: a port forwards as soon as its cable is in.
        self.ip(SWITCH, "link add br0 type bridge forward_delay 0")?;
        self.ip(SWITCH, "link set br0 up")
    }

    /// A new namespace `host`, with its loopback and one network card plugged into the switch.
    /// The card's MAC address follows from the address, so it survives a power cycle.
    pub(crate) fn plug_in(&self, host: &str, address: Ipv4Addr) -> Result<()> {
        self.add_namespace(host)?;
        let (port, mac) = (port(address), mac(address));
        let peer = self.name(host);
        self.ip(
            SWITCH,
            &format!("link add {port} type veth peer name {DEVICE} address {mac} netns {peer}"),
        )?;
        // Without IPv6 addresses: the case study has none, and they only add noise.
        self.ip(SWITCH, &format!("link set {port} addrgenmode none"))?;
        self.ip(SWITCH, &format!("link set {port} master br0 up"))?;
        self.tc(&["qdisc", "add", "dev", &port, "clsact"])?;
        self.ip(host, "link set lo up")?;
        self.ip(host, &format!("link set {DEVICE} addrgenmode none"))?;
        self.ip(host, &format!("addr add {address}/24 brd + dev {DEVICE}"))?;
        self.ip(host, &format!("link set {DEVICE} up"))?;
        if address != GATEWAY {
            self.ip(host, &format!("route add default via {GATEWAY}"))?;
        }
        Ok(())
    }

    /// Removes the network card and the namespace, with every socket that lingers in it.
    pub(crate) fn unplug(&self, host: &str, address: Ipv4Addr) -> Result<()> {
        self.ip(SWITCH, &format!("link del {}", port(address)))?;
        delete_namespace(&self.name(host))
    }

    /// Pulls the cable out of the switch or puts it back; the host sees its carrier go.
    pub(crate) fn set_cable(&self, address: Ipv4Addr, plugged: bool) -> Result<()> {
        let state = if plugged { "up" } else { "down" };
        self.ip(SWITCH, &format!("link set {} {state}", port(address)))
    }

    /// Drops what one host sends to the other, both ways, ARP and broadcasts included.
    pub(crate) fn cut(&self, one: Ipv4Addr, other: Ipv4Addr) -> Result<()> {
        for (from, to) in [(one, other), (other, one)] {
            // A classic BPF program on the switch's port to the receiver: if the last four bytes
            // of the source MAC (at offset 8) are the sender's, drop (2), else go on (-1).
            // Kernels lack the more readable classifiers more often than this one.
            let program = format!(
                "4,32 0 0 8,21 0 1 {},6 0 0 2,6 0 0 4294967295",
                from.to_bits()
            );
            self.filter(from, to, &program)?;
        }
        Ok(())
    }

    /// Drops so many of a hundred packets that one host sends to the other, at random; nothing of what
    /// the other one sends.
    pub(crate) fn lose(&self, from: Ipv4Addr, to: Ipv4Addr, percent: u32) -> Result<()> {
        // As in `cut`; of the sender's packets only those go on for which the kernel's random number
        // (offset 56 among what it knows of itself) is not below the limit.
        let limit = u32::MAX / 100 * percent;
        let program = format!(
            "6,32 0 0 8,21 0 3 {},32 0 0 4294963256,53 1 0 {limit},6 0 0 2,6 0 0 4294967295",
            from.to_bits()
        );
        self.filter(from, to, &program)
    }

    /// Undoes [`Self::lose`].
    pub(crate) fn find_again(&self, from: Ipv4Addr, to: Ipv4Addr) -> Result<()> {
        let (port, pref) = (port(to), pref(from));
        self.tc(&["filter", "del", "dev", &port, "egress", "pref", &pref])
    }

    /// A program for all that one host sends to the other, on the switch's port to the receiver.
    fn filter(&self, from: Ipv4Addr, to: Ipv4Addr, program: &str) -> Result<()> {
        let (port, pref) = (port(to), pref(from));
        self.tc(&[
            "filter", "add", "dev", &port, "egress", "pref", &pref, "protocol", "all", "bpf", "da",
            "bytecode", program,
        ])
    }

    /// Has the gateway answer ARP for `address`, as some routers do for every address; whatever is sent there
    /// is lost.
    pub(crate) fn gateway_answers_for(&self, gateway: &str, address: Ipv4Addr) -> Result<()> {
        self.ip(gateway, &format!("addr add {address}/32 dev lo"))?;
        // See [`Self::cut`]: here by the destination in the packet's own header.
        let program = format!(
            "4,32 0 0 30,21 0 1 {},6 0 0 2,6 0 0 4294967295",
            address.to_bits()
        );
        let (port, pref) = (port(GATEWAY), pref(address));
        self.tc(&[
            "filter", "add", "dev", &port, "egress", "pref", &pref, "protocol", "ip", "bpf", "da",
            "bytecode", &program,
        ])
    }

    /// Undoes [`Self::cut`].
    pub(crate) fn mend(&self, one: Ipv4Addr, other: Ipv4Addr) -> Result<()> {
        self.find_again(one, other)?;
        self.find_again(other, one)
    }

    /// The IPv4 addresses on a host's network card, as `192.168.1.101/24`.
    pub(crate) fn addresses(&self, host: &str) -> Result<Vec<String>> {
        let name = self.name(host);
        let args = ["-n", &name, "-o", "-4", "addr", "show", "dev", DEVICE];
        let lines = run("ip", &args, LIMIT)?;
        Ok(lines
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3).map(str::to_owned))
            .collect())
    }

    /// Puts the database VIP on a host's card, under the label that the tools use.
    pub(crate) fn add_vip(&self, host: &str) -> Result<()> {
        let args = format!("addr add {DATABASE_VIP}/24 dev {DEVICE} label {DEVICE}:2");
        self.ip(host, &args)
    }

    /// Undoes [`Self::add_vip`].
    pub(crate) fn del_vip(&self, host: &str) -> Result<()> {
        self.ip(host, &format!("addr del {DATABASE_VIP}/24 dev {DEVICE}"))
    }

    /// Runs `ip` with these arguments in a namespace.
    pub(crate) fn ip(&self, host: &str, args: &str) -> Result<()> {
        let name = self.name(host);
        let mut all = vec!["-n", &name];
        all.extend(args.split(' '));
        run("ip", &all, LIMIT).map(drop)
    }

    fn tc(&self, args: &[&str]) -> Result<()> {
        let name = self.name(SWITCH);
        let mut all = vec!["-n", &name];
        all.extend(args);
        run("tc", &all, LIMIT).map(drop)
    }

    /// The file that stands for a host's network namespace.
    pub(crate) fn file(&self, host: &str) -> PathBuf {
        Path::new(NAMES).join(self.name(host))
    }

    /// Kills every process that is in one of the lab's networks, the hosts' own pid 1 among
    /// them, and removes the networks. Nothing else can be in there, so no list of pids, which
    /// may long belong to others, is needed to clean up after a killed run.
    pub(crate) fn remove(&self) -> Result<()> {
        let names = self.names()?;
        for name in &names {
            let processes = Process::in_namespace("net", &Path::new(NAMES).join(name));
            // All at once: most of them end with their host's first process.
            for process in &processes {
                process.signal(Signal::SIGKILL);
            }
            processes.iter().try_for_each(Process::kill)?;
        }
        names.iter().try_for_each(|name| delete_namespace(name))
    }

    /// Names of the lab's namespaces that exist.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let Ok(entries) = fs::read_dir(NAMES) else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(&self.prefix) {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn name(&self, host: &str) -> String {
        format!("{}{host}", self.prefix)
    }

    fn add_namespace(&self, host: &str) -> Result<()> {
        run("ip", &["netns", "add", &self.name(host)], LIMIT).map(drop)
    }
}

fn delete_namespace(name: &str) -> Result<()> {
    run("ip", &["netns", "del", name], LIMIT).map(drop)
}

/// The switch's port for a host.
fn port(address: Ipv4Addr) -> String {
    format!("port{}", address.octets()[3])
}

/// A locally administered MAC address that ends in the IP address.
fn mac(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// Place of the filter against one sender among those of a port.
fn pref(from: Ipv4Addr) -> String {
    from.octets()[3].to_string()
}

/// Moves the calling *thread* into the network namespace that the file stands for.
pub(crate) fn enter(file: &Path) -> Result<()> {
    let namespace = File::open(file).with_context(|| format!("open {}", file.display()))?;
    setns(&namespace, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {}", file.display()))
}

/// Does something within a network namespace, on a thread of its own.
pub(crate) fn within<T: Send>(file: &Path, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                enter(file)?;
                work()
            })
            .join()
            .map_err(|_| anyhow!("thread in {} panicked", file.display()))?
    })
}
