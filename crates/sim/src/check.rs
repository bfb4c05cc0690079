//! What must hold: at every step, and in the end.

use crate::pool::Table;
use crate::wal::At;
use crate::world::{Proc, Role, World, name};
use failover_rules::facts::policy::SyncDegrade;
use failover_rules::recovery::Action;

/// Two hosts that both acknowledged within so long (ms) do it at the same time.
const SAME_TIME: u64 = 1_000;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wrong {
    /// Two hosts acknowledged commits at the same time, on histories that have parted.
    TwoWriters,
    /// A standby whose history has left the primary's was pointed to it.
    PointedFirst,
    /// A primary that runs was stopped and rewound, and nobody had consented.
    NoConsent,
    /// A failover from a primary that lived has ended without one.
    NoPrimary,
    /// A commit that was acknowledged synchronously is gone.
    LostCommits,
    /// In the end two hosts take writes, and one of them does not say what to do.
    TwoPrimaries,
    /// In the end the cluster is not whole, and a host that is not well does not say what to do.
    NobodyTold,
}

/// Whether two hosts that acknowledge can be held against the tools at this moment: see the crate's
/// documentation.
fn is_ours(world: &World, older: usize) -> bool {
    let never = world.setup.sync && world.setup.degrade == SyncDegrade::Never;
    (never && world.db(older).sync_names) || world.hosts[older].state.fenced_truly
}

/// Asked after each step of the physics.
pub fn always(world: &mut World) {
    if world.wrong.is_some() {
        return;
    }
    let now = world.now;
    for one in world.databases() {
        let Some((at, row)) = world.db(one).acknowledged.filter(|it| it.0 == now) else {
            continue;
        };
        for other in world.databases().filter(|it| *it != one) {
            let Some((then, theirs)) = world.db(other).acknowledged else {
                continue;
            };
            let both = at - then < SAME_TIME
                && world.db(other).role == Role::Primary
                && !world.wal.contains(row, theirs)
                && !world.wal.contains(theirs, row)
                && ![row, theirs]
                    .iter()
                    .any(|it| world.wal.was_mistake(it.branch));
            let older = match world.wal.timeline(row.branch) < world.wal.timeline(theirs.branch) {
                true => one,
                false => other,
            };
            if both && is_ours(world, older) {
                let text = format!("{} and {} acknowledge", name(one), name(other));
                world.tell(|_| format!("WRONG: {text}"));
                world.wrong = Some((Wrong::TwoWriters, text));
            }
        }
    }
}

/// Asked when a recovery points a standby to a primary, and before, when it has decided to by what it saw:
/// that the standby is at `lsn`.
pub fn pointed(world: &mut World, host: usize, lsn: u64, primary: usize) {
    let theirs = world.db(primary).at;
    let at = At {
        lsn,
        ..world.db(host).at
    };
    let left = !world.wal.contains(theirs, at) && world.db(host).role == Role::Standby;
    let mistake = world.wal.was_mistake(theirs.branch);
    if left && !mistake && world.wrong.is_none() {
        let text = format!("{} is pointed to {}", name(host), name(primary));
        world.tell(|_| format!("WRONG: {text}"));
        world.wrong = Some((Wrong::PointedFirst, text));
    }
}

/// Asked when a recovery stops a server.
pub fn stopped(world: &mut World, host: usize, consent: bool) {
    if world.db(host).role == Role::Primary && !consent && world.wrong.is_none() {
        let text = format!("{} is stopped for a rewind without consent", name(host));
        world.tell(|_| format!("WRONG: {text}"));
        world.wrong = Some((Wrong::NoConsent, text));
    }
}

/// Asked when a failover from a primary that lived ends, and nothing else was wrong meanwhile: whatever the
/// standbys are like, there is a primary.
pub fn has_primary(world: &mut World, old: usize) {
    let other = |it: &Option<Proc>| matches!(it, Some(Proc::Failover(_) | Proc::Promote(_)));
    // Its supervisor starts it again, and the mark is taken back.
    let db = world.db(old);
    let comes_back = db.role == Role::Starting && db.settings.is_none();
    // A standby that a person has promoted is stopped by its own recovery, maybe just now.
    let mistaken = |it: usize| world.wal.was_mistake(world.db(it).at.branch);
    if comes_back
        || world.databases().any(mistaken)
        || !primaries(world).is_empty()
        || world.procs.iter().any(other)
        || world.wrong.is_some()
    {
        return;
    }
    let text = format!("the failover from {} ends without a primary", name(old));
    world.tell(|_| format!("WRONG: {text}"));
    world.wrong = Some((Wrong::NoPrimary, text));
}

