//! The simulated world: hosts, network, databases, and the physics between them. What tools and pools
//! do in it is in the modules of their own.

use crate::failover::{Failover, FenceJob, PromoteJob, StandbyDown};
use crate::options::Options;
use crate::plan::{Fault, Obstacle, Plan, Setup, What};
use crate::pool::{Cut, Pool, Request};
use crate::recovery::Recovery;
use crate::rng::Rng;
use crate::wal::{At, Wal};
use failover_rules::facts::left::{Claim, Recovery as Left};
use failover_rules::facts::mac::Mac;
use failover_rules::recovery::Action;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;

/// Between two steps of the physics (ms).
pub const TICK: u64 = 100;
/// A stream that gets nothing through for so long is given up (`wal_receiver_timeout`).
const STREAM_TIMEOUT: u64 = 60_000;
/// Between two attempts of a standby to connect (`wal_retrieve_retry_interval`).
const RECONNECT: u64 = 2_000;
/// WAL of a commit, and WAL that is written without one.
const COMMIT: u64 = 100;
const BACKGROUND: u64 = 8;

/// What a database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its server does not run.
    Down,
    /// It starts, and answers nobody.
    Starting,
    /// It takes writes.
    Primary,
    /// In recovery.
    Standby,
}

/// `Database cluster state` of the control file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// A primary's, running or crashed.
    Production,
    /// A primary's, stopped cleanly.
    ShutDown,
    /// A standby's, running or crashed.
    Recovery,
    /// A standby's, stopped cleanly.
    ShutDownRecovery,
}

impl Control {
    /// As the server writes it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Production => "in production",
            Self::ShutDown => "shut down",
            Self::Recovery => "in archive recovery",
            Self::ShutDownRecovery => "shut down in recovery",
        }
    }
}

/// Whom standby settings name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// This host.
    Host(usize),
    /// Nobody: it was held.
    Nobody,
    /// Nobody: a fence has left them.
    Fence,
}

impl Named {
    /// Whom a server with these settings follows.
    pub fn host(self) -> Option<usize> {
        match self {
            Self::Host(host) => Some(host),
            Self::Nobody | Self::Fence => None,
        }
    }
}

/// A stream from another host's server.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// The host it comes from.
    pub from: usize,
    /// Which of that host's servers.
    incarnation: u64,
    /// When something came.
    pub last: u64,
}

/// A database.
#[derive(Clone, Debug)]
pub struct Database {
    /// What it is.
    pub role: Role,
    /// The end of its WAL.
    pub at: At,
    /// Its control file.
    pub control: Control,
    /// Its standby settings, where it has any.
    pub settings: Option<Named>,
    /// Whom the running server follows.
    pub loaded: Option<usize>,
    /// Its WAL receiver.
    pub stream: Option<Stream>,
    /// When it tries again to connect.
    retry_at: u64,
    /// Counts its starts.
    pub incarnation: u64,
    /// `synchronous_standby_names` names the other nodes.
    pub sync_names: bool,
    /// A commit that its client waits for.
    pending: Option<At>,
    /// When it last acknowledged a commit, and which.
    pub acknowledged: Option<(u64, At)>,
    /// Its data directory is half rewound.
    pub half: bool,
    /// A rewind or a copy has brought it, and no server was started on it since.
    pub unstarted: bool,
    /// A recovery keeps every server but its own from starting on it.
    pub barred: bool,
}

/// A failover told this host not to listen to the old primary any more.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// When.
    pub at: u64,
    /// The timeline of the new primary.
    pub newer: u32,
    /// The coordinator's process.
    pub by: usize,
    /// Its settings were left as they were.
    pub word_only: bool,
    /// Whom another failover had had it follow, and that one's timeline.
    pub before: Option<(usize, u32)>,
}

