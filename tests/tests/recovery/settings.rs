//! Settings of the servers under which a standby answers nobody who brings none of his own.

use anyhow::{Result, ensure};
use lab::Lab;

use crate::scene::{SHORT, power_cycle, recover, two_hosts, wait_until_whole};

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
        lab.wait_until_nothing_is_left(SHORT)
    })
}
