//! The rewind: whether it can work, what is kept for the case that it breaks off, and itself.

use crate::budget;
use crate::compare::parts_at;
use crate::look::{LABEL, may_copy, wal_files};
use crate::steps::programs::run_into_log;
use crate::steps::{archive, files, login, own, room};
use crate::work::{Break, Work};
use anyhow::{Context, Error, Result, bail};
use failover_core::conninfo;
use failover_core::deadline::Deadline;
use failover_core::durable;
use failover_core::history::History;
use failover_core::lsn::{Lsn, Timeline, segment_name, segment_number};
use failover_core::procedure::Done;
use failover_core::process::Cmd;
use failover_core::state::{Stage, identity_of};
use failover_rules::facts::run::from_timeline_to;
use failover_rules::facts::status::Status;
use nix::sys::statvfs::statvfs;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

/// Failed rewinds after which the primary is copied, where that is allowed.
const ATTEMPTS: u32 = 2;
/// What a server needs at least to work: some WAL and some temporary files.
pub const ROOM: u64 = 128 << 20;
/// Where the WAL lies in what is kept.
const KEPT_WAL: &str = "wal";
/// And the control file.
pub const KEPT_CONTROL: &str = "control";

/// Whether the data directory still holds one history, that of this node.
pub fn is_before_rewind(work: &Work<'_>) -> Result<bool> {
    Ok(work.stage()? == Stage::Preparing)
}

/// Whether it can work at all: said before anything is touched.
pub fn can(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    let recovery = work.load()?.recovery;
    let stage = recovery.as_ref().map_or(Stage::Preparing, |it| it.stage);
    if stage == Stage::Following {
        return Ok(Done::Skipped("the rewind is done".to_owned()));
    }
    if stage == Stage::Copying {
        work.copies = true;
        return Ok(Done::Skipped("the copy is made".to_owned()));
    }
    let names = work.names();
    for program in [names.ctl, names.server, names.controldata, names.rewind] {
        if let Some(path) = work.instance.missing_program(program) {
            bail!(Break::NeedsPerson(format!(
                "no program {}: correct KB_PATH",
                path.display()
            )));
        }
    }
    if stage == Stage::Preparing {
        login::see(work, deadline)?;
    }
    let failures = recovery.map_or(0, |it| it.failures);
    let obstacle = obstacle(work, stage, deadline)?;
    let may_be_tried = obstacle.is_none();
    let why_copy = match obstacle {
        Some(why) => Some(why),
        None if failures >= ATTEMPTS => Some(format!("{failures} rewinds have failed")),
        None => None,
    };
    let Some(why) = why_copy else {
        let text = match work.fork {
            _ if stage == Stage::Rewinding => "the rewind is begun anew".to_owned(),
            Some((timeline, at)) => {
                format!("this node's history and the primary's part at {at} on timeline {timeline}")
            }
            None => "this node's history and the primary's are the same".to_owned(),
        };
        work.journal.stamped(&text);
        return Ok(Done::Did(text));
    };
    if !may_copy(work.config()) {
        if may_be_tried && stage == Stage::Rewinding {
            // Once more each time: what was in its way may be gone.
            work.journal.stamped(format!(
                "{why}: it is tried once more. If it fails again, {}",
                what_to_do(work)
            ));
            return Ok(Done::Did(why));
        }
        bail!(Break::NeedsPerson(format!(
            "this node cannot be rewound: {why}; {}",
            what_to_do(work)
        )));
    }
    super::copy::can(work, deadline).map_err(|error| match error.downcast::<Break>() {
        Ok(Break::NeedsPerson(what)) => {
            let text = format!("{what}. It is to be copied, since {why}");
            Break::NeedsPerson(text).into()
        }
        Ok(other) => other.into(),
        Err(error) => error,
    })?;
    work.copies = true;
    let text = format!("the primary is copied, since {why}");
    work.journal.stamped(&text);
    Ok(Done::Did(text))
}