/// What outlives the tools' runs.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// An operator's pause.
    pub paused: bool,
    /// A recovery under way.
    pub left: Option<Left>,
    /// This host's primary stopped itself.
    pub self_fenced: bool,
    /// This host's primary was seen beside another one, and nothing proved which was right.
    pub undecided: bool,
    /// A failover holds it.
    pub held: Option<Held>,
    /// The newest timeline that a failover has told this host of.
    pub told: u32,
    /// When a failover fenced this host's primary: the mark.
    pub fenced: Option<u64>,
    /// Whose side it is on since.
    pub claim: Option<Claim>,
    /// It did, mark or not; no tool sees this.
    pub fenced_truly: bool,
}

/// The last thing that a host's recovery said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// When.
    pub at: u64,
    /// What it did.
    pub action: Option<Action>,
    /// The sentence.
    pub why: String,
}

/// A host.
#[derive(Clone, Debug)]
pub struct Host {
    /// It has power.
    pub power: bool,
    /// It stands still.
    pub frozen: bool,
    /// Its cable is in.
    pub cable: bool,
    /// The trust IP answers it.
    pub gateway: bool,
    /// It takes logins.
    pub sshd: bool,
    /// Its database.
    pub db: Option<Database>,
    /// It has the database VIP.
    pub vip: bool,
    /// The tools' state.
    pub state: State,
    /// A run of the recovery is under way.
    pub run_lock: Option<usize>,
    /// Who changes the instance.
    pub instance_lock: Option<usize>,
    /// Until when a promotion has said that it wants the instance.
    word: u64,
    /// A person's next run is `--force`.
    pub force: bool,
    /// A person has asked its server to become a primary.
    mistake: bool,
    /// What is in the way of its standby's promotion.
    pub obstacle: Option<Obstacle>,
    /// How far its standby had replayed when the replay began to wait.
    pub replayed: u64,
    /// A promotion that its server was asked for, and has not heard of.
    asked: Option<Event>,
    /// What the last run said.
    pub said: Option<Said>,
    /// Events that wait for it to thaw.
    waiting: Vec<Event>,
}

/// A tool's process.
#[derive(Debug)]
pub enum Proc {
    /// The coordinator of a failover.
    Failover(Box<Failover>),
    /// A standby went down.
    StandbyDown(StandbyDown),
    /// The fence step on a host.
    Fence(FenceJob),
    /// The promote step on a host.
    Promote(PromoteJob),
    /// A run of the recovery.
    Recovery(Box<Recovery>),
}

/// What a process does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It goes on after so many milliseconds.
    After(u64),
    /// It has ended.
    End,
}

/// Something that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The physics.
    Tick,
    /// A tool's process goes on.
    Proc(usize),
    /// Cron's minute on a host.
    Cron(usize),
    /// A pool's second.
    Pool(usize),
    /// A fault begins.
    Begin(usize),
    /// A fault is over.
    Over(usize),
    /// A server that starts is up.
    Up(usize, u64),
    /// A server that was asked is promoted; to which timeline, if it was told.
    Promoted(usize, u64, Option<u32>),
    /// A supervisor or a boot starts the server.
    Start(usize),
}

/// Queue entry: when, in which order, what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due(u64, u64, Event);

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Everything.
pub struct World {
    /// The configuration.
    pub setup: Setup,
    /// Which mends are there.
    pub options: Options,
    faults: Vec<Fault>,
    /// Delays.
    pub rng: Rng,
    /// Milliseconds since the beginning.
    pub now: u64,
    /// All WAL that there is.
    pub wal: Wal,
    /// All hosts.
    pub hosts: Vec<Host>,
    /// `links[a][b]`: faults on the way from a to b.
    links: Vec<Vec<u32>>,
    /// Faults of the trust IP.
    gateway_down: u32,
    /// Faults that are more than a person's order.
    troubles: u32,
    /// When the last of them came or went, or an obstacle came.
    troubled: u64,
    /// All pools.
    pub pools: Vec<Pool>,
    /// All processes.
    pub procs: Vec<Option<Proc>>,
    proc_hosts: Vec<usize>,
    queue: BinaryHeap<Reverse<Due>>,
    order: u64,
    /// Of each branch, how far commits were acknowledged synchronously.
    pub acknowledged: Vec<Option<u64>>,
    /// What the physics found wrong.
    pub wrong: Option<(crate::check::Wrong, String)>,
    /// The story.
    pub trace: Vec<String>,
}

