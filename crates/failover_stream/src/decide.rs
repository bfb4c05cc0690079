//! What a failover decides, as pure functions: no clock, no I/O, no log. Each decision says why.

use crate::peer::PeerError;
use crate::report::{FenceReport, Status};
use failover_core::arp::Mac;
use failover_core::config::PromoteWithoutFence;
use failover_core::lsn::{Lsn, Timeline};
use std::net::IpAddr;

/// What is known of the old primary when the time for fencing is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// It takes no writes any more.
    Yes(String),
    /// Nothing of its host answers.
    Unreachable(String),
    /// Anything else. No answer counts as writing.
    No(String),
}

/// What was seen of the old primary.
#[derive(Clone, Debug, Default)]
pub struct OldPrimary {
    /// What its own copy of the tool reported, or why there is no report.
    pub report: Option<Result<FenceReport, NoReport>>,
    /// Signs of life that this host saw (text, for the reader).
    pub signs: Option<Signs>,
    /// Standbys whose WAL receiver got a message from it within the last second.
    pub heard_by: Vec<IpAddr>,
    /// Its database port refuses connections.
    pub port_refuses: bool,
    /// Somebody answers for the database VIP.
    pub vip: VipHolder,
}

/// Signs of life, reduced to what the decision needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signs {
    /// Whether there is one.
    pub alive: bool,
    /// What was seen.
    pub seen: String,
}

/// Why there is no report of the fence step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoReport {
    /// ssh did not get there.
    Unreachable(String),
    /// The step ran and failed, or ran out of time.
    Failed(String),
}

impl From<PeerError> for NoReport {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::Unreachable(why) => Self::Unreachable(why),
            PeerError::Failed(why) => Self::Failed(why),
        }
    }
}

/// Who answers for the database VIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VipHolder {
    /// Nobody, or a host that may.
    #[default]
    Nobody,
    /// The old primary's host.
    OldPrimary,
    /// A host that is neither the old nor the new primary's.
    Stranger(Mac),
    /// It could not be asked.
    Unknown,
}

impl OldPrimary {
    /// Whether its own copy of the tool had its say.
    pub fn report_is_in(&self) -> bool {
        matches!(self.report, Some(Ok(_) | Err(NoReport::Failed(_))))
    }

    /// Whether more looking, the VIP aside, would change nothing.
    pub fn is_clear(&self) -> bool {
        let alive = self.signs.as_ref().map(|signs| signs.alive);
        let unreachable = matches!(self.report, Some(Err(NoReport::Unreachable(_))));
        self.report_is_in()
            || (unreachable && self.port_refuses && alive == Some(true))
            || (alive == Some(false) && self.heard_by.is_empty())
    }
}

/// Where the old primary stands, once and for all.
pub fn fenced(old: &OldPrimary) -> Fenced {
    if let VipHolder::Stranger(mac) = old.vip {
        return Fenced::No(format!(
            "{mac}, which is neither the old nor the new primary, answers for the database VIP"
        ));
    }
    let no_report = match &old.report {
        Some(Ok(report)) => return Fenced::Yes(report.to_string()),
        Some(Err(NoReport::Failed(why))) => return Fenced::No(why.clone()),
        Some(Err(NoReport::Unreachable(why))) => why.clone(),
        None => "no answer in time".to_owned(),
    };
    let life = match (&old.signs, old.vip, old.heard_by.first()) {
        (Some(signs), _, _) if signs.alive => Some(signs.seen.clone()),
        (None, ..) => Some("signs of life could not be looked for".to_owned()),
        (_, VipHolder::OldPrimary, _) => Some("its host answers for the database VIP".to_owned()),
        (_, VipHolder::Unknown, _) => {
            Some("who has the database VIP could not be asked".to_owned())
        }
        (_, _, Some(standby)) => Some(format!("{standby} heard from it within the last second")),
        (Some(_), VipHolder::Nobody | VipHolder::Stranger(_), None) => None,
    };
    match (life, &old.signs) {
        (Some(_), Some(signs)) if signs.alive && old.port_refuses => Fenced::Yes(format!(
            "its host lives and its database port refuses ({no_report})"
        )),
        (Some(life), _) => Fenced::No(format!("{life}; {no_report}")),
        (None, signs) => Fenced::Unreachable(signs.as_ref().map_or(no_report, |s| s.seen.clone())),
    }
}

