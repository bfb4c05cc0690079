//! A node dies, and the cluster goes on: whole failovers on real hosts. Needs root.

#![allow(
    clippy::print_stderr,
    reason = "the harness keeps what a test prints, and shows it where that one fails"
)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::layout::{DATA, DB_BIN, PRIMARY_DOWN};
use lab::{Event, Flavor, Lab, LabOptions, Node, Watch, contract, wait_for};

const SHORT: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(60);

/// `%H %P %d %h %O %m %M %D` when node103, a standby, is down.
const NODE103_DOWN: [&str; 8] = [
    "192.168.1.101",
    "0",
    "2",
    "192.168.1.103",
    "192.168.1.101",
    "0",
    "0",
    DATA,
];

/// The same of node102.
const NODE102_DOWN: [&str; 8] = [
    "192.168.1.101",
    "0",
    "1",
    "192.168.1.102",
    "192.168.1.101",
    "0",
    "0",
    DATA,
];

#[test]
fn power_cut_with_pool() -> Result<()> {
    Lab::with(with_pools("failover-power", 102), |lab| {
        let watch = Watch::start(lab)?;
        lab.node(101).power_off()?;

        let log = called_by_pool(lab.node(102))?;
        pool_shows(lab, [("down", "standby"), ("up", "primary")])?;
        watch.finish(102)?;
        contract::failover(&log, Flavor::Postgres)?;
        Ok(())
    })
}

#[test]
fn database_killed_host_alive() -> Result<()> {
    Lab::with(two_hosts("failover-killed"), |lab| {
        let watch = Watch::start(lab)?;
        lab.node(101).kill_database()?;

        let log = fail_over(lab.node(102))?;
        watch.finish(102)?;
        assert_logged(
            &log,
            "old primary 192.168.1.101 is fenced: database was not running",
        );
        assert_logged(&log, "add VIP on 192.168.1.102");
        let events = lab.node(102).events()?;
        assert_eq!(event(&events, "fence.vip-off")?.outcome, "done");
        assert_eq!(event(&events, "fence.stop")?.host, "192.168.1.101");
        assert_eq!(event(&events, "promote.wait-wal")?.outcome, "skipped");
        Ok(())
    })
}

/// Its host lives when the failover begins, without an sshd that could fence it, and dies soon after.
#[test]
fn host_dies_while_it_is_being_fenced() -> Result<()> {
    Lab::with(two_hosts("fo-dies"), |lab| {
        let (old, node) = (lab.node(101), lab.node(102));
        old.stop_sshd()?;
        std::thread::scope(|scope| {
            let tool = scope.spawn(|| fail_over(node));
            wait_for("the fence to begin", SHORT, || {
                let log = node.failover_log()?;
                ensure!(log.contains("del old primary VIP on"), "{log}");
                Ok(())
            })?;
            // The first look is over after milliseconds, and nothing tells of it.
            let began = Instant::now();
            wait_for("the first look to be over", SHORT, || {
                ensure!(began.elapsed() > Duration::from_millis(700));
                Ok(())
            })?;
            old.power_off()?;
            let log = tool.join().ok().context("the failover panicked")??;
            assert_logged(&log, "old primary 192.168.1.101 is unreachable");
            ensure!(!node.in_recovery()?, "{log}");
            Ok(())
        })
    })
}

/// Nobody has killed what hangs there before the failover comes: it stops the database itself, up to
/// SIGKILL, and hears in time that what is left of it is stuck.
#[test]
fn data_disk_hangs_and_nothing_else_noticed() -> Result<()> {
    for coordinator in [102, 101] {
        let options = LabOptions {
            data_disk: 1024,
            ..two_hosts("fo-hangs")
        };
        Lab::with(options, |lab| {
            let node = lab.node(coordinator);
            let disk = lab.node(101).data_disk();
            disk.hang()?;

            let log = fail_over(node)?;
            assert_logged(
                &log,
                "old primary 192.168.1.101 is fenced: database killed: processes [",
            );
            assert!(!lab.node(102).in_recovery()?, "{log}");
            disk.go_on()
        })
        .with_context(|| format!("from node{coordinator}"))?;
    }
    Ok(())
}

