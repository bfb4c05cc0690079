//! The plan of `network_rewind`: look, decide by `rules::recovery`, and the steps of each action. A
//! step's model is small and stands beside its name.

use crate::failover::Failover;
use crate::look;
use crate::plan::Obstacle;
use crate::pool::{Pool, Request, Table};
use crate::world::{Control, Flow, Named, Proc, Role, Said, World, host_of, ip, name};
use failover_rules::facts::history::{History, Standing};
use failover_rules::facts::left::{Recovery as Left, Stage};
use failover_rules::facts::policy::SyncDegrade;
use failover_rules::facts::view::View;
use failover_rules::recovery::{
    Action, Decision, Look, Verdict, begins_anew_at, decide_without, goes_on, must_drop_vip,
};

/// How often is decided in one run.
const ROUNDS: usize = 4;
/// After a look that took so long (ms) the node itself is looked at anew.
const LATE: u64 = 1_000;
/// Until a standby that was started must stream, in a recovery.
const STREAMING: u64 = 60_000;
/// The same where it was merely started.
const FIRST_LOOK: u64 = 5_000;
/// Until the pool must show what it was asked for.
const ATTACH: u64 = 30_000;
/// Until a server must answer after its start.
const START: u64 = 60_000;
/// Between two questions while something is waited for.
const ASK: u64 = 200;

/// What a step did.
enum Did {
    /// Its goal holds.
    Done,
    /// It waits.
    Wait,
    /// It failed, and why.
    Failed(String),
    /// A person has to do something first.
    NeedsPerson(String),
}

use Did::{Done, Failed, NeedsPerson, Wait};

fn failed(why: &str) -> Did {
    Failed(why.to_owned())
}

/// A step: its name in the tool, how long it takes (ms), and its model.
pub struct Step {
    /// As the tool names it.
    pub name: &'static str,
    takes: (u64, u64),
    /// Its failure is a warning.
    pub may_fail: bool,
    run: fn(&mut World, &mut Recovery) -> Did,
}

const fn step(
    name: &'static str,
    takes: (u64, u64),
    run: fn(&mut World, &mut Recovery) -> Did,
) -> Step {
    Step {
        name,
        takes,
        may_fail: false,
        run,
    }
}

const fn may_fail(step: Step) -> Step {
    Step {
        may_fail: true,
        ..step
    }
}

const ASK_PRIMARY: Step = step("recover.ask-primary", (10, 100), ask_primary);
const LOCK: Step = step("recover.lock", (5, 40), lock);
const SLOT: Step = step("recover.slot", (5, 30), primary_answers);
const SETTINGS: Step = step("recover.settings", (5, 40), settings);
const START_IT: Step = step("recover.start", (50, 300), start);
const STREAM: Step = step("recover.streaming", (50, 300), streaming);
const SYNC: Step = step("recover.sync", (10, 100), sync);
const ATTACH_IT: Step = step("recover.attach", (10, 100), attach);
const ATTACH_ELSEWHERE: Step = step("recover.attach-elsewhere", (10, 100), attach_elsewhere);
const PRIMARY_SYNC: Step = step("primary.sync", (10, 100), primary_sync);
const PRIMARY_VIP: Step = step("primary.vip", (10, 600), primary_vip);
const FORGET: Step = step("primary.forget", (5, 20), forget);

