//! What a host says of itself for the whole cluster to be looked at. Hosts tell it to each other as JSON;
//! what another version does not tell is empty.

use super::standby::Standby;
use super::status::Status;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// All that one host says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostFacts {
    /// The version of its tools, with commit and day: whoever answers puts it there.
    #[serde(rename = "version")]
    pub tools: String,
    /// `NODE_NAME`.
    pub node: String,
    /// Its clock, in milliseconds since 1970.
    pub clock_ms: i64,
    /// The keys of its `HAmodule.conf` that every host has alike, with their values. Of a secret: a digest
    /// that differs from run to run.
    pub keys: BTreeMap<String, String>,
    /// What its `--check-config` has to say.
    pub remarks: Vec<Remark>,
    /// Its server. `None`: it has only a pool.
    pub server: Option<ServerFacts>,
    /// The marks that failovers, recoveries and people have left.
    pub marks: Marks,
    /// Seconds since `network_rewind` last wrote to its log. `None`: never, or not known.
    pub last_look: Option<u64>,
    /// Who starts `network_rewind` each minute.
    pub schedule: Schedule,
    /// It has the cluster VIP.
    pub pool_vip_here: bool,
    /// Why the database VIP cannot be put there.
    pub vip_obstacle: Option<String>,
    /// systemd removes a user's shared memory with its last session, and the server belongs to such a user.
    pub removes_ipc: bool,
    /// Logins over ssh that were tried from there.
    pub ssh: Vec<Login>,
    /// Logins to servers as `KB_USER` that were tried from there.
    pub sql: Vec<Login>,
    /// Replication logins that were tried from there.
    pub replication: Vec<Login>,
}

/// A login that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// At which host.
    pub to: IpAddr,
    /// As whom.
    pub user: String,
    /// Why it was refused. `None`: it went well.
    pub refused: Option<String>,
}

/// Something about a configuration file or what it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// The tools refuse the file, or cannot do what they have to.
    pub is_error: bool,
    /// The file, its line, the key and the text.
    pub text: String,
}

/// What failovers, recoveries and people have left on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Marks {
    /// It is paused since then, and why.
    pub paused: Option<(String, String)>,
    /// A failover stopped its primary then.
    pub fenced: Option<String>,
    /// It stopped its own primary then.
    pub self_fenced: Option<String>,
    /// Its primary was seen beside another one then.
    pub undecided: Option<String>,
    /// A rewind or a copy broke off.
    pub half_done: bool,
    /// The state could not be read.
    pub unreadable: Option<String>,
}

/// Who starts `network_rewind` each minute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Nobody could say: who asked may not read the tables.
    #[default]
    Unknown,
    /// Nobody.
    Nobody,
    /// These files.
    Files(Vec<String>),
}

/// A replication slot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Somebody streams by it.
    pub active: bool,
    /// Bytes of WAL that it keeps.
    pub keeps: Option<u64>,
}

/// All that a host says of its server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServerFacts {
    /// As a failover asks for it.
    pub status: Status,
    /// Its version, as its program says.
    pub version: Option<u32>,
    /// What tells this database from any other; copies have it, too.
    pub system: Option<String>,
    /// Its settings, as far as they matter here. Empty: it was not asked or gave no answer.
    pub settings: BTreeMap<String, String>,
    /// The settings that it takes at its next start only.
    pub pending: Vec<String>,
    /// What is wrong in its own files of settings and of who is let in.
    pub bad_lines: Vec<String>,
    /// Of a primary: who streams from it.
    pub senders: Vec<Standby>,
    /// Its slots.
    pub slots: Vec<Slot>,
    /// The host that its standby settings name (empty: none). `None`: it has no such settings.
    pub follows: Option<String>,
    /// The slot that its standby settings name.
    pub uses_slot: Option<String>,
    /// What keeps it on a timeline.
    pub kept_on: Option<String>,
    /// Its replay is paused.
    pub replay_paused: bool,
    /// Its archiver's last try failed: the file.
    pub archive_fails: Option<String>,
    /// The oldest transaction that is open, in seconds.
    pub oldest_transaction: Option<u64>,
    /// The systemd unit that it belongs to.
    pub unit: Option<String>,
    /// What that unit does when it dies (`Restart=`), where that is known.
    pub restart: Option<String>,
    /// Bytes that are free where its data lies.
    pub room: Option<u64>,
    /// Bytes that are free where its WAL lies.
    pub wal_room: Option<u64>,
}

impl ServerFacts {
    /// Whether its server says that it is a primary.
    pub fn is_primary(&self) -> bool {
        self.status.in_recovery == Some(false)
    }

    /// A setting.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// A setting that is a number without a unit.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.setting(name)?.parse().ok()
    }
}
