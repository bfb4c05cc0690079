//! Fencing, and all that only needs looking meanwhile: everything side by side, since each second
//! is one of outage.

use crate::peer::{Crew, Peer, Reply};
use crate::steps::{LAST_LOOK, Order};
use failover_core::arp::{Mac, ProbeError, neighbor_mac, who_has};
use failover_core::deadline::Deadline;
use failover_core::journal::Journal;
use failover_core::life::{Finding, PortState, Probe, Sign, Target, port_refuses, signs_of_life};
use failover_core::peer::{PeerError, read};
use failover_core::status::Status;
use failover_core::workers;
use failover_rules::facts::report::FenceReport;
use failover_rules::failover::{self as decide, NoReport, OldPrimary, Signs, Unfit, VipHolder};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// A WAL receiver that got a message so recently (ms) got it from a server that lives.
const RECENT: u64 = 1000;
/// Between two attempts to reach a host that lives.
const RETRY: Duration = Duration::from_millis(200);
/// Between two looks for life: a host that lives may die while it is being fenced.
const LIFE_INTERVAL: Duration = Duration::from_millis(500);
/// Between two attempts to connect to the old primary's database.
const PORT_INTERVAL: Duration = Duration::from_millis(300);
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
    /// Why nobody may be promoted past a standby, and what to do: then, too, the old primary was left
    /// alone.
    pub refusal: Option<String>,
}

/// The standbys that matter before the old primary is touched.
#[derive(Clone, Copy, Debug)]
pub struct Needed<'a> {
    /// Of these one has to be there to be promoted.
    pub candidates: &'a [IpAddr],
    /// Nobody is promoted past one of these that answers and is not understood.
    pub understood: &'a [IpAddr],
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
///
/// The old primary may be alive and serve its clients (an operator detached it, or the pool's
/// health check erred), so it is not fenced before one of the candidates can take its place.
pub fn fence_and_look(
    crew: &Arc<Crew>,
    old: &Peer,
    standbys: &[Peer],
    needed: Needed<'_>,
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
    if old.address() != crew.here.config.kb_localhost_ip {
        watch.look_for_life();
        watch.ask_port();
    }
    let asks_vip = watch.ask_who_has_vip();
    for standby in standbys {
        watch.ask_status(standby);
    }
    let mut heard = Heard {
        findings: Findings::default(),
        vip: (!asks_vip).then_some(Ok(None)),
        vip_asked_again: false,
        life_again: None,
        awaited: standbys.iter().map(Peer::address).collect(),
        fence_began: false,
        obstacles: BTreeMap::new(),
        not_understood: BTreeMap::new(),
        again: None,
    };
    // Who has the VIP answers within milliseconds or not at all: all of the probe's time is only
    // for a host of which nothing else is known.
    let vip_look = Deadline::after(SECOND_LOOK);
    // A standby that heard the old primary has twice the probe's time to say so.
    let patience = Deadline::after(2 * crew.here.config.probe_timeout);
    let last_look = Deadline::after(deadline.remaining() + LAST_LOOK);
    let mut before_fence = Some(Deadline::after(CANDIDATE_TIME));
    loop {
        // One look at the clock for the whole round: a timer that ran out after it was asked, and
        // before the wait for the next one is reckoned, would be slept through.
        let now = Deadline::after(Duration::ZERO);
        let end = match heard.fence_is_under_way() {
            true => last_look,
            false => deadline,
        };
        if end <= now {
            break;
        }
        if let Some(limit) = before_fence {
            match heard.before_fence(needed, crew) {
                Some(Verdict::LeaveAlone) => return heard.findings,
                None if limit > now => {}
                None | Some(Verdict::Fence) => {
                    before_fence = None;
                    watch.order_fence();
                }
            }
        }
        if heard.again.is_some_and(|again| again <= now) {
            heard.again = None;
            watch.look_again(&heard.findings.old_primary, standbys);
        }
        if heard.life_again.is_some_and(|again| again <= now) {
            heard.life_again = None;
            watch.look_for_life();
            // Whoever answered may have died.
            heard.vip_asked_again |= heard.somebody_has_vip() && watch.ask_who_has_vip();
        }
        let old_primary = &mut heard.findings.old_primary;
        old_primary.standbys_pending = !heard.awaited.is_empty() && patience > now;
        if old_primary.is_clear() && heard.vip_is_known(&watch, vip_look <= now) {
            break;
        }
        let timers = [
            heard.again,
            heard.life_again,
            before_fence,
            Some(vip_look),
            Some(patience),
        ];
        let running = timers.into_iter().flatten().filter(|timer| *timer > now);
        let next = running.fold(end, Deadline::min);
        match inbox.recv_timeout(next.remaining()) {
            Ok(News::Fence(Reply::Say(message))) => {
                heard.fence_began = true;
                journal.message(message);
            }
            Ok(news) => heard.take(news, old.address(), deadline),
            // A timer; or no thread is left that could tell anything, which looks the same.
            Err(_) => {}
        }
    }
    let vip = heard.vip.take();
    heard.findings.old_primary.vip = watch.judge_vip(vip, &heard.findings, journal);
    heard.findings
}

