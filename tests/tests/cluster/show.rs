//! `show`: right whatever has happened, soon, and in 80 columns.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::layout::DB_BIN;
use lab::{Lab, LabOptions, Node, wait_for};

use crate::scene::{SHORT, ctl, findings, three_hosts};

/// For a run of `network_rewind`.
const RECOVERY: Duration = Duration::from_secs(60);

/// What is shown, once each of `lines` is in it, by a program that ends in time.
fn shows(on: &Node, lines: &[&str]) -> Result<String> {
    wait_for("it to be shown", SHORT, || {
        let begun = Instant::now();
        let shown = ctl(on, "root", &["show"])?.success()?;
        // 2.5 s, and a start on a busy machine.
        let took = begun.elapsed();
        ensure!(took < Duration::from_secs(5), "it took {took:?}");
        for line in shown.lines() {
            ensure!(line.chars().count() <= 80, "{line:?} is too wide");
        }
        let flat = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        for line in lines {
            ensure!(flat.contains(line), "no {line:?} in {shown}");
        }
        Ok(shown)
    })
}

#[test]
fn a_cluster_with_everything_wrong_in_it_by_turns() -> Result<()> {
    Lab::with(three_hosts("cluster-show"), |lab| {
        lab.nodes().iter().try_for_each(Node::stop_cron)?;
        let (one, two, three) = (lab.node(101), lab.node(102), lab.node(103));
        shows(
            one,
            &[
                "node101 192.168.1.101 primary 1 - wait - db",
                "node102 192.168.1.102 standby 1 0 B sync used pool",
                "node103 192.168.1.103 standby 1 0 B potential used -",
                "192.168.1.103 node101 up primary, node102 up, node103 up",
            ],
        )?;
        let watched = ctl(one, "root", &["show", "--json"])?.success()?;
        let object: serde_json::Value = serde_json::from_str(&watched).context(watched)?;
        held_to_the_manual(&object)?;
        // Whoever watches through a pipe, and goes away, leaves nothing behind.
        let piped = format!("{DB_BIN}/cluster_ctl show --watch | head -n 3");
        let piped = one.run(&["bash", "-c", &piped], SHORT)?.success()?;
        ensure!(piped.lines().count() == 3, "{piped}");

        three.freeze_database();
        shows(one, &["node103 192.168.1.103 silent"])?;
        three.thaw_database();
        shows(one, &["node103 192.168.1.103 standby"])?;

        // Another version of the tools: one that answers, and says so.
        let program = format!("{DB_BIN}/failover_stream");
        let other = format!(
            "mv {program} {program}.kept\ncat >{program} <<'END'\n#!/bin/sh\n{program}.kept \"$@\" | \
             sed 's/\"version\":\"/&9/'\nEND\nchmod 755 {program}"
        );
        three.run(&["sh", "-c", &other], SHORT)?.success()?;
        shows(
            one,
            &[
                "node103 192.168.1.103 standby",
                "warn node103 has version 9",
            ],
        )?;
        three
            .run(&["mv", &format!("{program}.kept"), &program], SHORT)?
            .success()?;

        // Two primaries.
        three.promote_database()?;
        shows(
            two,
            &[
                "node101 192.168.1.101 primary 1",
                "node103 192.168.1.103 primary 2",
                "node101 (timeline 1) and node103 (timeline 2) are primaries at the same time",
            ],
        )?;
        three.power_off()?;
        shows(
            two,
            &[
                "node103 192.168.1.103 no answer",
                "FAIL node103 does not answer",
            ],
        )?;
        Ok(())
    })
}

/// Each pool is asked itself: one that knows of no other has its own list.
#[test]
fn two_pools_that_disagree() -> Result<()> {
    let options = LabOptions {
        pools: 2,
        leader: 101,
        ..three_hosts("cluster-disagree")
    };
    Lab::with(options, |lab| {
        lab.nodes().iter().try_for_each(Node::stop_cron)?;
        let (one, alone) = (lab.node(101), lab.node(102));
        let conf = alone.pool_conf();
        let text = alone.read(&conf)? + "use_watchdog = off\n";
        alone.write(&conf, &text, 0o600, 0)?;
        alone.stop_pool()?;
        alone.start_pool()?;
        wait_for("its pool", SHORT, || alone.pool_nodes())?;
        let attach_node = format!("{DB_BIN}/attach_node");
        let detach = ["--pool", "192.168.1.102", "-n", "node103", "--detach"];
        let command: Vec<&str> = [&[attach_node.as_str()], &detach[..]].concat();
        alone.run(&command, SHORT)?.success()?;

        for on in [one, alone, lab.node(103)] {
            shows(
                on,
                &[
                    "192.168.1.101 node101 up primary, node102 up, node103 up",
                    "192.168.1.102 node101 up primary, node102 up, node103 down",
                    "FAIL the pools do not agree about the nodes",
                    "node101: node101 up, primary; node102 up; node103 up",
                    "node102: node101 up, primary; node102 up; node103 down",
                ],
            )?;
        }
        let json = ctl(one, "root", &["show", "--json"])?;
        let codes: Vec<String> = findings(&json)?.into_iter().map(|it| it.code).collect();
        ensure!(codes.iter().any(|it| it == "pools-disagree"), "{codes:?}");
        let object: serde_json::Value = serde_json::from_str(json.stdout.trim())?;
        let status = |pool: usize| object["pools"][pool]["nodes"][2]["status"].clone();
        ensure!(
            (status(0), status(1)) == ("up".into(), "down".into()),
            "{object}"
        );
        // What it says to do: that node's own run attaches it there, too.
        let run = lab.node(103).recover(&[], RECOVERY)?;
        ensure!(run.code == Some(0), "{run}");
        let shown = shows(
            one,
            &["192.168.1.102 node101 up primary, node102 up, node103 up"],
        )?;
        ensure!(!shown.contains("do not agree"), "{shown}");
        Ok(())
    })
}

/// The page names every member, and no other.
fn held_to_the_manual(object: &serde_json::Value) -> Result<()> {
    let page = include_str!("../../../docs/cluster.md");
    let (_, rows) = page
        .split_once("## What `show --json` has")
        .context("no such section")?;
    let rows = rows.split("\n## ").next().unwrap_or_default();
    let mut documented: Vec<&str> = rows
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    let mut found = Vec::new();
    members("", object, &mut found);
    found.sort();
    found.dedup();
    documented.sort_unstable();
    ensure!(
        documented == found,
        "documented {documented:?}, found {found:?}"
    );
    Ok(())
}

/// `hosts[].name` and its like.
fn members(path: &str, value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(all) => {
            for (name, value) in all {
                let path = match path {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                members(&path, value, found);
            }
        }
        serde_json::Value::Array(all) => {
            found.push(format!("{path}[]"));
            // Those are `check`'s, and described in one row.
            if path == "findings" {
                return;
            }
            let path = format!("{path}[]");
            all.iter().for_each(|value| members(&path, value, found));
        }
        _ => found.push(path.to_owned()),
    }
}
