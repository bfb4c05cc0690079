//! Fencing, and all that only needs looking meanwhile: everything side by side, since each second
//! is one of outage.

use crate::decide::{NoReport, OldPrimary, Signs, VipHolder};
use crate::peer::{Crew, Peer, PeerError, Reply, read};
use crate::report::{FenceReport, Status};
use crate::steps::Order;
use failover_core::arp::{Mac, ProbeError, neighbor_mac, who_has};
use failover_core::deadline::Deadline;
use failover_core::journal::Journal;
use failover_core::life::{PortState, Target, port_refuses, signs_of_life};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// A WAL receiver that got a message so recently (ms) got it from a server that lives.
const RECENT: u64 = 1000;
/// Between two attempts to reach a host that lives.
const RETRY: Duration = Duration::from_millis(200);
/// How long a fence waits for a standby that can be promoted. Here it says so in some 15 ms, over
/// ssh in 100. Whoever says nothing in that time may still be able to.
const CANDIDATE_TIME: Duration = Duration::from_secs(1);
/// How long an address has to answer when it is asked a second time.
const SECOND_LOOK: Duration = Duration::from_millis(150);

/// All that was found out.
#[derive(Debug, Default)]
pub struct Findings {
    /// Of the old primary.
    pub old_primary: OldPrimary,
    /// Of the standbys that answered in time.
    pub standbys: HashMap<IpAddr, Status>,
    /// Why each of the candidates cannot be promoted, where none of them can: then the old primary
    /// was left alone.
    pub nobody: Option<String>,
}

/// What comes in from the threads.
enum News {
    Fence(Reply),
    Signs(Signs),
    Vip(Result<Option<Mac>, ProbeError>),
    Standby(IpAddr, Result<Status, PeerError>),
}

/// Fences `old` and looks around, until the outcome is clear or `deadline` has passed. A host
/// that gives no sign of life costs `PROBE_TIMEOUT`, one that lives may cost all of the time.
///
/// The old primary may be alive and serve its clients (an operator detached it, or the pool's
/// health check erred), so it is not fenced before one of the `candidates` can take its place.
pub fn fence_and_look(
    crew: &Arc<Crew>,
    old: &Peer,
    standbys: &[Peer],
    candidates: &[IpAddr],
    journal: &Journal,
    deadline: Deadline,
) -> Findings {
    let (news, inbox) = channel();
    let watch = Watch {
        crew,
        old,
        journal,
        deadline,
        news: &news,
    };
    let is_here = old.address() == crew.here.config.kb_localhost_ip;
    if !is_here {
        watch.look_for_life();
    }
    let asks_vip = watch.ask_who_has_vip();
    for standby in standbys {
        watch.ask_status(standby);
    }

    let mut findings = Findings::default();
    let mut awaited: HashSet<IpAddr> = standbys.iter().map(Peer::address).collect();
    let mut vip: Option<Result<Option<Mac>, ProbeError>> = (!asks_vip).then_some(Ok(None));
    // Who has the VIP answers within milliseconds or not at all: all of the probe's time is only
    // for a host of which nothing else is known.
    let vip_look = Deadline::after(SECOND_LOOK);
    let mut again: Option<Deadline> = None;
    let mut obstacles: BTreeMap<IpAddr, String> = BTreeMap::new();
    let mut patience = Some(Deadline::after(CANDIDATE_TIME));
    loop {
        if let Some(limit) = patience {
            if obstacles.len() == candidates.len() {
                let each = obstacles.iter().map(|(host, why)| format!("{host}: {why}"));
                findings.nobody = Some(each.collect::<Vec<_>>().join("; "));
                return findings;
            }
            let said = |host| awaited.contains(host) || obstacles.contains_key(host);
            if limit.passed() || !candidates.iter().all(said) {
                patience = None;
                watch.order_fence();
            }
        }
        let vip_known = match &vip {
            // It may be a standby's, on which a run before this one has put it: they say so.
            Some(Ok(Some(mac))) => awaited.is_empty() || !watch.is_stranger(*mac, &findings),
            Some(_) => true,
            None => vip_look.passed() && findings.old_primary.report_is_in(),
        };
        if deadline.passed() || (vip_known && findings.old_primary.is_clear()) {
            break;
        }
        let mut wait = deadline.remaining();
        if let Some(again) = again {
            wait = wait.min(again.remaining());
        }
        if let Some(limit) = patience {
            wait = wait.min(limit.remaining());
        }
        if vip.is_none() && !vip_look.passed() {
            wait = wait.min(vip_look.remaining());
        }
        match inbox.recv_timeout(wait) {
            Ok(News::Fence(Reply::Say(message))) => journal.message(message),
            Ok(News::Fence(Reply::End(end))) => {
                let report = end
                    .and_then(|value| read::<FenceReport>(value, old.address()))
                    .map_err(NoReport::from);
                if let Err(NoReport::Unreachable(_)) = report {
                    // The host may live all the same: ask its port, and try again.
                    findings.old_primary.port_refuses = watch.database_port_refuses();
                    again = Some(deadline.at_most(RETRY));
                    // What our own deadline cut short says less than what was seen before.
                    if deadline.passed() && findings.old_primary.report.is_some() {
                        continue;
                    }
                }
                findings.old_primary.report = Some(report);
            }
            Ok(News::Signs(signs)) => findings.old_primary.signs = Some(signs),
            Ok(News::Vip(answer)) => vip = Some(answer),
            Ok(News::Standby(address, answer)) => {
                awaited.remove(&address);
                let obstacle = match &answer {
                    Ok(status) => status.obstacle.clone(),
                    Err(error) => Some(error.to_string()),
                };
                if let Some(obstacle) = obstacle.filter(|_| candidates.contains(&address)) {
                    obstacles.insert(address, obstacle);
                }
                let heard = &mut findings.old_primary.heard_by;
                heard.retain(|standby| *standby != address);
                if let Ok(status) = answer {
                    if status.receiver_silent_ms.is_some_and(|ms| ms < RECENT) {
                        heard.push(address);
                        // Was that the last message, or one of many?
                        again = again.or(Some(deadline.at_most(RETRY)));
                    }
                    findings.standbys.insert(address, status);
                }
            }
            Err(_) => {
                if again.is_some_and(Deadline::passed) {
                    again = None;
                    watch.look_again(&mut findings.old_primary, standbys);
                }
            }
        }
    }
    findings.old_primary.vip = watch.judge_vip(vip, &findings);
    findings
}

