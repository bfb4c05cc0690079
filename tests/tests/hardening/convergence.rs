//! Killed at any point, and started again with the same arguments: the same end.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Lab, Node, ToolRun};

use crate::scene::{
    Case, FAILOVER, PRIMARY_DOWN, SOON, assert_only_primary, assert_says, state, two_hosts,
};

/// The steps of a failover as the tool itself lists them: where each is done, and its name.
fn steps(coordinator: &Node) -> Result<Vec<(String, String)>> {
    let args = [&["--dry-run"], PRIMARY_DOWN.as_slice()].concat();
    let plan = coordinator.failover(&args, SOON)?.success()?;
    let steps: Vec<_> = plan
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.to_owned()))
        })
        .collect();
    ensure!(steps.len() > 10, "not a plan: {plan}");
    Ok(steps)
}

/// A failover from node101, alive and writing, to node102, run on `coordinator`: `first` breaks
/// off, the second run has to bring the cluster to the one good end.
fn converges(
    name: &str,
    coordinator: u8,
    first: impl FnOnce(&Node) -> Result<ToolRun>,
) -> Result<ToolRun> {
    let lab = two_hosts(name)?;
    let node = lab.node(coordinator);
    let prober = lab.start_prober();
    let client = lab.start_client()?;
    client.wait_for_acks(20, SOON)?;

    let first = first(node)?;
    node.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;

    client.wait_for_acks(20, SOON)?;
    let report = client.stop();
    assert_eq!(
        report.lost(&lab.rows_present(lab.node(102))?),
        Vec::<u64>::new()
    );
    assert_eq!(prober.two_writers(), None);
    assert_end(&lab)?;
    Ok(first)
}

fn assert_end(lab: &Lab) -> Result<()> {
    let (old, new) = (lab.node(101), lab.node(102));
    assert_only_primary(lab, 102)?;
    assert!(old.pids_of_database().is_empty(), "{:?}", state(lab));
    assert_eq!(new.psql("show synchronous_standby_names")?, "");
    let slot = "select restart_lsn is not null from pg_replication_slots \
                where slot_name = 'slot_node101'";
    assert_eq!(new.psql(slot)?, "t");
    Ok(())
}

/// `wanted` chooses the steps by name.
fn converges_after_each_step(
    name: &str,
    coordinator: u8,
    wanted: impl Fn(&str) -> bool,
) -> Result<()> {
    let steps = steps(two_hosts(name)?.node(coordinator))?;
    for (host, step) in steps.iter().filter(|(_, step)| wanted(step)) {
        let die = [PRIMARY_DOWN.as_slice(), &["--die-after", step]].concat();
        let died = converges(name, coordinator, |node| node.failover(&die, FAILOVER)).case(step)?;
        if host.ends_with(&coordinator.to_string()) {
            assert_eq!(died.signal, Some(9), "{step}: {died}");
        } else if died.code != Some(0) {
            // Elsewhere it is the step's own process that dies. The coordinator says so, unless
            // it sees that the goal is reached all the same.
            assert_says(&died, 66, "no answer");
        }
    }
    Ok(())
}

#[test]
fn after_each_step_before_the_promotion() -> Result<()> {
    converges_after_each_step("hard-die-a", 102, |step| !step.starts_with("promote"))
}

#[test]
fn after_each_step_of_the_promotion() -> Result<()> {
    converges_after_each_step("hard-die-b", 102, |step| step.starts_with("promote"))
}

#[test]
fn after_a_step_of_a_promotion_elsewhere() -> Result<()> {
    let few = [
        "fence.stop",
        "promote.vip-on",
        "promote.promote",
        "promote.slot",
    ];
    converges_after_each_step("hard-die-c", 101, |step| few.contains(&step))
}

#[test]
fn at_any_moment() -> Result<()> {
    let name = "hard-die-d";
    let undisturbed = converges(name, 102, |node| node.failover(&PRIMARY_DOWN, FAILOVER))?;
    let mut seed = 20_220_830_u64;
    for _ in 0..5 {
        // Knuth's generator: the same moments, as fractions of a run, each time.
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let per_mille = (seed >> 33) % 1000;
        let moment = undisturbed.wall * u32::try_from(per_mille)? / 1000;
        // Its time being over means SIGKILL.
        let moment = moment.max(Duration::from_millis(1));
        converges(name, 102, |node| node.failover(&PRIMARY_DOWN, moment)).case(&moment)?;
    }
    Ok(())
}
