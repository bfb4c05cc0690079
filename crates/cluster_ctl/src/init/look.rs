//! Looks at what runs on this host: its server and whoever streams from it, its network, its pool.

use super::pool::{self, PoolFile};
use super::template::Template;
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use cluster_ctl::cli::Init;
use failover_core::deadline::Deadline;
use failover_core::process::{Cmd, RunError, run};
use failover_core::running::{self, Running};
use failover_core::users::SystemUser;
use failover_core::{route, vip};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For the whole look.
const LIMIT: Duration = Duration::from_secs(10);
/// Between two columns of an answer.
const BETWEEN: &str = "\u{1f}";

/// What was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    pub server: Running,
    pub facts: ServerFacts,
    pub standbys: Vec<Standby>,
    /// This host's address, as the standbys' hosts reach it.
    pub address: Ipv4Addr,
    pub device: String,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
    pub host_name: String,
    pub pool: Option<PoolFile>,
    /// Why there is none.
    pub no_pool: Option<String>,
    /// Where these tools lie.
    pub tools: PathBuf,
}

/// What the server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    pub version: String,
    pub user: String,
    pub hba_file: String,
    pub encryption: String,
    pub sync_names: String,
    /// A rewind can be made of it.
    pub rewinds: bool,
    /// The name under which it would stream.
    pub own_name: String,
}

/// Somebody who streams from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    pub address: Ipv4Addr,
    pub name: String,
    pub sync: String,
    pub slot: String,
}

/// All of it.
pub fn look(args: &Init, template: impl Fn(&Running) -> Template) -> Result<Seen> {
    let deadline = Deadline::after(LIMIT);
    let server = the_server(args.data.as_deref())?;
    let sample = template(&server).sample();
    let ask = Ask {
        user: args
            .sql_user
            .clone()
            .unwrap_or_else(|| sql_user(&server, &sample)),
        database: sample.kb_dataname.clone(),
        server: &server,
        deadline,
    };
    let facts = ask.facts()?;
    let standbys = ask.standbys()?;
    let Some(first) = standbys.first() else {
        bail!(
            "no standby streams from the server in {}: make one first (pg_basebackup -R), and look \
             whether pg_stat_replication has it with its address",
            server.data.display()
        );
    };
    let address = own_address(first.address)?;
    let held = vip::find(address)?.with_context(|| format!("no device has {address}"))?;
    let (pool, no_pool) = match pool::find(args.pool_config.as_deref(), &server, deadline) {
        Ok(pool) => (Some(pool), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    Ok(Seen {
        facts,
        address,
        device: held.dev,
        prefix: held.prefix,
        gateway: route::gateway(),
        host_name: nix_host_name(),
        pool,
        no_pool,
        tools: tools()?,
        standbys,
        server,
    })
}

/// The one that is meant.
fn the_server(data: Option<&Path>) -> Result<Running> {
    let (mut found, closed) = running::servers().context("/proc")?;
    let data = data.map(|it| std::fs::canonicalize(it).unwrap_or_else(|_| it.to_owned()));
    if let Some(data) = &data {
        found.retain(|server| server.data == *data);
    }
    match (found.len(), &data) {
        (1, _) => found.pop().ok_or_else(|| anyhow!("no server")),
        (0, _) if closed > 0 => bail!(
            "a server runs here, and this user may not look at it: run cluster_ctl init as root or \
             as the server's own user"
        ),
        (0, Some(data)) => bail!(
            "no server runs on {}: start it, or name the data directory of one that runs",
            data.display()
        ),
        (0, None) => bail!("no database server runs on this host: run it on the primary's host"),
        _ => {
            let all: Vec<String> = found
                .iter()
                .map(|it| it.data.display().to_string())
                .collect();
            bail!(
                "several servers run on this host: say which one with --data DIRECTORY ({})",
                all.join(", ")
            )
        }
    }
}

/// PostgreSQL lets its system user in as the role of that name; KingbaseES has none of it.
fn sql_user(server: &Running, sample: &failover_core::config::Config) -> String {
    match sample.kb_user == sample.kb_execute_sys_user {
        true => server.user.name.clone(),
        false => sample.kb_user.clone(),
    }
}

fn own_address(standby: Ipv4Addr) -> Result<Ipv4Addr> {
    match route::own_towards(standby.into())? {
        IpAddr::V4(address) if !address.is_loopback() => Ok(address),
        other => bail!(
            "this host reaches the standby {standby} by {other}: it has to be on another host"
        ),
    }
}

fn nix_host_name() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = text.trim().split('.').next().unwrap_or_default();
    name.to_ascii_lowercase()
}

/// The directory of this program, where its links lead.
fn tools() -> Result<PathBuf> {
    let program = std::env::current_exe()?.canonicalize()?;
    let dir = program.parent().context("this program has no directory")?;
    Ok(dir.to_owned())
}

/// Asks the server by its own client, as its own user: that one is let in by the server's socket.
struct Ask<'a> {
    server: &'a Running,
    user: String,
    database: String,
    deadline: Deadline,
}

