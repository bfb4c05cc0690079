//! What a person sees who recovers a node by hand: the log's lines as they come and a bar, on a terminal; a
//! line now and then, where there is none. Nobody's minute says more than before.

use anyhow::{Result, ensure};
use lab::layout::{DB_BIN, R3HA, USER};
use lab::{Lab, Node, Running, wait_for};

use crate::drill::{at_once, killed_with_rows_of_its_own, recovers, same_end};
use crate::scene::{RECOVERY, SHORT, recover, two_hosts};

const TOOL: &str = "/home/kingbase/cluster/R3HA/db/bin/network_rewind";
/// Where the host keeps what its terminal has shown.
const SHOWN: &str = "/home/kingbase/cluster/R3HA/shown";
/// What a recovery ends with.
const LAST: &str = "recovery success,exit script with success";

/// On a terminal of the host, as its name is there.
fn on_terminal(node: &Node, terminal: &str, command: &str) -> Result<Running> {
    let terminal = format!("TERM={terminal}");
    let command = [
        "env",
        &terminal,
        "NO_COLOR=1",
        "script",
        "-qefc",
        command,
        SHOWN,
    ];
    node.spawn(USER, &command, RECOVERY)
}

/// The rewind says that it is half done, again and again, and begins when [`go`] says so.
fn rewind_waits(node: &Node) -> Result<()> {
    let program = format!("{DB_BIN}/pg_rewind");
    let path = node.path(&program)?;
    if path.is_symlink() {
        std::fs::remove_file(&path)?;
    }
    let script = format!(
        "#!/bin/sh\n\
         until [ -e {R3HA}/go ]; do\n\
         echo 'pg_rewind:   5120/10240 kB (50%) copied' >&2\n\
         sleep 0.1\n\
         done\n\
         exec /usr/lib/postgresql/15/bin/pg_rewind \"$@\"\n"
    );
    node.write(&program, &script, 0o755, 0)
}

fn go(node: &Node) -> Result<()> {
    node.write(&format!("{R3HA}/go"), "", 0o644, 0)
}

/// What the terminal has shown so far, without what `script` itself says in its first line and its last.
fn on_it(node: &Node) -> Result<String> {
    if !node.path(SHOWN)?.exists() {
        return Ok(String::new());
    }
    let text = node.read(SHOWN)?;
    let (_, text) = text.split_once('\n').unwrap_or_default();
    let text = text
        .rsplit_once("\nScript done")
        .map_or(text, |(text, _)| text);
    Ok(text.to_owned())
}

fn wait_for_bar(node: &Node) -> Result<()> {
    wait_for("a bar", RECOVERY, || {
        let shown = on_it(node)?;
        ensure!(shown.contains("pg_rewind [============"), "{shown}");
        ensure!(shown.contains(" 50% 5.00 MiB/10.00 MiB"), "{shown}");
        Ok(())
    })
}

/// Without what a terminal takes for orders.
fn assert_plain(text: &str) {
    let order = text.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(order, None, "{text:?}");
}

#[test]
fn a_bar_that_comes_and_goes() -> Result<()> {
    Lab::with(at_once("nr-terminal"), |lab| {
        let node = lab.node(101);
        let new = killed_with_rows_of_its_own(lab, 101)?;
        rewind_waits(node)?;
        let running = on_terminal(node, "xterm", &format!("{TOOL} --force"))?;
        wait_for_bar(node)?;
        go(node)?;
        let run = running.wait()?;
        let shown = on_it(node)?;
        ensure!(run.code == Some(0), "{run}\n{shown}");
        for line in [
            "recover beging...\r\n",
            "decision: ",
            "pg_rewind...\r\n",
            &format!("{LAST}\r\n"),
        ] {
            ensure!(shown.contains(line), "no {line:?} in {shown}");
        }
        // No color, and nothing left of a bar behind the last line.
        ensure!(
            !shown.contains("\u{1b}[3") && !shown.contains("\u{1b}[1"),
            "{shown}"
        );
        let (_, rest) = shown.rsplit_once(LAST).unwrap_or_default();
        ensure!(rest.trim().is_empty(), "{rest:?}");
        let log = node.recovery_log()?;
        assert_plain(&log);
        ensure!(log.contains("5120/10240 kB (50%) copied"), "{log}");
        same_end(lab, new)
    })
}

