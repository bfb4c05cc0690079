//! The WAL that a rewind reads: whether it goes back to the last checkpoint before the fork, here or in the
//! archive. Asked before anything is stopped: the rewind itself finds out halfway.

use crate::steps::rewind::configuration;
use crate::work::Work;
use anyhow::Result;
use failover_core::deadline::Deadline;
use failover_core::durable;
use failover_core::history::History;
use failover_core::instance::{ControlData, is_primary_state};
use failover_core::last_checkpoint::{self, LastCheckpoint};
use failover_core::lsn::{Lsn, Timeline, segment_name};
use failover_core::process::{self, Cmd, shell_quote};
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

/// In the directory of the WAL, for a moment: a segment of the archive.
const RESTORED: &str = "failover-tools.restored";
/// For one segment of it.
const RESTORE: Duration = Duration::from_secs(20);

/// The option with which the rewind takes from the archive what is gone here, where there is one. It asks
/// the server's program for the command, which has to find its configuration.
pub fn option(work: &Work<'_>) -> Option<&'static str> {
    let (option, from) = work.names().rewind_restores?;
    let version = work.instance.version()?;
    if work.instance.layout().is_apart() && configuration(work).is_none() {
        return None;
    }
    (command(work).is_some() && version >= from).then_some(option)
}

fn command(work: &Work<'_>) -> Option<String> {
    let files = work.standby_files(work.data());
    let command = files.of_the_server("restore_command");
    command.filter(|it| !it.is_empty())
}

/// Why the rewind would not find the last checkpoint before the fork at `at`, or not what is between the
/// two.
pub fn obstacle(
    work: &Work<'_>,
    at: Lsn,
    own: &History,
    control: &ControlData,
    deadline: Deadline,
) -> Result<Option<String>> {
    let wal = Wal::of(work, own, control.segment_size);
    let size = wal.size;
    let archive = option(work).and_then(|_| command(work));
    if let Some(number) = wal.gone_for_crash_recovery(at, control) {
        return Ok(Some(wal.what_is_gone(at, number, None)));
    }
    let mut restored = 0;
    let mut open = |number| {
        wal.open_here(number).or_else(|| {
            let file = wal.open_archived(archive.as_deref()?, number, deadline);
            restored += u32::from(file.is_some());
            file
        })
    };
    let gone = match last_checkpoint::before(at, size, &mut open) {
        LastCheckpoint::At(_) => None,
        LastCheckpoint::Gone(number) if number < at.0 / size => Some(number),
        // Nothing of its own is behind the fork: the last checkpoint is the one that the control file has.
        LastCheckpoint::Gone(_) | LastCheckpoint::Unknown => {
            let last = at.0.saturating_sub(1) / size;
            let first = control.checkpoint.0 / size;
            (first.min(last)..=last)
                .rev()
                .find(|it| open(*it).is_none())
        }
    };
    if restored > 0 && gone.is_none() {
        work.journal.stamped(format!(
            "the WAL from the last checkpoint before the fork at {at} on is in the archive: \
             restore_command has brought {restored} segments of it"
        ));
    }
    let uses = Some(archive.is_some());
    Ok(gone.map(|number| wal.what_is_gone(at, number, uses)))
}

/// The WAL of this node, in segments that are numbered from the first one on.
struct Wal<'a> {
    work: &'a Work<'a>,
    own: &'a History,
    /// Of a segment.
    size: u64,
    /// The newest timeline that a file here is of; `None`: none is.
    newest: Option<Timeline>,
}

impl<'a> Wal<'a> {
    fn of(work: &'a Work<'a>, own: &'a History, size: u64) -> Self {
        Self {
            work,
            own,
            size,
            newest: work.instance.newest_timeline_in_wal(),
        }
    }

    /// A primary that was not shut down recovers from its own WAL only.
    fn gone_for_crash_recovery(&self, at: Lsn, control: &ControlData) -> Option<u64> {
        let down = !self.work.me.running && !control.is_clean();
        let crashed = down && is_primary_state(&control.state);
        let needed = control.redo.0 / self.size..=at.0.saturating_sub(1) / self.size;
        needed
            .rev()
            .find(|it| crashed && self.open_here(*it).is_none())
    }