/// A failover chose a host without having heard all others, and has named the risk: what only those had
/// is not held against it.
pub fn risk_is_named(world: &mut World, chosen: usize, unheard: &[usize]) {
    let at = world.db(chosen).at;
    for row in acknowledged(world) {
        let only_there = !world.wal.contains(at, row)
            && unheard
                .iter()
                .any(|it| world.wal.contains(world.db(*it).at, row));
        if only_there {
            world.acknowledged[row.branch] = None;
        }
    }
}

/// The last row of each branch that was acknowledged synchronously.
fn acknowledged(world: &World) -> Vec<At> {
    // What a standby acknowledged that somebody promoted by mistake is the person's, too.
    let rows = world.acknowledged.iter().enumerate();
    let rows = rows.filter(|(branch, _)| !world.wal.was_mistake(*branch));
    rows.filter_map(|(branch, lsn)| {
        Some(At {
            branch,
            lsn: (*lsn)?,
        })
    })
    .collect()
}

/// Asked once, in the end.
pub fn in_the_end(world: &mut World) -> Option<(Wrong, String)> {
    if world.wrong.is_some() {
        return world.wrong.clone();
    }
    if let Some(text) = lost(world) {
        world.tell(|_| format!("WRONG: {text}"));
        return Some((Wrong::LostCommits, text));
    }
    let text = untold(world)?;
    world.tell(|_| format!("WRONG: {text}"));
    let what = match primaries(world).len() {
        0 | 1 => Wrong::NobodyTold,
        _ => Wrong::TwoPrimaries,
    };
    Some((what, text))
}

fn primaries(world: &World) -> Vec<usize> {
    let is_primary = |it: &usize| world.db(*it).role == Role::Primary;
    world.databases().filter(is_primary).collect()
}

/// Rows that were acknowledged and are not on the primary of a whole cluster; else, on no host.
fn lost(world: &World) -> Option<String> {
    let holders = match primaries(world)[..] {
        [one] if is_whole(world) => vec![one],
        _ => world.databases().collect(),
    };
    let has = |row: At| {
        holders
            .iter()
            .any(|it| world.wal.contains(world.db(*it).at, row))
    };
    // A person has promoted what the tools had not chosen, and that is the primary now.
    let mistaken = |it: &usize| world.wal.was_mistake(world.db(*it).at.branch);
    let primaries = primaries(world);
    if !primaries.is_empty() && primaries.iter().all(mistaken) {
        return None;
    }
    let row = acknowledged(world).into_iter().find(|row| !has(*row))?;
    Some(format!(
        "acknowledged up to {row:?}, and on none of {holders:?}"
    ))
}

/// The pool that serves clients.
fn table(world: &World) -> Option<Table> {
    crate::pool::Pool::ask(world, 0)
}

/// Whether a host is as it should be.
fn is_well(world: &World, host: usize) -> bool {
    let Some(table) = table(world) else {
        return false;
    };
    let Some(primary) = table.primary.filter(|_| table.up[host]) else {
        return false;
    };
    let vip = world.hosts[host].vip;
    match host == primary {
        true => {
            world.db(host).role == Role::Primary
                && vip == world.setup.has_vip
                && (!world.setup.sync
                    || world.db(host).sync_names
                    || !world.databases().any(|it| world.streams_from(it, host)))
        }
        false => world.db(host).role == Role::Standby && !vip && world.streams_from(host, primary),
    }
}

/// Whether the cluster is whole.
pub fn is_whole(world: &World) -> bool {
    world.databases().all(|it| is_well(world, it))
}

/// Whether what a host's last run said helps a person.
pub fn helps_a_person(world: &World, host: usize) -> bool {
    let said = world.hosts[host].said.as_ref();
    said.is_some_and(|it| it.action == Some(Action::NeedsPerson))
}

fn untold(world: &World) -> Option<String> {
    let not_well = |it: &usize| !is_well(world, *it);
    let silent = |it: &usize| !helps_a_person(world, *it);
    let host = world.databases().filter(not_well).find(silent)?;
    let said = world.hosts[host].said.as_ref();
    Some(format!(
        "{} is not well and says: {}",
        name(host),
        said.map_or("nothing", |it| it.why.as_str())
    ))
}
