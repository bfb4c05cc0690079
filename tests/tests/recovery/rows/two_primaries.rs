//! A standby was promoted by mistake: two databases take writes.

use anyhow::{Result, ensure};
use lab::Lab;

use super::{
    changes_nothing, commits_wait_for, ends, insert, let_in, lock_out, one_pool, promote, runs,
    started, take_vip_off,
};
use crate::scene::{SHORT, wait_until_whole};

#[test]
fn two_primaries() -> Result<()> {
    Lab::with(one_pool("tab-two-primaries"), |lab| {
        let (right, wrong) = (lab.node(101), lab.node(102));
        let since = started(right)?;
        promote(wrong)?;
        insert(wrong, 102)?;

        // No proof: the pool's primary does not answer.
        let file = lock_out(right, wrong, &["all"])?;
        changes_nothing(lab, wrong, 1, "nothing is stopped")?;
        let_in(right, &file)?;
        // The wrong one has the VIP, too; then it is on none of the two.
        wrong.add_vip()?;
        changes_nothing(lab, wrong, 1, "has the database VIP")?;
        take_vip_off(wrong)?;
        take_vip_off(right)?;
        changes_nothing(lab, wrong, 1, "without the database VIP")?;
        // Nor does anything tell whose fault it is where there is no VIP at all.
        wrong.set_config(&[("KB_VIP", "")])?;
        changes_nothing(lab, wrong, 1, "nothing is stopped")?;
        wrong.set_config(&[("KB_VIP", "192.168.1.200/24")])?;

        // The right one is kept as it is, and gets back what it lacks.
        ends(right, &[], 0, "this node is the primary")?;
        ensure!(right.has_vip()?, "the VIP is not back");
        ensure!(commits_wait_for(right)?.is_empty(), "still synchronous");
        right.psql("insert into rows values (101)")?;

        // It was a primary beside the right one, as far as it could tell: that it is stopped by now, and may
        // be recovered by itself, is no decision which of the two has the data.
        wrong.set_config(&[("AUTO_PRIMARY_RECOVERY", "1")])?;
        for _ in 0..2 {
            let why = "nobody has decided which of them has the data";
            ends(wrong, &[], 1, why)?;
            ensure!(!runs(wrong), "it was not stopped");
            ensure!(!wrong.has_vip()?, "it has the VIP");
        }
        ends(wrong, &["--force"], 0, "it is recovered (")?;
        wait_until_whole(lab, 101, SHORT)?;
        ensure!(started(right)? == since, "the right one was restarted");
        for node in lab.nodes() {
            let rows = lab.rows_present(node)?;
            ensure!(rows == [101].into(), "{} has {rows:?}", node.name());
        }
        lab.wait_until_nothing_is_left(SHORT)
    })
}
