//! The files that are meant by what was given: a directory's, and what a rotation has made of one log.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Below a directory that was given.
const DEEPEST: usize = 8;
/// In one directory and below it.
const MOST: usize = 20_000;

/// One log: its files, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// How it is called.
    pub name: String,
    /// The directory below the one that was given: a host's, where there is one.
    pub host: Option<String>,
    /// Its files.
    pub files: Vec<PathBuf>,
    /// It was named, and not found in a directory.
    pub was_named: bool,
}

/// All logs of these files and directories.
pub fn logs(given: &[PathBuf]) -> Vec<Log> {
    let mut found: BTreeMap<(PathBuf, String), Log> = BTreeMap::new();
    let mut order = Vec::new();
    for path in given {
        let mut files = Vec::new();
        let is_directory = path.is_dir();
        match is_directory {
            true => below(path, DEEPEST, &mut files),
            false => files.push(path.clone()),
        }
        files.sort();
        for file in files {
            let key = (parent(&file), base(&file).0);
            let log = found.entry(key.clone()).or_insert_with(|| {
                order.push(key.clone());
                Log {
                    name: name(&file),
                    host: host(path, &file, is_directory),
                    files: Vec::new(),
                    was_named: !is_directory,
                }
            });
            if !log.files.contains(&file) {
                log.files.push(file);
            }
        }
    }
    let mut logs: Vec<Log> = order.iter().filter_map(|key| found.remove(key)).collect();
    for log in &mut logs {
        // A number counts from the newest on, a date from the oldest.
        log.files.sort_by_key(|it| base(it).1);
    }
    logs
}

fn parent(file: &Path) -> PathBuf {
    file.parent().map(Path::to_owned).unwrap_or_default()
}

fn file_name(file: &Path) -> String {
    file.file_name()
        .map(|it| it.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// As it was given, without what a rotation put behind it.
fn name(file: &Path) -> String {
    file.with_file_name(base(file).0).display().to_string()
}

/// The directory below the one that was given, or above the file.
fn host(given: &Path, file: &Path, is_directory: bool) -> Option<String> {
    if !is_directory {
        return None;
    }
    let rest = file.strip_prefix(given).ok()?;
    let mut names = rest.iter();
    let first = names.next()?.to_string_lossy().into_owned();
    names.next().map(|_| first)
}

/// The log's name without what a rotation put behind it, and its place among them.
fn base(file: &Path) -> (String, (bool, i64)) {
    let name = file_name(file);
    let packed = [".gz", ".xz", ".bz2", ".zst"];
    let name = packed
        .iter()
        .find_map(|it| name.strip_suffix(it))
        .unwrap_or(&name);
    let newest = (true, 0);
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    if let Some((base, number)) = name.rsplit_once('.')
        && is_number(number)
        && number.len() <= 4
    {
        let number = number.parse::<i64>().unwrap_or(0);
        return (base.to_owned(), (false, -number));
    }
    if let Some((base, date)) = name.rsplit_once(['-', '.'])
        && is_number(date)
        && date.len() == 8
    {
        return (base.to_owned(), (false, date.parse().unwrap_or(0)));
    }
    (name.to_owned(), newest)
}

/// Regular files; links are not followed.
fn below(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else {
        found.push(directory.to_owned());
        return;
    };
    for entry in entries.flatten() {
        if found.len() >= MOST {
            return;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => below(&entry.path(), depth - 1, found),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_rotated_is_one_log_from_the_oldest_on() {
        let given: Vec<PathBuf> = [
            "a/cluster.log",
            "a/cluster.log.1",
            "a/cluster.log.10.gz",
            "a/cluster.log.2.gz",
            "a/postgresql.log-20221231.gz",
            "a/postgresql.log-20220101",
        ]
        .iter()
        .map(PathBuf::from)
        .collect();
        let logs = logs(&given);
        let names: Vec<&str> = logs.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["a/cluster.log", "a/postgresql.log"]);
        let files =
            |at: usize| -> Vec<String> { logs[at].files.iter().map(|it| file_name(it)).collect() };
        assert_eq!(
            files(0),
            [
                "cluster.log.10.gz",
                "cluster.log.2.gz",
                "cluster.log.1",
                "cluster.log"
            ]
        );
        assert_eq!(
            files(1),
            ["postgresql.log-20220101", "postgresql.log-20221231.gz"]
        );
    }
}
