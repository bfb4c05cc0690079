//! Child processes on this host: each in its own process group, with a clean environment and none of
//! our descriptors (a caller's were closed at the start, our own are all close-on-exec), both pipes
//! drained, and a deadline after which it gets TERM and then KILL.

use crate::deadline::Deadline;
use crate::users::SystemUser;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, Uid};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Between TERM and KILL for a child that is out of time.
const GRACE: Duration = Duration::from_millis(200);
/// How often a child is asked whether it ended, when its pipes say nothing.
const REAP_INTERVAL: Duration = Duration::from_millis(5);
/// Output kept of one child, per stream: the end of it, up to twice as much.
const OUTPUT_LIMIT: usize = 1 << 20;
/// The environment's PATH for every child.
pub const SAFE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program and its arguments: never a shell line.
#[derive(Clone, Debug)]
pub struct Cmd {
    program: PathBuf,
    args: Vec<Arg>,
    env: Vec<(OsString, OsString)>,
    user: Option<SystemUser>,
    stdin: Vec<u8>,
    dying_with_us: bool,
}

#[derive(Clone)]
struct Arg {
    text: OsString,
    secret: bool,
}

impl Arg {
    fn plain(text: impl Into<OsString>) -> Self {
        Self {
            text: text.into(),
            secret: false,
        }
    }
}

impl fmt::Debug for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.secret {
            true => f.write_str("****"),
            false => self.text.fmt(f),
        }
    }
}

impl Cmd {
    /// `program` by its path; nothing is searched.
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            user: None,
            stdin: Vec::new(),
            dying_with_us: false,
        }
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(Arg::plain(arg));
        self
    }

    /// One more argument, which everybody on the host can see in the list of processes, but nobody
    /// in a log or an error of ours. Where the program has another way, use that.
    pub fn secret_arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(Arg {
            text: arg.into(),
            secret: true,
        });
        self
    }

    /// More arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Arg::plain));
        self
    }

    /// An environment variable. The rest of the environment is `PATH`, `LC_ALL=C`, `HOME`, and
    /// not the caller's.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Runs it as `user`. Without effect where that is who we are; needs root otherwise.
    pub fn as_user(mut self, user: &SystemUser) -> Self {
        self.user = Some(user.clone());
        self
    }

    /// What it reads from standard input (default: nothing). This is the way for a secret.
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.stdin = input.into();
        self
    }

    /// It is killed as soon as the thread that starts it ends, however that comes about: for what
    /// must not go on changing things when nobody watches it.
    pub fn dying_with_us(mut self) -> Self {
        self.dying_with_us = true;
        self
    }

    /// The program's path.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The line for a POSIX shell on the other side of ssh: program and arguments, each quoted.
    pub fn shell_line(&self) -> String {
        self.line(|arg| shell_quote(&arg.text.to_string_lossy()))
    }

    fn line(&self, show: impl Fn(&Arg) -> String) -> String {
        std::iter::once(shell_quote(&self.program.to_string_lossy()))
            .chain(self.args.iter().map(show))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// What it reads from standard input.
    pub(crate) fn input(&self) -> &[u8] {
        &self.stdin
    }

    fn spawn(&self) -> Result<Child, RunError> {
        let mut command = Command::new(&self.program);
        command
            .args(self.args.iter().map(|arg| &arg.text))
            .env_clear()
            .env("PATH", SAFE_PATH)
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(if self.stdin.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let other = match &self.user {
            Some(user) => {
                command.env("HOME", &user.home).env("USER", &user.name);
                (user.uid != nix::unistd::geteuid()).then(|| (user.clone(), user.groups()))
            }
            None => None,
        };
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        let dying_with_us = self.dying_with_us;
        // Without this the child shares our memory until its exec, which spares copying our page tables.
        if other.is_some() || dying_with_us {
            // SAFETY: between fork and exec only system calls are made, on memory that was there
            // before the fork.
            unsafe {
                command.pre_exec(move || {
                    if let Some((user, groups)) = &other {
                        nix::unistd::setgroups(groups)?;
                        nix::unistd::setgid(user.gid)?;
                        nix::unistd::setuid(user.uid)?;
                    }
                    // A change of user takes it back, so it comes after that.
                    if dying_with_us {
                        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                    }
                    Ok(())
                });
            }
        }
        command.spawn().map_err(|source| RunError::NotStarted {
            command: self.to_string(),
            why: match source.kind() {
                io::ErrorKind::NotFound => "no such program".to_owned(),
                io::ErrorKind::PermissionDenied => {
                    "not allowed to run it (or to change to its user)".to_owned()
                }
                _ => source.to_string(),
            },
        })
    }
}

/// The name that the kernel has for a process, of at most 15 bytes. That can be read of any process,
/// and at once: its arguments lie in its memory, and whoever reads them may have to wait for one that
/// is stuck.
pub(crate) fn kernel_name(pid: i32) -> io::Result<String> {
    // With its line end: longer than what there is, so that one call reads it.
    let mut name = [0; 32];
    let length = File::open(format!("/proc/{pid}/comm"))?.read(&mut name)?;
    Ok(String::from_utf8_lossy(name[..length].trim_ascii_end()).into_owned())
}

/// What the kernel says of a process in `/proc/PID/status`; nothing of one that is not there. A name that
/// is not UTF-8 hides nothing.
pub(crate) fn status_of(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Who a process with this `/proc/PID/status` acts as.
pub(crate) fn owner_in(status: &str) -> Option<Uid> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    // Real, effective, saved and file system id.
    let effective = ids.split_ascii_whitespace().nth(1)?;
    effective.parse().ok().map(Uid::from_raw)
}

/// The signals that a process with this `/proc/PID/status` was sent and has not taken, its threads'
/// own and all of its: bit 0 is signal 1.
pub(crate) fn pending_signals(status: &str) -> u64 {
    let pending = |name: &str| {
        let bits = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(bits.trim(), 16).ok()
    };
    pending("SigPnd:").unwrap_or(0) | pending("ShdPnd:").unwrap_or(0)
}

/// Quotes one word for a POSIX shell. Plain words stay as they are, so that lines stay readable.
pub fn shell_quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line(|arg| match arg.secret {
            true => "****".to_owned(),
            false => shell_quote(&arg.text.to_string_lossy()),
        }))
    }
}

