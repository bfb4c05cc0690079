//! The database instance of this host: its processes, its control file, its WAL.
//!
//! Processes are found through `/proc`, not only through the pid file: that one may be gone, stale
//! or on a disk that hangs. Signals are sent directly. (The scripts killed every process whose
//! `ps` line contained the digits of the pid.)

use crate::config::Config;
use crate::control_copies;
use crate::deadline::Deadline;
use crate::durable;
use crate::flavor::{Flavor, UnknownFlavor};
use crate::history;
use crate::layout::Layout;
use crate::life::{PortState, port_refuses};
use crate::listeners::listeners;
use crate::lsn::{Lsn, Timeline};
use crate::process::{
    Cmd, Output, RunError, kernel_name, owner_in, pending_signals, run, shell_quote, status_of,
};
use crate::state::StateDir;
use crate::supervisor::{Supervisor, unit_of};
use crate::users::{SystemUser, UserError};
use crate::workers;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// How often processes are looked for while they end.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Of the time for stopping a server, what is kept for stopping it hard: milliseconds are enough.
const HARD_STOP_TIME: Duration = Duration::from_secs(1);
/// What share of its time a server may wait for its archive.
const ARCHIVE_SHARE: u32 = 8;
/// For reading a small file. The database's disk may hang for good: it may be why we are here.
const DISK_TIME: Duration = Duration::from_millis(300);
/// For a program that only reads a file.
const READ_TIME: Duration = Duration::from_secs(2);

/// The instance in `KB_DATA_PATH`.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The names of its programs and files.
    pub flavor: &'static Flavor,
    bin: PathBuf,
    lib: Option<PathBuf>,
    data: PathBuf,
    layout: Layout,
    /// `DB_SERVICE`.
    service: Option<String>,
    /// Where it is remembered who owns it.
    state: StateDir,
    user: SystemUser,
    address: std::net::IpAddr,
    port: u16,
    database: String,
}

/// Why this host's instance cannot be worked on at all.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// No flavor.
    #[error(transparent)]
    Flavor(#[from] UnknownFlavor),
    /// `KB_EXECUTE_SYS_USER` is nobody.
    #[error("KB_EXECUTE_SYS_USER: {0}")]
    User(UserError),
}

/// A process of the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Whether it is stopped (SIGSTOP): it holds its locks and does nothing until it is continued.
    pub stopped: bool,
    /// When it was started, in clock ticks since boot: tells it from a later owner of its id.
    pub start: u64,
}

impl Process {
    /// Whether it is there, perhaps as a zombie.
    pub fn is_still_there(&self) -> bool {
        process(self.pid).is_some_and(|now| now.start == self.start)
    }

    /// What the server has given it for a title.
    fn title(&self) -> String {
        let title = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&title).into_owned()
    }

    /// Whether SIGKILL waits for it to come back from the kernel. Nothing of the program itself is
    /// run after that.
    pub fn was_killed(&self) -> bool {
        is_killed(&status_of(self.pid))
    }

    /// The same of one that waits in the kernel for what gives no answer. One that was killed a moment ago
    /// and has not had its turn may still be in the middle of its work.
    pub fn is_stuck(&self) -> bool {
        is_stuck(&status_of(self.pid))
    }
}

/// How a server was brought to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// No process was there.
    WasDown,
    /// `stop -m fast`.
    Fast,
    /// `stop -m immediate`.
    Immediate,
    /// SIGKILL.
    Killed,
}

impl Stopped {
    /// For the log.
    pub fn how(self) -> &'static str {
        match self {
            Self::WasDown => "was not running",
            Self::Fast => "stopped (fast)",
            Self::Immediate => "stopped (immediate)",
            Self::Killed => "killed",
        }
    }
}

/// A server that is at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How it was brought there.
    pub how: Stopped,
    /// Its unit, and why that one could not be stopped.
    unit: Option<(String, Option<String>)>,
}

impl Ended {
    /// Whether nothing was to be done.
    pub fn was_down(&self) -> bool {
        self.how == Stopped::WasDown
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.how.how())?;
        match &self.unit {
            None => Ok(()),
            Some((unit, None)) => write!(f, ", and so is its unit {unit}"),
            Some((unit, Some(why))) => write!(
                f,
                ", but its unit {unit} was not ({why}): give this user the right to, as docs/install.md says"
            ),
        }
    }
}

/// Why it is not sure that the server is stopped.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// Processes did not go away.
    #[error("database processes {pids:?} did not end within {} ms, SIGKILL included", .given.as_millis())]
    StillRunning {
        /// Their ids.
        pids: Vec<i32>,
        /// The time given.
        given: Duration,
    },
    /// What is left was killed, and will not do anything any more; but a disk that hangs keeps it in
    /// the kernel.
    #[error(
        "database processes {pids:?} were killed, but hang in the kernel until their disk answers"
    )]
    Stuck {
        /// Their ids.
        pids: Vec<i32>,
    },
    /// Processes could not be looked at.
    #[error("this host's processes cannot be looked at: {0}")]
    Unseen(#[from] io::Error),
}

/// What is kept of the time for stopping a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rest {
    after_fast: Duration,
    after_immediate: Duration,
    /// For whoever has to hear that the server is stuck.
    after_kill: Duration,
}

impl Rest {
    fn of(given: Duration) -> Self {
        let share = given.min(HARD_STOP_TIME * 4);
        Self {
            after_fast: share * 5 / 16,
            after_immediate: share / 4,
            after_kill: share / 12,
        }
    }
}

/// What the control file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlData {
    /// `Database cluster state`: `in production`, `shut down`, `in archive recovery`, ...
    pub state: String,
    /// Position of the last checkpoint; after a clean stop, of the shutdown checkpoint.
    pub checkpoint: Lsn,
    /// Where a recovery from that checkpoint begins: at its beginning, which may be segments before.
    pub redo: Lsn,
    /// Timeline of the last checkpoint.
    pub timeline: Timeline,
    /// A standby has replayed at least up to here; 0/0 on a primary.
    pub min_recovery: Lsn,
    /// Timeline of that position; 0 on a primary.
    pub min_recovery_timeline: Timeline,
    /// Whether a rewind can tell which blocks changed: hint bits are logged, or there are checksums.
    pub can_be_rewound: bool,
    /// Bytes of a WAL segment file.
    pub segment_size: u64,
}

