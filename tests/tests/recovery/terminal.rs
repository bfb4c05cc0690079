//! What a person sees who recovers a node by hand: the log's lines as they come and a bar, on a terminal; a
//! line now and then, where there is none. Nobody's minute says more than before.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::layout::{DB_BIN, POOL_BIN, R3HA, USER};
use lab::{Lab, Node, Running, wait_for};

use crate::drill::{at_once, killed_with_rows_of_its_own, recovers, same_end};
use crate::scene::{RECOVERY, SHORT, recover, two_hosts};

const TOOL: &str = "/home/kingbase/cluster/R3HA/db/bin/network_rewind";
/// Where the host keeps what its terminal has shown.
const SHOWN: &str = "/home/kingbase/cluster/R3HA/shown";
/// Made when it may go.
const CLOSE: &str = "/home/kingbase/cluster/R3HA/close";
/// As the pool has it for its command.
const STANDBY_DOWN: &str = "192.168.1.101 0 1 192.168.1.102 192.168.1.101 0 0 /data";
/// What a recovery ends with.
const LAST: &str = "recovery success,exit script with success";

/// A terminal of the host with a command on it.
struct Terminal<'a> {
    node: &'a Node,
    script: Running,
}

impl<'a> Terminal<'a> {
    /// `name`: of its kind. It is there until [`Self::close`]: `script` may lose what is written just before
    /// the end of its command.
    fn open(node: &'a Node, name: &str, command: &str) -> Result<Self> {
        node.run(&["rm", "-f", SHOWN, CLOSE], SHORT)?.success()?;
        let name = format!("TERM={name}");
        let command =
            format!("{command}; echo \"ended $?\"; until [ -e {CLOSE} ]; do sleep 0.1; done");
        let command = [
            "env",
            &name,
            "NO_COLOR=1",
            "SHELL=/bin/sh",
            "script",
            "-qfc",
            &command,
            SHOWN,
        ];
        let script = node.spawn(USER, &command, RECOVERY)?;
        Ok(Self { node, script })
    }

    /// Its exit code, and all that the terminal has shown of it.
    fn close(self) -> Result<(i32, String)> {
        let ended = wait_for("the command to end", RECOVERY, || {
            let all = on_it(self.node)?;
            let ended = all.rsplit_once("ended ").and_then(|(text, code)| {
                let code = code.strip_suffix("\r\n")?.parse().ok()?;
                Some((code, text.to_owned()))
            });
            ended.with_context(|| all.clone())
        })?;
        self.node.write(CLOSE, "", 0o644, 0)?;
        self.script.wait()?.success()?;
        Ok(ended)
    }
}

/// A program of the server says that it is half done, again and again, and begins when [`go`] says so.
fn waits(node: &Node, name: &str, half_done: &str) -> Result<()> {
    let program = format!("{DB_BIN}/{name}");
    let path = node.path(&program)?;
    if path.is_symlink() {
        std::fs::remove_file(&path)?;
    }
    let script = format!(
        "#!/bin/sh\n\
         until [ -e {R3HA}/go ]; do\n\
         echo '{half_done}' >&2\n\
         sleep 0.1\n\
         done\n\
         exec /usr/lib/postgresql/15/bin/{name} \"$@\"\n"
    );
    node.write(&program, &script, 0o755, 0)
}

fn rewind_waits(node: &Node) -> Result<()> {
    waits(node, "pg_rewind", "pg_rewind:   5120/10240 kB (50%) copied")
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
    wait_for_bar_of(node, "pg_rewind")
}

