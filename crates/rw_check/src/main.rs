//! `rw_check`: can the database's user write and read on the database's disks? It only looks and
//! tells; what follows from a bad disk is `network_rewind`'s to do.

mod run;

use failover_core::disk;
use failover_core::inherited;
use failover_core::teller::run_tool;
use std::process::ExitCode;

fn main() -> ExitCode {
    inherited::shed();
    disk::probe_if_asked(std::env::args_os())
        .unwrap_or_else(|| run_tool("rw_check", run::run))
        .into()
}
