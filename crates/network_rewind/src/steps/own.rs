//! This node's own files in the data directory: settings, certificates, the server's log, and whatever a
//! person has put there. A rewind overwrites them with the primary's or removes them, and fails where it
//! cannot. So they are moved out of its way, and back afterwards: a rename needs no right to the file.
//!
//! What lies in the kept directory tells how far that is: [`COMING`] while they are moved there,
//! [`WHOLE`] once they are, [`GOING`] while they are moved back.

use crate::steps::files::{make_dir, remove_dir};
use crate::work::{Work, beside, is_mount_point};
use anyhow::{Context, Result};
use failover_core::clock;
use failover_core::deadline::Deadline;
use failover_core::durable;
use failover_core::flavor::Flavor;
use failover_core::sql::quote;
use failover_core::state::Stage;
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::{AccessFlags, access};
use std::fs::{self, DirEntry, File, FileTimes, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

const COMING: &str = "files.coming";
const WHOLE: &str = "files";
const GOING: &str = "files.going";
/// Copies of the settings, which the server's programs read during the rewind, too.
const SETTINGS: &str = "settings";
/// No file of settings is larger, in bytes.
const SMALL: u64 = 1 << 20;
/// Directories of the server's, without its prefix, of which a start needs nothing.
const EMPTIED: [&str; 7] = [
    "dynshmem",
    "notify",
    "replslot",
    "serial",
    "snapshots",
    "stat_tmp",
    "subtrans",
];

/// What an entry of the data directory is.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// This node's own. A rewind must not find it.
    Own,
    /// The server's.
    Server,
    /// The server's, and a link, in whose place a rewind wants a directory: for the time being an
    /// empty one.
    EmptiedLink,
    /// The same, with what cannot be left out.
    Link,
}

fn kind(names: &Flavor, entry: &DirEntry) -> Result<Kind> {
    let name = entry.file_name();
    let name = name.to_string_lossy();
    let link = entry.file_type()?.is_symlink();
    let directory = fs::metadata(entry.path()).is_ok_and(|it| it.is_dir());
    let rest = name.strip_prefix(names.prefix).filter(|_| directory);
    Ok(match rest {
        _ if name == names.wal_dir => Kind::Server,
        _ if names.server_files.contains(&&*name) => match link {
            true => Kind::Link,
            false => Kind::Server,
        },
        // Where older servers have their log; and pg_hba.conf is no directory.
        None | Some("log") => Kind::Own,
        Some(rest) if link && EMPTIED.contains(&rest) => Kind::EmptiedLink,
        Some(_) if link => Kind::Link,
        Some(_) => Kind::Server,
    })
}

