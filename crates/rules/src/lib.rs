//! What follows from what was seen. Facts go in, decisions come out, each with the operator's
//! sentence.
//!
//! Nothing here reads a file, opens a socket, starts a process or looks at a clock. `clippy.toml`
//! beside this crate and the test `no_io` hold it to that. So the simulator can run the very
//! decisions that the tools run.

#![forbid(unsafe_code)]

pub mod attach;
pub mod facts;
pub mod failover;
pub mod fencing;
pub mod foretell;
pub mod plan;
pub mod preflight;
pub mod promotion;
pub mod recovery;
pub mod report;
#[cfg(test)]
mod sample;
pub mod synchronous;
