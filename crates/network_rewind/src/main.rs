//! `network_rewind`: the old primary comes back by itself. Run by cron each minute.

mod ask;
mod cli;
mod compare;
mod look;
mod plan;
mod privilege;
mod run;
mod steps;
mod work;

use cli::Cli;
use failover_core::disk;
use failover_core::exit::Exit;
use failover_core::inherited;
use failover_core::journal::syslog;
use failover_core::supervised;
use failover_core::terminal::{complain, parse};
use failover_core::workers;
use failover_rules::plan::budget;
use std::process::ExitCode;

const TOOL: &str = "network_rewind";

fn main() -> ExitCode {
    inherited::shed();
    if let Some(exit) = disk::probe_if_asked(std::env::args_os()) {
        return exit.into();
    }
    workers::share_memory();
    match parse::<Cli>(TOOL, std::env::args_os()) {
        Ok(cli) => {
            let begin = || {
                let became = privilege::become_database_user(cli.config.as_deref());
                became.map_err(|error| wrong(&format!("{error:#}")))
            };
            supervised::run(begin, || run::run(&cli))
        }
        Err(None) => Exit::Done.into(),
        Err(Some(why)) => wrong(&why).into(),
    }
}

/// The arguments or the configuration are wrong. Cron's mail may be read by nobody, so the line goes
/// to syslog too.
fn wrong(why: &str) -> Exit {
    complain(TOOL, why);
    syslog(&format!("{TOOL}: {why}"));
    Exit::Usage
}
