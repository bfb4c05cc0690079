//! What is done on a host, written once: the tools call it here, or over ssh there.
//!
//! Decides nothing about other hosts. Uses every room; only the tools may use it.

mod candidate;
pub mod facts;
pub mod fence;
pub mod follow;
mod held_up;
mod here;
pub mod history;
pub mod needs;
pub mod order;
pub mod promote;
pub mod promotion;
pub mod status;

pub use candidate::Promotion;
pub use follow::Leader;
pub use order::Order;
