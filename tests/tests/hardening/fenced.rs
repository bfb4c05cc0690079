//! Fenced stays fenced: neither the host's own minute, nor a supervisor, brings a second primary up.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::layout::{DATA, DB_BIN, LOG, USER};
use lab::{Lab, wait_for};

use crate::scene::{FAILOVER, PRIMARY_DOWN, SOON, assert_only_primary, log_line, two_hosts};

/// For one run of `network_rewind`.
const RECOVERY: Duration = Duration::from_secs(60);

/// Between the fence and the promotion the host's own minute finds a database that is down, no pool, and
/// no other primary.
#[test]
fn its_own_minute_does_not_start_it_again() -> Result<()> {
    let lab = two_hosts("hard-fenced-minute")?;
    let (old, new) = (lab.node(101), lab.node(102));
    old.set_config(&[("MAX_AVAILABLE_LEVEL", "1")])?;
    let mut order = vec!["--die-after", "choose"];
    order.extend(PRIMARY_DOWN);
    let died = new.failover(&order, FAILOVER)?;
    ensure!(died.signal == Some(9), "{died}");
    ensure!(old.pids_of_database().is_empty(), "it was not stopped");

    let run = old.recover(&[], RECOVERY)?;
    ensure!(run.code == Some(66), "{run}");
    ensure!(run.stderr.contains("may be under way still"), "{run}");
    ensure!(run.stderr.contains("network_rewind --unfence"), "{run}");
    ensure!(old.pids_of_database().is_empty(), "it was started: {run}");

    // The other host had not come to its promotion: a person takes it back, and that is all.
    let run = old.recover(&["--unfence"], RECOVERY)?;
    ensure!(run.code == Some(0), "{run}\n{}", old.recovery_log()?);
    assert_only_primary(&lab, 101)?;
    // Its standby streams again within seconds, and then commits wait for it.
    wait_for("the standby to be waited for", RECOVERY, || {
        let run = old.recover(&[], RECOVERY)?;
        ensure!(run.code == Some(0), "{run}");
        lab.streams(102, 101)
    })
}

/// Whoever starts it, at whatever moment: it takes no writes, and the log names who it was.
#[test]
fn a_supervisor_gets_a_standby() -> Result<()> {
    let lab = two_hosts("hard-fenced-supervisor")?;
    let (old, new) = (lab.node(101), lab.node(102));
    let watch = format!(
        "touch /tmp/supervised; while [ -e /tmp/supervised ]; do {DB_BIN}/pg_ctl -D {DATA} status \
         >/dev/null || {DB_BIN}/pg_ctl -D {DATA} -W -l /tmp/supervisor.log start >/dev/null; sleep 0.1; done"
    );
    old.spawn_daemon(USER, &["sh", "-c", &watch])?;
    wait_for("the supervisor", SOON, || old.read("/tmp/supervised"))?;
    let prober = lab.start_prober();
    new.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    wait_for("the supervisor to start it again", SOON, || {
        ensure!(old.in_recovery()?, "it is a primary");
        Ok(())
    })?;
    assert_only_primary(&lab, 102)?;

    // There is no pool that names the new primary here: nothing is changed, and it stays a standby.
    let run = old.recover(&[], RECOVERY)?;
    ensure!(run.code == Some(66), "{run}");
    ensure!(old.in_recovery()?, "it is a primary: {run}");
    supervisor_ends(&lab)?;
    assert_eq!(prober.two_writers(), None);
    let log = new.failover_log()?;
    ensure!(log.contains("old primary 192.168.1.101 is fenced"), "{log}");
    Ok(())
}

fn supervisor_ends(lab: &Lab) -> Result<()> {
    lab.node(101)
        .run(&["rm", "/tmp/supervised"], SOON)?
        .success()
        .map(drop)
}

