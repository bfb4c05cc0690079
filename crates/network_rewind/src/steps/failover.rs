//! What the pool should have done: a failover that came to nothing is run again, by the same program with
//! the same rules and the same fence.

use crate::budget;
use crate::work::{Break, Work};
use anyhow::{Context, Result, bail};
use failover_core::deadline::Deadline;
use failover_core::pool::Change;
use failover_core::procedure::Done;
use failover_core::process::{Cmd, run};

/// Runs the failover from the old primary, with this host as the one that the pool would give.
pub fn again(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    let config = work.config();
    let old = work.old.context("no old primary is known")?;
    let (me, old) = (work.me().to_string(), old.to_string());
    // The ids say which node is meant, and nothing else: the old primary went down, and this one is left.
    let arguments = [
        ("--new-primary-host", me.as_str()),
        ("--old-primary-id", "0"),
        ("--failed-node-id", "0"),
        ("--failed-node-host", &old),
        ("--old-primary-host", &old),
        ("--new-primary-id", "1"),
        ("--old-main-id", "0"),
    ];
    let mut command = Cmd::new(config.kb_path.join("failover_stream"))
        .arg("--config")
        .arg(&config.path);
    for (name, value) in arguments {
        command = command.arg(format!("{name}={value}"));
    }
    work.journal.stamped(format!("execute: [{command}]"));
    let output = run(&command, deadline)?;
    match output.code {
        0 => Ok(Done::Did(format!("failed over from {old}"))),
        code => bail!(
            "the failover from {old} came to nothing again (code {code}): {}",
            output.last_line()
        ),
    }
}

/// As long as the pool has this node, which is a standby, as its primary, it looks for no other.
pub fn detach(work: &mut Work<'_>, deadline: Deadline) -> Result<Done> {
    let nodes = work.pool.nodes(deadline.at_most(budget::POOL))?;
    let node = nodes
        .by_address(work.me(), work.config())
        .context("the pool does not know this node")?;
    if !(node.is_up() && node.is_primary()) {
        bail!(Break::Changed(format!(
            "the pool has {node} {}",
            node.status
        )));
    }
    work.journal
        .line(work.pool.attempt(Change::Detach, node.id));
    work.pool
        .change(Change::Detach, node.id, work.journal, deadline)?;
    Ok(Done::Did(format!("{node} is detached")))
}
