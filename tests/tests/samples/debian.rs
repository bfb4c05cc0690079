//! The manual's section on Debian's packages, followed to the word: from `apt-get install` to a failover and a
//! recovery.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Lab, LabOptions, Node, wait_for};

use crate::log_lines::Manual;

const INSTALL: &str = include_str!("../../../docs/install.md");
const SECTION: &str = "\n## On Debian's packages\n";
/// That many commands are typed at most, on both hosts together.
pub const MOST: usize = 15;
/// How the section shows what the other host has printed.
const KEY_OF_THE_OTHER: &str = "ssh-ed25519 AAAA... postgres@the-other-host";
const PUBLIC_KEY: &str = "/var/lib/postgresql/.ssh/id_ed25519.pub";
pub const PROJECT: &str = "/root/failover-tools";
pub const ETC: &str = "/etc/postgresql/15/main";

/// For one command of the section.
pub const COMMAND: Duration = Duration::from_secs(120);
/// Until the pools have noticed, elected a leader and failed over.
const FAILOVER: Duration = Duration::from_secs(180);
/// Until cron has started a run, perhaps the next one, and these are done.
pub const BY_CRON: Duration = Duration::from_secs(240);

/// The commands of a section, up to its first subsection, each with the numbers of the hosts that it is
/// typed on.
pub fn commands(section: &str) -> Result<Vec<(&'static [u8], String)>> {
    let (_, section) = INSTALL.split_once(section).context("no such section")?;
    let end = section.find("\n##").unwrap_or(section.len());
    let (mut hosts, mut found) = (&[][..], Vec::new());
    let mut command = String::new();
    for line in section[..end].lines() {
        let Some(typed) = line.strip_prefix("    ") else {
            ensure!(command.is_empty(), "it does not end: {command}");
            hosts = match line {
                _ if line.starts_with("**On both hosts**") => &[101, 102],
                _ if line.starts_with("**On the first host**") => &[101],
                _ if line.starts_with("**On the second host**") => &[102],
                _ => hosts,
            };
            continue;
        };
        command += &format!("{typed}\n");
        if !typed.ends_with(['\\', '|']) {
            ensure!(!hosts.is_empty(), "on which host? {command}");
            found.push((hosts, std::mem::take(&mut command)));
        }
    }
    Ok(found)
}

pub fn shell(node: &Node, command: &str) -> Result<String> {
    let run = node.run(&["bash", "-c", command], COMMAND)?;
    run.success()
}

/// Types one command on a host.
pub fn type_in(lab: &Lab, node: &Node, command: &str) -> Result<()> {
    if let Some(packages) = command.strip_prefix("apt-get install -y ") {
        let packages: Vec<&str> = packages.split_whitespace().collect();
        return node.install_packages(&packages);
    }
    let mut command = command.to_owned();
    if command.contains(KEY_OF_THE_OTHER) {
        let mut others = lab.nodes().iter().filter(|it| it.number() != node.number());
        let other = others.next().context("two hosts")?.read(PUBLIC_KEY)?;
        command = command.replace(KEY_OF_THE_OTHER, other.trim());
    }
    let said = shell(node, &command)?;
    eprintln!("{}: {command}{said}", node.name());
    Ok(())
}

/// What the section's reader does for the applications: here they are the lab's own client and prober.
pub fn let_applications_in(lab: &Lab) -> Result<()> {
    for node in lab.nodes() {
        // Reloaded before it has begun to listen to that, a pool ends.
        wait_for("its pool", COMMAND, || node.pool_nodes())?;
        let line = "host all all 192.168.1.0/24 scram-sha-256";
        let script = format!(
            "set -e
             echo '{line}' >>{ETC}/pg_hba.conf
             echo '{line}' >>/etc/pgpool2/pool_hba.conf
             pg_ctlcluster 15 main reload
             service pgpool2 reload"
        );
        shell(node, &script)?;
    }
    let tables = "create table rows (n bigint primary key); \
                  create table probe (host text, at timestamptz default clock_timestamp())";
    lab.node(101).psql(tables).map(drop)
}

/// What cannot go well is refused before anything is written.
fn is_refused(node: &Node, action: &str, why: &str) -> Result<()> {
    let sums = format!("md5sum {ETC}/*.conf /etc/pgpool2/*; ls {ETC}/conf.d");
    let before = shell(node, &sums)?;
    let script = format!("{PROJECT}/etc/debian.sh");
    let run = node.run(&["sh", &script, action], COMMAND)?;
    ensure!(run.code == Some(1) && run.stderr.contains(why), "{run}");
    let after = shell(node, &sums)?;
    ensure!(after == before, "{before}\n{after}");
    Ok(())
}

/// A password that the pool's files cannot hold.
fn a_bad_password_is_refused(node: &Node) -> Result<()> {
    let conf = "/opt/failover-tools/db/etc/HAmodule.conf";
    let bad = format!("cp -p {conf} /root/good; sed -i 's/^KB_PASS=.*/KB_PASS=YTpi/' {conf}");
    shell(node, &bad)?;
    is_refused(node, "primary", "KB_PASS: the pool's files")?;
    shell(node, &format!("mv /root/good {conf}")).map(drop)
}

