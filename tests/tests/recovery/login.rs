//! A primary that does not let this node's replication login in: said before anything is touched, with what
//! to do; that done, the node comes back.

use anyhow::{Context, Result, ensure};
use lab::layout::{DATA, HOME, SQL_USER, UID};
use lab::{Lab, Node};

use crate::drill::{
    assert_says, assert_stays_down, at_once, killed_with_rows_of_its_own, recovers, same_end,
};
use crate::scene::{RECOVERY, SHORT, astray, postmaster, recover};

const RULE: &str = "host replication all 192.168.1.0/24 scram-sha-256";

fn sh(node: &Node, script: &str) -> Result<String> {
    node.run_as("kingbase", &["sh", "-c", script], SHORT)?
        .success()
}

/// The control file, and whether anything was kept for a rewind.
fn touched(node: &Node) -> Result<String> {
    sh(
        node,
        &format!(
            "cat {DATA}/global/pg_control | md5sum; ls -d {DATA}* {HOME}/cluster/R3HA/db/*kept* || true"
        ),
    )
}

/// Does on the primary what a refusal says.
fn do_as_said(primary: &Node, said: &str) -> Result<()> {
    let advice = said.split("add \"").nth(1);
    let rule = advice.and_then(|it| it.split('"').next());
    let rule = rule.with_context(|| said.to_owned())?;
    sh(primary, &format!("echo '{rule}' >> {DATA}/pg_hba.conf"))?;
    primary.psql("select pg_reload_conf()").map(drop)
}

fn shut_out(primary: &Node) -> Result<()> {
    sh(primary, &format!("sed -i '\\,{RULE},d' {DATA}/pg_hba.conf"))?;
    primary.psql("select pg_reload_conf()").map(drop)
}

#[test]
fn a_login_that_is_refused() -> Result<()> {
    Lab::with(at_once("brk-login"), |lab| {
        an_old_primary_is_let_in(lab).context("no line in pg_hba.conf")?;
        a_running_standby_is_not_stopped(lab).context("a running standby")?;
        another_password(lab).context("another password")
    })
}

fn an_old_primary_is_let_in(lab: &Lab) -> Result<()> {
    let (old, new) = (lab.node(101), lab.node(102));
    killed_with_rows_of_its_own(lab, 101)?;
    shut_out(new)?;
    let before = touched(old)?;
    let refused = [
        "the primary 192.168.1.102 refuses the replication login",
        "no pg_hba.conf entry for replication connection from host \"192.168.1.101\"",
    ];
    let run = assert_stays_down(old, 1, &refused)?;
    ensure!(touched(old)? == before, "touched: {run}");
    do_as_said(new, &run.stderr)?;
    recovers(lab, old, 102)
}

/// It has left the primary's history, and serves reads all the same.
fn a_running_standby_is_not_stopped(lab: &Lab) -> Result<()> {
    let (standby, primary) = (lab.node(101), lab.node(102));
    astray(lab, standby)?;
    shut_out(primary)?;
    sh(
        primary,
        &format!("sed -i '/^host replication /d' {DATA}/pg_hba.conf"),
    )?;
    primary.psql("select pg_reload_conf()")?;
    let before = postmaster(standby)?;
    let run = standby.recover(&[], RECOVERY)?;
    assert_says(&run, 1, &["refuses the replication login", "pg_hba.conf"]);
    ensure!(postmaster(standby)? == before, "it was stopped: {run}");
    do_as_said(primary, &run.stderr)?;
    recover(standby)?;
    same_end(lab, 102)
}

/// As it stands after somebody has changed it on the primary only.
fn another_password(lab: &Lab) -> Result<()> {
    let (old, new) = (lab.node(102), lab.node(101));
    killed_with_rows_of_its_own(lab, 102)?;
    let auto = format!("{DATA}/postgresql.auto.conf");
    let before = sh(old, &format!("cat {auto}"))?;
    let mut text: Vec<&str> = before.lines().collect();
    text.retain(|line| !line.starts_with("primary_conninfo"));
    let conninfo = format!(
        "primary_conninfo = 'host=192.168.1.101 port=54321 user={SQL_USER} password=yesterdays application_name=node102'"
    );
    text.push(&conninfo);
    old.write(&auto, &(text.join("\n") + "\n"), 0o600, UID)?;
    let run = assert_stays_down(
        old,
        1,
        &["password authentication failed", "primary_conninfo"],
    )?;
    ensure!(!run.stderr.contains("yesterdays"), "{run}");
    old.write(&auto, &(before + "\n"), 0o600, UID)?;
    recovers(lab, old, new.number())
}
