//! Fencing, and all that only needs looking meanwhile: everything side by side, since each second
//! is one of outage.

use crate::decide::{NoReport, OldPrimary, Signs, VipHolder, vip_holder};
use crate::peer::{Crew, Peer, PeerError, Reply, read};
use crate::report::{FenceReport, Status};
use crate::steps::Order;
use failover_core::arp::{Mac, ProbeError, neighbor_mac, who_has};
use failover_core::deadline::Deadline;
use failover_core::journal::Journal;
use failover_core::life::{Finding, PortState, Probe, Sign, Target, port_refuses, signs_of_life};
use failover_core::workers;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// A WAL receiver that got a message so recently (ms) got it from a server that lives.
const RECENT: u64 = 1000;
/// Between two attempts to reach a host that lives.
const RETRY: Duration = Duration::from_millis(200);
/// Between two attempts to connect to the old primary's database.
const PORT_INTERVAL: Duration = Duration::from_millis(300);
/// How long an address has to answer when it is asked a second time.
const SECOND_LOOK: Duration = Duration::from_millis(150);

/// All that was found out.
#[derive(Debug, Default)]
pub struct Findings {
    /// Of the old primary.
    pub old_primary: OldPrimary,
    /// Of the standbys that answered in time.
    pub standbys: HashMap<IpAddr, Status>,
}

/// What comes in from the threads.
enum News {
    Fence(Reply),
    Signs(Signs),
    /// Whether the old primary's database port refuses.
    Port(bool),
    Vip(Result<Option<Mac>, ProbeError>),
    Standby(IpAddr, Result<Status, PeerError>),
}

/// Fences `old` and looks around, until the outcome is clear or `deadline` has passed. A host
/// that gives no sign of life costs `PROBE_TIMEOUT`, one that lives may cost all of the time.
pub fn fence_and_look(
    crew: &Arc<Crew>,
    old: &Peer,
    standbys: &[Peer],
    journal: &Journal,
    deadline: Deadline,
) -> Findings {
    let (news, inbox) = channel();
    let watch = Watch {
        crew,
        old,
        deadline,
        news: &news,
    };
    watch.order_fence();
    if old.address() != crew.here.config.kb_localhost_ip {
        watch.look_for_life();
        watch.ask_port();
    }
    let asks_vip = watch.ask_who_has_vip();
    for standby in standbys {
        watch.ask_status(standby);
    }

    let mut findings = Findings::default();
    let mut vip: Option<Result<Option<Mac>, ProbeError>> = (!asks_vip).then_some(Ok(None));
    // Who has the VIP answers within milliseconds or not at all: all of the probe's time is only
    // for a host of which nothing else is known.
    let vip_look = Deadline::after(SECOND_LOOK);
    // A standby that heard the old primary has twice the probe's time to say so.
    let mut pending: HashSet<IpAddr> = standbys.iter().map(Peer::address).collect();
    let patience = Deadline::after(2 * crew.here.config.probe_timeout);
    let mut again: Option<Deadline> = None;
    loop {
        let old_primary = &mut findings.old_primary;
        old_primary.standbys_pending = !pending.is_empty() && !patience.passed();
        let vip_known = vip.is_some() || (vip_look.passed() && old_primary.report_is_in());
        if deadline.passed() || (vip_known && old_primary.is_clear()) {
            break;
        }
        let next = [again, Some(vip_look), Some(patience)]
            .into_iter()
            .flatten()
            .filter(|at| !at.passed() || Some(*at) == again)
            .fold(deadline, Deadline::min);
        match inbox.recv_timeout(next.remaining()) {
            Ok(News::Fence(Reply::Say(message))) => journal.message(message),
            Ok(News::Fence(Reply::End(end))) => {
                let report = end
                    .and_then(|value| read::<FenceReport>(value, old.address()))
                    .map_err(NoReport::from);
                if let Err(NoReport::NotRun(_)) = report {
                    again = again.or(Some(deadline.at_most(RETRY)));
                }
                old_primary.report = Some(report);
            }
            Ok(News::Signs(signs)) => old_primary.signs = Some(signs),
            Ok(News::Port(refuses)) => old_primary.port_refuses = refuses,
            Ok(News::Vip(answer)) => vip = Some(answer),
            Ok(News::Standby(address, Ok(status))) => {
                pending.remove(&address);
                let heard = &mut old_primary.heard_by;
                match status.receiver_silent_ms {
                    Some(ms) if ms < RECENT => {
                        heard.retain(|standby| *standby != address);
                        heard.push(address);
                        // Was that the last message, or one of many?
                        again = again.or(Some(deadline.at_most(RETRY)));
                    }
                    // One that did not answer takes nothing back.
                    _ if status.in_recovery.is_none() => {}
                    _ => heard.retain(|standby| *standby != address),
                }
                findings.standbys.insert(address, status);
            }
            // Likewise; whether it can be promoted is asked later.
            Ok(News::Standby(address, Err(_))) => drop(pending.remove(&address)),
            Err(_) => {
                if again.is_some_and(Deadline::passed) {
                    again = None;
                    watch.look_again(old_primary, standbys);
                }
            }
        }
    }
    findings.old_primary.vip = watch.judge_vip(vip, &findings, journal);
    findings
}

