//! The exit codes of all tools, in one place.

use std::fmt;

/// How a tool ended. Published in docs/tools.md; scripts branch on the number.
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

impl Exit {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Done, Self::NeedsPerson, Self::Usage, Self::Failed];

    /// How a tool ends that failed with `error`.
    pub fn of(error: &anyhow::Error) -> Self {
        match error.is::<Usage>() {
            true => Self::Usage,
            false => Self::Failed,
        }
    }
}

/// The arguments or the configuration are wrong; nothing was changed.
#[derive(Debug)]
pub struct Usage(String);

/// That they are wrong, and why, as an error that ends a tool with [`Exit::Usage`].
pub fn usage(why: impl fmt::Display) -> anyhow::Error {
    anyhow::Error::new(Usage(why.to_string()))
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_every_code_and_no_other() {
        let manual = include_str!("../../../../docs/tools.md");
        let (_, table) = manual.split_once("## Exit codes").unwrap();
        let table = table.split("\n## ").next().unwrap();
        let rows = table.lines().filter_map(|line| line.strip_prefix("| "));
        let first = |row: &str| row.split(" |").next()?.parse().ok();
        let documented: Vec<u8> = rows.filter_map(first).collect();
        assert_eq!(documented, Exit::ALL.map(|exit| exit as u8));
    }
}
