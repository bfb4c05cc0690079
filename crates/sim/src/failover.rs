//! The plan of `failover_stream`: the coordinator, and the steps that it has done on other hosts. The
//! decisions are those of `rules::failover`.

use crate::look::{MARK, is_half, status_of};
use crate::plan::Obstacle;
use crate::pool::{Pool, Request};
use crate::wal::lsn;
use crate::world::{Control, Flow, Held, Named, Proc, Role, World, host_of, ip, mac, name};
use failover_rules::facts::left::Claim;
use failover_rules::facts::lsn::Lsn;
use failover_rules::facts::policy::{FailoverQuorum, SyncDegrade};
use failover_rules::facts::report::FenceReport;
use failover_rules::facts::status::Status;
use failover_rules::failover::{
    Back, Candidate, HoldEnd, back_to, choose, follows_another, may_acknowledge_on, may_listen,
    promoted, promoted_since, quorum, quorum_besides, replaced_before,
};
use failover_rules::fencing::{
    Ask, Fencing, Heard, Limits, Needed, NoReport, OldPrimary, Signs, VipHolder, fenced,
    is_elsewhere, may_promote, needs_hold,
};
use failover_rules::promotion::{Withdrawal, is_held_up, withdrawal};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// The steps of the coordinator, in order, as the tool names them.
pub const STEPS: [&str; 9] = [
    "trust-ip", "quorum", "fence", "hold", "choose", "promote", "follow",
    // Nothing in the model: a look that comes early is one of many, and those come at any moment.
    "watch", "attach",
];
/// Those on the old primary's host.
pub const FENCE_STEPS: [&str; 4] = ["fence.vip-off", "fence.mark", "fence.stop", "fence.verify"];
/// Those on the new primary's host.
pub const PROMOTE_STEPS: [&str; 8] = [
    "promote.check",
    "promote.wait-wal",
    "promote.vip-on",
    "promote.promote",
    "promote.async",
    "promote.slot",
    "promote.checkpoint",
    "promote.announce",
];
/// Those on the host of a standby that is held, or follows the new primary.
pub const FOLLOW_STEPS: [&str; 4] = [
    "follow.check",
    "follow.slot",
    "follow.settings",
    "follow.receiver",
];
/// Those after a standby went down.
pub const STANDBY_STEPS: [&str; 6] = [
    "trust-ip",
    "quorum",
    "standby.find-primary",
    "standby.look",
    "standby.async",
    "standby.sender",
];

/// `PROBE_TIMEOUT`.
const PROBE: u64 = 500;
/// The time for fencing: half of `FAILOVER_TIMEOUT`.
const FENCING: u64 = 4_000;
/// So much sooner the fence step ends than who waits for it.
const FENCE_MARGIN: u64 = 500;
/// Between two looks at the old primary.
const LOOK: u64 = 100;
/// How long the positions of the standbys are waited for.
const POSITIONS: u64 = 2_000;
/// For the standbys to stop listening to the old primary, or to follow the new one.
const HOLDING: u64 = 1_500;
/// `PROMOTE_TIMEOUT` and what comes on top.
const PROMOTION: u64 = 90_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    TrustIp,
    Fence,
    Hold,
    Choose,
    Promote,
    Follow,
    Attach,
}

/// The coordinator.
#[derive(Debug)]
pub struct Failover {
    host: usize,
    /// Its process.
    me: usize,
    old: usize,
    /// When it began.
    begun: u64,
    /// The old primary lived when it was first looked at.
    lived: bool,
    given: usize,
    phase: Phase,
    /// When this phase began.
    since: u64,
    /// The old primary being fenced.
    fencing: Option<Box<Fencing>>,
    /// What is known of it since that is over.
    found: OldPrimary,
    standbys: HashMap<IpAddr, Status>,
    refused: u32,
    /// The standbys were told to stop listening to the old primary.
    held: bool,
    chosen: Option<usize>,
    /// Its timeline, where positions were asked for.
    chosen_on: u32,
    /// Who does what it was told: to listen to nobody, then to follow the new primary.
    followed: Vec<usize>,
    /// What the promote step said.
    promoted: Option<Result<(), String>>,
}

impl Failover {
    /// From `old`; `given` is the pool's new main node.
    pub fn new(host: usize, old: usize, given: usize, now: u64) -> Self {
        Self {
            host,
            me: usize::MAX,
            old,
            begun: now,
            lived: false,
            given,
            phase: Phase::TrustIp,
            since: now,
            fencing: None,
            found: OldPrimary::default(),
            standbys: HashMap::new(),
            refused: 0,
            held: false,
            followed: Vec::new(),
            chosen: None,
            chosen_on: 0,
            promoted: None,
        }
    }