/// A recovery.
pub const RECOVER: [Step; 23] = [
    ASK_PRIMARY,
    step("recover.can", (10, 200), can),
    LOCK,
    step("recover.detach", (10, 100), detach),
    step("recover.stop", (100, 2_000), stop),
    step("recover.clean", (50, 4_000), clean),
    SLOT,
    step("recover.checkpoint", (10, 1_000), checkpoint),
    step("recover.keep", (20, 500), yields),
    step("recover.mark", (5, 40), mark),
    step("recover.rewind", (300, 15_000), rewind),
    step("recover.copy", (5, 20), copy),
    step("recover.files", (5, 40), nothing),
    SETTINGS,
    step("recover.pid-file", (1, 5), nothing),
    step("recover.drop-slots", (1, 5), nothing),
    START_IT,
    may_fail(step("recover.make-slots", (1, 5), nothing)),
    STREAM,
    SYNC,
    ATTACH_IT,
    may_fail(ATTACH_ELSEWHERE),
    step("recover.done", (5, 20), done),
];
/// A primary that is cut off.
pub const SELF_FENCE: [Step; 2] = [
    may_fail(step("self-fence.vip-off", (5, 100), vip_off)),
    step("self-fence.stop", (50, 2_000), self_fence),
];
/// A primary, each minute.
pub const KEEP_PRIMARY: [Step; 4] = [
    PRIMARY_SYNC,
    FORGET,
    PRIMARY_VIP,
    may_fail(ATTACH_ELSEWHERE),
];
/// One that is not the primary any more.
pub const STOP_WRONG: [Step; 5] = [
    ASK_PRIMARY,
    LOCK,
    may_fail(step("wrong-primary.vip-off", (5, 100), vip_off)),
    step("wrong-primary.stop", (50, 2_000), stop),
    may_fail(step("wrong-primary.announce", (50, 300), nothing)),
];
/// A standby that follows another host.
pub const FOLLOW: [Step; 9] = [
    ASK_PRIMARY,
    LOCK,
    SLOT,
    SETTINGS,
    step("follow.reload", (10, 100), follow),
    STREAM,
    SYNC,
    ATTACH_IT,
    may_fail(ATTACH_ELSEWHERE),
];
/// A standby that is down.
pub const START_STANDBY: [Step; 5] = [
    LOCK,
    step("start.files", (5, 20), nothing),
    may_fail(SETTINGS),
    START_IT,
    may_fail(step("start.streaming", (50, 300), first_look)),
];
/// A standby that is down, without a primary.
pub const START_ALONE: [Step; 3] = [LOCK, step("start.files", (5, 20), nothing), START_IT];
/// A failover that came to nothing.
pub const FAIL_OVER: [Step; 1] = [step("failover.again", (20, 100), fail_over)];
/// A standby that the pool has as its primary.
pub const DETACH: [Step; 1] = [step("failover.detach", (20, 100), detach_self)];
/// A standby that streams.
pub const REJOIN: [Step; 4] = [ASK_PRIMARY, SYNC, ATTACH_IT, ATTACH_ELSEWHERE];
/// A standby that waits.
pub const WAIT: [Step; 2] = [SLOT, may_fail(step("wait.reload", (10, 50), reload))];
/// A primary that the pool has given up.
pub const SHOW_PRIMARY: [Step; 5] = [
    LOCK,
    PRIMARY_SYNC,
    PRIMARY_VIP,
    step("take-over.attach", (10, 100), attach_self),
    FORGET,
];
/// The last primary.
pub const TAKE_OVER: [Step; 6] = [
    LOCK,
    step("take-over.look", (100, 500), see_no_other),
    PRIMARY_SYNC,
    PRIMARY_VIP,
    step("take-over.attach", (10, 100), attach_self),
    FORGET,
];
/// The same, from its start.
pub const TAKE_OVER_START: [Step; 9] = [
    LOCK,
    step("take-over.look", (100, 500), see_no_other),
    step("take-over.unfence", (5, 40), unfence),
    step("take-over.start", (50, 300), start),
    step("take-over.confirm", (100, 500), confirm),
    PRIMARY_SYNC,
    PRIMARY_VIP,
    step("take-over.attach", (10, 100), attach_self),
    FORGET,
];

/// The steps of an action.
pub fn steps(action: Action) -> &'static [Step] {
    match action {
        Action::Nothing | Action::Refuse | Action::NeedsPerson => &[],
        Action::SelfFence => &SELF_FENCE,
        Action::KeepPrimary => &KEEP_PRIMARY,
        Action::StopWrongPrimary { .. } => &STOP_WRONG,
        Action::Recover { .. } => &RECOVER,
        Action::Follow { .. } => &FOLLOW,
        Action::Start { .. } => &START_STANDBY,
        Action::Rejoin { .. } => &REJOIN,
        Action::StartStandby => &START_ALONE,
        Action::FailOver { .. } => &FAIL_OVER,
        Action::Detach => &DETACH,
        Action::Wait { .. } => &WAIT,
        Action::ShowPrimary => &SHOW_PRIMARY,
        Action::TakeOver { start: false } => &TAKE_OVER,
        Action::TakeOver { start: true } => &TAKE_OVER_START,
    }
}

#[derive(Debug)]
enum Phase {
    Begin,
    Pool,
    See,
    Decide,
    Look(Look),
    Act(usize),
}

/// A run.
#[derive(Debug)]
pub struct Recovery {
    host: usize,
    phase: Phase,
    /// When this phase or step began.
    since: u64,
    /// How long the last look has taken (ms).
    waited: u64,
    force: bool,
    network: bool,
    pool: Option<Table>,
    view: Option<View>,
    action: Action,
    before: Option<Action>,
    round: usize,
    /// The host to follow; this one where it is the primary.
    primary: usize,
    stopped_standby: bool,
    copies: bool,
    asked: bool,
    child: Option<usize>,
    said: Option<Said>,
}

impl Recovery {
    /// A run on a host.
    pub fn new(host: usize) -> Self {
        Self {
            host,
            phase: Phase::Begin,
            since: 0,
            waited: 0,
            force: false,
            network: false,
            pool: None,
            view: None,
            action: Action::Nothing,
            before: None,
            round: 0,
            primary: host,
            stopped_standby: false,
            copies: false,
            asked: false,
            child: None,
            said: None,
        }
    }

    /// The next step. What a run has said counts when it has ended.
    pub fn step(&mut self, world: &mut World, me: usize) -> Flow {
        let flow = self.go(world, me);
        if flow == Flow::End {
            world.hosts[self.host].said = self.said.take();
        }
        flow
    }

