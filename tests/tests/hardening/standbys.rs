//! Who of several standbys is promoted.

use anyhow::{Result, ensure};
use lab::layout::{DATA, DB_BIN};
use lab::{Lab, wait_for};

use crate::scene::{
    Case, FAILOVER, PRIMARY_DOWN, SOON, assert_only_primary, assert_says, log_line, state,
    three_hosts,
};

#[test]
fn the_furthest_is_promoted_though_the_pool_names_the_lowest() -> Result<()> {
    let lab = three_hosts("hard-furthest", false)?;
    let (old, lowest, other) = (lab.node(101), lab.node(102), lab.node(103));
    let prober = lab.start_prober();
    old.block_to(lowest)?;
    old.psql("insert into rows select generate_series(1, 10000)")?;
    let written = old.psql("select pg_current_wal_flush_lsn()")?;
    wait_for("node103 to have it all", SOON, || {
        let question = format!("select pg_last_wal_replay_lsn() >= '{written}'");
        ensure!(other.psql(&question)? == "t", "not yet");
        Ok(())
    })?;
    old.power_off()?;

    lowest.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    log_line(lowest, "192.168.1.103 becomes the new primary")?;
    assert_only_primary(&lab, 103)?;
    assert_eq!(lab.rows_present(other)?.len(), 10_000);
    // And the other follows it at once.
    wait_for("node102 to have them, too", SOON, || {
        ensure!(lab.rows_present(lowest)?.len() == 10_000, "not yet");
        lab.streams(102, 103)
    })?;
    assert_eq!(prober.two_writers(), None);
    Ok(())
}

/// What the pool calls the tool with when node103 alone is left.
const LAST_IS_LEFT: [&str; 8] = [
    "192.168.1.103",
    "0",
    "0",
    "192.168.1.101",
    "192.168.1.101",
    "2",
    "0",
    DATA,
];

/// The smaller side of a cut promotes nobody: the other may go on. It reaches the gateway.
#[test]
fn the_smaller_side_of_a_cut_promotes_nobody() -> Result<()> {
    let lab = three_hosts("hard-quorum", true)?;
    let (old, other, cut) = (lab.node(101), lab.node(102), lab.node(103));
    for node in [old, other] {
        cut.block_to(node)?;
        node.block_to(cut)?;
    }
    let run = cut.failover(&LAST_IS_LEFT, FAILOVER)?;
    assert_says(&run, 66, "of 3 hosts only 1 are seen");
    lab.left_nothing(cut)?;
    assert!(cut.in_recovery()?, "it was promoted");
    assert!(!cut.has_vip()?, "it has the VIP");
    // Nor is anything said to a primary whose standby seems to be gone.
    let standby_down = [
        "192.168.1.103",
        "0",
        "1",
        "192.168.1.102",
        "192.168.1.101",
        "2",
        "0",
        DATA,
    ];
    assert_says(
        &cut.failover(&standby_down, FAILOVER)?,
        66,
        "of 3 hosts only 1 are seen",
    );
    // The larger side has a primary that takes writes.
    old.query("insert into probe values ('larger')", SOON)?;
    Ok(())
}

#[test]
fn a_synchronous_standby_that_is_not_heard_is_named() -> Result<()> {
    let lab = three_hosts("hard-unheard", true)?;
    let last = lab.node(103);
    lab.node(101).power_off()?;
    lab.node(102).power_off()?;
    let state_before = state(&lab);
    let run = last.failover(&LAST_IS_LEFT, FAILOVER)?;
    assert_says(&run, 66, "of 3 hosts only 1 are seen");
    assert_eq!(state(&lab), state_before);
    lab.left_nothing(last)?;
    // What the line says to do.
    last.set_config(&[("FAILOVER_QUORUM", "none")])?;
    let run = last.failover(&LAST_IS_LEFT, FAILOVER)?;
    run.success()?;
    log_line(
        last,
        "warning: 192.168.1.102 was not heard, and may be the one that has the last",
    )?;
    assert_only_primary(&lab, 103)?;
    Ok(())
}

/// Left there by a run that was killed: that run had chosen it.
#[test]
fn of_equals_the_one_with_the_vip_is_promoted() -> Result<()> {
    let lab = three_hosts("hard-vip-holder", false)?;
    lab.node(101).power_off()?;
    lab.node(103).add_vip()?;
    lab.node(102).failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    assert_only_primary(&lab, 103)?;
    Ok(())
}

#[test]
fn a_standby_with_the_vip_that_is_not_chosen_gives_it_up() -> Result<()> {
    let lab = three_hosts("hard-duplicate", false)?;
    let new = lab.node(102);
    new.set_config(&[("FAILOVER_CANDIDATE", "given")])?;
    lab.node(101).power_off()?;
    lab.node(103).add_vip()?;
    new.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
    assert_only_primary(&lab, 102)?;
    log_line(new, "del VIP on 192.168.1.103")?;
    Ok(())
}

