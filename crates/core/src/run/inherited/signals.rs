//! Signals as a program expects them, whatever whoever started us did with them.

use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask,
};

const RESTORED: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCHLD,
];

/// None is blocked, and each has its default action. But a file that may grow no more (`ulimit -f`) is an
/// error like a full disk, and no end of a failover.
pub fn restore() {
    for signal in RESTORED {
        set(signal, SigHandler::SigDfl);
    }
    set(Signal::SIGXFSZ, SigHandler::SigIgn);
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
}

/// `action` is no handler of ours.
fn set(signal: Signal, action: SigHandler) {
    let action = SigAction::new(action, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is installed, so nothing can run in a signal's context.
    // It can only fail for an invalid signal number.
    let _ = unsafe { sigaction(signal, &action) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::Deadline;
    use crate::process::{Cmd, run};
    use std::time::Duration;

    /// Set where this very test is a process of its own.
    const ALONE: &str = "SIGNALS_ALONE";

    /// The signals of this thread in one of the masks that the kernel shows.
    fn mask(name: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(line.unwrap().trim_start_matches(':').trim(), 16).unwrap()
    }

    fn has(mask: u64, signal: Signal) -> bool {
        mask >> (signal as i32 - 1) & 1 == 1
    }

    #[test]
    fn what_was_ignored_or_blocked_is_so_no_more() {
        if std::env::var_os(ALONE).is_none() {
            let script = "trap '' HUP INT TERM USR1 CHLD; exec \"$0\" what_was_ignored_or_blocked";
            let alone = Cmd::new("/bin/sh").args(["-c", script]);
            let alone = alone.arg(std::env::current_exe().unwrap()).env(ALONE, "1");
            let out = run(&alone, Deadline::after(Duration::from_secs(10))).unwrap();
            assert_eq!(out.code, 0, "{}", out.stdout);
            return;
        }
        assert!(has(mask("SigIgn"), Signal::SIGTERM));
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), None).unwrap();
        assert!(has(mask("SigBlk"), Signal::SIGTERM));
        restore();
        assert_eq!(mask("SigBlk"), 0);
        let ignored = mask("SigIgn");
        assert!(!RESTORED.iter().any(|it| has(ignored, *it)), "{ignored:x}");
        assert!(has(ignored, Signal::SIGXFSZ));
    }
}
