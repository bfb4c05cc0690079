//! What a coordinator asks of a host: done directly where the host is this one, else by that host's own
//! copy of the tool, over ssh.

use super::candidate::Promotion;
use super::follow::{self, Leader, Whom};
use super::here::Here;
use super::{facts, fence, history, promote};
use crate::config::Config;
use crate::deadline::Deadline;
use crate::host::ThisHost;
use crate::journal::Journal;
use crate::lsn::Timeline;
use crate::needs;
use crate::peer::{RETURN_TIME, step_command};
use crate::procedure::Frame;
use crate::process::Cmd;
use crate::promotion::WITHDRAW_TIME;
use crate::status;
use anyhow::{Context, Result};
use failover_rules::plan::failover::{LAST_LOOK, PROMOTION_SLACK};
use serde_json::Value;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// Of the time for fencing, what is at most kept for its answer.
const FENCE_RETURN_TIME: Duration = Duration::from_millis(400);

/// What the coordinator asks of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Say how the instance is.
    Status,
    /// Say all that the whole cluster is looked at for.
    Facts {
        /// Try the logins to the other hosts, too.
        try_logins: bool,
    },
    /// Say what the runs on this host did.
    History,
    /// Stop the instance and drop the VIP; the host of the coordinator, which one before this version does
    /// not tell.
    Fence(Option<IpAddr>),
    /// Stop listening to the old primary: what it is not told, it does not acknowledge.
    Hold {
        /// The timeline that whoever is promoted gets; 0: not known.
        newer: Timeline,
        /// The old primary, which a version before this one does not tell.
        old: Option<IpAddr>,
    },
    /// Follow this host.
    Follow(Leader),
    /// Become primary.
    Promote(Promotion),
}

impl Order {
    /// The command line that gives this order to the tool in `bin` of the host with `address`.
    pub fn command(
        &self,
        bin: &Path,
        address: IpAddr,
        run: &str,
        die_after: Option<&str>,
        limit: Duration,
    ) -> Cmd {
        let name = match self {
            Self::Status => "status",
            Self::Facts { .. } => "facts",
            Self::History => "history",
            Self::Fence(_) => "fence",
            Self::Hold { .. } => "hold",
            Self::Follow(_) => "follow",
            Self::Promote(_) => "promote",
        };
        let mut cmd = step_command(bin, address, name, run, limit);
        if let Self::Facts { try_logins: true } = self {
            cmd = cmd.arg("--try-logins");
        }
        if let Self::Fence(Some(coordinator)) = self {
            cmd = cmd.args(["--coordinator".to_owned(), coordinator.to_string()]);
        }
        if let Self::Hold { newer, old } = self {
            if *newer > 0 {
                cmd = cmd.args(["--newest-timeline".to_owned(), newer.to_string()]);
            }
            if let Some(old) = old {
                cmd = cmd.args(["--old-primary".to_owned(), old.to_string()]);
            }
        }
        if let Self::Follow(leader) = self {
            cmd = cmd.args(["--primary".to_owned(), leader.address.to_string()]);
            cmd = cmd.args(["--newest-timeline".to_owned(), leader.timeline.to_string()]);
            if let Some(host) = leader.instead_of {
                cmd = cmd.args(["--instead-of".to_owned(), host.to_string()]);
            }
        }
        if let Self::Promote(order) = self {
            if let Some(address) = order.old_primary {
                cmd = cmd.args(["--old-primary".to_owned(), address.to_string()]);
            }
            if let Some(timeline) = order.old_timeline {
                cmd = cmd.args(["--old-timeline".to_owned(), timeline.to_string()]);
            }
            if let Some(position) = order.wait_for {
                cmd = cmd.args(["--wait-for".to_owned(), position.to_string()]);
            }
            // A host with an older version would not know it, and has nothing to do with it.
            if order.followers > 0 {
                cmd = cmd.args(["--followers".to_owned(), order.followers.to_string()]);
            }
            if order.newest_timeline > 0 {
                let newest = order.newest_timeline.to_string();
                cmd = cmd.args(["--newest-timeline".to_owned(), newest]);
            }
        }
        match die_after {
            Some(step) => cmd.args(["--die-after", step]),
            None => cmd,
        }
    }

