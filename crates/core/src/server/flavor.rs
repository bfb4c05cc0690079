//! The two servers that the tools know, KingbaseES V8R3 and PostgreSQL, as one table of names.
//!
//! V8R3 grew out of PostgreSQL 9.6: programs, files, views and functions have other names and are
//! otherwise the same. Nothing outside this file asks which of the two it is.

use crate::config::{Config, DbFlavor, Secret};
use std::path::Path;

/// The names of one server.
#[derive(Debug, PartialEq, Eq)]
pub struct Flavor {
    /// What the log calls the server; also the file name of its executable.
    pub server: &'static str,
    /// The program that starts, stops and promotes.
    pub ctl: &'static str,
    /// The program that prints the control file.
    pub controldata: &'static str,
    /// The SQL client that the log names (the tools themselves use none).
    pub sql_client: &'static str,
    /// The postmaster's pid file, in the data directory.
    pub pid_file: &'static str,
    /// The arguments of the last postmaster, in the data directory.
    pub opts_file: &'static str,
    /// What the names of the server's directories in the data directory begin with.
    pub prefix: &'static str,
    /// What else in the data directory is the server's, or a rewind's, and no node's own.
    pub server_files: &'static [&'static str],
    /// Directory of the WAL, in the data directory.
    pub wal_dir: &'static str,
    /// Directory of links to the tablespaces, in the data directory.
    pub tablespace_dir: &'static str,
    /// A file in the data directory that makes the server start as a standby.
    pub standby_file: &'static str,
    /// The program that makes one server's data directory another's again.
    pub rewind: &'static str,
    /// Its option for the data directory to change.
    pub rewind_target: &'static str,
    /// Its options for leaving it to us to sync what it wrote; none where it has no such option.
    pub rewind_unsynced: &'static [&'static str],
    /// Its option for taking missing WAL from the archive by `restore_command`, and the first version
    /// (`server_version_num`) that has it.
    pub rewind_restores: Option<(&'static str, u32)>,
    /// Its option for a configuration file that is not in the data directory, and the first version that has it.
    pub rewind_config: Option<(&'static str, u32)>,
    /// Its options for doing nothing but say what it would do, file by file and page by page.
    pub rewind_tried: &'static [&'static str],
    /// The setting with which a crash recovery syncs the file system at once and not file by file, and the first
    /// version that has it.
    pub syncs_at_once: Option<(&'static str, u32)>,
    /// The program that copies a whole running server.
    pub basebackup: &'static str,
    /// The configuration file, in the directory of the configuration and in `KB_ETC_PATH`.
    pub conf_file: &'static str,
    /// The file of settings that the server itself writes, and reads last.
    pub auto_conf: &'static str,
    /// Directory of the replication slots, in the data directory.
    pub slots_dir: &'static str,
    /// The control file, in the data directory.
    pub control_file: &'static str,
    /// The setting that names further control files, which the server keeps like its own.
    pub control_copies: Option<&'static str>,
    /// Where a standby has its settings.
    pub standby_settings: StandbySettings,
    /// How a password stands in a standby's connection string.
    pub conninfo_password: ConninfoPassword,
    /// Options of a connection over which much is read: a host that loses its power says nothing, and
    /// without these a program waits for hours, and no other run may begin meanwhile. The fork's
    /// library, of 9.6, knows nothing for what was sent and not acknowledged: there it takes the
    /// kernel's quarter of an hour.
    pub source_options: &'static str,
    /// And of the one from which a rewind reads. It asks for the list of all files by a query that looks
    /// so costly that it is compiled first: 200 ms for one that takes 6.
    pub rewind_source_options: &'static str,
    /// The environment variables for a password of the server's own programs. The fork's library has
    /// them under its own name, written in two ways; which of its versions still takes PostgreSQL's
    /// is not known, and one that it does not know does no harm.
    pub password_variables: &'static [&'static str],
    /// The schemas of the server's own functions and views, where its users cannot make any.
    pub search_path: &'static str,
    /// View of the standbys that stream from this server.
    pub stat_replication: &'static str,
    /// View of this standby's WAL receiver.
    pub stat_wal_receiver: &'static str,
    /// View of the sessions.
    pub stat_activity: &'static str,
    /// Function: the processes with a lock that this one waits for.
    pub blocking_pids: &'static str,
    /// Function that ends the session of a process.
    pub terminate_backend: &'static str,
    /// View of the replication slots.
    pub replication_slots: &'static str,
    /// Function: is this server in recovery.
    pub is_in_recovery: &'static str,
    /// Function: last position received and flushed by the WAL receiver.
    pub last_receive: &'static str,
    /// Function: last position replayed.
    pub last_replay: &'static str,
    /// Function: is the replay paused.
    pub is_replay_paused: &'static str,
    /// Function: resume a paused replay.
    pub replay_resume: &'static str,
    /// Function: read the configuration again.
    pub reload_conf: &'static str,
    /// Heading of `reload_conf`'s result as the server's client prints it.
    pub reload_heading: &'static str,
    /// Function: create a physical slot (name, reserve at once).
    pub create_physical_slot: &'static str,
    /// Function: drop a slot (name).
    pub drop_slot: &'static str,
    /// Function: the position up to which a primary's WAL is on its disk.
    pub current_flush: &'static str,
    /// Column of `stat_replication`: the position up to which the standby has written.
    pub write_column: &'static str,
    /// Heading of `create_physical_slot`'s result as the server's client prints it.
    pub create_slot_heading: &'static str,
    /// Function: the position up to which a primary has written WAL.
    pub current_write: &'static str,
    /// Function: the name of the WAL segment file of a position.
    pub segment_name: &'static str,
    /// Function: what the control file has of the last checkpoint (a row with `timeline_id`).
    pub control_checkpoint: &'static str,
    /// Function: the text of a file in the data directory.
    pub read_file: &'static str,
    /// Function: the bytes of one, from a position on.
    pub read_binary_file: &'static str,
    /// Function: the names in a directory of the data directory.
    pub list_dir: &'static str,
    /// Bytes of all databases, a scalar.
    pub cluster_size: &'static str,
    /// View of the tablespaces; two of them are there from the start.
    pub tablespaces: &'static str,
    /// How the pool's `pcp_*` programs get their password.
    pub pcp_password: PcpPassword,
}

