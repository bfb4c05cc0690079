//! The server belongs to a unit of systemd that restarts it.

use anyhow::{Context, Result, ensure};
use lab::{Lab, wait_for};

use crate::drill::{assert_stays_down, at_once, killed_with_rows_of_its_own, recovers};
use crate::scene::{RECOVERY, assert_logged, recover};

const UNIT: &str = "postgresql@15-main.service";

#[test]
fn a_server_goes_back_to_its_unit() -> Result<()> {
    Lab::with(at_once("rec-unit"), |lab| {
        let (one, other) = (lab.node(101), lab.node(102));
        for node in lab.nodes() {
            node.start_service_manager(UNIT)?;
            // Its cgroup tells, and the next run knows.
            recover(node)?;
        }
        one.may_manage_units()?;
        let prober = lab.start_prober();
        killed_with_rows_of_its_own(lab, 101)?;
        one.service_manager_looks(40)?;
        ensure!(one.pids_of_database().is_empty(), "it was started again");
        assert_eq!(prober.two_writers(), None);
        // What it writes is never the same on both.
        drop(prober);
        recovers(lab, one, 102).context("by its unit")?;
        assert_logged(
            &one.recovery_log()?,
            &format!("the database is started by its unit {UNIT}"),
        );
        ensure!(
            one.told_systemctl()?
                .contains(&format!("kingbase: --no-ask-password start {UNIT}")),
            "{}",
            one.told_systemctl()?
        );
        // It is its unit's: that one brings it back.
        one.kill_database()?;
        one.service_manager_looks(40)?;
        ensure!(!one.pids_of_database().is_empty(), "it is down");
        wait_for("it to be back", RECOVERY, || {
            recover(one)?;
            lab.is_whole(102)
        })?;

        // Nobody has let the database's user: said, with what to do.
        killed_with_rows_of_its_own(lab, 102)?;
        let words = [
            UNIT,
            "Interactive authentication required",
            "docs/install.md",
        ];
        assert_stays_down(other, 66, &words)?;
        other.may_manage_units()?;
        recovers(lab, other, 101).context("with the right to")
    })
}
