//! What can be said about a configuration file.

use std::fmt;
use std::path::{Path, PathBuf};

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The tools refuse the file.
    Error,
    /// Worth a look; the tools work with the file all the same.
    Note,
}

/// One thing to say about a configuration file. Prints as `FILE:LINE: KEY: TEXT`, in one line
/// and without any password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Error or note.
    pub severity: Severity,
    /// The file.
    pub path: PathBuf,
    /// Counted from 1; `None` where it is about the whole file or about a key that is not there.
    pub line: Option<usize>,
    /// The key it is about, if it is about one.
    pub key: Option<String>,
    /// What was found, and what is expected or what to do.
    pub text: String,
}

impl Finding {
    /// An error about the file as a whole.
    pub(super) fn about_file(path: &Path, text: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            path: path.to_owned(),
            line: None,
            key: None,
            text: text.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if let Some(key) = &self.key {
            write!(f, " {key}:")?;
        }
        write!(f, " {}", self.text)
    }
}

/// The file cannot be used. Prints as one line: its first error, and how many more there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", in_one_line(.errors))]
pub struct ConfigError {
    /// All errors that were found, in the order of the file.
    pub errors: Vec<Finding>,
}

fn in_one_line(errors: &[Finding]) -> String {
    match errors {
        [] => String::new(),
        [only] => only.to_string(),
        [first, more @ ..] => {
            format!("{first} (and {} more; see --check-config)", more.len())
        }
    }
}

impl From<Finding> for ConfigError {
    fn from(error: Finding) -> Self {
        let errors = vec![error];
        Self { errors }
    }
}
