//! Failovers: each from the first sign of trouble until clients are let in again.

use super::advice::could;
use super::fact::{Arguments, Ending, Fact, LogKind, Step};
use super::phases::{of_marks, of_steps, phase, tried};
use super::said::{Saying, Word};
use super::{Mark, Moment, Phase, PhaseKind, Scene, Story, StoryKind, verdicts};

/// Trouble is not looked for further back than this, in milliseconds.
const TROUBLE: i64 = 15 * 60_000;
/// Between what two logs saw of one failover.
const NEAR: i64 = 5_000;
/// A run of a script without an end is not longer.
const LONGEST_RUN: i64 = 10 * 60_000;
/// Told with a failover, before its first sign and after its end.
const AROUND: i64 = 3_000;
/// So long before the first sign of trouble a server's last line tells when it was gone, in milliseconds.
const QUIET: i64 = 5_000;
/// A heartbeat that is older than this is one that was missed.
const MISSED: u64 = 2;

/// A run of the script or of ours, by its log.
#[derive(Clone, Copy)]
struct Script {
    source: usize,
    from: i64,
    /// `None`: it has no end in the log.
    to: Option<i64>,
}

/// What is known to be one failover, before it is told.
struct Core<'a> {
    at: i64,
    host: String,
    /// The pool that ran the command, else the one that saw it first.
    pool: Option<usize>,
    command: Option<i64>,
    done: Option<i64>,
    script: Option<Script>,
    run: Option<(&'a str, Vec<(Mark<'a>, &'a Step)>)>,
}

impl Core<'_> {
    /// Until when it goes on, as far as is known.
    fn until(&self) -> i64 {
        let script = self.script.map(|it| it.to.unwrap_or(it.from));
        let all = [self.done, script, Some(self.at)];
        all.into_iter().flatten().max().unwrap_or(self.at)
    }

    fn holds(&self, at: i64) -> bool {
        (self.at - NEAR..=self.until() + NEAR).contains(&at)
    }
}

/// All of them.
pub(super) fn stories(scene: &Scene<'_>) -> Vec<Story> {
    let cores = cores(scene);
    let mut before = i64::MIN;
    let mut told = Vec::new();
    for core in &cores {
        let story = tell(scene, core, before);
        before = story.to;
        told.push(story);
    }
    told
}

fn cores<'a>(scene: &Scene<'a>) -> Vec<Core<'a>> {
    let mut cores: Vec<Core<'a>> = Vec::new();
    for mark in &scene.marks {
        if let (Fact::Degenerating(host), LogKind::Pool) = (mark.fact, mark.kind) {
            let core = of_pool(scene, mark, host);
            let other = cores
                .iter_mut()
                .find(|it| it.host == core.host && it.holds(core.at));
            match other {
                Some(kept) if kept.command.is_none() && core.command.is_some() => *kept = core,
                Some(_) => {}
                None => cores.push(core),
            }
        }
    }
    for script in scripts(scene) {
        match cores
            .iter_mut()
            .find(|it| it.script.is_none() && it.holds(script.from))
        {
            Some(core) => core.script = Some(script),
            None => cores.push(Core {
                at: script.from,
                host: String::new(),
                pool: None,
                command: None,
                done: None,
                script: Some(script),
                run: None,
            }),
        }
    }
    for (name, steps) in scene.runs() {
        let is_failover = |step: &Step| step.name == "fence" || step.name.starts_with("standby.");
        let Some((first, _)) = steps.first() else {
            continue;
        };
        if !steps.iter().any(|(_, step)| is_failover(step)) {
            continue;
        }
        let at = first.at;
        match cores.iter_mut().find(|it| it.run.is_none() && it.holds(at)) {
            Some(core) => core.run = Some((name, steps)),
            None => cores.push(Core {
                at,
                host: String::new(),
                pool: None,
                command: None,
                done: None,
                script: None,
                run: Some((name, steps)),
            }),
        }
    }
    cores.sort_by_key(|it| it.at);
    cores
}