#[test]
fn database_killed_beside_the_pools_leader() -> Result<()> {
    Lab::with(with_pools("failover-beside", 101), |lab| {
        let watch = Watch::start(lab)?;
        lab.node(101).kill_database()?;

        let log = called_by_pool(lab.node(101))?;
        pool_shows(lab, [("down", "standby"), ("up", "primary")])?;
        watch.finish(102)?;
        assert_logged(
            &log,
            "old primary 192.168.1.101 is fenced: database was not running",
        );
        assert_fenced_here_promoted_there(&lab.node(101).events()?)
    })
}

#[test]
fn database_stopped_by_hand() -> Result<()> {
    Lab::with(two_hosts("failover-stopped"), |lab| {
        let watch = Watch::start(lab)?;
        lab.node(101).stop_database("fast")?;

        let log = fail_over(lab.node(102))?;
        watch.finish(102)?;
        assert_clean_stop(&log, &lab.node(102).events()?)?;
        assert_nothing_lost(lab)
    })
}

#[test]
fn database_stopped_by_hand_on_the_coordinators_host() -> Result<()> {
    Lab::with(two_hosts("failover-local"), |lab| {
        let watch = Watch::start(lab)?;
        lab.node(101).stop_database("fast")?;

        let log = fail_over(lab.node(101))?;
        watch.finish(102)?;
        let events = lab.node(101).events()?;
        assert_clean_stop(&log, &events)?;
        assert_fenced_here_promoted_there(&events)?;
        assert_nothing_lost(lab)
    })
}

#[test]
fn operator_detaches_primary() -> Result<()> {
    detach_primary(with_pools("failover-detach", 102))
}

#[test]
fn operator_detaches_asynchronous_primary() -> Result<()> {
    detach_primary(LabOptions {
        sync: false,
        ..with_pools("failover-detach-async", 102)
    })
}

/// The primary lives and takes writes until the very moment of its stop, which is clean: not even
/// an asynchronous cluster loses one of them.
fn detach_primary(options: LabOptions) -> Result<()> {
    Lab::with(options, |lab| {
        let watch = Watch::start(lab)?;
        lab.pcp_detach(0)?;

        let log = called_by_pool(lab.node(102))?;
        pool_shows(lab, [("down", "standby"), ("up", "primary")])?;
        watch.finish(102)?;
        assert_logged(
            &log,
            "old primary 192.168.1.101 is fenced: database stopped (fast), clean",
        );
        assert_clean_stop(&log, &lab.node(102).events()?)?;
        assert_nothing_lost(lab)
    })
}

#[test]
fn standby_host_dies() -> Result<()> {
    Lab::with(with_pools("failover-standby", 101), |lab| {
        let primary = lab.node(101);
        let watch = Watch::start(lab)?;
        lab.node(102).power_off()?;

        let log = called_by_pool(primary)?;
        pool_shows(lab, [("up", "primary"), ("down", "standby")])?;
        let gap = watch.finish(101)?.longest_gap;
        assert!(gap > Duration::from_secs(1), "commits hung for {gap:?}");
        assert_logged(&log, "standby down, 192.168.1.102 is no primary");
        assert_eq!(primary.psql("show synchronous_standby_names")?, "");
        let steps = primary.events()?;
        let steps: Vec<&str> = steps.iter().map(|event| event.step.as_str()).collect();
        assert_eq!(
            steps,
            [
                "trust-ip",
                "quorum",
                "standby.find-primary",
                "standby.look",
                "standby.async",
                "standby.sender"
            ]
        );
        Ok(())
    })
}

#[test]
fn one_of_two_standbys_dies() -> Result<()> {
    let options = LabOptions {
        nodes: 3,
        ..two_hosts("failover-standbys")
    };
    Lab::with(options, |lab| {
        let watch = Watch::start(lab)?;
        lab.node(103).power_off()?;

        let node = lab.node(102);
        node.failover(&NODE103_DOWN, SHORT)?.success()?;
        watch.finish(101)?;
        assert_logged(
            &node.failover_log()?,
            "standby node102 (192.168.1.102) streams, the primary stays as it is",
        );
        assert_eq!(
            lab.node(101).psql("show synchronous_standby_names")?,
            "1 (node102, node103)"
        );
        Ok(())
    })
}

