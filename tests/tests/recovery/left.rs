//! A standby whose history has left its primary's, and which is down: no server starts on it any more.

use std::mem::swap;

use anyhow::{Context, Result, ensure};
use lab::layout::{DATA, UID};
use lab::{Lab, Node, wait_for};

use crate::drill::{at_once, killed_with_rows_of_its_own, recovers};
use crate::scene::{RECOVERY, SHORT, assert_logged};

/// Goes down in each of these ways, the two hosts taking turns; `settings` are those that make a
/// person's standby of an old primary.
pub fn goes_down(
    lab: &Lab,
    (mut old, mut new): (u8, u8),
    settings: impl Fn(&Node) -> Result<()>,
) -> Result<()> {
    let dies = |node: &Node| {
        let died = node.recover(&["--die-after", "recover.stop"], RECOVERY)?;
        ensure!(died.signal == Some(9), "{died}");
        ensure!(node.pids_of_database().is_empty(), "it runs: {died}");
        Ok(())
    };
    for way in ["a recovery died", "stopped", "killed"] {
        let go_down = |node: &Node| match way {
            "stopped" => node.stop_database("fast"),
            "killed" => node.kill_database(),
            _ => dies(node),
        };
        let turn = || -> Result<()> {
            killed_with_rows_of_its_own(lab, old)?;
            let node = lab.node(old);
            settings(node)?;
            node.start_database()?;
            ensure!(node.in_recovery()?, "it is a primary");
            hears_of_the_timeline_of(node, lab.node(new))?;
            go_down(node)?;
            ensure!(node.start_database().is_err(), "it starts");
            let before = node.recovery_log()?.len();
            recovers(lab, node, new)?;
            let log = node.recovery_log()?.split_off(before);
            // Fenced by its own copy, it is an old primary until it was recovered, whatever it ran as.
            assert_logged(
                &log,
                "this node does not run, and was a primary; it is recovered",
            );
            Ok(())
        };
        turn().with_context(|| way.to_owned())?;
        swap(&mut old, &mut new);
    }
    Ok(())
}

/// Its WAL receiver has brought the history of the primary's timeline.
fn hears_of_the_timeline_of(node: &Node, primary: &Node) -> Result<()> {
    let histories = |node: &Node| {
        let list = format!("cd {DATA} && ls */*.history");
        node.run(&["sh", "-c", &list], SHORT)?.success()
    };
    let all = histories(primary)?;
    let newest = all.lines().last().context("it was not promoted")?;
    wait_for("the history of the new timeline", SHORT, || {
        let seen = histories(node)?;
        ensure!(seen.lines().any(|it| it == newest), "{newest}: {seen}");
        Ok(())
    })
}

#[test]
fn a_standby_that_has_left_and_is_down() -> Result<()> {
    Lab::with(at_once("nr-left"), |lab| {
        // Both have the settings of a standby of the other then.
        killed_with_rows_of_its_own(lab, 101)?;
        recovers(lab, lab.node(101), 102)?;
        goes_down(lab, (102, 101), |node| {
            node.write(&format!("{DATA}/standby.signal"), "", 0o600, UID)
        })
    })
}

/// What a recovery has made whole, and somebody has promoted since, is a history of its own. A rewind that went on
/// from what was kept before the first one would not see what this node has written since.
#[test]
fn promoted_before_its_recovery_was_over() -> Result<()> {
    Lab::with(at_once("nr-promoted-since"), |lab| {
        // No WAL that a recovery replays touches it any more, and no reader its hint bits.
        for statement in [
            "create table still as select generate_series(1, 1000) n",
            "vacuum freeze still",
            "checkpoint",
        ] {
            lab.node(101).psql(statement)?;
        }
        killed_with_rows_of_its_own(lab, 101)?;
        let node = lab.node(101);
        let died = node.recover(&["--die-after", "recover.start"], RECOVERY)?;
        ensure!(died.signal == Some(9), "{died}");
        node.promote_database()?;
        let changes = [
            "set synchronous_commit = local; insert into probe values ('since'); delete from still where n % 2 = 0",
            "vacuum still",
        ];
        for change in changes {
            node.psql(change)?;
        }
        node.stop_database("fast")?;
        recovers(lab, node, 102)?;
        for node in lab.nodes() {
            assert_eq!(
                node.psql("select sum(n) from still")?,
                "500500",
                "{}",
                node.name()
            );
        }
        Ok(())
    })
}
