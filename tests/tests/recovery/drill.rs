//! What drills of a recovery that breaks off have in common: how a node comes to need one, how a
//! run that fails looks, and what all of them have to end with.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lab::layout::{DATA, DATABASE, DATABASE_PORT, DB_BIN, LOG, SQL_USER, USER};
use lab::{Lab, LabOptions, Node, ToolRun, wait_for};

use crate::scene::{RECOVERY, SHORT, failed_over, two_hosts, wait_until_whole};

/// Two hosts whose pools fail over at the first sign of a database that is gone.
pub fn at_once(name: &str) -> LabOptions {
    two_hosts(name).failing_over_at_once()
}

/// The primary's database is killed with rows that no other has, and the pool fails over. Returns
/// the number of the new primary's host, which has gone on meanwhile.
pub fn killed_with_rows_of_its_own(lab: &Lab, old: u8) -> Result<u8> {
    let mut others = lab.nodes().iter().filter(|it| it.number() != old);
    let standby = others.next().context("two hosts")?;
    lab.kill_with_rows_of_its_own(old, standby.number())?;
    let new = failed_over(lab, old)?;
    lab.node(new).go_on_with_own_rows()?;
    Ok(new)
}

/// It ended with this code, and said why in one line.
#[track_caller]
pub fn assert_says(run: &ToolRun, code: i32, words: &[&str]) {
    assert_eq!(run.code, Some(code), "{run}");
    assert_eq!(run.stderr.lines().count(), 1, "{run}");
    assert!(!run.stderr.contains("panicked"), "{run}");
    for word in words {
        assert!(run.stderr.contains(word), "no {word:?} in {run}");
    }
}

/// One run of the tool that cannot recover the node: it says so, also in the log, and the database
/// stays down.
#[track_caller]
pub fn assert_stays_down(node: &Node, code: i32, words: &[&str]) -> Result<ToolRun> {
    let before = node.recovery_log()?.len();
    let run = node.recover(&[], RECOVERY)?;
    assert_says(&run, code, words);
    let log = node.recovery_log()?.split_off(before);
    for word in words {
        assert!(log.contains(word), "no {word:?} in {log}");
    }
    assert!(node.pids_of_database().is_empty(), "it runs: {log}");
    Ok(run)
}

/// A run that recovers the node, and what it has to end with, see [`same_end`].
pub fn recovers(lab: &Lab, node: &Node, primary: u8) -> Result<()> {
    let run = node.recover(&[], RECOVERY)?;
    ensure!(run.code == Some(0), "{run}\n{}", node.recovery_log()?);
    same_end(lab, primary)
}

/// Streaming, synchronous, both up, all rows the same on both, and nothing left of the run.
pub fn same_end(lab: &Lab, primary: u8) -> Result<()> {
    wait_until_whole(lab, primary, SHORT)?;
    let wanted = contents(lab.node(primary))?;
    for node in lab.nodes() {
        wait_for("the same rows", SHORT, || {
            let seen = contents(node)?;
            ensure!(seen == wanted, "{} has {seen}, not {wanted}", node.name());
            Ok(())
        })?;
    }
    lab.wait_until_nothing_is_left(SHORT)
}

/// Number of rows and a sum over their contents, of every table.
fn contents(node: &Node) -> Result<String> {
    node.psql(
        "select string_agg(relname || ' ' || (xpath('//s/text()', query_to_xml(format( \
             'select count(*) || '' '' || coalesce(sum(hashtext(t::text)::bigint), 0) as s from %I t', \
             relname), false, true, '')))[1]::text, ', ' order by relname) \
         from pg_class where relkind = 'r' and relpersistence = 'p' and relnamespace = 'public'::regnamespace",
    )
}

/// Are the pages and indexes of a node good, as `pg_amcheck` sees it?
pub fn check_pages(lab: &Lab, primary: u8) -> Result<()> {
    lab.node(primary)
        .psql("create extension if not exists amcheck")?;
    same_end(lab, primary)?;
    for node in lab.nodes() {
        let program = format!("{DB_BIN}/pg_amcheck");
        let port = DATABASE_PORT.to_string();
        let login = ["-h", "127.0.0.1", "-p", &port, "-U", SQL_USER, "-w"];
        let check = [&[program.as_str()], &login[..], &[DATABASE]].concat();
        node.run_as(USER, &check, RECOVERY)?.success()?;
    }
    Ok(())
}

/// A file of the node: what is in it, or where it leads, with mode and owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub what: Result<Vec<u8>, PathBuf>,
    pub mode: u32,
    pub owner: (u32, u32),
}

/// The files of a node's data directory that are its own, and not the database's.
pub fn own_files(node: &Node) -> Result<BTreeMap<String, Kept>> {
    let data = node.path(DATA)?;
    let mut found = BTreeMap::new();
    for dir in [data.clone(), data.join("conf.d")] {
        if !dir.exists() {
            continue;
        }
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            let end = path.extension().and_then(|end| end.to_str());
            if end.is_some_and(|end| ["conf", "crt", "key"].contains(&end)) {
                let name = path.strip_prefix(&data)?.display().to_string();
                found.insert(name, kept(&path)?);
            }
        }
    }
    Ok(found)
}

/// They are the same, byte for byte.
#[track_caller]
pub fn assert_same_files(seen: &BTreeMap<String, Kept>, wanted: &BTreeMap<String, Kept>) {
    let names = |files: &BTreeMap<String, Kept>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(seen), names(wanted));
    let text = |file: &Kept| match &file.what {
        Ok(bytes) => bytes.escape_ascii().to_string().replace("\\n", "\n"),
        Err(link) => format!("-> {}", link.display()),
    };
    for (name, seen) in seen {
        let wanted = &wanted[name];
        let parts = (text(seen), text(wanted));
        let mut lines = parts.0.lines().zip(parts.1.lines());
        let differ = lines.find(|(seen, wanted)| seen != wanted);
        assert!(
            seen == wanted,
            "{name}: {differ:?}, {:o} {:?}",
            seen.mode,
            seen.owner
        );
    }
}

fn kept(path: &Path) -> Result<Kept> {
    let meta = fs::symlink_metadata(path)?;
    if let Ok(link) = fs::read_link(path) {
        // Whom a link itself belongs to means nothing.
        return Ok(Kept {
            what: Err(link),
            mode: 0,
            owner: (0, 0),
        });
    }
    Ok(Kept {
        what: Ok(fs::read(path)?),
        mode: meta.permissions().mode(),
        owner: (meta.uid(), meta.gid()),
    })
}

/// No secret, encoded or quoted, in what the tools have logged on a host.
#[track_caller]
pub fn assert_no_secret(node: &Node, secrets: &[String]) -> Result<()> {
    for log in ["recovery.log", "events.jsonl", "failover.log"] {
        let text = node.log(log)?;
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} in {LOG}/{log}: {text}");
        }
    }
    Ok(())
}
