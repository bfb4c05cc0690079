//! The drills that are fast, and the checker's own trial: runs that are broken on purpose must not
//! pass it. Needs root.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::drills::all;
use lab::layout::{DATA, DATABASE_VIP, DB_BIN, DEVICE, LOG, UID, USER};
use lab::{Expected, Lab, LabOptions, Loss, Node, Watch, wait_for};

const SHORT: Duration = Duration::from_secs(10);

/// A test for each fast drill: two of them are played side by side, and one that failed is played once more
/// alone. `make drills` plays all that there are.
macro_rules! fast_drills {
    ($($test:ident: $name:literal,)*) => {
        const FAST: &[&str] = &[$($name),*];
        $(
            #[test]
            fn $test() -> Result<()> {
                plays($name)
            }
        )*
    };
}

fast_drills! {
    a2_primary_killed: "A2",
    a2_pool_elsewhere: "A2-pool-elsewhere",
    a3_primary_stopped: "A3",
    a4_primary_frozen: "A4",
    a8_operators_detach: "A8",
    b1_standby_without_power: "B1",
    b2_standby_killed: "B2",
    b3_standby_promoted: "B3",
    b4_standby_cut_off: "B4",
    c2_gateway_down: "C2",
    c3_pools_down: "C3",
    c5_vip_of_a_stranger: "C5",
    d7_paused: "D7",
    e3_boot: "E3-boot",
}

fn plays(name: &str) -> Result<()> {
    let drills = all();
    let drill = drills.iter().find(|drill| drill.name() == name);
    let outcome = drill.context("there is no such drill")?.run();
    outcome.keep()?;
    let (problems, screen) = (&outcome.problems, &outcome.screen);
    ensure!(outcome.passed(), "{problems:#?}\n{screen}");
    Ok(())
}

#[test]
fn each_fast_drill_is_a_test() {
    let drills = all();
    let fast = drills.iter().filter(|drill| drill.fast);
    let mut names: Vec<String> = fast.map(|drill| drill.name()).collect();
    names.sort();
    assert_eq!(names, FAST);
}

#[test]
fn each_drill_has_a_name_of_its_own() {
    let mut names: Vec<String> = all().iter().map(|drill| drill.name()).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    for (letter, rows) in [('A', 9), ('B', 7), ('C', 6), ('D', 8), ('E', 9)] {
        for row in (1..=rows).map(|number| format!("{letter}{number}")) {
            assert!(all().iter().any(|drill| drill.row == row), "no {row}");
        }
    }
}

/// What the checker says of a run in which something was done to the cluster.
fn problems(lab: &Lab, harm: impl FnOnce() -> Result<()>) -> Result<Vec<String>> {
    let watch = Watch::start(lab)?;
    harm()?;
    Ok(watch.answers(&Expected::whole(101)).problems)
}

#[track_caller]
fn assert_finds(found: &[String], wanted: &[&str]) {
    for text in wanted {
        let has = found.iter().any(|problem| problem.contains(text));
        assert!(has, "no {text:?} in {found:#?}");
    }
}

fn sh(node: &Node, script: &str) -> Result<()> {
    node.run(&["sh", "-c", script], SHORT)?.success().map(drop)
}

#[test]
fn the_checker_finds_what_is_wrong() -> Result<()> {
    let options = LabOptions {
        name: "dr-checker".into(),
        pools: 2,
        ..LabOptions::default()
    };
    Lab::with(options, |lab| {
        let (primary, standby) = (lab.node(101), lab.node(102));
        let nothing = problems(lab, || Ok(()))?;
        assert_eq!(nothing, Vec::<String>::new());

        leftovers(lab, standby)?;
        vip_on_two_hosts(lab, standby)?;

        let found = problems(lab, || {
            primary
                .psql("delete from rows where n in (select n from rows order by n desc limit 3)")?;
            Ok(())
        })?;
        assert_finds(&found, &["3 acknowledged rows are not on node101"]);
        lost_without_excuse(lab, primary)?;

        let found = problems(lab, || {
            lab.pcp_detach(1)?;
            wait_for("the pool to have it down", SHORT, || {
                ensure!(lab.pool_shows_all_up(101).is_err(), "all up");
                Ok(())
            })
        })?;
        assert_finds(&found, &["in vain for the cluster to be whole"]);

        a_second_writer(lab, standby)
    })
}

