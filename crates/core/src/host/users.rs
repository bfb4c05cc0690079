//! System users: who we are, and who a program is run as.

use crate::deadline::Deadline;
use crate::workers;
use nix::unistd::{Gid, Uid, User};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// For looking up a user's groups: less than any program that waits for them is given.
const GROUPS_TIME: Duration = Duration::from_millis(300);

/// A user of this host, as the user database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemUser {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: Uid,
    /// Primary group.
    pub gid: Gid,
    /// Home directory (from the user database: `$HOME` is the pool's).
    pub home: PathBuf,
}

/// Why a user could not be found.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The user database has no such name or id.
    #[error("no system user {0} on this host")]
    Unknown(String),
    /// The user database could not be read.
    #[error("failed to look up system user {0}: {1}")]
    Lookup(String, nix::Error),
}

impl SystemUser {
    /// The user that this process runs as (effective id).
    pub fn current() -> Result<Self, UserError> {
        let uid = Uid::effective();
        let label = format!("with id {uid}");
        match User::from_uid(uid) {
            Ok(Some(user)) => Ok(user.into()),
            Ok(None) => Err(UserError::Unknown(label)),
            Err(error) => Err(UserError::Lookup(label, error)),
        }
    }

    /// The user called `name`.
    pub fn named(name: &str) -> Result<Self, UserError> {
        match User::from_name(name) {
            Ok(Some(user)) => Ok(user.into()),
            Ok(None) => Err(UserError::Unknown(name.to_owned())),
            Err(error) => Err(UserError::Lookup(name.to_owned(), error)),
        }
    }

    /// All groups, the primary one included. This asks every source of the user database, for a
    /// local user too, and with a directory server that is gone that can take minutes: so only where
    /// the groups are needed, once, and within a limit. Until they are known it is the primary one.
    pub fn groups(&self) -> Vec<Gid> {
        let user = self.clone();
        remembered(self.uid, self.gid, move || {
            let name = CString::new(user.name).ok()?;
            nix::unistd::getgrouplist(&name, user.gid).ok()
        })
    }

    /// Whether this is root.
    pub fn is_root(&self) -> bool {
        self.uid.is_root()
    }
}

/// The groups of user `uid`, by `look_up` or by what that found before. What it finds too late is for
/// the next one that asks.
fn remembered(
    uid: Uid,
    gid: Gid,
    look_up: impl FnOnce() -> Option<Vec<Gid>> + Send + 'static,
) -> Vec<Gid> {
    static KNOWN: Mutex<BTreeMap<u32, Vec<Gid>>> = Mutex::new(BTreeMap::new());
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(groups) = known().get(&uid.as_raw()) {
        return groups.clone();
    }
    let _ = workers::within(Deadline::after(GROUPS_TIME), move || {
        if let Some(groups) = look_up() {
            known().insert(uid.as_raw(), groups);
        }
    });
    let mut known = known();
    let groups = known.entry(uid.as_raw()).or_insert_with(|| vec![gid]);
    groups.clone()
}

impl From<User> for SystemUser {
    fn from(user: User) -> Self {
        Self {
            name: user.name,
            uid: user.uid,
            gid: user.gid,
            home: user.dir,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn groups_that_nobody_tells_in_time_come_later() {
        let (uid, gid) = (Uid::from_raw(4_000_001), Gid::from_raw(7));
        let all = vec![gid, Gid::from_raw(8)];
        let (tell, told) = channel();
        let answer = all.clone();
        let slow = move || {
            let _ = told.recv();
            Some(answer)
        };
        assert_eq!(remembered(uid, gid, slow), [gid]);
        let again = || remembered(uid, gid, || unreachable!("it was asked for again"));
        assert_eq!(again(), [gid]);
        tell.send(()).unwrap();
        let found = Deadline::after(Duration::from_secs(9))
            .poll(Duration::from_millis(1), || (again() == all).then_some(()));
        assert!(found.is_some(), "{:?}", again());
    }

    #[test]
    fn groups_of_root() {
        let root = SystemUser::named("root").unwrap();
        assert!(root.groups().contains(&root.gid));
    }
}
