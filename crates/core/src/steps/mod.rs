//! What is done on a host, written once: the tools call it here, or over ssh there.
//!
//! Decides nothing about other hosts. Uses every room; only the tools may use it.

pub mod needs;
pub mod promotion;
pub mod status;
