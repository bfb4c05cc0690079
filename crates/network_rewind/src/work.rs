//! What all steps work on, and the lists of steps for each action.

use crate::budget;
use crate::steps::{copy, failover, files, primary, rejoin, rewind, server};
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
use failover_core::procedure::{OnFailure, Step};
use failover_core::sql::{Session, SqlError, Target};
use failover_core::standby::StandbyFiles;
use failover_core::state::{InstanceLock, Recovery, Stage, State, StateDir};
use failover_core::status::Status;
use failover_rules::facts::view::Primary;
use failover_rules::recovery::Action;
use nix::unistd::{AccessFlags, access};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// With the primary.
    pub session: Option<Session>,
    /// What the primary said.
    pub seen: Option<Primary>,
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
        StandbyFiles::new(self.names(), self.config(), dir, self.instance.user())
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
        let beside = beside(self.data(), "rewind-kept");
        let apart = self.state.path().join("rewind-kept");
        if beside.exists() || apart.exists() {
            return if beside.exists() { beside } else { apart };
        }
        let parent = self.data().parent().unwrap_or(Path::new("/"));
        match !self.data_is_mounted() && access(parent, AccessFlags::W_OK).is_ok() {
            true => beside,
            false => apart,
        }
    }

    /// Whether the data directory is a mount point. One that is mounted from the very disk of its
    /// parent has the same device, and can be neither renamed nor linked into all the same.
    pub fn data_is_mounted(&self) -> bool {
        let data = self.data();
        let parent = data.parent().unwrap_or(Path::new("/"));
        let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).ok();
        device(data).is_some_and(|own| device(parent) != Some(own)) || is_listed_as_mounted(data)
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

    /// Says how far a long step is, now and then.
    pub fn progress(&self, next: &mut Deadline, text: impl FnOnce() -> String) {
        if next.passed() {
            self.journal.stamped(text());
            *next = Deadline::after(budget::PROGRESS);
        }
    }
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

type List<'a> = Vec<Step<Work<'a>>>;

fn step<'a>(
    name: &'static str,
    what: &'static str,
    budget: fn(&Work<'a>) -> Duration,
    run: fn(&mut Work<'a>, Deadline) -> Result<failover_core::procedure::Done>,
) -> Step<Work<'a>> {
    Step {
        name,
        what,
        on_failure: OnFailure::Abort,
        budget,
        run,
    }
}

fn may_fail<'a>(step: Step<Work<'a>>) -> Step<Work<'a>> {
    Step {
        on_failure: OnFailure::Warn,
        ..step
    }
}

fn ask_primary<'a>() -> Step<Work<'a>> {
    step(
        "recover.ask-primary",
        "see that the primary answers and is one, and that the pool still names it",
        |_| budget::ANSWER + budget::POOL,
        rejoin::ask_primary,
    )
}

fn lock<'a>() -> Step<Work<'a>> {
    step(
        "recover.lock",
        "take the instance lock; see that the instance is still as it was",
        |_| budget::ANSWER,
        server::lock,
    )
}

fn slot<'a>() -> Step<Work<'a>> {
    step(
        "recover.slot",
        "see that the primary keeps WAL for this node in its replication slot",
        |_| budget::ANSWER,
        rejoin::reserve_slot,
    )
}

fn settings<'a>() -> Step<Work<'a>> {
    step(
        "recover.settings",
        "point the standby settings to the primary",
        |_| budget::FILES,
        files::settings,
    )
}

fn start<'a>() -> Step<Work<'a>> {
    step(
        "recover.start",
        "start the database, and wait until it answers",
        |_| budget::START,
        server::start,
    )
}

fn streaming<'a>() -> Step<Work<'a>> {
    step(
        "recover.streaming",
        "wait until the primary shows this node streaming, within DATA_SIZE_DIFF",
        |_| budget::CATCH_UP,
        rejoin::streaming,
    )
}

