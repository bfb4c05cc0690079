//! What a recovery leaves for the runs after it.

use super::lsn::Timeline;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Since when and why nothing is to be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Wall clock.
    pub since: String,
    /// In the operator's words; may be empty.
    pub why: String,
}

/// What a failover leaves on a host: it stopped the primary there, which must not come back by itself; or
/// it told the standby there to listen to nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceMark {
    /// Wall clock, for a person.
    pub since: String,
    /// The same in seconds since 1970.
    pub at: u64,
    /// The run of the failover.
    pub run: String,
    /// Seconds in which that failover is over, however long its promotion took.
    pub lasts: u64,
    /// Of a hold: the timeline that the new primary gets; 0: not known.
    #[serde(default)]
    pub newer: Timeline,
    /// Of a fence: whose side the host is on.
    #[serde(default)]
    pub claim: Option<Claim>,
    /// Of a hold: whom another failover had had the standby follow, and to whom it goes back if this one comes
    /// to nothing.
    #[serde(default)]
    pub before: Option<Followed>,
    /// Of a hold: a recovery had the instance, and this is all that the failover could leave. The standby
    /// settings are those of before.
    #[serde(default)]
    pub word_only: bool,
}

/// Whom a failover has had a standby follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Followed {
    /// The host, as the standby settings name it.
    pub host: String,
    /// The timeline that it gets.
    pub timeline: Timeline,
}

/// The host of a fenced primary is on the side of whoever fenced it first, should the cluster be cut in
/// two: both sides may reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The coordinator.
    pub by: IpAddr,
    /// When it fenced it, in the unit of whoever asks: for the tools, seconds since 1970.
    pub at: u64,
}

impl Claim {
    /// The claim that holds after `by` has fenced the host at `now`: another coordinator's stays for as long
    /// as its failover `lasts`.
    pub fn next(before: Option<Self>, by: IpAddr, now: u64, lasts: u64) -> Self {
        before
            .filter(|it| now.abs_diff(it.at) < lasts)
            .unwrap_or(Self { by, at: now })
    }
}

impl FenceMark {
    /// Whether the failover may still be under way at `now`, in seconds since 1970. A clock that was set
    /// back makes no mark older.
    pub fn is_young(&self, now: u64) -> bool {
        now.abs_diff(self.at) < self.lasts
    }
}

/// A recovery that is under way, or was when its process died.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recovery {
    /// The host to follow; under the mark, the one of whose history a part is there already.
    pub primary: IpAddr,
    /// The timeline of that one when the mark was written. `None`: there was no mark yet, or an older
    /// version wrote it.
    #[serde(default)]
    pub timeline: Option<Timeline>,
    /// What lay in the data directory when the mark was written. `None`: as above.
    #[serde(default)]
    pub data: Option<Identity>,
    /// How far it has come.
    pub stage: Stage,
    /// Slots that were dropped, and are to be made again.
    #[serde(default)]
    pub slots: Vec<String>,
    /// Rewinds that failed since it was begun.
    #[serde(default)]
    pub failures: u32,
}

/// What tells the data of one server from that of another in the same place: its directory with the
/// databases, which a rewind leaves where it is, and a copy brings with it. Also where a person empties
/// the data directory and copies into it, that one is another.
///
/// No device: its number may change with a restart of the host, and then a mark would be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Of that directory.
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970, where the system knows that: inode numbers are used
    /// again.
    pub made: Option<u64>,
}

impl Identity {
    /// Whether both are of the same data.
    pub fn is(self, other: Self) -> bool {
        let made = self.made.zip(other.made);
        self.inode == other.inode && made.is_none_or(|(one, other)| one == other)
    }
}

/// How far a recovery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The data directory holds one history: whatever is done next can be decided anew.
    Preparing,
    /// The mark: it holds half of one history and half of another. It must not be started, let alone
    /// promoted.
    Rewinding,
    /// A whole copy of the primary is being swapped with it: which of the two it is, is to be seen.
    Copying,
    /// It holds the primary's history; what is left is to make it follow.
    Following,
}

impl Recovery {
    /// One that is about to begin.
    pub fn of(primary: IpAddr) -> Self {
        Self {
            primary,
            timeline: None,
            data: None,
            stage: Stage::Preparing,
            slots: Vec::new(),
            failures: 0,
        }
    }

    /// Has the mark written for a rewind of `data` from a primary on `timeline`.
    pub fn mark(&mut self, timeline: Option<Timeline>, data: Option<Identity>) {
        self.stage = Stage::Rewinding;
        self.timeline = timeline;
        self.data = data;
    }

    /// Names the host to follow. The mark keeps the one that it was written for: what has come from
    /// there stays, whoever is the primary now.
    pub fn follow(&mut self, primary: IpAddr) {
        if self.stage != Stage::Rewinding {
            self.primary = primary;
        }
    }

    /// Whether a rewind that broke off can be gone on with from `primary` on `timeline`: from another
    /// history it would leave in place what only the first one has.
    pub fn can_go_on_from(&self, primary: IpAddr, timeline: Timeline) -> bool {
        self.primary == primary && self.timeline.is_none_or(|before| before == timeline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fenced_host_is_on_the_side_of_whoever_came_first() {
        let ip = |last| IpAddr::from([192, 168, 1, last]);
        let first = Claim::next(None, ip(102), 100, 60);
        assert_eq!((first.by, first.at), (ip(102), 100));
        assert_eq!(Claim::next(Some(first), ip(103), 159, 60), first);
        assert_eq!(Claim::next(Some(first), ip(103), 160, 60).by, ip(103));
        // Again by the same: its time goes on from the first.
        assert_eq!(Claim::next(Some(first), ip(102), 120, 60), first);
    }
}
