//! `pause` and `resume` on every host.

use anyhow::{Result, ensure};
use lab::Lab;
use lab::layout::USER;

use crate::scene::{ctl, findings, looked, three_hosts};

#[test]
fn every_host_is_paused_and_goes_on() -> Result<()> {
    Lab::with(three_hosts("cluster-pause"), |lab| {
        let node = lab.node(102);
        let paused = ctl(node, USER, &["pause", "new kernel"])?.success()?;
        for (number, name) in [(101, "node101"), (102, "node102"), (103, "node103")] {
            ensure!(
                paused.contains(&format!("{name} (192.168.1.{number}) is paused")),
                "{paused}"
            );
        }
        let check = ctl(lab.node(101), "root", &["check", "--json"])?;
        let found = findings(&check)?;
        let all: Vec<_> = found.iter().filter(|it| it.code == "paused").collect();
        ensure!(all.len() == 3 && check.code == Some(0), "{check}");
        ensure!(
            all.iter().all(|it| it.text.contains("(new kernel)")),
            "{all:?}"
        );
        let shown = ctl(node, "root", &["show"])?.success()?;
        ensure!(
            shown
                .lines()
                .filter(|line| line.ends_with("  paused"))
                .count()
                == 3,
            "{shown}"
        );

        // One that cannot be told is named, and the same command tells it later.
        lab.node(103).stop_sshd()?;
        let part = ctl(node, USER, &["resume"])?;
        ensure!(part.code == Some(66), "{part}");
        ensure!(
            part.stderr
                .contains("node103 (192.168.1.103) is not resumed"),
            "{part}"
        );
        lab.node(103).start_sshd()?;
        let json = ctl(node, USER, &["resume", "--json"])?.success()?;
        ensure!(json.matches(r#""done":true"#).count() == 3, "{json}");
        looked(lab)?;
        let after = findings(&ctl(node, USER, &["check", "--json"])?)?;
        ensure!(after.is_empty(), "{after:?}");
        Ok(())
    })
}
