//! `network_rewind`: the old primary comes back by itself. Run by cron each minute.

mod ask;
mod compare;
mod look;
mod plan;
mod privilege;
mod run;
mod status;
mod steps;
mod work;

use failover_core::disk;
use failover_core::exit::Exit;
use failover_core::inherited;
use failover_core::journal::syslog;
use failover_core::supervised;
use failover_core::teller::{Teller, Unparsed};
use failover_core::workers;
use failover_rules::plan::budget;
use network_rewind::cli::Cli;
use std::ffi::OsString;
use std::process::ExitCode;

const TOOL: &str = "network_rewind";
/// To a person who has ended it by a signal.
const LAST_WORDS: &str =
    "network_rewind: ended before it was done: the next run, by cron or by hand, goes on from here";

fn main() -> ExitCode {
    inherited::shed();
    if let Some(exit) = disk::probe_if_asked(std::env::args_os()) {
        return exit.into();
    }
    workers::share_memory();
    let words: Vec<OsString> = std::env::args_os().collect();
    let teller = Teller::new(TOOL, &words);
    match teller.parse::<Cli>(words) {
        Ok(cli) => {
            let begin = || {
                let became = privilege::become_database_user(cli.config.as_deref());
                became.map_err(|error| wrong(&teller, &format!("{error:#}")))
            };
            supervised::run(LAST_WORDS, begin, || run::run(&cli, &teller))
        }
        Err(Unparsed::Answered(exit)) => exit.into(),
        Err(Unparsed::Wrong(why)) => wrong(&teller, &why).into(),
    }
}

/// The arguments or the configuration are wrong. Cron's mail may be read by nobody, so the line goes
/// to syslog too.
fn wrong(teller: &Teller, why: &str) -> Exit {
    syslog(&format!("{TOOL}: {why}"));
    teller.ends(Exit::Usage, why)
}
