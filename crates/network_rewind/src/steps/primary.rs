//! What the primary of this host needs each minute: its VIP, and standbys that its commits wait for.

use crate::budget;
use crate::look::Eyes;
use crate::steps::{own, rejoin};
use crate::work::{Break, Work};
use anyhow::{Context, Result, bail};
use failover_core::arp::{announce, who_has};
use failover_core::deadline::Deadline;
use failover_core::pool::{Change, PoolError, PoolNode, PoolNodes};
use failover_core::procedure::Done;
use failover_core::process::Cmd;
use failover_core::replication::{Standby, confirms, is_in_recovery, standbys};
use failover_core::sql::Session;
use failover_core::ssh::Ssh;
use failover_core::standby::StandbyFiles;
use failover_core::synchronous::{self, Place, number, to_async, to_sync, waited_for_after_looks};
use failover_core::vip::{self, Did};
use std::net::IpAddr;

/// Puts the database VIP on, where nobody else has it.
pub fn vip_on(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    let (here, journal) = (work.here, work.journal);
    let Some(vip) = &here.vip else {
        return Ok(Done::Skipped("there is no database VIP".to_owned()));
    };
    if vip::find(vip.cidr.addr)?.is_some() {
        return Ok(Done::AlreadySo(format!("{vip} is here")));
    }
    let window = work.config().probe_timeout;
    let holders = who_has(&here.programs, vip.cidr.addr, &vip.dev, window)?;
    if let Some(mac) = holders.first() {
        bail!(Break::NeedsPerson(format!(
            "this is the primary, and {mac} answers for the database VIP {vip}: take it off there"
        )));
    }
    see_that_it_is_primary(work)?;
    journal.stamped(format!("add VIP on {}", work.me()));
    let did = here.vip_on(vip, deadline)?;
    // A failover that has begun meanwhile took it off before it stops the database.
    if let Err(error) = see_that_it_is_primary(work) {
        here.vip_off(vip, Deadline::after(budget::VIP))?;
        return Err(error.context(format!("{vip} is taken off again")));
    }
    journal.line(format!(
        "ADD VIP NOW AT {} ON {}",
        failover_core::clock::stamp(),
        vip.dev
    ));
    match announce(&here.programs, vip, deadline) {
        Ok(lines) => lines.iter().for_each(|line| journal.line(line)),
        Err(error) => journal.stamped(format!("warning: {error}")),
    }
    Ok(match did {
        Did::Added => Done::Did(format!("{vip} on {}", vip.dev)),
        _ => Done::AlreadySo(format!("{vip} was here")),
    })
}

fn see_that_it_is_primary(work: &Work<'_>) -> Result<()> {
    let limit = Deadline::after(budget::ANSWER);
    let session = Session::open(&work.here.sql_target(), limit)?;
    match is_in_recovery(&session, work.names(), limit)? {
        true => bail!(Break::Changed("this node is in recovery".to_owned())),
        false => Ok(()),
    }
}

/// What a failover left that stopped this primary and promoted nobody: with it the database would start as
/// a standby.
pub fn unfence(work: &mut Work<'_>, _: Deadline) -> Result<Done> {
    if let Some(mark) = work.load()?.fenced
        && mark.is_young(failover_core::clock::seconds())
    {
        bail!(Break::Changed(
            "a failover has stopped this node's primary".to_owned()
        ));
    }
    let data = work.data();
    let files = work.standby_files(data);
    if !files.are_of_a_fence() {
        return Ok(Done::AlreadySo("there is no mark of a fence".to_owned()));
    }
    files.unfence()?;
    Ok(Done::Did("the settings of the fence are gone".to_owned()))
}

/// Between the look and the start another host may have begun to promote its standby. Two that do both
/// at once see each other's lock.
pub fn see_no_other(work: &mut Work<'_>, _: Deadline) -> Result<Done> {
    let eyes = Eyes {
        here: work.here,
        instance: work.instance,
        run: work.journal.run(),
    };
    let others: Vec<IpAddr> = work.config().other_hosts().collect();
    for (address, answer) in eyes.ask_hosts(&others) {
        let status = match answer {
            Ok(status) => status,
            Err(why) => bail!(Break::Changed(format!("{address} does not answer ({why})"))),
        };
        let silent = status.running && status.in_recovery.is_none();
        if status.in_recovery == Some(false) || status.in_work || silent {
            bail!(Break::Changed(format!(
                "{address} is a primary, or becomes one"
            )));
        }
    }
    Ok(Done::Did("none".to_owned()))
}

/// A failover that had fenced this host before the start may have promoted its standby during it.
pub fn confirm(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    see_no_other(work, deadline).or_else(|error| {
        work.instance.stop(Deadline::after(budget::SELF_FENCE))?;
        Err(error.context("the database is stopped again"))
    })
}

/// Takes the database VIP off.
pub fn vip_off(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    let Some(vip) = &work.here.vip else {
        return Ok(Done::Skipped("there is no database VIP".to_owned()));
    };
    work.journal
        .stamped(format!("now will del vip [{}]", vip.cidr));
    Ok(match work.here.vip_off(vip, deadline)? {
        Did::Removed => {
            work.journal.line(format!("del {vip} from {}", vip.dev));
            Done::Did(format!("{vip} taken off"))
        }
        _ => {
            let cidr = vip.cidr;
            work.journal
                .line(format!("but no {cidr} on my DEV, nothing to do with del"));
            Done::AlreadySo(format!("{vip} is not here"))
        }
    })
}

