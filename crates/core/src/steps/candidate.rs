//! A standby that is being promoted: what the steps of its promotion know of it.

use super::here::Here;
use crate::arp::{self, ProbeError};
use crate::config::Config;
use crate::deadline::Deadline;
use crate::flavor::Flavor;
use crate::journal::Journal;
use crate::lsn::{Lsn, Timeline};
use crate::procedure;
use crate::process::{Output, RunError};
use crate::replication::is_in_recovery;
use crate::sql::{Session, SqlError, Target};
use crate::state::InstanceLock;
use crate::vip::Vip;
use crate::workers::Pending;
use anyhow::{Context, Result};
use failover_rules::facts::status::is_primary_state;
use failover_rules::plan::Budget;
use failover_rules::plan::failover::ANSWER_TIME;
use std::net::IpAddr;
use std::time::Duration;

/// What each step after the promotion gets even when all the time is used up: commits that hang
/// on a standby that is gone are an outage, too.
pub(super) const LEAST_TIME: Duration = Duration::from_millis(500);
/// For gratuitous ARP: it takes a millisecond, or a start of `vip_ctl`.
const ANNOUNCE_TIME: Duration = Duration::from_millis(500);

/// The particulars of a promotion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promotion {
    /// Whose slot to keep; `None`: nobody's.
    pub old_primary: Option<IpAddr>,
    /// The timeline on which the old primary was one, if that is known.
    pub old_timeline: Option<Timeline>,
    /// The old primary's shutdown checkpoint, which this host should have first.
    pub wait_for: Option<Lsn>,
    /// So many other standbys are being pointed to this host.
    pub followers: usize,
    /// The newest timeline that any host has; 0: not known.
    pub newest_timeline: Timeline,
}

/// What the steps work on.
pub struct Promote<'a> {
    pub(super) here: &'a Here<'a>,
    pub(super) order: &'a Promotion,
    pub(super) journal: &'a Journal,
    /// For all steps but the promotion itself.
    pub(super) deadline: Deadline,
    pub(super) lock: Option<InstanceLock>,
    pub(super) session: Option<Session>,
    /// Why the server takes no session, where it does not: all is asked of its files and processes then.
    pub(super) unasked: Option<String>,
    /// The promotion was asked for, and has not been seen to come true.
    pub(super) asked: bool,
    /// The promotion was asked for, and has come true.
    pub(super) promoted: bool,
    /// A primary already when we came.
    pub(super) already: bool,
    /// The VIP may be here, put on by us or by a run before this one.
    pub(super) vip_on: bool,
    /// Which numbers the next timeline must not have, once it was asked for.
    pub(super) timelines: Option<Pending<Result<Timelines>>>,
    /// The timeline before the promotion, as far as it was seen in time.
    pub(super) own_timeline: Option<Timeline>,
}

/// This host's own timeline, and the newest that any host is known to have.
pub(super) struct Timelines {
    pub(super) own: Timeline,
    pub(super) newest: Timeline,
}

impl<'a> Promote<'a> {
    pub(super) fn config(&self) -> &'a Config {
        &self.here.host.config
    }

    pub(super) fn names(&self) -> &'static Flavor {
        self.here.instance.flavor
    }

    pub(super) fn me(&self) -> IpAddr {
        self.config().kb_localhost_ip
    }

    pub(super) fn limit(&self, budget: Budget) -> Duration {
        match budget {
            Budget::Of(time) => self.at_most(time),
            Budget::CheckpointAnd(time) => self.at_most(time) + self.config().checkpoint_wait,
            _ => procedure::limit(budget, self.config(), self.deadline.remaining()),
        }
    }

    pub(super) fn at_most(&self, budget: Duration) -> Duration {
        budget.min(self.deadline.remaining().max(LEAST_TIME))
    }

    pub(super) fn session(&self) -> Result<&Session> {
        self.session.as_ref().context("no SQL session is open")
    }

    /// Asks the server, or its control file where it takes no session.
    pub(super) fn is_in_recovery(&mut self, deadline: Deadline) -> Result<bool> {
        if self.unasked.is_none() {
            return Ok(self.ask_whether_in_recovery(deadline)?);
        }
        let control = self.here.instance.control_data(deadline)?;
        Ok(!is_primary_state(&control.state))
    }

    /// Asks in the open session, or in a new one where that one broke off or owes an answer.
    pub(super) fn ask_whether_in_recovery(&mut self, deadline: Deadline) -> Result<bool, SqlError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => Session::open(&self.here.host.sql_target(), deadline)?,
        };
        let answer = is_in_recovery(&session, self.names(), deadline)?;
        self.session = Some(session);
        Ok(answer)
    }

    /// `select 33333`, as the scripts asked whether the database is alive.
    pub(super) fn select_33333(&mut self, gap: &str, deadline: Deadline) -> Result<()> {
        let target: Target = self.here.host.sql_target();
        self.journal
            .line(target.log_line(self.names().sql_client, [gap, "  "], "select 33333;"));
        self.session()?.value("select 33333", deadline)?;
        Ok(())
    }

    /// Gratuitous ARP. Whoever sends it in our place must not hold the promotion up.
    pub(super) fn announce(&self, vip: &Vip) -> Result<Vec<String>, ProbeError> {
        let deadline = Deadline::after(self.at_most(ANNOUNCE_TIME));
        arp::announce(&self.here.host.programs, vip, deadline)
    }

    pub(super) fn ask_for_promotion(&self, deadline: Deadline) -> Result<Output, RunError> {
        let instance = &self.here.instance;
        instance.ask_for_promotion(deadline.at_most(ANSWER_TIME))
    }
}
