//! Two standbys: the one that was not promoted follows the new primary, and one that is far
//! behind is not attached yet.

use anyhow::{Context, Result, ensure};
use lab::{Lab, LabOptions, Node, Watch, wait_for};

use crate::scene::{
    RECOVERY, SHORT, failed_over, recover, status, two_hosts, wait_for_status, wait_until_whole,
};

#[test]
fn three_hosts() -> Result<()> {
    let options = LabOptions {
        nodes: 3,
        ..two_hosts("recovery-three")
    };
    Lab::with(options, |lab| {
        let watch = Watch::start(lab)?;
        let old = lab.node(101);
        old.power_off()?;
        let new = failed_over(lab, 101)?;
        let mut others = lab.nodes().iter().map(Node::number);
        let other = others.find(|number| ![101, new].contains(number));
        let other = lab.node(other.context("three hosts")?);
        recover(other)?;
        wait_for("the other standby to follow", SHORT, || {
            lab.streams(other.number(), new)
        })?;

        old.power_on()?;
        recover(old)?;
        wait_until_whole(lab, new, SHORT)?;
        watch.check(new)?;

        attached_only_when_caught_up(lab, lab.node(new))?;
        wait_until_whole(lab, new, SHORT)?;
        watch.finish(new)?;
        Ok(())
    })
}

fn attached_only_when_caught_up(lab: &Lab, primary: &Node) -> Result<()> {
    // Not the one that commits wait for, where there is such a difference.
    let chosen = "select application_name from pg_stat_replication order by sync_state = 'sync'";
    let chosen = primary
        .query(&format!("{chosen} limit 1"), SHORT)?
        .to_string();
    let mut nodes = lab.nodes().iter();
    let behind = nodes.find(|node| node.name() == chosen).context(chosen)?;
    lab.pcp_detach(behind.id())?;
    wait_for_status(lab, behind, "down")?;

    // Stopped in the middle of what it has to receive.
    let receiver = |signal: &str| -> Result<()> {
        let kill = ["pkill", signal, "-f", "walreceiver"];
        behind.run(&kill, SHORT)?.success().map(drop)
    };
    primary.psql("alter system set wal_sender_timeout = 0")?;
    primary.psql("select pg_reload_conf()")?;
    receiver("-STOP")?;
    primary.psql(
        "set synchronous_commit = local; create table big as \
         select repeat(md5(n::text), 30) from generate_series(1, 40000) n",
    )?;
    let written = primary.psql("select pg_current_wal_flush_lsn()")?;
    // How it ends is not asked: it may say no, or wait for the standby in vain.
    let run = behind.recover(&[], RECOVERY)?;
    let seen = status(lab, behind)?;
    ensure!(seen == "down", "attached far behind: {run}");

    receiver("-CONT")?;
    wait_for("it to catch up", RECOVERY, || {
        let replayed = format!("select pg_last_wal_replay_lsn() >= '{written}'");
        ensure!(behind.psql(&replayed)? == "t", "still behind");
        Ok(())
    })?;
    recover(behind)?;
    wait_for_status(lab, behind, "up")
}
