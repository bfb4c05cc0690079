//! The rules use no I/O, no clock and no libc. Clippy forbids the types and functions by name; this
//! test also finds a whole module that is used by another name, or a dependency that has them.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Paths that no file of the rules may name. Addresses are data: `std::net` is for those only.
const FORBIDDEN: [&str; 10] = [
    "std::fs",
    "std::io",
    "std::process",
    "std::thread",
    "std::env",
    "std::os",
    "Instant",
    "SystemTime",
    "libc",
    "unsafe",
];

/// All of `std::net` that is data.
const ADDRESSES: [&str; 3] = ["IpAddr", "Ipv4Addr", "Ipv6Addr"];

/// The only crates that the rules may stand on.
const DEPENDENCIES: [&str; 2] = ["serde", "thiserror"];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(sources(&path)),
            false => found.push(path),
        }
    }
    found
}

/// What is wrong with `line`, if it is code.
fn wrong(line: &str) -> Option<String> {
    let code = line.trim();
    if code.starts_with("//") || code == "#![forbid(unsafe_code)]" {
        return None;
    }
    if let Some(found) = FORBIDDEN.iter().find(|it| code.contains(*it)) {
        return Some((*found).to_owned());
    }
    let (_, named) = code.split_once("std::net::")?;
    let names = match named.strip_prefix('{') {
        Some(list) => list.split('}').next()?,
        None => named.split(|c: char| !c.is_alphanumeric()).next()?,
    };
    let mut names = names.split([',', ' ']).filter(|name| !name.is_empty());
    let other = names.find(|name| !ADDRESSES.contains(name))?;
    Some(format!("std::net::{other}"))
}

#[test]
fn no_file_of_the_rules_uses_io() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = sources(&root.join("src"));
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        for (at, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            let found = wrong(line);
            assert_eq!(found, None, "{}:{}: {line}", file.display(), at + 1);
        }
    }
}

#[test]
fn the_check_can_fail() {
    for line in [
        "use std::fs;",
        "let now = Instant::now();",
        "use std::net::{IpAddr, TcpStream};",
        "std::process::Command::new(\"ip\")",
    ] {
        assert!(wrong(line).is_some(), "{line}");
    }
    for line in [
        "use std::net::IpAddr;",
        "use std::net::{IpAddr, Ipv4Addr};",
        "// std::fs",
    ] {
        assert_eq!(wrong(line), None, "{line}");
    }
}

#[test]
fn the_rules_stand_on_data_crates_only() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let text = fs::read_to_string(manifest).unwrap();
    let (_, section) = text.split_once("[dependencies]\n").unwrap();
    let section = section.split("\n[").next().unwrap();
    let names: Vec<&str> = section
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(names, DEPENDENCIES);
}
