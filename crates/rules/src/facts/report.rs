//! What a host answers to the coordinator. JSON on the way; both ends are this program.

use super::lsn::{Lsn, Timeline};
use super::mac::Mac;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The old primary is fenced: no process of its server is left and its port refuses. Or those that
/// are left were killed and hang in the kernel, where a disk keeps them: see [`Self::stuck`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceReport {
    /// How the server ended.
    pub how: String,
    /// Processes that SIGKILL has met in the kernel, waiting for a disk that does not answer. When it
    /// does, the kernel ends them before they run another instruction: of the write that each is in,
    /// the disk may get the rest, but no client and no standby hears of it.
    #[serde(default)]
    pub stuck: Vec<i32>,
    /// Who has started it again since, where somebody has: it runs as a standby.
    #[serde(default)]
    pub restarted_by: Option<String>,
    /// Who else listens on its port, though no process of it is left: a user of that host.
    #[serde(default)]
    pub listener: Option<String>,
    /// After a clean stop, the position of the shutdown checkpoint.
    pub shutdown_checkpoint: Option<Lsn>,
    /// The timeline on which it was primary; `None` if it runs as a standby or did not tell.
    pub timeline: Option<Timeline>,
    /// Whose side the host is on, where it is not that of the coordinator that asks: another one has fenced
    /// it a moment before, or it follows a primary already.
    #[serde(default)]
    pub claimed: Option<String>,
    /// The database VIP could not be taken off.
    pub keeps_vip: bool,
    /// The hardware addresses of the host.
    pub macs: Vec<Mac>,
}

impl fmt::Display for FenceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database {}", self.how)?;
        if !self.stuck.is_empty() {
            let stuck = &self.stuck;
            write!(
                f,
                ": processes {stuck:?} hang in the kernel until their disk answers, and then end"
            )?;
        }
        if let Some(who) = &self.restarted_by {
            write!(f, ", and started again by {who}: it runs as a standby")?;
        }
        if let Some(who) = &self.listener {
            write!(
                f,
                ", while {who} listens on its port, which is no database of this host"
            )?;
        }
        if let Some(position) = self.shutdown_checkpoint {
            write!(f, ", clean, shutdown checkpoint at {position}")?;
        }
        match self.keeps_vip {
            true => f.write_str(", but the database VIP could not be taken off"),
            false => Ok(()),
        }
    }
}

/// The host is the primary now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromoteReport {
    /// It was a primary when we came.
    pub already: bool,
    /// The timeline that it was on, and the one that it is on now, where both were seen.
    #[serde(default)]
    pub timelines: Option<(Timeline, Timeline)>,
}
