//! The servers one by one: they run, and are set up so that a failover and a recovery work.

use super::{Rule, Said, Topic, bytes};
use crate::facts::cluster::{Cluster, Host};
use crate::facts::host::ServerFacts;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A promotion writes a WAL segment at once, and a rewind copies some.
const SEGMENTS: u64 = 8;
/// A transaction that old delays a clean stop and keeps rows from being cleaned up.
const OLD_TRANSACTION: u64 = 3_600;

/// On a standby each has to be at least as large as on the primary; else its replay stops there.
const AT_LEAST_THE_PRIMARYS: [&str; 5] = [
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
];

pub(super) fn judge(cluster: &Cluster, said: &mut Said) {
    for host in cluster.databases() {
        if let Some(server) = host.server() {
            if !runs(host, server, said) {
                continue;
            }
            settings(cluster, host, server, said);
            files(host, server, said);
            unit(host, server, said);
        }
    }
    one_cluster(cluster, said);
    as_large_as_the_primarys(cluster, said);
}

fn runs(host: &Host, server: &ServerFacts, said: &mut Said) -> bool {
    let (name, status) = (&host.name, &server.status);
    room(host, server, said);
    if !status.running {
        said.failure(Topic::Servers, "server-down", Some(host))
            .says(
                format!("the server of {name} does not run"),
                "network_rewind there starts or recovers it; see its log where it does not",
            );
        return false;
    }
    if status.in_recovery.is_none() {
        let why = status.trouble.as_deref().unwrap_or("it gives no answer");
        said.failure(Topic::Servers, "server-silent", Some(host)).says(
            format!("the server of {name} runs, and cannot be asked: {why}"),
            "see the server's log there; where the login is refused correct KB_USER, KB_PASS or the hba file",
        );
        return false;
    }
    if let Some(obstacle) = &status.obstacle {
        let is_known = server.status.fenced || obstacle.contains("its rewind is unfinished");
        if !is_known {
            said.failure(Topic::Servers, "obstacle", Some(host)).says(
                format!("the server of {name} cannot be promoted: {obstacle}"),
                "do what the reason says",
            );
        }
    }
    true
}

fn room(host: &Host, server: &ServerFacts, said: &mut Said) {
    let name = &host.name;
    let segment = server.status.segment_size.unwrap_or(16 << 20);
    for (room, what) in [(server.room, "data directory"), (server.wal_room, "WAL")] {
        let Some(room) = room else { continue };
        let wanted = segment * SEGMENTS;
        if room < wanted {
            let open = match room < segment * 2 {
                true => said.failure(Topic::Room, "no-room", Some(host)),
                false => said.warning(Topic::Room, "little-room", Some(host)),
            };
            open.says(
                format!("the disk of the {what} of {name} has {} left", bytes(room)),
                format!(
                    "make room there: {} are wanted for a promotion and a rewind",
                    bytes(wanted)
                ),
            );
            return;
        }
    }
}

const RULES: [Rule; 9] = [
    (
        "full_page_writes",
        |value| value == "off",
        true,
        "a rewind cannot be trusted without full pages in the WAL",
        "set full_page_writes = on",
    ),
    (
        "wal_level",
        |value| value == "minimal",
        true,
        "no standby can follow it after a promotion",
        "set wal_level = replica, and restart",
    ),
    (
        "hot_standby",
        |value| value == "off",
        true,
        "as a standby it takes no session, so neither the pool nor the tools can ask it",
        "set hot_standby = on, and restart",
    ),
    (
        "fsync",
        |value| value == "off",
        true,
        "a power cut may leave it damaged, and its standbys differ from it",
        "set fsync = on",
    ),
    (
        "default_transaction_read_only",
        |value| value == "on",
        true,
        "as a primary it refuses every write of a session that does not ask for one",
        "set default_transaction_read_only = off",
    ),
    (
        "zero_damaged_pages",
        |value| value == "on",
        false,
        "damaged pages vanish without a word",
        "set zero_damaged_pages = off",
    ),
    (
        "restart_after_crash",
        |value| value == "off",
        false,
        "one backend that crashes ends the server",
        "set restart_after_crash = on, unless something else starts it",
    ),
    (
        "recovery_min_apply_delay",
        |value| value != "0",
        true,
        "it replays so late on purpose, and its promotion waits for that",
        "set recovery_min_apply_delay = 0, or take the server out of KB_ALL_IP",
    ),
    (
        "max_slot_wal_keep_size",
        is_small,
        false,
        "it keeps no more WAL than that for a standby that is away",
        "raise max_slot_wal_keep_size: a host that is away longer has to be copied anew",
    ),
];

