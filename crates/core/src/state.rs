//! What must outlive a run: the instance lock, the word that a promotion leaves for a recovery,
//! and the mark of a rewind under way. All of it lies in `STATE_DIR`, outside the data directory,
//! and belongs to the database's user, whoever created it.

use crate::deadline::Deadline;
use crate::journal::give_to;
use crate::users::SystemUser;
use fs2::FileExt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a taken lock is tried again.
const LOCK_INTERVAL: Duration = Duration::from_millis(10);

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

impl StateDir {
    /// `path`, whose files belong to `owner`.
    pub fn new(path: &Path, owner: &SystemUser) -> Self {
        Self {
            path: path.to_owned(),
            owner: owner.clone(),
        }
    }

    /// Takes the instance lock for a promotion. Where a recovery has it, a word is left for it
    /// (`promotion.wanted`), upon which it lets go if it still can.
    pub fn lock_for_promotion(&self, deadline: Deadline) -> Result<InstanceLock, LockError> {
        let given = deadline.remaining();
        let path = self.path.join("instance.lock");
        let failed = |source| LockError::Io {
            path: path.clone(),
            source,
        };
        let file = match self.create(&path) {
            Ok(file) => file,
            // A lock that was made in better times can be held, and taken, all the same.
            Err(why) => match File::open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    return Err(LockError::Nowhere { path, why });
                }
                Err(e) => return Err(failed(e)),
            },
        };
        if !try_lock(&file).map_err(failed)? {
            let word = self.path.join("promotion.wanted");
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

    /// Whether a rewind of this node was begun and not finished: what is in the data directory is
    /// half one history and half another.
    pub fn rewind_is_unfinished(&self) -> bool {
        // A mark that cannot be looked for counts as there.
        self.path
            .join("rewind.unfinished")
            .try_exists()
            .unwrap_or(true)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .mode(0o640)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        match options.clone().create_new(true).open(path) {
            // Only a file that we made is given away: one that lies there may be a link to another.
            Ok(file) => give_to(&file, Some(&self.owner)).map(|()| file),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => options.open(path),
            Err(e) => Err(e),
        }
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
    fn a_lock_that_cannot_be_made_is_held_by_nobody() {
        let us = SystemUser::current().unwrap();
        let state = StateDir::new(Path::new("/nonexistent/state"), &us);
        let error = state
            .lock_for_promotion(Deadline::after(Duration::ZERO))
            .unwrap_err();
        assert!(matches!(error, LockError::Nowhere { .. }), "{error}");
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

        let error = state
            .lock_for_promotion(Deadline::after(Duration::from_millis(30)))
            .unwrap_err();
        assert!(matches!(error, LockError::Held { .. }), "{error}");
        assert!(!word.exists());
        drop(held);
        fs::remove_dir_all(&dir).unwrap();
    }
}
