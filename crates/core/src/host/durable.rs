//! Files that are there whole or not at all, also after a power failure.

use nix::unistd::{Gid, Uid};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

/// Puts a file with these contents in the place of `path`, under a temporary name at first. `path`
/// is the old file or the new one at any time; a symbolic link there is replaced, not followed.
///
/// Without an `owner` the file belongs to this process's user. On an error `path` is as it was,
/// unless it is the directory that could not be synced.
pub fn write(path: &Path, contents: &[u8], mode: u32, owner: Option<(Uid, Gid)>) -> io::Result<()> {
    place(path, contents, mode, owner, File::sync_all)?;
    sync_dir(parent(path))
}

/// [`write`] without waiting for the disk: whole for whoever reads it, and perhaps empty after a power
/// failure. For what is written anew each minute.
pub fn write_unsynced(
    path: &Path,
    contents: &[u8],
    mode: u32,
    owner: Option<(Uid, Gid)>,
) -> io::Result<()> {
    place(path, contents, mode, owner, |_| Ok(()))
}

fn place(
    path: &Path,
    contents: &[u8],
    mode: u32,
    owner: Option<(Uid, Gid)>,
    sync: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name"))?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".new");
    let temporary = path.with_file_name(temporary);

    // A killed run may have left one. It is not written to: it may be a link, or open elsewhere.
    remove_if_there(&temporary)?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&temporary)?;
    let written = fill(&file, &temporary, contents, mode, owner)
        .and_then(|()| sync(&file))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Removes a file for good. That there is none is fine.
pub fn remove(path: &Path) -> io::Result<()> {
    remove_if_there(path)?;
    // Also where there was none: a run may have been killed between the two.
    match sync_dir(parent(path)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        synced => synced,
    }
}

/// Renames a file for good, within its directory. That there is none is fine.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Ok(()) => sync_dir(parent(to)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Makes what was created, renamed or removed in the directory `path` outlive a power failure.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    match File::open(path)?.sync_all() {
        // Some file systems cannot do that for a directory; the server, too, lets them.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EBADF)) => Ok(()),
        synced => synced,
    }
}

/// Brings all that was written to the file system of the directory `path` through to the disk. Of many
/// files that is far less work for it than one by one.
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    Ok(nix::unistd::syncfs(File::open(path)?)?)
}

/// Makes `file`, which we have just made as `path`, somebody's: unless a link on the way has led to a
/// directory that is not that one's. Who may replace the directory of the log by a link must not get a
/// file of his own in one of root's, such as those from which every shell reads.
pub(crate) fn give(file: &File, path: &Path, uid: Uid, gid: Gid) -> io::Result<()> {
    let real = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    if real != path && fs::metadata(parent(&real))?.uid() != uid.as_raw() {
        return Ok(());
    }
    fchown(file, Some(uid.as_raw()), Some(gid.as_raw()))
}

/// The owner and the mode come first, so that nobody else can ever read what is written.
fn fill(
    mut file: &File,
    path: &Path,
    contents: &[u8],
    mode: u32,
    owner: Option<(Uid, Gid)>,
) -> io::Result<()> {
    if let Some((uid, gid)) = owner {
        give(file, path, uid, gid)?;
    }
    // The umask has no say in it.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(contents)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    fn directory(test: &str) -> PathBuf {
        let name = format!("durable-{test}-{}", crate::clock::run_name());
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn names(dir: &Path) -> Vec<OsString> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn also_without_waiting_for_the_disk_it_is_replaced_whole() {
        let dir = directory("unsynced");
        let path = dir.join("f");
        write(&path, b"old", 0o600, None).unwrap();
        write_unsynced(&path, b"new", 0o640, None).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(names(&dir), ["f"]);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = directory("whole");
        let path = dir.join("f");
        write(&path, b"old", 0o666, None).unwrap();
        let mut old = File::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o666);

        write(&path, b"new", 0o600, None).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        // Who had it open still reads the old one.
        assert_eq!(io::read_to_string(&mut old).unwrap(), "old");
        assert_eq!(names(&dir), ["f"]);

        remove(&path).unwrap();
        remove(&path).unwrap();
        remove(&dir.join("none/f")).unwrap();
        assert!(names(&dir).is_empty());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_leftover_is_replaced_and_a_link_not_followed() {
        let dir = directory("leftover");
        let (path, leftover, other) = (dir.join("f"), dir.join(".f.new"), dir.join("other"));
        fs::write(&other, "other").unwrap();
        fs::write(&leftover, "half of a longer text").unwrap();
        write(&path, b"one", 0o640, None).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");

        symlink(&other, &leftover).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(&other, &path).unwrap();
        write(&path, b"two", 0o640, None).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read(&other).unwrap(), b"other");
        assert_eq!(names(&dir), ["f", "other"]);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn an_error_leaves_nothing_behind() {
        let dir = directory("error");
        let path = dir.join("d");
        fs::create_dir(&path).unwrap();
        write(&path, b"x", 0o600, None).unwrap_err();
        assert_eq!(names(&dir), ["d"]);
        assert!(remove(&path).is_err());
        write(&dir.join("none/f"), b"x", 0o600, None).unwrap_err();
        write(&dir.join(".."), b"x", 0o600, None).unwrap_err();
        assert_eq!(names(&dir), ["d"]);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn nobody_gets_a_file_in_a_directory_of_others_by_a_link() {
        let me = (Uid::effective(), Gid::effective());
        if !me.0.is_root() {
            return;
        }
        let owner = (Uid::from_raw(65534), Gid::from_raw(65533));
        let dir = directory("linked");
        let (own, others) = (dir.join("own"), dir.join("others"));
        for path in [&own, &others] {
            fs::create_dir(path).unwrap();
        }
        std::os::unix::fs::chown(&own, Some(65534), None).unwrap();
        for (target, given) in [(&own, 65534), (&others, 0)] {
            let link = dir.join("link");
            symlink(target, &link).unwrap();
            write(&link.join("f"), b"x", 0o640, Some(owner)).unwrap();
            assert_eq!(fs::metadata(target.join("f")).unwrap().uid(), given);
            fs::remove_file(link).unwrap();
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_owner_is_the_one_that_was_asked_for() {
        let dir = directory("owner");
        let path = dir.join("f");
        let me = (Uid::effective(), Gid::effective());
        // Only root can give a file away.
        let owner = match me.0.is_root() {
            true => (Uid::from_raw(65534), Gid::from_raw(65533)),
            false => me,
        };
        write(&path, b"x", 0o640, Some(owner)).unwrap();
        let found = fs::metadata(&path).unwrap();
        assert_eq!(
            (found.uid(), found.gid()),
            (owner.0.as_raw(), owner.1.as_raw())
        );
        assert_eq!(found.mode() & 0o7777, 0o640);
        fs::remove_dir_all(dir).unwrap();
    }
}
