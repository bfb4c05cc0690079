//! Whoever answers in the place of a pool, a server or another host, with whatever: a run of the recovery
//! ends in time and stays small, and a primary that is cut off stops itself all the same.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::layout::{DATABASE_PORT, DB_BIN, DEVICE, POOL_PORT, POOL_VIP, USER};
use lab::{Lab, Node, Running, ToolRun, wait_for};

use crate::scene::{SOON, two_hosts};

/// Of a run. What cron starts has to be over before its next minute.
const RUN: Duration = Duration::from_secs(50);
/// Of a process, in kB.
const MEMORY: u64 = 64 << 10;

/// What is answered: to a session of SQL, but for the last two, which are for ssh.
const KINDS: [&str; 11] = [
    "silent", "closed", "dripping", "http", "endless", "many", "wide", "no-text", "notices",
    "clear", "errors",
];
const SSH_KINDS: [&str; 5] = ["silent", "closed", "dripping", "http", "banner"];

const FAKE: &str = r#"
import socket, struct, sys, threading, time
port, kind = int(sys.argv[1]), sys.argv[2]
def message(kind, body=b""):
    return kind + struct.pack("!i", len(body) + 4) + body
def row(cell):
    return message(b"D", struct.pack("!hi", 1, len(cell)) + cell)
def named(*names):
    return message(b"T", struct.pack("!h", len(names)) + b"".join(n + b"\0" * 19 for n in names))
columns = named(b"node_id")
def node(*cells):
    return message(b"D", struct.pack("!h", len(cells)) + b"".join(struct.pack("!i", len(c)) + c for c in cells))
table = (named(b"node_id", b"hostname", b"port", b"status", b"lb_weight", b"role")
    + node(b"0", b"192.168.1.101", b"54321", b"up", b"0.5", b"primary")
    + node(b"1", b"192.168.1.102", b"54321", b"up", b"0.5", b"standby"))
ready = message(b"Z", b"I")
def answer(client):
    if kind == "silent":
        time.sleep(3600)
    if kind == "dripping":
        while True:
            client.sendall(b"R")
            time.sleep(0.3)
    if kind == "http":
        client.sendall(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n")
    if kind == "banner":
        while True:
            client.sendall(b"this is no greeting\r\n" * 1000)
    if kind in ("closed", "http"):
        return
    client.recv(65536)
    if kind == "clear":
        client.sendall(message(b"R", struct.pack("!i", 3)))
        client.recv(65536)
        return
    client.sendall(message(b"R", struct.pack("!i", 0)) + ready)
    while client.recv(65536):
        if kind == "notices":
            while True:
                client.sendall(message(b"N", b"SNOTICE\0C00000\0Mx\x1b[2J\nx\0\0"))
        if kind == "errors":
            client.sendall(message(b"E", b"SFATAL\0C57P01\0M" + b"y" * 900000 + b"\0\0") + ready)
            continue
        if kind == "table":
            client.sendall(table + message(b"C", b"SHOW\0") + ready)
            continue
        client.sendall(columns)
        while kind == "endless":
            client.sendall(row(b"x" * 1000))
        if kind == "many":
            for _ in range(300000):
                client.sendall(row(b"1"))
        if kind == "wide":
            client.sendall(row(b"z" * 900000) * 3)
        if kind == "no-text":
            client.sendall(row(b"\xff\xfe\x1b[2J\n2026 promoted"))
        client.sendall(message(b"C", b"SHOW\0") + ready)
def serve(client):
    try:
        answer(client)
    except OSError:
        pass
    client.close()
server = socket.create_server(("0.0.0.0", port), backlog=50)
open("/tmp/listens-%d" % port, "w").write(kind)
while True:
    client, _ = server.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()
"#;

/// Runs a program, and says how much memory it or any of its children had at most.
const MEASURE: &str = "import resource, subprocess, sys\n\
    code = subprocess.call(sys.argv[1:])\n\
    print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n\
    sys.exit(code)";

/// Listens on `port` of `node` and answers in this way.
fn fake(node: &Node, port: u16, kind: &str) -> Result<Running> {
    let listens = format!("/tmp/listens-{port}");
    node.run(&["rm", "-f", &listens], SOON)?;
    let port = port.to_string();
    let running = node.spawn("root", &["python3", "-c", FAKE, &port, kind], RUN * 9)?;
    wait_for("somebody to listen", SOON, || node.read(&listens))?;
    Ok(running)
}

/// The pools are gone, and `node` has their address.
fn has_pool_vip(lab: &Lab, node: &Node) -> Result<()> {
    lab.nodes().iter().try_for_each(Node::kill_pool)?;
    let vip = format!("{POOL_VIP}/24");
    for other in lab.nodes() {
        other.run(&["ip", "addr", "del", &vip, "dev", DEVICE], SOON)?;
    }
    let add = ["ip", "addr", "add", &vip, "dev", DEVICE];
    node.run(&add, SOON)?.success().map(drop)
}

fn end(running: Running) -> Result<()> {
    running.signal(9)?;
    running.wait().map(drop)
}

/// A run that ends in time, in bounds, and with a line that a person can read.
fn bounded_run(node: &Node) -> Result<ToolRun> {
    let program = format!("{DB_BIN}/network_rewind");
    let run = node.run_as(USER, &["python3", "-c", MEASURE, &program], RUN)?;
    let peak = run
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("peak "));
    let peak: u64 = peak.context("no peak")?.parse()?;
    ensure!(peak < MEMORY, "{peak} kB: {run}");
    ensure!(matches!(run.code, Some(0 | 1 | 66)), "{run}");
    ensure!(
        !run.stderr.contains("panicked") && run.stderr.lines().count() <= 1,
        "{run}"
    );
    ensure!(!run.stderr.contains('\u{1b}'), "{run}");
    Ok(run)
}

