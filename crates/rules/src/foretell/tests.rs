//! What is foretold of clusters that are well, and of some that are not.

use super::{Event, Foretold, Span, foretell, within};
use crate::facts::cluster::{Cluster, NoFacts};
use crate::facts::policy::{
    FailoverCandidate, GatewayLostAction, PromoteWithoutFence, SyncDegrade,
};
use crate::sample::*;

/// With a pool on each host, and the settings of the lab's.
fn three_pools() -> Cluster {
    let mut cluster = whole();
    cluster.pools = vec![pool(101), pool(102), pool(103)];
    for (name, value) in [
        ("health_check_period", "1"),
        ("health_check_timeout", "3"),
        ("health_check_max_retries", "3"),
        ("health_check_retry_delay", "1"),
        ("connect_timeout", "2000"),
        ("wd_interval", "1"),
        ("wd_heartbeat_deadtime", "10s"),
        ("failover_when_quorum_exists", "on"),
        ("failover_require_consensus", "on"),
    ] {
        set_pools(&mut cluster, name, value);
    }
    cluster
}

fn set_pools(cluster: &mut Cluster, name: &str, value: &str) {
    for pool in &mut cluster.pools {
        pool.settings.insert(name.to_owned(), value.to_owned());
    }
}

fn told(cluster: &Cluster, number: u8, event: Event) -> Foretold {
    let node = cluster.host(ip(number));
    let all = foretell(cluster, node.unwrap_or_else(|| unreachable!("it is there")));
    let mut all = all.into_iter();
    all.find(|it| it.event == event)
        .unwrap_or_else(|| unreachable!("{event:?} is told"))
}

fn waits(cluster: &Cluster, number: u8, event: Event) -> Option<(u64, u64)> {
    let span = told(cluster, number, event).waits()?;
    Some((span.from, span.to))
}

#[test]
fn a_dead_primary_is_replaced_by_the_furthest_after_the_rounds_of_a_majority() {
    let cluster = three_pools();
    let it = told(&cluster, 101, Event::HostDies);
    assert_eq!(it.promoted, Some(ip(102)), "{it:?}");
    assert_eq!(it.lost, "nothing that was acknowledged");
    // 0 to 1 s, 4 tries of 2 s, 3 pauses of 1 s, and the command.
    assert_eq!(
        waits(&cluster, 101, Event::HostDies),
        Some((11_550, 13_200))
    );
    assert_eq!(it.parts[0].setting.as_deref(), Some("health_check_period"));
    assert!(
        it.notes
            .iter()
            .any(|note| note.contains("follow it at once")),
        "{it:?}"
    );
}

#[test]
fn a_killed_database_refuses_at_once() {
    assert_eq!(
        waits(&three_pools(), 101, Event::DatabaseDies),
        Some((3_150, 4_600))
    );
}

#[test]
fn a_nodes_own_settings_come_before_those_of_all() {
    let mut cluster = three_pools();
    set_pools(&mut cluster, "health_check_max_retries0", "0");
    assert_eq!(
        waits(&cluster, 101, Event::DatabaseDies),
        Some((150, 1_600))
    );
    assert_eq!(told(&cluster, 101, Event::DatabaseDies).parts.len(), 2);
}

#[test]
fn where_the_leader_goes_too_its_successors_next_round_counts() {
    let mut cluster = three_pools();
    facts(&mut cluster, 1).pool_vip_here = false;
    facts(&mut cluster, 0).pool_vip_here = true;
    // The first round ends at 11 to 12 s, the leader is elected at 16 to 18.5, the next round ends 12 s later.
    let it = told(&cluster, 101, Event::HostDies);
    assert_eq!(
        it.waits(),
        Some(Span {
            from: 23_550,
            to: 25_200
        }),
        "{it:?}"
    );
    assert!(
        it.notes.iter().any(|note| note.contains("cluster VIP")),
        "{it:?}"
    );
    // A killed database leaves the leader where it is.
    assert_eq!(
        waits(&cluster, 101, Event::DatabaseDies),
        Some((3_150, 4_600))
    );
}

#[test]
fn two_pools_without_half_votes_do_not_fail_over_from_a_dead_host() {
    let mut cluster = three_pools();
    cluster.pools.pop();
    let it = told(&cluster, 101, Event::HostDies);
    assert!(!it.ends_well && it.text.contains("no majority"), "{it:?}");
    assert!(told(&cluster, 101, Event::DatabaseDies).ends_well);
    set_pools(&mut cluster, "enable_consensus_with_half_votes", "on");
    assert!(told(&cluster, 101, Event::HostDies).ends_well);
}

#[test]
fn what_keeps_a_failover_from_promoting_is_said() {
    type Change = fn(&mut Cluster);
    let all: [(&str, Change, &str); 6] = [
        (
            "the policy",
            |it| it.policies.promote_without_fence = PromoteWithoutFence::Never,
            "PROMOTE_WITHOUT_FENCE is never",
        ),
        (
            "an obstacle on each",
            |it| {
                for at in [1, 2] {
                    server_of(it, at).status.obstacle =
                        Some("its promote program is missing".to_owned());
                }
            },
            "its promote program is missing",
        ),
        (
            "another host is gone already",
            |it| it.hosts[2].answer = Err(NoFacts::Unreachable("no answer".to_owned())),
            "of 3 hosts only 1 are seen",
        ),
        (
            "no pool looks",
            |it| set_pools(it, "health_check_period", "0"),
            "health_check_period is 0",
        ),
        (
            "the pool has no other node",
            |it| {
                for pool in &mut it.pools {
                    if let Ok(nodes) = &mut pool.nodes {
                        nodes[1].status = "down".to_owned();
                        nodes[2].status = "down".to_owned();
                    }
                }
            },
            "no other node up",
        ),
        (
            "there is no primary",
            |it| server_of(it, 0).status.in_recovery = Some(true),
            "not one primary",
        ),
    ];
    for (what, change, expected) in all {
        let mut cluster = three_pools();
        change(&mut cluster);
        let it = told(&cluster, 101, Event::HostDies);
        assert!(
            !it.ends_well && it.text.contains(expected),
            "{what}: {it:?}"
        );
        assert_eq!(it.waits(), None, "{what}");
    }
}

