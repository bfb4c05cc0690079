//! A disk that is too small for what a rewind copies: told before anything is touched where that can be
//! known, and mended by making room where it cannot.

use anyhow::{Context, Result, ensure};
use lab::layout::{DATA, DB_BIN, USER};
use lab::{Lab, LabOptions, Node};

use crate::drill::{
    assert_says, assert_stays_down, at_once, killed_with_rows_of_its_own, recovers,
};
use crate::scene::{RECOVERY, SHORT};

const POSTGRES_BIN: &str = "/usr/lib/postgresql/15/bin";
const FILLER: &str = "/mnt/data/somebody-elses";

fn sh(node: &Node, script: &str) -> Result<String> {
    node.run(&["sh", "-c", script], SHORT)?.success()
}

/// Leaves so many MB free on the disk of the data directory.
fn leave(node: &Node, megabytes: u64) -> Result<()> {
    sh(
        node,
        &format!(
            "free=$(df -BM --output=avail /mnt/data | tail -1 | tr -d ' M'); \
             fallocate -l $((free - {megabytes}))M {FILLER}"
        ),
    )
    .map(drop)
}

/// Has the rewind meet a disk that is full but for 30 MB, whatever was seen before; `then` something is done.
fn fill_during_the_rewind(node: &Node, then: &str) -> Result<()> {
    let real = format!("{POSTGRES_BIN}/pg_rewind");
    let script = format!(
        "#!/bin/sh\\ncase \"$*\" in *--dry-run*) exec {real} \"$@\";; esac\\n\
         free=$(df -BM --output=avail /mnt/data | tail -1 | tr -d \" M\")\\n\
         fallocate -l $((free - 30))M {FILLER}\\n{real} \"$@\"; code=$?\\n\
         head -c 40000000 /dev/zero >>{FILLER}\\n{then}\\nexit $code\\n"
    );
    sh(
        node,
        &format!(
            "rm {DB_BIN}/pg_rewind; printf '{}' >{DB_BIN}/pg_rewind; chmod 755 {DB_BIN}/pg_rewind",
            script.replace('\'', "'\\''").replace('%', "%%")
        ),
    )
    .map(drop)
}

fn mend(node: &Node) -> Result<()> {
    sh(
        node,
        &format!("ln -sf {POSTGRES_BIN}/pg_rewind {DB_BIN}/pg_rewind"),
    )
    .map(drop)
}

/// The new primary has some 150 MB that the old one has not.
fn grown(lab: &Lab, old: u8) -> Result<u8> {
    let new = killed_with_rows_of_its_own(lab, old)?;
    lab.node(new).psql("drop table if exists big")?;
    lab.node(new).psql(
        "create table big as select n, repeat(md5(n::text), 30) as t \
         from generate_series(1, 150000) n",
    )?;
    Ok(new)
}

fn options(name: &str) -> LabOptions {
    let mut options = LabOptions {
        data_disk: 900,
        ..at_once(name)
    };
    let once = ("MOUNT_CHECK_MAX_RETRIES".to_owned(), "1".to_owned());
    options.config.push(once);
    options
}

#[test]
fn a_disk_that_is_too_small() -> Result<()> {
    Lab::with(options("brk-small"), |lab| {
        let old = lab.node(101);
        let new = grown(lab, 101)?;
        let control = format!("md5sum {DATA}/global/pg_control; ls -d {DATA}*");
        leave(old, 180)?;
        let before = sh(old, &control)?;
        assert_stays_down(old, 1, &["MB more than this node's", "make room"])?;
        ensure!(sh(old, &control)? == before, "touched");

        // The databases are as large as each other, and the rewind brings more all the same.
        sh(old, &format!("rm {FILLER}"))?;
        sh(
            old,
            &format!(
                "head -c 170000000 /dev/zero >{DATA}/base/1/nobodys; chown {USER}: {DATA}/base/1/nobodys"
            ),
        )?;
        leave(old, 230)?;
        assert_stays_down(
            old,
            1,
            &["brings", "MB more than it takes away", "make room"],
        )
        .context("by a dry run")?;
        let state = old.read("/home/kingbase/cluster/R3HA/log/network_rewind.json")?;
        ensure!(state.contains("preparing"), "{state}");
        sh(old, &format!("rm {FILLER}"))?;
        recovers(lab, old, new)
    })
}

#[test]
fn a_disk_that_is_full_halfway() -> Result<()> {
    Lab::with(options("brk-halfway"), |lab| {
        let old = lab.node(101);
        let new = grown(lab, 101)?;
        fill_during_the_rewind(old, "")?;
        assert_stays_down(old, 66, &["the rewind failed", "No space left on device"])?;
        mend(old)?;
        // What fills the disk is not ours to remove.
        for _ in 0..2 {
            assert_stays_down(old, 1, &["MB more than it takes away", "make room"])?;
        }
        sh(old, &format!("rm {FILLER}"))?;
        recovers(lab, old, new).context("after room was made")?;

        // And nobody there to clear up.
        let old = lab.node(102);
        let new = grown(lab, 102)?;
        fill_during_the_rewind(old, "kill -9 $PPID")?;
        let run = old.recover(&[], RECOVERY)?;
        ensure!(run.signal == Some(9), "{run}");
        mend(old)?;
        let run = old.recover(&[], RECOVERY)?;
        assert_says(&run, 1, &["MB more than it takes away", "make room"]);
        let log = old.recovery_log()?;
        ensure!(log.contains("had filled the disk"), "{log}");
        sh(old, &format!("rm {FILLER}"))?;
        recovers(lab, old, new).context("after a kill")
    })
}
