//! The cluster as a whole: no pool knows a primary, and what the hosts tell each other decides.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::layout::{DATA, LOG};
use lab::{Lab, LabOptions, Node, ToolRun, wait_for};

use crate::drill::at_once;
use crate::scene::{RECOVERY, SHORT, recover, two_hosts, wait_for_status, wait_until_whole};

/// For a pool that looks for a primary in vain.
const GIVES_UP: Duration = Duration::from_secs(60);

fn without_pool(name: &str) -> LabOptions {
    LabOptions {
        pools: 0,
        ..two_hosts(name)
    }
}

fn ends(node: &Node, code: i32, why: &str) -> Result<ToolRun> {
    let run = node.recover(&[], RECOVERY)?;
    ensure!(run.code == Some(code), "{run}");
    ensure!(run.stderr.contains(why), "no {why:?} in {run}");
    Ok(run)
}

/// I: the pool's command came to nothing, and nobody calls it again. The standby streamed to the end.
#[test]
fn a_failover_that_came_to_nothing_is_made_up_for() -> Result<()> {
    let options = LabOptions {
        failover_command: "/bin/true".into(),
        pgpool: vec![("search_primary_node_timeout".into(), "2".into())],
        ..at_once("nr-made-up")
    };
    let options = LabOptions {
        pgpool: [at_once("nr-made-up").pgpool, options.pgpool].concat(),
        ..options
    };
    Lab::with(options, |lab| {
        let (old, new) = (lab.node(101), lab.node(102));
        old.kill_database()?;
        wait_for("the pool to give up", GIVES_UP, || {
            let nodes = lab.pool_nodes()?;
            ensure!(nodes.iter().all(|it| it.role != "primary"), "{nodes:?}");
            Ok(())
        })?;
        ensure!(new.in_recovery()?, "it was promoted");
        let run = new.recover(&[], RECOVERY)?;
        ensure!(run.code == Some(0), "{run}\n{}", new.recovery_log()?);
        ensure!(!new.in_recovery()?, "it was not promoted: {run}");
        // The next minutes make the rest whole.
        recover(new)?;
        recover(old)?;
        wait_until_whole(lab, 102, SHORT)
    })
}

/// One that was started since may lack what the primary has committed alone: a person decides.
#[test]
fn a_standby_that_was_started_since_is_not_promoted_by_itself() -> Result<()> {
    let options = LabOptions {
        failover_command: "/bin/true".into(),
        ..at_once("nr-stale")
    };
    let options = LabOptions {
        pgpool: [
            options.pgpool.clone(),
            vec![("search_primary_node_timeout".into(), "2".into())],
        ]
        .concat(),
        ..options
    };
    Lab::with(options, |lab| {
        let (old, new) = (lab.node(101), lab.node(102));
        old.kill_database()?;
        wait_for("the pool to give up", GIVES_UP, || {
            let nodes = lab.pool_nodes()?;
            ensure!(nodes.iter().all(|it| it.role != "primary"), "{nodes:?}");
            Ok(())
        })?;
        new.stop_database("fast")?;
        new.start_database()?;
        ends(new, 1, "start the database on 192.168.1.101")?;
        ensure!(new.in_recovery()?, "it was promoted");
        Ok(())
    })
}

/// F: a standby takes no writes, so it is started though there is no primary.
#[test]
fn a_standby_is_started_without_a_primary() -> Result<()> {
    Lab::with(without_pool("nr-no-primary"), |lab| {
        let (old, standby) = (lab.node(101), lab.node(102));
        old.power_off()?;
        standby.stop_database("fast")?;
        let run = standby.recover(&[], RECOVERY)?;
        ensure!(run.code != Some(2), "{run}");
        ensure!(
            standby.in_recovery()?,
            "it does not run as a standby: {run}"
        );
        // Without its settings it would be one more primary.
        standby.stop_database("fast")?;
        standby
            .run(&["rm", &format!("{DATA}/standby.signal")], SHORT)?
            .success()?;
        let run = standby.recover(&[], RECOVERY)?;
        ensure!(run.code == Some(66), "{run}");
        ensure!(
            standby.pids_of_database().is_empty(),
            "it was started: {run}"
        );
        Ok(())
    })
}