/// The entries of `dir` of which `wanted` is true, sorted by name; none where there is no such directory.
fn entries(dir: &Path, wanted: impl Fn(&DirEntry) -> Result<bool>) -> Result<Vec<PathBuf>> {
    let all = match fs::read_dir(dir) {
        Ok(all) => all,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).with_context(|| dir.display().to_string()),
    };
    let mut found = Vec::new();
    for entry in all {
        let entry = entry.with_context(|| dir.display().to_string())?;
        if wanted(&entry)? {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The own files in `dir`.
fn own(names: &Flavor, dir: &Path) -> Result<Vec<PathBuf>> {
    entries(dir, |entry| {
        Ok(matches!(kind(names, entry)?, Kind::Own | Kind::EmptiedLink))
    })
}

/// Where `path`, an entry of the data directory, is in another directory.
fn within(dir: &Path, path: &Path) -> PathBuf {
    dir.join(path.file_name().unwrap_or_default())
}

/// Why a rewind cannot work on this data directory, with what a person can do.
pub fn obstacle(work: &mut Work<'_>, deadline: Deadline) -> Result<Option<String>> {
    let (data, names) = (work.data(), work.names());
    let links = entries(data, |entry| Ok(kind(names, entry)? == Kind::Link))?;
    if let Some(link) = links.first() {
        return Ok(Some(format!(
            "{} is a link, which {} refuses: put the directory itself in its place",
            link.display(),
            names.rewind
        )));
    }
    // To move a directory takes the right to write into it.
    let needed = AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK;
    let closed = entries(data, |entry| {
        Ok(entry.file_type()?.is_dir() && access(&entry.path(), needed).is_err())
    })?;
    if let Some(closed) = closed.first() {
        return Ok(Some(format!(
            "{} is not {user}'s to change: give it to {user} (chown)",
            closed.display(),
            user = work.config().kb_execute_sys_user
        )));
    }
    let mounts = entries(data, |entry| {
        Ok(entry.file_type()?.is_dir() && is_mount_point(&entry.path()))
    })?;
    if let Some(closed) = cannot_be_copied(work, &mounts)? {
        return Ok(Some(format!(
            "{} has to be copied, out of a mount point, and {user} may not: let {user} read it (chown, \
             chmod u+r), or move it away",
            closed.display(),
            user = work.config().kb_execute_sys_user
        )));
    }
    for mount in mounts {
        let name = mount.file_name().unwrap_or_default().to_string_lossy();
        let there = format!(
            "SELECT count(*) > 0 FROM {}('.') AS name WHERE name = {}",
            names.list_dir,
            quote(&name)
        );
        if !work.session(deadline)?.truth(&there, deadline)? {
            return Ok(Some(format!(
                "{} is a mount point, which {} would remove: make a directory {name} on {}, too",
                mount.display(),
                names.rewind,
                work.primary
            )));
        }
    }
    Ok(None)
}

/// What is to be copied, since a rename does not do across mounts, and cannot be.
fn cannot_be_copied(work: &Work<'_>, mounts: &[PathBuf]) -> Result<Option<PathBuf>> {
    fn closed(path: &Path) -> Option<PathBuf> {
        let meta = fs::symlink_metadata(path).ok()?;
        let needed = match meta.is_dir() {
            true => AccessFlags::R_OK | AccessFlags::W_OK | AccessFlags::X_OK,
            false if meta.is_file() => AccessFlags::R_OK,
            false => return None,
        };
        if access(path, needed).is_err() {
            return Some(path.to_owned());
        }
        let below = fs::read_dir(path).into_iter().flatten().flatten();
        below
            .filter(|_| meta.is_dir())
            .find_map(|entry| closed(&entry.path()))
    }
    let copied = match work.data_is_mounted() {
        true => own(work.names(), work.data())?,
        false => mounts.to_vec(),
    };
    Ok(copied.iter().find_map(|path| closed(path)))
}

/// Bytes that are copied where a rename does not do: none, unless the data directory is a mount point.
pub fn copied_bytes(work: &Work<'_>) -> Result<u64> {
    fn bytes(path: &Path) -> u64 {
        let Ok(meta) = fs::symlink_metadata(path) else {
            return 0;
        };
        let below = fs::read_dir(path).into_iter().flatten().flatten();
        match meta.is_dir() {
            true => below.map(|entry| bytes(&entry.path())).sum(),
            false => meta.len(),
        }
    }
    if !work.data_is_mounted() {
        return Ok(0);
    }
    let own = own(work.names(), work.data())?;
    Ok(own.iter().map(|path| bytes(path)).sum())
}

/// A place for what is kept, with nothing in it of a recovery before this one.
pub fn make_place(work: &Work<'_>) -> Result<()> {
    go_back(work)?;
    forget(work)?;
    make_dir(&work.kept(), work.instance.user())
}

/// Copies the settings to what is kept, through whatever links lead to them. What the server's user cannot
/// read the server does not need.
fn keep_settings(work: &Work<'_>) -> Result<()> {
    let to = work.kept().join(SETTINGS);
    remove_dir(&to)?;
    make_dir(&to, work.instance.user())?;
    for path in own(work.names(), work.data())? {
        copy_settings(work, &path, &within(&to, &path), true)?;
    }
    settle(&[&to])
}

/// How many files.
fn copy_settings(work: &Work<'_>, from: &Path, to: &Path, top: bool) -> Result<usize> {
    let owner = work.instance.user();
    let Ok(meta) = fs::metadata(from) else {
        return Ok(0);
    };
    // The server reads nothing else from a directory of settings.
    let named = top || from.extension().is_some_and(|end| end == "conf");
    if meta.is_file() && meta.len() <= SMALL && named {
        let Ok(bytes) = fs::read(from) else {
            return Ok(0);
        };
        let owner = Some((owner.uid, owner.gid));
        durable::write_unsynced(to, &bytes, 0o600, owner)
            .with_context(|| format!("failed to copy {}", from.display()))?;
        return Ok(1);
    }
    let link = fs::symlink_metadata(from).is_ok_and(|it| it.is_symlink());
    if !meta.is_dir() || (link && !top) {
        return Ok(0);
    }
    let mut copied = 0;
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if copied == 0 {
            make_dir(to, owner)?;
        }
        copied += copy_settings(work, &entry.path(), &to.join(name), false)?;
    }
    if copied == 0 {
        remove_dir(to)?;
    }
    Ok(copied)
}

/// Where this node's own settings can be read: from the mark on, those in the data directory may be the
/// primary's.
pub fn settings(work: &Work<'_>) -> Result<PathBuf> {
    let kept = work.kept().join(SETTINGS);
    let moved = !matches!(work.stage()?, Stage::Preparing) && !is_back(work);
    Ok(match moved && kept.exists() {
        true => kept,
        false => work.data().to_owned(),
    })
}

fn is_back(work: &Work<'_>) -> bool {
    let kept = work.kept();
    ![COMING, WHOLE, GOING]
        .iter()
        .any(|it| kept.join(it).exists())
}

/// Moves this node's own files out of the way of a rewind, with copies of the settings in their place.
/// What is there when they have been moved before is of a rewind that broke off.
pub fn set_aside(work: &Work<'_>) -> Result<()> {
    let (data, kept, names) = (work.data(), work.kept(), work.names());
    if moved(work)? == data {
        keep_settings(work)?;
        make_dir(&kept.join(COMING), work.instance.user())?;
        moved(work)?;
    }
    for path in own(names, data)? {
        remove(&path)?;
    }
    let links = entries(&kept.join(WHOLE), |entry| {
        Ok(kind(names, entry)? == Kind::EmptiedLink)
    })?;
    for link in links {
        make_dir(&within(data, &link), work.instance.user())?;
    }
    for path in entries(&kept.join(SETTINGS), |_| Ok(true))? {
        copy(&path, &within(data, &path))?;
    }
    Ok(())
}

/// Goes on with a move that was begun. The directory in which this node's own files are then.
fn moved(work: &Work<'_>) -> Result<PathBuf> {
    let (data, kept) = (work.data(), work.kept());
    let (coming, whole) = (kept.join(COMING), kept.join(WHOLE));
    go_back(work)?;
    if coming.exists() {
        for path in own(work.names(), data)? {
            shift(&path, &within(&coming, &path))?;
        }
        settle(&[&coming, data])?;
        fs::rename(&coming, &whole)
            .and_then(|()| durable::sync_dir(&kept))
            .with_context(|| whole.display().to_string())?;
    }
    Ok(match whole.exists() {
        true => whole,
        false => data.to_owned(),
    })
}

/// Whether this node has a configuration of its own.
pub fn has_own(work: &Work<'_>) -> Result<bool> {
    let layout = work.instance.layout();
    Ok(layout.is_configured(&moved(work)?))
}

/// Puts them back, in the place of the primary's that have come with the rewind; how many. A node
/// that had no configuration of its own keeps the primary's.
pub fn put_back(work: &Work<'_>) -> Result<usize> {
    let (data, kept) = (work.data(), work.kept());
    let mut back = go_back(work)?;
    let whole = moved(work)?;
    if whole != data {
        let going = kept.join(GOING);
        clear(work, &whole, data)?;
        fs::rename(&whole, &going)
            .and_then(|()| durable::sync_dir(&kept))
            .with_context(|| going.display().to_string())?;
        back += go_back(work)?;
    }
    Ok(back)
}

/// Moves back what is on its way; how many.
fn go_back(work: &Work<'_>) -> Result<usize> {
    let (data, going) = (work.data(), work.kept().join(GOING));
    let back = entries(&going, |_| Ok(true))?;
    for path in &back {
        shift(path, &within(data, path))?;
    }
    if going.exists() {
        settle(&[data, &going])?;
        remove_dir(&going)?;
    }
    Ok(back.len())
}

/// Removes what has come from the primary to `dir`, and what is in the place of those in `from`.
fn clear(work: &Work<'_>, from: &Path, dir: &Path) -> Result<()> {
    let names = work.names();
    if work.instance.layout().is_configured(from) {
        for path in own(names, dir)? {
            remove(&path)?;
        }
    }
    for path in own(names, from)? {
        remove(&within(dir, &path))?;
    }
    Ok(())
}

/// Copies them into `dir`, a copy of the primary; the data directory keeps its own.
pub fn copy_into(work: &Work<'_>, dir: &Path) -> Result<()> {
    let from = moved(work)?;
    clear(work, &from, dir)?;
    for path in own(work.names(), &from)? {
        if let Err(error) = copy(&path, &within(dir, &path)) {
            let text = format!("warning: {error:#}: it is not in the copy");
            work.journal.stamped(text);
        }
    }
    // By it the configuration is found, where that is elsewhere.
    let opts = work.data().join(work.names().opts_file);
    if opts.exists() {
        copy(&opts, &within(dir, &opts))?;
    }
    settle(&[dir])
}

/// Forgets what was kept of a rewind, of which nothing is needed. This node's own files are no such thing.
pub fn forget(work: &Work<'_>) -> Result<()> {
    let kept = work.kept();
    if is_back(work) {
        return remove_dir(&kept);
    }
    let stamp = clock::stamp().replace([' ', ':', '-'], "");
    let left = beside(&kept, &stamp);
    fs::rename(&kept, &left).with_context(|| format!("failed to rename {}", kept.display()))?;
    let text = format!(
        "warning: files of this node from before its rewind are in {}: look through them, and remove it",
        left.display()
    );
    work.journal.stamped(text);
    Ok(())
}

/// The renames in these directories, and what was copied there, on the disk.
fn settle(dirs: &[&Path]) -> Result<()> {
    for dir in dirs {
        durable::sync_file_system(dir)
            .with_context(|| format!("failed to sync {}", dir.display()))?;
    }
    Ok(())
}

/// Moves `from`; between two file systems, and where it is a mount point, by a copy.
fn shift(from: &Path, to: &Path) -> Result<()> {
    match fs::rename(from, to) {
        Ok(()) => return Ok(()),
        Err(e) if is_other_disk(&e) => {}
        Err(e) => return Err(e).with_context(|| format!("failed to move {}", from.display())),
    }
    if fs::symlink_metadata(to).is_ok_and(|it| it.is_dir()) {
        // The mount point to which it comes back.
        copy(from, to)?;
        settle(&[to])?;
        return remove(from);
    }
    let part = beside(to, "part");
    remove(&part)?;
    copy(from, &part)?;
    settle(&[part.parent().unwrap_or(&part)])?;
    fs::rename(&part, to).with_context(|| format!("failed to rename {}", part.display()))?;
    remove(from)
}

fn is_other_disk(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::CrossesDevices | ErrorKind::ResourceBusy | ErrorKind::DirectoryNotEmpty
    )
}