/// What was set up is set up a second time: it is the same, and it works.
fn again(lab: &Lab, node: &Node) -> Result<()> {
    let sums = format!(
        "md5sum {ETC}/*.conf {ETC}/conf.d/* /etc/pgpool2/* /var/lib/postgresql/.pgpass \
         /opt/failover-tools/db/etc/*"
    );
    let before = shell(node, &sums)?;
    for action in ["install", "standby"] {
        shell(node, &format!("sh {PROJECT}/etc/debian.sh {action}"))?;
    }
    let after = shell(node, &sums)?;
    ensure!(after == before, "{before}\n{after}");
    // As a run leaves it that is killed before the copy is in its place.
    let killed = "pg_ctlcluster 15 main stop && cd /var/lib/postgresql/15 && mv main main.failover-tools.new";
    shell(node, killed)?;
    shell(node, &format!("sh {PROJECT}/etc/debian.sh standby"))?;
    is_refused(node, "primary", "is a standby's")?;
    is_refused(lab.node(102), "standby", "is no primary")?;
    // Somebody has taken out one of two marks: nothing of it may be lost.
    let hba = "/etc/pgpool2/pool_hba.conf";
    shell(
        node,
        &format!("cp -p {hba} /root/good; sed -i '/failover-tools: end/d' {hba}"),
    )?;
    is_refused(node, "standby", "by hand")?;
    shell(node, &format!("mv /root/good {hba}"))?;
    wait_for("it to stream again", BY_CRON, || lab.is_whole(102))
}

/// Nothing of ours is called any more, and the pool's files are as the package has left them. The standby goes
/// on.
fn uninstall(lab: &Lab, node: &Node) -> Result<()> {
    shell(node, &format!("sh {PROJECT}/etc/debian.sh uninstall"))?;
    let left = "set -e
        cmp /usr/share/pgpool2/pgpool.conf /etc/pgpool2/pgpool.conf
        ! grep failover-tools -r /etc/pgpool2 /etc/cron.d /etc/logrotate.d /etc/polkit-1/rules.d
        ls -A /opt/failover-tools/db/bin /opt/failover-tools/kingbasecluster/bin
        pg_ctlcluster 15 main restart";
    let left = shell(node, left)?;
    ensure!(
        left.lines()
            .all(|line| line.is_empty() || line.starts_with("/opt/")),
        "{left}"
    );
    wait_for("it to stream", COMMAND, || lab.streams(node.number(), 102))
}

pub fn logs_are_explained(lab: &Lab) -> Result<()> {
    let manual = Manual::read()?;
    for node in lab.nodes() {
        for log in ["failover.log", "recovery.log"] {
            let path = format!("/var/log/failover-tools/{log}");
            if node.path(&path)?.exists() {
                manual.explains(&node.read(&path)?)?;
            }
        }
    }
    Ok(())
}

#[test]
fn two_hosts_of_debians_packages_by_the_page() -> Result<()> {
    let options = LabOptions {
        name: "samples-debian".into(),
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
        for (hosts, command) in &commands {
            for number in *hosts {
                let node = lab.node(*number);
                if command.contains("debian.sh primary") {
                    a_bad_password_is_refused(node)?;
                    is_refused(node, "standby", "debian.sh primary there first")?;
                }
                if command.contains("debian.sh standby") {
                    is_refused(node, "primary", "is a primary already")?;
                }
                type_in(lab, node, command).with_context(|| command.clone())?;
            }
        }
        let_applications_in(lab)?;
        fails_over_and_recovers(lab)?;
        again(lab, lab.node(101))?;
        logs_are_explained(lab)?;
        uninstall(lab, lab.node(101))
    })
}

pub fn fails_over_and_recovers(lab: &Lab) -> Result<()> {
    let (old, new) = (lab.node(101), lab.node(102));
    let since = Instant::now();
    let told = |what: &str, since: Instant| eprintln!("{what} after {:.1?}", since.elapsed());
    wait_for("the cluster of the section", BY_CRON, || lab.is_whole(101))?;
    told("whole", since);
    let (client, prober) = (lab.start_client()?, lab.start_prober());
    client.wait_for_acks(100, COMMAND)?;

    let since = Instant::now();
    old.power_off()?;
    wait_for("the failover", FAILOVER, || {
        let primaries = lab.primaries()?;
        ensure!(primaries == [102], "primaries are {primaries:?}");
        lab.pool_shows(&[("down", "standby"), ("up", "primary")])
    })?;
    told("failed over", since);
    client.wait_for_acks(100, COMMAND)?;

    let since = Instant::now();
    old.power_on()?;
    wait_for("cron to bring it back", BY_CRON, || lab.is_whole(102))?;
    told("recovered", since);
    client.wait_for_acks(100, COMMAND)?;
    assert_eq!(prober.two_writers(), None);
    drop(prober);
    let report = client.stop();
    eprintln!("longest gap {:.1?}", report.longest_gap);
    for node in [old, new] {
        wait_for("all rows to be there", COMMAND, || {
            let lost = report.lost(&lab.rows_present(node)?);
            ensure!(lost.is_empty(), "{} lost {lost:?}", node.name());
            Ok(())
        })?;
        // Where the packages have it.
        let file = node.psql("show config_file")?;
        ensure!(file == format!("{ETC}/postgresql.conf"), "{file}");
        let list = shell(node, "ls /var/lib/postgresql/15/main")?;
        ensure!(!list.contains("postgresql.conf"), "{list}");
    }
    Ok(())
}
