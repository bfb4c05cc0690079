//! Probes and announcements between two hosts: network namespaces joined by a cable. As root.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod hosts;

use failover_core::arp::{Mac, announce, link_to, neighbor_mac, own_mac, who_has};
use failover_core::deadline::Deadline;
use failover_core::life::{Finding, PortState, Probe, Target, port_refuses, signs_of_life};
use failover_core::ping;
use failover_core::process::{Cmd, Output, run};
use failover_core::programs::{Programs, RootSsh};
use failover_core::vip::{Did, Rights, Vip, find};
use hosts::{HERE, Hosts, PEER, ip, soon};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 9);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 200);
const WINDOW: Duration = Duration::from_millis(500);

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let started = Instant::now();
    let result = work();
    (result, started.elapsed())
}

fn vip() -> Vip {
    Vip {
        cidr: "10.9.0.200/24".parse().unwrap(),
        dev: "eth0".to_owned(),
    }
}

#[test]
fn who_has_an_address() {
    let hosts = Hosts::new();
    let peer_mac = hosts.on_peer(|| own_mac("eth0")).unwrap();
    hosts.on_here(|| {
        let programs = Programs::default();
        let (found, took) = timed(|| who_has(&programs, PEER, "eth0", WINDOW));
        assert_eq!(found.unwrap(), [peer_mac]);
        assert!(took < Duration::from_millis(300), "{took:?}");
        println!("who_has, answered: {took:?}");

        let (found, took) = timed(|| who_has(&programs, NOBODY, "eth0", WINDOW));
        assert_eq!(found.unwrap(), []);
        assert!(took >= WINDOW && took < WINDOW * 2, "{took:?}");
        println!("who_has, silence: {took:?}");

        for (dev, why) in [
            ("lo", "lo is no Ethernet device with ARP"),
            ("eth7", "this host has no network device eth7"),
        ] {
            let error = who_has(&programs, PEER, dev, WINDOW).unwrap_err();
            let expected = format!("an ARP probe for 10.9.0.2 on {dev} could not be sent: {why}");
            assert_eq!(error.to_string(), expected);
        }
    });
    // An address of our own: silence, unless somebody else has it too.
    ip(&format!("-n {} addr add {VIP}/24 dev eth0", hosts.here));
    let ask = || hosts.on_here(|| who_has(&Programs::default(), VIP, "eth0", WINDOW).unwrap());
    assert_eq!(ask(), []);
    ip(&format!("-n {} addr add {VIP}/24 dev eth0", hosts.peer));
    assert_eq!(ask(), [peer_mac]);
}

#[test]
fn signs_of_life_of_a_living_a_firewalled_and_a_dead_host() {
    let hosts = Hosts::new();
    let listener = hosts.on_peer(|| TcpListener::bind((PEER, 22)).unwrap());
    let look = |addr, enough: fn(&Finding) -> bool| {
        let target = Target {
            addr,
            ssh_port: 22,
            database_port: 54321,
        };
        hosts.on_here(|| timed(|| signs_of_life(target, &Programs::default(), WINDOW, enough)))
    };
    let (signs, took) = look(PEER, |_| false);
    println!("all signs of a living host: {took:?}: {signs}");
    assert_eq!(signs.signs.len(), 4, "{signs}");
    for sign in &signs.signs {
        assert!(matches!(sign.finding, Finding::Alive(_)), "{sign:?}");
    }
    let (signs, took) = look(PEER, Finding::is_life);
    println!("first sign of a living host: {took:?}: {signs}");
    assert!(signs.is_alive() && took < Duration::from_millis(200));
    drop(listener);

    let (signs, took) = look(NOBODY, Finding::is_life);
    println!("a dead host: {took:?}: {signs}");
    assert!(!signs.is_alive(), "{signs}");
    assert!(took < Duration::from_millis(900), "{took:?}");
    assert!(signs.signs.iter().any(|sign| sign.probe == Probe::Arp));

    // Behind a router that does not exist: nothing can be sent, which proves nothing.
    let (signs, _) = look(Ipv4Addr::new(10, 10, 0, 1), |_| false);
    assert!(signs.is_alive(), "{signs}");
    assert!(signs.signs.iter().all(|sign| sign.probe != Probe::Arp));
}

#[test]
fn a_port_that_refuses_and_one_that_says_nothing() {
    let hosts = Hosts::new();
    let listener = hosts.on_peer(|| TcpListener::bind((PEER, 54321)).unwrap());
    let ask = |addr: Ipv4Addr| {
        let deadline = Deadline::after(WINDOW);
        hosts.on_here(|| port_refuses(addr.into(), 54321, deadline))
    };
    assert_eq!(ask(PEER), PortState::Accepts);
    drop(listener);
    assert_eq!(ask(PEER), PortState::Refuses);
    assert_eq!(ask(NOBODY), PortState::Silent);
}

