//! An end that no disk can hold up.
//!
//! A thread that is stuck on a disk that hangs keeps its whole process from ending, `exit` and
//! SIGKILL notwithstanding, and whoever waits for the process (the pool, which has no time limit)
//! waits with it. So the work is done by a child, which says how it went; the process that is
//! waited for touches nothing, and ends as soon as it has heard.

use crate::deadline::Deadline;
use crate::exit::Exit;
use crate::screen;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid};
use std::io::{self, IsTerminal, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

/// For a child that has said how it went to end.
const LINGER: Duration = Duration::from_millis(100);

/// By these a person ends a run, or the end of a session does.
const ENDING: [Signal; 4] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
];

/// Does `work` in a child and ends as it does, by the same code or the same signal. A child whose parent
/// is killed is killed too. Ended by a signal, a person at a terminal gets a clean line, and `last_words` on
/// it. `begin` comes first, in the child as well: it may become another user, and may
/// start threads, which must not be there before the fork. Where there is a second thread already, which may
/// hold any lock of the C library for ever, there is no child.
pub fn run(
    last_words: &str,
    begin: impl FnOnce() -> Result<(), Exit>,
    work: impl FnOnce() -> Exit,
) -> ExitCode {
    let parent = Pid::this();
    let all = |watch: &dyn Fn()| match begin() {
        Ok(()) => {
            watch();
            work()
        }
        Err(exit) => exit,
    };
    if !is_single_threaded() {
        return all(&|| ()).into();
    }
    let Ok((heard, mut tell)) = io::pipe() else {
        return all(&|| ()).into();
    };
    // SAFETY: there is one thread, as was looked at, so the child may do whatever its parent could.
    match unsafe { fork() } {
        // No process more can be had: then without.
        Err(_) => all(&|| ()).into(),
        Ok(ForkResult::Child) => {
            drop(heard);
            die_with(parent);
            // A change of user takes it back.
            let exit = all(&|| die_with(parent));
            let _ = tell.write_all(&[exit as u8]);
            exit.into()
        }
        Ok(ForkResult::Parent { child }) => {
            drop(tell);
            match wait_for(heard, child) {
                End::Said(code) => ExitCode::from(code),
                End::Died(Some(signal)) => {
                    part(last_words);
                    // Not before: the child may have died first, of what has come for us as well.
                    let _ = SigSet::from_iter(ENDING).thread_unblock();
                    let _ = raise(signal);
                    Exit::Failed.into()
                }
                End::Died(None) => Exit::Failed.into(),
            }
        }
    }
}

/// How the child ended, or its parent has to. Meanwhile, and afterwards, no signal that a person sends ends
/// the parent before it has said its last words.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It said so, with this exit code.
    Said(u8),
    /// It died before it could say anything, or a signal has come that ends both.
    Died(Option<Signal>),
}

fn wait_for(mut heard: PipeReader, child: Pid) -> End {
    let ending = SigSet::from_iter(ENDING);
    let caught = ending.thread_block().and_then(|()| {
        SignalFd::with_flags(&ending, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
    });
    let signal = match &caught {
        Ok(caught) => until_said(&heard, caught),
        // Then they end us at once, as everybody.
        Err(_) => {
            let _ = ending.thread_unblock();
            None
        }
    };
    if let Some(signal) = signal {
        // It dies with us anyway. Before the last words, so that it writes nothing behind them.
        let _ = kill(child, Signal::SIGKILL);
        let _ = until_closed(&heard);
        return End::Died(Some(signal));
    }
    let mut code = [0];
    match heard.read_exact(&mut code) {
        Ok(()) => {
            // Nothing of us is left behind, if that can be had in a moment.
            let _ = Deadline::after(LINGER).poll(Duration::from_millis(1), || {
                let still = waitpid(child, Some(WaitPidFlag::WNOHANG));
                (still != Ok(WaitStatus::StillAlive)).then_some(())
            });
            End::Said(code[0])
        }
        // It died before it could say anything.
        Err(_) => match waitpid(child, None) {
            Ok(WaitStatus::Exited(_, code)) => End::Said(u8::try_from(code).unwrap_or(1)),
            Ok(WaitStatus::Signaled(_, signal, _)) => End::Died(Some(signal)),
            _ => End::Died(None),
        },
    }
}

/// `None`: the child has said something, or is gone. Else the signal that has come first.
fn until_said(heard: &PipeReader, caught: &SignalFd) -> Option<Signal> {
    loop {
        let mut both = [
            PollFd::new(heard.as_fd(), PollFlags::POLLIN),
            PollFd::new(caught.as_fd(), PollFlags::POLLIN),
        ];
        let _ = poll(&mut both, PollTimeout::NONE);
        if both[0].any() == Some(true) {
            return None;
        }
        if let Ok(Some(info)) = caught.read_signal() {
            let number = i32::try_from(info.ssi_signo).ok();
            return number.and_then(|it| Signal::try_from(it).ok());
        }
    }
}

/// The child is gone, or stuck in the kernel.
fn until_closed(heard: &PipeReader) -> nix::Result<i32> {
    let limit = PollTimeout::try_from(LINGER).unwrap_or(PollTimeout::ZERO);
    let mut end = [PollFd::new(heard.as_fd(), PollFlags::POLLIN)];
    poll(&mut end, limit)
}

/// The last words, for a person.
fn part(last_words: &str) {
    screen::leave();
    if io::stderr().is_terminal() {
        let _ = writeln!(io::stderr(), "{last_words}");
    }
}

fn is_single_threaded() -> bool {
    let threads = std::fs::read_dir("/proc/self/task");
    threads.is_ok_and(|all| all.count() == 1)
}

fn die_with(parent: Pid) {
    let _ = set_pdeathsig(Signal::SIGKILL);
    if getppid() != parent {
        // It was gone before it could be watched.
        let _ = raise(Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A test is a second thread of its program.
    #[test]
    fn nothing_is_forked_beside_a_second_thread() {
        let here = Cell::new(0);
        let begin = || {
            here.set(1);
            Ok(())
        };
        // What a child does is not seen here.
        run("", begin, || {
            here.set(here.get() + 1);
            Exit::Done
        });
        assert_eq!(here.get(), 2);
        run("", || Err(Exit::Usage), || unreachable!("it was not begun"));
    }
}
