//! One run of a tool: how it starts and ends, what it says, its steps, and what must outlive it.
//!
//! Knows no server and no other host. Uses `host`, `config` and `time`; all rooms but these may use it.

pub mod exit;
pub mod inherited;
pub mod journal;
pub mod procedure;
pub mod screen;
pub mod state;
pub mod supervised;
pub mod teller;
pub mod terminal;