    /// The next step.
    pub fn step(&mut self, world: &mut World, me: usize) -> Flow {
        self.me = me;
        if self.fencing.is_none() && matches!(self.phase, Phase::Fence) {
            let starts = |it: usize| world.db(it).role == Role::Starting;
            self.lived = world.db(self.old).role == Role::Primary && !world.databases().any(starts);
        }
        let flow = self.go(world, me);
        if flow == Flow::End && self.lived && world.was_quiet_since(self.begun) {
            crate::check::has_primary(world, self.old);
        }
        flow
    }

    fn go(&mut self, world: &mut World, me: usize) -> Flow {
        match self.phase {
            Phase::TrustIp => self.trust_ip(world),
            Phase::Fence => self.fence(world, me),
            Phase::Hold => self.hold(world),
            Phase::Choose => self.choose(world),
            Phase::Promote => self.promote(world, me),
            Phase::Follow => self.follow(world),
            Phase::Attach => self.attach(world),
        }
    }

    fn go_on(&mut self, world: &World, phase: Phase, delay: u64) -> Flow {
        self.phase = phase;
        self.since = world.now + delay;
        Flow::After(delay)
    }

    fn refuse(&self, world: &mut World, why: &str) -> Flow {
        world.tell(|_| format!("failover from {}: refused: {why}", name(self.old)));
        if self.held {
            for other in self.others(world) {
                self.release(world, other);
            }
        }
        Flow::End
    }

    /// What was held listens to the old primary again; or to whom another failover had had it follow.
    fn release(&self, world: &mut World, standby: usize) {
        if world.db(standby).settings != Some(Named::Nobody)
            || !self.standbys.contains_key(&ip(standby))
        {
            return;
        }
        let held = world.hosts[standby].state.held;
        let back = match held.filter(|_| world.options.gives_back) {
            Some(held) => back_to(held.by == self.me, world.now - held.at < MARK, held.before),
            None => Back::Old,
        };
        let (whom, newer) = match back {
            Back::Nowhere => return,
            Back::Old => (self.old, 0),
            Back::To(before) => before,
        };
        follow(world, self.me_at(), standby, Named::Host(whom), newer);
    }

    /// This process, and its host.
    fn me_at(&self) -> (usize, usize) {
        (self.host, self.me)
    }

    /// Whether a standby was heard, and may be listening to a primary.
    fn listens(&self, standby: usize) -> bool {
        self.standbys.get(&ip(standby)).is_some_and(may_listen)
    }

    /// All databases but the old primary's.
    fn others(&self, world: &World) -> Vec<usize> {
        world.databases().filter(|it| *it != self.old).collect()
    }

    /// trust-ip, and the quorum.
    fn trust_ip(&mut self, world: &mut World) -> Flow {
        if !world.gateway(self.host) {
            // Asked until its time is over.
            if world.now < self.since + 2_000 {
                return Flow::After(200);
            }
            return self.refuse(world, "no trust IP");
        }
        if let Err(why) = see_majority(world, self.host, None) {
            // It may show life until the time is over.
            if world.now < self.since + 2_500 {
                return Flow::After(200);
            }
            return self.refuse(world, &why);
        }
        self.go_on(world, Phase::Fence, 20)
    }

    /// fence: the old primary is stopped, and meanwhile looked at.
    fn fence(&mut self, world: &mut World, me: usize) -> Flow {
        let passed = world.now - self.since;
        let fencing = self.fencing.take();
        let mut fencing = fencing.unwrap_or_else(|| Box::new(self.begin_fencing(world)));
        self.look(world, &mut fencing, passed);
        if let Some(round) = fencing.go_on(Duration::from_millis(passed)) {
            if round.asks.contains(&Ask::Old) {
                let status = status_of(world, self.host, self.old).ok();
                fencing.hear(Heard::Old(status), Duration::from_millis(passed));
            }
            if round.asks.contains(&Ask::Fence) {
                self.order_fence(world, me, &mut fencing, passed);
            }
            self.fencing = Some(fencing);
            return Flow::After(LOOK);
        }
        let alone = fencing.left_alone();
        let vip = fencing.vip().unwrap_or(VipHolder::Unknown);
        let findings = fencing.end(vip);
        (self.found, self.standbys) = (findings.old_primary, findings.standbys);
        if alone {
            return self.refuse(world, "no standby can be promoted");
        }
        let outcome = fenced(&self.found);
        let verdict = may_promote(world.setup.without_fence, &outcome);
        world.tell(|_| format!("failover from {}: {outcome:?}", name(self.old)));
        if let Err(why) = verdict {
            return self.refuse(world, &why);
        }
        let standbys = self.others(world).len();
        if world.options.hold && needs_hold(&self.found, standbys) {
            let delay = world.rng.delay(60, 400);
            return self.go_on(world, Phase::Hold, delay);
        }
        self.choose_on_own_side(world)
    }

