//! A rewind that fails: the database stays down, and says so, until a recovery goes through.

use anyhow::{Result, ensure};
use lab::layout::{DATA, DB_BIN, USER};
use lab::{Lab, Node, Running, wait_for};

use crate::drill::{
    assert_says, assert_stays_down, at_once, killed_with_rows_of_its_own, recovers,
};
use crate::scene::{FAILOVER, RECOVERY, SHORT, recover};

/// The database's own programs.
const POSTGRES_BIN: &str = "/usr/lib/postgresql/15/bin";

/// What a promotion says to a node that is half rewound.
fn assert_is_no_candidate(node: &Node) -> Result<()> {
    let run = node.failover(&["--step", "promote", "--deadline", "3000"], SHORT)?;
    let said = format!("{run}");
    assert!(run.code != Some(0), "{run}");
    assert!(said.contains("rewind"), "{run}");
    assert!(node.pids_of_database().is_empty(), "{run}");
    Ok(())
}

/// Has a program of the database fail with these words.
pub fn break_program(node: &Node, name: &str, words: &str) -> Result<()> {
    let script = format!(
        "rm {DB_BIN}/{name}; printf '#!/bin/sh\\necho {name}: error: {words} >&2; exit 1\\n' >{DB_BIN}/{name}; \
         chmod 755 {DB_BIN}/{name}"
    );
    node.run(&["sh", "-c", &script], SHORT)?.success().map(drop)
}

/// Undoes [`break_program`].
pub fn mend_program(node: &Node, name: &str) -> Result<()> {
    let real = format!("{POSTGRES_BIN}/{name}");
    let link = ["ln", "-sf", &real, &format!("{DB_BIN}/{name}")];
    node.run(&link, SHORT)?.success().map(drop)
}

/// A run on `old` that has copied a part of what `new` has more, and copies on.
fn in_the_middle_of_a_rewind(old: &Node, new: &Node) -> Result<Running> {
    new.psql(
        "create table big as select n, repeat(md5(n::text), 30) as t \
         from generate_series(1, 150000) n",
    )?;
    let big = new.psql("select pg_relation_filepath('big')")?;
    let tool = format!("{DB_BIN}/network_rewind");
    let running = old.spawn(USER, &[&tool], RECOVERY)?;
    let big = old.path(&format!("{DATA}/{big}"))?;
    wait_for("a part of it", RECOVERY, || {
        ensure!(big.exists(), "not there");
        Ok(())
    })?;
    Ok(running)
}

#[test]
fn a_source_that_goes_away() -> Result<()> {
    Lab::with(at_once("brk-source"), |lab| {
        let (old, new) = (lab.node(101), lab.node(102));
        killed_with_rows_of_its_own(lab, 101)?;
        // What cron does there each minute.
        recover(new)?;
        let running = in_the_middle_of_a_rewind(old, new)?;
        new.kill_database()?;
        let run = running.wait()?;
        assert_says(&run, 66, &["the rewind failed", "the next run tries again"]);
        assert!(old.pids_of_database().is_empty(), "{run}");
        assert_is_no_candidate(old)?;
        assert_stays_down(
            old,
            1,
            &["an interrupted rewind", "its database stays down"],
        )?;

        // The primary is back, with a pool that has every node down, but now the program fails at once.
        wait_for("the pool to give up", FAILOVER, || {
            ensure!(lab.pool_nodes().is_err(), "it answers");
            Ok(())
        })?;
        new.start_database()?;
        recover(new)?;
        break_program(old, "pg_rewind", "no luck")?;
        let what_to_do = ["no luck", "REWIND_FALLBACK=basebackup"];
        for _ in 0..2 {
            assert_stays_down(old, 66, &what_to_do)?;
            assert_is_no_candidate(old)?;
        }
        mend_program(old, "pg_rewind")?;
        recovers(lab, old, 102)
    })
}

#[test]
fn a_source_that_is_cut_off() -> Result<()> {
    Lab::with(at_once("brk-cut"), |lab| {
        let (old, new) = (lab.node(101), lab.node(102));
        killed_with_rows_of_its_own(lab, 101)?;
        let running = in_the_middle_of_a_rewind(old, new)?;
        // Two pools that do not see each other would both lead: another drill.
        old.kill_pool()?;
        old.block_to(new)?;
        let run = running.wait()?;
        assert_says(&run, 66, &["the rewind failed", "the next run tries again"]);
        old.unblock(new)?;
        recovers(lab, old, 102)
    })
}
