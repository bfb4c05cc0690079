//! `failover_stream`: the pool's `failover_command`.

mod fencing;
mod foresee;
mod peer;
mod quorum;
mod run;
mod standby;
mod watch;

use anyhow::Result;
use failover_core::clock;
use failover_core::config::{Config, Finding, Severity};
use failover_core::deadline::Deadline;
use failover_core::exit::Exit;
use failover_core::host::ThisHost;
use failover_core::inherited;
use failover_core::journal::{Beside, Journal, Message, print_json, syslog};
use failover_core::needs;
use failover_core::peer::signed;
use failover_core::procedure::{self, Planned};
use failover_core::replay::time_since_login;
use failover_core::steps::Order;
use failover_core::supervised;
use failover_core::teller::{Teller, Unparsed};
use failover_core::users::SystemUser;
use failover_stream::args::{self, Args, Placeholders, Request};
use foresee::Foreseen;
use peer::Crew;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

const TOOL: &str = "failover_stream";
/// To a person who has ended it by a signal.
const LAST_WORDS: &str =
    "failover_stream: ended before the failover was complete: the same command goes on with it";

fn main() -> ExitCode {
    inherited::shed();
    let words: Vec<OsString> = args::joined(std::env::args_os());
    let teller = Teller::new(TOOL, &words);
    let exit = match teller.parse::<Args>(words) {
        Ok(args) if args.check_config => check_config(&args, &teller),
        Ok(args) if args.print_config.is_some() => print_config(&args, &teller),
        Ok(args) => match args.step {
            Some(step) => answer(&args::order(step, &args), &args),
            None => match args.watch {
                Some(old) => watch_over(&args, old, &teller),
                None => {
                    return supervised::run(LAST_WORDS, || Ok(()), || coordinate(&args, &teller));
                }
            },
        },
        Err(Unparsed::Answered(exit)) => exit,
        Err(Unparsed::Wrong(why)) => wrong(&teller, &why),
    };
    exit.into()
}

/// The arguments or the configuration are wrong. The pool may have our standard error on
/// `/dev/null`, so the line goes to syslog too.
fn wrong(teller: &Teller, why: &str) -> Exit {
    syslog(&format!("{TOOL}: {why}"));
    teller.ends(Exit::Usage, why)
}

fn load(args: &Args) -> Result<ThisHost, String> {
    ThisHost::load(args.config.as_deref()).map_err(|error| error.to_string())
}

fn check_config(args: &Args, teller: &Teller) -> Exit {
    let path = match Config::find(args.config.as_deref()) {
        Ok(path) => path,
        Err(error) => return wrong(teller, &error.to_string()),
    };
    let mut findings = Config::check(&path);
    if let Ok(config) = Config::load(&path) {
        findings.extend(needs::check(config));
    }
    findings
        .iter()
        .for_each(|finding| teller.say(&finding.to_string()));
    let mut errors = findings.iter().filter(|it| it.severity == Severity::Error);
    let (exit, text) = match errors.next() {
        Some(first) => (Exit::Usage, first.to_string()),
        None => (Exit::Done, format!("{}: good", path.display())),
    };
    if exit == Exit::Done {
        teller.say(&text);
    }
    let findings: Vec<Value> = findings.iter().map(member).collect();
    teller.object(exit, &text, json!({ "findings": findings }))
}

fn member(finding: &Finding) -> Value {
    json!({
        "severity": match finding.severity {
            Severity::Error => "error",
            Severity::Note => "note",
        },
        "file": finding.path.display().to_string(),
        "line": finding.line,
        "key": finding.key,
        "text": finding.text,
    })
}