pub use failover_rules::facts::status::is_primary_state;

impl ControlData {
    /// Whether the server was shut down as a primary, with a shutdown checkpoint.
    pub fn is_clean_primary(&self) -> bool {
        self.state == "shut down"
    }

    /// Whether the server was shut down, as a primary or as a standby.
    pub fn is_clean(&self) -> bool {
        self.is_clean_primary() || self.state == "shut down in recovery"
    }

    /// Reads what `pg_controldata` prints. `None`: not that.
    pub fn parse(text: &str) -> Option<Self> {
        let fields: HashMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim(), value.trim()))
            .collect();
        let field = |name: &str| fields.get(name).copied();
        Some(Self {
            state: field("Database cluster state")?.to_owned(),
            checkpoint: field("Latest checkpoint location")?.parse().ok()?,
            redo: field("Latest checkpoint's REDO location")?.parse().ok()?,
            timeline: field("Latest checkpoint's TimeLineID")?.parse().ok()?,
            min_recovery: field("Minimum recovery ending location")?.parse().ok()?,
            min_recovery_timeline: field("Min recovery ending loc's timeline")?.parse().ok()?,
            // With "Current" before it in some versions.
            can_be_rewound: fields
                .iter()
                .any(|(name, value)| name.ends_with("wal_log_hints setting") && *value == "on")
                || field("Data page checksum version").is_some_and(|version| version != "0"),
            segment_size: match field("Bytes per WAL segment") {
                Some(bytes) => bytes.parse().ok().filter(is_segment_size)?,
                None => 16 << 20,
            },
        })
    }
}

/// A power of two from 1 MB to 1 GB.
fn is_segment_size(bytes: &u64) -> bool {
    bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(bytes)
}

/// What the program says on standard output, since version 17 on standard error; its exit code is 0.
fn has_wrong_checksum(out: &Output) -> bool {
    let mut lines = out.stdout.lines().chain(out.stderr.lines());
    lines.any(|line| line.contains("CRC checksum does not match"))
}

/// What stands in the place of a history that is not here. For the server it is one of a timeline that
/// comes from nowhere, and so never one to follow.
const RESERVED: &str =
    "# reserved for a promotion: another host has a timeline of this number (failover-tools)\n";
/// A host is that many promotions behind at most; what says more is no timeline.
const MOST_RESERVED: u32 = 1000;
/// In `STATE_DIR`: what the server prints at a start of ours, before its own log begins.
pub const START_LOG: &str = "database.log";

/// Why the control file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ControlDataError {
    /// Its program failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Its checksum is wrong: no word of it can be believed.
    #[error(
        "the control file in {} is damaged, its checksum is wrong: no server starts on it, so this node needs a base \
         backup", .0.display()
    )]
    Damaged(PathBuf),
    /// Its program printed something else.
    #[error("{0} printed something else than a control file")]
    Unreadable(String),
}

impl Instance {
    /// The instance that `config` describes.
    pub fn new(config: &Config) -> Result<Self, InstanceError> {
        // /proc shows paths with symbolic links resolved. A data directory that is gone can still
        // have a server in it.
        let (flavor, known) = (Flavor::of(config)?, config.clone());
        let user = SystemUser::named(&config.kb_execute_sys_user).map_err(InstanceError::User)?;
        let layout = on_disk(move || {
            let data = fs::canonicalize(&known.kb_data_path).unwrap_or(known.kb_data_path.clone());
            Layout::find(flavor, &known, &data)
        });
        let layout = layout.unwrap_or_else(|| Layout::plain(flavor, &config.kb_data_path));
        Ok(Self {
            flavor,
            bin: config.kb_path.clone(),
            lib: config.kb_ld_path.clone(),
            data: layout.data().to_owned(),
            layout,
            service: config.db_service.clone(),
            state: StateDir::new(&config.state_dir, &user),
            user,
            address: config.kb_localhost_ip,
            port: config.kb_port,
            database: config.kb_dataname.clone(),
        })
    }

    /// All its processes: those of its user that run the server's program with the data directory as their
    /// working directory, whoever their parent is by now. Sorted by id. An error where one of the
    /// database's user cannot be looked at: it may be one of them.
    pub fn processes(&self) -> io::Result<Vec<Process>> {
        let mut found = Vec::new();
        for pid in all_pids()? {
            if self.is_ours(pid)? {
                found.extend(process(pid));
            }
        }
        found.sort_by_key(|process| process.pid);
        Ok(found)
    }

    /// The one that the others come from, if it lives.
    pub fn postmaster(processes: &[Process]) -> Option<&Process> {
        let ids: HashSet<i32> = processes.iter().map(|process| process.pid).collect();
        processes
            .iter()
            .find(|process| !ids.contains(&process.parent))
    }

