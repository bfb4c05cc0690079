//! The lab itself, on the real thing. Needs root.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::layout::{DATA, DB_BIN, LOG, UID, USER};
use lab::{Lab, LabOptions, wait_for};

const SHORT: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(60);

fn options(name: &str) -> LabOptions {
    LabOptions {
        name: name.into(),
        ..LabOptions::default()
    }
}

/// What of a lab is on the machine: processes, networks, mounts and directories.
fn remains(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for path in [
        format!("/run/failover-lab/{name}"),
        format!("/var/tmp/failover-lab/labs/{name}"),
    ] {
        if Path::new(&path).exists() {
            found.push(path);
        }
    }
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let network = entry.file_name().to_string_lossy().into_owned();
        if network.starts_with(&format!("lab.{name}.")) {
            found.push(network);
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let ours = mounts
        .lines()
        .filter(|line| line.contains(&format!("failover-lab/{name}")));
    found.extend(ours.map(str::to_owned));
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        // A zombie has no command line left.
        let command = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if command.contains(&format!("/run/failover-lab/{name}/")) {
            found.push(command);
        }
    }
    found
}

#[test]
fn two_hosts_come_up_work_and_leave_nothing() -> Result<()> {
    let name = "self-basic";
    let lab = Lab::start(options(name))?;
    let (one, two) = (lab.node(101), lab.node(102));

    assert!(!one.in_recovery()? && two.in_recovery()?);
    assert!(one.has_vip()? && !two.has_vip()?);
    assert_eq!(
        one.psql("select application_name, sync_state from pg_stat_replication")?,
        "node102|sync"
    );
    assert_eq!(
        one.psql("select slot_name, active from pg_replication_slots")?,
        "slot_node102|t"
    );

    let client = lab.start_client()?;
    client.wait_for_acks(100, SHORT)?;
    let report = client.stop();
    assert!(report.longest_gap < Duration::from_secs(1), "{report:?}");
    assert_eq!(report.lost(&lab.rows_present(two)?), Vec::<u64>::new());

    // Everybody gets everywhere over ssh, also onto the own host.
    for user in ["root", "kingbase"] {
        for target in ["root", "kingbase"] {
            for host in ["192.168.1.101", "192.168.1.102"] {
                let target = format!("{target}@{host}");
                let ssh = [
                    "ssh",
                    "-o",
                    "StrictHostKeyChecking=accept-new",
                    &target,
                    "id -un",
                ];
                let said = one.run_as(user, &ssh, SHORT)?.success()?;
                assert!(target.starts_with(said.trim()), "{target}: {said}");
            }
        }
    }
    // The case study's check of the trust IP works for the database's user.
    one.run_as(
        "kingbase",
        &["ping", "-c", "1", "-W", "2", "192.168.1.1"],
        SHORT,
    )?
    .success()?;

    drop(lab);
    assert_eq!(remains(name), Vec::<String>::new());
    // And once more, as the second of two runs.
    drop(Lab::start(options(name))?);
    assert_eq!(remains(name), Vec::<String>::new());
    Ok(())
}

