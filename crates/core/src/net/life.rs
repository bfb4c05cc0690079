//! Signs of life of another host: what tells a dead host, which costs a failover half a second,
//! from a living one whose database must be fenced first.
//!
//! The scripts asked ssh only, and took a host that ssh could not reach within its timeout for
//! dead, while its database went on writing.

use crate::arp::{ProbeError, link_to, who_answers};
use crate::config::Config;
use crate::deadline::Deadline;
use crate::ping;
use crate::programs::Programs;
use crate::workers;
use serde::Serialize;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Between two connection attempts to one port: the kernel itself repeats a lost first packet
/// after a second only.
const TRY_INTERVAL: Duration = Duration::from_millis(100);
/// Attempts to one port.
const TRIES: u32 = 5;

/// The host that is looked for, and where it would answer.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its address.
    pub addr: Ipv4Addr,
    /// `SSH_PORT`.
    pub ssh_port: u16,
    /// `KB_PORT`.
    pub database_port: u16,
}

/// One way of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// ICMP echo.
    Icmp,
    /// ARP, where the host is on a network of ours.
    Arp,
    /// A TCP connection to this port.
    Tcp(u16),
}

impl Finding {
    /// Whether the host has to be taken for alive by it.
    pub fn is_life(&self) -> bool {
        !matches!(self, Self::Silent | Self::Router(_))
    }

    /// Whether the host itself was seen to live: a probe that could not be sent shows nothing.
    pub fn is_seen(&self) -> bool {
        matches!(self, Self::Alive(_))
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Icmp => f.write_str("icmp"),
            Self::Arp => f.write_str("arp"),
            Self::Tcp(port) => write!(f, "tcp {port}"),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The host lives; how it showed.
    Alive(String),
    /// It was asked, several times, and did not answer.
    Silent,
    /// Only a router answered in its place, as some do for every address: no sign of life.
    Router(String),
    /// It could not be asked, and why. Counts as life: nothing was proved.
    CouldNotProbe(String),
}

/// A probe and its finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sign {
    /// What was asked.
    pub probe: Probe,
    /// What came of it.
    pub finding: Finding,
}

/// All that was found out about a host. Its `Display` is one line for the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signs {
    /// The host.
    pub addr: Ipv4Addr,
    /// Milliseconds that it was given.
    pub window_ms: u64,
    /// One per probe that came to an end, in the order of [`Probe`].
    pub signs: Vec<Sign>,
}

impl Signs {
    /// Whether the host has to be taken for alive: any answer, and any probe that could not be
    /// sent. False only when every probe was sent and none was answered.
    pub fn is_alive(&self) -> bool {
        self.signs.is_empty() || self.signs.iter().any(|sign| sign.finding.is_life())
    }
}

