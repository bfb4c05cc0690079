//! What is the node's own, on the stand-in: the settings of a standby, its slots, its way to the pool.

use std::fs;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lab::layout::{DATA, DB_BIN, DB_ETC, R3HA, SQL_PASSWORD, USER};
use lab::{Lab, LabOptions, wait_for};

use super::{SHORT, assert_kept, consent, v8r3};
use crate::drill::{killed_with_rows_of_its_own, recovers, same_end};
use crate::scene::{RECOVERY, assert_logged};

/// A password that reads like a conninfo.
const PASSWORD: &str = "192.168.1.103 host=192.168.1.103";

#[test]
fn only_the_host_changes() -> Result<()> {
    Lab::with(v8r3("v8r3-conninfo").failing_over_at_once(), |lab| {
        let spy = lab::Spy::start();
        let old = lab.node(101);
        old.psql(&format!(
            "create role \"192.168.1.103\" replication login password '{PASSWORD}'"
        ))?;
        let password = BASE64.encode(PASSWORD);
        let template = format!(
            "# of 192.168.1.103\n\
             standby_mode='on'\n\
             primary_conninfo = 'user=192.168.1.103 password={password} host = 192.168.1.103 \
             port=54321 application_name=node1 fallback_application_name=192.168.1.103' # host=192.168.1.103\n\
             recovery_target_timeline = 'latest'\n\
             primary_slot_name = 'slot_node1'\n\
             #trigger_file = '/tmp/192.168.1.103'\n"
        );
        old.write(&format!("{DB_ETC}/recovery.done"), &template, 0o600, 2001)?;
        killed_with_rows_of_its_own(lab, 101)?;
        consent(old)?;
        recovers(lab, old, 102)?;
        assert_logged(
            &old.recovery_log()?,
            "change recovery.conf ip -> primary.ip",
        );
        let wanted = template.replace("host = 192.168.1.103", "host = 192.168.1.102");
        assert_eq!(old.read(&format!("{DATA}/recovery.conf"))?, wanted);
        // The template is the operator's.
        assert_eq!(old.read(&format!("{DB_ETC}/recovery.done"))?, template);
        assert_kept(lab, spy)
    })
}

/// A node that was never a standby, and has no template: its settings are made from `KB_PASS`.
#[test]
fn settings_of_the_tools_own_login() -> Result<()> {
    let options = LabOptions {
        config: vec![("AUTO_PRIMARY_RECOVERY".into(), "1".into())],
        ..v8r3("v8r3-made-up").failing_over_at_once()
    };
    Lab::with(options, |lab| {
        let spy = lab::Spy::start();
        let old = lab.node(101);
        killed_with_rows_of_its_own(lab, 101)?;
        fs::remove_file(old.path(&format!("{DB_ETC}/recovery.done"))?)?;
        recovers(lab, old, 102)?;
        let conf = old.read(&format!("{DATA}/recovery.conf"))?;
        let password = format!("password={} ", BASE64.encode(SQL_PASSWORD));
        ensure!(conf.contains(&password), "{conf}");
        assert_kept(lab, spy)
    })
}

/// A file that the server keeps beside its own: it does not start where the two differ.
#[test]
fn the_second_control_file_is_that_of_the_rewind() -> Result<()> {
    Lab::with(v8r3("v8r3-control").failing_over_at_once(), |lab| {
        let old = lab.node(101);
        let control = || {
            let read = |file: &str| anyhow::Ok(fs::read(old.path(&format!("{R3HA}/{file}"))?)?);
            let own = read("db/data/global/sys_control")?;
            ensure!(own == read("control/sys_control_copy")?, "they differ");
            Ok(())
        };
        control()?;
        killed_with_rows_of_its_own(lab, 101)?;
        control()?;
        consent(old)?;
        // The rewind itself writes the one only.
        let died = old.recover(&["--die-after", "recover.rewind"], RECOVERY)?;
        ensure!(died.signal == Some(9), "{died}");
        ensure!(control().is_err(), "the stand-in's rewind keeps both");
        let run = old.run_as(USER, &[&format!("{DB_BIN}/kingbase"), "-D", DATA], SHORT)?;
        ensure!(run.stderr.contains("differs from"), "{run}");
        recovers(lab, old, 102)?;
        assert_logged(&old.recovery_log()?, "it is a copy of the control file");
        control()
    })
}