#[test]
fn three_hosts_asynchronous() -> Result<()> {
    let lab = Lab::start(LabOptions {
        nodes: 3,
        sync: false,
        known_hosts: true,
        config: vec![("PROBE_TIMEOUT".into(), "700".into())],
        ..options("self-three")
    })?;
    let one = lab.node(101);
    assert_eq!(
        one.psql("select application_name, state, sync_state from pg_stat_replication order by 1")?,
        "node102|streaming|async\nnode103|streaming|async"
    );
    let conf = lab
        .node(103)
        .read(&format!("{}/HAmodule.conf", lab::layout::DB_ETC))?;
    for line in [
        "SYNC_FLAG=0",
        "KB_LOCALHOST_IP=192.168.1.103",
        "PROBE_TIMEOUT=700",
    ] {
        assert!(conf.lines().any(|it| it == line), "{line} not in {conf}");
    }
    let ssh = [
        "ssh",
        "-o",
        "StrictHostKeyChecking=yes",
        "192.168.1.103",
        "hostname",
    ];
    assert_eq!(one.run(&ssh, SHORT)?.success()?, "node103\n");

    // One pair cut, all others still there.
    let reaches = |from: u8, to: &str| -> Result<bool> {
        let ping = ["ping", "-c", "1", "-W", "1", to];
        Ok(lab.node(from).run(&ping, SHORT)?.code == Some(0))
    };
    one.block_to(lab.node(102))?;
    assert!(!reaches(101, "192.168.1.102")? && !reaches(102, "192.168.1.101")?);
    assert!(reaches(101, "192.168.1.103")? && reaches(103, "192.168.1.102")?);
    // Its card has the carrier a moment later.
    let reaches_again = |to: &str| {
        wait_for("it to be reached again", SHORT, || {
            ensure!(reaches(101, to)?, "{to} is not");
            Ok(())
        })
    };
    one.unblock(lab.node(102))?;
    reaches_again("192.168.1.102")?;

    lab.gateway_down()?;
    assert!(!reaches(101, "192.168.1.1")?);
    lab.gateway_up()?;
    reaches_again("192.168.1.1")?;

    one.link_down()?;
    assert!(!reaches(101, "192.168.1.103")?);
    one.link_up()?;
    reaches_again("192.168.1.103")
}

#[test]
fn power_cut_and_return() -> Result<()> {
    let lab = Lab::start(options("self-power"))?;
    let (one, two) = (lab.node(101), lab.node(102));
    let pids = one.pids_of_database();
    assert!(pids.len() > 3, "{pids:?}");
    one.write("/etc/cron.d/job", "# nothing\n", 0o644, 0)?;

    one.power_off()?;
    assert!(!one.is_up());
    for pid in pids
        .iter()
        .chain([&one.pids_of_database().len().try_into()?])
    {
        let program = fs::read_link(format!("/proc/{pid}/exe"));
        assert!(program.is_err(), "{pid} still runs {program:?}");
    }
    assert!(one.run(&["true"], SHORT).is_err());
    // No FIN was sent: the standby's receiver still believes in its connection.
    assert_eq!(two.psql("select count(*) from pg_stat_wal_receiver")?, "1");

    one.power_on()?;
    assert!(one.is_up() && !one.has_vip()?);
    assert_eq!(one.pids_of_database(), Vec::<i32>::new());
    assert_eq!(one.read("/etc/cron.d/job")?, "# nothing\n");
    let ssh = [
        "ssh",
        "-o",
        "StrictHostKeyChecking=accept-new",
        "192.168.1.101",
        "hostname",
    ];
    assert_eq!(two.run(&ssh, SHORT)?.success()?, "node101\n");
    one.start_database()?;
    assert!(!one.in_recovery()?);
    Ok(())
}

#[test]
fn cron_runs_the_recovery_also_after_a_power_cut() -> Result<()> {
    let lab = Lab::start(LabOptions {
        recovery: true,
        ..options("self-recovery")
    })?;
    let one = lab.node(101);
    lab.node(102).disable_recovery()?;
    // In place of the tool: who ran it, and as what.
    let tool = format!("#!/bin/sh\nid -un >>{LOG}/called\n");
    for node in lab.nodes() {
        node.write(&format!("{DB_BIN}/network_rewind"), &tool, 0o755, UID)?;
    }
    one.recover(&[], SHORT)?.success()?;
    assert_eq!(one.log("called")?, format!("{USER}\n"));

    one.power_off()?;
    one.power_on()?;
    // Cron looks at its table once a minute.
    wait_for("cron to run it", Duration::from_secs(75), || {
        let called = one.log("called")?;
        ensure!(called.lines().count() > 1, "{called:?}");
        Ok(())
    })?;
    assert_eq!(one.log("called")?, format!("{USER}\n{USER}\n"));
    assert_eq!(lab.node(102).log("called")?, "");
    Ok(())
}

