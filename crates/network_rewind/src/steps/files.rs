//! Files of the data directory: this node's own configuration, its standby settings, its slots.

use crate::steps::own;
use crate::steps::rewind::copy_synced;
use crate::work::{Work, beside};
use anyhow::{Context, Result, bail};
use failover_core::control_copies;
use failover_core::deadline::Deadline;
use failover_core::durable;
use failover_core::procedure::Done;
use failover_core::settings::{self, read};
use failover_core::sql::{Session, quote};
use failover_core::standby::Pointed;
use failover_core::state::Stage;
use failover_core::users::SystemUser;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

/// Where the logical slots lie in what is kept.
const KEPT_SLOTS: &str = "slots";
/// `synchronous_standby_names` belongs to whoever is primary.
const SYNC_NAMES: &str = "synchronous_standby_names";

/// Makes a directory for what is kept, for the database's user only.
pub fn make_dir(dir: &Path, owner: &SystemUser) -> Result<()> {
    fs::create_dir_all(dir)
        .and_then(|()| chown(dir, Some(owner.uid.as_raw()), Some(owner.gid.as_raw())))
        .and_then(|()| {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
        })
        .with_context(|| format!("failed to make {}", dir.display()))
}

/// Removes a directory, if it is there.
pub fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(e).with_context(|| format!("failed to remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// The configuration file of `KB_ETC_PATH`, where there is one, and no list of synchronous standbys
/// in it: that belongs to whoever is primary.
pub fn configure(work: &Work<'_>, dir: &Path) -> Result<bool> {
    let names = work.names();
    let target = work.instance.layout().conf_in(dir);
    let before = read(&target)?.unwrap_or_default();
    let etc = read(&work.config().kb_etc_path.join(names.conf_file))?;
    let after = settings::comment_out(etc.as_ref().unwrap_or(&before), SYNC_NAMES);
    if after == before {
        return Ok(false);
    }
    // Through a link, as the server reads it.
    let real = fs::canonicalize(&target).unwrap_or(target);
    if let Err(error) = replace(work, &real, &settings::bytes(&after)) {
        let theirs = error.kind() == ErrorKind::PermissionDenied && etc.is_none();
        if !theirs {
            return Err(error).with_context(|| format!("failed to write {}", real.display()));
        }
        // A file in somebody else's directory: what the server reads after it wins.
        work.standby_files(dir).set_for_server(SYNC_NAMES, "")?;
    }
    Ok(true)
}

/// Puts `bytes` in the place of a file, with its mode; its owner, too, where that is not somebody who has
/// let this one read it only.
fn replace(work: &Work<'_>, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let user = work.instance.user();
    let ours = (user.uid, user.gid);
    let (mode, owner) = match fs::metadata(path) {
        Ok(meta) => (meta.mode() & 0o777, (meta.uid().into(), meta.gid().into())),
        Err(_) => (0o600, ours),
    };
    match durable::write(path, bytes, mode, Some(owner)) {
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            durable::write(path, bytes, mode, Some(ours))
        }
        written => written,
    }
}

/// The same before a mere start: of a standby whose recovery ended after its rewind, and whose
/// primary does not answer now.
pub fn put_back_if_rewound(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    match work.stage()? {
        Stage::Following => put_back(work, deadline),
        _ => Ok(Done::Skipped("it was not rewound".to_owned())),
    }
}

/// This node's own configuration, which the rewind has overwritten with the primary's.
pub fn put_back(work: &mut Work<'_>, _: Deadline) -> Result<Done> {
    if !work.instance.processes()?.is_empty() {
        return Ok(Done::AlreadySo("the database runs".to_owned()));
    }
    if work.stage()? != Stage::Following {
        bail!("the data directory is no standby's yet");
    }
    let restored = own::put_back(work)?;
    work.journal.line(format!(" sed conf change #{SYNC_NAMES}"));
    let changed = configure(work, work.data())?;
    renew_control_copies(work)?;
    work.journal.stamped("file operate");
    Ok(match (restored, changed) {
        (0, false) => Done::AlreadySo("as they were".to_owned()),
        _ => Done::Did(format!("{restored} files put back")),
    })
}

/// The further control files, after somebody else than the server has put another one into the data
/// directory.
pub fn renew_control_copies(work: &Work<'_>) -> Result<()> {
    for copy in control_copies::renew(work.instance.layout(), work.instance.user())? {
        work.journal.stamped(format!(
            "{} is written anew: it is a copy of the control file",
            copy.display()
        ));
    }
    Ok(())
}

/// The settings of a standby of the primary.
pub fn settings(work: &mut Work<'_>, _: Deadline) -> Result<Done> {
    let (journal, primary, data) = (work.journal, work.primary, work.data());
    let files = work.standby_files(data);
    files
        .put_back()
        .context("failed to put the standby settings back")?;
    let before = files.follows();
    journal.line("cp recovery.conf...");
    journal.line(" change recovery.conf ip -> primary.ip");
    let pointed = files.point_to(primary)?;
    let unchanged = before.as_deref() == Some(primary.to_string().as_str());
    Ok(match (unchanged, pointed) {
        (true, _) => {
            journal.stamped(format!(
                "no need change recovery.conf, primary node is {primary}"
            ));
            match pointed {
                Pointed::AlreadySo => Done::AlreadySo(format!("they name {primary}")),
                Pointed::Changed => Done::Did(format!("they name {primary}")),
            }
        }
        (false, _) => {
            journal.stamped(format!(
                "change recovery.conf, primary node is {primary}{}",
                match before.as_deref() {
                    None | Some("") => String::new(),
                    Some(before) => format!(", was {before}"),
                }
            ));
            Done::Did(format!("they name {primary}"))
        }
    })
}

/// A pid file whose server is gone.
pub fn pid_file(work: &mut Work<'_>, _: Deadline) -> Result<Done> {
    if !work.instance.processes()?.is_empty() {
        return Ok(Done::AlreadySo("the database runs".to_owned()));
    }
    work.journal.line("delete pid file if exist");
    let file = work.data().join(work.names().pid_file);
    if !file.exists() {
        return Ok(Done::AlreadySo("there is none".to_owned()));
    }
    durable::remove(&file).with_context(|| format!("failed to remove {}", file.display()))?;
    Ok(Done::Did(format!("{} removed", file.display())))
}

/// Keeps the slots' names, and the logical ones whole: newer servers' rewind removes them all, older
/// ones' brings the primary's.
pub fn keep_slots(work: &Work<'_>) -> Result<()> {
    let dir = work.data().join(work.names().slots_dir);
    let kept = work.kept().join(KEPT_SLOTS);
    make_dir(&kept, work.instance.user())?;
    let slots = slots(&dir)?;
    for slot in slots.iter().filter(|slot| !slot.physical) {
        if slot.fails_over {
            work.journal.stamped(format!(
                "the logical slot {} fails over: it is the primary's now, and not kept here",
                slot.name
            ));
            continue;
        }
        copy_dir(work, &dir.join(&slot.name), &kept.join(&slot.name))?;
    }
    remember_slots(work, &slots)
}

fn copy_dir(work: &Work<'_>, from: &Path, to: &Path) -> Result<()> {
    make_dir(to, work.instance.user())?;
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        copy_synced(&entry.path(), &to.join(entry.file_name()))?;
    }
    durable::sync_dir(to).with_context(|| to.display().to_string())
}

