//! This host as an operating system: its users, processes, programs and files.
//!
//! Knows nothing of databases, pools and other hosts. Uses `time` and `config`; all other rooms may use it.

pub mod durable;
pub mod exchange;
pub mod identity;
pub mod process;
pub mod programs;
pub mod rights;
pub mod users;

// The path by which the tools know it.
pub use crate::this_host::{Host, ThisHost};