#[test]
fn databases_are_killed_frozen_and_stopped() -> Result<()> {
    let lab = Lab::start(options("self-database"))?;
    let one = lab.node(101);

    one.freeze_database();
    let asked = Instant::now();
    assert!(one.query("select 1", Duration::from_millis(300)).is_err());
    assert!(asked.elapsed() < Duration::from_secs(1));
    one.thaw_database();
    assert_eq!(one.psql("select 1")?, "1");

    one.stop_database("fast")?;
    assert_eq!(one.pids_of_database(), Vec::<i32>::new());
    one.start_database()?;
    one.kill_database()?;
    assert_eq!(one.pids_of_database(), Vec::<i32>::new());
    assert!(one.path(DATA)?.join("postmaster.pid").exists());
    one.start_database()?;

    one.stop_sshd()?;
    let ssh = [
        "ssh",
        "-o",
        "StrictHostKeyChecking=accept-new",
        "192.168.1.101",
        "true",
    ];
    assert_eq!(lab.node(102).run(&ssh, SHORT)?.code, Some(255));
    one.start_sshd()?;
    lab.node(102).run(&ssh, SHORT)?.success()?;
    Ok(())
}

#[test]
fn two_writers_are_noticed() -> Result<()> {
    let lab = Lab::start(options("self-writers"))?;
    let two = lab.node(102);
    let prober = lab.start_prober();
    let client = lab.start_client()?;
    client.wait_for_acks(50, SHORT)?;
    assert_eq!(prober.two_writers(), None);
    assert!(!prober.spans(101).is_empty() && prober.spans(102).is_empty());

    two.run_as(
        "kingbase",
        &[&format!("{DB_BIN}/pg_ctl"), "promote", "-D", DATA],
        SHORT,
    )?
    .success()?;
    let seen = wait_for("the prober to see it", SHORT, || {
        prober
            .two_writers()
            .ok_or_else(|| anyhow::anyhow!("nothing"))
    })?;
    assert_eq!(seen.hosts, (101, 102));
    Ok(())
}

#[test]
fn programs_run_with_a_limit_and_like_the_pool() -> Result<()> {
    let lab = Lab::start(options("self-programs"))?;
    let one = lab.node(101);

    let run = one.run(&["sh", "-c", "echo out; echo err >&2; exit 3"], SHORT)?;
    assert_eq!(
        (run.code, run.stdout.as_str(), run.stderr.as_str()),
        (Some(3), "out\n", "err\n")
    );
    assert!(
        run.max_rss_kb > 500 && run.wall < Duration::from_secs(1),
        "{run:?}"
    );
    assert!(one.run(&["/no/such/program"], SHORT).is_err());

    // Its children go, too, when its time is over.
    let run = one.run(
        &["sh", "-c", "sleep 77 & sleep 77"],
        Duration::from_millis(200),
    )?;
    assert_eq!((run.code, run.signal), (None, Some(9)));
    let running = one.run(&["ps", "-e", "-o", "args="], SHORT)?.success()?;
    assert!(!running.contains("sleep 77"), "{running}");

    // Not asked of a shell: dash empties its signal mask.
    let cp = ["cp", "/proc/self/status", "/tmp/status"];
    one.run_as_pool(&cp, SHORT)?.success()?;
    let status = one.read("/tmp/status")?;
    // Bit 14 is SIGTERM.
    assert!(status.contains("SigBlk:\t0000000000004000\n"), "{status}");
    let list = ["bash", "-c", "pwd >/tmp/fds; ls -l /proc/$$/fd >>/tmp/fds"];
    one.run_as_pool(&list, SHORT)?.success()?;
    let fds = one.read("/tmp/fds")?;
    assert!(fds.starts_with("/\n"), "{fds}");
    assert_eq!(fds.matches("/dev/null").count(), 3, "{fds}");
    assert_eq!(fds.matches("socket:").count(), 3, "{fds}");

    let running = one.spawn("kingbase", &["sleep", "77"], LONG)?;
    running.signal(15)?;
    assert_eq!(running.wait()?.signal, Some(15));
    Ok(())
}