/// What one pool says of a failover that it begins here.
fn of_pool<'a>(scene: &Scene<'a>, begin: &Mark<'a>, host: &str) -> Core<'a> {
    let later = scene.between(begin.at, begin.at + LONGEST_RUN);
    let own = later.iter().filter(|it| it.source == begin.source);
    let mut own = own
        .skip_while(|it| !std::ptr::eq(it.fact, begin.fact))
        .skip(1);
    let (mut command, mut done) = (None, None);
    for mark in own.by_ref() {
        match mark.fact {
            Fact::Command(_) => command = command.or(Some(mark.at)),
            Fact::FailoverDone(_) => {
                done = Some(mark.at);
                break;
            }
            Fact::Degenerating(_) => break,
            _ => {}
        }
    }
    Core {
        at: begin.at,
        host: host.to_owned(),
        pool: Some(begin.source),
        command,
        done,
        script: None,
        run: None,
    }
}

fn scripts(scene: &Scene<'_>) -> Vec<Script> {
    let mut scripts: Vec<Script> = Vec::new();
    for mark in &scene.marks {
        let last = scripts.iter_mut().rev().find(|it| it.source == mark.source);
        match (mark.fact, last) {
            (Fact::Begins, _) => scripts.push(Script {
                source: mark.source,
                from: mark.at,
                to: None,
            }),
            (Fact::Ends, Some(script)) if script.to.is_none() => script.to = Some(mark.at),
            _ => {}
        }
    }
    scripts
}

/// What is known of the times of one failover.
#[derive(Default)]
struct Times {
    start: i64,
    heartbeat: Option<i64>,
    first_try: Option<i64>,
    rounds: Option<u32>,
    down: Option<i64>,
    leader_lost: Option<i64>,
    leader: Option<i64>,
    vip: Option<i64>,
    search: Option<i64>,
    new_primary: Option<i64>,
    end: i64,
}

fn tell(scene: &Scene<'_>, core: &Core<'_>, before: i64) -> Story {
    let script: Vec<Mark<'_>> = core.script.map_or(Vec::new(), |it| {
        let all = scene.between(it.from, it.to.unwrap_or(it.from + LONGEST_RUN));
        let own = all.iter().filter(|mark| mark.source == it.source);
        // Until the next run, where it has no end.
        let mut begun = 0;
        own.take_while(|mark| {
            begun += i32::from(*mark.fact == Fact::Begins);
            begun < 2
        })
        .copied()
        .collect()
    });
    let arguments = script.iter().find_map(|it| match it.fact {
        Fact::Arguments(told) => Some(told.as_ref()),
        _ => None,
    });
    let host = arguments.map_or(core.host.as_str(), |it| it.failed_host.as_str());
    let node = scene.hosts.lane(host);
    let lane = lane_of(scene, core, &script);
    let kind = kind(scene, core, &script, arguments);
    let mut times = times(scene, core, node, arguments, before);
    let end_of_script = script.last().map(|it| it.at);
    times.end = core
        .done
        .or(end_of_script)
        .unwrap_or(times.end)
        .max(times.start);
    if let Some((_, steps)) = &core.run
        && core.done.is_none()
    {
        times.end = times.end.max(end_of(steps));
    }
    let phases = phases(scene, core, lane, &times, &script);
    let is_over = core.done.is_some()
        || (core.pool.is_none() && core.script.is_none_or(|it| it.to.is_some()));
    let is_failover = kind == StoryKind::Failover;
    let mut story = Story {
        kind,
        lane,
        node,
        run: core.run.as_ref().map(|(name, _)| (*name).to_owned()),
        from: times.start,
        to: times.end,
        is_over,
        outage: (is_failover && is_over).then_some((times.start, times.end)),
        promoted: promoted(scene, core, &script),
        moments: Vec::new(),
        could: could(times.end - times.start, &phases),
        phases,
        verdicts: Vec::new(),
        cause: None,
    };
    story.moments = moments(scene, core, &story, &times, &script);
    story.verdicts = verdicts::of_failover(scene, &story, &script, core.run.as_ref());
    story
}

