//! logrotate with its sample, while the tools write.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use lab::layout::{LOG, USER};
use lab::{Lab, LabOptions, Node, wait_for};

const SAMPLE: &str = include_str!("../../../etc/failover-tools.logrotate");
const INSTALLED: &str = "/etc/logrotate.d/failover-tools";
const LIMIT: Duration = Duration::from_secs(60);

/// Runs of each tool, and rotations meanwhile.
const RUNS: usize = 10;
const ROTATIONS: usize = 3;

/// No node is left: the shortest way through `failover_stream`, and through its log.
const NOBODY_LEFT: [&str; 2] = ["--new-primary-host=", "--new-primary-id=-1"];

#[test]
fn no_line_is_lost() -> Result<()> {
    let options = LabOptions {
        name: "logrotate".into(),
        ..LabOptions::default()
    };
    Lab::with(options, |lab| {
        let node = lab.node(101);
        node.write(INSTALLED, SAMPLE, 0o644, 0)?;
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| write(node, &done));
            let rotated = (1..=ROTATIONS).try_for_each(|turn| {
                // Compressed is the one before last: nobody may write to that one any more.
                wait_for("runs of the tools", LIMIT, || {
                    let (done, due) = (done.load(Ordering::Relaxed), turn * RUNS / (ROTATIONS + 1));
                    ensure!(done >= due, "{done} of {due}");
                    Ok(())
                })?;
                rotate(node)
            });
            let written = writer.join().map_err(|_| anyhow!("panicked"))?;
            rotated.and(written)
        })?;

        let all = |name: &str, text: &str| -> Result<usize> {
            let command = format!("cd {LOG} && zcat -f {name}* | grep -c -- '{text}'");
            let counted = node.run(&["sh", "-c", &command], LIMIT)?;
            counted
                .stdout
                .trim()
                .parse()
                .with_context(|| counted.to_string())
        };
        for (name, text) in [
            ("failover.log", "failover beging"),
            ("failover.log", "failover failed: no node is left"),
            ("failover.log", "failover end"),
            ("recovery.log", "recover beging"),
            ("recovery.log", "decision: "),
            ("events.jsonl", "^{.*\"step\":\"decide\".*}$"),
        ] {
            let found = all(name, text)?;
            ensure!(found == RUNS, "{found} of {RUNS} {text:?} in {name}");
        }
        let list = format!("cd {LOG} && ls -l failover.log* recovery.log* events.jsonl*");
        let list = node.run(&["sh", "-c", &list], LIMIT)?.success()?;
        for name in ["failover.log", "recovery.log", "events.jsonl"] {
            let rotated = list.matches(&format!(" {name}.")).count();
            ensure!(rotated >= ROTATIONS, "{list}");
        }
        let theirs = format!(" {USER} {USER} ");
        let foreign = list.lines().find(|line| !line.contains(&theirs));
        ensure!(foreign.is_none() && list.contains(".gz\n"), "{list}");
        the_servers_log_goes_on(node)
    })
}

fn write(node: &Node, done: &AtomicUsize) -> Result<()> {
    for _ in 0..RUNS {
        let failover = node.failover(&NOBODY_LEFT, LIMIT)?;
        let recovery = node.recover(&[], LIMIT)?;
        ensure!(failover.code == Some(66), "{failover}");
        ensure!(recovery.code == Some(0), "{recovery}");
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn rotate(node: &Node) -> Result<()> {
    let run = node.run(&["/usr/sbin/logrotate", "-f", INSTALLED], LIMIT)?;
    ensure!(run.stderr.is_empty(), "{run}");
    run.success().map(drop)
}

/// The file that the server has open is copied and emptied: it goes on at its beginning.
fn the_servers_log_goes_on(node: &Node) -> Result<()> {
    let say = |text: &str| node.psql(&format!("do $$ begin raise log '{text}'; end $$"));
    say("before the rotation")?;
    rotate(node)?;
    say("after the rotation")?;
    let database_log = format!("{LOG}/database.log");
    let copy = format!("zcat {database_log}.1.gz");
    let copy = node.run(&["sh", "-c", &copy], LIMIT)?.success()?;
    let after = node.read(&database_log)?;
    ensure!(copy.contains("before the rotation"), "{copy}");
    ensure!(after.contains("after the rotation"), "{after}");
    let again = after.contains('\0') || after.contains("before the rotation");
    ensure!(!again, "{after}");
    Ok(())
}