/// What a finished child left.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Exit code; a child killed by signal N counts as 128 + N, as in a shell.
    pub code: i32,
    /// Standard output (invalid UTF-8 replaced); of more than 1 MB the end.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

impl Output {
    /// The last line with text in it that the child printed, on standard error if there is one.
    pub fn last_line(&self) -> &str {
        let last = |text: &'_ str| {
            let text = text.trim_end();
            text.len() - text.rsplit('\n').next().map_or(0, str::len)
        };
        let text = if self.stderr.trim().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        text[last(text)..].trim()
    }

    /// This output if the code is 0, else [`RunError::Failed`] for `command`.
    pub fn checked(self, command: &impl fmt::Display) -> Result<Self, RunError> {
        if self.code == 0 {
            return Ok(self);
        }
        Err(RunError::Failed {
            command: command.to_string(),
            code: self.code,
            last_line: self.last_line().to_owned(),
        })
    }
}

/// Why a program did not do its work. Callers branch on the variant.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be started at all.
    #[error("failed to start {command}: {why}")]
    NotStarted {
        /// The command line.
        command: String,
        /// The system's reason.
        why: String,
    },
    /// It ended with another code than 0.
    #[error("{command} ended with code {code}: {last_line}")]
    Failed {
        /// The command line.
        command: String,
        /// Exit code, or 128 + signal.
        code: i32,
        /// The last line it printed.
        last_line: String,
    },
    /// It was still running when its time was up, and was killed.
    #[error("{command} was not done within {} ms", .given.as_millis())]
    TimedOut {
        /// The command line.
        command: String,
        /// How long it was given.
        given: Duration,
    },
    /// The host it was to run on could not be reached or did not let us in.
    #[error("ssh to {host} failed: {why}")]
    Unreachable {
        /// `user@address:port`.
        host: String,
        /// What went wrong.
        why: String,
    },
}

/// Which pipe a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Runs `cmd` and waits for it. Any exit code is `Ok`; see [`Output::checked`].
pub fn run(cmd: &Cmd, deadline: Deadline) -> Result<Output, RunError> {
    run_lines(cmd, deadline, |_, _| ControlFlow::Continue(()))
}

/// Like [`run`], and hands over each line as it comes. On `Break` the child has done what it was
/// wanted for: it gets SIGINT, so that it can print its summary, and the output so far is returned.
pub fn run_lines(
    cmd: &Cmd,
    deadline: Deadline,
    on_line: impl FnMut(Stream, &str) -> ControlFlow<()>,
) -> Result<Output, RunError> {
    Background::spawn(cmd)?.wait_lines(deadline, on_line)
}

