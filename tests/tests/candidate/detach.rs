//! An operator's detach of a living primary never ends without a primary, whatever the standby is like.

use anyhow::{Context, Result, bail, ensure};
use lab::layout::{DB_BIN, DEVICE, UID};
use lab::{Lab, LabOptions, Node, Running, STATE, wait_for};

use crate::archive::waits_for_archive;
use crate::no_session::{fill, restart_with};
use crate::scene::{
    FAILOVER, PRIMARY_DOWN, SOON, all_stream, restart_without_waiting, set, went_through,
};
use crate::sessions::{LOCK, held_up};

/// So many rounds in the suite; more by `CANDIDATE_ROUNDS`.
const ROUNDS: u64 = 4;

/// What the standby is like.
struct Obstacle {
    name: &'static str,
    /// Makes it so; what has to live as long as the round is handed over.
    make: fn(&Lab) -> Result<Vec<Running>>,
    /// Does what the log says.
    mend: fn(&Lab) -> Result<()>,
    /// What the log says where it is refused.
    says: &'static str,
}

const KEYS: &str = "/root/.ssh/authorized_keys";

/// What is no reason to refuse.
fn none(_: &Lab) -> Result<()> {
    bail!("there is nothing to mend")
}

fn mv(node: &Node, from: &str, to: &str) -> Result<()> {
    node.run(&["mv", from, to], SOON)?.success().map(drop)
}

const OBSTACLES: [Obstacle; 16] = [
    Obstacle {
        name: "no device for the VIP",
        make: |lab| {
            lab.node(102).set_config(&[("DEV", "no-such0")])?;
            Ok(Vec::new())
        },
        mend: |lab| lab.node(102).set_config(&[("DEV", DEVICE)]),
        says: "DEV",
    },
    Obstacle {
        name: "no right to change the VIP",
        make: |lab| {
            // Whoever does a step there is not root, and vip_ctl has no capabilities.
            lab.node(102).take_rights_from_vip_ctl()?;
            mv(lab.node(102), KEYS, "/root/aside")?;
            Ok(Vec::new())
        },
        mend: |lab| mv(lab.node(102), "/root/aside", KEYS),
        says: "login refused",
    },
    Obstacle {
        name: "no program",
        make: |lab| {
            mv(lab.node(102), &format!("{DB_BIN}/pg_ctl"), "/tmp/")?;
            Ok(Vec::new())
        },
        mend: |lab| mv(lab.node(102), "/tmp/pg_ctl", DB_BIN),
        says: "pg_ctl",
    },
    Obstacle {
        name: "no tools",
        make: |lab| {
            mv(lab.node(102), &format!("{DB_BIN}/failover_stream"), "/tmp/")?;
            Ok(Vec::new())
        },
        mend: |lab| mv(lab.node(102), "/tmp/failover_stream", DB_BIN),
        says: "failover_stream",
    },
    Obstacle {
        name: "no session",
        make: |lab| {
            set(lab.node(102), &[("hot_standby", "off")])?;
            restart_without_waiting(lab.node(102))?;
            all_stream(lab.node(101), 1)?;
            Ok(Vec::new())
        },
        mend: none,
        says: "",
    },
    Obstacle {
        name: "all connections used",
        make: |lab| {
            restart_with(lab, &[("max_connections", "10")])?;
            fill(lab.node(102))
        },
        mend: none,
        says: "",
    },
    Obstacle {
        name: "replay waits for a report",
        make: |lab| {
            let conflict = ["set synchronous_commit = local; truncate report"];
            Ok(vec![held_up(lab, LOCK, &conflict)?])
        },
        mend: none,
        says: "",
    },
    Obstacle {
        name: "isolation",
        make: |lab| {
            let isolation = [("default_transaction_isolation", "serializable")];
            set(lab.node(102), &isolation)?;
            Ok(Vec::new())
        },
        mend: none,
        says: "",
    },
    Obstacle {
        name: "frozen",
        make: |lab| {
            lab.node(102).freeze_database();
            Ok(Vec::new())
        },
        mend: |lab| {
            lab.node(102).thaw_database();
            Ok(())
        },
        says: "kill -CONT",
    },
    Obstacle {
        name: "a full disk",
        make: |lab| {
            lab.node(102).data_disk().fill()?;
            Ok(Vec::new())
        },
        mend: |lab| {
            lab.node(102).data_disk().make_room()?;
            // Its server may have ended where it could not write.
            match lab.node(102).pids_of_database().is_empty() {
                true => lab.node(102).start_database(),
                false => Ok(()),
            }
        },
        says: "make room",
    },
    Obstacle {
        name: "an unfinished rewind",
        make: |lab| {
            let state = r#"{"recovery":{"primary":"192.168.1.101","stage":"rewinding"}}"#;
            lab.node(102).write(STATE, state, 0o640, UID)?;
            Ok(Vec::new())
        },
        mend: |lab| Ok(std::fs::remove_file(lab.node(102).path(STATE)?)?),
        says: "rewind",
    },
    Obstacle {
        name: "replay is paused",
        make: |lab| {
            lab.node(102).psql("select pg_wal_replay_pause()")?;
            Ok(Vec::new())
        },
        mend: none,
        says: "",
    },
    Obstacle {
        name: "down",
        make: |lab| {
            lab.node(102).kill_database()?;
            Ok(Vec::new())
        },
        mend: |lab| lab.node(102).start_database(),
        says: "does not run",
    },
    Obstacle {
        name: "just started",
        make: |lab| {
            restart_without_waiting(lab.node(102))?;
            Ok(Vec::new())
        },
        // It is up in a moment.
        mend: |_| Ok(()),
        says: "",
    },
    Obstacle {
        name: "its archive hangs",
        make: |lab| {
            waits_for_archive(lab, "sleep 7777 || exit 1; exit 0")?;
            Ok(Vec::new())
        },
        mend: none,
        says: "",
    },
    Obstacle {
        name: "cut off",
        make: |lab| {
            lab.node(102).link_down()?;
            Ok(Vec::new())
        },
        mend: |lab| lab.node(102).link_up(),
        // On its own host: no trust IP.
        says: "",
    },
];

