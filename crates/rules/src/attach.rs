//! What to do, from what was asked and what was seen. No I/O.

use crate::facts::pool::{Change, PoolNode};

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What to change; `None`: only look.
    pub change: Option<Change>,
    /// Whatever speaks against it.
    pub force: bool,
}

impl Wish {
    /// Whether it matters that `node` streams; or that it is a primary, where the pool `names` none.
    pub fn asks_for_replication(self, node: &PoolNode, names: bool) -> bool {
        let matters = if node.is_up() { !names } else { !self.force };
        self.change == Some(Change::Attach) && matters
    }
}

/// How a node stands to the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// It streams, so many bytes behind.
    Streams(u64),
    /// It does not; what was seen instead.
    Not(String),
    /// It is a primary itself, and the pool has no other.
    IsPrimary,
    /// It could not be found out.
    Unknown(String),
    /// It does not matter.
    NotAsked,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It was only to be looked at.
    Nothing,
    /// It is as wanted.
    AlreadySo,
    /// Have the pool change it.
    Do(Change),
    /// A person has to look first; why.
    Refuse(String),
}

/// First match. `limit`: bytes that a node may be behind.
pub fn decide(wish: Wish, node: &PoolNode, replication: &Replication, limit: u64) -> Plan {
    let Some(change) = wish.change else {
        return Plan::Nothing;
    };
    // It is up, so that to attach it would change nothing: the pool looks no more.
    if change == Change::Attach && node.is_up() && *replication == Replication::IsPrimary {
        return Plan::Do(Change::MakePrimary);
    }
    if change.is_done(node) {
        return Plan::AlreadySo;
    }
    if wish.force {
        return Plan::Do(change);
    }
    match (change, replication) {
        (Change::Detach, _) if node.is_primary() => Plan::Refuse(
            "it is the primary, and the pool would fail over to another node".to_owned(),
        ),
        (Change::Detach | Change::MakePrimary, _)
        | (Change::Attach, Replication::NotAsked | Replication::IsPrimary) => Plan::Do(change),
        (Change::Attach, Replication::Streams(behind)) if *behind <= limit => Plan::Do(change),
        (Change::Attach, Replication::Streams(behind)) => Plan::Refuse(format!(
            "it is {} MB behind the primary, and DATA_SIZE_DIFF is {} MB: wait until it has caught \
             up",
            behind >> 20,
            limit >> 20
        )),
        (Change::Attach, Replication::Not(seen)) => Plan::Refuse(format!(
            "it does not stream from the primary: {seen}; network_rewind makes it"
        )),
        (Change::Attach, Replication::Unknown(why)) => Plan::Refuse(format!(
            "whether it streams from the primary is not known: {why}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 16 << 20;

    fn node(status: &str, role: &str) -> PoolNode {
        PoolNode {
            id: 0,
            host: "192.168.1.101".to_owned(),
            status: status.to_owned(),
            role: role.to_owned(),
            replication_delay: None,
        }
    }

    fn plan(change: Change, force: bool, node: &PoolNode, replication: &Replication) -> Plan {
        let wish = Wish {
            change: Some(change),
            force,
        };
        decide(wish, node, replication, LIMIT)
    }

    fn refusal(plan: Plan) -> String {
        match plan {
            Plan::Refuse(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn attach_goes_by_replication_unless_forced() {
        let down = node("down", "standby");
        let attach = |replication| plan(Change::Attach, false, &down, &replication);
        let go = Plan::Do(Change::Attach);
        assert_eq!(attach(Replication::Streams(0)), go);
        assert_eq!(attach(Replication::Streams(LIMIT)), go);
        assert_eq!(attach(Replication::IsPrimary), go);
        for (replication, why) in [
            (Replication::Streams(LIMIT + (1 << 20)), "17 MB behind"),
            (
                Replication::Not("no WAL sender".to_owned()),
                "no WAL sender",
            ),
            (
                Replication::Unknown("no answer".to_owned()),
                "not known: no answer",
            ),
        ] {
            assert!(refusal(attach(replication.clone())).contains(why));
            assert_eq!(plan(Change::Attach, true, &down, &replication), go);
        }
    }

    #[test]
    fn what_is_so_already_stays_whatever_else_was_seen() {
        let lost = Replication::Not(String::new());
        for status in ["up", "waiting"] {
            let up = node(status, "standby");
            assert_eq!(plan(Change::Attach, false, &up, &lost), Plan::AlreadySo);
            let go = Plan::Do(Change::Detach);
            assert_eq!(plan(Change::Detach, false, &up, &lost), go);
        }
        for status in ["down", "quarantine"] {
            let down = node(status, "standby");
            assert_eq!(plan(Change::Detach, false, &down, &lost), Plan::AlreadySo);
        }
    }

    #[test]
    fn a_primary_that_the_pool_has_up_and_does_not_name_is_made_known() {
        for status in ["up", "waiting"] {
            let up = node(status, "standby");
            for force in [false, true] {
                let attach = |seen| plan(Change::Attach, force, &up, &seen);
                assert_eq!(
                    attach(Replication::IsPrimary),
                    Plan::Do(Change::MakePrimary)
                );
                let standby = Replication::Not("the pool has no primary".to_owned());
                assert_eq!(attach(standby), Plan::AlreadySo);
                assert_eq!(attach(Replication::Unknown(String::new())), Plan::AlreadySo);
            }
        }
    }

    #[test]
    fn the_primary_is_detached_only_by_force() {
        let primary = node("up", "primary");
        let not_asked = &Replication::NotAsked;
        let why = refusal(plan(Change::Detach, false, &primary, not_asked));
        assert!(why.contains("fail over"), "{why}");
        assert_eq!(
            plan(Change::Detach, true, &primary, not_asked),
            Plan::Do(Change::Detach)
        );
    }

    #[test]
    fn the_primary_is_asked_only_where_it_matters() {
        let wish = |change, force| Wish { change, force };
        let (up, down) = (node("up", "standby"), node("quarantine", "standby"));
        for (change, force, named, unnamed) in [
            (Some(Change::Attach), false, [false, true], [true, true]),
            (Some(Change::Attach), true, [false, false], [true, false]),
            (Some(Change::Detach), false, [false, false], [false, false]),
            (None, false, [false, false], [false, false]),
        ] {
            let asks = |names| {
                [&up, &down].map(|node| wish(change, force).asks_for_replication(node, names))
            };
            assert_eq!([asks(true), asks(false)], [named, unnamed], "{change:?}");
        }
        assert_eq!(
            decide(wish(None, false), &down, &Replication::NotAsked, LIMIT),
            Plan::Nothing
        );
    }
}
