//! Commits wait for more standbys than are left.

use std::time::Duration;

use anyhow::{Result, ensure};
use lab::layout::{DATA, DB_BIN, USER};
use lab::wait_for;

use crate::scene::{FAILOVER, SOON, all_stream, log_line, set, three_hosts};

const LEFT: Duration = Duration::from_secs(3);

#[test]
fn the_number_is_lowered_and_put_back() -> Result<()> {
    for kind in ["FIRST", "ANY"] {
        let lab = three_hosts("cand-sync")?;
        let primary = lab.node(101);
        let before = format!("{kind} 2 (node102, node103)");
        set(
            primary,
            &[("synchronous_standby_names", &format!("'{before}'"))],
        )?;
        lab.node(103).power_off()?;
        let down = [
            "192.168.1.101",
            "0",
            "2",
            "192.168.1.103",
            "192.168.1.101",
            "0",
            "0",
            DATA,
        ];
        let run = primary.failover(&down, FAILOVER)?;
        ensure!(run.code == Some(0), "{run}");
        let now = primary.psql("show synchronous_standby_names")?;
        let lowered = format!("{kind} 1 (node102, node103, \"failover-tools: was 2\")");
        ensure!(now == lowered, "{now}\n{}", primary.failover_log()?);
        log_line(primary, "only 1 of them stream (node102")?;
        primary.query("insert into probe values ('goes on')", LEFT)?;

        lab.node(103).power_on()?;
        lab.node(103).start_database()?;
        all_stream(primary, 2)?;
        let rewind = format!("{DB_BIN}/network_rewind");
        wait_for("the minute's run to put it back", SOON, || {
            primary.run_as(USER, &[&rewind], FAILOVER)?;
            let now = primary.psql("show synchronous_standby_names")?;
            ensure!(now == before, "{now}\n{}", primary.recovery_log()?);
            Ok(())
        })?;
    }
    Ok(())
}