fn settings(cluster: &Cluster, host: &Host, server: &ServerFacts, said: &mut Said) {
    let name = &host.name;
    said.by_rules(
        (Topic::Servers, Some(host)),
        &RULES,
        |setting| server.setting(setting),
        |setting, value| format!("{setting} of {name} is {value}"),
    );
    let off = |setting| server.setting(setting) == Some("off");
    if off("wal_log_hints") && off("data_checksums") {
        said.failure(Topic::Servers, "wal_log_hints", Some(host)).says(
            format!("{name} has neither wal_log_hints nor data checksums: it cannot be rewound after a failover"),
            "set wal_log_hints = on, and restart",
        );
    }
    // Each of the others may stream, a base backup needs two, and one is in reserve.
    let others = i64::try_from(cluster.databases().count()).unwrap_or(2) - 1;
    enough(host, server, "max_wal_senders", others + 2, "senders", said);
    enough(host, server, "max_replication_slots", others, "slots", said);
    listens(host, server, said);
    if cluster.sync {
        waits(host, server, said);
    }
}

/// On the address by which the others ask it. A name may be that.
fn listens(host: &Host, server: &ServerFacts, said: &mut Said) {
    let Some(addresses) = server.setting("listen_addresses") else {
        return;
    };
    let is_heard = |it: &str| match it.parse::<IpAddr>() {
        Ok(address) => address.is_unspecified() || address == host.address,
        Err(_) => !matches!(it, "localhost" | ""),
    };
    if !addresses.split(',').map(str::trim).any(is_heard) {
        let name = &host.name;
        said.failure(Topic::Servers, "listen_addresses", Some(host))
            .says(
                format!(
                    "the server of {name} listens on \"{addresses}\", and not on {}",
                    host.address
                ),
                "set listen_addresses = '*', and restart",
            );
    }
}

/// Of a synchronous cluster: its commits wait at all.
fn waits(host: &Host, server: &ServerFacts, said: &mut Said) {
    let value = server.setting("synchronous_commit").unwrap_or_default();
    if matches!(value, "off" | "local") {
        let name = &host.name;
        said.failure(Topic::Commits, "synchronous_commit", Some(host))
            .says(
                format!(
                    "synchronous_commit of {name} is {value}, so no commit waits for a standby there"
                ),
                "set synchronous_commit = on",
            );
    }
}

/// Whether it is given in megabytes, and is less than a day's worth.
fn is_small(value: &str) -> bool {
    let megabytes = value
        .strip_suffix("MB")
        .and_then(|it| it.parse::<u64>().ok());
    megabytes.is_some_and(|it| it < 1024)
}

fn enough(
    host: &Host,
    server: &ServerFacts,
    setting: &'static str,
    least: i64,
    what: &str,
    said: &mut Said,
) {
    let Some(number) = server.number(setting) else {
        return;
    };
    if number < least {
        said.failure(Topic::Servers, setting, Some(host)).says(
            format!(
                "{setting} of {} is {number}: as the primary it needs {least} {what}",
                host.name
            ),
            format!("set {setting} = {}, and restart", least.max(10)),
        );
    }
}

