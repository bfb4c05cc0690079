//! The pools: health checks, a watchdog with heartbeats, the failover command, the search for a
//! primary. One round of each pool is a second.

use crate::failover::{Failover, StandbyDown};
use crate::plan::Setup;
use crate::world::{Proc, Role, World, name};

/// A pool that is not heard for so long is dead to the others (`wd_heartbeat_deadtime`).
const DEAD: u64 = 10_000;
/// Health checks in a row that must fail.
const RETRIES: u32 = 3;
/// How long it looks for a primary (`search_primary_node_timeout`).
const SEARCH: u64 = 10_000;

/// What a pool is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A node is down, by health checks.
    Down(usize),
    /// An operator or a tool detaches it.
    Detach(usize),
    /// An operator or a tool attaches it.
    Attach(usize),
    /// A tool has it look for a primary again.
    LookAgain,
}

/// How a pool ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Its address stays.
    Killed,
    /// It takes its address with it.
    Stopped,
}

/// What a pool is busy with.
#[derive(Clone, Copy, Debug)]
enum Busy {
    /// The failover command runs.
    Command(usize),
    /// It looks for a primary, until then.
    Search(u64),
}

/// A pool, on the host of the same number.
#[derive(Debug)]
pub struct Pool {
    /// Its process runs.
    pub alive: bool,
    /// It has the pools' address.
    pub vip: bool,
    /// Which nodes it has up.
    pub up: Vec<bool>,
    /// Its primary.
    pub primary: Option<usize>,
    failed: Vec<u32>,
    heard: Vec<u64>,
    busy: Option<Busy>,
    requests: Vec<Request>,
    rounds: u64,
}

/// What a pool says of its nodes.
#[derive(Clone, Debug)]
pub struct Table {
    /// Which it has up.
    pub up: Vec<bool>,
    /// Its primary.
    pub primary: Option<usize>,
    /// The host of the pool.
    pub at: usize,
}

impl Pool {
    /// A pool that is well.
    pub fn new(host: usize, setup: &Setup) -> Self {
        Self {
            alive: true,
            vip: host == setup.leader,
            up: vec![true; setup.databases],
            primary: Some(0),
            failed: vec![0; setup.databases],
            heard: vec![0; setup.pools],
            busy: None,
            requests: Vec::new(),
            rounds: 0,
        }
    }

    /// It ends.
    pub fn end(&mut self, cut: Cut) {
        self.alive = false;
        self.busy = None;
        self.requests.clear();
        self.vip &= cut == Cut::Killed;
    }

    /// It is started, with the nodes of the leader or with all of them, and looks for a primary.
    pub fn start(world: &mut World, pool: usize) {
        if world.pools[pool].alive {
            return;
        }
        let now = world.now;
        let mut others = (0..world.pools.len()).filter(|it| *it != pool);
        let other = others.find(|it| world.pools[*it].alive && world.reach(pool, *it));
        let (up, primary) = match other {
            Some(other) => (world.pools[other].up.clone(), world.pools[other].primary),
            None => (vec![true; world.setup.databases], None),
        };
        let it = &mut world.pools[pool];
        it.alive = true;
        it.vip = false;
        it.up = up;
        it.primary = primary;
        it.failed.fill(0);
        it.heard.fill(now);
        it.busy = it.primary.is_none().then_some(Busy::Search(now + SEARCH));
        world.tell(|w| format!("pool {pool} starts: {:?}", w.pools[pool].up));
    }

    /// One round.
    pub fn second(world: &mut World, pool: usize) {
        if !world.pools[pool].alive || !world.hosts[pool].power {
            return;
        }
        Self::listen(world, pool);
        Self::check(world, pool);
        match world.pools[pool].busy {
            Some(Busy::Command(proc)) if world.lives(proc) => {}
            Some(Busy::Command(_)) => {
                let until = world.now + SEARCH;
                world.pools[pool].busy = Some(Busy::Search(until));
                Self::search(world, pool, until);
            }
            Some(Busy::Search(until)) => Self::search(world, pool, until),
            None => Self::next_request(world, pool),
        }
    }

    /// The pools that this one hears, itself included, who leads first.
    fn members(world: &World, pool: usize) -> Vec<usize> {
        let heard = &world.pools[pool].heard;
        let hears = |it: &usize| *it == pool || world.now.saturating_sub(heard[*it]) < DEAD;
        let (all, first) = (world.pools.len(), world.setup.leader);
        let in_order = (0..all).map(|it| (it + first) % all);
        in_order.filter(hears).collect()
    }

    fn has_quorum(world: &World, members: usize) -> bool {
        !world.setup.pool_quorum || members * 2 > world.setup.pools
    }

