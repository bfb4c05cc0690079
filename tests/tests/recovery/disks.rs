//! Disks that hang for good, fill up, or turn read-only: under the data directory, under the tool's
//! own state and log, and under both.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lab::layout::{DATA, PRIMARY_DOWN};
use lab::{Disk, Lab, LabOptions, Node, ToolRun, wait_for};

use crate::scene::{FAILOVER, RECOVERY, SHORT, postmaster, recover, two_hosts, wait_until_whole};

/// One operation of the disk check, and stopping a database that a hung disk holds back.
const IN_TIME: Duration = Duration::from_secs(10 + 10 + 5);
/// A run that has neither of them to wait for.
const AT_ONCE: Duration = Duration::from_secs(4);

const STATE: &str = "/mnt/state";

/// The tool's state, log and events are on a disk of their own, and the disk is tried once only.
fn options(name: &str) -> LabOptions {
    let mut options = two_hosts(name);
    for (key, value) in [
        ("STATE_DIR", STATE),
        ("RECOVERY_LOG_DIR", "/mnt/state/recovery.log"),
        ("MOUNT_CHECK_MAX_RETRIES", "1"),
    ] {
        options.config.push((key.into(), value.into()));
    }
    options
}

/// Moves the data directory of each host to a disk of its own. The pools must not see it down.
fn move_data(lab: &Lab) -> Result<Vec<Disk>> {
    for node in lab.nodes() {
        node.stop_pool()?;
        node.stop_database("fast")?;
    }
    let mut disks = Vec::new();
    for node in lab.nodes() {
        disks.push(node.add_disk("/mnt/data", 1024)?);
        let script = format!("mv {DATA} /mnt/data/pgdata && ln -s /mnt/data/pgdata {DATA}");
        node.run(&["sh", "-c", &script], RECOVERY)?.success()?;
        node.start_database()?;
    }
    for node in lab.nodes() {
        node.start_pool()?;
    }
    // Where two pools have begun to lead, one of them lets go again.
    wait_for("the pools to have settled", FAILOVER, || {
        lab.nodes()
            .iter()
            .try_for_each(|it| recover(it).map(drop))?;
        lab.is_whole(101)
    })?;
    Ok(disks)
}

/// Processes of the tool, stuck ones and the children of its disk check included.
fn left(node: &Node) -> Result<usize> {
    let list = node.run(&["ps", "-e", "-o", "comm="], SHORT)?.success()?;
    let ours = |name: &&str| ["network_rewind", "exe"].contains(&name.trim());
    Ok(list.lines().filter(ours).count())
}

/// The database's processes that could still write: not those that SIGKILL has met in the kernel.
fn can_write(node: &Node) -> Result<Vec<i32>> {
    let doomed = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let pending = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let bits = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
            bits.unwrap_or(0) & (1 << 8) != 0
        };
        status.is_empty() || pending("SigPnd:") || pending("ShdPnd:")
    };
    let mut pids = node.pids_of_database();
    pids.retain(|pid| !doomed(pid));
    Ok(pids)
}

fn run(node: &Node, limit: Duration) -> Result<ToolRun> {
    let run = node.recover(&[], 2 * limit + SHORT)?;
    ensure!(run.code.is_some() && run.wall < limit, "{run}");
    ensure!(run.stderr.lines().count() <= 1, "{run}");
    Ok(run)
}

/// Further runs leave nothing behind that was not there before.
fn do_not_pile_up(
    node: &Node,
    limit: Duration,
    check: impl Fn(&ToolRun) -> Result<()>,
) -> Result<()> {
    let before = left(node)?;
    for _ in 0..3 {
        check(&run(node, limit)?)?;
    }
    let after = left(node)?;
    ensure!(after <= before, "{before} processes, then {after}");
    Ok(())
}

fn wait_until_nothing_is_left(node: &Node) -> Result<()> {
    wait_for("what was stuck to end", SHORT, || {
        let left = left(node)?;
        ensure!(left == 0, "{left} processes");
        Ok(())
    })
}

#[test]
fn disks_that_hang_for_good() -> Result<()> {
    Lab::with(options("con-hang"), |lab| {
        let (primary, standby) = (lab.node(101), lab.node(102));
        let states = lab.nodes().iter().map(|it| it.add_disk(STATE, 32));
        let states: Vec<Disk> = states.collect::<Result<_>>()?;
        let data = move_data(lab)?;

        only_the_state(lab, &states[0], 101).context("under the state of the primary")?;
        only_the_state(lab, &states[1], 102).context("under the state of the standby")?;
        data_without_use_check_disk(lab, &data[0]).context("under the data, USE_CHECK_DISK=0")?;
        stopped(standby, &[&data[1]], || Ok(())).context("under the data of the standby")?;
        wait_for("it to be back", RECOVERY, || {
            recover(standby)?;
            lab.is_whole(101)
        })?;
        // It is the pool's turn then, so this comes last. The failover does not wait for the disks:
        // what is stuck there was killed.
        let fail_over = || {
            standby.failover(&PRIMARY_DOWN, RECOVERY)?.success()?;
            let said = "old primary 192.168.1.101 is fenced: database killed: processes [";
            let log = standby.failover_log()?;
            ensure!(log.contains(said), "{log}");
            ensure!(!standby.in_recovery()?, "it was not promoted");
            ensure!(can_write(primary)?.is_empty(), "the old one can write");
            Ok(())
        };
        stopped(primary, &[&data[0], &states[0]], fail_over)
            .context("under both of the primary")?;
        ensure!(primary.pids_of_database().is_empty(), "it has come back");
        recover(standby)?;
        recover(primary)?;
        wait_until_whole(lab, 102, SHORT)
    })
}

