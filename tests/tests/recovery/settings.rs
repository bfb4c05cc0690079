//! Settings of the servers under which a standby answers nobody who brings none of his own.

use anyhow::{Result, ensure};
use lab::layout::SQL_USER;
use lab::{Lab, Node, wait_for};

use crate::drill::{assert_says, at_once, killed_with_rows_of_its_own, recovers};
use crate::scene::{RECOVERY, SHORT, power_cycle, recover, two_hosts, wait_until_whole};

/// The pool's own sessions bring no isolation of their own: that it takes the new primary all the same
/// is part of what is seen here.
#[test]
fn serializable_by_default() -> Result<()> {
    Lab::with(two_hosts("con-serializable"), |lab| {
        for node in lab.nodes() {
            node.psql("alter system set default_transaction_isolation = 'serializable'")?;
            node.psql("select pg_reload_conf()")?;
        }
        let standby = lab.node(102);
        recover(standby)?;
        let log = standby.recovery_log()?;
        ensure!(!log.contains("serializable"), "{log}");
        lab.is_whole(101)?;

        let new = power_cycle(lab, 101)?;
        recover(lab.node(101))?;
        wait_until_whole(lab, new, SHORT)?;
        lab.wait_until_nothing_is_left(SHORT)?;
        streams_under_another_name(lab, new)
    })
}

/// Commits would wait for a name under which nobody streams.
fn streams_under_another_name(lab: &Lab, primary: u8) -> Result<()> {
    let standby = lab.node(101);
    let rename = |from: &str, to: &str| -> Result<()> {
        let conninfo = standby.psql("show primary_conninfo")?.replace('\'', "''");
        let conninfo = conninfo.replace(
            &format!("application_name={from}"),
            &format!("application_name={to}"),
        );
        standby.psql(&format!("alter system set primary_conninfo = '{conninfo}'"))?;
        standby.psql("select pg_reload_conf()").map(drop)
    };
    rename("node101", "15/main")?;
    lab.node(primary)
        .psql("alter system set synchronous_standby_names = ''")?;
    lab.node(primary).psql("select pg_reload_conf()")?;
    wait_for("it to stream under that name", SHORT, || {
        let seen = "select count(*) from pg_stat_replication where application_name = '15/main'";
        ensure!(lab.node(primary).psql(seen)? == "1", "it does not");
        Ok(())
    })?;
    let run = standby.recover(&[], RECOVERY)?;
    assert_says(&run, 1, &["as \"15/main\"", "Set application_name=node101"]);
    rename("15/main", "node101")?;
    wait_for("commits to wait again", SHORT, || {
        recover(standby)?;
        lab.is_whole(primary)
    })
}

/// So that a standby finds the primary by itself, whoever that is: the list is put into order, and not cut.
#[test]
fn a_list_of_hosts_stays_one() -> Result<()> {
    Lab::with(at_once("brk-list"), |lab| {
        for node in lab.nodes() {
            // The passwords lie in a file of the user's.
            node.psql(&format!(
                "alter system set primary_conninfo = 'host=192.168.1.101,192.168.1.102 port=54321 \
                 user={SQL_USER} passfile=/home/kingbase/.pgpass application_name={} \
                 target_session_attrs=read-write connect_timeout=3'",
                node.name()
            ))?;
            node.psql("select pg_reload_conf()")?;
        }
        wait_for("it to stream again", SHORT, || lab.is_whole(101))?;
        killed_with_rows_of_its_own(lab, 101)?;
        recovers(lab, lab.node(101), 102)?;
        has_list(lab.node(101), "192.168.1.102,192.168.1.101")?;
        killed_with_rows_of_its_own(lab, 102)?;
        recovers(lab, lab.node(102), 101)?;
        has_list(lab.node(102), "192.168.1.101,192.168.1.102")
    })
}

fn has_list(node: &Node, hosts: &str) -> Result<()> {
    let conninfo = node.psql("show primary_conninfo")?;
    let wanted = format!("host={hosts} port=54321 ");
    ensure!(conninfo.starts_with(&wanted), "{conninfo}");
    ensure!(conninfo.contains("=read-write"), "{conninfo}");
    Ok(())
}

/// What commits waited for on the old primary they wait for on the new one, not for `1 (...)`; and so it is
/// after the next failover.
#[test]
fn commits_wait_for_whom_they_waited_before() -> Result<()> {
    Lab::with(at_once("brk-first"), |lab| {
        let first = "FIRST 1 (node101, node102, node109)";
        let shown = |number: u8, wanted: &str| -> Result<()> {
            let seen = lab.node(number).psql("show synchronous_standby_names")?;
            ensure!(seen == wanted, "it is {seen}, not {wanted}");
            Ok(())
        };
        let own = |number: u8, names: &str| -> Result<()> {
            let node = lab.node(number);
            node.psql(&format!(
                "alter system set synchronous_standby_names = '{names}'"
            ))?;
            node.psql("select pg_reload_conf()")?;
            // The server reads it a moment later, and a run before that sees the old one.
            wait_for("the server to have it", SHORT, || shown(number, names))
        };
        own(101, first)?;
        own(102, first)?;
        killed_with_rows_of_its_own(lab, 101)?;
        recovers(lab, lab.node(101), 102)?;
        shown(102, first)?;

        // Of the new one, which has settings of its own from before.
        own(102, "*")?;
        recover(lab.node(102))?;
        killed_with_rows_of_its_own(lab, 102)?;
        recovers(lab, lab.node(102), 101)?;
        shown(101, "*")
    })
}