fn sync<'a>() -> Step<Work<'a>> {
    step(
        "recover.sync",
        "make the primary synchronous, if SYNC_FLAG wants it and it is not",
        |_| budget::SETTING,
        rejoin::sync,
    )
}

fn attach<'a>() -> Step<Work<'a>> {
    step(
        "recover.attach",
        "attach this node to the pool, and wait until the pool shows it up",
        |_| budget::ATTACH,
        rejoin::attach,
    )
}

/// Before the VIP: commits that hang are an outage, whoever has the address.
fn primary_sync<'a>() -> Step<Work<'a>> {
    step(
        "primary.sync",
        "what commits wait for: standbys that stream, or none",
        |_| budget::SETTING,
        primary::sync,
    )
}

fn primary_vip<'a>() -> Step<Work<'a>> {
    step(
        "primary.vip",
        "put the database VIP on, if it is not here and nobody else has it",
        |_| budget::VIP,
        primary::vip_on,
    )
}

fn forget<'a>() -> Step<Work<'a>> {
    step(
        "primary.forget",
        "forget a recovery that a promotion has overtaken, and why it was stopped once",
        |_| budget::FILES,
        primary::forget,
    )
}

fn take_over_attach<'a>() -> Step<Work<'a>> {
    step(
        "take-over.attach",
        "attach this node to the pool, where one answers, or tell it that this is the primary",
        |_| budget::ATTACH,
        primary::attach,
    )
}

fn recover<'a>() -> List<'a> {
    vec![
        ask_primary(),
        step(
            "recover.can",
            "see that it can work: WAL back to the fork, hint bits logged or checksums, space",
            |_| budget::CAN,
            rewind::can,
        ),
        lock(),
        step(
            "recover.detach",
            "detach this node from the pool, if it is up there",
            |_| budget::ATTACH,
            rejoin::detach,
        ),
        step(
            "recover.stop",
            "stop the database: fast, then immediate, then SIGKILL; see that nobody starts it",
            |_| budget::STOP,
            server::stop_and_bar,
        ),
        step(
            "recover.clean",
            "bring the database to a clean shutdown, by crash recovery if need be",
            |_| budget::CRASH_RECOVERY,
            server::clean,
        ),
        slot(),
        step(
            "recover.checkpoint",
            "see that the primary's control file has its timeline, by a checkpoint if need be",
            |_| budget::CHECKPOINT,
            rewind::checkpoint,
        ),
        step(
            "recover.keep",
            "keep this node's configuration files and WAL aside",
            |_| budget::KEEP,
            rewind::keep,
        ),
        step(
            "recover.mark",
            "write the mark: half rewound, the database must not start",
            |_| budget::FILES,
            rewind::mark,
        ),
        step(
            "recover.rewind",
            "rewind the data directory to the primary's history",
            |_| budget::REWIND,
            rewind::rewind,
        ),
        step(
            "recover.copy",
            "copy the primary beside the data directory, and swap the two",
            |_| budget::COPY,
            copy::copy,
        ),
        step(
            "recover.files",
            "put this node's configuration files back",
            |_| budget::FILES,
            files::put_back,
        ),
        settings(),
        step(
            "recover.pid-file",
            "remove a stale pid file",
            |_| budget::FILES,
            files::pid_file,
        ),
        step(
            "recover.drop-slots",
            "drop the physical replication slots, the logical ones stay",
            |_| budget::FILES,
            files::drop_slots,
        ),
        start(),
        may_fail(step(
            "recover.make-slots",
            "create those slots again",
            |_| budget::SETTING,
            files::make_slots,
        )),
        streaming(),
        sync(),
        attach(),
        step(
            "recover.done",
            "forget what was kept",
            |_| budget::FILES,
            files::done,
        ),
    ]
}

