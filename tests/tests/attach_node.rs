//! `attach_node` with a real pool.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use lab::layout::{DATABASE, DB_BIN, LOG, PCP_PASSWORD, SQL_PASSWORD, SQL_USER};
use lab::{Lab, LabOptions, Node, ToolRun, wait_for};

const LIMIT: Duration = Duration::from_secs(60);

fn lab(name: &str) -> Lab {
    Lab::start(LabOptions {
        name: name.to_owned(),
        pools: 2,
        ..LabOptions::default()
    })
    .unwrap()
}

fn attach_node(node: &Node, user: &str, args: &[&str]) -> ToolRun {
    let program = format!("{DB_BIN}/attach_node");
    let mut command = vec![program.as_str()];
    command.extend(args);
    let run = node.run_as(user, &command, LIMIT).unwrap();
    for secret in [PCP_PASSWORD, SQL_PASSWORD] {
        assert!(!run.to_string().contains(secret), "{run}");
    }
    run
}

/// A pool that takes a node out or in closes the sessions that it has, this one, too.
fn status(lab: &Lab, id: u8) -> String {
    let nodes = wait_for("the pool to answer", LIMIT, || lab.pool_nodes()).unwrap();
    nodes.into_iter().find(|node| node.id == id).unwrap().status
}

/// It ended so, with one line that says why.
#[track_caller]
fn assert_complaint(run: &ToolRun, code: i32, expected: &str) {
    assert_eq!(run.code, Some(code), "{run}");
    assert_eq!(run.stderr.trim().lines().count(), 1, "{run}");
    assert!(run.stderr.starts_with("attach_node: "), "{run}");
    assert!(run.stderr.contains(expected), "{run}");
}

