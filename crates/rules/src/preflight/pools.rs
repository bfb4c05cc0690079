//! The pools: they answer, agree with each other and with the servers, and their settings fit ours.

use super::{Rule, Said, Topic};
use crate::facts::cluster::{Cluster, Host, PoolSeen};
use crate::facts::pool::PoolNode;
use std::collections::{BTreeMap, BTreeSet};

/// What a pool calls a failover with has to name these at least: `%d` failed node, `%P` old primary, `%H`
/// new main node.
const PLACEHOLDERS: [&str; 3] = ["%d", "%P", "%H"];

pub(super) fn judge(cluster: &Cluster, said: &mut Said) {
    for pool in &cluster.pools {
        let name = cluster.name_of(pool.host);
        match &pool.nodes {
            Ok(nodes) => match &pool.closed {
                None => list(cluster, pool, &name, nodes, said),
                Some(why) => said
                    .failure(Topic::Pools, "pool-closed", cluster.host(pool.host))
                    .says(
                        format!("the pool on {name} lets nobody in at the moment: {why}"),
                        "it waits for a database that does not answer, or fails over: look again in a minute, and \
                         see its log if that lasts",
                    ),
            },
            Err(why) => {
                // A host that is gone is a finding already.
                let gone = cluster
                    .host(pool.host)
                    .is_some_and(|host| host.answer.is_err());
                if !gone {
                    said.failure(Topic::Pools, "pool-silent", cluster.host(pool.host)).says(
                        format!("the pool on {name} gives no answer: {why}"),
                        "start it, or see its log; KB_POOL_PORT and the login must be right, too",
                    );
                }
            }
        }
        if let (Ok(_), Some(Err(why))) = (&pool.nodes, &pool.pcp) {
            said.failure(Topic::Pools, "pcp", cluster.host(pool.host))
                .says(
                    format!("the pool on {name} cannot be ordered by PCP: {why}"),
                    "correct PCP_USER, PCP_PASS and KB_POOL_PCP_PORT, or that pool's pcp.conf",
                );
        }
        settings(cluster, pool, &name, said);
    }
    agree(cluster, said);
    cluster_vip(cluster, said);
}

fn list(cluster: &Cluster, pool: &PoolSeen, name: &str, nodes: &[PoolNode], said: &mut Said) {
    let host = cluster.host(pool.host);
    let primary = cluster.primary().map(|(host, _)| host);
    let named = nodes.iter().find(|node| node.is_primary() && node.is_up());
    let named_host = named.and_then(|node| cluster.host_of(node));
    match (named, primary) {
        (None, Some(primary)) => said.failure(Topic::Pools, "pool-no-primary", host).says(
            format!(
                "the pool on {name} names no primary, and {} is one: it takes no writes",
                primary.name
            ),
            format!("attach_node on {} tells the pool", primary.name),
        ),
        (Some(node), Some(primary))
            if named_host.is_none_or(|it| it.address != primary.address) =>
        {
            said.failure(Topic::Pools, "pool-other-primary", host).says(
                format!(
                    "the pool on {name} writes to {node}, and the primary is {}",
                    primary.name
                ),
                format!(
                    "attach_node on {}; a pool that has missed a failover: restart it",
                    primary.name
                ),
            );
        }
        _ => {}
    }
    for database in cluster.databases() {
        let Some(node) = nodes
            .iter()
            .find(|node| node.is(database.address, Some(&database.name)))
        else {
            said.failure(Topic::Pools, "pool-lacks-node", host).says(
                format!("the pool on {name} does not know {} ({})", database.name, database.address),
                "add it as backend_hostnameN in that pool's configuration, by the address in KB_ALL_IP",
            );
            continue;
        };
        let is_fine = database
            .server()
            .is_some_and(|server| server.status.in_recovery.is_some());
        if !node.is_up() && is_fine {
            said.failure(Topic::Pools, "pool-node-down", host).says(
                format!("the pool on {name} has {} {}: it sends nobody there, and fails over to others only", database.name, node.status),
                format!("network_rewind on {} attaches it once it streams; by hand: attach_node", database.name),
            );
        }
    }
    for node in nodes.iter().filter(|node| cluster.host_of(node).is_none()) {
        said.failure(Topic::Pools, "pool-stranger", host).says(
            format!("the pool on {name} has {node}, which is none of KB_ALL_IP"),
            "use the same addresses in backend_hostnameN and in KB_ALL_IP",
        );
    }
}

