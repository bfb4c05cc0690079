//! Room on the disks for what a rewind copies: whether there is enough, and what one that filled them has
//! brought.

use crate::steps::rewind::{KEPT_CONTROL, ROOM, free_space};
use crate::work::{Break, Work};
use anyhow::{Result, bail};
use failover_core::deadline::Deadline;
use failover_core::flavor::Flavor;
use failover_core::journal::Journal;
use failover_core::process::{self, Cmd};
use failover_core::state::Stage;
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What a rewind leaves free at least.
const SLACK: u64 = 16 << 20;
/// Bytes of a page of a table.
const PAGE: u64 = 8192;

/// Where the server has what may be large.
fn places(names: &Flavor, data: &Path) -> Vec<PathBuf> {
    let spaces = fs::read_dir(data.join(names.tablespace_dir));
    let spaces = spaces.into_iter().flatten().flatten();
    let own = ["base", "global", names.wal_dir].map(|dir| data.join(dir));
    own.into_iter()
        .chain(spaces.map(|space| space.path()))
        .collect()
}

/// Calls `seen` with each file below `dir`.
fn files(dir: &Path, seen: &mut impl FnMut(&Path, &fs::Metadata)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => files(&entry.path(), seen),
            Ok(meta) if meta.is_file() => seen(&entry.path(), &meta),
            _ => {}
        }
    }
}

/// Bytes free on all disks of the data directory together. Which of them a rewind fills is not known
/// before.
fn free(work: &Work<'_>) -> Result<u64> {
    let mut disks = BTreeMap::new();
    let data = work.data();
    for place in places(work.names(), data).iter().chain([&data.to_owned()]) {
        if let Ok(meta) = fs::metadata(place) {
            disks.insert(meta.dev(), free_space(place)?);
        }
    }
    Ok(disks.values().sum())
}

/// Before anything is stopped: what the primary has more than this node has to fit. Where there is no room
/// for all that it has, the rewind itself is asked later.
pub fn look(work: &mut Work<'_>, stage: Stage, deadline: Deadline) -> Result<()> {
    let (names, free) = (work.names(), free(work)?);
    let size = work
        .session(deadline)
        .and_then(|session| session.value(names.cluster_size, deadline));
    if size.is_err() {
        // One that has so many that it takes too long.
        work.session = None;
    }
    let size = size.ok().flatten().and_then(|it| it.parse().ok());
    let theirs: u64 = size.unwrap_or(0);
    work.short = free < theirs + ROOM;
    if !work.short || stage != Stage::Preparing {
        return Ok(());
    }
    let mut own = 0;
    for place in places(names, work.data()) {
        if !place.ends_with(names.wal_dir) {
            files(&place, &mut |_, meta| own += meta.len());
        }
    }
    let more = theirs.saturating_sub(own);
    if more > 0 && more + ROOM > free {
        bail!(Break::NeedsPerson(format!(
            "the primary's databases have {} MB more than this node's, and {} MB are free on the disk of \
             {}, nothing is changed: make room",
            more >> 20,
            free >> 20,
            work.data().display()
        )));
    }
    Ok(())
}

/// What is missing for the rewind of `command`, as far as it says so itself; `None`: nothing, or room is
/// not short.
pub fn lacking(work: &Work<'_>, command: Cmd, deadline: Deadline) -> Result<Option<String>> {
    if !work.short {
        return Ok(None);
    }
    let command = command.args(work.names().rewind_tried);
    let mut plan = Plan::default();
    let output = process::run_lines(&command, deadline, |_, line| {
        plan.line(line, work.data());
        ControlFlow::Continue(())
    })?;
    // One that fails does so again, and says why.
    let Some(copied) = plan.copied.filter(|_| output.code == 0) else {
        return Ok(None);
    };
    let (more, free) = (copied.saturating_sub(plan.in_place), free(work)?);
    Ok((more + SLACK > free).then(|| {
        format!(
            "the rewind brings {} MB more than it takes away, and {} MB are free on the disk of {}: make room",
            more.div_ceil(1 << 20),
            free >> 20,
            work.data().display()
        )
    }))
}

/// What a rewind says it would do.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Bytes.
    copied: Option<u64>,
    /// Of these, over what is there.
    in_place: u64,
}

impl Plan {
    /// One line of a dry run: `need to copy 48 MB (total source directory size is 70 MB)`, `base/5/1 (COPY)`,
    /// `block 7` (`blk 7` up to version 11).
    fn line(&mut self, line: &str, data: &Path) {
        let line = line.trim();
        let said = line.rsplit(": ").next().unwrap_or(line);
        if let Some(rest) = said.strip_prefix("need to copy ") {
            let megabytes = rest.split(' ').next().and_then(|it| it.parse::<u64>().ok());
            self.copied = megabytes.map(|it| (it + 1) << 20);
        } else if let Some(file) = said.strip_suffix(" (COPY)") {
            self.in_place += fs::metadata(data.join(file)).map_or(0, |it| it.len());
        } else if said.starts_with("block ") || said.starts_with("blk ") {
            self.in_place += PAGE;
        }
    }
}

