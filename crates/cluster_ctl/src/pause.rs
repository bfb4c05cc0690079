//! `cluster_ctl pause` and `resume`: the same word for `network_rewind` on every host.

use anyhow::Result;
use cluster_ctl::cli::{Pause, Resume};
use failover_core::deadline::Deadline;
use failover_core::exit::Exit;
use failover_core::host::{Host as Way, ThisHost};
use failover_core::process::{Cmd, RunError, run};
use failover_core::ssh::Ssh;
use failover_core::teller::Teller;
use failover_core::workers;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// For one host.
const LIMIT: Duration = Duration::from_secs(10);

/// Every host changes nothing from now on.
pub fn pause(args: &Pause, teller: &Teller) -> Result<Exit> {
    let words = ["--pause".to_owned(), args.why.clone()];
    tell(args.common.config.as_deref(), &words, "paused", teller)
}

/// Every host looks after its server again.
pub fn resume(args: &Resume, teller: &Teller) -> Result<Exit> {
    let words = ["--resume".to_owned()];
    tell(args.common.config.as_deref(), &words, "resumed", teller)
}

/// Tells all hosts side by side, and says of each how that went.
fn tell(config: Option<&Path>, words: &[String], done: &str, teller: &Teller) -> Result<Exit> {
    let here = ThisHost::load(config)?;
    let deadline = Deadline::after(LIMIT);
    let hosts = here.config.kb_all_ip.clone();
    let told = {
        let (here, words) = (here.clone(), words.to_vec());
        workers::side_by_side(hosts.clone(), deadline, move |host| {
            order(&here, host, &words, deadline)
                .err()
                .map(|error| error.to_string())
        })
    };
    let mut untold = Vec::new();
    let mut members: Vec<Value> = Vec::new();
    for (host, why) in hosts.into_iter().zip(told) {
        let name = here
            .config
            .node_name_of(host)
            .unwrap_or_default()
            .to_owned();
        let why = why.unwrap_or_else(|| Some("no answer in time".to_owned()));
        match &why {
            None => teller.say(&format!("{name} ({host}) is {done}")),
            Some(why) => {
                teller.complain(&format!("{name} ({host}) is not {done}: {why}"));
                untold.push(name.clone());
            }
        }
        members
            .push(json!({ "name": name, "address": host, "done": why.is_none(), "why_not": why }));
    }
    let (exit, text) = match untold.is_empty() {
        true => (Exit::Done, format!("every host is {done}")),
        false => (
            Exit::Failed,
            format!(
                "{} could not be told; the same command tells all of them again",
                untold.join(", ")
            ),
        ),
    };
    if exit == Exit::Failed {
        teller.complain(&text);
    }
    Ok(teller.object(exit, &text, json!({ "hosts": members })))
}

fn order(
    here: &ThisHost,
    host: IpAddr,
    words: &[String],
    deadline: Deadline,
) -> Result<(), RunError> {
    let cmd = Cmd::new(here.config.kb_path.join("network_rewind")).args(words.to_vec());
    let out = match here.reach(host) {
        Way::Local => run(&cmd, deadline),
        Way::Remote(login) => Ssh::connect(&login, deadline)?.run(&cmd, deadline),
    };
    out?.checked(&cmd).map(drop)
}
