//! Another host's own copy of the tools, asked over ssh: what has to be known or done *on* a host is
//! that host's to find out or do, with its own configuration. It answers in JSON lines.

use crate::config::Config;
use crate::deadline::Deadline;
use crate::journal::Message;
use crate::process::{Cmd, Output, Stream};
use crate::ssh::{Login, Ssh};
use crate::terminal::foreign;
use failover_rules::facts::status::Status;
use failover_rules::fencing::{NoReport, NoStatus};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// As much of another host's version as is shown.
const MAX_VERSION: usize = 80;

/// What the far side gets less than we wait: its answer has to come back.
pub const RETURN_TIME: Duration = Duration::from_millis(50);

/// Why a host gave no report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The step was not begun, or nobody knows how it ended: the host did not let us in, or gave no
    /// answer in time.
    #[error("{0}")]
    NotRun(String),
    /// It let us in and ran something, and no report that we understand came of it: nobody knows what
    /// is there.
    #[error("{0}")]
    NotUnderstood(String),
    /// The step ran and failed.
    #[error("{0}")]
    Failed(String),
}

impl From<PeerError> for NoReport {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::NotRun(why) | PeerError::NotUnderstood(why) => Self::NotRun(why),
            PeerError::Failed(why) => Self::Failed(why),
        }
    }
}

impl From<PeerError> for NoStatus {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::NotRun(why) => Self::Silent(why),
            PeerError::NotUnderstood(why) | PeerError::Failed(why) => Self::NotUnderstood(why),
        }
    }
}

/// The command line of a step for the tools in `bin` of the host with `address`, which may take `limit`.
/// A host that is another one refuses it.
pub fn step_command(bin: &Path, address: IpAddr, step: &str, run: &str, limit: Duration) -> Cmd {
    Cmd::new(bin.join("failover_stream"))
        .args(["--step", step, "--deadline"])
        .arg(limit.as_millis().to_string())
        .args(["--run", run])
        .args(["--for".to_owned(), address.to_string()])
}

/// Runs a step there: how it ended, and whether its command ended, too. `hear` gets what it says
/// meanwhile.
pub fn run_step(
    ssh: &Ssh,
    cmd: &Cmd,
    deadline: Deadline,
    mut hear: impl FnMut(Message),
) -> (Result<Value, PeerError>, bool) {
    let mut end = None;
    let out = ssh.run_lines(cmd, deadline, |stream, line| {
        if stream == Stream::Stdout {
            for message in messages(line) {
                match message {
                    Message::Answer(value) => end = Some(Ok(value)),
                    Message::Failed(why) => end = Some(Err(PeerError::Failed(why))),
                    Message::Unable(why) => end = Some(Err(PeerError::NotUnderstood(why))),
                    message => hear(message),
                }
            }
        }
        match end {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    });
    let ended = out.is_ok();
    let result = match (end, out) {
        (Some(end), _) => end,
        (None, Ok(out)) => {
            let why = no_answer(&cmd.program().display(), &out);
            Err(PeerError::NotUnderstood(why))
        }
        (None, Err(error)) => Err(PeerError::NotRun(error.to_string())),
    };
    (result, ended)
}

/// The messages in a line, wherever they begin: somebody's shell may greet before the tool speaks, without
/// an end of its line, or set the terminal's title.
pub(crate) fn messages(line: &str) -> Vec<Message> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.find('{') {
        rest = &rest[start..];
        let mut objects = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        // What is within an object is no message of its own, whether we understand the object or not.
        let length = match objects.next() {
            Some(Ok(object)) => {
                found.extend(serde_json::from_value(object));
                objects.byte_offset()
            }
            _ => 1,
        };
        rest = &rest[length..];
    }
    found
}

/// How the instance of the host behind `login` is.
pub fn status(
    config: &Config,
    login: &Login,
    address: IpAddr,
    run: &str,
    deadline: Deadline,
) -> Result<Status, PeerError> {
    let ssh =
        Ssh::connect(login, deadline).map_err(|error| PeerError::NotRun(error.to_string()))?;
    let limit = deadline.remaining().saturating_sub(RETURN_TIME);
    let cmd = step_command(&config.kb_path, address, "status", run, limit);
    read(run_step(&ssh, &cmd, deadline, drop).0?, address)
}

