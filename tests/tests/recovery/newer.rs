//! What came with later servers than Debian's: slots that fail over with their primary (17), and slots that
//! a primary gives up because nobody reads them (18).

use anyhow::{Context, Result, ensure};
use lab::layout::{DATABASE, SQL_USER};
use lab::{Lab, LabOptions, Node, wait_for};

use crate::drill::{at_once, killed_with_rows_of_its_own, recovers};
use crate::scene::{RECOVERY, SHORT, recover, wait_until_whole};

fn of_version(name: &str, major: u8, settings: &[(&str, &str)]) -> LabOptions {
    let set = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    LabOptions {
        server: Some(major),
        postgres: settings.iter().map(set).collect(),
        ..at_once(name)
    }
}

/// What a slot hands out next: the number of changes, which it keeps.
fn waiting(node: &Node) -> Result<String> {
    node.psql("select count(*) from pg_logical_slot_peek_changes('cdc', null, null) where data ~ 'INSERT'")
}

/// Reads all that there is.
fn consume(node: &Node) -> Result<()> {
    node.psql("select count(*) from pg_logical_slot_get_changes('cdc', null, null)")
        .map(drop)
}

/// The standby's copy of the slot is as far as the primary's.
fn is_synchronized(standby: &Node, primary: &Node) -> Result<()> {
    let far = "select confirmed_flush_lsn from pg_replication_slots where slot_name = 'cdc'";
    let wanted = primary.psql(far)?;
    let seen = standby.psql(
        "select synced, failover, temporary, confirmed_flush_lsn from pg_replication_slots \
         where slot_name = 'cdc'",
    )?;
    let wanted = format!("t|t|f|{wanted}");
    ensure!(
        seen == wanted,
        "{} has {seen:?}, not {wanted}",
        standby.name()
    );
    Ok(())
}

/// Commits, so that the synchronization has a position to come to.
fn moves_on(standby: &Node, primary: &Node) -> Result<()> {
    primary.psql("select pg_log_standby_snapshot()")?;
    consume(primary)?;
    is_synchronized(standby, primary)
}

#[test]
fn a_slot_that_fails_over_is_the_new_primarys() -> Result<()> {
    let settings = [
        ("wal_level", "logical"),
        ("sync_replication_slots", "on"),
        ("hot_standby_feedback", "on"),
    ];
    Lab::with(of_version("nr-cdc", 17, &settings), |lab| {
        let (one, other) = (lab.node(101), lab.node(102));
        one.psql(
            "select pg_create_logical_replication_slot('cdc', 'test_decoding', false, false, true)",
        )?;
        one.psql("select pg_create_logical_replication_slot('own', 'test_decoding')")?;
        // The lab's standby has settings of before 17.
        let conninfo = other.psql("show primary_conninfo")?;
        ensure!(!conninfo.contains("dbname"), "{conninfo}");
        let with_database = format!("{conninfo} dbname={DATABASE}");
        other.psql(&format!(
            "alter system set primary_conninfo = '{with_database}'"
        ))?;
        other.psql("select pg_reload_conf()")?;
        wait_for("the slot to be synchronized", RECOVERY, || {
            moves_on(other, one)
        })?;

        killed_with_rows_of_its_own(lab, 101)?;
        consume(other)?;
        // Its own one is at its old position, which must not come back. And its settings are made up.
        recovers(lab, one, 102)?;
        let conninfo = one.psql("show primary_conninfo")?;
        ensure!(conninfo.contains(&format!("user={SQL_USER}")), "{conninfo}");
        wait_for("it to be synchronized again", RECOVERY, || {
            moves_on(one, other)
        })?;
        let own = "select failover from pg_replication_slots where slot_name = 'own'";
        ensure!(one.psql(own)? == "f", "the slot of its own is gone");

        // Nothing is handed out twice after the next failover.
        other.psql("insert into probe values ('once')")?;
        consume(other)?;
        wait_for("the last position", RECOVERY, || moves_on(one, other))?;
        killed_with_rows_of_its_own(lab, 102)?;
        let waits = waiting(one)?;
        consume(one)?;
        // What was written since, and nothing before it: see `go_on_with_own_rows`.
        ensure!(waits == "1000", "{waits} changes");
        recovers(lab, other, 101)?;
        wait_for("the other way", RECOVERY, || moves_on(other, one))
    })
}

#[test]
fn a_slot_that_was_given_up_is_made_anew() -> Result<()> {
    let settings = [("idle_replication_slot_timeout", "1s")];
    Lab::with(of_version("nr-idle", 18, &settings), |lab| {
        let (primary, standby) = (lab.node(101), lab.node(102));
        standby.stop_database("fast")?;
        wait_for("the slot to be given up", RECOVERY, || {
            primary.psql("checkpoint")?;
            let seen = primary.psql(
                "select invalidation_reason, restart_lsn is not null from pg_replication_slots \
                 where slot_name = 'slot_node102'",
            )?;
            ensure!(seen.starts_with("idle_timeout|"), "it is {seen:?}");
            Ok(())
        })?;
        primary.psql("alter system set idle_replication_slot_timeout = 0")?;
        primary.psql("select pg_reload_conf()")?;
        wait_for("the standby to stream", RECOVERY, || {
            recover(standby)?;
            lab.streams(102, 101)
        })
        .with_context(|| standby.recovery_log().unwrap_or_default())?;
        wait_for("the pool to have it up", RECOVERY, || {
            recover(standby)?;
            wait_until_whole(lab, 101, SHORT)
        })?;
        let seen = "select active, invalidation_reason is null from pg_replication_slots \
                    where slot_name = 'slot_node102'";
        ensure!(primary.psql(seen)? == "t|t", "{}", primary.psql(seen)?);
        Ok(())
    })
}
