//! The manual's section on a pair that runs already, followed to the word: from `cluster_ctl init` to a failover and
//! a recovery.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use lab::{Lab, LabOptions, Node, wait_for};
use serde_json::Value;

use crate::debian::{
    BY_CRON, COMMAND, ETC, MOST, PROJECT, commands, fails_over_and_recovers, let_applications_in,
    logs_are_explained, shell, type_in,
};

const SECTION: &str = "\n### From a running pair\n";
const CTL: &str = "/opt/failover-tools/db/bin/cluster_ctl";
/// Where the section has the files.
const FILES: &str = "/var/lib/postgresql/cluster";

/// What somebody has made of two hosts long before these tools: a primary, a standby by `pg_basebackup -R`, and
/// pools that know them.
fn run_a_pair(lab: &Lab) -> Result<()> {
    let (one, two) = (lab.node(101), lab.node(102));
    for node in [one, two] {
        node.install_packages(&["postgresql-15", "pgpool2"])?;
        let hosts = "host replication replicator 192.168.1.0/24 scram-sha-256";
        let pool = "port = 9999\npcp_port = 9898\nbackend_hostname0 = '192.168.1.101'\n\
                    backend_port0 = 5432\nbackend_hostname1 = '192.168.1.102'\nbackend_port1 = 5432\n";
        let script = format!(
            "set -e
             echo '{hosts}' >>{ETC}/pg_hba.conf
             cat >>/etc/pgpool2/pgpool.conf <<'END'\n{pool}END
             service pgpool2 restart"
        );
        shell(node, &script)?;
    }
    let primary = "set -e
        cd / && runuser -u postgres -- psql -q <<'END'
alter system set listen_addresses = '*';
alter system set synchronous_standby_names = '*';
set synchronous_commit = local;
create role replicator login replication password 'Old-Secret';
END
        pg_ctlcluster 15 main restart";
    shell(one, primary)?;
    let standby = "set -e
        pg_ctlcluster 15 main stop
        rm -rf /var/lib/postgresql/15/main
        cd / && runuser -u postgres -- env PGPASSWORD=Old-Secret \
            pg_basebackup -w -R -h 192.168.1.101 -U replicator -c fast -D /var/lib/postgresql/15/main
        pg_ctlcluster 15 main start";
    shell(two, standby)?;
    wait_for("the pair to stream", COMMAND, || {
        let seen = shell(
            one,
            "cd / && runuser -u postgres -- psql -A -t -c \
             \"select state from pg_stat_replication\"",
        )?;
        ensure!(seen.trim() == "streaming", "{seen}");
        Ok(())
    })
}

/// What it cannot do is said in one line, and nothing is written.
fn init_is_refused(node: &Node, user: &str, arguments: &str, why: &str) -> Result<()> {
    let command = format!("cd /tmp && runuser -u {user} -- {CTL} init {arguments} 2>&1");
    let run = node.run(&["bash", "-c", &command], COMMAND)?;
    ensure!(run.code != Some(0) && run.stdout.contains(why), "{run}");
    ensure!(run.stdout.lines().count() == 1, "{run}");
    let left = shell(node, "ls -d /tmp/refused* 2>/dev/null || true")?;
    ensure!(left.is_empty(), "{left}");
    Ok(())
}

/// Every mark is told, and stands in a file.
fn marks_are_told(node: &Node) -> Result<()> {
    let init = format!("runuser -u postgres -- {CTL} init /var/lib/postgresql/again --json");
    let object: Value = serde_json::from_str(&shell(node, &init)?)?;
    let marks = object["to_fill_in"].as_array().context("no marks")?;
    let marks = marks.iter().filter_map(|it| it["mark"].as_str());
    let mut told: Vec<&str> = marks.collect();
    let found = shell(
        node,
        "cd /var/lib/postgresql && grep -rhoE '@[A-Z_]+@' again/node101 again/node102 | sort -u && rm -r again",
    )?;
    told.sort_unstable();
    let found: Vec<&str> = found.lines().collect();
    ensure!(told == found, "told {told:?}, found {found:?}");
    let page = include_str!("../../../docs/cluster.md");
    for member in object.as_object().context("no object")?.keys() {
        let common = ["exit", "message"].contains(&member.as_str());
        ensure!(common || page.contains(&format!("`{member}`")), "{member}");
    }
    Ok(())
}