    /// `restores`: whether a `restore_command` was asked, and has not brought it; `None` where it would not
    /// do.
    fn what_is_gone(&self, at: Lsn, number: u64, restores: Option<bool>) -> String {
        let (names, version) = (self.work.names(), self.work.instance.version());
        let restoring = names.rewind_restores;
        let may_restore = restoring.is_some_and(|(_, from)| version.is_some_and(|it| it >= from));
        let name = self.name(number);
        let bring = format!("bring it back to {}", names.wal_dir);
        let hint = match (restores, may_restore) {
            (Some(true), _) => "restore_command does not bring it".to_owned(),
            (Some(false), true) => {
                format!("set restore_command where an archive has it, or {bring}")
            }
            _ => format!("{bring} where an archive has it"),
        };
        match number == at.0.saturating_sub(1) / self.size {
            true => {
                format!("its WAL does not go back to the fork at {at}, {name} is gone ({hint})")
            }
            false => format!(
                "its WAL does not go back to the last checkpoint before the fork at {at}, {name} is gone ({hint})"
            ),
        }
    }

    fn oldest(&self, number: u64) -> Timeline {
        self.own.of_segment(Lsn((number + 1) * self.size))
    }

    fn name(&self, number: u64) -> String {
        segment_name(self.oldest(number), number, self.size)
    }

    /// Where a promotion happened in it, a segment is whole on the new timeline, and with an archive the old
    /// one is renamed. The control file may not know of that timeline yet.
    fn open_here(&self, number: u64) -> Option<File> {
        let oldest = self.oldest(number);
        let newest = self.newest.unwrap_or(oldest).max(oldest);
        let wal = self.work.data().join(self.work.names().wal_dir);
        let mut names = (oldest..=newest).map(|it| segment_name(it, number, self.size));
        names.find_map(|name| File::open(wal.join(name)).ok())
    }

    /// One that the archive has, brought as the server brings it.
    fn open_archived(&self, command: &str, number: u64, deadline: Deadline) -> Option<File> {
        let (work, name) = (self.work, self.name(number));
        // As the server names it: without a blank, and from the data directory on.
        let place = format!("{}/{RESTORED}", work.names().wal_dir);
        let file: PathBuf = work.data().join(&place);
        durable::remove(&file).ok()?;
        let data = shell_quote(&work.data().to_string_lossy());
        let script = format!("cd {data} && {}", filled_in(command, &place, &name));
        let shell = Cmd::new("/bin/sh")
            .args(["-c", &script])
            .as_user(work.instance.user())
            .dying_with_us();
        let ended = process::run(&shell, deadline.at_most(RESTORE));
        let opened = match ended {
            Ok(output) if output.code == 0 => File::open(&file).ok(),
            _ => None,
        };
        let _ = durable::remove(&file);
        opened.filter(|it| it.metadata().is_ok_and(|meta| meta.len() == self.size))
    }
}

/// The command with its placeholders filled in; `%r`, a file that may be needed still, is the same one.
fn filled_in(command: &str, place: &str, name: &str) -> String {
    let mut text = String::new();
    let mut rest = command.chars();
    while let Some(char) = rest.next() {
        match (char, rest.as_str().chars().next()) {
            ('%', Some(kind @ ('p' | 'f' | 'r' | '%'))) => {
                rest.next();
                text += match kind {
                    'p' => place,
                    '%' => "%",
                    _ => name,
                };
            }
            _ => text.push(char),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_the_servers() {
        for (command, expected) in [
            ("cp \"/a/%f\" \"%p\"", "cp \"/a/0001\" \"pg_wal/x\""),
            ("x %r %% %s %", "x 0001 % %s %"),
            ("%%f", "%f"),
        ] {
            assert_eq!(filled_in(command, "pg_wal/x", "0001"), expected);
        }
    }
}