/// One value of the configuration, passwords included: who may read the file may read it here.
fn print_config(args: &Args, teller: &Teller) -> Exit {
    let key = args.print_config.as_deref().unwrap_or_default();
    let path = match Config::find(args.config.as_deref()) {
        Ok(path) => path,
        Err(error) => return wrong(teller, &error.to_string()),
    };
    match Config::written(&path, key) {
        Ok(Some(value)) => teller.ends(Exit::Done, &value),
        Ok(None) => wrong(teller, &format!("{}: {key} is not set", path.display())),
        Err(error) => wrong(teller, &error.to_string()),
    }
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
            let report = signed(report, failover_version::VERSION);
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
fn watch_over(args: &Args, old: IpAddr, teller: &Teller) -> Exit {
    let here = match load(args) {
        Ok(here) => here,
        Err(why) => return wrong(teller, &why),
    };
    let journal = journal(&here.config, args, Beside::Nobody);
    let exit = watch::watch(&here, old, &journal);
    journal.flush();
    exit
}

/// Where the lines and events of a failover go.
fn journal(config: &Config, args: &Args, beside: Beside) -> Journal {
    Journal::to_files(
        args.run.clone().unwrap_or_else(clock::run_name),
        &config.failover_log_dir,
        &config.event_log,
        beside,
        SystemUser::named(&config.kb_execute_sys_user).ok(),
    )
    .hiding(config.secrets())
}

/// The whole failover.
fn coordinate(args: &Args, teller: &Teller) -> Exit {
    let here = match load(args) {
        Ok(here) => here,
        Err(why) => return wrong(teller, &why),
    };
    let config = &here.config;
    let deadline = Deadline::after(config.failover_timeout);
    let beside = match args.dry_run && !args.json {
        true => Beside::Nobody,
        false => Beside::starter(args.json),
    };
    let journal = journal(config, args, beside);

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
        only_looks: args.dry_run,
    });
    let ended = match request {
        Err(why) => Err((Exit::Usage, why)),
        Ok(request) => serve(&request, &crew, &journal, deadline, args.dry_run)
            .map_err(|error| (Exit::Failed, format!("{error:#}"))),
    };
    if !args.dry_run {
        if let Err((_, why)) = &ended {
            journal.stamped(format!("failover failed: {why}"));
        }
        run::footer(&journal);
    }
    journal.settle();
    let exit = match ended {
        Ok(plan) => tell_done(teller, &journal, plan),
        Err((exit, why)) => {
            let why = journal.redact(why);
            teller.complain(&why);
            teller.object(exit, &why, json!({ "run": journal.run() }))
        }
    };
    journal.flush();
    exit
}

/// A failover that is done has told a person all of it in its log.
fn tell_done(teller: &Teller, journal: &Journal, plan: Option<Plan>) -> Exit {
    let Some(plan) = plan else {
        return teller.object(Exit::Done, "done", json!({ "run": journal.run() }));
    };
    teller.say(&procedure::lines(&plan.steps));
    if let Some(note) = &plan.note {
        teller.say(note);
    }
    teller.say(&format!("\n{}", journal.redact(plan.now.lines())));
    let more = json!({
        "run": journal.run(),
        "plan": plan.steps,
        "note": plan.note,
        "now": plan.now.looks,
        "end": plan.now.end,
    });
    teller.object(Exit::Done, "nothing was changed", more)
}

/// What `--dry-run` shows.
struct Plan {
    steps: Vec<Planned>,
    note: Option<String>,
    /// What would come of it.
    now: Foreseen,
}

/// Does what the pool wants; with `dry_run` it only says how.
fn serve(
    request: &Request,
    crew: &Arc<Crew>,
    journal: &Journal,
    deadline: Deadline,
    dry_run: bool,
) -> Result<Option<Plan>> {
    if dry_run {
        return foresee(request, crew, deadline).map(Some);
    }
    match *request {
        Request::NobodyLeft => anyhow::bail!(run::nobody_left(crew, deadline)),
        Request::StandbyDown { failed, primary } => {
            let mut context = standby::StandbyDown::new(crew, journal, deadline, failed, primary)?;
            standby::standby_down(&mut context)?;
        }
        Request::PrimaryDown { old_primary, given } => {
            let mut failover = run::Failover::new(crew, journal, deadline, old_primary, given);
            run::fail_over(&mut failover)?;
        }
    }
    Ok(None)
}

/// The steps, and what would come of them now. Nobody reads the log of a run that changes nothing.
fn foresee(request: &Request, crew: &Arc<Crew>, deadline: Deadline) -> Result<Plan> {
    let nobody = Journal::to_nobody();
    match *request {
        Request::NobodyLeft => anyhow::bail!(run::nobody_left(crew, deadline)),
        Request::StandbyDown { failed, primary } => {
            let mut context = standby::StandbyDown::new(crew, &nobody, deadline, failed, primary)?;
            Ok(Plan {
                steps: standby::plan(&context),
                note: None,
                now: standby::foresee(&mut context),
            })
        }
        Request::PrimaryDown { old_primary, given } => {
            let mut failover = run::Failover::new(crew, &nobody, deadline, old_primary, given);
            Ok(Plan {
                steps: run::plan(&failover),
                note: needs::no_alter_system(&crew.here, deadline),
                now: run::foresee(&mut failover),
            })
        }
    }
}
