//! The failover of a primary that is down: the coordinator's procedure.

use crate::fencing::{self, Findings, Needed};
use crate::foresee::{self, Foreseen};
use crate::peer::{Crew, Peer, Round};
use crate::quorum::{ask_trust_ip, see_majority};
use crate::watch;
use anyhow::{Context, Error, Result, bail};
use failover_core::config::{Config, FailoverCandidate};
use failover_core::deadline::Deadline;
use failover_core::flavor::Flavor;
use failover_core::host::Host;
use failover_core::journal::Journal;
use failover_core::life::{PortState, port_refuses};
use failover_core::lsn::{Lsn, Timeline};
use failover_core::peer::PeerError;
use failover_core::pool::{self, Change, Pool, PoolError, PoolNode, PoolNodes};
use failover_core::procedure::{self, Done, Frame, Planned, Procedure};
use failover_core::process::Cmd;
use failover_core::ssh::Ssh;
use failover_core::status::Status;
use failover_core::steps::{Leader, Order, Promotion};
use failover_core::workers;
use failover_rules::facts::report::PromoteReport;
use failover_rules::facts::run::from_timeline_to;
use failover_rules::failover::{self as decide, Candidate, HoldEnd, Unfit};
use failover_rules::fencing::{Fenced, OldPrimary, fenced, is_elsewhere, may_promote, needs_hold};
use failover_rules::plan::failover::{
    self as plan, ANSWER_TIME, Coordinator, PROMOTION_SLACK, QUORUM_TIME, SHOW_TIME,
};
use failover_stream::args::Placeholders;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long asynchronous standbys may take to tell their positions.
const POSITIONS_TIME: Duration = Duration::from_secs(1);
/// For all hosts to say how they are, where the pool says that none is up.
const NOBODY_TIME: Duration = Duration::from_secs(2);
/// Of the failover's time, what is kept for the promotion's own parts.
const PROMOTION_RESERVE: Duration = Duration::from_secs(2);
/// For taking the VIP off another standby.
const VIP_OFF_TIME: Duration = Duration::from_secs(1);
/// For the standbys that were held to listen to the old primary again.
const RELEASE_TIME: Duration = Duration::from_secs(3);
/// For the pool to take an order, which it does at once or not at all.
const ATTACH_TIME: Duration = Duration::from_secs(1);
/// Of that, for its first answer: it knocks at each database for it, for some 10 s at a dead host.
const POOL_TIME: Duration = Duration::from_secs(15);
/// For the cluster VIP to show that somebody has it.
const KNOCK_TIME: Duration = Duration::from_millis(500);
/// For reading `KB_CLUSTER_STATUS`.
const STATUS_TIME: Duration = Duration::from_millis(300);
/// A `KB_CLUSTER_STATUS` older than this (seconds) says nothing.
const STATUS_AGE: u64 = 120;

/// The steps, in order.
fn steps<'a>() -> Procedure<Failover<'a>, Coordinator> {
    let limit = |failover: &Failover<'a>, budget| {
        procedure::limit(budget, failover.config(), failover.deadline.remaining())
    };
    Procedure {
        steps: &plan::COORDINATOR,
        limit,
        carry_out,
    }
}

fn carry_out(step: Coordinator, failover: &mut Failover<'_>, deadline: Deadline) -> Result<Done> {
    match step {
        Coordinator::TrustIp => trust_ip(failover, deadline),
        Coordinator::Quorum => see_majority(&failover.crew, failover.journal, deadline, None),
        Coordinator::Fence => fence(failover, deadline),
        Coordinator::Hold => hold(failover, deadline),
        Coordinator::Choose => choose(failover, deadline),
        Coordinator::Promote => promote(failover, deadline),
        Coordinator::Follow => follow(failover, deadline),
        Coordinator::Watch => watch_old_primary(failover),
        Coordinator::Attach => attach(failover, deadline),
    }
}

/// What the steps work on.
pub struct Failover<'a> {
    crew: Arc<Crew>,
    journal: &'a Journal,
    deadline: Deadline,
    old_primary: Peer,
    given: IpAddr,
    standbys: Vec<Peer>,
    findings: Findings,
    /// Standbys that were told to stop listening to the old primary, and may have done so.
    held: Vec<IpAddr>,
    chosen: Option<IpAddr>,
    /// Its timeline, where positions were asked for.
    chosen_on: Timeline,
    /// Who was told to follow the new primary.
    followers: Option<Round>,
    /// Its node in the pool, where that has it down.
    down_in_pool: Option<u32>,
    /// Hears of each pool that answers somebody.
    open_pools: Option<Receiver<Pool>>,
    /// What the pool last said of each host, once that was read.
    known: Option<Vec<(IpAddr, PoolNode)>>,
}

