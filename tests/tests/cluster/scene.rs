//! Three hosts with three pools, asked by the tool.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::layout::{DB_BIN, LOG};
use lab::{Lab, LabOptions, Node, ToolRun, wait_for};
use serde_json::Value;

/// For what is nearly there.
pub const SHORT: Duration = Duration::from_secs(20);

/// Three hosts, synchronous, a pool on each.
pub fn three_hosts(name: &str) -> LabOptions {
    LabOptions {
        name: name.into(),
        nodes: 3,
        pools: 3,
        cron: true,
        recovery: true,
        known_hosts: true,
        ..LabOptions::default()
    }
}

/// One run of the tool.
pub fn ctl(node: &Node, user: &str, args: &[&str]) -> Result<ToolRun> {
    let program = format!("{DB_BIN}/cluster_ctl");
    let command: Vec<&str> = [&[program.as_str()], args].concat();
    node.run_as(user, &command, SHORT)
}

/// Has every host's last run of `network_rewind` be a moment ago, without one.
pub fn looked(lab: &Lab) -> Result<()> {
    for node in lab.nodes() {
        let touch = format!("touch {LOG}/recovery.log && chown kingbase: {LOG}/recovery.log");
        node.run(&["sh", "-c", &touch], SHORT)?.success()?;
    }
    Ok(())
}

/// A finding of `check` or `show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub level: String,
    pub code: String,
    pub node: Option<String>,
    pub text: String,
    pub todo: String,
}

/// The findings of a run with `--json`.
pub fn findings(run: &ToolRun) -> Result<Vec<Finding>> {
    let object: Value = serde_json::from_str(run.stdout.trim()).with_context(|| run.to_string())?;
    let all = object["findings"]
        .as_array()
        .with_context(|| run.to_string())?;
    let text = |it: &Value, name: &str| it[name].as_str().unwrap_or_default().to_owned();
    Ok(all
        .iter()
        .map(|it| Finding {
            level: text(it, "level"),
            code: text(it, "code"),
            node: it["node"].as_str().map(str::to_owned),
            text: text(it, "text"),
            todo: text(it, "do"),
        })
        .collect())
}

/// Waits until `check` finds nothing at all.
pub fn wait_until_green(lab: &Lab) -> Result<()> {
    wait_for("check to find nothing", Duration::from_secs(60), || {
        looked(lab)?;
        let run = ctl(lab.node(101), "root", &["check", "--json"])?;
        let found = findings(&run)?;
        ensure!(run.code == Some(0) && found.is_empty(), "{found:?}");
        Ok(())
    })
}
