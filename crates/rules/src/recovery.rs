//! The decision table: from what was seen to what is done, and why. No clock, no I/O, no log.
//!
//! First match. Where a row needs something that was not looked at yet, the answer is to look, and
//! to ask again: so a quiet minute asks no other host over ssh.

use crate::facts::history::{History, Standing};
use crate::facts::left::Stage;
use crate::facts::lsn::{Lsn, Timeline};
use crate::facts::policy::GatewayLostAction;
use crate::facts::standby::Standby;
use crate::facts::status::Status;
use crate::facts::view::{BaseBackup, Fence, PoolSays, Primary, Seen, View, missing_wal};
use crate::failover::obstacle;
use std::net::IpAddr;

/// What follows from what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Not enough was seen.
    Look(Look),
    /// Do it.
    Do(Verdict),
}

/// Something that has to be looked at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The pool's primary, by SQL.
    Primary(IpAddr),
    /// The host of the pool's primary, by its own copy of the tools.
    PrimaryHost(IpAddr),
    /// All other database hosts, likewise.
    Others,
    /// Which hosts show a sign of life.
    Life,
    /// A primary that the pool does not name, by SQL.
    Rival(IpAddr),
    /// The other pools, which may have a list of their own.
    Pools,
}

/// A row of its own, which the simulator can take out to see what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// A standby whose history has left the primary's is recovered, and not pointed to it first.
    LeftFirst,
    /// The pool's primary is an old one, which this node's history has replaced.
    Replaced,
    /// Of two primaries the timelines prove which is right.
    Rival,
    /// The mark of a rewind over a database that runs as a primary.
    MarkOverPrimary,
    /// A standby that is down is started also while there is no primary.
    StartStandby,
    /// A failover that came to nothing is run again.
    FailOver,
    /// The pool has a standby as its primary: it is made to fail over.
    NotPrimary,
    /// What a failover holds is not pointed back to the old primary.
    Held,
    /// Two pools that disagree about this node: attached at the one that has it down, too.
    OtherPools,
    /// A failover has told this node of a newer timeline than that of the pool's primary.
    Told,
    /// Of two primaries that nobody has decided between, none is recovered from the other by itself.
    Undecided,
    /// Nobody joins the pool's primary while a newer one runs beside it.
    Newer,
}

/// The table without some of its rows.
type Without<'a> = &'a [Row];

/// What to do, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What to do.
    pub action: Action,
    /// The operator's sentence.
    pub why: String,
    /// This node and another one are primaries, and nothing proves which is right: to be remembered, see
    /// [`View::undecided`].
    pub undecided: bool,
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: it is as it should be, or will be by itself.
    Nothing,
    /// Nothing: another program's turn, or nothing is sure.
    Refuse,
    /// Nothing: a person has to do something first.
    NeedsPerson,
    /// This primary stops itself: nobody sees it, and another may be promoted.
    SelfFence,
    /// This is the primary: the VIP, and what its commits wait for.
    KeepPrimary,
    /// This one is not the primary any more: stop it, and go on with a recovery if `recover`.
    StopWrongPrimary {
        /// The right one.
        primary: IpAddr,
        /// There is consent.
        recover: bool,
    },
    /// Make it a standby of the primary, by a rewind or by a copy.
    Recover {
        /// The host to follow.
        primary: IpAddr,
    },
    /// Point its settings to the primary.
    Follow {
        /// The host to follow.
        primary: IpAddr,
    },
    /// Start it as the standby that it was, and decide once more.
    Start {
        /// The host to follow.
        primary: IpAddr,
    },
    /// It streams: make the primary synchronous, if that is due, and attach this node.
    Rejoin {
        /// The host that it follows.
        primary: IpAddr,
        /// The pool has it down.
        attach: bool,
    },
    /// It will stream by itself; see that the primary keeps WAL for it.
    Wait {
        /// The host that it follows.
        primary: IpAddr,
    },
    /// This is the primary, and the pool, which has it up, names none: it is told.
    ShowPrimary,
    /// Start it as the standby that it was; there is no primary yet.
    StartStandby,
    /// There is no primary, and this standby is the one to promote: run the failover from `old` again.
    FailOver {
        /// The old primary.
        old: IpAddr,
    },
    /// The pool has this node as its primary, and another one is: have the pool find that one.
    Detach,
    /// No other is primary: this one is.
    TakeOver {
        /// It has to be started first.
        start: bool,
    },
}

impl Action {
    /// The host that it follows.
    pub fn follows(self) -> Option<IpAddr> {
        match self {
            Self::StopWrongPrimary { primary, .. }
            | Self::Recover { primary }
            | Self::Follow { primary }
            | Self::Start { primary }
            | Self::Rejoin { primary, .. }
            | Self::Wait { primary } => Some(primary),
            _ => None,
        }
    }
}

fn act(action: Action, why: impl Into<String>) -> Decision {
    Decision::Do(Verdict {
        action,
        why: why.into(),
        undecided: false,
    })
}

/// Two primaries, this node one of them, and nothing proves which is right.
fn undecided(why: impl Into<String>) -> Decision {
    Decision::Do(Verdict {
        action: Action::NeedsPerson,
        why: why.into(),
        undecided: true,
    })
}

/// How this host's server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Down,
    Primary,
    Standby,
    Silent,
}

/// The other hosts that answered.
fn answered(
    others: &[(IpAddr, Result<Status, String>)],
) -> impl Iterator<Item = (IpAddr, &Status)> {
    let answers = others.iter();
    answers.filter_map(|(it, answer)| Some((*it, answer.as_ref().ok()?)))
}

fn server(me: &Status) -> Server {
    match (me.running, me.in_recovery) {
        (_, Some(false)) => Server::Primary,
        (_, Some(true)) => Server::Standby,
        (true, None) => Server::Silent,
        (false, None) => Server::Down,
    }
}

/// Whether this host has to be without the database VIP: its server is sure to be no primary.
pub fn must_drop_vip(me: &Status) -> bool {
    me.vip_here && matches!(server(me), Server::Down | Server::Standby)
}

/// The decision.
pub fn decide(view: &View) -> Decision {
    decide_without(view, &[])
}

/// The decision without some rows: for the simulator, which shows what each is for.
pub fn decide_without(view: &View, out: Without<'_>) -> Decision {
    let decision = decide_alone(view, out);
    match beside_a_newer(view, &decision, out) {
        Some(instead) => instead,
        None => decision,
    }
}

/// A node that is about to join the pool's primary, while another host has a newer one: the pool has found an
/// old one again, which would acknowledge what the newer one never gets. One of the two stops itself, or a
/// person stops it. A quiet minute joins nobody, and asks no other host.
fn beside_a_newer(view: &View, decision: &Decision, out: Without<'_>) -> Option<Decision> {
    let policy = &view.policy;
    let Decision::Do(verdict) = decision else {
        return None;
    };
    let joins = match verdict.action {
        Action::Recover { primary }
        | Action::Follow { primary }
        | Action::Start { primary }
        | Action::Rejoin { primary, .. } => primary,
        _ => return None,
    };
    if policy.force || policy.names.len() < 3 || out.contains(&Row::Newer) {
        return None;
    }
    let theirs = match &view.primary {
        Some(Ok(it)) if !it.in_recovery => it.history.as_ref()?.timeline(),
        _ => return None,
    };
    let Some(others) = &view.others else {
        return Some(Decision::Look(Look::Others));
    };
    // Only a failover gives the VIP away: a newer one without it is a standby that somebody has promoted by
    // mistake, and its own run stops it.
    let is_newer = |(address, it): &(IpAddr, &Status)| {
        *address != joins
            && it.in_recovery == Some(false)
            && it.timeline > theirs
            && (it.vip_here || !policy.has_vip)
    };
    let (newer, it) = answered(others).find(is_newer)?;
    Some(act(
        Action::NeedsPerson,
        format!(
            "the pool has {joins} as its primary, on timeline {theirs}, and {newer} is a primary on timeline \
             {}: this node joins neither while both run. Their own network_rewind stops the wrong one, or says \
             why it does not; else stop that one. If {joins} is to be kept, run network_rewind --force here",
            it.timeline
        ),
    ))
}

