//! What a recovery starts and makes: a database that has nothing of the tool's, and files that
//! belong to the database's user, whoever ran it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::layout::{DATA, DB_BIN, LOG, PCP_PASSWORD, SQL_PASSWORD, UID, USER};
use lab::{Lab, Node, wait_for};

use crate::scene::{
    RECOVERY, SHORT, assert_logged, failed_over, power_cycle, recover, two_hosts, wait_for_status,
    wait_until_whole,
};

#[test]
fn what_it_starts_is_on_its_own() -> Result<()> {
    Lab::with(two_hosts("con-started"), |lab| {
        let old = lab.node(101);
        let new = power_cycle(lab, 101)?;
        // A person, as root, from a shell with a mask and sockets of its own; and cron.
        let program = format!("{DB_BIN}/network_rewind");
        old.run_as_pool(&[&program, "--force"], RECOVERY)?
            .success()
            .with_context(|| old.recovery_log().unwrap_or_default())?;
        wait_until_whole(lab, new, SHORT)?;
        is_on_its_own(old)?;
        all_is_the_users(old)?;

        old.kill_database()?;
        wait_for_status(lab, old, "down")?;
        let run = old.recover(&["--die-after", "recover.start"], RECOVERY)?;
        ensure!(run.signal == Some(9), "{run}");
        ensure!(!old.pids_of_database().is_empty(), "it died with the tool");
        is_on_its_own(old)?;
        wait_for("it to be back", RECOVERY, || {
            recover(old)?;
            lab.is_whole(new)
        })?;
        all_is_the_users(old)?;
        lab.wait_until_nothing_is_left(SHORT)
    })
}

/// The postmaster: whose it is, whose child, what it has inherited.
fn is_on_its_own(node: &Node) -> Result<()> {
    let pids = node.pids_of_database();
    let init = node.init_pid()?.to_string();
    let parent = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"));
        line.unwrap_or_default().trim().to_owned()
    };
    let pid = pids.iter().find(|pid| parent(pid) == init);
    let pid = pid.context("no database, or it is not init's child")?;
    let proc = Path::new("/proc").join(pid.to_string());
    ensure!(fs::metadata(&proc)?.uid() == UID, "not the user's");

    let status = fs::read_to_string(proc.join("status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    let groups = field("Groups:");
    let its_own = |group: &str| group == UID.to_string();
    ensure!(
        groups.split_whitespace().all(its_own),
        "its groups are {groups}"
    );
    // The server's own are there, but nobody's that would keep it from being stopped.
    let bits = u64::from_str_radix(&field("SigBlk:"), 16)?;
    ensure!(bits & (1 << 14) == 0, "SIGTERM is blocked: {bits:x}");

    for entry in fs::read_dir(proc.join("fd"))? {
        let target = fs::read_link(entry?.path())?;
        let target = target.to_string_lossy();
        let ours = [
            "network_rewind",
            "instance.lock",
            "events.jsonl",
            "recovery.log",
        ];
        ensure!(
            !ours.iter().any(|name| target.contains(name)),
            "it holds {target}"
        );
    }
    // Of listening sockets it has its own: two addresses, two files.
    let sockets = node.run(&["ss", "-Hltnp"], SHORT)?.stdout;
    let its_own = sockets.lines().filter(|line| line.contains("\"postgres\""));
    let strange: Vec<&str> = its_own.filter(|line| !line.contains(":54321")).collect();
    ensure!(strange.is_empty(), "{strange:?}");

    let environment = fs::read(proc.join("environ"))?;
    let environment = String::from_utf8_lossy(&environment).replace('\0', "\n");
    for secret in ["PASSWORD", SQL_PASSWORD, PCP_PASSWORD] {
        ensure!(!environment.contains(secret), "{environment}");
    }
    Ok(())
}

fn all_is_the_users(node: &Node) -> Result<()> {
    // The pool is root's, and so is its log.
    let find = [
        "find",
        DATA,
        LOG,
        "!",
        "-user",
        "kingbase",
        "!",
        "-name",
        "cluster.log*",
        "!",
        "-name",
        "failover.log",
        "!",
        "-name",
        "pgpool*",
    ];
    let strange = node.run(&find, SHORT)?.stdout;
    ensure!(strange.is_empty(), "not kingbase's: {strange}");
    Ok(())
}

/// Gives the number in the pid file of the dead server to another process of its user.
fn reuse_its_pid(node: &Node) -> Result<()> {
    let script = format!(
        "sleep 600 >/dev/null 2>&1 & sed -i \"1s/.*/$!/\" {DATA}/postmaster.pid && head -1 {DATA}/postmaster.pid"
    );
    let run = node.run_as(USER, &["sh", "-c", &script], SHORT)?;
    let pid: i32 = run.success()?.trim().parse()?;
    ensure!(pid > 1, "{pid}");
    Ok(())
}

/// After a boot the numbers of processes are low again, and that of the dead server is soon another's.
#[test]
fn a_pid_that_is_anothers_by_now_stops_nobody() -> Result<()> {
    Lab::with(two_hosts("con-reused-pid"), |lab| {
        let old = lab.node(101);
        old.kill_database()?;
        let new = failed_over(lab, 101)?;
        reuse_its_pid(old)?;
        ensure!(
            old.start_database().is_err(),
            "the server itself minds it no more: this test shows nothing"
        );
        let run = recover(old)?;
        assert_logged(&old.recovery_log()?, "is another's by now");
        wait_until_whole(lab, new, SHORT).with_context(|| run.to_string())?;
        // A standby that is only started.
        old.kill_database()?;
        wait_for_status(lab, old, "down")?;
        reuse_its_pid(old)?;
        recover(old)?;
        wait_until_whole(lab, new, SHORT)
    })
}