/// What a person can do about a node that cannot be rewound.
pub fn what_to_do(work: &Work<'_>) -> String {
    format!(
        "set REWIND_FALLBACK=basebackup, or move {} away and copy the primary with {}",
        work.data().display(),
        work.names().basebackup
    )
}

/// Why a rewind is sure to fail; an error where that is not known.
fn obstacle(work: &mut Work<'_>, stage: Stage, deadline: Deadline) -> Result<Option<String>> {
    let names = work.names();
    work.primary_wal = wal_files(work.session(deadline)?, names, deadline)?;
    if stage == Stage::Rewinding {
        room::look(work, stage, deadline)?;
        // It was looked at when the rewind was begun. Now only half of what is there is its own, and
        // the control file may be torn until it is put back.
        if !work.kept().join(KEPT_CONTROL).exists() {
            return Ok(Some("what a second rewind needs is gone".to_owned()));
        }
        return another_source(work);
    }
    if !work.data().join(names.control_file).exists() {
        return Ok(Some("there is nothing to rewind".to_owned()));
    }
    let control = work.control()?;
    let Some(history) = work.seen.as_ref().and_then(|it| it.history.clone()) else {
        bail!("the timeline history of {} could not be read", work.primary);
    };
    if let Some(why) = own::obstacle(work, deadline)? {
        bail!(Break::NeedsPerson(why));
    }
    if !control.can_be_rewound {
        return Ok(Some(
            "it has neither wal_log_hints nor data checksums".to_owned(),
        ));
    }
    work.checkpoint = Some(control.checkpoint);
    work.redo = Some(control.redo);
    let own = work.own_history(control.timeline)?;
    work.fork = own.fork_with(&history);
    if let Some(why) = same_number(&own, &history) {
        return Ok(Some(why));
    }
    let me = work.me.clone();
    if let Some(at) = parts_behind(work, &me, [&own, &history], deadline)? {
        return Ok(Some(promoted_twice(&own, at)));
    }
    if work.fork.is_none()
        && let Some(oldest) = failover_rules::facts::view::missing_wal(&work.me, &work.primary_wal)
    {
        return Ok(Some(format!(
            "the primary has no WAL before {oldest} any more"
        )));
    }
    if let Some((_, at)) = work.fork {
        let number = at.0.saturating_sub(1) / control.segment_size;
        if let Some(why) = archive::obstacle(work, at, &own, &control, deadline)? {
            return Ok(Some(why));
        }
        let same = |name: &&String| segment_number(name, control.segment_size) == Some(number);
        if !work.primary_wal.iter().any(|name| same(&name)) {
            return Ok(Some(format!(
                "the primary's WAL does not go back to the fork at {at}"
            )));
        }
    }
    enough_space(work, control.segment_size)?;
    room::look(work, stage, deadline)?;
    Ok(None)
}

/// The option with which the rewind finds a configuration that is not in the data directory.
pub fn configuration(work: &Work<'_>) -> Option<String> {
    let (option, from) = work.names().rewind_config?;
    let layout = work.instance.layout();
    let has_it = layout.is_apart() && work.instance.version()? >= from;
    has_it.then(|| format!("{option}={}", layout.conf_in(layout.data()).display()))
}

/// Where the two have the same history and not the same WAL.
fn parts_behind(
    work: &mut Work<'_>,
    me: &Status,
    histories: [&History; 2],
    deadline: Deadline,
) -> Result<Option<Lsn>> {
    let instance = work.instance;
    let session = work.session(deadline)?;
    Ok(parts_at(session, instance, me, histories.map(Some), deadline).unwrap_or_default())
}

/// A rewind that broke off has brought a part of its source's history, which no rewind from another one
/// takes out again: it would see this node's own WAL only.
fn another_source(work: &Work<'_>) -> Result<Option<String>> {
    let Some(begun) = work.load()?.recovery else {
        return Ok(None);
    };
    let history = work.seen.as_ref().and_then(|it| it.history.as_ref());
    let Some(timeline) = history.map(History::timeline) else {
        bail!("the timeline history of {} could not be read", work.primary);
    };
    if begun.can_go_on_from(work.primary, timeline) {
        return Ok(None);
    }
    let before = begun.timeline.map_or("?".to_owned(), |it| it.to_string());
    Ok(Some(format!(
        "half of it is the history of {} (timeline {before}), and the primary is {} (timeline \
         {timeline}) now",
        begun.primary, work.primary
    )))
}