/// The decision for this node by itself.
fn decide_alone(view: &View, out: Without<'_>) -> Decision {
    if let Some(pause) = &view.paused {
        let why = match pause.why.as_str() {
            "" => String::new(),
            why => format!(" ({why})"),
        };
        let since = &pause.since;
        let text =
            format!("paused since {since}{why}: nothing is changed until network_rewind --resume");
        return act(Action::Nothing, text);
    }
    if let Some(decision) = cut_off(view) {
        return decision;
    }
    if let Some(decision) = unfinished(view, out) {
        return decision;
    }
    // What runs has data, wherever it may be.
    if !view.has_data && server(&view.me) == Server::Down {
        return no_data(view);
    }
    match (&view.pool.says, server(&view.me)) {
        (PoolSays::Me, Server::Primary) => named_primary(view, out),
        (PoolSays::Me, Server::Standby) if !out.contains(&Row::NotPrimary) => {
            no_longer_primary(view)
        }
        (PoolSays::Me, Server::Standby) => act(
            Action::Refuse,
            "the pool has this node as its primary, but its database is in recovery: a failover \
             of the pool may be under way",
        ),
        (PoolSays::Me, Server::Down) => act(
            Action::Refuse,
            "the pool has this node as its primary, but its database does not run: it is the \
             pool's turn to fail over",
        ),
        (PoolSays::Other(primary), server) => not_primary(view, *primary, server, out),
        (PoolSays::NoAnswer(_) | PoolSays::Nobody, server) => no_primary(view, server, out),
        _ => anything_else(view),
    }
}

/// Rows about this host's network.
fn cut_off(view: &View) -> Option<Decision> {
    let is_primary = match server(&view.me) {
        Server::Primary => true,
        // Its own address may have gone with the link. Whoever is on this host may write all the same.
        Server::Silent => view.me.was_primary() == Some(true),
        _ => false,
    };
    let lonely = |Seen { others, hosts }: Seen| (others + 1) * 2 < hosts;
    if view.network {
        // By itself a pool that gives no answer says nothing; nor does one on this very host, that anybody
        // else sees this host.
        let nobody = matches!(view.pool.says, PoolSays::NoAnswer(_)) || view.pool.own;
        return match view.seen {
            _ if !(is_primary && nobody) || view.policy.hosts < 3 => None,
            None => Some(Decision::Look(Look::Life)),
            Some(seen) if lonely(seen) => Some(act(
                Action::SelfFence,
                format!(
                    "no other host's pool answers, and of {} hosts only {} are seen, this one included: \
                     the others may have promoted another primary",
                    seen.hosts,
                    seen.others + 1
                ),
            )),
            Some(_) => None,
        };
    }
    let refuse = |why: &str| Some(act(Action::Refuse, format!("no trust IP answers{why}")));
    match (view.policy.gateway_lost, view.seen) {
        _ if !is_primary => refuse(": nothing is changed"),
        (GatewayLostAction::Never, _) => {
            refuse(", GATEWAY_LOST_ACTION is never: nothing is stopped")
        }
        (GatewayLostAction::Always, _) => Some(act(
            Action::SelfFence,
            "no trust IP answers, and GATEWAY_LOST_ACTION is always",
        )),
        (GatewayLostAction::Isolated, None) => Some(Decision::Look(Look::Life)),
        (GatewayLostAction::Isolated, Some(Seen { others: 0, .. })) => Some(act(
            Action::SelfFence,
            "neither a trust IP nor any other host of the cluster answers: this host is cut off, \
             and the others may have promoted another primary",
        )),
        (GatewayLostAction::Isolated, Some(seen)) => refuse(&format!(
            ", but {} other hosts do: the trust IP is down, and nothing is stopped",
            seen.others
        )),
    }
}

/// The pool names this node, which is a standby. Until it is detached no pool looks for another.
fn no_longer_primary(view: &View) -> Decision {
    let why = "the pool has this node as its primary, but its database is in recovery";
    let Some(others) = &view.others else {
        return Decision::Look(Look::Others);
    };
    let mut answers = answered(others);
    match answers.find(|(_, it)| it.in_recovery == Some(false)) {
        Some((address, it)) if it.timeline >= view.me.timeline => act(
            Action::Detach,
            format!(
                "{why}; {address} is a primary on timeline {}: this node is detached, so that the pool \
                 finds that one",
                it.timeline
            ),
        ),
        Some((address, it)) => act(
            Action::NeedsPerson,
            format!(
                "{why}; {address} is a primary on timeline {}, older than {} here: find out which host \
                 has the data, stop the other, and attach the first to the pool (attach_node)",
                it.timeline, view.me.timeline
            ),
        ),
        None => fail_over(view, why),
    }
}

/// The pool names this node, which is a primary. One from which nobody streams may be an old one that a
/// pool has found again, after a failover.
fn named_primary(view: &View, out: Without<'_>) -> Decision {
    let keep = || match down_elsewhere(view, out) {
        Err(look) => Decision::Look(look),
        Ok(None) => act(Action::KeepPrimary, "this node is the primary, and runs"),
        Ok(Some(hosts)) => act(
            Action::KeepPrimary,
            format!("this node is the primary, and runs; the pool at {hosts} has it down"),
        ),
    };
    if !view.alone || out.contains(&Row::Rival) {
        return keep();
    }
    let Some(others) = &view.others else {
        return Decision::Look(Look::Others);
    };
    // A standby that somebody promoted by mistake is on a newer timeline, too, and its own run stops it:
    // the pool names this one. Only a failover gives the VIP away.
    let is_rival = |it: &Status| {
        it.in_recovery == Some(false) && it.timeline > view.me.timeline && it.vip_here
    };
    let answers = answered(others);
    let rivals = answers.filter(|(_, it)| is_rival(it));
    match rivals.max_by_key(|(_, it)| it.timeline) {
        Some((address, _)) => rival(view, address, "the pool has this node as its primary"),
        None => keep(),
    }
}

/// The hosts of the other pools that have this node down, if there are any.
fn down_elsewhere(view: &View, out: Without<'_>) -> Result<Option<String>, Look> {
    if out.contains(&Row::OtherPools) {
        return Ok(None);
    }
    let hosts = view.down_at.as_ref().ok_or(Look::Pools)?;
    let hosts: Vec<String> = hosts.iter().map(IpAddr::to_string).collect();
    Ok((!hosts.is_empty()).then(|| hosts.join(" and at ")))
}

/// This node is a primary, and so is `address`, which the pool does not name: whose timeline was promoted
/// from the other's newest one is the right one.
fn rival(view: &View, address: IpAddr, why: &str) -> Decision {
    let primary = match &view.rival {
        Some((asked, answer)) if *asked == address => answer,
        _ => return Decision::Look(Look::Rival(address)),
    };
    let two = |what: &str| {
        format!(
            "{why}; two primaries: this node (timeline {}) and {address} ({what}). Neither was \
             stopped. Decide which one to keep, and run network_rewind --force on the other once \
             the pool names the first (attach_node there)",
            view.me.timeline
        )
    };
    let primary = match primary {
        Ok(primary) if primary.in_recovery => {
            return act(Action::NeedsPerson, two("in recovery by now"));
        }
        Ok(primary) => primary,
        // Its host has said that it is one.
        Err(error) => return undecided(two(&format!("it does not answer: {error}"))),
    };
    let timeline = primary.history.as_ref().map_or(0, History::timeline);
    // A failover gives the VIP, and a person who promotes a standby by mistake does not.
    let given = |vip: bool| vip || !view.policy.has_vip;
    if timeline > view.me.timeline
        && given(has_vip(view, address))
        && was_promoted_from(view, primary)
    {
        let recover = consent(view);
        let text = format!(
            "{why}; {address} is a primary on timeline {timeline}, promoted from this node's timeline \
             {}: this one is stopped",
            view.me.timeline
        );
        return act(
            Action::StopWrongPrimary {
                primary: address,
                recover: recover.is_some(),
            },
            match recover {
                Some(who) => format!("{text} and recovered ({who})"),
                None => format!("{text} and left down; {HOW_TO_GO_ON}"),
            },
        );
    }
    if given(view.me.vip_here) && has_replaced(view, primary) {
        let text = format!(
            "{why}; {address} is an old primary on timeline {timeline}, from which this one was \
             promoted: its own network_rewind stops it. If that does not run there, stop its database"
        );
        return act(Action::NeedsPerson, text);
    }
    undecided(two(&format!("timeline {timeline}")))
}

/// Whether the host `address` says that it has the database VIP.
fn has_vip(view: &View, address: IpAddr) -> bool {
    let mut others = view.others.iter().flatten();
    others.any(|(it, answer)| *it == address && matches!(answer, Ok(it) if it.vip_here))
}

