//! What its caller has put into the environment, where the caller has fewer rights.

/// Nothing is left of it. Before there is a second thread.
pub fn empty() {
    // SAFETY: there is only this thread.
    unsafe {
        libc::clearenv();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use failover_core::deadline::Deadline;
    use failover_core::process::{Cmd, run};
    use std::time::Duration;

    /// Set where this very test is a process of its own.
    const ALONE: &str = "ENVIRONMENT_ALONE";

    #[test]
    fn nothing_of_the_callers_environment_is_left() {
        if std::env::var_os(ALONE).is_none() {
            let alone = Cmd::new(std::env::current_exe().unwrap());
            // By one thread, the first: a test has one of its own otherwise.
            let alone = alone.args(["nothing_of_the_callers_environment", "--test-threads=1"]);
            let limit = Deadline::after(Duration::from_secs(10));
            let out = run(&alone.env(ALONE, "1"), limit).unwrap();
            assert_eq!(out.code, 0, "{}", out.stdout);
            return;
        }
        empty();
        assert_eq!(std::env::vars_os().count(), 0);
    }
}