    fn is_ours(&self, pid: i32) -> io::Result<bool> {
        let link = |name| fs::read_link(format!("/proc/{pid}/{name}")).map(without_deleted);
        let its_program = link("cwd").and_then(|cwd| {
            // Of most processes one look is enough.
            (cwd == self.data).then(|| link("exe")).transpose()
        });
        match its_program {
            Ok(program) => {
                let name = Some(OsStr::new(self.flavor.server));
                let named_so = program.is_some_and(|exe| exe.file_name() == name);
                Ok(named_so && self.is_of_its_user(pid) && self.is_in_its_directory(pid))
            }
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                let owner = fs::metadata(format!("/proc/{pid}")).map(|meta| meta.uid());
                match owner {
                    // The system also hides what sshd is that serves a login of the same user: its
                    // name tells that it is no server.
                    Ok(owner) if owner == self.user.uid.as_raw() && self.has_its_name(pid) => {
                        Err(e)
                    }
                    _ => Ok(false),
                }
            }
            // It ended, or is a zombie.
            _ => Ok(false),
        }
    }

    fn is_of_its_user(&self, pid: i32) -> bool {
        owner_in(&status_of(pid)) == Some(self.user.uid)
    }

    /// Whether the working directory of a process is the data directory itself, where its path is the same:
    /// in a container another one may have that path. What cannot be told may be it.
    fn is_in_its_directory(&self, pid: i32) -> bool {
        let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/mnt")).ok();
        let theirs = namespace(&pid.to_string());
        if theirs.is_some() && theirs == namespace("self") {
            return true;
        }
        let identity = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
        let (cwd, data) = (PathBuf::from(format!("/proc/{pid}/cwd")), self.data.clone());
        let same = move || match (identity(&cwd), identity(&data)) {
            (Ok(theirs), Ok(ours)) => theirs == ours,
            _ => true,
        };
        on_disk(same).unwrap_or(true)
    }

    /// Whether a process has the name of the server's program, of which the kernel keeps 15 bytes. One
    /// whose name cannot be read may have it.
    fn has_its_name(&self, pid: i32) -> bool {
        let server = &self.flavor.server[..self.flavor.server.len().min(15)];
        kernel_name(pid).map_or(true, |name| name == server)
    }

    /// Stops the server so that no process of it is left: fast, then immediate, then SIGKILL for
    /// the postmaster and all its descendants. Nearly all of the time is for the first: it is the
    /// one that loses nothing. A server that is frozen is killed at once: continuing it so that it
    /// can stop would let it write. That what was killed is stuck is said so long before `deadline`
    /// that there is time to act on it.
    ///
    /// A unit that owns the server comes first: it must not start again what is stopped here.
    pub fn stop(&self, deadline: Deadline) -> Result<Ended, StopError> {
        let supervisor = self.supervisor();
        let asked = supervisor.clone();
        let limit = deadline.at_most(deadline.remaining() / 4);
        let word = workers::within(limit, move || asked.stop(limit));
        let why = match word {
            Some(word) => word.and_then(Result::err).map(|error| error.to_string()),
            None => Some("no answer in time".to_owned()),
        };
        let unit = supervisor.unit().map(|unit| (unit.to_owned(), why));
        let how = self.stop_processes(deadline)?;
        Ok(Ended { how, unit })
    }

    /// Who owns the server.
    pub fn supervisor(&self) -> Supervisor {
        if let Some(service) = &self.service {
            return Supervisor::named(service);
        }
        let known = self.remembered_unit();
        match self.running_postmaster() {
            Some(pid) => Supervisor::owner_of(pid, known.as_deref()),
            None => Supervisor::remembered(known),
        }
    }

    fn running_postmaster(&self) -> Option<i32> {
        let processes = self.processes().ok()?;
        Self::postmaster(&processes).map(|it| it.pid)
    }

    fn remembered_unit(&self) -> Option<String> {
        let state = self.state.clone();
        on_disk(move || state.load().ok()?.unit).flatten()
    }

    /// Keeps in mind which unit owns the server that runs, for when it does not.
    ///
    /// # Errors
    /// The state cannot be written.
    pub fn remember_unit(&self) -> io::Result<()> {
        if self.service.is_some() {
            return Ok(());
        }
        let Some(pid) = self.running_postmaster() else {
            return Ok(());
        };
        let known = self.remembered_unit();
        let owner = Supervisor::owner_of(pid, known.as_deref());
        let unit = owner.unit().map(str::to_owned);
        match unit == known {
            true => Ok(()),
            false => self.state.update(|state| state.unit = unit).map(drop),
        }
    }

    fn stop_processes(&self, deadline: Deadline) -> Result<Stopped, StopError> {
        let given = deadline.remaining();
        let rest = Rest::of(given);
        let patience = given / ARCHIVE_SHARE;
        let mut processes = self.processes()?;
        if processes.is_empty() {
            return Ok(Stopped::WasDown);
        }
        // Archive commands and the like run another program: remembered while they still have the
        // parent that tells them.
        let descendants = descendants(&processes);
        for (signal, how, kept) in [
            (Signal::SIGINT, Stopped::Fast, rest.after_fast),
            (Signal::SIGQUIT, Stopped::Immediate, rest.after_immediate),
        ] {
            // Orphans of a postmaster that was killed have no one who would pass a signal on.
            let Some(postmaster) = Self::postmaster(&processes)
                .filter(|it| !it.stopped && !it.was_killed() && self.is_postmaster(it.pid))
            else {
                break;
            };
            send(signal, postmaster.pid);
            let limit = before(deadline, kept);
            let mut archives = None;
            let ended = limit.poll(LOOK_INTERVAL, || {
                processes = self.processes().ok()?;
                let waits = !processes.is_empty();
                let ends = waits
                    && how == Stopped::Fast
                    && self.merely_archives(&processes, &mut archives, patience, limit);
                (!waits || ends).then_some(!waits)
            });
            if ended == Some(true) {
                return Ok(how);
            }
        }
        let all_stuck = |all: &[Process]| all.iter().all(Process::is_stuck);
        // One that can die does so at once.
        let at_once = before(deadline, rest.after_kill).at_most(HARD_STOP_TIME);
        let gone = deadline.poll(LOOK_INTERVAL, || {
            processes = self.processes().ok()?;
            let strays = descendants
                .iter()
                .filter(|process| process.is_still_there());
            for process in processes.iter().chain(strays) {
                send(Signal::SIGKILL, process.pid);
            }
            let stuck = at_once.passed() && all_stuck(&processes);
            (processes.is_empty() || stuck).then_some(())
        });
        let pids: Vec<i32> = processes.iter().map(|process| process.pid).collect();
        match gone {
            Some(()) if pids.is_empty() => Ok(Stopped::Killed),
            _ if all_stuck(&processes) => Err(StopError::Stuck { pids }),
            _ => Err(StopError::StillRunning { pids, given }),
        }
    }

    /// Whether nothing is left of a server but what waits for its archive, for as long as `patience`, and all
    /// that it had is on the disk. An archive that fails holds up a clean stop for seconds, one that hangs for
    /// ever.
    fn merely_archives(
        &self,
        processes: &[Process],
        until: &mut Option<Deadline>,
        patience: Duration,
        limit: Deadline,
    ) -> bool {
        let postmaster = Self::postmaster(processes).map(|it| it.pid);
        let mut others = processes.iter().filter(|it| Some(it.pid) != postmaster);
        // Who asks for a session is turned away, and is seen for a moment.
        let merely = others.all(|it| is_of_the_archive(&it.title()));
        let begun = || Deadline::after(patience);
        if !merely || !until.get_or_insert_with(begun).passed() {
            return false;
        }
        // Its last checkpoint may be under way still: asked again after as long.
        *until = None;
        let control = self.control_data(limit);
        control.is_ok_and(|it| it.state.starts_with("shut down"))
    }

    /// Its WAL receivers: one, or none while it connects to nobody. By their titles, which the server
    /// gives them as they start: it has to take no session for that.
    pub fn wal_receivers(&self) -> io::Result<Vec<Process>> {
        let mut found = self.processes()?;
        found.retain(|it| is_wal_receiver(&it.title()));
        Ok(found)
    }

    /// Has the server read its settings again, without a session.
    pub fn reload(&self) -> io::Result<()> {
        let processes = self.processes()?;
        let postmaster = Self::postmaster(&processes).filter(|it| self.is_postmaster(it.pid));
        match postmaster {
            Some(postmaster) => {
                send(Signal::SIGHUP, postmaster.pid);
                Ok(())
            }
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "no postmaster runs that could read its settings",
            )),
        }
    }

    /// The version of the server that made the data directory, as `server_version_num` has it of a first
    /// release: 150000.
    pub fn version(&self) -> Option<u32> {
        let file = self.data.join("PG_VERSION");
        let text = on_disk(move || fs::read_to_string(file))?.ok()?;
        version_number(&text)
    }

    /// Who has started it, where it runs.
    pub fn started_by(&self) -> Option<String> {
        let processes = self.processes().ok()?;
        Self::postmaster(&processes).map(started_by)
    }

    /// Keeps its next promotion from taking the number of a timeline up to `newest` whose history it does
    /// not have: the server takes the first number after its own of which there is no history file. That
    /// of another promotion from the same position would be another timeline of the same number, and
    /// nothing tells the two apart any more.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn reserve_timelines(&self, own: Timeline, newest: Timeline) -> io::Result<u32> {
        let owner = Some((self.user.uid, self.user.gid));
        let mut reserved = 0;
        for timeline in own.saturating_add(1)..=newest.min(own.saturating_add(MOST_RESERVED)) {
            let file = self.wal_file(&history::file_name(timeline));
            if !file.exists() {
                durable::write(&file, RESERVED.as_bytes(), 0o600, owner)?;
                reserved += 1;
            }
        }
        Ok(reserved)
    }

    /// Ends what [`Self::reserve_timelines`] began. A number that the promotion has left out keeps its file,
    /// with the history of the timeline that came instead: a standby asks its primary for the history of
    /// each number up to the newest, and would not go on without one. Of a promotion that came to nothing
    /// the files are removed: the server would take the number for a timeline, and not start.
    ///
    /// # Errors
    /// A file cannot be read, written or removed.
    pub fn release_timelines(&self) -> io::Result<()> {
        let owner = Some((self.user.uid, self.user.gid));
        let (mut real, mut reserved) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(self.data.join(self.flavor.wal_dir))?.flatten() {
            let Some(timeline) = entry.file_name().to_str().and_then(history::timeline_of) else {
                continue;
            };
            // Of a real one a glance is enough.
            let ours = entry
                .metadata()
                .is_ok_and(|it| it.len() == RESERVED.len() as u64)
                && fs::read(entry.path()).is_ok_and(|text| text == RESERVED.as_bytes());
            match ours {
                true => reserved.push(timeline),
                false => real.push(timeline),
            }
        }
        for timeline in reserved {
            let file = self.wal_file(&history::file_name(timeline));
            match real.iter().filter(|it| **it > timeline).min() {
                Some(instead) => {
                    let text = fs::read(self.wal_file(&history::file_name(*instead)))?;
                    durable::write(&file, &text, 0o600, owner)?;
                }
                None => durable::remove(&file)?,
            }
        }
        Ok(())
    }

    fn wal_file(&self, name: &str) -> PathBuf {
        self.data.join(self.flavor.wal_dir).join(name)
    }

    /// Whether `pid` is the postmaster by its pid file, or, without one, by having children.
    fn is_postmaster(&self, pid: i32) -> bool {
        match self.pid_in_file() {
            Some(known) => known == pid,
            None => self
                .processes()
                .is_ok_and(|all| all.iter().any(|process| process.parent == pid)),
        }
    }

    fn pid_in_file(&self) -> Option<i32> {
        self.line_of_pid_file(0)
    }

    /// When the server that runs was started, in seconds since 1970.
    pub fn started(&self) -> Option<i64> {
        self.line_of_pid_file(2)
    }

    fn line_of_pid_file<T: FromStr>(&self, number: usize) -> Option<T> {
        let file = self.data.join(self.flavor.pid_file);
        let text = on_disk(move || fs::read_to_string(file))?.ok()?;
        in_pid_file(&text, number)
    }

    /// Removes the pid file of a server that is gone, where another process of its user has that number by
    /// now: after a boot the numbers are low again. The server takes it for another one in its directory,
    /// and does not start. Any other pid file it replaces by itself. Returns whether it was removed.
    ///
    /// # Errors
    /// `/proc` cannot be read, or the file not be removed.
    pub fn forget_reused_pid(&self) -> io::Result<bool> {
        let file = self.data.join(self.flavor.pid_file);
        // One that has just been written is that of a server which starts.
        let written = || fs::metadata(&file).and_then(|it| it.modified()).ok();
        let Some(pid) = self.pid_in_file().filter(|pid| self.is_of_its_user(*pid)) else {
            return Ok(false);
        };
        let before = written();
        if !self.processes()?.is_empty() || written() != before || self.pid_in_file() != Some(pid) {
            return Ok(false);
        }
        durable::remove(&file)?;
        Ok(true)
    }

    /// Whether its port refuses connections; false also when it cannot be told.
    pub fn refuses(&self, deadline: Deadline) -> bool {
        port_refuses(self.address, self.port, deadline) == PortState::Refuses
    }

    /// Who else listens on its port, where none of its own user's processes does: a user of this host.
    pub fn stranger_on_its_port(&self) -> Option<String> {
        let all = listeners(self.port);
        let stranger = *all.first().filter(|_| !all.contains(&self.user.uid))?;
        // A user database on another host may be slow.
        let known = on_disk(move || User::from_uid(stranger).ok().flatten()).flatten();
        Some(known.map_or_else(
            || format!("user {stranger}"),
            |user| format!("user {}", user.name),
        ))
    }

    /// Its control file.
    pub fn control_data(&self, deadline: Deadline) -> Result<ControlData, ControlDataError> {
        let program = self.flavor.controldata;
        let out = self.run(
            program,
            &[self.data.as_os_str()],
            deadline.at_most(READ_TIME),
        )?;
        if has_wrong_checksum(&out) {
            return Err(ControlDataError::Damaged(self.data.clone()));
        }
        ControlData::parse(&out.stdout)
            .ok_or_else(|| ControlDataError::Unreadable(program.to_owned()))
    }

    /// Has a server that was killed between two writes of its control files start all the same: the first of
    /// them is written first. One that is damaged itself is left to a person, with its copies.
    pub fn mend_control_copies(&self, deadline: Deadline) {
        let is_down = || self.processes().is_ok_and(|all| all.is_empty());
        let has_copies = self.flavor.control_copies.is_some();
        if has_copies && is_down() && self.control_data(deadline).is_ok() {
            // Where that fails the server says what is wrong with them.
            let _ = control_copies::renew(&self.layout, &self.user);
        }
    }

    /// The newest timeline of which it has WAL, by the names of the segment files: after a restart,
    /// or without a WAL receiver, neither SQL nor the control file is sure to know.
    pub fn newest_timeline_in_wal(&self) -> Option<Timeline> {
        let dir = self.data.join(self.flavor.wal_dir);
        on_disk(move || newest_timeline(&dir)).flatten()
    }

    /// Whether its settings make it start as a standby.
    pub fn is_set_up_as_standby(&self) -> bool {
        let file = self.data.join(self.flavor.standby_file);
        on_disk(move || file.exists()).unwrap_or(false)
    }

    /// Its data directory, symbolic links resolved.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Where it has its files.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The user that it runs as, to whom its files belong.
    pub fn user(&self) -> &SystemUser {
        &self.user
    }

    /// One of its programs, to be run as its user.
    pub fn command(&self, program: &str) -> Cmd {
        let cmd = Cmd::new(self.bin.join(program)).as_user(&self.user);
        match &self.lib {
            Some(lib) => cmd.env("LD_LIBRARY_PATH", lib),
            None => cmd,
        }
    }

    /// Starts the server, through its unit where it has one, and does not wait for it. What it prints goes
    /// to the end of `log`, if not to its unit's. The bar of [`bar`] is taken away.
    pub fn start(&self, log: &Path, deadline: Deadline) -> Result<Output, RunError> {
        self.start_with(log, &[], deadline)
    }

    /// The same for a standby whose `restore_command` hangs: until its next start it has none.
    pub fn start_without_archive(
        &self,
        log: &Path,
        deadline: Deadline,
    ) -> Result<Output, RunError> {
        self.start_with(log, &["restore_command="], deadline)
    }

    fn start_with(
        &self,
        log: &Path,
        settings: &[&str],
        deadline: Deadline,
    ) -> Result<Output, RunError> {
        // Where that fails the server says what is wrong with the directory.
        let _ = unbar(&self.data);
        self.mend_control_copies(deadline);
        let _ = self.forget_reused_pid();
        let supervisor = self.supervisor();
        if let Some(started) = supervisor.start(&self.user, settings, deadline) {
            return started;
        }
        let cmd = self.start_command(log, settings);
        run(&cmd, deadline)?.checked(&cmd)
    }

    /// The command by which a person, as root, starts it as [`Self::start`] does.
    pub fn start_by_hand(&self, log: &Path) -> String {
        let own = || {
            let cmd = self.start_command(log, &[]);
            format!("runuser -u {} -- {cmd}", self.user.name)
        };
        self.supervisor().start_by_hand().unwrap_or_else(own)
    }

    fn start_command(&self, log: &Path, settings: &[&str]) -> Cmd {
        let cmd = self
            .command(self.flavor.ctl)
            .args(["start", "-W", "-D"])
            .arg(&self.data)
            .arg("-l")
            .arg(log);
        let apart = self.layout.setting();
        let settings = apart.as_deref().into_iter().chain(settings.iter().copied());
        // For the shell by which the program starts the server. Older ones take one such option only.
        let options: Vec<String> = settings
            .map(|it| format!("-c {}", shell_quote(it)))
            .collect();
        match options.is_empty() {
            true => cmd,
            false => cmd.args(["-o", &options.join(" ")]),
        }
    }

    /// A server that was not shut down cleanly syncs all its files before it recovers: 40,000 of them one by one
    /// took 25 s, their file system at once one.
    fn syncs_at_once(&self) -> Option<&'static str> {
        let (setting, from) = self.flavor.syncs_at_once?;
        (self.version()? >= from).then_some(setting)
    }

    /// The command that brings a crashed primary to a clean shutdown: crash recovery and the end, in
    /// a single-user server. Never for a standby, which it would fork on its own timeline.
    pub fn crash_recovery(&self) -> Cmd {
        self.command(self.flavor.server)
            .args(["--single", "-D"])
            .arg(&self.data)
            .args(self.syncs_at_once().iter().flat_map(|it| ["-c", it]))
            .args(self.layout.setting().map(|it| format!("--{it}")))
            // One that is sure to be there under this very name.
            .arg(&self.database)
            .dying_with_us()
    }

    /// Base backups into the data directory itself: a person's, as its user or as root, for ours goes to
    /// the directory beside it.
    pub fn base_backups(&self) -> io::Result<Vec<Process>> {
        let may_write = |pid| {
            [Some(self.user.uid), Some(Uid::from_raw(0))].contains(&owner_in(&status_of(pid)))
        };
        let mut all = all_processes()?;
        all.retain(|it| works_on(it.pid, self.flavor.basebackup, &self.data) && may_write(it.pid));
        Ok(all)
    }

    /// Kills what works on for a run of ours that was killed: a rewind of the data directory, a base
    /// backup into the copy beside it.
    pub fn kill_strays(&self, deadline: Deadline) -> Result<usize, StopError> {
        let given = deadline.remaining();
        let mut copy = self.data.clone().into_os_string();
        copy.push(".new");
        let mut found = all_processes()?;
        found.retain(|it| {
            let works = works_on(it.pid, self.flavor.rewind, &self.data)
                || works_on(it.pid, self.flavor.basebackup, Path::new(&copy));
            works && self.is_of_its_user(it.pid)
        });
        let mut left = Vec::new();
        let gone = deadline.poll(LOOK_INTERVAL, || {
            let there = found.iter().filter(|process| process.is_still_there());
            left = there.map(|process| process.pid).collect();
            left.iter().for_each(|pid| send(Signal::SIGKILL, *pid));
            left.is_empty().then_some(found.len())
        });
        gone.ok_or(StopError::StillRunning { pids: left, given })
    }

    /// The program that promotes it, if that is missing.
    pub fn missing_ctl(&self) -> Option<PathBuf> {
        self.missing_program(self.flavor.ctl)
    }

    /// One of its programs, if that is missing.
    pub fn missing_program(&self, program: &str) -> Option<PathBuf> {
        Some(self.bin.join(program)).filter(|path| !path.exists())
    }

    /// Asks for the promotion, and does not wait for it.
    pub fn ask_for_promotion(&self, deadline: Deadline) -> Result<Output, RunError> {
        let args = ["promote", "-W", "-D"].map(OsStr::new);
        self.run(
            self.flavor.ctl,
            &[args[0], args[1], args[2], self.data.as_os_str()],
            deadline,
        )
    }

    /// Runs one of the server's programs as the database's user.
    fn run(&self, program: &str, args: &[&OsStr], deadline: Deadline) -> Result<Output, RunError> {
        let cmd = self.command(program).args(args);
        run(&cmd, deadline)?.checked(&cmd)
    }
}

