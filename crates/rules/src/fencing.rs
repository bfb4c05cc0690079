//! Fencing as a state machine: what was heard goes in, what to ask next comes out, and in the end where
//! the old primary stands: fenced, unreachable or alive.
//!
//! It has no thread and no clock. Times are counted from the beginning and handed in. Whoever feeds it
//! asks what it says, side by side, and comes back with each answer and when a time is over.

mod old_primary;
#[cfg(test)]
mod tests;

use crate::facts::mac::Mac;
use crate::facts::report::FenceReport;
use crate::facts::status::Status;
use crate::failover::{Unfit, is_successor, obstacle, pass_over};
use crate::plan::failover::LAST_LOOK;
pub use old_primary::{
    Fenced, NoReport, OldPrimary, Signs, VipHolder, fenced, is_elsewhere, may_promote, needs_hold,
    vip_holder,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

/// A WAL receiver that got a message so recently (ms) got it from a server that lives.
const RECENT: u64 = 1000;
/// Between two attempts to reach a host that lives.
const RETRY: Duration = Duration::from_millis(200);
/// Between two looks for life: a host that lives may die while it is being fenced.
const LIFE_INTERVAL: Duration = Duration::from_millis(500);
/// How long a fence waits for a standby that can be promoted. Here it says so in some 15 ms, over
/// ssh in 100. Whoever says nothing in that time may still be able to.
const CANDIDATE_TIME: Duration = Duration::from_secs(1);
/// How long an address has to answer when it is asked a second time.
pub const SECOND_LOOK: Duration = Duration::from_millis(150);

/// All that was found out.
#[derive(Clone, Debug, Default)]
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
#[derive(Clone, Debug, Default)]
pub struct Needed {
    /// Of these one has to be there to be promoted.
    pub candidates: Vec<IpAddr>,
    /// Nobody is promoted past one of these that answers and is not understood.
    pub understood: Vec<IpAddr>,
}

/// How long it may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// All of it.
    pub deadline: Duration,
    /// `PROBE_TIMEOUT`.
    pub probe: Duration,
}

/// Something that was heard.
#[derive(Clone, Debug)]
pub enum Heard {
    /// The old primary's own copy of the tool has begun to fence it.
    FenceBegan,
    /// How the fence step on the old primary's host ended.
    Fence(Result<FenceReport, NoReport>),
    /// The old primary's signs of life.
    Signs(Signs),
    /// Whether its database port refuses, twice in a row.
    Port(bool),
    /// Its hardware address, as this host knows it.
    Neighbor(Option<Mac>),
    /// Who answers for the VIP, or why that could not be asked.
    Vip(Result<Vec<Mac>, String>),
    /// How a standby's instance is.
    Standby(IpAddr, Result<Status, NoStatus>),
    /// How the old primary's instance is; `None`: it does not say.
    Old(Option<Status>),
    /// Whether a database runs on a standby's host for all that is known.
    MayStream(IpAddr, bool),
}

/// Why a standby does not say how its instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoStatus {
    /// Its host did not let us in, or gave no answer in time.
    Silent(String),
    /// It let us in, and what came of it is no report.
    NotUnderstood(String),
}

/// Something to find out, or to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Have the old primary fence itself.
    Fence,
    /// Look for its signs of life.
    Life,
    /// Ask who has the VIP.
    Vip,
    /// Ask a standby how its instance is.
    Standby(IpAddr),
    /// Ask the old primary the same, before it is touched.
    Old,
    /// See whether a database runs on a standby's host.
    MayStream(IpAddr),
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// What to ask, beside what is being asked.
    pub asks: Vec<Ask>,
    /// When to come back, if nothing is heard before.
    pub until: Duration,
}

/// Whether a standby is down for a recovery, or starts after one, which may end in time: a promotion that finds
/// it so fails.
fn is_coming(status: &Status) -> bool {
    status.in_work && status.in_recovery.is_none() && !status.recovers
}