/// Whether this node's history has left the other primary's newest timeline: that one is an old primary,
/// and whoever follows it loses what came after it.
fn has_replaced(view: &View, primary: &Primary) -> bool {
    let (Some(own), Some(theirs)) = (&view.history, &primary.history) else {
        return false;
    };
    let left = own.fork_with(theirs).map(|(timeline, _)| timeline);
    view.me.timeline > theirs.timeline() && left == Some(theirs.timeline())
}

/// Whether the pool's primary is an old one, which this node, or whom it follows, has replaced. Whoever
/// holds the database VIP got it by a failover: a newer timeline on a host without it is a promotion by
/// mistake; so is that of a standby which was told to follow the pool's primary.
fn is_old(view: &View, address: IpAddr, primary: &Primary, out: Without<'_>) -> Result<bool, Look> {
    if view.policy.force || out.contains(&Row::Replaced) {
        return Ok(false);
    }
    if !has_replaced(view, primary) {
        return Ok(newer_one_followed(view, address, primary, out)?.is_some());
    }
    // A failover has made a newer timeline than that one's, and it is a part of this node's history.
    let theirs = primary.history.as_ref().map_or(0, History::timeline);
    if view.told > theirs && !out.contains(&Row::Told) {
        return Ok(true);
    }
    // Without a VIP here nothing proves which of two that take writes is the right one.
    if server(&view.me) == Server::Primary {
        return Ok(view.me.vip_here);
    }
    if view.follows.is_some() {
        return Ok(!follows(view, address));
    }
    if !view.policy.has_vip {
        return Ok(true);
    }
    match &view.primary_host {
        None => Err(Look::PrimaryHost(address)),
        Some(host) => Ok(!matches!(host, Ok(it) if it.vip_here)),
    }
}

/// The primary that a failover has told this standby to follow, on a newer timeline than the pool's. This
/// one may never have streamed from it, so that its own history knows nothing of it.
fn newer_one_followed(
    view: &View,
    address: IpAddr,
    primary: &Primary,
    out: Without<'_>,
) -> Result<Option<(IpAddr, Timeline)>, Look> {
    let theirs = primary.history.as_ref().map_or(0, History::timeline);
    if view.told <= theirs || out.contains(&Row::Told) {
        return Ok(None);
    }
    let mut nodes = view.policy.names.iter().map(|(it, _)| *it);
    let elsewhere = |it: &IpAddr| *it != address && *it != view.policy.me && follows(view, *it);
    let Some(followed) = nodes.find(elsewhere) else {
        return Ok(None);
    };
    let answer = view.rival.as_ref().filter(|(it, _)| *it == followed);
    let Some((_, answer)) = answer else {
        return Err(Look::Rival(followed));
    };
    let history = answer.as_ref().ok().and_then(|it| it.history.as_ref());
    let timeline = history.map_or(0, History::timeline);
    let is_newer = timeline > theirs && answer.as_ref().is_ok_and(|it| !it.in_recovery);
    Ok(is_newer.then_some((followed, timeline)))
}

/// What is said where the pool's primary is an old one.
fn replaced(view: &View, address: IpAddr, primary: &Primary) -> Decision {
    let theirs = primary.history.as_ref().map_or(0, History::timeline);
    if let Ok(Some((newer, timeline))) = newer_one_followed(view, address, primary, &[]) {
        let text = format!(
            "the pool has {address} as its primary, on timeline {theirs}; a failover has told this node to \
             follow {newer}, which is a primary on timeline {timeline}: this node is not pointed back. Is \
             {newer} the right one, stop the database on {address}; else run network_rewind --force here"
        );
        return act(Action::NeedsPerson, text);
    }
    let here = about_vip(view);
    act(
        Action::NeedsPerson,
        format!(
            "the pool has {address} as its primary, on timeline {theirs}; this node ({here}) is on \
             timeline {}, which was promoted from that one: {address} is an old primary, and following it would \
             lose what came after. Stop its database, then promote the newest node (failover_stream), \
             or run network_rewind --force here if {address} is to be kept",
            view.me.timeline
        ),
    )
}

/// Rows about what a run before this one has left.
fn unfinished(view: &View, out: Without<'_>) -> Option<Decision> {
    let left = view.left.as_ref()?;
    let half = match left.stage {
        Stage::Preparing => return None,
        // Not what was being rewound: somebody has put a copy of the primary in its place.
        Stage::Rewinding if is_copy(view) => return None,
        Stage::Rewinding | Stage::Copying => true,
        // Promoted since: there is nothing left to finish.
        Stage::Following if server(&view.me) == Server::Primary => return None,
        Stage::Following => false,
    };
    let runs_on = half && server(&view.me) == Server::Primary && !view.policy.force;
    if runs_on && !out.contains(&Row::MarkOverPrimary) {
        return Some(mark_over_primary(view));
    }
    match right_primary(view) {
        // It runs and follows somebody else: no case for going on.
        Ok((primary, _))
            if !half && server(&view.me) == Server::Standby && !follows(view, primary) =>
        {
            None
        }
        // It would be waited for in vain: the row about that one says what is done.
        Ok((_, primary)) if !half && is_left_behind(view, primary) => None,
        // And it would not start.
        Ok((_, primary)) if !half && is_down_and_left(view, primary) => None,
        Ok((address, primary)) if held_from(view, primary, out) => Some(left_to_failover(address)),
        Ok((primary, _)) => Some(act(
            Action::Recover { primary },
            match half {
                true => "a rewind of this node was left unfinished: it is done now".to_owned(),
                false => "a recovery of this node was left unfinished: it goes on".to_owned(),
            },
        )),
        Err(Missing::Look(look)) => Some(Decision::Look(look)),
        Err(Missing::Primary(why)) if half => Some(act(
            Action::NeedsPerson,
            format!(
                "an interrupted rewind left the data directory half written; its database stays down \
                 until there is a primary to finish it from ({why}). Start the last primary, or promote \
                 a standby"
            ),
        )),
        Err(Missing::Primary(_)) => None,
    }
}

/// The mark of an unfinished rewind, and a server that takes writes all the same: somebody has started it.
fn mark_over_primary(view: &View) -> Decision {
    let text = format!(
        "a rewind of this node was left unfinished, and its database runs as a primary on timeline {} \
         all the same: nothing is stopped. Find out whether its data is whole; network_rewind --force \
         makes it a standby and discards what only it has",
        view.me.timeline
    );
    act(Action::NeedsPerson, text)
}

/// Whether a recovery goes on where a run before this one has left it; else it is begun anew.
pub fn goes_on(view: &View) -> bool {
    unfinished(view, &[]).is_some()
}

/// Where a recovery begins that does not go on where a run before it has left it, its rewind being done. On what
/// was never started it is still the half of its source's history that it was, with the node's own files aside:
/// what was kept before that rewind is where the next one begins. Once a server was started on it, it is one
/// history, the node's own: what that server has written since no rewind from what was kept would see.
pub fn begins_anew_at(view: &View) -> Stage {
    match view.unstarted {
        true => Stage::Rewinding,
        false => Stage::Preparing,
    }
}

/// Why there is no primary to work with.
enum Missing {
    Look(Look),
    Primary(String),
}

/// The pool's primary on another host, if it answers and is one.
fn right_primary(view: &View) -> Result<(IpAddr, &Primary), Missing> {
    let address = match &view.pool.says {
        PoolSays::Other(address) => *address,
        says => return Err(Missing::Primary(pool_sentence(says))),
    };
    match &view.primary {
        None => Err(Missing::Look(Look::Primary(address))),
        Some(Err(why)) => Err(Missing::Primary(format!(
            "{address} does not answer: {why}"
        ))),
        Some(Ok(primary)) if primary.in_recovery => Err(Missing::Primary(format!(
            "the pool has {address} as its primary, and that one is in recovery"
        ))),
        Some(Ok(primary)) => Ok((address, primary)),
    }
}

fn pool_sentence(says: &PoolSays) -> String {
    match says {
        PoolSays::NoAnswer(why) => format!("no pool answers ({why})"),
        PoolSays::Nobody => "the pool has no primary".to_owned(),
        PoolSays::Me => "the pool has this node as its primary".to_owned(),
        PoolSays::Other(address) => format!("the pool has {address} as its primary"),
        PoolSays::Stranger(node) => {
            format!("the pool has {node} as its primary, which is none of KB_ALL_IP")
        }
    }
}

