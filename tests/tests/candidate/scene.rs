//! What the scenarios have in common.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
pub use lab::layout::PRIMARY_DOWN;
use lab::layout::USER;
use lab::{Flavor, Lab, LabOptions, Node, Running, ToolRun, wait_for};

/// More than any failover takes here, restarts and patience with what hangs included.
pub const FAILOVER: Duration = Duration::from_secs(40);
/// For everything else that is waited for.
pub const SOON: Duration = Duration::from_secs(10);

/// The scenarios of these names, on PostgreSQL and on the stand-in for V8R3: one test for each.
macro_rules! on_both {
    ($($scenario:ident),+ $(,)?) => {
        mod on_postgres {
            $(#[test]
            fn $scenario() -> anyhow::Result<()> {
                super::$scenario(lab::Flavor::Postgres)
            })+
        }
        mod on_the_standin {
            $(#[test]
            fn $scenario() -> anyhow::Result<()> {
                super::$scenario(lab::Flavor::Kingbase)
            })+
        }
    };
}
pub(crate) use on_both;

/// Two hosts, synchronous; each server's lab has a name of its own.
pub fn options(name: &str, flavor: Flavor) -> LabOptions {
    let server = match flavor {
        Flavor::Postgres => "",
        Flavor::Kingbase => "-kb",
    };
    LabOptions {
        name: format!("{name}{server}"),
        flavor,
        ..LabOptions::default()
    }
}

/// A lab of [`options`].
pub fn two_hosts(name: &str, flavor: Flavor) -> Result<Lab> {
    Lab::start(options(name, flavor))
}

/// Three hosts, synchronous.
pub fn three_hosts(name: &str) -> Result<Lab> {
    Lab::start(LabOptions {
        name: name.into(),
        nodes: 3,
        ..LabOptions::default()
    })
}

/// The last line of the host's `failover.log` with this text in it.
pub fn log_line(node: &Node, wanted: &str) -> Result<String> {
    let log = node.failover_log()?;
    let line = log.lines().rev().find(|line| line.contains(wanted));
    let line = line.with_context(|| format!("no {wanted:?} in {log}"))?;
    Ok(line.to_owned())
}

/// It went through: node 102 is the primary with the VIP, takes writes, and no other one does.
pub fn went_through(lab: &Lab, run: &ToolRun) -> Result<()> {
    let (old, new) = (lab.node(101), lab.node(102));
    let log = format!("{}\n{}", new.failover_log()?, new.log("database.log")?);
    ensure!(run.code == Some(0), "{run}\n{log}");
    ensure!(new.has_vip()?, "no VIP: {log}");
    ensure!(!new.in_recovery()?, "in recovery: {log}");
    new.psql("insert into probe values ('primary')")?;
    let down = !old.is_up() || old.pids_of_database().is_empty() || old.in_recovery()?;
    ensure!(down, "two primaries: {log}");
    Ok(())
}

/// Keeps a transaction open on `node` that has begun with `sql`, until the lab ends.
pub fn keep_open(node: &Node, application: &str, sql: &str) -> Result<Running> {
    // The last statement is at work, or sleeps with the transaction open.
    let script = format!(
        "PGPASSFILE=/home/kingbase/.pgpass exec /usr/lib/postgresql/15/bin/psql -h {address} -p 54321 \
         -U SUPERMANAGER_V8ADMIN -d TEST -v ON_ERROR_STOP=1 -c \"set application_name = '{application}'\" -c \"{sql}\"",
        address = node.address()
    );
    node.spawn(USER, &["/bin/sh", "-c", &script], Duration::from_secs(300))
}

/// Settings of a server, reloaded.
pub fn set(node: &Node, settings: &[(&str, &str)]) -> Result<()> {
    for (name, value) in settings {
        node.psql(&format!("alter system set {name} = {value}"))?;
    }
    node.psql("select pg_reload_conf()")?;
    Ok(())
}

/// Stops the database of `node`, and starts it without waiting for a session.
pub fn restart_without_waiting(node: &Node) -> Result<()> {
    node.stop_database("fast")?;
    node.start_database_without_waiting()
}

/// Whether the primary shows its standbys streaming.
pub fn all_stream(primary: &Node, count: usize) -> Result<()> {
    wait_for("the standbys to stream", SOON, || {
        let seen = primary.psql("select state from pg_stat_replication")?;
        ensure!(seen.matches("streaming").count() == count, "{seen}");
        Ok(())
    })
}
