//! Two pools that do not tell each other, as old ones: each has its own list of nodes.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::layout::{DB_BIN, LOG};
use lab::{Flavor, Lab, LabOptions, Node, ToolRun, wait_for};

use crate::scene::{FAILOVER, SOON, log_line, on_both, options};

/// Until a pool has noticed, and failed over.
const POOL: Duration = Duration::from_secs(40);

/// The pool of node101 has the cluster VIP, that of node102 knows of no other pool.
fn two_pools(name: &str, flavor: Flavor) -> Result<Lab> {
    let options = LabOptions {
        pools: 2,
        leader: 101,
        pgpool: vec![("health_check_max_retries".into(), "0".into())],
        ..options(name, flavor)
    };
    let lab = Lab::start(options)?;
    let alone = lab.node(102);
    let conf = alone.pool_conf();
    let text = alone.read(&conf)? + "use_watchdog = off\n";
    alone.write(&conf, &text, 0o600, 0)?;
    restart_pool(alone, None)?;
    shows(alone, ["up", "up"])?;
    Ok(lab)
}

/// With another list of nodes, where that is given.
fn restart_pool(node: &Node, list: Option<&str>) -> Result<()> {
    node.stop_pool()?;
    if let Some(list) = list {
        node.write(&format!("{LOG}/pgpool_status"), list, 0o600, 0)?;
    }
    node.start_pool()
}

/// The pool of this host itself shows so.
fn shows(node: &Node, wanted: [&str; 2]) -> Result<()> {
    wait_for("the pool's own list", SOON, || status(node, wanted))
}

fn status(node: &Node, wanted: [&str; 2]) -> Result<()> {
    let nodes = node.pool_nodes()?;
    let seen: Vec<&str> = nodes.iter().map(|node| node.status.as_str()).collect();
    ensure!(seen == wanted, "{seen:?}");
    Ok(())
}

fn attach_node(node: &Node, args: &[&str]) -> Result<ToolRun> {
    let program = format!("{DB_BIN}/attach_node");
    node.run(&[&[program.as_str()], args].concat(), FAILOVER)
}

/// Only the pool of node102 has that very node down.
fn down_at_one(lab: &Lab) -> Result<()> {
    let there = ["--pool", "192.168.1.102", "-n", "1", "--detach"];
    attach_node(lab.node(102), &there)?.success()?;
    shows(lab.node(102), ["up", "down"])?;
    shows(lab.node(101), ["up", "up"])
}

fn recovers(node: &Node, wanted: &str) -> Result<()> {
    let run = node.recover(&[], FAILOVER)?;
    let log = node.recovery_log()?;
    ensure!(run.code == Some(0) && log.contains(wanted), "{run}\n{log}");
    Ok(())
}

/// The primary's host is off, and node102 has taken over.
fn has_taken_over(lab: &Lab) -> Result<()> {
    let standby = lab.node(102);
    wait_for("the failover", POOL, || {
        ensure!(
            !standby.in_recovery()? && standby.has_vip()?,
            "{}",
            standby.failover_log()?
        );
        standby.psql("insert into probe values ('after')")?;
        let nodes = standby.pool_nodes()?;
        let named = nodes.iter().any(|it| it.id == 1 && it.role == "primary");
        ensure!(named, "{nodes:?}");
        Ok(())
    })
}

on_both!(
    a_node_that_one_alone_has_down_is_attached_there_too,
    one_that_is_left_alone_and_knows_nobody_says_what_to_do,
);

fn a_node_that_one_alone_has_down_is_attached_there_too(flavor: Flavor) -> Result<()> {
    let lab = two_pools("cand-pools", flavor)?;
    let (primary, standby) = (lab.node(101), lab.node(102));
    // Its failover_command makes the primary asynchronous, which is mended by the same run.
    down_at_one(&lab)?;
    let there =
        "the pool at 192.168.1.102 has node 1 (192.168.1.102) down: it is attached there, too";
    recovers(standby, there)?;
    shows(standby, ["up", "up"])?;
    recovers(standby, "all is well")?;

    restart_pool(standby, Some("up\ndown\n"))?;
    shows(standby, ["up", "down"])?;
    recovers(standby, "; the pool at 192.168.1.102 has it down")?;
    shows(standby, ["up", "up"])?;

    restart_pool(standby, Some("down\nup\n"))?;
    shows(standby, ["down", "up"])?;
    let there = "this node is the primary, and runs; the pool at 192.168.1.102 has it down";
    // That pool has only just begun, and takes no orders in its first moment.
    wait_for("the primary to be attached there", SOON, || {
        recovers(primary, there)?;
        status(standby, ["up", "up"])
    })?;

    primary.power_off()?;
    has_taken_over(&lab)
}

fn one_that_is_left_alone_and_knows_nobody_says_what_to_do(flavor: Flavor) -> Result<()> {
    let lab = two_pools("cand-alone", flavor)?;
    let standby = lab.node(102);
    down_at_one(&lab)?;
    lab.node(101).power_off()?;
    wait_for("the pool to find nobody", POOL, || {
        log_line(standby, "no node is left to promote").map(drop)
    })?;
    // Exactly what that line says.
    let line = wait_for("the failover to end", SOON, || lab.left_nothing(standby))?;
    ensure!(line.contains("no node is left to promote"), "{line}");
    ensure!(line.contains("attach it here: attach_node --pool 192.168.1.102 -n ID --force"));
    let attached = attach_node(standby, &["--pool", "192.168.1.102", "-n", "1", "--force"])?;
    ensure!(attached.code == Some(0), "{attached}");
    ensure!(line.contains("run failover_stream by hand with 192.168.1.102 for %H"));
    let run = standby.failover(&crate::scene::PRIMARY_DOWN, FAILOVER)?;
    ensure!(run.code == Some(0), "{run}");
    has_taken_over(&lab)
}
