//! Programs of the server that work for long: what they say is in the log as it comes.

use crate::work::Work;
use anyhow::Result;
use failover_core::deadline::Deadline;
use failover_core::process::{self, Cmd, RunError};
use failover_core::screen::Amount;
use std::ops::ControlFlow;
use std::time::Duration;

/// Runs a program with what it says in the log as it comes, without its own name before it. It says
/// how far it is each second; the log gets that now and then.
pub fn run_into_log(
    work: &Work<'_>,
    command: &Cmd,
    name: &'static str,
    deadline: Deadline,
) -> Result<()> {
    let prefix = format!("{name}: ");
    let mut next = Deadline::after(Duration::ZERO);
    let mut cause = String::new();
    let output = process::run_lines(command, deadline, |_, line| {
        let line = line.trim();
        let line = line.strip_prefix(&prefix).unwrap_or(line);
        let amount = amount(name, line);
        let is_on_its_way = line.contains(" kB (") && !line.contains("(100%)");
        if is_on_its_way {
            work.progress(&mut next, amount, || line.to_owned());
        } else if !line.is_empty() {
            if amount.is_some() {
                work.journal.progress(false, amount, String::new);
            }
            work.journal.line(line);
            // The last words of 9.6, after the reason.
            if line != "Failure, exiting" {
                line.clone_into(&mut cause);
            }
        }
        ControlFlow::Continue(())
    })?;
    match output.code {
        0 => Ok(()),
        code => Err(RunError::Failed {
            command: command.to_string(),
            code,
            last_line: cause,
        }
        .into()),
    }
}

/// How far a program is that says so: `10/200 kB (5%) copied`, `10/200 kB (5%), 0/1 tablespace`.
fn amount(label: &'static str, line: &str) -> Option<Amount> {
    let (done, total) = line.split_once(" kB (")?.0.rsplit_once('/')?;
    let kilobytes = |text: &str| {
        let number = text.rsplit(' ').next()?.parse::<u64>().ok()?;
        number.checked_mul(1 << 10)
    };
    Some(Amount {
        label,
        done: kilobytes(done)?,
        total: kilobytes(total)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_program_is() {
        let of = |line| amount("x", line).map(|it| (it.done >> 10, it.total >> 10));
        assert_eq!(of("  1024/204800 kB (0%) copied"), Some((1024, 204_800)));
        assert_eq!(of("10/200 kB (5%), 0/1 tablespace"), Some((10, 200)));
        for strange in [
            "need to copy 48 MB (total source directory size is 70 MB)",
            "/200 kB (5%)",
            "10/ kB (5%)",
            "99999999999999999999/1 kB (5%)",
            "18446744073709551615/1 kB (5%)",
        ] {
            assert_eq!(of(strange), None, "{strange}");
        }
    }
}
