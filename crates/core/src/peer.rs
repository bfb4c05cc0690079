//! Another host's own copy of the tools, asked over ssh: what has to be known or done *on* a host is
//! that host's to find out or do, with its own configuration. It answers in JSON lines.

use crate::config::Config;
use crate::deadline::Deadline;
use crate::journal::Message;
use crate::process::{Cmd, Output, Stream};
use crate::ssh::{Login, Ssh};
use crate::status::Status;
use failover_rules::failover::NoReport;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// What the far side gets less than we wait: its answer has to come back.
pub const RETURN_TIME: Duration = Duration::from_millis(50);

/// Why a host gave no report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The step was not begun, or nobody knows how it ended: the host did not let us in, has no
    /// tool or no usable configuration, or gave no answer in time.
    #[error("{0}")]
    NotRun(String),
    /// The step ran and failed.
    #[error("{0}")]
    Failed(String),
}

impl From<PeerError> for NoReport {
    fn from(error: PeerError) -> Self {
        match error {
            PeerError::NotRun(why) => Self::NotRun(why),
            PeerError::Failed(why) => Self::Failed(why),
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
            match serde_json::from_str::<Message>(line) {
                Ok(Message::Answer(value)) => end = Some(Ok(value)),
                Ok(Message::Failed(why)) => end = Some(Err(PeerError::Failed(why))),
                Ok(Message::Unable(why)) => end = Some(Err(PeerError::NotRun(why))),
                Ok(message) => hear(message),
                // Somebody's shell greets before the tool speaks.
                Err(_) => {}
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
        (None, Ok(out)) => Err(PeerError::NotRun(no_answer(&cmd.program().display(), &out))),
        (None, Err(error)) => Err(PeerError::NotRun(error.to_string())),
    };
    (result, ended)
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

/// A report out of its JSON.
pub fn read<T: DeserializeOwned>(value: Value, address: IpAddr) -> Result<T, PeerError> {
    serde_json::from_value(value).map_err(|error| {
        PeerError::NotRun(format!(
            "the answer of {address} was not understood ({error}): is the same version installed there?"
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
