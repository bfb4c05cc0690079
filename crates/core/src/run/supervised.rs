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

/// Does `work` in a child and ends as it does, by the same code or the same signal. To be called
/// before there is a second thread. A child whose parent is killed is killed too.
pub fn run(work: impl FnOnce() -> Exit) -> ExitCode {
    let parent = Pid::this();
    let Ok((mut heard, mut tell)) = io::pipe() else {
        return work().into();
    };
    // SAFETY: there is one thread, so the child may do whatever its parent could.
    match unsafe { fork() } {
        // No process more can be had: then without.
        Err(_) => work().into(),
        Ok(ForkResult::Child) => {
            drop(heard);
            let _ = set_pdeathsig(Signal::SIGKILL);
            if getppid() != parent {
                // It was gone before it could be watched.
                let _ = raise(Signal::SIGKILL);
            }
            let exit = work();
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