/// The physical ones are to be made again, whatever happens.
fn remember_slots(work: &Work<'_>, slots: &[Slot]) -> Result<()> {
    let physical = slots.iter().filter(|slot| slot.physical);
    let names: Vec<String> = physical.map(|slot| slot.name.clone()).collect();
    work.update_recovery(|it| {
        it.slots.extend(names);
        it.slots.sort();
        it.slots.dedup();
    })?;
    Ok(())
}

/// Physical slots keep WAL that nobody asks a standby for, and those of the primary may have come
/// with the rewind. Their names are in the state first. The logical ones stay this node's.
pub fn drop_slots(work: &mut Work<'_>, _: Deadline) -> Result<Done> {
    if !work.instance.processes()?.is_empty() {
        return Ok(Done::AlreadySo("the database runs".to_owned()));
    }
    work.journal.line("del the replication_slots if exis");
    let dir = work.data().join(work.names().slots_dir);
    let there = slots(&dir)?;
    remember_slots(work, &there)?;
    // A primary's logical slot that came with a rewind or a copy is none of this node's.
    let kept = work.kept().join(KEPT_SLOTS);
    for slot in there.iter().filter(|it| it.physical || kept.exists()) {
        remove_dir(&dir.join(&slot.name))?;
    }
    for slot in slots(&kept)? {
        copy_dir(work, &kept.join(&slot.name), &dir.join(&slot.name))?;
    }
    durable::sync_dir(&dir).with_context(|| dir.display().to_string())?;
    let dropped = work.load()?.recovery.map_or(Vec::new(), |it| it.slots);
    for name in &dropped {
        work.journal.line(format!("drop the slot [{name}]."));
    }
    Ok(match dropped.is_empty() {
        true => Done::AlreadySo("there are none".to_owned()),
        false => Done::Did(dropped.join(", ")),
    })
}

/// A replication slot on the disk.
#[derive(Debug, PartialEq, Eq)]
struct Slot {
    name: String,
    physical: bool,
    /// The primary's is the one that counts: at the position that it has here it would hand changes out
    /// once more, and keep the primary's from coming.
    fails_over: bool,
}

