//! What every failover tool shares: one module per thing of the real world.
//!
//! The tools themselves hold a procedure and its decisions; everything that touches a host, a
//! server, the network or a file is here, and takes a [`deadline::Deadline`].

pub mod arp;
pub mod clock;
pub mod config;
pub mod conninfo;
pub mod deadline;
pub mod disk;
pub mod durable;
pub mod exit;
pub mod flavor;
pub mod host;
pub mod identity;
pub mod inherited;
pub mod instance;
pub mod journal;
pub mod known_hosts;
pub mod life;
pub mod needs;
pub mod peer;
pub mod ping;
pub mod pool;
pub mod procedure;
pub mod process;
pub mod programs;
pub mod promotion;
pub mod replay;
pub mod replication;
pub mod settings;
pub mod slots;
pub mod sql;
pub mod ssh;
pub mod standby;
pub mod state;
pub mod status;
pub mod supervised;
pub mod synchronous;
pub mod terminal;
pub mod users;
pub mod vip;
pub mod workers;

pub use failover_rules::facts::{history, lsn};
