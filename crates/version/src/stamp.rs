//! What is put together at build time, see `build.rs`.

/// As many letters of a commit as tell it apart for good.
const COMMIT_LENGTH: usize = 12;

/// The commit that the build was told of, else that of the tarball, whose `file` git has filled in when it
/// made it. `None`: plain `cargo build` in a checkout.
pub fn commit(told: &str, file: &str) -> Option<String> {
    let told = told.trim();
    let file = file.trim();
    let of_tarball = (!file.starts_with("$Format")).then(|| {
        let end = file.len().min(COMMIT_LENGTH);
        file.get(..end).unwrap_or_default()
    });
    let may_be = |text: &&str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.' | '_' | '/');
        !text.is_empty() && text.chars().all(fits)
    };
    let found = Some(told).filter(may_be).or(of_tarball.filter(may_be));
    found.map(str::to_owned)
}

/// The day, in UTC, of that second since 1970 (civil from days, by Howard Hinnant).
pub fn day(second: u64) -> String {
    let days = second / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = match month_from_march {
        0..10 => month_from_march + 3,
        _ => month_from_march - 9,
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// All of it.
pub fn version(number: &str, commit: Option<&str>, day: &str) -> String {
    let commit = commit.unwrap_or("unknown");
    format!("{number} (commit {commit}, built {day})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_that_was_told_comes_before_the_tarball() {
        let tarball = "4c7abca1d2e3f405162738495a6b7c8d9e0f1a2b\n";
        let unfilled = "$Format:%H$\n";
        for (told, file, expected) in [
            ("e2bffd01a2b3-dirty", tarball, Some("e2bffd01a2b3-dirty")),
            ("", tarball, Some("4c7abca1d2e3")),
            (" \n", tarball, Some("4c7abca1d2e3")),
            ("", unfilled, None),
            ("", "", None),
            ("", "4c7a", Some("4c7a")),
            ("a b)\n", unfilled, None),
            ("", "fatal: not a git repository", None),
        ] {
            assert_eq!(commit(told, file).as_deref(), expected, "{told:?} {file:?}");
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (second, expected) in [
            (0, "1970-01-01"),
            (86_399, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_735_689_599, "2024-12-31"),
            (1_709_164_800, "2024-02-29"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(day(second), expected);
        }
    }

    #[test]
    fn what_is_not_known_is_said() {
        assert_eq!(
            version("0.1.0", None, "2026-12-01"),
            "0.1.0 (commit unknown, built 2026-12-01)"
        );
    }
}
