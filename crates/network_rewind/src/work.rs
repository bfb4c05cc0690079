//! What all steps work on.

use crate::budget;
use anyhow::{Context, Result};
use failover_core::config::Config;
use failover_core::deadline::Deadline;
use failover_core::flavor::Flavor;
use failover_core::history::History;
use failover_core::host::ThisHost;
use failover_core::instance::{ControlData, Instance};
use failover_core::journal::Journal;
use failover_core::lsn::{Lsn, Timeline};
use failover_core::pool::{Pool, PoolNodes};
use failover_core::screen::Amount;
use failover_core::sql::{Session, SqlError, Target};
use failover_core::standby::StandbyFiles;
use failover_core::state::{InstanceLock, Recovery, Stage, State, StateDir};
use failover_core::status::Status;
use failover_rules::facts::view::Primary;
use nix::unistd::{AccessFlags, access};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why a procedure ended before its last step, where the run branches on it.
#[derive(Debug, thiserror::Error)]
pub enum Break {
    /// A promotion of this node wants the instance.
    #[error("a promotion of this node is wanted, and wins: the recovery lets go")]
    PromotionWanted,
    /// What was decided on is not so any more.
    #[error("{0} since it was looked at: decided anew on the next run")]
    Changed(String),
    /// A person has to do something first.
    #[error("{0}")]
    NeedsPerson(String),
}

/// A recovery at work.
pub struct Work<'a> {
    pub here: &'a ThisHost,
    pub instance: &'a Instance,
    /// The one that answered.
    pub pool: Pool,
    pub journal: &'a Journal,
    pub state: &'a StateDir,
    /// The host to follow; this one where it is the primary itself.
    pub primary: IpAddr,
    /// It is started as the standby that it was, whoever is the primary.
    pub stays_standby: bool,
    /// The pool need not name the primary: it was proved to be the right one without that.
    pub unnamed: bool,
    /// The old primary, where the failover from it is run again.
    pub old: Option<IpAddr>,
    /// This host's instance when it was decided.
    pub me: Status,
    /// A failover held it then.
    pub was_held: bool,
    /// With the primary.
    pub session: Option<Session>,
    /// What the primary said.
    pub seen: Option<Primary>,
    /// The hosts of other pools that have this node down, where they were asked.
    pub down_at: Option<Vec<IpAddr>>,
    /// What the pool said last.
    pub nodes: Option<PoolNodes>,
    /// Held while the instance is changed.
    pub lock: Option<InstanceLock>,
    /// A standby that ran was stopped by us.
    pub stopped_standby: bool,
    /// The primary is copied instead of being rewound to.
    pub copies: bool,
    /// The last common timeline, and up to where this node's and the primary's are the same.
    pub fork: Option<(Timeline, Lsn)>,
    /// The names of the primary's WAL files.
    pub primary_wal: Vec<String>,
    /// The last checkpoint before anything was done: a rewind needs no WAL before it, if it comes
    /// before the fork.
    pub checkpoint: Option<Lsn>,
    /// Where a recovery from that one begins.
    pub redo: Option<Lsn>,
    /// There is not room for all that the primary has: it is to be seen whether a rewind needs it.
    pub short: bool,
    /// This run has written the mark: nothing was rewound before.
    pub marked: bool,
}