impl<'a> Failover<'a> {
    /// The failover from `old_primary`; `given` is the pool's new main node.
    pub fn new(
        crew: &Arc<Crew>,
        journal: &'a Journal,
        deadline: Deadline,
        old_primary: IpAddr,
        given: IpAddr,
    ) -> Self {
        let hosts = &crew.here.config.kb_all_ip;
        Self {
            journal,
            deadline,
            old_primary: Peer::new(crew, old_primary),
            given,
            standbys: hosts
                .iter()
                .filter(|host| **host != old_primary)
                .map(|host| Peer::new(crew, *host))
                .collect(),
            findings: Findings::default(),
            held: Vec::new(),
            chosen: None,
            chosen_on: 0,
            followers: None,
            down_in_pool: None,
            open_pools: None,
            known: None,
            crew: Arc::clone(crew),
        }
    }

    fn config(&self) -> &Config {
        &self.crew.here.config
    }

    /// Takes the VIP off a standby to which a run before this one gave it, if another one is to
    /// be promoted now.
    fn free_vip(&self, chosen: IpAddr) {
        let here = &self.crew.here;
        let Some(vip) = &here.vip else {
            return;
        };
        for (host, status) in &self.findings.standbys {
            if !status.vip_here || *host == chosen {
                continue;
            }
            let deadline = Deadline::after(VIP_OFF_TIME);
            let result = match here.reach(*host) {
                Host::Local => here.vip_off(vip, deadline).map(drop).map_err(Error::from),
                Host::Remote(login) => {
                    let cmd = Cmd::new(here.config.kb_path.join("vip_ctl"))
                        .args(["del", "--for"])
                        .arg(host.to_string());
                    Ssh::connect(&login, deadline)
                        .and_then(|ssh| ssh.run(&cmd, deadline)?.checked(&cmd))
                        .map(drop)
                        .map_err(Error::from)
                }
            };
            self.journal.stamped(match result {
                Ok(()) => format!("del VIP on {host}, which had it and is not the one to promote"),
                Err(error) => format!("warning: {host} has the VIP and keeps it: {error:#}"),
            });
        }
    }

    /// Whether there is anything to choose.
    fn has_choice(&self) -> bool {
        self.standbys.len() > 1 && self.config().failover_candidate == FailoverCandidate::Best
    }

    /// The node of `host`, if the pool had it down when `known` was written. Who is given is up,
    /// whatever was then.
    fn down_in_pool(&self, known: &[(IpAddr, PoolNode)], host: IpAddr) -> Option<u32> {
        let (_, node) = known.iter().find(|(known, _)| *known == host)?;
        (!node.is_up() && host != self.given).then_some(node.id)
    }

    /// What the pool last said of each host, if that is recent.
    fn known(&mut self) -> &[(IpAddr, PoolNode)] {
        let (config, journal) = (&self.crew.here.config, self.journal);
        self.known
            .get_or_insert_with(|| last_status(config, journal))
    }

    /// Whom nobody is promoted past without having understood him: in a synchronous cluster with a
    /// choice the standbys that the pool did not have down.
    fn understood_first(&mut self) -> Vec<IpAddr> {
        if !(self.config().sync_flag && self.has_choice()) {
            return Vec::new();
        }
        let known = self.known().to_vec();
        let mut hosts: Vec<IpAddr> = self.standbys.iter().map(Peer::address).collect();
        hosts.retain(|host| self.down_in_pool(&known, *host).is_none());
        hosts
    }

    /// Who may be chosen.
    fn candidates(&self) -> Vec<IpAddr> {
        match self.has_choice() {
            true => self.standbys.iter().map(Peer::address).collect(),
            false => vec![self.given],
        }
    }
}

/// The first lines of the log: what the pool called us with.
pub fn header(given: &Placeholders, journal: &Journal) {
    let Placeholders {
        new_primary_host: h,
        old_primary_id: p,
        failed_node_id: d,
        failed_node_host: failed,
        old_primary_host: o,
        new_primary_id: m,
        old_main_id: main,
        data_dir: data,
    } = given;
    let now = failover_core::clock::stamp();
    journal.line(format!(
        "-----------------{now} failover beging---------------------------------------"
    ));
    journal.line(format!(
        "----failover-stats is %H = hostname of the new master node [{h}], %P = old primary node id \
         [{p}], %d = node id[{d}], %h = host name [{failed}], %O = old primary host[{o}] %m = new \
         master node id [{m}], %M = old master node id [{main}], %D = database cluster path [{data}]."
    ));
    journal.line("Tips:");
    journal.line(format!("     1)new_master : {h}"));
    journal.line(format!("     2) new_master_id:   {m}"));
    journal.line(format!("     3) old_primary: {o}"));
    journal.line(format!("     4) old_primary_id : {p}"));
}

