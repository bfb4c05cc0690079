//! A router that answers ARP for every address.

use anyhow::{Result, ensure};
use lab::Flavor;

use crate::scene::{FAILOVER, PRIMARY_DOWN, log_line, on_both, two_hosts, went_through};

on_both!(its_answer_is_no_sign_of_life);

fn its_answer_is_no_sign_of_life(flavor: Flavor) -> Result<()> {
    let lab = two_hosts("cand-router", flavor)?;
    lab.node(101).power_off()?;
    lab.gateway_answers_for_all(lab.node(101))?;
    let run = lab.node(102).failover(&PRIMARY_DOWN, FAILOVER)?;
    went_through(&lab, &run)?;
    let line = log_line(lab.node(102), "is unreachable")?;
    ensure!(line.contains("the gateway answers for it from"), "{line}");
    Ok(())
}
