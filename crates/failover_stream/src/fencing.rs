//! Fencing, and all that only needs looking meanwhile: everything side by side, since each second
//! is one of outage. What to ask, and what follows, says [`failover_rules::fencing`]; here are the
//! threads that feed it.

use crate::peer::{Crew, Peer, Reply};
use failover_core::arp::{neighbor_mac, who_has};
use failover_core::deadline::Deadline;
use failover_core::journal::{Journal, Message};
use failover_core::life::{Finding, PortState, Probe, Sign, Target, port_refuses, signs_of_life};
use failover_core::peer::{PeerError, read};
use failover_core::status::Status;
use failover_core::steps::Order;
use failover_core::workers;
use failover_rules::facts::report::FenceReport;
use failover_rules::fencing::{
    Ask, Fencing, Heard, Limits, NoReport, NoStatus, SECOND_LOOK, Signs, VipHolder,
};
pub use failover_rules::fencing::{Findings, Needed};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// Between two attempts to connect to the old primary's database.
const PORT_INTERVAL: Duration = Duration::from_millis(300);

/// For the old primary to say how it is, where somebody else is a primary already.
const OLD_TIME: Duration = Duration::from_millis(700);

/// What comes in from the threads.
enum News {
    /// For the journal: the fence step says what it does.
    Say(Message),
    Heard(Heard),
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
    needed: Needed,
    journal: &Journal,
    deadline: Deadline,
) -> Findings {
    let (news, inbox) = channel();
    let watch = Watch {
        crew,
        old,
        standbys,
        deadline,
        news: &news,
    };
    let begun = Instant::now();
    let limits = Limits {
        deadline: deadline.remaining(),
        probe: crew.here.config.probe_timeout,
    };
    let addresses: Vec<IpAddr> = standbys.iter().map(Peer::address).collect();
    let has_vip = crew.here.vip.is_some();
    let mut fencing = Fencing::new(needed, &addresses, has_vip, limits);
    watch.begin();
    loop {
        if fencing.somebody_has_vip() {
            fencing.hear(watch.neighbor(), begun.elapsed());
        }
        let Some(round) = fencing.go_on(begun.elapsed()) else {
            break;
        };
        for ask in round.asks {
            watch.ask(ask);
        }
        match inbox.recv_timeout(round.until.saturating_sub(begun.elapsed())) {
            Ok(News::Say(message)) => {
                fencing.hear(Heard::FenceBegan, begun.elapsed());
                journal.message(message);
            }
            Ok(News::Heard(heard)) => fencing.hear(heard, begun.elapsed()),
            // A timer; or no thread is left that could tell anything, which looks the same.
            Err(_) => {}
        }
    }
    let vip = match fencing.left_alone() {
        true => VipHolder::Nobody,
        false => watch.judge_vip(&mut fencing, limits.deadline, journal),
    };
    fencing.end(vip)
}

/// What the threads need.
struct Watch<'a> {
    crew: &'a Arc<Crew>,
    old: &'a Peer,
    standbys: &'a [Peer],
    deadline: Deadline,
    news: &'a Sender<News>,
}

