//! An operator's detach of a living primary never ends without a primary, whatever the standby is like.

use anyhow::{Context, Result, ensure};
use lab::layout::{DB_BIN, LOG, UID};
use lab::{Lab, Running};

use crate::scene::{
    FAILOVER, PRIMARY_DOWN, SOON, restart_without_waiting, set, two_hosts, went_through,
};
use crate::sessions::{LOCK, held_up};

/// So many rounds in the suite; more by `CANDIDATE_ROUNDS`.
const ROUNDS: u64 = 4;

/// What the standby is like; what has to live as long as the round is handed over.
type Obstacle = fn(&Lab) -> Result<Option<Running>>;

const OBSTACLES: [(&str, Obstacle); 10] = [
    ("no device for the VIP", |lab| {
        lab.node(102).set_config(&[("DEV", "no-such0")])?;
        Ok(None)
    }),
    ("no program", |lab| {
        let ctl = format!("{DB_BIN}/pg_ctl");
        lab.node(102).run(&["mv", &ctl, "/tmp/"], SOON)?.success()?;
        Ok(None)
    }),
    ("no tools", |lab| {
        let tool = format!("{DB_BIN}/failover_stream");
        lab.node(102)
            .run(&["mv", &tool, "/tmp/"], SOON)?
            .success()?;
        Ok(None)
    }),
    ("no session", |lab| {
        set(lab.node(102), &[("hot_standby", "off")])?;
        restart_without_waiting(lab.node(102))?;
        Ok(None)
    }),
    ("replay waits for a report", |lab| {
        let conflict = ["set synchronous_commit = local; truncate report"];
        held_up(lab, LOCK, &conflict).map(Some)
    }),
    ("isolation", |lab| {
        set(
            lab.node(102),
            &[("default_transaction_isolation", "serializable")],
        )?;
        Ok(None)
    }),
    ("frozen", |lab| {
        lab.node(102).freeze_database();
        Ok(None)
    }),
    ("an unfinished rewind", |lab| {
        let state = r#"{"recovery":{"primary":"192.168.1.101","stage":"rewinding"}}"#;
        let file = format!("{LOG}/network_rewind.json");
        lab.node(102).write(&file, state, 0o640, UID)?;
        Ok(None)
    }),
    ("replay is paused", |lab| {
        lab.node(102).psql("select pg_wal_replay_pause()")?;
        Ok(None)
    }),
    ("down", |lab| {
        lab.node(102).kill_database()?;
        Ok(None)
    }),
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
    eprintln!("CANDIDATE_SEED={seed}");
    for round in 0..from_environment("CANDIDATE_ROUNDS").unwrap_or(ROUNDS) {
        let (name, obstacle) = OBSTACLES[next(&mut seed) as usize % OBSTACLES.len()];
        let coordinator = [101, 102][next(&mut seed) as usize % 2];
        let case = format!("round {round}: {name}, run on node{coordinator}");
        let end = play(obstacle, coordinator).with_context(|| case.clone())?;
        eprintln!("{case}: {end}");
    }
    Ok(())
}

fn play(obstacle: Obstacle, coordinator: u8) -> Result<&'static str> {
    let lab = two_hosts("cand-detach")?;
    let primary = lab.node(101);
    let begun = "select pg_postmaster_start_time(), pg_is_in_recovery()";
    let before = primary.psql(begun)?;
    let _kept = obstacle(&lab)?;
    let run = lab.node(coordinator).failover(&PRIMARY_DOWN, FAILOVER)?;
    if run.code == Some(0) {
        went_through(&lab, &run)?;
        return Ok("it went through");
    }
    ensure!(run.code == Some(66), "{run}");
    ensure!(
        primary.psql(begun)? == before,
        "the old primary was touched: {run}"
    );
    ensure!(primary.has_vip()?, "the old primary lost its VIP: {run}");
    primary.psql("set synchronous_commit = local; insert into probe values ('still')")?;
    Ok("refused, the old primary was left as it is")
}
