//! Every setting of the pools' samples is one that the pool has: it passes over others without a word.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cluster::{KINGBASECLUSTER, PGPOOL, settings};

const KEYS: &str = include_str!("../../fixtures/pgpool-keys");
const INSTALL: &str = include_str!("../../../docs/install.md");
/// The manual's way from the sample to what pgpool-II has from 4.4 on.
const NEW_NAME: &str = "sed -i 's/^delegate_IP = /delegate_ip = /'";

/// 4.3 as (4, 3).
fn version(text: &str) -> Result<(u8, u8)> {
    let (major, minor) = text.split_once('.').context(text.to_owned())?;
    Ok((major.parse()?, minor.parse()?))
}

/// The settings of the sample, without the number at the end, that a version does not have.
fn unknown(sample: &str, wanted: &str) -> Result<Vec<String>> {
    let wanted = version(wanted)?;
    let mut known = Vec::new();
    for line in KEYS.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, first, last] = words[..] else {
            anyhow::bail!("{line}");
        };
        if version(first)? <= wanted && wanted <= version(last)? {
            known.push(name);
        }
    }
    ensure!(known.len() > 100, "{known:?}");
    let keys = settings(sample).into_iter().map(|(key, _)| key);
    let names = keys.map(|key| {
        key.trim_end_matches(|c: char| c.is_ascii_digit())
            .to_owned()
    });
    Ok(names
        .filter(|name| !known.contains(&name.as_str()))
        .collect())
}

/// What the installed pool says about a configuration, which it is only to read: nothing runs that it
/// could stop.
#[allow(clippy::disallowed_methods, reason = "`timeout` is the deadline")]
fn read_by_the_pool(conf: &str) -> Result<String> {
    let directory = std::env::temp_dir().join(format!("pool-keys-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let file = directory.join("pgpool.conf");
    let none = directory.join("none");
    // It tells what it does not know from this level on, of the lines after it.
    let text = format!(
        "log_min_messages = info\n{conf}\npid_file_name = '{}'\n",
        none.display()
    );
    fs::write(&file, text)?;
    fs::write(directory.join("pgpool_node_id"), "0\n")?;
    let said = Command::new("timeout")
        .args(["-s", "KILL", "30", "pgpool", "-f"])
        .arg(&file)
        .args(["-m", "fast", "stop"])
        .output()
        .context("pgpool")?;
    fs::remove_dir_all(&directory)?;
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    ensure!(said.contains("could not read pid file"), "{said}");
    Ok(said)
}

#[test]
fn the_installed_pool_knows_every_setting_of_its_sample() -> Result<()> {
    let said = read_by_the_pool(PGPOOL)?;
    ensure!(!said.contains("unrecognized"), "{said}");
    // It would say so.
    let said = read_by_the_pool(&format!("{PGPOOL}\nno_such_setting = 1\n"))?;
    ensure!(
        said.contains("unrecognized configuration parameter"),
        "{said}"
    );
    Ok(())
}

#[test]
fn every_version_knows_every_setting_of_its_sample() -> Result<()> {
    let (nothing, renamed) = (Vec::<String>::new(), vec!["delegate_IP".to_owned()]);
    ensure!(INSTALL.contains(NEW_NAME), "the manual has no {NEW_NAME}");
    let later = PGPOOL.replace("\ndelegate_IP = ", "\ndelegate_ip = ");
    for (name, sample, wanted, expected) in [
        ("kingbasecluster", KINGBASECLUSTER, "3.6", &nothing),
        ("pgpool", PGPOOL, "4.2", &nothing),
        ("pgpool", PGPOOL, "4.3", &nothing),
        ("pgpool", PGPOOL, "4.4", &renamed),
        ("pgpool, renamed", &later, "4.4", &nothing),
        ("pgpool, renamed", &later, "4.5", &nothing),
        ("pgpool, renamed", &later, "4.6", &nothing),
        ("pgpool, renamed", &later, "4.7", &nothing),
    ] {
        let found = unknown(sample, wanted)?;
        ensure!(found == *expected, "{name} in {wanted}: {found:?}");
    }
    Ok(())
}

/// From 4.4 to 4.6 the old name beside the new one frees the same memory twice.
#[test]
fn the_sample_has_one_cluster_vip() -> Result<()> {
    for sample in [PGPOOL, KINGBASECLUSTER] {
        let keys = settings(sample).into_iter().map(|(key, _)| key);
        let vips: Vec<String> = keys
            .filter(|key| key.eq_ignore_ascii_case("delegate_ip"))
            .collect();
        ensure!(vips == ["delegate_IP"], "{vips:?}");
    }
    Ok(())
}
