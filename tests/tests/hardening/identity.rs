//! A configuration that is another host's, and orders that come to the wrong one: nothing is done.

use anyhow::{Result, ensure};
use lab::layout::{DB_BIN, DEVICE, POOL_BIN, USER};
use lab::{Node, ToolRun};

use crate::scene::{
    Case, FAILOVER, PRIMARY_DOWN, SOON, assert_only_primary, assert_says, log_line, state,
    three_hosts, two_hosts,
};

/// The file of this host is a copy of node101's.
fn copy_of_node101(node: &Node) -> Result<()> {
    node.set_config(&[
        ("KB_LOCALHOST_IP", "192.168.1.101"),
        ("NODE_NAME", "node101"),
    ])
}

fn tool(node: &Node, user: &str, line: &str) -> Result<ToolRun> {
    let program = format!("{DB_BIN}/{line}");
    node.run_as(user, &program.split(' ').collect::<Vec<_>>(), FAILOVER)
}

/// The pool's own host is the standby's. It took itself for the old primary, and stopped the only
/// database that could have gone on.
#[test]
fn a_copied_configuration_stops_nothing() -> Result<()> {
    let lab = two_hosts("hard-copied")?;
    let node = lab.node(102);
    copy_of_node101(node)?;
    let why = format!(
        "HAmodule.conf: KB_LOCALHOST_IP: 192.168.1.101 is not an address of this host \
         ({DEVICE} has 192.168.1.102): "
    );
    let before = state(&lab);
    let failover = PRIMARY_DOWN.join(" ");
    for (user, line) in [
        ("root", format!("failover_stream {failover}")),
        ("root", format!("failover_stream --dry-run {failover}")),
        (USER, "network_rewind".to_owned()),
        ("root", "network_rewind".to_owned()),
        (USER, "network_rewind --dry-run".to_owned()),
        (USER, "network_rewind --force".to_owned()),
        (USER, "network_rewind --pause".to_owned()),
        (USER, "vip_ctl add".to_owned()),
        (USER, "vip_ctl del".to_owned()),
        ("root", "vip_ctl status".to_owned()),
        (USER, "attach_node --status".to_owned()),
        (USER, "rw_check".to_owned()),
    ] {
        let run = tool(node, user, &line)?;
        assert_says(&run, 2, &why);
        assert_eq!(state(&lab), before, "{run}");
    }
    for step in ["status", "fence", "promote"] {
        let run = tool(
            node,
            USER,
            &format!("failover_stream --step {step} --deadline 5000"),
        )?;
        assert_eq!(run.code, Some(2), "{run}");
        assert!(run.stdout.contains(&why), "{run}");
        assert_eq!(state(&lab), before, "{run}");
    }
    let checked = tool(node, "root", "failover_stream --check-config")?;
    assert_eq!(checked.code, Some(2), "{checked}");
    assert!(checked.stdout.contains(&why), "{checked}");

    // The primary dies, and the standby is there for whoever corrects the file.
    lab.node(101).kill_database()?;
    assert_says(&node.failover(&PRIMARY_DOWN, FAILOVER)?, 2, &why);
    ensure!(node.in_recovery()?, "{:?}", state(&lab));
    node.set_config(&[
        ("KB_LOCALHOST_IP", "192.168.1.102"),
        ("NODE_NAME", "node102"),
    ])?;
    node.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    assert_only_primary(&lab, 102)
}

#[test]
fn a_copied_configuration_on_another_standby_is_no_candidate() -> Result<()> {
    let lab = three_hosts("hard-copied-3", false)?;
    let (node, copied) = (lab.node(102), lab.node(103));
    copy_of_node101(copied)?;
    node.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    assert_only_primary(&lab, 102)?;
    log_line(node, "standby 192.168.1.103 is no candidate: ")?;
    log_line(
        node,
        "KB_LOCALHOST_IP: 192.168.1.101 is not an address of this host",
    )?;
    ensure!(copied.in_recovery()?, "{:?}", state(&lab));
    Ok(())
}

#[test]
fn an_order_for_another_host_is_refused() -> Result<()> {
    let lab = two_hosts("hard-meant-for")?;
    let node = lab.node(102);
    let before = state(&lab);
    let why = "this order is for 192.168.1.101, and it has come to a host with KB_LOCALHOST_IP \
               192.168.1.102 in ";
    for step in ["status", "fence", "promote"] {
        let order = format!("failover_stream --step {step} --deadline 5000 --for 192.168.1.101");
        let run = tool(node, "root", &order)?;
        assert_eq!(run.code, Some(2), "{run}");
        assert!(run.stdout.contains(why), "{run}");
    }
    assert_says(
        &tool(node, "root", "vip_ctl add --for 192.168.1.101")?,
        2,
        why,
    );
    assert_eq!(state(&lab), before);
    // The right one, and one of an older version, which does not say whom it means.
    for order in ["--for 192.168.1.102", ""] {
        let line = format!("failover_stream --step status --deadline 5000 {order}");
        let run = tool(node, "root", line.trim_end())?;
        let answer = run.success()?;
        assert!(answer.contains("\"in_recovery\":true"), "{order}");
        assert!(answer.contains("\"version\":\"0."), "{answer}");
    }
    Ok(())
}

