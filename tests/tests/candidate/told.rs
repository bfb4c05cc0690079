//! What keeps a tool from its work is said as what it is.

use anyhow::{Result, ensure};
use lab::layout::{DB_BIN, DB_ETC, POOL_BIN};
use lab::{Flavor, Lab, LabOptions, Node, ToolRun};

use crate::scene::{FAILOVER, PRIMARY_DOWN, SOON, log_line, on_both, two_hosts, went_through};

/// It ended so, and said this on its standard error.
fn said(run: &ToolRun, code: i32, wanted: &[&str]) -> Result<()> {
    ensure!(run.code == Some(code), "{run}");
    for words in wanted {
        ensure!(run.stderr.contains(words), "no {words:?} in {run}");
    }
    Ok(())
}

on_both!(who_may_not_what_is_missing_and_what_ssh_cannot);

fn who_may_not_what_is_missing_and_what_ssh_cannot(flavor: Flavor) -> Result<()> {
    let lab = two_hosts("cand-told", flavor)?;
    let standby = lab.node(102);
    another_user(lab.node(101))?;
    too_few_arguments(standby)?;
    passphrase(&lab)?;
    key_exchange(&lab)?;
    // All that was said has been done.
    standby
        .failover(&PRIMARY_DOWN, FAILOVER)
        .and_then(|run| went_through(&lab, &run))
}

/// Refused for `wanted`, with nothing left, and the old primary not touched.
fn refused(lab: &Lab, wanted: &[&str]) -> Result<String> {
    let (primary, standby) = (lab.node(101), lab.node(102));
    let begun = "select pg_postmaster_start_time(), pg_is_in_recovery()";
    let before = primary.psql(begun)?;
    let run = standby.failover(&PRIMARY_DOWN, FAILOVER)?;
    said(&run, 66, wanted)?;
    ensure!(primary.psql(begun)? == before, "it was touched: {run}");
    primary.psql("insert into probe values ('still')")?;
    let last = lab.left_nothing(standby)?;
    for words in wanted.iter().chain(&["run this command again"]) {
        ensure!(last.contains(words), "no {words:?} in the last line {last}");
    }
    Ok(last)
}

/// Where everybody may read the configuration and start the tools, as beside the scripts.
fn another_user(node: &Node) -> Result<()> {
    node.take_rights_from_vip_ctl()?;
    let open = format!("chmod a+r {DB_ETC}/HAmodule.conf; chmod a+rx {DB_BIN}/vip_ctl");
    node.run(&["sh", "-c", &open], SOON)?.success()?;
    let check = node.run_as("nobody", &[&format!("{DB_BIN}/rw_check")], SOON)?;
    let wanted = [
        "nobody may not write in",
        "run it as kingbase (KB_EXECUTE_SYS_USER) or root",
    ];
    said(&check, 2, &wanted)?;
    ensure!(!check.stdout.contains("(2 / 6)"), "{check}");
    let vip = node.run_as("nobody", &[&format!("{DB_BIN}/vip_ctl"), "del"], SOON)?;
    said(
        &vip,
        66,
        &["may neither change addresses", "file capabilities"],
    )
}

fn too_few_arguments(node: &Node) -> Result<()> {
    let run = node.failover(&["1", "2", "3"], FAILOVER)?;
    said(&run, 2, &["found 3 arguments, expected 8"])?;
    // A pool throws away what it says: the log has the line, and no failover.
    let log = node.failover_log()?;
    ensure!(
        log.lines().count() == 2 && log.contains("found 3 arguments"),
        "{log}"
    );
    Ok(())
}