/// The last line of the log.
pub fn footer(journal: &Journal) {
    let now = failover_core::clock::stamp();
    journal.line(format!(
        "-----------------{now} failover end---------------------------------------"
    ));
}

/// Does it.
pub fn fail_over(failover: &mut Failover<'_>) -> Result<()> {
    let host = failover.config().kb_localhost_ip.to_string();
    let crew = Arc::clone(&failover.crew);
    failover.open_pools = Some(ask_pools(&crew));
    let frame = Frame {
        journal: failover.journal,
        host: &host,
        // The promotion has a time of its own.
        deadline: Deadline::after(
            failover.deadline.remaining()
                + crew.here.config.promote_timeout
                + PROMOTION_SLACK
                + SHOW_TIME,
        ),
        die_after: crew.die_after.as_deref(),
    };
    let result = procedure::run(&steps(), failover, frame);
    if let Err(error) = &result {
        release(failover, error);
    }
    result
}

/// What `--dry-run` shows.
pub fn plan(failover: &Failover<'_>) -> Vec<Planned> {
    let config = failover.config();
    let here = config.kb_localhost_ip.to_string();
    let mut all = procedure::describe(&steps(), failover, &here);
    let fence_host = failover.old_primary.address().to_string();
    let chosen = match failover.has_choice() {
        true => "the furthest".to_owned(),
        false => failover.given.to_string(),
    };
    let fence = plan::FENCE.iter();
    all.extend(fence.map(|step| Planned::elsewhere(step, fence_host.clone())));
    if failover.standbys.len() > 1 {
        let follow = plan::FOLLOW.iter();
        all.extend(follow.map(|step| Planned::elsewhere(step, "the others".to_owned())));
    }
    let promote = plan::PROMOTE.iter();
    all.extend(promote.map(|step| Planned::elsewhere(step, chosen.clone())));
    all
}

/// What would come of it now.
pub fn foresee(failover: &mut Failover<'_>) -> Foreseen {
    let crew = Arc::clone(&failover.crew);
    let mut seen = Foreseen::default();
    if !foresee::before_anything(&crew, failover.journal, &mut seen) {
        return seen;
    }
    let candidates = failover.candidates();
    let who = (failover.standbys.as_slice(), candidates.as_slice());
    let (findings, fence) = foresee::fence(&crew, &failover.old_primary, who, failover.journal);
    failover.findings = findings;
    let old = (
        failover.old_primary.address(),
        &failover.findings.old_primary,
    );
    let side = foresee::own_side(&crew, old.0, old.1, failover.journal);
    let goes_on = seen.look("fence", fence) && seen.look("hold", side);
    let limit = Deadline::after(crew.here.config.failover_timeout);
    if goes_on && seen.look("choose", choose(failover, limit)) {
        let chosen = failover.chosen.map(|it| it.to_string()).unwrap_or_default();
        seen.end = format!("now {chosen} would become the primary");
    }
    seen
}

/// What is said where the pool knows nobody. Its standbys may run all the same: an old pool drops an attach
/// that reaches it while it is busy.
pub fn nobody_left(crew: &Arc<Crew>, deadline: Deadline) -> String {
    let config = &crew.here.config;
    let hosts = config.kb_all_ip.iter();
    let peers: Vec<Peer> = hosts.map(|host| Peer::new(crew, *host)).collect();
    let limit = deadline.at_most(NOBODY_TIME);
    let answers = fencing::ask_standbys(crew, &peers, limit, |_| false);
    let seen = answers
        .into_iter()
        .filter_map(|(host, it)| Some((host, it.ok()?)));
    decide::nobody_left(&seen.collect(), config.kb_localhost_ip)
}

fn trust_ip(failover: &mut Failover<'_>, deadline: Deadline) -> Result<Done> {
    ask_trust_ip(&failover.crew, failover.journal, deadline)
}

