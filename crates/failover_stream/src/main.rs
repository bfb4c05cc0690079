//! `failover_stream`: the pool's `failover_command`.

mod args;
mod fencing;
mod peer;
mod quorum;
mod run;
mod standby;
mod watch;

use anyhow::Result;
use args::{Args, Placeholders, Request};
use failover_core::clock;
use failover_core::config::{Config, Severity};
use failover_core::deadline::Deadline;
use failover_core::exit::Exit;
use failover_core::host::ThisHost;
use failover_core::inherited;
use failover_core::journal::{Journal, Message, print_json, syslog};
use failover_core::needs;
use failover_core::replay::time_since_login;
use failover_core::steps::Order;
use failover_core::supervised;
use failover_core::terminal::{complain, parse, say};
use failover_core::users::SystemUser;
use peer::Crew;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const TOOL: &str = "failover_stream";

fn main() -> ExitCode {
    inherited::shed();
    let exit = match parse::<Args>(TOOL, args::joined(std::env::args_os())) {
        Ok(args) if args.check_config => check_config(&args),
        Ok(args) => match args.step {
            Some(step) => answer(&args::order(step, &args), &args),
            None => match args.watch {
                Some(old) => watch_over(&args, old),
                None => return supervised::run(|| Ok(()), || coordinate(&args)),
            },
        },
        Err(None) => Exit::Done,
        Err(Some(why)) => wrong(&why),
    };
    exit.into()
}

/// The arguments or the configuration are wrong. The pool may have our standard error on
/// `/dev/null`, so the line goes to syslog too.
fn wrong(why: &str) -> Exit {
    complain(TOOL, why);
    syslog(&format!("{TOOL}: {why}"));
    Exit::Usage
}

fn load(args: &Args) -> Result<ThisHost, String> {
    ThisHost::load(args.config.as_deref()).map_err(|error| error.to_string())
}

fn check_config(args: &Args) -> Exit {
    let path = match Config::find(args.config.as_deref()) {
        Ok(path) => path,
        Err(error) => return wrong(&error.to_string()),
    };
    let mut findings = Config::check(&path);
    if let Ok(config) = Config::load(&path) {
        findings.extend(needs::check(config));
    }
    findings
        .iter()
        .for_each(|finding| say(&finding.to_string()));
    if findings
        .iter()
        .any(|finding| finding.severity == Severity::Error)
    {
        return Exit::Usage;
    }
    say(&format!("{}: good", path.display()));
    Exit::Done
}

/// One step for a coordinator on another host: messages on standard output, the answer last.
fn answer(order: &Order, args: &Args) -> Exit {
    // Whoever waits for us does so since before the login's own scripts.
    let given = Duration::from_millis(args.deadline.unwrap_or_default());
    let left = given.saturating_sub(time_since_login().min(given / 2));
    let deadline = Deadline::after(left);
    let journal = Journal::to_stdout(args.run.clone().unwrap_or_else(clock::run_name));
    let loaded = load(args).and_then(|host| host.is_meant(args.meant_for).map(|()| host));
    let result = match loaded {
        Ok(host) => {
            let journal = journal.hiding(host.config.secrets());
            let result = order.carry_out(&host, &journal, args.die_after.as_deref(), deadline);
            result.map_err(|error| journal.redact(format!("{error:#}")))
        }
        Err(why) => {
            print_json(&Message::Unable(why));
            return Exit::Usage;
        }
    };
    match result {
        Ok(report) => {
            print_json(&Message::Answer(report));
            Exit::Done
        }
        Err(why) => {
            print_json(&Message::Failed(why));
            Exit::Failed
        }
    }
}

/// What a failover has left behind.
fn watch_over(args: &Args, old: IpAddr) -> Exit {
    let here = match load(args) {
        Ok(here) => here,
        Err(why) => return wrong(&why),
    };
    let journal = journal(&here.config, args);
    let exit = watch::watch(&here, old, &journal);
    journal.flush();
    exit
}

/// Where the lines and events of a failover go.
fn journal(config: &Config, args: &Args) -> Journal {
    Journal::to_files(
        args.run.clone().unwrap_or_else(clock::run_name),
        &config.failover_log_dir,
        &config.event_log,
        args.json,
        SystemUser::named(&config.kb_execute_sys_user).ok(),
    )
    .hiding(config.secrets())
}

/// The whole failover.
fn coordinate(args: &Args) -> Exit {
    let here = match load(args) {
        Ok(here) => here,
        Err(why) => return wrong(&why),
    };
    let config = &here.config;
    let deadline = Deadline::after(config.failover_timeout);
    let journal = journal(config, args);

    let request = Placeholders::from_args(args).and_then(|given| {
        if !args.dry_run {
            run::header(&given, &journal);
        }
        given.request(config)
    });
    let crew = Arc::new(Crew {
        here: here.clone(),
        run: journal.run().to_owned(),
        die_after: args.die_after.clone(),
    });
    let (exit, why) = match request {
        Err(why) => (Exit::Usage, Some(why)),
        Ok(request) => match serve(&request, &crew, &journal, deadline, args.dry_run) {
            Ok(()) => (Exit::Done, None),
            Err(error) => (Exit::Failed, Some(format!("{error:#}"))),
        },
    };
    if let Some(why) = why {
        let why = journal.redact(why);
        complain(TOOL, &why);
        if !args.dry_run {
            journal.stamped(format!("failover failed: {why}"));
        }
    }
    if !args.dry_run {
        run::footer(&journal);
    }
    journal.flush();
    exit
}

fn serve(
    request: &Request,
    crew: &Arc<Crew>,
    journal: &Journal,
    deadline: Deadline,
    dry_run: bool,
) -> Result<()> {
    match *request {
        Request::NobodyLeft => anyhow::bail!(run::nobody_left(crew, deadline)),
        Request::StandbyDown { failed, primary } => {
            let mut context = standby::StandbyDown::new(crew, journal, deadline, failed, primary)?;
            if dry_run {
                say(&standby::plan(&context).join("\n"));
                return Ok(());
            }
            standby::standby_down(&mut context)
        }
        Request::PrimaryDown { old_primary, given } => {
            let mut failover = run::Failover::new(crew, journal, deadline, old_primary, given);
            if dry_run {
                say(&run::plan(&failover).join("\n"));
                if let Some(note) = needs::no_alter_system(&crew.here, deadline) {
                    say(&note);
                }
                return Ok(());
            }
            run::fail_over(&mut failover)
        }
    }
}
