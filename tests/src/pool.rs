//! pgpool-II with its watchdog on the first hosts of the lab.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::files;
use crate::flavor::Flavor;
use crate::host::Node;
use crate::lab::Lab;
use crate::layout::{
    CHECK_PASSWORD, CHECK_USER, DATA, DATABASE_PORT, DEVICE, LOG, PCP_PASSWORD, PCP_PORT, PCP_USER,
    POOL_BIN, POOL_ETC, POOL_PORT, POOL_VIP, SQL_PASSWORD, SQL_USER, address,
};
use crate::network::within;
use crate::process::{run, run_command};
use crate::sql::{Login, Session};
use crate::wait::wait_for;

const LIMIT: Duration = Duration::from_secs(10);
/// Until the watchdogs have elected a leader and it shows the nodes.
const START: Duration = Duration::from_secs(60);

/// The command of the sample configuration: arguments by name, so that an empty placeholder
/// shifts nothing.
pub(crate) const FAILOVER_COMMAND: &str = "/home/kingbase/cluster/R3HA/kingbasecluster/bin/failover_stream \
     --new-primary-host=\"%H\" --old-primary-id=\"%P\" --failed-node-id=\"%d\" --failed-node-host=\"%h\" \
     --old-primary-host=\"%N\" --new-primary-id=\"%m\" --old-main-id=\"%M\" --data-dir=\"%D\"";
/// The command of the case study, with the name of the script.
const VENDORS_COMMAND: &str = "/home/kingbase/cluster/R3HA/kingbasecluster/bin/failover_stream.sh \
     %H %P %d %h %O %m %M %D";

/// One row of `show pool_nodes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolNode {
    /// Node id: 0 for node101.
    pub id: u8,
    /// Its address.
    pub hostname: String,
    /// Its port.
    pub port: u16,
    /// `up`, `down`, `waiting`, ...
    pub status: String,
    /// `primary` or `standby`.
    pub role: String,
    /// All columns by name.
    pub columns: BTreeMap<String, String>,
}

/// Writes the pool's configuration of a host that has one.
pub(crate) fn prepare(node: &Node) -> Result<()> {
    let etc = node.path(POOL_ETC)?;
    let login = node.shared.options.flavor.names().login;
    let digest = run("pg_md5", &[PCP_PASSWORD], LIMIT)?;
    for (name, text) in [
        (
            node.shared.options.flavor.names().pool_conf,
            configuration(node),
        ),
        ("pgpool_node_id", format!("{}\n", node.id())),
        ("pcp.conf", format!("{PCP_USER}:{}\n", digest.trim())),
        (
            "pool_passwd",
            format!("{SQL_USER}:TEXT{}\n", files::escaped(SQL_PASSWORD)),
        ),
        (
            "pool_hba.conf",
            format!("local all all {login}\nhost all all 0.0.0.0/0 {login}\n"),
        ),
    ] {
        files::write(&etc.join(name), &text, 0o600, 0)?;
    }
    Ok(())
}

/// A `failover_command` from which 4.3 makes the command line that this version makes of `command`: before 4.1
/// there is no `%N`, and from 4.4 on a blank stands before `%d` and `%m`.
fn written_by(version: &str, command: &str) -> String {
    match version {
        "3.6" | "3.7" | "4.0" => command.replace("%N", ""),
        "4.1" | "4.2" | "4.3" => command.to_owned(),
        _ => command.replace("%d", " %d").replace("%m", " %m"),
    }
}

