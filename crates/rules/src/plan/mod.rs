//! The lists of steps as data: which steps a procedure has, in which order, with which budget, and what
//! the failure of each means.
//!
//! The tools say what carries each step out, the simulator says what it does in the model, and the manual
//! has a row for each. Nothing here says what a step does to a host.

pub mod budget;
pub mod failover;
pub mod recovery;

use std::time::Duration;

/// What the failure of a step means for those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The procedure ends with the step's error.
    Abort,
    /// The error goes into the log and the procedure goes on.
    Warn,
}

/// How long a step may take. What the configuration says about it, the tool fills in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// So long.
    Of(Duration),
    /// Half of `FAILOVER_TIMEOUT`.
    HalfOfFailover,
    /// `FAILOVER_TIMEOUT`, `PROMOTE_TIMEOUT`, and so long.
    FailoverAnd(Duration),
    /// `PROMOTE_TIMEOUT`, and so long.
    PromotionAnd(Duration),
    /// `CHECKPOINT_WAIT`, and so long.
    CheckpointAnd(Duration),
    /// What is left of the procedure's time.
    Rest,
}

/// One step. `Id` is what the tool and the simulator tell it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<Id> {
    /// Its name in the event log.
    pub name: &'static str,
    /// What it does, for a person.
    pub what: &'static str,
    /// Which one it is.
    pub id: Id,
    /// How long it may take.
    pub budget: Budget,
    /// What its failure means.
    pub on_failure: OnFailure,
}

/// A step whose failure ends the procedure.
const fn step<Id>(name: &'static str, what: &'static str, id: Id, budget: Budget) -> Step<Id> {
    Step {
        name,
        what,
        id,
        budget,
        on_failure: OnFailure::Abort,
    }
}

/// The same step where its failure is a warning.
const fn may_fail<Id: Copy>(step: Step<Id>) -> Step<Id> {
    Step {
        on_failure: OnFailure::Warn,
        ..step
    }
}