/// The steps of `action`, in order. None for what changes nothing.
pub fn steps<'a>(action: Action) -> List<'a> {
    match action {
        Action::Nothing | Action::Refuse | Action::NeedsPerson => Vec::new(),
        Action::FailOver { .. } => vec![step(
            "failover.again",
            "run the failover again that came to nothing: failover_stream, by its own rules",
            |work| {
                let config = work.config();
                config.failover_timeout + config.promote_timeout + budget::FAILOVER_SLACK
            },
            failover::again,
        )],
        Action::Detach => vec![step(
            "failover.detach",
            "detach this node, which the pool takes for its primary",
            |_| budget::ATTACH,
            failover::detach,
        )],
        Action::SelfFence => vec![
            may_fail(step(
                "self-fence.vip-off",
                "take the database VIP off",
                |_| budget::VIP,
                primary::vip_off,
            )),
            step(
                "self-fence.stop",
                "stop the database",
                |_| budget::SELF_FENCE,
                server::self_fence,
            ),
        ],
        Action::KeepPrimary => vec![primary_sync(), forget(), primary_vip()],
        Action::StopWrongPrimary { .. } => vec![
            ask_primary(),
            lock(),
            // It may be on both.
            may_fail(step(
                "wrong-primary.vip-off",
                "take the database VIP off",
                |_| budget::VIP,
                primary::vip_off,
            )),
            step(
                "wrong-primary.stop",
                "stop the database",
                |_| budget::STOP,
                server::stop,
            ),
            may_fail(step(
                "wrong-primary.announce",
                "have the primary's host announce the database VIP",
                |_| budget::OTHER_HOST,
                primary::announce_there,
            )),
        ],
        Action::Recover { .. } => recover(),
        Action::Follow { .. } => vec![
            ask_primary(),
            lock(),
            slot(),
            settings(),
            step(
                "follow.reload",
                "have the server follow the primary: reload, or restart where it needs that",
                |_| budget::START,
                server::follow,
            ),
            streaming(),
            sync(),
            attach(),
        ],
        Action::Start { .. } => vec![
            lock(),
            step(
                "start.files",
                "put this node's configuration files back, if a recovery has not come to it",
                |_| budget::FILES,
                files::put_back_if_rewound,
            ),
            may_fail(settings()),
            start(),
            may_fail(step(
                "start.streaming",
                "give it a moment to stream",
                |_| budget::FIRST_LOOK,
                rejoin::first_look,
            )),
        ],
        Action::StartStandby => vec![
            lock(),
            step(
                "start.files",
                "put this node's configuration files back, if a recovery has not come to it",
                |_| budget::FILES,
                files::put_back_if_rewound,
            ),
            start(),
        ],
        Action::Rejoin { .. } => vec![ask_primary(), sync(), attach()],
        Action::Wait { .. } => vec![
            slot(),
            may_fail(step(
                "wait.reload",
                "have the server read its settings, which a killed run may have left unread",
                |_| budget::ANSWER,
                server::reload,
            )),
        ],
        Action::ShowPrimary => vec![
            lock(),
            primary_sync(),
            primary_vip(),
            take_over_attach(),
            forget(),
        ],
        Action::TakeOver { start } => {
            let mut steps = vec![
                lock(),
                step(
                    "take-over.look",
                    "see once more, now under the lock, that no other host is or becomes a primary",
                    |_| budget::OTHER_HOST,
                    primary::see_no_other,
                ),
            ];
            // One that ran when this was decided, and does not any more, was fenced meanwhile.
            if start {
                steps.extend([
                    step(
                        "take-over.unfence",
                        "take back the mark of a failover that promoted nobody",
                        |_| budget::FILES,
                        primary::unfence,
                    ),
                    step(
                        "take-over.start",
                        "start the database",
                        |_| budget::START,
                        server::start,
                    ),
                    step(
                        "take-over.confirm",
                        "stop it again, if another host has become a primary meanwhile",
                        |_| budget::OTHER_HOST,
                        primary::confirm,
                    ),
                ]);
            }
            steps.extend([primary_sync(), primary_vip(), take_over_attach(), forget()]);
            steps
        }
    }
}