fn each<'a>(hosts: impl Iterator<Item = (IpAddr, &'a str)>) -> String {
    let each = hosts.map(|(host, why)| format!("{host}: {why}"));
    each.collect::<Vec<_>>().join("; ")
}

/// What the standbys' answers mean for the old primary.
enum Verdict {
    /// Too little is known.
    Open,
    /// It has to be known whether a database runs there.
    See(IpAddr),
    /// It has to be known how the old primary is: on which timeline, or whether it serves its clients.
    SeeOld,
    Fence,
    /// It serves its clients, and who can take its place is being recovered.
    Serves,
    /// It may serve its clients, and nobody can or may take its place.
    LeaveAlone,
}

/// The old primary being fenced.
#[derive(Clone, Debug)]
pub struct Fencing {
    needed: Needed,
    limits: Limits,
    findings: Findings,
    /// Its hardware address, as this host knows it.
    neighbor: Option<Mac>,
    /// Who answers for the VIP, once that is known.
    vip: Option<Result<Vec<Mac>, String>>,
    /// It was asked again, and nothing is known of that yet.
    vip_asked_again: bool,
    /// How its instance is, once it was asked and has said so.
    status: Option<Option<Status>>,
    /// It was asked.
    status_asked: bool,
    /// Until when it is not fenced, unless somebody can be promoted; `None`: it is being fenced.
    before_fence: Option<Duration>,
    /// When a host that was alive is looked at again.
    life_again: Option<Duration>,
    /// Standbys that have not answered yet.
    awaited: HashSet<IpAddr>,
    /// The old primary's own copy of the tool was told to fence it, and nothing is known of that yet.
    fence_asked: bool,
    /// It has begun to fence it.
    fence_began: bool,
    /// Why a standby cannot be promoted.
    obstacles: BTreeMap<IpAddr, String>,
    /// Standbys that are down for a recovery, which may end in time.
    coming: HashSet<IpAddr>,
    /// Why a standby's answer is no report.
    not_understood: BTreeMap<IpAddr, String>,
    /// Whether a database runs there; `None`: that is being asked.
    may_stream: HashMap<IpAddr, Option<bool>>,
    /// When what came to nothing is tried again.
    again: Option<Duration>,
}

impl Fencing {
    /// At the beginning, everybody is being asked already: the old primary for its signs of life, unless it
    /// is this host, the network for the VIP, if there is one, and the `standbys`.
    pub fn new(needed: Needed, standbys: &[IpAddr], has_vip: bool, limits: Limits) -> Self {
        Self {
            needed,
            limits,
            findings: Findings::default(),
            neighbor: None,
            vip: (!has_vip).then(|| Ok(Vec::new())),
            vip_asked_again: false,
            status: None,
            status_asked: false,
            before_fence: Some(CANDIDATE_TIME),
            life_again: None,
            awaited: standbys.iter().copied().collect(),
            fence_asked: false,
            fence_began: false,
            obstacles: BTreeMap::new(),
            coming: HashSet::new(),
            not_understood: BTreeMap::new(),
            may_stream: HashMap::new(),
            again: None,
        }
    }

    /// What is known of the old primary so far.
    pub fn old_primary(&self) -> &OldPrimary {
        &self.findings.old_primary
    }

    /// Takes in what was heard at `now`.
    pub fn hear(&mut self, heard: Heard, now: Duration) {
        match heard {
            Heard::FenceBegan => self.fence_began = true,
            Heard::Fence(report) => self.hear_fence(report, now),
            Heard::Signs(signs) => {
                self.life_again = signs.alive.then(|| self.after(LIFE_INTERVAL, now));
                self.findings.old_primary.signs = Some(signs);
            }
            Heard::Port(refuses) => self.findings.old_primary.port_refuses = refuses,
            Heard::Neighbor(mac) => self.neighbor = mac,
            Heard::Vip(answer) => {
                self.vip = Some(answer);
                self.vip_asked_again = false;
            }
            Heard::Old(status) => self.status = Some(status),
            Heard::Standby(address, answer) => self.hear_standby(address, answer, now),
            Heard::MayStream(address, may) => drop(self.may_stream.insert(address, Some(may))),
        }
    }