/// The data directory is missing or empty.
fn no_data(view: &View) -> Decision {
    let policy = &view.policy;
    if view.copy.is_some() {
        return act(Action::Refuse, NOT_WHOLE);
    }
    if !policy.may_copy {
        let text = format!(
            "the data directory is missing or empty: if its disk is mounted, copy the primary \
             ({}), or set REWIND_FALLBACK=basebackup",
            policy.copy_command
        );
        return act(Action::NeedsPerson, text);
    }
    match right_primary(view) {
        Ok((primary, _)) => act(
            Action::Recover { primary },
            "the data directory is missing or empty, and REWIND_FALLBACK is basebackup",
        ),
        Err(Missing::Look(look)) => Decision::Look(look),
        Err(Missing::Primary(why)) => act(
            Action::Refuse,
            format!("the data directory is missing or empty, and there is nothing to copy: {why}"),
        ),
    }
}

/// Rows in which the pool names another node.
fn not_primary(view: &View, primary: IpAddr, server: Server, out: Without<'_>) -> Decision {
    if view.pool.me_up.is_none() {
        let text = format!(
            "the pool has no node with KB_LOCALHOST_IP {}: correct the configuration of one of \
             the two",
            view.policy.me
        );
        return act(Action::NeedsPerson, text);
    }
    match server {
        Server::Primary => wrong_primary(view, primary, out),
        Server::Standby => match (&view.fenced, &view.primary) {
            (Some(_), None) => Decision::Look(Look::Primary(primary)),
            (Some(fence), _) if !streams_from(view) => {
                started_after_fence(view, primary, fence, out)
            }
            _ => standby(view, out),
        },
        Server::Down => down(view, primary, out),
        Server::Silent => anything_else(view),
    }
}

/// Who gives consent to make a standby of what was a primary; the words for the log.
fn consent(view: &View) -> Option<&'static str> {
    let policy = &view.policy;
    // That of a run before this one was for a node that was down: not for one that somebody has
    // started since, and that takes writes.
    let begun = view.left.is_some() && server(&view.me) == Server::Down;
    [
        (policy.auto_recovery, "AUTO_PRIMARY_RECOVERY allows it"),
        (policy.force, "--force"),
        (view.follows.is_some(), "its standby settings are there"),
        (begun, "a run before this one had consent"),
    ]
    .into_iter()
    .find_map(|(given, words)| given.then_some(words))
}

const NOT_WHOLE: &str = "the data directory is a base backup that is being made, or is not whole: \
                         nothing is changed";
const HOW_TO_GO_ON: &str = "network_rewind --force, or AUTO_PRIMARY_RECOVERY=1, makes it a standby \
                            and discards what only it has";

fn about_vip(view: &View) -> &'static str {
    match view.me.vip_here {
        true => "has the database VIP",
        false => "does not have the database VIP",
    }
}

/// This node takes writes, and the pool names another.
fn wrong_primary(view: &View, address: IpAddr, out: Without<'_>) -> Decision {
    let two = |what: String| {
        let here = about_vip(view);
        format!(
            "this node is a primary (timeline {}, {here}), and {what}: nothing is stopped. Find \
             out which of the two has the data, stop the other, and run network_rewind --force \
             there",
            view.me.timeline
        )
    };
    let primary = match right_primary(view) {
        Ok((_, primary)) => primary,
        Err(Missing::Look(look)) => return Decision::Look(look),
        Err(Missing::Primary(why)) => return act(Action::NeedsPerson, two(why)),
    };
    match is_old(view, address, primary, out) {
        Ok(true) => return replaced(view, address, primary),
        Ok(false) => {}
        Err(look) => return Decision::Look(look),
    }
    let timeline = primary.history.as_ref().map_or(0, |it| it.timeline());
    let seen = format!("{address} is one, too (timeline {timeline})");
    let newer = timeline > view.me.timeline && view.pool.me_up == Some(false);
    let replaced = newer && was_promoted_from(view, primary);
    if view.policy.has_vip {
        // Where both have it, nobody has moved it: a cut between the two has healed.
        if view.me.vip_here && !replaced {
            return undecided(two(seen));
        }
        match &view.primary_host {
            None => return Decision::Look(Look::PrimaryHost(address)),
            Some(Ok(host)) if host.vip_here => {}
            Some(Ok(_)) => return undecided(two(format!("{seen}, without the database VIP"))),
            Some(Err(why)) => {
                return undecided(two(format!(
                    "{seen}; whether that one has the database VIP is not known ({why})"
                )));
            }
        }
    } else if !newer {
        return undecided(two(seen));
    }
    let rival = match is_undecided(view, address, primary, out) {
        Ok(rival) => rival,
        Err(look) => return Decision::Look(look),
    };
    let recover = consent(view).filter(|_| !rival);
    let proof = match view.me.vip_here {
        true => format!(
            " (both have the database VIP; that one was promoted from this node's timeline {}, and \
             the pool has this node down)",
            view.me.timeline
        ),
        false => String::new(),
    };
    let text = format!(
        "{address} is the pool's primary, and this node takes writes without being it{proof}: it is \
         stopped"
    );
    act(
        Action::StopWrongPrimary {
            primary: address,
            recover: recover.is_some(),
        },
        match recover {
            Some(who) => format!("{text} and recovered ({who})"),
            None if rival => format!("{text} and left down; {}", nobody_has_decided(address)),
            None => format!("{text} and left down; {HOW_TO_GO_ON}"),
        },
    )
}

/// Whether the other primary's timeline has left this node's newest one: it was promoted as a standby
/// of this node, or of a node that was.
fn was_promoted_from(view: &View, primary: &Primary) -> bool {
    let mine = match (&view.history, view.me.timeline) {
        (Some(own), _) => own.clone(),
        // The only timeline that has no history.
        (None, 1) => History::first(1),
        (None, _) => return false,
    };
    let fork = primary.history.as_ref().map(|it| mine.fork_with(it));
    let left = fork.flatten().map(|(timeline, _)| timeline);
    left == Some(mine.timeline()) && left == Some(view.me.timeline)
}

/// Whether this node was a primary beside one that was not promoted from it, nobody has decided between the
/// two, and `primary` is still none that was promoted from it. Commits that only this node has may have been
/// acknowledged; that it is down by now decides nothing. The other one may be the only one that has noticed.
fn is_undecided(
    view: &View,
    address: IpAddr,
    primary: &Primary,
    out: Without<'_>,
) -> Result<bool, Look> {
    let decided = view.policy.force || view.left.is_some() || out.contains(&Row::Undecided);
    if decided || was_promoted_from(view, primary) {
        return Ok(false);
    }
    if view.undecided {
        return Ok(true);
    }
    match &view.primary_host {
        None => Err(Look::PrimaryHost(address)),
        Some(host) => Ok(matches!(host, Ok(it) if it.undecided)),
    }
}

/// What a person has to do then.
fn nobody_has_decided(address: IpAddr) -> String {
    format!(
        "it was a primary beside {address} or another one, and nobody has decided which of them has the data. \
         Is it {address}, run network_rewind --force here: it discards what only this node has. Is it this \
         node, stop the database there and start this one"
    )
}

/// Why what was a primary is not made a standby of the pool's now; `None`: it may be.
fn recoverable(
    view: &View,
    address: IpAddr,
    primary: &Primary,
    out: Without<'_>,
) -> Option<Decision> {
    match is_old(view, address, primary, out) {
        Ok(true) => Some(replaced(view, address, primary)),
        Ok(false) if held_from(view, primary, out) => Some(left_to_failover(address)),
        Ok(false) => match is_undecided(view, address, primary, out) {
            Ok(true) => Some(act(
                Action::NeedsPerson,
                format!(
                    "this node's data are left as they are: {}",
                    nobody_has_decided(address)
                ),
            )),
            Ok(false) => None,
            Err(look) => Some(Decision::Look(look)),
        },
        Err(look) => Some(Decision::Look(look)),
    }
}

/// A primary that a failover stopped, and that somebody has started since: as a standby, by the mark. Its
/// own rows are still there, so it needs the same consent.
fn started_after_fence(view: &View, primary: IpAddr, fence: &Fence, out: Without<'_>) -> Decision {
    let seen = format!(
        "a failover stopped this node's primary on {}, and {} has started it since: it takes no \
         writes, {primary} is the primary now",
        fence.since,
        fence.started_by.as_deref().unwrap_or("somebody")
    );
    match (consent(view), right_primary(view)) {
        (None, _) => act(Action::NeedsPerson, format!("{seen}; {HOW_TO_GO_ON}")),
        (Some(who), Ok((address, primary))) => match recoverable(view, address, primary, out) {
            Some(decision) => decision,
            None => act(
                Action::Recover { primary: address },
                format!("{seen}; it is recovered ({who})"),
            ),
        },
        (Some(_), Err(Missing::Look(look))) => Decision::Look(look),
        (Some(_), Err(Missing::Primary(why))) if names_a_standby(view, out) => {
            fail_over(view, &why)
        }
        (Some(_), Err(Missing::Primary(why))) => act(
            Action::Refuse,
            format!("{seen}; it is to be recovered, but {why}"),
        ),
    }
}