fn is_on(value: &str) -> bool {
    matches!(value, "on" | "1" | "true" | "yes")
}

fn is_zero(value: &str) -> bool {
    value.trim_end_matches(char::is_alphabetic).trim() == "0"
}

const RULES: [Rule; 9] = [
    (
        "health_check_period",
        is_zero,
        true,
        "it notices a dead database only when a client wants to go there",
        "set health_check_period = 1",
    ),
    (
        "follow_primary_command",
        |value| !value.is_empty(),
        true,
        "it works on the same standbys as failover_stream and network_rewind do",
        "empty it",
    ),
    (
        "follow_master_command",
        |value| !value.is_empty(),
        true,
        "it works on the same standbys as failover_stream and network_rewind do",
        "empty it",
    ),
    (
        "failback_command",
        |value| !value.is_empty(),
        false,
        "it runs whenever network_rewind attaches a node",
        "empty it, unless it changes nothing on the databases",
    ),
    (
        "auto_failback",
        is_on,
        false,
        "it attaches nodes that network_rewind has not looked at",
        "set auto_failback = off",
    ),
    (
        "detach_false_primary",
        is_on,
        false,
        "it takes a node out by its own judgement",
        "set detach_false_primary = off",
    ),
    (
        "use_watchdog",
        |value| !is_on(value),
        false,
        "when its host dies nobody takes the cluster VIP and runs the failover",
        "set use_watchdog = on",
    ),
    (
        "fail_over_on_backend_error",
        is_on,
        false,
        "one client's broken connection starts a failover",
        "set fail_over_on_backend_error = off",
    ),
    (
        "failover_on_backend_error",
        is_on,
        false,
        "one client's broken connection starts a failover",
        "set failover_on_backend_error = off",
    ),
];

fn settings(cluster: &Cluster, pool: &PoolSeen, name: &str, said: &mut Said) {
    let host = cluster.host(pool.host);
    said.by_rules(
        (Topic::Pools, host),
        &RULES,
        |setting| pool.settings.get(setting).map(String::as_str),
        |setting, value| format!("{setting} of the pool on {name} is \"{value}\""),
    );
    if let Some(command) = pool.settings.get("failover_command") {
        failover_command(cluster, host, name, command, said);
    }
    let vip = pool
        .settings
        .get("delegate_ip")
        .or_else(|| pool.settings.get("delegate_IP"));
    if let Some(vip) = vip.filter(|vip| !vip.is_empty() && **vip != cluster.pool_vip.to_string()) {
        said.failure(Topic::Pools, "delegate_ip", host).says(
            format!(
                "the cluster VIP of the pool on {name} is {vip}, and KB_POOL_VIP is {}",
                cluster.pool_vip
            ),
            "set both to the same address",
        );
    }
    for (key, port) in &pool.settings {
        let is_port = key
            .strip_prefix("backend_port")
            .is_some_and(|id| id.parse::<u8>().is_ok());
        if is_port && port.parse() != Ok(cluster.port) && port != "0" {
            said.failure(Topic::Pools, "backend_port", host).says(
                format!(
                    "{key} of the pool on {name} is {port}, and KB_PORT is {}",
                    cluster.port
                ),
                "set both to the port of the databases",
            );
        }
    }
}

