//! The disk check: can the database's user read and write where the database lies?
//!
//! A disk that hangs takes every process with it that touches it, into a wait that not even
//! SIGKILL ends. So each mount point is probed by a child process, this program started once more,
//! and the tool itself touches none of them. (The scripts did, and hung in cron for ever.)
//!
//! A child that does not end is left behind, and its mount point is not probed again while it is
//! there. It is found through `/proc`: a file that remembers it could lie on the disk that hangs,
//! and would have to tell it from a later owner of its pid.

use crate::config::Config;
use crate::deadline::Deadline;
use crate::exit::Exit;
use crate::journal::{Journal, print_json};
use crate::process::{Background, Cmd, Output, Stream, kernel_name, owner_in, pending_signals};
use crate::users::{SystemUser, UserError};
use fs2::FileExt as _;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Uid, geteuid};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// First argument of the child. Not for people.
const PROBE: &str = "--probe-disk";
/// How this program is started once more.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// The name that the kernel gives the child for that.
const PROBE_NAME: &str = "exe";
/// What the name of the file that is written begins with; a number follows.
const FILE_PREFIX: &str = "rw_status_file_";
/// What is written: as much as the database writes at once.
const PAGE: usize = 8192;
/// How often a child is asked for its answers.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// What is checked, and how.
#[derive(Clone, Debug)]
pub struct DiskCheck {
    /// The mount points, or directories below them. Absolute.
    pub directories: Vec<PathBuf>,
    /// How often each is tried before it counts as failed.
    pub tries: u32,
    /// Between two tries.
    pub interval: Duration,
    /// For each operation.
    pub limit: Duration,
    /// Who must be able to write: the child runs as this user.
    pub user: SystemUser,
}

/// What came of one mount point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its directory.
    pub directory: PathBuf,
    /// Tries that it took.
    pub tries: u32,
    /// What failed in the last of them, and why, in one line; `None`: it is good.
    pub failure: Option<String>,
}

/// What is done on a mount point, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    StatDirectory,
    Write,
    StatFile,
    Read,
    Delete,
}

impl Operation {
    const ALL: [Self; 5] = [
        Self::StatDirectory,
        Self::Write,
        Self::StatFile,
        Self::Read,
        Self::Delete,
    ];

    /// As the log has it.
    fn describe(self, directory: &Path, file: &Path) -> String {
        let (what, path) = match self {
            Self::StatDirectory => ("stat the directory of the mount point", directory),
            Self::Write => ("create/write the file", file),
            Self::StatFile => ("stat the file", file),
            Self::Read => ("read the file", file),
            Self::Delete => ("delete the file", file),
        };
        format!("{what} \"{}\"", path.display())
    }
}

/// What the child says, as lines of JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Answer {
    /// The operation succeeded.
    Done,
    /// The system refused it: error number, and its text.
    Failed(i32, String),
    /// It reads back something else than what was written.
    Differs,
    /// On the way, a file that a killed check had left was removed.
    Removed(String),
}

impl DiskCheck {
    /// Time for one operation where nobody says otherwise.
    pub const LIMIT: Duration = Duration::from_secs(10);
    /// Time between two tries where nobody says otherwise.
    pub const INTERVAL: Duration = Duration::from_secs(1);

    /// As the configuration says.
    ///
    /// # Errors
    /// `KB_EXECUTE_SYS_USER` is nobody on this host.
    pub fn from_config(config: &Config) -> Result<Self, UserError> {
        Ok(Self {
            directories: config.mount_point_dir_list.clone(),
            tries: config.mount_check_max_retries,
            interval: Self::INTERVAL,
            limit: Self::LIMIT,
            // Root may write where the database may not, and into blocks kept back for root.
            user: match geteuid().is_root() {
                true => SystemUser::named(&config.kb_execute_sys_user)?,
                false => SystemUser::current()?,
            },
        })
    }

    /// Checks every mount point, with a line for each operation. Ends in time whatever hangs.
    pub fn run(&self, journal: &Journal) -> Vec<Mount> {
        let tries = self.tries;
        let mut mounts: Vec<Mount> = self
            .directories
            .iter()
            .map(|it| Mount::unseen(it))
            .collect();
        journal.stamped("check read/write on mount point");
        for attempt in 1..=tries {
            if attempt > 1 {
                Deadline::after(self.interval).pause(self.interval);
            }
            journal.stamped(format!(
                "check read/write on mount point ({attempt} / {tries})."
            ));
            for mount in mounts.iter_mut().filter(|mount| !mount.is_good()) {
                mount.tries = attempt;
                mount.failure = self.probe(&mount.directory, journal).err();
            }
            if mounts.iter().all(Mount::is_good) {
                journal.stamped(format!(
                    "success to check read/write on mount point ({attempt} / {tries})."
                ));
                journal.stamped("check read/write on mount point ... ok");
                return mounts;
            }
            journal.stamped(format!(
                "failed to check read/write on mount point ({attempt} / {tries})."
            ));
        }
        journal.stamped("check read/write on mount point ... failed");
        mounts
    }