fn files(host: &Host, server: &ServerFacts, said: &mut Said) {
    let name = &host.name;
    if !server.pending.is_empty() {
        said.warning(Topic::Servers, "pending-restart", Some(host))
            .says(
                format!(
                    "{name} takes {} at its next start only",
                    server.pending.join(", ")
                ),
                "restart that server at a quiet moment, a standby first",
            );
    }
    for line in &server.bad_lines {
        said.failure(Topic::Servers, "bad-line", Some(host)).says(
            format!("the server of {name} cannot use a line of its own files: {line}"),
            "correct the line, and reload: it may keep the server from starting",
        );
    }
    if let Some(file) = &server.archive_fails {
        said.warning(Topic::Servers, "archive", Some(host)).says(
            format!("archiving of {file} fails on {name}: its WAL piles up"),
            "see the server's log, and mend archive_command",
        );
    }
    if let Some(age) = server
        .oldest_transaction
        .filter(|age| *age > OLD_TRANSACTION)
    {
        said.warning(Topic::Servers, "old-transaction", Some(host))
            .says(
                format!("a transaction on {name} is open since {} minutes", age / 60),
                "see pg_stat_activity there, and end it if nobody needs it",
            );
    }
}

fn unit(host: &Host, server: &ServerFacts, said: &mut Said) {
    let (Some(unit), name) = (&server.unit, &host.name) else {
        return;
    };
    if server.restart.as_deref().is_some_and(|it| it != "no") {
        said.warning(Topic::Servers, "unit-restarts", Some(host)).says(
            format!(
                "{unit} of {name} has Restart={}: systemd may start a primary that a failover has stopped",
                server.restart.as_deref().unwrap_or_default()
            ),
            format!("set Restart=no for {unit} (systemctl edit {unit})"),
        );
    }
}

/// One release, and one database.
fn one_cluster(cluster: &Cluster, said: &mut Said) {
    let with = |get: fn(&ServerFacts) -> Option<String>| {
        let all = cluster
            .databases()
            .filter_map(move |host| Some((host, get(host.server()?)?)));
        all.collect::<Vec<_>>()
    };
    let majors = with(|server| Some((server.version? / 10_000).to_string()));
    if majors.iter().map(|it| &it.1).collect::<BTreeSet<_>>().len() > 1 {
        let told: Vec<String> = majors
            .iter()
            .map(|(host, major)| format!("{major} on {}", host.name))
            .collect();
        said.failure(
            Topic::Servers,
            "major-versions",
            majors.first().map(|it| it.0),
        )
        .says(
            format!(
                "the servers are of different major versions: {}",
                told.join(", ")
            ),
            "install the same major version everywhere: none can follow another one",
        );
    }
    let systems = with(|server| server.system.clone());
    let primary = cluster
        .primary()
        .and_then(|(_, server)| server.system.clone());
    let Some(primary) = primary.or_else(|| systems.first().map(|it| it.1.clone())) else {
        return;
    };
    for (host, system) in &systems {
        if *system != primary {
            said.failure(Topic::Replication, "another-database", Some(host)).says(
                format!("the data directory of {} is of another database (identifier {system}, not {primary})", host.name),
                "make it a copy of the primary: move it away, and run network_rewind --force there with \
                 REWIND_FALLBACK=basebackup",
            );
        }
    }
}

fn as_large_as_the_primarys(cluster: &Cluster, said: &mut Said) {
    let Some((primary, theirs)) = cluster.primary() else {
        return;
    };
    for host in cluster
        .databases()
        .filter(|host| host.address != primary.address)
    {
        let Some(server) = host.server() else {
            continue;
        };
        for setting in AT_LEAST_THE_PRIMARYS {
            let (Some(own), Some(primarys)) = (server.number(setting), theirs.number(setting))
            else {
                continue;
            };
            if own < primarys {
                said.failure(Topic::Servers, "smaller-than-primary", Some(host)).says(
                    format!(
                        "{setting} of {} is {own}, and {primarys} on its primary: its replay stops, or it \
                         does not start",
                        host.name
                    ),
                    format!("set {setting} = {primarys} on {}, and restart it", host.name),
                );
            }
        }
    }
}