    fn go(&mut self, world: &mut World, me: usize) -> Flow {
        if self.since == 0 {
            self.since = world.now;
        }
        match self.phase {
            Phase::Begin => self.begin(world),
            Phase::Pool => self.ask_pool(world),
            Phase::See => self.see(world),
            Phase::Decide => self.decide(world, me),
            Phase::Look(look) => {
                if let Some(view) = &mut self.view {
                    look::look(world, self.host, look, view, self.pool.as_ref());
                    if self.waited >= LATE {
                        view.me = look::status(world, self.host);
                    }
                }
                self.go_on(Phase::Decide, 1)
            }
            Phase::Act(at) => self.act(world, me, at),
        }
    }

    fn go_on(&mut self, phase: Phase, delay: u64) -> Flow {
        self.phase = phase;
        self.since = 0;
        Flow::After(delay)
    }

    /// The trust IP.
    fn begin(&mut self, world: &mut World) -> Flow {
        self.network = world.gateway(self.host);
        if !self.network && world.now < self.since + 2_000 {
            return Flow::After(200);
        }
        self.unbar(world);
        self.force = std::mem::take(&mut world.hosts[self.host].force);
        self.go_on(Phase::Pool, 10)
    }

    /// The pool, which lets its clients wait for a while.
    fn ask_pool(&mut self, world: &mut World) -> Flow {
        self.pool = look::pool(world, self.host);
        let patience = if self.network { 5_000 } else { 2_000 };
        if self.pool.is_none() && world.now < self.since + patience {
            return Flow::After(250);
        }
        self.go_on(Phase::See, 30)
    }

    fn see(&mut self, world: &mut World) -> Flow {
        let pool = self.pool.as_ref();
        let view = look::view(world, self.host, self.force, self.network, pool);
        self.view = Some(view);
        self.go_on(Phase::Decide, 1)
    }

    fn decide(&mut self, world: &mut World, me: usize) -> Flow {
        let Some(view) = &self.view else {
            return Flow::End;
        };
        match decide_without(view, &world.options.out()) {
            Decision::Look(look) => {
                self.waited = look::takes(world, self.host, look);
                self.go_on(Phase::Look(look), self.waited)
            }
            Decision::Do(verdict) => self.begin_acting(world, me, verdict),
        }
    }

    fn say(&mut self, world: &mut World, action: Option<Action>, why: &str) {
        let new = world.hosts[self.host].said.as_ref().map(|it| &it.why) != Some(&why.to_owned());
        if new {
            world.tell(|_| format!("{}: {action:?}: {why}", name(self.host)));
        }
        self.said = Some(Said {
            at: world.now,
            action,
            why: why.to_owned(),
        });
    }

    fn begin_acting(&mut self, world: &mut World, me: usize, verdict: Verdict) -> Flow {
        if self.before == Some(verdict.action) || self.round >= ROUNDS {
            self.say(
                world,
                None,
                "what was done changed nothing that can be seen",
            );
            return Flow::End;
        }
        self.say(world, Some(verdict.action), &verdict.why);
        world.hosts[self.host].state.undecided |= verdict.undecided;
        self.action = verdict.action;
        self.primary = verdict.action.follows().map_or(self.host, host_of);
        if matches!(self.action, Action::Follow { .. })
            && let Some(view) = &self.view
        {
            let seen = view.me.position().0;
            crate::check::pointed(world, self.host, seen, self.primary);
        }
        self.drop_vip(world);
        self.remember_consent(world);
        let _ = me;
        self.next(world, 0)
    }

    /// A node that is no primary must not have the VIP.
    fn drop_vip(&self, world: &mut World) {
        let paused = world.hosts[self.host].state.paused;
        let free = world.hosts[self.host].instance_lock.is_none();
        let must = |world: &World| must_drop_vip(&look::status(world, self.host));
        let saw = self.view.as_ref().is_some_and(|it| must_drop_vip(&it.me));
        if !paused && saw && free && must(world) {
            world.hosts[self.host].vip = false;
        }
    }

    fn remember_consent(&mut self, world: &mut World) {
        let Some(view) = &self.view else { return };
        let recovers = matches!(
            self.action,
            Action::Recover { .. } | Action::StopWrongPrimary { recover: true, .. }
        );
        let (mine, theirs) = (
            world.db(self.host).at.branch,
            world.db(self.primary).at.branch,
        );
        if recovers && self.force && world.wal.timeline(mine) > world.wal.timeline(theirs) {
            // A person keeps an old primary, whatever a failover has made of its standbys.
            world.wal.is_mistake(theirs);
        }
        let primary = ip(self.primary);
        let (following, anew) = (
            view.left
                .as_ref()
                .is_some_and(|it| it.stage == Stage::Following),
            !goes_on(view),
        );
        let stage = begins_anew_at(view);
        let left = &mut world.hosts[self.host].state.left;
        if recovers {
            if let Some(it) = left.as_mut().filter(|_| following && anew) {
                it.stage = stage;
            }
            left.get_or_insert(Left::of(primary)).follow(primary);
        }
        let streams = view.me.in_recovery == Some(true)
            && matches!(
                self.action,
                Action::Nothing | Action::Follow { .. } | Action::Rejoin { .. }
            );
        if streams && view.paused.is_none() {
            left.take_if(|it| it.stage == Stage::Preparing);
            world.hosts[self.host].state.fenced = None;
            world.hosts[self.host].state.fenced_truly = false;
        }
    }