/// Two nodes that were promoted from one timeline have different ones of the same number. A rewind
/// compares the numbers only, does nothing, and says that all is well.
fn same_number(own: &History, theirs: &History) -> Option<String> {
    let (timeline, same) = (own.timeline(), own.timeline() == theirs.timeline());
    let (_, at) = own.fork_with(theirs).filter(|_| same)?;
    Some(format!(
        "both were promoted, each to a timeline {timeline} of its own, and part at {at}, which a \
         rewind does not see"
    ))
}

/// The same once its server is down. The crash recovery may have brought it to a timeline that its control
/// file did not have; somebody may have promoted it after it was looked at, and before it was stopped.
fn got_same_number(work: &mut Work<'_>) -> Result<Option<String>> {
    let Some(theirs) = work.seen.as_ref().and_then(|it| it.history.clone()) else {
        return Ok(None);
    };
    let control = work.control()?;
    let own = work.own_history(control.timeline)?;
    if let Some(why) = same_number(&own, &theirs) {
        return Ok(Some(why));
    }
    let me = Status {
        control: Some(control.checkpoint),
        ..work.me.clone()
    };
    let at = parts_behind(work, &me, [&own, &theirs], Deadline::after(budget::ANSWER))?;
    Ok(at.map(|at| promoted_twice(&own, at)))
}

fn promoted_twice(own: &History, at: Lsn) -> String {
    format!(
        "both were promoted at {at}, each to a timeline {} of its own, which a rewind does not see",
        own.timeline()
    )
}

/// Room for what is kept, where it is kept, and for the server to work.
fn enough_space(work: &Work<'_>, segment_size: u64) -> Result<()> {
    let kept = work.kept();
    let keeps_in = kept.parent().unwrap_or(Path::new("/"));
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev());
    let one_disk = device(keeps_in)? == device(work.data())?;
    // On another disk, which the WAL often has for itself, or across mounts nothing can be linked.
    let wal_dir = work.data().join(work.names().wal_dir);
    let linked = device(keeps_in)? == device(&wal_dir)? && !work.data_is_mounted();
    let wal = wal_to_keep(work, segment_size)?;
    let copies = wal.iter().filter(|(_, copy)| *copy || !linked).count();
    let copies = u64::try_from(copies).unwrap_or(0) * segment_size + own::copied_bytes(work)?;
    let needs: &[(&Path, u64)] = match one_disk {
        true => &[(work.data(), copies + ROOM)],
        false => &[(work.data(), ROOM), (keeps_in, copies)],
    };
    for (path, needed) in needs {
        let free = free_space(path)?;
        if free < *needed {
            bail!(Break::NeedsPerson(format!(
                "a rewind needs {} MB on the disk of {}, and {} MB are free: make room",
                needed >> 20,
                path.display(),
                free >> 20
            )));
        }
    }
    Ok(())
}

/// Bytes free for the database's user on the disk of `path`.
pub fn free_space(path: &Path) -> Result<u64> {
    let disk = statvfs(path).with_context(|| format!("failed to look at {}", path.display()))?;
    Ok(disk.blocks_available() * disk.fragment_size())
}

