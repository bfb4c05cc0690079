//! `--dry-run`: what would come of the command now. The looks and the decisions are those of the command
//! itself; nobody is ordered to do anything.

use crate::fencing::{ask_standbys, life_of, may_stream};
use crate::peer::{Crew, Peer};
use crate::quorum::{ask_trust_ip, see_majority};
use anyhow::{Result, bail};
use failover_core::deadline::Deadline;
use failover_core::journal::Journal;
use failover_core::procedure::Done;
use failover_core::status::Status;
use failover_core::steps::Order;
use failover_rules::failover::{is_successor, obstacle, promoted};
use failover_rules::fencing::{
    Fenced, Findings, NoReport, OldPrimary, fenced, is_elsewhere, may_promote,
};
use failover_rules::plan::failover::{ANSWER_TIME, QUORUM_TIME, TRUST_IP_TIME};
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;

/// A standby's WAL receiver that got a message so recently (ms) got it from a server that lives.
const RECENT: u64 = 1_000;

/// What a step finds now.
#[derive(Debug, Serialize)]
pub struct Look {
    /// The step.
    pub step: &'static str,
    /// It would go well.
    pub well: bool,
    /// What it finds, or why it would fail.
    pub detail: String,
}

/// What would come of the command now.
#[derive(Debug, Default)]
pub struct Foreseen {
    /// What its steps find, up to the first that would fail.
    pub looks: Vec<Look>,
    /// The last sentence.
    pub end: String,
}

impl Foreseen {
    /// Goes on where the step would go well.
    pub fn look(&mut self, step: &'static str, found: Result<Done>) -> bool {
        let (well, detail) = match found {
            Ok(Done::Did(text) | Done::AlreadySo(text) | Done::Skipped(text)) => (true, text),
            Err(error) => (false, format!("{error:#}")),
        };
        if !well {
            self.end = "now it would be refused: nothing would be changed".to_owned();
        }
        self.looks.push(Look { step, well, detail });
        well
    }

    /// As lines for a terminal.
    pub fn lines(&self) -> String {
        let look = |it: &Look| {
            let ok = if it.well { "ok  " } else { "FAIL" };
            format!("  {ok} {:<20} {}", it.step, it.detail)
        };
        let looks: Vec<String> = self.looks.iter().map(look).collect();
        format!("now:\n{}\n{}", looks.join("\n"), self.end)
    }
}

/// The same that a failover begins with. Whether to go on.
pub fn before_anything(crew: &Crew, journal: &Journal, seen: &mut Foreseen) -> bool {
    let trust = Deadline::after(TRUST_IP_TIME);
    let quorum = Deadline::after(QUORUM_TIME);
    seen.look("trust-ip", ask_trust_ip(crew, journal, trust))
        && seen.look("quorum", see_majority(crew, journal, quorum, None))
}

/// What is known of the old primary and of the standbys, and where the first would stand.
pub fn fence(
    crew: &Arc<Crew>,
    old: &Peer,
    (standbys, candidates): (&[Peer], &[IpAddr]),
    journal: &Journal,
) -> (Findings, Result<Done>) {
    let limit = Deadline::after(ANSWER_TIME);
    let asked = Arc::clone(crew);
    let address = old.address();
    let signs = failover_core::workers::begin(move || {
        // A host that is this one lives.
        let here = address == asked.here.config.kb_localhost_ip;
        (!here).then(|| life_of(&asked, address)).flatten()
    });
    let answers = ask_standbys(crew, standbys, limit, |_| false);
    let heard = answers
        .into_iter()
        .filter_map(|(host, it)| Some((host, it.ok()?)));
    let heard: std::collections::HashMap<IpAddr, Status> = heard.collect();
    let signs = signs.within(limit).flatten();
    let silent = signs.as_ref().is_some_and(|it| !it.alive);
    let status = match silent {
        true => Err("no sign of life".to_owned()),
        false => old
            .report::<Status>(Order::Status, ANSWER_TIME, journal)
            .map_err(|error| error.to_string()),
    };
    let recent = |it: &Status| it.receiver_silent_ms.is_some_and(|ms| ms < RECENT);
    let seen = OldPrimary {
        report: status
            .as_ref()
            .err()
            .map(|why| Err(NoReport::NotRun(why.clone()))),
        signs,
        heard_by: heard
            .iter()
            .filter(|(_, it)| recent(it))
            .map(|(host, _)| *host)
            .collect(),
        port_refuses: !silent && !may_stream(crew, address),
        ..OldPrimary::default()
    };
    let found = stands(crew, (address, &seen), status.as_ref().ok(), &heard)
        .and_then(|text| somebody(candidates, &heard).map(|()| Done::Did(text)));
    let findings = Findings {
        old_primary: seen,
        standbys: heard,
        ..Findings::default()
    };
    (findings, found)
}

/// Where the old primary would stand.
fn stands(
    crew: &Crew,
    (old, seen): (IpAddr, &OldPrimary),
    status: Option<&Status>,
    standbys: &std::collections::HashMap<IpAddr, Status>,
) -> Result<String> {
    let Some(status) = status else {
        let outcome = fenced(seen);
        let policy = crew.here.config.promote_without_fence;
        may_promote(policy, &outcome).map_err(anyhow::Error::msg)?;
        return Ok(match outcome {
            Fenced::Yes(how) => format!("{old} is fenced: {how}"),
            Fenced::Unreachable(what) => format!("{old} is unreachable: {what}"),
            Fenced::No(what) => format!("{old} is alive, and would not be fenced: {what}"),
        });
    };
    if let Ok(Some(host)) = promoted(standbys)
        && let Some(primary) = standbys.get(&host)
    {
        is_successor((host, primary), status).map_err(anyhow::Error::msg)?;
    }
    let what = match (status.running, status.in_recovery) {
        (false, _) => "its host lives and its database does not run: fenced".to_owned(),
        (true, Some(false)) => format!(
            "its database runs as a primary, on timeline {}: its own copy of the tools would stop it",
            status.timeline
        ),
        (true, Some(true)) => "its database runs as a standby, and would be stopped".to_owned(),
        (true, None) => "its database runs and gives no answer: it would be stopped".to_owned(),
    };
    Ok(format!("{old}: {what}"))
}

/// The old primary is left alone where nobody can take its place.
fn somebody(
    candidates: &[IpAddr],
    standbys: &std::collections::HashMap<IpAddr, Status>,
) -> Result<()> {
    let why = |host: &IpAddr| match standbys.get(host) {
        Some(status) => obstacle(status),
        None => Some("it gives no answer".to_owned()),
    };
    let all: Vec<(IpAddr, Option<String>)> = candidates.iter().map(|it| (*it, why(it))).collect();
    if all.iter().any(|(_, why)| why.is_none()) {
        return Ok(());
    }
    let each: Vec<String> = all
        .into_iter()
        .map(|(host, why)| format!("{host}: {}", why.unwrap_or_default()))
        .collect();
    bail!(
        "no standby can be promoted, so the old primary is left as it is ({})",
        each.join("; ")
    )
}

/// Of three hosts more than half are seen without the old primary's, where that one cannot be asked.
pub fn own_side(crew: &Crew, old: IpAddr, seen: &OldPrimary, journal: &Journal) -> Result<Done> {
    match (&seen.report, is_elsewhere(seen)) {
        (Some(_), Some(why)) => see_majority(
            crew,
            journal,
            Deadline::after(QUORUM_TIME),
            Some((old, why)),
        ),
        _ => Ok(Done::Skipped(
            "the old primary's host can be asked".to_owned(),
        )),
    }
}