/// A server that is killed between the two writes.
#[test]
fn control_files_that_differ_since_a_kill_keep_no_server_down() -> Result<()> {
    Lab::with(v8r3("v8r3-copies"), |lab| {
        let node = lab.node(102);
        let path = |file: &str| node.path(&format!("{R3HA}/{file}"));
        let (own, copy) = (
            path("db/data/global/sys_control")?,
            path("control/sys_control_copy")?,
        );
        let spoil = |file: &std::path::Path| -> Result<Vec<u8>> {
            let mut bytes = fs::read(file)?;
            let before = bytes.clone();
            bytes[40] ^= 1;
            // In place: its owner and mode stay.
            fs::write(file, bytes)?;
            Ok(before)
        };
        node.kill_database()?;

        // Where its own is the damaged one nobody takes the other from a person.
        let whole = spoil(&own)?;
        let kept = fs::read(&copy)?;
        let run = node.recover(&[], RECOVERY)?;
        ensure!(run.code != Some(0) && fs::read(&copy)? == kept, "{run}");
        fs::write(&own, whole)?;

        spoil(&copy)?;
        let run = node.run_as(USER, &[&format!("{DB_BIN}/kingbase"), "-D", DATA], SHORT)?;
        ensure!(run.stderr.contains("differs from"), "{run}");
        recovers(lab, node, 101)?;
        ensure!(fs::read(&own)? == fs::read(&copy)?, "they differ");
        Ok(())
    })
}

#[test]
fn the_slot_that_the_settings_name_is_made_on_the_new_primary() -> Result<()> {
    Lab::with(v8r3("v8r3-slot-name").failing_over_at_once(), |lab| {
        let old = lab.node(101);
        let done = format!("{DB_ETC}/recovery.done");
        let text = old.read(&done)?.replace("'slot_node1'", "'mine'");
        // As an editor of Windows leaves it, and in the words that the server also takes.
        let text = text
            .replace("standby_mode='on'", "Standby_Mode true")
            .replace("host=", "hostaddr = 192.168.1.102 host=")
            .replace('\n', "\r\n");
        old.write(&done, &text, 0o600, 2001)?;
        killed_with_rows_of_its_own(lab, 101)?;
        consent(old)?;
        recovers(lab, old, 102)?;
        // That of the failover, which nobody reads, keeps no WAL any more.
        let slots = "select string_agg(slot_name || ' ' || active, ', ') from pg_replication_slots \
                     where restart_lsn is not null";
        assert_eq!(lab.node(102).psql(slots)?, "mine true");
        let dropped = "slot_node1 on the primary 192.168.1.102 is dropped";
        assert_logged(&old.recovery_log()?, dropped);
        Ok(())
    })
}

#[test]
fn a_failover_does_not_need_to_know_whether_replay_is_paused() -> Result<()> {
    Lab::with(v8r3("v8r3-paused").failing_over_at_once(), |lab| {
        let old = lab.node(101);
        old.psql("drop function sys_catalog.sys_is_xlog_replay_paused()")?;
        killed_with_rows_of_its_own(lab, 101)?;
        assert_logged(
            &lab.node(102).failover_log()?,
            "warning: whether replay is paused is not known",
        );
        Ok(())
    })
}

#[test]
fn slots_are_made_again_whenever_the_run_dies() -> Result<()> {
    let options = LabOptions {
        postgres: vec![("wal_level".into(), "logical".into())],
        ..v8r3("v8r3-slots").failing_over_at_once()
    };
    Lab::with(options, |lab| {
        let node = lab.node(101);
        node.psql("select pg_create_logical_replication_slot('decoder', 'pgoutput')")?;
        killed_with_rows_of_its_own(lab, 101)?;
        consent(node)?;
        for step in ["recover.rewind", "recover.drop-slots", "recover.start"] {
            let died = node.recover(&["--die-after", step], RECOVERY)?;
            ensure!(died.signal == Some(9), "{died}");
            if step == "recover.rewind" {
                // The primary's, and without a use here: 9.6 copies it.
                let copied = node.path(&format!("{DATA}/sys_replslot/slot_node1"))?;
                ensure!(copied.exists(), "the rewind has not copied the slots");
            }
        }
        recovers(lab, node, 102)?;
        let log = node.recovery_log()?;
        for line in [
            "drop the slot [slot_node1].",
            "drop the slot [slot_node2].",
            "create the slot [slot_node1] success.",
            "create the slot [slot_node2] success.",
        ] {
            assert_logged(&log, line);
        }
        assert!(!log.contains("drop the slot [decoder]"), "{log}");
        let slots = "select string_agg(slot_name || ' ' || slot_type, ', ' order by slot_name) \
                     from pg_replication_slots";
        assert_eq!(
            node.psql(slots)?,
            "decoder logical, slot_node1 physical, slot_node2 physical"
        );
        Ok(())
    })
}

#[test]
fn a_lost_data_directory_is_copied_where_that_is_allowed() -> Result<()> {
    Lab::with(v8r3("v8r3-copy").failing_over_at_once(), |lab| {
        let node = lab.node(101);
        killed_with_rows_of_its_own(lab, 101)?;
        node.delete_data()?;
        let run = node.recover(&[], RECOVERY)?;
        assert_eq!(run.code, Some(1), "{run}");
        assert!(run.stderr.contains("sys_basebackup -D "), "{run}");
        node.set_config(&[("REWIND_FALLBACK", "basebackup")])?;
        recovers(lab, node, 102)?;
        let conf = node.read(&format!("{DATA}/recovery.conf"))?;
        assert!(conf.contains("host=192.168.1.102"), "{conf}");
        Ok(())
    })
}

