//! Who may be promoted, and who is; who is held. Whether the old primary is fenced says
//! [`crate::fencing`]. Each decision says why.

use crate::facts::lsn::{Lsn, Timeline};
use crate::facts::policy::FailoverQuorum;
use crate::facts::status::Status;
use std::collections::HashMap;
use std::net::IpAddr;

/// Whether this host may fail over, which sees `seen` of `hosts` hosts, itself included; if not, what a
/// person has to do.
pub fn quorum(policy: FailoverQuorum, seen: usize, hosts: usize) -> Result<(), String> {
    if policy == FailoverQuorum::None || !counts(hosts) || is_majority(seen, hosts) {
        return Ok(());
    }
    Err(format!(
        "of {hosts} hosts only {seen} are seen, this one included: the others may go on behind a cut, \
         nothing is changed. If they are known to be down, run this command again with \
         FAILOVER_QUORUM=none"
    ))
}

/// The same after the fence, where the old primary's host does not count: `why`.
pub fn quorum_besides(
    policy: FailoverQuorum,
    seen: usize,
    hosts: usize,
    why: &str,
) -> Result<(), String> {
    quorum(policy, seen, hosts).map_err(|refusal| {
        format!("the old primary's host does not count on this side ({why}); without it, {refusal}")
    })
}

/// Of two hosts none is a majority.
pub fn counts(hosts: usize) -> bool {
    hosts >= 3
}

/// Whether `seen` of `hosts` are more than half.
pub fn is_majority(seen: usize, hosts: usize) -> bool {
    seen * 2 > hosts
}

/// Whether a standby may be listening to a primary: it runs, and is none itself. One that gives no answer
/// may, and one that is down for a recovery from that very primary soon will.
pub fn may_listen(status: &Status) -> bool {
    (status.running || status.in_work) && status.in_recovery != Some(false)
}

/// What came of the order to a standby to listen to the old primary no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldEnd {
    /// It listens to nobody, and will not.
    Held,
    /// Its own copy of the tools could not do it: somebody else works on its database, for instance.
    Refused,
    /// Nobody knows.
    Silent,
}

/// Whether a standby may go on acknowledging the old primary after the order to hold it; `heard`: the last
/// that it has said of itself. One that has refused was asked anew: a standby that was down when it was
/// looked at may be being started by now. Of one that says nothing, nobody knows, as long as its host shows
/// life: its sshd may be all that is dead.
pub fn may_acknowledge_on(heard: Option<&Status>, end: HoldEnd, lives: bool) -> bool {
    match (end, heard) {
        (HoldEnd::Held, _) => false,
        (HoldEnd::Refused, heard) => heard.is_none_or(may_listen),
        (HoldEnd::Silent, None) => lives,
        (HoldEnd::Silent, Some(heard)) => {
            may_listen(heard) || (lives && heard.in_recovery != Some(false))
        }
    }
}

/// Whether a failover goes on though a standby may still acknowledge the old primary: a warning, or what a
/// person has to do first. `gives_up`: the configuration gives up what only that host has.
pub fn unheld(missing: &str, synchronous: bool, gives_up: bool) -> Result<String, String> {
    match (synchronous, gives_up) {
        (false, _) | (true, true) => Ok(format!(
            "a standby may go on listening to the old primary ({missing})"
        )),
        (true, false) => Err(format!(
            "a standby may go on acknowledging the old primary, which nobody could fence, and those \
             commits would be lost ({missing}): {WAY_OUT}"
        )),
    }
}

/// How a person passes over a host.
const WAY_OUT: &str = "correct that and run this command again. To give up what only that host has, set \
                       FAILOVER_CANDIDATE=given: then the host that the command names is promoted";

/// A standby that could be promoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its address.
    pub address: IpAddr,
    /// Its newest timeline.
    pub timeline: Timeline,
    /// The furthest position it has, received or replayed.
    pub position: Lsn,
    /// It is a primary already.
    pub promoted: bool,
    /// It has the database VIP.
    pub vip_here: bool,
    /// The pool has it down, and looks for its primary among the others only.
    pub down_in_pool: bool,
}