    fn begin_fencing(&self, world: &World) -> Fencing {
        let standbys: Vec<IpAddr> = self.others(world).into_iter().map(ip).collect();
        let has_choice = standbys.len() > 1;
        let needed = Needed {
            candidates: match has_choice {
                true => standbys.clone(),
                false => vec![ip(self.given)],
            },
            understood: match has_choice && world.setup.sync {
                true => standbys.clone(),
                false => Vec::new(),
            },
        };
        let limits = Limits {
            deadline: Duration::from_millis(FENCING),
            probe: Duration::from_millis(PROBE),
        };
        Fencing::new(needed, &standbys, world.setup.has_vip, limits)
    }

    fn order_fence(&self, world: &mut World, me: usize, fencing: &mut Fencing, passed: u64) {
        if !world.login(self.host, self.old) {
            let why = NoReport::NotRun("no login".to_owned());
            fencing.hear(Heard::Fence(Err(why)), Duration::from_millis(passed));
            return;
        }
        let delay = match self.host == self.old {
            true => 5,
            false => world.rng.delay(40, 300),
        };
        let until = self.since + FENCING - FENCE_MARGIN;
        let job = FenceJob::new(self.old, self.host, me, until);
        world.spawn(self.old, Proc::Fence(job), delay);
    }

    /// The fence step has begun.
    fn hear_that_fence_began(&mut self, now: u64) {
        let passed = Duration::from_millis(now.saturating_sub(self.since));
        if let Some(fencing) = &mut self.fencing {
            fencing.hear(Heard::FenceBegan, passed);
        }
    }

    /// How the fence step ended.
    fn hear_fence(&mut self, now: u64, report: Result<FenceReport, NoReport>) {
        let passed = Duration::from_millis(now.saturating_sub(self.since));
        if let Some(fencing) = &mut self.fencing {
            fencing.hear(Heard::Fence(report), passed);
        }
    }

    /// What everybody says at this moment.
    fn look(&mut self, world: &World, fencing: &mut Fencing, passed: u64) {
        let (host, old) = (self.host, self.old);
        let mut hear = |heard| fencing.hear(heard, Duration::from_millis(passed));
        for other in self.others(world) {
            if passed >= 50
                && let Ok(mut status) = status_of(world, host, other)
            {
                if !world.options.known_before {
                    status.obstacle = None;
                }
                // One that is being recovered was as good as any.
                status.recovers |= status.in_work && !world.options.coming;
                hear(Heard::Standby(ip(other), Ok(status)));
            }
        }
        hear(Heard::Neighbor(Some(mac(old))));
        let holder = world.vip_elsewhere(host).map(mac);
        if world.setup.has_vip && (holder.is_some() || passed >= PROBE) {
            hear(Heard::Vip(Ok(holder.into_iter().collect())));
        }
        if host == old {
            return;
        }
        let lives = world.reach(host, old);
        if lives || passed >= PROBE {
            hear(Heard::Signs(Signs {
                alive: lives,
                answered: lives,
                seen: format!("alive: {lives}"),
            }));
        }
        let refuses = lives && world.db(old).role == Role::Down;
        self.refused = if refuses { self.refused + 1 } else { 0 };
        hear(Heard::Port(self.refused > 3));
    }

    /// hold: no standby in reach listens to the old primary any more.
    fn hold(&mut self, world: &mut World) -> Flow {
        self.held = true;
        let newer = self.newer(world);
        if let Some(why) = self.follows_another(world) {
            return self.refuse(world, &why);
        }
        self.have_follow(world, Named::Nobody, newer, None);
        let followed = &self.followed;
        let missing = |it: &usize| {
            let lives = world.reach(self.host, *it);
            let end = match world.login(self.host, *it) {
                _ if followed.contains(it) => HoldEnd::Held,
                true => HoldEnd::Refused,
                false => HoldEnd::Silent,
            };
            let anew = status_of(world, self.host, *it).ok();
            let heard = self.standbys.get(&ip(*it));
            match world.options.asked_since {
                true if end == HoldEnd::Refused => may_acknowledge_on(anew.as_ref(), end, lives),
                true => may_acknowledge_on(heard, end, lives),
                false => end != HoldEnd::Held && heard.map_or(lives, may_listen),
            }
        };
        if let Some(missing) = self.others(world).into_iter().find(missing) {
            if world.now < self.since + HOLDING {
                return Flow::After(50);
            }
            if world.setup.sync {
                let why = format!("{} may go on acknowledging", name(missing));
                return self.refuse(world, &why);
            }
        }
        self.followed.clear();
        self.choose_on_own_side(world)
    }

