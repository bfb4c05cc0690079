//! The samples of the configurations, and what of them has to be another on a lab's hosts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lab::layout::{
    DATA, DATABASE, DATABASE_PORT, DB_BIN, DB_ETC, DEVICE, LOG, PCP_PASSWORD, PCP_USER, POOL_BIN,
    POOL_ETC, SQL_PASSWORD, SQL_USER, USER,
};
use lab::{Lab, LabOptions, Node};

/// The sample for KingbaseES: its addresses, paths and users are the lab's.
const KINGBASE: &str = include_str!("../../../etc/HAmodule.conf");
/// The sample for PostgreSQL.
pub const POSTGRES: &str = include_str!("../../../etc/HAmodule.postgres.conf");

/// For one run of a tool.
const LIMIT: Duration = Duration::from_secs(60);

/// Gives every host the sample in the place of its own configuration, with what differs in a lab.
pub fn configure(lab: &Lab, sample: &str) -> Result<()> {
    for node in lab.nodes() {
        for directory in [DB_ETC, POOL_ETC] {
            let path = format!("{directory}/HAmodule.conf");
            // In place: owner and mode stay as they are.
            std::fs::write(node.path(&path)?, sample)?;
        }
        let settings = [
            ("KB_LOCALHOST_IP", node.address().to_string()),
            ("NODE_NAME", node.name()),
            ("DEV", DEVICE.to_owned()),
            ("CMD_ARPING_PATH", "/usr/bin".to_owned()),
            ("PCP_USER", PCP_USER.to_owned()),
            ("PCP_PASS", BASE64.encode(PCP_PASSWORD)),
            ("CLUSTER_BIN_PATH", POOL_BIN.to_owned()),
            ("KB_USER", SQL_USER.to_owned()),
            ("KB_PASS", BASE64.encode(SQL_PASSWORD)),
            ("KB_DATANAME", DATABASE.to_owned()),
            ("KB_PORT", DATABASE_PORT.to_string()),
            ("KB_PATH", DB_BIN.to_owned()),
            ("KB_ETC_PATH", DB_ETC.to_owned()),
            ("KB_DATA_PATH", DATA.to_owned()),
            ("KB_EXECUTE_SYS_USER", USER.to_owned()),
            ("KB_POOL_EXECUTE_SYS_USER", "root".to_owned()),
            ("FAILOVER_LOG_DIR", format!("{LOG}/failover.log")),
            ("RECOVERY_LOG_DIR", format!("{LOG}/recovery.log")),
            ("STATE_DIR", LOG.to_owned()),
            ("EVENT_LOG", format!("{LOG}/events.jsonl")),
            ("AUTO_PRIMARY_RECOVERY", "1".to_owned()),
        ];
        let settings = settings.map(|(key, value)| (key, format!("\"{value}\"")));
        node.set_config(
            &settings
                .each_ref()
                .map(|(key, value)| (*key, value.as_str())),
        )?;
        takes(node)?;
    }
    Ok(())
}

/// Every tool reads the configuration of its host, finds nothing to say about it, and does its work.
pub fn takes(node: &Node) -> Result<()> {
    for bin in [DB_BIN, POOL_BIN] {
        let tool = format!("{bin}/failover_stream");
        let said = node.run(&[&tool, "--check-config"], LIMIT)?.success()?;
        ensure!(
            said.lines().count() == 1 && said.ends_with(": good\n"),
            "{said}"
        );
    }
    for command in [
        &["attach_node", "--status"][..],
        &["vip_ctl", "status"],
        &["rw_check"],
        &["network_rewind", "--dry-run"],
    ] {
        let tool = format!("{DB_BIN}/{}", command[0]);
        let command = [&[tool.as_str()], &command[1..]].concat();
        node.run_as(USER, &command, LIMIT)?
            .success()
            .with_context(|| node.name())?;
    }
    Ok(())
}

/// As they are they name programs, users and passwords that a lab does not have. That is said, but
/// nothing is wrong with the files.
#[test]
fn every_tool_reads_both_samples_as_they_are() -> Result<()> {
    let options = LabOptions {
        name: "samples".into(),
        ..LabOptions::default()
    };
    Lab::with(options, |lab| {
        let node = lab.node(101);
        for (name, sample) in [("kingbase", KINGBASE), ("postgres", POSTGRES)] {
            let file = format!("{LOG}/{name}.conf");
            node.write(&file, sample, 0o640, 0)?;
            let group = format!("root:{name}");
            node.run(&["chown", &group, &file], LIMIT)?.success()?;
            let run = |tool: &str, args: &[&str]| {
                let tool = format!("{DB_BIN}/{tool}");
                let command = [&[tool.as_str()], args, &["--config", &file]].concat();
                node.run(&command, LIMIT)
            };
            let checked = run("failover_stream", &["--check-config"])?;
            // Of what is wrong with a file itself its line is told: what is said is about this host.
            let said = checked.stdout.as_str();
            let about_host = |line: &str| line.starts_with(&format!("{file}: "));
            ensure!(said.lines().all(about_host), "{checked}");
            match name {
                "kingbase" => ensure!(said == format!("{file}: good\n"), "{checked}"),
                _ => ensure!(
                    checked.code == Some(2)
                        && said.contains("DEV: this host has no network device"),
                    "{checked}"
                ),
            }
            for (tool, args) in [
                ("network_rewind", &["--dry-run"][..]),
                ("attach_node", &["--status"]),
                ("vip_ctl", &["status"]),
                ("rw_check", &["--retries", "1"]),
            ] {
                let ended = run(tool, args)?;
                // Wrong arguments or configuration would be 2.
                ensure!(matches!(ended.code, Some(0 | 1 | 66)), "{name}: {ended}");
                ensure!(ended.stderr.lines().count() <= 1, "{name}: {ended}");
            }
            // The plan of a failover needs neither.
            for arguments in [&PRIMARY_DOWN[..], &FROM_4_4] {
                let plan = run("failover_stream", &[&["--dry-run"], arguments].concat())?;
                ensure!(plan.success()?.contains("promote.promote"), "{name}");
            }
            for arguments in [&["1", "2", "3"][..], &["--failed-node-id=", "1"]] {
                let ended = run("failover_stream", arguments)?;
                ensure!(ended.code == Some(2), "{name}: {ended}");
                let lines: Vec<&str> = ended.stderr.lines().collect();
                ensure!(
                    matches!(lines[..], [line] if line.starts_with("failover_stream: found ")
                        && line.contains("expected ") && line.contains("--help")),
                    "{name}: {ended}"
                );
            }
        }
        Ok(())
    })
}

/// The same by name and without quotes, as a shell has it from pgpool-II 4.4 and later.
const FROM_4_4: [&str; 10] = [
    "--new-primary-host=192.168.1.102",
    "--old-primary-id=0",
    "--failed-node-id=",
    "0",
    "--failed-node-host=192.168.1.101",
    "--old-primary-host=192.168.1.101",
    "--new-primary-id=",
    "1",
    "--old-main-id=0",
    "--data-dir=/data",
];
/// `%H %P %d %h %O %m %M %D` of the case study.
const PRIMARY_DOWN: [&str; 8] = lab::layout::PRIMARY_DOWN;
