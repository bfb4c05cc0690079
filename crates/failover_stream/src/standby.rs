//! A standby went down: nothing is promoted. A synchronous primary that has no other standby goes
//! on asynchronously, since its commits would hang.

use crate::foresee::{self, Foreseen};
use crate::peer::Crew;
use crate::quorum::{ask_trust_ip, see_majority};
use anyhow::{Result, bail};
use failover_core::config::{Config, SyncDegrade};
use failover_core::deadline::Deadline;
use failover_core::flavor::Flavor;
use failover_core::journal::Journal;
use failover_core::procedure::{self, Done, Frame, Planned, Procedure};
use failover_core::replication::{end_senders, is_in_recovery, standbys};
use failover_core::sql::{Session, Target};
use failover_core::synchronous::{Gone, Place, number, to_async, waited_for_after_looks};
use failover_core::workers;
use failover_rules::plan::failover as plan;
use failover_rules::plan::failover::ANSWER_TIME;
use std::net::IpAddr;
use std::sync::mpsc::channel;
use std::time::Duration;

/// For the standby to answer: one that does not, while commits wait for it, is given up by the primary.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// The steps, in order.
fn steps<'a>() -> Procedure<StandbyDown<'a>, plan::StandbyDown> {
    let limit = |context: &StandbyDown<'a>, budget| {
        procedure::limit(budget, context.config(), context.deadline.remaining())
    };
    Procedure {
        steps: &plan::STANDBY_DOWN,
        limit,
        carry_out,
    }
}

fn carry_out(
    step: plan::StandbyDown,
    context: &mut StandbyDown<'_>,
    deadline: Deadline,
) -> Result<Done> {
    match step {
        plan::StandbyDown::TrustIp => ask_trust_ip(context.crew, context.journal, deadline),
        plan::StandbyDown::Quorum => see_majority(context.crew, context.journal, deadline, None),
        plan::StandbyDown::FindPrimary => find_primary(context, deadline),
        plan::StandbyDown::Look => look(context, deadline),
        plan::StandbyDown::Async => degrade(context, deadline),
        plan::StandbyDown::Sender => end_sender(context, deadline),
    }
}

/// What the steps work on.
pub struct StandbyDown<'a> {
    crew: &'a Crew,
    journal: &'a Journal,
    deadline: Deadline,
    failed: IpAddr,
    primary: Option<IpAddr>,
    names: &'static Flavor,
    session: Option<Session>,
    /// Those that stream and that commits wait for.
    streaming: Vec<String>,
    setting: String,
}

impl<'a> StandbyDown<'a> {
    /// The standby `failed` went down; `primary` is who the pool says is primary.
    pub fn new(
        crew: &'a Crew,
        journal: &'a Journal,
        deadline: Deadline,
        failed: IpAddr,
        primary: Option<IpAddr>,
    ) -> Result<Self> {
        Ok(Self {
            names: Flavor::of(&crew.here.config)?,
            crew,
            journal,
            deadline,
            failed,
            primary,
            session: None,
            streaming: Vec::new(),
            setting: String::new(),
        })
    }

    fn config(&self) -> &'a Config {
        &self.crew.here.config
    }

    fn gone(&self) -> Gone {
        Gone {
            address: self.failed,
            name: self
                .config()
                .node_name_of(self.failed)
                .unwrap_or_default()
                .to_owned(),
        }
    }

    fn session(&self) -> Result<&Session> {
        match &self.session {
            Some(session) => Ok(session),
            None => bail!("no SQL session with the primary is open"),
        }
    }
}

/// Does it.
pub fn standby_down(context: &mut StandbyDown<'_>) -> Result<()> {
    let host = context.config().kb_localhost_ip.to_string();
    let frame = Frame {
        journal: context.journal,
        host: &host,
        deadline: context.deadline,
        die_after: context.crew.die_after.as_deref(),
    };
    procedure::run(&steps(), context, frame)
}

/// What `--dry-run` shows.
pub fn plan(context: &StandbyDown<'_>) -> Vec<Planned> {
    let host = context.config().kb_localhost_ip.to_string();
    procedure::describe(&steps(), context, &host)
}

/// What would come of it now.
pub fn foresee(context: &mut StandbyDown<'_>) -> Foreseen {
    let mut seen = Foreseen::default();
    let limit = Deadline::after(context.config().failover_timeout);
    let goes_on = foresee::before_anything(context.crew, context.journal, &mut seen)
        && seen.look("standby.find-primary", find_primary(context, limit))
        && seen.look("standby.look", look(context, limit));
    if goes_on {
        let (there, needed) = (context.streaming.len(), number(&context.setting));
        let policy = context.config().sync_degrade;
        seen.end = match (needed, there >= needed, policy) {
            (0, _, _) => "now nothing would be changed: the primary is asynchronous".to_owned(),
            (_, true, _) => "now the primary would stay as it is".to_owned(),
            (_, false, SyncDegrade::Never) => {
                "now the primary's commits would wait (SYNC_DEGRADE=never)".to_owned()
            }
            (_, false, SyncDegrade::Always) if there == 0 => {
                "now the primary would become asynchronous".to_owned()
            }
            (_, false, SyncDegrade::Always) => {
                format!("now the primary's commits would wait for {there} standbys")
            }
        };
    }
    seen
}

