//! What is missing, unreadable or wrong: one clear line, and nothing half done.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::layout::{DB_BIN, LOG};
use lab::{Lab, Node, ToolRun};

use crate::scene::{
    RECOVERY, SHORT, astray, postmaster, recover, two_hosts, wait_for_status, wait_until_whole,
};

const IN_TIME: Duration = Duration::from_secs(15);

/// One run that has to fail with this code and one line with this text, and to leave the standby
/// as it is.
fn fails(node: &Node, code: i32, text: &str) -> Result<ToolRun> {
    let before = postmaster(node)?;
    let run = node.recover(&[], IN_TIME)?;
    ensure!(run.code == Some(code), "not {code}: {run}");
    ensure!(
        run.stderr.trim().lines().count() == 1,
        "not one line: {run}"
    );
    ensure!(run.stderr.contains(text), "no {text:?}: {run}");
    ensure!(!run.stderr.contains("panicked"), "{run}");
    ensure!(postmaster(node)? == before, "it was stopped: {run}");
    Ok(run)
}

fn shell(node: &Node, script: &str) -> Result<()> {
    node.run(&["sh", "-c", script], SHORT)?.success().map(drop)
}

#[test]
fn wrong_input_is_one_clear_line() -> Result<()> {
    Lab::with(two_hosts("con-input"), |lab| {
        let node = lab.node(102);
        let set = |key: &str, value: &str| node.set_config(&[(key, value)]);
        let shell = |script: &str| shell(node, script);

        set("STATE_DIR", "/nowhere")?;
        fails(node, 66, "/nowhere").context("no state directory")?;
        shell("mkdir /root-only && chmod 700 /root-only")?;
        set("STATE_DIR", "/root-only")?;
        fails(node, 66, "/root-only").context("an unreadable one")?;
        set("STATE_DIR", LOG)?;

        let state = format!("{LOG}/network_rewind.json");
        node.write(&state, "{\"recovery\":", 0o640, 0)?;
        fails(node, 66, "network_rewind.json").context("a damaged state")?;
        shell(&format!("rm {state}"))?;

        let config = format!("{DB_BIN}/../etc/HAmodule.conf");
        set("KB_PORT", "many")?;
        fails(node, 2, "KB_PORT").context("a wrong value")?;
        set("KB_PORT", "54321")?;
        shell(&format!("mv {config} {config}.away"))?;
        fails(node, 2, "HAmodule.conf").context("no configuration")?;
        shell(&format!("mv {config}.away {config}"))?;

        let kept = node.read("/home/kingbase/cluster/R3HA/db/etc/HAmodule.conf")?;
        let value = |key: &str| {
            let mut lines = kept.lines().rev().filter_map(|line| line.split_once('='));
            let found = lines.find(|(name, _)| *name == key);
            found.map(|(_, value)| value.to_owned()).unwrap_or_default()
        };
        set("KB_PASS", "d3Jvbmc=")?;
        fails(node, 66, "password").context("a wrong SQL password")?;
        set("KB_PASS", &value("KB_PASS"))?;

        lab.pcp_detach(node.id())?;
        wait_for_status(lab, node, "down")?;
        set("PCP_PASS", "d3Jvbmc=")?;
        fails(node, 66, "PCP_PASS").context("a wrong PCP password")?;
        set("PCP_PASS", &value("PCP_PASS"))?;

        shell("mv /usr/bin/ping /usr/bin/ping.away")?;
        fails(node, 66, "no program ping").context("no ping")?;
        shell("mv /usr/bin/ping.away /usr/bin/ping")?;
        recover(node)?;
        wait_until_whole(lab, 101, SHORT)?;

        lacks_a_program_of_the_server(lab, node)?;
        lacks_ip(lab, node)?;
        lab.wait_until_nothing_is_left(SHORT)
    })
}

/// With a rewind to be done: before anything is stopped.
fn lacks_a_program_of_the_server(lab: &Lab, node: &Node) -> Result<()> {
    astray(lab, node)?;
    for (name, code) in [("pg_rewind", 1), ("pg_ctl", 2), ("pg_controldata", 1)] {
        let program = format!("{DB_BIN}/{name}");
        shell(node, &format!("mv {program} {program}.away"))?;
        fails(node, code, name).with_context(|| name.to_owned())?;
        ensure!(node.in_recovery()?, "{name}: it is no standby");
        shell(node, &format!("mv {program}.away {program}"))?;
    }
    node.recover(&[], RECOVERY)?.success()?;
    wait_until_whole(lab, 101, SHORT)
}

/// A standby with the VIP, and nothing to take it off with.
fn lacks_ip(lab: &Lab, node: &Node) -> Result<()> {
    node.add_vip()?;
    let ip = "/usr/bin/ip /bin/ip /usr/sbin/ip /sbin/ip";
    shell(
        node,
        &format!("for it in {ip}; do [ ! -e $it ] || mv $it $it.away; done"),
    )?;
    let run = node.recover(&[], IN_TIME)?;
    ensure!(
        run.code.is_some() && !run.stderr.contains("panicked"),
        "{run}"
    );
    let log = node.recovery_log()?;
    ensure!(
        log.contains("the database VIP may be here still: "),
        "{log}"
    );
    ensure!(node.in_recovery()? && node.has_vip()?, "{run}");
    shell(
        node,
        &format!("for it in {ip}; do [ ! -e $it.away ] || mv $it.away $it; done"),
    )?;
    recover(node)?;
    wait_until_whole(lab, 101, SHORT)
}
