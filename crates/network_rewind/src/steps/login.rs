//! The replication login of this node, tried at the primary before anything is touched.

use crate::budget;
use crate::steps::own;
use crate::work::{Break, Work};
use anyhow::{Result, bail};
use failover_core::deadline::Deadline;
use failover_core::flavor::ConninfoPassword;
use failover_core::login::{Tried, try_replication};
use std::net::IpAddr;

/// Tries it with the settings that this node will have.
pub fn see(work: &mut Work<'_>, deadline: Deadline) -> Result<()> {
    let (primary, me) = (work.primary, work.me());
    let own = own::settings(work)?;
    let conninfo = work.standby_files(&own).conninfo(&primary.to_string())?;
    let (said, user) = match try_replication(work.instance, &conninfo, primary, deadline)? {
        Tried::LetIn => return Ok(()),
        Tried::Untried(why) => {
            work.journal
                .stamped(format!("the replication login is not tried: {why}"));
            return Ok(());
        }
        Tried::Refused { said, user } => (said, user),
    };
    let limit = Deadline::after(budget::ANSWER);
    let mut show = |name: &str| {
        let session = work.session(limit).ok()?;
        session.value(&format!("SHOW {name}"), limit).ok()?
    };
    let file = show("hba_file").unwrap_or_else(|| "its hba file".to_owned());
    let method = match show("password_encryption") {
        Some(method) if method == "scram-sha-256" => method,
        _ => "md5".to_owned(),
    };
    let advice = match &said {
        said if said.contains("_hba.conf") => format!(
            "add \"{}\" to {file} there, before any line that rejects it, and reload",
            rule(&user, me, &method)
        ),
        said if said.contains("max_wal_senders") => {
            "raise max_wal_senders there, or end a base backup that nobody needs".to_owned()
        }
        _ => format!(
            "correct primary_conninfo of this node{}, or the password there",
            match work.names().conninfo_password {
                ConninfoPassword::Clear => "",
                ConninfoPassword::Base64 => ", where the password is base64-encoded",
            }
        ),
    };
    bail!(Break::NeedsPerson(format!(
        "the primary {primary} refuses the replication login of this node ({said}), nothing is \
         changed: {advice}"
    )))
}

/// The line of an hba file that lets `user` in from `from` for replication.
fn rule(user: &str, from: IpAddr, method: &str) -> String {
    let bits = if from.is_ipv4() { 32 } else { 128 };
    format!("host replication {user} {from}/{bits} {method}")
}
