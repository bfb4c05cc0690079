//! What is wrong with a cluster, and what is not.

use super::{Finding, Level, Topic, judge};
use crate::facts::cluster::{Cluster, NoFacts, PoolSeen};
use crate::facts::host::{Login, Schedule, Slot};
use crate::facts::standby::Standby;
use crate::sample::*;
use std::collections::BTreeSet;

fn codes(found: &[Finding]) -> Vec<&str> {
    found.iter().map(|it| it.code).collect()
}

#[test]
fn nothing_is_wrong_with_a_cluster_that_is_well() {
    assert_eq!(judge(&whole()), []);
}

type Change = fn(&mut Cluster);

/// What is wrong with a host or a pool.
const OF_HOSTS: [(&str, Change); 12] = [
    ("clock", |it| it.hosts[1].clock_off_ms = -2_500),
    ("lag", |it| {
        server_of(it, 0).senders[1].behind = Some(17 << 20)
    }),
    ("archive", |it| {
        server_of(it, 0).archive_fails = Some("7".to_owned())
    }),
    ("old-transaction", |it| {
        server_of(it, 0).oldest_transaction = Some(4_000)
    }),
    ("removes-ipc", |it| facts(it, 1).removes_ipc = true),
    ("unit-restarts", |it| {
        server_of(it, 1).unit = Some("postgresql.service".to_owned());
        server_of(it, 1).restart = Some("on-failure".to_owned());
    }),
    ("major-versions", |it| {
        server_of(it, 2).version = Some(160_001)
    }),
    ("another-database", |it| {
        server_of(it, 2).system = Some("8".to_owned())
    }),
    ("no-room", |it| server_of(it, 2).room = Some(1 << 20)),
    ("little-room", |it| {
        server_of(it, 2).wal_room = Some(100 << 20)
    }),
    ("half-done", |it| facts(it, 2).marks.half_done = true),
    ("no-look", |it| {
        facts(it, 2).last_look = Some(500);
        facts(it, 2).schedule = Schedule::Unknown;
    }),
];

/// What is wrong with a server's settings, and with a pool.
const OF_SERVERS: [(&str, Change); 16] = [
    ("max_wal_senders", |it| set(it, 0, "max_wal_senders", "3")),
    ("wal_level", |it| set(it, 2, "wal_level", "minimal")),
    ("hot_standby", |it| set(it, 2, "hot_standby", "off")),
    ("listen_addresses", |it| {
        set(it, 2, "listen_addresses", "localhost, 127.0.0.1")
    }),
    ("smaller-than-primary", |it| {
        set(it, 2, "max_connections", "99")
    }),
    ("backup", |it| {
        let backup = Standby {
            state: "backup".to_owned(),
            ..Standby::default()
        };
        server_of(it, 0).senders.push(backup);
    }),
    ("idle-slot", |it| {
        let slot = |name: &str, keeps| Slot {
            name: name.to_owned(),
            active: false,
            keeps: Some(keeps),
        };
        // One of somebody else's that keeps little is nobody's business.
        server_of(it, 0)
            .slots
            .extend([slot("wal_archive", 9), slot("slot_node109", 9)]);
    }),
    ("obstacle", |it| {
        server_of(it, 2).status.obstacle = Some("no program".to_owned())
    }),
    ("backend_port", |it| {
        it.pools.iter_mut().for_each(|pool| {
            pool.settings
                .insert("backend_port0".to_owned(), "5432".to_owned());
        });
        it.pools.truncate(1);
    }),
    ("delegate_ip", |it| {
        it.pools.truncate(1);
        it.pools[0]
            .settings
            .insert("delegate_ip".to_owned(), "192.168.1.209".to_owned());
    }),
    ("use_watchdog", |it| {
        it.pools.truncate(1);
        it.pools[0]
            .settings
            .insert("use_watchdog".to_owned(), "off".to_owned());
    }),
    ("cluster-vip", |it| facts(it, 1).pool_vip_here = false),
    ("cluster-vip-twice", |it| facts(it, 0).pool_vip_here = true),
    ("cluster-vip-silent", |it| {
        it.pool_vip_answers = Some(Err("no answer".to_owned()))
    }),
    ("pool-silent", |it| {
        it.pools[1].nodes = Err("refused".to_owned());
        it.pools[1].pcp = Some(Err("refused".to_owned()));
    }),
    ("pool-closed", |it| {
        it.pools[1].closed = Some("no answer".to_owned())
    }),
];

#[test]
fn each_thing_that_is_wrong_is_one_finding() {
    for (code, change) in OF_HOSTS.into_iter().chain(OF_SERVERS) {
        let mut cluster = whole();
        change(&mut cluster);
        let found = judge(&cluster);
        assert_eq!(codes(&found), [code], "{found:#?}");
        assert!(!found[0].advice.is_empty() && !found[0].sentence.is_empty());
    }
}