fn lane_of(scene: &Scene<'_>, core: &Core<'_>, script: &[Mark<'_>]) -> Option<usize> {
    let of_source = |it: usize| scene.hosts.of.get(it).copied().flatten();
    let of_run = core.run.as_ref().and_then(|(_, steps)| {
        let first = steps.iter().find(|(_, it)| it.name == "trust-ip");
        first.and_then(|(_, step)| scene.hosts.lane(&step.host))
    });
    let of_script = script.first().and_then(|it| it.lane);
    of_run
        .or(of_script)
        .or_else(|| core.pool.and_then(of_source))
}

fn end_of(steps: &[(Mark<'_>, &Step)]) -> i64 {
    let ends = steps
        .iter()
        .map(|(mark, step)| mark.at + i64::try_from(step.milliseconds).unwrap_or(0));
    ends.max().unwrap_or_default()
}

/// The pool's primary is the one that it was before.
fn keeps_its_primary(scene: &Scene<'_>, core: &Core<'_>) -> bool {
    let own = |from: i64, to: i64| {
        let all = scene.between(from, to).iter();
        let own = all.filter(|it| Some(it.source) == core.pool);
        own.filter_map(|it| match it.fact {
            Fact::NewPrimary(node) => Some(*node),
            _ => None,
        })
    };
    let after = own(core.at, core.until()).next_back();
    after.is_some_and(|it| it >= 0) && own(i64::MIN, core.at - 1).next_back() == after
}

fn kind(
    scene: &Scene<'_>,
    core: &Core<'_>,
    script: &[Mark<'_>],
    arguments: Option<&Arguments>,
) -> StoryKind {
    let standby = match arguments {
        Some(told) => told.failed != told.old_primary,
        None => {
            let steps = core.run.iter().flat_map(|(_, steps)| steps);
            script.iter().any(|it| *it.fact == Fact::StandbyDown)
                || steps.clone().any(|(_, it)| it.name.starts_with("standby."))
                || keeps_its_primary(scene, core)
        }
    };
    match standby {
        true => StoryKind::StandbyDown,
        false => StoryKind::Failover,
    }
}

/// Who was promoted, and when it was out of recovery: by the log of events, else by the script, else
/// by the new primary's server, else by the pool.
fn promoted(
    scene: &Scene<'_>,
    core: &Core<'_>,
    script: &[Mark<'_>],
) -> Option<(Option<usize>, i64)> {
    let done = |step: &Step| step.name == "promote.promote" && step.ending == Ending::Done;
    let by_events = core.run.as_ref().and_then(|(_, steps)| {
        let (mark, step) = steps.iter().find(|(_, step)| done(step))?;
        let at = mark.at + i64::try_from(step.milliseconds).unwrap_or(0);
        Some((scene.hosts.lane(&step.host), at))
    });
    let by_script = || {
        let at = script.iter().find(|it| *it.fact == Fact::Promoted)?.at;
        let host = script.iter().find_map(|it| match it.fact {
            Fact::Promotes(host) => Some(scene.hosts.lane(host)),
            _ => None,
        });
        Some((host.flatten(), at))
    };
    let by_server = || {
        let all = scene.between(core.at - NEAR, core.until() + NEAR);
        let mark = all
            .iter()
            .find(|it| matches!(it.fact, Fact::NewTimeline(_)))?;
        Some((mark.lane, mark.at))
    };
    // The pool knows its number only, and finds it after the fact.
    let by_pool = || {
        let all = scene.between(core.at, core.until());
        let found = all.iter().find(|it| {
            Some(it.source) == core.pool && matches!(it.fact, Fact::NewPrimary(node) if *node >= 0)
        })?;
        Some((None, found.at))
    };
    by_events
        .or_else(by_script)
        .or_else(by_server)
        .or_else(by_pool)
}

/// When the old primary's server said its last, shortly before the first sign of trouble: a quiet one may have said
/// nothing for hours.
fn last_word(scene: &Scene<'_>, node: Option<usize>, first: i64) -> Option<i64> {
    let all = scene.between(first - QUIET, first).iter();
    let own = all.filter(|it| node.is_some() && it.lane == node);
    let words = own.filter(|it| *it.fact == Fact::LastWord);
    words.map(|it| it.at).next_back()
}

/// The first sign of trouble, and all else before the pool began.
fn times(
    scene: &Scene<'_>,
    core: &Core<'_>,
    node: Option<usize>,
    arguments: Option<&Arguments>,
    before: i64,
) -> Times {
    let mut times = Times {
        end: core.until(),
        ..Times::default()
    };
    let from = before.saturating_add(1).max(core.at - TROUBLE);
    let mut leaves: Option<i64> = None;
    let mut signs: Vec<i64> = Vec::new();
    let id = arguments.map(|it| it.failed);
    // Whole seconds do not tell what came first.
    let mut begun = false;
    for mark in scene.between(from, core.until()) {
        let of_pool = core.pool.is_none() || Some(mark.source) == core.pool;
        begun |= of_pool && mark.at == core.at && matches!(mark.fact, Fact::Degenerating(_));
        let after = begun || mark.at > core.at;
        match mark.fact {
            Fact::HealthGood | Fact::FailbackDone(_) | Fact::PoolStarts(_) if of_pool && !after => {
                times = Times {
                    end: times.end,
                    ..Times::default()
                };
                signs.clear();
                leaves = None;
            }
            Fact::Heartbeat(host, seconds) if of_pool && scene.is_lane(host, node) && !after => {
                // Whole seconds: what is no more than one later is the same heartbeat.
                let came = mark.at - i64::try_from(*seconds).unwrap_or(0) * 1_000;
                let newer = times.heartbeat.is_none_or(|it| came > it + 1_000);
                times.heartbeat = if newer { Some(came) } else { times.heartbeat };
                if *seconds > MISSED {
                    signs.extend(times.heartbeat);
                }
            }
            Fact::PeerLeaves(host) if of_pool && scene.is_lane(host, node) && !after => {
                leaves = leaves.or(Some(mark.at));
            }
            Fact::LeaderLost if of_pool => times.leader_lost = times.leader_lost.or(Some(mark.at)),
            Fact::Leader if of_pool => times.leader = times.leader.or(Some(mark.at)),
            Fact::PoolVip(_) if of_pool => times.vip = times.vip.or(Some(mark.at)),
            Fact::DatabaseStops if of_pool && !after => signs.push(mark.at),
            Fact::NoConnection(host, _) if of_pool && scene.is_lane(host, node) && !after => {
                signs.push(mark.at);
            }
            Fact::HealthTry(tried, round)
                if of_pool && !after && (tried.is_none() || id.is_none() || *tried == id) =>
            {
                if *round == 1 {
                    times.first_try = Some(mark.at);
                }
                times.rounds = Some(*round);
                signs.push(mark.at);
            }
            Fact::DownRequest(_) | Fact::NodeDown(_) if of_pool && !after => {
                times.down = times.down.or(Some(mark.at));
            }
            Fact::ServerStops(_) | Fact::ServerDied(_) | Fact::ServerDown
                if mark.lane == node && node.is_some() && !after =>
            {
                signs.push(mark.at);
            }
            Fact::Search if of_pool && after => times.search = times.search.or(Some(mark.at)),
            Fact::NewPrimary(_) if of_pool && after => times.new_primary = Some(mark.at),
            _ => {}
        }
    }
    let first = leaves.or_else(|| signs.iter().min().copied());
    let first = first.map(|it| last_word(scene, node, it).unwrap_or(it));
    times.start = first
        .unwrap_or(core.at)
        .min(times.down.unwrap_or(core.at))
        .min(core.at);
    times
}

fn phases(
    scene: &Scene<'_>,
    core: &Core<'_>,
    lane: Option<usize>,
    times: &Times,
    script: &[Mark<'_>],
) -> Vec<Phase> {
    let pool = core
        .pool
        .and_then(|it| scene.hosts.of.get(it).copied().flatten());
    let mut phases = Vec::new();
    let down = times.down.unwrap_or(core.at);
    let end_of_notice = times.first_try.unwrap_or(down);
    if end_of_notice > times.start {
        phases.push(phase(
            PhaseKind::Notice,
            pool,
            times.start,
            end_of_notice,
            0,
        ));
    }
    if let Some(lost) = times.leader_lost
        && let Some(leader) = times.leader.filter(|it| *it >= lost)
    {
        phases.push(phase(PhaseKind::Election, pool, lost, leader, 0));
        if let Some(vip) = times.vip.filter(|it| *it >= leader) {
            phases.push(phase(PhaseKind::PoolVip, pool, leader, vip, 0));
        }
    }
    if let Some(first) = times.first_try {
        let tries = phase(PhaseKind::Tries, pool, first, down, 0);
        phases.push(tried(tries, times.rounds.unwrap_or(1)));
    }
    let begin = core
        .command
        .or(core.script.map(|it| it.from))
        .unwrap_or(core.at);
    if begin > down {
        phases.push(phase(PhaseKind::Votes, pool, down, begin, 0));
    }
    let parts = match &core.run {
        Some((_, steps)) => of_steps(scene, steps, 1),
        None => of_marks(script, 1),
    };
    let end_of_parts = parts.iter().map(|it| it.to).max();
    let end = times
        .search
        .or(core.script.and_then(|it| it.to))
        .or(end_of_parts)
        .or(core.done);
    if core.command.is_some() || !parts.is_empty() {
        let end = end.unwrap_or(begin).max(end_of_parts.unwrap_or(begin));
        phases.push(phase(PhaseKind::Command, lane, begin, end, 0));
        phases.extend(parts);
    }
    let fenced = script.iter().any(|it| matches!(it.fact, Fact::Fenced(_)));
    for it in phases.iter_mut().filter(|it| it.kind == PhaseKind::Fence) {
        // Its host answered: a stop takes what it takes.
        if let Some(advice) = it.advice.as_mut().filter(|_| fenced) {
            advice.could = None;
        }
    }
    if let (Some(search), Some(new)) = (times.search, times.new_primary) {
        phases.push(phase(PhaseKind::Search, pool, search, new, 0));
        if let Some(done) = core.done {
            phases.push(phase(PhaseKind::Clients, pool, new, done, 0));
        }
    }
    phases
}

/// What happened, by time; each thing once.
fn moments(
    scene: &Scene<'_>,
    core: &Core<'_>,
    story: &Story,
    times: &Times,
    script: &[Mark<'_>],
) -> Vec<Moment> {
    let mut told: Vec<Moment> = Vec::new();
    if let Some(at) = times.heartbeat.filter(|it| *it <= story.to) {
        let host = story.node.map_or("", |it| scene.hosts.name(it));
        told.push(Moment {
            at,
            lane: story.node,
            saying: Saying::of(Word::LastHeartbeat).text("host", host),
        });
    }
    for mark in scene.between(story.from - AROUND, story.to + AROUND) {
        let of_script = script.iter().any(|it| std::ptr::eq(it.fact, mark.fact));
        let other_script = mark.kind == LogKind::Failover && !of_script;
        let other_pool = mark.kind == LogKind::Pool && Some(mark.source) != core.pool;
        if other_script || (other_pool && !matters_elsewhere(mark.fact)) {
            continue;
        }
        if let Some(saying) = saying(scene, mark, story, times)
            && !told.iter().any(|it| it.saying == saying)
        {
            told.push(Moment {
                at: mark.at,
                lane: mark.lane,
                saying,
            });
        }
    }
    if !story.is_over {
        told.push(Moment {
            at: story.to,
            lane: story.lane,
            saying: Saying::of(Word::NotOver),
        });
    }
    told.sort_by_key(|it| it.at);
    told
}

/// Of the pools that did not run the command.
fn matters_elsewhere(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Quarantine(_) | Fact::Leader | Fact::PoolVip(_) | Fact::DatabaseStops
    )
}

fn saying(scene: &Scene<'_>, mark: &Mark<'_>, story: &Story, times: &Times) -> Option<Saying> {
    let own = mark.lane.map_or("", |it| scene.hosts.name(it));
    let of = |word| Some(Saying::of(word).text("host", own));
    let with = |word, host: &str| Some(Saying::of(word).text("host", host));
    let is_failed = |host: &str| scene.is_lane(host, story.node);
    match mark.fact {
        Fact::PeerLeaves(host) => with(Word::PoolLeaves, host),
        Fact::PeerLost(host) => with(Word::PoolLost, host),
        Fact::LeaderLost => Some(Saying::of(Word::LeaderLost)),
        Fact::WatchdogState(state) if state == "MASTER" || state == "LEADER" => of(Word::OnlyPool),
        Fact::Leader => of(Word::BecameLeader),
        Fact::PoolVip(vip) => of(Word::PoolVip).map(|it| it.text("vip", vip)),
        Fact::DatabaseStops => Some(Saying::of(Word::DatabaseStops)),
        Fact::HealthTry(_, 1) if Some(mark.at) == times.first_try => {
            Some(Saying::of(Word::FirstTry))
        }
        Fact::HealthTry(_, round) if Some(*round) == times.rounds => {
            Some(Saying::of(Word::LastTry).count("round", i64::from(*round)))
        }
        Fact::NoConnection(host, why) if is_failed(host) => {
            with(Word::NoConnection, host).map(|it| it.text("why", why))
        }
        Fact::NodeDown(node) | Fact::DownRequest(node) if Some(mark.at) == times.down => {
            Some(Saying::of(Word::NodeDown).count("node", *node))
        }
        Fact::VotesWanted => Some(Saying::of(Word::VotesWanted)),
        Fact::VotesGiven => Some(Saying::of(Word::VotesGiven)),
        Fact::Quarantine(host) => with(Word::Quarantine, host),
        Fact::Command(_) => Some(match times.leader {
            Some(leader) => Saying::of(Word::CommandByLeader)
                .text("host", own)
                .at("since", leader),
            None => Saying::of(Word::CommandByLock).text("host", own),
        }),
        Fact::NewPrimary(-1) => Some(Saying::of(Word::NoPrimary)),
        Fact::NewPrimary(node) => Some(Saying::of(Word::NewPrimary).count("node", *node)),
        Fact::FailoverDone(_) => of(Word::ClientsAgain),
        Fact::NewTimeline(timeline) => {
            of(Word::NewTimeline).map(|it| it.count("timeline", i64::from(*timeline)))
        }
        fact => of_script(fact, own).or_else(|| of_server(fact, own, mark, story)),
    }
}

/// A line of the script's log.
fn of_script(fact: &Fact, own: &str) -> Option<Saying> {
    let of = |word| Some(Saying::of(word).text("host", own));
    let with = |word, host: &str| Some(Saying::of(word).text("host", host));
    let why = |word, why: &str| Some(Saying::of(word).text("why", why));
    match fact {
        Fact::Begins => of(Word::ScriptBegins),
        Fact::TrustIp(true) => Some(Saying::of(Word::TrustIpAnswers)),
        Fact::TrustIp(false) => Some(Saying::of(Word::TrustIpSilent)),
        Fact::NoLogin(host, why) => with(Word::NoLogin, host).map(|it| it.text("why", why)),
        Fact::Fenced(it) => why(Word::OldFenced, it),
        Fact::Unreachable(it) => why(Word::OldUnreachable, it),
        Fact::Alive(it) => why(Word::OldAlive, it),
        Fact::DatabaseVip(host) => with(Word::DatabaseVip, host),
        Fact::Promotes(host) => with(Word::PromotionBegins, host),
        Fact::Promoted => of(Word::Promoted),
        Fact::Asynchronous => of(Word::Asynchronous),
        Fact::Checkpoint => of(Word::Checkpoint),
        Fact::Refused(it) => why(Word::Refused, it),
        Fact::Ends => of(Word::ScriptEnds),
        _ => None,
    }
}

/// The old primary's server. Those of the others are their own business.
fn of_server(fact: &Fact, own: &str, mark: &Mark<'_>, story: &Story) -> Option<Saying> {
    if mark.lane != story.node {
        return None;
    }
    let of = |word| Some(Saying::of(word).text("host", own));
    match fact {
        Fact::ServerStops(how) => of(Word::ServerStops).map(|it| it.text("how", how)),
        Fact::ServerDown => of(Word::ServerDown),
        Fact::LastWord => of(Word::LastWord),
        Fact::ServerDied(why) => of(Word::ServerDied).map(|it| it.text("why", why)),
        _ => None,
    }
}