/// Whether this node streams from the primary: whatever it was, it follows.
fn streams_from(view: &View) -> bool {
    let Ok((_, primary)) = right_primary(view) else {
        return false;
    };
    let mine = primary.standby(view.policy.me, view.policy.my_name());
    mine.is_some_and(Standby::streams) && view.me.receiver_silent_ms.is_some()
}

/// Whether a failover under way has told this host not to listen to the pool's primary, which nobody has
/// replaced yet.
fn held_from(view: &View, primary: &Primary, out: Without<'_>) -> bool {
    let theirs = primary.history.as_ref().map_or(0, History::timeline);
    // Half rewound it is on the timeline that it is rewound to.
    let left = view.left.as_ref().filter(|it| it.stage == Stage::Rewinding);
    let mine = left.and_then(|it| it.timeline).unwrap_or(view.me.timeline);
    let held = view
        .held
        .is_some_and(|newer| theirs <= mine || theirs < newer);
    held && !out.contains(&Row::Held)
}

/// What is held is not made a standby of the old primary, which would be acknowledged by it.
fn left_to_failover(address: IpAddr) -> Decision {
    let text = format!(
        "a failover told this host not to listen to {address} any more, and may be under way still: it is \
         left as it is"
    );
    act(Action::Refuse, text)
}

/// This node is in recovery, and the pool names another.
fn standby(view: &View, out: Without<'_>) -> Decision {
    let (address, primary) = match right_primary(view) {
        Ok(found) => found,
        Err(Missing::Look(look)) => return Decision::Look(look),
        Err(Missing::Primary(why)) if names_a_standby(view, out) => return fail_over(view, &why),
        Err(Missing::Primary(why)) => {
            return act(
                Action::Refuse,
                format!("{why}; this standby is left running, it may be the next primary"),
            );
        }
    };
    match is_old(view, address, primary, out) {
        Ok(true) => return replaced(view, address, primary),
        Ok(false) => {}
        Err(look) => return Decision::Look(look),
    }
    let mine = primary.standby(view.policy.me, view.policy.my_name());
    // Somebody else on this host may receive WAL, too: an archiver.
    let receives = view.me.receiver_silent_ms.is_some();
    if let Some(standby) = mine.filter(|standby| standby.streams() && receives) {
        return streaming(view, address, primary, standby, out);
    }
    if held_from(view, primary, out) {
        return left_to_failover(address);
    }
    let left = standing_to(view, primary).is_some_and(|it| it != Standing::Part);
    let first = left && !out.contains(&Row::LeftFirst);
    if let Some(host) = view
        .follows
        .as_ref()
        .filter(|_| !follows(view, address) && !first)
    {
        return act(
            Action::Follow { primary: address },
            format!("this standby follows {host}, and the primary is {address}"),
        );
    }
    not_streaming(view, address, primary)
}

/// It streams: what is left is the pool, and what commits wait for.
fn streaming(
    view: &View,
    address: IpAddr,
    primary: &Primary,
    standby: &Standby,
    out: Without<'_>,
) -> Decision {
    let due = sync_is_due(view, primary);
    let attach = view.pool.me_up == Some(false);
    let limit = view.policy.lag_limit;
    let well = || {
        act(
            Action::Nothing,
            format!("this standby streams from {address}, all is well"),
        )
    };
    match standby.behind {
        Some(behind) if behind <= limit && (attach || due) => {
            let what = match (attach, due) {
                (true, true) => "its commits may wait for it, and the pool has it down",
                (true, false) => "the pool has it down",
                (false, _) => "the primary's commits may wait for it",
            };
            act(
                Action::Rejoin {
                    primary: address,
                    attach,
                },
                format!("this standby streams from {address}: {what}"),
            )
        }
        Some(behind) if attach => act(
            Action::Nothing,
            format!(
                "this standby streams from {address}, {} MB behind: it is attached when that is \
                 at most {} MB (DATA_SIZE_DIFF)",
                behind >> 20,
                limit >> 20
            ),
        ),
        None if attach => act(
            Action::Nothing,
            format!(
                "this standby streams from {address}, and has not said yet how far it is: the next \
                 run attaches it"
            ),
        ),
        _ if waits_for_a_stranger(view, primary, standby) => stranger(view, address, standby),
        Some(behind) if behind <= limit => match down_elsewhere(view, out) {
            Err(look) => Decision::Look(look),
            Ok(Some(hosts)) => act(
                Action::Rejoin {
                    primary: address,
                    attach: true,
                },
                format!("this standby streams from {address}; the pool at {hosts} has it down"),
            ),
            Ok(None) => well(),
        },
        _ => well(),
    }
}

/// Commits wait for nobody, since this standby streams under a strange name.
fn stranger(view: &View, address: IpAddr, standby: &Standby) -> Decision {
    let names: Vec<_> = view.policy.names.iter().map(|it| it.1.as_str()).collect();
    act(
        Action::NeedsPerson,
        format!(
            "SYNC_FLAG=1, and commits wait for nobody: this standby streams from {address} as \
             \"{}\", which is no name of ALL_NODE_NAME ({}). Set application_name={} in its \
             primary_conninfo",
            standby.name,
            names.join(", "),
            view.policy.my_name()
        ),
    )
}

/// Commits ought to wait for this standby, and cannot, since they would do so by its name.
fn waits_for_a_stranger(view: &View, primary: &Primary, standby: &Standby) -> bool {
    let mut names = view.policy.names.iter();
    view.policy.sync && !primary.is_synchronous() && !names.any(|it| it.1 == standby.name)
}

/// A standby that its settings keep on the timeline which the primary has left.
fn follows_no_promotion(
    view: &View,
    primary: &Primary,
    address: IpAddr,
    at: &str,
) -> Option<Decision> {
    let newest = primary.history.as_ref()?.timeline();
    let kept_on = view
        .kept_on
        .as_ref()
        .filter(|_| newest > view.me.timeline)?;
    Some(act(
        Action::Follow { primary: address },
        format!(
            "this standby does not stream from {address}: recovery_target_timeline is '{kept_on}', \
             with which it follows no promotion; it becomes 'latest'; {at}"
        ),
    ))
}

/// It does not stream, and follows the right host.
fn not_streaming(view: &View, address: IpAddr, primary: &Primary) -> Decision {
    let (timeline, position) = (view.me.timeline, view.me.position());
    let at = format!("it is at {position} on timeline {timeline}");
    match standing_to(view, primary) {
        Some(Standing::Part) if is_left_behind(view, primary) => {
            let text = format!(
                "this standby does not stream from {address}, which no longer has the WAL that it \
                 needs; {at}"
            );
            match view.policy.may_copy {
                true => act(Action::Recover { primary: address }, text),
                false => act(
                    Action::NeedsPerson,
                    format!(
                        "{text}: copy the primary ({}), or set REWIND_FALLBACK=basebackup",
                        view.policy.copy_command
                    ),
                ),
            }
        }
        Some(Standing::Part) if view.unread => act(
            Action::Follow { primary: address },
            format!(
                "this standby does not stream from {address}, and its settings, which name it, were \
                 written after its database had started; {at}"
            ),
        ),
        Some(Standing::Part) if view.follows.is_none() => act(
            Action::Follow { primary: address },
            format!(
                "this standby does not stream from {address}, and its settings name no host; {at}"
            ),
        ),
        Some(Standing::Part) => {
            follows_no_promotion(view, primary, address, &at).unwrap_or_else(|| {
                act(
                    Action::Wait { primary: address },
                    format!(
                        "this standby does not stream from {address}, but its history is a part of \
                         the primary's: it replays or connects again; {at}"
                    ),
                )
            })
        }
        Some(Standing::Left { timeline, at: fork }) => act(
            Action::Recover { primary: address },
            format!(
                "this standby's history has left that of {address} at {fork} on timeline \
                 {timeline}; {at}"
            ),
        ),
        Some(Standing::Foreign) => act(
            Action::Recover { primary: address },
            format!("this standby's timeline is not in the history of {address}; {at}"),
        ),
        None => act(
            Action::Refuse,
            format!("the history of {address} could not be read; {at}"),
        ),
    }
}

