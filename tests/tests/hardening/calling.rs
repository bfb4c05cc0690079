//! Called as the pool calls it: working directory `/`, stdio on `/dev/null`, SIGTERM blocked,
//! listening sockets of the pool inherited.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::layout::{DB_BIN, POOL_BIN};
use lab::{Node, wait_for};

use crate::scene::{
    FAILOVER, PRIMARY_DOWN, PROBES, SOON, assert_only_primary, log_line, two_hosts,
};

fn command() -> Vec<String> {
    let program = format!("{POOL_BIN}/failover_stream");
    let args = PRIMARY_DOWN.iter().map(|arg| (*arg).to_owned());
    std::iter::once(program).chain(args).collect()
}

/// Puts a script before a program of the host that notes its open descriptors.
fn note_descriptors(node: &Node, script: &str, program: &str) -> Result<()> {
    let text =
        format!("#!/bin/bash\nls -l /proc/$$/fd >/tmp/fds.${{0##*/}}.$$\nexec {program} \"$@\"\n");
    let path = node.path(script)?;
    if path.is_symlink() {
        std::fs::remove_file(path)?;
    }
    node.write(script, &text, 0o755, 0)
}

#[test]
fn it_works_and_no_child_holds_a_socket_of_the_pool() -> Result<()> {
    let lab = two_hosts("hard-pool")?;
    let node = lab.node(102);
    for program in ["ping", "ip"] {
        let script = format!("/usr/local/bin/{program}");
        note_descriptors(node, &script, &format!("/usr/bin/{program}"))?;
    }
    for program in ["pg_ctl", "pg_controldata"] {
        let script = format!("{DB_BIN}/{program}");
        note_descriptors(
            node,
            &script,
            &format!("/usr/lib/postgresql/15/bin/{program}"),
        )?;
    }
    let local = "/usr/local/bin";
    node.set_config(&[("CMD_IP_PATH", local)])?;

    let command = command();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let run = node.run_as_pool(&command, FAILOVER)?;
    assert_eq!(run.code, Some(0), "{run}\n{}", node.failover_log()?);
    assert_only_primary(&lab, 102)?;
    lab.wait_until_nothing_runs(PROBES)?;

    let noted = node
        .run(&["bash", "-c", "tail -n +1 /tmp/fds.*"], SOON)?
        .success()?;
    for program in ["ping", "ip", "pg_ctl", "pg_controldata"] {
        assert!(
            noted.contains(&format!("==> /tmp/fds.{program}.")),
            "{noted}"
        );
    }
    // Nothing but its stdio, its script and the directory that `ls` reads.
    assert!(!noted.contains("socket:"), "{noted}");
    Ok(())
}

/// The pool's mask blocks SIGTERM, and a stop of the pool must not wait for a failover that hangs.
#[test]
fn it_stops_on_sigterm() -> Result<()> {
    let lab = two_hosts("hard-sigterm")?;
    let (old, node) = (lab.node(101), lab.node(102));
    // Takes connections, and then says nothing: that lasts until the time for fencing is over.
    old.run(&["pkill", "-STOP", "sshd"], SOON)?.success()?;
    let command = command();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let running = node.spawn_as_pool(&command, FAILOVER)?;
    wait_for("the fencing to begin", SOON, || {
        log_line(node, "del old primary VIP on 192.168.1.101")
    })?;
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", running.pid()))?;
    for descriptor in descriptors {
        let target = std::fs::read_link(descriptor?.path()).unwrap_or_default();
        ensure!(
            !is_listening(running.pid(), &target.to_string_lossy())?,
            "{target:?}"
        );
    }
    running.signal(15)?;
    let run = running.wait()?;
    assert_eq!(run.signal, Some(15), "{run}");
    assert!(run.wall < Duration::from_secs(3), "{run}");
    // It could not end its own probes, which have limits of their own.
    lab.wait_until_nothing_runs(Duration::from_secs(3))?;

    old.run(&["pkill", "-CONT", "sshd"], SOON)?.success()?;
    node.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    assert_only_primary(&lab, 102)?;
    lab.wait_until_nothing_runs(PROBES)
}

/// Is `socket:[INODE]` one that the process listens on?
fn is_listening(pid: i32, target: &str) -> Result<bool> {
    let inode = target.trim_start_matches("socket:[").trim_end_matches(']');
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
    Ok(table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // proc(5): st, 0A is LISTEN; and the inode.
        fields.get(3) == Some(&"0A") && fields.get(9) == Some(&inode)
    }))
}
