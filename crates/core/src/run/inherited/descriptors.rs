//! Descriptors that somebody else has opened.

use std::os::fd::RawFd;

/// Closes every descriptor from `first` up.
pub fn close_from(first: RawFd) {
    if !close_range(first) {
        one_by_one(first);
    }
}

/// False: before Linux 5.9 (V8R3 lives on 3.10) there is no such call.
fn close_range(first: RawFd) -> bool {
    let (first, last) = (libc::c_long::from(first), libc::c_long::from(i32::MAX));
    // SAFETY: a system call with numbers only, on descriptors that nobody here has.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
}

/// Up to the limit or the largest number a pool of a thousand connections reaches.
fn one_by_one(first: RawFd) {
    // SAFETY: system calls with numbers only; descriptors that are not open give EBADF, which is ignored.
    unsafe {
        let limit = libc::sysconf(libc::_SC_OPEN_MAX).clamp(1024, 65_536);
        for fd in first..RawFd::try_from(limit).unwrap_or(65_536) {
            libc::close(fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, fcntl};
    use std::fs::File;
    use std::path::Path;

    /// Above all that a test has open.
    const HIGH: RawFd = 900;

    #[test]
    fn all_from_one_up_are_closed_and_none_below() {
        let file = File::open("/dev/null").unwrap();
        for close in [close_from, one_by_one] {
            let copies = [0, 1, 7].map(|it| fcntl(&file, FcntlArg::F_DUPFD(HIGH + it)).unwrap());
            let is_open = |fd: &RawFd| Path::new(&format!("/proc/self/fd/{fd}")).is_symlink();
            assert!(copies.iter().all(is_open));
            close(HIGH);
            assert!(!copies.iter().any(is_open));
        }
        file.metadata().unwrap();
    }
}