#[test]
fn pool_shows_nodes_and_calls_the_failover_command() -> Result<()> {
    let lab = Lab::start(LabOptions {
        pools: 2,
        failover_command: format!("echo %d %P %H %D >>{LOG}/called"),
        ..options("self-pool")
    })?;
    let (one, two) = (lab.node(101), lab.node(102));
    let nodes = lab.pool_nodes()?;
    let seen: Vec<(u8, &str, &str)> = nodes
        .iter()
        .map(|n| (n.id, n.status.as_str(), n.role.as_str()))
        .collect();
    assert_eq!(seen, [(0, "up", "primary"), (1, "up", "standby")]);
    assert!(!one.has_pool_vip()? && two.has_pool_vip()?);

    let status = |id: usize, wanted: &str| {
        wait_for(&format!("node {id} to be {wanted}"), LONG, || {
            let nodes = lab.pool_nodes()?;
            ensure!(nodes[id].status == wanted, "{nodes:?}");
            Ok(())
        })
    };
    lab.pcp_detach(1)?;
    status(1, "down")?;
    lab.pcp_attach(1)?;
    status(1, "up")?;
    assert_eq!(two.log("called")?, format!("1 0 192.168.1.101 {DATA}\n"));

    let cut = Instant::now();
    one.power_off()?;
    let called = wait_for("the failover command", LONG, || {
        let called = two.log("called")?;
        ensure!(called.lines().count() == 2, "{called:?}");
        Ok(called)
    })?;
    eprintln!("failover command {:?} after the power cut", cut.elapsed());
    assert!(
        called.ends_with(&format!("\n0 0 192.168.1.102 {DATA}\n")),
        "{called}"
    );
    one.power_on()?;
    status(0, "down")?;
    Ok(())
}

/// Not a test: the process that the next one kills.
#[test]
#[ignore = "run by killed_owner_is_cleaned_up"]
fn owner() -> Result<()> {
    let lab = Lab::start(options("self-killed"))?;
    let client = lab.start_client()?;
    loop {
        client.wait_for_acks(1_000, LONG)?;
    }
}

#[test]
fn killed_owner_is_cleaned_up() -> Result<()> {
    let name = "self-killed";
    Lab::remove(name)?;
    let mut owner = Command::new(std::env::current_exe()?)
        .args(["--ignored", "--exact", "owner"])
        .stdout(Stdio::null())
        .spawn()?;
    let pids = wait_for("the owner's lab", LONG, || {
        let lab = Lab::attach(name)?;
        ensure!(!lab.rows_present(lab.node(101))?.is_empty(), "no rows");
        Ok(lab.node(101).pids_of_database())
    })?;
    assert!(Lab::start(options(name)).is_err(), "two labs of one name");
    owner.kill()?;
    assert_eq!(owner.wait()?.signal(), Some(9));
    assert!(!remains(name).is_empty());

    let lab = Lab::start(options(name))?;
    for pid in pids {
        assert!(!lab.node(101).pids_of_database().contains(&pid));
        assert!(
            fs::read_link(format!("/proc/{pid}/exe")).is_err(),
            "{pid} runs"
        );
    }
    drop(lab);
    assert_eq!(remains(name), Vec::<String>::new());
    Ok(())
}

/// `drills --list | head -1`: the programs of the workspace, and the tools.
#[test]
fn nobody_has_to_listen() -> Result<()> {
    let tools = LabOptions::default().tools;
    let rows: [(&Path, &str); 10] = [
        (Path::new(env!("CARGO_BIN_EXE_drills")), "--list"),
        (Path::new(env!("CARGO_BIN_EXE_drills")), "--help"),
        (Path::new(env!("CARGO_BIN_EXE_lab")), "--help"),
        (Path::new(env!("CARGO_BIN_EXE_bench")), "--help"),
        (Path::new(env!("CARGO_BIN_EXE_demo")), "--help"),
        (&tools.join("failover_stream"), "--help"),
        (&tools.join("network_rewind"), "--version"),
        (&tools.join("attach_node"), "--help"),
        (&tools.join("vip_ctl"), "--help"),
        (&tools.join("rw_check"), "--version"),
    ];
    for (program, word) in rows {
        let what = format!("{} {word}", program.display());
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let mut command = Command::new(program);
        command.arg(word).stdout(writer).stderr(Stdio::piped());
        let out = command.spawn()?.wait_with_output()?;
        let said = String::from_utf8_lossy(&out.stderr);
        ensure!(out.status.success() && said.is_empty(), "{what}: {said}");
    }
    Ok(())
}