#[test]
fn what_a_pool_sees_otherwise_is_told_for_each_pool() {
    let cases: [(&str, Change); 5] = [
        ("pool-node-down", |it| {
            for pool in &mut it.pools {
                pool.nodes
                    .as_mut()
                    .map(|nodes| nodes[2].status = "down".to_owned())
                    .unwrap_or_default();
            }
        }),
        ("pool-no-primary", |it| {
            for pool in &mut it.pools {
                pool.nodes
                    .as_mut()
                    .map(|nodes| nodes[0].role = "standby".to_owned())
                    .unwrap_or_default();
            }
        }),
        ("pool-other-primary", |it| {
            for pool in &mut it.pools {
                if let Ok(nodes) = &mut pool.nodes {
                    nodes[0].role = "standby".to_owned();
                    nodes[1].role = "primary".to_owned();
                }
            }
        }),
        ("pool-lacks-node", |it| {
            for pool in &mut it.pools {
                pool.nodes
                    .as_mut()
                    .map(|nodes| nodes.truncate(2))
                    .unwrap_or_default();
            }
        }),
        ("pool-stranger", |it| {
            for pool in &mut it.pools {
                pool.nodes
                    .as_mut()
                    .map(|nodes| nodes.push(node(109)))
                    .unwrap_or_default();
            }
        }),
    ];
    for (code, change) in cases {
        let mut cluster = whole();
        change(&mut cluster);
        assert_eq!(codes(&judge(&cluster)), [code, code]);
    }
    let mut cluster = whole();
    if let Ok(nodes) = &mut cluster.pools[1].nodes {
        nodes[2].status = "down".to_owned();
    }
    assert_eq!(
        codes(&judge(&cluster)),
        ["pool-node-down", "pools-disagree"]
    );
}

#[test]
fn a_host_that_is_gone_is_one_finding_and_not_ten() {
    let mut cluster = whole();
    cluster.hosts[2].answer = Err(NoFacts::Unreachable("no connection".to_owned()));
    cluster.pools.push(PoolSeen {
        nodes: Err("no answer".to_owned()),
        ..pool(103)
    });
    let refused = |user: &str| Login {
        to: ip(103),
        user: user.to_owned(),
        refused: Some("no answer in time".to_owned()),
    };
    for at in [0, 1] {
        facts(&mut cluster, at).ssh = vec![refused("root")];
        facts(&mut cluster, at).sql = vec![refused("system")];
        facts(&mut cluster, at).replication = vec![refused("system")];
    }
    assert_eq!(codes(&judge(&cluster)), ["host-unreachable"]);
}

#[test]
fn commits_wait_for_whom_they_should() {
    const NAMES: &str = "synchronous_standby_names";
    let cases: [(&[&str], Change); 4] = [
        (&["asynchronous"], |it| set(it, 0, NAMES, "")),
        (&["commits-hang", "foreign-standby"], |it| {
            set(it, 0, NAMES, "node109");
            server_of(it, 0)
                .senders
                .iter_mut()
                .for_each(|it| it.sync_state = "async".to_owned());
        }),
        (&["foreign-standby"], |it| {
            set(it, 0, NAMES, "ANY 1 (node102, node109)")
        }),
        (&["synchronous"], |it| it.sync = false),
    ];
    for (expected, change) in cases {
        let mut cluster = whole();
        change(&mut cluster);
        let all = judge(&cluster);
        let mut found = codes(&all);
        found.sort_unstable();
        assert_eq!(found, expected);
    }
}

#[test]
fn failures_come_first() {
    let mut cluster = whole();
    cluster.hosts[1].clock_off_ms = 9_000;
    server_of(&mut cluster, 2).room = Some(0);
    let found = judge(&cluster);
    let order: Vec<(Level, Topic)> = found.iter().map(|it| (it.level, it.topic)).collect();
    assert_eq!(
        order,
        [
            (Level::Failure, Topic::Room),
            (Level::Warning, Topic::Hosts)
        ]
    );
}

/// The page has a row with each code, and no other.
#[test]
fn the_manual_has_every_code() {
    let page = include_str!("../../../../docs/cluster.md");
    let (_, rows) = page.split_once("| code |").unwrap_or_default();
    let rows = rows.split("\n## ").next().unwrap_or_default();
    let first = rows
        .lines()
        .filter_map(|row| row.strip_prefix("| ")?.split(" |").next());
    let documented: BTreeSet<&str> = first
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    let sources = [
        include_str!("databases.rs"),
        include_str!("hosts.rs"),
        include_str!("pools.rs"),
        include_str!("replication.rs"),
    ];
    let flat = sources
        .map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
        .join(" ")
        .replace("( ", "(");
    let mut found = BTreeSet::new();
    for part in flat.split("(Topic::").skip(1) {
        let code = part
            .split('"')
            .nth(1)
            .filter(|_| part.find('"') < part.find(')'));
        found.extend(code);
    }
    // The rules about single settings, and the three kinds of logins.
    for part in flat.split("(\"").skip(1) {
        found.extend(
            part.split_once("\", |value|")
                .or_else(|| part.split_once("\", is_"))
                .map(|it| it.0)
                .filter(|it| !it.contains('"')),
        );
    }
    for known in [
        "ssh",
        "sql-login",
        "replication-login",
        "max_wal_senders",
        "max_replication_slots",
    ] {
        assert!(flat.contains(&format!("\"{known}\"")), "{known}");
        found.insert(known);
    }
    assert_eq!(documented, found);
}
