//! Settings of the server, of the database and of the role that our sessions must not take over.

use anyhow::{Result, ensure};
use lab::layout::{DATABASE, DB_BIN, SQL_USER, USER};
use lab::{Lab, Node, wait_for};

use crate::scene::{
    Case, FAILOVER, PRIMARY_DOWN, SOON, assert_only_primary, log_line, state, two_hosts,
};

/// Settings for everybody, on every host.
fn of_the_servers(lab: &Lab, settings: &[(&str, &str)]) -> Result<()> {
    for node in lab.nodes() {
        for (name, value) in settings {
            node.psql(&format!("alter system set {name} = {value}"))?;
        }
        node.psql("select pg_reload_conf()")?;
    }
    Ok(())
}

/// Statements on the primary, and the standby has them.
fn on_the_primary(lab: &Lab, statements: &[String]) -> Result<()> {
    let (primary, standby) = (lab.node(101), lab.node(102));
    for statement in statements {
        primary.psql(statement)?;
    }
    let end = primary.psql("select pg_current_wal_lsn()")?;
    wait_for("the standby to have it", SOON, || {
        let replayed = standby.psql(&format!("select pg_last_wal_replay_lsn() >= '{end}'"))?;
        ensure!(replayed == "t", "not yet");
        Ok(())
    })
}

/// The standby's own look at itself, as recovery has it each minute.
fn sees(node: &Node, in_recovery: bool) -> Result<()> {
    let tool = format!("{DB_BIN}/failover_stream");
    let ask = [tool.as_str(), "--step", "status", "--deadline", "5000"];
    let said = node.run_as(USER, &ask, FAILOVER)?.success()?;
    for part in [
        format!("\"in_recovery\":{in_recovery}"),
        "\"trouble\":null".to_owned(),
    ] {
        ensure!(said.contains(&part), "no {part} in {said}");
    }
    Ok(())
}

/// Settings of the servers.
type Settings = &'static [(&'static str, &'static str)];

/// What is odd, with the settings of the servers, and statements on the primary, that make it so.
fn odd_settings() -> [(&'static str, Settings, Vec<String>); 7] {
    let role = |setting: &str| format!("alter role \"{SQL_USER}\" set {setting}");
    let database = |setting: &str| format!("alter database \"{DATABASE}\" set {setting}");
    let shadow = |function: &str, answer: &str| {
        format!(
            "create function mine.{function}() returns boolean language sql as 'select {answer}'"
        )
    };
    [
        (
            "isolation of the servers",
            &[("default_transaction_isolation", "serializable")],
            vec![],
        ),
        (
            "isolation of the role",
            &[],
            vec![role("default_transaction_isolation = 'serializable'")],
        ),
        (
            "read only, deferrable",
            &[
                ("default_transaction_read_only", "on"),
                ("default_transaction_deferrable", "on"),
            ],
            vec![database(
                "default_transaction_isolation = 'repeatable read'",
            )],
        ),
        (
            "functions of a user's own",
            &[],
            vec![
                "create schema mine".into(),
                shadow("pg_is_in_recovery", "false"),
                shadow("pg_is_wal_replay_paused", "1/0 = 1"),
                role("search_path = mine, pg_catalog"),
            ],
        ),
        (
            "another role",
            &[],
            vec!["create role weak".into(), role("role = 'weak'")],
        ),
        (
            "limits",
            &[
                ("idle_session_timeout", "'150ms'"),
                ("lock_timeout", "'1ms'"),
            ],
            vec![
                database("statement_timeout = '1ms'"),
                role("idle_in_transaction_session_timeout = '1ms'"),
            ],
        ),
        (
            "words and forms",
            &[
                ("lc_messages", "'C.UTF-8'"),
                ("client_min_messages", "'debug5'"),
            ],
            vec![
                role("DateStyle = 'German'"),
                role("IntervalStyle = 'iso_8601'"),
                role("client_encoding = 'LATIN1'"),
            ],
        ),
    ]
}

#[test]
fn none_of_them_stops_a_failover() -> Result<()> {
    for (case, servers, statements) in odd_settings() {
        let lab = two_hosts("hard-settings")?;
        let node = lab.node(102);
        on_the_primary(&lab, &statements).case(&case)?;
        of_the_servers(&lab, servers).case(&case)?;
        sees(lab.node(101), false).case(&case)?;
        sees(node, true).case(&case)?;
        lab.node(101).kill_database()?;
        let run = node.failover(&PRIMARY_DOWN, FAILOVER)?;
        ensure!(
            run.code == Some(0),
            "{case}: {run}\n{}",
            node.failover_log()?
        );
        assert_only_primary(&lab, 102)?;
        sees(node, false).case(&case)?;
        log_line(node, "after execute checkpoint, postgres is ok.").case(&case)?;
        let warned = log_line(node, "warning: ");
        ensure!(warned.is_err(), "{case}: {warned:?} {:?}", state(&lab));
    }
    Ok(())
}