/// The primary's control file has its timeline, by a checkpoint if need be: without it a rewind
/// "succeeds" without doing anything.
pub fn checkpoint(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    work.yield_to_promotion()?;
    if work.copies || work.stage()? == Stage::Following {
        return Ok(Done::Skipped("there is no rewind".to_owned()));
    }
    if is_before_rewind(work)?
        && let Some(why) = got_same_number(work)?
    {
        let text = format!("this node cannot be rewound: {why}");
        if may_copy(work.config()) {
            bail!("{text}; the next run copies the primary");
        }
        bail!(Break::NeedsPerson(format!("{text}; {}", what_to_do(work))));
    }
    let names = work.names();
    let known = format!("SELECT timeline_id FROM {}()", names.control_checkpoint);
    let limit = Deadline::after(budget::ANSWER);
    let session = work.session(limit)?;
    let timeline = crate::look::timeline(session, names, limit)?.map(|it| it.to_string());
    if timeline.is_some() && session.value(&known, limit)? == timeline {
        return Ok(Done::AlreadySo(format!(
            "its control file has timeline {}",
            timeline.unwrap_or_default()
        )));
    }
    session.query("SET statement_timeout = 0", limit)?;
    session.query("CHECKPOINT", deadline)?;
    let after = session.value(&known, limit)?;
    if after != timeline {
        bail!(
            "the control file of {} has timeline {} after a checkpoint, and it writes timeline {}",
            work.primary,
            after.unwrap_or_default(),
            timeline.unwrap_or_default()
        );
    }
    work.journal
        .stamped(format!("checkpoint on {}", work.primary));
    Ok(Done::Did("written".to_owned()))
}

/// Keeps aside what a rewind overwrites and this node needs: its configuration, and what a second
/// rewind needs if the first breaks off.
pub fn keep(work: &mut Work<'_>, _: Deadline) -> Result<Done> {
    work.yield_to_promotion()?;
    if !is_before_rewind(work)? {
        return Ok(Done::AlreadySo("kept by an earlier run".to_owned()));
    }
    let kept = work.kept();
    own::make_place(work)?;
    files::keep_slots(work)?;
    let mut wal = 0;
    if !work.copies {
        wal = keep_wal(work)?;
        let names = work.names();
        let control = kept.join(KEPT_CONTROL);
        copy_synced(&work.data().join(names.control_file), &control)?;
    }
    sync_tree(&kept)?;
    Ok(Done::Did(format!("{} MB of WAL", wal >> 20)))
}

/// The WAL files of this node that a rewind may need, and whether room for a second one is needed: a
/// file that the primary has under the same name is overwritten in place, the others are only removed.
fn wal_to_keep(work: &Work<'_>, segment_size: u64) -> Result<Vec<(String, bool)>> {
    let theirs: HashSet<&str> = work.primary_wal.iter().map(String::as_str).collect();
    let first = match (work.checkpoint, work.redo, work.fork) {
        (Some(checkpoint), Some(redo), Some((_, fork))) if checkpoint <= fork => {
            redo.0 / segment_size
        }
        _ => 0,
    };
    let dir = work.data().join(work.names().wal_dir);
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        let wanted = match segment_number(&name, segment_size) {
            Some(number) => number >= first,
            None => name.ends_with(".history"),
        };
        if wanted {
            let copy = theirs.contains(name.as_str());
            found.push((name, copy));
        }
    }
    Ok(found)
}

/// Bytes that are kept. A second link does, until the rewind.
fn keep_wal(work: &Work<'_>) -> Result<u64> {
    let control = work.control()?;
    let from = work.data().join(work.names().wal_dir);
    let to = work.kept().join(KEPT_WAL);
    files::make_dir(&to, work.instance.user())?;
    let mut kept = 0;
    for (name, _) in wal_to_keep(work, control.segment_size)? {
        let (source, target) = (from.join(&name), to.join(&name));
        kept += match fs::hard_link(&source, &target) {
            Ok(()) => fs::metadata(&target)?.len(),
            Err(_) => copy_synced(&source, &target)?,
        };
    }
    Ok(kept)
}

