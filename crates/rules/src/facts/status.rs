//! How a host's instance is. Hosts tell it to each other as JSON; both ends are this project's.

use super::lsn::{Lsn, Timeline};
use super::mac::Mac;
use serde::{Deserialize, Serialize};

/// How a host's instance is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// It has processes, or whether it has cannot be seen.
    pub running: bool,
    /// What the server said; `None` if it did not answer.
    pub in_recovery: Option<bool>,
    /// It gave no answer, and is in recovery by its control file, its settings and its processes.
    #[serde(default)]
    pub recovers: bool,
    /// Why something is not known.
    pub trouble: Option<String>,
    /// The newest timeline that it has, by its control file, its WAL and its WAL receiver; 0 if
    /// none of them could be read.
    pub timeline: Timeline,
    /// The newest timeline that a failover has told this host of, whether it has got its history or not; 0:
    /// none, or a version before this one.
    #[serde(default)]
    pub told: Timeline,
    /// It was a primary beside another one, and nothing proved which was right: nobody has decided yet.
    #[serde(default)]
    pub undecided: bool,
    /// A failover has stopped its primary, and it was not recovered since.
    #[serde(default)]
    pub fenced: bool,
    /// Received and flushed by the WAL receiver. After a restart it starts at a segment boundary.
    pub received: Option<Lsn>,
    /// Replayed.
    pub replayed: Option<Lsn>,
    /// By the control file.
    pub control: Option<Lsn>,
    /// `Database cluster state` of the control file; that of a primary whether it runs or not.
    pub control_state: Option<String>,
    /// Bytes of a WAL segment file, by the control file.
    pub segment_size: Option<u64>,
    /// Milliseconds since its WAL receiver got a message; `None` if none runs.
    pub receiver_silent_ms: Option<u64>,
    /// A recovery works on it: it may be stopped for the moment, and lets go for a promotion.
    pub in_work: bool,
    /// What would make every promotion of it fail, whether it runs or not.
    pub obstacle: Option<String>,
    /// It has the database VIP.
    pub vip_here: bool,
    /// The hardware addresses of the host.
    pub macs: Vec<Mac>,
}

impl Status {
    /// The furthest position that it has.
    pub fn position(&self) -> Lsn {
        [self.received, self.replayed, self.control]
            .into_iter()
            .flatten()
            .max()
            .unwrap_or_default()
    }

    /// Whether this standby has streamed since its server was started. A server that has only asked for WAL
    /// shows the beginning of the segment that it asked for as received.
    pub fn has_streamed(&self) -> bool {
        let size = self.segment_size.unwrap_or(16 << 20).max(1);
        self.received.is_some_and(|received| {
            let asked_only = received.0 % size == 0;
            !asked_only && self.replayed.is_none_or(|replayed| received >= replayed)
        })
    }

    /// Whether its control file is a primary's, running, stopped or crashed. `None`: not known.
    pub fn was_primary(&self) -> Option<bool> {
        self.control_state.as_deref().map(is_primary_state)
    }
}

/// Whether `state` (`Database cluster state`) is one of a primary: running, crashed or shut down.
pub fn is_primary_state(state: &str) -> bool {
    [
        "in production",
        "shut down",
        "shutting down",
        "in crash recovery",
    ]
    .contains(&state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_that_has_only_asked_for_wal_has_not_streamed() {
        let at = |received: Option<u64>, replayed: Option<u64>| Status {
            received: received.map(Lsn),
            replayed: replayed.map(Lsn),
            segment_size: Some(16 << 20),
            ..Status::default()
        };
        for (what, status, expected) in [
            (
                "all of it is replayed",
                at(Some(0x300_0100), Some(0x300_0100)),
                true,
            ),
            (
                "replay is behind",
                at(Some(0x300_0100), Some(0x300_0060)),
                true,
            ),
            (
                "asked after a restart",
                at(Some(0x300_0000), Some(0x300_0100)),
                false,
            ),
            (
                "at the very boundary",
                at(Some(0x300_0000), Some(0x300_0000)),
                false,
            ),
            ("never asked", at(None, Some(0x300_0100)), false),
        ] {
            assert_eq!(status.has_streamed(), expected, "{what}");
        }
    }
}