/// Commits wait for the first that is named, and a primary keeps the connection to a dead host for a minute.
#[test]
fn commits_do_not_wait_for_a_silent_standby_where_another_one_streams() -> Result<()> {
    let options = LabOptions {
        nodes: 3,
        ..two_hosts("failover-silent")
    };
    Lab::with(options, |lab| {
        let (primary, node) = (lab.node(101), lab.node(103));
        let sender =
            || primary.psql("select pid from pg_stat_replication where sync_state = 'sync'");
        let before = sender()?;
        node.failover(&NODE102_DOWN, SHORT)?.success()?;
        assert_eq!(
            sender()?,
            before,
            "a standby that answers keeps its connection"
        );

        let watch = Watch::start(lab)?;
        lab.node(102).power_off()?;
        node.failover(&NODE102_DOWN, SHORT)?.success()?;
        assert_logged(
            &node.failover_log()?,
            "the primary has ended its connection to 192.168.1.102, which gives no answer: commits wait for others",
        );
        let gap = watch.finish(101)?.longest_gap;
        assert!(gap < Duration::from_secs(10), "commits hung for {gap:?}");
        assert_eq!(
            primary.psql(
                "select application_name from pg_stat_replication where sync_state = 'sync'"
            )?,
            "node103"
        );
        Ok(())
    })
}

#[test]
fn a_dry_run_says_what_would_come_of_it_now() -> Result<()> {
    let options = LabOptions {
        nodes: 3,
        ..two_hosts("failover-dry")
    };
    Lab::with(options, |lab| {
        let (old, node) = (lab.node(101), lab.node(102));
        let dry =
            |placeholders: &[&str]| node.failover(&[&["--dry-run"], placeholders].concat(), SHORT);
        let says = |placeholders: &[&str], wanted: &[&str]| -> Result<()> {
            let shown = dry(placeholders)?.success()?;
            for wanted in wanted {
                ensure!(shown.contains(wanted), "no {wanted:?} in {shown}");
            }
            Ok(())
        };
        says(
            &PRIMARY_DOWN,
            &[
                "ok   trust-ip             192.168.1.1 answers",
                "101: its database runs as a primary, on timeline 1: its own copy of the tools would stop it",
                "it is the furthest of 2",
                "now 192.168.1.102 would become the primary",
            ],
        )?;
        says(&NODE103_DOWN, &["now the primary would stay as it is"])?;
        ensure!(old.psql("select pg_is_in_recovery()")? == "f");
        ensure!(node.failover_log()?.is_empty(), "a look has no log");

        old.kill_database()?;
        says(
            &PRIMARY_DOWN,
            &[
                "its database does not run: fenced",
                "would become the primary",
            ],
        )?;
        old.power_off()?;
        says(
            &PRIMARY_DOWN,
            &["192.168.1.101 is unreachable", "would become the primary"],
        )?;
        let never = [&["--dry-run", "--json"], &PRIMARY_DOWN[..]].concat();
        node.set_config(&[("PROMOTE_WITHOUT_FENCE", "never")])?;
        let told: serde_json::Value =
            serde_json::from_str(node.failover(&never, SHORT)?.success()?.trim())?;
        let failed: Vec<_> = told["now"]
            .as_array()
            .context("no now")?
            .iter()
            .filter(|it| it["well"] == false)
            .collect();
        ensure!(failed.len() == 1 && failed[0]["step"] == "fence", "{told}");
        ensure!(
            told["end"]
                .as_str()
                .is_some_and(|it| it.contains("refused")),
            "{told}"
        );
        lab.node(103).power_off()?;
        says(
            &PRIMARY_DOWN,
            &["of 3 hosts only 1 are seen", "now it would be refused"],
        )
    })
}