    /// Goes to the step of this number, or on after the last.
    fn next(&mut self, world: &mut World, at: usize) -> Flow {
        self.asked = false;
        match steps(self.action).get(at) {
            Some(step) => {
                let delay = world.rng.delay(step.takes.0, step.takes.1);
                self.go_on(Phase::Act(at), delay)
            }
            None => self.finish(world),
        }
    }

    fn finish(&mut self, world: &mut World) -> Flow {
        match self.action {
            Action::Start { .. } | Action::StopWrongPrimary { .. } => {
                let id = world.hosts[self.host].run_lock;
                if world.hosts[self.host].instance_lock == id {
                    world.hosts[self.host].instance_lock = None;
                }
                self.before = Some(self.action);
                self.round += 1;
                self.go_on(Phase::Pool, 10)
            }
            _ => Flow::End,
        }
    }

    fn act(&mut self, world: &mut World, me: usize, at: usize) -> Flow {
        let Some(step) = steps(self.action).get(at) else {
            return Flow::End;
        };
        match (step.run)(world, self) {
            Done => {
                if step.name == "recover.lock" {
                    world.hosts[self.host].instance_lock = Some(me);
                }
                self.next(world, at + 1)
            }
            Wait => Flow::After(ASK),
            Failed(why) | NeedsPerson(why) if step.may_fail => {
                world.tell(|_| format!("{}: {} failed: {why}", name(self.host), step.name));
                self.next(world, at + 1)
            }
            Failed(why) => {
                world.tell(|_| format!("{}: {} failed: {why}", name(self.host), step.name));
                self.say(world, None, &why);
                self.let_go(world);
                Flow::End
            }
            NeedsPerson(why) => {
                self.say(world, Some(Action::NeedsPerson), &why);
                self.let_go(world);
                Flow::End
            }
        }
    }

    /// A data directory that is whole, and would not start as a second primary, may be started by whoever
    /// wants to.
    fn unbar(&self, world: &mut World) {
        let naked = self.stage(world) == Stage::Following && world.db(self.host).settings.is_none();
        if !naked && !look::is_half(world, self.host) {
            world.db_mut(self.host).barred = false;
        }
    }

    /// A standby that was stopped for a recovery that cannot go on is started again.
    fn let_go(&self, world: &mut World) {
        self.unbar(world);
        let whole = self.stage(world) == Stage::Preparing && !look::is_half(world, self.host);
        if self.stopped_standby && whole && world.db(self.host).role == Role::Down {
            world.start_server(self.host);
        }
    }

    fn stage(&self, world: &World) -> Stage {
        let left = &world.hosts[self.host].state.left;
        left.as_ref().map_or(Stage::Preparing, |it| it.stage)
    }

    fn waited(&self, world: &World, limit: u64) -> bool {
        world.now >= self.since + limit
    }

    /// The primary is one, as far as it answers.
    fn primary_history(&self, world: &World) -> Result<Option<History>, String> {
        match look::primary(world, self.host, self.primary) {
            Ok(it) if it.in_recovery => Err("the primary is in recovery".to_owned()),
            Ok(it) => Ok(it.history),
            Err(why) => Err(format!("the primary does not answer: {why}")),
        }
    }
}

fn nothing(_: &mut World, _: &mut Recovery) -> Did {
    Done
}

/// A promotion that wants this node has it, until the mark.
fn yields(world: &mut World, run: &mut Recovery) -> Did {
    match world.instance_is_wanted(run.host) {
        true => failed("a promotion of this node is wanted"),
        false => Done,
    }
}

fn primary_answers(world: &mut World, run: &mut Recovery) -> Did {
    match (
        world.instance_is_wanted(run.host),
        run.primary_history(world),
    ) {
        (true, _) => failed("a promotion of this node is wanted"),
        (_, Err(why)) => Failed(why),
        (_, Ok(_)) => Done,
    }
}

/// The primary answers and is one, and the pool still names it.
fn ask_primary(world: &mut World, run: &mut Recovery) -> Did {
    if let Err(why) = run.primary_history(world) {
        return Failed(why);
    }
    let proved = run.view.as_ref().is_some_and(|it| it.rival.is_some());
    match look::pool(world, run.host).and_then(|it| it.primary) {
        Some(it) if it == run.primary => Done,
        None if proved => Done,
        Some(it) if proved && it == run.host => Done,
        named => Failed(format!("the pool has {named:?} as its primary")),
    }
}

