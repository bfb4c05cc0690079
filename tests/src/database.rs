//! The databases: a primary on node101, streaming standbys on the others.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::unistd::User;

use crate::files::{self, cached, run_as_user};
use crate::flavor::Flavor;
use crate::host::Node;
use crate::lab::{Lab, LabOptions};
use crate::layout::{
    CHECK_PASSWORD, CHECK_USER, DATA, DATABASE, DATABASE_PORT, DB_BIN, LOG, SQL_PASSWORD, SQL_USER,
    UID, USER,
};
use crate::network::within;
use crate::process::run;
use crate::sql::{Session, Table};
use crate::wait::wait_for;
use crate::{servers, standin};

/// For one statement of ours, where nothing is expected to hang.
const STATEMENT: Duration = Duration::from_secs(10);
/// For a start or stop of a server.
const SERVER: Duration = Duration::from_secs(60);

/// A data directory that was never started: users, database and our own tables in it. Its name
/// changes with what is made.
fn template(options: &LabOptions) -> Result<PathBuf> {
    let flavor = options.flavor;
    let name = match (flavor, options.server) {
        (Flavor::Postgres, None) => "pgdata-3".to_owned(),
        (Flavor::Postgres, Some(major)) => format!("pgdata-3-{major}"),
        (Flavor::Kingbase, _) => "kbdata-4".to_owned(),
    };
    let name = name + if options.checksums { "-checksums" } else { "" };
    let bin = servers::bin(options.server)?;
    cached(&name, |path| {
        // Made by the machine's own user for databases: it refuses root, and users that the
        // machine does not know.
        let maker = User::from_name("postgres")?.context("the machine has no user postgres")?;
        let maker = maker.uid.as_raw();
        let password = path.with_extension("password");
        files::write(&password, SQL_PASSWORD, 0o600, maker)?;
        files::directory(path, 0o700, maker)?;
        let data = path.to_string_lossy();
        let pwfile = format!("--pwfile={}", password.display());
        let auth = format!("--auth={}", flavor.names().login);
        let initdb = [
            "--no-sync",
            &auth,
            "--encoding=UTF8",
            "--locale=C",
            &format!("--username={SQL_USER}"),
            &pwfile,
            "--pgdata",
            &data,
        ];
        let checksums = options.checksums.then_some("--data-checksums");
        let initdb: Vec<&str> = initdb.into_iter().chain(checksums).collect();
        run_as_user(maker, &bin.join("initdb"), &initdb, "")?;
        files::remove(&password)?;
        // `rows` is the client's table, `probe` the prober's.
        for (database, sql) in [
            (
                "postgres",
                format!(
                    "CREATE DATABASE \"{DATABASE}\";\n\n\
                     CREATE ROLE {CHECK_USER} LOGIN PASSWORD '{CHECK_PASSWORD}';\n\n"
                ),
            ),
            (
                DATABASE,
                "CREATE TABLE rows (n bigint PRIMARY KEY);\n\n\
                 CREATE TABLE probe (host text, at timestamptz DEFAULT clock_timestamp());\n\n"
                    .to_owned(),
            ),
        ] {
            single_user(maker, &bin, &data, database, &sql)?;
        }
        if flavor == Flavor::Kingbase {
            let standin = options.tools.join("standin");
            standin::make_v8r3(&standin, path, |sql| {
                single_user(maker, &bin, &data, DATABASE, sql)
            })?;
        }
        let owner = format!("{UID}:{UID}");
        run("chown", &["-R", &owner, &data], SERVER).map(drop)
    })
}

/// Runs statements, each ended by `;` and an empty line, in a server without others.
fn single_user(maker: u32, bin: &Path, data: &str, database: &str, sql: &str) -> Result<()> {
    let server = bin.join("postgres");
    let server = server.to_string_lossy();
    // It says on stderr that a statement failed, and ends as if none had.
    let script = "exec \"$0\" --single -j -D \"$1\" \"$2\" 2>&1";
    let args = ["-c", script, &server, data, database];
    let output = run_as_user(maker, Path::new("/bin/sh"), &args, sql)?;
    let error = output.lines().find(|line| line.contains("ERROR:"));
    ensure!(error.is_none(), "{}", error.unwrap_or_default());
    Ok(())
}

