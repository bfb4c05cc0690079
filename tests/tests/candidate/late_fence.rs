//! A clean stop that takes some seconds, on a host whose login takes long.

use anyhow::{Context, Result};
use lab::{Flavor, Lab, LabOptions};

use crate::scene::{FAILOVER, PRIMARY_DOWN, on_both, options, went_through};

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
        let lab = Lab::start(LabOptions {
            postgres: vec![
                ("archive_mode".into(), "on".into()),
                ("archive_command".into(), "'sleep 5'".into()),
            ],
            ..options("cand-late-fence", flavor)
        })?;
        slow_login(&lab, seconds)?;
        lab.node(101).psql("select pg_switch_wal()")?;
        let run = lab.node(102).failover(&PRIMARY_DOWN, FAILOVER)?;
        went_through(&lab, &run).context(seconds)?;
    }
    Ok(())
}
