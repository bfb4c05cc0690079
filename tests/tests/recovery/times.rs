//! How long it takes, and what it costs when there is nothing to do.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::layout::{DATA, DATABASE_PORT, DB_BIN, GATEWAY, HOME, LOG, SQL_USER};
use lab::{Lab, Node, ToolRun, wait_for};

use crate::scene::{RECOVERY, SHORT, failed_over, recover, two_hosts};

/// Until the primary shows it streaming, beyond what has to be done in any case.
const BEYOND: Duration = Duration::from_millis(1500);
/// A run with nothing to do: beyond the ping, of CPU time, and of memory.
const IDLE: Duration = Duration::from_millis(80);
const IDLE_CPU: Duration = Duration::from_millis(20);
const IDLE_KB: i64 = 16 * 1024;

/// Prints how long it takes. Of the speed only the order of magnitude is asserted: the machine may
/// be busy with something else.
#[test]
fn recovery_takes_no_longer_than_it_must() -> Result<()> {
    let bare = time_until_streaming("bare rewind, start, streaming", by_hand)?;
    let ours = time_until_streaming("network_rewind", |node| recover(node).map(drop))?;
    let beyond = ours.saturating_sub(bare);
    eprintln!("bare {bare:?}, network_rewind {beyond:?} more");
    assert!(beyond < 3 * BEYOND, "{beyond:?}");
    Ok(())
}

#[test]
fn with_nothing_to_do_it_costs_little() -> Result<()> {
    Lab::with(two_hosts("recovery-idle"), |lab| {
        for node in lab.nodes() {
            let ping = ["ping", "-c", "1", "-w", "2", &GATEWAY.to_string()];
            let ping = median_of(|| node.run_as("kingbase", &ping, SHORT))?;
            // The first one may find something to do.
            recover(node)?;
            let run = median_of(|| recover(node))?;
            let (name, beyond) = (node.name(), run.wall.saturating_sub(ping.wall));
            eprintln!(
                "{name}: {:?} ({beyond:?} beyond one ping), {:?} of CPU, {} KB",
                run.wall, run.cpu, run.max_rss_kb
            );
            assert!(beyond < 3 * IDLE, "{name}: {run}");
            assert!(run.cpu < 3 * IDLE_CPU, "{name}: {:?}", run.cpu);
            assert!(run.max_rss_kb < 3 * IDLE_KB, "{name}: {}", run.max_rss_kb);
        }
        Ok(())
    })
}

/// Of three runs the one that took neither the longest nor the shortest.
fn median_of(run: impl Fn() -> Result<ToolRun>) -> Result<ToolRun> {
    let runs = [run()?, run()?, run()?];
    median(runs.into(), |run| run.wall)
}

fn median<T: Debug>(mut all: Vec<T>, by: impl Fn(&T) -> Duration) -> Result<T> {
    all.sort_by_key(by);
    let middle = all.len() / 2;
    all.into_iter().nth(middle).context("none")
}

/// The median of three old primaries that were killed, each in a lab of its own.
fn time_until_streaming(what: &str, recovery: impl Fn(&Node) -> Result<()>) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..3 {
        Lab::with(two_hosts("recovery-times"), |lab| {
            let old = lab.node(101);
            old.kill_database()?;
            let new = lab.node(failed_over(lab, 101)?);
            times.push(timed(old, new, || recovery(old))?);
            Ok(())
        })?;
    }
    eprintln!("{what}: {times:?}");
    median(times, |time| *time)
}

/// From the start of a recovery until the primary shows the node streaming.
fn timed(old: &Node, new: &Node, recovery: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let state = format!(
        "select count(*) from pg_stat_replication \
         where application_name = '{}' and state = 'streaming'",
        old.name()
    );
    let start = Instant::now();
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            wait_for("it to stream", RECOVERY, || {
                ensure!(new.psql(&state)? == "1", "it does not");
                Ok(start.elapsed())
            })
        });
        recovery()?;
        watcher.join().ok().context("the watcher panicked")?
    })
}

/// What nobody can do without.
fn by_hand(node: &Node) -> Result<()> {
    let source = format!("host=192.168.1.102 port={DATABASE_PORT} user={SQL_USER}");
    let name = node.name();
    let script = format!(
        "set -e; cd {DB_BIN}
         ./pg_rewind --target-pgdata={DATA} --source-server='{source} dbname=TEST'
         touch {DATA}/standby.signal
         cat >>{DATA}/postgresql.auto.conf <<END
primary_conninfo = '{source} passfile={HOME}/.pgpass application_name={name}'
primary_slot_name = 'slot_{name}'
END
         ./pg_ctl start -w -D {DATA} -l {LOG}/database.log"
    );
    let run = node.run_as("kingbase", &["sh", "-c", &script], RECOVERY)?;
    run.success().map(drop)
}