/// What the threads need.
struct Watch<'a> {
    crew: &'a Arc<Crew>,
    old: &'a Peer,
    deadline: Deadline,
    news: &'a Sender<News>,
}

impl Watch<'_> {
    /// What came to nothing may go better now, and what was seen may be over.
    fn look_again(&self, found: &OldPrimary, standbys: &[Peer]) {
        if matches!(found.report, Some(Err(NoReport::NotRun(_)))) {
            self.order_fence();
        }
        for standby in standbys {
            if found.heard_by.contains(&standby.address()) {
                self.ask_status(standby);
            }
        }
    }

    fn order_fence(&self) {
        let news = self.news.clone();
        self.old.order(Order::Fence, self.deadline, move |reply| {
            let _ = news.send(News::Fence(reply));
        });
    }

    fn ask_status(&self, standby: &Peer) {
        let (news, address) = (self.news.clone(), standby.address());
        standby.order(Order::Status, self.deadline, move |reply| {
            if let Reply::End(end) = reply {
                let status = end.and_then(|value| read(value, address));
                let _ = news.send(News::Standby(address, status));
            }
        });
    }

    fn look_for_life(&self) {
        let (news, crew, old) = (self.news.clone(), Arc::clone(self.crew), self.old.address());
        workers::start(move || {
            if let Some(signs) = life_of(&crew, old) {
                let _ = news.send(News::Signs(signs));
            }
        });
    }

    /// Asks the old primary's database port for as long as nothing is decided. One refusal is not
    /// enough: a supervisor may be starting the server again.
    fn ask_port(&self) {
        let (news, crew, old) = (self.news.clone(), Arc::clone(self.crew), self.old.address());
        let deadline = self.deadline;
        workers::start(move || {
            let config = &crew.here.config;
            let mut refused = false;
            let _: Option<()> = deadline.poll(PORT_INTERVAL, || {
                let limit = deadline.at_most(config.probe_timeout);
                let refuses = port_refuses(old, config.kb_port, limit) == PortState::Refuses;
                let told = news.send(News::Port(refuses && refused));
                refused = refuses;
                // Nobody listens any more.
                told.err().map(drop)
            });
        });
    }

    /// Asks the network who has the database VIP. False: there is nothing to ask.
    fn ask_who_has_vip(&self) -> bool {
        let Some(vip) = self.crew.here.vip.clone() else {
            return false;
        };
        let (news, crew) = (self.news.clone(), Arc::clone(self.crew));
        workers::start(move || {
            let window = crew.here.config.probe_timeout;
            let answer = who_has(&crew.here.programs, vip.cidr.addr, &vip.dev, window);
            let _ = news.send(News::Vip(answer));
        });
        true
    }

    /// Whose the answer for the VIP was. A stranger is asked for again: it may have been the old
    /// primary, under a hardware address that we did not know, before it was fenced.
    fn judge_vip(
        &self,
        answer: Option<Result<Option<Mac>, ProbeError>>,
        findings: &Findings,
        journal: &Journal,
    ) -> VipHolder {
        let mut old: Vec<Mac> = ipv4(self.old.address())
            .and_then(neighbor_mac)
            .into_iter()
            .collect();
        if let Some(Ok(report)) = &findings.old_primary.report {
            old.extend(&report.macs);
        }
        let standbys: Vec<Mac> = findings
            .standbys
            .values()
            .filter(|status| status.vip_here)
            .flat_map(|status| status.macs.iter().copied())
            .collect();
        let whose = |mac| vip_holder(mac, &old, &standbys);
        let first = match answer {
            Some(Ok(None)) => return VipHolder::Nobody,
            Some(Ok(Some(mac))) => whose(mac),
            // It was still being asked when its own copy of the tool said all there is to say.
            None if findings.old_primary.report_is_in() => return VipHolder::Nobody,
            None => return VipHolder::Unknown,
            Some(Err(error)) => {
                journal.stamped(format!("warning: who has the VIP is not known: {error}"));
                return VipHolder::Unknown;
            }
        };
        match (first, &self.crew.here.vip) {
            (VipHolder::Stranger(_), Some(vip)) => {
                let programs = &self.crew.here.programs;
                match who_has(programs, vip.cidr.addr, &vip.dev, SECOND_LOOK) {
                    Ok(Some(mac)) => whose(mac),
                    Ok(None) => VipHolder::Nobody,
                    Err(_) => first,
                }
            }
            _ => first,
        }
    }
}

