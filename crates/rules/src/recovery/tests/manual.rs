//! The manual's table of decisions (docs/recovery.md) is this one: a view for each of its rows, in its
//! order, what is decided, and with which exit.

use super::*;

const MANUAL: &str = include_str!("../../../../../docs/recovery.md");
const HEADING: &str = "| seen | done | exit |";

/// How a row's first cell begins, what it describes, and what is done.
type Row = (&'static str, fn() -> View, Decision);

/// How a run ends, as the tool has it.
fn exit(decision: &Decision) -> &'static str {
    match decision {
        Decision::Look(_) => "a look",
        Decision::Do(verdict) => match verdict.action {
            Action::NeedsPerson => "1",
            Action::Refuse | Action::SelfFence => "66",
            _ => "0",
        },
    }
}

/// The first and the last cell of each row of the manual.
fn manual() -> Vec<(String, String)> {
    let rows = MANUAL.lines().skip_while(|line| *line != HEADING).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{row}");
        (cells[0].to_owned(), cells[2].to_owned())
    })
    .collect()
}

#[test]
fn the_manuals_table_is_this_one() {
    let rows = [
        network(),
        unfinished_rows(),
        pools(),
        others(),
        others_without_a_stream(),
        nobody_named(),
        nobody_named_and_down(),
    ]
    .concat();
    let manual = manual();
    for ((seen, view, expected), (cell, exits)) in rows.iter().zip(&manual) {
        assert!(
            cell.starts_with(seen),
            "the manual has {cell:?} where {seen:?} is"
        );
        let decision = short(decide(&view()));
        assert_eq!(decision, *expected, "{seen}");
        let exits: Vec<&str> = exits.split(", ").collect();
        assert!(exits.contains(&exit(&decision)), "{seen}: {exits:?}");
    }
    assert_eq!(rows.len(), manual.len());
}

fn network() -> Vec<Row> {
    vec![
        (
            "paused",
            || {
                changed(primary(), |v| {
                    v.paused = Some(Pause {
                        since: "now".to_owned(),
                        why: String::new(),
                    });
                })
            },
            nothing(),
        ),
        (
            "no trust IP answers; this is a primary",
            || no_network(Some(0)),
            does(Action::SelfFence),
        ),
        (
            "no trust IP answers, anything else",
            || no_network(Some(1)),
            refuses(),
        ),
        (
            "a primary; no pool answers, or only one on this very host",
            || {
                changed(primary(), |v| {
                    v.pool.own = true;
                    v.seen = seen(0, 3);
                })
            },
            does(Action::SelfFence),
        ),
    ]
}

fn unfinished_rows() -> Vec<Row> {
    vec![
        (
            "a rewind or a swap of this node is unfinished, and its database runs",
            || changed(wrong_primary(), |v| v.left = left(Stage::Rewinding)),
            person(),
        ),
        (
            "a rewind or a swap of this node is unfinished",
            || changed(old_primary(), |v| v.left = left(Stage::Rewinding)),
            recovers(),
        ),
        (
            "a recovery is unfinished after its rewind",
            || changed(stopped_standby(), |v| v.left = left(Stage::Following)),
            recovers(),
        ),
        (
            "data directory missing or empty",
            || {
                changed(old_primary(), |v| {
                    v.has_data = false;
                    v.policy.may_copy = true;
                })
            },
            recovers(),
        ),
    ]
}

/// The pool names this node, or another while this one takes writes.
fn pools() -> Vec<Row> {
    vec![
        (
            "the pool's primary is this node; it runs, not in recovery; no standby streams",
            || {
                changed(no_pool(), |v| {
                    v.pool = primary().pool;
                    v.alone = true;
                    *other(v) = status(Server::Primary, "in production", 7);
                    other(v).vip_here = true;
                    let mut rival = the_primary(&mut standby()).clone();
                    rival.history =
                        History::parse(7, "4\t0/5000000\n5\t0/6000000\n6\t0/7000000\n").ok();
                    v.rival = Some((THIRD, Ok(rival)));
                })
            },
            does(Action::StopWrongPrimary {
                primary: THIRD,
                recover: false,
            }),
        ),
        (
            "the pool's primary is this node; it runs, not in recovery",
            primary,
            does(Action::KeepPrimary),
        ),
        (
            "the pool's primary is this node; it is in recovery",
            || {
                changed(no_pool(), |v| {
                    v.me = standby().me;
                    v.pool = primary().pool;
                    *other(v) = status(Server::Primary, "in production", 6);
                })
            },
            does(Action::Detach),
        ),
        (
            "the pool's primary is this node; it is down",
            || changed(old_primary(), |v| v.pool = primary().pool),
            refuses(),
        ),
        (
            "the pool's primary is another one, which answers, is not in recovery and holds the VIP",
            wrong_primary,
            stops(false),
        ),
        (
            "the same, but both hold the VIP",
            || {
                changed(wrong_primary(), |v| {
                    v.me.vip_here = true;
                    v.history = History::parse(5, "4\t0/5000000\n").ok();
                    v.pool.me_up = Some(false);
                })
            },
            stops(false),
        ),
        (
            "the pool's primary is another one; this node is a primary, and not all",
            || changed(wrong_primary(), |v| v.primary = silent()),
            person(),
        ),
    ]
}