#[test]
fn without_synchronous_commits_what_was_not_received_is_lost() {
    let mut cluster = three_pools();
    cluster.sync = false;
    set(&mut cluster, 0, "synchronous_standby_names", "");
    let senders = &mut server_of(&mut cluster, 0).senders;
    senders[0].behind = Some(40_000_000);
    let it = told(&cluster, 101, Event::HostDies);
    assert!(it.lost.contains("It lacks 38 MB now"), "{it:?}");
    let cut = told(&cluster, 101, Event::CutOff);
    assert!(cut.lost.contains("on its own side"), "{cut:?}");
    cluster.policies.max_failover_lag = Some(10);
    let it = told(&cluster, 101, Event::HostDies);
    assert!(
        !it.ends_well && it.text.contains("MAX_FAILOVER_LAG"),
        "{it:?}"
    );
}

#[test]
fn the_last_standby_decides_what_commits_wait_for() {
    let mut cluster = three_pools();
    cluster.hosts.pop();
    cluster.pools.pop();
    set_pools(&mut cluster, "enable_consensus_with_half_votes", "on");
    server_of(&mut cluster, 0).senders.pop();
    for event in [Event::HostDies, Event::DatabaseDies] {
        let it = told(&cluster, 101, event);
        assert!(
            it.ends_well && it.notes.iter().any(|note| note.contains("=always")),
            "{it:?}"
        );
        let it = told(&cluster, 102, event);
        assert!(
            it.ends_well && it.text.contains("wait for no standby"),
            "{it:?}"
        );
    }
    cluster.policies.sync_degrade = SyncDegrade::Never;
    for (number, event) in [
        (101, Event::HostDies),
        (102, Event::HostDies),
        (102, Event::DatabaseDies),
    ] {
        assert_eq!(waits(&cluster, number, event), None, "{number} {event:?}");
    }
}

#[test]
fn a_standby_that_goes_costs_what_its_connection_costs() {
    let cluster = three_pools();
    // The one that commits wait for, whose pool leads: noticed late.
    assert_eq!(waits(&cluster, 102, Event::DatabaseDies), Some((0, 200)));
    let silent = told(&cluster, 102, Event::HostDies);
    assert_eq!(
        silent.waits(),
        Some(Span {
            from: 23_200,
            to: 26_500
        }),
        "{silent:?}"
    );
    // The other one.
    assert_eq!(waits(&cluster, 103, Event::HostDies), Some((0, 0)));
    // The server gives up earlier.
    let mut cluster = cluster;
    set(&mut cluster, 0, "wal_sender_timeout", "10000");
    assert_eq!(waits(&cluster, 102, Event::HostDies), Some((5_000, 10_000)));
}

#[test]
fn the_gateway_alone_stops_nobody_unless_told_so() {
    let mut cluster = three_pools();
    assert_eq!(waits(&cluster, 101, Event::GatewayDies), Some((0, 0)));
    set_pools(&mut cluster, "trusted_servers", "192.168.1.1");
    let it = told(&cluster, 101, Event::GatewayDies);
    assert!(
        it.notes.iter().any(|note| note.contains("trusted_servers")),
        "{it:?}"
    );
    cluster.policies.gateway_lost = GatewayLostAction::Always;
    assert_eq!(waits(&cluster, 101, Event::GatewayDies), None);
}

#[test]
fn a_host_with_only_a_pool_takes_the_cluster_vip_and_votes_along() {
    let mut cluster = three_pools();
    cluster.hosts[2].has_database = false;
    facts(&mut cluster, 2).server = None;
    let it = told(&cluster, 103, Event::HostDies);
    assert_eq!(it.waits(), Some(Span::default()), "{it:?}");
    facts(&mut cluster, 1).pool_vip_here = false;
    facts(&mut cluster, 2).pool_vip_here = true;
    let it = told(&cluster, 103, Event::HostDies);
    assert_eq!(it.parts.len(), 3, "{it:?}");
    cluster.pools.remove(0);
    let it = told(&cluster, 103, Event::HostDies);
    assert!(
        it.notes
            .iter()
            .any(|note| note.contains("no failover is possible")),
        "{it:?}"
    );
}

#[test]
fn who_is_given_is_promoted_where_the_operator_wants_that() {
    let mut cluster = three_pools();
    cluster.policies.candidate = FailoverCandidate::Given;
    set(
        &mut cluster,
        0,
        "synchronous_standby_names",
        "ANY 1 (node102, node103)",
    );
    for sender in &mut server_of(&mut cluster, 0).senders {
        sender.sync_state = "quorum".to_owned();
    }
    let it = told(&cluster, 101, Event::HostDies);
    assert_eq!(it.promoted, Some(ip(102)));
    assert!(it.lost.contains("FAILOVER_CANDIDATE=given"), "{it:?}");
}

#[test]
fn a_span_reads_as_one_time_or_two() {
    assert_eq!(
        within(Span {
            from: 1_550,
            to: 1_550
        }),
        "1.5 s"
    );
    assert_eq!(within(Span { from: 0, to: 2_000 }), "0.0 to 2.0 s");
}