/// A host's address.
pub fn ip(host: usize) -> IpAddr {
    IpAddr::from([192, 168, 1, 101 + host as u8])
}

/// The host with this address.
pub fn host_of(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(it) => usize::from(it.octets()[3]) - 101,
        IpAddr::V6(_) => 0,
    }
}

/// A host's hardware address.
pub fn mac(host: usize) -> Mac {
    Mac([2, 0, 0, 0, 0, host as u8])
}

/// A node's name.
pub fn name(host: usize) -> String {
    format!("node{}", 101 + host)
}

impl World {
    /// A healthy cluster, in which the plan's faults are due.
    pub fn new(plan: &Plan, seed: u64, options: Options) -> Self {
        let setup = plan.setup.clone();
        let hosts = setup.hosts();
        let mut world = Self {
            options,
            faults: plan.faults.clone(),
            rng: Rng::new(seed),
            now: 0,
            wal: Wal::new(0),
            hosts: (0..hosts).map(|it| healthy(it, &setup)).collect(),
            links: vec![vec![0; hosts]; hosts],
            gateway_down: 0,
            troubles: 0,
            troubled: 0,
            pools: (0..setup.pools).map(|it| Pool::new(it, &setup)).collect(),
            procs: Vec::new(),
            proc_hosts: Vec::new(),
            queue: BinaryHeap::new(),
            order: 0,
            acknowledged: vec![None],
            wrong: None,
            trace: Vec::new(),
            setup,
        };
        world.after(TICK, Event::Tick);
        for host in 0..world.setup.databases {
            // Cron starts all of them in the same second; their work takes each its time.
            let offset = world.rng.within(0, world.setup.look_every * 1_000);
            world.after(offset, Event::Cron(host));
        }
        for pool in 0..world.setup.pools {
            let offset = world.rng.within(0, 1_000);
            world.after(offset, Event::Pool(pool));
        }
        for at in 0..world.faults.len() {
            let Fault {
                at: begin, until, ..
            } = world.faults[at];
            world.after(begin, Event::Begin(at));
            world.after(until, Event::Over(at));
        }
        world
    }

    /// Has something happen after so many milliseconds.
    pub fn after(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.queue
            .push(Reverse(Due(self.now + delay, self.order, event)));
    }

    /// Writes into the story.
    pub fn tell(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.options.trace {
            let line = format!("{:>8.3} {}", self.now as f64 / 1000.0, text(self));
            self.trace.push(line);
        }
    }

    /// Lets the next thing happen.
    pub fn step(&mut self) {
        let Some(Reverse(Due(at, _, event))) = self.queue.pop() else {
            return;
        };
        self.now = at;
        if let Some(host) = self.place(event)
            && self.hosts[host].frozen
        {
            self.hosts[host].waiting.push(event);
            return;
        }
        match event {
            Event::Tick => {
                self.physics();
                self.after(TICK, Event::Tick);
            }
            Event::Proc(id) => self.run_proc(id),
            Event::Cron(host) => self.cron(host),
            Event::Pool(pool) => {
                Pool::second(self, pool);
                self.after(1_000, Event::Pool(pool));
            }
            Event::Begin(fault) => self.begin(fault),
            Event::Over(fault) => self.over(fault),
            Event::Up(host, incarnation) => self.server_up(host, incarnation),
            Event::Promoted(host, incarnation, timeline) => {
                self.promoted(host, incarnation, timeline)
            }
            Event::Start(host) => {
                // A supervisor may give the data directory its mode back, as entry points of containers do.
                let bars = self.db(host).barred && !(self.setup.supervised && self.setup.boots);
                let whole = !self.db(host).half && !bars;
                if self.hosts[host].power && whole && self.db(host).role == Role::Down {
                    self.tell(|_| format!("{}: something starts the server", name(host)));
                    self.start_server(host);
                }
            }
        }
    }

