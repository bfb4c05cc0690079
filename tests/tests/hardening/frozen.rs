//! Frozen databases answer the TCP stack and nothing else; and what a run takes and leaves.

use std::time::Duration;

use anyhow::Result;
use lab::{Lab, Node, ToolRun};

use crate::scene::{
    Case, FAILOVER, PRIMARY_DOWN, PROBES, SOON, assert_only_primary, assert_says, log_line,
    three_hosts, two_hosts,
};

#[test]
fn a_frozen_old_primary_is_fenced() -> Result<()> {
    let lab = two_hosts("hard-frozen-old")?;
    let prober = lab.start_prober();
    let client = lab.start_client()?;
    client.wait_for_acks(10, SOON)?;
    lab.node(101).freeze_database();
    let run = lab.node(102).failover(&PRIMARY_DOWN, FAILOVER)?;
    assert!(run.wall < Duration::from_secs(8), "{run}");
    run.success()?;
    // Nothing is left that could be thawed and write.
    assert!(lab.node(101).pids_of_database().is_empty());
    assert_only_primary(&lab, 102)?;
    client.wait_for_acks(10, SOON)?;
    assert_eq!(
        client.stop().lost(&lab.rows_present(lab.node(102))?),
        Vec::<u64>::new()
    );
    assert_eq!(prober.two_writers(), None);
    Ok(())
}

#[test]
fn a_frozen_candidate_does_not_hang_it() -> Result<()> {
    for coordinator in [102, 101] {
        let lab = two_hosts("hard-frozen-new")?;
        let new = lab.node(102);
        let prober = lab.start_prober();
        new.freeze_database();
        let run = lab
            .node(coordinator)
            .failover(&PRIMARY_DOWN, 2 * FAILOVER)?;
        assert_says(&run, 66, "is stopped (SIGSTOP): have it go on (kill -CONT");
        assert!(run.wall < FAILOVER, "{run}");
        assert!(!lab.node(101).in_recovery()?, "the old primary was touched");
        assert!(!new.has_vip()?);
        lab.left_nothing(lab.node(coordinator))?;
        new.thaw_database();
        assert!(new.in_recovery()?);
        assert_eq!(prober.two_writers(), None);
        // The refusal comes before the network has said who has the VIP.
        lab.wait_until_nothing_runs(2 * PROBES)?;
    }
    Ok(())
}

#[test]
fn of_two_standbys_the_one_that_is_not_frozen_is_promoted() -> Result<()> {
    let lab = three_hosts("hard-frozen-of-two", false)?;
    let prober = lab.start_prober();
    lab.node(102).freeze_database();
    let run = lab.node(102).failover(&PRIMARY_DOWN, FAILOVER)?;
    assert!(run.wall < Duration::from_secs(8), "{run}");
    run.success()?;
    log_line(lab.node(102), "standby 192.168.1.102 is no candidate")?;
    lab.node(102).thaw_database();
    assert_only_primary(&lab, 103)?;
    assert_eq!(prober.two_writers(), None);
    Ok(())
}

/// 16 MB, in the unit of getrusage.
const MEMORY_KB: i64 = 16 * 1024;

#[test]
fn little_memory_and_nothing_left_running() -> Result<()> {
    type Scene = fn(&Lab) -> Result<ToolRun>;
    fn fail_over(node: &Node) -> Result<ToolRun> {
        node.failover(&PRIMARY_DOWN, FAILOVER)
    }
    let scenes: [(&str, Scene); 4] = [
        ("dead host", |lab| {
            lab.node(101).power_off()?;
            fail_over(lab.node(102))
        }),
        ("fence elsewhere", |lab| fail_over(lab.node(102))),
        ("promotion elsewhere", |lab| fail_over(lab.node(101))),
        ("a step for another host", |lab| {
            lab.node(102)
                .failover(&["--step", "promote", "--deadline", "5000"], FAILOVER)
        }),
    ];
    for (scene, play) in scenes {
        let lab = two_hosts("hard-memory")?;
        let run = play(&lab).case(&scene)?;
        assert_eq!(run.code, Some(0), "{run}");
        eprintln!(
            "{scene}: {} KB in {:?}, {:?} of CPU",
            run.max_rss_kb, run.wall, run.cpu
        );
        assert!(
            run.max_rss_kb <= MEMORY_KB,
            "{scene}: {} KB",
            run.max_rss_kb
        );
        lab.wait_until_nothing_runs(PROBES).case(&scene)?;
    }
    Ok(())
}