/// What the threads need.
struct Watch<'a> {
    crew: &'a Arc<Crew>,
    old: &'a Peer,
    journal: &'a Journal,
    deadline: Deadline,
    news: &'a Sender<News>,
}

impl Watch<'_> {
    /// What came to nothing may go better now, and what was seen may be over.
    fn look_again(&self, found: &mut OldPrimary, standbys: &[Peer]) {
        if matches!(found.report, Some(Err(NoReport::Unreachable(_)))) {
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
        std::thread::spawn(move || {
            let config = &crew.here.config;
            let IpAddr::V4(addr) = old else {
                return;
            };
            let target = Target {
                addr,
                ssh_port: config.ssh_port,
                database_port: config.kb_port,
            };
            let signs = signs_of_life(target, &crew.here.programs, config.probe_timeout, true);
            let _ = news.send(News::Signs(Signs {
                alive: signs.is_alive(),
                seen: signs.to_string(),
            }));
        });
    }

    /// Asks the network who has the database VIP. False: there is nothing to ask.
    fn ask_who_has_vip(&self) -> bool {
        let Some(vip) = self.crew.here.vip.clone() else {
            return false;
        };
        let (news, crew) = (self.news.clone(), Arc::clone(self.crew));
        // The whole probe's time only where it may be all there is to go by.
        let is_here = self.old.address() == crew.here.config.kb_localhost_ip;
        std::thread::spawn(move || {
            let window = if is_here {
                SECOND_LOOK
            } else {
                crew.here.config.probe_timeout
            };
            let answer = who_has(&crew.here.programs, vip.cidr.addr, &vip.dev, window);
            let _ = news.send(News::Vip(answer));
        });
        true
    }

    fn database_port_refuses(&self) -> bool {
        let limit = self.deadline.at_most(self.crew.here.config.probe_timeout);
        let port = self.crew.here.config.kb_port;
        port_refuses(self.old.address(), port, limit) == PortState::Refuses
    }

    /// Whose the answer for the VIP was. A stranger is asked for again: it may have been the old
    /// primary, under a hardware address that we did not know, before it was fenced.
    fn judge_vip(
        &self,
        answer: Option<Result<Option<Mac>, ProbeError>>,
        findings: &Findings,
    ) -> VipHolder {
        match answer {
            None | Some(Ok(None)) => VipHolder::Nobody,
            Some(Err(error)) => {
                self.journal
                    .stamped(format!("warning: who has the VIP is not known: {error}"));
                VipHolder::Unknown
            }
            Some(Ok(Some(mac))) => match (self.whose(mac, findings), &self.crew.here.vip) {
                (VipHolder::Stranger(_), Some(vip)) => {
                    let programs = &self.crew.here.programs;
                    match who_has(programs, vip.cidr.addr, &vip.dev, SECOND_LOOK) {
                        Ok(Some(mac)) => self.whose(mac, findings),
                        Ok(None) => VipHolder::Nobody,
                        Err(_) => VipHolder::Stranger(mac),
                    }
                }
                (holder, _) => holder,
            },
        }
    }

    /// Whose hardware address `mac` is.
    fn whose(&self, mac: Mac, findings: &Findings) -> VipHolder {
        let old = &findings.old_primary;
        let seen = ipv4(self.old.address()).and_then(neighbor_mac);
        let is_old = matches!(&old.report, Some(Ok(report)) if report.macs.contains(&mac));
        let is_standby = |status: &Status| status.vip_here && status.macs.contains(&mac);
        if seen == Some(mac) || is_old {
            VipHolder::OldPrimary
        } else if findings.standbys.values().any(is_standby) {
            // A run before this one came that far.
            VipHolder::Nobody
        } else {
            VipHolder::Stranger(mac)
        }
    }

    fn is_stranger(&self, mac: Mac, findings: &Findings) -> bool {
        matches!(self.whose(mac, findings), VipHolder::Stranger(_))
    }
}

/// Asks all standbys for their status, side by side, until each has answered or `deadline` has
/// passed. Those that `was_down` says of are not waited for.
pub fn ask_standbys(
    standbys: &[Peer],
    deadline: Deadline,
    was_down: impl Fn(IpAddr) -> bool,
) -> HashMap<IpAddr, Result<Status, PeerError>> {
    let (told, answers) = channel();
    for standby in standbys {
        let (told, address) = (told.clone(), standby.address());
        standby.order(Order::Status, deadline, move |reply| {
            if let Reply::End(end) = reply {
                let _ = told.send((address, end.and_then(|value| read(value, address))));
            }
        });
    }
    let mut found = HashMap::new();
    while standbys
        .iter()
        .map(Peer::address)
        .any(|host| !was_down(host) && !found.contains_key(&host))
    {
        match answers.recv_timeout(deadline.remaining()) {
            Ok((address, answer)) => found.insert(address, answer),
            Err(_) => break,
        };
    }
    found
}

fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}
