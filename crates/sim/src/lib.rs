//! A simulated cluster in which the tools' own rules decide.
//!
//! Two or three hosts with databases, two or three with pools, all in one process. Time is a number of
//! milliseconds. Both tools run as plans: the same steps under the same names, each with a delay drawn
//! from the seed. All that they decide, `failover_rules` decides, from facts that are gathered when the
//! look is taken. Faults come from the seed, too; then all of them are over, and the cluster is left
//! alone for ten minutes.
//!
//! # What must hold
//!
//! At every step: no two hosts acknowledge commits at the same time on histories that have parted,
//! * where the older primary waits for a standby under `SYNC_DEGRADE=never`: it gets no
//!   acknowledgement any more before another one is promoted;
//! * where its own copy of the tools had fenced the older primary, in any configuration.
//!
//! It is not asked of an asynchronous primary that is cut off, nor of one under `SYNC_DEGRADE=always`
//! that went on alone: the one stops itself in its next minute, and no check of the tools can tell
//! the coordinator on the other side of a cut more than that nothing answers (spec, sections 5 and 8).
//! That they do not go on for ever is asked in the end.
//!
//! In the end: each commit that was acknowledged synchronously is on the primary (where there is no
//! single one, on some host: nothing was thrown away). And the cluster is whole: one primary, the
//! pool's, with the VIP; everybody else streams from it and is up. Or each host that is not well says
//! in its last run what a person must do.
//!
//! On the way: no standby is pointed to a primary whose history it has left, and no primary that runs is
//! rewound without consent. A failover from a primary that lives ends with a primary, the old one or a new
//! one, whatever the standbys are like that it finds (nothing else being wrong meanwhile).
//!
//! A person's mistake is the person's: what begins with a standby that somebody promoted by hand is not
//! held against the tools, as long as they lose nothing else for it.
//!
//! Where a failover did not hear a standby, and its log names that risk, what only that one had is not
//! held against it.

pub mod check;
pub mod failover;
pub mod look;
pub mod options;
pub mod plan;
pub mod pool;
pub mod recovery;
pub mod rng;
pub mod wal;
pub mod world;

pub use check::Wrong;
pub use options::Options;
pub use plan::{Fault, Obstacle, Plan, Setup, What};

use plan::{HEALED, QUIET};
use world::World;

/// How long the cluster must be whole before a run may end early: two minutes of each host's cron.
const SETTLED: u64 = 150_000;

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What went wrong; `None`: nothing.
    pub violation: Option<Violation>,
    /// The story, where it was asked for.
    pub trace: Vec<String>,
}

/// What went wrong, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which of the invariants.
    pub what: Wrong,
    /// One line about it.
    pub story: String,
    /// When it was seen (ms).
    pub when: u64,
}

/// Runs a seed.
pub fn run(seed: u64, options: Options) -> Outcome {
    run_plan(&Plan::draw(seed, options.obstacles), seed, options)
}

/// Runs a plan, with the delays of a seed.
pub fn run_plan(plan: &Plan, seed: u64, options: Options) -> Outcome {
    let mut world = World::new(plan, seed, options);
    let last = plan.faults.iter().map(|it| it.until).max().unwrap_or(0);
    let (healed, end) = (last.min(HEALED), last + QUIET);
    let mut whole_since = None;
    while world.now < end && world.wrong.is_none() {
        world.step();
        if world.now > healed && world.now.is_multiple_of(1_000) {
            match check::is_whole(&world) {
                true => {
                    let since = *whole_since.get_or_insert(world.now);
                    if world.now - since > SETTLED {
                        break;
                    }
                }
                false => whole_since = None,
            }
        }
    }
    let wrong = check::in_the_end(&mut world);
    Outcome {
        violation: wrong.map(|(what, story)| Violation {
            what,
            story,
            when: world.now,
        }),
        trace: world.trace,
    }
}

/// The fewest faults of a seed with which the same goes wrong.
pub fn shrink(seed: u64, options: Options) -> Plan {
    let mut plan = Plan::draw(seed, options.obstacles);
    let wrong = |plan: &Plan| run_plan(plan, seed, options).violation.map(|it| it.what);
    let what = wrong(&plan);
    let mut at = 0;
    while at < plan.faults.len() {
        let mut fewer = plan.clone();
        fewer.faults.remove(at);
        match wrong(&fewer) == what {
            true => plan = fewer,
            false => at += 1,
        }
    }
    plan
}
