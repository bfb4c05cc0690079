//! What was the primary before a failover, and nobody said that it may come back.

use anyhow::{Result, ensure};
use lab::layout::{DATA, UID};
use lab::{Lab, LabOptions};

use super::{ends, insert, runs};
use crate::scene::{SHORT, failed_over, two_hosts, wait_until_whole};

#[test]
fn old_primary_needs_consent() -> Result<()> {
    let options = LabOptions {
        config: Vec::new(),
        ..two_hosts("tab-consent")
    };
    Lab::with(options, |lab| {
        let old = lab.node(101);
        old.kill_database()?;
        ensure!(failed_over(lab, 101)? == 102, "not node102");
        let left_down = || -> Result<()> {
            ends(old, &[], 1, "network_rewind --force")?;
            ensure!(!runs(old), "it runs");
            ensure!(!old.has_vip()?, "it has the VIP");
            Ok(())
        };
        left_down()?;
        left_down()?;
        // Started by hand it takes no writes: the failover has seen to that.
        old.start_database()?;
        ensure!(old.in_recovery()?, "it is a primary");
        ends(old, &[], 1, "network_rewind --force")?;
        ensure!(old.in_recovery()?, "it was stopped, or promoted");
        old.stop_database("fast")?;
        // Unless a person takes that back: then it does.
        ends(old, &["--unfence"], 1, "network_rewind --force")?;
        old.start_database()?;
        insert(old, 101)?;
        left_down()?;
        // Where there is no VIP, the newer timeline tells, and that the pool has this one down.
        old.set_config(&[("KB_VIP", "")])?;
        old.start_database()?;
        left_down()?;
        old.set_config(&[("KB_VIP", "192.168.1.200/24")])?;

        // An operator says what it is to be.
        old.write(&format!("{DATA}/standby.signal"), "", 0o600, UID)?;
        ends(old, &[], 0, "(its standby settings are there)")?;
        wait_until_whole(lab, 102, SHORT)?;
        let rows = lab.rows_present(old)?;
        ensure!(rows.is_empty(), "it has {rows:?}");
        lab.wait_until_nothing_is_left(SHORT)
    })
}
