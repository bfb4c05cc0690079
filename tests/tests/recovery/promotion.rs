//! A recovery of a node, and a promotion of it, at the same time.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::layout::{DATA, DB_BIN, LOG, POOL_BIN, UID};
use lab::{Lab, Node, Running, wait_for};

use crate::scene::{
    RECOVERY, SHORT, assert_logged, astray, failed_over, postmaster, recover, two_hosts,
    wait_for_status, wait_until_whole,
};

/// A run that has nothing to wait for.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Where the tools find the programs of the server and of the pool, and where those are.
const SERVERS: (&str, &str) = (DB_BIN, "/usr/lib/postgresql/15/bin");
const POOLS: (&str, &str) = (POOL_BIN, "/usr/sbin");

fn promote(node: &Node) -> Result<Running> {
    let program = format!("{POOL_BIN}/failover_stream");
    let command = [&program, "--step", "promote", "--deadline", "8000"];
    node.spawn("root", &command, RECOVERY)
}

/// Puts a script in the place of one of the server's programs: it works only once `release` was
/// called, and then ends with `end`.
fn hold(node: &Node, program: &str, only: &str, end: &str) -> Result<()> {
    hold_in(SERVERS, node, program, only, end)
}

fn hold_in(
    (bin, real): (&str, &str),
    node: &Node,
    program: &str,
    only: &str,
    end: &str,
) -> Result<()> {
    let script = format!(
        "#!/bin/sh\n\
         case \"$*\" in *{only}*)\n\
         touch /tmp/held\n\
         while [ ! -e /tmp/release ]; do sleep 0.02; done\n\
         {end};;\n\
         esac\n\
         exec {real}/{program} \"$@\"\n"
    );
    node.run(&["rm", "-f", "/tmp/held", "/tmp/release"], SHORT)?;
    let path = format!("{bin}/{program}");
    node.run(&["rm", &path], SHORT)?.success()?;
    node.write(&path, &script, 0o755, 0)
}

fn wait_until_held(node: &Node) -> Result<()> {
    wait_for("the program to be started", SHORT, || {
        node.read("/tmp/held").map(drop)
    })
}

/// It goes on, and the next one is not held.
fn release(node: &Node, program: &str) -> Result<()> {
    node.write("/tmp/release", "", 0o644, 0)?;
    let (bin, real) = SERVERS;
    let link = [
        "ln",
        "-sf",
        &format!("{real}/{program}"),
        &format!("{bin}/{program}"),
    ];
    node.run(&link, SHORT)?.success().map(drop)
}

fn start(node: &Node) -> Result<Running> {
    let program = format!("{DB_BIN}/network_rewind");
    node.spawn("kingbase", &[&program], RECOVERY)
}

/// The log from `from` on.
fn log_since(node: &Node, from: usize) -> Result<String> {
    let log = node.recovery_log()?;
    Ok(log.get(from..).unwrap_or_default().to_owned())
}

#[test]
fn a_promotion_in_the_middle_of_a_recovery() -> Result<()> {
    let mut options = two_hosts("con-promote");
    options.sync = false;
    Lab::with(options, |lab| {
        let node = lab.node(102);
        a_promotion_is_under_way(lab, node).context("a promotion holds the lock")?;
        after_the_mark(lab, node).context("after the mark")?;
        before_the_mark(lab, node).context("before the mark")
    })
}

/// A recovery that finds the lock taken leaves at once, and has changed nothing.
fn a_promotion_is_under_way(lab: &Lab, node: &Node) -> Result<()> {
    astray(lab, node)?;
    // There are no two VIPs for the sake of a promotion that fails in the end.
    node.set_config(&[("KB_VIP", "")])?;
    hold(node, "pg_ctl", "promote", "exit 1")?;
    let promotion = promote(node)?;
    wait_until_held(node)?;
    let before = postmaster(node)?;
    let run = node.recover(&[], RECOVERY)?;
    ensure!(run.code == Some(66) && run.wall < AT_ONCE, "{run}");
    ensure!(run.stderr.contains("promotion of this node"), "{run}");
    ensure!(postmaster(node)? == before, "it was stopped: {run}");
    ensure!(node.in_recovery()?);
    release(node, "pg_ctl")?;
    let promotion = promotion.wait()?;
    ensure!(promotion.code != Some(0), "{promotion}");
    node.set_config(&[("KB_VIP", "192.168.1.200/24")])
}

/// From its mark on a rewind is not let go: the node is no candidate, and the recovery goes through.
fn after_the_mark(lab: &Lab, node: &Node) -> Result<()> {
    hold(node, "pg_rewind", "", "true")?;
    let recovery = start(node)?;
    wait_until_held(node)?;
    let second = node.recover(&[], RECOVERY)?;
    ensure!(second.code == Some(0) && second.wall < AT_ONCE, "{second}");
    ensure!(second.stdout.contains("another run"), "{second}");

    let promotion = promote(node)?.wait()?;
    ensure!(
        promotion.code != Some(0) && promotion.wall < AT_ONCE,
        "{promotion}"
    );
    ensure!(
        promotion
            .stdout
            .contains("rewind of this node is unfinished"),
        "{promotion}"
    );
    ensure!(lab.vip_holders()? == [101]);

    release(node, "pg_rewind")?;
    let recovery = recovery.wait()?;
    ensure!(recovery.code == Some(0), "{recovery}");
    wait_until_whole(lab, 101, SHORT)
}

