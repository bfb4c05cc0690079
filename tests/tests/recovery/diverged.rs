//! An old primary with rows that the new one never got.

use anyhow::{Result, ensure};
use lab::layout::{DATA, UID};
use lab::{Lab, LabOptions, Node, wait_for};

use crate::scene::{
    RECOVERY, SHORT, assert_logged, failed_over, recover, two_hosts, wait_until_whole,
};

#[test]
fn asynchronous_with_divergence() -> Result<()> {
    let options = LabOptions {
        sync: false,
        ..two_hosts("recovery-diverged")
    };
    Lab::with(options, |lab| {
        let (old, new) = (lab.node(101), lab.node(102));
        old.psql("insert into rows values (1)")?;
        wait_for("the row on the standby", SHORT, || {
            ensure!(lab.rows_present(new)?.len() == 1, "not there");
            Ok(())
        })?;
        // Two pools that do not see each other would both lead: another drill.
        old.kill_pool()?;
        old.link_down()?;
        old.psql("insert into rows select generate_series(2, 1000)")?;
        assert_eq!(failed_over(lab, 101)?, 102);
        // On the old history, when there is a new one already.
        old.psql("insert into rows select generate_series(1001, 2000)")?;
        new.psql("insert into rows select generate_series(3001, 3100)")?;
        old.stop_database("immediate")?;
        old.link_up()?;

        recover(old)?;
        wait_until_whole(lab, 102, SHORT)?;
        wait_for("the new primary's rows", SHORT, || {
            let seen = lab.rows_present(old)?;
            ensure!(seen == lab.rows_present(new)?, "{} rows", seen.len());
            Ok(())
        })?;
        assert_eq!(lab.rows_present(old)?.len(), 101);
        let log = old.recovery_log()?;
        // How far back it went, and what that means for the rows.
        assert_logged(&log, "diverged at");
        assert_logged(&log, "rewinding from last common checkpoint at ");
        assert_logged(&log, "discarded");
        lab.wait_until_nothing_is_left(SHORT)
    })
}

/// Both were promoted at one position, to a timeline of the same number, and one of them once more since. Their
/// histories agree up to where that one's third begins, and their WAL does not.
#[test]
fn two_timelines_of_one_number_are_told_apart_behind_a_third() -> Result<()> {
    let options = LabOptions {
        failover_command: "/bin/true".into(),
        ..two_hosts("recovery-twice")
    };
    Lab::with(options, |lab| {
        let (old, new) = (lab.node(101), lab.node(102));
        let own = "set synchronous_commit = local; insert into probe values ('own')";
        let promoted_again = |node: &Node| -> Result<()> {
            node.write(&format!("{DATA}/standby.signal"), "", 0o600, UID)?;
            node.start_database()?;
            node.promote_database()?;
            node.psql("set synchronous_commit = local; checkpoint")?;
            node.psql(own).map(drop)
        };
        // Its last record is on both.
        old.stop_database("fast")?;
        promoted_again(old)?;
        old.stop_database("fast")?;
        new.promote_database()?;
        new.psql(own)?;
        new.stop_database("fast")?;
        promoted_again(new)?;
        let history = |node: &Node, file: &str| node.read(&format!("{DATA}/pg_wal/{file}"));
        let (one, other) = (
            history(old, "00000002.history")?,
            history(new, "00000002.history")?,
        );
        assert_eq!(one, other, "they were not promoted at one position");
        history(new, "00000003.history")?;
        lab.pcp_attach(new.id())?;
        wait_for("the pool to have it", RECOVERY, || {
            let nodes = lab.pool_nodes()?;
            let named = nodes
                .iter()
                .find(|it| it.role == "primary" && it.status == "up");
            ensure!(named.is_some_and(|it| it.id == new.id()), "{nodes:?}");
            Ok(())
        })?;

        let run = old.recover(&["--force"], RECOVERY)?;
        let why = "both were promoted at";
        ensure!(run.code == Some(1) && run.stderr.contains(why), "{run}");
        old.set_config(&[("REWIND_FALLBACK", "basebackup")])?;
        let run = old.recover(&["--force"], RECOVERY)?;
        ensure!(run.code == Some(0), "{run}\n{}", old.recovery_log()?);
        lab.streams(101, 102)
    })
}
