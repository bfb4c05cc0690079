//! Reads the logs of others and ours, for a report of what happened: one reader for each kind of log, and what they
//! share. It uses `time` and `run`, and changes nothing.
//!
//! A log may be as long as a disk is large: it is read once, in pieces, and of its lines only those are kept that
//! tell something ([`failover_rules::report::fact::Fact`]).

mod events;
mod failover;
mod files;
mod kind;
mod line;
mod lines;
mod pool;
mod read;
mod recovery;
mod server;
mod sink;
mod stamp;
mod told;

pub use read::{read_files, read_log};
pub use sink::Window;
pub use stamp::{Today, civil, in_prefix};
