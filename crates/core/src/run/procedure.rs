//! A procedure is a list of named steps. The same list is run, shown by `--dry-run`, timed in the
//! event log, and is what the tests stop after each step of.

use crate::clock;
use crate::deadline::Deadline;
use crate::journal::{Journal, Outcome};
use nix::sys::signal::{Signal, raise};
use std::time::{Duration, Instant};

/// What the failure of a step means for those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The procedure ends with the step's error.
    Abort,
    /// The error goes into the log and the procedure goes on.
    Warn,
}

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

/// One step of a procedure over the context `C`.
pub struct Step<C> {
    /// Its name in the event log.
    pub name: &'static str,
    /// What it does, for a person.
    pub what: &'static str,
    /// What its failure means.
    pub on_failure: OnFailure,
    /// How long it may take.
    pub budget: fn(&C) -> Duration,
    /// Does it; asks first whether its goal already holds, and checks at the end that it does.
    pub run: fn(&mut C, Deadline) -> anyhow::Result<Done>,
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

/// Runs `steps` in order.
pub fn run<C>(steps: &[Step<C>], context: &mut C, frame: Frame<'_>) -> anyhow::Result<()> {
    for step in steps {
        let deadline = frame.deadline.at_most((step.budget)(context));
        let started = clock::event_stamp();
        let begin = Instant::now();
        let result = (step.run)(context, deadline);
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

/// The lines of `--dry-run` for `steps` on `host`.
pub fn describe<C>(steps: &[Step<C>], context: &C, host: &str) -> Vec<String> {
    steps
        .iter()
        .map(|step| {
            let fate = match step.on_failure {
                OnFailure::Abort => "its failure ends the run",
                OnFailure::Warn => "its failure is a warning",
            };
            let budget = (step.budget)(context).as_millis();
            format!(
                "{host:<15} {:<18} {} (at most {budget} ms; {fate})",
                step.name, step.what
            )
        })
        .collect()
}
