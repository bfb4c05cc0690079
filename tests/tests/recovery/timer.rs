//! `network_rewind` by the systemd timer of `failover-tools-setup --timer`, with a real systemd: what a run has
//! started has to stay when the run ends.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::{Lab, Node, wait_for};

use crate::drill::{at_once, killed_with_rows_of_its_own, same_end};
use crate::scene::{RECOVERY, SHORT, wait_until_whole};

const SERVICE: &str = include_str!("../../../etc/failover-tools.service");
const TIMER: &str = include_str!("../../../etc/failover-tools.timer");
/// A minute is too long for a test.
const OFTEN: &str = "[Timer]\nOnCalendar=\nOnCalendar=*-*-* *:*:0/2\n";

/// When the database was started; an error where none answers.
fn since(node: &Node) -> Result<String> {
    let table = node.query("select pg_postmaster_start_time()", Duration::from_secs(2))?;
    Ok(table.to_string())
}

/// Waits until the timer has begun and ended two runs more.
fn two_runs_more(node: &Node) -> Result<()> {
    let ended = || -> Result<u64> {
        let show = [
            "show",
            "--property=ExecMainExitTimestampMonotonic",
            "failover-tools.service",
        ];
        let text = node.systemctl(&show)?;
        Ok(text.trim().rsplit('=').next().unwrap_or_default().parse()?)
    };
    for _ in 0..2 {
        let before = ended()?;
        wait_for("the end of one more run", RECOVERY, || {
            let now = ended()?;
            ensure!(now > before, "it ended last at {now}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn what_the_timers_run_has_started_stays() -> Result<()> {
    Lab::with(at_once("rec-timer"), |lab| {
        let one = lab.node(101);
        one.start_systemd()?;
        one.add_unit("failover-tools.service", SERVICE, "")?;
        one.add_unit("failover-tools.timer", TIMER, OFTEN)?;
        killed_with_rows_of_its_own(lab, 101)?;
        one.systemctl(&["start", "failover-tools.timer"])?;
        wait_until_whole(lab, 102, RECOVERY)?;
        let started = since(one)?;
        two_runs_more(one)?;
        ensure!(since(one)? == started, "it was started anew");
        same_end(lab, 102)?;

        // With systemd's default the next run that ends takes the database with it.
        one.systemctl(&["stop", "failover-tools.timer"])?;
        let default = SERVICE.replace("KillMode=process\n", "");
        ensure!(default != SERVICE, "the unit has no KillMode");
        one.add_unit("failover-tools.service", &default, "")?;
        one.systemctl(&["start", "failover-tools.service"])?;
        wait_for("the database to be killed", SHORT, || {
            ensure!(since(one).is_err(), "it answers");
            Ok(())
        })?;
        one.add_unit("failover-tools.service", SERVICE, "")?;
        one.systemctl(&["start", "failover-tools.timer"])?;
        wait_until_whole(lab, 102, RECOVERY)?;
        one.systemctl(&["stop", "failover-tools.timer"])?;
        same_end(lab, 102)
    })
}
