//! `--json`: whatever a tool is called with, and however it ends, its standard output is JSON, and the last
//! object has the exit code.

use anyhow::{Context, Result, bail, ensure};
use lab::layout::{DB_BIN, LOG, POOL_BIN, PRIMARY_DOWN, USER};
use lab::{Lab, Node, ToolRun};
use serde_json::Value;

use crate::scene::{RECOVERY, SHORT, two_hosts};

/// Has all members of the objects.
const MANUAL: &str = include_str!("../../../docs/tools.md");

/// A call as `user`, and the exit code that it has to end with.
type Call<'a> = (&'a str, &'a str, i32);

/// Whose output is one object, and no line for each event before it.
const ONE_OBJECT: [&str; 3] = ["attach_node", "vip_ctl", "rw_check"];

/// A pool calls it when node 1, a standby, is down.
const STANDBY_DOWN: &str = "192.168.1.101 0 1 192.168.1.102 192.168.1.101 0 0 /data";

fn call(node: &Node, user: &str, line: &str) -> Result<ToolRun> {
    let bin = match line.starts_with("failover_stream") {
        true => POOL_BIN,
        false => DB_BIN,
    };
    let line = format!("PATH={bin}:$PATH {line}");
    node.run_as(user, &["sh", "-c", &line], RECOVERY)
}

/// The last object that it printed.
fn answer(run: &ToolRun, one: bool) -> Result<Value> {
    let objects: Vec<Value> = run
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
        .collect::<Result<_>>()?;
    ensure!(objects.iter().all(Value::is_object), "{run}");
    let Some((last, events)) = objects.split_last() else {
        bail!("nothing: {run}");
    };
    ensure!(!one || events.is_empty(), "more than one: {run}");
    let is_event = |it: &Value| it["step"].is_string() && it["outcome"].is_string();
    ensure!(events.iter().all(is_event) && !is_event(last), "{run}");
    Ok(last.clone())
}