/// Whether the primary no longer has the WAL that this standby needs. Only once that one has asked for
/// WAL: until then it replays its own, which no primary keeps.
fn is_left_behind(view: &View, primary: &Primary) -> bool {
    server(&view.me) == Server::Standby
        && view.me.received.is_some()
        && missing_wal(&view.me, &primary.wal).is_some()
        && standing_to(view, primary) == Some(Standing::Part)
}

/// Whether this node is down, and its history has left the primary's: it was made whole by a recovery, and
/// somebody has promoted it since.
fn is_down_and_left(view: &View, primary: &Primary) -> bool {
    server(&view.me) == Server::Down
        && !is_copy(view)
        && standing_to(view, primary).is_some_and(|it| it != Standing::Part)
}

/// How this node stands to the primary's history; `None`: that could not be read.
fn standing_to(view: &View, primary: &Primary) -> Option<Standing> {
    let theirs = primary.history.as_ref()?;
    let (timeline, position) = (view.me.timeline, view.me.position());
    // Two that were promoted at the same position have the same history, and not the same WAL.
    if let Some(at) = primary.parts_at {
        return Some(Standing::Left { timeline, at });
    }
    Some(standing(view.history.as_ref(), theirs, timeline, position))
}

/// How a node stands to the primary's history. Two nodes that were both promoted have different
/// timelines of one number: its own history tells.
fn standing(own: Option<&History>, theirs: &History, at: Timeline, position: Lsn) -> Standing {
    match (theirs.standing(at, position), own) {
        (Standing::Part, Some(own)) => match own.fork_with(theirs) {
            Some((timeline, at)) if position > at => Standing::Left { timeline, at },
            _ => Standing::Part,
        },
        (standing, _) => standing,
    }
}

/// Whether the standby settings name `address`, or the name of its node.
fn follows(view: &View, address: IpAddr) -> bool {
    let mut names = view.policy.names.iter();
    view.follows.as_ref().is_some_and(|host| {
        host.parse() == Ok(address) || names.any(|(it, name)| *it == address && name == host)
    })
}

/// Whether the primary is asynchronous and should not be, a standby having caught up.
fn sync_is_due(view: &View, primary: &Primary) -> bool {
    let names = || view.policy.names.iter().map(|(_, name)| name);
    let limit = view.policy.lag_limit;
    let mut standbys = primary.standbys.iter();
    view.policy.sync
        && !primary.is_synchronous()
        && standbys.any(|it| it.can_be_waited_for(limit, names()))
}

/// The data directory is a copy of another server, never started.
fn is_copy(view: &View) -> bool {
    view.copy.is_some() && server(&view.me) == Server::Down
}

/// This node does not run, and the pool names another.
fn down(view: &View, primary: IpAddr, out: Without<'_>) -> Decision {
    // Its control file is that of the server that was copied, most often a running primary's. Crash
    // recovery would fork it on the timeline of that one, where no rewind can see it.
    if is_copy(view) {
        return match (view.copy, view.me.was_primary()) {
            (Some(BaseBackup::Made), Some(_)) => act(
                Action::Start { primary },
                "the data directory is a base backup that was never started: it is started as a \
                 standby",
            ),
            _ => act(Action::Refuse, NOT_WHOLE),
        };
    }
    match was_primary(view) {
        None => anything_else(view),
        Some(false) => stopped_standby(view, primary, out),
        Some(true) => match consent(view) {
            None => act(
                Action::NeedsPerson,
                format!(
                    "this node does not run, and was a primary; {primary} is the primary now: it \
                     is left down; {HOW_TO_GO_ON}"
                ),
            ),
            Some(who) => match right_primary(view) {
                Ok((address, seen)) => match recoverable(view, address, seen, out) {
                    Some(decision) => decision,
                    None => act(
                        Action::Recover { primary },
                        format!(
                            "this node does not run, and was a primary; it is recovered ({who})"
                        ),
                    ),
                },
                Err(Missing::Look(look)) => Decision::Look(look),
                Err(Missing::Primary(why)) if names_a_standby(view, out) => {
                    without_primary(view, Server::Down, &why, true, out)
                }
                Err(Missing::Primary(why)) => act(
                    Action::Refuse,
                    format!("this node was a primary and is to be recovered, but {why}"),
                ),
            },
        },
    }
}

/// Whether the pool's primary answers, and is none. No pool fails over from a node that answers.
fn names_a_standby(view: &View, out: Without<'_>) -> bool {
    let in_recovery = matches!(&view.primary, Some(Ok(it)) if it.in_recovery);
    in_recovery && !out.contains(&Row::FailOver)
}

/// A standby that is down. Once its history has left the primary's, no server starts on it any more: it
/// asks for the newest timeline that it knows of, and finds that it is not on the way there.
fn stopped_standby(view: &View, primary: IpAddr, out: Without<'_>) -> Decision {
    if view.held.is_some() && view.word_only && !out.contains(&Row::Held) {
        return left_to_failover(primary);
    }
    let newer = matches!(right_primary(view), Ok((_, seen)) if !held_from(view, seen, out));
    if view.held.is_some() && !newer && !out.contains(&Row::Held) {
        if let Err(Missing::Look(look)) = right_primary(view) {
            return Decision::Look(look);
        }
        let text = "this node does not run, and was a standby that a failover holds: it is started, and \
                    follows whom it was told to";
        return act(Action::StartStandby, text);
    }
    let standing = match right_primary(view) {
        Ok((address, seen)) => match is_old(view, address, seen, out) {
            Ok(true) => return replaced(view, address, seen),
            Ok(false) => standing_to(view, seen),
            Err(look) => return Decision::Look(look),
        },
        Err(Missing::Look(look)) => return Decision::Look(look),
        Err(Missing::Primary(_)) => None,
    };
    let (timeline, position) = (view.me.timeline, view.me.position());
    let at = format!("it is at {position} on timeline {timeline}");
    match standing {
        Some(Standing::Left { timeline, at: fork }) => act(
            Action::Recover { primary },
            format!(
                "this node does not run, and was a standby whose history has left that of {primary} \
                 at {fork} on timeline {timeline}; {at}"
            ),
        ),
        Some(Standing::Foreign) => act(
            Action::Recover { primary },
            format!(
                "this node does not run, and was a standby whose timeline is not in the history of \
                 {primary}; {at}"
            ),
        ),
        Some(Standing::Part) | None => act(
            Action::Start { primary },
            "this node does not run, and was a standby: it is started",
        ),
    }
}

/// Rows in which there is no pool, or none is primary.
fn no_primary(view: &View, server: Server, out: Without<'_>) -> Decision {
    let why = pool_sentence(&view.pool.says);
    // By itself a pool that gives no answer may be failing over just now.
    let may_fail_over = view.pool.says == PoolSays::Nobody || view.pool.all_down;
    without_primary(view, server, &why, may_fail_over, out)
}

/// `may_fail_over`: no pool is at it by itself.
fn without_primary(
    view: &View,
    server: Server,
    why: &str,
    may_fail_over: bool,
    out: Without<'_>,
) -> Decision {
    if let Some(fence) = view.fenced.as_ref().filter(|it| it.young)
        && server != Server::Standby
    {
        return act(Action::Refuse, fenced_just_now(why, fence));
    }
    // It takes no writes, and may be the one to promote.
    let is_standby = was_primary(view) == Some(false) && !is_copy(view);
    if server == Server::Down && is_standby && !out.contains(&Row::StartStandby) {
        return start_standby(view, why);
    }
    if server == Server::Standby && may_fail_over && !out.contains(&Row::FailOver) {
        return fail_over(view, why);
    }
    let alone = view.self_fenced || view.fenced.is_some() || view.policy.max_available;
    let lone_start = server == Server::Down && alone;
    let lost = server == Server::Down && was_primary(view) == Some(true) && !lone_start;
    if lost && may_fail_over && !out.contains(&Row::FailOver) {
        return last_one_down(view, why);
    }
    if server != Server::Primary && !lone_start {
        return anything_else(view);
    }
    let Some(others) = &view.others else {
        return Decision::Look(Look::Others);
    };
    let mut answers = Vec::new();
    let counting = |(address, answer): &&(IpAddr, Result<Status, String>)| {
        !is_replaced(view, *address, answer)
    };
    for (address, answer) in others.iter().filter(counting) {
        match answer {
            Ok(status) => answers.push((*address, status)),
            Err(error) => {
                return act(
                    Action::Refuse,
                    format!("{why}, and {address} does not answer ({error}): nothing is changed"),
                );
            }
        }
    }
    if let Some((address, it)) = answers.iter().find(|(_, it)| it.in_recovery == Some(false)) {
        if server == Server::Primary && !out.contains(&Row::Rival) {
            return rival(view, *address, why);
        }
        let half = half_a_primary(*address, it, why);
        if let Some(decision) = half.or_else(|| old_one_runs(view, &answers, why, out)) {
            return decision;
        }
        return act(
            Action::Refuse,
            format!(
                "{why}, and {address} is a primary: this node is left as it is until a pool names that \
                 one. Is the pool dead, start it"
            ),
        );
    }
    match busy(view, &answers, why) {
        Some(decision) => decision,
        None if server == Server::Primary && has_given_up(view) => act(
            Action::ShowPrimary,
            format!("{why}; it has this node up, whose database is a primary: telling the pool"),
        ),
        None if server == Server::Primary => act(
            Action::TakeOver { start: false },
            format!("{why}; this node is a primary, and no other host has one"),
        ),
        None => start_alone(view, &answers, why),
    }
}