    fn listen(world: &mut World, pool: usize) {
        for other in 0..world.pools.len() {
            if other != pool && world.pools[other].alive && world.arrives(other, pool) {
                world.pools[pool].heard[other] = world.now;
            }
        }
        let members = Self::members(world, pool);
        let leads = members.first() == Some(&pool) && Self::has_quorum(world, members.len());
        world.pools[pool].vip = leads;
        // In a watchdog with a quorum the leader's list counts; old pools keep each its own.
        let leader = members.first().copied().unwrap_or(pool);
        let idle = |it: usize| world.pools[it].alive && world.pools[it].busy.is_none();
        let follows = leader != pool && idle(leader) && idle(pool) && world.reach(pool, leader);
        if world.setup.pool_quorum && Self::has_quorum(world, members.len()) && follows {
            world.pools[pool].up = world.pools[leader].up.clone();
            world.pools[pool].primary = world.pools[leader].primary;
        }
    }

    /// Health checks of all nodes from this pool's host.
    fn check(world: &mut World, pool: usize) {
        let it = &mut world.pools[pool];
        it.rounds += 1;
        let rounds = it.rounds;
        for node in world.databases() {
            let period = world.setup.check_period;
            let it = &world.pools[pool];
            if !it.up[node] || (it.failed[node] == 0 && !rounds.is_multiple_of(period)) {
                continue;
            }
            let good = world.sql(pool, node);
            let it = &mut world.pools[pool];
            it.failed[node] = match good {
                true => 0,
                false => it.failed[node] + 1,
            };
            if it.failed[node] > RETRIES {
                Self::report(world, pool, node);
            }
        }
    }

    /// Tells the leader that a node is down; by consensus only once most see it so.
    fn report(world: &mut World, pool: usize, node: usize) {
        let members = Self::members(world, pool);
        let Some(leader) = members.first().copied() else {
            return;
        };
        if !Self::has_quorum(world, members.len())
            || !world.pools[leader].alive
            || (leader != pool && !world.reach(pool, leader))
        {
            return;
        }
        if world.setup.pool_quorum {
            let votes = |it: &&usize| {
                let other = &world.pools[**it];
                other.alive && other.failed[node] > RETRIES && world.reach(leader, **it)
            };
            if members.iter().filter(votes).count() * 2 <= world.setup.pools {
                return;
            }
        }
        // Old pools keep each its own list, and switch each for itself.
        let own = !world.setup.pool_quorum && !world.pools[leader].up[node];
        let who = if own { pool } else { leader };
        let requests = &mut world.pools[who].requests;
        if !requests.contains(&Request::Down(node)) {
            requests.push(Request::Down(node));
        }
    }

    fn next_request(world: &mut World, pool: usize) {
        if world.pools[pool].requests.is_empty() {
            return;
        }
        let request = world.pools[pool].requests.remove(0);
        match request {
            Request::Attach(node) if !world.pools[pool].up[node] => {
                world.tell(|_| format!("pool {pool} attaches {}", name(node)));
                let until = world.now + SEARCH;
                let it = &mut world.pools[pool];
                it.up[node] = true;
                it.failed[node] = 0;
                it.busy = Some(Busy::Search(until));
                Self::search(world, pool, until);
            }
            Request::LookAgain if world.pools[pool].primary.is_none() => {
                let until = world.now + SEARCH;
                world.pools[pool].busy = Some(Busy::Search(until));
                Self::search(world, pool, until);
            }
            Request::Down(node) | Request::Detach(node) if world.pools[pool].up[node] => {
                Self::fail_over(world, pool, node);
            }
            _ => {}
        }
    }

    /// A node is down: the failover command runs on this host. One at a time: the failover lock.
    fn fail_over(world: &mut World, pool: usize, node: usize) {
        let commands = |it: &usize| {
            let busy = matches!(world.pools[*it].busy, Some(Busy::Command(_)));
            *it != pool && busy && world.reach(pool, *it)
        };
        if (0..world.pools.len()).any(|it| commands(&it)) {
            world.pools[pool].requests.push(Request::Down(node));
            return;
        }
        let it = &mut world.pools[pool];
        it.up[node] = false;
        it.failed[node] = 0;
        let given = it.up.iter().position(|up| *up);
        let primary = it.primary;
        world.tell(|_| format!("pool {pool} has {} down, primary {primary:?}", name(node)));
        let Some(given) = given else {
            world.pools[pool].primary = None;
            Self::share(world, pool);
            return;
        };
        let delay = world.rng.within(5, 40);
        let proc = match primary == Some(node) {
            true => {
                world.pools[pool].primary = None;
                Proc::Failover(Box::new(Failover::new(pool, node, given, world.now)))
            }
            false => Proc::StandbyDown(StandbyDown::new(pool, node, primary)),
        };
        let id = world.spawn(pool, proc, delay);
        world.pools[pool].busy = Some(Busy::Command(id));
    }

