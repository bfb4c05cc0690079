//! What was seen: of this host, of the pool, and of the other hosts as far as a decision needed it.
//! Plain data; that something did not answer is data, too.

use super::history::History;
use super::left::{Pause, Recovery};
use super::lsn::{Lsn, Timeline, segment_number};
use super::policy::GatewayLostAction;
use super::standby::Standby;
use super::status::Status;
use std::net::IpAddr;

/// Everything that [`crate::decide::decide`] looks at.
#[derive(Clone, Debug)]
pub struct View {
    /// What is allowed and wanted.
    pub policy: Policy,
    /// An operator wants nothing to be changed.
    pub paused: Option<Pause>,
    /// What a run before this one has left unfinished.
    pub left: Option<Recovery>,
    /// There is the mark of a rewind whose data does not lie in the data directory any more.
    pub outlived: bool,
    /// A failover stopped this host's primary, and nothing has become of that yet.
    pub fenced: Option<Fence>,
    /// This host's primary was stopped by the host itself, when it saw nobody any more.
    pub self_fenced: bool,
    /// This host's primary and another one were seen beside each other, and nothing proved which was right.
    pub undecided: bool,
    /// A trust IP answers.
    pub network: bool,
    /// Hosts of the cluster that show a sign of life, once that was looked for.
    pub seen: Option<Seen>,
    /// The data directory has something in it.
    pub has_data: bool,
    /// It is a copy of another server that was never started.
    pub copy: Option<BaseBackup>,
    /// A rewind or a copy has left its label there: no server was started on what it has brought.
    pub unstarted: bool,
    /// This host's instance.
    pub me: Status,
    /// How it came to its timeline, where that can be read.
    pub history: Option<History>,
    /// What its standby settings name as the host to follow, where it has such settings.
    pub follows: Option<String>,
    /// Its server has been running since before these were written, and reads them at its start only.
    pub unread: bool,
    /// What its running server has for `recovery_target_timeline`, where that keeps it on a timeline.
    pub kept_on: Option<String>,
    /// What the pool says.
    pub pool: PoolView,
    /// The hosts of other pools than the one that answered which have this node down, once they were asked.
    pub down_at: Option<Vec<IpAddr>>,
    /// The pool's primary on another host, once it was asked by SQL.
    pub primary: Option<Result<Primary, String>>,
    /// The host of that one, once its own copy of the tools was asked.
    pub primary_host: Option<Result<Status, String>>,
    /// All other database hosts, once they were asked.
    pub others: Option<Vec<(IpAddr, Result<Status, String>)>>,
    /// Another host's primary that the pool does not name, once it was asked by SQL.
    pub rival: Option<(IpAddr, Result<Primary, String>)>,
    /// A failover told this host to listen to nobody or to a new primary, and may be under way still: the
    /// timeline that one gets (0: not known).
    pub held: Option<Timeline>,
    /// Its settings were left as they were, a recovery being at work.
    pub word_only: bool,
    /// The newest timeline that a failover has told this host of; 0: none.
    pub told: Timeline,
    /// This host's server is a primary, and no standby streams from it.
    pub alone: bool,
}

/// What is allowed and wanted.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `KB_LOCALHOST_IP`.
    pub me: IpAddr,
    /// All database hosts with their names.
    pub names: Vec<(IpAddr, String)>,
    /// How many hosts there are, those with a pool alone included.
    pub hosts: usize,
    /// A person said `--force`.
    pub force: bool,
    /// `AUTO_PRIMARY_RECOVERY`.
    pub auto_recovery: bool,
    /// `MAX_AVAILABLE_LEVEL`.
    pub max_available: bool,
    /// `REWIND_FALLBACK` is a base backup.
    pub may_copy: bool,
    /// `SYNC_FLAG`.
    pub sync: bool,
    /// `DATA_SIZE_DIFF` in bytes.
    pub lag_limit: u64,
    /// What a lost trust IP means.
    pub gateway_lost: GatewayLostAction,
    /// There is a database VIP.
    pub has_vip: bool,
    /// The command that copies the primary, for a person.
    pub copy_command: String,
    /// The command that starts this host's server, for a person.
    pub start_command: String,
}

impl Policy {
    /// `NODE_NAME`.
    pub fn my_name(&self) -> &str {
        let mut names = self.names.iter();
        names
            .find(|(address, _)| *address == self.me)
            .map_or("", |(_, name)| name)
    }
}

/// The mark of a failover that stopped this host's primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// When.
    pub since: String,
    /// The run of the failover.
    pub run: String,
    /// It may still be under way.
    pub young: bool,
    /// Who has started the database since, where it runs.
    pub started_by: Option<String>,
}

/// A base backup in the place of the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseBackup {
    /// Somebody makes it just now.
    UnderWay,
    /// Nobody does any more.
    Made,
}

/// Which hosts are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Other hosts, of the databases and of the pools, that show a sign of life.
    pub others: usize,
    /// All configured hosts, this one included.
    pub hosts: usize,
}

/// What the pool says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolView {
    /// Who is primary.
    pub says: PoolSays,
    /// Whether it has this node up; `None` where it does not know this node or gave no answer.
    pub me_up: Option<bool>,
    /// The hosts that it has down.
    pub down: Vec<IpAddr>,
    /// It takes no sessions, and says by PCP that it has every node down.
    pub all_down: bool,
    /// It is this host's own: that it answers does not prove that anybody else sees this host.
    pub own: bool,
}

/// Who is primary, by the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolSays {
    /// It gave no answer.
    NoAnswer(String),
    /// Nobody.
    Nobody,
    /// This node.
    Me,
    /// Another node, with this address.
    Other(IpAddr),
    /// A node that is none of `KB_ALL_IP`.
    Stranger(String),
}

/// The pool's primary on another host, as it answered itself.
#[derive(Clone, Debug)]
pub struct Primary {
    /// It is in recovery, and so none.
    pub in_recovery: bool,
    /// Its timeline and how it came there; `None` where it is in recovery.
    pub history: Option<History>,
    /// Its standbys.
    pub standbys: Vec<Standby>,
    /// The names of its WAL files; empty where they do not matter.
    pub wal: Vec<String>,
    /// Where this node's WAL was compared with that of the primary and is another one, though the
    /// histories are the same: the first position at which it is.
    pub parts_at: Option<Lsn>,
}

/// The oldest position of which a primary with these WAL files has any, if `me` needs older WAL to
/// follow it.
pub fn missing_wal(me: &Status, wal: &[String]) -> Option<Lsn> {
    let size = me.segment_size?;
    let oldest = wal
        .iter()
        .filter_map(|name| segment_number(name, size))
        .min()?;
    (me.position().0 / size < oldest).then_some(Lsn(oldest * size))
}

impl Primary {
    /// This node among its standbys: the sender that streams, if there is one.
    pub fn standby(&self, address: IpAddr, name: &str) -> Option<&Standby> {
        Standby::find(&self.standbys, address, name)
    }

    /// Whether commits wait for one of its standbys.
    pub fn is_synchronous(&self) -> bool {
        self.standbys.iter().any(Standby::is_waited_for)
    }
}
