//! `history` after a failover and a recovery.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::{Lab, LabOptions, wait_for};
use serde_json::Value;

use crate::scene::{SHORT, ctl};

/// Until the pools have noticed, and failed over.
const FAILOVER: Duration = Duration::from_secs(120);

#[test]
fn a_failover_and_a_recovery_are_remembered() -> Result<()> {
    let options = LabOptions {
        name: "cluster-history".into(),
        pools: 2,
        config: vec![("AUTO_PRIMARY_RECOVERY".into(), "1".into())],
        ..LabOptions::default()
    };
    Lab::with(options.failing_over_at_once(), |lab| {
        let (old, new) = (lab.node(101), lab.node(102));
        let none = ctl(new, "root", &["history"])?.success()?;
        ensure!(
            none.contains("no failover and no recovery is known"),
            "{none}"
        );
        old.kill_database()?;
        wait_for("the failover", FAILOVER, || {
            ensure!(lab.primaries()? == [102], "{:?}", lab.primaries()?);
            lab.pool_shows(&[("down", "standby"), ("up", "primary")])
        })?;
        let recovered = old.recover(&[], FAILOVER)?;
        ensure!(recovered.code == Some(0), "{recovered}");

        let json = ctl(old, "kingbase", &["history", "--json"])?.success()?;
        let object: Value = serde_json::from_str(&json).context(json)?;
        let runs = object["runs"].as_array().context("no runs")?;
        let text = |run: &Value, name: &str| run[name].as_str().unwrap_or_default().to_owned();
        let kinds: Vec<(String, String)> = runs
            .iter()
            .map(|run| (text(run, "kind"), text(run, "node")))
            .collect();
        let pair = |kind: &str, node: &str| (kind.to_owned(), node.to_owned());
        ensure!(
            kinds == [pair("failover", "node102"), pair("recovery", "node101")],
            "{runs:#?}"
        );
        ensure!(runs.iter().all(|run| run["succeeded"] == true), "{runs:#?}");
        let what = text(&runs[0], "what");
        ensure!(what.contains("192.168.1.102 is primary"), "{what}");
        for run in runs {
            let timelines = (run["timeline_before"].as_u64(), run["timeline"].as_u64());
            ensure!(timelines == (Some(1), Some(2)), "{run:#?}");
        }
        ensure!(what.ends_with(", timeline 1 -> 2"), "{what}");
        // What the log says of it, to the millisecond that a step may take to be written.
        let events = new.log("events.jsonl")?;
        let run = text(&runs[0], "run");
        let of_run = events.lines().filter(|line| line.contains(&run)).count();
        ensure!(of_run > 5, "{run}: {events}");
        let took = runs[0]["milliseconds"].as_u64().unwrap_or(0);
        ensure!((50..60_000).contains(&took), "{took} ms");

        // A host that is gone is named, and the others' runs are shown.
        new.stop_sshd()?;
        let part = ctl(old, "root", &["history"])?;
        ensure!(
            part.stderr.contains("what node102 did is not known"),
            "{part}"
        );
        ensure!(part.stdout.contains("node101    recovery"), "{part}");
        let wide = |line: &str| line.chars().count() > 80;
        ensure!(!part.stdout.lines().any(wide), "{part}");
        new.start_sshd()?;
        let shown = ctl(old, "root", &["history", "-n", "1"])?;
        wait_for("one run", SHORT, || {
            ensure!(!shown.stdout.contains("failover"), "{shown}");
            Ok(())
        })
    })
}
