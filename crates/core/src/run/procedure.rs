//! A procedure is a list of named steps, of which [`failover_rules::plan`] has the names, the order and
//! the budgets. The same list is run, shown by `--dry-run`, timed in the event log, and is what the tests
//! stop after each step of.

use crate::clock;
use crate::config::Config;
use crate::deadline::Deadline;
use crate::journal::{Journal, Outcome};
pub use failover_rules::plan::OnFailure;
use failover_rules::plan::{self, Budget};
use nix::sys::signal::{Signal, raise};
use serde::Serialize;
use std::fmt;
use std::time::{Duration, Instant};

/// How a step that did not fail ended, with what was seen or done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It did its work.
    Did(String),
    /// What it is for was so already.
    AlreadySo(String),
    /// It did not apply.
    Skipped(String),
}

/// The steps of a plan, and what they do to the context `C`.
pub struct Procedure<C, Id: 'static> {
    /// The steps, in order.
    pub steps: &'static [plan::Step<Id>],
    /// How long a budget is.
    pub limit: fn(&C, Budget) -> Duration,
    /// Does a step; asks first whether its goal already holds, and checks at the end that it does.
    pub carry_out: fn(Id, &mut C, Deadline) -> anyhow::Result<Done>,
}

impl<C, Id> Procedure<C, Id> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// How long `budget` is by the configuration; `rest`: what is left of the procedure's time.
pub fn limit(budget: Budget, config: &Config, rest: Duration) -> Duration {
    match budget {
        Budget::Of(time) => time,
        Budget::HalfOfFailover => config.failover_timeout / 2,
        Budget::FailoverAnd(time) => config.failover_timeout + config.promote_timeout + time,
        Budget::PromotionAnd(time) => config.promote_timeout + time,
        Budget::CheckpointAnd(time) => config.checkpoint_wait + time,
        Budget::Rest => rest,
    }
}

/// Where and how a procedure is run.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Where lines and events go.
    pub journal: &'a Journal,
    /// The host that the steps are done on, for the events.
    pub host: &'a str,
    /// No step gets longer than this, whatever its budget.
    pub deadline: Deadline,
    /// For drills: the process kills itself after the step of this name, as a power cut would.
    pub die_after: Option<&'a str>,
}

/// Runs the steps in order.
pub fn run<C, Id: Copy>(
    procedure: &Procedure<C, Id>,
    context: &mut C,
    frame: Frame<'_>,
) -> anyhow::Result<()> {
    for step in procedure.steps {
        let limit = (procedure.limit)(context, step.budget);
        let deadline = frame.deadline.at_most(limit);
        let started = clock::event_stamp();
        let begin = Instant::now();
        frame.journal.begins(step.what);
        let result = (procedure.carry_out)(step.id, context, deadline);
        frame.journal.ends();
        let took = begin.elapsed();
        let (outcome, detail) = match &result {
            Ok(Done::Did(detail)) => (Outcome::Done, detail.clone()),
            Ok(Done::AlreadySo(detail)) => (Outcome::AlreadySo, detail.clone()),
            Ok(Done::Skipped(detail)) => (Outcome::Skipped, detail.clone()),
            Err(error) if step.on_failure == OnFailure::Warn => {
                frame
                    .journal
                    .stamped(format!("warning: {}: {error:#}", step.name));
                (Outcome::Warned, format!("{error:#}"))
            }
            Err(error) => (Outcome::Failed, format!("{error:#}")),
        };
        frame
            .journal
            .event(step.name, frame.host, outcome, detail, started, took);
        if frame.die_after == Some(step.name) {
            frame.journal.flush();
            let _ = raise(Signal::SIGKILL);
        }
        if outcome == Outcome::Failed {
            return result.map(drop);
        }
    }
    Ok(())
}

/// A step as `--dry-run` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Planned {
    /// Where it would be done.
    pub host: String,
    /// Its name.
    pub step: &'static str,
    /// What it does.
    pub what: &'static str,
    /// How long it may take, in milliseconds, where that is known before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most_ms: Option<u64>,
    /// Whether its failure would end the run, where that is known before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub must_succeed: Option<bool>,
}

impl Planned {
    /// One of another host's, whose copy of the tool knows the rest.
    pub fn elsewhere<Id>(step: &plan::Step<Id>, host: String) -> Self {
        Self {
            host,
            step: step.name,
            what: step.what,
            at_most_ms: None,
            must_succeed: None,
        }
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host, step, what, ..
        } = self;
        write!(f, "{host:<15} {step:<18} {what}")?;
        match (self.at_most_ms, self.must_succeed) {
            (Some(limit), Some(true)) => {
                write!(f, " (at most {limit} ms; its failure ends the run)")
            }
            (Some(limit), _) => write!(f, " (at most {limit} ms; its failure is a warning)"),
            (None, _) => Ok(()),
        }
    }
}

/// What `--dry-run` shows of the steps on `host`.
pub fn describe<C, Id>(procedure: &Procedure<C, Id>, context: &C, host: &str) -> Vec<Planned> {
    let steps = procedure.steps.iter();
    steps
        .map(|step| {
            let limit = (procedure.limit)(context, step.budget).as_millis();
            Planned {
                at_most_ms: u64::try_from(limit).ok(),
                must_succeed: Some(step.on_failure == OnFailure::Abort),
                ..Planned::elsewhere(step, host.to_owned())
            }
        })
        .collect()
}

/// The lines of a plan.
pub fn lines(plan: &[Planned]) -> String {
    let lines: Vec<String> = plan.iter().map(Planned::to_string).collect();
    lines.join("\n")
}
