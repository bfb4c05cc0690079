//! An operator wants nothing to be changed.

use anyhow::{Result, ensure};
use lab::Lab;

use super::{changes_nothing, ends, one_pool, promote, run, runs, take_vip_off};
use crate::scene::{SHORT, recover, wait_until_whole};

#[test]
fn paused() -> Result<()> {
    Lab::with(one_pool("tab-paused"), |lab| {
        let (primary, standby) = (lab.node(101), lab.node(102));
        for node in lab.nodes() {
            ends(node, &["--pause", "new kernel"], 0, "paused")?;
        }
        take_vip_off(primary)?;
        standby.stop_database("fast")?;
        standby.add_vip()?;
        for _ in 0..2 {
            for node in lab.nodes() {
                changes_nothing(lab, node, 0, "(new kernel): nothing is changed")?;
            }
        }
        // Whatever is said meanwhile that makes no sense, the pause stays.
        for args in [
            &["--pause", "new", "kernel"][..],
            &["--pause", "--resume"],
            &["--pause", "--force"],
            &["--resume", "--dry-run"],
            &["--unpause"],
        ] {
            let run = run(standby, args)?;
            ensure!(run.code == Some(2), "{run}");
        }
        ends(standby, &["--force"], 0, "(new kernel): nothing is changed")?;
        ensure!(!runs(standby), "it was started");
        ends(standby, &["--pause"], 0, "paused")?;
        changes_nothing(
            lab,
            standby,
            0,
            ": nothing is changed until network_rewind --resume",
        )?;

        for node in lab.nodes() {
            ends(node, &["--resume"], 0, "resumed")?;
            ends(node, &["--resume"], 0, "resumed")?;
        }
        recover(standby)?;
        recover(primary)?;
        wait_until_whole(lab, 101, SHORT)?;

        // Not even a primary that is the wrong one.
        ends(standby, &["--pause", ""], 0, "paused")?;
        promote(standby)?;
        changes_nothing(lab, standby, 0, "paused since")?;
        ends(standby, &["--resume"], 0, "resumed")?;
        ends(standby, &["--force"], 0, "it is recovered (--force)")?;
        recover(primary)?;
        wait_until_whole(lab, 101, SHORT)?;
        lab.wait_until_nothing_is_left(SHORT)
    })
}