/// What stands in a line of a pid file.
pub(crate) fn in_pid_file<T: FromStr>(text: &str, number: usize) -> Option<T> {
    text.lines().nth(number)?.trim().parse().ok()
}

/// `15` is 150000, `9.6` is 90600.
pub(crate) fn version_number(text: &str) -> Option<u32> {
    let mut parts = text.trim().split('.');
    let first: u32 = parts.next()?.parse().ok()?;
    let second: u32 = parts.next().map_or(Some(0), |it| it.parse().ok())?;
    let first = first.checked_mul(10_000)?;
    first.checked_add(second.checked_mul(100)?)
}

/// Whether `title` is a WAL receiver's: `postgres: main: walreceiver streaming 0/3000148`, where `main` is
/// a `cluster_name`; up to version 9.6 `postgres: wal receiver process   streaming 0/3000148`.
pub(crate) fn is_wal_receiver(title: &str) -> bool {
    let mut parts = title.split(": ").skip(1);
    parts.any(|part| part.starts_with("walreceiver") || part.starts_with("wal receiver process"))
}

/// Whether `title` is that of a process which may be there while a server that is shut down waits for its
/// archive: `postgres: main: archiver failed on 000000010000000000000001`; up to version 9.6
/// `postgres: archiver process`. From 18 on the checkpointer and the I/O workers stay until it is done.
fn is_of_the_archive(title: &str) -> bool {
    const STAY: [&str; 4] = ["archiver", "logger", "checkpointer", "io worker"];
    let mut parts = title.split(": ").skip(1);
    parts.any(|part| STAY.iter().any(|it| part.starts_with(it)))
}

