//! Processes of this machine: running one with a time limit, and finding those of a namespace.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::wait::poll;

/// Runs a program of this machine and returns what it printed on stdout.
///
/// # Errors
/// It could not be started, did not end within `limit` (it is killed), or failed: then with its stderr.
pub(crate) fn run(program: &str, args: &[&str], limit: Duration) -> Result<String> {
    run_command(Command::new(program).args(args), limit)
}

/// [`run`] for a command that needs more than arguments. Its stdin is empty unless set.
pub(crate) fn run_command(command: &mut Command, limit: Duration) -> Result<String> {
    let what = format!("{command:?}");
    let stdout = Capture::new()?;
    let stderr = Capture::new()?;
    let mut child = command
        .stdout(stdout.stdio()?)
        .stderr(stderr.stdio()?)
        .process_group(0)
        .spawn()
        .with_context(|| format!("start {what}"))?;
    let status = wait_child(&mut child, limit)?
        .ok_or_else(|| anyhow!("{what} did not end within {limit:?}, and was killed"))?;
    if !status.success() {
        bail!("{what}: {status}: {}", stderr.text()?.trim());
    }
    stdout.text()
}

/// Waits for a child that leads its own process group; kills the group and returns `None`
/// when `limit` has passed.
pub(crate) fn wait_child(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let done = poll(Duration::from_millis(1), limit, || {
        child.try_wait().transpose()
    });
    if let Some(status) = done {
        return Ok(Some(status?));
    }
    // The group may be gone between the last look and now.
    let _ = killpg(pid_of(child), Signal::SIGKILL);
    child.wait()?;
    Ok(None)
}

/// A child's pid in the type that signals take.
pub(crate) fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

/// What a child prints, kept in memory by the kernel. Not a pipe: a file never blocks the
/// child, needs no thread that drains it, and does not stay open for a grandchild's sake.
#[derive(Debug)]
pub(crate) struct Capture(File);

impl Capture {
    pub(crate) fn new() -> Result<Self> {
        let memory: OwnedFd = memfd_create("output", MFdFlags::MFD_CLOEXEC)?;
        Ok(Self(memory.into()))
    }

    pub(crate) fn stdio(&self) -> Result<Stdio> {
        Ok(self.0.try_clone()?.into())
    }

    /// Everything printed so far; what is not UTF-8 is replaced.
    pub(crate) fn text(&self) -> Result<String> {
        let size = usize::try_from(self.0.metadata()?.len())?;
        let mut bytes = vec![0; size];
        // By position: the child writes at the offset that it shares with us.
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Marks every descriptor from 3 up close-on-exec. Whoever started us may have left some open, and
/// a database that inherits one end of a pipe keeps its reader waiting for ever.
pub(crate) fn close_inherited_on_exec() -> Result<()> {
    // SAFETY: sets a flag on descriptors, closes none, touches no memory.
    let done = unsafe { libc::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC.cast_signed()) };
    nix::errno::Errno::result(done).context("close_range")?;
    Ok(())
}

/// A process, told from a later one with the same pid by when it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// Clock ticks after the machine's boot.
    started: u64,
    /// What it runs; empty when it has ended or is a kernel thread.
    pub(crate) program: String,
}

impl Process {
    /// The running process with this pid; `None` when there is none, or only its zombie.
    pub(crate) fn find(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the name in parentheses, and may contain anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let (state, started) = (*fields.first()?, fields.get(19)?.parse().ok()?);
        if matches!(state, "Z" | "X") {
            return None;
        }
        let program = fs::read_link(format!("/proc/{pid}/exe"))
            .ok()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .unwrap_or_default();
        Some(Self {
            pid,
            started,
            program,
        })
    }

    /// Every running process in the namespace that the file stands for (`/run/netns/...`,
    /// `/proc/PID/ns/pid`), except this one.
    pub(crate) fn in_namespace(kind: &str, file: &Path) -> Vec<Self> {
        let Ok(wanted) = fs::metadata(file) else {
            return Vec::new();
        };
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| pid.unsigned_abs() != std::process::id())
            .filter(|pid| {
                fs::metadata(format!("/proc/{pid}/ns/{kind}"))
                    .is_ok_and(|it| (it.dev(), it.ino()) == (wanted.dev(), wanted.ino()))
            })
            .filter_map(Self::find)
            .collect()
    }

    /// Is it still this process, and not another with its pid?
    pub(crate) fn is_alive(&self) -> bool {
        Self::find(self.pid).is_some_and(|now| now.started == self.started)
    }

    /// Sends a signal; a process that is gone is no error.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.is_alive() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Kills, and waits until it is gone.
    ///
    /// # Errors
    /// It still runs after ten seconds.
    pub(crate) fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL);
        poll(Duration::from_millis(1), Duration::from_secs(10), || {
            (!self.is_alive()).then_some(())
        })
        .ok_or_else(|| anyhow!("process {} ({}) survives SIGKILL", self.pid, self.program))
    }

    /// Its identity on one line, for [`Self::parse`].
    pub(crate) fn identity(&self) -> String {
        format!("{} {}", self.pid, self.started)
    }

    /// The process of an [`Self::identity`], if it still runs.
    pub(crate) fn parse(identity: &str) -> Option<Self> {
        let (pid, started) = identity.trim().split_once(' ')?;
        let process = Self::find(pid.parse().ok()?)?;
        let started: u64 = started.parse().ok()?;
        (process.started == started).then_some(process)
    }
}
