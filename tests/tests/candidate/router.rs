//! A router that answers ARP for every address.

use anyhow::{Result, ensure};

use crate::scene::{FAILOVER, PRIMARY_DOWN, log_line, two_hosts, went_through};

#[test]
fn its_answer_is_no_sign_of_life() -> Result<()> {
    let lab = two_hosts("cand-router")?;
    lab.node(101).power_off()?;
    lab.gateway_answers_for_all(lab.node(101))?;
    let run = lab.node(102).failover(&PRIMARY_DOWN, FAILOVER)?;
    went_through(&lab, &run)?;
    let line = log_line(lab.node(102), "is unreachable")?;
    ensure!(line.contains("the gateway answers for it from"), "{line}");
    Ok(())
}