#[test]
fn trust_ip_answers_or_not() {
    let hosts = Hosts::new();
    let ping = Programs::default().ping().unwrap();
    let ask = |addrs: &[Ipv4Addr]| {
        let addrs: Vec<_> = addrs.iter().map(|addr| (*addr).into()).collect();
        hosts.on_here(|| timed(|| ping::first_answer(&ping, &addrs, 3, Deadline::after(WINDOW))))
    };
    let (found, took) = ask(&[NOBODY, PEER]);
    println!("trust IP: {took:?}");
    assert_eq!(found.unwrap(), Some(PEER.into()));
    assert!(took < Duration::from_millis(300), "{took:?}");
    // Dead, and without a route: `ping` ends at once and is tried again until the deadline.
    for silent in [NOBODY, Ipv4Addr::new(10, 10, 0, 1)] {
        let (found, took) = ask(&[silent]);
        assert_eq!(found.unwrap(), None);
        assert!(took >= WINDOW && took < WINDOW * 2, "{took:?}");
    }
}

#[test]
fn a_network_that_comes_back_within_the_deadline_is_seen() {
    let hosts = Hosts::new();
    let ping = Programs::default().ping().unwrap();
    ip(&format!("-n {} link set eth0 down", hosts.here));
    let found = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            hosts.on_here(|| ping::first_answer(&ping, &[PEER.into()], 3, soon()).unwrap())
        });
        Deadline::after(WINDOW).pause(WINDOW);
        ip(&format!("-n {} link set eth0 up", hosts.here));
        asking.join().unwrap()
    });
    assert_eq!(found, Some(PEER.into()));
}

#[test]
fn the_vip_moves_and_neighbors_learn_it() {
    let hosts = Hosts::new();
    let programs = Programs::default();
    let here_mac = hosts.on_here(|| own_mac("eth0")).unwrap();
    // The neighbor still has the address from an old holder.
    let stale = Mac([2, 0, 0, 0, 0, 9]);
    ip(&format!(
        "-n {} neigh add {VIP} lladdr {stale} nud stale dev eth0",
        hosts.peer
    ));
    hosts.on_here(|| {
        let rights = Rights::choose(&programs).unwrap();
        let (did, took) = timed(|| vip().add(&programs, &rights, soon()).unwrap());
        println!("add: {took:?}");
        assert_eq!(did, Did::Added);
        assert_eq!(vip().add(&programs, &rights, soon()).unwrap(), Did::Nothing);
        let held = find(VIP).unwrap().unwrap();
        assert_eq!((held.dev.as_str(), held.prefix), ("eth0", 24));
        assert_eq!(held.label.as_deref(), Some("eth0:2"));

        let programs = Programs {
            arping_dir: Some("/r3/db/bin".into()),
            ..Programs::default()
        };
        let (lines, took) = timed(|| announce(&programs, &vip(), soon()).unwrap());
        println!("announcement: {took:?}");
        assert_eq!(
            lines,
            [
                "execute: /r3/db/bin/arping -U 10.9.0.200 -I eth0 -w 1",
                "ARPING 10.9.0.200 from 10.9.0.200 eth0",
                "Sent 1 probes (1 broadcast(s))",
                "Received 0 response(s)"
            ]
        );
        assert!(took < Duration::from_millis(300), "{took:?}");
    });
    let table = run(
        &Cmd::new("/sbin/ip").args(["-n", &hosts.peer, "neigh", "show", &VIP.to_string()]),
        soon(),
    )
    .unwrap();
    let learned = table
        .stdout
        .split_whitespace()
        .find_map(|word| word.parse::<Mac>().ok());
    assert_eq!(learned, Some(here_mac), "{}", table.stdout);
    hosts.on_here(|| {
        let rights = Rights::choose(&programs).unwrap();
        assert_eq!(vip().del(&programs, &rights, soon()).unwrap(), Did::Removed);
        assert_eq!(vip().del(&programs, &rights, soon()).unwrap(), Did::Nothing);
        assert_eq!(find(VIP).unwrap(), None);
        // Nothing to announce: one clear line, and no wait.
        let error = announce(&programs, &vip(), soon()).unwrap_err().to_string();
        assert!(error.ends_with("could not be sent: the address is not on this host"));
    });
}