impl Candidate {
    /// The standby at `address`, if it can be promoted (or is already), else why not.
    pub fn from_status(
        address: IpAddr,
        status: &Status,
        down_in_pool: bool,
    ) -> Result<Self, String> {
        if let Some(obstacle) = obstacle(status) {
            return Err(obstacle);
        }
        // It need not take a session to be promoted.
        let unasked = status.recovers.then_some(true);
        let Some(in_recovery) = status.in_recovery.or(unasked) else {
            let why = status.trouble.as_deref().unwrap_or("no reason given");
            return Err(format!("its database does not answer: {why}"));
        };
        Ok(Self {
            address,
            timeline: status.timeline,
            position: status.position(),
            promoted: !in_recovery,
            vip_here: status.vip_here,
            down_in_pool,
        })
    }
}

/// What is sure to make a promotion of the standby fail. One that merely does not answer may be
/// busy. A recovery that works on it lets go of what was a standby; an old primary it makes one of first.
pub fn obstacle(status: &Status) -> Option<String> {
    let comes_back = status.in_work && status.was_primary() != Some(true);
    let is_down = !status.running && !comes_back;
    let down = || is_down.then(|| "its database does not run".to_owned());
    status.obstacle.clone().or_else(down)
}

/// Whether a standby takes no session, and its position is what its files and processes tell: at least that.
pub fn is_unasked(status: &Status) -> bool {
    status.in_recovery.is_none() && status.recovers
}

/// Whether a standby that the pool had down is not worth waiting for; `seen`: what it said a moment ago.
pub fn is_lost(seen: Option<&Status>, synchronous: bool) -> bool {
    match seen {
        Some(status) => obstacle(status).is_some(),
        None => !synchronous,
    }
}

/// What a standby that is no candidate said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// Nothing: its host is dead, does not let us in, or gives no answer in time.
    Silent,
    /// Its host let us in, and what came of it is no report.
    NotUnderstood(String),
    /// How its instance is, and why it cannot be promoted.
    Known(Box<Status>, String),
}

/// Whether somebody else may be promoted past the standby `host`, which is no candidate: a warning
/// where that is a risk, or what a person has to do first. `best`: the furthest candidate; `None`: it is
/// not known yet. A synchronous cluster may have acknowledged commits that only `host` has.
pub fn pass_over(host: IpAddr, unfit: &Unfit, best: Option<&Candidate>) -> Result<String, String> {
    match unfit {
        Unfit::NotUnderstood(why) => Err(format!(
            "{host} answered, but not with a usable report ({why}). It may have the last acknowledged \
             commits, so nobody is promoted: {WAY_OUT}"
        )),
        Unfit::Known(status, why)
            if best.is_some_and(|best| {
                status.in_recovery == Some(true)
                    && (status.timeline, status.position()) > (best.timeline, best.position)
            }) =>
        {
            Err(format!(
                "{host} is further than every candidate (at {} on timeline {}) and cannot be promoted \
                 ({why}), so nobody is promoted: {WAY_OUT}",
                status.position(),
                status.timeline
            ))
        }
        Unfit::Known(..) | Unfit::Silent => Ok(format!(
            "warning: {host} was not heard, and may be the one that has the last acknowledged commits"
        )),
    }
}

/// Who becomes primary, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its address.
    pub address: IpAddr,
    /// Why this one.
    pub why: String,
}

/// The candidate to promote: on the newest timeline one that is promoted already (a run before
/// this one did it), else the furthest; on a tie the one that a run before this one has put the VIP
/// on, else one that the pool has up, of these `given`. `None`: nobody can be.
pub fn choose(candidates: &[Candidate], given: IpAddr) -> Option<Choice> {
    let rank = |c: &Candidate| {
        let in_pool = (!c.down_in_pool, c.address == given);
        (c.timeline, c.promoted, c.position, c.vip_here, in_pool)
    };
    let best = candidates.iter().max_by_key(|c| rank(c))?;
    let why = if best.promoted {
        format!("it is a primary on timeline {} already", best.timeline)
    } else if candidates.len() == 1 {
        "it is the only one that can".to_owned()
    } else {
        format!(
            "at {} on timeline {} it is the furthest of {}",
            best.position,
            best.timeline,
            candidates.len()
        )
    };
    Some(Choice {
        address: best.address,
        why,
    })
}