    /// Why a standby in reach is not held: another failover has had it follow somebody.
    fn follows_another(&self, world: &World) -> Option<String> {
        let heard = promoted(&self.standbys);
        if !world.options.taken || matches!(heard, Ok(Some(_))) {
            return None;
        }
        let reached = |it: &usize| world.login(self.host, *it) && !self.followed.contains(it);
        self.others(world)
            .into_iter()
            .filter(reached)
            .find_map(|standby| {
                let told = world.hosts[standby].state.held;
                told.filter(|it| world.now - it.at < MARK)?;
                let leader = world.db(standby).settings?.host()?;
                if leader == self.old || leader == standby {
                    return None;
                }
                let asked = world.sql(standby, leader);
                let in_recovery = asked.then(|| world.db(leader).role == Role::Standby);
                follows_another(&ip(leader).to_string(), in_recovery)
            })
    }

    /// Where the old primary's host may be on another side of a cut, more than half is seen without it.
    fn choose_on_own_side(&mut self, world: &mut World) -> Flow {
        if let Some(why) = is_elsewhere(&self.found).filter(|_| world.options.own_side)
            && let Err(why) = see_majority(world, self.host, Some((self.old, why)))
        {
            return self.refuse(world, &why);
        }
        self.go_on(world, Phase::Choose, 20)
    }

    /// Tells those that have not done so yet to follow.
    fn have_follow(&mut self, world: &mut World, whom: Named, newer: u32, but: Option<usize>) {
        for other in self.others(world) {
            if Some(other) != but
                && !self.followed.contains(&other)
                && follow(world, self.me_at(), other, whom, newer)
            {
                self.followed.push(other);
            }
        }
    }

    /// The timeline that the new primary gets, or has where it was promoted already.
    fn newer(&self, world: &World) -> u32 {
        match self.chosen.filter(|it| world.db(*it).role == Role::Primary) {
            Some(chosen) => world.timeline(chosen),
            None => self.newest() + 1,
        }
    }

    /// The newest timeline that any host has told of.
    fn newest(&self) -> u32 {
        let report = match &self.found.report {
            Some(Ok(report)) => report.timeline,
            _ => None,
        };
        let known = self.standbys.values().map(|it| it.timeline);
        known.chain(report).max().unwrap_or(0)
    }

    /// choose: the furthest.
    fn choose(&mut self, world: &mut World) -> Flow {
        match promoted(&self.standbys) {
            Err(why) => return self.refuse(world, &why),
            Ok(Some(address)) => {
                self.chosen = Some(host_of(address));
                return self.go_on(world, Phase::Promote, 20);
            }
            Ok(None) => {}
        }
        let others = self.others(world);
        let hosts: Vec<IpAddr> = others.iter().map(|it| ip(*it)).collect();
        let old = match &self.found.report {
            Some(Ok(report)) => report.timeline,
            _ => None,
        };
        if let Err(why) = replaced_before(&self.standbys, &hosts, old) {
            return self.refuse(world, &why);
        }
        if others.len() == 1 {
            self.chosen = Some(self.given);
            return self.go_on(world, Phase::Promote, 20);
        }
        let answers: Vec<(usize, Result<Candidate, String>)> = others
            .iter()
            .map(|it| {
                let status = status_of(world, self.host, *it);
                let candidate = |it: Status, at| Candidate::from_status(ip(at), &it, false);
                (*it, status.and_then(|status| candidate(status, *it)))
            })
            .collect();
        let unheard = answers.iter().filter(|it| it.1.is_err());
        let unheard: Vec<usize> = unheard.map(|it| it.0).collect();
        let patience = if world.setup.sync { POSITIONS } else { 1_000 };
        if !unheard.is_empty() && world.now < self.since + patience {
            return Flow::After(200);
        }
        let candidates: Vec<Candidate> = answers.into_iter().filter_map(|it| it.1.ok()).collect();
        let Some(choice) = choose(&candidates, ip(self.given)) else {
            return self.refuse(world, "no standby can be promoted");
        };
        let chosen = host_of(choice.address);
        world.tell(|_| format!("failover: {} is chosen: {}", name(chosen), choice.why));
        crate::check::risk_is_named(world, chosen, &unheard);
        self.chosen = Some(chosen);
        let best = candidates.iter().find(|it| it.address == choice.address);
        self.chosen_on = best.map_or(0, |it| it.timeline);
        self.go_on(world, Phase::Promote, 20)
    }

