//! What an operator allows and wants, as the configuration says it.

/// `PROMOTE_WITHOUT_FENCE`: when to promote although nobody could stop the old primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromoteWithoutFence {
    /// Never: only when the old primary is known to be stopped.
    Never,
    /// When its host shows no sign of life.
    Unreachable,
    /// In any case: there may be two primaries then.
    Always,
}

/// `SYNC_DEGRADE`: what a synchronous primary does that has lost its last standby.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncDegrade {
    /// It goes on asynchronously.
    Always,
    /// Its commits wait for a standby.
    Never,
}

/// `FAILOVER_CANDIDATE`: which standby is promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailoverCandidate {
    /// The one that has received most.
    Best,
    /// The one that the pool names.
    Given,
}

/// `FAILOVER_QUORUM`: of three or more hosts, how many have to be seen for a failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailoverQuorum {
    /// More than half, this one included.
    Majority,
    /// None.
    None,
}

/// `GATEWAY_LOST_ACTION`: when a primary that reaches no trust IP stops itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GatewayLostAction {
    /// When no other host of the cluster answers either.
    Isolated,
    /// At once, as the scripts did.
    Always,
    /// Not for that reason.
    Never,
}

/// `REWIND_FALLBACK`: what is left when a rewind has failed twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RewindFallback {
    /// The database stays down until a person has looked.
    None,
    /// A fresh copy of the primary.
    Basebackup,
}