/// Others may enter a data directory that is barred. No version of the server starts on such a one, and no
/// program that works on the directory minds: so nobody, a supervisor above all, starts what is changed
/// just now, or is only half there.
const BAR: u32 = 0o001;

/// Keeps every server from starting on the data directory `dir`, until [`unbar`].
///
/// # Errors
/// Its mode cannot be changed.
pub fn bar(dir: &Path) -> io::Result<()> {
    change_mode(dir, |mode| mode | BAR)
}

/// Takes the bar of [`bar`] away.
///
/// # Errors
/// Its mode cannot be changed.
pub fn unbar(dir: &Path) -> io::Result<()> {
    change_mode(dir, |mode| mode & !BAR)
}

fn change_mode(dir: &Path, change: impl FnOnce(u32) -> u32) -> io::Result<()> {
    let before = fs::metadata(dir)?.mode() & 0o7777;
    match change(before) {
        after if after == before => Ok(()),
        after => fs::set_permissions(dir, fs::Permissions::from_mode(after)),
    }
}

/// Who has started `postmaster`, for a person: the unit that it belongs to, else its parent.
pub fn started_by(postmaster: &Process) -> String {
    if let Some(unit) = unit_of(postmaster.pid) {
        return format!("the unit {unit}");
    }
    let parent = postmaster.parent;
    let name = kernel_name(parent).unwrap_or_else(|_| "a process that has ended".to_owned());
    format!("{name} (process {parent})")
}

