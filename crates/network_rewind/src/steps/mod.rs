//! The steps, each of which asks first whether its goal holds, and sees at its end that it does: a
//! second run ends where the first would have.

pub mod archive;
pub mod copy;
pub mod failover;
pub mod files;
pub mod login;
pub mod own;
pub mod primary;
pub mod programs;
pub mod rejoin;
pub mod rewind;
pub mod room;
pub mod server;
