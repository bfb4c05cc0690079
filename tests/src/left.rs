//! What a failover has left behind that was refused, or failed: nothing that may come true, or hold anybody
//! up, later; and a last line that says what to do.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::host::Node;
use crate::lab::Lab;
use crate::layout::{DATA, LOG};

/// For a look at files.
const LOOK: Duration = Duration::from_secs(10);
/// What the host's tools remember.
pub const STATE: &str = "/home/kingbase/cluster/R3HA/log/network_rewind.json";
/// The settings of a standby, in the data directory of either server.
const SETTINGS: [&str; 3] = [
    "postgresql.auto.conf",
    "kingbase.auto.conf",
    "recovery.conf",
];
/// What a standby that is held has for its primary.
const NOBODY: &str = "held-by-failover-tools";
/// What the state has of a standby that is held, and of a promotion that was asked for.
const MARKS: [&str; 2] = ["\"held\":{", "\"promotion\":{"];

impl Lab {
    /// After a failover that was refused, or failed: no promotion is pending, the VIP is nobody's or a
    /// writing primary's, nothing is held, and no tool is at work, on no host that is up. Returns what the run on
    /// `coordinator` said last.
    ///
    /// # Errors
    /// Something was left, or its log does not end so.
    pub fn left_nothing(&self, coordinator: &Node) -> Result<String> {
        self.nothing_is_left()?;
        let log = coordinator.failover_log()?;
        let mut lines = log.lines().rev();
        let footer = lines.next().unwrap_or_default();
        ensure!(footer.contains("failover end"), "no footer: {log}");
        let said = lines
            .next()
            .and_then(|it| it.split_once("failover failed: "));
        let (_, said) = said.with_context(|| format!("its last line does not say why: {log}"))?;
        Ok(said.to_owned())
    }

    /// The part of [`Self::left_nothing`] that is not about a log.
    ///
    /// # Errors
    /// Something was left.
    pub fn nothing_is_left(&self) -> Result<()> {
        for node in self.nodes().iter().filter(|node| node.is_up()) {
            nothing_on(node).with_context(|| node.name())?;
        }
        self.wait_until_nothing_runs(LOOK)
    }
}

fn nothing_on(node: &Node) -> Result<()> {
    // On the host itself: the data directory may be a link to another disk.
    let files = SETTINGS.map(|file| format!("{DATA}/{file}")).join(" ");
    let look = format!(
        "test ! -e {DATA}/promote || echo 'a promotion is pending'; \
         ! grep -s {NOBODY} {files} || echo 'it is held'; \
         test ! -e {LOG}/promotion.wanted || echo 'a promotion is waited for'"
    );
    let found = node.run(&["sh", "-c", &look], LOOK)?.success()?;
    ensure!(found.is_empty(), "{found}");
    let state = fs::read_to_string(node.path(STATE)?).unwrap_or_default();
    ensure!(!MARKS.iter().any(|mark| state.contains(mark)), "{state}");
    if node.has_vip()? {
        node.psql("set synchronous_commit = local; insert into probe values ('has the VIP')")?;
    }
    Ok(())
}