/// node103 is the synchronous standby, and has rows that node102, whom the pool would take, lacks.
fn furthest_is_the_synchronous_one(lab: &Lab) -> Result<()> {
    let (old, lagging) = (lab.node(101), lab.node(102));
    old.block_to(lagging)?;
    old.psql("alter system set synchronous_standby_names = '1 (node103, node102)'")?;
    old.psql("select pg_reload_conf()")?;
    wait_for("node103 to be the one that commits wait for", SOON, || {
        let sync = "select application_name from pg_stat_replication where sync_state = 'sync'";
        let sync = old.psql(sync)?;
        ensure!(sync == "node103", "{sync}");
        Ok(())
    })?;
    old.psql("insert into rows select generate_series(1, 1000)")?;
    Ok(())
}

/// What the shell of a host says before it runs anything.
const GREETINGS: [&str; 5] = [
    "printf 'Welcome to $(hostname)! '",
    r"printf '\033]0;kingbase@node103: ~\007'",
    r#"printf '{"user": "kingbase"} {'"#,
    r"printf 'one line\r\nand one without an end{'",
    r#"printf 'hello '; trap 'printf "and bye"' EXIT"#,
];

#[test]
fn a_greeting_does_not_hide_the_furthest_standby() -> Result<()> {
    for greeting in GREETINGS {
        let lab = three_hosts("hard-greeting", true)?;
        let (old, other) = (lab.node(101), lab.node(103));
        for file in ["/root/.bashrc", "/home/kingbase/.bashrc"] {
            other.write(file, &format!("{greeting}\n"), 0o644, 0)?;
        }
        furthest_is_the_synchronous_one(&lab)?;
        old.power_off()?;

        let run = lab.node(102).failover(&PRIMARY_DOWN, FAILOVER)?;
        run.success().case(&greeting)?;
        log_line(lab.node(102), "192.168.1.103 becomes the new primary").case(&greeting)?;
        assert_only_primary(&lab, 103)?;
        assert_eq!(lab.rows_present(other)?.len(), 1000, "{greeting}");
    }
    Ok(())
}

/// Its answer is none: whoever has its rows is not known, and the living primary is left as it is.
#[test]
fn nobody_is_promoted_past_a_host_that_was_not_understood() -> Result<()> {
    let tool = format!("{DB_BIN}/failover_stream");
    for (what, script, why) in [
        ("no tool", None, "cannot be run there"),
        (
            "another version",
            Some("#!/bin/sh\necho '{\"answer\":{\"new\":1}}'\n"),
            "was not understood",
        ),
        (
            "it says nothing",
            Some("#!/bin/sh\nexit 3\n"),
            "ended there with code 3",
        ),
    ] {
        let lab = three_hosts("hard-unheeded", true)?;
        let (old, lagging, other) = (lab.node(101), lab.node(102), lab.node(103));
        furthest_is_the_synchronous_one(&lab)?;
        let aside = format!("{tool}.aside");
        other.run(&["mv", &tool, &aside], SOON)?.success()?;
        if let Some(script) = script {
            other.write(&tool, script, 0o755, 0)?;
        }
        let before = state(&lab);
        let run = lagging.failover(&PRIMARY_DOWN, FAILOVER)?;
        assert_says(&run, 66, why);
        assert!(
            run.stderr.contains("The old primary is left as it is"),
            "{run}"
        );
        assert!(run.stderr.contains("FAILOVER_CANDIDATE=given"), "{run}");
        assert_eq!(state(&lab), before, "{what}");
        lab.left_nothing(lagging).case(&what)?;
        old.psql("insert into probe values ('still primary')")
            .case(&what)?;

        // Dead, it is no other: 1000 acknowledged rows would be lost.
        old.power_off()?;
        assert_says(&lagging.failover(&PRIMARY_DOWN, FAILOVER)?, 66, why);
        assert!(lagging.in_recovery()?, "{what}");
        lab.left_nothing(lagging).case(&what)?;

        // As the line says.
        other.run(&["mv", &aside, &tool], SOON)?.success()?;
        lagging.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
        assert_only_primary(&lab, 103)?;
        assert_eq!(lab.rows_present(other)?.len(), 1000, "{what}");
    }
    Ok(())
}

/// Its database is down, so that no commit of the last minutes waited for it; or a person gives up
/// what only it has.
#[test]
fn a_host_that_was_not_understood_is_passed_over_where_that_loses_nothing() -> Result<()> {
    for down in [true, false] {
        let lab = three_hosts("hard-passed-over", true)?;
        let (new, other) = (lab.node(102), lab.node(103));
        let tool = format!("{DB_BIN}/failover_stream");
        other.run(&["rm", &tool], SOON)?.success()?;
        match down {
            true => other.kill_database()?,
            false => new.set_config(&[("FAILOVER_CANDIDATE", "given")])?,
        }
        lab.node(101).power_off()?;
        new.failover(&PRIMARY_DOWN, FAILOVER)?.success()?;
        assert_only_primary(&lab, 102)?;
    }
    Ok(())
}
