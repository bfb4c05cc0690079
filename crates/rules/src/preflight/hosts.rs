//! The hosts themselves: they answer, their tools are alike, they can log in to each other, and something
//! starts the recovery each minute.

use super::{Said, Topic};
use crate::facts::cluster::{Cluster, Host, NoFacts};
use crate::facts::host::{HostFacts, Login, Schedule};
use std::collections::BTreeMap;

/// Clocks that differ by more make logs of two hosts hard to read beside each other, and a failover's mark
/// look older than it is.
const CLOCK_MS: i64 = 2_000;
/// A minute that was missed once is no finding.
const LAST_LOOK: u64 = 190;

pub(super) fn judge(cluster: &Cluster, said: &mut Said) {
    for host in &cluster.hosts {
        match &host.answer {
            Ok(facts) => one(cluster, host, facts, said),
            Err(NoFacts::Unreachable(why)) => said
                .failure(Topic::Hosts, "host-unreachable", Some(host))
                .says(
                    format!("{} does not answer: {why}", host.name),
                    "start the host, or mend its network, its sshd or the login, as the reason says",
                ),
            Err(NoFacts::NoTools(why)) => said.failure(Topic::Hosts, "no-tools", Some(host)).says(
                format!("the tools on {} give no answer: {why}", host.name),
                "mend what the reason names; where the tools are missing there, install this version of them",
            ),
        }
    }
    versions(cluster, said);
    keys(cluster, said);
}

fn one(cluster: &Cluster, host: &Host, facts: &HostFacts, said: &mut Said) {
    let name = &host.name;
    if host.clock_off_ms.abs() > CLOCK_MS {
        let way = if host.clock_off_ms > 0 {
            "ahead of"
        } else {
            "behind"
        };
        let seconds = host.clock_off_ms.abs() / 1000;
        said.warning(Topic::Hosts, "clock", Some(host)).says(
            format!("the clock of {name} is {seconds} s {way} this host's"),
            "have both follow the same time server (chronyd, ntpd)",
        );
    }
    for remark in &facts.remarks {
        let open = match remark.is_error {
            true => said.failure(Topic::Configuration, "config", Some(host)),
            false => said.warning(Topic::Configuration, "config-note", Some(host)),
        };
        open.says(
            format!("on {name}: {}", remark.text),
            "correct that line there; failover_stream --check-config shows the file's findings",
        );
    }
    if facts.removes_ipc {
        said.warning(Topic::Servers, "removes-ipc", Some(host)).says(
            format!(
                "systemd on {name} removes the shared memory of the database's user when its last login ends"
            ),
            "set RemoveIPC=no in /etc/systemd/logind.conf there, and restart systemd-logind",
        );
    }
    refused(cluster, host, &facts.ssh, "ssh", said);
    refused(cluster, host, &facts.sql, "sql-login", said);
    refused(cluster, host, &facts.replication, "replication-login", said);
    if host.has_database {
        schedule(host, facts, said);
    }
    marks(host, facts, said);
}

/// Whether a login there is refused for a reason that is a finding of its own: the host, or its server, is
/// down.
fn is_down(cluster: &Cluster, login: &Login, by_ssh: bool) -> bool {
    let Some(host) = cluster.host(login.to) else {
        return false;
    };
    match host.server() {
        _ if matches!(host.answer, Err(NoFacts::Unreachable(_))) => true,
        Some(server) if !by_ssh => server.status.in_recovery.is_none(),
        _ => false,
    }
}

fn refused(cluster: &Cluster, host: &Host, logins: &[Login], code: &'static str, said: &mut Said) {
    let logins = logins
        .iter()
        .filter(|it| !is_down(cluster, it, code == "ssh"));
    for login in logins {
        let Some(why) = &login.refused else { continue };
        let (what, advice) = match code {
            "ssh" => (
                "by ssh",
                format!(
                    "put the public key of that user of {} into ~{}/.ssh/authorized_keys on {}, unless the \
                     reason says otherwise",
                    host.name, login.user, login.to
                ),
            ),
            "sql-login" => (
                "by SQL",
                format!(
                    "let {} in from {} in the hba file of {}, with the password that KB_PASS has",
                    login.user, host.address, login.to
                ),
            ),
            _ => (
                "for replication",
                format!(
                    "add a line \"host replication {} {}/32 scram-sha-256\" (or md5) to the hba file of {}, \
                     and reload: after a failover {} follows that server",
                    login.user, host.address, login.to, host.name
                ),
            ),
        };
        said.failure(Topic::Logins, code, Some(host)).says(
            format!(
                "{} cannot log in to {} as {} {what}: {why}",
                host.name, login.to, login.user
            ),
            advice,
        );
    }
}

