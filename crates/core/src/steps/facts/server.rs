//! What this host's server says of itself.

use crate::deadline::Deadline;
use crate::flavor::Flavor;
use crate::host::ThisHost;
use crate::instance::Instance;
use crate::lsn::Lsn;
use crate::replication;
use crate::sql::{Session, quote};
use crate::standby::{self, StandbyFiles};
use crate::status;
use crate::supervisor::Supervisor;
use crate::workers;
use failover_rules::facts::host::{ServerFacts, Slot};
use nix::sys::statvfs::statvfs;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// For a disk to say how full it is.
const DISK_TIME: Duration = Duration::from_millis(300);
/// Findings of its own files that are told at most.
const MOST_LINES: usize = 5;

/// The settings that matter to a failover or a recovery. One that a version does not have is left out.
const SETTINGS: [&str; 25] = [
    "allow_alter_system",
    "data_checksums",
    "fsync",
    "full_page_writes",
    "hot_standby",
    "listen_addresses",
    "max_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_replication_slots",
    "max_slot_wal_keep_size",
    "max_wal_senders",
    "max_worker_processes",
    "primary_conninfo",
    "primary_slot_name",
    "recovery_min_apply_delay",
    "recovery_target_timeline",
    "restart_after_crash",
    "server_version",
    "synchronous_standby_names",
    "wal_level",
    "wal_log_hints",
    "wal_sender_timeout",
    "wal_receiver_timeout",
    "zero_damaged_pages",
];

/// Those that our sessions bring along with other values.
const OF_OUR_SESSIONS: [&str; 2] = ["default_transaction_read_only", "synchronous_commit"];

/// `None`: this host's instance makes no sense by its configuration, which is said elsewhere.
pub fn look(host: &ThisHost, deadline: Deadline) -> Option<ServerFacts> {
    let instance = Instance::new(&host.config).ok()?;
    let (mut status, session) = status::look_and_stay(host, &instance, deadline);
    status::add_marks(host, &mut status);
    let files = StandbyFiles::of(&instance, &host.config);
    let mut facts = ServerFacts {
        status,
        version: instance.version(),
        follows: files.follows(),
        uses_slot: files.primary_slot(),
        ..ServerFacts::default()
    };
    disks(&instance, &mut facts, deadline);
    unit(&instance, &mut facts, deadline);
    if let Some(session) = session {
        let asked = Asked {
            session: &session,
            names: instance.flavor,
            deadline,
        };
        asked.all(&mut facts);
    }
    Some(facts)
}

fn disks(instance: &Instance, facts: &mut ServerFacts, deadline: Deadline) {
    let room = |dir: PathBuf| {
        let disk = workers::within(deadline.at_most(DISK_TIME), move || statvfs(&dir))?.ok()?;
        Some(disk.blocks_available() * disk.fragment_size())
    };
    facts.room = room(instance.data().to_owned());
    facts.wal_room = room(instance.data().join(instance.flavor.wal_dir));
}

fn unit(instance: &Instance, facts: &mut ServerFacts, deadline: Deadline) {
    let supervisor = instance.supervisor();
    facts.unit = supervisor.unit().map(str::to_owned);
    if matches!(supervisor, Supervisor::Unit(_)) {
        facts.restart = supervisor.property("Restart", deadline);
    }
}

/// A session with this host's server.
struct Asked<'a> {
    session: &'a Session,
    names: &'static Flavor,
    deadline: Deadline,
}