/// Sends SIGTERM to a process of the server.
pub fn terminate(process: &Process) {
    if process.is_still_there() {
        send(Signal::SIGTERM, process.pid);
    }
}

/// What `work` reads from the database's disk; `None` if that hangs.
pub(crate) fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    workers::within(Deadline::after(DISK_TIME), work)
}

fn newest_timeline(wal_dir: &Path) -> Option<Timeline> {
    fs::read_dir(wal_dir)
        .ok()?
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let is_segment = name.len() == 24 && name.bytes().all(|b| b.is_ascii_hexdigit());
            is_segment
                .then(|| Timeline::from_str_radix(&name[..8], 16).ok())
                .flatten()
        })
        .max()
}

/// Where a link of `/proc` pointed before its file was deleted.
fn without_deleted(path: PathBuf) -> PathBuf {
    let bytes = path.into_os_string().into_vec();
    let kept = bytes.strip_suffix(b" (deleted)").unwrap_or(&bytes);
    PathBuf::from(OsStr::from_bytes(kept))
}

/// Whether a process runs `program` with the directory `target` among its arguments, alone or at the end
/// of an option.
fn works_on(pid: i32, program: &str, target: &Path) -> bool {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).map(without_deleted);
    if !exe.is_ok_and(|exe| exe.file_name() == Some(OsStr::new(program))) {
        return false;
    }
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let directories = arguments.split(|byte| *byte == 0).map(directory_in);
    directories.filter(|it| !it.is_empty()).any(|directory| {
        let path = cwd.join(OsStr::from_bytes(directory));
        path == target || fs::canonicalize(path).is_ok_and(|path| path == target)
    })
}

