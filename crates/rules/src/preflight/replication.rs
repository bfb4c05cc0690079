//! How the servers stand to each other: one primary, everybody else streams from it, commits wait for whom
//! they should, and the database VIP is where the primary is.

use super::{Said, Topic, bytes};
use crate::facts::cluster::{Cluster, Host};
use crate::facts::host::ServerFacts;
use crate::facts::standby::Standby;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A slot that nobody uses and that keeps more fills the disk one day.
const SLOT_KEEPS: u64 = 1 << 30;

pub(super) fn judge(cluster: &Cluster, said: &mut Said) {
    let primaries = cluster.primaries();
    match primaries[..] {
        [] => no_primary(cluster, said),
        [host] => {
            if let Some(server) = host.server() {
                of_primary(cluster, host, server, said);
                for standby in cluster.databases().filter(|it| it.address != host.address) {
                    of_standby(cluster, host, server, standby, said);
                }
                vip_is_there(cluster, host, said);
            }
        }
        _ => several(cluster, &primaries, said),
    }
    vip(cluster, said);
}

fn no_primary(cluster: &Cluster, said: &mut Said) {
    let silent: Vec<&str> = cluster
        .databases()
        .filter(|host| {
            host.server()
                .is_none_or(|server| server.status.in_recovery.is_none())
        })
        .map(|host| host.name.as_str())
        .collect();
    let advice = match silent.is_empty() {
        true => "see failover.log and the pools' logs; by hand: failover_stream, or pg_ctl promote on the \
                 server that has the newest data"
            .to_owned(),
        false => format!("get an answer from {} first: it may be the primary", silent.join(" and ")),
    };
    said.failure(Topic::Replication, "no-primary", None).says(
        "no server says that it is a primary: nothing can be written",
        advice,
    );
}

fn several(cluster: &Cluster, primaries: &[&Host], said: &mut Said) {
    let told: Vec<String> = primaries
        .iter()
        .map(|host| {
            let timeline = host.server().map_or(0, |server| server.status.timeline);
            format!("{} (timeline {timeline})", host.name)
        })
        .collect();
    let named: BTreeSet<&str> = cluster
        .pools
        .iter()
        .filter_map(|pool| pool.view())
        .flat_map(|nodes| {
            nodes
                .iter()
                .filter(|node| node.is_primary() && node.is_up())
        })
        .filter_map(|node| cluster.host_of(node).map(|host| host.name.as_str()))
        .collect();
    let advice = match named.len() {
        1 => format!(
            "the pools write to {}: network_rewind on the other host stops or recovers it; see its log",
            named.first().copied().unwrap_or_default()
        ),
        _ => "stop the clients, decide which one is kept, and run network_rewind --force on the other host"
            .to_owned(),
    };
    said.failure(
        Topic::Replication,
        "two-primaries",
        primaries.first().copied(),
    )
    .says(
        format!(
            "{} are primaries at the same time: what one of them acknowledges is lost",
            told.join(" and ")
        ),
        advice,
    );
}

fn of_primary(cluster: &Cluster, host: &Host, server: &ServerFacts, said: &mut Said) {
    let name = &host.name;
    for slot in &server.slots {
        let is_ours = cluster
            .databases()
            .any(|it| it.slot() == slot.name && it.address != host.address);
        let keeps = slot.keeps.unwrap_or(0);
        if !slot.active && (keeps > SLOT_KEEPS || !is_ours && slot.name.starts_with("slot_")) {
            said.warning(Topic::Replication, "idle-slot", Some(host)).says(
                format!("nobody streams by the slot {} of {name}, and it keeps {} of WAL", slot.name, bytes(keeps)),
                match is_ours {
                    true => "bring that node back, or drop the slot: that node is copied anew then".to_owned(),
                    false => format!(
                        "no node of ALL_NODE_NAME uses it: SELECT pg_drop_replication_slot('{}')",
                        slot.name
                    ),
                },
            );
        }
    }
    for sender in server.senders.iter().filter(|it| it.state == "backup") {
        said.warning(Topic::Replication, "backup", Some(host)).says(
            format!(
                "{} makes a base backup of {name}",
                sender
                    .address
                    .map_or("a local process".to_owned(), |it| it.to_string())
            ),
            "wait for its end before a planned change",
        );
    }
    commits(cluster, host, server, said);
}