fn wait_for_bar_of(node: &Node, label: &str) -> Result<()> {
    wait_for("a bar", RECOVERY, || {
        let shown = on_it(node)?;
        let bar = format!("{label} [============>            ]  50% 5.00 MiB/10.00 MiB");
        ensure!(shown.contains(&bar), "{shown}");
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
        let terminal = Terminal::open(node, "xterm", &format!("{TOOL} --force"))?;
        wait_for_bar(node)?;
        go(node)?;
        let (code, shown) = terminal.close()?;
        ensure!(code == 0, "{code} {shown}");
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

#[test]
fn a_copy_has_a_bar_too() -> Result<()> {
    Lab::with(two_hosts("nr-copy-bar"), |lab| {
        let node = lab.node(102);
        node.set_config(&[("REWIND_FALLBACK", "basebackup")])?;
        node.stop_database("fast")?;
        node.delete_data()?;
        let half_done = " 5120/10240 kB (50%), 0/1 tablespace";
        waits(node, "pg_basebackup", half_done)?;
        let terminal = Terminal::open(node, "xterm", TOOL)?;
        wait_for_bar_of(node, "pg_basebackup")?;
        go(node)?;
        let (code, shown) = terminal.close()?;
        ensure!(code == 0, "{code} {shown}");
        let (_, rest) = shown.rsplit_once(LAST).unwrap_or_default();
        ensure!(rest.trim().is_empty(), "{rest:?}");
        same_end(lab, 101)
    })
}

/// Ctrl-C goes to all that a terminal has in its foreground.
#[test]
fn ended_by_hand_it_leaves_a_clean_line_and_a_recovery_that_goes_on() -> Result<()> {
    Lab::with(at_once("nr-ctrl-c"), |lab| {
        let node = lab.node(101);
        let new = killed_with_rows_of_its_own(lab, 101)?;
        rewind_waits(node)?;
        let terminal = Terminal::open(node, "xterm", &format!("{TOOL} --force"))?;
        wait_for_bar(node)?;
        node.run(&["pkill", "-INT", "-x", "network_rewind"], SHORT)?
            .success()?;
        let (code, shown) = terminal.close()?;
        // As a shell tells that SIGINT has ended it.
        ensure!(code == 128 + libc::SIGINT, "{code} {shown}");
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
        let (code, all) = Terminal::open(node, "dumb", TOOL)?.close()?;
        ensure!(code == 0, "{code} {all}");
        ensure!(all.contains("decision: "), "{all}");
        assert_plain(&all.replace("\r\n", "\n"));

        let command = format!("{POOL_BIN}/failover_stream {STANDBY_DOWN}");
        let (code, all) = Terminal::open(lab.node(101), "dumb", &command)?.close()?;
        ensure!(code == 0, "{code} {all}");
        ensure!(
            all.contains("is no primary, nothing to promote\r\n"),
            "{all}"
        );

        // A minute in which all is well says nothing where there is none.
        let run = recover(node)?;
        ensure!(run.stdout.is_empty() && run.stderr.is_empty(), "{run}");
        // Nor does one from the background of a terminal, which may be stopped for it.
        let behind = format!("sh -c 'set -m; {TOOL} & wait $!'");
        let (code, all) = Terminal::open(node, "xterm", &behind)?.close()?;
        ensure!(code == 0, "{code} {all}");
        ensure!(all.trim().is_empty(), "{all}");
        why_it_failed_comes_last(node)
    })
}

fn why_it_failed_comes_last(node: &Node) -> Result<()> {
    let ping = "/usr/bin/ping";
    node.run(&["mv", ping, "/root/ping"], SHORT)?.success()?;
    let (code, all) = Terminal::open(node, "xterm", TOOL)?.close()?;
    ensure!(code == 66, "{code} {all}");
    let lines: Vec<&str> = all.trim_end().lines().rev().take(2).collect();
    ensure!(
        lines[0].starts_with("network_rewind: no program ping"),
        "{all}"
    );
    ensure!(
        lines[1].contains("recovery failed: no program ping"),
        "{all}"
    );
    Ok(())
}

/// Ctrl-S: nothing more comes onto the terminal, and the run goes on without it.
#[test]
fn a_stopped_terminal_holds_up_nothing() -> Result<()> {
    Lab::with(at_once("nr-stopped"), |lab| {
        let node = lab.node(101);
        let new = killed_with_rows_of_its_own(lab, 101)?;
        rewind_waits(node)?;
        // The key is pressed while the rewind is at work.
        let command = format!(
            "(until [ -e {R3HA}/press ]; do sleep 0.1; done; printf '\\023'; \
              until [ -e {R3HA}/release ]; do sleep 0.1; done) | \
             TERM=xterm script -qefc '{TOOL} --force' {SHOWN}"
        );
        let running = node.spawn(USER, &["sh", "-c", &command], RECOVERY)?;
        wait_for_bar(node)?;
        node.write(&format!("{R3HA}/press"), "", 0o644, 0)?;
        // Its bar moved ten times in a second.
        let (mut before, mut since) = (String::new(), Instant::now());
        wait_for("the terminal to stop", SHORT, || {
            let now = on_it(node)?;
            if now != before {
                (before, since) = (now, Instant::now());
            }
            ensure!(since.elapsed() > Duration::from_secs(1), "it moves");
            Ok(())
        })?;
        go(node)?;
        same_end(lab, new)?;
        node.write(&format!("{R3HA}/release"), "", 0o644, 0)?;
        let run = running.wait()?;
        let all = on_it(node)?;
        ensure!(run.code == Some(0), "{run}\n{all}");
        ensure!(!all.contains("connected to server"), "{all}");
        ensure!(node.recovery_log()?.contains(LAST), "{run}");
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