/// The directory that an argument names: `DIR`, `-DDIR` or `--option=DIR`.
fn directory_in(argument: &[u8]) -> &[u8] {
    if argument.starts_with(b"--") {
        let at = argument.iter().position(|byte| *byte == b'=');
        return at.map_or(argument, |at| &argument[at + 1..]);
    }
    argument.strip_prefix(b"-D").unwrap_or(argument)
}

/// Not by the crate `procfs`: that one understands all fields of a file or fails, and a name or a field that it
/// does not know would hide a process from the fence.
fn all_processes() -> io::Result<Vec<Process>> {
    Ok(all_pids()?.filter_map(process).collect())
}

fn all_pids() -> io::Result<impl Iterator<Item = i32>> {
    Ok(fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

pub(crate) fn process(pid: i32) -> Option<Process> {
    // Its name need not be UTF-8.
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(pid, &String::from_utf8_lossy(&stat))
}

fn is_killed(status: &str) -> bool {
    pending_signals(status) & (1 << (Signal::SIGKILL as u64 - 1)) != 0
}

pub(crate) fn is_stuck(status: &str) -> bool {
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    is_killed(status) && state.is_some_and(|state| state.trim_start().starts_with('D'))
}

/// State and parent follow the name, which is in parentheses and may hold anything.
pub(crate) fn parse_stat(pid: i32, stat: &str) -> Option<Process> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    Some(Process {
        pid,
        parent: fields.next()?.parse().ok()?,
        stopped: matches!(state, "T" | "t"),
        // Field 22 of proc(5); the state is field 3.
        start: fields.nth(17)?.parse().ok()?,
    })
    .filter(|_| !matches!(state, "Z" | "X"))
}

/// All processes that descend from `roots` and are none of them.
pub(crate) fn descendants(roots: &[Process]) -> Vec<Process> {
    let all = all_processes().unwrap_or_default();
    let mut family: HashSet<i32> = roots.iter().map(|process| process.pid).collect();
    loop {
        let before = family.len();
        let children: Vec<i32> = all
            .iter()
            .filter(|process| family.contains(&process.parent))
            .map(|process| process.pid)
            .collect();
        family.extend(children);
        if family.len() == before {
            break;
        }
    }
    all.into_iter()
        .filter(|process| family.contains(&process.pid) && !roots.contains(process))
        .collect()
}

/// So long before `deadline`.
fn before(deadline: Deadline, rest: Duration) -> Deadline {
    deadline.at_most(deadline.remaining().saturating_sub(rest))
}

pub(crate) fn send(signal: Signal, pid: i32) {
    // It may have ended meanwhile: that is what is wanted, and looked for afterwards.
    let _ = kill(Pid::from_raw(pid), signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wal_receiver_shows_by_its_title() {
        for (title, expected) in [
            ("postgres: walreceiver streaming 0/3000148", true),
            ("postgres: main: walreceiver ", true),
            ("kingbase: wal receiver process   streaming 0/3000148", true),
            ("postgres: walwriter ", false),
            (
                "postgres: startup recovering 000000010000000000000003",
                false,
            ),
            ("/usr/lib/postgresql/15/bin/postgres", false),
        ] {
            assert_eq!(is_wal_receiver(title), expected, "{title}");
        }
    }

    #[test]
    fn who_waits_for_the_archive_is_told_by_its_title() {
        for (title, expected) in [
            ("postgres: archiver ", true),
            (
                "postgres: main: archiver failed on 000000010000000000000001",
                true,
            ),
            (
                "kingbase: archiver process   last was 000000010000000000000001",
                true,
            ),
            ("postgres: node101: logger ", true),
            (
                "postgres: checkpointer performing shutdown checkpoint",
                true,
            ),
            ("postgres: io worker 2", true),
            (
                "postgres: node101: walsender u 10.0.0.2(54538) streaming 0/2000000",
                false,
            ),
            ("postgres: u archiver [local] idle", false),
            (
                "postgres: startup recovering 000000010000000000000001",
                false,
            ),
            ("/usr/lib/postgresql/15/bin/postgres", false),
        ] {
            assert_eq!(is_of_the_archive(title), expected, "{title}");
        }
    }

    #[test]
    fn numbers_of_timelines_are_reserved_and_released() {
        let root = std::env::temp_dir().join(format!("reserved-{}", std::process::id()));
        let wal = root.join(crate::flavor::POSTGRES.wal_dir);
        fs::create_dir_all(&wal).unwrap();
        let instance = Instance {
            flavor: &crate::flavor::POSTGRES,
            bin: root.clone(),
            lib: None,
            data: root.clone(),
            layout: Layout::plain(&crate::flavor::POSTGRES, &root),
            service: None,
            state: StateDir::new(&root, &SystemUser::current().unwrap()),
            user: SystemUser::current().unwrap(),
            address: [127, 0, 0, 1].into(),
            port: 1,
            database: String::new(),
        };
        let real = "1\t0/3000000\tno recovery target specified\n";
        fs::write(wal.join("00000003.history"), real).unwrap();
        let there = |name: &str| wal.join(name).exists();
        assert_eq!(instance.reserve_timelines(1, 4).unwrap(), 2);
        assert!(there("00000002.history") && there("00000004.history"));
        // The server reads nothing out of it, and so do we.
        let text = fs::read_to_string(wal.join("00000002.history")).unwrap();
        assert!(text.starts_with('#') && text.lines().count() == 1);
        instance.release_timelines().unwrap();
        // 3 came instead of 2, and nothing of 4.
        let read = |name: &str| fs::read_to_string(wal.join(name)).unwrap();
        assert_eq!(read("00000002.history"), real);
        assert_eq!(read("00000003.history"), real);
        assert!(!there("00000004.history"));
        // Nothing is newer: nothing to do.
        assert_eq!(instance.reserve_timelines(4, 4).unwrap(), 0);
        assert_eq!(instance.reserve_timelines(4, 0).unwrap(), 0);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn versions_as_numbers() {
        assert_eq!(version_number("15\n"), Some(150_000));
        assert_eq!(version_number("9.6\n"), Some(90_600));
        assert_eq!(version_number(""), None);
        assert_eq!(version_number("492499249"), None);
    }

    #[test]
    fn reads_the_control_file() {
        let text = "pg_control version number:            1300\n\
             Database cluster state:               shut down\n\
             Latest checkpoint location:           0/66000028\n\
             Latest checkpoint's REDO location:    0/65FFFF28\n\
             Latest checkpoint's REDO WAL file:    0000000F0000000000000066\n\
             Latest checkpoint's TimeLineID:       15\n\
             Minimum recovery ending location:     0/0\n\
             Min recovery ending loc's timeline:   0\n\
             wal_log_hints setting:                on\n\
             Bytes per WAL segment:                16777216\n\
             Data page checksum version:           0\n";
        let control = ControlData::parse(text).unwrap();
        assert_eq!(control.checkpoint.to_string(), "0/66000028");
        assert_eq!(control.redo.to_string(), "0/65FFFF28");
        assert_eq!((control.timeline, control.is_clean_primary()), (15, true));
        assert!(control.can_be_rewound && control.segment_size == 16 << 20);
        let blind = ControlData::parse(&text.replace(" on\n", " off\n")).unwrap();
        assert!(!blind.can_be_rewound);
        let sums = text
            .replace(" on\n", " off\n")
            .replace("version:           0", "version: 1");
        assert!(ControlData::parse(&sums).unwrap().can_be_rewound);
        assert_eq!(ControlData::parse("command not found"), None);
        for size in ["0", "1", "16777215", "2147483648", "-16777216", ""] {
            let odd = text.replace("16777216", size);
            assert_eq!(ControlData::parse(&odd), None, "{size}");
        }
        assert_eq!(ControlData::parse(&text.replace("15", "fifteen")), None);
    }

    #[test]
    fn a_wrong_checksum_is_told_in_either_way() {
        let out = |stdout: &str, stderr: &str| Output {
            code: 0,
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
        };
        let old = "WARNING: Calculated CRC checksum does not match value stored in file.\nEither the file\n";
        let new = "pg_controldata: warning: calculated CRC checksum does not match value stored in control file\n";
        assert!(has_wrong_checksum(&out(old, "")) && has_wrong_checksum(&out("", new)));
        assert!(!has_wrong_checksum(&out(
            "Data page checksum version: 1\n",
            ""
        )));
    }

    #[test]
    fn a_server_that_is_stuck_is_told_of_in_time() {
        for (given, least) in [(600, 50), (3500, 250), (4000, 300), (60_000, 300)] {
            let given = Duration::from_millis(given);
            let rest = Rest::of(given);
            let tail = rest.after_kill;
            assert!(tail >= Duration::from_millis(least), "{rest:?}");
            // One that can die has time to, and the clean stop has most of it.
            assert!(rest.after_immediate - tail > tail, "{rest:?}");
            assert!(rest.after_fast > rest.after_immediate, "{rest:?}");
            assert!(rest.after_fast < given / 3, "{rest:?}");
        }
    }

    #[test]
    fn a_directory_is_found_in_an_argument() {
        for (argument, expected) in [
            ("/data", "/data"),
            ("-D/data", "/data"),
            ("--pgdata=/data", "/data"),
            ("--target-pgdata=/data=1", "/data=1"),
            ("--verbose", "--verbose"),
            ("-D", ""),
        ] {
            assert_eq!(directory_in(argument.as_bytes()), expected.as_bytes());
        }
    }

    #[test]
    fn killed_a_moment_ago_is_not_stuck() {
        let status = |state: &str, pending: &str| {
            format!("Name:\tpostgres\nState:\t{state}\nSigPnd:\t0\nShdPnd:\t{pending}\n")
        };
        for (state, pending, killed, stuck) in [
            ("D (disk sleep)", "0000000000000100", true, true),
            ("R (running)", "0000000000000100", true, false),
            ("S (sleeping)", "0000000000000100", true, false),
            ("D (disk sleep)", "0000000000000000", false, false),
        ] {
            let status = status(state, pending);
            assert_eq!(is_killed(&status), killed, "{status}");
            assert_eq!(is_stuck(&status), stuck, "{status}");
        }
    }

    #[test]
    fn a_process_name_may_hold_anything() {
        let rest = "5 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 0 0";
        let process = parse_stat(7, &format!("7 (a) R 9 (b) T {rest}")).unwrap();
        assert_eq!(
            (process.parent, process.stopped, process.start),
            (5, true, 777)
        );
        assert_eq!(parse_stat(7, &format!("7 (postgres) Z {rest}")), None);
        assert_eq!(parse_stat(7, "junk"), None);
    }
}