/// D: two primaries, no pool that names one, and every host answers: the timelines prove which is right.
#[test]
fn of_two_primaries_the_replaced_one_stops() -> Result<()> {
    Lab::with(without_pool("nr-rival"), |lab| {
        let (old, new) = (lab.node(101), lab.node(102));
        old.link_down()?;
        new.failover(&lab::layout::PRIMARY_DOWN, RECOVERY)?
            .success()?;
        // What its own run does is looked at here, and not that of the watch.
        new.run(&["pkill", "-f", "failover_stream --watch"], SHORT)?;
        old.link_up()?;
        wait_for("both to be primaries", SHORT, || {
            ensure!(!old.in_recovery()? && !new.in_recovery()?, "not yet");
            Ok(())
        })?;
        // The right one changes nothing, and says what is to be done.
        ends(new, 1, "its own network_rewind stops it")?;
        ensure!(!new.in_recovery()?, "it was stopped");
        let run = old.recover(&[], RECOVERY)?;
        let down = old.pids_of_database().is_empty();
        ensure!(
            down || old.in_recovery()?,
            "two primaries: {run}\n{}",
            old.recovery_log()?
        );
        ensure!(!old.has_vip()?, "both have the VIP");
        ensure!(new.has_vip()?, "nobody has the VIP");
        new.query(
            "set synchronous_commit = local; insert into probe values ('new')",
            SHORT,
        )?;
        Ok(())
    })
}

/// E: somebody has started what was half rewound. It may have clients: a person decides.
#[test]
fn a_primary_under_the_mark_of_a_rewind_is_not_stopped() -> Result<()> {
    Lab::with(two_hosts("nr-marked"), |lab| {
        let old = lab.node(101);
        old.kill_database()?;
        crate::scene::failed_over(lab, 101)?;
        let died = old.recover(&["--die-after", "recover.mark"], RECOVERY)?;
        ensure!(died.signal == Some(9), "{died}");
        let signal = format!("{DATA}/standby.signal");
        old.run(&["rm", "-f", &signal], SHORT)?.success()?;
        ensure!(old.start_database().is_err(), "half of it starts");
        old.run(&["chmod", "700", DATA], SHORT)?.success()?;
        old.start_database()?;
        ensure!(!old.in_recovery()?, "it is a standby");
        ends(
            old,
            1,
            "was left unfinished, and its database runs as a primary",
        )?;
        ensure!(!old.in_recovery()?, "it was stopped");
        Ok(())
    })
}

/// The pool has an old primary, and a newer one runs beside it: whoever joined the old one would acknowledge
/// commits that are lost when that one is stopped.
#[test]
fn nobody_joins_an_old_primary_beside_the_new_one() -> Result<()> {
    let options = LabOptions {
        nodes: 3,
        ..two_hosts("nr-beside")
    };
    Lab::with(options, |lab| {
        let (old, new, third) = (lab.node(101), lab.node(102), lab.node(103));
        third.stop_database("fast")?;
        wait_for_status(lab, third, "down")?;
        let promote = ["--step", "promote", "--deadline", "8000"];
        new.failover(&promote, RECOVERY)?.success()?;
        wait_for("both to be primaries", SHORT, || {
            ensure!(!old.in_recovery()? && !new.in_recovery()?, "not yet");
            Ok(())
        })?;
        ends(third, 1, "this node joins neither while both run")?;
        ensure!(third.pids_of_database().is_empty(), "it was started");
        // The old one's own host proves it.
        old.recover(&[], RECOVERY)?;
        let primary = || old.in_recovery().is_ok_and(|it| !it);
        ensure!(!primary(), "it was not stopped: {}", old.recovery_log()?);
        wait_for("the pool to have the new one", GIVES_UP, || {
            let nodes = lab.pool_nodes()?;
            let named = nodes.iter().find(|it| it.role == "primary");
            ensure!(named.is_some_and(|it| it.id == new.id()), "{nodes:?}");
            Ok(())
        })?;
        recover(third)?;
        lab.streams(103, 102)
    })
}

/// A standby that the primary's cluster needs is being recovered: the primary goes on, whatever the pool thinks.
#[test]
fn a_primary_is_not_stopped_while_the_only_standby_is_being_recovered() -> Result<()> {
    Lab::with(without_pool("nr-coming"), |lab| {
        let (old, new) = (lab.node(101), lab.node(102));
        new.stop_database("fast")?;
        let lock = format!("{LOG}/instance.lock");
        let hold =
            format!("touch {lock}; flock {lock} sh -c 'touch /tmp/held; exec tail -f /dev/null'");
        new.spawn_daemon(lab::layout::USER, &["sh", "-c", &hold])?;
        wait_for("the lock", SHORT, || new.read("/tmp/held"))?;
        let run = new.failover(&lab::layout::PRIMARY_DOWN, RECOVERY)?;
        let why = "192.168.1.102: a recovery works on it, and its database does not answer";
        ensure!(run.code == Some(66) && run.stderr.contains(why), "{run}");
        ensure!(!old.in_recovery()?, "it was stopped");
        // A dead one is replaced, as soon as the recovery lets go.
        new.run(&["pkill", "-f", "tail -f /dev/null"], SHORT)?;
        new.start_database()?;
        wait_for("it to stream", SHORT, || lab.streams(102, 101))?;
        old.kill_database()?;
        new.failover(&lab::layout::PRIMARY_DOWN, RECOVERY)?
            .success()?;
        ensure!(!new.in_recovery()?, "it was not promoted");
        Ok(())
    })
}
