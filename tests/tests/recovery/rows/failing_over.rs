//! The pool is at a failover, and answers again when it has done with it.

use anyhow::{Result, ensure};
use lab::layout::{DB_BIN, POOL_BIN, USER};
use lab::{Lab, LabOptions, wait_for};

use crate::scene::{RECOVERY, SHORT, failed_over, recover, two_hosts, wait_until_whole};

/// The failover command, which begins when the file `/root/held` is gone.
const HELD: &str = "/root/held-failover";

fn held(name: &str) -> LabOptions {
    LabOptions {
        failover_command: format!("{HELD} %H %P %d %h %O %m %M %D"),
        ..two_hosts(name)
    }
}

#[test]
fn an_old_primary_is_not_attached_over_the_new_one() -> Result<()> {
    Lab::with(held("tab-failing-over"), |lab| {
        let (old, new) = (lab.node(101), lab.node(102));
        let script = format!(
            "#!/bin/sh\n\
             touch /root/held\n\
             while [ -e /root/held ]; do sleep 0.05; done\n\
             exec {POOL_BIN}/failover_stream \"$@\"\n"
        );
        for node in lab.nodes() {
            node.write(HELD, &script, 0o755, 0)?;
        }
        lab.pcp_detach(old.id())?;
        wait_for("the failover", SHORT, || {
            ensure!(new.path("/root/held")?.exists(), "it has not begun");
            Ok(())
        })?;

        // It lives, no pool answers, and no other host is a primary yet.
        let run = old.spawn(USER, &[&format!("{DB_BIN}/network_rewind")], RECOVERY)?;
        wait_for("the run to ask the pool once more", RECOVERY, || {
            let events = old.events()?;
            ensure!(events.iter().any(|it| it.step == "primary.vip"), "not yet");
            Ok(())
        })?;
        new.run(&["rm", "/root/held"], SHORT)?.success()?;
        let run = run.wait()?;
        ensure!(failed_over(lab, 101)? == 102, "not node102");
        let log = old.recovery_log()?;
        ensure!(!log.contains("attach pool"), "{run}\n{log}");
        let why = "as its primary";
        ensure!(
            run.code == Some(66) && run.stderr.contains(why),
            "{run}\n{log}"
        );

        recover(old)?;
        wait_until_whole(lab, 102, SHORT)?;
        lab.wait_until_nothing_is_left(SHORT)
    })
}