    /// The host on which an event happens.
    fn place(&self, event: Event) -> Option<usize> {
        match event {
            Event::Proc(id) => Some(self.proc_hosts[id]),
            Event::Cron(host)
            | Event::Pool(host)
            | Event::Up(host, _)
            | Event::Promoted(host, ..)
            | Event::Start(host) => Some(host),
            Event::Tick | Event::Begin(_) | Event::Over(_) => None,
        }
    }

    // Processes.

    /// Starts a process on a host.
    pub fn spawn(&mut self, host: usize, proc: Proc, delay: u64) -> usize {
        self.procs.push(Some(proc));
        self.proc_hosts.push(host);
        let id = self.procs.len() - 1;
        self.after(delay, Event::Proc(id));
        id
    }

    fn run_proc(&mut self, id: usize) {
        let Some(mut proc) = self.procs[id].take() else {
            return;
        };
        let flow = match &mut proc {
            Proc::Failover(it) => it.step(self, id),
            Proc::StandbyDown(it) => it.step(self),
            Proc::Fence(it) => it.step(self),
            Proc::Promote(it) => it.step(self, id),
            Proc::Recovery(it) => it.step(self, id),
        };
        match flow {
            Flow::After(delay) => {
                self.procs[id] = Some(proc);
                self.after(delay, Event::Proc(id));
            }
            Flow::End => self.free_locks(id),
        }
    }

    fn free_locks(&mut self, id: usize) {
        let host = &mut self.hosts[self.proc_hosts[id]];
        if host.run_lock == Some(id) {
            host.run_lock = None;
        }
        if host.instance_lock == Some(id) {
            host.instance_lock = None;
        }
    }

    /// Whether a process is at work still.
    pub fn lives(&self, id: usize) -> bool {
        self.procs[id].is_some()
    }

    fn kill_procs(&mut self, host: usize) {
        for id in 0..self.procs.len() {
            if self.proc_hosts[id] == host && self.procs[id].is_some() {
                self.procs[id] = None;
                self.free_locks(id);
            }
        }
        self.hosts[host].word = 0;
    }

    /// A promotion leaves word that it wants a host's instance.
    pub fn want_instance(&mut self, host: usize) {
        self.hosts[host].word = self.now + 150;
    }

    /// Whether there is such a word.
    pub fn instance_is_wanted(&self, host: usize) -> bool {
        self.now < self.hosts[host].word
    }

    fn cron(&mut self, host: usize) {
        self.after(self.setup.look_every * 1_000, Event::Cron(host));
        if self.hosts[host].power && self.hosts[host].run_lock.is_none() {
            let delay = self.rng.delay(5, 60);
            let run = Proc::Recovery(Box::new(Recovery::new(host)));
            let id = self.spawn(host, run, delay);
            self.hosts[host].run_lock = Some(id);
        }
    }

    // The network.

    /// Whether what `from` sends arrives at `to`.
    pub fn arrives(&self, from: usize, to: usize) -> bool {
        let works = |host: usize| self.hosts[host].power && !self.hosts[host].frozen;
        if from == to {
            return works(from);
        }
        let cable = |host: usize| self.hosts[host].cable;
        works(from) && works(to) && cable(from) && cable(to) && self.links[from][to] == 0
    }

    /// Whether the two can talk.
    pub fn reach(&self, from: usize, to: usize) -> bool {
        self.arrives(from, to) && self.arrives(to, from)
    }

    /// Whether `from` can log in at `to`.
    pub fn login(&self, from: usize, to: usize) -> bool {
        self.reach(from, to) && (from == to || self.hosts[to].sshd)
    }

    /// Whether the trust IP answers.
    pub fn gateway(&self, host: usize) -> bool {
        let it = &self.hosts[host];
        it.power && it.cable && it.gateway && self.gateway_down == 0
    }

    /// Another host that answers for the database VIP.
    pub fn vip_elsewhere(&self, host: usize) -> Option<usize> {
        (0..self.hosts.len()).find(|it| *it != host && self.hosts[*it].vip && self.reach(host, *it))
    }

