//! Stamps the version with what the build is told: the commit by `FAILOVER_COMMIT` (the Makefile asks git) or,
//! in a tarball that git has made, by the file `commit`; the day by `SOURCE_DATE_EPOCH`, else today.
//!
//! It asks git nothing itself, so that a new commit alone makes plain `cargo build` do no work.

#![allow(clippy::print_stdout, reason = "cargo reads it")]

#[path = "src/stamp.rs"]
mod stamp;

use std::env;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo::rerun-if-env-changed=FAILOVER_COMMIT");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    println!("cargo::rerun-if-changed=commit");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/stamp.rs");
    let told = env::var("FAILOVER_COMMIT").unwrap_or_default();
    let commit = stamp::commit(&told, &fs::read_to_string("commit").unwrap_or_default());
    let given = env::var("SOURCE_DATE_EPOCH").ok();
    let given = given.and_then(|text| text.trim().parse().ok());
    #[allow(
        clippy::disallowed_methods,
        reason = "the day of the build; a build has no log"
    )]
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs());
    let day = stamp::day(given.unwrap_or(now));
    let version = stamp::version(env!("CARGO_PKG_VERSION"), commit.as_deref(), &day);
    println!("cargo::rustc-env=FAILOVER_VERSION={version}");
}
