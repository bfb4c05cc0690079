//! A data directory as it was, put back between two repetitions: only what has changed is copied.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lab::Node;
use lab::layout::DATA;

/// Where it is kept, on the host's own disk.
const KEPT: &str = "/home/kingbase/snapshot";

/// The data directory of a host whose database is down.
pub struct Snapshot {
    data: PathBuf,
    kept: PathBuf,
}

impl Snapshot {
    pub fn take(node: &Node) -> Result<Self> {
        let snapshot = Self {
            data: node.path(DATA)?,
            kept: node.path(KEPT)?,
        };
        mirror(&snapshot.data, &snapshot.kept)?;
        snapshot.flush()?;
        Ok(snapshot)
    }

    /// The database is down. What was written is on the disk afterwards: whoever is measured next
    /// does not pay for it.
    pub fn restore(&self) -> Result<()> {
        mirror(&self.kept, &self.data)?;
        self.flush()
    }

    fn flush(&self) -> Result<()> {
        let disk = File::open(&self.data)?;
        Ok(nix::unistd::syncfs(disk)?)
    }
}

/// Makes `to` what `from` is. A file of the same size and time of change is the same.
fn mirror(from: &Path, to: &Path) -> Result<()> {
    mirror_directory(from, to).with_context(|| format!("{} to {}", from.display(), to.display()))
}

fn mirror_directory(from: &Path, to: &Path) -> Result<()> {
    let wanted = fs::symlink_metadata(from)?;
    match fs::symlink_metadata(to) {
        Ok(there) if there.is_dir() => {}
        Ok(_) => fs::remove_file(to)?,
        Err(_) => {}
    }
    fs::create_dir_all(to)?;
    own(to, &wanted)?;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        let (source, target) = (from.join(&name), to.join(&name));
        let meta = fs::symlink_metadata(&source)?;
        if meta.is_dir() {
            mirror_directory(&source, &target)?;
        } else if meta.is_symlink() {
            remove(&target)?;
            symlink(fs::read_link(&source)?, &target)?;
        } else if meta.is_file() {
            mirror_file(&source, &target, &meta)?;
        }
        names.insert(name);
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !names.contains(&entry.file_name()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn mirror_file(from: &Path, to: &Path, wanted: &Metadata) -> Result<()> {
    let identity = |meta: &Metadata| (meta.len(), meta.mtime(), meta.mtime_nsec());
    if fs::symlink_metadata(to)
        .is_ok_and(|there| there.is_file() && identity(&there) == identity(wanted))
    {
        return Ok(());
    }
    remove(to)?;
    fs::copy(from, to)?;
    own(to, wanted)?;
    Ok(File::options()
        .write(true)
        .open(to)?
        .set_modified(wanted.modified()?)?)
}

fn own(path: &Path, wanted: &Metadata) -> Result<()> {
    chown(path, Some(wanted.uid()), Some(wanted.gid()))?;
    Ok(fs::set_permissions(
        path,
        Permissions::from_mode(wanted.mode() & 0o7777),
    )?)
}

fn remove(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(fs::remove_dir_all(path)?),
        Ok(_) => Ok(fs::remove_file(path)?),
        Err(_) => Ok(()),
    }
}