fn schedule(host: &Host, facts: &HostFacts, said: &mut Said) {
    let name = &host.name;
    let recent = facts.last_look.is_some_and(|ago| ago <= LAST_LOOK);
    if recent || facts.marks.paused.is_some() {
        return;
    }
    let line = "* * * * * root DIRECTORY/network_rewind >/dev/null 2>&1";
    let last = match facts.last_look {
        Some(ago) => format!("last ran {ago} s ago"),
        None => "has never run".to_owned(),
    };
    match &facts.schedule {
        Schedule::Nobody => said.failure(Topic::Schedule, "not-scheduled", Some(host)).says(
            format!("nothing starts network_rewind on {name}, which {last}"),
            format!("add the line \"{line}\" to /etc/cron.d/network_rewind there, KB_PATH as DIRECTORY"),
        ),
        Schedule::Files(files) => said.failure(Topic::Schedule, "schedule-idle", Some(host)).says(
            format!(
                "network_rewind on {name} {last}, though {} should start it each minute",
                files.join(" and ")
            ),
            "see that cron (or the timer) runs there, and that the line names the program's whole path",
        ),
        Schedule::Unknown => said.failure(Topic::Schedule, "no-look", Some(host)).says(
            format!("network_rewind on {name} {last}"),
            "see that cron's line for it is there and that cron runs",
        ),
    }
}

fn marks(host: &Host, facts: &HostFacts, said: &mut Said) {
    let (name, marks) = (&host.name, &facts.marks);
    if let Some((since, why)) = &marks.paused {
        let why = if why.is_empty() {
            String::new()
        } else {
            format!(" ({why})")
        };
        said.warning(Topic::Marks, "paused", Some(host)).says(
            format!("{name} is paused since {since}{why}: its network_rewind changes nothing"),
            "cluster_ctl resume, when the work there is done",
        );
    }
    if let Some(since) = &marks.fenced {
        said.warning(Topic::Marks, "fenced", Some(host)).says(
            format!("a failover stopped the primary of {name} on {since}, and it was not recovered since"),
            "network_rewind there recovers it; see its log where it does not (AUTO_PRIMARY_RECOVERY)",
        );
    }
    if let Some(since) = &marks.self_fenced {
        said.warning(Topic::Marks, "self-fenced", Some(host)).says(
            format!("{name} stopped its own primary on {since}, when it saw no other host"),
            "network_rewind there recovers it as soon as there is a primary",
        );
    }
    if let Some(since) = &marks.undecided {
        said.failure(Topic::Marks, "undecided", Some(host)).says(
            format!("the primary of {name} stood beside another one on {since}, and nothing proved which is right"),
            "decide which one is kept; then, on the other host: network_rewind --force",
        );
    }
    if marks.half_done {
        said.failure(Topic::Marks, "half-done", Some(host)).says(
            format!(
                "a rewind on {name} broke off: its data is half of one history and half of another"
            ),
            "network_rewind there goes on with it; its log says what it waits for",
        );
    }
    if let Some(why) = &marks.unreadable {
        said.failure(Topic::Marks, "state", Some(host)).says(
            format!("the state in STATE_DIR of {name} cannot be read: {why}"),
            "mend the directory or its disk; a state that makes no sense: move the file away",
        );
    }
}

/// Without the day of the build: the same commit may be built twice.
fn commit(version: &str) -> &str {
    version.split(", built").next().unwrap_or(version)
}

fn versions(cluster: &Cluster, said: &mut Said) {
    let known = |host: &&Host| host.facts().is_some();
    let me = cluster.host(cluster.me).filter(known);
    let Some((me, mine)) = me.and_then(|host| Some((host, &host.facts()?.tools))) else {
        return;
    };
    for host in cluster.hosts.iter().filter(known) {
        let theirs = host.facts().map(|facts| &facts.tools);
        if theirs.is_some_and(|theirs| commit(theirs) != commit(mine)) {
            let theirs = theirs.map(String::as_str).unwrap_or_default();
            said.warning(Topic::Configuration, "tools-differ", Some(host))
                .says(
                    format!(
                        "{} has version {theirs} of the tools, {} has {mine}",
                        host.name, me.name
                    ),
                    "install the same version on every host",
                );
        }
    }
}

/// What each key is on most hosts; on others it is a finding.
fn keys(cluster: &Cluster, said: &mut Said) {
    let hosts: Vec<(&Host, &HostFacts)> = cluster
        .hosts
        .iter()
        .filter_map(|host| Some((host, host.facts()?)))
        .collect();
    let mut votes: BTreeMap<&str, BTreeMap<&str, Vec<&Host>>> = BTreeMap::new();
    for (host, facts) in &hosts {
        for (key, value) in &facts.keys {
            let values = votes.entry(key).or_default();
            values.entry(value).or_default().push(host);
        }
    }
    for (key, values) in votes.into_iter().filter(|(_, values)| values.len() > 1) {
        let told: Vec<String> = values
            .iter()
            .map(|(value, hosts)| {
                let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
                match is_secret(key) {
                    true => format!("one on {}", names.join(" and ")),
                    false => format!("{value} on {}", names.join(" and ")),
                }
            })
            .collect();
        let odd = values.values().min_by_key(|hosts| hosts.len());
        let odd = odd.and_then(|hosts| hosts.first().copied());
        said.failure(Topic::Configuration, "keys-differ", odd).says(
            format!("{key} differs between the hosts: {}", told.join(", ")),
            format!("set {key} to the same value in every HAmodule.conf"),
        );
    }
}

fn is_secret(key: &str) -> bool {
    key.ends_with("_PASS")
}