    /// One try on one mount point; what failed and why.
    fn probe(&self, directory: &Path, journal: &Journal) -> Result<(), String> {
        if let Some(pid) = self.stuck_probe(directory) {
            let why = format!(
                "the mount point \"{}\" hangs: process {pid} of an earlier check is still stuck on \
                 it, so it is not probed again",
                directory.display()
            );
            journal.stamped(&why);
            return Err(why);
        }
        let number = RandomState::new().build_hasher().finish() % 1_000_000_000;
        let file = status_file(directory, number);
        let command = Cmd::new(THIS_PROGRAM)
            .arg(PROBE)
            .arg(directory)
            .arg(number.to_string())
            .as_user(&self.user);
        let mut child = Background::spawn(&command).map_err(|error| error.to_string())?;
        let mut answers = VecDeque::new();
        for operation in Operation::ALL {
            let what = operation.describe(directory, &file);
            journal.stamped(format!("{what} ..."));
            let deadline = Deadline::after(self.limit);
            let why = loop {
                match next_answer(&mut child, &mut answers, deadline) {
                    Some(Ok(Answer::Done)) => break None,
                    Some(Ok(Answer::Removed(file))) => journal.stamped(format!(
                        "removed the file \"{file}\" of a check that was killed"
                    )),
                    Some(Ok(Answer::Differs)) => {
                        break Some(
                            "it reads back something else than what was written".to_owned(),
                        );
                    }
                    Some(Ok(Answer::Failed(errno, text))) => {
                        break Some(explain(errno, &text, &self.user.name));
                    }
                    Some(Err(output)) => {
                        break Some(format!(
                            "its process ended with code {}: {}",
                            output.code,
                            output.last_line()
                        ));
                    }
                    None => break Some(format!("not done within {} s", self.limit.as_secs())),
                }
            };
            let Some(mut why) = why else {
                journal.stamped(format!("{what} ... OK"));
                continue;
            };
            // It may have a file to delete. Out of time, it is killed, if it can be.
            let _ = child.wait(deadline);
            if let Some(pid) = self.stuck_probe(directory) {
                why += &format!("; process {pid} is stuck in the kernel and left behind");
            }
            journal.stamped(format!("{what} ... failed: {why}"));
            return Err(format!("failed to {what}: {why}"));
        }
        let _ = child.wait(Deadline::after(self.limit));
        Ok(())
    }

    /// A child of ours that was told to end, and is still there. Processes of other users are not
    /// believed: any name can be had, and the database may be stopped for what is said here.
    fn stuck_probe(&self, directory: &Path) -> Option<i32> {
        let trusted = [Uid::from_raw(0), geteuid(), self.user.uid];
        fs::read_dir("/proc").ok()?.find_map(|entry| {
            let process = entry.ok()?;
            let pid: i32 = process.file_name().to_str()?.parse().ok()?;
            if kernel_name(pid).ok()? != PROBE_NAME {
                return None;
            }
            let arguments = fs::read(process.path().join("cmdline")).ok()?;
            if !is_probe_of(&arguments, directory) {
                return None;
            }
            let status = fs::read_to_string(process.path().join("status")).ok()?;
            is_stuck(&status, &trusted).then_some(pid)
        })
    }
}

impl Mount {
    fn unseen(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            tries: 0,
            failure: None,
        }
    }

    /// Whether it was tried and everything succeeded.
    pub fn is_good(&self) -> bool {
        self.tries > 0 && self.failure.is_none()
    }
}

/// The next thing that the child says, or how it ended; `None` if it does neither in time.
fn next_answer(
    child: &mut Background,
    answers: &mut VecDeque<Answer>,
    deadline: Deadline,
) -> Option<Result<Answer, Output>> {
    deadline.poll(LOOK_INTERVAL, || {
        let ended = child.look(|stream, line| {
            if stream == Stream::Stdout {
                answers.extend(serde_json::from_str::<Answer>(line));
            }
        });
        answers.pop_front().map(Ok).or(ended.map(Err))
    })
}