/// The old primary's sshd offers one that is newer than what the tools know.
fn key_exchange(lab: &Lab) -> Result<()> {
    let old = lab.node(101);
    let conf = "/etc/ssh/sshd_config";
    let before = old.read(conf)?;
    let allow = |all: &str| -> Result<()> {
        let one = format!("KexAlgorithms {all}\n{before}");
        old.write(conf, &one, 0o644, 0)?;
        old.stop_sshd()?;
        old.start_sshd()
    };
    let new = "sntrup761x25519-sha512@openssh.com";
    allow(new)?;
    let asked = "its sshd must allow one of KexAlgorithms ";
    let wanted = [
        "no key exchange, host key or cipher in common: ",
        asked,
        "(sshd_config there)",
    ];
    let last = refused(lab, &wanted)?;
    let (_, known) = last.split_once(asked).unwrap_or_default();
    let end = |it: char| it == ',' || it.is_whitespace();
    let known = known.split(end).next().unwrap_or_default();
    allow(&format!("{new},{known}"))
}

/// Nobody is there to type it, of root's key and of that of the user that root falls back to.
fn passphrase(lab: &Lab) -> Result<()> {
    let keys = ["/root/.ssh/id_ed25519", "/home/kingbase/.ssh/id_ed25519"];
    let change = |old: &str, new: &str| -> Result<()> {
        for key in keys {
            let command = ["ssh-keygen", "-q", "-p", "-P", old, "-N", new, "-f", key];
            lab.node(102).run(&command, SOON)?.success()?;
        }
        Ok(())
    };
    change("", "a word that nobody types")?;
    let wanted = "id_ed25519: the key has a passphrase, and nobody is there to type it";
    refused(lab, &[wanted, "ssh-keygen -p", "SSH_KEY_FILE"])?;
    change("a word that nobody types", "")
}

/// On no disk of the lab's own.
const SMALL: &str = "/srv/small";

/// The disk of the event log has room for some lines, the last of them not whole.
#[test]
fn half_an_event_is_not_continued() -> Result<()> {
    for flavor in [Flavor::Postgres, Flavor::Kingbase] {
        let lab = Lab::start(LabOptions {
            name: "cand-events".into(),
            flavor,
            config: vec![("EVENT_LOG".into(), format!("{SMALL}/events.jsonl"))],
            ..LabOptions::default()
        })?;
        let standby = lab.node(102);
        let mount = format!(
            "mkdir -p {SMALL} && mount -t tmpfs -o size=4k,mode=755,uid=2001,gid=2001 small {SMALL} && \
             printf '{{\"before\":\"%02000d\"}}\n' 0 >{SMALL}/events.jsonl && chown kingbase: {SMALL}/events.jsonl"
        );
        standby.run(&["sh", "-c", &mount], SOON)?.success()?;
        let events = || standby.read(&format!("{SMALL}/events.jsonl"));
        let run = standby.failover(&PRIMARY_DOWN, FAILOVER)?;
        went_through(&lab, &run)?;
        let full = events()?;
        ensure!(
            !full.is_empty() && !full.ends_with('\n'),
            "it is not full: {full}"
        );
        standby
            .run(&["mount", "-o", "remount,size=1m", SMALL], SOON)?
            .success()?;
        let again = standby.failover(&PRIMARY_DOWN, FAILOVER)?;
        went_through(&lab, &again)?;
        let now = events()?;
        let rest = now.strip_prefix(&full).unwrap_or_default();
        ensure!(
            rest.starts_with('\n'),
            "the next event is glued to it: {rest}"
        );
        for line in rest.lines().skip(1) {
            ensure!(line.starts_with('{') && line.ends_with('}'), "{line}");
        }
        log_line(standby, "failover end")?;
    }
    Ok(())
}

/// A pool that knows passwords by MD5 alone, as 3.6 does.
#[test]
fn a_wrong_password_at_an_old_pool_names_the_key() -> Result<()> {
    let lab = Lab::start(LabOptions {
        name: "cand-md5".into(),
        flavor: Flavor::Kingbase,
        pools: 2,
        ..LabOptions::default()
    })?;
    let node = lab.node(101);
    node.set_config(&[("KB_PASS", "d3Jvbmc=")])?;
    let run = node.run(&[&format!("{POOL_BIN}/attach_node"), "--status"], SOON)?;
    said(
        &run,
        66,
        &["md5 authentication failed", "check KB_USER, KB_PASS"],
    )
}
