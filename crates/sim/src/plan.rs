//! What a seed stands for: a cluster, and what happens to it.

use crate::rng::Rng;
use failover_rules::facts::policy::{PromoteWithoutFence, SyncDegrade};

/// When the first fault may come (ms).
const FIRST: u64 = 65_000;
/// When the last one may begin.
const LAST: u64 = 250_000;
/// When all faults are over.
pub const HEALED: u64 = 330_000;
/// How long the cluster is then left alone.
pub const QUIET: u64 = 600_000;

/// From this seed on the plans are hard ones, see [`Plan::draw`].
pub const HARD: u64 = 1 << 32;

/// A cluster's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Hosts with a database: the first ones.
    pub databases: usize,
    /// Hosts with a pool: the first ones.
    pub pools: usize,
    /// The pool that leads as long as all of them live.
    pub leader: usize,
    /// The pools fail over only with a quorum and by consensus.
    pub pool_quorum: bool,
    /// `SYNC_FLAG`.
    pub sync: bool,
    /// `SYNC_DEGRADE`.
    pub degrade: SyncDegrade,
    /// `AUTO_PRIMARY_RECOVERY`.
    pub auto_recovery: bool,
    /// `MAX_AVAILABLE_LEVEL`.
    pub max_available: bool,
    /// There is a database VIP.
    pub has_vip: bool,
    /// `PROMOTE_WITHOUT_FENCE`.
    pub without_fence: PromoteWithoutFence,
    /// `REWIND_FALLBACK` is a base backup.
    pub may_copy: bool,
    /// A supervisor on each host starts a server again that was killed or fenced.
    pub supervised: bool,
    /// A host that gets its power back starts its database.
    pub boots: bool,
    /// Seconds between two health checks of a pool.
    pub check_period: u64,
    /// `LOOK_EVERY`: seconds between two looks of a host's recovery.
    pub look_every: u64,
}

impl Setup {
    /// All hosts.
    pub fn hosts(&self) -> usize {
        self.databases.max(self.pools)
    }

    fn draw(rng: &mut Rng) -> Self {
        let pools = 2 + rng.below(2);
        Self {
            databases: 2 + rng.below(2),
            pools,
            leader: rng.below(pools),
            pool_quorum: pools == 3 && rng.chance(60),
            sync: rng.chance(80),
            degrade: match rng.chance(50) {
                true => SyncDegrade::Never,
                false => SyncDegrade::Always,
            },
            auto_recovery: rng.chance(60),
            max_available: rng.chance(40),
            has_vip: rng.chance(80),
            without_fence: match rng.chance(30) {
                true => PromoteWithoutFence::Never,
                false => PromoteWithoutFence::Unreachable,
            },
            may_copy: rng.chance(30),
            supervised: rng.chance(15),
            boots: rng.chance(50),
            check_period: 1 + rng.below(5) as u64,
            look_every: if rng.chance(30) { 5 } else { 60 },
        }
    }

    /// A cluster that has much to lose: three databases, and commits that wait for a standby.
    fn draw_hard(rng: &mut Rng) -> Self {
        Self {
            databases: 3,
            sync: true,
            ..Self::draw(rng)
        }
    }
}

/// Something that happens to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A host loses its power, and with it all that runs there.
    Power(usize),
    /// A host's cable is out.
    Cable(usize),
    /// Nothing that the first host sends reaches the second.
    OneWay(usize, usize),
    /// Nothing goes from one to the other, in either direction.
    Between(usize, usize),
    /// The trust IP answers nobody.
    Gateway,
    /// The trust IP does not answer this host.
    GatewayOf(usize),
    /// Nobody can log in.
    Sshd(usize),
    /// The machine stands still, as a virtual one that is moved.
    Freeze(usize),
    /// The database's processes are killed.
    KillDatabase(usize),
    /// A person promotes a standby.
    WrongPromote(usize),
    /// A person detaches a node from the pool.
    Detach(usize),
    /// A person attaches a node, whatever state it is in.
    Attach(usize),
    /// A person runs `network_rewind --force`.
    Force(usize),
    /// A person pauses a host's recovery, and resumes it.
    Pause(usize),
    /// A pool is killed and started later; its address stays.
    PoolKill(usize),
    /// A pool is restarted.
    PoolRestart(usize),
    /// All tools at work on a host are killed.
    ToolKill(usize),
    /// A standby that a failover would promote has something that is in its way.
    Obstacle(usize, Obstacle),
}

/// What is in the way of a standby's promotion, or seems to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The device for the VIP is gone.
    NoDevice,
    /// The program that promotes is missing.
    NoProgram,
    /// It takes no session.
    NoSession,
    /// Its replay waits for a session.
    HeldUp,
    /// The processes of its database are stopped.
    Stopped,
    /// Its disk is full.
    FullDisk,
    /// A rewind of it is unfinished.
    HalfRewound,
    /// It does not hear that it is to be promoted; nobody can see that before.
    Deaf,
}

impl Obstacle {
    const ALL: [Self; 8] = [
        Self::NoDevice,
        Self::NoProgram,
        Self::NoSession,
        Self::HeldUp,
        Self::Stopped,
        Self::FullDisk,
        Self::HalfRewound,
        Self::Deaf,
    ];

    /// It is the running server's: another one does not have it.
    pub fn ends_with_the_server(self) -> bool {
        matches!(
            self,
            Self::NoSession | Self::HeldUp | Self::Stopped | Self::Deaf
        )
    }
}

/// A fault: what, and from when to when (ms).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub what: What,
    /// When it begins.
    pub at: u64,
    /// When it is over.
    pub until: u64,
}

