//! A power cut, the failover and the recovery, on a cluster that is set up by the samples.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::layout::{CHECK_PASSWORD, CHECK_USER, DATABASE, DEVICE, POOL_BIN};
use lab::{Flavor, Lab, LabOptions, wait_for};

use crate::log_lines::Manual;
use crate::settings::{POSTGRES, configure, takes};

pub const PGPOOL: &str = include_str!("../../../etc/pgpool.conf.sample");
pub const KINGBASECLUSTER: &str = include_str!("../../../etc/kingbasecluster.conf.sample");
const CRON: &str = include_str!("../../../etc/failover-tools.cron");

/// The health checks of the samples take up to 20 s to notice, an election of the pools comes before.
const FAILOVER: Duration = Duration::from_secs(180);
/// Until cron has started a recovery, and perhaps the next one, and these are done.
const BY_CRON: Duration = Duration::from_secs(240);

/// `key = value` of a pool's sample.
pub fn settings(sample: &str) -> Vec<(String, String)> {
    let lines = sample.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

/// The sample's command, with the program where a lab has it.
fn failover_command(sample: &str) -> Result<String> {
    let settings = settings(sample);
    let mut commands = settings.iter().filter(|(key, _)| key == "failover_command");
    let (_, command) = commands.next().context("no failover_command")?;
    let command = command.trim_matches('\'');
    let (program, arguments) = command.split_once(' ').context("it has no arguments")?;
    ensure!(program.ends_with("/failover_stream"), "{program}");
    Ok(format!("{POOL_BIN}/failover_stream {arguments}"))
}

/// Cuts the power of the primary, and has it come back by cron.
fn circle(lab: &Lab) -> Result<()> {
    let old = lab.node(101);
    old.power_off()?;
    wait_for("the failover", FAILOVER, || {
        let primaries = lab.primaries()?;
        let (down, up) = (("down", "standby"), [("up", "primary"), ("up", "standby")]);
        let wanted = [&[down], &up[..lab.nodes().len() - 1]].concat();
        ensure!(primaries == [102], "primaries are {primaries:?}");
        lab.pool_shows(&wanted)
    })?;
    old.power_on()?;
    let installed = old.read("/etc/cron.d/failover-tools")?;
    ensure!(installed == CRON, "it is not the sample");
    wait_for("cron to bring node101 back", BY_CRON, || lab.is_whole(102))?;

    let manual = Manual::read()?;
    let called = lab.nodes().iter().map(lab::Node::failover_log);
    let called: Vec<String> = called.collect::<Result<_>>()?;
    let failovers = called.iter().filter(|log| log.contains("failover end"));
    ensure!(failovers.count() == 1, "{called:#?}");
    for log in called {
        manual.explains(&log)?;
    }
    for node in lab.nodes() {
        manual.explains(&node.recovery_log()?)?;
    }
    Ok(())
}

/// The sample with the paths, the device and the logins of a lab, and nothing else.
fn adapted(sample: &str) -> Result<String> {
    let mut text = String::new();
    for line in sample.lines() {
        let (key, value) = line.split_once(" = ").unwrap_or((line, ""));
        let value = match key {
            "failover_command" => format!("'{}'", failover_command(sample)?),
            key if key.ends_with("_user") => format!("'{CHECK_USER}'"),
            key if key.ends_with("_password") => format!("'{CHECK_PASSWORD}'"),
            key if key.ends_with("_database") => format!("'{DATABASE}'"),
            // The lab's pool is root's.
            _ => value.replace("/usr/bin/sudo ", "").replace("eth0", DEVICE),
        };
        if !line.starts_with('#') && line.contains(" = ") {
            text += &format!("{key} = {value}\n");
        }
    }
    Ok(text)
}

/// The pool has nothing but its sample: it is reached at the VIP that it takes itself, for SQL and, in the
/// last step of the recovery, for PCP.
#[test]
fn three_hosts_of_postgresql_with_pgpool() -> Result<()> {
    let options = LabOptions {
        name: "samples-pgpool".into(),
        nodes: 3,
        pools: 3,
        recovery: true,
        pgpool_conf: adapted(PGPOOL)?,
        ..LabOptions::default()
    };
    Lab::with(options, |lab| {
        configure(lab, POSTGRES)?;
        circle(lab)
    })
}

/// `HAmodule.conf` of the stand-in's hosts is the sample, with the host's own values.
#[test]
fn two_hosts_as_kingbasees_has_them() -> Result<()> {
    let options = LabOptions {
        name: "samples-kingbase".into(),
        flavor: Flavor::Kingbase,
        pools: 2,
        recovery: true,
        config: vec![("AUTO_PRIMARY_RECOVERY".into(), "1".into())],
        pgpool: settings(KINGBASECLUSTER),
        ..LabOptions::default()
    };
    Lab::with(options, |lab| {
        for node in lab.nodes() {
            takes(node)?;
            node.write("/etc/cron.d/failover-tools", CRON, 0o644, 0)?;
        }
        circle(lab)
    })
}