#[test]
fn a_standby_goes_out_of_the_pool_and_comes_back() {
    let lab = lab("attach-standby");
    let node = lab.node(102);

    let shown = attach_node(node, "kingbase", &["--status"])
        .success()
        .unwrap();
    assert!(
        shown.trim().ends_with("node 1 (192.168.1.102) is up"),
        "{shown}"
    );
    let psql = "PGPASSWORD=\"$(cat \"$0\")\" psql -h 192.168.1.201 -p 9999 -U \"$1\" \"$2\" -c 'show pool_nodes'";
    // Other labs' tests look for a password in the arguments of every process.
    let password = "/tmp/sql-password";
    node.write(password, SQL_PASSWORD, 0o600, 0).unwrap();
    let client = node
        .run(&["sh", "-c", psql, password, SQL_USER, DATABASE], LIMIT)
        .unwrap();
    let client = client.success().unwrap();
    // As the client has them, as far as there is room for them.
    let headings = |text: &str| -> Vec<String> {
        let first = text.lines().next().unwrap_or_default();
        first.split('|').map(|it| it.trim().to_owned()).collect()
    };
    assert!(shown.lines().all(|line| line.len() <= 80), "{shown}");
    let all = headings(&client);
    for heading in headings(&shown) {
        assert!(all.contains(&heading), "{heading} in {client}");
    }
    assert!(shown.contains("\n(2 rows)\n"), "{shown}");

    let already = attach_node(node, "kingbase", &[]);
    assert_eq!(already.code, Some(0), "{already}");
    assert!(already.stdout.contains("is up already"), "{already}");

    // Its own node, as the database's user; and one by its id, from the other host, as root.
    for (host, user, args) in [
        (102, "kingbase", &[][..]),
        (101, "root", &["-n", "1"]),
        (101, "kingbase", &["-n", "node102"]),
        (101, "root", &["-n", "192.168.1.102"]),
    ] {
        let on = lab.node(host);
        let detach = [args, &["--detach"]].concat();
        let would = attach_node(on, user, &[&detach[..], &["--dry-run"]].concat());
        assert!(would.stdout.contains("would detach node 1"), "{would}");
        assert_eq!(status(&lab, 1), "up");
        let out = attach_node(on, user, &detach);
        assert_eq!(out.code, Some(0), "{out}");
        assert!(out.stdout.contains("is down"), "{out}");
        assert_eq!(status(&lab, 1), "down");

        let would = attach_node(on, user, &[args, &["--dry-run"]].concat());
        assert!(would.stdout.contains("would attach node 1"), "{would}");
        assert_eq!(status(&lab, 1), "down");
        let back = attach_node(on, user, args);
        assert_eq!(back.code, Some(0), "{back}");
        let mut lines = back.stdout.lines();
        assert!(lines.any(|line| line
            == "IM Node is 1, will try [pcp_attach_node -U kingbase -W **** -h 192.168.1.201 -n 1]"));
        assert_eq!(lines.next(), Some("pcp_attach_node -- Command Successful"));
        assert!(matches!(status(&lab, 1).as_str(), "up" | "waiting"));
    }
    let left = node
        .run(&["sh", "-c", &format!("ls {LOG} | grep pcppass")], LIMIT)
        .unwrap();
    assert_eq!(left.stdout, "");

    let json = attach_node(node, "kingbase", &["--json"])
        .success()
        .unwrap();
    assert!(
        json.starts_with('{') && json.contains(r#""did":"nothing""#),
        "{json}"
    );
    assert!(json.contains(r#""hostname":"192.168.1.101""#), "{json}");
}

#[test]
fn a_node_that_does_not_stream_is_refused() {
    let lab = lab("attach-refused");
    let (primary, standby) = (lab.node(101), lab.node(102));
    attach_node(standby, "root", &["--detach"])
        .success()
        .unwrap();

    // Streaming, but too far behind: stopped in the middle of what it has to receive.
    let walreceiver = |signal: &str| {
        let kill = ["pkill", signal, "-f", "walreceiver"];
        standby.run(&kill, LIMIT).unwrap().success().unwrap();
    };
    primary
        .psql("alter system set wal_sender_timeout = 0")
        .unwrap();
    primary.psql("select pg_reload_conf()").unwrap();
    walreceiver("-STOP");
    primary
        .psql(
            "set synchronous_commit = local; create table big as \
             select repeat(md5(n::text), 30) from generate_series(1, 40000) n",
        )
        .unwrap();
    let behind = attach_node(standby, "kingbase", &[]);
    assert_complaint(
        &behind,
        1,
        "MB behind the primary, and DATA_SIZE_DIFF is 16 MB",
    );
    assert_eq!(status(&lab, 1), "down");
    walreceiver("-CONT");

    standby.stop_database("fast").unwrap();
    let stopped = attach_node(standby, "kingbase", &["--json"]);
    assert_complaint(&stopped, 1, "192.168.1.101 has no WAL sender for it");
    assert!(stopped.stdout.contains(r#""did":"refused""#), "{stopped}");
    assert_eq!(status(&lab, 1), "down");

    let primary = attach_node(standby, "kingbase", &["-n", "0", "--detach"]);
    assert_complaint(&primary, 1, "it is the primary");
    assert_eq!(status(&lab, 0), "up");

    standby.start_database().unwrap();
    let forced = attach_node(standby, "kingbase", &["--force"]);
    assert_eq!(forced.code, Some(0), "{forced}");
}

/// Then the pool takes no sessions, so that `show pool_nodes` cannot be had.
#[test]
fn a_pool_with_every_node_down_is_asked_by_pcp() {
    let lab = lab("closed");
    let (primary, standby) = (lab.node(101), lab.node(102));
    for id in ["1", "0"] {
        let out = attach_node(standby, "kingbase", &["-n", id, "--detach", "--force"]);
        assert_eq!(out.code, Some(0), "{out}");
        assert!(out.stdout.contains("is down"), "{out}");
    }
    // The failover that follows the last one finds nobody to promote.
    lab::wait_for("the failover to be over", LIMIT, || {
        let log = [101, 102].map(|number| lab.node(number).failover_log());
        let over = log
            .into_iter()
            .any(|log| log.is_ok_and(|log| log.contains("no node is left to promote")));
        anyhow::ensure!(over && lab.pool_nodes().is_err());
        Ok(())
    })
    .unwrap();

    let shown = attach_node(standby, "kingbase", &["--status"]);
    assert_eq!(shown.code, Some(0), "{shown}");
    assert!(shown.stdout.contains("as PCP tells them"), "{shown}");
    for line in [
        " 0       | 192.168.1.101 | 54321 | down",
        " 1       | 192.168.1.102 | 54321 | down",
        "node 1 (192.168.1.102) is down",
    ] {
        assert!(shown.stdout.lines().any(|it| it == line), "{shown}");
    }
    let json = attach_node(standby, "kingbase", &["--status", "--json"]);
    assert!(json.stdout.contains(r#""status":"down""#), "{json}");

    // It streams, but from nobody that the pool knows of.
    let refused = attach_node(standby, "kingbase", &[]);
    assert_complaint(&refused, 1, "the pool has no primary");
    let would = attach_node(primary, "kingbase", &["--dry-run"]);
    assert!(would.stdout.contains("would attach node 0"), "{would}");
    let already = attach_node(primary, "kingbase", &["--detach"]);
    assert!(already.stdout.contains("is down already"), "{already}");

    // The primary first, as a primary; then the pool is open again, and the standby goes by the rule.
    for (node, line) in [
        (primary, "node 0 (192.168.1.101) is"),
        (standby, "node 1 (192.168.1.102) is"),
    ] {
        let back = attach_node(node, "kingbase", &[]);
        assert_eq!(back.code, Some(0), "{back}");
        assert!(back.stdout.contains(line), "{back}");
    }
    lab::wait_for("the pool to have all", LIMIT, || lab.pool_shows_all_up(101)).unwrap();
}

#[test]
fn what_is_wrong_is_one_clear_line() {
    let lab = lab("attach-wrong");
    let node = lab.node(101);
    let complaint = |args: &[&str], code, expected: &str| {
        assert_complaint(&attach_node(node, "kingbase", args), code, expected);
    };
    complaint(
        &["-n", "7"],
        2,
        "the pool has no node 7, it has node 0 (192.168.1.101), node 1",
    );
    complaint(&["-n", "x"], 2, "no node x, it has node 0");
    complaint(&["--config", "/none"], 2, "/none: no such file");

    let with = |settings: &[(&str, &str)], args: &[&str], code, expected: &str| {
        let path = format!("{}/HAmodule.conf", lab::layout::DB_ETC);
        let before = node.read(&path).unwrap();
        node.set_config(settings).unwrap();
        complaint(args, code, expected);
        node.write(&path, &before, 0o640, lab::layout::UID).unwrap();
    };
    // An address of this host that the pool does not know.
    let address = [
        "ip",
        "addr",
        "add",
        "192.168.1.77/32",
        "dev",
        lab::layout::DEVICE,
    ];
    node.run(&address, LIMIT).unwrap().success().unwrap();
    let all = ("KB_ALL_IP", "(192.168.1.77 192.168.1.102)");
    with(
        &[("KB_LOCALHOST_IP", "192.168.1.77"), all],
        &[],
        2,
        "no node with KB_LOCALHOST_IP",
    );
    let wrong = [("PCP_PASS", "d3Jvbmc=")];
    with(
        &wrong,
        &["-n", "1", "--detach"],
        66,
        "check PCP_USER and PCP_PASS",
    );
    with(&[("KB_PASS", "d3Jvbmc=")], &[], 66, "login refused");
    with(&[("KB_POOL_PORT", "9997")], &[], 66, "Connection refused");
    // A database is no pool.
    let database = [("KB_POOL_VIP", "192.168.1.101"), ("KB_POOL_PORT", "54321")];
    with(&database, &[], 66, "the pool gives no answer");
    with(
        &[("KB_POOL_PCP_PORT", "9997")],
        &["-n", "1", "--detach"],
        66,
        "Connection refused",
    );
    assert_eq!(status(&lab, 1), "up");

    // Queued, and nothing comes of it in time: the pool's main process is stopped.
    let signal_pool = |signal: &str| {
        let main = format!("kill -{signal} $(cat /run/pgpool.pid)");
        let run = lab.node(102).run(&["sh", "-c", &main], LIMIT);
        run.unwrap().success().unwrap();
    };
    signal_pool("STOP");
    complaint(
        &["-n", "1", "--detach", "--timeout", "1"],
        66,
        "the pool took the order",
    );
    signal_pool("CONT");

    for node in lab.nodes() {
        node.kill_pool().unwrap();
    }
    complaint(&[], 66, "the pool gives no answer");
}