/// What the standbys' answers mean for the old primary.
enum Verdict {
    Fence,
    /// It may serve its clients, and nobody can or may take its place.
    LeaveAlone,
}

/// What was heard so far.
struct Heard {
    findings: Findings,
    /// Who answers for the VIP, once that is known.
    vip: Option<Result<Option<Mac>, ProbeError>>,
    /// It was asked again, and nothing is known of that yet.
    vip_asked_again: bool,
    /// When a host that was alive is looked at again.
    life_again: Option<Deadline>,
    /// Standbys that have not answered yet.
    awaited: HashSet<IpAddr>,
    /// The old primary's own copy of the tool has begun to fence it.
    fence_began: bool,
    /// Why a standby cannot be promoted.
    obstacles: BTreeMap<IpAddr, String>,
    /// Why a standby's answer is no report.
    not_understood: BTreeMap<IpAddr, String>,
    /// When what came to nothing is tried again.
    again: Option<Deadline>,
}

impl Heard {
    fn take(&mut self, news: News, old: IpAddr, deadline: Deadline) {
        let old_primary = &mut self.findings.old_primary;
        match news {
            // For the journal.
            News::Fence(Reply::Say(_)) => {}
            News::Fence(Reply::End(end)) => {
                let report = end
                    .and_then(|value| read::<FenceReport>(value, old))
                    .map_err(NoReport::from);
                if let Err(NoReport::NotRun(_)) = report {
                    self.again = self.again.or(Some(deadline.at_most(RETRY)));
                    // What our own deadline cut short says less than what was seen before.
                    if deadline.passed() && old_primary.report.is_some() {
                        return;
                    }
                }
                old_primary.report = Some(report);
            }
            News::Signs(signs) => {
                self.life_again = signs.alive.then(|| deadline.at_most(LIFE_INTERVAL));
                old_primary.signs = Some(signs);
            }
            News::Port(refuses) => old_primary.port_refuses = refuses,
            News::Vip(answer) => {
                self.vip = Some(answer);
                self.vip_asked_again = false;
            }
            News::Standby(address, answer) => {
                self.awaited.remove(&address);
                let obstacle = match &answer {
                    Ok(status) => decide::obstacle(status),
                    Err(error) => Some(error.to_string()),
                };
                if let Some(obstacle) = obstacle {
                    self.obstacles.insert(address, obstacle);
                }
                if let Err(PeerError::NotUnderstood(why) | PeerError::Failed(why)) = &answer {
                    self.not_understood.insert(address, why.clone());
                }
                let heard_by = &mut old_primary.heard_by;
                match &answer {
                    Ok(status) if status.receiver_silent_ms.is_some_and(|ms| ms < RECENT) => {
                        heard_by.retain(|standby| *standby != address);
                        heard_by.push(address);
                    }
                    Ok(status) if status.in_recovery.is_some() => {
                        heard_by.retain(|standby| *standby != address);
                    }
                    // One that did not answer takes nothing back.
                    _ => {}
                }
                if heard_by.contains(&address) {
                    // Was that the last message, or one of many?
                    self.again = self.again.or(Some(deadline.at_most(RETRY)));
                }
                if let Ok(status) = answer {
                    self.findings.standbys.insert(address, status);
                }
            }
        }
    }

    /// What to do with the old primary; `None` while that is open.
    fn before_fence(&mut self, needed: Needed<'_>, crew: &Crew) -> Option<Verdict> {
        if self.can_be_promoted(needed.candidates)? {
            let mut needed = needed.understood.iter();
            if needed.clone().any(|host| self.awaited.contains(host)) {
                return None;
            }
            self.findings.refusal = needed.find_map(|host| self.refusal(*host, crew));
        } else {
            self.findings.nobody = Some(self.all_obstacles());
        }
        let alone = self.findings.nobody.is_some() || self.findings.refusal.is_some();
        Some(if alone {
            Verdict::LeaveAlone
        } else {
            Verdict::Fence
        })
    }

