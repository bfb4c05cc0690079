//! What the pool leaves us with, and how to be rid of it.
//!
//! pgpool-II runs `failover_command` with `system()` from a process that blocks SIGTERM, ignores
//! or handles other signals, and holds listening sockets without close-on-exec. A child of ours
//! that kept one of those sockets (a database server above all) would stop the pool from ever
//! starting again on its port.

use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask,
};
use std::os::fd::RawFd;

/// First thing in every `main`, before there is a second thread: unblocks all signals, gives them
/// their default action (an ignored SIGCHLD would hide how children ended) and closes every
/// descriptor from 3 up. Missing standard descriptors were opened on `/dev/null` by Rust's
/// runtime, which also ignores SIGPIPE.
pub fn shed() {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGALRM,
        Signal::SIGTERM,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGCHLD,
    ] {
        // SAFETY: no handler is installed, so nothing can run in a signal's context.
        // It can only fail for an invalid signal number.
        let _ = unsafe { sigaction(signal, &default) };
    }
    // A file that may grow no more (`ulimit -f`) is an error like a full disk, and no end of a failover.
    let ignored = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
    // SAFETY: as above.
    let _ = unsafe { sigaction(Signal::SIGXFSZ, &ignored) };
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    close_from(3);
}

/// Closes every descriptor from `first` up.
fn close_from(first: RawFd) {
    // SAFETY: plain system calls; descriptors that are not open give EBADF, which is ignored.
    unsafe {
        if libc::syscall(
            libc::SYS_close_range,
            libc::c_long::from(first),
            libc::c_long::from(i32::MAX),
            0,
        ) == 0
        {
            return;
        }
        // Before Linux 5.9 (V8R3 lives on 3.10): one by one, up to the limit or the largest
        // number a pool of a thousand connections reaches.
        let limit = libc::sysconf(libc::_SC_OPEN_MAX).clamp(1024, 65_536);
        for fd in first..RawFd::try_from(limit).unwrap_or(65_536) {
            libc::close(fd);
        }
    }
}
