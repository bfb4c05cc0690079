//! What the tools are measured against, and how it gets onto the hosts.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::layout::{
    DATA, DATABASE, DATABASE_PORT, DATABASE_VIP, DB_BIN, DEVICE, LOG, POOL_BIN, SQL_USER, UID, USER,
};
use lab::{Lab, Node};

const LIMIT: Duration = Duration::from_secs(60);

/// The shell version: what the case study's scripts did.
const SHELL: [(&str, &str); 3] = [
    ("common.sh", include_str!("../../../shell/common.sh")),
    (
        "failover_stream.sh",
        include_str!("../../../shell/failover_stream.sh"),
    ),
    (
        "network_rewind.sh",
        include_str!("../../../shell/network_rewind.sh"),
    ),
];

/// pgpool-II's own, on a host and as Debian has it.
pub const PGPOOL_SAMPLE: &str = "/root/failover.sh";
const PGPOOL_SHIPPED: &str = "/usr/share/doc/pgpool2/examples/failover.sh.sample";
/// Its variables that depend on the installation.
const PGPOOL_VARIABLES: [(&str, &str); 3] = [
    ("PGHOME", "/usr/lib/postgresql/15"),
    ("POSTGRESQL_STARTUP_USER", USER),
    ("SSH_KEY_FILE", "id_ed25519"),
];

/// repmgr, as Debian has it, and its configuration on a host.
const REPMGR: &str = "/usr/lib/postgresql/15/bin/repmgr";
const REPMGR_CONF: &str = "/home/kingbase/repmgr.conf";

/// Puts all of it onto the hosts.
pub fn install(lab: &Lab) -> Result<()> {
    let sample = fs::read_to_string(PGPOOL_SHIPPED)
        .with_context(|| format!("{PGPOOL_SHIPPED} (package pgpool2)"))?;
    let sample = adapted(&sample)?;
    for node in lab.nodes() {
        fs::create_dir_all(node.path(&format!("{POOL_BIN}/shell"))?)?;
        for (name, text) in SHELL {
            node.write(&format!("{POOL_BIN}/shell/{name}"), text, 0o755, UID)?;
        }
        // Beside the configuration that the scripts look for.
        let link = node.path(&format!("{POOL_BIN}/etc"))?;
        if !link.exists() {
            std::os::unix::fs::symlink("../etc", link)?;
        }
        node.write(PGPOOL_SAMPLE, &sample, 0o755, 0)?;
        node.write(REPMGR_CONF, &repmgr_conf(node), 0o644, UID)?;
    }
    Ok(())
}

/// Only its variables are changed.
fn adapted(sample: &str) -> Result<String> {
    let mut text = sample.to_owned();
    for (name, value) in PGPOOL_VARIABLES {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name}=")))
            .with_context(|| format!("{PGPOOL_SHIPPED} has no {name}"))?
            .to_owned();
        text = text.replace(&line, &format!("{name}={value}"));
    }
    Ok(text)
}

fn conninfo(node: &Node) -> String {
    format!(
        "host={} port={DATABASE_PORT} user={SQL_USER} dbname={DATABASE} connect_timeout=2",
        node.address()
    )
}

fn repmgr_conf(node: &Node) -> String {
    format!(
        "node_id={}\nnode_name='{}'\nconninfo='{}'\ndata_directory='{DATA}'\npg_bindir='{DB_BIN}'\n\
         use_replication_slots=yes\n",
        node.id() + 1,
        node.name(),
        conninfo(node)
    )
}

/// A command of repmgr's, to be run as the database's user.
pub fn repmgr(command: &[&str]) -> Vec<String> {
    [&[REPMGR, "-f", REPMGR_CONF], command]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect()
}

/// repmgr's way of making a standby of this old primary.
pub fn repmgr_rejoin(primary: &Node) -> Vec<String> {
    repmgr(&["node", "rejoin", "--force-rewind", "-d", &conninfo(primary)])
}

/// Makes both hosts known to repmgr.
pub fn register(primary: &Node, standby: &Node) -> Result<()> {
    for (node, role) in [(primary, "primary"), (standby, "standby")] {
        let command = repmgr(&[role, "register"]);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        node.run_as(USER, &command, LIMIT)?.success()?;
    }
    Ok(())
}

/// Beside another build: puts the tools onto the hosts whose turn it is.
pub fn take_turns(lab: &Lab, beside: Option<&Path>, before: bool) -> Result<()> {
    let Some(beside) = beside else {
        return Ok(());
    };
    let own = std::env::current_exe()?;
    let own = own.parent().context("a program without a directory")?;
    let tools = if before { beside } else { own };
    lab.nodes()
        .iter()
        .try_for_each(|node| node.install_tools(tools))
}

/// Takes the database VIP off a host, if it is there.
pub fn take_vip(node: &Node) -> Result<()> {
    if !node.has_vip()? {
        return Ok(());
    }
    let vip = format!("{DATABASE_VIP}/24");
    let command = ["ip", "addr", "del", &vip, "dev", DEVICE];
    node.run(&command, LIMIT)?.success().map(drop)
}

/// Ends what the runs before have left at work. A watch over the old primary would otherwise have it look after
/// its database, which is no run of the next turn.
pub fn end_runs(node: &Node) -> Result<()> {
    for program in ["failover_stream", "network_rewind"] {
        let run = node.run(&["pkill", "-KILL", "-x", program], LIMIT)?;
        // 1: there is none.
        ensure!(matches!(run.code, Some(0 | 1)), "{run}");
    }
    Ok(())
}

/// Removes logs and events of the runs before.
pub fn forget_runs(node: &Node) -> Result<()> {
    for name in [
        "events.jsonl",
        "failover.log",
        "recovery.log",
        "network_rewind.json",
    ] {
        let path = node.path(&format!("{LOG}/{name}"))?;
        if path.exists() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