/// Removes a file, a link, or a directory with what is in it. A mount point is emptied.
fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => {
            for below in entries(path, |_| Ok(true))? {
                remove(&below)?;
            }
            fs::remove_dir(path)
        }
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ResourceBusy) => {
            Err(e).with_context(|| format!("failed to remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Copies a file, a link, or a directory with what is in it. Sockets and pipes are made anew; devices, which
/// only root makes, are left out.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = || format!("failed to copy {} to {}", from.display(), to.display());
    let meta = fs::symlink_metadata(from).with_context(failed)?;
    if let Ok(link) = fs::read_link(from) {
        return symlink(link, to).with_context(failed);
    }
    if meta.is_dir() {
        match fs::create_dir(to) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e).with_context(failed),
            _ => {}
        }
        for path in entries(from, |_| Ok(true))? {
            copy(&path, &within(to, &path))?;
        }
    } else if meta.is_file() {
        fs::copy(from, to).with_context(failed)?;
    } else if meta.file_type().is_fifo() || meta.file_type().is_socket() {
        // Nobody opens them here: a pipe waits for whoever writes.
        let kind = SFlag::from_bits_truncate(meta.mode() & SFlag::S_IFMT.bits());
        mknod(to, kind, Mode::S_IRUSR | Mode::S_IWUSR, 0)
            .map_err(io::Error::from)
            .with_context(failed)?;
        return own_again(to, &meta).with_context(failed);
    } else {
        return Ok(());
    }
    give_back(to, &meta).with_context(failed)
}

/// Mode, date, and owner as far as that is possible.
fn give_back(path: &Path, meta: &Metadata) -> io::Result<()> {
    // With some modes its owner cannot open it.
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    let file = File::open(path)?;
    file.set_times(FileTimes::new().set_modified(meta.modified()?))?;
    own_again(path, meta)
}

/// Mode, and owner as far as that is possible.
fn own_again(path: &Path, meta: &Metadata) -> io::Result<()> {
    match chown(path, Some(meta.uid()), Some(meta.gid())) {
        Err(e) if e.kind() != ErrorKind::PermissionDenied => return Err(e),
        _ => {}
    }
    fs::set_permissions(path, fs::Permissions::from_mode(meta.mode() & 0o7777))
}