    // Databases.

    /// A host's database.
    pub fn db(&self, host: usize) -> &Database {
        match &self.hosts[host].db {
            Some(db) => db,
            None => unreachable!("host {host} has no database"),
        }
    }

    /// The same, to be changed.
    pub fn db_mut(&mut self, host: usize) -> &mut Database {
        match &mut self.hosts[host].db {
            Some(db) => db,
            None => unreachable!("host {host} has no database"),
        }
    }

    /// Hosts with a database.
    pub fn databases(&self) -> std::ops::Range<usize> {
        0..self.setup.databases
    }

    /// Whether a session of `from` gets an answer from the server on `to`.
    pub fn sql(&self, from: usize, to: usize) -> bool {
        self.reach(from, to) && self.takes_sessions(to)
    }

    /// Whether a server takes sessions.
    pub fn takes_sessions(&self, host: usize) -> bool {
        let silent = matches!(
            self.of_standby(host),
            Some(Obstacle::NoSession | Obstacle::Stopped)
        );
        matches!(self.db(host).role, Role::Primary | Role::Standby) && !silent
    }

    /// What is in the way of a standby that runs.
    pub fn of_standby(&self, host: usize) -> Option<Obstacle> {
        let standby = self.db(host).role == Role::Standby;
        self.hosts[host].obstacle.filter(|_| standby)
    }

    /// Whether nothing has gone wrong since then but what standbys had in their way already.
    pub fn was_quiet_since(&self, then: u64) -> bool {
        self.troubles == 0 && self.troubled < then
    }

    /// Whether `standby` streams from `primary`, as that one sees it.
    pub fn streams_from(&self, standby: usize, primary: usize) -> bool {
        let stream = self.db(standby).stream;
        stream
            .is_some_and(|it| it.from == primary && it.incarnation == self.db(primary).incarnation)
    }

    /// The timeline number that a host's server is on.
    pub fn timeline(&self, host: usize) -> u32 {
        self.wal.timeline(self.db(host).at.branch)
    }

    /// Starts a server; it answers after a while.
    pub fn start_server(&mut self, host: usize) {
        let delay = self.rng.delay(200, 1_500);
        let db = self.db_mut(host);
        db.role = Role::Starting;
        db.barred = false;
        db.unstarted = false;
        db.incarnation += 1;
        let incarnation = db.incarnation;
        self.after(delay, Event::Up(host, incarnation));
    }

    fn server_up(&mut self, host: usize, incarnation: u64) {
        let db = self.db_mut(host);
        if db.role != Role::Starting || db.incarnation != incarnation {
            return;
        }
        if let Some(followed) = db.settings {
            db.role = Role::Standby;
            db.control = Control::Recovery;
            db.loaded = followed.host();
            db.retry_at = 0;
            self.tell(|w| format!("{}: up as a standby of {:?}", name(host), w.db(host).loaded));
            return;
        }
        let at = db.at;
        db.role = Role::Primary;
        db.control = Control::Production;
        db.pending = None;
        if self.wal.owner(at.branch) != host {
            // A standby without its settings goes on writing the timeline that it read.
            let timeline = self.wal.timeline(at.branch);
            self.new_branch(host, timeline);
        }
        self.tell(|w| format!("{}: up as a primary at {:?}", name(host), w.db(host).at));
    }

    fn new_branch(&mut self, host: usize, timeline: u32) {
        let at = self.db(host).at;
        let branch = self.wal.fork(at, timeline, host);
        self.acknowledged.push(None);
        self.db_mut(host).at.branch = branch;
    }

    /// Asks the server to become a primary, on the next timeline or on the one that it is told.
    pub fn ask_for_promotion(&mut self, host: usize, timeline: Option<u32>) {
        let delay = self.rng.delay(60, 500);
        let incarnation = self.db(host).incarnation;
        self.after(delay, Event::Promoted(host, incarnation, timeline));
    }

