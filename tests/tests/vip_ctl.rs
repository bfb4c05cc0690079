//! `vip_ctl` across hosts: from another host, and as a user without rights, over ssh.

use std::time::Duration;

use anyhow::Result;
use lab::layout::DB_BIN;
use lab::{Lab, LabOptions, Node, ToolRun};

const LIMIT: Duration = Duration::from_secs(20);

fn lab(name: &str) -> Result<Lab> {
    Lab::start(LabOptions {
        name: name.to_owned(),
        ..LabOptions::default()
    })
}

fn vip_ctl(node: &Node, user: &str, args: &[&str]) -> Result<ToolRun> {
    let program = format!("{DB_BIN}/vip_ctl");
    let mut command = vec![program.as_str()];
    command.extend(args);
    node.run_as(user, &command, LIMIT)
}

#[test]
fn moves_the_vip_from_a_third_place_and_says_who_has_it() {
    let lab = lab("vip-remote").unwrap();
    let (old, new) = (lab.node(101), lab.node(102));

    let refused = vip_ctl(new, "root", &["add"]).unwrap();
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(refused.stderr.contains("answers for it"), "{refused}");
    assert!(!new.has_vip().unwrap());

    let removed = vip_ctl(new, "root", &["del", "--host", "192.168.1.101"]).unwrap();
    assert_eq!(removed.code, Some(0), "{removed}");
    assert!(!old.has_vip().unwrap());
    let again = vip_ctl(new, "root", &["del", "--host", "node101"]).unwrap();
    assert_eq!(again.code, Some(0), "{again}");

    let added = vip_ctl(old, "root", &["add", "--host", "node102", "--json"]).unwrap();
    assert_eq!(added.code, Some(0), "{added}");
    assert!(added.stdout.contains(r#""did":"added""#), "{added}");
    assert!(new.has_vip().unwrap());

    // What the other host refuses, and why, comes back.
    let refused = vip_ctl(new, "root", &["add", "--host", "node101"]).unwrap();
    assert_eq!(refused.code, Some(1), "{refused}");
    assert!(
        refused.stderr.starts_with("vip_ctl: node101: "),
        "{refused}"
    );
}

#[test]
fn the_database_user_goes_through_file_capabilities_or_root_at_localhost() {
    let lab = lab("vip-user").unwrap();
    let node = lab.node(101);
    let moves = |args: &[&str], ends_here: bool| {
        let run = vip_ctl(node, "kingbase", args).unwrap();
        assert_eq!(run.code, Some(0), "{run}");
        assert_eq!(node.has_vip().unwrap(), ends_here, "{run}");
    };
    // As installed: no login is needed.
    node.stop_sshd().unwrap();
    moves(&["del"], false);
    moves(&["add"], true);

    node.take_rights_from_vip_ctl().unwrap();
    let nobody = vip_ctl(node, "kingbase", &["del"]).unwrap();
    assert_eq!(nobody.code, Some(66), "{nobody}");
    assert!(nobody.stderr.contains("file capabilities"), "{nobody}");
    assert!(node.has_vip().unwrap());

    node.start_sshd().unwrap();
    moves(&["del"], false);
    moves(&["add", "--force"], true);
}

#[test]
fn a_host_that_cannot_be_asked_is_one_clear_line() {
    let lab = lab("vip-dead").unwrap();
    lab.node(102).power_off().unwrap();
    for (host, expected) in [
        ("node102", "ssh to root@192.168.1.102:22 failed"),
        ("node109", "expected an address or one of ALL_NODE_NAME"),
    ] {
        let run = vip_ctl(lab.node(101), "root", &["status", "--host", host]).unwrap();
        assert!(matches!(run.code, Some(2 | 66)), "{run}");
        assert_eq!(run.stderr.trim().lines().count(), 1, "{run}");
        assert!(run.stderr.contains(expected), "{run}");
    }
}
