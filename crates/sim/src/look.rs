//! What one host can see of another at this moment, as the rules have it.

use crate::plan::Obstacle;
use crate::pool::{Pool, Table};
use crate::wal::lsn;
use crate::world::{Named, Role, World, ip, mac, name};
use failover_rules::facts::left::{Pause, Stage};
use failover_rules::facts::lsn::Lsn;
use failover_rules::facts::policy::GatewayLostAction;
use failover_rules::facts::standby::Standby;
use failover_rules::facts::status::Status;
use failover_rules::facts::view::{Fence, Policy, PoolSays, PoolView, Primary, Seen, View};
use failover_rules::recovery::Look;

/// `DATA_SIZE_DIFF` in bytes: more than is ever written here.
const LAG: u64 = 16 << 20;

/// How long the mark of a fence is young (ms): as long as a failover can last.
pub const MARK: u64 = 128_000;

/// A rewind of this host is unfinished.
pub fn is_half(world: &World, host: usize) -> bool {
    let left = world.hosts[host].state.left.as_ref();
    world.db(host).half || left.is_some_and(|it| it.stage == Stage::Rewinding)
}

/// What keeps it from being promoted.
fn obstacle(world: &World, host: usize) -> Option<String> {
    if is_half(world, host) {
        return Some("its rewind is unfinished".to_owned());
    }
    let it = &world.hosts[host];
    let in_the_way = match it.obstacle {
        Some(Obstacle::NoDevice) if world.setup.has_vip && !it.vip => Some("DEV: no such device"),
        Some(Obstacle::NoProgram) => Some("no program promotes"),
        _ => match world.of_standby(host) {
            Some(Obstacle::Stopped) => Some("its database is stopped: have it go on"),
            Some(Obstacle::FullDisk) => Some("its disk is full: make room"),
            _ => None,
        },
    };
    if let Some(why) = in_the_way {
        return Some(why.to_owned());
    }
    let fenced = world.hosts[host].state.fenced;
    fenced.map(|_| "a failover stopped its primary, and it was not recovered since".to_owned())
}

/// How a host's instance is, as its own copy of the tools says.
pub fn status(world: &World, host: usize) -> Status {
    let (it, db) = (&world.hosts[host], world.db(host));
    let silent = |last: u64| world.now - last;
    let (answers, standby) = (world.takes_sessions(host), db.role == Role::Standby);
    let in_the_way = world.of_standby(host);
    let replayed = match in_the_way {
        Some(Obstacle::HeldUp) => Lsn(it.replayed),
        _ => lsn(db.at),
    };
    Status {
        running: db.role != Role::Down,
        in_recovery: answers.then_some(standby),
        recovers: in_the_way == Some(Obstacle::NoSession),
        trouble: (db.role != Role::Down && !answers).then(|| "it gives no answer".to_owned()),
        timeline: world.timeline(host),
        told: it.state.told,
        undecided: it.state.undecided,
        fenced: it.state.fenced.is_some() && world.options.fenced_old,
        received: standby.then(|| lsn(db.at)),
        replayed: standby.then_some(replayed),
        control: Some(lsn(db.at)),
        control_state: Some(db.control.text().to_owned()),
        segment_size: Some(16 << 20),
        receiver_silent_ms: db.stream.map(|stream| silent(stream.last)),
        in_work: it.instance_lock.is_some(),
        obstacle: obstacle(world, host),
        vip_here: it.vip,
        macs: vec![mac(host)],
    }
}

/// The same over ssh.
pub fn status_of(world: &World, from: usize, host: usize) -> Result<Status, String> {
    match world.login(from, host) {
        true => Ok(status(world, host)),
        false => Err("no login".to_owned()),
    }
}

/// What a primary says by SQL.
pub fn primary(world: &World, from: usize, host: usize) -> Result<Primary, String> {
    if !world.sql(from, host) {
        return Err("no answer".to_owned());
    }
    let db = world.db(host);
    if db.role == Role::Standby {
        return Ok(Primary {
            in_recovery: true,
            history: None,
            standbys: Vec::new(),
            wal: Vec::new(),
            parts_at: None,
        });
    }
    let state = match db.sync_names {
        true => "quorum",
        false => "async",
    };
    let streams = world.databases().filter(|it| world.streams_from(*it, host));
    let standbys = streams.map(|it| Standby {
        address: Some(ip(it)),
        name: name(it),
        state: "streaming".to_owned(),
        sync_state: state.to_owned(),
        behind: Some(db.at.lsn.saturating_sub(world.db(it).at.lsn)),
    });
    Ok(Primary {
        in_recovery: false,
        history: world.wal.history(db.at.branch),
        standbys: standbys.collect(),
        wal: Vec::new(),
        parts_at: parts_at(world, from, host).filter(|_| world.options.parted),
    })
}

/// Where the WAL of a node is not the primary's, though the histories have that timeline in common.
fn parts_at(world: &World, node: usize, primary: usize) -> Option<Lsn> {
    let mine = world.hosts.get(node)?.db.as_ref()?.at;
    let theirs = world.db(primary).at;
    let histories = [mine, theirs].map(|it| world.wal.history(it.branch));
    let [Some(own), Some(other)] = &histories else {
        return None;
    };
    let common = own.last_common(other)?;
    let begins = [mine, theirs].map(|it| world.wal.begin_of(it, common.timeline));
    let parts = begins[0] != begins[1] && mine.lsn.min(theirs.lsn) > common.begins.0;
    parts.then_some(common.begins)
}