/// The settings of a pool of the lab's own.
fn settings(node: &Node) -> String {
    let shared = &node.shared;
    let command = match (&*shared.options.failover_command, shared.options.flavor) {
        ("", Flavor::Postgres) => FAILOVER_COMMAND,
        ("", Flavor::Kingbase) => VENDORS_COMMAND,
        (other, _) => other,
    };
    let command = match &shared.options.pool_ways {
        Some(version) => written_by(version, command),
        None => command.to_owned(),
    };
    // The passwords of the checks are here: two of them that read pool_passwd at the same moment as the
    // pool starts can leave one without, and the node that it checks down.
    //
    // They look into a database in which the stand-in for V8R3 hides none of PostgreSQL's names.
    //
    // No sr_check: its worker holds a lock while it asks the databases, without a time limit. A power
    // cut in that very moment leaves it waiting for an answer from a host that is gone, and the
    // pool's main process waiting for the lock, for the new primary to be found, until TCP gives up:
    // a quarter of an hour.
    format!(
        "backend_clustering_mode = 'streaming_replication'\n\
         listen_addresses = '*'\n\
         port = {POOL_PORT}\n\
         pcp_listen_addresses = '*'\n\
         pcp_port = {PCP_PORT}\n\
         num_init_children = 8\n\
         enable_pool_hba = on\n\
         pool_passwd = 'pool_passwd'\n\
         load_balance_mode = off\n\
         failover_command = '{command}'\n\
         follow_primary_command = ''\n\
         failover_on_backend_error = off\n\
         auto_failback = off\n\
         search_primary_node_timeout = 10\n\
         sr_check_period = 0\n\
         sr_check_user = '{CHECK_USER}'\n\
         sr_check_password = '{CHECK_PASSWORD}'\n\
         sr_check_database = 'postgres'\n\
         health_check_period = 1\n\
         health_check_timeout = 3\n\
         health_check_user = '{CHECK_USER}'\n\
         health_check_password = '{CHECK_PASSWORD}'\n\
         health_check_database = 'postgres'\n\
         health_check_max_retries = 3\n\
         health_check_retry_delay = 1\n\
         connect_timeout = 2000\n\
         use_watchdog = on\n\
         delegate_IP = '{POOL_VIP}'\n\
         ping_path = '/bin'\n\
         if_cmd_path = '/sbin'\n\
         if_up_cmd = 'ip addr add $_IP_$/24 dev {DEVICE} label {DEVICE}:0'\n\
         if_down_cmd = 'ip addr del $_IP_$/24 dev {DEVICE}'\n\
         arping_path = '/usr/bin'\n\
         arping_cmd = 'arping -U $_IP_$ -w 1 -I {DEVICE}'\n\
         enable_consensus_with_half_votes = on\n\
         wd_lifecheck_method = 'heartbeat'\n\
         wd_interval = 1\n\
         wd_heartbeat_keepalive = 1\n\
         wd_heartbeat_deadtime = 10\n"
    )
}

/// What every pool has, whose settings ever the others are: its host's paths, and who leads.
const PATHS: [(&str, &str); 5] = [
    ("socket_dir", "/tmp"),
    ("pcp_socket_dir", "/tmp"),
    ("wd_ipc_socket_dir", "/tmp"),
    ("pid_file_name", "/run/pgpool.pid"),
    ("logdir", LOG),
];

fn configuration(node: &Node) -> String {
    let shared = &node.shared;
    let whole = &shared.options.pgpool_conf;
    let mut text = match whole.is_empty() {
        true => settings(node),
        false => format!("{whole}\n"),
    };
    let mut set = |key: &str, value: &dyn std::fmt::Display| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key} = {value}");
    };
    for (key, value) in PATHS {
        set(key, &format!("'{value}'"));
    }
    let leads = node.number() == shared.options.leader;
    set("wd_priority", if leads { &9 } else { &1 });
    for (id, number) in shared.numbers().enumerate() {
        set(
            &format!("backend_hostname{id}"),
            &format!("'{}'", address(number)),
        );
        set(&format!("backend_port{id}"), &DATABASE_PORT);
        set(&format!("backend_weight{id}"), &1);
        set(&format!("backend_data_directory{id}"), &format!("'{DATA}'"));
        set(&format!("backend_flag{id}"), &"'ALLOW_TO_FAILOVER'");
        set(
            &format!("backend_application_name{id}"),
            &format!("'{}'", shared.options.flavor.application_name(number)),
        );
    }
    let ours = shared.pool_numbers().enumerate();
    for (id, number) in ours.filter(|_| whole.is_empty()) {
        set(&format!("hostname{id}"), &format!("'{}'", address(number)));
        set(&format!("wd_port{id}"), &9000);
        set(&format!("pgpool_port{id}"), &POOL_PORT);
        set(
            &format!("heartbeat_hostname{id}"),
            &format!("'{}'", address(number)),
        );
        set(&format!("heartbeat_port{id}"), &9694);
        set(&format!("heartbeat_device{id}"), &"''");
    }
    // Last: the last of several values counts.
    for (key, value) in &shared.options.pgpool {
        set(key, value);
    }
    text
}