    fn hear_fence(&mut self, report: Result<FenceReport, NoReport>, now: Duration) {
        self.fence_asked = false;
        if let Err(NoReport::NotRun(_)) = report {
            self.try_again(now);
            // What our own deadline cut short says less than what was seen before.
            if now >= self.limits.deadline && self.findings.old_primary.report.is_some() {
                return;
            }
        }
        self.findings.old_primary.report = Some(report);
    }

    fn hear_standby(&mut self, address: IpAddr, answer: Result<Status, NoStatus>, now: Duration) {
        self.awaited.remove(&address);
        let obstacle = match &answer {
            Ok(status) => obstacle(status),
            Err(NoStatus::Silent(why) | NoStatus::NotUnderstood(why)) => Some(why.clone()),
        };
        match obstacle {
            Some(obstacle) => drop(self.obstacles.insert(address, obstacle)),
            // What it says itself outweighs that it was silent.
            None => drop(self.obstacles.remove(&address)),
        }
        if let Err(NoStatus::NotUnderstood(why)) = &answer {
            self.not_understood.insert(address, why.clone());
        }
        if let Ok(status) = &answer {
            match is_coming(status) {
                true => {
                    self.coming.insert(address);
                    self.try_again(now);
                }
                false => drop(self.coming.remove(&address)),
            }
        }
        let heard_by = &mut self.findings.old_primary.heard_by;
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
            self.try_again(now);
        }
        if let Ok(status) = answer {
            self.findings.standbys.insert(address, status);
        }
    }

    fn try_again(&mut self, now: Duration) {
        let again = self.after(RETRY, now);
        self.again.get_or_insert(again);
    }

    fn after(&self, time: Duration, now: Duration) -> Duration {
        (now + time).min(self.limits.deadline)
    }

    /// What to do at `now`; `None`: it is over, the outcome is clear or there is no more time. One `now`
    /// for the whole round: a timer that ran out after it was asked, and before the wait for the next one is
    /// reckoned, would be slept through.
    pub fn go_on(&mut self, now: Duration) -> Option<Round> {
        let end = self.end_of_looking();
        if end <= now {
            return None;
        }
        let mut asks = Vec::new();
        if let Some(limit) = self.before_fence {
            match self.verdict() {
                Verdict::LeaveAlone => return None,
                // The answer is on its way.
                Verdict::See(host) => return Some(self.see(host, now)),
                Verdict::SeeOld if limit > now && !self.status_asked => {
                    self.status_asked = true;
                    asks.push(Ask::Old);
                }
                Verdict::Open | Verdict::SeeOld | Verdict::Serves if limit > now => {}
                Verdict::Serves => {
                    self.findings.nobody = Some(self.all_come_later());
                    return None;
                }
                Verdict::Open | Verdict::SeeOld | Verdict::Fence => {
                    self.before_fence = None;
                    self.fence_asked = true;
                    asks.push(Ask::Fence);
                }
            }
        }
        if self.again.is_some_and(|again| again <= now) {
            self.again = None;
            self.ask_again(&mut asks);
        }
        if self.life_again.is_some_and(|again| again <= now) {
            self.life_again = None;
            asks.push(Ask::Life);
            // Whoever answered may have died.
            if self.somebody_has_vip() {
                self.vip_asked_again = true;
                asks.push(Ask::Vip);
            }
        }
        // A standby that heard the old primary has twice the probe's time to say so.
        let patience = 2 * self.limits.probe;
        self.findings.old_primary.standbys_pending = !self.awaited.is_empty() && patience > now;
        if self.findings.old_primary.is_clear(self.fence_asked) && self.vip_is_known(now) {
            return None;
        }
        let timers = [
            self.again,
            self.life_again,
            self.before_fence,
            Some(SECOND_LOOK),
            Some(patience),
        ];
        let running = timers.into_iter().flatten().filter(|timer| *timer > now);
        let until = running.fold(end, Duration::min);
        Some(Round { asks, until })
    }

    /// A fence that is under way, and of which nobody has told yet how it ended, gets a last look.
    fn end_of_looking(&self) -> Duration {
        match self.fence_began && !self.findings.old_primary.report_is_in() {
            true => self.limits.deadline + LAST_LOOK,
            false => self.limits.deadline,
        }
    }

    fn see(&mut self, host: IpAddr, now: Duration) -> Round {
        let asked = self.may_stream.insert(host, None).is_some();
        let asks = if asked {
            vec![]
        } else {
            vec![Ask::MayStream(host)]
        };
        Round { asks, until: now }
    }

    /// What came to nothing may go better now, and what was seen may be over. A fence that is under way is
    /// not asked for twice: the second would find what the first has left half done.
    fn ask_again(&mut self, asks: &mut Vec<Ask>) {
        let old = &self.findings.old_primary;
        if matches!(old.report, Some(Err(NoReport::NotRun(_)))) && !self.fence_asked {
            self.fence_asked = true;
            asks.push(Ask::Fence);
        }
        let mut again: HashSet<IpAddr> = old.heard_by.iter().copied().collect();
        if self.before_fence.is_some() {
            again.extend(&self.coming);
        }
        asks.extend(again.into_iter().map(Ask::Standby));
    }

    /// What to do with the old primary.
    fn verdict(&mut self) -> Verdict {
        match self.can_be_promoted() {
            None => return Verdict::Open,
            Some(false) => {
                self.findings.nobody = Some(self.all_obstacles());
                return Verdict::LeaveAlone;
            }
            Some(true) => {}
        }
        if self.all_are_coming() {
            return match &self.status {
                None => Verdict::SeeOld,
                Some(Some(old)) if old.in_recovery == Some(false) => Verdict::Serves,
                Some(_) => Verdict::Fence,
            };
        }
        match (self.newest_primary(), &self.status) {
            (Some(_), None) => return Verdict::SeeOld,
            (Some(newest), Some(Some(old))) => {
                if let Err(refusal) = is_successor(newest, old) {
                    self.findings.refusal = Some(refusal);
                    return Verdict::LeaveAlone;
                }
            }
            _ => {}
        }
        let mut understood = self.needed.understood.iter();
        if understood.any(|host| self.awaited.contains(host)) {
            return Verdict::Open;
        }
        for host in self.needed.understood.iter().copied() {
            match self.may_stream.get(&host) {
                _ if !self.is_in_the_way(host) => {}
                Some(Some(false)) => {}
                None | Some(None) => return Verdict::See(host),
                Some(Some(true)) => {
                    if let Some(refusal) = self.refusal(host) {
                        self.findings.refusal = Some(refusal);
                        return Verdict::LeaveAlone;
                    }
                }
            }
        }
        Verdict::Fence
    }

    /// A standby that is a primary already.
    fn newest_primary(&self) -> Option<(IpAddr, &Status)> {
        let standbys = self.findings.standbys.iter();
        let primaries = standbys.filter(|(_, it)| it.in_recovery == Some(false));
        let newest = primaries.max_by_key(|(_, it)| it.timeline);
        newest.map(|(host, it)| (*host, it))
    }

    /// Whether nobody may be promoted past the standby `host`, if a database runs there.
    fn is_in_the_way(&self, host: IpAddr) -> bool {
        // A run before this one has promoted somebody: that is done.
        let mut others = self.findings.standbys.values();
        self.not_understood.contains_key(&host)
            && !others.any(|status| status.in_recovery == Some(false))
    }

    fn refusal(&self, host: IpAddr) -> Option<String> {
        let why = self.not_understood.get(&host)?;
        pass_over(host, &Unfit::NotUnderstood(why.clone()), None).err()
    }

    /// Whether one of the candidates can be promoted; `None` while that is open.
    fn can_be_promoted(&self) -> Option<bool> {
        let candidates = &self.needed.candidates;
        let has_obstacle = |host| self.obstacles.contains_key(host);
        let is_open = |host| self.awaited.contains(host) && !has_obstacle(host);
        if candidates.iter().all(has_obstacle) {
            return Some(false);
        }
        let can = |host| !is_open(host) && !has_obstacle(host);
        candidates.iter().any(can).then_some(true)
    }

    /// Whether nobody could be promoted at this moment but those that are down for a recovery.
    fn all_are_coming(&self) -> bool {
        let mut able = self
            .needed
            .candidates
            .iter()
            .filter(|host| !self.obstacles.contains_key(*host));
        able.all(|host| self.coming.contains(host))
    }

    fn all_obstacles(&self) -> String {
        each(
            self.obstacles
                .iter()
                .map(|(host, why)| (*host, why.as_str())),
        )
    }

    /// Why the old primary goes on: everybody else is down, some of them for a recovery.
    fn all_come_later(&self) -> String {
        const COMING: &str = "a recovery works on it, and its database does not answer: when it streams, run this \
                              command again";
        let obstacles = self
            .obstacles
            .iter()
            .map(|(host, why)| (*host, why.as_str()));
        each(obstacles.chain(self.coming.iter().map(|host| (*host, COMING))))
    }

    /// Whether somebody answers for the VIP.
    pub fn somebody_has_vip(&self) -> bool {
        matches!(&self.vip, Some(Ok(macs)) if !macs.is_empty())
    }

    /// Whether it is known who has the VIP. He answers within milliseconds or not at all: all of the
    /// probe's time is only for a host of which nothing else is known.
    fn vip_is_known(&self, now: Duration) -> bool {
        let report_is_in = self.findings.old_primary.report_is_in();
        if self.vip_asked_again && !report_is_in {
            return false;
        }
        match &self.vip {
            // It may be a standby's, on which a run before this one has put it: they say so.
            Some(Ok(macs)) => {
                let is_stranger = matches!(self.whose(macs), VipHolder::Stranger(_));
                self.awaited.is_empty() || !is_stranger
            }
            Some(Err(_)) => true,
            None => SECOND_LOOK <= now && report_is_in,
        }
    }

    /// Whose the hardware addresses are that answered for the VIP: a stranger counts more than the old
    /// primary, who loses it.
    pub fn whose(&self, macs: &[Mac]) -> VipHolder {
        let holders: Vec<VipHolder> = macs.iter().map(|mac| self.holder(*mac)).collect();
        let find = |wanted: fn(&&VipHolder) -> bool| holders.iter().find(wanted);
        find(|it| matches!(it, VipHolder::Stranger(_)))
            .or_else(|| find(|it| **it == VipHolder::OldPrimary))
            .copied()
            .unwrap_or_default()
    }

    fn holder(&self, mac: Mac) -> VipHolder {
        let mut old: Vec<Mac> = self.neighbor.into_iter().collect();
        if let Some(Ok(report)) = &self.findings.old_primary.report {
            old.extend(&report.macs);
        }
        let standbys = self.findings.standbys.values();
        let holders = standbys.filter(|status| status.vip_here);
        let standbys: Vec<Mac> = holders.flat_map(|status| status.macs.clone()).collect();
        vip_holder(mac, &old, &standbys)
    }

    /// Who has the VIP, or why that could not be asked.
    pub fn vip(&self) -> Result<VipHolder, &str> {
        match &self.vip {
            Some(Ok(macs)) => Ok(self.whose(macs)),
            // It was still being asked when its own copy of the tool said all there is to say.
            None if self.findings.old_primary.report_is_in() => Ok(VipHolder::Nobody),
            None => Ok(VipHolder::Unknown),
            Some(Err(why)) => Err(why),
        }
    }

    /// Whether the old primary was left alone, since nobody can or may take its place.
    pub fn left_alone(&self) -> bool {
        self.findings.nobody.is_some() || self.findings.refusal.is_some()
    }

    /// All that was found out; `vip`: who has it, a stranger being asked for once more.
    pub fn end(mut self, vip: VipHolder) -> Findings {
        self.findings.old_primary.vip = vip;
        self.findings
    }
}