/// Takes away what a rewind that broke off has brought, if it filled the disk.
pub fn take_back_if_short(work: &Work<'_>) -> Result<()> {
    if free(work)? >= ROOM {
        return Ok(());
    }
    match take_back(work.names(), work.data(), &work.kept()) {
        0 => {}
        bytes => say_freed(work.journal, bytes),
    }
    Ok(())
}

/// Says what [`take_back`] did.
pub fn say_freed(journal: &Journal, bytes: u64) {
    journal.stamped(format!(
        "the rewind that broke off had filled the disk: {} MB that it had brought are removed, and are \
         copied anew",
        bytes.div_ceil(1 << 20)
    ));
}

/// Removes the files in `data` that were made after what a rewind needs was kept in `kept`: the next rewind
/// brings them again. How many bytes. Where the file system does not know when a file was made, none.
pub fn take_back(names: &Flavor, data: &Path, kept: &Path) -> u64 {
    let made = |meta: &fs::Metadata| -> Option<SystemTime> { meta.created().ok() };
    let begun = fs::metadata(kept.join(KEPT_CONTROL)).ok();
    let Some(begun) = begun.and_then(|it| made(&it)) else {
        return 0;
    };
    let mut freed = 0;
    let control = data.join(names.control_file);
    for place in places(names, data) {
        files(&place, &mut |path, meta| {
            let brought = made(meta).is_some_and(|it| it > begun) && path != control;
            if brought && fs::remove_file(path).is_ok() {
                freed += meta.len();
            }
        });
    }
    freed
}

#[cfg(test)]
mod tests {
    use super::*;
    use failover_core::flavor::POSTGRES;

    #[test]
    fn what_a_dry_run_says() {
        let data = std::env::temp_dir().join(format!("plan-{}", std::process::id()));
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("here"), [0; 100]).unwrap();
        let mut plan = Plan::default();
        for line in [
            "pg_rewind: reading source file list",
            "pg_rewind: debug: base/5/1 (COPY)",
            "pg_rewind: debug: here (COPY)",
            "pg_rewind: debug: base/5/2 (NONE)",
            "pg_rewind: debug: block 7",
            "  blk 8",
            "need to copy 48 MB (total source directory size is 70 MB)",
        ] {
            plan.line(line, &data);
        }
        let expected = Plan {
            copied: Some(49 << 20),
            in_place: 100 + 2 * PAGE,
        };
        assert_eq!(plan, expected);
        fs::remove_dir_all(data).unwrap();
    }

    #[test]
    fn only_what_came_later_is_removed() {
        let root = std::env::temp_dir().join(format!("brought-{}", std::process::id()));
        let (data, kept) = (root.join("data"), root.join("kept"));
        for dir in ["base/5", "global", "pg_wal", "conf.d"] {
            fs::create_dir_all(data.join(dir)).unwrap();
        }
        fs::create_dir(&kept).unwrap();
        let write = |name: &str| fs::write(data.join(name), [0; 10]).unwrap();
        ["base/5/1", "pg_wal/1"].iter().for_each(|it| write(it));
        assert_eq!(take_back(&POSTGRES, &data, &kept), 0);
        let made = |path: &Path| fs::metadata(path).and_then(|it| it.created());
        if made(&data).is_err() {
            return;
        }
        // The kernel's clock for files has ticks.
        let next = |path: &Path, after: &Path| {
            while {
                let _ = fs::remove_file(path);
                fs::write(path, [0; 10]).unwrap();
                made(path).unwrap() <= made(after).unwrap()
            } {}
        };
        let control = kept.join(KEPT_CONTROL);
        next(&control, &data.join("pg_wal/1"));
        next(&data.join("base/5/2"), &control);
        ["global/pg_control", "conf.d/own", "pg_wal/2"]
            .iter()
            .for_each(|it| write(it));
        fs::write(data.join("base/5/1"), [1; 20]).unwrap();
        assert_eq!(take_back(&POSTGRES, &data, &kept), 20);
        for (name, left) in [
            ("base/5/1", true),
            ("base/5/2", false),
            ("pg_wal/1", true),
            ("pg_wal/2", false),
            ("global/pg_control", true),
            ("conf.d/own", true),
        ] {
            assert_eq!(data.join(name).exists(), left, "{name}");
        }
        fs::remove_dir_all(root).unwrap();
    }
}
