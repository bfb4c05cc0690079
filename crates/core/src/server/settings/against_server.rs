//! A value that the server takes from its configuration file is the same to us.

use super::{set, value};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRng, TestRunner};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const NAME: &str = "primary_conninfo";
/// Files; the server's program is started for each of them, and once more.
const CASES: u32 = 150;

const NAMES: [&str; 4] = [
    "primary_conninfo",
    "Primary_Conninfo",
    "PRIMARY_CONNINFO",
    "cluster_name",
];
const BETWEEN: [&str; 5] = [" = ", "=", " ", "\t=  ", "\t"];
const BARE: [&str; 8] = ["a", "4MB", "1.5", "-3", "x-y_z", "0x1F", "a.b", "''"];
const QUOTED: [&str; 14] = [
    "a", "b c", "''", "\\'", "\\\\", "\\n", "\\101", "\\8", "\\x", "#", "=", "\"", "host=1", "密",
];
const BEHIND: [&str; 6] = ["\n", "\r\n", " # c\n", "# 'c\n", " \n", " a\n"];

/// One line of a file, as it is for most; some are wrong.
fn line() -> impl Strategy<Value = String> {
    let one_of = |all: &'static [&'static str]| proptest::sample::select(all);
    let quoted = proptest::collection::vec(one_of(&QUOTED), 0..5);
    let quoted = quoted.prop_map(|pieces| format!("'{}'", pieces.concat()));
    let value = prop_oneof![1 => one_of(&BARE).prop_map(str::to_owned), 2 => quoted];
    // The last one is an error.
    let behind = prop_oneof![20 => one_of(&BEHIND[..5]), 1 => one_of(&BEHIND[5..])];
    let parts = (one_of(&NAMES), one_of(&BETWEEN), value, behind);
    parts.prop_map(|(name, between, value, behind)| format!("{name}{between}{value}{behind}"))
}

/// The server's program, where one is installed.
fn server() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let programs = versions.map(|it| it.path().join("bin/postgres"));
    programs.filter(|it| it.exists()).max()
}

/// The value as the server has it from its file; `None`: it refuses the file. It only says that, and starts
/// nothing.
fn to_server(server: &Path, dir: &Path, text: &str) -> Option<String> {
    fs::write(dir.join("postgresql.conf"), text).unwrap();
    let child = Command::new(server)
        .args(["-C", NAME, "-D"])
        .arg(dir)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let value = text.strip_suffix('\n').map(str::to_owned);
    value.filter(|_| output.status.success())
}

#[test]
fn what_the_server_reads_is_what_we_read() {
    let Some(server) = server() else {
        return;
    };
    let dir = std::env::temp_dir().join(format!("against-server-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let text = proptest::collection::vec(line(), 1..4).prop_map(|lines| lines.concat());
    let runs = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let taken = Cell::new(0);
    let rng = TestRng::deterministic_rng(runs.rng_algorithm);
    let tried = TestRunner::new_with_rng(runs, rng).run(&text, |text| {
        if let Some(theirs) = to_server(&server, &dir, &text) {
            taken.set(taken.get() + 1);
            prop_assert_eq!(value(&text, NAME).unwrap_or_default(), theirs, "{:?}", text);
        }
        // What we write it reads, whatever stood there.
        let changed = set("# c\ncluster_name = 'x'", NAME, &text);
        prop_assert_eq!(to_server(&server, &dir, &changed), Some(text));
        Ok(())
    });
    fs::remove_dir_all(&dir).unwrap();
    if let Err(error) = tried {
        panic!("{error}");
    }
    assert!(
        taken.get() > 50,
        "the server took {} of {CASES}",
        taken.get()
    );
}