impl Asked<'_> {
    fn all(&self, facts: &mut ServerFacts) {
        facts.settings = self.settings();
        // It has a password.
        if let Some(conninfo) = facts.settings.get_mut("primary_conninfo") {
            conninfo.clear();
        }
        // What it uses, and not what it would be given.
        if let Some(slot) = facts.settings.get("primary_slot_name") {
            facts.uses_slot = Some(slot.clone()).filter(|slot| !slot.is_empty());
        }
        facts.system = self.value(&format!(
            "SELECT system_identifier::text FROM {}control_system()",
            self.names.prefix
        ));
        facts.pending = self.list(&format!(
            "SELECT name FROM {}settings WHERE pending_restart ORDER BY name",
            self.names.prefix
        ));
        facts.bad_lines = self.bad_lines();
        facts.archive_fails = self.value(&format!(
            "SELECT last_failed_wal FROM {}stat_archiver WHERE last_failed_time IS NOT NULL \
             AND last_failed_time > coalesce(last_archived_time, '-infinity')",
            self.names.prefix
        ));
        let oldest = self.value(&format!(
            "SELECT floor(max(extract(epoch FROM now() - xact_start)))::bigint FROM {} \
             WHERE usename IS NOT NULL AND state <> 'active' OR xact_start < now() - interval '1 hour'",
            self.names.stat_activity
        ));
        facts.oldest_transaction = oldest.and_then(|it| it.parse().ok());
        facts.slots = self.slots(facts.is_primary());
        match facts.status.in_recovery {
            Some(false) => {
                let all = replication::standbys(self.session, self.names, self.deadline);
                facts.senders = all.unwrap_or_default();
            }
            _ => {
                let kept = standby::kept_on(self.session, self.names, self.deadline);
                facts.kept_on = kept.unwrap_or_default();
                let paused = format!("SELECT {}()", self.names.is_replay_paused);
                facts.replay_paused = self.value(&paused).as_deref() == Some("t");
            }
        }
    }

    /// What cannot be asked of this version is not known.
    fn value(&self, statement: &str) -> Option<String> {
        self.session.value(statement, self.deadline).ok()?
    }

    fn list(&self, statement: &str) -> Vec<String> {
        let rows = self
            .session
            .query(statement, self.deadline)
            .unwrap_or_default();
        rows.into_iter().flatten().flatten().collect()
    }

    fn settings(&self) -> BTreeMap<String, String> {
        let names: Vec<String> = SETTINGS
            .iter()
            .map(|name| format!("({})", quote(name)))
            .collect();
        let statement = format!(
            "SELECT name, current_setting(name, true) FROM (VALUES {}) AS wanted (name)",
            names.join(", ")
        );
        let rows = self
            .session
            .query(&statement, self.deadline)
            .unwrap_or_default();
        let pair = |row: Vec<Option<String>>| {
            let [name, value] = <[Option<String>; 2]>::try_from(row).ok()?;
            Some((name?, value?))
        };
        let mut settings: BTreeMap<String, String> = rows.into_iter().filter_map(pair).collect();
        for name in OF_OUR_SESSIONS {
            settings.insert(name.to_owned(), self.in_files(name));
        }
        settings
    }

    /// As the server's files have it. Empty: they do not, or it cannot be asked.
    fn in_files(&self, name: &str) -> String {
        let statement = format!(
            "SELECT setting FROM {}file_settings WHERE applied AND name = {} ORDER BY seqno DESC LIMIT 1",
            self.names.prefix,
            quote(name)
        );
        self.value(&statement).unwrap_or_default()
    }

    /// Of the settings' files, and from version 10 on of the hba file.
    fn bad_lines(&self) -> Vec<String> {
        let prefix = self.names.prefix;
        let settings = self.list(&format!(
            "SELECT sourcefile || ' line ' || sourceline || ': ' || coalesce(name || ': ', '') || error \
             FROM {prefix}file_settings WHERE error IS NOT NULL \
             AND error <> 'setting could not be applied' LIMIT {MOST_LINES}"
        ));
        let hba = self.list(&format!(
            "SELECT current_setting('hba_file') || ' line ' || line_number || ': ' || error \
             FROM {prefix}hba_file_rules WHERE error IS NOT NULL LIMIT {MOST_LINES}"
        ));
        settings.into_iter().chain(hba).collect()
    }

    fn slots(&self, is_primary: bool) -> Vec<Slot> {
        let now = match is_primary {
            true => self.value(&format!("SELECT {}()", self.names.current_flush)),
            false => None,
        };
        let now = now.and_then(|it| it.parse::<Lsn>().ok());
        let statement = format!(
            "SELECT slot_name, active, restart_lsn FROM {} ORDER BY slot_name",
            self.names.replication_slots
        );
        let rows = self
            .session
            .query(&statement, self.deadline)
            .unwrap_or_default();
        let slot = |row: Vec<Option<String>>| {
            let [name, active, from] = <[Option<String>; 3]>::try_from(row).ok()?;
            let from = from.and_then(|it| it.parse::<Lsn>().ok());
            Some(Slot {
                name: name?,
                active: active.is_some_and(|it| it.starts_with('t')),
                keeps: now.zip(from).map(|(now, from)| now.since(from)),
            })
        };
        rows.into_iter().filter_map(slot).collect()
    }
}