/// The pool asks only those that it has up which of them is the primary, so it has to be told of this one.
#[test]
fn furthest_standby_is_down_in_the_pool() -> Result<()> {
    let options = LabOptions {
        nodes: 3,
        ..with_pools("fo-down", 102)
    };
    Lab::with(options, |lab| {
        let (primary, given) = (lab.node(101), lab.node(102));
        let shows = |wanted: [(&str, &str); 3]| {
            wait_for("the pool to show it", LONG, || lab.pool_shows(&wanted))
        };
        lab.pcp_detach(2)?;
        shows([("up", "primary"), ("up", "standby"), ("down", "standby")])?;
        // Writes what the pool shows into KB_CLUSTER_STATUS.
        given.recover(&[], LONG)?.success()?;
        given.psql("alter system set primary_conninfo = ''")?;
        given.psql("select pg_reload_conf()")?;
        wait_for("node102 to receive no more", SHORT, || {
            let receivers = given.psql("select count(*) from pg_stat_wal_receiver")?;
            ensure!(receivers == "0", "{receivers} receivers");
            Ok(())
        })?;
        primary.psql("insert into probe values ('only on node103')")?;
        primary.power_off()?;

        // The detachment was the first time.
        let log = wait_for("the failover of the primary", LONG, || {
            let log = called_by_pool(given)?;
            ensure!(log.contains(" 1)new_master : 192.168.1.102\n"), "{log}");
            Ok(log)
        })?;
        for line in [
            "192.168.1.103 becomes the new primary: ",
            "warning: the pool has 192.168.1.103 down",
            "pcp_attach_node -- Command Successful",
        ] {
            assert_logged(&log, line);
        }
        assert_eq!(event(&given.events()?, "attach")?.outcome, "done");
        shows([("down", "standby"), ("up", "standby"), ("up", "primary")])
    })
}

#[test]
fn second_run_changes_nothing() -> Result<()> {
    Lab::with(two_hosts("failover-again"), |lab| {
        let node = lab.node(102);
        let state = || -> Result<_> {
            let server = "select pg_postmaster_start_time(), timeline_id, \
                          current_setting('synchronous_standby_names') from pg_control_checkpoint()";
            let slots = "select slot_name, restart_lsn from pg_replication_slots";
            Ok([node.psql(server)?, node.psql(slots)?])
        };
        let watch = Watch::start(lab)?;
        lab.node(101).kill_database()?;
        fail_over(node)?;
        let before = state()?;

        let log = fail_over(node)?;
        watch.finish(102)?;
        assert_logged(&log, "postgres is primary already, nothing to promote");
        assert_eq!(state()?, before);
        Ok(())
    })
}

/// From the start of a failover, or of a bare promotion.
#[derive(Debug)]
struct Times {
    first_commit: Duration,
    end: Duration,
}

/// Prints how long failovers take, against the bare promotion. Of their speed only the order of
/// magnitude is asserted: the machine may be busy with something else.
#[test]
fn time_beyond_the_bare_promotion() -> Result<()> {
    let bare = median_times(
        "bare promotion",
        |node101| node101.power_off(),
        |lab| {
            let pg_ctl = format!("{DB_BIN}/pg_ctl");
            let promote = [&pg_ctl, "promote", "-w", "-D", DATA];
            let run = lab.node(102).run_as("kingbase", &promote, SHORT)?;
            run.success().map(drop)
        },
    )?;
    for (what, down, coordinator) in [
        ("dead host", Node::power_off as fn(&Node) -> Result<()>, 102),
        ("killed database", Node::kill_database, 102),
        ("killed database, local fence", Node::kill_database, 101),
    ] {
        let times = median_times(what, down, |lab| fail_over(lab.node(coordinator)).map(drop))?;
        let beyond = |time: Duration| time.saturating_sub(bare.first_commit).as_millis();
        eprintln!(
            "{what}: first commit {} ms after the bare promotion's, end {} ms",
            beyond(times.first_commit),
            beyond(times.end)
        );
        assert!(times.end < Duration::from_secs(5), "{what}: {times:?}");
    }
    Ok(())
}

fn median_times(
    what: &str,
    down: impl Fn(&Node) -> Result<()>,
    promote: impl Fn(&Lab) -> Result<()>,
) -> Result<Times> {
    let mut rounds = Vec::new();
    for _ in 0..3 {
        // Asynchronous, since a bare promotion leaves a synchronous standby waiting for another.
        let options = LabOptions {
            sync: false,
            ..two_hosts("failover-times")
        };
        Lab::with(options, |lab| {
            down(lab.node(101))?;
            silent_receiver(lab.node(102))?;
            rounds.push(timed(lab.node(102), || promote(lab))?);
            Ok(())
        })?;
    }
    eprintln!("{what}: {rounds:?}");
    let median = |time: fn(&Times) -> Duration| {
        let mut all: Vec<Duration> = rounds.iter().map(time).collect();
        all.sort();
        all[all.len() / 2]
    };
    Ok(Times {
        first_commit: median(|times| times.first_commit),
        end: median(|times| times.end),
    })
}

