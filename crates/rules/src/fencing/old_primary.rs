//! What is known of the old primary, and where it stands by that.

use crate::facts::mac::Mac;
use crate::facts::policy::PromoteWithoutFence;
use crate::facts::report::FenceReport;
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
    /// Signs of life that this host saw.
    pub signs: Option<Signs>,
    /// Standbys whose WAL receiver got a message from it within the last second.
    pub heard_by: Vec<IpAddr>,
    /// Standbys that may yet say so.
    pub standbys_pending: bool,
    /// Its database port refuses connections, twice in a row.
    pub port_refuses: bool,
    /// Somebody answers for the database VIP.
    pub vip: VipHolder,
}

/// Signs of life, reduced to what the decision needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signs {
    /// Whether there is one, or one could not be looked for.
    pub alive: bool,
    /// Its network answered (ICMP or ARP). A refused port alone is no proof that it was the host
    /// that refused: a firewall does that, too.
    pub answered: bool,
    /// What was seen.
    pub seen: String,
}

/// Why there is no report of the fence step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoReport {
    /// It was not run, as far as is known.
    NotRun(String),
    /// It ran and failed: something is left there.
    Failed(String),
}

/// Who answers for the database VIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VipHolder {
    /// Nobody, or a standby that a run before this one gave it to.
    #[default]
    Nobody,
    /// The old primary's host.
    OldPrimary,
    /// A host that is neither the old primary's nor a standby's.
    Stranger(Mac),
    /// It could not be asked.
    Unknown,
}

/// Whose the answer for the VIP was: `old` are the hardware addresses of the old primary,
/// `standbys` those of the standbys that say that they have the VIP.
pub fn vip_holder(mac: Mac, old: &[Mac], standbys: &[Mac]) -> VipHolder {
    if old.contains(&mac) {
        VipHolder::OldPrimary
    } else if standbys.contains(&mac) {
        VipHolder::Nobody
    } else {
        VipHolder::Stranger(mac)
    }
}

impl OldPrimary {
    /// Whether its own copy of the tool stopped it.
    pub fn fenced_itself(&self) -> bool {
        matches!(self.report, Some(Ok(_)))
    }

    /// Whether its own copy of the tool had its say.
    pub fn report_is_in(&self) -> bool {
        matches!(self.report, Some(Ok(_) | Err(NoReport::Failed(_))))
    }

    /// Whether its host may still have the database VIP, although it is fenced.
    pub fn may_keep_vip(&self) -> bool {
        match &self.report {
            Some(Ok(report)) => report.keeps_vip,
            _ => self.vip == VipHolder::OldPrimary,
        }
    }

    /// Whether its host lives and its database does not: fenced, whoever did it. A standby that
    /// hears from it tells that the refusals are a firewall's.
    fn is_only_a_host(&self) -> bool {
        self.port_refuses
            && self.signs.as_ref().is_some_and(|signs| signs.answered)
            && self.no_standby_hears_it()
    }

    fn no_standby_hears_it(&self) -> bool {
        self.heard_by.is_empty() && !self.standbys_pending
    }

    /// Whether more looking, the VIP aside, would change nothing. `asked`: its own copy of the tool may
    /// be at work, and a port that refuses is then what that one has just done.
    pub fn is_clear(&self, asked: bool) -> bool {
        let silent = self.signs.as_ref().is_some_and(|signs| !signs.alive);
        let not_run = matches!(self.report, Some(Err(NoReport::NotRun(_)))) && !asked;
        self.report_is_in()
            || (not_run && self.is_only_a_host())
            || (silent && self.no_standby_hears_it())
    }
}

/// Where the old primary stands, once and for all.
pub fn fenced(old: &OldPrimary) -> Fenced {
    if let VipHolder::Stranger(mac) = old.vip {
        return Fenced::No(format!(
            "{mac}, which is neither the old primary nor a standby, answers for the database VIP"
        ));
    }
    let no_report = match &old.report {
        Some(Ok(report)) => return Fenced::Yes(report.to_string()),
        Some(Err(NoReport::Failed(why))) => return Fenced::No(why.clone()),
        Some(Err(NoReport::NotRun(why))) => why.clone(),
        None => "no answer in time".to_owned(),
    };
    if old.is_only_a_host() {
        return Fenced::Yes(format!(
            "its host lives and its database port refuses ({no_report})"
        ));
    }
    let Some(signs) = &old.signs else {
        return Fenced::No(format!("no signs of life were looked for; {no_report}"));
    };
    let heard = |by: &IpAddr| format!("{by} heard from it within the last second");
    let life = match (old.vip, old.heard_by.first()) {
        (_, Some(standby)) if signs.alive && old.port_refuses => {
            format!("{}; {}", signs.seen, heard(standby))
        }
        _ if signs.alive => signs.seen.clone(),
        (VipHolder::OldPrimary, _) => "its host answers for the database VIP".to_owned(),
        (VipHolder::Unknown, _) => "who has the database VIP could not be asked".to_owned(),
        (_, Some(standby)) => heard(standby),
        (VipHolder::Nobody | VipHolder::Stranger(_), None) => {
            return Fenced::Unreachable(signs.seen.clone());
        }
    };
    Fenced::No(format!("{life}; {no_report}"))
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

/// Why the old primary's host does not count among those that are on the coordinator's side; `None`: it
/// does. Both sides of a cut may reach it, and a port that refuses now proves nothing about the next second.
pub fn is_elsewhere(old: &OldPrimary) -> Option<&str> {
    match &old.report {
        Some(Ok(report)) => report.claimed.as_deref(),
        _ => Some("its own copy of the tools did not stop its database"),
    }
}

/// Whether the standbys have to stop listening to the old primary before anybody's position counts: its
/// own copy of the tool did not stop it, and another standby than the new primary may acknowledge it.
pub fn needs_hold(old: &OldPrimary, standbys: usize) -> bool {
    standbys > 1 && !old.fenced_itself()
}