/// A standby that is down, and no pool has a primary. Where the last primary is there and may be started,
/// it comes first: with a standby that runs, which a failover may be promoting, it would stay down.
fn start_standby(view: &View, why: &str) -> Decision {
    if view.held.is_some() && view.word_only {
        let text = format!(
            "{why}; a failover that holds this node could not write its settings, and may be under way still: it \
             is left as it is"
        );
        return act(Action::Refuse, text);
    }
    let start = || {
        let text = format!("{why}; this node does not run, and was a standby: it is started");
        act(Action::StartStandby, text)
    };
    if !view.policy.max_available {
        return start();
    }
    let Some(others) = &view.others else {
        return Decision::Look(Look::Others);
    };
    let answers: Vec<(IpAddr, &Status)> = answered(others).collect();
    let newest = answers.iter().map(|(_, it)| it.timeline).max();
    // It does not start by itself beside another primary, where somebody has a newer timeline, nor half
    // rewound; one that a failover has stopped does, standbys or not.
    let is_last = |it: &&Status| {
        server(it) == Server::Down
            && it.obstacle.is_none()
            && it.was_primary() == Some(true)
            && it.timeline >= view.me.timeline
            && Some(it.timeline) == newest
    };
    let is_alone = answers.iter().all(|(_, it)| it.in_recovery != Some(false));
    match answers.iter().find(|(_, it)| is_alone && is_last(it)) {
        Some((address, _)) => act(
            Action::Refuse,
            format!(
                "{why}; this node does not run, and was a standby; {address} was the last primary, and comes first: its network_rewind starts it \
                 (MAX_AVAILABLE_LEVEL). If that does not run there, start its database"
            ),
        ),
        None => start(),
    }
}

/// A primary runs that is older than another node, this one or a third: no node can tell by itself whether
/// what came after it is to be kept.
fn old_one_runs(
    view: &View,
    answers: &[(IpAddr, &Status)],
    why: &str,
    out: Without<'_>,
) -> Option<Decision> {
    if out.contains(&Row::Rival) {
        return None;
    }
    let primaries: Vec<&(IpAddr, &Status)> = answers
        .iter()
        .filter(|(_, it)| it.in_recovery == Some(false))
        .collect();
    if primaries.len() > 1 {
        let named =
            |(address, it): &&(IpAddr, &Status)| format!("{address} (timeline {})", it.timeline);
        let both: Vec<String> = primaries.iter().map(named).collect();
        let text = format!(
            "{why}; two primaries: {}. Decide which one to keep, and run network_rewind --force on the \
             other once the pool names the first (attach_node there)",
            both.join(" and ")
        );
        return Some(act(Action::NeedsPerson, text));
    }
    let me = (view.policy.me, view.me.timeline);
    let (primary, it) = primaries.first()?;
    let others = answers.iter().map(|(address, it)| (*address, it.timeline));
    let (newest, timeline) = others.chain([me]).max_by_key(|(_, timeline)| *timeline)?;
    (timeline > it.timeline).then(|| {
        act(
            Action::NeedsPerson,
            format!(
                "{why}; {primary} is a primary on timeline {}, and {newest} is on timeline {timeline}, \
                 which is newer, and no primary: find out which of the two has the data. Is it {newest}, \
                 stop the database on {primary} and start that one; else attach {primary} to the pool \
                 (attach_node)",
                it.timeline
            ),
        )
    })
}

/// A primary over the mark of an unfinished rewind: a person decides there, and no pool names it before.
fn half_a_primary(address: IpAddr, it: &Status, why: &str) -> Option<Decision> {
    let obstacle = it.obstacle.as_ref()?;
    let text = format!(
        "{why}; {address} is a primary, and its data may not be whole ({obstacle}): its recovery.log says how \
         to go on, and nothing is changed here before. Is the data here the right one, stop that database \
         and start this one"
    );
    Some(act(Action::NeedsPerson, text))
}

/// Why none is started or kept as the primary, of the other hosts' databases.
fn busy(view: &View, answers: &[(IpAddr, &Status)], why: &str) -> Option<Decision> {
    // It answers, and yet does not tell: its server hangs or starts.
    let silent = |it: &Status| it.running && it.in_recovery.is_none();
    if let Some((address, it)) = answers.iter().find(|(_, it)| silent(it)) {
        let trouble = it.trouble.as_deref().unwrap_or("it gives no answer");
        return Some(act(
            Action::Refuse,
            format!(
                "{why}, and the database on {address} may be a primary ({trouble}): nothing is \
                 changed"
            ),
        ));
    }
    if let Some((address, _)) = answers.iter().find(|(_, it)| it.in_work) {
        return Some(act(
            Action::Refuse,
            format!(
                "{why}, and {address} is being promoted or recovered just now: nothing is changed"
            ),
        ));
    }
    let me = &view.me;
    let (address, it) = answers.iter().find(|(_, it)| it.timeline > me.timeline)?;
    let newer = format!(
        "{why}, and {address} is on timeline {}, newer than {} here",
        it.timeline, me.timeline
    );
    Some(match it.running && server(me) != Server::Primary {
        true => act(
            Action::NeedsPerson,
            format!("{newer}: nothing is changed. Its recovery.log says how to go on"),
        ),
        false => act(
            Action::NeedsPerson,
            format!(
                "{newer}, and no primary: find out which has the data, and start or promote that one; nothing is \
                 changed here"
            ),
        ),
    })
}

/// No pool has a primary, and this is a standby: a failover may be due that came to nothing. Whoever is
/// the furthest runs it again, by the same rules and with the same fence.
fn fail_over(view: &View, why: &str) -> Decision {
    let Some(others) = &view.others else {
        return Decision::Look(Look::Others);
    };
    let answers: Vec<(IpAddr, &Status)> = answered(others).collect();
    if let Some(decision) = old_one_runs(view, &answers, why, &[]) {
        return decision;
    }
    if let Some((address, it)) = answers.iter().find(|(_, it)| it.in_recovery == Some(false)) {
        if let Some(decision) = half_a_primary(*address, it, why) {
            return decision;
        }
        let text = format!(
            "{why}, and {address} is a primary: its own network_rewind attaches it to the pool; this \
             standby is left running"
        );
        return act(Action::Refuse, text);
    }
    let busy = |it: &Status| it.in_work || (it.running && it.in_recovery.is_none());
    if let Some((address, _)) = answers.iter().find(|(_, it)| busy(it)) {
        let text = format!("{why}, and {address} is at work: this standby is left running");
        return act(Action::Refuse, text);
    }
    if let Some(obstacle) = obstacle(&view.me) {
        let text = format!(
            "{why}; no failover can promote this standby: {obstacle}. Start the last primary, or \
             another standby"
        );
        return act(Action::NeedsPerson, text);
    }
    let rank =
        |address: IpAddr, it: &Status| (it.timeline, it.position(), std::cmp::Reverse(address));
    let me = rank(view.policy.me, &view.me);
    let can = |it: &&(IpAddr, &Status)| it.1.in_recovery == Some(true) && obstacle(it.1).is_none();
    let better = answers
        .iter()
        .filter(can)
        .find(|(it, status)| rank(*it, status) > me);
    if let Some((address, _)) = better {
        let text = format!(
            "{why}; {address} is further than this standby: its network_rewind fails over, or says in \
             its recovery.log what to do"
        );
        return act(Action::NeedsPerson, text);
    }
    let old = old_primary(view, others);
    // One that was started since, or that the pool had given up, may lack what a primary that went on
    // without it has committed: only a person knows whether that one comes back.
    let streamed = view.pool.me_up == Some(true) && view.me.has_streamed();
    if let (Some(old), false) = (old, streamed) {
        let me = view.policy.me;
        let text = format!(
            "{why}, and no host has one; this standby has not streamed since its database was started, \
             or the pool has it down, and may lack what was committed since: start the database on \
             {old}. If that is lost, promote this one: failover_stream --new-primary-host={me} \
             --old-primary-id=0 --failed-node-id=0 --failed-node-host={old} --new-primary-id=1"
        );
        return act(Action::NeedsPerson, text);
    }
    match old {
        Some(old) => act(
            Action::FailOver { old },
            format!("{why}, and no host has one: the failover from {old} is run again"),
        ),
        None => act(
            Action::NeedsPerson,
            format!(
                "{why}, no host has one, and which was the last is not known: promote this standby with \
                 failover_stream, or start the old primary"
            ),
        ),
    }
}