/// A drill in which rows may be lost: not those that no other database ever took.
fn lost_without_excuse(lab: &Lab, primary: &Node) -> Result<()> {
    let watch = Watch::start(lab)?;
    let expected = Expected {
        may_lose: Some(Loss {
            why: "a trial",
            harm: Instant::now(),
        }),
        ..Expected::whole(101)
    };
    primary.psql("delete from rows where n in (select n from rows order by n desc limit 3)")?;
    let found = watch.answers(&expected).problems;
    let wanted = "3 acknowledged rows are not on node101, for which there is no excuse";
    assert_finds(&found, &[wanted]);
    ensure!(found.len() == 1, "{found:?}");
    Ok(())
}

fn leftovers(lab: &Lab, node: &Node) -> Result<()> {
    let state = format!("{LOG}/network_rewind.json");
    let event = format!("{LOG}/events.jsonl");
    let half = format!("{DATA}/.postgresql.auto.conf.new");
    let lock = format!("{LOG}/network_rewind.lock");
    type Case<'a> = (&'a str, &'a dyn Fn() -> Result<()>, &'a str, &'a str);
    let cases: [Case<'_>; 5] = [
        (
            "a process",
            &|| node.spawn_daemon("root", &["ping", "-c", "600", "192.168.1.1"]),
            "pkill ping",
            "ping -c 600",
        ),
        (
            "a lock",
            &|| {
                node.spawn_daemon(USER, &["flock", &lock, "sleep", "600"])?;
                wait_for("the lock", SHORT, || {
                    ensure!(!node.unfinished()?.is_empty(), "it is free");
                    Ok(())
                })
            },
            "pkill sleep",
            "network_rewind.lock is held",
        ),
        (
            "a half written file",
            &|| node.write(&half, "primary_conn", 0o600, UID),
            &format!("rm {half}"),
            ".postgresql.auto.conf.new",
        ),
        (
            "an unfinished recovery",
            &|| node.write(&state, "{\"recovery\":{}}", 0o600, UID),
            &format!("rm {state}"),
            "a recovery is unfinished",
        ),
        (
            "half an event",
            &|| node.write(&event, "{\"run\":", 0o600, UID),
            &format!("rm {event}"),
            "events.jsonl",
        ),
    ];
    for (case, leave, remove, wanted) in cases {
        let found = problems(lab, leave)?;
        assert_finds(&found, &["the last trace of a run", wanted]);
        ensure!(found.len() == 1, "{case}: {found:?}");
        sh(node, remove)?;
    }
    Ok(())
}

fn vip_on_two_hosts(lab: &Lab, node: &Node) -> Result<()> {
    let drop_vip = || sh(node, &format!("ip addr del {DATABASE_VIP}/24 dev {DEVICE}"));
    let found = problems(lab, || node.add_vip())?;
    drop_vip()?;
    assert_finds(
        &found,
        &[
            "the database VIP is on [101, 102], not [101]",
            "two hosts had the VIP at the same time",
        ],
    );
    // For a moment is long enough.
    let watch = Watch::start(lab)?;
    node.add_vip()?;
    wait_for("the prober to have seen it", SHORT, || {
        ensure!(watch.prober().two_holders().is_some(), "it has not");
        Ok(())
    })?;
    drop_vip()?;
    let found = watch.answers(&Expected::whole(101)).problems;
    assert_finds(&found, &["two hosts had the VIP at the same time"]);
    Ok(())
}

fn a_second_writer(lab: &Lab, node: &Node) -> Result<()> {
    let watch = Watch::start(lab)?;
    let pg_ctl = format!("{DB_BIN}/pg_ctl");
    let promote = [&pg_ctl, "promote", "-w", "-D", DATA];
    node.run_as(USER, &promote, SHORT)?.success()?;
    wait_for("the prober to have seen it", SHORT, || {
        ensure!(watch.prober().two_writers().is_some(), "it has not");
        Ok(())
    })?;
    let found = watch.answers(&Expected::whole(101)).problems;
    assert_finds(
        &found,
        &[
            "primaries are [101, 102], not [101]",
            "two databases took writes at the same time",
        ],
    );
    // What is gone in the end was there all the same.
    let watch = Watch::start(lab)?;
    wait_for("the prober to have seen it", SHORT, || {
        ensure!(watch.prober().two_writers().is_some(), "it has not");
        Ok(())
    })?;
    node.kill_database()?;
    let found = watch.answers(&Expected::primary(101)).problems;
    assert_finds(&found, &["two databases took writes at the same time"]);
    Ok(())
}
