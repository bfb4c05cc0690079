//! `rw_check` on a host with disks that hang, are full, or cannot be written.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use lab::layout::{DATA, DB_BIN};
use lab::{Disk, Lab, LabOptions, Node, Running, ToolRun, wait_for};

use anyhow::{Result, ensure};

const LIMIT: Duration = Duration::from_secs(30);

fn lab(name: &str) -> Lab {
    Lab::start(LabOptions {
        name: name.to_owned(),
        ..LabOptions::default()
    })
    .unwrap()
}

fn start(node: &Node, user: &str, args: &[&str]) -> Running {
    let program = format!("{DB_BIN}/rw_check");
    let mut command = vec![program.as_str()];
    command.extend(args);
    node.spawn(user, &command, LIMIT).unwrap()
}

fn rw_check(node: &Node, user: &str, args: &[&str]) -> ToolRun {
    start(node, user, args).wait().unwrap()
}

/// The lines without their times and with the same number in each file's name.
fn plain(output: &str) -> Vec<String> {
    let lines = output.lines().map(|line| {
        let line = line.get("2022-08-30 16:42:01 ".len()..).unwrap_or(line);
        match line.split_once("rw_status_file_") {
            Some((before, rest)) => {
                let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                format!("{before}rw_status_file_1{after}")
            }
            None => line.to_owned(),
        }
    });
    lines.collect()
}

/// Files of the check that are on the host's disk.
fn left_files(node: &Node, directory: &str) -> String {
    let find = ["find", directory, "-name", "rw_status_file_*"];
    node.run(&find, LIMIT).unwrap().success().unwrap()
}

/// Children of a check that are on the host.
fn children(node: &Node) -> usize {
    let list = ["pgrep", "-f", "--", "--probe-disk"];
    node.run(&list, LIMIT).unwrap().stdout.lines().count()
}