/// Whether a rewind can work: timelines of one number are seen to differ where they begin elsewhere.
fn can(world: &mut World, run: &mut Recovery) -> Did {
    let stage = run.stage(world);
    if stage == Stage::Following {
        return Done;
    }
    let theirs = match run.primary_history(world) {
        Ok(Some(theirs)) => theirs,
        Ok(None) => return failed("the primary's history cannot be read"),
        Err(why) => return Failed(why),
    };
    let left = world.hosts[run.host].state.left.as_ref();
    let obstacle = match (stage, left) {
        (Stage::Rewinding, Some(left)) => {
            (!left.can_go_on_from(ip(run.primary), theirs.timeline())).then_some("another source")
        }
        _ => has_same_number(world, run, &theirs).then_some(SAME_NUMBER),
    };
    match obstacle {
        None => Done,
        Some(_) if world.setup.may_copy => {
            run.copies = true;
            Done
        }
        Some(why) => NeedsPerson(format!(
            "this node cannot be rewound: {why}; set REWIND_FALLBACK=basebackup"
        )),
    }
}

const SAME_NUMBER: &str = "two timelines of one number";

/// Both were promoted, each to a timeline of its own that has the number of the other's.
fn has_same_number(world: &World, run: &Recovery, theirs: &History) -> bool {
    let own = world.wal.history(world.db(run.host).at.branch);
    let same =
        |own: History| own.timeline() == theirs.timeline() && own.fork_with(theirs).is_some();
    let answer = look::primary(world, run.host, run.primary);
    answer.is_ok_and(|it| it.parts_at.is_some()) || own.is_some_and(same)
}

/// The primary's control file has its timeline. Until its server was stopped this node may have got a
/// timeline that the look before did not see.
fn checkpoint(world: &mut World, run: &mut Recovery) -> Did {
    let did = primary_answers(world, run);
    if !matches!(did, Done) || run.copies || run.stage(world) != Stage::Preparing {
        return did;
    }
    match run.primary_history(world) {
        Ok(Some(theirs)) if !has_same_number(world, run, &theirs) => Done,
        Ok(Some(_)) if world.setup.may_copy => failed("the next run copies the primary"),
        Ok(Some(_)) => NeedsPerson(format!(
            "this node cannot be rewound: {SAME_NUMBER}; set REWIND_FALLBACK=basebackup"
        )),
        Ok(None) => failed("the primary's history cannot be read"),
        Err(why) => Failed(why),
    }
}

/// The instance lock; the instance is still as it was.
fn lock(world: &mut World, run: &mut Recovery) -> Did {
    if world.hosts[run.host].instance_lock.is_some() {
        return failed("a promotion of this node has begun");
    }
    let now = look::status(world, run.host);
    let seen = run
        .view
        .as_ref()
        .map(|it| (it.me.running, it.me.in_recovery));
    let view = look::view(world, run.host, false, true, None);
    let before = run.view.as_ref().is_some_and(|it| it.held.is_some());
    if view.held.is_some() && !before && world.options.held {
        return failed("a failover holds this standby since it was looked at");
    }
    match seen == Some((now.running, now.in_recovery)) {
        true => Done,
        false => failed("this node's database has changed"),
    }
}

fn is_started(world: &World, run: &Recovery) -> bool {
    let role = world.db(run.host).role;
    matches!(role, Role::Standby | Role::Starting) && run.stage(world) == Stage::Following
}

fn detach(world: &mut World, run: &mut Recovery) -> Did {
    if world.instance_is_wanted(run.host) {
        return failed("a promotion of this node is wanted");
    }
    if is_started(world, run) {
        return Done;
    }
    match look::pool(world, run.host) {
        Some(table) if !table.up[run.host] => Done,
        Some(table) if !run.asked => {
            run.asked = true;
            Pool::order(world, Some(table.at), run.host, Request::Detach(run.host));
            Wait
        }
        _ if run.waited(world, ATTACH) => failed("the pool does not show it detached"),
        _ => Wait,
    }
}

fn stop(world: &mut World, run: &mut Recovery) -> Did {
    if world.instance_is_wanted(run.host) {
        return failed("a promotion of this node is wanted");
    }
    if is_started(world, run) {
        return Done;
    }
    let recovers = matches!(run.action, Action::Recover { .. });
    let settings = matches!(world.db(run.host).settings, Some(Named::Host(_)));
    let consent = run.force || settings;
    let ran = run
        .view
        .as_ref()
        .is_some_and(|it| it.me.in_recovery == Some(false));
    crate::check::stopped(world, run.host, consent || !recovers || !ran);
    run.stopped_standby |= world.db(run.host).role == Role::Standby;
    world.db_mut(run.host).barred = recovers;
    world.stop_server(run.host, true);
    Done
}