fn policy(world: &World, host: usize, force: bool) -> Policy {
    let setup = &world.setup;
    Policy {
        me: ip(host),
        names: world.databases().map(|it| (ip(it), name(it))).collect(),
        hosts: world.hosts.len(),
        force,
        auto_recovery: setup.auto_recovery,
        max_available: setup.max_available,
        may_copy: setup.may_copy,
        sync: setup.sync,
        lag_limit: LAG,
        gateway_lost: GatewayLostAction::Isolated,
        has_vip: setup.has_vip,
        copy_command: "pg_basebackup".to_owned(),
        start_command: "pg_ctl".to_owned(),
    }
}

fn pool_view(world: &World, host: usize, pool: Option<&Table>) -> PoolView {
    let Some(table) = pool else {
        return PoolView {
            says: PoolSays::NoAnswer("no answer".to_owned()),
            me_up: None,
            down: Vec::new(),
            all_down: world.options.pool_search && Pool::all_down(world, host),
            own: false,
        };
    };
    PoolView {
        says: match table.primary {
            None => PoolSays::Nobody,
            Some(it) if it == host => PoolSays::Me,
            Some(it) => PoolSays::Other(ip(it)),
        },
        me_up: Some(table.up[host]),
        down: (0..table.up.len())
            .filter(|it| !table.up[*it])
            .map(ip)
            .collect(),
        all_down: false,
        own: table.at == host,
    }
}

/// What a run of the recovery sees without asking another host.
pub fn view(world: &World, host: usize, force: bool, network: bool, pool: Option<&Table>) -> View {
    let (it, db) = (&world.hosts[host], world.db(host));
    let follows = match db.settings {
        Some(Named::Host(host)) => Some(ip(host).to_string()),
        Some(Named::Nobody) => Some("nobody".to_owned()),
        Some(Named::Fence) | None => None,
    };
    let me = status(world, host);
    let pause = || Pause {
        since: "a while".to_owned(),
        why: String::new(),
    };
    View {
        policy: policy(world, host, force),
        paused: it.state.paused.then(pause),
        left: it.state.left.clone(),
        outlived: false,
        fenced: it.state.fenced.map(|at| fence(world.now, at)),
        self_fenced: it.state.self_fenced,
        undecided: it.state.undecided,
        network,
        seen: None,
        has_data: true,
        copy: None,
        unstarted: db.unstarted,
        history: match me.timeline {
            1 => None,
            _ => world.wal.history(db.at.branch),
        },
        follows,
        unread: false,
        kept_on: None,
        me,
        pool: pool_view(world, host, pool),
        down_at: None,
        primary: None,
        primary_host: None,
        others: None,
        rival: None,
        held: it
            .state
            .held
            .filter(|it| world.now - it.at < MARK)
            .map(|it| it.newer),
        word_only: it.state.held.is_some_and(|it| it.word_only),
        told: it.state.told,
        alone: db.role == Role::Primary
            && !world.databases().any(|it| world.streams_from(it, host)),
    }
}

fn fence(now: u64, at: u64) -> Fence {
    Fence {
        since: "a while".to_owned(),
        run: "run".to_owned(),
        young: now - at < MARK,
        started_by: None,
    }
}

/// How long a look takes (ms), as things are now.
pub fn takes(world: &mut World, host: usize, look: Look) -> u64 {
    let asked: Vec<usize> = match look {
        Look::Primary(address) | Look::PrimaryHost(address) | Look::Rival(address) => {
            vec![crate::world::host_of(address)]
        }
        Look::Others => world.databases().filter(|it| *it != host).collect(),
        Look::Life => return 500,
        Look::Pools => return world.rng.delay(10, 60),
    };
    let all = asked.iter().all(|it| world.reach(host, *it));
    match (look, all) {
        (Look::Primary(_) | Look::Rival(_), false) => 5_000,
        (_, false) => 10_000,
        (Look::Primary(_) | Look::Rival(_), true) => world.rng.delay(10, 60),
        (_, true) => world.rng.delay(80, 400),
    }
}

/// Adds what a decision needs.
pub fn look(world: &World, host: usize, look: Look, view: &mut View, pool: Option<&Table>) {
    let other = crate::world::host_of;
    match look {
        Look::Primary(address) => view.primary = Some(primary(world, host, other(address))),
        Look::PrimaryHost(address) => {
            view.primary_host = Some(status_of(world, host, other(address)));
        }
        Look::Others => {
            let others = world.databases().filter(|it| *it != host);
            let asked = others.map(|it| (ip(it), status_of(world, host, it)));
            view.others = Some(asked.collect());
        }
        Look::Rival(address) => {
            view.rival = Some((address, primary(world, host, other(address))));
        }
        Look::Pools => {
            let asked = pool.map(|it| it.at);
            let down = Pool::down_at(world, host, asked);
            view.down_at = Some(down.into_iter().map(ip).collect());
        }
        Look::Life => view.seen = Some(life(world, host)),
    }
}

/// Which hosts show a sign of life.
pub fn life(world: &World, host: usize) -> Seen {
    let hosts = world.hosts.len();
    let lives = |it: &usize| *it != host && world.reach(host, *it);
    Seen {
        others: (0..hosts).filter(lives).count(),
        hosts,
    }
}

/// What the pool says to a host.
pub fn pool(world: &World, host: usize) -> Option<Table> {
    Pool::ask(world, host)
}
