//! System users: who we are, and who a program is run as.

use nix::unistd::{Gid, Uid, User};
use std::ffi::CString;
use std::path::PathBuf;

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
    /// local user too, and with a directory server that is gone it can take its time: so only
    /// where the groups are needed.
    pub fn groups(&self) -> Vec<Gid> {
        CString::new(self.name.as_str())
            .ok()
            .and_then(|name| nix::unistd::getgrouplist(&name, self.gid).ok())
            .unwrap_or_else(|| vec![self.gid])
    }

    /// Whether this is root.
    pub fn is_root(&self) -> bool {
        self.uid.is_root()
    }
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