/// Starts all pools, and waits until each of them, not only the leader, shows every node up and
/// the primary right: before a pool has joined the others it takes no connection, and would
/// not take over either.
pub(crate) fn start(lab: &Lab) -> Result<()> {
    let pool = |node: &Node| -> Result<()> {
        if !node.has_pool() {
            return Ok(());
        }
        node.start_pool()?;
        wait_for("its pool to show all nodes up", START, || {
            let network = node.shared.network.file(&node.name());
            let nodes = pool_nodes(&node.shared.login(), &network, Ipv4Addr::LOCALHOST)?;
            let right = nodes.len() == lab.nodes().len()
                && nodes.iter().all(|node| {
                    let role = if node.id == 0 { "primary" } else { "standby" };
                    node.status == "up" && node.role == role
                });
            ensure!(right, "it shows {nodes:?}");
            // It takes connections a second before it listens to the others.
            let listens = "creating watchdog heartbeat receive socket";
            ensure!(
                (lab.options().pools == 1 && !lab.options().witness)
                    || node.log("cluster.log")?.contains(listens),
                "its watchdog does not listen"
            );
            Ok(())
        })
    };
    lab.for_each(pool)?;
    let leader = lab.node(lab.options().leader);
    let leads = || -> Result<()> {
        ensure!(leader.has_pool_vip()?, "{} does not hold it", leader.name());
        Ok(())
    };
    let holder = wait_for("the pool's VIP", START, || {
        let mut hosts = lab.hosts().iter();
        let holder = hosts.find(|node| node.has_pool_vip().unwrap_or(false));
        holder.context("nobody holds it")
    })?;
    if holder.number() == leader.number() {
        return Ok(());
    }
    // It was there before the one with the highest priority, and leads for as long as it is.
    holder.stop_pool()?;
    wait_for("the pool's VIP", START, leads)?;
    pool(holder)
}

/// `show pool_nodes` of the pool that is seen at an address from a network.
fn pool_nodes(login: &Login, network: &Path, host: Ipv4Addr) -> Result<Vec<PoolNode>> {
    let table = within(network, || {
        Session::connect_to(login, host, POOL_PORT, LIMIT)?.query("show pool_nodes", LIMIT)
    })
    .context("ask the pool")?;
    let names = &table.columns;
    let nodes = table.rows.into_iter().map(|row| {
        let columns: BTreeMap<String, String> = names.iter().cloned().zip(row).collect();
        let column = |name: &str| {
            columns
                .get(name)
                .cloned()
                .with_context(|| format!("show pool_nodes has no column {name}"))
        };
        Ok(PoolNode {
            id: column("node_id")?.parse()?,
            hostname: column("hostname")?,
            port: column("port")?.parse()?,
            status: column("status")?,
            role: column("role")?,
            columns,
        })
    });
    nodes.collect()
}

impl Node {
    /// Is there a database on this host (running or not)?
    pub fn has_database(&self) -> bool {
        self.shared.numbers().any(|number| number == self.number())
    }

    /// Is there a pool on this host (running or not)?
    pub fn has_pool(&self) -> bool {
        self.shared
            .pool_numbers()
            .any(|number| number == self.number())
    }

    /// `show pool_nodes` of the pool on this host, whoever holds the VIP, within ten seconds.
    ///
    /// # Errors
    /// It does not answer.
    pub fn pool_nodes(&self) -> Result<Vec<PoolNode>> {
        let network = self.shared.network.file(&self.name());
        pool_nodes(&self.shared.login(), &network, Ipv4Addr::LOCALHOST)
    }

