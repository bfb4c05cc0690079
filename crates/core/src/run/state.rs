//! What must outlive a run: locks, the word that a promotion leaves for a recovery, and the state of
//! the recovery. All of it lies in `STATE_DIR`, outside the data directory, and belongs to the
//! database's user, whoever created it.

use crate::clock;
use crate::config::Config;
use crate::deadline::Deadline;
use crate::durable;
use crate::journal::{Journal, give_to};
use crate::lsn::Timeline;
use crate::users::SystemUser;
use crate::workers;
pub use failover_rules::facts::left::{
    Claim, FenceMark, Followed, Identity, Pause, Recovery, Stage,
};
use fs2::FileExt;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// How often a taken lock is tried again.
const LOCK_INTERVAL: Duration = Duration::from_millis(10);

/// For a change of the state to have its turn; the one before it takes milliseconds.
const TURN_TIME: Duration = Duration::from_secs(2);

/// For a look at the database's disk.
const DISK_TIME: Duration = Duration::from_millis(300);

/// Who reads and writes the state. The locks are files of their own, and nobody else may open them: whoever
/// can open a file, or a directory, can hold its lock for ever.
const STATE_LOCK: &str = "state.lock";
const INSTANCE_LOCK: &str = "instance.lock";
const RUN_LOCK: &str = "network_rewind.lock";
const PROMOTION_WORD: &str = "promotion.wanted";
/// The state's file.
const STATE_FILE: &str = "network_rewind.json";

/// What a recovery knows from the runs before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// An operator wants nothing to be changed.
    pub paused: Option<Pause>,
    /// A failover stopped this host's primary.
    pub fenced: Option<FenceMark>,
    /// A failover told this host's standby to listen to nobody, or to a new primary.
    pub held: Option<FenceMark>,
    /// The newest timeline that a failover has told this host of, whether its history has come or not: a
    /// promotion here must not take that number again. 0: none.
    pub timeline: Timeline,
    /// A promotion of this host's standby was asked for, and nobody has seen yet what became of it.
    pub promotion: Option<FenceMark>,
    /// The systemd unit that owned the server when it was last seen to run.
    pub unit: Option<String>,
    /// When this host stopped its own primary, because it saw nobody any more.
    pub self_fenced: Option<String>,
    /// When this host's primary was first seen beside another one, and nothing proved which was right. Until
    /// this host follows another one: neither is recovered from the other without a person's word.
    pub undecided: Option<String>,
    /// The recovery that is under way.
    pub recovery: Option<Recovery>,
}

/// What a failover may take beyond its own time and that of its promotion.
const MARK_SLACK: Duration = Duration::from_secs(30);

/// The mark of the failover that writes to `journal`, from now on for as long as it can last.
pub fn failover_mark(config: &Config, journal: &Journal) -> FenceMark {
    let lasts = config.failover_timeout + config.promote_timeout + MARK_SLACK;
    FenceMark {
        since: clock::stamp(),
        at: clock::seconds(),
        run: journal.run().to_owned(),
        lasts: lasts.as_secs(),
        newer: 0,
        claim: None,
        before: None,
        word_only: false,
    }
}

/// The directory `STATE_DIR`.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
    owner: SystemUser,
}

/// Held while the instance of this host is changed; gone with the process, however it dies. No
/// child inherits it.
#[derive(Debug)]
pub struct InstanceLock {
    _file: File,
}

/// Held by a recovery as long as it runs; gone with the process, however it dies.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

/// Who holds a lock, as the kernel tells it: without a try of one's own, which would be in the way of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// This process; 0 where it is none of this host's own.
    Process(i32),
}

/// Who holds the locks of a [`StateDir`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holders {
    /// That of a run of `network_rewind`.
    pub run: Holder,
    /// That of whoever changes the instance.
    pub instance: Holder,
}