/// Whether to promote, and if not, what a person has to do.
pub fn may_promote(policy: PromoteWithoutFence, fenced: &Fenced) -> Result<(), String> {
    use PromoteWithoutFence::{Always, Never, Unreachable};
    match (fenced, policy) {
        (Fenced::Yes(_), _) | (_, Always) | (Fenced::Unreachable(_), Unreachable) => Ok(()),
        (Fenced::Unreachable(seen), Never) => Err(format!(
            "the old primary could not be fenced ({seen}) and PROMOTE_WITHOUT_FENCE is never: make \
             sure that its database is down, then run this command again with \
             PROMOTE_WITHOUT_FENCE=unreachable"
        )),
        (Fenced::No(seen), Never | Unreachable) => Err(format!(
            "the old primary is alive or may be, and could not be fenced: {seen}. A second primary \
             would split the data: stop the database on the old primary's host and take the VIP \
             off it, then run this command again (or set PROMOTE_WITHOUT_FENCE=always)"
        )),
    }
}

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
}

impl Candidate {
    /// The standby at `address`, if it can be promoted (or is already), else why not.
    pub fn from_status(address: IpAddr, status: &Status) -> Result<Self, String> {
        if let Some(obstacle) = &status.obstacle {
            return Err(obstacle.clone());
        }
        if !status.running {
            return Err("its database does not run".to_owned());
        }
        let Some(in_recovery) = status.in_recovery else {
            let why = status.trouble.as_deref().unwrap_or("no reason given");
            return Err(format!("its database does not answer: {why}"));
        };
        Ok(Self {
            address,
            timeline: status.timeline,
            position: status.position(),
            promoted: !in_recovery,
            vip_here: status.vip_here,
        })
    }
}

/// Who becomes primary, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its address.
    pub address: IpAddr,
    /// Its position, where it is known.
    pub position: Option<Lsn>,
    /// Why this one.
    pub why: String,
}

/// The candidate to promote: one that is promoted already (a run before this one did it), else
/// the furthest on the newest timeline; on a tie the one that a run before this one has put the
/// VIP on, else `given`. `None`: nobody can be.
pub fn choose(candidates: &[Candidate], given: IpAddr) -> Option<Choice> {
    let rank = |c: &Candidate| {
        let is_given = c.address == given;
        (c.timeline, c.promoted, c.position, c.vip_here, is_given)
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
        position: Some(best.position),
        why,
    })
}