/// One that comes back within milliseconds, while the fence is not over or just over.
#[test]
fn one_that_is_back_at_once_is_a_standby() -> Result<()> {
    let lab = two_hosts("hard-fenced-at-once")?;
    let (old, new) = (lab.node(101), lab.node(102));
    // Waits for the postmaster itself, and so is there within a millisecond.
    let watch = format!(
        "pid=$(head -n 1 {DATA}/postmaster.pid); touch /tmp/supervised; tail --pid=$pid -s 0.001 -f \
         /dev/null; {DB_BIN}/pg_ctl -D {DATA} -W -l /tmp/supervisor.log start"
    );
    old.spawn_daemon(USER, &["sh", "-c", &watch])?;
    wait_for("the supervisor", SOON, || old.read("/tmp/supervised"))?;
    let prober = lab.start_prober();
    new.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    assert_only_primary(&lab, 102)?;
    assert_eq!(prober.two_writers(), None);
    wait_for("it to be started again", SOON, || {
        ensure!(!old.pids_of_database().is_empty(), "it is down");
        Ok(())
    })?;
    ensure!(old.in_recovery()?, "it is a primary");
    log_line(new, "old primary 192.168.1.101 is fenced")?;
    Ok(())
}

/// A unit with `Restart=always` is stopped before its server, by whatever tells that it is the server's.
#[test]
fn a_unit_that_restarts_is_stopped() -> Result<()> {
    const UNIT: &str = "postgresql-15.service";
    let lab = two_hosts("hard-fenced-unit")?;
    let (old, new) = (lab.node(101), lab.node(102));
    for node in lab.nodes() {
        node.start_service_manager(UNIT)?;
    }
    let prober = lab.start_prober();
    // It runs: its cgroup tells.
    new.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    let line = log_line(new, "old primary 192.168.1.101 is fenced")?;
    let wanted = format!("stopped (fast), and so is its unit {UNIT}");
    ensure!(line.contains(&wanted), "{line}");
    old.service_manager_looks(40)?;
    ensure!(old.pids_of_database().is_empty(), "it was started again");
    assert_only_primary(&lab, 102)?;
    assert_eq!(prober.two_writers(), None);
    Ok(())
}

/// The same while it waits to restart a server that was killed.
#[test]
fn a_unit_that_is_about_to_restart_is_stopped() -> Result<()> {
    const UNIT: &str = "postgresql@15-main.service";
    let lab = two_hosts("hard-fenced-restart")?;
    let (old, new) = (lab.node(101), lab.node(102));
    for node in lab.nodes() {
        node.start_service_manager(UNIT)?;
    }
    // Its own minute has seen whose it is.
    old.recover(&[], RECOVERY)?;
    let prober = lab.start_prober();
    old.kill_database()?;
    new.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    let line = log_line(new, "old primary 192.168.1.101 is fenced")?;
    let wanted = format!("was not running, and so is its unit {UNIT}");
    ensure!(line.contains(&wanted), "{line}");
    old.service_manager_looks(40)?;
    ensure!(old.pids_of_database().is_empty(), "it was started again");
    assert_only_primary(&lab, 102)?;
    assert_eq!(prober.two_writers(), None);
    Ok(())
}

/// A fence that fails takes back its own mark, and leaves that of the one before it.
#[test]
fn a_fence_that_fails_leaves_the_one_before_it() -> Result<()> {
    let lab = two_hosts("hard-fenced-twice")?;
    let (old, new) = (lab.node(101), lab.node(102));
    new.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    let mark = || old.read(&format!("{LOG}/network_rewind.json"));
    ensure!(mark()?.contains("\"fenced\":{"), "{}", mark()?);
    // Whoever listens for the database's user may be its server.
    let listen = "import socket, time; s = socket.create_server(('', 54321)); open('/tmp/listens', 'w'); \
                  s.accept(); s.accept(); time.sleep(600)";
    old.spawn_daemon(USER, &["python3", "-c", listen])?;
    wait_for("the listener", SOON, || old.read("/tmp/listens"))?;
    let fence = ["--step", "fence", "--deadline", "3000", "--run", "second"];
    let run = old.failover(&fence, FAILOVER)?;
    let why = "yet something answers on port 54321";
    ensure!(
        run.code != Some(0) && run.to_string().contains(why),
        "{run}"
    );
    ensure!(mark()?.contains("\"fenced\":{"), "{}", mark()?);
    old.read(&format!("{DATA}/standby.signal"))?;
    assert_only_primary(&lab, 102)
}