fn wait_until_nobody_is_stuck(node: &Node) {
    wait_for("stuck children to end", LIMIT, || -> Result<()> {
        let left = children(node);
        ensure!(left == 0, "{left} are left");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_good_disk_gets_the_lines_of_the_scripts_and_no_file_stays() {
    let lab = lab("rw-good");
    let node = lab.node(101);
    let leftover = format!("{DATA}/rw_status_file_574940445");
    for user in ["root", "kingbase"] {
        let run = rw_check(node, user, &[]);
        assert_eq!(run.code, Some(0), "{run}");
        let file = format!("\"{DATA}/rw_status_file_1\"");
        let mut expected = vec![
            "check read/write on mount point".to_owned(),
            "check read/write on mount point (1 / 6).".to_owned(),
        ];
        for what in [
            format!("stat the directory of the mount point \"{DATA}\""),
            format!("create/write the file {file}"),
            format!("stat the file {file}"),
            format!("read the file {file}"),
            format!("delete the file {file}"),
        ] {
            expected.extend([format!("{what} ..."), format!("{what} ... OK")]);
        }
        expected.push("success to check read/write on mount point (1 / 6).".to_owned());
        expected.push("check read/write on mount point ... ok".to_owned());
        assert_eq!(plain(&run.stdout), expected);
        assert_eq!(left_files(node, DATA), "");
    }
    // What a killed check of another user has left goes, too.
    node.write(&leftover, "", 0o644, 0).unwrap();
    let run = rw_check(node, "kingbase", &[]);
    assert!(run.stdout.contains("removed the file"), "{run}");
    assert_eq!(left_files(node, DATA), "");
}

#[test]
fn a_disk_that_hangs_ends_in_time_and_is_not_probed_again() {
    let lab = lab("rw-hangs");
    let node = lab.node(101);
    let disk: Disk = node.add_disk("/mnt/wal", 16).unwrap();
    let args = [
        "--timeout",
        "1",
        "--retries",
        "3",
        "--interval",
        "0",
        disk.path(),
        DATA,
    ];
    let good = rw_check(node, "kingbase", &args);
    assert_eq!(good.code, Some(0), "{good}");

    disk.hang().unwrap();
    let first = rw_check(node, "kingbase", &args);
    assert_eq!(first.code, Some(66), "{first}");
    assert!(first.wall < Duration::from_secs(3), "{first}");
    let said = &first.stdout;
    assert!(
        said.contains("... failed: not done within 1 s; process "),
        "{first}"
    );
    assert!(
        said.contains("is still stuck on it, so it is not probed again"),
        "{first}"
    );
    // The other mount point is good all the same, and checked once.
    let deleted = said
        .lines()
        .filter(|line| line.contains("delete") && line.ends_with("OK"));
    assert_eq!(deleted.count(), 1, "{first}");
    assert_eq!(first.stderr.trim().lines().count(), 1, "{first}");
    assert_eq!(children(node), 1);

    // The next runs, whoever starts them, see it at once.
    for user in ["kingbase", "root"] {
        let next = rw_check(node, user, &["--retries", "1", "--json", disk.path()]);
        assert_eq!(next.code, Some(66), "{next}");
        assert!(next.wall < Duration::from_secs(1), "{next}");
        assert!(next.stdout.contains(r#""good":false"#), "{next}");
        assert!(next.stderr.contains("is still stuck on it"), "{next}");
        assert_eq!(children(node), 1);
    }

    disk.go_on().unwrap();
    wait_until_nobody_is_stuck(node);
    let good = rw_check(node, "kingbase", &args);
    assert_eq!(good.code, Some(0), "{good}");
    assert_eq!(left_files(node, disk.path()), "");
}

#[test]
fn a_killed_check_leaves_nothing_but_its_stuck_child() {
    let lab = lab("rw-killed");
    let node = lab.node(101);
    let disk = node.add_disk("/mnt/wal", 16).unwrap();
    disk.hang().unwrap();
    let check = start(node, "kingbase", &[disk.path()]);
    wait_for("the child", LIMIT, || -> Result<()> {
        ensure!(children(node) == 1, "no child yet");
        Ok(())
    })
    .unwrap();
    check.signal(9).unwrap();
    assert_eq!(check.wait().unwrap().signal, Some(9));

    let next = rw_check(node, "kingbase", &["--retries", "1", disk.path()]);
    assert!(next.stderr.contains("is still stuck on it"), "{next}");
    assert_eq!(children(node), 1);
    disk.go_on().unwrap();
    wait_until_nobody_is_stuck(node);
    // It has done its work to the end.
    assert_eq!(left_files(node, disk.path()), "");
}

#[test]
fn what_is_wrong_with_a_disk_is_one_clear_line() {
    let lab = lab("rw-wrong");
    let node = lab.node(101);
    let disk = node.add_disk("/mnt/wal", 8).unwrap();
    let failed = |path: &str, expected: &str| {
        for user in ["kingbase", "root"] {
            let run = rw_check(node, user, &["--retries", "1", path]);
            assert_eq!(run.code, Some(66), "{run}");
            assert_eq!(run.stderr.trim().lines().count(), 1, "{run}");
            assert!(run.stderr.contains(expected), "{run}");
            assert!(run.stdout.contains(expected), "{run}");
            assert_eq!(left_files(node, "/mnt/wal"), "");
        }
    };
    disk.fill().unwrap();
    failed(disk.path(), "the disk is full");
    disk.make_room().unwrap();
    disk.set_read_only(true).unwrap();
    failed(disk.path(), "read-only");
    disk.set_read_only(false).unwrap();
    failed("/mnt/none", "is the disk mounted?");
    failed("/etc", "user kingbase may not");
    failed("/etc/passwd", "it is no directory");
    let good = rw_check(node, "kingbase", &["--retries", "1", disk.path()]);
    assert_eq!(good.code, Some(0), "{good}");

    for (args, expected) in [
        (&["--retries", "0"][..], "invalid value"),
        (&["--config", "/none"], "/none: no such file"),
    ] {
        let run = rw_check(node, "kingbase", args);
        assert_eq!(run.code, Some(2), "{run}");
        assert_eq!(run.stderr.trim().lines().count(), 1, "{run}");
        assert!(run.stderr.contains(expected), "{run}");
    }
    let help = rw_check(node, "kingbase", &["--help"]);
    assert!(
        help.code == Some(0) && help.stdout.contains("Examples:"),
        "{help}"
    );
}
