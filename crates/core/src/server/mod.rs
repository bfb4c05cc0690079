//! The database server of this host: names, processes, files, settings, SQL, and the disks below it.
//!
//! Does not know the pool, nor how another host is reached; SQL may go to a server on any host. Uses `net`,
//! `run` and what those use; `pool`, `steps` and the tools may use it.

pub mod configuration;
pub mod conninfo;
pub mod control_copies;
pub mod disk;
pub mod flavor;
pub mod instance;
pub mod last_checkpoint;
pub mod layout;
pub mod login;
pub mod replay;
pub mod replication;
pub mod running;
pub mod settings;
pub mod slots;
pub mod sql;
pub mod standby;
pub mod supervisor;
pub mod synchronous;
mod tls;
mod wal_end;
pub(crate) mod wire;