/// Where a standby has its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandbySettings {
    /// All in [`Flavor::standby_file`], which the server reads at its start only: up to version 11.
    OwnFile,
    /// Among the other settings, [`Flavor::standby_file`] being an empty mark: from 12 on. The
    /// named file is read last, and so wins.
    Configuration {
        /// The file that the server itself writes.
        last: &'static str,
        /// The first version (`server_version_num`) in which a reload is enough.
        reloads_from: u32,
    },
}

/// The form of a password in `primary_conninfo`, as the WAL receiver reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConninfoPassword {
    /// As it is.
    Clear,
    /// Encoded, as in `HAmodule.conf`.
    Base64,
}

impl ConninfoPassword {
    /// How `password` is written.
    pub fn written(self, password: &Secret) -> String {
        match self {
            Self::Clear => password.expose().to_owned(),
            Self::Base64 => password.to_base64(),
        }
    }

    /// The password that is written so. What is not encoded is taken as it is.
    pub fn read(self, written: &str) -> String {
        let decoded = match self {
            Self::Clear => None,
            Self::Base64 => Secret::decode(written),
        };
        decoded.map_or(written.to_owned(), |it| it.expose().to_owned())
    }
}

/// A way for a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PcpPassword {
    /// `-W PASSWORD`, decoded, as the vendor's script calls kingbasecluster's own programs (the line
    /// that it logs shows the encoded one). While they run, everybody on the host can see it.
    Argument,
    /// A file that the environment names, and `-w`: pgpool-II's, whose `-W` asks at the terminal.
    File,
}