/// Waits until the WAL receiver of `node`, if it has one, has heard nothing for a second: the pool
/// does not call any earlier either, and a primary that was heard just now counts as alive.
fn silent_receiver(node: &Node) -> Result<()> {
    let heard = "select count(*) from pg_stat_wal_receiver \
                 where clock_timestamp() - last_msg_receipt_time < '1 s'";
    wait_for("the primary to fall silent", SHORT, || {
        ensure!(node.psql(heard)? == "0", "it was heard a moment ago");
        Ok(())
    })
}

/// Promotes `node`, while somebody tries to write there all the time.
fn timed(node: &Node, promote: impl FnOnce() -> Result<()>) -> Result<Times> {
    let start = Instant::now();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            wait_for("the first commit", LONG, || {
                node.psql("insert into probe values ('first')")
            })?;
            anyhow::Ok(start.elapsed())
        });
        promote()?;
        let end = start.elapsed();
        let first_commit = writer.join().ok().context("the writer panicked")??;
        Ok(Times { first_commit, end })
    })
}

fn two_hosts(name: &str) -> LabOptions {
    LabOptions {
        name: name.into(),
        ..LabOptions::default()
    }
}

/// Two hosts with a pool each; that of host `leader` calls the failover command.
fn with_pools(name: &str, leader: u8) -> LabOptions {
    LabOptions {
        pools: 2,
        leader,
        ..two_hosts(name)
    }
}

/// Calls the tool as the pool would, node101 being down; returns its log.
fn fail_over(coordinator: &Node) -> Result<String> {
    coordinator.failover(&PRIMARY_DOWN, SHORT)?.success()?;
    let log = coordinator.failover_log()?;
    ensure!(is_whole(&log), "no footer in {log}");
    Ok(log)
}

/// Waits until the pool of this host has called the tool and the tool is done; returns its log.
fn called_by_pool(leader: &Node) -> Result<String> {
    wait_for("the end of the failover", LONG, || {
        let log = leader.failover_log()?;
        ensure!(is_whole(&log), "no footer in {log:?}");
        Ok(log)
    })
}

fn is_whole(log: &str) -> bool {
    let footer = "failover end---------------------------------------\n";
    log.ends_with(footer)
}

/// Waits until the pool shows this status and role of each node.
fn pool_shows(lab: &Lab, wanted: [(&str, &str); 2]) -> Result<()> {
    wait_for("the pool to show it", LONG, || lab.pool_shows(&wanted))
}

/// What became of a step.
fn event<'a>(events: &'a [Event], step: &str) -> Result<&'a Event> {
    let found = events.iter().find(|event| event.step == step);
    found.with_context(|| format!("no step {step} in {events:?}"))
}

fn assert_logged(log: &str, text: &str) {
    assert!(log.contains(text), "no {text:?} in {log}");
}

/// The coordinator stood on the old primary's host, and the new one's is the other.
fn assert_fenced_here_promoted_there(events: &[Event]) -> Result<()> {
    assert_eq!(event(events, "fence.stop")?.host, "192.168.1.101");
    assert_eq!(event(events, "promote.promote")?.host, "192.168.1.102");
    Ok(())
}

/// The old primary's last word was seen to have arrived before the promotion.
fn assert_clean_stop(log: &str, events: &[Event]) -> Result<()> {
    assert_logged(log, "clean, shutdown checkpoint at ");
    let wait = event(events, "promote.wait-wal")?;
    assert!(
        wait.outcome == "done" && wait.detail.starts_with("the shutdown checkpoint at "),
        "{wait:?}"
    );
    Ok(())
}

/// Looks into the old primary's own database: every row that it had, acknowledged or not, is on
/// the new one. After this there are two primaries.
fn assert_nothing_lost(lab: &Lab) -> Result<()> {
    let (old, new) = (lab.node(101), lab.node(102));
    old.start_database()?;
    let lost = &lab.rows_present(old)? - &lab.rows_present(new)?;
    assert!(lost.is_empty(), "lost {lost:?}");
    Ok(())
}