/// The member of a report that names the version of the tools that wrote it.
const VERSION: &str = "version";

/// A report with the version of the tools that wrote it. One that does not know the member leaves it unread.
pub fn signed(mut report: Value, version: &str) -> Value {
    if let Value::Object(members) = &mut report {
        members.insert(VERSION.to_owned(), version.into());
    }
    report
}

/// A report out of its JSON.
pub fn read<T: DeserializeOwned>(value: Value, address: IpAddr) -> Result<T, PeerError> {
    let version = value.get(VERSION).and_then(Value::as_str);
    let version = version.map_or_else(
        || "unknown version".to_owned(),
        |version| format!("version {}", foreign(version, MAX_VERSION)),
    );
    serde_json::from_value(value).map_err(|error| {
        let why = format!("{error}, {version}");
        PeerError::NotUnderstood(format!(
            "the answer of {address} was not understood ({why}): is the same version installed there?"
        ))
    })
}

fn no_answer(program: &impl std::fmt::Display, out: &Output) -> String {
    match out.code {
        126 | 127 => format!(
            "{program} cannot be run there ({}): install the tools on that host",
            out.last_line()
        ),
        code => format!(
            "{program} ended there with code {code} and no answer: {}",
            out.last_line()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As text, to compare.
    fn found(line: &str) -> Vec<String> {
        let all = messages(line).into_iter();
        all.map(|message| serde_json::to_string(&message).unwrap())
            .collect()
    }

    #[test]
    fn a_message_is_found_wherever_it_begins() {
        let answer = r#"{"answer":{"running":true,"trouble":"a {\"failed\":\"x\"} b"}}"#;
        for before in [
            "",
            "Welcome!",
            "\u{1b}]0;kingbase@node102: ~\u{7}",
            "\r",
            "use {braces} and {",
            r#"{"user":"kingbase"}"#,
            r#""{"#,
            "{{{[{\"",
            "é{ü",
            r#"{"failed":1}"#,
        ] {
            for after in ["", " ", "\r", "bye", "} bye {", "\u{1b}[0m", "{\"a\":"] {
                let line = format!("{before}{answer}{after}");
                assert_eq!(found(&line), [answer], "{line}");
            }
        }
    }

    #[test]
    fn an_answer_names_the_version_that_wrote_it() {
        let address: IpAddr = "192.168.1.102".parse().unwrap();
        let report = serde_json::to_value(Status::default()).unwrap();
        // Whoever does not know the member reads the same.
        let told = signed(
            report.clone(),
            "0.2.0 (commit 4c7abca1d2e3, built 2026-12-01)",
        );
        assert_eq!(read::<Status>(told.clone(), address), Ok(Status::default()));
        assert_eq!(read::<Status>(report, address), Ok(Status::default()));
        let refused = |value: Value| read::<Status>(value, address).unwrap_err().to_string();
        let mut other = told;
        other["macs"] = "none".into();
        let end = ", version 0.2.0 (commit 4c7abca1d2e3, built 2026-12-01)): is";
        assert!(refused(other).contains(end));
        let end = ", unknown version): is";
        assert!(refused(serde_json::json!({"running": true})).contains(end));
        let end = ", version 1?[2J): is";
        assert!(refused(serde_json::json!({"version": "1\u{1b}[2J"})).contains(end));
        assert_eq!(signed(Value::Null, "1"), Value::Null);
    }

    #[test]
    fn a_line_may_have_several_messages_or_none() {
        let (one, two) = (r#"{"line":"one {\"line\":\"no\"}"}"#, r#"{"failed":"two"}"#);
        assert_eq!(found(&format!("hello {one}{two}")), [one, two]);
        assert_eq!(found(&format!("{one} and {two}")), [one, two]);
        for none in [
            "",
            "{",
            "{}",
            "hello {world}",
            r#"{"line":1}"#,
            // Of a newer version, with something that looks like an answer in it.
            r#"{"progress":{"answer":{"running":true}}}"#,
            r#"[{"#,
        ] {
            assert!(found(none).is_empty(), "{none}");
        }
        // Deeper than the parser goes, and long: no error, and soon.
        assert!(found(&"{\"a\":".repeat(20_000)).is_empty());
        assert!(found(&"{".repeat(1 << 20)).is_empty());
    }
}