    /// Why nobody may be promoted past the standby `host`.
    fn refusal(&self, host: IpAddr, crew: &Crew) -> Option<String> {
        let why = self.not_understood.get(&host)?;
        // A run before this one has promoted somebody: that is done.
        let mut others = self.findings.standbys.values();
        if others.any(|status| status.in_recovery == Some(false)) || !may_stream(crew, host) {
            return None;
        }
        decide::pass_over(host, &Unfit::NotUnderstood(why.clone()), None).err()
    }

    /// Whether one of the candidates can be promoted; `None` while that is open.
    fn can_be_promoted(&self, candidates: &[IpAddr]) -> Option<bool> {
        let has_obstacle = |host| self.obstacles.contains_key(host);
        let is_open = |host| self.awaited.contains(host) && !has_obstacle(host);
        if candidates.iter().all(has_obstacle) {
            return Some(false);
        }
        let can = |host| !is_open(host) && !has_obstacle(host);
        candidates.iter().any(can).then_some(true)
    }

    fn all_obstacles(&self) -> String {
        let each = self
            .obstacles
            .iter()
            .map(|(host, why)| format!("{host}: {why}"));
        each.collect::<Vec<_>>().join("; ")
    }

    /// Whether the old primary is being stopped, and nobody has told yet how that ended.
    fn fence_is_under_way(&self) -> bool {
        self.fence_began && !self.findings.old_primary.report_is_in()
    }

    fn somebody_has_vip(&self) -> bool {
        matches!(self.vip, Some(Ok(Some(_))))
    }

    /// Whether it is known who has the VIP; `looked`: it had the time to answer.
    fn vip_is_known(&self, watch: &Watch<'_>, looked: bool) -> bool {
        if self.vip_asked_again && !self.findings.old_primary.report_is_in() {
            return false;
        }
        match &self.vip {
            // It may be a standby's, on which a run before this one has put it: they say so.
            Some(Ok(Some(mac))) => {
                self.awaited.is_empty() || !watch.is_stranger(*mac, &self.findings)
            }
            Some(_) => true,
            None => looked && self.findings.old_primary.report_is_in(),
        }
    }
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
        let first = match answer {
            Some(Ok(None)) => return VipHolder::Nobody,
            Some(Ok(Some(mac))) => self.whose(mac, findings),
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
                    Ok(Some(mac)) => self.whose(mac, findings),
                    Ok(None) => VipHolder::Nobody,
                    Err(_) => first,
                }
            }
            _ => first,
        }
    }

    fn whose(&self, mac: Mac, findings: &Findings) -> VipHolder {
        let mut old: Vec<Mac> = ipv4(self.old.address())
            .and_then(neighbor_mac)
            .into_iter()
            .collect();
        if let Some(Ok(report)) = &findings.old_primary.report {
            old.extend(&report.macs);
        }
        let holders = findings.standbys.values().filter(|status| status.vip_here);
        let standbys: Vec<Mac> = holders.flat_map(|status| status.macs.clone()).collect();
        decide::vip_holder(mac, &old, &standbys)
    }

    fn is_stranger(&self, mac: Mac, findings: &Findings) -> bool {
        matches!(self.whose(mac, findings), VipHolder::Stranger(_))
    }
}

/// Whether a database runs on `host` for all that is known.
pub fn may_stream(crew: &Crew, host: IpAddr) -> bool {
    let limit = Deadline::after(crew.here.config.probe_timeout);
    port_refuses(host, crew.here.config.kb_port, limit) != PortState::Refuses
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

/// Those of `hosts` on which a standby may run: they show a sign of life, or could not be asked for one,
/// and their database's port does not refuse.
pub fn living(crew: &Arc<Crew>, hosts: &[IpAddr]) -> HashSet<IpAddr> {
    let (told, answers) = channel();
    for host in hosts.iter().copied() {
        let (told, crew) = (told.clone(), Arc::clone(crew));
        workers::start(move || {
            let lives = life_of(&crew, host).is_none_or(|signs| signs.alive);
            let _ = told.send((host, lives && may_stream(&crew, host)));
        });
    }
    drop(told);
    let living = answers.iter().filter(|(_, lives)| *lives);
    living.map(|(host, _)| host).collect()
}

/// Asks all standbys for their status, side by side, until each has answered or `deadline` has
/// passed. Those that `is_lost` says of are not waited for, nor are those that show no life.
pub fn ask_standbys(
    crew: &Arc<Crew>,
    standbys: &[Peer],
    deadline: Deadline,
    is_lost: impl Fn(IpAddr) -> bool,
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
        hosts.any(|host| !is_lost(host) && !found.contains_key(&host))
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