/// Crash recovery of what was a primary; what was a standby is started and stopped.
fn clean(world: &mut World, run: &mut Recovery) -> Did {
    if world.instance_is_wanted(run.host) {
        return failed("a promotion of this node is wanted");
    }
    if run.copies || run.stage(world) != Stage::Preparing {
        return Done;
    }
    let db = world.db_mut(run.host);
    db.control = match db.control {
        Control::Production | Control::ShutDown => Control::ShutDown,
        Control::Recovery | Control::ShutDownRecovery => Control::ShutDownRecovery,
    };
    Done
}

fn mark(world: &mut World, run: &mut Recovery) -> Did {
    if world.instance_is_wanted(run.host) {
        return failed("a promotion of this node is wanted");
    }
    if run.copies || run.stage(world) != Stage::Preparing {
        return Done;
    }
    let timeline = match run.primary_history(world) {
        Ok(history) => history.map(|it| it.timeline()),
        Err(why) => return Failed(why),
    };
    let primary = ip(run.primary);
    let left = &mut world.hosts[run.host].state.left;
    let left = left.get_or_insert(Left::of(primary));
    left.mark(timeline, None);
    Done
}

/// The rewind compares numbers, as the program does; what it brings is the truth.
fn rewind(world: &mut World, run: &mut Recovery) -> Did {
    if run.copies || run.stage(world) == Stage::Following {
        return Done;
    }
    if world.db(run.host).role != Role::Down {
        return failed("the server runs: somebody has started it");
    }
    let theirs = match run.primary_history(world) {
        Ok(Some(theirs)) => theirs,
        Ok(None) => return failed("the primary's history cannot be read"),
        Err(why) => {
            if let Some(left) = &mut world.hosts[run.host].state.left {
                left.failures += 1;
            }
            world.db_mut(run.host).half = true;
            return Failed(why);
        }
    };
    let (mine, source) = (world.db(run.host).at, world.db(run.primary).at);
    let own = world.wal.history(mine.branch);
    let fork = own.as_ref().and_then(|own| own.fork_with(&theirs));
    let behind = fork.is_none_or(|(_, at)| mine.lsn <= at.0);
    let half = world.db(run.host).half;
    if half || !behind {
        let db = world.db_mut(run.host);
        (db.at, db.sync_names, db.unstarted) = (source, false, true);
        // The primary has none, and what it does not have is removed: those of a fence take their place.
        db.settings = Some(Named::Fence);
    }
    world.tell(|w| format!("{}: rewound, {:?}", name(run.host), w.db(run.host).at));
    let db = world.db_mut(run.host);
    db.half = false;
    db.control = Control::ShutDownRecovery;
    let state = &mut world.hosts[run.host].state;
    // What the mark was about is gone.
    state.fenced = None;
    state.fenced_truly = false;
    if let Some(left) = &mut state.left {
        left.stage = Stage::Following;
    }
    Done
}

fn copy(world: &mut World, run: &mut Recovery) -> Did {
    if !run.copies || run.stage(world) == Stage::Following {
        return Done;
    }
    if let Err(why) = run.primary_history(world) {
        return Failed(why);
    }
    if !run.asked {
        run.asked = true;
        return Wait;
    }
    let source = world.db(run.primary).at;
    let db = world.db_mut(run.host);
    (db.at, db.half, db.sync_names, db.unstarted) = (source, false, false, true);
    db.settings = None;
    db.control = Control::ShutDownRecovery;
    let primary = ip(run.primary);
    let state = &mut world.hosts[run.host].state;
    state.fenced = None;
    state.fenced_truly = false;
    let left = state.left.get_or_insert(Left::of(primary));
    left.stage = Stage::Following;
    left.primary = primary;
    Done
}

fn settings(world: &mut World, run: &mut Recovery) -> Did {
    world.db_mut(run.host).settings = Some(Named::Host(run.primary));
    Done
}

/// Starts the server, and waits until it answers.
fn start(world: &mut World, run: &mut Recovery) -> Did {
    match world.db(run.host).role {
        Role::Standby | Role::Primary => {
            run.stopped_standby = false;
            // Somebody may have started it before its settings were there.
            if run.primary != run.host {
                reload(world, run);
            }
            // From here on a promotion may have it.
            if run.primary != run.host || run.action == Action::StartStandby {
                world.hosts[run.host].instance_lock = None;
            }
            Done
        }
        Role::Starting if run.waited(world, START) => failed("it does not answer"),
        Role::Starting => Wait,
        Role::Down if run.asked => failed("it ended again at its start"),
        Role::Down => {
            if look::is_half(world, run.host) {
                return failed("the data directory is half of another history");
            }
            let standby = run.primary != run.host || run.action == Action::StartStandby;
            if standby && world.db(run.host).settings.is_none() {
                return failed("its standby settings are missing");
            }
            if is_held_since(world, run) {
                return failed("a failover has told this node not to listen to it");
            }
            run.asked = true;
            world.start_server(run.host);
            Wait
        }
    }
}