/// With these disks hanging the database is stopped, and no run hangs with them; `then` something is
/// done, and they go on.
fn stopped(node: &Node, disks: &[&Disk], then: impl FnOnce() -> Result<()>) -> Result<()> {
    disks.iter().try_for_each(|disk| disk.hang())?;
    let first = run(node, IN_TIME)?;
    let is_stopped = |run: &ToolRun| -> Result<()> {
        ensure!(run.code == Some(66), "{run}");
        ensure!(!node.has_vip()?, "the VIP is here: {run}");
        let alive = can_write(node)?;
        ensure!(alive.is_empty(), "{alive:?} are alive: {run}");
        Ok(())
    };
    is_stopped(&first)?;
    ensure!(first.stderr.contains("the database is stopped"), "{first}");
    do_not_pile_up(node, AT_ONCE, is_stopped)?;
    ensure!(left(node)? <= 2, "{} processes", left(node)?);
    then()?;
    disks.iter().try_for_each(|disk| disk.go_on())?;
    wait_until_nothing_is_left(node)
}

/// The log and the state hang: the database is not touched, and no run hangs with them.
fn only_the_state(lab: &Lab, disk: &Disk, number: u8) -> Result<()> {
    let node = lab.node(number);
    disk.hang()?;
    run(node, AT_ONCE)?;
    do_not_pile_up(node, AT_ONCE, |_| Ok(()))?;
    ensure!(left(node)? <= 1, "{} processes", left(node)?);
    lab.is_whole(101)?;
    disk.go_on()?;
    wait_until_nothing_is_left(node)?;
    recover(node)?;
    lab.is_whole(101)
}

fn data_without_use_check_disk(lab: &Lab, disk: &Disk) -> Result<()> {
    let node = lab.node(101);
    node.set_config(&[("USE_CHECK_DISK", "0")])?;
    let before = postmaster(node)?;
    disk.hang()?;
    let first = run(node, IN_TIME)?;
    ensure!(first.code == Some(66), "{first}");
    do_not_pile_up(node, AT_ONCE, |_| Ok(()))?;
    ensure!(left(node)? == 1, "{} processes", left(node)?);
    ensure!(postmaster(node)? == before, "it was stopped");
    ensure!(node.has_vip()?, "the VIP is gone");
    disk.go_on()?;
    wait_until_nothing_is_left(node)?;
    node.set_config(&[("USE_CHECK_DISK", "1")])?;
    recover(node).map(drop)
}

#[test]
fn disks_that_are_full_or_read_only() -> Result<()> {
    let mut options = options("con-full");
    let mounts = format!("({DATA} /mnt/wal)");
    options.config.push(("MOUNT_POINT_DIR_LIST".into(), mounts));
    Lab::with(options, |lab| {
        let node = lab.node(102);
        let state = node.add_disk(STATE, 8)?;
        let disk = node.add_disk("/mnt/wal", 8)?;
        recover(node)?;

        // The tool's own disk: nothing is due, and a log that cannot be written is no reason to fail.
        for bad in [Disk::fill, |disk: &Disk| disk.set_read_only(true)] {
            bad(&state)?;
            run(node, AT_ONCE)?;
            lab.is_whole(101)?;
            if state.make_room().is_err() {
                state.set_read_only(false)?;
            }
            recover(node)?;
        }

        for bad in [Disk::fill, |disk: &Disk| disk.set_read_only(true)] {
            bad(&disk)?;
            let run = run(node, IN_TIME)?;
            ensure!(run.code == Some(66), "{run}");
            let said = ["the disk is full", "read-only"];
            ensure!(said.iter().any(|it| run.stderr.contains(it)), "{run}");
            ensure!(node.pids_of_database().is_empty(), "it runs: {run}");
            if disk.make_room().is_err() {
                disk.set_read_only(false)?;
            }
            let mut seen = Vec::new();
            wait_for("it to be back", RECOVERY, || {
                seen.push(node.recover(&[], RECOVERY)?.to_string());
                lab.is_whole(101)
            })
            .with_context(|| format!("{seen:#?}"))?;
        }
        match left(node)? {
            0 => Ok(()),
            left => bail!("{left} processes are left"),
        }
    })
}