/// A standby that is a primary already: a run before this one promoted it. An error: another one
/// is on a newer timeline, or a failover has told it of one, so that it cannot be the old primary's successor.
pub fn promoted(standbys: &HashMap<IpAddr, Status>) -> Result<Option<IpAddr>, String> {
    let newest = standbys.iter().max_by_key(|(_, status)| status.timeline);
    let primaries = standbys
        .iter()
        .filter(|(_, status)| status.in_recovery == Some(false));
    let primary = primaries.max_by_key(|(_, status)| status.timeline);
    if let Some((host, it)) = primary
        && let Some((by, newer)) = told_of_newer(standbys, it)
    {
        return Err(format!(
            "{host} is a primary on timeline {}, and a failover has told {by} of timeline {newer}: {host} is an \
             old primary, and nobody is promoted. Bring back the host with timeline {newer}. Is that one lost, \
             stop the database on {host}, and run this command again",
            it.timeline
        ));
    }
    match (primary, newest) {
        (Some((host, primary)), Some((newer, newest))) if primary.timeline < newest.timeline => {
            Err(format!(
                "{host} is a primary on timeline {}, and {newer} is on timeline {}: find out which \
                 of them has the data, stop the other, and run this command again",
                primary.timeline, newest.timeline
            ))
        }
        (primary, _) => Ok(primary.map(|(host, _)| *host)),
    }
}

/// Whom a failover has told of a timeline that is newer than this primary's, and which.
fn told_of_newer(
    standbys: &HashMap<IpAddr, Status>,
    primary: &Status,
) -> Option<(IpAddr, Timeline)> {
    let told = standbys.iter().map(|(host, it)| (*host, it.told));
    told.max_by_key(|(_, told)| *told)
        .filter(|(_, told)| *told > primary.timeline)
}

/// Whether a primary that was there before the failover can have been promoted in place of the `old` one:
/// seen before that one is touched.
pub fn is_successor((host, primary): (IpAddr, &Status), old: &Status) -> Result<(), String> {
    if old.in_recovery != Some(false) || primary.timeline > old.timeline {
        return Ok(());
    }
    Err(format!(
        "{host} is a primary already, on timeline {}, and the old primary runs as one on timeline {}: the first \
         is not its successor. Find out which of the two has the data, stop the other, and run this command \
         again",
        primary.timeline, old.timeline
    ))
}

/// Whether a failover before this one has replaced the old primary, whose timeline is `old`, and whoever it
/// promoted is among the `others` and was not heard: that one may be the primary still, and a standby that
/// follows it would become a second one.
pub fn replaced_before(
    standbys: &HashMap<IpAddr, Status>,
    others: &[IpAddr],
    old: Option<Timeline>,
) -> Result<(), String> {
    let newer = standbys.iter().find(|(_, it)| Some(it.timeline) > old);
    let unheard = others.iter().find(|it| !standbys.contains_key(*it));
    match (old, newer, unheard) {
        (Some(old), Some((host, it)), Some(unheard)) => Err(format!(
            "{host} is on timeline {}, newer than {old} of the old primary: a failover has promoted somebody \
             before, and {unheard}, which was not heard, may be it. See that its database is down, or that \
             it can be asked, and run this command again",
            it.timeline
        )),
        _ => Ok(()),
    }
}

/// Why a standby with WAL of the timeline `own` is not promoted by a failover that saw none newer than `seen`.
pub fn promoted_since(own: Timeline, seen: Timeline) -> Option<String> {
    (own > seen).then(|| {
        format!(
            "it has WAL of timeline {own}, and none newer than {seen} was seen when this failover began: another \
             failover has promoted somebody meanwhile. Is nobody the primary, run this command again"
        )
    })
}

/// A standby's refusal to be held begins so where another failover had it follow somebody.
pub const ANOTHER_FAILOVER: &str = "another failover has told it";

/// Why a standby that follows `host` by the word of another failover is not held for this one. `host` is in
/// recovery: `Some(true)`; a primary: `Some(false)`; nobody knows: `None`.
pub fn follows_another(host: &str, in_recovery: Option<bool>) -> Option<String> {
    let state = match in_recovery {
        Some(true) => return None,
        Some(false) => "is a primary",
        None => "gives no answer, and may have been promoted",
    };
    Some(format!(
        "another failover has told it to follow {host}, which {state}: nobody else is promoted. Is nobody the primary, see that the \
         database on {host} is down, wait for two minutes, and run this command again"
    ))
}