fn is_held_since(world: &World, run: &Recovery) -> bool {
    let follows = run.primary != run.host && run.action != Action::StartStandby;
    let theirs = world.timeline(run.primary);
    let held = world.hosts[run.host].state.held;
    follows
        && world.options.leaves_word
        && held.is_some_and(|it| world.now - it.at < look::MARK && it.newer > theirs)
}

fn streaming(world: &mut World, run: &mut Recovery) -> Did {
    wait_for_stream(world, run, STREAMING)
}

fn first_look(world: &mut World, run: &mut Recovery) -> Did {
    wait_for_stream(world, run, FIRST_LOOK)
}

fn wait_for_stream(world: &mut World, run: &mut Recovery, limit: u64) -> Did {
    let theirs = match run.primary_history(world) {
        Ok(history) if world.streams_from(run.host, run.primary) => {
            let _ = history;
            return Done;
        }
        Ok(history) => history,
        Err(why) if run.waited(world, limit) => return Failed(why),
        Err(_) => None,
    };
    match world.db(run.host).role {
        Role::Primary => return failed("this node was promoted"),
        Role::Down => return failed("the database has ended"),
        Role::Standby | Role::Starting => {}
    }
    if let Err(why) = still_follows(world, run, theirs.as_ref()) {
        return Failed(why);
    }
    match run.waited(world, limit) {
        true => failed("this node does not stream"),
        false => Wait,
    }
}

/// The primary's commits wait for a standby again.
fn sync(world: &mut World, run: &mut Recovery) -> Did {
    match look::primary(world, run.host, run.primary) {
        Ok(primary) if world.setup.sync => {
            if !primary.is_synchronous() && !primary.standbys.is_empty() {
                world.tell(|_| format!("{}: synchronous", name(run.primary)));
                world.db_mut(run.primary).sync_names = true;
            }
            Done
        }
        Ok(_) => Done,
        Err(why) => Failed(why),
    }
}

fn attach(world: &mut World, run: &mut Recovery) -> Did {
    match look::pool(world, run.host) {
        Some(table) if table.up[run.host] => Done,
        Some(table) if !run.asked => {
            run.asked = true;
            Pool::order(world, Some(table.at), run.host, Request::Attach(run.host));
            Wait
        }
        _ if run.waited(world, ATTACH) => failed("the pool does not show it up"),
        _ => Wait,
    }
}

fn attach_elsewhere(world: &mut World, run: &mut Recovery) -> Did {
    let asked = run.pool.as_ref().map(|it| it.at);
    for pool in Pool::down_at(world, run.host, asked) {
        if run.primary == run.host
            && let Failed(why) = see_no_other(world, run)
        {
            return Failed(why);
        }
        Pool::attach_at(world, run.host, pool);
    }
    Done
}

fn done(world: &mut World, run: &mut Recovery) -> Did {
    let state = &mut world.hosts[run.host].state;
    state.left = None;
    state.fenced = None;
    state.fenced_truly = false;
    state.self_fenced = false;
    state.undecided = false;
    Done
}

fn vip_off(world: &mut World, run: &mut Recovery) -> Did {
    world.hosts[run.host].vip = false;
    Done
}

fn self_fence(world: &mut World, run: &mut Recovery) -> Did {
    world.hosts[run.host].state.self_fenced = true;
    world.stop_server(run.host, true);
    Done
}

/// What it has is still a part of the primary's history.
fn still_follows(
    world: &mut World,
    run: &Recovery,
    theirs: Option<&History>,
) -> Result<(), String> {
    let at = world.db(run.host).at;
    let timeline = world.wal.timeline(at.branch);
    let standing = theirs.map(|it| it.standing(timeline, crate::wal::lsn(at)));
    if !matches!(standing, Some(Standing::Left { .. } | Standing::Foreign)) {
        return Ok(());
    }
    if let Some(left) = &mut world.hosts[run.host].state.left {
        left.stage = Stage::Preparing;
    }
    Err("this node has left the primary's history".to_owned())
}

/// Since it was looked at it may have got WAL from the old primary, fenced and started as a standby.
fn follow(world: &mut World, run: &mut Recovery) -> Did {
    let theirs = match run.primary_history(world) {
        Ok(history) => history,
        Err(why) => return Failed(why),
    };
    if let Err(why) = still_follows(world, run, theirs.as_ref()) {
        return Failed(why);
    }
    let at = world.db(run.host).at.lsn;
    crate::check::pointed(world, run.host, at, run.primary);
    reload(world, run)
}

fn reload(world: &mut World, run: &mut Recovery) -> Did {
    let db = world.db_mut(run.host);
    if db.role == Role::Standby
        && let Some(settings) = db.settings
    {
        if db.loaded != settings.host() {
            db.stream = None;
        }
        db.loaded = settings.host();
    }
    let me = world.hosts[run.host].run_lock;
    if world.hosts[run.host].instance_lock == me {
        world.hosts[run.host].instance_lock = None;
    }
    Done
}

