//! Running a program inside a host, and what became of it.
//!
//! A process must be forked *after* its parent has joined the host's pid namespace, which a
//! process with threads cannot do for one child only. So `lab enter` does it, and reports
//! over the socket that it has as its stdin.

use std::env::current_exe;
use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::time::TimeValLike;
use nix::unistd::{Pid, User};
use serde::{Deserialize, Serialize};

use crate::process::{Capture, close_inherited_on_exec, pid_of, wait_child};

/// What to run, as whom, and for how long. The command line of `lab enter`.
#[derive(Debug, Clone, clap::Args)]
pub struct Launch {
    /// Pid (on the machine) of the host's first process
    #[arg(long)]
    pub(crate) host: i32,
    /// User inside the host
    #[arg(long, default_value = "root")]
    pub(crate) user: String,
    /// Milliseconds until it is killed, with its process group
    #[arg(long, default_value_t = 86_400_000)]
    pub(crate) limit_ms: u64,
    /// Start it as the pool starts its failover command
    #[arg(long)]
    pub(crate) like_pool: bool,
    /// Program and arguments
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Report {
    /// Pid on the machine.
    Started(i32),
    Failed(String),
    Ended(Ended),
}

#[derive(Debug, Serialize, Deserialize)]
struct Ended {
    code: Option<i32>,
    signal: Option<i32>,
    wall: Duration,
    cpu: Duration,
    max_rss_kb: i64,
}

/// How a program inside a host has ended.
#[derive(Debug, Clone)]
pub struct ToolRun {
    /// Exit code; `None` when a signal ended it, or its time was over.
    pub code: Option<i32>,
    /// The signal that ended it; SIGKILL when its time was over.
    pub signal: Option<i32>,
    /// What it printed; empty when run like the pool does.
    pub stdout: String,
    /// The same for stderr.
    pub stderr: String,
    /// From its start to its end.
    pub wall: Duration,
    /// CPU time of it and the children it waited for, user and system.
    pub cpu: Duration,
    /// Largest resident set of it or of one of its children, in KiB. Never less than the some
    /// 4 MiB that it has inherited before its `exec`.
    pub max_rss_kb: i64,
    what: String,
}

impl ToolRun {
    /// Its stdout if it has ended with exit code 0.
    ///
    /// # Errors
    /// It has not; the text has what ran where, and all it printed.
    pub fn success(self) -> Result<String> {
        if self.code == Some(0) {
            Ok(self.stdout)
        } else {
            bail!("{self}")
        }
    }
}

impl fmt::Display for ToolRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match (self.code, self.signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        write!(f, "{}: {end} after {:?}", self.what, self.wall)?;
        for text in [&self.stdout, &self.stderr] {
            let text = text.trim_end();
            if !text.is_empty() {
                f.write_char('\n')?;
                f.write_str(text)?;
            }
        }
        Ok(())
    }
}

/// A program that runs inside a host. Dropped without [`Self::wait`], it is killed.
#[derive(Debug)]
pub struct Running {
    runner: Child,
    reports: BufReader<UnixStream>,
    stdout: Capture,
    stderr: Capture,
    pid: i32,
    what: String,
    limit: Duration,
}