    /// promote: the promote step on the chosen host.
    fn promote(&mut self, world: &mut World, me: usize) -> Flow {
        let Some(chosen) = self.chosen else {
            return Flow::End;
        };
        if let Some(result) = self.promoted.take() {
            return match result {
                Ok(()) => self.go_on(world, Phase::Follow, 20),
                Err(why) => self.refuse(world, &why),
            };
        }
        if self.since != 0 {
            self.since = 0;
            if !world.login(self.host, chosen) {
                return self.refuse(world, "the chosen host cannot be reached");
            }
            for other in self.others(world) {
                if other != chosen && world.login(self.host, other) {
                    world.hosts[other].vip = false;
                }
            }
            if world.options.follow {
                let newer = self.newer(world);
                self.have_follow(world, Named::Host(chosen), newer, Some(chosen));
            }
            let job = PromoteJob::new(self, world, me, chosen);
            let delay = world.rng.delay(10, 200);
            world.spawn(chosen, Proc::Promote(job), delay);
            return Flow::After(PROMOTION);
        }
        self.refuse(world, "the promotion gave no answer")
    }

    /// follow: those that had not done so before the promotion.
    fn follow(&mut self, world: &mut World) -> Flow {
        if let Some(chosen) = self.chosen.filter(|_| world.options.follow) {
            let newer = self.newer(world);
            self.have_follow(world, Named::Host(chosen), newer, Some(chosen));
            let followed = &self.followed;
            let missing = |it: &usize| *it != chosen && self.listens(*it) && !followed.contains(it);
            if self.others(world).iter().any(missing) && world.now < self.since + HOLDING {
                return Flow::After(50);
            }
        }
        self.go_on(world, Phase::Attach, 30)
    }

    /// attach: where the pool has the new primary down.
    fn attach(&mut self, world: &mut World) -> Flow {
        if let Some(chosen) = self.chosen
            && let Some(table) = Pool::ask_pcp(world, self.host)
            && !table.up[chosen]
        {
            Pool::order(world, Some(table.at), self.host, Request::Attach(chosen));
        }
        if let Some(chosen) = self.chosen.filter(|_| world.options.pool_search) {
            Pool::look_again(world, self.host, chosen);
        }
        Flow::End
    }
}

/// Whether a host is on the larger side, should the cluster be cut in two.
fn see_majority(world: &World, host: usize, besides: Option<(usize, &str)>) -> Result<(), String> {
    let policy = match world.options.quorum {
        true => FailoverQuorum::Majority,
        false => FailoverQuorum::None,
    };
    let seen = crate::look::life(world, host);
    match besides {
        None => quorum(policy, seen.others + 1, seen.hosts),
        Some((old, why)) => {
            let others = seen.others - usize::from(old != host && world.reach(host, old));
            quorum_besides(policy, others + 1, seen.hosts, why)
        }
    }
}

/// What the runs of the recovery there read.
fn mark_held(
    world: &mut World,
    by: usize,
    standby: usize,
    whom: Named,
    newer: u32,
    word_only: bool,
) {
    let held = Held {
        at: world.now,
        newer,
        by,
        word_only,
        before: before(world, standby, whom, by),
    };
    let state = &mut world.hosts[standby].state;
    state.held = (newer > 0).then_some(held);
    if matches!(whom, Named::Host(_)) {
        state.told = state.told.max(newer);
    }
}

/// Whom another failover had had a standby follow that is held now.
fn before(world: &World, standby: usize, whom: Named, by: usize) -> Option<(usize, u32)> {
    let held = world.hosts[standby].state.held;
    let held = held.filter(|it| whom == Named::Nobody && world.now - it.at < MARK)?;
    match world.db(standby).settings? {
        Named::Nobody => held.before,
        Named::Host(leader) if held.by != by => Some((leader, held.newer)),
        Named::Host(_) | Named::Fence => None,
    }
}

/// The follow step on a standby's host, by order of `from`: false where it could not be done now.
/// `newer`: the timeline of the new primary; 0: it goes back to the old one.
fn follow(
    world: &mut World,
    (from, by): (usize, usize),
    standby: usize,
    whom: Named,
    newer: u32,
) -> bool {
    if !world.login(from, standby) {
        return false;
    }
    if world.hosts[standby].instance_lock.is_some() {
        world.want_instance(standby);
        if world.options.leaves_word {
            mark_held(world, by, standby, whom, newer, true);
        }
        return false;
    }
    if world.db(standby).role == Role::Primary {
        return false;
    }
    // Its WAL receiver does not end, or its settings cannot be written.
    if matches!(
        world.of_standby(standby),
        Some(Obstacle::Stopped | Obstacle::FullDisk)
    ) {
        return false;
    }
    mark_held(world, by, standby, whom, newer, false);
    // One that is down reads them when somebody starts it.
    let half = is_half(world, standby);
    let db = world.db_mut(standby);
    let named = matches!(db.settings, Some(Named::Host(_) | Named::Nobody));
    if half || !named {
        return db.role == Role::Down;
    }
    db.settings = Some(whom);
    if db.role == Role::Standby {
        db.loaded = whom.host();
    }

    if db.stream.is_some_and(|it| Some(it.from) != whom.host()) {
        db.stream = None;
    }
    world.tell(|_| format!("{} is told to follow {whom:?}", name(standby)));
    true
}