/// Ctrl-C goes to all that a terminal has in its foreground.
#[test]
fn ended_by_hand_it_leaves_a_clean_line_and_a_recovery_that_goes_on() -> Result<()> {
    Lab::with(at_once("nr-ctrl-c"), |lab| {
        let node = lab.node(101);
        let new = killed_with_rows_of_its_own(lab, 101)?;
        rewind_waits(node)?;
        let running = on_terminal(node, "xterm", &format!("{TOOL} --force"))?;
        wait_for_bar(node)?;
        node.run(&["pkill", "-INT", "-x", "network_rewind"], SHORT)?
            .success()?;
        let run = running.wait()?;
        let shown = on_it(node)?;
        // As `script` tells that SIGINT has ended it.
        ensure!(run.code == Some(128 + libc::SIGINT), "{run}\n{shown}");
        let (before, last) = shown.rsplit_once("\r\u{1b}[K").unwrap_or_default();
        ensure!(before.contains("pg_rewind ["), "{shown}");
        ensure!(
            last.trim_end()
                == "network_rewind: ended before it was done: the next run, by cron or by hand, \
                    goes on from here"
                && last.ends_with("\r\n"),
            "{last:?}"
        );
        wait_for("nothing of it to be at work", SHORT, || {
            let left = [node.pids_of("network_rewind"), node.pids_of("pg_rewind")].concat();
            ensure!(left.is_empty(), "{left:?}");
            Ok(())
        })?;
        go(node)?;
        recovers(lab, node, new)
    })
}

/// Its lines come to a terminal that can do nothing else, too, and without an order to it.
#[test]
fn a_dumb_terminal_gets_lines() -> Result<()> {
    Lab::with(two_hosts("nr-dumb"), |lab| {
        let node = lab.node(102);
        let run = on_terminal(node, "dumb", TOOL)?.wait()?;
        let shown = on_it(node)?;
        ensure!(run.code == Some(0), "{run}\n{shown}");
        ensure!(shown.contains("decision: "), "{shown}");
        assert_plain(&shown.replace("\r\n", "\n"));

        // A minute in which all is well says nothing where there is none.
        let run = recover(node)?;
        ensure!(run.stdout.is_empty() && run.stderr.is_empty(), "{run}");
        // Nor does one from the background of a terminal, which may be stopped for it.
        let behind = format!("sh -c 'set -m; {TOOL} & wait $!'");
        let run = on_terminal(node, "xterm", &behind)?.wait()?;
        ensure!(run.code == Some(0), "{run}");
        let shown = on_it(node)?;
        ensure!(shown.trim().is_empty(), "{shown}");
        Ok(())
    })
}

#[test]
fn without_a_terminal_a_line_now_and_then() -> Result<()> {
    Lab::with(at_once("nr-no-terminal"), |lab| {
        let node = lab.node(101);
        let new = killed_with_rows_of_its_own(lab, 101)?;
        rewind_waits(node)?;
        let errors = format!("{R3HA}/errors");
        let command = format!("{TOOL} --force 2>{errors}");
        let running = node.spawn(USER, &["sh", "-c", &command], RECOVERY)?;
        wait_for("a line about the rewind", RECOVERY, || {
            let said = node.read(&errors)?;
            ensure!(said.contains(" 5120/10240 kB (50%) copied\n"), "{said:?}");
            Ok(())
        })?;
        go(node)?;
        let run = running.wait()?;
        let said = node.read(&errors)?;
        ensure!(
            run.code == Some(0) && run.stdout.is_empty(),
            "{run}\n{said}"
        );
        assert_plain(&said);
        // One each ten seconds, and none in the first.
        let logged = node.recovery_log()?;
        let logged = logged.matches("kB (50%) copied").count();
        ensure!(said.lines().count() == logged - 1, "{said} of {logged}");
        same_end(lab, new)
    })
}