    fn promoted(&mut self, host: usize, incarnation: u64, timeline: Option<u32>) {
        let db = self.db(host);
        if db.role != Role::Standby || db.incarnation != incarnation {
            return;
        }
        let busy = matches!(
            self.of_standby(host),
            Some(Obstacle::HeldUp | Obstacle::Stopped | Obstacle::FullDisk | Obstacle::Deaf)
        );
        if busy {
            self.hosts[host].asked = Some(Event::Promoted(host, incarnation, timeline));
            return;
        }
        let timeline = timeline.unwrap_or(0).max(self.timeline(host) + 1);
        self.new_branch(host, timeline);
        if std::mem::take(&mut self.hosts[host].mistake) {
            let branch = self.db(host).at.branch;
            self.wal.is_mistake(branch);
        }
        let db = self.db_mut(host);
        // The record with which a timeline begins.
        db.at.lsn += BACKGROUND;
        db.role = Role::Primary;
        db.control = Control::Production;
        db.settings = None;
        db.stream = None;
        db.pending = None;
        self.tell(|w| {
            let at = w.db(host).at;
            format!("{}: promoted, timeline {timeline}, {at:?}", name(host))
        });
    }

    /// Stops a server. A clean stop of a primary waits until its standbys have all of its WAL.
    pub fn stop_server(&mut self, host: usize, clean: bool) {
        if self.db(host).role == Role::Down {
            return;
        }
        self.tell(|_| format!("{}: server stopped (clean: {clean})", name(host)));
        if clean {
            self.stream_all();
        }
        let db = self.db_mut(host);
        db.control = match (db.role, db.control, clean) {
            (Role::Primary, _, true) => Control::ShutDown,
            (Role::Standby, _, true) => Control::ShutDownRecovery,
            (_, control, _) => control,
        };
        db.role = Role::Down;
        db.stream = None;
        db.pending = None;
        db.incarnation += 1;
        let obstacle = &mut self.hosts[host].obstacle;
        obstacle.take_if(|it| it.ends_with_the_server());
        self.forget_promotion(host);
    }

    /// Nothing is in the way any more: what the server was asked for, it does.
    pub fn clear(&mut self, host: usize) {
        self.hosts[host].obstacle = None;
        if let Some(asked) = self.hosts[host].asked.take() {
            self.after(20, asked);
        }
    }

    /// A promotion that the server has not heard of is withdrawn.
    pub fn forget_promotion(&mut self, host: usize) {
        self.hosts[host].asked = None;
    }

    /// What its supervisor does with a server that was killed or fenced.
    pub fn supervise(&mut self, host: usize) {
        if self.setup.supervised {
            let delay = self.rng.delay(100, 1_000);
            self.after(delay, Event::Start(host));
        }
    }

    // Physics.

    /// WAL goes to the standbys, commits are acknowledged, clients write.
    fn physics(&mut self) {
        self.stream_all();
        for host in self.databases() {
            if self.db(host).role == Role::Primary
                && self.hosts[host].power
                && !self.hosts[host].frozen
            {
                self.acknowledge(host);
                let db = self.db_mut(host);
                db.at.lsn += BACKGROUND;
                if db.pending.is_none() {
                    db.at.lsn += COMMIT;
                    db.pending = Some(db.at);
                }
            }
        }
        crate::check::always(self);
    }

    /// Each standby gets what its host has.
    fn stream_all(&mut self) {
        // Twice, for standbys of standbys.
        for host in self.databases().chain(self.databases()) {
            if self.db(host).role == Role::Standby
                && self.hosts[host].power
                && !self.hosts[host].frozen
                && self.hosts[host].obstacle != Some(Obstacle::Stopped)
            {
                self.stream(host);
            }
        }
    }

