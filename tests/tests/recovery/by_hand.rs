//! A rewind that broke off, and a person who puts a copy of the primary in its place, as the log says.

use anyhow::{Result, ensure};
use lab::layout::{DATA, DATABASE_PORT, DB_BIN, R3HA, SQL_USER, USER};
use lab::{Lab, Node, Running, wait_for};

use crate::drill::{assert_says, at_once, killed_with_rows_of_its_own, recovers, same_end};
use crate::scene::{RECOVERY, SHORT, assert_logged, postmaster, recover};

/// Where the data directory is moved.
const AWAY: &str = "/home/kingbase/cluster/R3HA/db/away";

fn sh(node: &Node, script: &str) -> Result<String> {
    let command = ["sh", "-c", &format!("set -e; {script}")];
    node.run_as(USER, &command, SHORT)?.success()
}

fn marked(lab: &Lab, old: u8) -> Result<()> {
    killed_with_rows_of_its_own(lab, old)?;
    let died = lab
        .node(old)
        .recover(&["--die-after", "recover.mark"], RECOVERY)?;
    ensure!(died.signal == Some(9), "{died}");
    Ok(())
}

/// A copy of another host's database into the data directory, with these words more.
fn copy(node: &Node, primary: &Node, more: &[&str]) -> Result<Running> {
    let program = format!("{DB_BIN}/pg_basebackup");
    let source = format!(
        "host={} port={DATABASE_PORT} user={SQL_USER} application_name={}",
        primary.address(),
        node.name()
    );
    let command = [&[program.as_str(), "-D", DATA, "-d", &source], more].concat();
    node.spawn(USER, &command, RECOVERY)
}

#[test]
fn a_copy_in_the_place_of_half_a_rewind() -> Result<()> {
    Lab::with(at_once("nr-by-hand"), |lab| {
        let (one, other) = (lab.node(101), lab.node(102));
        marked(lab, 101)?;
        sh(one, &format!("mv {DATA} {AWAY}"))?;
        being_made(one, other)?;
        is_left_alone(lab, one, other)?;

        // The data directory is gone, and the tool may copy.
        marked(lab, 102)?;
        other.delete_data()?;
        let run = other.recover(&[], RECOVERY)?;
        assert_says(&run, 1, &["the data directory is missing or empty"]);
        other.set_config(&[("REWIND_FALLBACK", "basebackup")])?;
        recovers(lab, other, 101)?;
        assert_logged(&other.recovery_log()?, "the mark is forgotten");
        Ok(())
    })
}

/// A copy that has just begun: neither its label nor its control file is there. A checkpoint that takes
/// its time comes first.
fn being_made(node: &Node, primary: &Node) -> Result<()> {
    let copying = copy(node, primary, &[])?;
    wait_for("the copy to begin", SHORT, || {
        sh(node, &format!("test -d {DATA}")).map(drop)
    })?;
    let run = node.recover(&[], RECOVERY)?;
    assert_says(&run, 66, &["is a base backup that is being made"]);
    sh(node, &format!("test ! -e {DATA}/backup_label"))?;
    // It cleans up after itself.
    copying.signal(libc::SIGINT)?;
    let killed = copying.wait()?;
    ensure!(killed.signal != Some(libc::SIGKILL), "{killed}");
    sh(node, &format!("rm -rf {DATA}")).map(drop)
}

/// A person's standby, started with its settings, is one like all others.
fn is_left_alone(lab: &Lab, node: &Node, primary: &Node) -> Result<()> {
    let slot = format!("slot_{}", node.name());
    let settings = ["-R", "-S", &slot, "--checkpoint=fast"];
    let made = copy(node, primary, &settings)?.wait()?;
    ensure!(made.code == Some(0), "{made}");
    sh(node, &format!("cp {AWAY}/postgresql.conf {DATA}"))?;
    node.start_database()?;
    // For a moment it has not said how far it is, and is not one that commits are made to wait for.
    wait_for("it to stream", SHORT, || {
        let seen = primary.psql(
            "select application_name, state, write_lsn is not null from pg_stat_replication",
        )?;
        ensure!(seen == format!("{}|streaming|t", node.name()), "{seen:?}");
        Ok(())
    })?;
    let before = postmaster(node)?;
    recover(node)?;
    same_end(lab, primary.number())?;
    ensure!(postmaster(node)? == before, "it was restarted");
    sh(node, &format!("test ! -e {R3HA}/db/data.rewind-kept")).map(drop)
}