/// The pool names another, and this one takes no writes.
fn others() -> Vec<Row> {
    vec![
        (
            "the pool's primary is another one; this node is down, and is a base backup",
            || changed(old_primary(), |v| v.copy = Some(BaseBackup::Made)),
            starts(),
        ),
        (
            "the pool's primary is another one; this node is down, and was a primary beside it",
            undecided,
            person(),
        ),
        (
            "the pool's primary is another one; this node is down and was a primary",
            || changed(replaced_primary(), |v| v.policy.auto_recovery = true),
            recovers(),
        ),
        (
            "... this node streams from it; the pool has it up",
            standby,
            nothing(),
        ),
        (
            "... the same; `SYNC_FLAG=1`, commits wait for nobody, and this node streams under a name",
            || {
                changed(standby(), |v| {
                    rename(v, "15/main");
                    the_primary(v).standbys[0].sync_state = "async".to_owned();
                })
            },
            person(),
        ),
        (
            "... the same; the pool has it down",
            || changed(standby(), |v| v.pool.me_up = Some(false)),
            rejoins(true),
        ),
        (
            "... the same; another pool than the one that was asked",
            || changed(standby(), |v| v.down_at = Some(vec![THIRD])),
            rejoins(true),
        ),
        (
            "... this node is a standby whose settings name another host",
            || {
                changed(standby(), |v| {
                    the_primary(v).standbys.clear();
                    v.follows = Some(THIRD.to_string());
                })
            },
            does(Action::Follow { primary: PRIMARY }),
        ),
        (
            "... this node's timeline was promoted from that primary's",
            || {
                changed(standby(), |v| {
                    the_primary(v).history = History::parse(5, "4\t0/5000000\n").ok();
                    the_primary(v).standbys.clear();
                    v.follows = Some(THIRD.to_string());
                })
            },
            person(),
        ),
    ]
}

/// The same, and it does not stream.
fn others_without_a_stream() -> Vec<Row> {
    vec![
        (
            "... this node would join that primary, by a start",
            || {
                changed(standby(), |v| {
                    v.me = status(Server::Down, "shut down in recovery", 6);
                    let newer = Status {
                        vip_here: true,
                        ..status(Server::Primary, "in production", 7)
                    };
                    v.others = Some(vec![(THIRD, Ok(newer))]);
                })
            },
            person(),
        ),
        (
            "... a standby, running or down, that a failover under way holds",
            || {
                changed(standby(), |v| {
                    the_primary(v).standbys.clear();
                    v.held = Some(0);
                })
            },
            refuses(),
        ),
        (
            "... a standby that does not stream; its history is a part",
            || changed(standby(), |v| the_primary(v).standbys.clear()),
            waits(),
        ),
        (
            "... the same, but the primary no longer has the WAL",
            || {
                changed(standby(), |v| {
                    the_primary(v).standbys.clear();
                    the_primary(v).wal = vec!["0000000600000000000000FF".to_owned()];
                    v.policy.may_copy = true;
                })
            },
            recovers(),
        ),
        (
            "... a standby whose history has left the primary's",
            || {
                changed(standby(), |v| {
                    broken_off(v);
                    v.me.received = Some(Lsn(FORK + 1));
                })
            },
            recovers(),
        ),
        (
            "... down, and was a standby whose history has left the primary's",
            || {
                changed(stopped_standby(), |v| {
                    broken_off(v);
                    v.me.control = Some(Lsn(FORK + 1));
                })
            },
            recovers(),
        ),
        (
            "... down, and was a standby, anything else",
            stopped_standby,
            starts(),
        ),
    ]
}

/// No pool, or none names a primary.
fn nobody_named() -> Vec<Row> {
    vec![
        (
            "the pool answers and names no primary; it has this node up, which is a primary",
            || {
                changed(no_pool(), |v| {
                    v.pool.says = PoolSays::Nobody;
                    v.pool.me_up = Some(true);
                })
            },
            shows(),
        ),
        (
            "no pool, or no primary; this node and another host are primaries",
            || {
                changed(no_pool(), |v| {
                    *other(v) = status(Server::Primary, "in production", 6);
                    v.rival = Some((THIRD, Ok(the_primary(&mut standby()).clone())));
                })
            },
            person(),
        ),
        (
            "no pool, or no primary; this node is down, and was a standby",
            || changed(no_pool(), |v| v.me = stopped_standby().me),
            starts_alone(),
        ),
        (
            "the pool answers and names no primary; this node is a standby",
            || {
                changed(all_down(), |v| {
                    v.me = standby().me;
                    v.me.received = Some(Lsn(FORK + 8));
                    v.me.replayed = Some(Lsn(FORK + 8));
                    v.pool.me_up = Some(true);
                    *other(v) = status(Server::Down, "in production", 6);
                })
            },
            does(Action::FailOver { old: THIRD }),
        ),
        (
            "no pool, or no primary; this node is a primary, every other host answers",
            no_pool,
            takes_over(false),
        ),
    ]
}

/// The same, and a primary that was stopped.
fn nobody_named_and_down() -> Vec<Row> {
    vec![
        (
            "no pool, or no primary; this node stopped itself",
            || {
                changed(all_down(), |v| {
                    v.policy.max_available = false;
                    v.self_fenced = true;
                })
            },
            takes_over(true),
        ),
        (
            "no pool, or no primary; a failover stopped this primary, and may be under way",
            || fenced(true),
            refuses(),
        ),
        (
            "no pool, or no primary; a failover stopped this primary and promoted nobody",
            || fenced(false),
            takes_over(true),
        ),
        (
            "no pool, or no primary; all hosts answer, this one was the last primary",
            all_down,
            takes_over(true),
        ),
        (
            "anything else",
            || {
                changed(standby(), |v| {
                    v.pool.says = PoolSays::Stranger("x".to_owned())
                })
            },
            refuses(),
        ),
    ]
}

/// Everything is down, and a failover has stopped this one.
fn fenced(young: bool) -> View {
    changed(all_down(), |v| {
        v.policy.max_available = false;
        v.fenced = Some(Fence {
            since: "now".to_owned(),
            run: "run".to_owned(),
            young,
            started_by: None,
        });
    })
}
