//! The pool names another, and this node is its standby.

use anyhow::{Result, ensure};
use lab::layout::USER;
use lab::{Lab, Node, wait_for};

use super::{
    changes_nothing, commits_wait_for, ends, insert, let_in, lock_out, one_pool, run, runs,
    started, wait_for_row,
};
use crate::scene::{RECOVERY, SHORT, assert_logged, recover, wait_for_status, wait_until_whole};

#[test]
fn standby() -> Result<()> {
    Lab::with(one_pool("tab-standby"), |lab| {
        let (primary, standby) = (lab.node(101), lab.node(102));
        // Also where somebody is logged in as the database's user, which nobody can see into.
        let login = format!("{USER}@{}", standby.address());
        let ssh = ["ssh", "-oStrictHostKeyChecking=no", &login, "sleep", "60"];
        let _session = primary.spawn(USER, &ssh, RECOVERY)?;
        wait_for("the login", SHORT, || {
            let sleeps = standby.pids_of("sleep");
            ensure!(!sleeps.is_empty(), "nobody is there");
            Ok(())
        })?;
        changes_nothing(lab, standby, 0, "all is well")?;
        changes_nothing(lab, primary, 0, "this node is the primary")?;

        // Down only in the pool's eyes, which has made the primary asynchronous.
        let since = started(standby)?;
        detached(lab, standby)?;
        ends(standby, &[], 0, "the pool has it down")?;
        wait_until_whole(lab, 101, SHORT)?;
        ensure!(started(standby)? == since, "it was restarted");

        far_behind(lab, primary, standby)?;
        lost_its_connection(lab, primary, standby)?;
        under_another_name(lab, primary, standby)?;
        follows_another(lab, standby)?;
        no_primary_answers(lab, primary, standby)?;
        was_killed(lab, primary, standby)?;

        // The VIP of a standby, which answers for it beside the primary.
        standby.add_vip()?;
        ends(standby, &[], 0, "all is well")?;
        lab.is_whole(101)?;
        lab.wait_until_nothing_is_left(SHORT)
    })
}

fn detached(lab: &Lab, node: &Node) -> Result<()> {
    lab.pcp_detach(node.id())?;
    wait_for_status(lab, node, "down")?;
    // That is shown before the pool's command has done its work.
    wait_for("the primary to wait for nobody", SHORT, || {
        let names = commits_wait_for(lab.node(101))?;
        ensure!(names.is_empty(), "it waits for '{names}'");
        Ok(())
    })
}

fn far_behind(lab: &Lab, primary: &Node, standby: &Node) -> Result<()> {
    standby.set_config(&[("DATA_SIZE_DIFF", "1")])?;
    detached(lab, standby)?;
    // Stopped in the middle of what it has to receive.
    let receiver = |signal: &str| -> Result<()> {
        let kill = ["pkill", signal, "-f", "walreceiver"];
        standby.run(&kill, SHORT)?.success().map(drop)
    };
    receiver("-STOP")?;
    primary.psql(
        "set synchronous_commit = local; create table big as \
         select repeat(md5(n::text), 30) from generate_series(1, 4000) n",
    )?;
    changes_nothing(lab, standby, 0, "MB behind")?;
    wait_for_status(lab, standby, "down")?;
    receiver("-CONT")?;
    wait_for("the standby to be attached", RECOVERY, || {
        recover(standby)?;
        lab.is_whole(101)
    })
}

/// For a while only: it is left alone, and streams again. Until then commits do not wait.
fn lost_its_connection(lab: &Lab, primary: &Node, standby: &Node) -> Result<()> {
    let synchronous = commits_wait_for(primary)?;
    let file = lock_out(primary, standby, &["replication"])?;
    changes_nothing(lab, standby, 0, "replays or connects again; it is at 0/")?;
    ends(primary, &[], 0, "sync to async")?;
    ensure!(commits_wait_for(primary)?.is_empty(), "still synchronous");
    primary.psql("insert into rows values (10)")?;
    changes_nothing(lab, primary, 0, "this node is the primary")?;

    let since = started(standby)?;
    let_in(primary, &file)?;
    wait_for_row(lab, standby, 10)?;
    ends(primary, &[], 0, "node102 has caught up, async to sync")?;
    wait_until_whole(lab, 101, SHORT)?;
    ensure!(
        commits_wait_for(primary)?.contains("node102"),
        "{synchronous}"
    );
    ensure!(started(standby)? == since, "it was restarted");

    // A standby sees to it as well as the primary does.
    primary.psql("alter system set synchronous_standby_names = ''")?;
    primary.psql("select pg_reload_conf()")?;
    ends(standby, &[], 0, "the primary's commits may wait for it")?;
    wait_until_whole(lab, 101, SHORT)
}

