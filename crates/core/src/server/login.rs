//! A standby's own login at its primary, tried from here with the server's own client: it knows every
//! setting of a connection string, and every way to log in, that the server's WAL receiver knows.

use crate::conninfo;
use crate::deadline::Deadline;
use crate::instance::Instance;
use crate::process::{Cmd, RunError, run};
use anyhow::{Context, Result};
use std::net::IpAddr;
use std::time::Duration;

/// For one login.
const LIMIT: Duration = Duration::from_secs(10);
/// What is asked then: it changes nothing, and no server refuses it.
const QUESTION: &str = "IDENTIFY_SYSTEM";
/// Under which the server looks for a password in a file.
const DATABASE: &str = "replication";

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// A WAL receiver would be let in.
    LetIn,
    /// What the server said instead, and who logged in.
    Refused {
        /// In its own words.
        said: String,
        /// The login's user.
        user: String,
    },
    /// There is no client to try it with, or no way to give it a secret.
    Untried(&'static str),
}

/// Logs in at `host` as a standby with this connection string would.
///
/// # Errors
/// There was no answer in time, or the connection string makes no sense.
pub fn try_replication(
    instance: &Instance,
    conninfo: &str,
    host: IpAddr,
    deadline: Deadline,
) -> Result<Tried> {
    let client = instance.flavor.sql_client;
    if instance.missing_program(client).is_some() {
        return Ok(Tried::Untried("there is no client for it"));
    }
    let pairs = conninfo::with_only_host(conninfo, &host.to_string())
        .and_then(|one| conninfo::pairs(&one))
        .context("failed to read primary_conninfo")?;
    let value = |name: &str| {
        let found = pairs.iter().find(|(keyword, _)| keyword == name);
        found.map(|(_, value)| value.as_str())
    };
    if value("sslpassword").is_some() {
        // The client takes it among its arguments only, for all to see.
        return Ok(Tried::Untried("its key has a password"));
    }
    let user = value("user").unwrap_or(&instance.user().name).to_owned();
    let command = command(instance, client, &pairs);
    match run(&command, deadline.at_most(LIMIT)).map(|output| output.checked(&command)) {
        Ok(Ok(_)) => Ok(Tried::LetIn),
        Ok(Err(RunError::Failed { last_line, .. })) => Ok(Tried::Refused {
            said: what_it_said(&last_line).to_owned(),
            user,
        }),
        Ok(Err(error)) | Err(error) => {
            Err(error).context("the replication login got no answer from the primary")
        }
    }
}

fn command(instance: &Instance, client: &str, pairs: &[(String, String)]) -> Cmd {
    // A name of its own: nobody is to take it for a standby.
    let ours = [
        ("dbname", DATABASE),
        ("replication", "true"),
        ("application_name", "failover-tools"),
    ];
    let is_theirs =
        |keyword: &str| keyword != "password" && ours.iter().all(|(ours, _)| keyword != *ours);
    let theirs = pairs
        .iter()
        .map(|(keyword, value)| (keyword.as_str(), value.as_str()))
        .filter(|(keyword, _)| is_theirs(keyword));
    let all: Vec<(&str, &str)> = theirs.chain(ours).collect();
    let command = instance
        .command(client)
        .args(["-X", "-q", "-A", "-t", "-w"]);
    let command = command
        .args(["-c", QUESTION, "-d"])
        .arg(conninfo::build(&all));
    let password = pairs.iter().find(|(keyword, _)| keyword == "password");
    match password {
        Some((_, written)) => {
            let password = instance.flavor.conninfo_password.read(written);
            let variables = instance.flavor.password_variables.iter();
            variables.fold(command, |command, name| command.env(*name, &password))
        }
        None => command,
    }
}

/// Without what the client says before it: `psql: error: connection to server at "h", port 1 failed: `.
fn what_it_said(line: &str) -> &str {
    let after = |mark: &str| line.find(mark).map(|at| &line[at + mark.len()..]);
    after(" failed: ")
        .or_else(|| after(": error: "))
        .or_else(|| after(": "))
        .unwrap_or(line)
        .trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_said_stands_alone() {
        let fatal = "FATAL:  no pg_hba.conf entry for replication connection from host \"h\"";
        for before in [
            "psql: error: connection to server at \"h\", port 1 failed: ",
            "psql: error: ",
            "psql: ",
            "ksql: ",
        ] {
            assert_eq!(what_it_said(&format!("{before}{fatal}")), fatal);
        }
        assert_eq!(what_it_said("nothing"), "nothing");
    }
}
