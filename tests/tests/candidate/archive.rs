//! A `restore_command` that hangs.

use anyhow::{Result, ensure};
use lab::layout::{DATA, UID};
use lab::{Flavor, Lab, wait_for};

use crate::scene::{
    FAILOVER, PRIMARY_DOWN, SOON, all_stream, log_line, on_both, set, two_hosts, went_through,
};

const COMMAND: &str = "/tmp/from-the-archive";
/// As long as this is not there the archive answers at once that it has nothing.
const HANGS: &str = "/tmp/the-archive-hangs";

/// The standby's startup process waits for its archive, which is asked by `ask`.
pub fn waits_for_archive(lab: &Lab, ask: &str) -> Result<()> {
    let (primary, standby) = (lab.node(101), lab.node(102));
    let script = format!("#!/bin/sh\n[ -e {HANGS} ] || exit 1\n{ask}\n");
    standby.write(COMMAND, &script, 0o755, 0)?;
    let quoted = format!("'{COMMAND}'");
    match lab.options().flavor {
        Flavor::Postgres => set(standby, &[("restore_command", &quoted)])?,
        Flavor::Kingbase => {
            let file = format!("{DATA}/recovery.conf");
            let text = format!("{}restore_command = {quoted}\n", standby.read(&file)?);
            standby.write(&file, &text, 0o600, UID)?;
            standby.stop_database("fast")?;
            standby.start_database()?;
            all_stream(primary, 1)?;
        }
    }
    primary.psql("set synchronous_commit = local; insert into probe values ('before')")?;
    standby.write(HANGS, "", 0o644, 0)?;
    wait_for("the command to run", SOON, || {
        // Without a stream it asks the archive, once it has read its settings.
        standby.run(&["pkill", "-f", "walreceiver"], SOON)?;
        standby
            .run(&["pgrep", "-f", "sleep 7777"], SOON)?
            .success()?;
        Ok(())
    })
}

on_both!(
    one_that_is_a_program_alone_is_ended,
    one_in_a_script_is_ended_and_the_server_goes_on
);

fn one_that_is_a_program_alone_is_ended(flavor: Flavor) -> Result<()> {
    let lab = two_hosts("cand-archive", flavor)?;
    waits_for_archive(&lab, "exec sleep 7777")?;
    let run = lab.node(102).failover(&PRIMARY_DOWN, FAILOVER)?;
    went_through(&lab, &run)?;
    let line = log_line(lab.node(102), "restore_command hangs (process ")?;
    ensure!(line.contains("sleep 7777"), "{line}");
    Ok(())
}

fn one_in_a_script_is_ended_and_the_server_goes_on(flavor: Flavor) -> Result<()> {
    let lab = two_hosts("cand-archive-sh", flavor)?;
    waits_for_archive(&lab, "sleep 7777 || exit 1; exit 0")?;
    let run = lab.node(102).failover(&PRIMARY_DOWN, FAILOVER)?;
    went_through(&lab, &run)?;
    log_line(lab.node(102), "restore_command hangs (process ")?;
    Ok(())
}
