//! What a server that is down would have for a setting: its configuration file with all that this one
//! includes, in the order in which the server reads it (`guc-file.l`). The last value counts.

use crate::settings::{self, read};
use std::fs;
use std::path::{Path, PathBuf};

/// The server, too, gives up on files that include each other.
const DEPTH: u32 = 10;

/// The value of `name` in `file` and what it includes; `None` where nothing sets it. A file that cannot
/// be read sets nothing: the server would not start with it.
pub fn value(file: &Path, name: &str) -> Option<String> {
    let mut found = None;
    look(file, name, DEPTH, &mut found);
    found
}

fn look(file: &Path, name: &str, depth: u32, found: &mut Option<String>) {
    let (Some(depth), Ok(Some(text))) = (depth.checked_sub(1), read(file)) else {
        return;
    };
    for (key, value) in settings::all(&text) {
        let place = || beside(file, &value);
        match key.to_ascii_lowercase().as_str() {
            "include" | "include_if_exists" => look(&place(), name, depth, found),
            "include_dir" => {
                for file in files_in(&place()) {
                    look(&file, name, depth, found);
                }
            }
            key if key.eq_ignore_ascii_case(name) => *found = Some(value),
            _ => {}
        }
    }
}

/// A relative path starts at the directory of the file in which it stands.
fn beside(file: &Path, path: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(path)
}

/// What `include_dir` takes of a directory, in its order.
fn files_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.ends_with(".conf") && !name.starts_with('.') && !entry.path().is_dir()
        })
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn included_files_count_where_they_stand() {
        let dir = std::env::temp_dir().join(format!("included-{}", std::process::id()));
        fs::create_dir_all(dir.join("conf.d/deeper.conf")).unwrap();
        let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
        write("conf.d/20.conf", "b = 20\nINCLUDE '../more.txt'\n");
        write("conf.d/3.conf", "b = 3");
        write("conf.d/.hidden.conf", "b = hidden");
        write("conf.d/9.conf~", "b = saved");
        write("more.txt", "c = more");
        write("round.conf", "d = 1\ninclude round.conf\n");
        write(
            "main.conf",
            "a = 1\nb = 1\ninclude_dir = 'conf.d'\ninclude_if_exists 'none'\na = 2 # last\n\
             include 'round.conf'\nc_is_not = 1\n",
        );
        let found = |name| value(&dir.join("main.conf"), name);
        for (name, expected) in [
            ("A", Some("2")),
            ("b", Some("3")),
            ("c", Some("more")),
            ("d", Some("1")),
            ("e", None),
        ] {
            assert_eq!(found(name).as_deref(), expected, "{name}");
        }
        assert_eq!(value(&dir.join("none"), "a"), None);
        fs::remove_dir_all(dir).unwrap();
    }
}
