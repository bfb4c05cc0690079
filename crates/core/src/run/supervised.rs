//! An end that no disk can hold up.
//!
//! A thread that is stuck on a disk that hangs keeps its whole process from ending, `exit` and
//! SIGKILL notwithstanding, and whoever waits for the process (the pool, which has no time limit)
//! waits with it. So the work is done by a child, which says how it went; the process that is
//! waited for touches nothing, and ends as soon as it has heard.

use crate::deadline::Deadline;
use crate::exit::Exit;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getppid};
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

/// For a child that has said how it went to end.
const LINGER: Duration = Duration::from_millis(100);

/// Does `work` in a child and ends as it does, by the same code or the same signal. A child whose parent
/// is killed is killed too. `begin` comes first, in the child as well: it may become another user, and may
/// start threads, which must not be there before the fork. Where there is a second thread already, which may
/// hold any lock of the C library for ever, there is no child.
pub fn run(begin: impl FnOnce() -> Result<(), Exit>, work: impl FnOnce() -> Exit) -> ExitCode {
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
    let Ok((mut heard, mut tell)) = io::pipe() else {
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
            let mut code = [0];
            match heard.read_exact(&mut code) {
                Ok(()) => {
                    // Nothing of us is left behind, if that can be had in a moment.
                    let _ = Deadline::after(LINGER).poll(Duration::from_millis(1), || {
                        let still = waitpid(child, Some(WaitPidFlag::WNOHANG));
                        (still != Ok(WaitStatus::StillAlive)).then_some(())
                    });
                    ExitCode::from(code[0])
                }
                // It died before it could say anything.
                Err(_) => end_like(child),
            }
        }
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

fn end_like(child: Pid) -> ExitCode {
    match waitpid(child, None) {
        Ok(WaitStatus::Exited(_, code)) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Ok(WaitStatus::Signaled(_, signal, _)) => {
            let _ = raise(signal);
            Exit::Failed.into()
        }
        _ => Exit::Failed.into(),
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
        run(begin, || {
            here.set(here.get() + 1);
            Exit::Done
        });
        assert_eq!(here.get(), 2);
        run(|| Err(Exit::Usage), || unreachable!("it was not begun"));
    }
}