    fn stream(&mut self, host: usize) {
        let now = self.now;
        let db = self.db(host);
        let full = self.of_standby(host) == Some(Obstacle::FullDisk);
        let Some(from) = db.loaded.filter(|_| !full) else {
            self.db_mut(host).stream = None;
            return;
        };
        let runs = matches!(self.db(from).role, Role::Primary | Role::Standby);
        let (reach, incarnation) = (self.reach(host, from), self.db(from).incarnation);
        let at = self.db(from).at;
        let mine = db.at;
        let fits = mine == at || (self.wal.contains(at, mine));
        match db.stream {
            Some(stream) => {
                let same = stream.from == from && stream.incarnation == incarnation;
                let silent = now.saturating_sub(stream.last) > STREAM_TIMEOUT;
                let db = self.db_mut(host);
                if silent || (reach && !(same && runs && fits)) || stream.from != from {
                    db.stream = None;
                    db.retry_at = now + 100;
                } else if reach {
                    db.at = at;
                    if let Some(stream) = &mut db.stream {
                        stream.last = now;
                    }
                }
            }
            None if now >= db.retry_at => {
                let db = self.db_mut(host);
                db.retry_at = now + RECONNECT;
                if reach && runs && fits {
                    db.stream = Some(Stream {
                        from,
                        incarnation,
                        last: now,
                    });
                }
            }
            None => {}
        }
    }

    /// A commit is acknowledged when a standby has it, or at once where none is waited for.
    fn acknowledge(&mut self, host: usize) {
        let Some(row) = self.db(host).pending else {
            return;
        };
        let has = |standby: usize| {
            self.streams_from(standby, host)
                && self.reach(standby, host)
                && self.wal.contains(self.db(standby).at, row)
        };
        let names = self.db(host).sync_names;
        if names && !self.databases().any(|it| it != host && has(it)) {
            return;
        }
        if names {
            let furthest = &mut self.acknowledged[row.branch];
            *furthest = (*furthest).max(Some(row.lsn));
        }
        let now = self.now;
        let db = self.db_mut(host);
        db.pending = None;
        db.acknowledged = Some((now, row));
    }

    // Faults.

    fn begin(&mut self, fault: usize) {
        let what = self.faults[fault].what;
        self.tell(|_| format!("fault: {what:?}"));
        self.count(what, true);
        match what {
            What::Power(host) => self.power_off(host),
            What::Cable(host) => self.hosts[host].cable = false,
            What::OneWay(from, to) => self.links[from][to] += 1,
            What::Between(one, other) => {
                self.links[one][other] += 1;
                self.links[other][one] += 1;
            }
            What::Gateway => self.gateway_down += 1,
            What::GatewayOf(host) => self.hosts[host].gateway = false,
            What::Sshd(host) => self.hosts[host].sshd = false,
            What::Freeze(host) => self.hosts[host].frozen = true,
            What::KillDatabase(host) => {
                if self.db(host).role != Role::Down {
                    self.stop_server(host, false);
                    self.supervise(host);
                }
            }
            What::WrongPromote(host) => {
                if self.db(host).role == Role::Standby {
                    self.hosts[host].mistake = true;
                    self.ask_for_promotion(host, None);
                }
            }
            What::Detach(node) => Pool::order(self, None, node, Request::Detach(node)),
            What::Attach(node) => Pool::order(self, None, node, Request::Attach(node)),
            What::Force(host) => self.hosts[host].force = true,
            What::Pause(host) => self.hosts[host].state.paused = true,
            What::PoolKill(pool) => self.pools[pool].end(Cut::Killed),
            What::PoolRestart(pool) => self.pools[pool].end(Cut::Stopped),
            What::ToolKill(host) => self.kill_procs(host),
            What::Obstacle(host, obstacle) => self.obstruct(host, obstacle),
        }
    }

    /// Keeps account of what is wrong. What nobody can see before counts as trouble.
    fn count(&mut self, what: What, begins: bool) {
        let order = matches!(
            what,
            What::Detach(_) | What::Attach(_) | What::Force(_) | What::Pause(_)
        );
        let seen = matches!(what, What::Obstacle(_, it) if it != Obstacle::Deaf);
        if !order && (begins || !seen) {
            self.troubled = self.now;
        }
        if !order && !seen {
            match begins {
                true => self.troubles += 1,
                false => self.troubles -= 1,
            }
        }
    }

