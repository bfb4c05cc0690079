//! The pool looks for its primary only when a node comes or goes, and only for a while. A promotion that
//! comes later than that is made known to it: by the failover that a person runs again, by the next
//! minute's `network_rewind` on the new primary, or by `attach_node`.

use anyhow::{Result, ensure};
use lab::layout::{DATABASE, DB_BIN, PRIMARY_DOWN, SQL_PASSWORD, SQL_USER};
use lab::{Flavor, Lab, LabOptions, Node, wait_for};

use crate::scene::{
    FAILOVER, RECOVERY, SHORT, assert_logged, recover, two_hosts, wait_until_whole,
};

const TOLD: &str = "the pool has stopped looking for its primary: telling it that node 1 (";
const NAMELESS: [(&str, &str); 2] = [("down", "standby"), ("up", "standby")];
const NAMED: [(&str, &str); 2] = [("down", "standby"), ("up", "primary")];

/// Nobody is promoted before a person has said so, and the pool waits three seconds for that.
fn refusing(name: &str) -> LabOptions {
    LabOptions {
        config: vec![
            ("AUTO_PRIMARY_RECOVERY".into(), "1".into()),
            ("PROMOTE_WITHOUT_FENCE".into(), "never".into()),
        ],
        pgpool: vec![("search_primary_node_timeout".into(), "3".into())],
        leader: 102,
        ..two_hosts(name)
    }
}

/// The primary's host dies, the failover is refused, and the pool gives up looking.
fn refused(lab: &Lab, wanted: &[(&str, &str)]) -> Result<()> {
    lab.node(101).power_off()?;
    let node = lab.node(102);
    wait_for("the failover to be refused", FAILOVER, || {
        let log = node.failover_log()?;
        ensure!(
            log.contains("PROMOTE_WITHOUT_FENCE is never") && log.contains("failover end"),
            "{log}"
        );
        Ok(())
    })?;
    wait_for("the pool to give up", FAILOVER, || lab.pool_shows(wanted))
}

/// As the log says.
fn again(node: &Node, args: &[&str]) -> Result<lab::ToolRun> {
    node.set_config(&[("PROMOTE_WITHOUT_FENCE", "unreachable")])?;
    node.failover(&[&PRIMARY_DOWN[..], args].concat(), RECOVERY)
}

/// A client's row, through the pool.
fn writes_through_the_pool(lab: &Lab, node: &Node) -> Result<()> {
    if lab.options().flavor == Flavor::Kingbase {
        return Ok(());
    }
    let psql = "PGPASSWORD=\"$(cat \"$0\")\" psql -h 192.168.1.201 -p 9999 -U \"$1\" \"$2\" \
                -c \"insert into probe values ('through the pool')\"";
    // Other labs' tests look for a password in the arguments of every process.
    let password = "/tmp/sql-password";
    node.write(password, SQL_PASSWORD, 0o600, 0)?;
    let command = ["sh", "-c", psql, password, SQL_USER, DATABASE];
    node.run(&command, SHORT)?.success().map(drop)
}

/// The old primary's host is back, and all is well without anybody's help.
fn comes_back(lab: &Lab) -> Result<()> {
    writes_through_the_pool(lab, lab.node(102))?;
    lab.node(101).power_on()?;
    recover(lab.node(101))?;
    wait_until_whole(lab, 102, SHORT)
}

#[test]
fn a_failover_that_is_run_again_has_the_pool_find_the_primary() -> Result<()> {
    for flavor in [Flavor::Postgres, Flavor::Kingbase] {
        let options = LabOptions {
            flavor,
            ..refusing("up-again")
        };
        Lab::with(options, |lab| {
            refused(lab, &NAMELESS)?;
            let new = lab.node(102);
            again(new, &[])?.success()?;
            // It has waited for that.
            lab.pool_shows(&NAMED)?;
            let log = new.failover_log()?;
            assert_logged(&log, TOLD);
            assert_logged(&log, "pcp_promote_node -- Command Successful");
            let calls = log.matches("failover beging").count();
            ensure!(calls == 2, "the pool has called it, too: {log}");

            // And once more: nothing is left to do.
            again(new, &[])?.success()?;
            ensure!(new.failover_log()?.matches(TOLD).count() == 1);
            comes_back(lab)
        })?;
    }
    Ok(())
}

/// The leader's decision is that of all pools; and what the pool takes out comes back by itself.
#[test]
fn three_hosts_with_three_pools() -> Result<()> {
    let options = LabOptions {
        nodes: 3,
        pools: 3,
        ..refusing("up-three")
    };
    Lab::with(options, |lab| {
        let (new, other) = (lab.node(102), lab.node(103));
        refused(lab, &[NAMELESS[0], NAMELESS[1], ("up", "standby")])?;
        new.set_config(&[("FAILOVER_CANDIDATE", "given")])?;
        again(new, &[])?.success()?;
        let nodes = lab.pool_nodes()?;
        ensure!(nodes[1].role == "primary", "{nodes:?}");
        wait_for("the other pool to show it", SHORT, || {
            let nodes = other.pool_nodes()?;
            ensure!(nodes[1].role == "primary", "{nodes:?}");
            Ok(())
        })?;

        recover(other)?;
        wait_for("the standby to be back", SHORT, || {
            lab.pool_shows(&[NAMED[0], NAMED[1], ("up", "standby")])
        })?;
        comes_back(lab)
    })
}

/// Whoever has promoted it does no more: the tool was killed, or it was a person.
#[test]
fn the_next_minute_has_the_pool_find_a_primary_that_nobody_told_it_of() -> Result<()> {
    for by_hand in [false, true] {
        Lab::with(refusing("up-minute"), |lab| {
            refused(lab, &NAMELESS)?;
            let new = lab.node(102);
            match by_hand {
                true => new.promote_database()?,
                false => {
                    let killed = again(new, &["--die-after", "promote"])?;
                    ensure!(killed.signal == Some(9), "{killed}");
                }
            }
            lab.pool_shows(&NAMELESS)?;

            let run = recover(new)?;
            lab.pool_shows(&NAMED)?;
            assert_logged(&new.recovery_log()?, TOLD);
            ensure!(new.has_vip()?, "{run}");
            comes_back(lab)
        })?;
    }
    Ok(())
}

#[test]
fn attach_node_tells_a_pool_that_has_given_up() -> Result<()> {
    Lab::with(refusing("up-attach"), |lab| {
        refused(lab, &NAMELESS)?;
        let new = lab.node(102);
        let program = format!("{DB_BIN}/attach_node");
        let attach = |args: &[&str]| -> Result<String> {
            let command = [&[program.as_str()], args].concat();
            new.run_as("kingbase", &command, RECOVERY)?.success()
        };
        // As long as it is a standby there is nothing to tell.
        let said = attach(&[])?;
        ensure!(said.contains("is up already"), "{said}");
        lab.pool_shows(&NAMELESS)?;

        new.promote_database()?;
        let said = attach(&["--dry-run"])?;
        ensure!(said.contains("would send writes to node 1"), "{said}");
        lab.pool_shows(&NAMELESS)?;
        let said = attach(&[])?;
        for text in [
            "the database is a primary: telling the pool",
            "and is the pool's primary",
        ] {
            ensure!(said.contains(text), "{said}");
        }
        lab.pool_shows(&NAMED)?;
        // The VIP, and commits that wait for the old primary.
        recover(new)?;
        comes_back(lab)
    })
}