/// The address is gone, and another network is there: it may be the primary that was cut off, or a
/// host that is none of the cluster. The one stops itself, to the other nothing is done.
#[test]
fn a_primary_that_has_lost_its_address_stops_itself_when_it_is_cut_off() -> Result<()> {
    for user in [USER, "root"] {
        let lab = two_hosts("hard-lost")?;
        let node = lab.node(101);
        let script = format!(
            "ip link add mgmt0 type veth peer name mgmt0p && ip addr add 10.0.0.7/24 dev mgmt0 && \
             ip link set mgmt0 up && echo 1 >/proc/sys/net/ipv4/conf/{DEVICE}/promote_secondaries && \
             ip addr del 192.168.1.101/24 dev {DEVICE}"
        );
        node.run(&["sh", "-c", &script], SOON)?.success()?;
        ensure!(node.has_vip()?, "{:?}", node.addresses()?);
        let before = state(&lab);
        let why =
            "KB_LOCALHOST_IP: 192.168.1.101 is not an address of this host (mgmt0 has 10.0.0.7): ";
        for line in [
            "network_rewind",
            "network_rewind --pause",
            "vip_ctl add",
            "rw_check",
        ] {
            assert_says(&tool(node, user, line)?, 2, why);
            assert_eq!(state(&lab), before, "{line}");
        }

        node.link_down()?;
        let run = tool(node, user, "network_rewind")?;
        assert_says(&run, 66, "this host is cut off");
        ensure!(node.pids_of_database().is_empty(), "{user}: it runs");
        ensure!(!node.has_vip()?, "{user}: it has the VIP");
        assert_says(&tool(node, user, "network_rewind")?, 2, why);
    }
    Ok(())
}

#[test]
fn the_address_may_be_on_any_device() -> Result<()> {
    let lab = two_hosts("hard-device")?;
    let node = lab.node(102);
    let script = format!(
        "ip link add other0 type veth peer name other0p && ip link set other0 up && \
         ip addr del 192.168.1.102/24 dev {DEVICE} && ip addr add 192.168.1.102/32 dev other0 && \
         ip addr add 192.168.1.112/24 dev {DEVICE}"
    );
    node.run(&["sh", "-c", &script], SOON)?.success()?;
    let checked = tool(node, "root", "failover_stream --check-config")?.success()?;
    assert!(checked.ends_with("HAmodule.conf: good\n"), "{checked}");
    Ok(())
}

/// A candidate on which the VIP cannot be is none, and the living primary goes on.
#[test]
fn what_the_vip_needs_is_known_before_the_old_primary_is_touched() -> Result<()> {
    let lab = two_hosts("hard-no-device")?;
    let node = lab.node(102);
    let before = state(&lab);
    let refused = |run: &ToolRun, why: &str| -> Result<()> {
        assert_says(
            run,
            66,
            "no standby can be promoted, so the old primary is left as it is",
        );
        assert_says(run, 66, why);
        assert_eq!(state(&lab), before, "{run}");
        Ok(())
    };
    node.set_config(&[("DEV", "eth0")])?;
    let why = format!(
        "192.168.1.102: this host has no network device eth0 ({}): correct DEV",
        format_args!("{DEVICE} has 192.168.1.102")
    );
    for coordinator in [102, 101] {
        let run = lab.node(coordinator).failover(&PRIMARY_DOWN, FAILOVER)?;
        refused(&run, &why).case(&coordinator)?;
        lab.left_nothing(lab.node(coordinator)).case(&coordinator)?;
    }
    let checked = tool(node, "root", "failover_stream --check-config")?;
    assert_eq!(checked.code, Some(2), "{checked}");
    assert!(
        checked
            .stdout
            .contains("HAmodule.conf: DEV: this host has no network device eth0"),
        "{checked}"
    );

    // It is there, but down and in another network: said, and no reason to stay without a primary.
    let script = "ip link add eth0 type veth peer name eth0p && ip addr add 10.0.0.7/24 dev eth0";
    node.run(&["sh", "-c", script], SOON)?.success()?;
    let checked = tool(node, "root", "failover_stream --check-config")?.success()?;
    for line in [
        "DEV: eth0 is down: ip link set eth0 up",
        "DEV: eth0 has no address in the network of 192.168.1.200/24",
    ] {
        assert!(checked.contains(line), "{checked}");
    }
    node.set_config(&[("DEV", DEVICE)])?;

    // Without root's rights, file capabilities, or a way to root@localhost.
    node.take_rights_from_vip_ctl()?;
    node.stop_sshd()?;
    let failover = format!("{POOL_BIN}/failover_stream {}", PRIMARY_DOWN.join(" "));
    let failover: Vec<&str> = failover.split(' ').collect();
    let run = node.run_as(USER, &failover, FAILOVER)?;
    refused(
        &run,
        "this user may neither change addresses nor send ARP: give ",
    )?;
    lab.left_nothing(node)?;
    // What is there already needs no rights.
    lab.node(101).kill_database()?;
    node.start_sshd()?;
    node.run_as(USER, &failover, FAILOVER)?.success()?;
    assert_only_primary(&lab, 102)
}
