//! A clean stop that takes some seconds: on a host whose login takes long, and for nothing.

use anyhow::{Context, Result, ensure};
use lab::{Flavor, Lab, LabOptions};

use crate::scene::{FAILOVER, PRIMARY_DOWN, on_both, options, two_hosts, went_through};

/// A `.bashrc` that takes its time before any command over ssh.
fn slow_login(lab: &Lab, seconds: &str) -> Result<()> {
    let host = lab.node(101);
    let path = host.path("/root/.bashrc")?;
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    host.write(
        "/root/.bashrc",
        &format!("sleep {seconds}\n{before}"),
        0o644,
        0,
    )?;
    // The shell of root is one that reads it.
    host.run(&["usermod", "-s", "/bin/bash", "root"], FAILOVER)?;
    Ok(())
}

on_both!(the_far_side_ends_first);

fn the_far_side_ends_first(flavor: Flavor) -> Result<()> {
    for seconds in ["1.8", "2.6"] {
        let lab = two_hosts("cand-late-fence", flavor)?;
        slow_login(&lab, seconds)?;
        // A clean stop waits for all of the server's processes.
        let stands_still = ["pkill", "-STOP", "-f", "background writer"];
        lab.node(101).run(&stands_still, FAILOVER)?.success()?;
        let run = lab.node(102).failover(&PRIMARY_DOWN, FAILOVER)?;
        went_through(&lab, &run).context(seconds)?;
    }
    Ok(())
}

/// A server that is shut down waits for an archive that fails three times for each segment, a second apart, and
/// for one that hangs without end. Nothing is in the archive's way afterwards either: its commands are ended.
#[test]
fn an_archive_does_not_hold_it_up() -> Result<()> {
    for command in ["'false'", "'sleep 600'"] {
        let lab = Lab::start(LabOptions {
            postgres: vec![
                ("archive_mode".into(), "on".into()),
                ("archive_command".into(), command.into()),
            ],
            ..options("cand-archiver", Flavor::Postgres)
        })?;
        let (old, new) = (lab.node(101), lab.node(102));
        old.psql("select pg_switch_wal()")?;
        let run = new.failover(&PRIMARY_DOWN, FAILOVER)?;
        went_through(&lab, &run).context(command)?;
        let log = new.failover_log()?;
        let events = new.events()?;
        let stop = events.iter().find(|it| it.step == "fence.stop");
        // Of the 2.4 s that a clean stop has.
        let quick = stop.is_some_and(|it| it.milliseconds < 1_500);
        ensure!(quick, "{command}: {stop:?}\n{log}");
        let clean = "database stopped (immediate), clean, shutdown checkpoint";
        ensure!(log.contains(clean), "{command}: {log}");
        let left = old.run(&["pgrep", "-f", "sleep 600"], FAILOVER)?;
        ensure!(left.code == Some(1), "{command}: {left}");
    }
    Ok(())
}
