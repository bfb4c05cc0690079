//! Every database is down, and all hosts are up.

use anyhow::{Result, ensure};
use lab::layout::DB_BIN;
use lab::{Lab, Node, wait_for};

use super::no_pool::without_pool;
use super::{ends, runs};
use crate::scene::{FAILOVER, SHORT, recover, two_hosts};

#[test]
fn everything_down() -> Result<()> {
    Lab::with(two_hosts("tab-all-down"), |lab| {
        let (primary, standby) = (lab.node(101), lab.node(102));
        standby.stop_database("fast")?;
        primary.kill_database()?;
        nothing_is_up(lab)?;
        // The standby lacks what it never got; the primary is not to be started without leave.
        ends(standby, &[], 1, "failover_stream --new-primary-host=")?;
        ensure!(runs(standby), "a standby that is down is started");
        let start = format!("start it by hand (runuser -u kingbase -- {DB_BIN}/pg_ctl start ");
        ends(primary, &[], 1, &start)?;
        ensure!(!runs(primary), "it runs");
        standby.stop_database("fast")?;
        for node in lab.nodes() {
            node.set_config(&[("MAX_AVAILABLE_LEVEL", "1")])?;
        }
        for _ in 0..2 {
            ends(standby, &[], 66, "192.168.1.101 was the last primary")?;
            ensure!(!runs(standby), "it runs");
        }
        comes_first(lab, primary)?;
        ensure!(!runs(standby), "it runs");

        // A standby that runs does not keep it down.
        standby.start_database()?;
        primary.kill_database()?;
        nothing_is_up(lab)?;
        ends(standby, &[], 1, "failover_stream --new-primary-host=")?;
        comes_first(lab, primary)?;
        primary.psql("insert into rows values (1)")?;
        // Synchronous again, if the standby has caught up by then.
        ends(primary, &[], 0, "this node is the primary")?;

        // The rest comes back as on any other day.
        wait_for("it to be whole", SHORT, || {
            recover(standby)?;
            lab.is_whole(101)
        })?;
        lab.wait_until_nothing_is_left(SHORT)
    })
}

/// The pool has every node down.
fn nothing_is_up(lab: &Lab) -> Result<()> {
    wait_for("the pool to have no node left", FAILOVER, || {
        let seen = format!("{:?}", lab.pool_nodes());
        ensure!(seen.contains("all backend nodes are down"), "{seen}");
        Ok(())
    })
}

/// The last primary is started, and the pool has it.
fn comes_first(lab: &Lab, primary: &Node) -> Result<()> {
    ends(primary, &[], 0, "this one was the last primary")?;
    ensure!(primary.has_vip()?, "it has no VIP");
    wait_for("the pool to have it", SHORT, || {
        lab.pool_shows(&[("up", "primary"), ("down", "standby")])
    })
}

/// The last primary is not the host that was it first, and there is no pool to tell which it is.
#[test]
fn everything_down_after_a_promotion() -> Result<()> {
    let mut options = without_pool("tab-all-down-promoted", 3);
    options
        .config
        .push(("MAX_AVAILABLE_LEVEL".into(), "1".into()));
    options.sync = false;
    Lab::with(options, |lab| {
        let (old, last) = (lab.node(101), lab.node(102));
        old.kill_database()?;
        super::promote(last)?;
        last.psql("insert into rows values (1)")?;
        lab.node(103).kill_database()?;
        last.kill_database()?;
        // With one of them silent nobody knows.
        lab.node(103).stop_sshd()?;
        ends(last, &[], 66, "192.168.1.103 does not answer")?;
        lab.node(103).start_sshd()?;
        for (number, code) in [(101, 1), (103, 66), (102, 0), (101, 66), (102, 0)] {
            let run = super::run(lab.node(number), &[])?;
            ensure!(run.code == Some(code), "{run}");
        }
        ensure!(lab.primaries()? == [102], "{:?}", lab.primaries()?);
        ensure!(lab.vip_holders()? == [102], "{:?}", lab.vip_holders()?);
        ensure!(!runs(old) && !runs(lab.node(103)), "another runs");
        lab.wait_until_nothing_is_left(SHORT)
    })
}
