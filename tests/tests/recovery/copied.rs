//! Where a rewind cannot do: a copy of the primary, if that is allowed and can work.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::layout::{DATA, HOME, LOG, R3HA};
use lab::{Lab, Node, moments};

use crate::broken::{break_program, mend_program};
use crate::drill::{assert_stays_down, at_once, killed_with_rows_of_its_own, recovers};
use crate::scene::{RECOVERY, SHORT};

/// Of the disk of one host, and what is left of it when it is nearly full.
const DISK_MB: u64 = 800;
const TOO_LITTLE_MB: u64 = 100;
/// A base backup here takes at least that long, on a fast machine.
const COPY: Duration = Duration::from_millis(150);

fn sh(node: &Node, script: &str) -> Result<String> {
    node.run(&["sh", "-c", script], SHORT)?.success()
}

/// What lies beside the data directory; the answer of a run that must not touch anything.
fn listing(node: &Node) -> Result<String> {
    sh(node, &format!("ls -a {R3HA}/db; ls {DATA} || true"))
}

/// The directories with old data that a copy has left beside the data directory.
fn old_data(node: &Node) -> Result<Vec<String>> {
    let list = sh(node, &format!("ls -d {DATA}.old-* || true"))?;
    Ok(list.lines().map(str::to_owned).collect())
}

/// A run that cannot do it says so, and has touched nothing.
#[track_caller]
fn assert_refuses(node: &Node, words: &[&str]) -> Result<()> {
    let before = listing(node)?;
    for _ in 0..2 {
        assert_stays_down(node, 1, words)?;
        assert_eq!(listing(node)?, before);
    }
    Ok(())
}

#[test]
fn copies_where_it_may() -> Result<()> {
    Lab::with(at_once("brk-copy"), |lab| {
        let (one, other) = (lab.node(101), lab.node(102));
        let allowed = [("REWIND_FALLBACK", "basebackup")];

        // The data directory is gone.
        killed_with_rows_of_its_own(lab, 101)?;
        one.delete_data()?;
        assert_refuses(
            one,
            &["missing or empty", &format!("pg_basebackup -D {DATA} ")],
        )?;
        one.set_config(&allowed)?;
        let db = format!("{R3HA}/db");
        sh(one, &format!("cp -a {db} {HOME}/db"))?;
        let _disk = one.add_disk(&db, DISK_MB)?;
        sh(one, &format!("cp -a {HOME}/db/. {db}"))?;
        let fill = format!(
            "fallocate -l $(($(df --output=avail -B1M {db} | tail -1) - {TOO_LITTLE_MB}))M {db}/filler"
        );
        let make_room = format!("rm {db}/filler");
        sh(one, &fill)?;
        assert_refuses(one, &["cannot be copied", "make room"])?;
        sh(one, &make_room)?;
        let mut inside = 0;
        for moment in moments(3, COPY) {
            // One that was killed too late has nothing left to copy.
            if listing(one)?.contains("PG_VERSION") {
                break;
            }
            let hit = one.recover_killed_inside("pg_basebackup", moment);
            inside += u8::from(hit.with_context(|| format!("{moment:?}"))?);
        }
        ensure!(inside > 0, "none was killed inside pg_basebackup");
        recovers(lab, one, 102).context("without data")?;
        ensure!(old_data(one)?.is_empty(), "{:?}", old_data(one));

        // The data is there, and WAL is missing.
        killed_with_rows_of_its_own(lab, 102)?;
        sh(other, &format!("rm {DATA}/pg_wal/????????????????????????"))?;
        assert_refuses(
            other,
            &[
                "WAL does not go back to the fork",
                "REWIND_FALLBACK=basebackup",
            ],
        )?;
        other.set_config(&allowed)?;
        sh(one, &format!("install -d -o kingbase {HOME}/space"))?;
        one.psql(&format!("create tablespace space location '{HOME}/space'"))?;
        assert_refuses(other, &["cannot be copied", "tablespaces"])?;
        one.psql("drop tablespace space")?;
        sh(other, &format!("mount --bind {DATA} {DATA}"))?;
        assert_refuses(other, &["cannot be copied", "is a mount point"])?;
        sh(other, &format!("umount {DATA}"))?;
        killed_in_the_swap(other)?;
        recovers(lab, other, 101).context("without WAL")?;
        assert_keeps_old(other)?;

        // The rewind fails, each time.
        killed_with_rows_of_its_own(lab, 101)?;
        sh(one, &fill)?;
        assert_refuses(one, &["a rewind needs", "make room"])?;
        sh(one, &make_room)?;
        break_program(one, "pg_rewind", "no luck")?;
        assert_stays_down(one, 66, &["no luck", "the next run tries again"])?;
        assert_stays_down(one, 66, &["no luck", "the next run copies the primary"])?;
        recovers(lab, one, 102).context("without a rewind")?;
        mend_program(one, "pg_rewind")?;
        assert_keeps_old(one)
    })
}

/// Has a run die when the new data directory and the old one have changed places, and the old one
/// is still called the new one.
fn killed_in_the_swap(node: &Node) -> Result<()> {
    let run = node.recover(&["--die-after", "recover.copy"], RECOVERY)?;
    ensure!(run.signal == Some(libc::SIGKILL), "{run}");
    let state = format!("{LOG}/network_rewind.json");
    sh(
        node,
        &format!(
            "set -e; mv {DATA}.old-* {DATA}.new; touch {DATA}/failover-tools.copy
             grep -q '\"following\"' {state}; sed -i s/following/copying/ {state}"
        ),
    )
    .map(drop)
}

/// One old data directory is kept, whole.
fn assert_keeps_old(node: &Node) -> Result<()> {
    let old = old_data(node)?;
    ensure!(old.len() == 1, "{old:?}");
    sh(
        node,
        &format!("test -s {0}/PG_VERSION && test -d {0}/pg_wal", old[0]),
    )
    .map(drop)
}