/// The fence step, on the old primary's host.
#[derive(Debug)]
pub struct FenceJob {
    host: usize,
    coordinator: (usize, usize),
    step: usize,
    /// When its time is over.
    until: u64,
    report: FenceReport,
    /// When this run left the mark.
    marked: Option<u64>,
    /// The mark of a failover before this one.
    before: Option<u64>,
}

impl FenceJob {
    fn new(host: usize, from: usize, coordinator: usize, until: u64) -> Self {
        Self {
            host,
            coordinator: (from, coordinator),
            step: 0,
            until,
            report: FenceReport::default(),
            marked: None,
            before: None,
        }
    }

    /// The next step.
    pub fn step(&mut self, world: &mut World) -> Flow {
        if world.options.ends_first && self.step < 3 && world.now > self.until {
            self.take_mark_back(world);
            self.reply(world, Err(NoReport::Failed("no time is left".to_owned())));
            return Flow::End;
        }
        self.step += 1;
        match FENCE_STEPS[self.step - 1] {
            "fence.vip-off" => {
                self.tell_that_it_began(world);
                world.hosts[self.host].vip = false;
                Flow::After(world.rng.delay(5, 40))
            }
            "fence.mark" => {
                if world.options.fence_mark {
                    self.mark(world);
                }
                Flow::After(world.rng.delay(20, 600))
            }
            "fence.stop" => {
                if world.db(self.host).role == Role::Standby && world.db(self.host).loaded.is_some()
                {
                    self.report.how = "runs as a standby".to_owned();
                    self.report.claimed = Some(self.report.how.clone());
                } else if world.db(self.host).role != Role::Down {
                    let clean = world.rng.chance(85);
                    world.stop_server(self.host, clean);
                    world.supervise(self.host);
                    self.report.how = "stopped".to_owned();
                }
                Flow::After(world.rng.delay(10, 40))
            }
            _ => self.verify(world),
        }
    }

    /// The mark, and settings with which the server takes no writes whoever starts it.
    fn mark(&mut self, world: &mut World) {
        let now = world.now;
        let db = world.db_mut(self.host);
        if db.role == Role::Standby && db.settings.is_some_and(|it| it != Named::Fence) {
            return;
        }
        let holds = db.settings == Some(Named::Fence);
        db.settings.get_or_insert(Named::Fence);
        let by = ip(self.coordinator.0);
        let keeps = world.options.keeps_mark;
        let state = &mut world.hosts[self.host].state;
        self.before = state.fenced.filter(|_| holds && keeps);
        let claim = Claim::next(
            state.claim.filter(|_| state.fenced.is_some()),
            by,
            now,
            MARK,
        );
        (state.fenced, state.claim) = (Some(now), Some(claim));
        self.report.claimed = match (claim.by != by, &state.left) {
            (true, _) => Some(format!("fenced by {} first", claim.by)),
            (false, Some(left)) => Some(format!("becomes a standby of {}", left.primary)),
            (false, None) => None,
        };
        self.marked = Some(now);
    }

    /// Its database goes on as a primary, and has to be able to come back as one.
    fn take_mark_back(&self, world: &mut World) {
        // Another failover may have fenced it since: its mark stays.
        let ours = self.marked.is_some() && world.hosts[self.host].state.fenced == self.marked;
        if ours {
            world.hosts[self.host].state.fenced = self.before;
        }
        // What an earlier one has fenced stays so.
        if ours && self.before.is_none() {
            world
                .db_mut(self.host)
                .settings
                .take_if(|it| *it == Named::Fence);
        }
    }

    /// Down, or started again as a standby, which is what the mark is for.
    fn verify(&mut self, world: &mut World) -> Flow {
        let (role, control, at) = {
            let db = world.db(self.host);
            (db.role, db.control, db.at)
        };
        let settings = world.db(self.host).settings.is_some();
        if role == Role::Starting && settings && self.report.how != "waited" {
            self.report.how = "waited".to_owned();
            self.step -= 1;
            return Flow::After(1_600);
        }
        let result = match role {
            Role::Down | Role::Standby => {
                world.hosts[self.host].state.fenced_truly = true;
                if control == Control::ShutDown {
                    self.report.shutdown_checkpoint = Some(lsn(at));
                }
                self.report.timeline = Some(world.timeline(self.host));
                self.report.macs = vec![mac(self.host)];
                world.hosts[self.host].vip = false;
                Ok(self.report.clone())
            }
            Role::Primary | Role::Starting => {
                self.take_mark_back(world);
                Err(NoReport::Failed("was started again".to_owned()))
            }
        };
        self.reply(world, result);
        Flow::End
    }

