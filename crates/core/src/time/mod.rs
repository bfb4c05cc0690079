//! Time: limits, the wall clock, and threads for what may never return.
//!
//! Uses no other room; every room may use it. What a limit is, each caller decides for itself.

pub mod clock;
pub mod deadline;
pub mod workers;