/// A child that works while we go on. Dropped, it is killed.
#[derive(Debug)]
pub struct Background {
    child: Child,
    group: Pid,
    command: String,
    stdin: Option<(ChildStdin, Vec<u8>)>,
    stdout: Pipe<ChildStdout>,
    stderr: Pipe<ChildStderr>,
    reaped: Option<ExitStatus>,
}

impl Background {
    /// Starts `cmd`.
    pub fn spawn(cmd: &Cmd) -> Result<Self, RunError> {
        let mut child = cmd.spawn()?;
        let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
        let stdin = child.stdin.take().map(|pipe| (pipe, cmd.stdin.clone()));
        let stdout = Pipe::new(child.stdout.take());
        let stderr = Pipe::new(child.stderr.take());
        Ok(Self {
            child,
            group,
            command: cmd.to_string(),
            stdin,
            stdout,
            stderr,
            reaped: None,
        })
    }

    /// Asks it to stop and print what it has (SIGINT), as a person at a terminal would.
    pub fn interrupt(&self) {
        self.signal(Signal::SIGINT);
    }

    /// Looks without waiting: what it printed since the last look goes to `on_line`, line by line;
    /// its output if it has ended. For several children watched side by side.
    pub fn look(&mut self, mut on_line: impl FnMut(Stream, &str)) -> Option<Output> {
        let mut on_line = |stream, line: &str| {
            on_line(stream, line);
            ControlFlow::Continue(())
        };
        let now = Deadline::after(Duration::ZERO);
        let ended = self.try_reap();
        // Read after the reap: all that it printed is in the pipes then.
        let _ = self.read_some(now, &mut on_line);
        ended.map(|status| self.output(status))
    }

    /// Waits for its end.
    pub fn wait(self, deadline: Deadline) -> Result<Output, RunError> {
        self.wait_lines(deadline, |_, _| ControlFlow::Continue(()))
    }

    fn wait_lines(
        mut self,
        deadline: Deadline,
        mut on_line: impl FnMut(Stream, &str) -> ControlFlow<()>,
    ) -> Result<Output, RunError> {
        let given = deadline.remaining();
        if let Some((mut pipe, input)) = self.stdin.take() {
            // A pipe holds 4 kB at least, and no input of ours is longer; a child that does not
            // read it is its own problem (EPIPE), reported by how it ends.
            let _ = pipe.write_all(&input);
        }
        let mut wanted = true;
        loop {
            let flow = self.read_some(deadline, &mut on_line);
            if wanted && flow.is_break() {
                wanted = false;
                self.interrupt();
            }
            if let Some(status) = self.try_reap() {
                // A grandchild may hold the pipes (a started server does): what is there is
                // read, and nothing is waited for.
                let _ = self.read_some(Deadline::after(Duration::ZERO), &mut on_line);
                return Ok(self.output(status));
            }
            if deadline.passed() {
                self.stop();
                if !wanted {
                    return Ok(self.output(ExitStatus::from_raw(0)));
                }
                return Err(RunError::TimedOut {
                    command: self.command.clone(),
                    given,
                });
            }
        }
    }

    /// One round: waits until a pipe has something, a child may have ended, or time is up.
    fn read_some(
        &mut self,
        deadline: Deadline,
        on_line: &mut impl FnMut(Stream, &str) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let wait = REAP_INTERVAL.min(deadline.remaining());
        let fds: Vec<BorrowedFd<'_>> = [self.stdout.fd(), self.stderr.fd()]
            .into_iter()
            .flatten()
            .collect();
        if fds.is_empty() {
            deadline.pause(Duration::from_millis(1));
            return ControlFlow::Continue(());
        }
        let mut polled: Vec<PollFd<'_>> = fds
            .into_iter()
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
        if !matches!(poll(&mut polled, timeout), Ok(ready) if ready > 0) {
            return ControlFlow::Continue(());
        }
        let out = self.stdout.drain(|line| on_line(Stream::Stdout, line));
        let err = self.stderr.drain(|line| on_line(Stream::Stderr, line));
        if out.is_break() { out } else { err }
    }

    fn try_reap(&mut self) -> Option<ExitStatus> {
        if self.reaped.is_none() {
            self.reaped = self.child.try_wait().ok().flatten();
        }
        self.reaped
    }

    fn signal(&self, signal: Signal) {
        if self.reaped.is_none() {
            // The group may be gone already: that is what was wanted.
            let _ = killpg(self.group, signal);
        }
    }

