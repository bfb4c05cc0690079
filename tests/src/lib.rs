//! A cluster of hosts on one machine, for trying the tools against the real thing.
//!
//! A host is a set of namespaces (network, processes, mounts, name, IPC) over an overlay of
//! the machine's `/`, with real PostgreSQL, pgpool-II, sshd and cron. Killing its first
//! process is a power cut. Needs root.
//!
//! ```no_run
//! # use std::time::Duration;
//! # fn main() -> anyhow::Result<()> {
//! use lab::{Lab, LabOptions};
//!
//! let lab = Lab::start(LabOptions { name: "drill-a1".into(), pools: 2, ..Default::default() })?;
//! let client = lab.start_client()?;
//! client.wait_for_acks(10, Duration::from_secs(5))?;
//! lab.node(101).power_off()?;
//! client.wait_for_acks(10, Duration::from_secs(60))?;
//! let report = client.stop();
//! let lost = report.lost(&lab.rows_present(lab.node(102))?);
//! assert!(lost.is_empty(), "lost {lost:?}, gap {:?}", report.longest_gap);
//! # Ok(())
//! # }
//! ```

mod boot;
mod client;
pub mod contract;
mod database;
mod debian;
mod disk;
pub mod drills;
mod enter;
mod events;
mod files;
mod flavor;
mod host;
mod lab;
pub mod layout;
mod left;
mod leftovers;
pub mod manual;
mod network;
mod pool;
mod prober;
mod process;
mod real_systemd;
mod recovery;
pub mod rerun;
mod rounds;
mod screen;
mod servers;
mod spy;
mod sql;
mod standin;
mod stopwatch;
mod systemd;
mod wait;
mod watch;
mod whole;

pub use boot::{boot, init};
pub use client::{Client, ClientReport};
pub use disk::Disk;
pub use enter::{Launch, Running, ToolRun, enter};
pub use events::Event;
pub use flavor::Flavor;
pub use host::Node;
pub use lab::{Lab, LabOptions};
pub use left::STATE;
pub use pool::PoolNode;
pub use prober::{Overlap, Prober, Span};
pub use rounds::Rounds;
pub use screen::show;
pub use spy::Spy;
pub use sql::Table;
pub use stopwatch::Stopwatch;
pub use wait::{moments, wait_for};
pub use watch::{Answers, Excuse, Expected, Loss, Watch};