/// Commits wait for a standby that has caught up, and for none where none streams.
fn primary_sync(world: &mut World, run: &mut Recovery) -> Did {
    let host = run.host;
    if world.db(host).role != Role::Primary {
        return failed("this node is no primary");
    }
    let streams = world.databases().any(|it| world.streams_from(it, host));
    let names = world.db(host).sync_names;
    match (names, streams) {
        (true, false) if world.setup.degrade == SyncDegrade::Always => {
            if !run.waited(world, 2_000) {
                return Wait;
            }
            world.tell(|_| format!("{}: asynchronous", name(host)));
            world.db_mut(host).sync_names = false;
        }
        (false, true) if world.setup.sync => {
            world.tell(|_| format!("{}: synchronous", name(host)));
            world.db_mut(host).sync_names = true;
        }
        _ => {}
    }
    Done
}

fn primary_vip(world: &mut World, run: &mut Recovery) -> Did {
    let host = run.host;
    if !world.setup.has_vip || world.hosts[host].vip {
        return Done;
    }
    if let Some(other) = world.vip_elsewhere(host) {
        return NeedsPerson(format!(
            "this is the primary, and {} answers for the database VIP: take it off there",
            name(other)
        ));
    }
    if world.db(host).role != Role::Primary {
        return failed("this node is no primary");
    }
    if world.hosts[host].obstacle == Some(Obstacle::NoDevice) {
        return failed("DEV: no such device");
    }
    world.hosts[host].vip = true;
    Done
}

fn forget(world: &mut World, run: &mut Recovery) -> Did {
    let view = look::view(world, run.host, false, true, None);
    if view.fenced.is_some_and(|it| it.young) {
        return failed("a failover stops this node's primary");
    }
    no_settings_of_a_fence(world, run.host);
    let state = &mut world.hosts[run.host].state;
    state.left = None;
    state.self_fenced = false;
    state.fenced = None;
    state.fenced_truly = false;
    Done
}

/// The mark of a failover that promoted nobody is taken back.
fn unfence(world: &mut World, run: &mut Recovery) -> Did {
    let view = look::view(world, run.host, false, true, None);
    if view.fenced.is_some_and(|it| it.young) {
        return failed("a failover has stopped this node's primary");
    }
    no_settings_of_a_fence(world, run.host);
    Done
}

fn no_settings_of_a_fence(world: &mut World, host: usize) {
    let settings = &mut world.db_mut(host).settings;
    settings.take_if(|it| *it == Named::Fence);
}

/// No other host is a primary or becomes one.
fn see_no_other(world: &mut World, run: &mut Recovery) -> Did {
    for other in world.databases().filter(|it| *it != run.host) {
        match look::status_of(world, run.host, other) {
            Err(why) => return Failed(why),
            Ok(it) if it.in_recovery == Some(false) || it.in_work => {
                return failed("another is a primary, or becomes one");
            }
            Ok(it) if it.running && it.in_recovery.is_none() => {
                return failed("another may be a primary");
            }
            Ok(_) => {}
        }
    }
    Done
}

/// The pool fails over from this node, and finds the primary that there is.
fn detach_self(world: &mut World, run: &mut Recovery) -> Did {
    let pool = run.pool.as_ref().map(|it| it.at);
    Pool::order(world, pool, run.host, Request::Detach(run.host));
    Done
}

/// The failover is run again from this host, and waited for.
fn fail_over(world: &mut World, run: &mut Recovery) -> Did {
    let Action::FailOver { old } = run.action else {
        return Done;
    };
    match run.child {
        Some(id) if world.lives(id) => Wait,
        Some(_) => Done,
        None => {
            let failover = Failover::new(run.host, host_of(old), run.host, world.now);
            run.child = Some(world.spawn(run.host, Proc::Failover(Box::new(failover)), 20));
            Wait
        }
    }
}

fn confirm(world: &mut World, run: &mut Recovery) -> Did {
    let did = see_no_other(world, run);
    if !matches!(did, Done) {
        world.stop_server(run.host, true);
    }
    did
}

fn attach_self(world: &mut World, run: &mut Recovery) -> Did {
    let Some(table) = Pool::ask_pcp(world, run.host) else {
        return Done;
    };
    if table.up[run.host] {
        if world.options.pool_search {
            Pool::look_again(world, run.host, run.host);
        }
        return Done;
    }
    if !run.asked {
        if table.primary.is_some() {
            return failed("the pool has a primary");
        }
        if let Failed(why) = see_no_other(world, run) {
            return Failed(why);
        }
        run.asked = true;
        Pool::order(world, Some(table.at), run.host, Request::Attach(run.host));
        return Wait;
    }
    match run.waited(world, ATTACH) {
        true => failed("the pool does not show it up"),
        false => Wait,
    }
}
