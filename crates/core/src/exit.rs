//! The exit codes of all tools, in one place.

/// How a tool ended. Published in the README; scripts branch on the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// A person is needed; the log says what to do.
    NeedsPerson = 1,
    /// The arguments or the configuration are wrong; nothing was changed.
    Usage = 2,
    /// Failed, or refused; the log says why.
    Failed = 66,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
