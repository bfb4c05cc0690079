//! The notices of everything that is built into the programs: each crate, and the C libraries inside some.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crate with the sources of OpenSSL, which only a build script needs.
const OPENSSL_SOURCES: &str = "openssl-src";

/// The C code inside a crate: the crate, the code, the file with its licence.
const C_CODE: [(&str, &str, &str); 3] = [
    (OPENSSL_SOURCES, "OpenSSL", "openssl/LICENSE.txt"),
    ("libssh2-sys", "libssh2", "libssh2/COPYING"),
    ("libz-sys", "zlib", "src/zlib/LICENSE"),
];

/// How the files with a licence begin.
const NAMES: [&str; 5] = ["license", "licence", "copying", "notice", "copyright"];

/// What the programs are built from: these packages and what they need.
const SHIPPED: [&str; 6] = [
    "attach_node",
    "cluster_ctl",
    "failover_stream",
    "network_rewind",
    "rw_check",
    "vip_ctl",
];

/// A crate that is built in.
#[derive(Debug)]
struct Crate {
    name: String,
    version: String,
    license: String,
    directory: PathBuf,
}

/// All of them, as one text.
pub fn all() -> Result<String> {
    let crates = built_in(&metadata()?)?;
    // One text is the licence of many.
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut list = String::new();
    for it in &crates {
        let title = format!("{} {}", it.name, it.version);
        list.push_str(&format!("  {title}: {}\n", it.license));
        for text in licences(&it.directory)? {
            texts.entry(text).or_default().push(title.clone());
        }
    }
    for (name, code, file) in C_CODE {
        let inside = crates.iter().find(|it| it.name == name);
        let inside = inside.with_context(|| format!("{code}: no crate {name} is built in"))?;
        let path = inside.directory.join(file);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        list.push_str(&format!("  {code}, in {name} {}\n", inside.version));
        texts.entry(tidy(&text)).or_default().push(code.to_owned());
    }
    let mut all = format!(
        "The programs of failover-tools contain the following. Their licences stand below.\n\n{list}"
    );
    for (text, of) in texts {
        let line = "-".repeat(80);
        all.push_str(&format!("\n{line}\n{}\n{line}\n\n{text}\n", of.join(", ")));
    }
    Ok(all)
}

/// What cargo knows of the workspace, with OpenSSL built in.
#[allow(clippy::disallowed_methods, reason = "cargo, at build time")]
fn metadata() -> Result<Value> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/Cargo.toml");
    let out = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .args(["--features", "vendored", "--manifest-path"])
        .arg(manifest)
        .output()
        .context("cargo metadata")?;
    ensure!(
        out.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    serde_json::from_slice(&out.stdout).context("cargo metadata: not JSON")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn members(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The crates of others, by name: what the shipped packages need, and what builds the C code in them.
fn built_in(metadata: &Value) -> Result<Vec<Crate>> {
    let packages = members(&metadata["packages"]);
    let nodes = members(&metadata["resolve"]["nodes"]);
    let is_shipped = |package: &&Value| SHIPPED.contains(&package["name"].as_str().unwrap_or(""));
    let mut left: Vec<&str> = packages
        .iter()
        .filter(is_shipped)
        .filter_map(|it| it["id"].as_str())
        .collect();
    let mut needed = BTreeSet::new();
    while let Some(id) = left.pop() {
        if !needed.insert(id) {
            continue;
        }
        // What builds its sources is in no program.
        if id.contains(OPENSSL_SOURCES) {
            continue;
        }
        let node = nodes.iter().find(|node| node["id"] == id);
        let node = node.with_context(|| format!("{id} is not resolved"))?;
        let is_in = |dep: &&Value| {
            let kinds = members(&dep["dep_kinds"]);
            let only_build = kinds.iter().all(|it| it["kind"] == "build");
            // Its sources end up in the program.
            let is_source = dep["pkg"]
                .as_str()
                .is_some_and(|it| it.contains(OPENSSL_SOURCES));
            (!only_build || is_source) && kinds.iter().any(|it| it["kind"] != "dev")
        };
        let deps = members(&node["deps"]).iter().filter(is_in);
        left.extend(deps.filter_map(|dep| dep["pkg"].as_str()));
    }
    let of_others = packages.iter().filter(|it| !it["source"].is_null());
    let found = of_others.filter(|it| it["id"].as_str().is_some_and(|id| needed.contains(id)));
    let mut crates: Vec<Crate> = found
        .map(|package| Crate {
            name: text(&package["name"]),
            version: text(&package["version"]),
            license: text(&package["license"]),
            directory: PathBuf::from(text(&package["manifest_path"]))
                .parent()
                .map(Path::to_owned)
                .unwrap_or_default(),
        })
        .collect();
    crates.sort_by(|one, two| (&one.name, &one.version).cmp(&(&two.name, &two.version)));
    Ok(crates)
}

/// The licences that lie in the directory of a crate.
fn licences(directory: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_lowercase();
        if path.is_file() && NAMES.iter().any(|it| name.starts_with(it)) {
            let text = fs::read(&path).with_context(|| path.display().to_string())?;
            found.push(tidy(&String::from_utf8_lossy(&text)));
        }
    }
    Ok(found)
}

/// The same text with other ends of its lines is the same licence.
fn tidy(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_code_and_the_crates_have_their_notices() {
        let all = all().unwrap();
        for expected in [
            "OpenSSL, in openssl-src",
            "Apache License",
            "libssh2, in libssh2-sys",
            "zlib, in libz-sys",
            "Jean-loup Gailly",
            "tokio-postgres",
            "Permission is hereby granted",
        ] {
            assert!(all.contains(expected), "{expected}");
        }
        for none in ["  proptest", "  cc ", "  failover-core"] {
            assert!(!all.contains(none), "{none}");
        }
    }
}
