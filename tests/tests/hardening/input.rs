//! Bad input ends in one clear line, with nothing changed and no secret told.

use anyhow::Result;
use lab::layout::{DB_BIN, DB_ETC, LOG, POOL_BIN, POOL_ETC, UID};
use lab::{Lab, Node, ToolRun};

use crate::scene::{
    Case, FAILOVER, PRIMARY_DOWN, SOON, assert_no_secret, assert_only_primary, assert_says,
    log_line, state, two_hosts,
};

/// Each of these says `why`, once, ends with `code`, and leaves the cluster as it was.
fn assert_refused(lab: &Lab, before: &[String], run: &ToolRun, code: i32, why: &str) -> Result<()> {
    assert_says(run, code, why);
    assert_eq!(state(lab), before, "{run}");
    assert_no_secret(lab, run)
}

#[test]
fn arguments() -> Result<()> {
    let lab = two_hosts("hard-arguments")?;
    let node = lab.node(102);
    let before = state(&lab);
    let [h, p, d, failed, o, m, main, data] = PRIMARY_DOWN;
    let long = "x".repeat(100_000);
    let cases: [(&[&str], &str); 17] = [
        (&[], "found 0 arguments, expected 8"),
        (&[h, p, d], "found 3 arguments, expected 8"),
        (
            &[h, p, d, failed, o, m, main, data, "more"],
            "found 9 arguments",
        ),
        (
            &[h, "", "", failed, o, m, main, data],
            "%d (failed node id): found \"\"",
        ),
        (
            &[h, p, "one", failed, o, m, main, data],
            "%d (failed node id): found \"one\"",
        ),
        (
            &[h, "-", d, failed, o, m, main, data],
            "%P (old primary id): found \"-\"",
        ),
        (
            &[h, p, d, failed, o, "99999999999", main, data],
            "%m (new primary id): found",
        ),
        (
            &[h, p, d, "$(touch /tmp/pwned)", o, m, main, data],
            "expected one of the hosts",
        ),
        (
            &[h, p, d, "192.168.1.101\nx", o, m, main, data],
            "found \"192.168.1.101 x\"",
        ),
        (&[h, p, d, "\u{1b}[2J", o, m, main, data], "found \"?[2J\""),
        (
            &[h, p, d, "127.0.0.1", o, m, main, data],
            "expected one of the hosts",
        ),
        (&[h, p, d, h, o, m, main, data], "are both 192.168.1.102"),
        (
            &[&long, p, d, failed, o, m, main, data],
            "expected one of the hosts in KB_ALL_IP",
        ),
        (
            &["--no-such-option"],
            "unexpected argument '--no-such-option'",
        ),
        (
            &["--old-primary-id=0", "more"],
            "found \"more\" beside named arguments",
        ),
        (
            &["--step", "dance", "--deadline", "9"],
            "invalid value 'dance'",
        ),
        (&["--step", "fence"], "--deadline"),
    ];
    for (args, why) in cases {
        let run = node.failover(args, FAILOVER)?;
        assert_refused(&lab, &before, &run, 2, why)?;
    }
    assert!(!node.path("/tmp/pwned")?.exists());
    Ok(())
}