#[test]
fn the_pool_may_listen_for_pcp_elsewhere() -> Result<()> {
    let mut options = v8r3("v8r3-pcp").failing_over_at_once();
    options.pgpool.push(("pcp_port".into(), "9899".into()));
    options.config = vec![("KB_POOL_PCP_PORT".into(), "9899".into())];
    Lab::with(options, |lab| {
        let attach_node = |option: &str| {
            let tool = format!("{DB_BIN}/attach_node");
            let run = lab.node(102).run_as(USER, &[&tool, option], RECOVERY)?;
            run.success().context("attach_node")
        };
        attach_node("--detach")?;
        lab.pool_shows(&[("up", "primary"), ("down", "standby")])?;
        let shown = attach_node("--status")?;
        let columns = " node_id |   hostname    | port  | status |  role   | replication_delay";
        assert_logged(&shown, columns);
        lab.node(102).recover(&[], RECOVERY)?.success()?;
        same_end(lab, 101)
    })
}

/// Command lines of newer versions and of a careless tool, and why each is refused.
fn refused_words() -> [(String, &'static str); 7] {
    [
        (
            format!(
                "sys_rewind --target-data={DATA} --source-server='host=192.168.1.101 port=54321 user=SUPERMANAGER_V8ADMIN dbname=TEST'"
            ),
            "target server must be shut down cleanly",
        ),
        (
            format!(
                "sys_rewind --target-data={DATA} --source-server='host=192.168.1.101 tcp_user_timeout=1'"
            ),
            "invalid connection option",
        ),
        (
            format!("sys_rewind --target-pgdata={DATA}"),
            "unrecognized option",
        ),
        (
            format!("sys_ctl logrotate -D {DATA}"),
            "unrecognized option",
        ),
        (
            format!("sys_ctl start --wait -D {DATA}"),
            "unrecognized option",
        ),
        (
            "sys_basebackup -D /tmp/copy --create-slot".to_owned(),
            "unrecognized option",
        ),
        (
            format!("sys_controldata --pgdata={DATA}"),
            "unrecognized option",
        ),
    ]
}

/// A server whose archive fails would take three seconds for each clean stop.
#[test]
fn the_stand_in_archives() -> Result<()> {
    let options = LabOptions {
        pools: 0,
        ..v8r3("v8r3-archives")
    };
    Lab::with(options, |lab| {
        let node = lab.node(101);
        let segment = node.psql("select pg_walfile_name(pg_switch_wal())")?;
        wait_for("the segment in the archive", SHORT, || {
            let file = node.path(&format!("{R3HA}/archive/{segment}"))?;
            ensure!(file.metadata()?.len() == 16 << 20, "it is not whole");
            Ok(())
        })
    })
}

#[test]
fn the_stand_in_refuses_what_9_6_refuses() -> Result<()> {
    Lab::with(
        LabOptions {
            pools: 0,
            ..v8r3("v8r3-refuses")
        },
        |lab| {
            let node = lab.node(102);
            let sql = |statement: &str| {
                let script = format!(
                    "exec {DB_BIN}/ksql -h 127.0.0.1 -p 54321 -U SUPERMANAGER_V8ADMIN -w TEST \
                     -Atc '{statement}'"
                );
                node.run_as(USER, &["sh", "-c", &script], SHORT)
            };
            assert_eq!(sql("select sys_is_in_recovery()")?.success()?, "t\n");
            for unknown in [
                "select pg_is_in_recovery()",
                "select pg_current_wal_lsn()",
                "select pg_wal_lsn_diff(null, null)",
                "select * from pg_stat_replication",
                "select write_lsn from sys_stat_replication",
            ] {
                let run = sql(unknown)?;
                assert!(run.stderr.contains("does not exist"), "{run}");
            }
            let program = |words: &str| {
                let script = format!("cd {DB_BIN} && exec ./{words}");
                node.run_as(USER, &["sh", "-c", &script], SHORT)
            };
            node.kill_database()?;
            for (words, why) in refused_words() {
                let run = program(&words)?;
                let said = format!("{}{}", run.stdout, run.stderr);
                assert!(run.code != Some(0) && said.contains(why), "{words}: {run}");
            }
            // Settings of a standby have their own file, and only there.
            let conf = node.path(&format!("{DATA}/kingbase.conf"))?;
            let before = fs::read_to_string(&conf)?;
            fs::write(&conf, format!("{before}primary_conninfo = ''\n"))?;
            let run = program(&format!("kingbase -D {DATA}"))?;
            assert!(
                run.stderr.contains("unrecognized configuration parameter"),
                "{run}"
            );
            fs::write(&conf, before)?;
            node.start_database()?;
            assert!(node.in_recovery()?);
            Ok(())
        },
    )
}
