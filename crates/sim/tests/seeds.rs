//! What the simulator has found, each as a test of its own: the faults to which a seed was shrunk, with
//! the delays of many seeds. Without the mends at least one of them goes wrong as it did; with the mends
//! none does.

#![allow(clippy::unwrap_used)]

use failover_rules::facts::policy::{PromoteWithoutFence, SyncDegrade};
use failover_sim::{Fault, Options, Plan, Setup, What, Wrong, run, run_plan};

/// A mend, and a seed that goes wrong without it.
const MISSED: [(&str, u64); 16] = [
    ("hold", 5036),
    ("fence_mark", 122),
    ("quorum", 2579),
    ("pool_search", 62),
    ("left_first", 1559),
    ("rival", 814),
    ("told", 4_294_976_730),
    ("mark_over_primary", 1116),
    ("start_standby", 609),
    ("fail_over", 78),
    ("not_primary", 691),
    ("parted", 2253),
    ("held", 5268),
    ("as_seen", 511233),
    ("taken", 4_294_992_832),
    ("follow", 4248),
];

/// Seeds of the first million that went wrong, by what was missing.
const ENDED: [(&str, &[u64]); 15] = [
    (
        "a fence that is under way is not asked for twice",
        &[51446, 557616],
    ),
    (
        "the old primary's host counts for one side of a cut only",
        &[22341, 29713, 118507, 165437, 631202, 924204],
    ),
    (
        "what a failover has replaced is not followed, VIP or not",
        &[41514, 81460, 283965, 508531, 619398, 729813, 947215],
    ),
    (
        "what is down is not made a standby of the old primary meanwhile",
        &[500678, 668592],
    ),
    (
        "a failover before this one may have promoted somebody who is not heard",
        &[883683],
    ),
    (
        "a standby is looked at again before it is pointed to the primary",
        &[253384, 449816, 966255],
    ),
    (
        "a standby does not wait for a last primary that does not start",
        &[46818, 60716, 762155, 836739],
    ),
    (
        "a primary over the mark of a rewind is a person's",
        &[284450, 490077],
    ),
    (
        "the pool that has answered is the one that is told",
        &[78247, 307935, 470872],
    ),
    (
        "a node that got its timeline's number while it was stopped is not rewound",
        &[109124, 995948],
    ),
    (
        "where the pool's primary is in recovery the last one comes back",
        &[809750],
    ),
    (
        "a standby that never reached its new primary is not pointed back",
        &[695022],
    ),
    (
        "who follows what another failover has promoted meanwhile is not promoted",
        &[511233, 1087272],
    ),
    (
        "whom another failover has had follow its new primary is not held",
        &[4_294_992_832],
    ),
    (
        "an old primary is not taken for the one that a failover has promoted",
        &[4_295_020_960],
    ),
];

/// A mend, and a seed with obstacles at the standbys that goes wrong without it.
const MISSED_WITH_OBSTACLES: [(&str, u64); 9] = [
    ("own_side", 817),
    ("known_before", 38),
    ("ends_first", 27496),
    ("newer", 4_295_440_173),
    ("gives_back", 4_295_308_743),
    ("keeps_mark", 496_122),
    ("fenced_old", 4_295_145_251),
    ("leaves_word", 4_294_987_044),
    ("asked_since", 4_295_119_807),
];