    /// What it may take beyond the time that it is given: the promotion has a time of its own.
    pub fn extra_time(&self, config: &Config) -> Duration {
        match self {
            Self::Status
            | Self::Facts { .. }
            | Self::History
            | Self::Hold { .. }
            | Self::Follow(_) => Duration::ZERO,
            // It may have begun late, on a host whose login takes long: its end is worth a last look.
            Self::Fence(_) => LAST_LOOK,
            // One that is given up is withdrawn, too, before it answers.
            Self::Promote(_) => config.promote_timeout + PROMOTION_SLACK + WITHDRAW_TIME,
        }
    }

    /// The time of whoever carries it out, where it is waited for until `deadline`: its answer has to
    /// come back. A fence that needs all of its time ends with an answer, too, and that one decides
    /// whether there will be a primary; on the way there may be a login on a host that is in trouble.
    pub fn limit(&self, deadline: Deadline) -> Duration {
        let left = deadline.remaining();
        left.saturating_sub(match self {
            Self::Status
            | Self::Facts { .. }
            | Self::History
            | Self::Hold { .. }
            | Self::Follow(_)
            | Self::Promote(_) => RETURN_TIME,
            Self::Fence(_) => (left / 8).clamp(RETURN_TIME, FENCE_RETURN_TIME),
        })
    }

    /// Does it on this host. The answer is the step's report as JSON.
    pub fn carry_out(
        &self,
        host: &ThisHost,
        journal: &Journal,
        die_after: Option<&str>,
        deadline: Deadline,
    ) -> Result<Value> {
        let name = host.config.kb_localhost_ip.to_string();
        let frame = Frame {
            journal,
            host: &name,
            deadline,
            die_after,
        };
        let here = || -> Result<Here<'_>> {
            let instance = host.instance()?;
            Ok(Here { host, instance })
        };
        let report = match self {
            // Also where there is no database, or none that can be worked on.
            Self::Facts { try_logins } => {
                serde_json::to_value(facts::look(host, journal.run(), *try_logins, deadline))
            }
            Self::History => serde_json::to_value(history::look(host, deadline)?),
            Self::Status => {
                let here = here()?;
                let mut status = status::look(host, &here.instance, deadline);
                // Looked for only where somebody may be promoted: a knock at this host's sshd may
                // belong to it, and that one writes a line for each.
                let obstacle = status.obstacle.take();
                status.obstacle = obstacle.or_else(|| needs::vip_obstacle(host));
                status::add_marks(host, &mut status);
                serde_json::to_value(status)
            }
            Self::Fence(by) => serde_json::to_value(fence::fence(&here()?, *by, frame)?),
            Self::Hold { newer, old } => {
                let whom = Whom::Nobody {
                    newer: *newer,
                    old: *old,
                };
                serde_json::to_value(follow::follow(&here()?, whom, frame)?)
            }
            Self::Follow(leader) => {
                serde_json::to_value(follow::follow(&here()?, Whom::Host(*leader), frame)?)
            }
            Self::Promote(order) => serde_json::to_value(promote::promote(&here()?, order, frame)?),
        };
        report.context("failed to write the report")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_fence_has_time_to_come_back() {
        let kept = |order: Order, given| {
            let deadline = Deadline::after(Duration::from_millis(given));
            deadline.remaining().abs_diff(order.limit(deadline))
        };
        let slack = Duration::from_millis(20);
        for (given, expected) in [(4000, 400), (2000, 250), (200, 50)] {
            let kept = kept(Order::Fence(None), given);
            let expected = Duration::from_millis(expected);
            assert!(kept.abs_diff(expected) < slack, "of {given}: {kept:?}");
        }
        assert!(kept(Order::Status, 4000).abs_diff(RETURN_TIME) < slack);
        assert_eq!(
            Order::Fence(None).limit(Deadline::after(Duration::ZERO)),
            Duration::ZERO
        );
    }
}
