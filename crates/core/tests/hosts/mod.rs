//! Two hosts for tests: network namespaces joined by a cable. Needs root.

use failover_core::arp::who_has;
use failover_core::deadline::Deadline;
use failover_core::process::{Cmd, run};
use failover_core::programs::Programs;
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub const HERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// Two hosts, `here` and `peer`, 10.9.0.1/24 and 10.9.0.2/24 on `eth0`.
pub struct Hosts {
    /// Name of the namespace that the tests work in.
    pub here: String,
    /// Name of the other one.
    pub peer: String,
}

impl Hosts {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "fo-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let hosts = Self {
            here: format!("{name}-here"),
            peer: format!("{name}-peer"),
        };
        let (here, peer) = (&hosts.here, &hosts.peer);
        ip(&format!("netns add {here}"));
        ip(&format!("netns add {peer}"));
        ip(&format!(
            "-n {here} link add eth0 type veth peer name eth0 netns {peer}"
        ));
        for (host, addr) in [(here, HERE), (peer, PEER)] {
            ip(&format!("-n {host} link set lo up"));
            ip(&format!("-n {host} addr add {addr}/24 dev eth0"));
            ip(&format!("-n {host} link set eth0 up"));
        }
        // The first packet of a test has to find the cable plugged in.
        let plugged = soon().poll(Duration::from_millis(10), || {
            let window = Duration::from_millis(500);
            hosts
                .on_here(|| who_has(&Programs::default(), PEER, "eth0", window))
                .ok()
                .filter(|found| !found.is_empty())
        });
        assert!(plugged.is_some(), "the hosts do not reach each other");
        hosts
    }

    pub fn on_here<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        on(&self.here, work)
    }

    pub fn on_peer<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        on(&self.peer, work)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in [&self.here, &self.peer] {
            let _ = run(&Cmd::new("/sbin/ip").args(["netns", "del", host]), soon());
        }
    }
}

/// Runs `work` in a thread that is on `host`; so are its threads and its children.
fn on<T: Send>(host: &str, work: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(format!("/run/netns/{host}")).unwrap();
    std::thread::scope(|scope| {
        let on_host = scope.spawn(|| {
            // SAFETY: a system call on a descriptor that outlives it.
            let entered = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(entered, 0, "this test must be run as root");
            work()
        });
        on_host.join().unwrap()
    })
}

pub fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

/// `ip` with these arguments, which must succeed.
pub fn ip(args: &str) {
    let cmd = Cmd::new("/sbin/ip").args(args.split(' '));
    let done = run(&cmd, soon()).and_then(|out| out.checked(&cmd));
    assert!(done.is_ok(), "this test must be run as root: {done:?}");
}