/// A line of `HAmodule.conf`, the exit code that follows from it, and why.
const WRONG_LINES: [(&str, i32, &str); 15] = [
    (
        "KB_PORT=abc",
        2,
        ": KB_PORT: found \"abc\", expected a port number",
    ),
    ("KB_PORT=\"$(touch /tmp/pwned)\"", 2, "are not expanded"),
    (
        "KB_VIP=nonsense",
        2,
        ": KB_VIP: found \"nonsense\", expected an IPv4 address",
    ),
    (
        "KB_PASS=!!!",
        2,
        ": KB_PASS: found ****, expected the password in base64",
    ),
    (
        "KB_DATA_PATH=data",
        2,
        ": KB_DATA_PATH: found \"data\", expected an absolute path",
    ),
    ("KB_GATEWAY_IP=", 2, "KB_GATEWAY_IP: not set, but required"),
    ("KB_ALL_IP=()", 2, "KB_ALL_IP: not set, but required"),
    ("FAILOVER_TIMEOUT=-1", 2, "expected a number of seconds"),
    (
        "PROMOTE_WITHOUT_FENCE=perhaps",
        2,
        "expected never, unreachable or always",
    ),
    (
        "touch /tmp/pwned",
        2,
        "not an assignment; expected KEY=value",
    ),
    (
        "KB_USER=\"$(touch /tmp/pwned)\"",
        66,
        "for user \"$(touch /tmp/pwned)\"",
    ),
    (
        "KB_PASS=d3Jvbmc=",
        66,
        "login refused: password authentication failed",
    ),
    (
        "KB_DATANAME=nothere",
        66,
        "login refused: database \"nothere\" does not exist",
    ),
    (
        "KB_EXECUTE_SYS_USER=nobody2",
        66,
        "no system user nobody2 on this host)",
    ),
    (
        "KB_PATH=/nowhere",
        66,
        "KB_PATH /nowhere holds neither sys_ctl nor pg_ctl",
    ),
];

#[test]
fn configuration() -> Result<()> {
    let lab = two_hosts("hard-config")?;
    let node = lab.node(102);
    let before = state(&lab);
    let original = node.read(&format!("{POOL_ETC}/HAmodule.conf"))?;
    let with = |text: &str| -> Result<ToolRun> {
        for etc in [POOL_ETC, DB_ETC] {
            node.write(&format!("{etc}/HAmodule.conf"), text, 0o640, UID)?;
        }
        node.failover(&PRIMARY_DOWN, FAILOVER)
    };

    // The last one counts.
    for (line, code, why) in WRONG_LINES {
        let run = with(&format!("{original}{line}\n"))?;
        assert_refused(&lab, &before, &run, code, why)?;
    }
    for (text, why) in [
        (String::new(), "not set, but required"),
        ("\0\u{1b}[2J\0".into(), "not an assignment"),
        ("A".repeat(3 << 20), "larger than 1 MiB"),
    ] {
        assert_refused(&lab, &before, &with(&text)?, 2, why)?;
    }
    assert!(!node.path("/tmp/pwned")?.exists());
    Ok(())
}

#[test]
fn configuration_that_cannot_be_read() -> Result<()> {
    let lab = two_hosts("hard-unreadable")?;
    let node = lab.node(102);
    let before = state(&lab);
    let file = format!("{POOL_ETC}/HAmodule.conf");
    for (path, why) in [
        (
            "/no/such/file",
            "/no/such/file: no such file; name the configuration with --config",
        ),
        ("/tmp", "/tmp: not a regular file"),
        ("/dev/zero", "/dev/zero: not a regular file"),
    ] {
        let args = [&["--config", path], PRIMARY_DOWN.as_slice()].concat();
        assert_refused(&lab, &before, &node.failover(&args, FAILOVER)?, 2, why)?;
    }

    node.run(&["chmod", "000", &file], SOON)?.success()?;
    let program = format!("{POOL_BIN}/failover_stream");
    let command = [&[program.as_str()], PRIMARY_DOWN.as_slice()].concat();
    let run = node.run_as("kingbase", &command, FAILOVER)?;
    // Its owner, but no permission.
    assert_refused(&lab, &before, &run, 2, "HAmodule.conf: permission denied")?;

    node.run(&["rm", &file], SOON)?.success()?;
    let run = node.failover(&PRIMARY_DOWN, FAILOVER)?;
    assert_refused(&lab, &before, &run, 2, "HAmodule.conf: no such file")?;
    Ok(())
}