    /// The pool's configuration on this host.
    pub fn pool_conf(&self) -> String {
        let names = self.shared.options.flavor.names();
        format!("{POOL_ETC}/{}", names.pool_conf)
    }

    /// Starts its pool, without waiting for the watchdogs. Its log is `cluster.log`.
    ///
    /// # Errors
    /// The host is off.
    pub fn start_pool(&self) -> Result<()> {
        if self.shared.options.debian {
            return self.start_packaged_pool();
        }
        let names = self.shared.options.flavor.names();
        let command = format!(
            "exec {POOL_BIN}/{} -n -f {} -F {POOL_ETC}/pcp.conf \
             -a {POOL_ETC}/pool_hba.conf >>{LOG}/cluster.log 2>&1",
            names.pool,
            self.pool_conf()
        );
        self.spawn_daemon("root", &["/bin/sh", "-c", &command])
    }

    /// Stops its pool in an orderly way: it says goodbye to the others, and lets the VIP go.
    ///
    /// # Errors
    /// It does not run, or not stop.
    pub fn stop_pool(&self) -> Result<()> {
        let names = self.shared.options.flavor.names();
        let pool = format!("{POOL_BIN}/{}", names.pool);
        let command = [&pool, "-f", &self.pool_conf(), "-m", "fast", "stop"];
        self.run(&command, START)?.success().map(drop)
    }

    /// SIGKILLs all processes of its pool.
    ///
    /// # Errors
    /// One survives.
    pub fn kill_pool(&self) -> Result<()> {
        let relay = self.shared.options.flavor.names().pool;
        self.kill_all(|process| process.program == "pgpool" || process.program == relay)
    }
}

/// What a PCP program says whose other end goes away.
const PCP_RESTARTS: &str = "unable to read data from socket";

impl Lab {
    /// `show pool_nodes`, asked by the client through the pool's VIP, within ten seconds.
    ///
    /// # Errors
    /// No pool answers there, or not in time.
    pub fn pool_nodes(&self) -> Result<Vec<PoolNode>> {
        pool_nodes(&self.shared().login(), &self.client_network(), POOL_VIP)
    }

    /// Asks the pool to detach a node. It has only *queued* that when this returns.
    ///
    /// # Errors
    /// No pool answers at its VIP.
    pub fn pcp_detach(&self, id: u8) -> Result<()> {
        self.pcp("pcp_detach_node", id)
    }

    /// Asks the pool to attach a node. It has only *queued* that when this returns.
    ///
    /// # Errors
    /// No pool answers at its VIP.
    pub fn pcp_attach(&self, id: u8) -> Result<()> {
        self.pcp("pcp_attach_node", id)
    }

    fn pcp(&self, program: &str, id: u8) -> Result<()> {
        let passwords = self.shared().run.join("pcppass");
        files::write(
            &passwords,
            &format!("*:*:{PCP_USER}:{}\n", files::escaped(PCP_PASSWORD)),
            0o600,
            0,
        )?;
        let mut command = std::process::Command::new(program);
        command
            .args(["-h", &POOL_VIP.to_string(), "-p", &PCP_PORT.to_string()])
            .args(["-U", PCP_USER, "-w", "-n", &id.to_string()])
            .env("PCPPASSFILE", &passwords);
        // A child is in the network of the thread that starts it.
        let mut order = || within(&self.client_network(), || run_command(&mut command, LIMIT));
        // A pool restarts its PCP process a second after a failover, whoever talks to it just then.
        wait_for("the pool's PCP process", LIMIT, || match order() {
            Err(error) if format!("{error:#}").contains(PCP_RESTARTS) => Err(error),
            ended => Ok(ended.map(drop)),
        })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_writes_the_command_in_its_way() {
        let named = |version| written_by(version, FAILOVER_COMMAND);
        assert!(named("4.0").contains("--old-primary-host=\"\""));
        assert_eq!(named("4.3"), FAILOVER_COMMAND);
        let newest = named("4.7");
        assert!(newest.contains("--failed-node-id=\" %d\"") && newest.contains("\" %m\""));
    }
}