fn status_file(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{FILE_PREFIX}{number}"))
}

fn is_status_file(name: &OsStr) -> bool {
    name.as_bytes()
        .strip_prefix(FILE_PREFIX.as_bytes())
        .is_some_and(|rest| !rest.is_empty() && rest.iter().all(u8::is_ascii_digit))
}

/// A system's error as an operator needs it.
fn explain(errno: i32, text: &str, user: &str) -> String {
    let told = match errno {
        libc::ENOSPC => "the disk is full, make room on it",
        libc::EDQUOT => return format!("the disk quota of user {user} is used up"),
        libc::EROFS => {
            "the file system is read-only; the kernel makes it so after a disk error, see dmesg"
        }
        libc::EIO => "input/output error; the disk may be broken, see dmesg",
        libc::ENOENT => "it is not there, is the disk mounted?",
        libc::ENOTDIR => "it is no directory",
        libc::EACCES | libc::EPERM => {
            return format!(
                "user {user} may not, check its owner and mode, and those of the directories above"
            );
        }
        _ => text,
    };
    told.to_owned()
}

/// Whether a process with these arguments (each ends with a NUL) is a child that probes `directory`.
fn is_probe_of(arguments: &[u8], directory: &Path) -> bool {
    let mut words = arguments.split(|byte| *byte == 0).skip(1);
    words.next() == Some(PROBE.as_bytes()) && words.next() == Some(directory.as_os_str().as_bytes())
}

/// Whether a process is a child that probes some disk.
pub fn is_probe(pid: i32) -> bool {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    arguments.split(|byte| *byte == 0).nth(1) == Some(PROBE.as_bytes())
}

/// Whether a process with this `/proc/PID/status` was told to end and has not, and belongs to one of
/// `trusted`. A child learns of its parent's death by SIGTERM, so that also counts.
fn is_stuck(status: &str, trusted: &[Uid]) -> bool {
    let bit = |signal: Signal| 1 << (signal as i32 - 1);
    let told = pending_signals(status) & (bit(Signal::SIGTERM) | bit(Signal::SIGKILL)) != 0;
    told && owner_in(status).is_some_and(|owner| trusted.contains(&owner))
}

/// The child's part, for every tool that checks disks: if the arguments ask for it, probes the mount
/// point and returns how to exit. Before anything else but [`crate::inherited::shed`].
pub fn probe_if_asked(mut arguments: impl Iterator<Item = OsString>) -> Option<Exit> {
    if arguments.nth(1)? != PROBE {
        return None;
    }
    // Whoever waited for us died: do what is under way to its end, so that no file stays.
    let _ = SigSet::from(Signal::SIGTERM).thread_block();
    let _ = set_pdeathsig(Signal::SIGTERM);
    let directory = PathBuf::from(arguments.next()?);
    let number = arguments.next()?.to_str()?.parse().ok()?;
    let file = status_file(&directory, number);
    let good = tell(stat_directory(&directory)) && probe_file(&directory, &file);
    Some(if good { Exit::Done } else { Exit::Failed })
}

fn probe_file(directory: &Path, file: &Path) -> bool {
    remove_leftovers(directory);
    let page = page(file);
    let written = match create(file) {
        Ok(written) => written,
        Err(error) => return tell(Err(error)),
    };
    let good = tell(write(&written, &page))
        && tell(fs::metadata(file).map(|_| Answer::Done))
        && tell(read_back(file, &page));
    let deleted = fs::remove_file(file).map(|()| Answer::Done);
    good && tell(deleted)
}

/// Tells how an operation ended; whether it succeeded.
fn tell(result: io::Result<Answer>) -> bool {
    let answer = result.unwrap_or_else(|error| {
        Answer::Failed(error.raw_os_error().unwrap_or(libc::EIO), error.to_string())
    });
    print_json(&answer);
    answer == Answer::Done
}

fn stat_directory(directory: &Path) -> io::Result<Answer> {
    if fs::metadata(directory)?.is_dir() {
        Ok(Answer::Done)
    } else {
        Err(io::Error::from_raw_os_error(libc::ENOTDIR))
    }
}

/// Files that no living check holds a lock on. One that cannot be removed does no harm.
fn remove_leftovers(directory: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| is_status_file(&entry.file_name())) {
        let path = entry.path();
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path);
        let abandoned = opened.is_ok_and(|file| file.try_lock_exclusive().is_ok());
        if abandoned && fs::remove_file(&path).is_ok() {
            print_json(&Answer::Removed(path.display().to_string()));
        }
    }
}

