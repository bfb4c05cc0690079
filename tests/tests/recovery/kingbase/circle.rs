//! The case study itself, and back again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Flavor, Lab, LabOptions, Spy, Watch, contract, wait_for};

use super::{assert_kept, consent, v8r3};
use crate::drill::same_end;
use crate::scene::{assert_logged, power_cycle, wait_until_whole};

/// Until cron has started a recovery, and perhaps the next one, and these are done.
const BY_CRON: Duration = Duration::from_secs(240);

#[test]
fn the_case_study() -> Result<()> {
    // 9.6 begins its lines with nothing.
    let logs = [("log_line_prefix", "''")];
    let options = LabOptions {
        recovery: true,
        postgres: logs.map(|(key, value)| (key.into(), value.into())).into(),
        ..v8r3("v8r3-circle")
    };
    Lab::with(options, |lab| {
        let spy = Spy::start();
        let watch = Watch::start(lab)?;
        let (one, other) = (lab.node(101), lab.node(102));
        for (old, new) in [(one, other), (other, one)] {
            let turn = || -> Result<()> {
                // In whose minute the new primary looks after itself, that one makes it synchronous.
                wait_for("cron's minute to be over", BY_CRON, || {
                    let second = lab::drills::by_the_clock() / 1000 % 60;
                    ensure!((2..30).contains(&second), "second {second}");
                    Ok(())
                })?;
                let promoted = power_cycle(lab, old.number())?;
                ensure!(promoted == new.number(), "node{promoted} was promoted");
                consent(old)?;
                wait_until_whole(lab, promoted, BY_CRON)?;
                // A pool that has seen no primary yet does not know which one it loses.
                wait_for("its own pool to know the primary", BY_CRON, || {
                    let nodes = old.pool_nodes()?;
                    let known = nodes.iter().any(|it| it.role == "primary");
                    ensure!(known, "it shows {nodes:?}");
                    Ok(())
                })?;
                // It was cut off, and not shut down.
                let log = old.recovery_log()?;
                assert_logged(
                    &log,
                    "was not shut down (\"in production\"): crash recovery first",
                );
                // A pool that came back may take its time to show what it was told.
                lab.wait_until_nothing_is_left(BY_CRON)?;
                watch.check(promoted)
            };
            turn().with_context(|| format!("from {} to {}", old.name(), new.name()))?;
        }
        contract::failover(&other.failover_log()?, Flavor::Kingbase)?;
        contract::recovery(&one.recovery_log()?, Flavor::Kingbase)?;
        watch.finish(101)?;
        same_end(lab, 101)?;
        assert_kept(lab, spy)
    })
}