/// The next of numbers that look like chance.
fn next(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn it_never_ends_without_a_primary() -> Result<()> {
    let mut seed = from_environment("CANDIDATE_SEED").unwrap_or_else(|| std::process::id().into());
    let only = std::env::var("CANDIDATE_OBSTACLE").ok();
    eprintln!("CANDIDATE_SEED={seed}");
    // Many rounds must not be in the suite's way, nor in that of those from another seed.
    let (name, rounds) = match from_environment("CANDIDATE_ROUNDS") {
        Some(rounds) => (format!("cand-seed-{seed}"), rounds),
        None => ("cand-detach".to_owned(), ROUNDS),
    };
    for round in 0..rounds {
        let drawn = &OBSTACLES[next(&mut seed) as usize % OBSTACLES.len()];
        let mut named = OBSTACLES.iter();
        let named = named.find(|it| Some(it.name) == only.as_deref());
        let obstacle = named.unwrap_or(drawn);
        let coordinator = [101, 102][next(&mut seed) as usize % 2];
        let case = format!("round {round}: {}, run on node{coordinator}", obstacle.name);
        let end = play(&name, obstacle, coordinator).with_context(|| case.clone())?;
        eprintln!("{case}: {end}");
    }
    Ok(())
}

fn play(name: &str, obstacle: &Obstacle, coordinator: u8) -> Result<String> {
    let lab = Lab::start(LabOptions {
        name: name.into(),
        data_disk: 256,
        ..LabOptions::default()
    })?;
    let primary = lab.node(101);
    let begun = "select pg_postmaster_start_time(), pg_is_in_recovery()";
    let before = primary.psql(begun)?;
    let kept = (obstacle.make)(&lab)?;
    let coordinator = lab.node(coordinator);
    let run = coordinator.failover(&PRIMARY_DOWN, FAILOVER)?;
    drop(kept);
    if run.code == Some(0) {
        let new = lab.node(102);
        // Their clients are gone; the server notices when they have slept.
        new.run(&["pkill", "-f", "TEST 192.168.1.102.*SELECT"], SOON)?;
        wait_for("a session", SOON, || new.psql("select 1").map(drop))?;
        went_through(&lab, &run)?;
        return Ok("it went through".to_owned());
    }
    ensure!(run.code == Some(66), "{run}");
    ensure!(
        primary.psql(begun)? == before,
        "the old primary was touched: {run}"
    );
    ensure!(primary.has_vip()?, "the old primary lost its VIP: {run}");
    primary.psql("set synchronous_commit = local; insert into probe values ('still')")?;
    let said = lab.left_nothing(coordinator)?;
    ensure!(said.contains(obstacle.says), "{said}");
    (obstacle.mend)(&lab)?;
    all_stream(primary, 1)?;
    let again = coordinator.failover(&PRIMARY_DOWN, FAILOVER)?;
    went_through(&lab, &again)?;
    Ok(format!("refused ({said}), mended, went through"))
}