/// KingbaseES V8R3.
pub static KINGBASE: Flavor = Flavor {
    server: "kingbase",
    ctl: "sys_ctl",
    controldata: "sys_controldata",
    sql_client: "ksql",
    pid_file: "kingbase.pid",
    opts_file: "kingbase.opts",
    prefix: "sys_",
    server_files: &[
        "SYS_VERSION",
        "PG_VERSION",
        "base",
        "global",
        "kingbase.pid",
        "kingbase.opts",
        "backup_label",
        "backup_label.old",
        "tablespace_map",
        "tablespace_map.old",
        "failover-tools.copy",
    ],
    wal_dir: "sys_xlog",
    tablespace_dir: "sys_tblspc",
    standby_file: "recovery.conf",
    rewind: "sys_rewind",
    rewind_target: "--target-data",
    rewind_unsynced: &[],
    rewind_restores: None,
    rewind_config: None,
    rewind_tried: &["--dry-run", "--debug"],
    syncs_at_once: None,
    basebackup: "sys_basebackup",
    conf_file: "kingbase.conf",
    auto_conf: "kingbase.auto.conf",
    slots_dir: "sys_replslot",
    control_file: "global/sys_control",
    control_copies: Some("control_file_copy"),
    standby_settings: StandbySettings::OwnFile,
    conninfo_password: ConninfoPassword::Base64,
    source_options: "connect_timeout=10 keepalives_idle=10 keepalives_interval=3 keepalives_count=3",
    rewind_source_options: "",
    password_variables: &["KINGBASE_PASSWORD", "KINGBASEPASSWORD", "PGPASSWORD"],
    search_path: "sys_catalog,pg_catalog",
    stat_replication: "sys_stat_replication",
    stat_wal_receiver: "sys_stat_wal_receiver",
    stat_activity: "sys_stat_activity",
    blocking_pids: "sys_blocking_pids",
    terminate_backend: "sys_terminate_backend",
    replication_slots: "sys_replication_slots",
    is_in_recovery: "sys_is_in_recovery",
    last_receive: "sys_last_xlog_receive_location",
    last_replay: "sys_last_xlog_replay_location",
    is_replay_paused: "sys_is_xlog_replay_paused",
    replay_resume: "sys_xlog_replay_resume",
    reload_conf: "sys_reload_conf",
    reload_heading: " SYS_RELOAD_CONF",
    create_physical_slot: "sys_create_physical_replication_slot",
    drop_slot: "sys_drop_replication_slot",
    current_flush: "sys_current_xlog_flush_location",
    write_column: "write_location",
    create_slot_heading: " SYS_CREATE_PHYSICAL_REPLICATION_SLOT",
    current_write: "sys_current_xlog_location",
    segment_name: "sys_xlogfile_name",
    control_checkpoint: "sys_control_checkpoint",
    read_file: "sys_read_file",
    read_binary_file: "sys_read_binary_file",
    list_dir: "sys_ls_dir",
    cluster_size: "SELECT sum(sys_database_size(oid))::bigint FROM sys_database",
    tablespaces: "sys_tablespace",
    pcp_password: PcpPassword::Argument,
};