/// Where a standby goes that a failover has held for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back<T> {
    /// Nowhere: it is held by another failover, which counts on that.
    Nowhere,
    /// To the old primary.
    Old,
    /// To whom another failover had had it follow before.
    To(T),
}

/// Of a standby whose hold is `ours`, or another failover's that may be under way still (`young`); it was
/// taken from `before`.
pub fn back_to<T>(ours: bool, young: bool, before: Option<T>) -> Back<T> {
    match (ours, before) {
        (true, Some(before)) => Back::To(before),
        (false, _) if young => Back::Nowhere,
        _ => Back::Old,
    }
}

/// What is said where the pool on the host `pool` knows nobody to promote; `seen`: what the hosts say.
pub fn nobody_left(seen: &HashMap<IpAddr, Status>, pool: IpAddr) -> String {
    let candidates: Vec<Candidate> = seen
        .iter()
        .filter_map(|(host, status)| Candidate::from_status(*host, status, true).ok())
        .collect();
    let best = candidates
        .iter()
        .max_by_key(|it| (it.timeline, it.promoted, it.position));
    let (nobody, todo) = match best {
        Some(it) if it.promoted => (
            format!("{} is a primary on timeline {}", it.address, it.timeline),
            format!("attach it here: attach_node --pool {pool} -n ID, with its id"),
        ),
        Some(it) => (
            format!(
                "the standby {} runs, at {} on timeline {}",
                it.address, it.position, it.timeline
            ),
            format!(
                "attach it here: attach_node --pool {pool} -n ID --force, with its id; where the primary is lost, \
                 run failover_stream by hand with {} for %H and that id for %m",
                it.address
            ),
        ),
        None => (
            "none runs".to_owned(),
            "start a database, the last primary first, and attach it to the pool".to_owned(),
        ),
    };
    format!(
        "no node is left to promote (%H is empty or %m is -1), nothing is changed; {nobody}: {todo}"
    )
}