fn failover_command(
    cluster: &Cluster,
    host: Option<&Host>,
    name: &str,
    command: &str,
    said: &mut Said,
) {
    let tool = cluster.tool;
    let program = command.split_whitespace().next().unwrap_or_default();
    let is_ours = program
        .rsplit('/')
        .next()
        .is_some_and(|it| it.trim_end_matches(".sh") == tool);
    if !is_ours {
        let found = match command {
            "" => "is empty".to_owned(),
            command => format!("is \"{command}\""),
        };
        said.failure(Topic::Pools, "failover_command", host).says(
            format!("failover_command of the pool on {name} {found}: it does not call {tool}"),
            format!(
                "set it to {tool}, its whole path, with the placeholders as in docs/failover.md"
            ),
        );
        return;
    }
    let missing = PLACEHOLDERS.iter().filter(|it| !command.contains(**it));
    let missing: Vec<&str> = missing.copied().collect();
    if !missing.is_empty() {
        said.failure(Topic::Pools, "placeholders", host).says(
            format!(
                "failover_command of the pool on {name} lacks {}",
                missing.join(", ")
            ),
            "pass %H %P %d %h %O %m %M %D in this order, or by name: see docs/failover.md",
        );
    }
}

/// What every pool has to say alike.
fn agree(cluster: &Cluster, said: &mut Said) {
    let mut views: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
    for pool in &cluster.pools {
        let Some(nodes) = pool.view() else { continue };
        let view = nodes
            .iter()
            .map(|node| {
                let state = if node.is_up() { "up" } else { &node.status };
                let role = if node.is_up() && node.is_primary() {
                    ", primary"
                } else {
                    ""
                };
                let who = cluster
                    .host_of(node)
                    .map_or(node.host.clone(), |host| host.name.clone());
                format!("{who} {state}{role}")
            })
            .collect();
        views
            .entry(view)
            .or_default()
            .push(cluster.name_of(pool.host));
    }
    if views.len() > 1 {
        let told = views
            .iter()
            .map(|(view, pools)| format!("{}: {}", pools.join(" and "), view.join("; ")));
        said.failure(Topic::Pools, "pools-disagree", None).says(
            format!("the pools do not agree about the nodes ({})", told.collect::<Vec<_>>().join(" | ")),
            "network_rewind on a node attaches it at every pool; a pool that stays wrong: restart it",
        );
    }
    for setting in [
        "failover_command",
        "health_check_period",
        "health_check_max_retries",
        "health_check_retry_delay",
        "health_check_timeout",
        "use_watchdog",
    ] {
        let values: BTreeSet<&str> = cluster
            .pools
            .iter()
            .filter_map(|pool| pool.settings.get(setting).map(String::as_str))
            .collect();
        if values.len() > 1 {
            said.warning(Topic::Pools, "pool-settings-differ", None)
                .says(
                    format!(
                        "{setting} differs between the pools: {}",
                        values.into_iter().collect::<Vec<_>>().join(" | ")
                    ),
                    "set it alike: whichever pool leads runs the failover",
                );
        }
    }
}

fn cluster_vip(cluster: &Cluster, said: &mut Said) {
    let vip = cluster.pool_vip;
    if cluster.host(vip).is_some() {
        // A cluster with one pool, reached by its host's own address.
        return;
    }
    let holders: Vec<&str> = cluster
        .hosts
        .iter()
        .filter(|host| host.facts().is_some_and(|facts| facts.pool_vip_here))
        .map(|host| host.name.as_str())
        .collect();
    let all_known = cluster.hosts.iter().all(|host| host.answer.is_ok());
    match holders[..] {
        [] if all_known => said.failure(Topic::Pools, "cluster-vip", None).says(
            format!("no host has the cluster VIP {vip}: clients reach no pool"),
            "see the pools' logs: their watchdog elects a leader, which takes it",
        ),
        [_, _, ..] => said.failure(Topic::Pools, "cluster-vip-twice", None).says(
            format!(
                "{} have the cluster VIP {vip} at the same time",
                holders.join(" and ")
            ),
            "see the pools' logs: each of their watchdogs believes that it leads",
        ),
        _ => {
            let all_open = cluster.pools.iter().all(|pool| pool.view().is_some());
            if let Some(Err(why)) = cluster.pool_vip_answers.as_ref().filter(|_| all_open) {
                said.failure(Topic::Pools, "cluster-vip-silent", None).says(
                    format!("no pool answers at the cluster VIP {vip}: {why}"),
                    "see which host has it (cluster_ctl show), and that host's pool",
                );
            }
        }
    }
}
