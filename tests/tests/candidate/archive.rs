//! A `restore_command` that hangs.

use anyhow::{Result, ensure};
use lab::{Lab, wait_for};

use crate::scene::{FAILOVER, PRIMARY_DOWN, SOON, log_line, set, two_hosts, went_through};

/// The standby's startup process waits for its archive.
fn waits_for_archive(lab: &Lab, command: &str) -> Result<()> {
    let (primary, standby) = (lab.node(101), lab.node(102));
    set(standby, &[("restore_command", command)])?;
    primary.psql("set synchronous_commit = local; insert into probe values ('before')")?;
    wait_for("the command to run", SOON, || {
        // Without a stream it asks the archive, once it has read its settings.
        standby.run(&["pkill", "-f", "walreceiver"], SOON)?;
        standby
            .run(&["pgrep", "-f", "sleep 7777"], SOON)?
            .success()?;
        Ok(())
    })
}

#[test]
fn one_that_is_a_program_alone_is_ended() -> Result<()> {
    let lab = two_hosts("cand-archive")?;
    waits_for_archive(&lab, "'sleep 7777'")?;
    let run = lab.node(102).failover(&PRIMARY_DOWN, FAILOVER)?;
    went_through(&lab, &run)?;
    let line = log_line(lab.node(102), "restore_command hangs (process ")?;
    ensure!(line.contains("sleep 7777"), "{line}");
    Ok(())
}

#[test]
fn one_in_a_script_is_ended_and_the_server_goes_on() -> Result<()> {
    let lab = two_hosts("cand-archive-script")?;
    waits_for_archive(&lab, "'sleep 7777 || exit 1; exit 0'")?;
    let run = lab.node(102).failover(&PRIMARY_DOWN, FAILOVER)?;
    went_through(&lab, &run)?;
    log_line(lab.node(102), "restore_command hangs (process ")?;
    Ok(())
}