impl fmt::Display for Signs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |wanted: &dyn Fn(&Sign) -> Option<String>| {
            let found: Vec<_> = self.signs.iter().filter_map(wanted).collect();
            (!found.is_empty()).then(|| found.join(", "))
        };
        let Self {
            addr, window_ms, ..
        } = self;
        let alive = list(&|sign| match &sign.finding {
            Finding::Alive(how) => Some(format!("{} {how}", sign.probe)),
            _ => None,
        });
        let unknown = list(&|sign| match &sign.finding {
            Finding::CouldNotProbe(why) => Some(format!("{}: {why}", sign.probe)),
            _ => None,
        });
        match (alive, unknown) {
            (Some(how), _) => write!(f, "{addr} lives: {how}"),
            (None, Some(why)) => write!(
                f,
                "{addr} counts as alive, not every probe could be sent: {why}"
            ),
            (None, None) => {
                let probes = list(&|sign| Some(sign.probe.to_string()));
                write!(
                    f,
                    "no sign of life from {addr} within {window_ms} ms ({})",
                    probes.unwrap_or_else(|| "nothing was asked".to_owned())
                )?;
                let router = list(&|sign| match &sign.finding {
                    Finding::Router(mac) => Some(mac.clone()),
                    _ => None,
                });
                match router {
                    Some(mac) => write!(
                        f,
                        "; the gateway answers for it from {mac}, which is no sign of life"
                    ),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Which of `hosts` are seen to live, asked side by side: an answer for each, as it comes. For those who
/// count the hosts that they see; silence, or a network that is down, is what they look for.
pub fn seen(
    hosts: impl IntoIterator<Item = IpAddr>,
    config: &Config,
    programs: &Programs,
) -> mpsc::Receiver<bool> {
    let (told, answers) = mpsc::channel();
    for host in hosts {
        let IpAddr::V4(addr) = host else { continue };
        let (told, programs) = (told.clone(), programs.clone());
        let window = config.probe_timeout;
        let target = Target {
            addr,
            ssh_port: config.ssh_port,
            database_port: config.kb_port,
        };
        workers::start(move || {
            let found = signs_of_life(target, &programs, window, Finding::is_seen);
            let _ = told.send(found.signs.iter().any(|sign| sign.finding.is_seen()));
        });
    }
    answers
}

/// Asks `target` in every way that this host has by itself, all side by side and each several
/// times within `window` (`PROBE_TIMEOUT`). The first finding that is `enough` ends it, after
/// milliseconds; the other probes then run out by themselves, soon after the window.
pub fn signs_of_life(
    target: Target,
    programs: &Programs,
    window: Duration,
    enough: fn(&Finding) -> bool,
) -> Signs {
    let mut probes = vec![
        Probe::Icmp,
        Probe::Tcp(target.ssh_port),
        Probe::Tcp(target.database_port),
    ];
    let mut signs = Vec::new();
    let device = match link_to(target.addr) {
        Ok(device) => device,
        Err(error) => {
            signs.push(Sign {
                probe: Probe::Arp,
                finding: Finding::CouldNotProbe(format!(
                    "this host's addresses could not be listed: {error}"
                )),
            });
            None
        }
    };
    if device.is_some() {
        probes.insert(1, Probe::Arp);
    }
    let (sender, receiver) = mpsc::channel();
    for probe in probes {
        let (sender, programs, device) = (sender.clone(), programs.clone(), device.clone());
        let asking = move || {
            let finding = ask(target.addr, probe, &programs, device.as_deref(), window);
            // Nobody listens any more after the first sign.
            let _ = sender.send(Sign { probe, finding });
        };
        if let Err(error) = thread::Builder::new().spawn(asking) {
            signs.push(Sign {
                probe,
                finding: Finding::CouldNotProbe(format!("no thread for it: {error}")),
            });
        }
    }
    drop(sender);
    // Each probe ends by itself soon after the window; the channel ends with the last one.
    for sign in receiver {
        let ends = enough(&sign.finding);
        signs.push(sign);
        if ends {
            break;
        }
    }
    signs.sort_by_key(|sign| sign.probe);
    Signs {
        addr: target.addr,
        window_ms: u64::try_from(window.as_millis()).unwrap_or(u64::MAX),
        signs,
    }
}

fn ask(
    addr: Ipv4Addr,
    probe: Probe,
    programs: &Programs,
    device: Option<&str>,
    window: Duration,
) -> Finding {
    let unknown = |error: ProbeError| Finding::CouldNotProbe(error.to_string());
    match (probe, device) {
        (Probe::Icmp, _) => programs
            .ping()
            .map_err(ProbeError::from)
            .and_then(|ping| ping::answers(&ping, addr.into(), window))
            .map_or_else(unknown, |answers| {
                if answers {
                    Finding::Alive("answered".to_owned())
                } else {
                    Finding::Silent
                }
            }),
        (Probe::Arp, Some(device)) => {
            who_answers(programs, addr, device, window).map_or_else(unknown, |answers| {
                match (answers.hosts.first(), answers.router) {
                    (Some(mac), _) => Finding::Alive(format!("answered from {mac}")),
                    (None, Some(router)) => Finding::Router(router.to_string()),
                    (None, None) => Finding::Silent,
                }
            })
        }
        (Probe::Arp, None) => Finding::CouldNotProbe("not on a network of this host".to_owned()),
        (Probe::Tcp(port), _) => match knock(addr.into(), port, Deadline::after(window)) {
            Ok(PortState::Accepts) => Finding::Alive("connected".to_owned()),
            Ok(PortState::Refuses) => Finding::Alive("refused".to_owned()),
            Ok(PortState::Silent) => Finding::Silent,
            Err(error) => Finding::CouldNotProbe(error.to_string()),
        },
    }
}

/// How a TCP port answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Nobody listens there, and the host (or its firewall) says so.
    Refuses,
    /// Somebody listens.
    Accepts,
    /// No answer, or the port could not be asked: proves neither.
    Silent,
}

/// How `port` of `addr` answers, until `deadline`. Only `Refuses` proves that no server listens.
pub fn port_refuses(addr: IpAddr, port: u16, deadline: Deadline) -> PortState {
    knock(addr, port, deadline).unwrap_or(PortState::Silent)
}

/// Several connection attempts side by side; the first that says something decides. An error: the
/// packet was not even sent (no route, no right, no descriptor left).
fn knock(addr: IpAddr, port: u16, deadline: Deadline) -> io::Result<PortState> {
    let target = SocketAddr::new(addr, port);
    let (sender, receiver) = mpsc::channel();
    let decided = Arc::new(AtomicBool::new(false));
    for attempt in 0..TRIES {
        let (sender, decided) = (sender.clone(), Arc::clone(&decided));
        thread::Builder::new().spawn(move || {
            deadline.pause(TRY_INTERVAL * attempt);
            if !decided.load(Ordering::Relaxed) && !deadline.passed() {
                // Nobody listens any more after the first answer.
                let _ = sender.send(connect(target, deadline));
            }
        })?;
    }
    // The channel ends with the last attempt.
    drop(sender);
    // Silence proves nothing when this host was too busy to ask.
    let mut result = Err(io::Error::other("nothing was sent in time"));
    for said in receiver {
        let silent = matches!(said, Ok(PortState::Silent));
        result = said;
        if !silent {
            break;
        }
    }
    decided.store(true, Ordering::Relaxed);
    result
}

fn connect(target: SocketAddr, deadline: Deadline) -> io::Result<PortState> {
    // Zero is no valid limit.
    let limit = deadline.remaining().max(Duration::from_millis(1));
    let error = match TcpStream::connect_timeout(&target, limit) {
        Ok(_) => return Ok(PortState::Accepts),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::ConnectionRefused => Ok(PortState::Refuses),
        // Answered, and hung up.
        ErrorKind::ConnectionReset => Ok(PortState::Accepts),
        // Our own kernel, or a router, found nobody there.
        ErrorKind::TimedOut | ErrorKind::HostUnreachable => Ok(PortState::Silent),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::time::Instant;

    fn sign(probe: Probe, finding: Finding) -> Sign {
        Sign { probe, finding }
    }

    fn signs(signs: Vec<Sign>) -> Signs {
        Signs {
            addr: Ipv4Addr::new(192, 168, 1, 101),
            window_ms: 500,
            signs,
        }
    }

    #[test]
    fn only_silence_on_every_probe_is_death() {
        let dead = signs(vec![
            sign(Probe::Icmp, Finding::Silent),
            sign(Probe::Arp, Finding::Silent),
            sign(Probe::Tcp(22), Finding::Silent),
            sign(Probe::Tcp(54321), Finding::Silent),
        ]);
        assert!(!dead.is_alive());
        assert_eq!(
            dead.to_string(),
            "no sign of life from 192.168.1.101 within 500 ms (icmp, arp, tcp 22, tcp 54321)"
        );
        let mut alive = dead.clone();
        alive.signs[3].finding = Finding::Alive("refused".to_owned());
        assert!(alive.is_alive());
        assert_eq!(alive.to_string(), "192.168.1.101 lives: tcp 54321 refused");
        let mut unknown = dead.clone();
        unknown.signs[1].finding = Finding::CouldNotProbe("no right".to_owned());
        assert!(unknown.is_alive());
        assert_eq!(
            unknown.to_string(),
            "192.168.1.101 counts as alive, not every probe could be sent: arp: no right"
        );
        assert!(signs(Vec::new()).is_alive(), "nothing asked proves nothing");
        let mut router = dead.clone();
        router.signs[1].finding = Finding::Router("02:00:c0:a8:01:01".to_owned());
        assert!(!router.is_alive());
        assert_eq!(
            router.to_string(),
            "no sign of life from 192.168.1.101 within 500 ms (icmp, arp, tcp 22, tcp 54321); the \
             gateway answers for it from 02:00:c0:a8:01:01, which is no sign of life"
        );
    }

    /// Whoever counts the hosts that are seen must not be content with a probe that was never sent.
    #[test]
    fn a_probe_that_could_not_be_sent_is_life_and_not_seen() {
        let unsent = Finding::CouldNotProbe("no program arping".to_owned());
        assert!(unsent.is_life() && !unsent.is_seen());
        assert!(!Finding::Silent.is_life() && !Finding::Silent.is_seen());
        let answered = Finding::Alive("answers".to_owned());
        assert!(answered.is_life() && answered.is_seen());
    }

    #[test]
    fn this_host_lives_and_shows_it_at_once() {
        let started = Instant::now();
        let found = signs_of_life(
            Target {
                addr: Ipv4Addr::LOCALHOST,
                ssh_port: 1,
                database_port: 1,
            },
            &Programs::default(),
            Duration::from_secs(5),
            Finding::is_life,
        );
        assert!(found.is_alive());
        assert!(started.elapsed() < Duration::from_secs(1), "{found}");
    }

    #[test]
    fn ports() {
        let soon = || Deadline::after(Duration::from_secs(5));
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        let listener = TcpListener::bind((local, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(port_refuses(local, port, soon()), PortState::Accepts);
        drop(listener);
        assert_eq!(port_refuses(local, port, soon()), PortState::Refuses);
    }
}