/// The log keeps to lines of its own, and to a size.
fn assert_log(node: &Node, runs: usize) -> Result<()> {
    let log = node.recovery_log()?;
    ensure!(log.len() < runs * 100_000, "{} bytes", log.len());
    // It was asked, and what was odd was seen.
    let odd = [
        "in clear",
        "10000 rows",
        "a message of",
        "than 4 MB",
        "no text",
    ];
    let seen = runs != KINDS.len() || odd.iter().any(|words| log.contains(words));
    ensure!(seen, "it was not asked: {log}");
    ensure!(
        !log.contains('\u{1b}') && !log.contains("\n2026 promoted"),
        "a forged line"
    );
    Ok(())
}

#[test]
fn whatever_answers_for_the_pool_a_primary_that_is_cut_off_stops() -> Result<()> {
    let lab = two_hosts("hard-odd-pool")?;
    let node = lab.node(101);
    has_pool_vip(&lab, node)?;
    node.link_down()?;
    for kind in KINDS {
        if node.pids_of_database().is_empty() {
            wait_for("the database to start", SOON, || node.start_database())?;
        }
        let pool = fake(node, POOL_PORT, kind)?;
        let run = bounded_run(node).with_context(|| kind)?;
        ensure!(run.stderr.contains("this host is cut off"), "{kind}: {run}");
        ensure!(node.pids_of_database().is_empty(), "{kind}: it runs: {run}");
        end(pool)?;
    }
    assert_log(node, KINDS.len())
}

#[test]
fn whatever_answers_for_the_primary_a_standby_goes_on() -> Result<()> {
    let lab = two_hosts("hard-odd-server")?;
    let (primary, standby) = (lab.node(101), lab.node(102));
    has_pool_vip(&lab, primary)?;
    primary.kill_database()?;
    wait_for("the database to be gone", SOON, || {
        ensure!(primary.pids_of_database().is_empty(), "it runs");
        Ok(())
    })?;
    let pool = fake(primary, POOL_PORT, "table")?;
    for kind in KINDS {
        let server = fake(primary, DATABASE_PORT, kind)?;
        bounded_run(standby).with_context(|| kind)?;
        ensure!(standby.in_recovery()?, "{kind}: it is promoted");
        end(server)?;
    }
    end(pool)?;
    assert_log(standby, KINDS.len())
}

/// In the place of the other host's sshd, where the others are looked at.
#[test]
fn whatever_answers_for_another_host_a_run_ends() -> Result<()> {
    let lab = two_hosts("hard-odd-host")?;
    let (node, other) = (lab.node(101), lab.node(102));
    lab.nodes().iter().try_for_each(Node::kill_pool)?;
    other.stop_sshd()?;
    for kind in SSH_KINDS {
        let host = fake(other, 22, kind)?;
        let run = bounded_run(node).with_context(|| kind)?;
        ensure!(!node.in_recovery()?, "{kind}: {run}");
        end(host)?;
    }
    assert_log(node, SSH_KINDS.len())
}
