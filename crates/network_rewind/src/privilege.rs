//! root becomes the database's user, whose run this is: what it makes belongs to that user then, and
//! no file of that user's can lead root elsewhere.

use anyhow::Result;
use failover_core::host::ThisHost;
use failover_core::users::SystemUser;
use nix::sys::prctl::set_dumpable;
use nix::unistd::{setgid, setgroups, setuid};
use std::path::Path;

/// For anybody else it does nothing.
///
/// # Errors
/// The configuration is wrong, or the user unknown.
pub fn become_database_user(config: Option<&Path>) -> Result<()> {
    if !SystemUser::current()?.is_root() {
        return Ok(());
    }
    let (host, _) = ThisHost::load_even_lost(config)?;
    // Nothing will be done, and that user may not be known here.
    if !host.config.has_database() {
        return Ok(());
    }
    let user = SystemUser::named(&host.config.kb_execute_sys_user)?;
    if user.is_root() {
        return Ok(());
    }
    setgroups(&user.groups())?;
    setgid(user.gid)?;
    setuid(user.uid)?;
    // A process that was root is hidden from its own children, which read a password from it.
    set_dumpable(true)?;
    Ok(())
}