/// Whether the WAL that the new primary misses, in bytes, is more than `MAX_FAILOVER_LAG` (MB,
/// `None`: any) allows.
pub fn lag_refusal(missing: u64, max_megabytes: Option<u64>) -> Option<String> {
    let max = max_megabytes?;
    (missing > max.saturating_mul(1 << 20)).then(|| {
        format!(
            "the new primary would miss {} MB of WAL, more than MAX_FAILOVER_LAG={max}: bring the \
             old primary back, or raise MAX_FAILOVER_LAG and run this command again",
            missing >> 20
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 168, 1, last])
    }

    #[test]
    fn a_standby_that_takes_no_session_is_a_candidate() {
        let silent = Status {
            running: true,
            recovers: true,
            control: Some(Lsn(7)),
            timeline: 2,
            ..Status::default()
        };
        let candidate = Candidate::from_status(ip(102), &silent, false).unwrap();
        assert_eq!(
            (candidate.timeline, candidate.position, candidate.promoted),
            (2, Lsn(7), false)
        );
        assert!(is_unasked(&silent));
        let stopped = Status {
            obstacle: Some("stopped".to_owned()),
            ..silent.clone()
        };
        assert!(Candidate::from_status(ip(102), &stopped, false).is_err());
        let frozen = Status {
            recovers: false,
            ..silent
        };
        assert!(Candidate::from_status(ip(102), &frozen, false).is_err());
    }

    #[test]
    fn the_line_for_a_pool_that_knows_nobody() {
        let status = |in_recovery| Status {
            running: true,
            in_recovery: Some(in_recovery),
            timeline: 2,
            ..Status::default()
        };
        let said = |seen: Vec<(IpAddr, Status)>| nobody_left(&seen.into_iter().collect(), ip(101));
        assert!(said(vec![]).ends_with(
            "none runs: start a database, the last primary first, and attach it to the pool"
        ));
        assert!(said(vec![(ip(102), status(true))]).contains("the standby 192.168.1.102 runs, at 0/0 on timeline 2: attach it here: attach_node --pool 192.168.1.101 -n ID --force"));
        assert!(
            said(vec![(ip(102), status(false))])
                .contains("192.168.1.102 is a primary on timeline 2: attach it here")
        );
    }

    fn candidate(last: u8, timeline: Timeline, position: u64, promoted: bool) -> Candidate {
        Candidate {
            address: ip(last),
            timeline,
            position: Lsn(position),
            promoted,
            vip_here: false,
            down_in_pool: false,
        }
    }

    fn each_is_chosen<const N: usize>(rows: [(&str, Vec<Candidate>, u8); N]) {
        for (what, candidates, expected) in rows {
            let choice = choose(&candidates, ip(102)).unwrap();
            assert_eq!(choice.address, ip(expected), "{what}");
        }
    }

    #[test]
    fn the_furthest_on_the_newest_timeline() {
        each_is_chosen([
            (
                "furthest, not lowest",
                vec![candidate(102, 1, 5, false), candidate(103, 1, 9, false)],
                103,
            ),
            (
                "newest timeline before position",
                vec![candidate(102, 2, 5, false), candidate(103, 1, 9, false)],
                102,
            ),
            (
                "the pool's on a tie",
                vec![
                    candidate(101, 1, 9, false),
                    candidate(102, 1, 9, false),
                    candidate(103, 1, 9, false),
                ],
                102,
            ),
            (
                "promoted before",
                vec![candidate(102, 1, 9, false), candidate(103, 1, 9, true)],
                103,
            ),
        ]);
        assert_eq!(choose(&[], ip(102)), None);
    }

    #[test]
    fn who_is_chosen_by_what_else_is_known() {
        let down = |candidate| Candidate {
            down_in_pool: true,
            ..candidate
        };
        each_is_chosen([
            (
                "the one with the VIP on a tie",
                vec![
                    candidate(102, 1, 9, false),
                    Candidate {
                        vip_here: true,
                        ..candidate(103, 1, 9, false)
                    },
                ],
                103,
            ),
            (
                "one that the pool has up on a tie",
                vec![
                    down(candidate(101, 1, 9, false)),
                    candidate(103, 1, 9, false),
                    down(candidate(104, 1, 9, false)),
                ],
                103,
            ),
            (
                "the furthest, though the pool has it down",
                vec![
                    candidate(102, 1, 5, false),
                    down(candidate(103, 1, 9, false)),
                ],
                103,
            ),
            ("the only one", vec![candidate(103, 1, 1, false)], 103),
        ]);
    }

    #[test]
    fn after_a_failover_somebody_who_was_not_heard_may_be_the_primary() {
        let standby = |timeline| Status {
            running: true,
            in_recovery: Some(true),
            timeline,
            ..Status::default()
        };
        let others = [ip(102), ip(103)];
        let may = |standbys: Vec<(IpAddr, Status)>, old| {
            replaced_before(&standbys.into_iter().collect(), &others, old).is_ok()
        };
        let newer = || (ip(103), standby(2));
        assert!(!may(vec![newer()], Some(1)));
        assert!(
            may(vec![newer(), (ip(102), standby(2))], Some(1)),
            "all were heard"
        );
        assert!(may(vec![newer()], Some(2)), "the old one is as new");
        assert!(may(vec![newer()], None), "nobody knows");
    }

    #[test]
    fn the_old_primarys_host_is_left_out_of_the_count() {
        let policy = FailoverQuorum::Majority;
        assert_eq!(quorum_besides(policy, 2, 3, "why"), Ok(()));
        let refusal = quorum_besides(policy, 1, 3, "it was fenced by another").unwrap_err();
        assert!(refusal.contains("it was fenced by another"), "{refusal}");
        assert!(refusal.contains("FAILOVER_QUORUM=none"), "{refusal}");
        assert_eq!(quorum_besides(FailoverQuorum::None, 1, 3, "why"), Ok(()));
    }

    #[test]
    fn who_was_promoted_before() {
        let status = |in_recovery, timeline| Status {
            running: true,
            in_recovery: Some(in_recovery),
            timeline,
            ..Status::default()
        };
        let all = |rows: &[(u8, Status)]| {
            rows.iter()
                .map(|(last, s)| (ip(*last), s.clone()))
                .collect()
        };
        let none = all(&[(102, status(true, 1)), (103, status(true, 1))]);
        assert_eq!(promoted(&none).unwrap(), None);
        let one = all(&[(102, status(false, 2)), (103, status(true, 1))]);
        assert_eq!(promoted(&one).unwrap(), Some(ip(102)));
        let stale = all(&[(102, status(false, 1)), (103, status(true, 2))]);
        assert!(promoted(&stale).is_err());
        // The newer one's host is silent; only what a failover has said there is left of it.
        let mut told = HashMap::from([(ip(102), status(false, 2)), (ip(103), status(true, 2))]);
        assert_eq!(promoted(&told).unwrap(), Some(ip(102)));
        told.get_mut(&ip(103)).unwrap().told = 2;
        assert_eq!(promoted(&told).unwrap(), Some(ip(102)), "that was this one");
        told.get_mut(&ip(103)).unwrap().told = 3;
        let why = promoted(&told).unwrap_err();
        assert!(why.contains("old primary"), "{why}");
    }

    #[test]
    fn a_standby_that_is_being_recovered_is_no_lost_cause() {
        let stopped = Status::default();
        assert!(obstacle(&stopped).is_some());
        let in_work = Status {
            in_work: true,
            ..stopped
        };
        assert_eq!(obstacle(&in_work), None);
        let becomes_a_standby = Status {
            control_state: Some("shut down".to_owned()),
            ..in_work.clone()
        };
        assert!(obstacle(&becomes_a_standby).is_some());
        assert!(Candidate::from_status(ip(102), &in_work, false).is_err());
    }

    #[test]
    fn who_is_waited_for_although_the_pool_had_it_down() {
        let down = Status::default();
        let good = Status {
            running: true,
            in_recovery: Some(true),
            ..Status::default()
        };
        for (what, seen, lost) in [
            ("it runs", Some(&good), [false, false]),
            ("its database is down", Some(&down), [true, true]),
            ("it said nothing yet", None, [false, true]),
        ] {
            assert_eq!([is_lost(seen, true), is_lost(seen, false)], lost, "{what}");
        }
    }

    #[test]
    fn nobody_is_promoted_past_a_host_that_was_not_understood() {
        let at = |position| Status {
            running: true,
            in_recovery: Some(true),
            timeline: 3,
            received: Some(Lsn(position)),
            ..Status::default()
        };
        let best = Candidate::from_status(ip(103), &at(100), false).unwrap();
        let known = |status: Status| Unfit::Known(Box::new(status), "no program pg_ctl".into());
        let down = Status {
            running: false,
            in_recovery: None,
            ..at(200)
        };
        let silent = Status {
            in_recovery: None,
            ..at(200)
        };
        for (what, unfit, best, refused) in [
            ("dead", Unfit::Silent, Some(&best), false),
            ("dead, before the fence", Unfit::Silent, None, false),
            (
                "no tool there",
                Unfit::NotUnderstood("127".into()),
                Some(&best),
                true,
            ),
            (
                "no tool there, before the fence",
                Unfit::NotUnderstood("127".into()),
                None,
                true,
            ),
            ("further", known(at(101)), Some(&best), true),
            ("as far", known(at(100)), Some(&best), false),
            ("behind", known(at(99)), Some(&best), false),
            ("not compared yet", known(at(101)), None, false),
            ("database down", known(down), Some(&best), false),
            ("database silent", known(silent), Some(&best), false),
        ] {
            let answer = pass_over(ip(102), &unfit, best);
            assert_eq!(answer.is_err(), refused, "{what}: {answer:?}");
            match answer {
                Ok(warning) => assert!(warning.contains("not heard"), "{warning}"),
                Err(why) => assert!(why.contains("FAILOVER_CANDIDATE=given"), "{why}"),
            }
        }
    }

    #[test]
    fn who_is_a_candidate() {
        let good = Status {
            running: true,
            in_recovery: Some(true),
            ..Status::default()
        };
        assert!(Candidate::from_status(ip(102), &good, false).is_ok());
        for (status, expected) in [
            (
                Status {
                    obstacle: Some("its rewind is unfinished".into()),
                    ..good.clone()
                },
                "rewind is unfinished",
            ),
            (
                Status {
                    running: false,
                    ..good.clone()
                },
                "does not run",
            ),
            (
                Status {
                    in_recovery: None,
                    trouble: Some("no answer within 1 ms".into()),
                    ..good
                },
                "no answer within 1 ms",
            ),
        ] {
            let why = Candidate::from_status(ip(102), &status, false).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn of_two_sides_one_at_most_is_a_majority() {
        let majority = |seen, hosts| quorum(FailoverQuorum::Majority, seen, hosts).is_ok();
        for hosts in 3..8 {
            for seen in 1..=hosts {
                assert!(!(majority(seen, hosts) && majority(hosts - seen, hosts)));
            }
            assert!(majority(hosts - 1, hosts), "one of {hosts} is dead");
            assert!(!majority(1, hosts));
        }
        assert!(!majority(2, 4));
        assert!(majority(1, 2), "two hosts have no majority");
        let why = quorum(FailoverQuorum::Majority, 1, 3).unwrap_err();
        assert!(why.contains("FAILOVER_QUORUM=none"), "{why}");
        assert!(quorum(FailoverQuorum::None, 1, 3).is_ok());
    }

    #[test]
    fn who_is_held() {
        let status = |running, in_recovery| Status {
            running,
            in_recovery,
            ..Status::default()
        };
        assert!(may_listen(&status(true, Some(true))));
        assert!(may_listen(&status(true, None)));
        assert!(!may_listen(&status(true, Some(false))));
        assert!(!may_listen(&status(false, None)));
        let recovered = Status {
            in_work: true,
            ..Status::default()
        };
        assert!(may_listen(&recovered), "it is about to be started");
    }

    /// The state of a standby is older than what came of the order to hold it.
    #[test]
    fn who_may_acknowledge_after_the_order_to_hold_it() {
        let status = |running, in_recovery| {
            Some(Status {
                running,
                in_recovery,
                ..Status::default()
            })
        };
        let (runs, down) = (status(true, Some(true)), status(false, None));
        let primary = status(true, Some(false));
        let started = down.clone().map(|it| Status {
            in_work: true,
            ..it
        });
        for (what, heard, [held, refused, silent, lives]) in [
            ("it runs", &runs, [false, true, true, true]),
            ("it was down", &down, [false, false, false, true]),
            ("it is being started", &started, [false, true, true, true]),
            ("it is a primary", &primary, [false; 4]),
            // Only its sshd may be dead; where nothing lives nobody acknowledges.
            ("it says nothing", &None, [false, true, false, true]),
        ] {
            for (end, living, expected) in [
                (HoldEnd::Held, true, held),
                (HoldEnd::Refused, false, refused),
                (HoldEnd::Silent, false, silent),
                (HoldEnd::Silent, true, lives),
            ] {
                let may = may_acknowledge_on(heard.as_ref(), end, living);
                assert_eq!(may, expected, "{what}, {end:?}, lives: {living}");
            }
        }
    }

    #[test]
    fn who_follows_another_failovers_primary_is_not_held() {
        let says = |it| follows_another("192.168.1.103", it);
        assert_eq!(says(Some(true)), None, "it has promoted nobody");
        for (answer, state) in [(Some(false), "is a primary"), (None, "gives no answer")] {
            let why = says(answer).unwrap();
            assert!(
                why.starts_with(ANOTHER_FAILOVER) && why.contains(state),
                "{why}"
            );
        }
    }

    #[test]
    fn lag() {
        assert_eq!(lag_refusal(u64::MAX, None), None);
        assert_eq!(lag_refusal(16 << 20, Some(16)), None);
        assert!(lag_refusal((16 << 20) + 1, Some(16)).is_some());
    }

    #[test]
    fn what_was_held_for_nothing_goes_back_to_where_it_was() {
        let before = || Some("node102");
        for (what, ours, young, before, expected) in [
            ("nobody else has told it", true, true, None, Back::Old),
            (
                "taken from another one",
                true,
                true,
                before(),
                Back::To("node102"),
            ),
            ("taken by another one", false, true, before(), Back::Nowhere),
            ("by one of long ago", false, false, before(), Back::Old),
        ] {
            assert_eq!(back_to(ours, young, before), expected, "{what}");
        }
    }
}
