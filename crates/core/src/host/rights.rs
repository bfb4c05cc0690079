//! What this process, and a file that it may start, may do on the network.

use caps::errors::CapsError;
use caps::{CapSet, Capability};
use nix::sys::prctl::get_no_new_privs;
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::Uid;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether this process may send and receive raw packets.
pub(crate) fn raw() -> bool {
    has(CapSet::Effective, Capability::CAP_NET_RAW)
}

/// Whether this process may change addresses, and can let a child do so.
pub(crate) fn addresses() -> bool {
    has(CapSet::Effective, Capability::CAP_NET_ADMIN) && Lent::to_a_child().is_ok()
}

fn has(set: CapSet, capability: Capability) -> bool {
    caps::has_cap(None, set, capability).unwrap_or(false)
}

/// While it lives, what this thread starts may change addresses, too: an exec takes the rights that come
/// from a file away, but for those lent so. Other threads' children get none. Root's have theirs anyway.
pub(crate) struct Lent;

impl Lent {
    /// # Errors
    /// A kernel that cannot do this (before Linux 4.3).
    pub(crate) fn to_a_child() -> Result<Self, CapsError> {
        if !Uid::effective().is_root() {
            // An error in between: what is raised is taken back all the same.
            let lent = Self;
            caps::raise(None, CapSet::Inheritable, Capability::CAP_NET_ADMIN)?;
            caps::raise(None, CapSet::Ambient, Capability::CAP_NET_ADMIN)?;
            return Ok(lent);
        }
        Ok(Self)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !Uid::effective().is_root() {
            // That takes it out of the ambient set as well.
            let _ = caps::drop(None, CapSet::Inheritable, Capability::CAP_NET_ADMIN);
        }
    }
}

/// Whether `program`, symlinks resolved, and every directory above it belong to root and are not
/// writable by anybody else.
pub(crate) fn only_root_can_replace(program: &Path) -> bool {
    fs::canonicalize(program).is_ok_and(|real| {
        real.ancestors()
            .all(|part| fs::metadata(part).is_ok_and(|it| only_root_writes(&it)))
    })
}

/// Whether nobody but root can write to what has this owner and mode.
pub(crate) fn only_root_writes(meta: &fs::Metadata) -> bool {
    meta.uid() == 0 && meta.mode() & 0o022 == 0
}

/// Whether the file brings rights along: setuid root, or file capabilities that are worth something.
/// Anybody may ask.
pub(crate) fn carries_rights(path: &Path) -> bool {
    brings_rights(path) && rights_count(path)
}

/// Whether rights that a file brings along have an effect on us: not where its file system is mounted
/// `nosuid`, and not where we may get no new ones (a unit with `NoNewPrivileges=`, a container
/// that has lost them).
fn rights_count(path: &Path) -> bool {
    let nosuid = statvfs(path).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_NOSUID));
    let none_new = get_no_new_privs().unwrap_or(false);
    // A kernel that does not tell what we may get at most limits nothing that we know of.
    let limited = !caps::has_cap(None, CapSet::Bounding, Capability::CAP_NET_RAW).unwrap_or(true);
    !nosuid && !none_new && !limited
}

fn brings_rights(path: &Path) -> bool {
    const SETUID: u32 = 0o4000;
    if fs::metadata(path).is_ok_and(|meta| meta.uid() == 0 && meta.mode() & SETUID != 0) {
        return true;
    }
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: both strings end in NUL; a null buffer of length 0 asks for the size only.
    let size = unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"security.capability".as_ptr(),
            std::ptr::null_mut(),
            0,
        )
    };
    size > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_replace_is_not_trusted() {
        assert!(only_root_can_replace(Path::new("/bin/sh")));
        // A directory that everybody may write to.
        assert!(!only_root_can_replace(&std::env::temp_dir()));
        assert!(!only_root_can_replace(Path::new("/nonexistent/ip")));
    }
}