    fn tell_that_it_began(&self, world: &mut World) {
        let (from, id) = self.coordinator;
        if world.options.ends_first
            && world.reach(self.host, from)
            && let Some(Proc::Failover(it)) = &mut world.procs[id]
        {
            it.hear_that_fence_began(world.now);
        }
    }

    fn reply(&self, world: &mut World, result: Result<FenceReport, NoReport>) {
        let (from, id) = self.coordinator;
        if world.reach(self.host, from)
            && let Some(Proc::Failover(it)) = &mut world.procs[id]
        {
            it.hear_fence(world.now, result);
        }
    }
}

/// The promote step, on the new primary's host.
#[derive(Debug)]
pub struct PromoteJob {
    host: usize,
    coordinator: (usize, usize),
    old_timeline: Option<u32>,
    wait_for: Option<Lsn>,
    timeline: Option<u32>,
    /// The newest timeline that the coordinator saw.
    seen: u32,
    step: usize,
    deadline: u64,
    followers: usize,
    already: bool,
    asked: bool,
}

impl PromoteJob {
    fn new(failover: &Failover, world: &World, id: usize, chosen: usize) -> Self {
        let report = match &failover.found.report {
            Some(Ok(report)) => Some(report),
            _ => None,
        };
        Self {
            host: chosen,
            coordinator: (failover.host, id),
            old_timeline: report.and_then(|it| it.timeline),
            wait_for: report.and_then(|it| it.shutdown_checkpoint),
            timeline: (world.options.unique_timelines).then(|| failover.newest() + 1),
            seen: match failover.standbys.contains_key(&ip(chosen)) {
                true => failover.newest(),
                false => failover.newest().max(failover.chosen_on),
            },
            step: 0,
            deadline: 0,
            followers: failover
                .followed
                .iter()
                .filter(|it| failover.listens(**it))
                .count(),
            already: false,
            asked: false,
        }
    }

    /// The next step.
    pub fn step(&mut self, world: &mut World, me: usize) -> Flow {
        let host = self.host;
        if self.deadline == 0 {
            self.deadline = world.now + 1_000;
        }
        match PROMOTE_STEPS[self.step] {
            "promote.check" => return self.check(world, me),
            "promote.wait-wal" => return self.wait_wal(world),
            "promote.vip-on" if world.setup.has_vip && !world.hosts[host].vip => {
                if world.hosts[host].obstacle == Some(Obstacle::NoDevice) {
                    return self.fail(world, "DEV: no such device");
                }
                world.hosts[host].vip = true;
            }
            "promote.promote" => return self.promote(world),
            "promote.async" => {
                let streams = world.databases().any(|it| world.streams_from(it, host));
                if self.followers > 0 && !streams && world.now < self.deadline + 500 {
                    return Flow::After(50);
                }
                if world.setup.degrade == SyncDegrade::Always && !streams {
                    world.db_mut(host).sync_names = false;
                }
            }
            "promote.announce" => {
                self.reply(world, Ok(()));
                return Flow::End;
            }
            _ => {}
        }
        self.next(world, 20, 200)
    }

    fn next(&mut self, world: &mut World, low: u64, high: u64) -> Flow {
        self.step += 1;
        let delay = world.rng.delay(low, high);
        self.deadline = world.now + delay + 1_000;
        Flow::After(delay)
    }

    fn fail(&self, world: &mut World, why: &str) -> Flow {
        if world.db(self.host).role != Role::Primary {
            world.hosts[self.host].vip = false;
        }
        self.reply(world, Err(why.to_owned()));
        Flow::End
    }

    fn reply(&self, world: &mut World, result: Result<(), String>) {
        let (from, id) = self.coordinator;
        if world.reach(self.host, from)
            && let Some(Proc::Failover(it)) = &mut world.procs[id]
        {
            it.promoted = Some(result);
            world.after(20, crate::world::Event::Proc(id));
        }
    }

    fn check(&mut self, world: &mut World, me: usize) -> Flow {
        let host = self.host;
        if is_half(world, host) {
            return self.fail(world, "its rewind is unfinished");
        }
        match world.hosts[host].instance_lock {
            None => world.hosts[host].instance_lock = Some(me),
            Some(_) if world.now < self.deadline => {
                world.want_instance(host);
                return Flow::After(20);
            }
            Some(_) => return self.fail(world, "the instance lock is held"),
        }
        match world.db(host).role {
            Role::Primary => {
                self.already = true;
                let own = world.timeline(host);
                if self.old_timeline.is_some_and(|old| own <= old) {
                    return self.fail(world, "it is not the old primary's successor");
                }
            }
            Role::Standby if world.of_standby(host) == Some(Obstacle::Stopped) => {
                return self.fail(world, "it gives no answer");
            }
            Role::Standby => {
                let since = promoted_since(world.timeline(host), self.seen);
                if let Some(why) = since.filter(|_| self.seen > 0 && world.options.as_seen) {
                    return self.fail(world, &why);
                }
            }
            Role::Down | Role::Starting => return self.fail(world, "it gives no answer"),
        }
        self.next(world, 5, 30)
    }

