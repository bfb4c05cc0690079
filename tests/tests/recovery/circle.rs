//! Power cut, failover, power, recovery by cron, and the same in the other direction.

use std::mem::swap;

use anyhow::{Context, Result, ensure};
use lab::{Lab, LabOptions, Watch};

use crate::scene::{BY_CRON, power_cycle, two_hosts, wait_until_whole};

#[test]
fn full_circle_by_cron() -> Result<()> {
    let options = LabOptions {
        recovery: true,
        ..two_hosts("recovery-circle")
    };
    Lab::with(options, |lab| {
        let watch = Watch::start(lab)?;
        let (mut old, mut new) = (101, 102);
        for round in 1..=5 {
            let turn = || -> Result<()> {
                let promoted = power_cycle(lab, old)?;
                ensure!(promoted == new, "node{promoted} was promoted");
                wait_until_whole(lab, new, BY_CRON)?;
                watch.check(new)
            };
            turn().with_context(|| format!("round {round}"))?;
            swap(&mut old, &mut new);
        }
        let report = watch.finish(old)?;
        eprintln!(
            "{} rows acknowledged, longest gap {:?}",
            report.acknowledged.len(),
            report.longest_gap
        );
        Ok(())
    })
}