/// All that a seed stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The cluster.
    pub setup: Setup,
    /// What happens to it.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// The plan of a seed. Below [`HARD`] it is anything that may happen to any cluster, in one of three with
    /// obstacles at the standbys, where those are wanted. From there on it is what comes between a failover
    /// and its end: three databases, commits that wait for a standby, and within a minute two to four faults
    /// of those that take a host, a database or a link away.
    pub fn draw(seed: u64, obstacles: bool) -> Self {
        let mut rng = Rng::new(seed ^ 0x005e_ed0f_c1a5);
        if seed >= HARD {
            return Self::draw_hard(&mut rng);
        }
        let setup = Setup::draw(&mut rng);
        let count = 1 + rng.below(4);
        // Faults that come together are the hard ones.
        let begin = rng.within(FIRST, LAST - 60_000);
        let spread = [2_000, 20_000, 60_000, LAST - begin][rng.below(4)];
        let mut faults = Vec::new();
        for _ in 0..count {
            let fault = draw_fault(&mut rng, &setup, begin, spread);
            faults.push(fault);
            if rng.chance(15) {
                flap(&mut rng, fault, &mut faults);
            }
        }
        if obstacles {
            draw_obstacles(seed, &setup, &mut faults);
        }
        faults.sort_by_key(|it| it.at);
        Self { setup, faults }
    }

    fn draw_hard(rng: &mut Rng) -> Self {
        let setup = Setup::draw_hard(rng);
        let count = rng.within(2, 5);
        let begin = rng.within(FIRST, LAST - 60_000);
        let spread = [4_000, 12_000, 60_000][rng.below(3)];
        let mut faults = Vec::new();
        for nth in 0..count {
            let what = match nth {
                0 => taken_away(rng, 0),
                _ => {
                    let host = rng.below(setup.hosts());
                    taken_away(rng, host)
                }
            };
            let at = begin
                + if nth == 0 {
                    0
                } else {
                    rng.below(spread) as u64
                };
            let until = at + lasts(rng);
            let fault = Fault { what, at, until };
            faults.push(fault);
            if rng.chance(30) {
                flap(rng, fault, &mut faults);
            }
        }
        faults.sort_by_key(|it| it.at);
        Self { setup, faults }
    }
}

/// A host, its database, a link of it, or a way into it is gone.
fn taken_away(rng: &mut Rng, host: usize) -> What {
    let other = (host + 1 + rng.below(2)) % 3;
    match rng.below(100) {
        0..18 => What::Power(host),
        18..30 => What::Cable(host),
        30..48 => What::Between(host, other),
        48..54 => What::OneWay(host, other),
        54..72 => What::Freeze(host),
        72..86 => What::KillDatabase(host),
        86..94 => What::Sshd(host),
        _ => What::ToolKill(host),
    }
}

/// How long a fault lasts (ms).
fn lasts(rng: &mut Rng) -> u64 {
    match rng.below(3) {
        0 => rng.within(500, 8_000),
        1 => rng.within(8_000, 40_000),
        _ => rng.within(20_000, 130_000),
    }
}

/// They have random numbers of their own, so that all else in the story of a seed stays as it is.
fn draw_obstacles(seed: u64, setup: &Setup, faults: &mut Vec<Fault>) {
    let mut rng = Rng::new(seed ^ 0x0b57_ac1e_5eed);
    if !rng.chance(33) {
        return;
    }
    for _ in 0..rng.within(1, 2) {
        let standby = 1 + rng.below(setup.databases - 1);
        let obstacle = Obstacle::ALL[rng.below(Obstacle::ALL.len())];
        let at = rng.within(FIRST, LAST);
        let lasts = rng.within(5_000, 80_000);
        faults.push(Fault {
            what: What::Obstacle(standby, obstacle),
            at,
            until: at + lasts,
        });
        if rng.chance(60) {
            let at = at + rng.within(500, lasts);
            faults.push(Fault {
                what: What::Detach(0),
                at,
                until: at + 1_000,
            });
        }
    }
}

/// A loose contact: the same again, and again.
fn flap(rng: &mut Rng, fault: Fault, faults: &mut Vec<Fault>) {
    let mut until = fault.until;
    for _ in 0..rng.within(1, 3) {
        let at = until + rng.within(200, 12_000);
        until = at + rng.within(300, 12_000);
        if until < HEALED {
            faults.push(Fault { at, until, ..fault });
        }
    }
}

fn draw_fault(rng: &mut Rng, setup: &Setup, begin: u64, spread: u64) -> Fault {
    let host = rng.below(setup.hosts());
    let database = rng.below(setup.databases);
    // The first database is the primary, and the one of interest.
    let favourite = if rng.chance(40) { 0 } else { host };
    let pool = rng.below(setup.pools);
    let other = |it: usize| (it + 1 + (begin as usize + it) % (setup.hosts() - 1)) % setup.hosts();
    let what = match rng.below(100) {
        0..12 => What::Power(favourite),
        12..28 => What::Cable(favourite),
        28..34 => What::OneWay(favourite, other(favourite)),
        34..42 => What::Between(favourite, other(favourite)),
        42..46 => What::Gateway,
        46..50 => What::GatewayOf(favourite),
        50..55 => What::Sshd(favourite),
        55..63 => What::Freeze(favourite),
        63..72 => What::KillDatabase(if rng.chance(60) { 0 } else { database }),
        72..74 => What::WrongPromote(database),
        74..78 => What::Detach(database),
        78..80 => What::Attach(database),
        80..82 => What::Force(database),
        82..84 => What::Pause(database),
        84..90 => What::PoolKill(pool),
        90..93 => What::PoolRestart(pool),
        _ => What::ToolKill(host),
    };
    let at = begin + rng.below(spread as usize) as u64;
    Fault {
        what,
        at,
        until: (at + lasts(rng)).min(HEALED),
    }
}