/// The slots in `dir`, sorted. Of which kind they are, their state files tell: after magic, checksum,
/// version and length (4 bytes each) and the name (64) comes the database's id, which is 0 for a
/// physical slot (`ReplicationSlotOnDisk` in the server's slot.c); from the fifth version on, PostgreSQL 17's,
/// there are two more bytes at the end, "synchronized" and "fails over". One that cannot be read is left
/// to the server.
fn slots(dir: &Path) -> Result<Vec<Slot>> {
    const MAGIC: u32 = 0x0105_1CA1;
    const VERSION: usize = 8;
    const DATABASE: usize = 16 + 64;
    const SYNCED: usize = 16 + 177;
    const FAILS_OVER: usize = 16 + 178;
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).with_context(|| dir.display().to_string()),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let state = fs::read(entry.path().join("state")).unwrap_or_default();
        let word = |at: usize| {
            let bytes = state.get(at..at + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        if let (Some(MAGIC), Some(database), Ok(name)) =
            (word(0), word(DATABASE), entry.file_name().into_string())
        {
            found.push(Slot {
                name,
                physical: database == 0,
                fails_over: word(VERSION) >= Some(5)
                    && [SYNCED, FAILS_OVER]
                        .iter()
                        .any(|at| state.get(*at).is_some_and(|it| *it != 0)),
            });
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

/// Creates the dropped slots again. They keep nothing until somebody streams from them: on a standby
/// nobody would move them on.
pub fn make_slots(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    let slots = work.load()?.recovery.map_or(Vec::new(), |it| it.slots);
    if slots.is_empty() {
        return Ok(Done::AlreadySo("none were dropped".to_owned()));
    }
    let names = work.names();
    let session = Session::open(&work.here.sql_target(), deadline)?;
    let mut made = Vec::new();
    for slot in slots {
        let quoted = quote(&slot);
        let there = format!(
            "SELECT count(*) > 0 FROM {} WHERE slot_name = {quoted}",
            names.replication_slots
        );
        if session.truth(&there, deadline)? {
            continue;
        }
        let create = format!("SELECT {}({quoted})", names.create_physical_slot);
        session.query(&create, deadline)?;
        let rule = "-".repeat(names.create_slot_heading.len() + 1);
        work.journal.lines(format!(
            "{}\n{rule}\n ({slot},)\n(1 row)",
            names.create_slot_heading
        ));
        work.journal
            .stamped(format!("create the slot [{slot}] success."));
        made.push(slot);
    }
    Ok(match made.is_empty() {
        true => Done::AlreadySo("all are there".to_owned()),
        false => Done::Did(made.join(", ")),
    })
}

/// The recovery is over: nothing of it is needed any more.
pub fn done(work: &mut Work<'_>, _: Deadline) -> Result<Done> {
    // At once: killed in the middle, a run must not leave half of it for the next one to put back.
    let kept = work.kept();
    let gone = beside(&kept, "gone");
    remove_dir(&gone)?;
    match fs::rename(&kept, &gone) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            Err(e).with_context(|| format!("failed to rename {}", kept.display()))?;
        }
        _ => remove_dir(&gone)?,
    }
    work.update(|state| {
        state.recovery = None;
        state.fenced = None;
        state.self_fenced = None;
        state.undecided = None;
    })?;
    Ok(Done::Did("forgotten".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_found_by_their_state() {
        let dir = std::env::temp_dir().join(format!("slots-{}", std::process::id()));
        let slot = |name: &str, database: u32, magic: u32| {
            let mut state = vec![0u8; 200];
            // Of an older version, where something else stands there.
            let version: u32 = if name.starts_with("of_17") { 5 } else { 3 };
            state[8..12].copy_from_slice(&version.to_ne_bytes());
            state[194] = u8::from(!name.ends_with("local"));
            state[..4].copy_from_slice(&magic.to_ne_bytes());
            state[80..84].copy_from_slice(&database.to_ne_bytes());
            fs::create_dir_all(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("state"), state).unwrap();
        };
        slot("slot_node102", 0, 0x0105_1CA1);
        slot("logical", 16384, 0x0105_1CA1);
        slot("of_17_failover", 16384, 0x0105_1CA1);
        slot("of_17_local", 16384, 0x0105_1CA1);
        slot("strange", 0, 7);
        fs::create_dir_all(dir.join("empty")).unwrap();
        let found = |name: &str, physical| Slot {
            name: name.to_owned(),
            physical,
            fails_over: name == "of_17_failover",
        };
        assert_eq!(
            slots(&dir).unwrap(),
            [
                found("logical", false),
                found("of_17_failover", false),
                found("of_17_local", false),
                found("slot_node102", true)
            ]
        );
        fs::remove_dir_all(&dir).unwrap();
        assert!(slots(&dir).unwrap().is_empty());
    }
}