/// Gives the rewind a copy of each file that it overwrites in place, so that the one which is kept stays
/// as it was. Nothing waits for the disk: as long as the mark is there, what is kept counts.
fn part_from_kept(work: &Work<'_>) -> Result<()> {
    let wal = work.data().join(work.names().wal_dir);
    let from = work.kept().join(KEPT_WAL);
    for name in &work.primary_wal {
        let (kept, target) = (from.join(name), wal.join(name));
        if is_same_file(&kept, &target) {
            fs::remove_file(&target)
                .with_context(|| format!("failed to remove {}", target.display()))?;
            copy_owned(&kept, &target)?;
        }
    }
    Ok(())
}

/// Copies a file with its mode and owner.
fn copy_owned(from: &Path, to: &Path) -> Result<u64> {
    let copy = || -> io::Result<u64> {
        let meta = fs::metadata(from)?;
        let bytes = fs::copy(from, to)?;
        chown(to, Some(meta.uid()), Some(meta.gid()))?;
        Ok(bytes)
    };
    copy().with_context(|| format!("failed to copy {} to {}", from.display(), to.display()))
}

/// The same, through to the disk.
pub fn copy_synced(from: &Path, to: &Path) -> Result<u64> {
    let bytes = copy_owned(from, to)?;
    let synced = File::open(to).and_then(|file| file.sync_all());
    synced.with_context(|| format!("failed to sync {}", to.display()))?;
    Ok(bytes)
}

/// The names in a directory and in those below it, on the disk.
fn sync_tree(dir: &Path) -> Result<()> {
    let sync = |dir: &Path| {
        durable::sync_dir(dir).with_context(|| format!("failed to sync {}", dir.display()))
    };
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        }
    }
    sync(dir)?;
    match dir.parent() {
        Some(parent) => sync(parent),
        None => Ok(()),
    }
}

/// The mark. From here on this node is no candidate for a promotion.
pub fn mark(work: &mut Work<'_>, _: Deadline) -> Result<Done> {
    work.yield_to_promotion()?;
    if work.copies || !is_before_rewind(work)? {
        return Ok(Done::Skipped("it is there, or not needed".to_owned()));
    }
    let history = work.seen.as_ref().and_then(|it| it.history.as_ref());
    let timeline = history.map(History::timeline);
    let data = identity_of(work.data()).ok();
    work.update_recovery(|it| it.mark(timeline, data))?;
    // A word that was left while the mark was written.
    if work.yield_to_promotion().is_err() {
        work.update_recovery(|it| it.stage = Stage::Preparing)?;
        bail!(Break::PromotionWanted);
    }
    work.marked = true;
    Ok(Done::Did("written".to_owned()))
}

/// A server that runs on the directory meanwhile leaves it neither the one history nor the other.
fn see_that_it_is_down(work: &Work<'_>) -> Result<()> {
    match work.instance.started_by() {
        None => Ok(()),
        Some(who) => bail!(
            "{who} has started the database, which is to be rewound: keep that from doing so \
             (stop the unit or the supervisor) until this node streams"
        ),
    }
}

/// The connection string of the source.
fn source(work: &Work<'_>) -> String {
    let names = work.names();
    let (config, host) = (work.config(), work.primary.to_string());
    let port = config.kb_port.to_string();
    let login = [
        ("host", host.as_str()),
        ("port", &port),
        ("user", &config.kb_user),
        ("dbname", &config.kb_dataname),
    ];
    let source = format!(
        "{} {} {}",
        conninfo::build_with_tls(&login, config),
        names.source_options,
        names.rewind_source_options
    );
    source.trim_end().to_owned()
}

fn command(work: &Work<'_>, source: &str) -> Cmd {
    let names = work.names();
    with_password(work, work.instance.command(names.rewind))
        .arg(format!("{}={}", names.rewind_target, work.data().display()))
        .arg(format!("--source-server={source}"))
        .arg("--progress")
        .args(names.rewind_unsynced)
        .args(archive::option(work))
        .args(configuration(work))
        .dying_with_us()
}

/// Whether what it copies fits, where room is short: with nothing changed where it does not.
fn see_that_it_fits(work: &Work<'_>, deadline: Deadline) -> Result<()> {
    let command = command(work, &source(work));
    let Some(why) = room::lacking(work, command, deadline)? else {
        return Ok(());
    };
    put_back(work)?;
    own::put_back(work)?;
    files::renew_control_copies(work)?;
    if work.marked {
        work.update_recovery(|it| it.stage = Stage::Preparing)?;
    }
    bail!(Break::NeedsPerson(why))
}