/// PostgreSQL 12 and later.
pub static POSTGRES: Flavor = Flavor {
    server: "postgres",
    ctl: "pg_ctl",
    controldata: "pg_controldata",
    sql_client: "psql",
    pid_file: "postmaster.pid",
    opts_file: "postmaster.opts",
    prefix: "pg_",
    server_files: &[
        "PG_VERSION",
        "base",
        "global",
        "postmaster.pid",
        "postmaster.opts",
        "current_logfiles",
        "backup_manifest",
        "backup_label",
        "backup_label.old",
        "tablespace_map",
        "tablespace_map.old",
        "standby.signal",
        "recovery.signal",
        "failover-tools.copy",
    ],
    wal_dir: "pg_wal",
    tablespace_dir: "pg_tblspc",
    standby_file: "standby.signal",
    rewind: "pg_rewind",
    rewind_target: "--target-pgdata",
    rewind_unsynced: &["--no-sync"],
    rewind_restores: Some(("--restore-target-wal", 130_000)),
    rewind_config: Some(("--config-file", 150_000)),
    rewind_tried: &["--dry-run", "--debug"],
    syncs_at_once: Some(("recovery_init_sync_method=syncfs", 140_000)),
    basebackup: "pg_basebackup",
    conf_file: "postgresql.conf",
    auto_conf: "postgresql.auto.conf",
    slots_dir: "pg_replslot",
    control_file: "global/pg_control",
    control_copies: None,
    standby_settings: StandbySettings::Configuration {
        last: "postgresql.auto.conf",
        reloads_from: 130_000,
    },
    conninfo_password: ConninfoPassword::Clear,
    source_options: "connect_timeout=10 keepalives_idle=10 keepalives_interval=3 keepalives_count=3 \
                     tcp_user_timeout=20000",
    rewind_source_options: "options=-cjit=off",
    password_variables: &["PGPASSWORD"],
    search_path: "pg_catalog",
    stat_replication: "pg_stat_replication",
    stat_wal_receiver: "pg_stat_wal_receiver",
    stat_activity: "pg_stat_activity",
    blocking_pids: "pg_blocking_pids",
    terminate_backend: "pg_terminate_backend",
    replication_slots: "pg_replication_slots",
    is_in_recovery: "pg_is_in_recovery",
    last_receive: "pg_last_wal_receive_lsn",
    last_replay: "pg_last_wal_replay_lsn",
    is_replay_paused: "pg_is_wal_replay_paused",
    replay_resume: "pg_wal_replay_resume",
    reload_conf: "pg_reload_conf",
    reload_heading: " pg_reload_conf",
    create_physical_slot: "pg_create_physical_replication_slot",
    drop_slot: "pg_drop_replication_slot",
    current_flush: "pg_current_wal_flush_lsn",
    write_column: "write_lsn",
    create_slot_heading: " pg_create_physical_replication_slot",
    current_write: "pg_current_wal_lsn",
    segment_name: "pg_walfile_name",
    control_checkpoint: "pg_control_checkpoint",
    read_file: "pg_read_file",
    read_binary_file: "pg_read_binary_file",
    list_dir: "pg_ls_dir",
    cluster_size: "SELECT sum(pg_database_size(oid))::bigint FROM pg_database",
    tablespaces: "pg_tablespace",
    pcp_password: PcpPassword::File,
};

/// Neither server's programs are where `KB_PATH` says.
#[derive(Debug, thiserror::Error)]
#[error(
    "KB_PATH {0} holds neither {kingbase} nor {postgres}: correct KB_PATH, or set DB_FLAVOR",
    kingbase = KINGBASE.ctl,
    postgres = POSTGRES.ctl
)]
pub struct UnknownFlavor(String);

impl Flavor {
    /// The configured flavor (`DB_FLAVOR`), else the one whose control program lies in `KB_PATH`.
    pub fn of(config: &Config) -> Result<&'static Self, UnknownFlavor> {
        match config.db_flavor {
            Some(DbFlavor::Kingbase) => Ok(&KINGBASE),
            Some(DbFlavor::Postgres) => Ok(&POSTGRES),
            None => Self::found_in(&config.kb_path),
        }
    }

    fn found_in(bin: &Path) -> Result<&'static Self, UnknownFlavor> {
        [&KINGBASE, &POSTGRES]
            .into_iter()
            .find(|flavor| bin.join(flavor.ctl).exists())
            .ok_or_else(|| UnknownFlavor(bin.display().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_written_as_it_is_read() {
        // Shortened by hand, and with the line end of an `echo`.
        let secret = Secret::decode("aXQncwo").unwrap();
        for (form, expected) in [
            (ConninfoPassword::Clear, "it's"),
            (ConninfoPassword::Base64, "aXQncw=="),
        ] {
            let written = form.written(&secret);
            assert_eq!(written, expected);
            assert_eq!(form.read(&written), "it's");
        }
        assert_eq!(ConninfoPassword::Base64.read("it's"), "it's");
    }
}
