//! A cluster of three hosts that is well, for tests to break.

use crate::facts::cluster::{Cluster, Host, Policies, PoolSeen};
use crate::facts::host::{HostFacts, Schedule, ServerFacts, Slot};
use crate::facts::policy::{
    FailoverCandidate, FailoverQuorum, GatewayLostAction, PromoteWithoutFence, SyncDegrade,
};
use crate::facts::pool::PoolNode;
use crate::facts::standby::Standby;
use crate::facts::status::Status;
use std::net::IpAddr;

pub(crate) fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 168, 1, last])
}

pub(crate) fn server(number: u8) -> ServerFacts {
    let is_primary = number == 101;
    let settings = [
        ("full_page_writes", "on"),
        ("wal_log_hints", "on"),
        ("data_checksums", "off"),
        ("max_wal_senders", "10"),
        ("max_replication_slots", "10"),
        ("max_connections", "100"),
        ("listen_addresses", "*"),
        ("synchronous_standby_names", "FIRST 1 (node102, node103)"),
    ];
    let sender = |number: u8, sync_state: &str| Standby {
        address: Some(ip(number)),
        name: format!("node{number}"),
        state: "streaming".to_owned(),
        sync_state: sync_state.to_owned(),
        behind: Some(0),
    };
    let slot = |number: u8| Slot {
        name: format!("slot_node{number}"),
        active: true,
        keeps: Some(0),
    };
    ServerFacts {
        status: Status {
            running: true,
            in_recovery: Some(!is_primary),
            timeline: 1,
            vip_here: is_primary,
            ..Status::default()
        },
        version: Some(150_000),
        system: Some("7".to_owned()),
        settings: settings
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        senders: match is_primary {
            true => vec![sender(102, "sync"), sender(103, "potential")],
            false => Vec::new(),
        },
        slots: match is_primary {
            true => vec![slot(102), slot(103)],
            false => Vec::new(),
        },
        follows: (!is_primary).then(|| "192.168.1.101".to_owned()),
        uses_slot: Some(format!("slot_node{number}")),
        room: Some(1 << 40),
        wal_room: Some(1 << 40),
        ..ServerFacts::default()
    }
}

pub(crate) fn host(number: u8) -> Host {
    Host {
        address: ip(number),
        name: format!("node{number}"),
        has_database: true,
        answer: Ok(HostFacts {
            tools: "1".to_owned(),
            server: Some(server(number)),
            last_look: Some(30),
            schedule: Schedule::Files(vec!["/etc/cron.d/x".to_owned()]),
            pool_vip_here: number == 102,
            ..HostFacts::default()
        }),
        clock_off_ms: 0,
    }
}

pub(crate) fn node(number: u8) -> PoolNode {
    PoolNode {
        id: u32::from(number) - 101,
        host: ip(number).to_string(),
        status: "up".to_owned(),
        role: if number == 101 { "primary" } else { "standby" }.to_owned(),
        replication_delay: None,
    }
}

pub(crate) fn pool(number: u8) -> PoolSeen {
    let settings = [
        (
            "failover_command",
            "/x/failover_stream %H %P %d %h %O %m %M %D",
        ),
        ("health_check_period", "1"),
        ("use_watchdog", "on"),
        ("delegate_ip", "192.168.1.201"),
        ("backend_port0", "54321"),
    ];
    PoolSeen {
        host: ip(number),
        nodes: Ok(vec![node(101), node(102), node(103)]),
        closed: None,
        settings: settings
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        pcp: Some(Ok(())),
    }
}

/// Three hosts that are well.
pub(crate) fn whole() -> Cluster {
    Cluster {
        me: ip(101),
        hosts: vec![host(101), host(102), host(103)],
        pools: vec![pool(101), pool(102)],
        pool_vip: ip(201),
        pool_vip_answers: Some(Ok(())),
        vip: Some(ip(200)),
        sync: true,
        lag_limit: 16 << 20,
        port: 54321,
        tool: "failover_stream",
        policies: Policies {
            promote_without_fence: PromoteWithoutFence::Unreachable,
            candidate: FailoverCandidate::Best,
            quorum: FailoverQuorum::Majority,
            sync_degrade: SyncDegrade::Always,
            gateway_lost: GatewayLostAction::Isolated,
            max_failover_lag: None,
            probe_ms: 500,
            trust_ips: 1,
        },
    }
}

pub(crate) fn facts(cluster: &mut Cluster, at: usize) -> &mut HostFacts {
    match &mut cluster.hosts[at].answer {
        Ok(facts) => facts,
        Err(_) => unreachable!("it answers"),
    }
}

pub(crate) fn server_of(cluster: &mut Cluster, at: usize) -> &mut ServerFacts {
    match &mut facts(cluster, at).server {
        Some(server) => server,
        None => unreachable!("it has one"),
    }
}

pub(crate) fn set(cluster: &mut Cluster, at: usize, name: &str, value: &str) {
    server_of(cluster, at)
        .settings
        .insert(name.to_owned(), value.to_owned());
}