/// Who listens to requests only, and who to replies only, learns the new holder.
#[test]
fn gratuitous_arp_is_sent_as_a_request_and_as_a_reply() {
    let hosts = Hosts::new();
    ip(&format!("-n {} addr add {VIP}/24 dev eth0", hosts.here));
    let wire = hosts.on_peer(|| {
        let (family, kind) = (AddressFamily::Packet, SockType::Raw);
        socket(family, kind, SockFlag::empty(), SockProtocol::EthAll).unwrap()
    });
    setsockopt(&wire, ReceiveTimeout, &TimeVal::seconds(5)).unwrap();
    let mac = hosts.on_here(|| {
        announce(&Programs::default(), &vip(), soon()).unwrap();
        own_mac("eth0").unwrap()
    });
    for operation in [1, 2] {
        let frame = loop {
            let mut frame = [0; 1514];
            let length = recv(wire.as_raw_fd(), &mut frame, MsgFlags::empty()).unwrap();
            let is_arp = frame[12..14] == [8, 6];
            if is_arp && length >= 42 && frame[28..32] == VIP.octets() {
                break frame;
            }
        };
        assert_eq!(frame[..6], [0xff; 6], "to all");
        assert_eq!(frame[20..22], [0, operation]);
        assert_eq!(frame[22..28], mac.0);
        assert_eq!(frame[38..42], VIP.octets());
    }
}

/// It proves nothing, so that it counts as life.
#[test]
fn a_probe_that_could_not_be_sent_is_an_error_and_no_silence() {
    let hosts = Hosts::new();
    let ask = || who_has(&Programs::default(), NOBODY, "eth0", WINDOW);
    let unprivileged = hosts.on_here(|| {
        // Of this thread alone.
        caps::clear(None, caps::CapSet::Effective).unwrap();
        ask().unwrap_err().to_string()
    });
    assert!(
        unprivileged
            .contains("could not be sent: this user may neither change addresses nor send ARP"),
        "{unprivileged}"
    );
    let unplugged = std::thread::scope(|scope| {
        let asking = scope.spawn(|| hosts.on_here(ask));
        Deadline::after(WINDOW).pause(WINDOW / 4);
        ip(&format!("-n {} link set eth0 down", hosts.here));
        asking.join().unwrap().unwrap_err().to_string()
    });
    assert!(unplugged.contains("could not be sent: "), "{unplugged}");
    let down = hosts.on_here(ask).unwrap_err().to_string();
    assert!(down.ends_with("could not be sent: eth0 is down"), "{down}");
}

#[test]
fn root_over_ssh_is_asked_to_run_vip_ctl() {
    let hosts = Hosts::new();
    hosts.on_here(|| {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&asked);
        // In place of ssh: notes the command, and does what vip_ctl would.
        let root = RootSsh::new(move |cmd, deadline| {
            notes.lock().unwrap().push(cmd.to_string());
            let action = cmd.to_string().split(' ').nth(1).unwrap().to_owned();
            let args = ["addr", &action, "10.9.0.200/24", "dev", "eth0"];
            run(&Cmd::new("/sbin/ip").args(args), deadline)
        });
        let rights = Rights::ViaSsh {
            vip_ctl: "/db/bin/vip_ctl".into(),
            root,
        };
        let programs = Programs::default();
        assert_eq!(vip().add(&programs, &rights, soon()).unwrap(), Did::Added);
        assert_eq!(vip().add(&programs, &rights, soon()).unwrap(), Did::Nothing);
        assert_eq!(vip().del(&programs, &rights, soon()).unwrap(), Did::Removed);
        let address = "--vip 10.9.0.200/24 --dev eth0";
        assert_eq!(
            *asked.lock().unwrap(),
            [
                format!("/db/bin/vip_ctl add {address} --force"),
                format!("/db/bin/vip_ctl del {address}")
            ]
        );
        // What reports success and changes nothing is no success.
        let idle = RootSsh::new(|_, _| Ok(Output::default()));
        let rights = Rights::ViaSsh {
            vip_ctl: "/db/bin/vip_ctl".into(),
            root: idle,
        };
        let error = vip().add(&programs, &rights, soon()).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("10.9.0.200 is not on this host, although")
        );
    });
}

#[test]
fn the_hosts_own_address_survives_the_vip_that_came_before_it() {
    let hosts = Hosts::new();
    ip(&format!("-n {} addr del {HERE}/24 dev eth0", hosts.here));
    ip(&format!("-n {} addr add {VIP}/24 dev eth0", hosts.here));
    ip(&format!("-n {} addr add {HERE}/24 dev eth0", hosts.here));
    hosts.on_here(|| {
        let programs = Programs::default();
        let rights = Rights::choose(&programs).unwrap();
        assert_eq!(vip().del(&programs, &rights, soon()).unwrap(), Did::Removed);
        assert!(find(HERE).unwrap().is_some());
    });
}

#[test]
fn the_network_that_an_address_is_on() {
    let hosts = Hosts::new();
    hosts.on_here(|| {
        assert_eq!(link_to(PEER).unwrap().as_deref(), Some("eth0"));
        assert_eq!(link_to(Ipv4Addr::new(10, 10, 0, 1)).unwrap(), None);
    });
    assert_eq!(neighbor_mac(Ipv4Addr::new(240, 0, 0, 1)), None);
}
