//! An installation whose paths have spaces in them.

use std::time::Duration;

use anyhow::Result;
use lab::layout::{DATA, DB_ETC, R3HA, USER};
use lab::{Lab, Node};

use super::{SHORT, consent, v8r3};
use crate::drill::same_end;
use crate::scene::{RECOVERY, assert_logged, power_cycle, recover, wait_until_whole};

/// Where the installation really lies; its usual path leads there.
const SPACED: &str = "/home/kingbase/cluster/R3 HA";
/// The data directory in it.
const SPACED_DATA: &str = "/home/kingbase/cluster/R3 HA/db/my data";
const RUN: Duration = Duration::from_secs(60);

/// Moves the installation of a host whose database and pool are down.
fn move_away(node: &Node) -> Result<()> {
    let script = format!(
        "mv {R3HA} '{SPACED}' && ln -s 'R3 HA' {R3HA} && mv {DATA} '{SPACED_DATA}' && \
         ln -s 'my data' {DATA} && \
         sed -i 's,{R3HA}/db/data,{SPACED_DATA},; s,{R3HA},{SPACED},; \
                 s,^\\(MOUNT_POINT_DIR_LIST\\)=\\(.*\\),\\1=(\\2),' {R3HA}/*/etc/HAmodule.conf"
    );
    node.run_as(USER, &["sh", "-c", &script], SHORT)?
        .success()
        .map(drop)
}

#[test]
fn paths_with_spaces() -> Result<()> {
    Lab::with(v8r3("v8r3-spaces"), |lab| {
        // The primary last, so that nothing fails over.
        for pool in lab.nodes() {
            pool.stop_pool()?;
        }
        for node in lab.nodes().iter().rev() {
            node.stop_database("fast")?;
            move_away(node)?;
        }
        for node in lab.nodes() {
            node.start_database()?;
        }
        for pool in lab.nodes() {
            pool.start_pool()?;
        }
        wait_until_whole(lab, 101, RUN)?;

        let (old, new) = (lab.node(101), lab.node(102));
        power_cycle(lab, 101)?;
        consent(old)?;
        recover(old)?;
        assert_logged(
            &old.recovery_log()?,
            &format!("sys_rewind  --target-data={SPACED_DATA} "),
        );
        same_end(lab, 102)?;

        // Back by hand, with a configuration elsewhere.
        let config = format!("{SPACED}/db/my etc/HA module.conf");
        let script = format!(
            "mkdir '{SPACED}/db/my etc' && mv {DB_ETC}/HAmodule.conf '{config}' && \
             exec {R3HA}/db/bin/network_rewind --config '{config}'"
        );
        let run = old.run_as(USER, &["sh", "-c", &script], RECOVERY)?;
        assert_eq!(run.code, Some(0), "{run}");
        let script = format!("mv '{config}' {DB_ETC}/HAmodule.conf");
        old.run_as(USER, &["sh", "-c", &script], SHORT)?.success()?;
        new.stop_database("fast")?;
        crate::scene::failed_over(lab, 102)?;
        consent(new)?;
        recover(new)?;
        same_end(lab, 101)
    })
}
