//! What every failover tool shares: the world, in rooms. Each room says in its `mod.rs` what it is, and
//! who may use it. A room uses those that stand above it in this list:
//!
//! `time`, `config`, `host`, `run`, `net`, `server`, `pool` and `remote`, `this_host`, `steps`.
//!
//! The tools themselves hold a procedure, and `failover_rules` decide; everything that touches a host, a
//! server, the network or a file is here, and takes a [`deadline::Deadline`].

pub mod config;
pub mod host;
pub mod logs;
pub mod net;
pub mod pool;
#[cfg(any(test, feature = "readers"))]
pub mod readers;
pub mod remote;
pub mod run;
pub mod server;
pub mod steps;
pub mod this_host;
pub mod time;

pub use failover_rules::facts::{history, lsn};
pub use host::{durable, identity, process, programs, rights, users};
pub use net::{arp, life, listeners, ping, route, vip};
pub use remote::{known_hosts, peer, ssh};
pub use run::{exit, inherited, journal, procedure, screen, state, supervised, teller, terminal};
pub use server::{
    configuration, conninfo, control_copies, disk, flavor, instance, last_checkpoint, layout,
    login, replay, replication, running, settings, slots, sql, standby, supervisor, synchronous,
};
pub use steps::{needs, promotion, status};
pub use time::{clock, deadline, workers};