    /// Who of the nodes that are up is not in recovery: the first that says so. A primary that still is
    /// one stays.
    fn search(world: &mut World, pool: usize, until: u64) {
        let primary = |node: &usize| {
            world.pools[pool].up[*node]
                && world.sql(pool, *node)
                && world.db(*node).role == Role::Primary
        };
        let known = world.pools[pool].primary.filter(primary);
        let found = known.or_else(|| world.databases().find(primary));
        if found.is_some() || world.now >= until || !world.pools[pool].up.contains(&true) {
            world.pools[pool].primary = found;
            world.pools[pool].busy = None;
            world.tell(|_| format!("pool {pool} has primary {found:?}"));
            let leads = Self::members(world, pool).first() == Some(&pool);
            if found.is_some() || leads {
                Self::share(world, pool);
            }
        }
    }

    /// The others take what the leader knows.
    fn share(world: &mut World, pool: usize) {
        let (up, primary) = (world.pools[pool].up.clone(), world.pools[pool].primary);
        for other in 0..world.pools.len() {
            let idle = world.pools[other].alive && world.pools[other].busy.is_none();
            if other != pool && idle && world.reach(pool, other) {
                world.pools[other].up = up.clone();
                world.pools[other].primary = primary;
            }
        }
    }

    /// The pool that a host gets at the pools' address.
    fn at_vip(world: &World, host: usize) -> Option<usize> {
        let has = |it: &usize| world.pools[*it].vip && world.reach(host, *it);
        let own = Some(host).filter(|it| *it < world.pools.len() && has(it));
        own.or_else(|| (0..world.pools.len()).find(has))
    }

    fn answers(world: &World, pool: usize) -> Option<Table> {
        let it = &world.pools[pool];
        let serves = |node: usize| it.up[node] && world.sql(pool, node);
        (it.alive && it.busy.is_none() && world.databases().any(serves)).then(|| Table {
            up: it.up.clone(),
            primary: it.primary,
            at: pool,
        })
    }

    /// What the pool says to a host.
    pub fn ask(world: &World, host: usize) -> Option<Table> {
        let first = Self::at_vip(world, host).and_then(|it| Self::answers(world, it));
        if first.is_some() || !world.options.pool_search {
            return first;
        }
        let reached = (0..world.pools.len()).filter(|it| world.reach(host, *it));
        let tables: Vec<Table> = reached.filter_map(|it| Self::answers(world, it)).collect();
        let named = tables.iter().find(|it| it.primary.is_some());
        named.or(tables.first()).cloned()
    }

    /// The pools beside the one at `asked` that have the node of `host` down.
    pub fn down_at(world: &World, host: usize, asked: Option<usize>) -> Vec<usize> {
        let down = |pool: &usize| {
            let it = &world.pools[*pool];
            Some(*pool) != asked
                && world.reach(host, *pool)
                && it.alive
                && it.busy.is_none()
                && !it.up[host]
        };
        (0..world.pools.len()).filter(down).collect()
    }

    /// Whether the pools that a host reaches have every node down, and none of them is busy.
    pub fn all_down(world: &World, host: usize) -> bool {
        let there = |it: &&Self| it.alive;
        let reached = (0..world.pools.len()).filter(|it| world.reach(host, *it));
        let pools: Vec<&Self> = reached.map(|it| &world.pools[it]).filter(there).collect();
        let down = |it: &&Self| it.busy.is_none() && !it.up.contains(&true);
        !pools.is_empty() && pools.iter().all(down)
    }

    /// What the pool shows by PCP, which it answers also with all nodes down.
    pub fn ask_pcp(world: &World, host: usize) -> Option<Table> {
        let pool = Self::at_vip(world, host)?;
        let it = &world.pools[pool];
        it.alive.then(|| Table {
            up: it.up.clone(),
            primary: it.primary,
            at: pool,
        })
    }

    /// Has each pool in reach know the primary `node`: attached where it is down, looked for again where
    /// the pool has given up.
    pub fn look_again(world: &mut World, host: usize, node: usize) {
        for pool in 0..world.pools.len() {
            let reached = world.pools[pool].alive && world.reach(host, pool);
            let it = &mut world.pools[pool];
            let wanted = match it.up[node] {
                true if it.primary.is_some() => continue,
                true => Request::LookAgain,
                false => Request::Attach(node),
            };
            if reached && !it.requests.contains(&wanted) {
                it.requests.push(wanted);
            }
        }
    }

    /// Has another pool attach the node of `host`; a primary only where that pool names none.
    pub fn attach_at(world: &mut World, host: usize, pool: usize) {
        let two = world.pools[pool].primary.is_some() && world.db(host).role == Role::Primary;
        let requests = &mut world.pools[pool].requests;
        if !two && !requests.contains(&Request::Attach(host)) {
            requests.push(Request::Attach(host));
        }
    }

    /// Queues an order by PCP at the pool that has answered, or at the one behind the pools' address; it is
    /// lost where that one is gone.
    pub fn order(world: &mut World, answered: Option<usize>, host: usize, request: Request) {
        let pool = answered.filter(|it| world.reach(host, *it));
        let pool = pool.or_else(|| Self::at_vip(world, host));
        if let Some(pool) = pool.filter(|it| world.pools[*it].alive) {
            world.pools[pool].requests.push(request);
        }
    }
}
