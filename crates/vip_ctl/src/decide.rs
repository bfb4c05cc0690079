//! What to do, from what was asked and what was seen. No I/O.

use failover_core::arp::Mac;
use failover_core::vip::{Held, Vip};
use std::net::Ipv4Addr;
use vip_ctl::cli::Action;

/// What was asked.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// What to do.
    pub action: Action,
    /// Without asking who answers.
    pub force: bool,
}

impl Wish {
    /// Whether it matters who else answers for the address. It takes a while to be sure that
    /// nobody does, so a removal, and a failover that has asked already (`--force`), don't wait.
    pub fn asks_others(self) -> bool {
        match self.action {
            Action::Add => !self.force,
            Action::Del => false,
            Action::Status => true,
        }
    }
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Where this host has the address.
    pub here: Option<Held>,
    /// Those that answer for it beside this host, if that was asked.
    pub answered_by: Vec<Mac>,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Put it on and announce it.
    Add,
    /// It is here: announce it once more.
    Announce,
    /// Take it off where it is.
    Remove(Held),
    /// It is as wanted, or was only to be looked at.
    Nothing,
    /// Somebody else has it.
    Refuse(Mac),
}

/// First match.
pub fn decide(wish: Wish, seen: &Seen) -> Plan {
    match (wish.action, &seen.here, seen.answered_by.first()) {
        (Action::Status, _, _) | (Action::Del, None, _) => Plan::Nothing,
        (Action::Del, Some(held), _) => Plan::Remove(held.clone()),
        (Action::Add, _, Some(mac)) if !wish.force => Plan::Refuse(*mac),
        (Action::Add, Some(_), _) => Plan::Announce,
        (Action::Add, None, _) => Plan::Add,
    }
}

/// What a process may do that has more rights than its caller: change an address of `configured` (with the
/// keys that name them), as configured, and ask who has one of these or of `neighbors` (with the devices
/// that lead there).
pub fn permitted(
    action: Action,
    wanted: &Vip,
    configured: &[(&str, Vip)],
    neighbors: &[(Ipv4Addr, String)],
) -> Result<(), String> {
    let place = |vip: &Vip| (vip.cidr.addr, vip.dev.clone());
    let asked = place(wanted);
    let is_asked = |(_, vip): &(&str, Vip)| place(vip) == asked;
    let looks =
        action == Action::Status && (neighbors.contains(&asked) || configured.iter().any(is_asked));
    if looks || configured.iter().any(|(_, vip)| vip == wanted) {
        return Ok(());
    }
    let named = configured.iter();
    let named: Vec<String> = named
        .map(|(key, vip)| format!("{key} {vip} on DEV {}", vip.dev))
        .collect();
    let allowed = match named.is_empty() {
        true => "none is configured".to_owned(),
        false => format!("only {} is allowed", named.join(" or ")),
    };
    Err(format!(
        "{} {wanted} on {} with file capabilities: {allowed}; run it as root",
        action.word(),
        wanted.dev
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([0x0e, 0xef, 0x14, 0xa9, 0xbe, 0x7d]);

    /// Not as configured: what is there counts.
    fn held() -> Option<Held> {
        Some(Held {
            dev: "eth1".to_owned(),
            prefix: 32,
            label: None,
        })
    }

    fn plan(action: Action, force: bool, here: Option<Held>, answered_by: Option<Mac>) -> Plan {
        let answered_by = answered_by.into_iter().collect();
        decide(Wish { action, force }, &Seen { here, answered_by })
    }

    #[test]
    fn add() {
        assert_eq!(plan(Action::Add, false, None, None), Plan::Add);
        assert_eq!(plan(Action::Add, false, held(), None), Plan::Announce);
        assert_eq!(plan(Action::Add, false, None, Some(MAC)), Plan::Refuse(MAC));
        // Here and elsewhere: announcing it would only continue the fight.
        assert_eq!(
            plan(Action::Add, false, held(), Some(MAC)),
            Plan::Refuse(MAC)
        );
        assert_eq!(plan(Action::Add, true, None, Some(MAC)), Plan::Add);
        assert_eq!(plan(Action::Add, true, held(), None), Plan::Announce);
    }

    #[test]
    fn del_goes_by_what_this_host_has() {
        assert_eq!(
            Some(plan(Action::Del, false, held(), Some(MAC))),
            held().map(Plan::Remove)
        );
        assert_eq!(plan(Action::Del, false, None, Some(MAC)), Plan::Nothing);
    }

    #[test]
    fn status_changes_nothing() {
        for here in [None, held()] {
            for answered_by in [None, Some(MAC)] {
                assert_eq!(
                    plan(Action::Status, false, here.clone(), answered_by),
                    Plan::Nothing
                );
            }
        }
    }

    #[test]
    fn only_the_configured_address_with_lent_rights() {
        let vip = |cidr: &str, dev: &str| Vip {
            cidr: cidr.parse().unwrap(),
            dev: dev.to_owned(),
        };
        let both = [
            ("KB_VIP", vip("192.168.1.200/24", "enp0s3")),
            ("KB_POOL_VIP", vip("192.168.1.201/24", "enp0s3")),
        ];
        let neighbors = [(Ipv4Addr::new(192, 168, 1, 101), "enp0s3".to_owned())];
        for action in [Action::Add, Action::Del] {
            for (_, configured) in &both {
                assert!(permitted(action, configured, &both, &[]).is_ok());
                assert!(permitted(action, configured, &[], &neighbors).is_err());
            }
            for other in [
                vip("192.168.1.20/24", "enp0s3"),
                vip("192.168.1.200/25", "enp0s3"),
                vip("192.168.1.200/24", "eth1"),
                vip("192.168.1.201/1", "enp0s3"),
            ] {
                let why = permitted(action, &other, &both, &neighbors).unwrap_err();
                assert!(
                    why.contains(
                        "only KB_VIP 192.168.1.200/24 on DEV enp0s3 or KB_POOL_VIP \
                         192.168.1.201/24 on DEV enp0s3 is allowed"
                    ),
                    "{why}"
                );
            }
            let other = vip("192.168.1.20/24", "enp0s3");
            let why = permitted(action, &other, &[], &neighbors).unwrap_err();
            assert!(why.contains("none is configured"), "{why}");
        }
        let looks = |vip: &Vip| permitted(Action::Status, vip, &both, &neighbors);
        assert!(looks(&vip("192.168.1.200/32", "enp0s3")).is_ok());
        assert!(looks(&vip("192.168.1.101/32", "enp0s3")).is_ok());
        assert!(
            looks(&vip("192.168.1.1/32", "enp0s3")).is_err(),
            "no host of the cluster"
        );
        assert!(
            looks(&vip("192.168.1.101/32", "eth1")).is_err(),
            "another network"
        );
        assert!(looks(&vip("192.168.1.200/32", "eth1")).is_err());
        assert!(looks(&vip("192.168.1.201/32", "enp0s3")).is_ok());
    }
}