/// Gives every host its data directory. All are copies of one that was cleanly shut down, which is
/// what a base backup of it would be.
pub(crate) fn prepare(node: &Node) -> Result<()> {
    let data = node.path(DATA)?;
    let flavor = node.shared.options.flavor;
    let names = flavor.names();
    files::copy_tree(&template(&node.shared.options)?, &data)?;
    let append = |file: &str, text: &str| -> Result<()> {
        let mut file = File::options().append(true).open(data.join(file))?;
        Ok(file.write_all(text.as_bytes())?)
    };
    let mut conf = format!(
        "listen_addresses = '*'\n\
         port = {DATABASE_PORT}\n\
         unix_socket_directories = '/tmp, /run/postgresql'\n\
         cluster_name = '{name}'\n\
         shared_buffers = 32MB\n\
         wal_log_hints = {hints}\n\
         hot_standby = on\n\
         max_wal_senders = 10\n\
         max_replication_slots = 10\n\
         log_line_prefix = '%m [%p] %q%a '\n",
        name = node.name(),
        hints = !node.shared.options.checksums,
    );
    if flavor == Flavor::Kingbase {
        conf += &standin::settings(node);
    }
    for (key, value) in &node.shared.options.postgres {
        conf += &format!("{key} = {value}\n");
    }
    append(names.conf, &conf)?;
    append(
        names.hba,
        &format!(
            "host all all 192.168.1.0/24 {login}\n\
             host replication all 192.168.1.0/24 {login}\n",
            login = names.login
        ),
    )?;
    match flavor {
        Flavor::Kingbase => standin::follow(node),
        Flavor::Postgres if node.id() > 0 => follow(node),
        Flavor::Postgres => Ok(()),
    }
}

/// Makes the data directory a standby's of node101, with the settings where
/// `pg_basebackup --write-recovery-conf` puts them. A copy of a synchronous primary is synchronous,
/// too, from the moment it is promoted.
fn follow(node: &Node) -> Result<()> {
    let data = node.path(DATA)?;
    let name = node.application_name();
    files::write(&data.join("standby.signal"), "", 0o600, UID)?;
    let mut settings = format!(
        "primary_conninfo = 'host=192.168.1.101 port={DATABASE_PORT} user={SQL_USER} \
         passfile=/home/kingbase/.pgpass application_name={name} connect_timeout=10'\n\
         primary_slot_name = 'slot_{name}'\n"
    );
    settings += &synchronous_setting(node);
    let mut file = File::options()
        .append(true)
        .open(data.join("postgresql.auto.conf"))?;
    Ok(file.write_all(settings.as_bytes())?)
}

/// The line that makes a node synchronous once it is promoted; none in an asynchronous lab.
pub(crate) fn synchronous_setting(node: &Node) -> String {
    if !node.shared.options.sync {
        return String::new();
    }
    let others = node.shared.numbers().filter(|it| *it != node.number());
    let flavor = node.shared.options.flavor;
    let names = synchronous_names(others.map(|number| flavor.application_name(number)));
    format!("synchronous_standby_names = '{names}'\n")
}

/// `synchronous_standby_names` for commits that wait for one of these nodes.
fn synchronous_names(nodes: impl Iterator<Item = String>) -> String {
    format!("1 ({})", nodes.collect::<Vec<_>>().join(", "))
}

/// Starts the databases, and waits until every standby streams (and is synchronous), and has replayed all
/// that the primary wrote at its start: its settings get into a standby's control file by replay, and a
/// test may kill a standby at once.
pub(crate) fn start(lab: &Lab) -> Result<()> {
    let primary = lab.node(101);
    primary.start_database()?;
    // Reserved from the start, as everywhere in this cluster: slots of all, on every primary.
    let standbys: Vec<String> = lab
        .nodes()
        .iter()
        .skip(1)
        .map(Node::application_name)
        .collect();
    for name in &standbys {
        primary.psql(&format!(
            "select pg_create_physical_replication_slot('slot_{name}', true)"
        ))?;
    }
    lab.for_each(|node| {
        if node.id() > 0 && node.has_database() {
            node.start_database()?;
        }
        Ok(())
    })?;
    let mut wanted = "async";
    if lab.options().sync {
        wanted = "sync";
        let names = synchronous_names(standbys.iter().cloned());
        primary.psql(&format!(
            "alter system set synchronous_standby_names = '{names}'"
        ))?;
        primary.psql("select pg_reload_conf()")?;
    }
    wait_for("all standbys to stream", SERVER, || {
        let seen = primary.psql(
            "select application_name, state, replay_lsn >= pg_current_wal_lsn(), sync_state \
             from pg_stat_replication",
        )?;
        let streaming = seen.matches("|streaming|t|").count();
        ensure!(
            streaming == standbys.len() && seen.contains(wanted),
            "the primary shows {seen:?}"
        );
        Ok(())
    })
}

impl Node {
    /// Runs SQL on the host's own database, as superuser, for at most ten seconds; returns what
    /// `psql -At` would print.
    ///
    /// # Errors
    /// The host or its database is down, frozen, or does not like the statement.
    pub fn psql(&self, sql: &str) -> Result<String> {
        Ok(self.query(sql, STATEMENT)?.to_string())
    }

    /// [`Self::psql`] with column names, and for at most `limit`.
    ///
    /// # Errors
    /// As [`Self::psql`].
    pub fn query(&self, sql: &str, limit: Duration) -> Result<Table> {
        self.init()?;
        within(&self.shared.network.file(&self.name()), || {
            Session::connect(&self.shared.login(), Ipv4Addr::LOCALHOST, limit)?.query(sql, limit)
        })
        .with_context(|| self.name())
    }

    /// Is its database in recovery, that is a standby?
    ///
    /// # Errors
    /// As [`Self::psql`].
    pub fn in_recovery(&self) -> Result<bool> {
        Ok(self.psql("select pg_is_in_recovery()")? == "t")
    }