    fn wait_wal(&mut self, world: &mut World) -> Flow {
        let have = lsn(world.db(self.host).at);
        let misses = self.wait_for.is_some_and(|target| have < target);
        match misses && !self.already && world.now < self.deadline {
            true => Flow::After(50),
            false => self.next(world, 5, 30),
        }
    }

    fn promote(&mut self, world: &mut World) -> Flow {
        match world.db(self.host).role {
            Role::Primary => {
                let made = world.timeline(self.host);
                let told = &mut world.hosts[self.host].state.told;
                *told = (*told).max(made);
                self.next(world, 5, 50)
            }
            Role::Standby if world.hosts[self.host].obstacle == Some(Obstacle::NoProgram) => {
                self.fail(world, "no program promotes")
            }
            Role::Standby if !self.asked => {
                self.asked = true;
                self.deadline = world.now + 10_000;
                // Nor one of which a failover has told this host.
                let told = world.hosts[self.host].state.told;
                let timeline = self.timeline.map(|it| it.max(told + 1));
                world.ask_for_promotion(self.host, timeline);
                Flow::After(20)
            }
            Role::Standby if world.now < self.deadline => {
                // Those that the replay waits for are ended.
                let held_up = world.of_standby(self.host) == Some(Obstacle::HeldUp);
                if is_held_up(None, held_up) {
                    world.clear(self.host);
                }
                Flow::After(20)
            }
            _ if world.now < self.deadline => Flow::After(20),
            _ => {
                self.withdraw(world);
                self.fail(world, "it is in recovery still")
            }
        }
    }

    /// It must not come true later.
    fn withdraw(&self, world: &mut World) {
        let host = self.host;
        let (running, primary) = match world.db(host).role {
            Role::Down => (false, false),
            role => (true, role == Role::Primary),
        };
        let taken_back = world.rng.chance(50);
        match withdrawal(running, primary, taken_back) {
            Withdrawal::CameTrue | Withdrawal::Down => {}
            Withdrawal::TakenBack => world.forget_promotion(host),
            Withdrawal::Restart => {
                world.stop_server(host, true);
                world.start_server(host);
            }
        }
    }
}

/// The coordinator where a standby went down.
#[derive(Debug)]
pub struct StandbyDown {
    host: usize,
    failed: usize,
    primary: Option<usize>,
    step: usize,
    begun: u64,
}

impl StandbyDown {
    /// The standby `failed` went down.
    pub fn new(host: usize, failed: usize, primary: Option<usize>) -> Self {
        Self {
            host,
            failed,
            primary,
            step: 0,
            begun: 0,
        }
    }

    /// The next step.
    pub fn step(&mut self, world: &mut World) -> Flow {
        if self.begun == 0 {
            self.begun = world.now;
        }
        match STANDBY_STEPS[self.step] {
            "trust-ip" if !world.gateway(self.host) => {
                return match world.now < self.begun + 2_000 {
                    true => Flow::After(200),
                    false => Flow::End,
                };
            }
            "quorum" if see_majority(world, self.host, None).is_err() => {
                return match world.now < self.begun + 4_500 {
                    true => Flow::After(200),
                    false => Flow::End,
                };
            }
            "standby.find-primary" => {
                let is_primary = |it: &usize| {
                    *it != self.failed
                        && world.sql(self.host, *it)
                        && world.db(*it).role == Role::Primary
                };
                self.primary = match self.primary {
                    Some(it) => Some(it).filter(is_primary),
                    None => world.databases().find(is_primary),
                };
                if self.primary.is_none() {
                    return Flow::End;
                }
            }
            "standby.look" => {
                self.step += 1;
                return Flow::After(1_500);
            }
            "standby.async" => {
                self.degrade(world);
            }
            // Any standby that streams acknowledges here, so nobody waits for a silent one.
            "standby.sender" => return Flow::End,
            _ => {}
        }
        self.step += 1;
        Flow::After(30)
    }

    fn degrade(&self, world: &mut World) {
        let Some(primary) = self.primary.filter(|it| world.sql(self.host, *it)) else {
            return;
        };
        let mut others = world.databases();
        let streams = others.any(|it| it != self.failed && world.streams_from(it, primary));
        if world.setup.degrade == SyncDegrade::Always && !streams {
            world.tell(|_| format!("{}: asynchronous", name(primary)));
            world.db_mut(primary).sync_names = false;
        }
    }
}