/// Seeds with obstacles that went wrong, by what was missing.
const ENDED_WITH_OBSTACLES: [(&str, &[u64]); 11] = [
    (
        "what was recovered, promoted by mistake and stopped since is rewound from what it is now",
        &[636_113],
    ),
    (
        "a fence that fails takes back its own mark only",
        &[271_585, 277_453],
    ),
    (
        "what was recovered, promoted by a person and killed since is looked at anew",
        &[12892],
    ),
    (
        "an old primary that is being made a standby is nobody's successor yet",
        &[39015],
    ),
    (
        "nobody joins an old primary beside the new one",
        &[4_295_214_627, 4_295_428_526, 4_295_440_173],
    ),
    (
        "what was held in vain goes back to where another failover had put it",
        &[4_295_308_743, 4_295_429_020],
    ),
    (
        "a fence that fails leaves the mark of the one before it",
        &[496_122],
    ),
    (
        "a fenced host is the old primary, whatever its server is by now",
        &[4_295_145_251, 4_295_172_214],
    ),
    (
        "a primary is not stopped while all others are being recovered",
        &[482_846, 4_295_075_493, 4_295_243_516, 4_295_431_229],
    ),
    (
        "a standby that is being started while the others are held is waited for",
        &[4_295_119_807],
    ),
    (
        "two timelines of one number are told apart behind a third",
        &[334_442],
    ),
];

/// The world in which the first seeds were found: obstacles, and a fence that knows its time, came later.
fn first_world() -> Options {
    Options {
        obstacles: false,
        ends_first: false,
        ..Options::default()
    }
}

/// The same with the mends of then only: a later one may cover for one that is taken out.
fn first_mends() -> Options {
    let mut options = first_world();
    for later in [
        "newer",
        "gives_back",
        "keeps_mark",
        "fenced_old",
        "leaves_word",
        "coming",
        "asked_since",
    ] {
        assert!(options.take_out(later), "{later}");
    }
    options
}

/// Three databases, synchronous, `SYNC_DEGRADE=never`; an old primary comes back by itself.
fn setup() -> Setup {
    Setup {
        databases: 3,
        pools: 2,
        leader: 1,
        pool_quorum: false,
        sync: true,
        degrade: SyncDegrade::Never,
        auto_recovery: true,
        max_available: false,
        has_vip: true,
        without_fence: PromoteWithoutFence::Unreachable,
        may_copy: false,
        supervised: false,
        boots: false,
        check_period: 1,
        look_every: 60,
    }
}

fn plan<const N: usize>(setup: Setup, faults: [(What, u64, u64); N]) -> Plan {
    let faults = faults.map(|(what, at, until)| Fault { what, at, until });
    Plan {
        setup,
        faults: faults.to_vec(),
    }
}

/// Of so many seeds for the delays, the first with which `wrong` happens.
fn first(plan: &Plan, seeds: u64, options: Options, wrong: Wrong) -> Option<u64> {
    (0..seeds).find(|seed| {
        let violation = run_plan(plan, *seed, options).violation;
        violation.is_some_and(|it| it.what == wrong)
    })
}

/// The tools as they were do it.
fn was_wrong(plan: &Plan, seeds: u64, wrong: Wrong) {
    assert!(first(plan, seeds, Options::today(), wrong).is_some());
}

/// A: the third node goes on acknowledging an old primary that is back right after the failover.
fn cable() -> Plan {
    plan(setup(), [(What::Cable(0), 100_000, 112_000)])
}

/// B: a host that stopped itself takes over again just when a failover has fenced it.
fn take_over_after_a_fence() -> Plan {
    let setup = Setup {
        pools: 3,
        leader: 0,
        pool_quorum: true,
        sync: false,
        without_fence: PromoteWithoutFence::Never,
        look_every: 5,
        ..setup()
    };
    plan(setup, [(What::Cable(0), 185_283, 209_089)])
}

/// D: the pools fall apart with the hosts, and each has its own primary for ever.
fn two_for_ever() -> Plan {
    let setup = Setup {
        databases: 2,
        pools: 3,
        auto_recovery: false,
        ..setup()
    };
    plan(setup, [(What::Between(0, 1), 140_364, 247_675)])
}

/// Two pools that do not agree promote one standby each. One of the two is down later, and the other one goes
/// on: what the first one alone has acknowledged must not be rewound away.
fn two_promoted() -> Plan {
    let setup = Setup {
        degrade: SyncDegrade::Always,
        max_available: true,
        may_copy: true,
        boots: true,
        check_period: 2,
        // Somebody looks while there are two.
        look_every: 5,
        ..setup()
    };
    let faults = [
        (What::KillDatabase(0), 95_576, 185_638),
        (What::Freeze(1), 101_589, 107_462),
        (What::Power(0), 126_665, 241_339),
        (What::Freeze(2), 133_600, 169_708),
    ];
    plan(setup, faults)
}