fn fence(failover: &mut Failover<'_>, deadline: Deadline) -> Result<Done> {
    let journal = failover.journal;
    let old = failover.old_primary.address();
    journal.line("----determine whether the faulty db is master or standby");
    journal.line(format!(
        "master down, let {} become new primary.....",
        failover.given
    ));
    // The blank before the time is the script's.
    journal.line(format!(
        " {} del old primary VIP on {old}",
        failover_core::clock::stamp()
    ));
    let needed = Needed {
        candidates: failover.candidates(),
        understood: failover.understood_first(),
    };
    failover.findings = fencing::fence_and_look(
        &failover.crew,
        &failover.old_primary,
        &failover.standbys,
        needed,
        journal,
        deadline,
    );
    if let Some(refusal) = &failover.findings.refusal {
        bail!("{refusal}. The old primary is left as it is");
    }
    if let Some(obstacles) = &failover.findings.nobody {
        bail!(
            "no standby can be promoted, so the old primary is left as it is ({obstacles}): correct \
             that, then run this command again"
        );
    }
    let outcome = fenced(&failover.findings.old_primary);
    let verdict = may_promote(failover.config().promote_without_fence, &outcome);
    if !failover.findings.old_primary.report_is_in() {
        journal.line(format!(
            "ssh connect host:{old} failed, can not stop old primary db and del old primary db vip"
        ));
    }
    let detail = match &outcome {
        Fenced::Yes(how) => {
            journal.stamped(format!("old primary {old} is fenced: {how}"));
            format!("fenced: {how}")
        }
        Fenced::Unreachable(seen) => {
            journal.stamped(format!("old primary {old} is unreachable: {seen}"));
            format!("unreachable: {seen}")
        }
        Fenced::No(seen) => {
            journal.stamped(format!("old primary {old} is alive, not fenced: {seen}"));
            format!("alive, not fenced: {seen}")
        }
    };
    if let Err(refusal) = verdict {
        bail!(refusal);
    }
    if failover.findings.old_primary.may_keep_vip() {
        journal.stamped(format!(
            "warning: the database VIP may still be on {old}, where it keeps clients from the new \
             primary: take it off there (vip_ctl del)"
        ));
    }
    Ok(Done::Did(detail))
}

/// A standby that goes on acknowledging an old primary which nobody could fence makes that one's clients
/// believe in commits that the new primary will never have.
fn hold(failover: &mut Failover<'_>, deadline: Deadline) -> Result<Done> {
    if !needs_hold(&failover.findings.old_primary, failover.standbys.len()) {
        return see_own_side(failover);
    }
    let seen = &failover.findings.standbys;
    let standbys = failover.standbys.iter().map(Peer::address);
    let unheard: Vec<IpAddr> = standbys.filter(|it| !seen.contains_key(it)).collect();
    let mut living = fencing::living(&failover.crew, &unheard);
    // Where nobody listens on the database's port nothing streams.
    living.retain(|host| fencing::may_stream(&failover.crew, *host));
    // One that was down may have been started since: its own copy knows.
    let answers = |host: IpAddr| seen.contains_key(&host) || living.contains(&host);
    // Also to those that have not answered yet: whatever they are asked next, they answer it held.
    let newer = newest_timeline(&failover.findings).saturating_add(1);
    let order = Order::Hold {
        newer,
        old: Some(failover.old_primary.address()),
    };
    let round = Round::give(&failover.standbys, &order, deadline);
    failover.held = failover.standbys.iter().map(Peer::address).collect();
    let mut missing = Vec::new();
    for (host, end) in round.ends(answers, deadline, failover.journal) {
        let (error, end) = match end {
            Ok(_) => continue,
            Err(error @ PeerError::Failed(_)) => (error.to_string(), HoldEnd::Refused),
            Err(error) => (error.to_string(), HoldEnd::Silent),
        };
        // A second primary is the worst end. Where this failover has heard of the other one's, it is chosen.
        if error.contains(decide::ANOTHER_FAILOVER)
            && !matches!(decide::promoted(&failover.findings.standbys), Ok(Some(_)))
        {
            bail!("{host}: {error}");
        }
        let heard = match end {
            HoldEnd::Refused => status_anew(failover, host),
            HoldEnd::Silent | HoldEnd::Held => seen.get(&host).cloned(),
        };
        let may = |lives| decide::may_acknowledge_on(heard.as_ref(), end, lives);
        let by_now = || heard.is_some() && may(true) && lives_by_now(failover, host);
        if may(living.contains(&host)) || by_now() {
            missing.push(format!("{host}: {error}"));
        }
    }
    if missing.is_empty() {
        // A host that went out of sight meanwhile was not held: with the old primary it may be more.
        see_own_side(failover)?;
        return Ok(Done::Did("every standby that was heard".to_owned()));
    }
    let config = failover.config();
    let gives_up = config.failover_candidate == FailoverCandidate::Given;
    let text =
        decide::unheld(&missing.join("; "), config.sync_flag, gives_up).map_err(Error::msg)?;
    failover.journal.stamped(format!("warning: {text}"));
    Ok(Done::Did(text))
}

/// How the instance of a standby is that has just refused to be held.
fn status_anew(failover: &Failover<'_>, host: IpAddr) -> Option<Status> {
    let peer = failover.standbys.iter().find(|it| it.address() == host)?;
    peer.report(Order::Status, ANSWER_TIME, failover.journal)
        .ok()
}