/// The rewind. One that a run before this one has begun is begun anew, from what was kept.
pub fn rewind(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    if work.copies || work.stage()? == Stage::Following {
        return Ok(Done::Skipped("it is not needed".to_owned()));
    }
    see_that_it_is_down(work)?;
    room::take_back_if_short(work)?;
    put_back(work)?;
    part_from_kept(work)?;
    own::set_aside(work)?;
    see_that_it_fits(work, deadline)?;
    let (journal, names) = (work.journal, work.names());
    let before = work.control()?;
    let history = work.seen.as_ref().and_then(|it| it.history.as_ref());
    let own = work.own_history(before.timeline)?;
    let fork = history.and_then(|history| own.fork_with(history));
    let timelines = history.map(|it| (before.timeline, it.timeline()));
    let source = source(work);
    journal.stamped(format!("{}...", names.rewind));
    journal.line(format!(
        "{}  {}={} --source-server=\"{source}\"",
        names.rewind,
        names.rewind_target,
        work.data().display()
    ));
    let command = command(work, &source);
    let end = before.checkpoint.max(before.min_recovery);
    let discarded = fork.and_then(|(timeline, at)| {
        let timelines = timeline..=before.timeline.max(timeline);
        work.instance
            .written_behind(at, timelines, before.segment_size)
    });
    let output = run_into_log(work, &command, names.rewind, deadline).and_then(|()| {
        // What it brought is a primary's, without standby settings. A supervisor that gives the directory its
        // mode back must not start one.
        work.standby_files(work.data()).fence()?;
        // It writes the control file at its end.
        match fork {
            Some((_, at)) if end > at && work.control()? == before => bail!(
                "{} did nothing, and this node has WAL up to {end}, beyond the fork at {at}",
                names.rewind
            ),
            _ => give_back_wal(work, fork, before.segment_size).and_then(|()| sync_rewound(work)),
        }
    });
    match output {
        Ok(()) => {
            work.update_recovery(|it| it.stage = Stage::Following)?;
            // It is the primary's history now, and nothing of its own is left to ask consent for.
            work.update(|state| state.fenced = None)?;
            if let Some((timeline, at)) = fork {
                journal.stamped(format!(
                    "rewound to {at} on timeline {timeline}, where the histories part: {} bytes of \
                     this node's own WAL are discarded",
                    discarded.unwrap_or(end.since(at))
                ));
            }
            let timelines = timelines.map(from_timeline_to).unwrap_or_default();
            Ok(Done::Did(format!("rewound{timelines}")))
        }
        Err(error) => failed_rewind(work, &error),
    }
}

/// The rewind removes what the primary does not have, WAL before the fork too. The server begins where the
/// last common checkpoint says, and that may be segments before the one in which the checkpoint itself is:
/// the primary may have none of them any more.
fn give_back_wal(work: &Work<'_>, fork: Option<(Timeline, Lsn)>, segment_size: u64) -> Result<()> {
    let Some((timeline, at)) = fork else {
        return Ok(());
    };
    let wal = work.data().join(work.names().wal_dir);
    let kept = work.kept().join(KEPT_WAL);
    if !kept.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(&kept).with_context(|| kept.display().to_string())? {
        let Ok(name) = entry?.file_name().into_string() else {
            continue;
        };
        let number = segment_number(&name, segment_size);
        let common = number.is_some_and(|it| it < at.0 / segment_size)
            && (1..=timeline).any(|it| {
                number.is_some_and(|number| segment_name(it, number, segment_size) == name)
            });
        let target = wal.join(&name);
        if common && !target.exists() && fs::hard_link(kept.join(&name), &target).is_err() {
            copy_synced(&kept.join(&name), &target)?;
        }
    }
    Ok(())
}