    /// TERM, a grace, KILL. A child stuck in the kernel is left behind.
    fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        for _ in 0..2 {
            let gone = Deadline::after(GRACE).poll(REAP_INTERVAL, || self.try_reap());
            if gone.is_some() {
                return;
            }
            self.signal(Signal::SIGKILL);
        }
    }

    fn output(&mut self, status: ExitStatus) -> Output {
        Output {
            code: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: self.stdout.take_text(),
            stderr: self.stderr.take_text(),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if self.try_reap().is_none() {
            self.signal(Signal::SIGKILL);
            let _ = Deadline::after(GRACE).poll(REAP_INTERVAL, || self.try_reap());
        }
    }
}

/// One pipe of a child, and what came out of it.
#[derive(Debug)]
struct Pipe<R> {
    reader: Option<R>,
    bytes: Vec<u8>,
    /// Start of the line that is not complete yet.
    line: usize,
}

impl<R: Read + AsFd> Pipe<R> {
    fn new(reader: Option<R>) -> Self {
        if let Some(reader) = &reader {
            let _ = nix::fcntl::fcntl(
                reader,
                nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
            );
        }
        Self {
            reader,
            bytes: Vec::new(),
            line: 0,
        }
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.reader.as_ref().map(AsFd::as_fd)
    }

    /// Reads all that is there now; complete lines go to `on_line`.
    fn drain(&mut self, mut on_line: impl FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut flow = ControlFlow::Continue(());
        let mut chunk = [0; 8192];
        while let Some(reader) = &mut self.reader {
            match reader.read(&mut chunk) {
                Ok(0) => self.reader = None,
                Ok(n) => self.bytes.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.reader = None,
            }
            // A report of progress ends with a return alone.
            let is_end = |&byte: &u8| byte == b'\n' || byte == b'\r';
            while let Some(length) = self.bytes[self.line..].iter().position(is_end) {
                let end = self.line + length;
                let after_return = length == 0 && self.line > 0 && self.bytes[end - 1] == b'\r';
                let line = String::from_utf8_lossy(&self.bytes[self.line..end]);
                if !(after_return && self.bytes[end] == b'\n') && on_line(&line).is_break() {
                    flow = ControlFlow::Break(());
                }
                self.line = end + 1;
            }
            if self.bytes.len() >= 2 * OUTPUT_LIMIT {
                let surplus = self.bytes.len() - OUTPUT_LIMIT;
                self.bytes.drain(..surplus);
                self.line = self.line.saturating_sub(surplus);
            }
        }
        flow
    }

