//! `attach_node`: puts a node back into the pool, takes it out, or shows what the pool says.

mod run;

use failover_core::inherited;
use failover_core::teller::run_tool;
use std::process::ExitCode;

fn main() -> ExitCode {
    inherited::shed();
    run_tool("attach_node", run::run).into()
}