/// Has the right primary say anew that the database VIP is there, after it was on both: clients that
/// have learned this host's hardware address would write to nobody until they forget it, which takes
/// a minute.
pub fn announce_there(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    if work.here.vip.is_none() || !work.me.vip_here {
        return Ok(Done::Skipped("it was not here".to_owned()));
    }
    let host = work.primary;
    let command = Cmd::new(work.config().kb_path.join("vip_ctl")).arg("add");
    let out = Ssh::connect(&work.here.login(host), deadline)?.run(&command, deadline)?;
    if out.code != 0 {
        bail!("vip_ctl add on {host}: {}", out.last_line());
    }
    Ok(Done::Did(format!("{host}: {}", out.stdout.trim())))
}

/// Commits wait for a standby that has caught up, and for no more of them than stream.
pub fn sync(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    let (config, names, journal) = (work.config(), work.names(), work.journal);
    let instance = work.instance;
    let files = StandbyFiles::of(instance, config);
    let session = work.session(deadline.at_most(budget::ANSWER))?;
    let setting = synchronous::show(session, deadline)?;
    let all = standbys(session, names, deadline)?;
    let place = Place {
        session,
        names,
        files: Some((instance, &files)),
        new: false,
        journal,
    };
    let waited = all.iter().filter(|it| it.is_waited_for()).count();
    if waited > 0 && waited >= number(&setting) {
        if let Some(done) = synchronous::raise(place, deadline)? {
            return Ok(done);
        }
        if config.sync_flag {
            synchronous::remember(place, &setting, deadline);
        }
        return Ok(Done::AlreadySo(format!("commits wait for '{setting}'")));
    }
    let limit = config.data_size_diff << 20;
    let caught_up = |standby: &&Standby| standby.can_be_waited_for(limit, &config.all_node_name);
    let becomes_sync = config.sync_flag && waited == 0;
    let mut candidates = all.iter().filter(|it| becomes_sync && caught_up(it));
    // Commits that wait for one which is gone wait until the primary notices.
    let confirms = |it: &&Standby| confirms(session, names, &it.name, deadline).unwrap_or(false);
    if let Some(standby) = candidates.find(confirms) {
        journal.stamped(format!("{} has caught up, async to sync", standby.name));
        return to_sync(place, &config.all_node_name, deadline);
    }
    if setting.is_empty() {
        return Ok(Done::AlreadySo("commits wait for nobody".to_owned()));
    }
    let (looks, needed) = (config.health_check_max_retries, number(&setting));
    let found = waited_for_after_looks(session, names, None, needed, looks, deadline)?;
    if found.len() >= needed {
        return Ok(Done::AlreadySo(format!(
            "standby {} streams",
            found.join(", ")
        )));
    }
    if found.is_empty() {
        journal.stamped("sync to async");
    }
    to_async(place, config.sync_degrade, None, deadline)
}

/// A recovery that was under way when this node was promoted, and why it was stopped once, are over.
pub fn forget(work: &mut Work<'_>, _: Deadline) -> Result<Done> {
    let state = work.load()?;
    // A failover that is at work just now has stopped this primary, or is about to.
    let now = failover_core::clock::seconds();
    if state.fenced.as_ref().is_some_and(|mark| mark.is_young(now)) {
        return Ok(Done::Skipped(
            "a failover has left a mark just now".to_owned(),
        ));
    }
    let stopped = state.self_fenced.is_some() || state.fenced.is_some();
    let data = work.data();
    work.standby_files(data).unfence()?;
    if state.recovery.is_none() && !stopped {
        return Ok(Done::AlreadySo("there is nothing to forget".to_owned()));
    }
    own::forget(work)?;
    work.update(|state| {
        state.recovery = None;
        state.fenced = None;
        state.self_fenced = None;
    })?;
    Ok(Done::Did("forgotten".to_owned()))
}

/// Tells the pool, where there is one. One that has no node up answers nothing but PCP. During a failover
/// it lets its clients wait, or turns them away: after that another host may be the primary, and a pool
/// that gets back an old one which lives takes whichever it finds first.
pub fn attach(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    let (nodes, error) = match work.pool.nodes_by_any_way(deadline.at_most(budget::POOL)) {
        Ok((nodes, error)) => (nodes, error),
        Err(error @ (PoolError::Sql(_) | PoolError::NoNodes(_))) => {
            (PoolNodes::default(), Some(error))
        }
        Err(error) => return Err(error.into()),
    };
    if let Some(error) = error
        && (nodes.nodes.is_empty() || nodes.nodes.iter().any(PoolNode::is_up))
    {
        return Ok(Done::Skipped(format!("no pool answers: {error}")));
    }
    let node = nodes.by_address(work.me(), work.config());
    if let Some(node) = node
        && nodes.lacks(node) == Some(Change::MakePrimary)
    {
        return tell(work, node, deadline);
    }
    if node.is_some_and(|node| !node.is_up()) {
        if let Some(other) = nodes.primary() {
            bail!(Break::Changed(format!(
                "the pool has {other} as its primary"
            )));
        }
        see_no_other(work, deadline)?;
    }
    rejoin::attach_as(work, &nodes, deadline)
}

/// The pool has given up looking for its primary, and `node` is it.
fn tell(work: &Work<'_>, node: &PoolNode, deadline: Deadline) -> Result<Done> {
    let journal = work.journal;
    see_that_it_is_primary(work)?;
    journal.stamped(format!(
        "the pool has stopped looking for its primary: telling it that {node} is the primary"
    ));
    let after = work
        .pool
        .change(Change::MakePrimary, node.id, journal, deadline)
        .with_context(|| {
            format!(
                "the pool does not show this node as its primary: attach_node -n {} tells it again",
                node.id
            )
        })?;
    journal.lines(after.table.to_string());
    Ok(Done::Did(format!("the pool shows {node} as its primary")))
}
