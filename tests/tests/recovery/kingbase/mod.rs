//! The same on the stand-in for KingbaseES V8R3, where the tools lie over the vendor's scripts and
//! nothing else was touched: configuration, cron line and the pool's command are the vendor's.

mod circle;
mod killed;
mod left;
mod own;
mod spaces;

use std::time::Duration;

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lab::layout::{DATA, DB_ETC, PCP_PASSWORD, SQL_PASSWORD, USER};
use lab::{Flavor, Lab, LabOptions, Node, Spy};

use crate::drill::assert_no_secret;

const SHORT: Duration = Duration::from_secs(10);

/// Two hosts with a pool each, as the vendor's installer leaves them.
fn v8r3(name: &str) -> LabOptions {
    LabOptions {
        name: name.into(),
        flavor: Flavor::Kingbase,
        pools: 2,
        ..LabOptions::default()
    }
}

/// What the case study's operator does with an old primary: his consent to its recovery.
fn consent(node: &Node) -> Result<()> {
    let [from, to] = [
        format!("{DB_ETC}/recovery.done"),
        format!("{DATA}/recovery.conf"),
    ];
    node.run_as(USER, &["cp", &from, &to], SHORT)?
        .success()
        .map(drop)
}

/// No password was in any process's arguments, nor is one in a log. The vendor's `pcp_*` programs
/// take theirs in no other way.
fn assert_kept(lab: &Lab, spy: Spy) -> Result<()> {
    let [sql, pcp] = [SQL_PASSWORD, PCP_PASSWORD].map(|it| BASE64.encode(it));
    let secrets = [SQL_PASSWORD.to_owned(), PCP_PASSWORD.to_owned(), sql, pcp];
    for node in lab.nodes() {
        assert_no_secret(node, &secrets)?;
    }
    let lines = spy.stop();
    let tools = |line: &&String| line.contains("network_rewind");
    ensure!(lines.iter().any(|it| tools(&it)), "it saw nothing of a run");
    for secret in &secrets {
        let open = lines.iter().find(|line| {
            let vendors = secret == PCP_PASSWORD && line.contains("/pcp_");
            line.contains(secret.as_str()) && !vendors
        });
        ensure!(open.is_none(), "{secret} in {open:?}");
    }
    Ok(())
}
