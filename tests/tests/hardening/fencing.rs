//! The old primary is not simply dead, or this host is the one that is cut off.

use anyhow::Result;

use crate::scene::{
    FAILOVER, PRIMARY_DOWN, SOON, assert_only_primary, assert_says, log_line, state, three_hosts,
    two_hosts,
};

#[test]
fn sshd_dead_and_database_writing_is_refused_unless_always() -> Result<()> {
    let lab = two_hosts("hard-sshd")?;
    let (old, new) = (lab.node(101), lab.node(102));
    let client = lab.start_client()?;
    client.wait_for_acks(10, SOON)?;
    old.stop_sshd()?;

    for policy in ["never", "unreachable"] {
        new.set_config(&[("PROMOTE_WITHOUT_FENCE", policy)])?;
        let before = state(&lab);
        let run = new.failover(&PRIMARY_DOWN, FAILOVER)?;
        assert_says(&run, 66, "alive or may be, and could not be fenced");
        assert!(
            run.stderr.contains("connection refused: is sshd running?"),
            "{run}"
        );
        assert_eq!(state(&lab), before, "{policy}");
        lab.left_nothing(new)?;
        client.wait_for_acks(10, SOON)?;
    }

    new.set_config(&[("PROMOTE_WITHOUT_FENCE", "always")])?;
    new.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    assert!(!new.in_recovery()? && new.has_vip()?);
    log_line(new, "old primary 192.168.1.101 is alive, not fenced")?;
    Ok(())
}

/// As behind a firewall that rejects new connections and leaves the standing ones: the database's port
/// refuses, and the standby hears the database all the same.
#[test]
fn a_port_that_refuses_is_no_fence_while_a_standby_hears_it() -> Result<()> {
    let lab = two_hosts("fo-refuses")?;
    let (old, new) = (lab.node(101), lab.node(102));
    let client = lab.start_client()?;
    client.wait_for_acks(10, SOON)?;
    old.stop_sshd()?;
    let close = [
        "ss",
        "--kill",
        "--listening",
        "--tcp",
        "sport",
        "=",
        ":54321",
    ];
    old.run(&close, SOON)?.success()?;

    let before = state(&lab);
    let run = new.failover(&PRIMARY_DOWN, FAILOVER)?;
    assert_says(&run, 66, "alive or may be, and could not be fenced");
    assert_says(&run, 66, "tcp 54321 refused; ");
    assert_says(
        &run,
        66,
        "192.168.1.102 heard from it within the last second",
    );
    assert_eq!(state(&lab), before);
    client.wait_for_acks(10, SOON)?;
    Ok(())
}

/// The port of a host that lives refuses: nobody writes there, whatever the policy.
#[test]
fn sshd_dead_and_database_stopped_counts_as_fenced() -> Result<()> {
    let lab = two_hosts("hard-stopped")?;
    let (old, new) = (lab.node(101), lab.node(102));
    old.stop_sshd()?;
    old.kill_database()?;
    new.set_config(&[("PROMOTE_WITHOUT_FENCE", "never")])?;
    new.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    assert!(!new.in_recovery()? && new.has_vip()?);
    log_line(new, "fenced: its host lives and its database port refuses")?;
    log_line(
        new,
        "warning: the database VIP may still be on 192.168.1.101",
    )?;
    Ok(())
}

#[test]
fn a_stranger_with_the_vip_stops_the_failover() -> Result<()> {
    let lab = three_hosts("hard-stranger", false)?;
    let (old, new) = (lab.node(101), lab.node(102));
    old.power_off()?;
    lab.gateway_takes_vip()?;
    let before = state(&lab);
    let run = new.failover(&PRIMARY_DOWN, FAILOVER)?;
    assert_says(&run, 66, "answers for the database VIP");
    // The lab gives out hardware addresses that end in the IP address: this is the gateway's.
    assert!(run.stderr.contains("02:00:c0:a8:01:01"), "{run}");
    assert_eq!(state(&lab), before);
    lab.left_nothing(new)?;
    // What the line says to do.
    lab.gateway_drops_vip()?;
    new.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    assert_only_primary(&lab, 102)
}

#[test]
fn without_gateway_or_without_a_node_nothing_changes() -> Result<()> {
    let lab = two_hosts("hard-nobody")?;
    let node = lab.node(102);
    let before = state(&lab);

    lab.gateway_down()?;
    let run = node.failover(&PRIMARY_DOWN, FAILOVER)?;
    assert_says(&run, 66, "no trust IP (192.168.1.1) answers within 2000 ms");
    log_line(node, "ping trust ip 192.168.1.1 failed")?;
    lab.left_nothing(node)?;
    lab.gateway_up()?;

    let [_, p, d, h, o, _, main, data] = PRIMARY_DOWN;
    let by_name = [
        "--new-primary-host=",
        "--old-primary-id=0",
        "--new-primary-id=-1",
    ];
    let cases: [&[&str]; 6] = [
        &["", p, d, h, o, "-1", main, data],
        &["\"\"", p, d, h, o, "-1", main, data],
        &["192.168.1.102", p, d, h, o, "-1", main, data],
        &["", p, d, h, o, "", main, data],
        // An old pool leaves out what is empty.
        &[p, d, h, o, "-1", main, data],
        &by_name,
    ];
    for args in cases {
        let run = node.failover(args, FAILOVER)?;
        assert_says(&run, 66, "no node is left to promote");
        lab.left_nothing(node)?;
    }
    assert_eq!(state(&lab), before);

    // Not because of the cluster: with a gateway and a node it is done.
    node.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    assert_only_primary(&lab, 102)?;
    Ok(())
}