    fn obstruct(&mut self, host: usize, obstacle: Obstacle) {
        if self.db(host).role != Role::Standby || self.hosts[host].obstacle.is_some() {
            return;
        }
        if obstacle != Obstacle::HalfRewound {
            self.hosts[host].obstacle = Some(obstacle);
            self.hosts[host].replayed = self.db(host).at.lsn;
            return;
        }
        // As a rewind leaves it that was killed.
        if let Some(primary) = self.db(host).loaded {
            self.kill_procs(host);
            let left = &mut self.hosts[host].state.left;
            let left = left.get_or_insert(Left::of(ip(primary)));
            left.mark(None, None);
            self.stop_server(host, true);
            self.db_mut(host).half = true;
        }
    }

    fn over(&mut self, fault: usize) {
        let what = self.faults[fault].what;
        self.tell(|_| format!("over: {what:?}"));
        self.count(what, false);
        match what {
            What::Power(host) => self.power_on(host),
            What::Cable(host) => self.hosts[host].cable = true,
            What::OneWay(from, to) => self.links[from][to] -= 1,
            What::Between(one, other) => {
                self.links[one][other] -= 1;
                self.links[other][one] -= 1;
            }
            What::Gateway => self.gateway_down -= 1,
            What::GatewayOf(host) => self.hosts[host].gateway = true,
            What::Sshd(host) => self.hosts[host].sshd = true,
            What::Freeze(host) => self.thaw(host),
            What::Pause(host) => self.hosts[host].state.paused = false,
            What::PoolKill(pool) | What::PoolRestart(pool) => {
                if self.hosts[pool].power {
                    Pool::start(self, pool);
                }
            }
            What::KillDatabase(_)
            | What::WrongPromote(_)
            | What::Detach(_)
            | What::Attach(_)
            | What::Force(_)
            | What::ToolKill(_) => {}
            What::Obstacle(host, obstacle) => {
                if self.hosts[host].obstacle == Some(obstacle) {
                    self.clear(host);
                }
            }
        }
    }

    fn thaw(&mut self, host: usize) {
        self.hosts[host].frozen = false;
        for event in std::mem::take(&mut self.hosts[host].waiting) {
            self.after(0, event);
        }
    }

    fn power_off(&mut self, host: usize) {
        if !self.hosts[host].power {
            return;
        }
        self.kill_procs(host);
        if host < self.setup.databases {
            self.stop_server(host, false);
        }
        self.thaw(host);
        let it = &mut self.hosts[host];
        it.power = false;
        it.vip = false;
        if host < self.pools.len() {
            self.pools[host].end(Cut::Stopped);
        }
    }

    fn power_on(&mut self, host: usize) {
        if self.hosts[host].power {
            return;
        }
        self.hosts[host].power = true;
        if host < self.pools.len() {
            Pool::start(self, host);
        }
        if host < self.setup.databases && self.setup.boots {
            let delay = self.rng.delay(1_000, 8_000);
            self.after(delay, Event::Start(host));
        }
    }
}

fn healthy(host: usize, setup: &Setup) -> Host {
    let primary = host == 0;
    let db = Database {
        role: if primary {
            Role::Primary
        } else {
            Role::Standby
        },
        at: At {
            branch: 0,
            lsn: 1_000,
        },
        control: if primary {
            Control::Production
        } else {
            Control::Recovery
        },
        settings: (!primary).then_some(Named::Host(0)),
        loaded: (!primary).then_some(0),
        stream: None,
        retry_at: 0,
        incarnation: 1,
        sync_names: setup.sync,
        pending: None,
        acknowledged: None,
        half: false,
        unstarted: false,
        barred: false,
    };
    Host {
        power: true,
        frozen: false,
        cable: true,
        gateway: true,
        sshd: true,
        db: (host < setup.databases).then_some(db),
        vip: primary && setup.has_vip,
        state: State::default(),
        run_lock: None,
        instance_lock: None,
        word: 0,
        force: false,
        mistake: false,
        obstacle: None,
        replayed: 0,
        asked: None,
        said: None,
        waiting: Vec::new(),
    }
}