/// Creates the file, locked: without the lock it is a leftover. Everybody may read it, so that
/// another user's check can tell.
fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?;
    // Without locks (some NFS) it is only not removed after a kill.
    let _ = file.try_lock_exclusive();
    Ok(file)
}

/// Writes it through to the disk, and out of memory, so that reading it asks the disk.
fn write(mut file: &File, page: &[u8]) -> io::Result<Answer> {
    file.write_all(page)?;
    file.sync_all()?;
    posix_fadvise(file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    Ok(Answer::Done)
}

fn read_back(path: &Path, page: &[u8]) -> io::Result<Answer> {
    Ok(match fs::read(path)? == page {
        true => Answer::Done,
        false => Answer::Differs,
    })
}

/// The file's own name over and over: not what another file of ours holds.
fn page(file: &Path) -> Vec<u8> {
    let name = file.as_os_str().as_bytes();
    name.iter().copied().cycle().take(PAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_the_scripts() {
        let (directory, file) = (Path::new("/d"), Path::new("/d/rw_status_file_7"));
        let lines = Operation::ALL.map(|operation| operation.describe(directory, file));
        assert_eq!(
            lines,
            [
                "stat the directory of the mount point \"/d\"",
                "create/write the file \"/d/rw_status_file_7\"",
                "stat the file \"/d/rw_status_file_7\"",
                "read the file \"/d/rw_status_file_7\"",
                "delete the file \"/d/rw_status_file_7\"",
            ]
        );
    }

    #[test]
    fn only_our_own_files_are_leftovers() {
        for (name, ours) in [
            ("rw_status_file_574940445", true),
            ("rw_status_file_", false),
            ("rw_status_file_1x", false),
            ("my_rw_status_file_1", false),
            ("PG_VERSION", false),
        ] {
            assert_eq!(is_status_file(OsStr::new(name)), ours, "{name}");
        }
    }

    #[test]
    fn a_child_is_known_by_its_arguments() {
        let arguments = b"/proc/self/exe\0--probe-disk\0/data/a b\x00123\0";
        assert!(is_probe_of(arguments, Path::new("/data/a b")));
        assert!(!is_probe_of(arguments, Path::new("/data/a")));
        assert!(!is_probe_of(
            b"rw_check\0/data/a b\0",
            Path::new("/data/a b")
        ));
        assert!(!is_probe_of(b"", Path::new("/data/a b")));
    }

    #[test]
    fn stuck_is_who_was_told_to_end_and_has_not() {
        let status = |pending: &str, shared: &str| {
            format!(
                "Name:\texe\nState:\tD (disk sleep)\nUid:\t2001\t2001\t2001\t2001\n\
                 SigPnd:\t{pending}\nShdPnd:\t{shared}\nSigBlk:\t0000000000004000\n"
            )
        };
        let (none, kill, term) = ("0000000000000000", "0000000000000100", "0000000000004000");
        let ours = [Uid::from_raw(0), Uid::from_raw(2001)];
        assert!(is_stuck(&status(kill, kill), &ours));
        assert!(is_stuck(&status(none, term), &ours));
        // At work, on a slow disk or beside us.
        assert!(!is_stuck(&status(none, none), &ours));
        // Somebody else's.
        assert!(!is_stuck(&status(kill, kill), &[Uid::from_raw(0)]));
        assert!(!is_stuck("", &ours));
    }

    #[test]
    fn errors_say_what_to_do_in_one_line() {
        for (errno, expected) in [
            (libc::ENOSPC, "full"),
            (libc::EROFS, "read-only"),
            (libc::ENOENT, "mounted"),
            (libc::EACCES, "user kingbase may not"),
            (libc::ENAMETOOLONG, "the system's own text"),
        ] {
            let why = explain(errno, "the system's own text", "kingbase");
            assert!(why.contains(expected) && !why.contains('\n'), "{why}");
        }
    }

    #[test]
    fn a_file_that_is_in_use_is_no_leftover() {
        let dir = std::env::temp_dir().join(format!("disk-{}", crate::clock::run_name()));
        fs::create_dir(&dir).unwrap();
        let (used, left) = (status_file(&dir, 1), status_file(&dir, 2));
        let _held = create(&used).unwrap();
        drop(create(&left).unwrap());
        remove_leftovers(&dir);
        assert!(used.exists() && !left.exists());
        assert!(probe_file(&dir, &status_file(&dir, 3)));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }
}