impl Watch<'_> {
    /// All that can be asked without harm.
    fn begin(&self) {
        if self.old.address() != self.crew.here.config.kb_localhost_ip {
            self.look_for_life();
            self.ask_port();
        }
        self.ask_who_has_vip();
        for standby in self.standbys {
            self.ask_status(standby);
            self.see_whether_it_lives(standby.address());
        }
    }

    fn ask(&self, ask: Ask) {
        match ask {
            Ask::Fence => self.order_fence(),
            Ask::Life => self.look_for_life(),
            Ask::Vip => self.ask_who_has_vip(),
            Ask::Standby(address) => {
                let mut standbys = self.standbys.iter();
                if let Some(standby) = standbys.find(|it| it.address() == address) {
                    self.ask_status(standby);
                }
            }
            Ask::Old => self.ask_old(),
            Ask::MayStream(address) => {
                let may = may_stream(self.crew, address);
                let _ = self.news.send(News::Heard(Heard::MayStream(address, may)));
            }
        }
    }

    fn order_fence(&self) {
        let (news, old) = (self.news.clone(), self.old.address());
        let by = Some(self.crew.here.config.kb_localhost_ip);
        self.old
            .order(Order::Fence(by), self.deadline, move |reply| {
                let _ = news.send(match reply {
                    Reply::Say(message) => News::Say(message),
                    Reply::End(end) => {
                        let report = end.and_then(|value| read::<FenceReport>(value, old));
                        News::Heard(Heard::Fence(report.map_err(NoReport::from)))
                    }
                });
            });
    }

    fn ask_status(&self, standby: &Peer) {
        let (news, address) = (self.news.clone(), standby.address());
        standby.order(Order::Status, self.deadline, move |reply| {
            if let Reply::End(end) = reply {
                let status = end.and_then(|value| read(value, address));
                let status = status.map_err(NoStatus::from);
                let _ = news.send(News::Heard(Heard::Standby(address, status)));
            }
        });
    }

    /// A standby whose host shows no sign of life cannot be promoted, and is not waited for: the old primary
    /// may serve its clients, and would be stopped for nobody.
    fn see_whether_it_lives(&self, address: IpAddr) {
        let news = self.news.clone();
        tell_if_lifeless(self.crew, address, move |seen| {
            let silent = Err(NoStatus::Silent(seen));
            let _ = news.send(News::Heard(Heard::Standby(address, silent)));
        });
    }

    /// Shortly: the fence waits behind it.
    fn ask_old(&self) {
        let (news, address) = (self.news.clone(), self.old.address());
        let limit = self.deadline.at_most(OLD_TIME);
        self.old.order(Order::Status, limit, move |reply| {
            if let Reply::End(end) = reply {
                let status = end.and_then(|value| read(value, address)).ok();
                let _ = news.send(News::Heard(Heard::Old(status)));
            }
        });
    }

    fn look_for_life(&self) {
        let (news, crew, old) = (self.news.clone(), Arc::clone(self.crew), self.old.address());
        workers::start(move || {
            if let Some(signs) = life_of(&crew, old) {
                let _ = news.send(News::Heard(Heard::Signs(signs)));
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
                let told = news.send(News::Heard(Heard::Port(refuses && refused)));
                refused = refuses;
                // Nobody listens any more.
                told.err().map(drop)
            });
        });
    }

    /// Asks the network who has the database VIP, if there is one.
    fn ask_who_has_vip(&self) {
        let Some(vip) = self.crew.here.vip.clone() else {
            return;
        };
        let (news, crew) = (self.news.clone(), Arc::clone(self.crew));
        workers::start(move || {
            let window = crew.here.config.probe_timeout;
            let answer = who_has(&crew.here.programs, vip.cidr.addr, &vip.dev, window);
            let answer = answer.map_err(|error| error.to_string());
            let _ = news.send(News::Heard(Heard::Vip(answer)));
        });
    }

    /// The old primary's hardware address, as this host knows it by now.
    fn neighbor(&self) -> Heard {
        Heard::Neighbor(ipv4(self.old.address()).and_then(neighbor_mac))
    }

    /// Whose the answer for the VIP was. A stranger is asked for again: it may have been the old
    /// primary, under a hardware address that we did not know, before it was fenced.
    fn judge_vip(&self, fencing: &mut Fencing, now: Duration, journal: &Journal) -> VipHolder {
        let first = match fencing.vip() {
            Ok(holder) => holder,
            Err(error) => {
                journal.stamped(format!("warning: who has the VIP is not known: {error}"));
                return VipHolder::Unknown;
            }
        };
        match (first, &self.crew.here.vip) {
            (VipHolder::Stranger(_), Some(vip)) => {
                let programs = &self.crew.here.programs;
                let answer = who_has(programs, vip.cidr.addr, &vip.dev, SECOND_LOOK);
                fencing.hear(self.neighbor(), now);
                answer.map_or(first, |macs| fencing.whose(&macs))
            }
            _ => first,
        }
    }
}

/// Whether a database runs on `host` for all that is known.
pub fn may_stream(crew: &Crew, host: IpAddr) -> bool {
    let limit = Deadline::after(crew.here.config.probe_timeout);
    port_refuses(host, crew.here.config.kb_port, limit) != PortState::Refuses
}

/// The signs of life of `host`; `None` where it cannot be asked for any.
pub fn life_of(crew: &Crew, host: IpAddr) -> Option<Signs> {
    let config = &crew.here.config;
    let target = Target {
        addr: ipv4(host)?,
        ssh_port: config.ssh_port,
        database_port: config.kb_port,
    };
    // All of them, not only the first: a refused port proves less than an answer.
    let signs = signs_of_life(target, &crew.here.programs, config.probe_timeout, |_| false);
    let answered = |sign: &Sign| {
        matches!(sign.probe, Probe::Icmp | Probe::Arp) && matches!(sign.finding, Finding::Alive(_))
    };
    Some(Signs {
        alive: signs.is_alive(),
        answered: signs.signs.iter().any(answered),
        seen: signs.to_string(),
    })
}

/// Looks for life on `host`, beside everything else. `tell` hears what was seen where there is none; this
/// host is not asked.
fn tell_if_lifeless(crew: &Arc<Crew>, host: IpAddr, tell: impl FnOnce(String) + Send + 'static) {
    if host == crew.here.config.kb_localhost_ip {
        return;
    }
    let crew = Arc::clone(crew);
    workers::start(move || {
        if let Some(signs) = life_of(&crew, host).filter(|signs| !signs.alive) {
            tell(signs.seen);
        }
    });
}

/// Those of `hosts` on which a standby may run: they show a sign of life, or could not be asked for one,
/// and their database's port does not refuse.
pub fn living(crew: &Arc<Crew>, hosts: &[IpAddr]) -> HashSet<IpAddr> {
    let crew = Arc::clone(crew);
    // Each probe has a limit of its own.
    let limit = Deadline::after(4 * crew.here.config.probe_timeout);
    let living = workers::side_by_side(hosts.to_vec(), limit, move |host| {
        let lives = life_of(&crew, host).is_none_or(|signs| signs.alive);
        lives && may_stream(&crew, host)
    });
    let all = hosts.iter().copied().zip(living);
    // One of which nothing is heard may live.
    all.filter_map(|(host, lives)| lives.unwrap_or(true).then_some(host))
        .collect()
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
        let tell = told.clone();
        tell_if_lifeless(crew, address, move |seen| {
            let _ = tell.send((address, Err(PeerError::NotRun(seen))));
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
