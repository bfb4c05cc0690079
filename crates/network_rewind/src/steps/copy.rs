//! The copy of the primary, where a rewind cannot do: made beside the data directory, and swapped in
//! when it is whole. The old directory is kept.

use crate::steps::programs::run_into_log;
use crate::steps::rewind::{free_space, what_to_do, with_password};
use crate::steps::{files, own};
use crate::work::{Break, Work, beside};
use anyhow::{Context, Result, bail};
use failover_core::clock;
use failover_core::conninfo;
use failover_core::deadline::Deadline;
use failover_core::durable;
use failover_core::host::exchange::exchange;
use failover_core::instance;
use failover_core::procedure::Done;
use failover_core::state::Stage;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// In a copy that is whole: tells the new directory from the old one, whenever we died.
const WHOLE: &str = "failover-tools.copy";
/// What a copy needs beyond the databases: the WAL written meanwhile, and what is no database.
const ROOM: u64 = 256 << 20;
/// Tablespaces that every server has.
const BUILT_IN: u64 = 2;

fn new_dir(work: &Work<'_>) -> PathBuf {
    beside(work.data(), "new")
}

/// A new name each time.
fn old_dir(work: &Work<'_>) -> PathBuf {
    let stamp = clock::stamp().replace([' ', ':', '-'], "");
    beside(work.data(), &format!("old-{stamp}"))
}

fn is_whole(dir: &Path) -> bool {
    dir.join(WHOLE).exists()
}

/// Whether it can work: said before anything is touched.
pub fn can(work: &mut Work<'_>, deadline: Deadline) -> Result<()> {
    let data = work.data();
    let parent = data.parent().unwrap_or(Path::new("/"));
    let no = |why: String| {
        Err(Break::NeedsPerson(format!(
            "the primary cannot be copied: {why}"
        )))
    };
    if let Err(error) = fs::metadata(parent) {
        no(format!("{}: {error}", parent.display()))?;
    }
    if work.data_is_mounted() {
        no(format!(
            "{} is a mount point, and cannot be swapped; {}",
            data.display(),
            what_to_do(work)
        ))?;
    }
    let names = work.names();
    let (size, spaces) = {
        let session = work.session(deadline)?;
        let number = |text: Option<String>| text.and_then(|it| it.parse::<u64>().ok());
        let spaces = format!("SELECT count(*) FROM {}", names.tablespaces);
        (
            number(session.value(names.cluster_size, deadline)?).unwrap_or(0),
            number(session.value(&spaces, deadline)?).unwrap_or(0),
        )
    };
    if spaces > BUILT_IN {
        no(format!(
            "it has tablespaces, whose place here is a person's to choose; {}",
            what_to_do(work)
        ))?;
    }
    let needed = size + size / 10 + ROOM;
    let free = free_space(parent)?;
    if free < needed {
        no(format!(
            "that needs {} MB beside {}, and {} MB are free: make room",
            needed >> 20,
            data.display(),
            free >> 20
        ))?;
    }
    Ok(())
}

/// Copies the primary, and swaps the copy in.
pub fn copy(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    let (data, new) = (work.data(), new_dir(work));
    if !work.copies || work.stage()? == Stage::Following {
        // Of a run that was killed between the two at the end.
        durable::remove(&data.join(WHOLE))?;
        return Ok(Done::Skipped("it is not needed".to_owned()));
    }
    let begun = work.stage()? == Stage::Copying;
    if !(begun && (is_whole(data) || is_whole(&new))) {
        make_copy(work, &new, deadline)?;
        // From here on one of the two directories is to be the new one, and none must start.
        work.update_recovery(|it| it.stage = Stage::Copying)?;
    }
    let old = match (is_whole(data), new.exists()) {
        (true, false) => None,
        // Exchanged, and killed before the old one got its name: the next copy would remove it.
        (true, true) => {
            let old = old_dir(work);
            fs::rename(&new, &old)
                .with_context(|| format!("failed to rename {}", new.display()))?;
            Some(old)
        }
        (false, _) => swap(work, &new)?,
    };
    work.update_recovery(|it| it.stage = Stage::Following)?;
    // It is the primary's history now, and nothing of its own is left to ask consent for.
    work.update(|state| state.fenced = None)?;
    durable::remove(&data.join(WHOLE))?;
    if let Some(old) = &old {
        instance::unbar(old).with_context(|| old.display().to_string())?;
    }
    let old = match old {
        Some(old) => format!("the old data directory is kept as {}", old.display()),
        None => "there was no old data directory to keep".to_owned(),
    };
    work.journal.stamped(format!("the copy is in place; {old}"));
    Ok(Done::Did(old))
}

fn make_copy(work: &mut Work<'_>, new: &Path, deadline: Deadline) -> Result<()> {
    let names = work.names();
    work.journal.stamped(format!("{}...", names.basebackup));
    files::remove_dir(new)?;
    // What tells a copy from the old directory must not be in the old one by accident.
    durable::remove(&work.data().join(WHOLE))?;
    let (config, host) = (work.config(), work.primary.to_string());
    let port = config.kb_port.to_string();
    let login = [
        ("host", host.as_str()),
        ("port", &port),
        ("user", &config.kb_user),
    ];
    let source = conninfo::build_with_tls(&login, config);
    let source = format!("{source} {}", names.source_options);
    let command = with_password(work, work.instance.command(names.basebackup))
        .arg("-D")
        .arg(new)
        .args([
            "-d",
            &source,
            "-w",
            "-X",
            "stream",
            "--checkpoint=fast",
            "-P",
        ])
        .dying_with_us();
    work.journal.line(command.to_string());
    run_into_log(work, &command, names.basebackup, deadline)
        .with_context(|| format!("the copy of {} failed", work.primary))?;
    durable::remove(&new.join(WHOLE))?;
    own::copy_into(work, new)?;
    if !own::has_own(work)? {
        work.journal.stamped(format!(
            "this node had no configuration of its own, and has that of {} now: look through it",
            work.primary
        ));
        work.standby_files(new).forget_others()?;
    }
    files::configure(work, new)?;
    // Before it is in place: whoever starts it must not get a second primary.
    work.standby_files(new).point_to(work.primary)?;
    let owner = work.instance.user();
    instance::bar(new).with_context(|| new.display().to_string())?;
    durable::write(&new.join(WHOLE), b"", 0o600, Some((owner.uid, owner.gid)))
        .with_context(|| new.display().to_string())
}

/// Puts `new` in the place of the data directory; where the old one is then, if there was one.
fn swap(work: &Work<'_>, new: &Path) -> Result<Option<PathBuf>> {
    let data = work.data();
    let failed = || format!("failed to swap {} and {}", new.display(), data.display());
    let old = old_dir(work);
    // One that is empty is none.
    let _ = fs::remove_dir(data);
    let had_one = data.exists();
    // Where that cannot be there is a moment without a data directory.
    let exchanged = had_one && exchange(new, data).with_context(failed)?;
    let rename = |from: &Path, to: &Path| fs::rename(from, to).with_context(failed);
    match (had_one, exchanged) {
        (true, true) => rename(new, &old)?,
        (true, false) => {
            rename(data, &old)?;
            rename(new, data)?;
        }
        (false, _) => rename(new, data)?,
    }
    match data.parent().map(durable::sync_dir) {
        Some(Err(error)) if error.kind() != ErrorKind::NotFound => {
            bail!("{}: {error}", failed())
        }
        _ => Ok(had_one.then_some(old)),
    }
}