impl Ask<'_> {
    fn rows(&self, statement: &str) -> Result<Vec<Vec<String>>> {
        let server = self.server;
        let client = server.programs.join(server.flavor.sql_client);
        let mut cmd = Cmd::new(&client)
            .args(["-X", "-A", "-t", "-w", "-F", BETWEEN])
            .args(["-p".to_owned(), server.port.to_string()])
            .args(["-U", &self.user, "-d", &self.database, "-c", statement]);
        if let Some(socket) = &server.socket {
            cmd = cmd.args(["-h".to_owned(), socket.display().to_string()]);
        } else {
            cmd = cmd.args(["-h", "127.0.0.1"]);
        }
        for name in server.flavor.password_variables {
            if let Ok(value) = std::env::var(name) {
                cmd = cmd.env(name, value);
            }
        }
        let us = SystemUser::current()?;
        if us.is_root() || us == server.user {
            cmd = cmd.as_user(&server.user);
        }
        let output = run(&cmd, self.deadline).and_then(|it| it.checked(&client.display()));
        let output = output.map_err(|error| self.refused(&client, &error))?;
        let rows = output.stdout.lines().filter(|line| !line.is_empty());
        Ok(rows
            .map(|row| row.split(BETWEEN).map(str::to_owned).collect())
            .collect())
    }

    fn refused(&self, client: &Path, error: &RunError) -> anyhow::Error {
        let variable = self.server.flavor.password_variables.first();
        let hint = match error {
            RunError::NotStarted { .. } => {
                format!("install the server's client, {}", client.display())
            }
            _ => format!(
                "let {} in as {} over the server's socket, name another superuser with --sql-user, or \
                 put the password into the environment as {}",
                self.server.user.name,
                self.user,
                variable.unwrap_or(&"PGPASSWORD")
            ),
        };
        anyhow!(
            "the server in {} was not asked: {error}: {hint}",
            self.server.data.display()
        )
    }

    fn facts(&self) -> Result<ServerFacts> {
        let names = self.server.flavor;
        let wanted = [
            "is_superuser",
            "server_version",
            "hba_file",
            "password_encryption",
            "synchronous_standby_names",
            "wal_log_hints",
            "data_checksums",
        ];
        let wanted: Vec<String> = wanted
            .iter()
            .map(|name| format!("current_setting('{name}')"))
            .collect();
        let statement = format!(
            "SELECT {}(), current_user, {}, coalesce(current_setting('primary_conninfo', true), '')",
            names.is_in_recovery,
            wanted.join(", ")
        );
        let rows = self.rows(&statement)?;
        let row = rows.into_iter().next().unwrap_or_default();
        let Ok(
            [
                recovery,
                user,
                superuser,
                version,
                hba,
                encryption,
                sync,
                hints,
                sums,
                conninfo,
            ],
        ) = <[String; 10]>::try_from(row)
        else {
            bail!("the server's answer was not understood: is it PostgreSQL 9.6 or later?");
        };
        ensure!(
            recovery == "f",
            "the server in {} is a standby{}: run cluster_ctl init on the primary's host",
            self.server.data.display(),
            self.primary()
        );
        ensure!(
            superuser == "on",
            "{user} is no superuser: name one with --sql-user"
        );
        Ok(ServerFacts {
            rewinds: hints == "on" || sums == "on",
            own_name: application_name(&conninfo),
            hba_file: hba,
            sync_names: sync,
            version,
            user,
            encryption,
        })
    }

    /// Whom this standby streams from, where it says so.
    fn primary(&self) -> String {
        let view = self.server.flavor.stat_wal_receiver;
        let rows = self.rows(&format!("SELECT sender_host FROM {view}"));
        match rows.unwrap_or_default().into_iter().flatten().next() {
            Some(host) if !host.is_empty() => format!(" of {host}"),
            _ => String::new(),
        }
    }

    fn standbys(&self) -> Result<Vec<Standby>> {
        let names = self.server.flavor;
        let rows = self.rows(&format!(
            "SELECT coalesce(host(s.client_addr), ''), s.application_name, s.sync_state, \
             coalesce(r.slot_name::text, '') FROM {} s LEFT JOIN {} r ON r.active_pid = s.pid \
             WHERE s.state IN ('streaming', 'catchup') \
             AND s.application_name NOT IN ('pg_receivewal', 'pg_receivexlog', 'sys_receivexlog') \
             ORDER BY s.client_addr, s.application_name",
            names.stat_replication, names.replication_slots
        ))?;
        let mut found: Vec<Standby> = rows.into_iter().filter_map(standby).collect();
        found.dedup_by(|one, other| one.address == other.address);
        Ok(found)
    }
}

/// One without an address, or with that of this host, is none that could take over.
fn standby(row: Vec<String>) -> Option<Standby> {
    let [address, name, sync, slot] = <[String; 4]>::try_from(row).ok()?;
    let address: Ipv4Addr = address.parse().ok()?;
    (!address.is_loopback()).then_some(Standby {
        address,
        name,
        sync,
        slot,
    })
}

/// In a connection string; empty where it has none.
fn application_name(conninfo: &str) -> String {
    let mut words = conninfo.split_whitespace();
    let name = words.find_map(|word| word.strip_prefix("application_name="));
    name.unwrap_or_default().trim_matches('\'').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(words: [&str; 4]) -> Option<Standby> {
        standby(words.map(str::to_owned).to_vec())
    }

    #[test]
    fn only_another_host_is_a_standbys() {
        let found = row(["192.168.1.102", "node2", "async", "slot_node2"]).unwrap();
        assert_eq!(found.address, Ipv4Addr::new(192, 168, 1, 102));
        assert_eq!(
            (found.name, found.slot),
            ("node2".into(), "slot_node2".into())
        );
        for other in ["", "127.0.0.1", "::1", "fe80::1"] {
            assert_eq!(row([other, "node2", "async", ""]), None, "{other}");
        }
        assert_eq!(standby(vec!["192.168.1.102".into()]), None);
    }

    #[test]
    fn the_name_stands_in_a_connection_string() {
        for (conninfo, name) in [
            ("host=a application_name=node1 user=b", "node1"),
            ("application_name='node1'", "node1"),
            ("host=a", ""),
            ("", ""),
        ] {
            assert_eq!(application_name(conninfo), name, "{conninfo}");
        }
    }
}
