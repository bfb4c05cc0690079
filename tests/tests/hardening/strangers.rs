//! What a local user without rights does to the tools, or a member of the database's group: it gains
//! nothing, and stops nothing.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::layout::{DATABASE_PORT, DB_BIN, LOG, UID, USER};
use lab::{Node, ToolRun, wait_for};

use crate::scene::{
    FAILOVER, PRIMARY_DOWN, SOON, assert_only_primary, assert_says, log_line, two_hosts,
};

/// A look of a host that sees nobody takes its probes' time.
const LOOK: Duration = Duration::from_secs(20);

/// `command` of a shell, as a user without rights; of the database's group, or not.
fn stranger(of_the_group: bool, command: &str) -> Vec<String> {
    let group = if of_the_group { UID } else { 65534 };
    let words = format!("setpriv --reuid 65534 --regid {group} --clear-groups sh -c");
    let words = words.split(' ').map(str::to_owned);
    words.chain([command.to_owned()]).collect()
}

fn run(node: &Node, command: &[String]) -> Result<ToolRun> {
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    node.run(&command, SOON)
}

fn network_rewind(node: &Node, args: &[&str]) -> Result<ToolRun> {
    let program = format!("{DB_BIN}/network_rewind");
    node.run_as(USER, &[&[program.as_str()], args].concat(), LOOK)
}

/// Whoever can open a file, or a directory, can hold its lock.
#[test]
fn a_lock_that_somebody_holds_keeps_no_primary_running() -> Result<()> {
    let lab = two_hosts("hard-locks")?;
    let node = lab.node(101);
    network_rewind(node, &[])?.success()?;
    network_rewind(node, &["--pause", "before"])?.success()?;
    network_rewind(node, &["--resume"])?.success()?;
    for lock in ["network_rewind.lock", "state.lock"] {
        let taken = run(
            node,
            &stranger(true, &format!("flock -n {LOG}/{lock} true")),
        )?;
        ensure!(
            taken.stderr.contains("Permission denied"),
            "{lock}: {taken}"
        );
    }
    // The directory itself they may read.
    let held = format!("flock {LOG} sh -c 'touch /tmp/held; exec sleep 60'");
    let held = stranger(false, &held);
    let held: Vec<&str> = held.iter().map(String::as_str).collect();
    let holder = node.spawn("root", &held, SOON * 9)?;
    wait_for("the directory to be locked", SOON, || {
        node.read("/tmp/held")
    })?;

    let paused = network_rewind(node, &["--pause", "why not"])?.success()?;
    ensure!(paused.contains("paused"), "{paused}");
    network_rewind(node, &["--resume"])?.success()?;
    node.kill_pool()?;
    node.link_down()?;
    let cut_off = network_rewind(node, &[])?;
    assert_says(&cut_off, 66, "this host is cut off");
    ensure!(node.pids_of_database().is_empty(), "it runs: {cut_off}");
    holder.signal(9)?;
    holder.wait().map(drop)
}

/// Anybody may listen on a port that is free.
#[test]
fn a_stranger_on_the_port_of_a_dead_primary_is_named_and_stops_nothing() -> Result<()> {
    let lab = two_hosts("hard-listener")?;
    let (old, new) = (lab.node(101), lab.node(102));
    old.kill_database()?;
    wait_for("the database to be gone", SOON, || {
        ensure!(old.pids_of_database().is_empty(), "it runs");
        Ok(())
    })?;
    let listen = format!(
        "exec perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(LocalPort => {DATABASE_PORT}, \
         Listen => 9, ReuseAddr => 1) or die; open my $f, q(>), q(/tmp/listens); close $f; while (my $c = $s->accept) {{}}'"
    );
    let listen = stranger(false, &listen);
    let listen: Vec<&str> = listen.iter().map(String::as_str).collect();
    let listener = old.spawn("root", &listen, SOON * 9)?;
    wait_for("the stranger to listen", SOON, || old.read("/tmp/listens"))?;
    new.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    let line = log_line(new, "old primary 192.168.1.101 is fenced: ")?;
    ensure!(
        line.contains("while user nobody listens on its port"),
        "{line}"
    );
    assert_only_primary(&lab, 102)?;
    listener.signal(9)?;
    listener.wait().map(drop)
}