impl<'a> Work<'a> {
    pub fn config(&self) -> &'a Config {
        &self.here.config
    }

    pub fn names(&self) -> &'static Flavor {
        self.instance.flavor
    }

    pub fn me(&self) -> IpAddr {
        self.config().kb_localhost_ip
    }

    pub fn data(&self) -> &'a Path {
        self.instance.data()
    }

    /// The standby settings in `dir`.
    pub fn standby_files<'b>(&'b self, dir: &'b Path) -> StandbyFiles<'b> {
        let instance = self.instance;
        StandbyFiles::new(instance.layout(), self.config(), dir, instance.user())
    }

    /// The open session with the primary, or a new one.
    pub fn session(&mut self, deadline: Deadline) -> Result<&Session, SqlError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => Session::open(&Target::new(self.config(), self.primary), deadline)?,
        };
        Ok(self.session.insert(session))
    }

    /// Asks the primary anew, in a new session where the old one broke off.
    pub fn ask_primary(&mut self, deadline: Deadline) -> Result<&Primary, SqlError> {
        let names = self.names();
        let answer = self
            .session(deadline)
            .and_then(|session| crate::look::primary(session, names, deadline));
        match answer {
            Ok(primary) => Ok(self.seen.insert(primary)),
            Err(error) => {
                self.session = None;
                Err(error)
            }
        }
    }

    pub fn load(&self) -> Result<State> {
        self.state.load().with_context(|| {
            format!(
                "failed to read the state in {}: if it is damaged, find out whether a rewind was \
                 under way, and remove it",
                self.state.path().display()
            )
        })
    }

    pub fn update(&self, change: impl FnOnce(&mut State)) -> Result<State> {
        self.state.update(change).with_context(|| {
            format!(
                "failed to write the state in {}",
                self.state.path().display()
            )
        })
    }

    /// Changes what is known of the recovery under way.
    pub fn update_recovery(&self, change: impl FnOnce(&mut Recovery)) -> Result<Recovery> {
        let primary = self.primary;
        let state = self.update(|state| {
            let recovery = state.recovery.get_or_insert(Recovery::of(primary));
            recovery.follow(primary);
            change(recovery);
            recovery.follow(primary);
        })?;
        state.recovery.context("the state has no recovery in it")
    }

    /// How far the recovery under way has come.
    pub fn stage(&self) -> Result<Stage> {
        let recovery = self.load()?.recovery;
        Ok(recovery.map_or(Stage::Preparing, |it| it.stage))
    }

    /// Lets a promotion have the instance, as long as it can be had: until the mark of a rewind.
    pub fn yield_to_promotion(&self) -> Result<()> {
        match self.lock.is_some() && self.state.promotion_is_wanted() {
            true => Err(Break::PromotionWanted.into()),
            false => Ok(()),
        }
    }

    /// A recovery before this one came as far as starting the server, which is not stopped again.
    pub fn is_started(&self) -> Result<bool> {
        let running = self.me.running && self.me.in_recovery != Some(false);
        Ok(running && self.stage()? == Stage::Following)
    }

    /// The directory for what a rewind overwrites: beside the data directory, where WAL can be kept by
    /// a link; where that is a mount point, or its parent not ours, in `STATE_DIR`.
    pub fn kept(&self) -> PathBuf {
        let [beside, apart] = places_for_kept(self.data(), self.state.path());
        if beside.exists() || apart.exists() {
            return if beside.exists() { beside } else { apart };
        }
        let parent = self.data().parent().unwrap_or(Path::new("/"));
        match !self.data_is_mounted() && access(parent, AccessFlags::W_OK).is_ok() {
            true => beside,
            false => apart,
        }
    }

    /// Whether the data directory is a mount point.
    pub fn data_is_mounted(&self) -> bool {
        is_mount_point(self.data())
    }

    pub fn control(&self) -> Result<ControlData> {
        Ok(self
            .instance
            .control_data(Deadline::after(budget::ANSWER))?)
    }

    /// How this node came to its timeline.
    pub fn own_history(&self, timeline: Timeline) -> Result<History> {
        if timeline <= 1 {
            return Ok(History::first(timeline));
        }
        let file = self
            .data()
            .join(self.names().wal_dir)
            .join(failover_core::history::file_name(timeline));
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("failed to read {}", file.display()))?;
        History::parse(timeline, &text).with_context(|| file.display().to_string())
    }

    /// Says how far a long step is, in the log now and then.
    pub fn progress(
        &self,
        next: &mut Deadline,
        amount: Option<Amount>,
        text: impl FnOnce() -> String,
    ) {
        let due = next.passed();
        if due {
            *next = Deadline::after(budget::PROGRESS);
        }
        self.journal.progress(due, amount, text);
    }
}

/// Where the directory for what a rewind overwrites may be.
pub fn places_for_kept(data: &Path, state: &Path) -> [PathBuf; 2] {
    [beside(data, "rewind-kept"), state.join("rewind-kept")]
}

/// Whether a directory is a mount point. One that is mounted from the very disk of its parent has the same
/// device, and can be neither renamed nor linked into all the same.
pub fn is_mount_point(dir: &Path) -> bool {
    let parent = dir.parent().unwrap_or(Path::new("/"));
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
    device(dir).is_some_and(|own| device(parent) != Some(own)) || is_listed_as_mounted(dir)
}

fn is_listed_as_mounted(dir: &Path) -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else {
        return false;
    };
    // The kernel writes these characters of a path in octal.
    let path = dir.to_string_lossy();
    let path = path.replace('\\', "\\134").replace(' ', "\\040");
    let path = path.replace('\t', "\\011").replace('\n', "\\012");
    let mut points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.any(|point| point == path)
}

/// `DIR.suffix`, beside `DIR`.
pub fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}