/// `key = value`, the last one of each key.
fn settings(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(" = "))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

/// What `init` has written by hand of a person would be the same as what `debian.sh` has made of `HAmodule.conf`.
fn lines_are_the_same(lab: &Lab, node: &Node) -> Result<()> {
    let first = lab.node(101);
    let own = |file: &str| first.read(&format!("{FILES}/{}/{file}", node.name()));
    let (lines, there) = (
        own("pgpool.conf.add")?,
        node.read("/etc/pgpool2/pgpool.conf")?,
    );
    let (lines, there) = (settings(&lines), settings(&there));
    ensure!(lines.len() > 40, "{lines:?}");
    for (key, value) in &lines {
        // Debian's are reckoned from KB_PASS.
        if !key.ends_with("_password") {
            ensure!(
                there.get(key) == Some(value),
                "{key}: {value}, {:?}",
                there.get(key)
            );
        }
    }
    let hba = node.read(&format!("{ETC}/pg_hba.conf"))?;
    for line in own("pg_hba.conf.add")?
        .lines()
        .filter(|it| !it.starts_with('#'))
    {
        ensure!(hba.lines().any(|it| it == line), "{line} in {hba}");
    }
    for (file, place) in [
        ("failover-tools.cron", "/etc/cron.d/failover-tools"),
        ("pgpool_node_id", "/etc/pgpool2/pgpool_node_id"),
    ] {
        let (made, there) = (own(file)?, node.read(place)?);
        ensure!(made == there, "{file}: {made}{there}");
    }
    Ok(())
}

#[test]
fn a_running_pair_is_taken_over_by_the_page() -> Result<()> {
    let options = LabOptions {
        name: "samples-pair".into(),
        debian: true,
        pools: 2,
        cron: true,
        ..LabOptions::default()
    };
    let commands = commands(SECTION)?;
    let typed: usize = commands.iter().map(|(hosts, _)| hosts.len()).sum();
    ensure!((10..=MOST).contains(&typed), "{typed}: {commands:#?}");
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    Lab::with(options, |lab| {
        for node in lab.nodes() {
            node.copy_project(&project, PROJECT)?;
        }
        run_a_pair(lab)?;
        let mut checked = false;
        for (hosts, command) in &commands {
            for number in *hosts {
                let node = lab.node(*number);
                if command.starts_with("apt-get install") {
                    // They are there.
                    continue;
                }
                if command.contains("cluster_ctl init") {
                    init_is_refused(
                        lab.node(102),
                        "postgres",
                        "refused",
                        "is a standby of 192.168.1.101",
                    )?;
                    init_is_refused(
                        node,
                        "nobody",
                        "refused",
                        "as root or as the server's own user",
                    )?;
                    init_is_refused(node, "postgres", "/etc", "/etc is not empty")?;
                    init_is_refused(
                        node,
                        "postgres",
                        "refused --data /none",
                        "no server runs on /none",
                    )?;
                    marks_are_told(node)?;
                }
                if command.contains("cluster_ctl check") {
                    let_applications_in(lab)?;
                    wait_for("check to be green", BY_CRON, || {
                        let said = shell(node, command)?;
                        ensure!(!said.contains("warn  "), "{said}");
                        Ok(())
                    })?;
                    checked = true;
                    continue;
                }
                type_in(lab, node, command).with_context(|| command.clone())?;
            }
        }
        ensure!(checked, "the page has no check");
        for node in lab.nodes() {
            lines_are_the_same(lab, node)?;
        }
        fails_over_and_recovers(lab)?;
        logs_are_explained(lab)
    })
}