#[test]
fn what_one_of_two_primaries_has_acknowledged_is_kept() {
    // Nor does anybody join the one while the other one is there.
    let without = Options {
        undecided: false,
        newer: false,
        ..Options::default()
    };
    assert!(first(&two_promoted(), 300, without, Wrong::LostCommits).is_some());
    for seed in 0..300 {
        let violation = run_plan(&two_promoted(), seed, Options::default()).violation;
        assert_eq!(violation, None, "seed {seed}");
    }
}

#[test]
fn a_today_commits_are_lost_by_a_third_node() {
    // Else the run ends where that node is pointed to a primary whose history it has left: fault C.
    let options = Options {
        left_first: true,
        ..Options::today()
    };
    assert!(first(&cable(), 200, options, Wrong::LostCommits).is_some());
}

#[test]
fn c_today_a_standby_that_left_is_pointed_first() {
    was_wrong(&cable(), 200, Wrong::PointedFirst);
}

#[test]
fn b_today_a_fenced_host_takes_over_again() {
    was_wrong(&take_over_after_a_fence(), 3_000, Wrong::TwoWriters);
}

#[test]
fn d_today_two_primaries_stay() {
    was_wrong(&two_for_ever(), 200, Wrong::TwoPrimaries);
}

/// With all mends none of the three happens any more, whatever the delays.
#[test]
fn the_mends_hold() {
    let plans = [cable(), take_over_after_a_fence(), two_for_ever()];
    for (at, plan) in plans.iter().enumerate() {
        for seed in 0..300 {
            let violation = run_plan(plan, seed, Options::default()).violation;
            assert_eq!(violation, None, "plan {at}, seed {seed}");
        }
    }
}

/// With a mend taken out the simulator finds what it is for. A change of the model may want other seeds:
/// `simulate --without NAME` finds them.
#[test]
fn each_mend_is_missed_by_a_seed() {
    let old = MISSED.map(|it| (it, first_mends()));
    // The last one covers for two of them.
    let new = MISSED_WITH_OBSTACLES.map(|it| {
        (
            it,
            Options {
                asked_since: it.0 == "asked_since",
                ..Options::default()
            },
        )
    });
    for ((name, seed), mut options) in old.into_iter().chain(new) {
        assert_eq!(run(seed, options).violation, None, "{name}");
        assert!(options.take_out(name), "{name}");
        assert!(run(seed, options).violation.is_some(), "{name}");
    }
}

#[test]
fn what_a_million_seeds_found_is_mended() {
    let old = ENDED.map(|it| (it, first_world()));
    let new = ENDED_WITH_OBSTACLES.map(|it| (it, Options::default()));
    for ((what, seeds), options) in old.into_iter().chain(new) {
        for seed in seeds {
            let violation = run(*seed, options).violation;
            assert_eq!(violation, None, "{what}: seed {seed}");
        }
    }
}

/// Those of `make simulate`; more are for the night.
#[test]
fn no_seed_goes_wrong() {
    for seed in 0..10_000 {
        assert_eq!(run(seed, Options::default()).violation, None, "seed {seed}");
    }
}

/// `simulate ... | head -1`.
#[test]
fn nobody_has_to_listen() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_simulate"));
    command.args(["--replay", "62", "--trace"]).stdout(writer);
    command.stderr(std::process::Stdio::piped());
    let out = command.spawn().unwrap().wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.is_empty(), "{said}");
}

/// A seed replays exactly.
#[test]
fn a_seed_is_the_same_each_time() {
    let options = Options {
        trace: true,
        ..Options::today()
    };
    let story = || run(62, options).trace;
    assert!(story().len() > 3);
    assert_eq!(story(), story());
}