/// Each of the calls ends as it should, and says so.
fn see(node: &Node, calls: &[Call<'_>]) -> Result<()> {
    for (user, line, code) in calls {
        told(node, user, line, *code).with_context(|| (*line).to_owned())?;
    }
    Ok(())
}

fn told(node: &Node, user: &str, line: &str, code: i32) -> Result<Value> {
    let run = call(node, user, line)?;
    ensure!(run.code == Some(code), "not {code}: {run}");
    let tool = line.split(' ').find(|word| !word.contains(['=', '/', '-']));
    let one = ONE_OBJECT.iter().any(|it| tool == Some(it));
    let answer = answer(&run, one)?;
    ensure!(answer["exit"] == code, "{run}");
    let members = answer.as_object().context("no object")?;
    for name in members.keys() {
        ensure!(
            MANUAL.contains(&format!("`{name}`")),
            "{name} is in no page"
        );
    }
    let message = answer["message"].as_str().context("no message")?;
    ensure!(!message.is_empty(), "{run}");
    // Whoever reads cron's mail is told, too.
    ensure!(
        code == 0
            || !run.stderr.is_empty()
            || line.contains("check-config")
            || line.starts_with("flock"),
        "{run}"
    );
    ensure!(!run.stderr.contains("panicked"), "{run}");
    Ok(answer)
}

#[test]
fn every_way_out_ends_in_json() -> Result<()> {
    Lab::with(two_hosts("nr-json"), |lab| {
        let (primary, node) = (lab.node(101), lab.node(102));
        for tool in [
            "failover_stream",
            "network_rewind",
            "attach_node",
            "rw_check",
        ] {
            of_all(node, tool)?;
        }
        of_all(node, "vip_ctl status")?;
        recovery(node)?;
        failover(primary)?;
        attach(node)?;
        address(node, primary)?;
        see(
            node,
            &[
                (USER, "rw_check --json", 0),
                ("daemon", "rw_check --json", 2),
                (USER, "rw_check --json --retries 0", 2),
                (USER, "rw_check --json --retries 1 /nowhere", 66),
            ],
        )?;
        broken(node)
    })
}

/// What every tool knows.
fn of_all(node: &Node, tool: &str) -> Result<()> {
    let user = match tool {
        "failover_stream" => "root",
        _ => USER,
    };
    for (rest, code) in [
        ("--version", 0),
        ("--help", 0),
        ("--frobnicate", 2),
        ("--config", 2),
    ] {
        let line = format!("{tool} --json {rest}");
        told(node, user, &line, code).context(line)?;
    }
    // One with capabilities takes no other configuration than its own, and says so.
    let line = format!("{tool} --json --config /nowhere");
    let line = match tool {
        "failover_stream" => format!("{line} {STANDBY_DOWN}"),
        _ => line,
    };
    told(node, user, &line, 2).map(drop).context(line)
}

fn recovery(node: &Node) -> Result<()> {
    let held = format!("flock {LOG}/network_rewind.lock {DB_BIN}/network_rewind --json");
    let forced = format!("{held} --force");
    see(
        node,
        &[
            (USER, "network_rewind --json", 0),
            (USER, "network_rewind --json --force", 0),
            (USER, "network_rewind --json --unfence", 0),
            ("daemon", "network_rewind --json", 2),
            (USER, "network_rewind --json --pause --force", 2),
            (USER, "network_rewind --json --pause why", 0),
            (USER, "network_rewind --json", 0),
            (USER, "network_rewind --json --dry-run", 0),
            (USER, "network_rewind --json --resume", 0),
            (USER, &held, 0),
            (USER, &forced, 66),
        ],
    )?;
    let planned = told(node, USER, "network_rewind --json --dry-run", 0)?;
    ensure!(planned["plan"].is_array(), "{planned}");
    let run = call(node, USER, "network_rewind --json")?;
    ensure!(run.stdout.contains(r#""step":"decide""#), "{run}");
    Ok(())
}

fn failover(primary: &Node) -> Result<()> {
    let down = PRIMARY_DOWN.join(" ");
    let nobody = "failover_stream --json '' 0 0 192.168.1.101 192.168.1.101 -1 0 /data";
    let standby = format!("failover_stream --json {STANDBY_DOWN}");
    see(
        primary,
        &[
            ("root", "failover_stream --json", 2),
            ("root", "failover_stream --json a b c", 2),
            ("root", "failover_stream --json --check-config", 0),
            (
                "root",
                "failover_stream --json --check-config --config /nowhere",
                2,
            ),
            ("root", nobody, 66),
            ("root", &standby, 0),
            ("root", &format!("{standby} --dry-run"), 0),
        ],
    )?;
    let planned = format!("failover_stream --json --dry-run {down}");
    let planned = told(primary, "root", &planned, 0)?;
    let steps = planned["plan"].as_array().context("no plan")?;
    ensure!(
        steps.iter().any(|it| it["step"] == "promote.promote"),
        "{planned}"
    );
    Ok(())
}

fn attach(node: &Node) -> Result<()> {
    see(
        node,
        &[
            (USER, "attach_node --json", 0),
            (USER, "attach_node --json --status", 0),
            (USER, "attach_node --json --status --force", 2),
            (USER, "attach_node --json -n 9", 2),
            (USER, "attach_node --json --dry-run --detach", 0),
            (USER, "attach_node --json --detach -n 0", 1),
            (USER, "attach_node --json --pool 192.168.1.99", 66),
        ],
    )
}

fn address(node: &Node, primary: &Node) -> Result<()> {
    see(
        node,
        &[
            (USER, "vip_ctl --json status", 0),
            (USER, "vip_ctl --json", 2),
            (USER, "vip_ctl --json add --dry-run", 1),
            (USER, "vip_ctl --json add", 1),
            (USER, "vip_ctl --json del", 0),
            (USER, "vip_ctl --json status --host node101", 0),
            (USER, "vip_ctl --json add --host node101 --dry-run", 0),
            (USER, "vip_ctl --json status --host nowhere", 2),
        ],
    )?;
    let there = told(node, USER, "vip_ctl --json status --host node101", 0)?;
    ensure!(there["here"] == true, "{there}");
    // Neither a copy of the tool that is not there, nor a host, has an answer of its own.
    let tool = format!("{DB_BIN}/vip_ctl");
    primary
        .run(&["mv", &tool, "/root/vip_ctl"], SHORT)?
        .success()?;
    told(node, USER, "vip_ctl --json status --host node101", 66)?;
    primary
        .run(&["mv", "/root/vip_ctl", &tool], SHORT)?
        .success()?;
    primary.stop_sshd()?;
    told(node, USER, "vip_ctl --json status --host node101", 66)?;
    primary.start_sshd()
}

/// A configuration that is wrong, and a state that cannot be had.
fn broken(node: &Node) -> Result<()> {
    node.set_config(&[("STATE_DIR", "/nowhere")])?;
    see(
        node,
        &[
            (USER, "network_rewind --json", 66),
            (USER, "network_rewind --json --pause", 66),
        ],
    )?;
    node.set_config(&[("STATE_DIR", LOG), ("KB_PORT", "\u{9b}2Jmany")])?;
    see(
        node,
        &[
            (USER, "network_rewind --json", 2),
            (USER, "network_rewind --json --dry-run", 2),
            (USER, "attach_node --json --status", 2),
            (USER, "vip_ctl --json status", 2),
            (USER, "rw_check --json", 2),
            ("root", &format!("failover_stream --json {STANDBY_DOWN}"), 2),
        ],
    )?;
    let checked = told(node, "root", "failover_stream --json --check-config", 2)?;
    let findings = checked["findings"].as_array().context("no findings")?;
    let port = findings.iter().find(|it| it["key"] == "KB_PORT");
    let port = port.context("not found")?;
    ensure!(
        port["severity"] == "error" && port["line"].is_u64(),
        "{port}"
    );
    // Words of others are no orders to a terminal.
    ensure!(!checked.to_string().contains('\u{9b}'), "{checked}");
    Ok(())
}