/// Whether a standby of which the order's end is not known shows life now, whatever it was before.
fn lives_by_now(failover: &Failover<'_>, host: IpAddr) -> bool {
    fencing::living(&failover.crew, &[host]).contains(&host)
}

/// Where the old primary's host may be on another side of a cut, more than half is seen without it.
fn see_own_side(failover: &Failover<'_>) -> Result<Done> {
    match is_elsewhere(&failover.findings.old_primary) {
        Some(why) => see_majority(
            &failover.crew,
            failover.journal,
            Deadline::after(QUORUM_TIME),
            Some((failover.old_primary.address(), why)),
        ),
        None => Ok(Done::Skipped("nobody else could acknowledge".to_owned())),
    }
}

/// A failover that came to nothing leaves the standbys where they were.
fn release(failover: &Failover<'_>, why: &Error) {
    // Of one that gave no answer, or none that was understood, nobody knows whether it is primary: the
    // others stay with it.
    let unknown = matches!(
        why.downcast_ref::<PeerError>(),
        Some(PeerError::NotRun(_) | PeerError::NotUnderstood(_))
    );
    if failover.held.is_empty() || (unknown && failover.followers.is_some()) {
        return;
    }
    let old = failover.old_primary.address();
    let deadline = Deadline::after(RELEASE_TIME);
    let seen = |host: IpAddr| failover.findings.standbys.contains_key(&host);
    let held = failover.standbys.iter().filter(|it| seen(it.address()));
    let round = Round::give(
        held,
        &Order::Follow(Leader {
            address: old,
            timeline: 0,
            instead_of: failover.chosen,
        }),
        deadline,
    );
    for (host, end) in round.ends(|_| true, deadline, failover.journal) {
        failover.journal.stamped(match end {
            Ok(_) => format!("{host} follows {old} again"),
            Err(error) => format!(
                "warning: {host} was not told to follow {old} again, network_rewind there does that \
                 once the pool has a primary: {error}"
            ),
        });
    }
}

fn choose(failover: &mut Failover<'_>, deadline: Deadline) -> Result<Done> {
    let known = failover.known().to_vec();
    let promoted = decide::promoted(&failover.findings.standbys).map_err(Error::msg)?;
    if promoted.is_none() {
        let others: Vec<IpAddr> = failover.standbys.iter().map(Peer::address).collect();
        let old = old_timeline(&failover.findings.old_primary);
        decide::replaced_before(&failover.findings.standbys, &others, old).map_err(Error::msg)?;
    }
    let (address, why) = match promoted {
        // Whatever the pool or the positions say: a second primary is the worst end.
        Some(address) => (address, "it is a primary already".to_owned()),
        None if failover.has_choice() => {
            let (best, why) = furthest(failover, &known, deadline)?;
            failover.chosen_on = best.timeline;
            (best.address, why)
        }
        None => (failover.given, "the pool's choice".to_owned()),
    };
    // After a clean stop the candidate itself knows what it misses.
    let clean = shutdown_checkpoint(&failover.findings.old_primary).is_some();
    if let (Some(max), None, false) = (failover.config().max_failover_lag, promoted, clean) {
        match known
            .iter()
            .find_map(|(host, node)| (*host == address).then_some(node.replication_delay))
        {
            Some(Some(missing)) => {
                if let Some(refusal) = decide::lag_refusal(missing, Some(max)) {
                    bail!(refusal);
                }
            }
            _ => failover.journal.stamped(format!(
                "warning: MAX_FAILOVER_LAG={max} could not be checked: the old primary's position \
                 is not known, and KB_CLUSTER_STATUS tells no delay of {address} in bytes that is \
                 less than {STATUS_AGE} s old"
            )),
        }
    }
    failover.chosen = Some(address);
    failover.down_in_pool = failover.down_in_pool(&known, address);
    if failover.down_in_pool.is_some() {
        failover.journal.stamped(format!(
            "warning: the pool has {address} down, and looks for its primary among the others: it is \
             to be attached after the promotion"
        ));
    }
    Ok(Done::Did(format!("{address}: {why}")))
}

/// What the pool last said of each host, if that is recent.
fn last_status(config: &Config, journal: &Journal) -> Vec<(IpAddr, PoolNode)> {
    let Some(file) = config.kb_cluster_status.clone() else {
        return Vec::new();
    };
    let limit = Deadline::after(STATUS_TIME);
    let nodes = match workers::within(limit, move || pool::last_status(&file, STATUS_AGE)) {
        Some(Ok(nodes)) => nodes,
        Some(Err(error)) => {
            journal.stamped(format!(
                "warning: KB_CLUSTER_STATUS cannot be read: {error}"
            ));
            Vec::new()
        }
        None => {
            journal.stamped("warning: KB_CLUSTER_STATUS cannot be read: its disk hangs");
            Vec::new()
        }
    };
    let hosts = config.kb_all_ip.iter();
    hosts
        .filter_map(|host| {
            let name = config.node_name_of(*host);
            let node = nodes.iter().find(|node| node.is(*host, name))?;
            Some((*host, node.clone()))
        })
        .collect()
}