/// Up to its mark it lets go: the standby runs again, and is promoted.
fn before_the_mark(lab: &Lab, node: &Node) -> Result<()> {
    astray(lab, node)?;
    // Its stop takes as long as we want.
    let startup = |signal: &str| node.run(&["pkill", signal, "-f", "startup"], SHORT);
    startup("-STOP")?.success()?;
    let from = node.recovery_log()?.len();
    let recovery = start(node)?;
    wait_for("the standby to be stopped", SHORT, || {
        let log = log_since(node, from)?;
        ensure!(log.contains("let it down"), "{log}");
        let refused = node.psql("select 1").is_err();
        ensure!(refused, "it answers");
        Ok(())
    })?;
    // That is why there is a promotion.
    lab.node(101).power_off()?;
    let promotion = promote(node)?;
    wait_for("the promotion's word", SHORT, || {
        let word = node.path(&format!("{LOG}/promotion.wanted"))?;
        ensure!(Path::new(&word).exists(), "no word");
        Ok(())
    })?;
    startup("-CONT")?.success()?;
    let (promotion, recovery) = (promotion.wait()?, recovery.wait()?);
    ensure!(promotion.code == Some(0), "{promotion}\n{recovery}");
    ensure!(recovery.code == Some(66), "{recovery}");
    let log = log_since(node, from)?;
    assert_logged(&log, "a promotion of this node is wanted, and wins");
    assert_logged(&log, "the standby is started again");
    ensure!(!node.in_recovery()? && node.has_vip()?);

    // And the old primary comes back as its standby.
    lab.node(101).power_on()?;
    // The pool, which had no node left, is told by hand.
    wait_for("the pool to know the new primary", RECOVERY, || {
        lab.pcp_attach(node.id())?;
        wait_for_status(lab, node, "up")
    })?;
    recover(lab.node(101))?;
    wait_until_whole(lab, 102, SHORT)
}

/// A person promotes it after it was looked at, to a timeline that has the number of the primary's: a
/// rewind, which compares the numbers, would find nothing to do.
#[test]
fn a_promotion_between_the_look_and_the_stop() -> Result<()> {
    Lab::with(two_hosts("con-between"), |lab| {
        let node = lab.node(101);
        lab.kill_with_rows_of_its_own(101, 102)?;
        failed_over(lab, 101)?;
        // A standby by a person's will, and with rows that the primary has not.
        node.write(&format!("{DATA}/standby.signal"), "", 0o600, UID)?;
        node.start_database()?;
        lab.pcp_attach(node.id())?;
        wait_for_status(lab, node, "up")?;

        // The last thing before the stop.
        hold_in(POOLS, node, "pcp_detach_node", "", "true")?;
        let recovery = start(node)?;
        wait_until_held(node)?;
        ensure!(node.in_recovery()?, "it was stopped before");
        node.promote_database()?;
        node.write("/tmp/release", "", 0o644, 0)?;
        let run = recovery.wait()?;
        let log = node.recovery_log()?;
        ensure!(run.code == Some(1), "{run}\n{log}");
        ensure!(node.pids_of_database().is_empty(), "a second primary runs");
        for words in ["timeline 2", "set REWIND_FALLBACK=basebackup"] {
            ensure!(run.stderr.contains(words), "no {words:?} in {run}");
        }

        // As it says.
        node.set_config(&[("REWIND_FALLBACK", "basebackup")])?;
        recover(node)?;
        wait_until_whole(lab, 102, SHORT)
    })
}

/// A failover that holds the standbys cannot reach the database of one that is being recovered from the old primary.
/// Its word is heard before that one is started.
#[test]
fn a_hold_in_the_middle_of_a_recovery() -> Result<()> {
    let mut options = two_hosts("con-hold");
    options.sync = false;
    Lab::with(options, |lab| {
        let node = lab.node(102);
        let order = |words: &str| {
            let all = format!("--deadline 2000 --run other --step {words}");
            let args: Vec<&str> = all.split(' ').collect();
            node.failover(&args, RECOVERY)
        };
        astray(lab, node)?;
        hold(node, "pg_rewind", "", "true")?;
        let recovery = start(node)?;
        wait_until_held(node)?;
        let held = order("hold --newest-timeline 9 --old-primary 192.168.1.101")?;
        ensure!(held.code != Some(0), "{held}");
        ensure!(
            held.to_string().contains("is held by another run"),
            "{held}"
        );
        release(node, "pg_rewind")?;
        let recovery = recovery.wait()?;
        ensure!(recovery.code == Some(66), "{recovery}");
        let said = "a failover has told this node not to listen to 192.168.1.101";
        assert_logged(&node.recovery_log()?, said);
        let next = node.recover(&[], RECOVERY)?;
        ensure!(next.code == Some(66), "{next}");
        ensure!(node.pids_of_database().is_empty(), "it was started: {next}");
        // It came to nothing.
        order("follow --primary 192.168.1.101 --newest-timeline 0")?.success()?;
        recover(node)?;
        wait_until_whole(lab, 101, SHORT)
    })
}
