//! Host keys: whom the tool takes another host for.

use anyhow::Result;
use lab::{Lab, LabOptions};

use crate::scene::{FAILOVER, PRIMARY_DOWN, SOON, assert_only_primary, assert_says, state};

const KNOWN_HOSTS: &str = "/root/.ssh/known_hosts";

fn lab_with_known_hosts(name: &str) -> Result<Lab> {
    Lab::start(LabOptions {
        name: name.into(),
        known_hosts: true,
        ..LabOptions::default()
    })
}

#[test]
fn a_changed_host_key_stops_the_failover() -> Result<()> {
    let lab = lab_with_known_hosts("hard-key-changed")?;
    let node = lab.node(102);
    // Another host's keys under the address of the old primary.
    let known = node.read(KNOWN_HOSTS)?;
    let others = known
        .lines()
        .filter(|line| line.starts_with("192.168.1.102 "));
    let wrong: String = others
        .map(|line| line.replace(".102 ", ".101 ") + "\n")
        .collect();
    node.write(KNOWN_HOSTS, &wrong, 0o600, 0)?;

    let before = state(&lab);
    let run = node.failover(&PRIMARY_DOWN, FAILOVER)?;
    assert_says(
        &run,
        66,
        "its host key is not the one in /root/.ssh/known_hosts",
    );
    assert!(run.stderr.contains("ssh-keygen -R 192.168.1.101"), "{run}");
    assert_eq!(state(&lab), before);
    assert_eq!(node.read(KNOWN_HOSTS)?, wrong);
    lab.left_nothing(node)?;
    // What the line says to do.
    let forget = ["ssh-keygen", "-R", "192.168.1.101"];
    node.run(&forget, SOON)?.success()?;
    node.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    assert_only_primary(&lab, 102)
}

/// As Debian's ssh writes it, and with a type of key that libssh2 does not ask for first.
#[test]
fn a_host_known_by_one_hashed_key_is_known() -> Result<()> {
    let lab = lab_with_known_hosts("hard-key-hashed")?;
    let node = lab.node(102);
    let known = node.read(KNOWN_HOSTS)?;
    let ecdsa = known.lines().filter(|line| line.contains("ecdsa"));
    let ecdsa: String = ecdsa.map(|line| line.to_owned() + "\n").collect();
    node.write(KNOWN_HOSTS, &ecdsa, 0o600, 0)?;
    node.run(&["ssh-keygen", "-q", "-H", "-f", KNOWN_HOSTS], SOON)?
        .success()?;
    assert!(!node.read(KNOWN_HOSTS)?.contains("192.168.1.101"));

    node.set_config(&[("SSH_HOST_KEYS", "strict")])?;
    node.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    assert_only_primary(&lab, 102)?;
    Ok(())
}
