//! The version of the tools, in the one crate that is built anew for each commit: only the tools' command
//! lines stand on it.

#[cfg(test)]
mod stamp;

/// `0.1.0 (commit 4c7abca1d2e3, built 2026-12-01)`, for `--version` and for the answers to other hosts.
pub const VERSION: &str = env!("FAILOVER_VERSION");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_this_build_has_commit_and_day() {
        let (number, rest) = VERSION.split_once(" (commit ").unwrap();
        assert_eq!(number, env!("CARGO_PKG_VERSION"));
        let (commit, day) = rest.split_once(", built ").unwrap();
        assert!(!commit.is_empty());
        let day = day.strip_suffix(')').unwrap();
        let digits = day.chars().filter(char::is_ascii_digit).count();
        assert_eq!((day.len(), digits), (10, 8), "{day}");
    }
}