    fn take_text(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.bytes)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(10))
    }

    fn sh(script: &str) -> Cmd {
        Cmd::new("/bin/sh").arg("-c").arg(script)
    }

    #[test]
    fn code_and_both_pipes() {
        let out = run(&sh("echo out; echo err >&2; exit 3"), soon()).unwrap();
        assert_eq!(
            (out.code, out.stdout.as_str(), out.stderr.as_str()),
            (3, "out\n", "err\n")
        );
        let error = out.checked(&"the thing").unwrap_err();
        assert_eq!(error.to_string(), "the thing ended with code 3: err");
    }

    /// Only root can make it another user's.
    #[test]
    fn a_child_is_another_users_with_that_ones_groups() {
        let us = SystemUser::current().unwrap();
        let user = match us.is_root() {
            true => SystemUser::named("nobody").unwrap(),
            false => us,
        };
        let script = "id -u; id -g; echo $HOME; grep ^Groups: /proc/self/status";
        let out = run(&sh(script).as_user(&user).dying_with_us(), soon()).unwrap();
        let seen: Vec<&str> = out.stdout.lines().collect();
        let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
        assert_eq!(seen[..3], [uid, gid, user.home.display().to_string()]);
        let mut groups: Vec<u32> = seen[3]
            .split_whitespace()
            .skip(1)
            .map(|it| it.parse().unwrap())
            .collect();
        let mut wanted: Vec<u32> = user.groups().iter().map(|it| it.as_raw()).collect();
        groups.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(groups, wanted);
    }

    #[test]
    fn a_megabyte_on_both_pipes_does_not_block() {
        let out = run(
            &sh("yes | head -c 3000000; yes | head -c 3000000 >&2"),
            soon(),
        )
        .unwrap();
        assert_eq!(out.code, 0);
        assert!(out.stdout.len() >= OUTPUT_LIMIT && out.stdout.len() < 2 * OUTPUT_LIMIT);
    }

    #[test]
    fn the_last_of_many_lines_is_heard_and_kept() {
        let mut last = String::new();
        let out = run_lines(
            &sh("yes | head -c 3000000; echo the cause"),
            soon(),
            |_, line| {
                last = line.to_owned();
                ControlFlow::Continue(())
            },
        )
        .unwrap();
        assert_eq!((last.as_str(), out.last_line()), ("the cause", "the cause"));
    }

    #[test]
    fn a_return_ends_a_line_and_with_a_newline_one_line() {
        let mut lines = Vec::new();
        let cmd = sh("printf '1 kB\\r2 kB\\r'; sleep 0.05; printf '\\na\\r\\n\\nb\\n'");
        run_lines(&cmd, soon(), |_, line| {
            lines.push(line.to_owned());
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(lines, ["1 kB", "2 kB", "a", "", "b"]);
    }

    #[test]
    fn out_of_time_kills_the_whole_group() {
        let cmd = sh("trap '' TERM; sleep 1000 & echo $!; wait; sleep 1000");
        let mut pid = String::new();
        let result = run_lines(
            &cmd,
            Deadline::after(Duration::from_millis(300)),
            |_, line| {
                pid = line.to_owned();
                ControlFlow::Continue(())
            },
        );
        assert!(
            matches!(result, Err(RunError::TimedOut { .. })),
            "{result:?}"
        );
        let gone = soon().poll(Duration::from_millis(5), || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            (stat.is_empty() || stat.contains(") Z")).then_some(())
        });
        assert!(gone.is_some(), "grandchild {pid} lives");
    }

    #[test]
    fn a_grandchild_that_holds_the_pipes_is_not_waited_for() {
        let started = std::time::Instant::now();
        let out = run(&sh("sleep 3 & echo started"), soon()).unwrap();
        assert_eq!(out.stdout, "started\n");
        assert!(started.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn break_interrupts_and_keeps_the_output() {
        // Whoever runs the tests in the background of a shell has it ignored, and then there is no trap.
        let script = "trap 'echo bye; exit 7' INT; echo one; while :; do sleep 0.01; done";
        let cmd = Cmd::new("env").args(["--default-signal=INT", "sh", "-c", script]);
        let out = run_lines(&cmd, soon(), |_, line| {
            if line == "one" {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
        .unwrap();
        assert_eq!((out.code, out.stdout.as_str()), (7, "one\nbye\n"));
    }

    #[test]
    fn a_look_does_not_wait() {
        let mut child = Background::spawn(&sh("echo one; sleep 0.1; echo two; exit 3")).unwrap();
        let mut lines = Vec::new();
        let mut looks = 0;
        let out = soon()
            .poll(Duration::from_millis(1), || {
                looks += 1;
                child.look(|_, line| lines.push(line.to_owned()))
            })
            .unwrap();
        assert!(looks > 10, "{looks} looks: one of them waited");
        assert_eq!((out.code, out.stdout.as_str()), (3, "one\ntwo\n"));
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn environment_is_clean_and_input_is_read() {
        let out = run(&sh("env | grep -c CARGO; cat").stdin("secret"), soon()).unwrap();
        assert_eq!(out.stdout, "0\nsecret");
    }

    #[test]
    fn a_missing_program_says_so() {
        let error = run(&Cmd::new("/nonexistent/sys_ctl").arg("promote"), soon()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "failed to start /nonexistent/sys_ctl promote: no such program"
        );
    }

    #[test]
    fn a_secret_argument_is_passed_on_and_not_shown() {
        let cmd = sh("echo $0; exit 1").secret_arg("hidden");
        let out = run(&cmd, soon()).unwrap();
        assert_eq!(out.stdout, "hidden\n");
        for shown in [cmd.to_string(), format!("{cmd:?}")] {
            assert!(
                shown.contains("****") && !shown.contains("hidden"),
                "{shown}"
            );
        }
        assert!(cmd.shell_line().ends_with(" hidden"));
    }

    #[test]
    fn quoting_survives_a_real_shell() {
        for word in [
            "",
            "plain",
            "two words",
            "it's",
            "$(reboot)",
            "a\\b\"c`d",
            "中文 #x",
            "-n",
        ] {
            let out = run(&sh(&format!("printf %s {}", shell_quote(word))), soon()).unwrap();
            assert_eq!(out.stdout, word);
        }
    }
}