/// Whether commits wait for whom `SYNC_FLAG` says.
fn commits(cluster: &Cluster, host: &Host, server: &ServerFacts, said: &mut Said) {
    let name = &host.name;
    let Some(names) = server.setting("synchronous_standby_names") else {
        return;
    };
    let waits = server.senders.iter().any(|sender| sender.is_waited_for());
    let streams = server.senders.iter().any(|sender| sender.streams());
    match (cluster.sync, names.is_empty(), waits) {
        (true, true, _) => said.failure(Topic::Commits, "asynchronous", Some(host)).says(
            format!("SYNC_FLAG is 1, and commits on {name} wait for no standby"),
            match streams {
                true => "network_rewind on that host makes it synchronous again; see its log",
                false => "bring a standby back: network_rewind on that host then makes it synchronous again",
            },
        ),
        (true, false, false) => said.failure(Topic::Commits, "commits-hang", Some(host)).says(
            format!("commits on {name} hang: synchronous_standby_names is \"{names}\", and none of those streams"),
            "bring that standby back, or set synchronous_standby_names to '' and reload",
        ),
        (false, false, _) => said.warning(Topic::Commits, "synchronous", Some(host)).says(
            format!("SYNC_FLAG is 0, and commits on {name} wait for \"{names}\""),
            "set SYNC_FLAG=1 in every HAmodule.conf, or synchronous_standby_names to '' and reload",
        ),
        _ => {}
    }
    if !names.is_empty() {
        let foreign = listed(names)
            .into_iter()
            .filter(|it| it != "*" && !cluster.databases().any(|host| host.name == *it));
        let foreign: Vec<String> = foreign.collect();
        if !foreign.is_empty() {
            said.warning(Topic::Commits, "foreign-standby", Some(host)).says(
                format!("commits on {name} may wait for {}, no node of ALL_NODE_NAME", foreign.join(", ")),
                "take it out of synchronous_standby_names, or name that node in every HAmodule.conf",
            );
        }
    }
}