/// Why `chosen` must not get the VIP while a standby among `holders` has it: two hosts would answer
/// for it.
pub fn vip_refusal(
    policy: PromoteWithoutFence,
    mut holders: impl Iterator<Item = IpAddr>,
    chosen: IpAddr,
) -> Option<String> {
    let other = holders.find(|holder| *holder != chosen)?;
    (policy != PromoteWithoutFence::Always).then(|| {
        format!(
            "standby {other} has the database VIP, and {chosen} is to be promoted: run `vip_ctl \
             del` on {other}, then run this command again (or set PROMOTE_WITHOUT_FENCE=always)"
        )
    })
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

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 168, 1, last])
    }

    fn signs(alive: bool) -> Option<Signs> {
        Some(Signs {
            alive,
            seen: "seen".into(),
        })
    }

    fn unreachable() -> Option<Result<FenceReport, NoReport>> {
        Some(Err(NoReport::Unreachable("refused".into())))
    }

    #[test]
    fn every_kind_of_old_primary() {
        use PromoteWithoutFence::{Always, Never, Unreachable};
        let dead = OldPrimary {
            signs: signs(false),
            ..OldPrimary::default()
        };
        let sshd_dead = OldPrimary {
            report: unreachable(),
            signs: signs(true),
            ..OldPrimary::default()
        };
        let rows: Vec<(&str, OldPrimary, [bool; 3])> = vec![
            (
                "fenced by its own copy",
                OldPrimary {
                    report: Some(Ok(FenceReport::default())),
                    ..OldPrimary::default()
                },
                [true, true, true],
            ),
            ("dead host", dead.clone(), [false, true, true]),
            (
                "dead host, ssh already failed",
                OldPrimary {
                    report: unreachable(),
                    ..dead.clone()
                },
                [false, true, true],
            ),
            (
                "sshd dead, database writes",
                sshd_dead.clone(),
                [false, false, true],
            ),
            (
                "sshd dead, database port refuses",
                OldPrimary {
                    port_refuses: true,
                    ..sshd_dead.clone()
                },
                [true, true, true],
            ),
            (
                "port refuses, but nothing else lives: a firewall may answer",
                OldPrimary {
                    port_refuses: true,
                    ..dead.clone()
                },
                [false, true, true],
            ),
            (
                "fence step failed, port refuses: processes are left",
                OldPrimary {
                    report: Some(Err(NoReport::Failed("left".into()))),
                    port_refuses: true,
                    ..sshd_dead.clone()
                },
                [false, false, true],
            ),
            (
                "a standby heard from it",
                OldPrimary {
                    heard_by: vec![ip(103)],
                    ..dead.clone()
                },
                [false, false, true],
            ),
            (
                "it answers for the VIP",
                OldPrimary {
                    vip: VipHolder::OldPrimary,
                    ..dead.clone()
                },
                [false, false, true],
            ),
            (
                "the VIP could not be asked for",
                OldPrimary {
                    vip: VipHolder::Unknown,
                    ..dead.clone()
                },
                [false, false, true],
            ),
            (
                "somebody else answers for the VIP",
                OldPrimary {
                    vip: VipHolder::Stranger(MAC),
                    ..dead.clone()
                },
                [false, false, true],
            ),
            (
                "fenced, and somebody else answers for the VIP",
                OldPrimary {
                    report: Some(Ok(FenceReport::default())),
                    vip: VipHolder::Stranger(MAC),
                    ..dead
                },
                [false, false, true],
            ),
            (
                "nothing was looked at",
                OldPrimary::default(),
                [false, false, true],
            ),
        ];
        for (what, old, expected) in rows {
            let outcome = fenced(&old);
            let got =
                [Never, Unreachable, Always].map(|policy| may_promote(policy, &outcome).is_ok());
            assert_eq!(got, expected, "{what}: {outcome:?}");
        }
    }

    #[test]
    fn the_furthest_on_the_newest_timeline() {
        let candidate = |last, timeline, position, promoted| Candidate {
            address: ip(last),
            timeline,
            position: Lsn(position),
            promoted,
            vip_here: false,
        };
        let rows = [
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
            ("the only one", vec![candidate(103, 1, 1, false)], 103),
        ];
        for (what, candidates, expected) in rows {
            assert_eq!(
                choose(&candidates, ip(102)).unwrap().address,
                ip(expected),
                "{what}"
            );
        }
        assert_eq!(choose(&[], ip(102)), None);
    }

    #[test]
    fn who_is_a_candidate() {
        let good = Status {
            running: true,
            in_recovery: Some(true),
            ..Status::default()
        };
        assert!(Candidate::from_status(ip(102), &good).is_ok());
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
            let why = Candidate::from_status(ip(102), &status).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn a_vip_on_another_standby() {
        use PromoteWithoutFence::{Always, Unreachable};
        let refusal =
            |policy, holders: &[IpAddr]| vip_refusal(policy, holders.iter().copied(), ip(102));
        assert_eq!(refusal(Unreachable, &[]), None);
        assert_eq!(refusal(Unreachable, &[ip(102)]), None);
        assert!(refusal(Unreachable, &[ip(102), ip(103)]).is_some());
        assert_eq!(refusal(Always, &[ip(103)]), None);
    }

    #[test]
    fn lag() {
        assert_eq!(lag_refusal(u64::MAX, None), None);
        assert_eq!(lag_refusal(16 << 20, Some(16)), None);
        assert!(lag_refusal((16 << 20) + 1, Some(16)).is_some());
    }
}