/// The furthest standby. Positions are asked for anew: while the old primary was being stopped
/// they still moved.
fn furthest(
    failover: &Failover<'_>,
    known: &[(IpAddr, PoolNode)],
    deadline: Deadline,
) -> Result<(Candidate, String)> {
    let (journal, config) = (failover.journal, failover.config());
    let deadline = if config.sync_flag {
        // The promotion needs some, too.
        deadline.at_most(deadline.remaining().saturating_sub(PROMOTION_RESERVE))
    } else {
        deadline.at_most(POSITIONS_TIME)
    };
    let was_down = |host| failover.down_in_pool(known, host).is_some();
    // The pool may have one down that streams all the same, and then it may be the only one that has
    // the last acknowledged commits.
    let is_lost = |host| {
        let seen = failover.findings.standbys.get(&host);
        was_down(host) && decide::is_lost(seen, config.sync_flag)
    };
    let mut answers: HashMap<IpAddr, Result<Status, PeerError>> =
        fencing::ask_standbys(&failover.crew, &failover.standbys, deadline, is_lost);
    let (mut candidates, mut unfit) = (Vec::new(), Vec::new());
    // By its files a standby may seem to have less than it has.
    let mut unasked = Vec::new();
    for peer in &failover.standbys {
        let host = peer.address();
        let answer = answers
            .remove(&host)
            .unwrap_or_else(|| Err(PeerError::NotRun("no answer in time".to_owned())));
        if config.sync_flag && matches!(&answer, Ok(status) if decide::is_unasked(status)) {
            unasked.push((host, Unfit::Silent));
        }
        match judge(host, answer, was_down(host)) {
            Ok(candidate) => {
                journal.line(format!(
                    "standby {host} is at {} on timeline {}",
                    candidate.position, candidate.timeline
                ));
                candidates.push(candidate);
            }
            Err((why, seen)) => {
                journal.line(format!("standby {host} is no candidate: {why}"));
                if config.sync_flag && !was_down(host) {
                    unfit.push((host, seen));
                }
            }
        }
    }
    let choice = decide::choose(&candidates, failover.given)
        .context("no standby can be promoted: see the lines before; bring one of them up and run this command again")?;
    unasked.retain(|(host, _)| *host != choice.address);
    unfit.extend(unasked);
    pass_over(failover, &unfit, &candidates, choice.address)?;
    journal.stamped(format!(
        "{} becomes the new primary: {}",
        choice.address, choice.why
    ));
    candidates.retain(|it| it.address == choice.address);
    let best = candidates.pop().context("no standby was chosen")?;
    Ok((best, choice.why))
}

/// The standby `host` as a candidate, or why it is none.
fn judge(
    host: IpAddr,
    answer: Result<Status, PeerError>,
    was_down: bool,
) -> Result<Candidate, (String, Unfit)> {
    match answer {
        Ok(status) => Candidate::from_status(host, &status, was_down)
            .map_err(|why| (why.clone(), Unfit::Known(Box::new(status), why))),
        Err(PeerError::NotRun(why)) => Err((why, Unfit::Silent)),
        Err(PeerError::NotUnderstood(why) | PeerError::Failed(why)) => {
            Err((why.clone(), Unfit::NotUnderstood(why)))
        }
    }
}

/// Says what it may cost that the standbys in `unfit` are passed over; an error: that may not be.
fn pass_over(
    failover: &Failover<'_>,
    unfit: &[(IpAddr, Unfit)],
    candidates: &[Candidate],
    chosen: IpAddr,
) -> Result<()> {
    let best = candidates.iter().find(|it| it.address == chosen);
    for (host, seen) in unfit {
        let not_understood = matches!(seen, Unfit::NotUnderstood(_));
        let streams_not = not_understood && !fencing::may_stream(&failover.crew, *host);
        let seen = if streams_not { &Unfit::Silent } else { seen };
        match decide::pass_over(*host, seen, best) {
            Ok(warning) => failover.journal.stamped(warning),
            Err(refusal) => bail!(refusal),
        }
    }
    Ok(())
}

