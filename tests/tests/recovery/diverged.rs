//! An old primary with rows that the new one never got.

use anyhow::{Result, ensure};
use lab::{Lab, LabOptions, wait_for};

use crate::scene::{SHORT, assert_logged, failed_over, recover, two_hosts, wait_until_whole};

#[test]
fn asynchronous_with_divergence() -> Result<()> {
    let options = LabOptions {
        sync: false,
        ..two_hosts("recovery-diverged")
    };
    Lab::with(options, |lab| {
        let (old, new) = (lab.node(101), lab.node(102));
        old.psql("insert into rows values (1)")?;
        wait_for("the row on the standby", SHORT, || {
            ensure!(lab.rows_present(new)?.len() == 1, "not there");
            Ok(())
        })?;
        // Two pools that do not see each other would both lead: another drill.
        old.kill_pool()?;
        old.link_down()?;
        old.psql("insert into rows select generate_series(2, 1000)")?;
        assert_eq!(failed_over(lab, 101)?, 102);
        // On the old history, when there is a new one already.
        old.psql("insert into rows select generate_series(1001, 2000)")?;
        new.psql("insert into rows select generate_series(3001, 3100)")?;
        old.stop_database("immediate")?;
        old.link_up()?;

        recover(old)?;
        wait_until_whole(lab, 102, SHORT)?;
        wait_for("the new primary's rows", SHORT, || {
            let seen = lab.rows_present(old)?;
            ensure!(seen == lab.rows_present(new)?, "{} rows", seen.len());
            Ok(())
        })?;
        assert_eq!(lab.rows_present(old)?.len(), 101);
        let log = old.recovery_log()?;
        // How far back it went, and what that means for the rows.
        assert_logged(&log, "diverged at");
        assert_logged(&log, "rewinding from last common checkpoint at ");
        assert_logged(&log, "discarded");
        lab.wait_until_nothing_is_left(SHORT)
    })
}