/// Where the programs of a host are, `/bin` and `/sbin` being links.
fn hide(node: &Node, program: &str) -> Result<()> {
    let paths = [DB_BIN, "/usr/bin", "/usr/sbin"].map(|bin| format!("{bin}/{program}"));
    let command = [
        &["rm", "-f"],
        paths.each_ref().map(String::as_str).as_slice(),
    ]
    .concat();
    node.run(&command, SOON)?.success().map(drop)
}

#[test]
fn without_a_program_that_it_needs() -> Result<()> {
    for (host, program, why) in [
        (102, "pg_ctl", "192.168.1.102: KB_PATH"),
        (102, "ip", "192.168.1.102: no program ip in /sbin:"),
        (102, "ping", "no program ping in /"),
        (101, "failover_stream", "install the tools on that host"),
    ] {
        let lab = two_hosts("hard-programs")?;
        hide(lab.node(host), program)?;
        let before = state(&lab);
        let run = lab.node(102).failover(&PRIMARY_DOWN, FAILOVER)?;
        assert_refused(&lab, &before, &run, 66, why)?;
    }
    Ok(())
}

/// It is of use, but a failover is more so. `arping` is not even looked for.
#[test]
fn without_a_program_that_it_can_do_without() -> Result<()> {
    for program in ["arping", "pg_controldata"] {
        let lab = two_hosts("hard-helpers")?;
        let node = lab.node(102);
        hide(node, program)?;
        node.failover(&PRIMARY_DOWN, FAILOVER)?
            .success()
            .case(&program)?;
        assert_only_primary(&lab, 102)?;
        if program == "arping" {
            log_line(node, "ARPING 192.168.1.200 from 192.168.1.200 ")?;
        }
    }
    Ok(())
}

/// What cannot be written must not stop a failover.
#[test]
fn a_log_that_cannot_be_written() -> Result<()> {
    let full = format!("mount -t tmpfs -o size=16k none {LOG} && ! cat /dev/zero >{LOG}/zeros");
    let read_only = format!("mount -t tmpfs -o ro none {LOG}");
    let gone = format!("rm -r {LOG}");
    let usual = format!("{LOG}/failover.log");
    let cases = [
        ("disk full", full.as_str(), usual.as_str()),
        ("disk read-only", &read_only, &usual),
        ("no directory", &gone, &usual),
        ("a directory", "true", "/tmp"),
        (
            "a link to elsewhere",
            "ln -s /etc/passwd /tmp/log",
            "/tmp/log",
        ),
        ("a pipe nobody reads", "mkfifo /tmp/log", "/tmp/log"),
    ];
    for (case, prepare, log) in cases {
        let lab = two_hosts("hard-log")?;
        let node = lab.node(102);
        for host in lab.nodes() {
            host.run(&["sh", "-c", prepare], SOON)?
                .success()
                .case(&case)?;
            host.set_config(&[("FAILOVER_LOG_DIR", log), ("EVENT_LOG", log)])?;
        }
        let passwd = node.read("/etc/passwd")?;
        node.failover(&PRIMARY_DOWN, FAILOVER)?
            .success()
            .case(&case)?;
        assert_only_primary(&lab, 102)?;
        assert_eq!(node.read("/etc/passwd")?, passwd);
    }
    Ok(())
}

/// No signal ends what is stuck on such a disk, a thread of the tool included.
#[test]
fn a_log_whose_disk_hangs() -> Result<()> {
    let lab = two_hosts("hard-hung-log")?;
    let node = lab.node(102);
    let disk = node.add_disk("/mnt/log", 16)?;
    let log = "/mnt/log/failover.log";
    node.set_config(&[
        ("FAILOVER_LOG_DIR", log),
        ("EVENT_LOG", "/mnt/log/events.jsonl"),
    ])?;
    disk.hang()?;
    let run = node.failover(&PRIMARY_DOWN, FAILOVER)?;
    assert_eq!(run.code, Some(0), "{run}");
    assert_only_primary(&lab, 102)?;
    disk.go_on()?;
    Ok(())
}
