//! What changes when the installed file has capabilities that its caller lacks.

use caps::{CapSet, Capability};

/// Whether this process has more rights than the user who started it (file capabilities, or
/// setuid): what the user says is then taken with care.
pub fn elevated() -> bool {
    // SAFETY: two system interfaces without arguments of ours that could be wrong.
    unsafe { libc::getuid() != 0 && libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Empties the environment, and lets the children (`ip`, `arping`) have the capabilities: an exec
/// keeps only the ambient set. Before there is a second thread.
///
/// Where the kernel has no ambient set (before Linux 4.3), the file capabilities are worth nothing
/// to the children: an error that is worth a line, and the next way is tried.
pub fn hand_on() -> Result<(), String> {
    // SAFETY: there is only this thread.
    unsafe {
        libc::clearenv();
    }
    for capability in [Capability::CAP_NET_ADMIN, Capability::CAP_NET_RAW] {
        caps::raise(None, CapSet::Inheritable, capability)
            .and_then(|()| caps::raise(None, CapSet::Ambient, capability))
            .map_err(|error| format!("cannot hand {capability} on to ip and arping: {error}"))?;
    }
    Ok(())
}