fn find_primary(context: &mut StandbyDown<'_>, deadline: Deadline) -> Result<Done> {
    let (journal, failed) = (context.journal, context.failed);
    journal.line("----determine whether the faulty db is master or standby");
    journal.line(format!(
        "standby down, {failed} is no primary, nothing to promote"
    ));
    let candidates: Vec<IpAddr> = match context.primary {
        Some(primary) => vec![primary],
        None => {
            let hosts = context.config().kb_all_ip.iter();
            hosts.copied().filter(|host| *host != failed).collect()
        }
    };
    let (told, answers) = channel();
    let asked = candidates.len();
    let names = context.names;
    for host in candidates {
        let told = told.clone();
        let target = Target::new(context.config(), host);
        workers::start(move || {
            let answer = Session::open(&target, deadline)
                .and_then(|session| Ok((is_in_recovery(&session, names, deadline)?, session)));
            let _ = told.send((host, answer));
        });
    }
    let mut seen = Vec::new();
    for _ in 0..asked {
        match answers.recv_timeout(deadline.remaining()) {
            Ok((host, Ok((false, session)))) => {
                context.session = Some(session);
                return Ok(Done::Did(format!("{host} is the primary")));
            }
            Ok((host, Ok((true, _)))) => seen.push(format!("{host} is in recovery")),
            Ok((_, Err(error))) => seen.push(error.to_string()),
            Err(_) => break,
        }
    }
    bail!(
        "no primary was found among the hosts that are left ({}): if its commits hang, set \
         synchronous_standby_names to '' there and reload; if {failed} was the primary and the pool did \
         not know that, run failover_stream again with its id for %P",
        seen.join("; ")
    )
}

fn look(context: &mut StandbyDown<'_>, deadline: Deadline) -> Result<Done> {
    let session = context.session()?;
    let setting = session.value(
        "SHOW synchronous_standby_names",
        deadline.at_most(ANSWER_TIME),
    )?;
    let setting = setting.unwrap_or_default();
    if setting.is_empty() {
        return Ok(Done::Skipped(
            "the primary is asynchronous already".to_owned(),
        ));
    }
    let gone = context.gone();
    let looks = context.config().health_check_max_retries;
    let needed = number(&setting);
    let (names, gone) = (context.names, Some(&gone));
    context.streaming = waited_for_after_looks(session, names, gone, needed, looks, deadline)?;
    context.setting = setting;
    Ok(Done::Did(match context.streaming.is_empty() {
        false => format!("standby {} streams", context.streaming.join(", ")),
        true => "no other standby streams".to_owned(),
    }))
}

fn degrade(context: &mut StandbyDown<'_>, deadline: Deadline) -> Result<Done> {
    let there = context.streaming.len();
    if let (Some(standby), true) = (context.streaming.first(), there >= number(&context.setting)) {
        context.journal.line(format!(
            "standby {standby} streams, the primary stays as it is"
        ));
        return Ok(Done::Skipped(format!("standby {standby} streams")));
    }
    if there == 0 {
        context.journal.stamped("sync to async");
    }
    let place = Place {
        session: context.session()?,
        names: context.names,
        files: None,
        new: false,
        journal: context.journal,
    };
    let policy = context.config().sync_degrade;
    to_async(place, policy, Some(&context.gone()), deadline)
}

/// The primary keeps the connection to a host that has died for `wal_sender_timeout`, and commits wait for it
/// that long, though another standby streams. One that lives connects again at once.
fn end_sender(context: &mut StandbyDown<'_>, deadline: Deadline) -> Result<Done> {
    let (failed, names) = (context.failed, context.names);
    let gone = context.gone();
    let waited_for = |session: &Session| -> Result<bool> {
        let all = standbys(session, names, deadline)?;
        Ok(all
            .iter()
            .any(|it| it.is(gone.address, &gone.name) && it.is_waited_for()))
    };
    if !waited_for(context.session()?)? {
        return Ok(Done::Skipped("commits do not wait for it".to_owned()));
    }
    let target = Target::new(context.config(), failed);
    let limit = deadline.at_most(SILENT_AFTER);
    let answer =
        Session::open(&target, limit).and_then(|session| is_in_recovery(&session, names, limit));
    if answer.is_ok() {
        return Ok(Done::Skipped(format!("{failed} answers")));
    }
    let ended = end_senders(
        context.session()?,
        names,
        &gone.name,
        gone.address,
        deadline,
    )?;
    let text = format!(
        "the primary has ended its connection to {failed}, which gives no answer: commits wait for others"
    );
    context.journal.stamped(&text);
    Ok(Done::Did(format!("{ended} connections of {failed} ended")))
}
