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
    /// Whether it matters that `node` streams.
    pub fn asks_for_replication(self, node: &PoolNode) -> bool {
        self.change == Some(Change::Attach) && !self.force && !node.is_up()
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
        (Change::Detach, _) | (Change::Attach, Replication::NotAsked | Replication::IsPrimary) => {
            Plan::Do(change)
        }
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
        assert!(wish(Some(Change::Attach), false).asks_for_replication(&down));
        assert!(!wish(Some(Change::Attach), false).asks_for_replication(&up));
        assert!(!wish(Some(Change::Attach), true).asks_for_replication(&down));
        assert!(!wish(Some(Change::Detach), false).asks_for_replication(&down));
        assert!(!wish(None, false).asks_for_replication(&down));
        assert_eq!(
            decide(wish(None, false), &down, &Replication::NotAsked, LIMIT),
            Plan::Nothing
        );
    }
}