/// The names in a value of `synchronous_standby_names`, such as `FIRST 1 (a, "b c")`.
fn listed(value: &str) -> Vec<String> {
    let inner = value
        .split_once('(')
        .map_or(value, |(_, rest)| rest.trim_end_matches([')', ' ']));
    inner
        .split(',')
        .map(|name| name.trim().trim_matches('"').to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

fn of_standby(
    cluster: &Cluster,
    primary: &Host,
    theirs: &ServerFacts,
    host: &Host,
    said: &mut Said,
) {
    let name = &host.name;
    match Standby::find(&theirs.senders, host.address, name) {
        Some(sender) if sender.streams() => {
            if let Some(behind) = sender.behind.filter(|it| *it > cluster.lag_limit) {
                said.warning(Topic::Replication, "lag", Some(host)).says(
                    format!("{name} is {} behind {}", bytes(behind), primary.name),
                    "wait until it has caught up; a failover now would lose that much in asynchronous mode",
                );
            }
            if sender.name != *name {
                said.failure(Topic::Replication, "application_name", Some(host))
                    .says(
                        format!(
                            "{name} streams under the name \"{}\": no commit waits for it",
                            sender.name
                        ),
                        format!("set application_name={name} in its primary_conninfo, and reload"),
                    );
            }
        }
        other => {
            // What is down, or says nothing, is a finding already.
            let runs = host
                .server()
                .is_some_and(|server| server.status.in_recovery == Some(true));
            if runs {
                let state = other.map_or("has no WAL sender for it".to_owned(), |it| {
                    format!("has it in state \"{}\"", it.state)
                });
                said.failure(Topic::Replication, "not-streaming", Some(host))
                    .says(
                        format!("{name} does not stream: {} {state}", primary.name),
                        format!(
                            "network_rewind on {name} makes it follow; see its log and the server's"
                        ),
                    );
            }
        }
    }
    if let Some(server) = host.server() {
        settings_of_standby(cluster, primary, theirs, (host, server), said);
    }
}

fn settings_of_standby(
    cluster: &Cluster,
    primary: &Host,
    theirs: &ServerFacts,
    (host, server): (&Host, &ServerFacts),
    said: &mut Said,
) {
    let name = &host.name;
    let follows: Option<IpAddr> = server.follows.as_deref().and_then(|it| it.parse().ok());
    if let Some(follows) = follows.filter(|it| *it != primary.address && Some(*it) != cluster.vip) {
        said.failure(Topic::Replication, "follows-another", Some(host))
            .says(
                format!(
                    "the settings of {name} have it follow {}, not {}",
                    cluster.name_of(follows),
                    primary.name
                ),
                format!("network_rewind on {name} corrects that; see its log where it does not"),
            );
    }
    let slot = host.slot();
    match server.uses_slot.as_deref() {
        Some("") | None if server.follows.is_some() => {
            said.warning(Topic::Replication, "no-slot", Some(host))
                .says(
                    format!(
                        "{name} streams without a slot: {} may drop WAL that it still needs",
                        primary.name
                    ),
                    format!(
                        "set primary_slot_name = '{slot}' there, and make the slot on {}",
                        primary.name
                    ),
                );
        }
        Some(used)
            if !used.is_empty()
                && !theirs.settings.is_empty()
                && !theirs.slots.iter().any(|it| it.name == used) =>
        {
            said.failure(Topic::Replication, "slot-missing", Some(host))
                .says(
                    format!(
                        "{name} asks for the slot {used}, and {} has none of that name",
                        primary.name
                    ),
                    format!(
                        "SELECT pg_create_physical_replication_slot('{used}', true) on {}",
                        primary.name
                    ),
                );
        }
        _ => {}
    }
    if let Some(kept) = &server.kept_on {
        said.failure(Topic::Replication, "timeline", Some(host))
            .says(
                format!(
                    "recovery_target_timeline of {name} is {kept}: it follows no promoted server"
                ),
                "set recovery_target_timeline = 'latest', and restart",
            );
    }
    if server.replay_paused {
        said.failure(Topic::Replication, "replay-paused", Some(host))
            .says(
                format!("the replay of {name} is paused"),
                format!("SELECT pg_wal_replay_resume() on {name}"),
            );
    }
}

/// The primary's host has the database VIP.
fn vip_is_there(cluster: &Cluster, primary: &Host, said: &mut Said) {
    let Some(vip) = cluster.vip else { return };
    if primary
        .server()
        .is_some_and(|server| !server.status.vip_here)
    {
        said.failure(Topic::Vip, "vip-missing", Some(primary)).says(
            format!(
                "{}, the primary's host, does not have the database VIP {vip}",
                primary.name
            ),
            format!(
                "network_rewind on {} puts it there; by hand: vip_ctl add",
                primary.name
            ),
        );
    }
}

fn vip(cluster: &Cluster, said: &mut Said) {
    let Some(vip) = cluster.vip else { return };
    for host in cluster.databases() {
        let (Some(facts), Some(server)) = (host.facts(), host.server()) else {
            continue;
        };
        if server.status.vip_here && server.status.in_recovery != Some(false) {
            said.failure(Topic::Vip, "vip-misplaced", Some(host)).says(
                format!(
                    "{} has the database VIP {vip}, and is no primary",
                    host.name
                ),
                format!(
                    "network_rewind on {} takes it off; by hand: vip_ctl del",
                    host.name
                ),
            );
        }
        if let Some(why) = &facts.vip_obstacle {
            said.failure(Topic::Vip, "vip-impossible", Some(host)).says(
                format!("{} cannot take the database VIP {vip}: {why}", host.name),
                "do what the reason says: a failover to that host would be refused",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::listed;

    #[test]
    fn the_names_of_those_that_commits_wait_for() {
        for (value, expected) in [
            ("", &[][..]),
            ("node102", &["node102"]),
            ("1 (node101, node102)", &["node101", "node102"]),
            ("FIRST 1 (\"node 1\",b)", &["node 1", "b"]),
            ("ANY 1(*)", &["*"]),
            ("*", &["*"]),
        ] {
            assert_eq!(listed(value), expected, "{value}");
        }
    }
}
