//! `cluster_ctl check`: would a failover and a recovery work now?

use crate::look;
use crate::what_if;
use crate::words;
use anyhow::Result;
use cluster_ctl::cli::Check;
use failover_core::deadline::Deadline;
use failover_core::exit::Exit;
use failover_core::host::ThisHost;
use failover_core::teller::Teller;
use failover_rules::preflight::{Finding, Level, Topic, judge};
use serde_json::{Value, json};
use std::time::Duration;

/// A host that has died gives no answer, and one that is busy a late one.
const LIMIT: Duration = Duration::from_secs(8);

/// The whole command.
pub fn run(args: &Check, teller: &Teller) -> Result<Exit> {
    let here = ThisHost::load(args.common.config.as_deref())?;
    let cluster = look::cluster(&here, true, Deadline::after(LIMIT));
    let told = match &args.what_if {
        Some(node) => what_if::foretold(&cluster, node)?,
        None => Vec::new(),
    };
    let found = judge(&cluster);
    for topic in Topic::ALL {
        let mut about = found.iter().filter(|it| it.topic == topic).peekable();
        if about.peek().is_none() {
            teller.say(&words::wrapped(
                "ok    ",
                &format!("{}: {}", topic.name(), topic.good()),
            ));
        }
        about.for_each(|finding| teller.say(&words::finding(finding)));
    }
    if args.what_if.is_some() && told.is_empty() {
        teller.say(&format!(
            "\n{}",
            words::wrapped("what if ", what_if::NO_PRIMARY)
        ));
    }
    told.iter()
        .for_each(|it| teller.say(&format!("\n{}", what_if::told(it))));
    let (exit, text) = verdict(&found);
    teller.say(&format!("\n{text}"));
    let mut more = json!({ "findings": members(&found) });
    if args.what_if.is_some() {
        more["what_if"] = told
            .iter()
            .map(|it| what_if::member(it, &cluster))
            .collect();
    }
    Ok(teller.object(exit, &text, more))
}

/// How it ends, and its last sentence.
fn verdict(found: &[Finding]) -> (Exit, String) {
    let of = |level| found.iter().filter(|it| it.level == level).count();
    match (of(Level::Failure), of(Level::Warning)) {
        (0, 0) => (
            Exit::Done,
            "A failover and a recovery would work now.".to_owned(),
        ),
        (0, warnings) => (
            Exit::Done,
            format!("A failover and a recovery would work now; {warnings} to look at."),
        ),
        (failures, _) => (
            Exit::NeedsPerson,
            format!("{failures} to mend: until then a failover or a recovery may fail."),
        ),
    }
}

/// The findings for a machine.
pub fn members(found: &[Finding]) -> Vec<Value> {
    let member = |finding: &Finding| {
        json!({
            "level": match finding.level {
                Level::Failure => "fail",
                Level::Warning => "warn",
            },
            "topic": finding.topic.name(),
            "code": finding.code,
            "node": finding.node,
            "text": finding.sentence,
            "do": finding.advice,
        })
    };
    found.iter().map(member).collect()
}