/// The old primary: what a failover has fenced, or is down and was one, on the newest timeline; else whom this
/// standby follows, which gives no answer.
fn old_primary(view: &View, others: &[(IpAddr, Result<Status, String>)]) -> Option<IpAddr> {
    let was_one = |it: &Status| it.fenced || (it.was_primary() == Some(true) && !it.running);
    let was =
        |it: &&(IpAddr, Result<Status, String>)| matches!(&it.1, Ok(status) if was_one(status));
    let timeline =
        |it: &&(IpAddr, Result<Status, String>)| it.1.as_ref().map_or(0, |it| it.timeline);
    let down = others.iter().filter(was).max_by_key(timeline);
    let silent = others.iter().find(|(_, answer)| answer.is_err());
    let followed = others.iter().find(|(it, _)| follows(view, *it));
    down.or(silent).or(followed).map(|(it, _)| *it)
}

/// This node is down and was the primary, and nothing allows its start.
fn last_one_down(view: &View, why: &str) -> Decision {
    let Some(others) = &view.others else {
        return Decision::Look(Look::Others);
    };
    let answers: Vec<(IpAddr, &Status)> = answered(others).collect();
    if let Some(decision) = old_one_runs(view, &answers, why, &[]) {
        return decision;
    }
    let running = answers.iter().find(|(_, it)| may_be_promoted(it));
    let start = &view.policy.start_command;
    let started =
        format!("start it by hand ({start}) if it has the data, or set MAX_AVAILABLE_LEVEL=1");
    match running {
        Some((address, _)) => act(
            Action::NeedsPerson,
            format!(
                "{why}; this node does not run, and was a primary; a database runs on {address}, whose \
                 network_rewind fails over or attaches it, or says in its recovery.log how to go on. If \
                 this node has the data, start it by hand ({start})"
            ),
        ),
        None => act(
            Action::NeedsPerson,
            format!(
                "{why}; this node does not run, and was a primary, and no other database runs: {started}"
            ),
        ),
    }
}

fn fenced_just_now(why: &str, fence: &Fence) -> String {
    format!(
        "{why}; a failover stopped this node's primary on {} and may be under way still: it stays as \
         it is. If that failover is known to be over, network_rewind --unfence makes it the primary \
         again where no other is",
        fence.since
    )
}

/// Whether this host's server was a primary when it was stopped: by its control file, or by the mark of
/// the failover that stopped it, where somebody has started it since.
fn was_primary(view: &View) -> Option<bool> {
    match view.fenced {
        Some(_) => Some(true),
        None => view.me.was_primary(),
    }
}

/// Whether the pool answers, has this node up, and names no primary: it looks for one only when a node
/// comes or goes, and gives up after a while.
fn has_given_up(view: &View) -> bool {
    view.pool.says == PoolSays::Nobody && view.pool.me_up == Some(true)
}

/// Whether the host with `address` has no say in who is the primary: the pool, which has given up looking,
/// has it down and this primary up. It sends no client there, and this node got the writes already, with
/// the name or without. One that answers has to be older, and this one's own past.
fn is_replaced(view: &View, address: IpAddr, answer: &Result<Status, String>) -> bool {
    let out = has_given_up(view)
        && server(&view.me) == Server::Primary
        && view.pool.down.contains(&address);
    let before_me = |it: &Status| {
        let mut history = view.history.iter();
        history.any(|own| own.standing(it.timeline, it.position()) != Standing::Foreign)
    };
    out && match answer {
        Err(_) => true,
        Ok(it) => it.in_recovery == Some(false) && it.timeline < view.me.timeline && before_me(it),
    }
}

/// No other host is a primary: may this one be started?
fn start_alone(view: &View, answers: &[(IpAddr, &Status)], why: &str) -> Decision {
    if was_primary(view) != Some(true) || is_copy(view) {
        return act(
            Action::Refuse,
            format!("{why}; this node does not run, and was no primary: nothing is started"),
        );
    }
    if view.follows.is_some() {
        return act(
            Action::NeedsPerson,
            format!(
                "{why}; this node was a primary, and would start as a standby, for its standby \
                 settings are there: take them away if it is to be the primary"
            ),
        );
    }
    // A disk that is not mounted yet may hold a newer primary.
    if let Some((address, it)) = answers.iter().find(|(_, it)| it.timeline == 0) {
        return act(
            Action::Refuse,
            format!(
                "{why}, and {address} cannot tell its timeline ({}): nothing is started",
                it.trouble.as_deref().unwrap_or("no reason is known")
            ),
        );
    }
    if let Some(fence) = &view.fenced {
        return act(
            Action::TakeOver { start: true },
            format!(
                "{why}; the failover that stopped this primary on {} promoted nobody, and no other \
                 host has a primary",
                fence.since
            ),
        );
    }
    match view.self_fenced {
        true => act(
            Action::TakeOver { start: true },
            format!(
                "{why}; this host stopped its primary when it was cut off, the network is back, \
                 and no other host has one"
            ),
        ),
        false => last_primary(view, answers, why),
    }
}

/// Whether a failover could promote what runs there.
fn may_be_promoted(status: &Status) -> bool {
    status.running && obstacle(status).is_none()
}

/// Everything is down: is this the one to start?
fn last_primary(view: &View, answers: &[(IpAddr, &Status)], why: &str) -> Decision {
    // A pool that says so is not failing over, and its node does not promote itself, which has not streamed
    // since its start. What such a standby has, it has from this primary.
    let nobody = view.pool.says == PoolSays::Nobody;
    let waits = |it: &Status| {
        it.in_recovery == Some(true)
            && !it.in_work
            && it.timeline <= view.me.timeline
            && (view.pool.all_down || nobody && !it.has_streamed())
    };
    let mut running = answers.iter().filter(|(_, it)| it.running && !waits(it));
    if let Some((address, it)) = running.clone().find(|(_, it)| !may_be_promoted(it)) {
        let obstacle = it.obstacle.as_deref().unwrap_or("it gives no answer");
        return act(
            Action::NeedsPerson,
            format!(
                "{why}; this one was the last primary, and the database that runs on {address} cannot \
                 be promoted ({obstacle}): start this one by hand ({}) if it has the data",
                view.policy.start_command
            ),
        );
    }
    if let Some((address, _)) = running.next() {
        return act(
            Action::NeedsPerson,
            format!(
                "{why}; a database runs on {address}, which may be the one to promote: nothing is started \
                 here. Its recovery.log says how to go on; if it names this node's database, start that by \
                 hand"
            ),
        );
    }
    // One on an older timeline was replaced by this one; nobody can tell about one on the same.
    let rival = |(_, it): &&(IpAddr, &Status)| {
        it.was_primary() != Some(false) && it.timeline >= view.me.timeline
    };
    match answers.iter().find(rival) {
        Some((address, _)) => act(
            Action::NeedsPerson,
            format!(
                "{why}; all databases are down, and this one and that on {address} were both \
                 primaries on timeline {}: find out which has the data, and start it",
                view.me.timeline
            ),
        ),
        None => act(
            Action::TakeOver { start: true },
            format!("{why}; no other host has a primary, and this one was the last primary"),
        ),
    }
}

/// No row of the table: what was seen.
fn anything_else(view: &View) -> Decision {
    let me = &view.me;
    let trouble = me.trouble.as_deref().unwrap_or("it gives no answer");
    let here = match server(me) {
        Server::Down => format!(
            "its database does not run (last \"{}\")",
            me.control_state.as_deref().unwrap_or(trouble)
        ),
        Server::Primary => "its database is a primary".to_owned(),
        Server::Standby => "its database is a standby".to_owned(),
        Server::Silent => format!("its database runs and cannot be asked: {trouble}"),
    };
    act(
        Action::Refuse,
        format!(
            "{}; {here}: nothing is changed",
            pool_sentence(&view.pool.says)
        ),
    )
}

#[cfg(test)]
mod tests;
