//! The stand-in for KingbaseES V8R3 on a host: its programs, its data directory, its configuration,
//! and the shell scripts that the tools are installed over. And the one for other versions of pgpool-II.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::database::synchronous_setting;
use crate::files::{self, with_settings};
use crate::host::Node;
use crate::lab::Shared;
use crate::layout::{
    DATA, DATABASE, DATABASE_PORT, DB_ETC, PCP_PASSWORD, POSTGRES_BIN, R3HA, SQL_PASSWORD,
    SQL_USER, UID, address,
};
use crate::process::run;

const LIMIT: Duration = Duration::from_secs(60);

/// V8R3's programs, in `db/bin`.
const DATABASE_PROGRAMS: [&str; 6] = [
    "kingbase",
    "sys_ctl",
    "sys_controldata",
    "sys_rewind",
    "sys_basebackup",
    "ksql",
];
/// And in `kingbasecluster/bin`.
const POOL_PROGRAMS: [&str; 5] = [
    "kingbasecluster",
    "pcp_attach_node",
    "pcp_detach_node",
    "pcp_promote_node",
    "pcp_node_info",
];

/// What V8R3 has in the place of the tools.
const SCRIPTS: [&str; 3] = ["failover_stream.sh", "network_rewind.sh", "change_vip.sh"];

/// Where WAL is archived, below the installation.
const ARCHIVE: &str = "archive";
/// The second control file, there.
const CONTROL_COPY: &str = "control/sys_control_copy";

/// The configuration as the vendor's installer writes it.
const CONFIGURATION: &str = include_str!("../../etc/HAmodule.conf");

/// Puts the programs into place; those of the tools as `make install` does, over the scripts.
pub(crate) fn programs(shared: &Shared, cluster: &Path) -> Result<()> {
    let standin = built(shared)?;
    let built = &shared.options.tools;
    let (db, pool) = (cluster.join("db/bin"), cluster.join("kingbasecluster/bin"));
    for (bin, names) in [(&db, &DATABASE_PROGRAMS[..]), (&pool, &POOL_PROGRAMS[..])] {
        // Copies: a process is told by the name of its program, which a link would hide.
        for name in names {
            files::copy(&standin, &bin.join(name), 0o755, UID)?;
        }
        for script in SCRIPTS {
            let text = "#!/bin/sh\necho \"the script still runs\"\nexit 1\n";
            files::write(&bin.join(script), text, 0o755, UID)?;
        }
    }
    // Where the case study has it.
    symlink("/usr/bin/arping", db.join("arping"))?;
    for bin in ["db", "kingbasecluster"] {
        let lib = cluster.join(bin).join("lib/standin");
        files::directory(&lib, 0o755, UID)?;
        let names = "libv8r3_names.so";
        files::copy(&built.join(names), &lib.join(names), 0o755, UID)?;
    }
    let lib = cluster.join("db/lib/standin");
    let postgres = Path::new(POSTGRES_BIN);
    files::copy(
        &postgres.join("postgres"),
        &lib.join("kingbase"),
        0o755,
        UID,
    )?;
    let rewind = fs::read(postgres.join("pg_rewind"))?;
    files::write_bytes(&lib.join("sys_rewind"), &with_slots(rewind)?, 0o755, UID)?;
    let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/install.sh");
    let args = [&install, Path::new("install"), cluster].map(|it| it.to_string_lossy());
    let (uid, built) = (UID.to_string(), built.to_string_lossy());
    run("sh", &[&args[0], &args[1], &args[2], &uid, &built], LIMIT).map(drop)
}

/// The programs of pgpool-II that show themselves as those of another version, in the place of the links to the
/// installed ones. `pool`: the directory of them.
pub(crate) fn pool_programs(shared: &Shared, pool: &Path, version: &str) -> Result<()> {
    let standin = built(shared)?;
    for name in ["pgpool", "pcp_node_info"] {
        files::remove(&pool.join(name))?;
        files::copy(&standin, &pool.join(name), 0o755, 0)?;
    }
    files::write(&pool.join("pool-version"), version, 0o644, 0)
}

/// The stand-in's program.
fn built(shared: &Shared) -> Result<PathBuf> {
    let standin = shared.options.tools.join("standin");
    ensure!(
        standin.exists(),
        "{} is missing: build the whole workspace",
        standin.display()
    );
    Ok(standin)
}

/// PostgreSQL's program leaves out the replication slots since version 11: it is made to look for
/// another name.
fn with_slots(mut program: Vec<u8>) -> Result<Vec<u8>> {
    let name = b"\0pg_replslot\0";
    let mut places = (0..program.len() - name.len()).filter(|at| program[*at..].starts_with(name));
    let (place, more) = (places.next(), places.next());
    let place = place.context("pg_rewind knows no pg_replslot")?;
    ensure!(more.is_none(), "pg_rewind knows pg_replslot twice");
    program[place + name.len() - 2] = b'_';
    Ok(program)
}

