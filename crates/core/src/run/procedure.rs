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
        let result = (procedure.carry_out)(step.id, context, deadline);
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

/// The lines of `--dry-run` for the steps on `host`.
pub fn describe<C, Id>(procedure: &Procedure<C, Id>, context: &C, host: &str) -> Vec<String> {
    let steps = procedure.steps.iter();
    steps
        .map(|step| {
            let fate = match step.on_failure {
                OnFailure::Abort => "its failure ends the run",
                OnFailure::Warn => "its failure is a warning",
            };
            let budget = (procedure.limit)(context, step.budget).as_millis();
            format!(
                "{host:<15} {:<18} {} (at most {budget} ms; {fate})",
                step.name, step.what
            )
        })
        .collect()
}
