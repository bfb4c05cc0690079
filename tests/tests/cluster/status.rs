//! `network_rewind --status`: right whatever has been left, and nothing is changed by it.

use anyhow::{Context as _, Result, ensure};
use lab::layout::{DB_BIN, LOG, UID};
use lab::{Lab, LabOptions, Node, ToolRun, wait_for};
use serde_json::Value;

use crate::scene::SHORT;

const STATE: &str = "/home/kingbase/cluster/R3HA/log/network_rewind.json";

fn status(node: &Node, user: &str, more: &[&str]) -> Result<ToolRun> {
    let program = format!("{DB_BIN}/network_rewind");
    let command: Vec<&str> = [&[program.as_str(), "--status"], more].concat();
    node.run_as(user, &command, SHORT)
}

fn seen(node: &Node) -> Result<Value> {
    let run = status(node, "root", &["--json"])?;
    serde_json::from_str(run.stdout.trim()).with_context(|| run.to_string())
}

/// Each member has a row in the manual.
fn is_documented(object: &Value) -> Result<()> {
    let page = include_str!("../../../docs/tools.md");
    let (_, section) = page
        .split_once("## `network_rewind --status`")
        .context("no such section")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    for member in object.as_object().context("no object")?.keys() {
        let common = ["exit", "message"].contains(&member.as_str());
        ensure!(
            common || section.contains(&format!("`{member}`")),
            "{member}"
        );
    }
    Ok(())
}

fn files(node: &Node) -> Result<String> {
    let list = format!("cd {LOG} && ls -la --time-style=full-iso && md5sum *");
    node.run(&["sh", "-c", &list], SHORT)?.success()
}

#[test]
fn what_a_node_is_and_what_has_been_left_on_it() -> Result<()> {
    let options = LabOptions {
        name: "cluster-status".into(),
        ..LabOptions::default()
    };
    Lab::with(options, |lab| {
        a_primary(lab.node(101))?;
        a_standby(lab.node(102))?;
        half_a_rewind(lab.node(102))?;
        a_run_at_work(lab.node(102))?;
        no_state(lab.node(102))
    })
}

fn a_primary(node: &Node) -> Result<()> {
    let before = files(node)?;
    let object = seen(node)?;
    is_documented(&object)?;
    let primary = object["role"] == "primary" && object["timeline"] == 1;
    ensure!(primary && object["database_vip"] == true, "{object}");
    for nothing in ["follows", "recovery", "run_lock", "last_run", "paused"] {
        ensure!(object[nothing].is_null(), "{nothing}: {object}");
    }
    let text = status(node, "kingbase", &[])?.success()?;
    let first = "node101 (192.168.1.101): primary, timeline 1, has the database VIP\n";
    ensure!(text.starts_with(first), "{text}");
    ensure!(text.contains("marks      none\n"), "{text}");
    let after = files(node)?;
    ensure!(after == before, "{before}{after}");
    Ok(())
}

fn a_standby(node: &Node) -> Result<()> {
    let object = seen(node)?;
    let follows = object["follows"] == "192.168.1.101";
    ensure!(object["role"] == "standby" && follows, "{object}");
    let program = format!("{DB_BIN}/network_rewind");
    let pause = [program.as_str(), "--pause", "a disk"];
    node.run_as("kingbase", &pause, SHORT)?.success()?;
    let object = seen(node)?;
    ensure!(object["paused"]["why"] == "a disk", "{object}");
    let text = status(node, "kingbase", &[])?.success()?;
    ensure!(text.contains("  paused     since "), "{text}");
    ensure!(text.contains(": a disk\n"), "{text}");
    Ok(())
}

/// As one leaves it that is killed.
fn half_a_rewind(node: &Node) -> Result<()> {
    node.stop_database("fast")?;
    let state = r#"{"recovery":{"primary":"192.168.1.101","stage":"rewinding","slots":["slot_x"],"failures":1}}"#;
    node.write(STATE, state, 0o640, UID)?;
    let object = seen(node)?;
    let unfinished = object["recovery"]["unfinished"] == true;
    ensure!(object["role"] == "down" && unfinished, "{object}");
    let text = status(node, "root", &[])?.success()?;
    let row = "from 192.168.1.101, the rewind; UNFINISHED: ";
    ensure!(text.contains(row), "{text}");
    ensure!(text.contains("slots to be made again: slot_x"), "{text}");
    Ok(())
}

fn a_run_at_work(node: &Node) -> Result<()> {
    let lock = format!("exec flock {LOG}/network_rewind.lock sleep 60");
    let holder = node.spawn("kingbase", &["sh", "-c", &lock], SHORT)?;
    wait_for("the lock to be held", SHORT, || {
        let object = seen(node)?;
        let process = object["run_lock"].as_i64();
        ensure!(process.is_some_and(|it| it > 1), "{object}");
        ensure!(object["instance_lock"].is_null(), "{object}");
        Ok(())
    })?;
    drop(holder);
    Ok(())
}

fn no_state(node: &Node) -> Result<()> {
    node.write(STATE, "{\"recovery\":", 0o640, UID)?;
    let run = status(node, "root", &["--json"])?;
    let said = run.stderr.contains("cannot be read");
    ensure!(run.code == Some(66) && said, "{run}");
    let other = status(node, "nobody", &[])?;
    ensure!(other.code == Some(2), "{other}");
    Ok(())
}