/// Makes V8R3's of a data directory of PostgreSQL's that `initdb` has made: functions and views, and
/// the names of the files. `sql` runs statements in the database of the tools.
pub(crate) fn make_v8r3(
    standin: &Path,
    data: &Path,
    sql: impl Fn(&str) -> Result<()>,
) -> Result<()> {
    sql(include_str!("../standin/v8r3.sql"))?;
    sql(&format!(
        "ALTER ROLE \"{SQL_USER}\" IN DATABASE \"{DATABASE}\" \
         SET search_path = sys_catalog, pg_catalog, public;\n\n"
    ))?;
    let program = standin.to_string_lossy();
    run(&program, &["rename", &data.to_string_lossy()], LIMIT).map(drop)
}

/// What the vendor's installer adds to `kingbase.conf`.
pub(crate) fn settings(node: &Node) -> String {
    format!(
        "wal_keep_segments=256\n\
         hot_standby_feedback=on\n\
         max_replication_slots={slots}\n\
         archive_mode=on\n\
         archive_dest='{R3HA}/{ARCHIVE}'\n\
         control_file_copy='{R3HA}/{CONTROL_COPY}'\n\
         logging_collector=on\n\
         log_destination='csvlog'\n\
         log_directory='{DATA}/sys_log'\n",
        slots = 2 * node.shared.numbers().count(),
    )
}

/// Gives a host its `recovery.done`, a standby its `recovery.conf`, and what else the installer leaves.
pub(crate) fn follow(node: &Node) -> Result<()> {
    let primary = if node.number() == 101 { 102 } else { 101 };
    let name = node.application_name();
    let text = format!(
        "standby_mode='on'\n\
         primary_conninfo='port={DATABASE_PORT} host={} user={SQL_USER} password={} \
         application_name={name}'\n\
         recovery_target_timeline='latest'\n\
         primary_slot_name ='slot_{name}'\n",
        address(primary),
        BASE64.encode(SQL_PASSWORD),
    );
    for file in [ARCHIVE, CONTROL_COPY] {
        let dir = node.path(&format!("{R3HA}/{file}"))?;
        let dir = dir
            .parent()
            .filter(|_| file == CONTROL_COPY)
            .unwrap_or(&dir);
        files::directory(dir, 0o700, UID)?;
    }
    let license = node.path(&format!("{R3HA}/db/license.dat"))?;
    files::write(&license, "license\n", 0o600, UID)?;
    let done = node.path(&format!("{DB_ETC}/recovery.done"))?;
    files::write(&done, &text, 0o600, UID)?;
    let data = node.path(DATA)?;
    let conf = data.join("kingbase.conf");
    if node.id() > 0 {
        files::write(&data.join("recovery.conf"), &text, 0o600, UID)?;
        let mut conf = File::options().append(true).open(&conf)?;
        conf.write_all(synchronous_setting(node).as_bytes())?;
    }
    let copy = node.path(&format!("{DB_ETC}/kingbase.conf"))?;
    files::copy(&conf, &copy, 0o600, UID)
}

/// `HAmodule.conf` of a host: the vendor's, with the host's own values in their places.
pub(crate) fn config(shared: &Shared, number: u8) -> String {
    let all = |item: &dyn Fn(u8) -> String| {
        let items: Vec<String> = shared.numbers().map(item).collect();
        format!("({})", items.join(" "))
    };
    let application_name = |number| shared.options.flavor.application_name(number);
    let mut values = vec![
        ("KB_LOCALHOST_IP", address(number).to_string()),
        ("KB_ALL_IP", all(&|number| address(number).to_string())),
        ("NODE_NAME", application_name(number)),
        ("ALL_NODE_NAME", all(&application_name)),
        ("PCP_PASS", BASE64.encode(PCP_PASSWORD)),
        ("KB_PASS", BASE64.encode(SQL_PASSWORD)),
    ];
    if !shared.options.sync {
        values.push(("SYNC_FLAG", "0".to_owned()));
    }
    let text = values
        .iter()
        .fold(CONFIGURATION.to_owned(), |text, (key, value)| {
            with_value(&text, key, value)
        });
    let overrides = &shared.options.config;
    with_settings(
        &text,
        overrides
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    )
}

/// Another value in the place of one, quoted as that one was.
fn with_value(text: &str, key: &str, value: &str) -> String {
    let line = |line: &str| match line.strip_prefix(key).and_then(|it| it.strip_prefix('=')) {
        Some(old) if old.starts_with('"') => format!("{key}=\"{value}\"\n"),
        Some(old) if old.starts_with('\'') => format!("{key}='{value}'\n"),
        Some(_) => format!("{key}={value}\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}