fn promote(failover: &mut Failover<'_>, _: Deadline) -> Result<Done> {
    let address = failover.chosen.context("no standby was chosen")?;
    let peer = failover
        .standbys
        .iter()
        .find(|peer| peer.address() == address)
        .with_context(|| format!("{address} is none of the standbys in KB_ALL_IP"))?;
    failover.free_vip(address);
    let limit = failover.deadline.remaining().max(PROMOTION_SLACK);
    // Before the promotion: one that streams from the standby already goes on when that is primary.
    let seen = &failover.findings.standbys;
    let listens = |it: IpAddr| seen.get(&it).is_some_and(decide::may_listen);
    // Also one that is down: it must not be made a standby of the old primary meanwhile.
    let told = |it: &&Peer| it.address() != address && seen.contains_key(&it.address());
    let others = failover.standbys.iter().filter(told);
    let mut newest_timeline = newest_timeline(&failover.findings);
    // One that was heard late only: what it has is nothing that came since.
    if !seen.contains_key(&address) {
        newest_timeline = newest_timeline.max(failover.chosen_on);
    }
    let by_now = seen
        .get(&address)
        .filter(|it| it.in_recovery == Some(false));
    let leader = Leader {
        address,
        // One that was promoted already keeps its number. Told of the next one, a follower would leave
        // that out when it is promoted itself, and no standby streams past a number that nobody has.
        timeline: by_now.map_or(newest_timeline.saturating_add(1), |it| it.timeline),
        instead_of: None,
    };
    let followers = Round::give(others, &Order::Follow(leader), Deadline::after(limit));
    let order = Order::Promote(Promotion {
        old_primary: Some(failover.old_primary.address()),
        old_timeline: old_timeline(&failover.findings.old_primary),
        wait_for: shutdown_checkpoint(&failover.findings.old_primary),
        followers: failover
            .standbys
            .iter()
            .filter(told)
            .filter(|it| listens(it.address()))
            .count(),
        newest_timeline,
    });
    let result = peer.report::<PromoteReport>(order, limit, failover.journal);
    failover.followers = Some(followers);
    // The old primary may be down by now: nobody is one until somebody acts.
    let report = result.with_context(|| {
        format!("{address} did not become primary; correct this and run this command again")
    })?;
    Ok(Done::Did(match report.already {
        true => format!("{address} was primary already"),
        false => {
            let timelines = report.timelines.map(from_timeline_to).unwrap_or_default();
            format!("{address} is primary{timelines}")
        }
    }))
}

fn follow(failover: &mut Failover<'_>, deadline: Deadline) -> Result<Done> {
    let Some(round) = failover.followers.as_ref().filter(|it| it.len() > 0) else {
        return Ok(Done::Skipped("there is no other standby".to_owned()));
    };
    let mut missing = Vec::new();
    for (host, end) in round.ends(|_| true, deadline, failover.journal) {
        if let Err(error) = end {
            missing.push(format!("{host}: {error}"));
        }
    }
    match missing.is_empty() {
        true => Ok(Done::Did(format!("{} of them", round.len()))),
        false => bail!(
            "a standby does not follow the new primary yet, network_rewind there makes it: {}",
            missing.join("; ")
        ),
    }
}

/// An old primary that comes back as one is a second primary, with the VIP, until its host looks.
fn watch_old_primary(failover: &Failover<'_>) -> Result<Done> {
    let old = failover.old_primary.address();
    if failover.findings.old_primary.fenced_itself() {
        return Ok(Done::Skipped("its own copy stopped it".to_owned()));
    }
    watch::leave(&failover.crew, old)?;
    Ok(Done::Did(format!(
        "as soon as {old} answers, network_rewind is started there"
    )))
}

/// The newest timeline that any host has told of.
fn newest_timeline(findings: &Findings) -> Timeline {
    let standbys = findings.standbys.values().map(|status| status.timeline);
    standbys
        .chain(old_timeline(&findings.old_primary))
        .max()
        .unwrap_or(0)
}

/// Asks the pools, beside everything else and without waiting for them: one that has called us takes no
/// sessions until we end, and then looks for the primary. One that answers waits for nobody.
fn ask_pools(crew: &Crew) -> Receiver<Pool> {
    let config = &crew.here.config;
    let (told, answers) = channel();
    if let Ok(flavor) = Flavor::of(config) {
        let first = Pool::new(config, flavor);
        let others: Vec<Pool> = config.kb_pool_ips.iter().map(|it| first.at(*it)).collect();
        let patience = Deadline::after(config.failover_timeout + config.promote_timeout);
        for pool in [vec![first], others].concat() {
            let told = told.clone();
            workers::start(move || {
                if pool.is_open(patience) {
                    let _ = told.send(pool);
                }
            });
        }
    }
    answers
}