/// Counts a rewind that failed, and says what the next run does.
fn failed_rewind(work: &mut Work<'_>, why: &Error) -> Result<Done> {
    let failures = work.update_recovery(|it| it.failures += 1)?.failures;
    // A person may have to change settings before the next one.
    let back = room::take_back_if_short(work).and_then(|()| put_back(work));
    let back = back.and_then(|()| own::put_back(work).map(drop));
    if let Err(error) = back.and_then(|()| files::renew_control_copies(work)) {
        work.journal.stamped(format!("warning: {error:#}"));
    }
    let next = match (failures < ATTEMPTS, may_copy(work.config())) {
        (true, _) => "the database stays down, and the next run tries again".to_owned(),
        (false, true) => "the next run copies the primary".to_owned(),
        (false, false) => format!(
            "the database stays down until a rewind goes through: {}",
            what_to_do(work)
        ),
    };
    bail!("the rewind failed ({why:#}): {next}")
}

/// What the rewind wrote, through to the disk, before the mark says that it is there. The program
/// itself syncs file by file, and it writes hundreds of small ones anew: each costs a commit of the file
/// system's journal.
fn sync_rewound(work: &Work<'_>) -> Result<()> {
    let (data, names) = (work.data(), work.names());
    let mut places = vec![data.to_owned(), data.join(names.wal_dir)];
    if let Ok(spaces) = fs::read_dir(data.join(names.tablespace_dir)) {
        places.extend(spaces.flatten().map(|space| space.path()));
    }
    for place in places.iter().filter(|place| place.exists()) {
        durable::sync_file_system(place)
            .with_context(|| format!("failed to sync {}", place.display()))?;
    }
    Ok(())
}

/// The server's own programs get the password where only the database's user can see it.
pub fn with_password(work: &Work<'_>, command: Cmd) -> Cmd {
    let password = work.config().kb_pass.expose();
    let variables = work.names().password_variables.iter();
    variables.fold(command, |command, name| command.env(*name, password))
}

/// Puts back what a rewind that broke off has overwritten: then it is as before the first.
fn put_back(work: &Work<'_>) -> Result<()> {
    let kept = work.kept();
    let names = work.names();
    let control = kept.join(KEPT_CONTROL);
    if !control.exists() {
        return Ok(());
    }
    let wal = work.data().join(names.wal_dir);
    let from = kept.join(KEPT_WAL);
    for entry in fs::read_dir(&from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let (source, target) = (entry.path(), wal.join(entry.file_name()));
        if is_same_file(&source, &target) {
            continue;
        }
        durable::remove(&target)
            .with_context(|| format!("failed to remove {}", target.display()))?;
        // A second link needs no room.
        if fs::hard_link(&source, &target).is_err() {
            copy_synced(&source, &target)?;
        }
    }
    durable::sync_dir(&wal)?;
    let target: PathBuf = work.data().join(names.control_file);
    let meta = fs::metadata(&target).or_else(|_| fs::metadata(&control))?;
    let owner = work.instance.user();
    durable::write(
        &target,
        &fs::read(&control)?,
        meta.mode() & 0o777,
        Some((owner.uid, owner.gid)),
    )
    .with_context(|| format!("failed to write {}", target.display()))?;
    // The rewind's, for a start that must not come now.
    durable::remove(&work.data().join(LABEL))?;
    Ok(())
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    match (fs::metadata(one), fs::metadata(other)) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_timelines_of_one_number_are_told_apart() {
        let history = |timeline, text| History::parse(timeline, text).unwrap();
        let theirs = history(6, "5\t0/6000000\n");
        for (own, same) in [
            (history(6, "5\t0/5000000\n"), true),
            (history(6, "5\t0/7000000\n"), true),
            (history(6, "5\t0/6000000\n"), false),
            (History::first(5), false),
            (history(7, "5\t0/5000000\n"), false),
        ] {
            assert_eq!(same_number(&own, &theirs).is_some(), same, "{own:?}");
        }
    }
}
