//! A server that changes no settings by SQL: PostgreSQL 17 with `allow_alter_system = off`.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::layout::{DATA, POOL_BIN, STANDBY_DOWN};
use lab::{Lab, LabOptions, Node};

use crate::scene::{FAILOVER, PRIMARY_DOWN, SOON, log_line, went_through};

/// For a commit that waits for nobody.
const COMMIT: Duration = Duration::from_secs(3);

/// As an administrator writes it, and reloaded.
fn turn_off(node: &Node) -> Result<()> {
    let conf = format!("{DATA}/postgresql.conf");
    let text = node.read(&conf)? + "allow_alter_system = off\n";
    node.write(&conf, &text, 0o600, lab::layout::UID)?;
    node.psql("select pg_reload_conf()")?;
    Ok(())
}

#[test]
fn it_is_said_before_and_the_servers_file_is_changed() -> Result<()> {
    let lab = Lab::start(LabOptions {
        name: "cand-no-alter".into(),
        server: Some(17),
        ..LabOptions::default()
    })?;
    let (primary, standby) = (lab.node(101), lab.node(102));
    turn_off(primary)?;
    turn_off(standby)?;
    let check = primary.run(
        &[&format!("{POOL_BIN}/failover_stream"), "--check-config"],
        SOON,
    )?;
    ensure!(
        check.to_string().contains("allow_alter_system is off"),
        "{check}"
    );

    // From the dead standby's host nobody can; the primary's own minute does.
    standby.kill_database()?;
    let from_there = standby.failover(&STANDBY_DOWN, FAILOVER)?;
    log_line(standby, "ALTER SYSTEM is refused")?;
    ensure!(from_there.code == Some(66), "{from_there}");
    let said = lab.left_nothing(standby)?;
    ensure!(said.contains("on the primary's host set"), "{said}");
    ensure!(
        primary
            .query("insert into probe values ('waits')", COMMIT)
            .is_err()
    );
    let minute = primary.recover(&[], FAILOVER)?;
    ensure!(minute.code == Some(0), "{minute}");
    primary.query("insert into probe values ('goes on')", COMMIT)?;

    standby.start_database()?;
    crate::scene::all_stream(primary, 1)?;
    let minute = primary.recover(&[], FAILOVER)?;
    ensure!(minute.code == Some(0), "{minute}");
    ensure!(
        !primary.psql("show synchronous_standby_names")?.is_empty(),
        "{minute}"
    );
    let run = standby.failover(&PRIMARY_DOWN, FAILOVER)?;
    went_through(&lab, &run)
}