impl Running {
    pub(crate) fn start(program: &Path, hostname: &str, launch: &Launch) -> Result<Self> {
        let what = format!("{hostname}: {:?} as {}", launch.command, launch.user);
        let (ours, theirs) = UnixStream::pair()?;
        let (stdout, stderr) = (Capture::new()?, Capture::new()?);
        let mut command = Command::new(program);
        command
            .args(["enter", "--host", &launch.host.to_string()])
            .args(["--user", &launch.user])
            .args(["--limit-ms", &launch.limit_ms.to_string()]);
        if launch.like_pool {
            command.arg("--like-pool");
        }
        let runner = command
            .arg("--")
            .args(&launch.command)
            .stdin(OwnedFd::from(theirs))
            .stdout(stdout.stdio()?)
            .stderr(stderr.stdio()?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        // Frees our copies of the child's ends: what is left to read ends with the child.
        drop(command);
        let mut running = Self {
            runner,
            reports: BufReader::new(ours),
            stdout,
            stderr,
            pid: 0,
            what,
            limit: Duration::from_millis(launch.limit_ms),
        };
        running.reports.get_ref().set_read_timeout(Some(START))?;
        match running.report()? {
            Report::Started(pid) => running.pid = pid,
            Report::Failed(why) => bail!("{}: {why}", running.what),
            Report::Ended(_) => bail!("{}: ended before it started", running.what),
        }
        Ok(running)
    }

    /// Its pid on the machine (inside the host it has another).
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal to the program itself, not to its children.
    ///
    /// # Errors
    /// It has ended already.
    pub fn signal(&self, signal: i32) -> Result<()> {
        kill(Pid::from_raw(self.pid), Signal::try_from(signal)?)
            .with_context(|| format!("signal {signal} to {}", self.what))
    }

    /// Waits for its end, which comes at the latest when its time is over.
    ///
    /// # Errors
    /// Nothing is known of its end: the machinery around it was killed.
    pub fn wait(mut self) -> Result<ToolRun> {
        let limit = self.limit + GRACE;
        self.reports.get_ref().set_read_timeout(Some(limit))?;
        let ended = match self.report()? {
            Report::Ended(ended) => ended,
            other => bail!("{}: {other:?}", self.what),
        };
        wait_child(&mut self.runner, GRACE)?;
        Ok(ToolRun {
            code: ended.code,
            signal: ended.signal,
            stdout: self.stdout.text()?,
            stderr: self.stderr.text()?,
            wall: ended.wall,
            cpu: ended.cpu,
            max_rss_kb: ended.max_rss_kb,
            what: self.what.clone(),
        })
    }

    fn report(&mut self) -> Result<Report> {
        let mut line = String::new();
        self.reports
            .read_line(&mut line)
            .with_context(|| format!("{}: no report", self.what))?;
        serde_json::from_str(&line).map_err(|_| {
            let stderr = self.stderr.text().unwrap_or_default();
            anyhow!("{}: no report: {}", self.what, stderr.trim())
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.runner.try_wait(), Ok(None)) {
            if self.pid != 0 {
                let _ = killpg(Pid::from_raw(self.pid), Signal::SIGKILL);
            }
            let _ = wait_child(&mut self.runner, GRACE);
        }
    }
}

/// Time to enter a host and start something, which needs some 5 ms.
const START: Duration = Duration::from_secs(10);
/// What the machinery may need on top of the limit of what it runs.
const GRACE: Duration = Duration::from_secs(5);

/// `lab enter`: joins a host, runs a program in it and reports on stdin.
///
/// # Errors
/// The socket on stdin is gone. All else is reported.
pub fn enter(launch: &Launch) -> Result<()> {
    let mut reports = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let report = match run(launch, &mut reports) {
        Ok(ended) => Report::Ended(ended),
        Err(error) => Report::Failed(format!("{error:#}")),
    };
    send(&mut reports, &report)
}

fn send(reports: &mut File, report: &Report) -> Result<()> {
    let mut line = serde_json::to_string(report)?;
    line.push('\n');
    Ok(reports.write_all(line.as_bytes())?)
}

fn run(launch: &Launch, reports: &mut File) -> Result<Ended> {
    close_inherited_on_exec()?;
    join(launch.host)?;
    let user = User::from_name(&launch.user)?
        .ok_or_else(|| anyhow!("no user {} on the host", launch.user))?;
    let (program, args) = launch.command.split_first().context("no command")?;
    let mut command = Command::new(program);
    command
        .args(args)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("HOME", &user.dir)
        .env("USER", &user.name)
        .env("LOGNAME", &user.name)
        .env("SHELL", &user.shell)
        .env("LANG", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        // Drops the supplementary groups, too.
        .uid(user.uid.as_raw())
        .gid(user.gid.as_raw())
        .process_group(0);
    let mut sockets = Vec::new();
    if launch.like_pool {
        sockets = like_pool(&mut command)?;
    }
    let start = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("start {program}"))?;
    drop(sockets);
    send(reports, &Report::Started(pid_of(&child).as_raw()))?;
    let limit = Duration::from_millis(launch.limit_ms);
    let status = wait_child(&mut child, limit)?;
    let wall = start.elapsed();
    // The one child that we have waited for, and those it has waited for.
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Ended {
        code: status.and_then(|status| status.code()),
        signal: status.map_or(Some(libc::SIGKILL), |status| status.signal()),
        wall,
        cpu: Duration::from_micros(cpu.unsigned_abs()),
        max_rss_kb: usage.max_rss(),
    })
}

/// Joins the namespaces of a host; children of this process are then in its pid namespace.
fn join(host: i32) -> Result<()> {
    let kinds = [
        ("net", CloneFlags::CLONE_NEWNET),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("pid", CloneFlags::CLONE_NEWPID),
        // Last: with it /proc is the host's.
        ("mnt", CloneFlags::CLONE_NEWNS),
    ];
    for (kind, flag) in kinds {
        let file = format!("/proc/{host}/ns/{kind}");
        let namespace = File::open(&file).with_context(|| format!("open {file}"))?;
        setns(namespace, flag).with_context(|| format!("enter {file}"))?;
    }
    Ok(())
}

/// What the pool gives its failover command: stdio on /dev/null, SIGTERM blocked, and its
/// listening sockets without close-on-exec. Returns the sockets, to be kept until the start.
fn like_pool(command: &mut Command) -> Result<Vec<TcpListener>> {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let blocked = SigSet::from(Signal::SIGTERM);
    // SAFETY: sigprocmask is async-signal-safe, and nothing is allocated. It has to be done
    // here because the standard library empties the mask of every child.
    unsafe {
        command.pre_exec(move || Ok(blocked.thread_block()?));
    }
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let socket = TcpListener::bind("127.0.0.1:0")?;
        fcntl(&socket, FcntlArg::F_SETFD(FdFlag::empty()))?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// The `lab` program: this very process, or built beside the test that this process is.
///
/// # Errors
/// There is none.
pub(crate) fn lab_program() -> Result<PathBuf> {
    let own = current_exe().context("path of this program")?;
    own.ancestors()
        .take(3)
        .map(|path| path.with_file_name("lab"))
        .find(|path| fs::metadata(path).is_ok_and(|it| it.is_file()))
        .with_context(|| format!("no program `lab` near {}", own.display()))
}