/// The signs of life of `host`; `None` where it cannot be asked for any.
fn life_of(crew: &Crew, host: IpAddr) -> Option<Signs> {
    let config = &crew.here.config;
    let target = Target {
        addr: ipv4(host)?,
        ssh_port: config.ssh_port,
        database_port: config.kb_port,
    };
    // All of them, not only the first: a refused port proves less than an answer.
    let signs = signs_of_life(target, &crew.here.programs, config.probe_timeout, false);
    let answered = |sign: &Sign| {
        matches!(sign.probe, Probe::Icmp | Probe::Arp) && matches!(sign.finding, Finding::Alive(_))
    };
    Some(Signs {
        alive: signs.is_alive(),
        answered: signs.signs.iter().any(answered),
        seen: signs.to_string(),
    })
}

/// Asks all standbys for their status, side by side, until each has answered or `deadline` has
/// passed. Those that `was_down` says of are not waited for, nor are those that show no life.
pub fn ask_standbys(
    crew: &Arc<Crew>,
    standbys: &[Peer],
    deadline: Deadline,
    was_down: impl Fn(IpAddr) -> bool,
) -> HashMap<IpAddr, Result<Status, PeerError>> {
    let (told, answers) = channel();
    for standby in standbys {
        let address = standby.address();
        let tell = told.clone();
        standby.order(Order::Status, deadline, move |reply| {
            if let Reply::End(end) = reply {
                let _ = tell.send((address, end.and_then(|value| read(value, address))));
            }
        });
        if address == crew.here.config.kb_localhost_ip {
            continue;
        }
        let (tell, crew) = (told.clone(), Arc::clone(crew));
        workers::start(move || {
            if let Some(signs) = life_of(&crew, address).filter(|signs| !signs.alive) {
                let _ = tell.send((address, Err(PeerError::NotRun(signs.seen))));
            }
        });
    }
    let mut found: HashMap<IpAddr, Result<Status, PeerError>> = HashMap::new();
    let awaited = |found: &HashMap<_, _>| {
        let mut hosts = standbys.iter().map(Peer::address);
        hosts.any(|host| !was_down(host) && !found.contains_key(&host))
    };
    while awaited(&found) {
        match answers.recv_timeout(deadline.remaining()) {
            // An answer outweighs silence, whichever came first.
            Ok((address, answer)) if answer.is_ok() => drop(found.insert(address, answer)),
            Ok((address, answer)) => drop(found.entry(address).or_insert(answer)),
            Err(_) => break,
        }
    }
    found
}

fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
