//! Inside a host: how its namespaces come to be, and its first process.
//!
//! `lab boot` enters the host's network, makes the other namespaces and starts `lab init`
//! in them as pid 1. That one mounts the host's own file systems, starts sshd and cron, and
//! then only reaps. Killing it takes every process of the host with it: a power cut.

use std::env::current_exe;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write, stdout};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, pivot_root, setsid};
use serde::{Deserialize, Serialize};

use crate::debian;
use crate::files;
use crate::layout::UID;
use crate::network;
use crate::process::{close_inherited_on_exec, run};

/// What a host is made of; paths are the machine's.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Hardware {
    /// Its name, `node101`.
    pub(crate) hostname: String,
    /// File of its network namespace.
    pub(crate) network: PathBuf,
    /// Directory on a tmpfs for what it changes in `/`: has `upper`, `work` and `root`.
    pub(crate) overlay: PathBuf,
    /// Directories on disk, and where the host has them.
    pub(crate) disks: Vec<(PathBuf, PathBuf)>,
    /// Does it run cron?
    pub(crate) cron: bool,
    /// Does it have Debian's packages, and what they need of a host?
    pub(crate) debian: bool,
}

/// `lab boot FILE`: switches the host on, waits until sshd listens, prints the pid of its
/// first process.
///
/// # Errors
/// What the first process could not do, or which namespace could not be made.
pub fn boot(file: &Path) -> Result<()> {
    close_inherited_on_exec()?;
    let hardware = read(file)?;
    network::enter(&hardware.network)?;
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC,
    )
    .context("unshare")?;
    let mut child = Command::new(current_exe()?)
        .arg("init")
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("start init")?;
    let mut line = String::new();
    if let Some(pipe) = child.stdout.take() {
        BufReader::new(pipe).read_line(&mut line)?;
    }
    ensure!(line == READY, "the host's first process has ended");
    writeln!(stdout(), "{}", child.id())?;
    Ok(())
}

const READY: &str = "ready\n";

/// `lab init FILE`: pid 1 of a host. Does not return.
///
/// # Errors
/// What of the host's start failed.
pub fn init(file: &Path) -> Result<()> {
    let hardware = read(file)?;
    setsid().context("setsid")?;
    umask(Mode::empty());
    // Blocked from the start, so that none is missed while we are not waiting for one.
    let children = SigSet::from(Signal::SIGCHLD);
    children.thread_block()?;

    mount_all(&hardware).with_context(|| format!("mount the disks of {}", hardware.hostname))?;
    umask(Mode::from_bits_truncate(0o022));
    nix::unistd::sethostname(&hardware.hostname)?;
    if hardware.debian {
        debian::at_boot()?;
    }
    run("/usr/sbin/sshd", &["-E", "/var/log/sshd.log"], SERVICE)?;
    if hardware.cron {
        run("/usr/sbin/cron", &[], SERVICE)?;
    }
    stdout().write_all(READY.as_bytes())?;
    stdout().flush()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;

    loop {
        children.wait()?;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("waitpid"),
            }
        }
    }
}

/// How long a service may take until it has put itself into the background.
const SERVICE: Duration = Duration::from_secs(10);

fn read(file: &Path) -> Result<Hardware> {
    let text = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("read {}", file.display()))
}

fn mount_all(hardware: &Hardware) -> Result<()> {
    let none = None::<&str>;
    // Nothing that is mounted from here on may show on the machine.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let (overlay, root) = (&hardware.overlay, hardware.overlay.join("root"));
    let layers = format!(
        "lowerdir=/,upperdir={},workdir={}",
        overlay.join("upper").display(),
        overlay.join("work").display()
    );
    let overlay_flags = MsFlags::empty();
    mount(
        Some("overlay"),
        &root,
        Some("overlay"),
        overlay_flags,
        Some(layers.as_str()),
    )
    .context("overlay of /")?;

    let inside = |path: &str| root.join(path.trim_start_matches('/'));
    mount(none, &inside("/proc"), Some("proc"), MsFlags::empty(), none).context("/proc")?;
    mount(
        none,
        &inside("/sys"),
        Some("sysfs"),
        MsFlags::MS_RDONLY,
        none,
    )
    .context("/sys")?;
    for (path, mode) in [
        ("/dev", "755"),
        ("/run", "755"),
        ("/tmp", "1777"),
        ("/dev/shm", "1777"),
    ] {
        let path = inside(path);
        fs::create_dir_all(&path)?;
        let mode = format!("mode={mode}");
        mount(
            none,
            &path,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(mode.as_str()),
        )
        .with_context(|| path.display().to_string())?;
    }
    make_devices(&inside("/dev"))?;
    for (path, mode, owner) in [
        ("/run/sshd", 0o755, 0),
        ("/run/lock", 0o1777, 0),
        ("/run/postgresql", 0o755, UID),
    ] {
        files::directory(&inside(path), mode, owner)?;
    }

    for (disk, path) in &hardware.disks {
        let path = inside(&path.to_string_lossy());
        mount(Some(disk), &path, none, MsFlags::MS_BIND, none)
            .with_context(|| format!("{} on {}", disk.display(), path.display()))?;
    }

    // pivot_root(2): the old root ends up below the new one, and is let go from there.
    chdir(&root)?;
    pivot_root(".", ".").context("pivot_root")?;
    umount2(".", MntFlags::MNT_DETACH).context("let the machine's root go")?;
    chdir("/")?;
    Ok(())
}

fn make_devices(dev: &Path) -> Result<()> {
    let devices = [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    ];
    for (name, major, minor) in devices {
        mknod(
            &dev.join(name),
            SFlag::S_IFCHR,
            Mode::from_bits_truncate(0o666),
            makedev(major, minor),
        )
        .with_context(|| format!("/dev/{name}"))?;
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, target) in links {
        symlink(target, dev.join(name))?;
    }
    let terminals = dev.join("pts");
    fs::create_dir(&terminals)?;
    let options = Some("newinstance,ptmxmode=0666,mode=620,gid=5");
    mount(
        None::<&str>,
        &terminals,
        Some("devpts"),
        MsFlags::empty(),
        options,
    )
    .context("/dev/pts")
}
