//! The log of a recovery is that of the case study.

use anyhow::Result;
use lab::{Flavor, Lab, contract};

use crate::scene::{power_cycle, recover, two_hosts};

#[test]
fn the_log_is_the_contract() -> Result<()> {
    Lab::with(two_hosts("recovery-log"), |lab| {
        let old = lab.node(101);
        let new = power_cycle(lab, 101)?;
        recover(old)?;
        lab.is_whole(new)?;
        contract::recovery(&old.recovery_log()?, Flavor::Postgres)
    })
}