/// Commits that waited for the names of the nodes would wait for ever.
fn under_another_name(lab: &Lab, primary: &Node, standby: &Node) -> Result<()> {
    let streams_as = |settings: &str, name: &str| -> Result<()> {
        standby.psql(&format!(
            "alter system set primary_conninfo = '{}'",
            settings.replace('\'', "''")
        ))?;
        standby.psql("select pg_reload_conf()")?;
        wait_for("the standby to stream anew", SHORT, || {
            let names = "select application_name from pg_stat_replication \
                         where state = 'streaming' and write_lsn is not null";
            let seen = primary.psql(names)?;
            ensure!(seen == name, "{seen}");
            Ok(())
        })
    };
    let settings = standby.psql("show primary_conninfo")?;
    let other = settings.replace("application_name=node102", "application_name=db2");
    ensure!(other != settings, "{settings}");
    streams_as(&other, "db2")?;
    detached(lab, standby)?;
    ends(standby, &[], 0, "the pool has it down")?;
    let why = "no standby streams under a name of ALL_NODE_NAME (node101, node102)";
    assert_logged(&standby.recovery_log()?, why);
    wait_for_status(lab, standby, "up")?;
    ensure!(commits_wait_for(primary)?.is_empty(), "synchronous");
    primary.psql("insert into rows values (19)")?;

    streams_as(&settings, "node102")?;
    ends(standby, &[], 0, "the primary's commits may wait for it")?;
    wait_until_whole(lab, 101, SHORT)
}

/// Its settings name a host that is none of the cluster.
fn follows_another(lab: &Lab, standby: &Node) -> Result<()> {
    let settings = standby.psql("show primary_conninfo")?;
    let wrong = settings.replace("192.168.1.101", "192.168.1.1");
    ensure!(wrong != settings, "{settings}");
    standby.psql(&format!("alter system set primary_conninfo = '{wrong}'"))?;
    standby.psql("select pg_reload_conf()")?;
    let since = started(standby)?;
    wait_for("it to have lost the primary", SHORT, || {
        ensure!(lab.streams(102, 101).is_err(), "it streams");
        Ok(())
    })?;
    ends(standby, &[], 0, "this standby follows 192.168.1.1")?;
    wait_until_whole(lab, 101, SHORT)?;
    // Only the host was changed, and this server takes that without a restart.
    ensure!(
        standby.psql("show primary_conninfo")? == settings,
        "{settings}"
    );
    ensure!(started(standby)? == since, "it was restarted");
    Ok(())
}

/// The primary that the pool names lets the standby in for nothing: it may be the one that has to
/// be promoted next, whoever it follows.
fn no_primary_answers(lab: &Lab, primary: &Node, standby: &Node) -> Result<()> {
    let file = lock_out(primary, standby, &["all", "replication"])?;
    changes_nothing(lab, standby, 66, "this standby is left running")?;
    detached(lab, standby)?;
    changes_nothing(lab, standby, 66, "this standby is left running")?;
    let_in(primary, &file)?;
    insert(primary, 11)?;
    wait_for_row(lab, standby, 11)?;
    recover(standby)?;
    wait_until_whole(lab, 101, SHORT)
}

/// Crash recovery without its settings, or a rewind, would fork it: it is simply started.
fn was_killed(lab: &Lab, primary: &Node, standby: &Node) -> Result<()> {
    for row in [20, 21] {
        standby.kill_database()?;
        insert(primary, row)?;
        let before = standby.recovery_log()?.len();
        ends(standby, &[], 0, "was a standby: it is started")?;
        ensure!(runs(standby) && standby.in_recovery()?, "it is no standby");
        wait_for_row(lab, standby, row)?;
        let log = standby.recovery_log()?.split_off(before);
        ensure!(!log.contains("pg_rewind"), "{log}");
        // Where the pool had noticed before it was started.
        wait_for("the cluster to be whole", RECOVERY, || {
            run(standby, &[])?;
            lab.is_whole(101)
        })?;
    }
    let timeline = "select timeline_id from pg_control_checkpoint()";
    ensure!(standby.psql(timeline)? == primary.psql(timeline)?, "forked");
    Ok(())
}