    /// Starts its database, and waits until it takes connections. Its log is `database.log`.
    ///
    /// # Errors
    /// It does not start; with what its program and the end of the log say.
    pub fn start_database(&self) -> Result<()> {
        let (ctl, log) = (self.ctl(), format!("{LOG}/database.log"));
        let command = [&ctl, "start", "-w", "-D", DATA, "-l", &log];
        let run = self.run_as(USER, &command, SERVER)?;
        run.success().map(drop).with_context(|| {
            let log = self.log("database.log").unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(5).collect();
            format!("database.log, last line first: {lines:#?}")
        })
    }

    /// Starts its database, and does not wait until it takes connections: some standbys never do.
    ///
    /// # Errors
    /// Its program says so.
    pub fn start_database_without_waiting(&self) -> Result<()> {
        let (ctl, log) = (self.ctl(), format!("{LOG}/database.log"));
        let command = [&ctl, "start", "-W", "-D", DATA, "-l", &log];
        self.run_as(USER, &command, SERVER)?.success().map(drop)
    }

    /// Stops its database: `fast`, `immediate` or `smart`.
    ///
    /// # Errors
    /// It does not run, or not stop.
    pub fn stop_database(&self, mode: &str) -> Result<()> {
        let command = [&self.ctl(), "stop", "-w", "-D", DATA, "-m", mode];
        self.run_as(USER, &command, SERVER)?.success().map(drop)
    }

    /// Promotes its database, as a person may, and waits until that is done.
    ///
    /// # Errors
    /// It does not run as a standby, or is not promoted.
    pub fn promote_database(&self) -> Result<()> {
        let command = [&self.ctl(), "promote", "-D", DATA];
        self.run_as(USER, &command, SERVER)?.success()?;
        wait_for("the promotion", SERVER, || {
            ensure!(!self.in_recovery()?, "it is in recovery");
            Ok(())
        })
    }

    /// The program that starts, stops and promotes its database, as the tools call it.
    pub fn ctl(&self) -> String {
        format!("{DB_BIN}/{}", self.shared.options.flavor.names().ctl)
    }

    fn server(&self) -> &'static str {
        self.shared.options.flavor.names().server
    }

    /// SIGKILLs all processes of its database.
    ///
    /// # Errors
    /// One survives.
    pub fn kill_database(&self) -> Result<()> {
        self.kill_all(|process| process.program == self.server())
    }

    /// SIGSTOPs all processes of its database: the kernel still takes connections, nothing
    /// answers.
    pub fn freeze_database(&self) {
        self.signal_database(Signal::SIGSTOP);
    }

    /// SIGCONTs them.
    pub fn thaw_database(&self) {
        self.signal_database(Signal::SIGCONT);
    }

    fn signal_database(&self, signal: Signal) {
        let processes = self.processes();
        for process in processes.iter().filter(|it| it.program == self.server()) {
            process.signal(signal);
        }
    }

    /// Pids, on the machine, of its database's processes; empty when it is down.
    pub fn pids_of_database(&self) -> Vec<i32> {
        self.pids_of(self.server())
    }

    /// Removes its data directory.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn delete_data(&self) -> Result<()> {
        fs::remove_dir_all(self.path(DATA)?).context("remove the data directory")
    }

    /// Numbers of the client's rows that its database has.
    pub(crate) fn rows(&self) -> Result<BTreeSet<u64>> {
        let table = self.query("select n from rows", SERVER)?;
        table
            .rows
            .iter()
            .flatten()
            .map(|n| n.parse().with_context(|| format!("row {n:?}")))
            .collect()
    }
}

impl Lab {
    /// Kills the primary's database while it has rows that its standby has not.
    ///
    /// # Errors
    /// One of the two hosts is off, or has no database that runs.
    pub fn kill_with_rows_of_its_own(&self, primary: u8, standby: u8) -> Result<()> {
        let (primary, standby) = (self.node(primary), self.node(standby));
        let receiver = |signal: &str| -> Result<()> {
            let kill = ["pkill", signal, "-f", "walreceiver"];
            standby.run(&kill, STATEMENT)?.success().map(drop)
        };
        receiver("-STOP")?;
        primary.psql(
            "set synchronous_commit = local; create table if not exists own (n int, t text); \
             update own set t = 'old'; \
             insert into own select n, 'old' from generate_series(1, 2000) n",
        )?;
        primary.kill_database()?;
        // What has arrived and was not read yet must not be read.
        receiver("-TERM")?;
        receiver("-CONT")
    }
}

impl Node {
    /// Writes as the new primary to what the old one has changed, see
    /// [`Lab::kill_with_rows_of_its_own`].
    ///
    /// # Errors
    /// As [`Self::psql`].
    pub fn go_on_with_own_rows(&self) -> Result<()> {
        self.psql(
            "create table if not exists own (n int, t text); update own set t = 'new'; \
             insert into own select n, 'new' from generate_series(1, 1000) n",
        )
        .map(drop)
    }
}