/// The pool has to find the new primary.
fn attach(failover: &mut Failover<'_>, deadline: Deadline) -> Result<Done> {
    let address = failover.chosen.context("no standby was chosen")?;
    let config = failover.config();
    let pool = Pool::new(config, Flavor::of(config)?);
    let open = failover.open_pools.iter().flat_map(Receiver::try_iter);
    let (first, others): (Vec<_>, Vec<_>) = open.partition(|it| it.host() == pool.host());
    if !first.is_empty() {
        return show_primary(failover, &pool, address, deadline);
    }
    // That address may be nobody's any more, and each pool may have a list of its own.
    let knock = deadline.at_most(KNOCK_TIME);
    if !others.is_empty()
        && port_refuses(pool.host(), config.kb_pool_port, knock) != PortState::Accepts
    {
        let mut last = Done::Skipped(String::new());
        for pool in &others {
            last = show_primary(failover, pool, address, deadline)?;
        }
        return Ok(last);
    }
    let Some(id) = failover.down_in_pool else {
        return Ok(Done::Skipped("the pool does not have it down".to_owned()));
    };
    let said = order(
        failover,
        &pool,
        Change::Attach,
        id,
        deadline.at_most(ATTACH_TIME),
    )?;
    Ok(Done::Did(said))
}

/// Gives an order to the pool. One that waits for us has queued it by then: it has to look for a primary
/// first, which it gives up after its `search_primary_node_timeout`.
fn order(
    failover: &Failover<'_>,
    pool: &Pool,
    change: Change,
    id: u32,
    deadline: Deadline,
) -> Result<String> {
    failover.journal.line(pool.attempt(change, id));
    let pool = pool.clone();
    // STATE_DIR, where the password goes, may be on a disk that hangs.
    let answer = workers::within(deadline, move || pool.order(change, id, deadline));
    let said = answer
        .context("it gave no answer in time")
        .and_then(|answer| answer.map_err(Error::from))
        .with_context(|| {
            format!(
                "the pool was not told that node {id} is the primary: when it answers again, run \
                 attach_node -n {id}"
            )
        })?;
    failover.journal.line(&said);
    Ok(said)
}

/// A pool that does not wait for us has looked for its primary already, perhaps in vain. It is told of the
/// new one, `address`, unless it names a primary; then we wait until it shows it.
fn show_primary(
    failover: &Failover<'_>,
    pool: &Pool,
    address: IpAddr,
    deadline: Deadline,
) -> Result<Done> {
    let (config, journal) = (failover.config(), failover.journal);
    let limit = deadline.at_most(POOL_TIME);
    let asked = pool.clone();
    let answer = workers::within(limit, move || asked.nodes_by_any_way(limit));
    let nodes = match answer.context("no answer in time").and_then(|it| Ok(it?.0)) {
        Ok(nodes) => nodes,
        Err(error) => return Ok(Done::Skipped(format!("the pool is busy: {error:#}"))),
    };
    let Some(node) = nodes.by_address(address, config).cloned() else {
        bail!(
            "the pool has no node with the address {address}, the new primary's: correct the pool's \
             configuration"
        );
    };
    let Some(change) = nodes.lacks(&node) else {
        let primary = nodes.primary().map_or(String::new(), ToString::to_string);
        return Ok(Done::Skipped(format!("the pool names {primary}")));
    };
    journal.stamped(format!(
        "the pool has stopped looking for its primary: telling it that {node} is the primary"
    ));
    order(failover, pool, change, node.id, deadline)?;
    let (asked, id) = (pool.clone(), node.id);
    let shown = workers::within(deadline, move || asked.await_change(change, id, deadline));
    let nodes = shown_primary(shown, id)?;
    journal.lines(nodes.table.to_string());
    Ok(Done::Did(format!("the pool shows {node} as its primary")))
}

/// What the pool shows, if that has node `id` as the primary.
fn shown_primary(shown: Option<Result<PoolNodes, PoolError>>, id: u32) -> Result<PoolNodes> {
    let nodes = shown
        .context("no answer in time")
        .and_then(|shown| shown.map_err(Error::from));
    let is_it = |nodes: &PoolNodes| nodes.primary().is_some_and(|node| node.id == id);
    match nodes {
        Ok(nodes) if is_it(&nodes) => Ok(nodes),
        other => {
            let seen = other.map_or_else(
                |error| format!("{error:#}"),
                |_| "it names none, or another".to_owned(),
            );
            bail!(
                "the pool does not show node {id} as its primary yet ({seen}): when it answers again, run \
                 attach_node -n {id}"
            )
        }
    }
}

/// The timeline on which it was a primary, where its own copy of the tool has told that.
fn old_timeline(old: &OldPrimary) -> Option<Timeline> {
    match &old.report {
        Some(Ok(report)) => report.timeline,
        _ => None,
    }
}

fn shutdown_checkpoint(old: &OldPrimary) -> Option<Lsn> {
    match &old.report {
        Some(Ok(report)) => report.shutdown_checkpoint,
        _ => None,
    }
}
