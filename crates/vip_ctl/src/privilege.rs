//! What changes when the installed file has capabilities that its caller lacks.

use anyhow::Result;
use caps::CapSet;
use nix::unistd::{getgid, getuid, setresgid, setresuid};

/// Whether this process has more rights than the user who started it (file capabilities, or
/// setuid): what the user says is then taken with care.
pub fn elevated() -> bool {
    // SAFETY: a system interface without arguments of ours that could be wrong.
    !getuid().is_root() && unsafe { libc::getauxval(libc::AT_SECURE) } != 0
}

/// Down to the caller's rights, for good.
///
/// # Errors
/// Some are left: then nothing may be done.
pub fn give_up() -> Result<()> {
    let (user, group) = (getuid(), getgid());
    setresgid(group, group, group)?;
    setresuid(user, user, user)?;
    for set in [CapSet::Effective, CapSet::Inheritable, CapSet::Permitted] {
        caps::clear(None, set)?;
    }
    Ok(())
}
