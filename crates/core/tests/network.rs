//! Probes and announcements between two hosts: network namespaces joined by a cable. As root.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod hosts;

use failover_core::arp::{Announcement, Mac, link_to, neighbor_mac, own_mac, who_has};
use failover_core::deadline::Deadline;
use failover_core::life::{Finding, PortState, Probe, Target, port_refuses, signs_of_life};
use failover_core::ping;
use failover_core::process::{Cmd, Output, run};
use failover_core::programs::Programs;
use failover_core::vip::{Did, Rights, Vip, find};
use hosts::{HERE, Hosts, PEER, ip, soon};
use std::net::{Ipv4Addr, TcpListener};
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
        assert_eq!(found.unwrap(), Some(peer_mac));
        assert!(took < Duration::from_millis(300), "{took:?}");
        println!("who_has, answered: {took:?}");

        let (found, took) = timed(|| who_has(&programs, NOBODY, "eth0", WINDOW));
        assert_eq!(found.unwrap(), None);
        assert!(took >= WINDOW && took < WINDOW * 2, "{took:?}");
        println!("who_has, silence: {took:?}");

        let down = who_has(&programs, PEER, "lo", WINDOW).unwrap_err();
        assert!(!down.to_string().contains('\n'), "{down}");
        let missing = who_has(&programs, PEER, "eth7", WINDOW).unwrap_err();
        let text = missing.to_string();
        assert!(text.starts_with("an ARP probe for 10.9.0.2 on eth7 could not be sent: "));
        assert!(
            text.ends_with("arping: Device eth7 not available."),
            "{text}"
        );
    });
    // An address of our own: silence, unless somebody else has it too.
    ip(&format!("-n {} addr add {VIP}/24 dev eth0", hosts.here));
    let ask = || hosts.on_here(|| who_has(&Programs::default(), VIP, "eth0", WINDOW).unwrap());
    assert_eq!(ask(), None);
    ip(&format!("-n {} addr add {VIP}/24 dev eth0", hosts.peer));
    assert_eq!(ask(), Some(peer_mac));
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
        let rights = Rights::choose(&programs, None).unwrap();
        let (did, took) = timed(|| vip().add(&programs, &rights, soon()).unwrap());
        println!("add: {took:?}");
        assert_eq!(did, Did::Added);
        assert_eq!(vip().add(&programs, &rights, soon()).unwrap(), Did::Nothing);
        let held = find(VIP).unwrap().unwrap();
        assert_eq!((held.dev.as_str(), held.prefix), ("eth0", 24));
        assert_eq!(held.label.as_deref(), Some("eth0:2"));

        let announcement = Announcement::start(&programs, &vip()).unwrap();
        let (lines, took) = timed(|| announcement.finish(soon()).unwrap());
        println!("announcement: {took:?}");
        assert_eq!(
            lines,
            [
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
        let rights = Rights::choose(&programs, None).unwrap();
        assert_eq!(vip().del(&programs, &rights, soon()).unwrap(), Did::Removed);
        assert_eq!(vip().del(&programs, &rights, soon()).unwrap(), Did::Nothing);
        assert_eq!(find(VIP).unwrap(), None);
        // Nothing to announce: one clear line, and no wait.
        let announcement = Announcement::start(&programs, &vip()).unwrap();
        let error = announcement.finish(soon()).unwrap_err().to_string();
        assert!(error.ends_with("arping: bind: Cannot assign requested address"));
    });
}

#[test]
fn root_over_ssh_is_asked_to_run_vip_ctl() {
    let hosts = Hosts::new();
    hosts.on_here(|| {
        let asked = std::cell::RefCell::new(Vec::new());
        // In place of ssh: notes the command, and does what vip_ctl would.
        let root = |cmd: &Cmd, deadline| {
            asked.borrow_mut().push(cmd.to_string());
            let action = cmd.to_string().split(' ').nth(1).unwrap().to_owned();
            let args = ["addr", &action, "10.9.0.200/24", "dev", "eth0"];
            run(&Cmd::new("/sbin/ip").args(args), deadline)
        };
        let rights = Rights::ViaSsh {
            vip_ctl: "/db/bin/vip_ctl".into(),
            root: &root,
        };
        let programs = Programs::default();
        assert_eq!(vip().add(&programs, &rights, soon()).unwrap(), Did::Added);
        assert_eq!(vip().add(&programs, &rights, soon()).unwrap(), Did::Nothing);
        assert_eq!(vip().del(&programs, &rights, soon()).unwrap(), Did::Removed);
        let address = "--vip 10.9.0.200/24 --dev eth0";
        assert_eq!(
            *asked.borrow(),
            [
                format!("/db/bin/vip_ctl add {address} --force"),
                format!("/db/bin/vip_ctl del {address}")
            ]
        );
        // What reports success and changes nothing is no success.
        let idle = |_: &Cmd, _: Deadline| Ok(Output::default());
        let rights = Rights::ViaSsh {
            vip_ctl: "/db/bin/vip_ctl".into(),
            root: &idle,
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
        let rights = Rights::choose(&programs, None).unwrap();
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
