//! `cluster_ctl`: the cluster as a whole, for people and for monitoring.

mod check;
mod history;
mod init;
mod look;
mod pause;
mod report;
mod show;
mod what_if;
mod words;

use cluster_ctl::cli::{Cli, Command};
use failover_core::inherited;
use failover_core::teller::run_tool;
use std::process::ExitCode;

fn main() -> ExitCode {
    inherited::shed();
    run_tool("cluster_ctl", |cli: &Cli, teller| match &cli.command {
        Command::Show(args) => show::run(args, teller),
        Command::Check(args) => check::run(args, teller),
        Command::History(args) => history::run(args, teller),
        Command::Report(args) => report::run(args, teller),
        Command::Pause(args) => pause::pause(args, teller),
        Command::Resume(args) => pause::resume(args, teller),
        Command::Init(args) => init::run(args, teller),
    })
    .into()
}
