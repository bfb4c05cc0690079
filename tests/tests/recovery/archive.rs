//! `archive_mode = on`, as the vendor installs it: a promotion renames the last segment of the old timeline,
//! a shutdown leaves most of one empty, and what a rewind misses is in the archive.

use anyhow::{Context, Result, ensure};
use lab::layout::{DATA, HOME, LOG};
use lab::{Lab, LabOptions, Node, wait_for};

use crate::drill::{assert_stays_down, at_once, killed_with_rows_of_its_own, recovers, same_end};
use crate::scene::{RECOVERY, SHORT, assert_logged, astray, recover};

fn sh(node: &Node, script: &str) -> Result<String> {
    node.run_as("kingbase", &["sh", "-c", script], SHORT)?
        .success()
}

/// What the last rewind of a node discarded, in bytes.
fn discarded(node: &Node) -> Result<u64> {
    let log = node.recovery_log()?;
    let line = log
        .lines()
        .rfind(|line| line.contains("own WAL are discarded"));
    let line = line.context("nothing was discarded")?;
    let number = line
        .split("part: ")
        .nth(1)
        .and_then(|it| it.split(' ').next());
    Ok(number.context("no number")?.parse()?)
}

#[test]
fn with_an_archive() -> Result<()> {
    let set = |key: &str, value: &str| (key.to_owned(), format!("'{value}'"));
    let options = LabOptions {
        postgres: vec![
            set("archive_mode", "on"),
            set("wal_keep_size", "64MB"),
            set("archive_command", &format!("cp %p {HOME}/archive/%f")),
        ],
        ..at_once("brk-archive")
    };
    Lab::with(options, |lab| {
        for node in lab.nodes() {
            sh(node, &format!("mkdir {HOME}/archive"))?;
        }
        promoted_by_mistake(lab)?;
        the_checkpoint_is_in_the_archive(lab)
    })
}

fn promoted_by_mistake(lab: &Lab) -> Result<()> {
    let node = lab.node(102);
    astray(lab, node)?;
    let partial = sh(node, &format!("ls {DATA}/pg_wal/*.partial || true"))?;
    ensure!(!partial.is_empty(), "nothing was renamed");
    recover(node)?;
    same_end(lab, 101)?;
    let bytes = discarded(node)?;
    ensure!((1..1 << 20).contains(&bytes), "{bytes} bytes");
    Ok(())
}

/// The segment of the fork is there, that of the last checkpoint before it is not.
fn the_checkpoint_is_in_the_archive(lab: &Lab) -> Result<()> {
    let node = lab.node(101);
    node.psql("checkpoint")?;
    let segment = node.psql("select pg_walfile_name(pg_current_wal_lsn())")?;
    node.psql("select pg_switch_wal()")?;
    // On both, in the next segment.
    node.psql("insert into probe values ('common')")?;
    wait_for("the segment to be archived", SHORT, || {
        sh(node, &format!("test -s {HOME}/archive/{segment}"))
    })?;
    let new = killed_with_rows_of_its_own(lab, 101)?;
    let died = node.recover(&["--die-after", "recover.clean"], RECOVERY)?;
    ensure!(died.signal == Some(9), "{died}");
    sh(node, &format!("rm {DATA}/pg_wal/{segment}"))?;
    // Said before anything is touched, and what to do.
    let gone = format!("{segment} is gone");
    let before = touched(node)?;
    let said = [
        "its WAL does not go back to the last checkpoint before the fork",
        &gone,
    ];
    let hint = "set restore_command where an archive has it";
    assert_stays_down(node, 1, &[&said[..], &[hint]].concat())?;
    let set = |command: &str| {
        let line = format!("restore_command = '{command}'");
        let auto = format!("{DATA}/postgresql.auto.conf");
        sh(node, &format!("echo \"{line}\" >> {auto}")).map(drop)
    };
    set("cp /nowhere/%f %p")?;
    let hint = "restore_command does not bring it";
    assert_stays_down(node, 1, &[&said[..], &[hint]].concat())?;
    ensure!(touched(node)? == before, "something was touched");
    set(&format!("cp {HOME}/archive/%f %p"))?;
    recovers(lab, node, new)?;
    let log = node.recovery_log()?;
    assert_logged(&log, "restore_command has brought 1 segments of it");
    Ok(())
}

/// The control file, what lies in the directory of the WAL, what is kept, and whether a rewind is marked.
fn touched(node: &Node) -> Result<String> {
    let script = format!(
        "md5sum {DATA}/global/pg_control; ls -l {DATA}/pg_wal; ls -d {DATA}*; \
         grep -o '\"stage\":[^,]*' {LOG}/network_rewind.json"
    );
    sh(node, &script)
}