/// Why the instance must not be changed now.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else changes it.
    #[error("{path} is held by another run (a recovery?) and was not released within {} ms", .given.as_millis())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// How long it was waited for.
        given: Duration,
    },
    /// There is no lock, and none can be made: the directory is missing, its disk full or
    /// read-only. So nobody holds it either.
    #[error("{path} cannot be made ({why}), so nobody else has it")]
    Nowhere {
        /// The lock file.
        path: PathBuf,
        /// The system's reason.
        why: io::Error,
    },
    /// The lock cannot be taken at all.
    #[error("failed to lock {path}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// The identity of what lies in the data directory `data` now.
///
/// # Errors
/// There is nothing, or it cannot be looked at.
pub fn identity_of(data: &Path) -> io::Result<Identity> {
    let meta = fs::metadata(data.join("base"))?;
    let made = meta.created().ok().and_then(|made| {
        let since = made.duration_since(UNIX_EPOCH).ok()?;
        u64::try_from(since.as_nanos()).ok()
    });
    Ok(Identity {
        inode: meta.ino(),
        made,
    })
}

/// Whether `recovery` is the mark of something that does not lie in the data directory `data` any more:
/// there is nothing, or something else. What cannot be looked at may be it.
pub fn has_outlived(recovery: &Recovery, data: &Path) -> bool {
    let Some(marked) = recovery.data.filter(|_| recovery.stage == Stage::Rewinding) else {
        return false;
    };
    match identity_of(data) {
        Ok(now) => !now.is(marked),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

impl StateDir {
    /// `path`, whose files belong to `owner`.
    pub fn new(path: &Path, owner: &SystemUser) -> Self {
        Self {
            path: path.to_owned(),
            owner: owner.clone(),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state that the last run left.
    ///
    /// # Errors
    /// It cannot be read, or makes no sense. None at all is no error.
    pub fn load(&self) -> io::Result<State> {
        match fs::read(self.path.join(STATE_FILE)) {
            Ok(text) => Ok(serde_json::from_slice(&text)?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(State::default()),
            Err(e) => Err(e),
        }
    }

    /// Changes the state, and has it on the disk; what it is then.
    ///
    /// # Errors
    /// See [`Self::load`]; or it cannot be written. Then it is as it was.
    pub fn update(&self, change: impl FnOnce(&mut State)) -> io::Result<State> {
        let _turn = self.turn()?;
        let before = self.load()?;
        let mut state = before.clone();
        change(&mut state);
        if state != before {
            let owner = Some((self.owner.uid, self.owner.gid));
            let text = serde_json::to_vec(&state)?;
            durable::write(&self.path.join(STATE_FILE), &text, 0o640, owner)?;
        }
        Ok(state)
    }

    /// Of two processes each wants its own change, a person's `--pause` beside a recovery.
    fn turn(&self) -> io::Result<File> {
        let path = self.path.join(STATE_LOCK);
        let file = self.create(&path)?;
        let taken = Deadline::after(TURN_TIME).poll(LOCK_INTERVAL, || {
            try_lock(&file).map(|got| got.then_some(())).transpose()
        });
        taken.unwrap_or_else(|| {
            let why = format!("another process keeps {} locked", path.display());
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })?;
        Ok(file)
    }

    /// Takes the lock that lets one recovery run at a time; `None`: another one has it.
    pub fn lock_run(&self) -> Result<Option<RunLock>, LockError> {
        let (path, file) = self.lock_file(RUN_LOCK)?;
        match try_lock(&file) {
            Ok(taken) => Ok(taken.then_some(RunLock { _file: file })),
            Err(source) => Err(LockError::Io { path, source }),
        }
    }

    /// Takes the instance lock for a recovery, which never waits: whoever has it promotes this node,
    /// and that wins. `None`: held.
    pub fn lock_for_recovery(&self) -> Result<Option<InstanceLock>, LockError> {
        let (path, file) = self.lock_file(INSTANCE_LOCK)?;
        match try_lock(&file) {
            Ok(taken) => Ok(taken.then_some(InstanceLock { _file: file })),
            Err(source) => Err(LockError::Io { path, source }),
        }
    }

    /// Whether a promotion waits for the instance lock.
    pub fn promotion_is_wanted(&self) -> bool {
        self.path.join(PROMOTION_WORD).exists()
    }

    /// Takes the instance lock for a promotion. Where a recovery has it, a word is left for it
    /// (`promotion.wanted`), upon which it lets go if it still can.
    pub fn lock_for_promotion(&self, deadline: Deadline) -> Result<InstanceLock, LockError> {
        let given = deadline.remaining();
        let (path, file) = self.lock_file(INSTANCE_LOCK)?;
        let failed = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        if !try_lock(&file).map_err(failed)? {
            let word = self.path.join(PROMOTION_WORD);
            self.create(&word).map_err(failed)?;
            let taken = deadline.poll(LOCK_INTERVAL, || {
                try_lock(&file).map(|got| got.then_some(())).transpose()
            });
            // Whether it was heard or not, it must not stop a later recovery.
            let _ = fs::remove_file(&word);
            match taken {
                Some(result) => result.map_err(failed)?,
                None => return Err(LockError::Held { path, given }),
            }
        }
        Ok(InstanceLock { _file: file })
    }

    fn lock_file(&self, name: &str) -> Result<(PathBuf, File), LockError> {
        let path = self.path.join(name);
        match self.create(&path) {
            Ok(file) => Ok((path, file)),
            // A lock that was made in better times can be held, and taken, all the same.
            Err(why) => match File::open(&path) {
                Ok(file) => Ok((path, file)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    Err(LockError::Nowhere { path, why })
                }
                Err(source) => Err(LockError::Io { path, source }),
            },
        }
    }

    /// The state's file.
    pub fn file(&self) -> PathBuf {
        self.path.join(STATE_FILE)
    }

    /// Who holds the locks. `None`: the kernel does not tell.
    pub fn holders(&self) -> Option<Holders> {
        let table = fs::read_to_string("/proc/locks").ok()?;
        let holder = |name| match fs::metadata(self.path.join(name)) {
            Ok(meta) => holder_in(&table, meta.ino()),
            Err(_) => Holder::Nobody,
        };
        Some(Holders {
            run: holder(RUN_LOCK),
            instance: holder(INSTANCE_LOCK),
        })
    }

    /// Whether somebody holds the instance lock.
    pub fn is_locked(&self) -> bool {
        File::open(self.path.join(INSTANCE_LOCK))
            .is_ok_and(|file| FileExt::try_lock_shared(&file).is_err())
    }

    /// Whether a rewind of this node was begun and not finished: what is in the data directory `data`
    /// is half one history and half another.
    pub fn rewind_is_unfinished(&self, data: &Path) -> bool {
        // A mark that cannot be looked for counts as there.
        let Ok(state) = self.load() else { return true };
        state.recovery.is_some_and(|recovery| {
            let half = matches!(recovery.stage, Stage::Rewinding | Stage::Copying);
            let data = data.to_owned();
            // On a disk that hangs it may be.
            let outlived = move || has_outlived(&recovery, &data);
            half && !workers::within(Deadline::after(DISK_TIME), outlived).unwrap_or(false)
        })
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        // First one that is there: on a disk that hangs, only what creates hangs with it.
        match options.open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            opened => return opened.inspect(close_to_others),
        }
        match options.clone().create_new(true).open(path) {
            // Only a file that we made is given away: one that lies there may be a link to another.
            Ok(file) => give_to(&file, path, Some(&self.owner)).map(|()| file),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => options.open(path),
            Err(e) => Err(e),
        }
    }
}

/// In `/proc/locks`: number, kind, how, what for, process, `MAJOR:MINOR:INODE`, from, to. Devices stand there by
/// other numbers than a file's own where its file system has several.
pub(crate) fn holder_in(table: &str, inode: u64) -> Holder {
    let found = table.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let is_lock = words.nth(1)? == "FLOCK";
        let process: i32 = words.nth(2)?.parse().ok()?;
        let file = words.next()?.rsplit(':').next()?;
        (is_lock && file.parse() == Ok(inode)).then_some(process.max(0))
    });
    found.map_or(Holder::Nobody, Holder::Process)
}

/// A lock that an older version made, the group could take.
fn close_to_others(file: &File) {
    let open = |meta: fs::Metadata| meta.is_file() && meta.mode() & 0o077 != 0;
    if file.metadata().is_ok_and(open) {
        // Not ours, or a disk that is read-only: it is a lock all the same.
        let _ = file.set_permissions(fs::Permissions::from_mode(0o600));
    }
}

fn try_lock(file: &File) -> io::Result<bool> {
    match FileExt::try_lock_exclusive(file) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == fs2::lock_contended_error().raw_os_error() => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_who_holds_a_lock() {
        let table = "1: POSIX  ADVISORY  WRITE 811 08:01:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 812 08:01:78 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 813 08:01:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE -1 00:2f:79 0 EOF\n";
        let holder = |inode| holder_in(table, inode);
        assert_eq!(holder(78), Holder::Process(812));
        assert_eq!(holder(79), Holder::Process(0));
        // Another kind of lock, and one who waits.
        assert_eq!(holder(77), Holder::Nobody);
        assert_eq!(holder_in("", 78), Holder::Nobody);
    }

    #[test]
    fn a_lock_that_cannot_be_made_is_held_by_nobody() {
        let us = SystemUser::current().unwrap();
        let state = StateDir::new(Path::new("/nonexistent/state"), &us);
        let error = state
            .lock_for_promotion(Deadline::after(Duration::ZERO))
            .unwrap_err();
        assert!(matches!(error, LockError::Nowhere { .. }), "{error}");
    }

    #[test]
    fn the_mark_of_a_rewind_is_found_also_where_it_cannot_be_read() {
        let dir = std::env::temp_dir().join(format!("mark-{}", crate::clock::run_name()));
        fs::create_dir(&dir).unwrap();
        let state = StateDir::new(&dir, &SystemUser::current().unwrap());
        let data = dir.join("data");
        let base = data.join("base");
        fs::create_dir_all(&base).unwrap();
        assert!(!state.rewind_is_unfinished(&data));
        let begin = |stage, data| {
            let recovery = Recovery {
                stage,
                data,
                slots: vec!["slot_node101".to_owned()],
                failures: 1,
                ..Recovery::of([192, 168, 1, 102].into())
            };
            state.update(|it| it.recovery = Some(recovery)).unwrap()
        };
        for (stage, mark) in [
            (Stage::Preparing, false),
            (Stage::Rewinding, true),
            (Stage::Copying, true),
            (Stage::Following, false),
        ] {
            for identity in [identity_of(&data).ok(), None] {
                let written = begin(stage, identity);
                assert_eq!(state.load().unwrap(), written);
                assert_eq!(state.rewind_is_unfinished(&data), mark, "{stage:?}");
            }
        }
        fs::write(dir.join(STATE_FILE), "{").unwrap();
        assert!(state.rewind_is_unfinished(&data) && state.update(|_| ()).is_err());
        fs::remove_file(dir.join(STATE_FILE)).unwrap();

        // What is there now is another one, with the same name; or there is nothing.
        begin(Stage::Rewinding, identity_of(&data).ok());
        fs::rename(&base, data.join("old")).unwrap();
        assert!(!state.rewind_is_unfinished(&data));
        fs::create_dir(&base).unwrap();
        assert!(!state.rewind_is_unfinished(&data));
        begin(Stage::Rewinding, None);
        assert!(state.rewind_is_unfinished(&data), "an older version's");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_mark_keeps_the_primary_that_it_was_written_for() {
        let [first, other]: [std::net::IpAddr; 2] =
            [[192, 168, 1, 102].into(), [192, 168, 1, 103].into()];
        let mut recovery = Recovery::of(other);
        recovery.follow(first);
        recovery.mark(Some(2), None);
        recovery.follow(other);
        for (primary, timeline, can) in [
            (first, 2, true),
            (first, 3, false),
            (other, 2, false),
            (other, 3, false),
        ] {
            assert_eq!(recovery.can_go_on_from(primary, timeline), can, "{primary}");
        }
        // As an older version has left it.
        let old = r#"{"primary":"192.168.1.102","stage":"rewinding"}"#;
        let old: Recovery = serde_json::from_str(old).unwrap();
        assert!(old.can_go_on_from(first, 3) && !old.can_go_on_from(other, 3));
        recovery.stage = Stage::Copying;
        recovery.follow(other);
        assert_eq!(recovery.primary, other);
    }

    #[test]
    fn a_lock_is_its_owners_alone_and_a_turn_is_not_waited_for_for_ever() {
        let dir = std::env::temp_dir().join(format!("turn-{}", crate::clock::run_name()));
        fs::create_dir(&dir).unwrap();
        let state = StateDir::new(&dir, &SystemUser::current().unwrap());
        // As older versions made it.
        let old = dir.join(INSTANCE_LOCK);
        fs::write(&old, "").unwrap();
        fs::set_permissions(&old, fs::Permissions::from_mode(0o640)).unwrap();
        drop(state.lock_for_recovery().unwrap().unwrap());
        drop(state.lock_run().unwrap().unwrap());
        // The lock of the directory is everybody's, and nobody's business.
        let directory = File::open(&dir).unwrap();
        directory.lock_exclusive().unwrap();
        state.update(|it| it.timeline = 7).unwrap();
        for lock in [INSTANCE_LOCK, "network_rewind.lock", STATE_LOCK] {
            let mode = fs::metadata(dir.join(lock)).unwrap().mode() & 0o7777;
            assert_eq!(mode, 0o600, "{lock}");
        }
        let turn = state.turn().unwrap();
        let error = state.update(|it| it.timeline = 8).unwrap_err();
        assert!(error.to_string().ends_with("state.lock locked"), "{error}");
        assert_eq!(state.load().unwrap().timeline, 7);
        drop(turn);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn an_inode_number_that_is_used_again_is_told_by_its_time() {
        let identity = |inode, made| Identity { inode, made };
        let old = identity(7, Some(1));
        for (now, same) in [
            (identity(7, Some(1)), true),
            (identity(7, Some(2)), false),
            (identity(8, Some(1)), false),
            // As far as that system can tell.
            (identity(7, None), true),
            (identity(8, None), false),
        ] {
            assert_eq!(old.is(now), same, "{now:?}");
        }
    }

    #[test]
    fn a_held_lock_is_waited_for_and_the_word_is_taken_back() {
        let dir = std::env::temp_dir().join(format!("state-{}", crate::clock::run_name()));
        fs::create_dir(&dir).unwrap();
        let state = StateDir::new(&dir, &SystemUser::current().unwrap());
        let held = state
            .lock_for_promotion(Deadline::after(Duration::ZERO))
            .unwrap();

        let word = dir.join("promotion.wanted");
        let waiter = {
            let state = state.clone();
            std::thread::spawn(move || {
                state.lock_for_promotion(Deadline::after(Duration::from_secs(20)))
            })
        };
        let left = Deadline::after(Duration::from_secs(10))
            .poll(Duration::from_millis(1), || word.exists().then_some(()));
        assert!(left.is_some(), "no word was left");
        drop(held);
        let held = waiter.join().unwrap().unwrap();
        assert!(!word.exists());

        assert!(state.is_locked());
        let error = state
            .lock_for_promotion(Deadline::after(Duration::from_millis(30)))
            .unwrap_err();
        assert!(matches!(error, LockError::Held { .. }), "{error}");
        assert!(!word.exists());
        drop(held);
        assert!(!state.is_locked());
        fs::remove_dir_all(&dir).unwrap();
    }
}
