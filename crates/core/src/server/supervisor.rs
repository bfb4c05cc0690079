//! Who owns the server of this host, beside the tools: a unit of systemd, or nobody.
//!
//! What a unit owns is started and stopped through it. A server that was started beside its unit ends with
//! the session that started it, and a unit that restarts undoes every stop but its own.

use crate::deadline::Deadline;
use crate::process::{Cmd, Output, RunError, run};
use crate::users::SystemUser;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// There where systemd runs as the first process.
const SYSTEMD: &str = "/run/systemd/system";
const SYSTEMCTL: &str = "/usr/bin/systemctl";
const SUDO: &str = "/usr/bin/sudo";
const CTLCLUSTER: &str = "/usr/bin/pg_ctlcluster";
/// For a word with systemd, which answers in milliseconds.
const WORD_TIME: Duration = Duration::from_secs(1);

/// Who starts and stops the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Supervisor {
    /// Its own programs.
    Own,
    /// This unit of systemd.
    Unit(String),
    /// Debian's `pg_ctlcluster`, which stands in for its unit where no systemd runs.
    Cluster {
        /// The server's major version.
        version: String,
        /// `main`, mostly.
        name: String,
    },
}

impl Supervisor {
    /// The one that `DB_SERVICE` names.
    pub fn named(service: &str) -> Self {
        Self::of(service, Path::new(SYSTEMD).exists())
    }

    fn of(service: &str, systemd: bool) -> Self {
        let unit = match service.ends_with(".service") {
            true => service.to_owned(),
            false => format!("{service}.service"),
        };
        if systemd {
            return Self::Unit(unit);
        }
        let instance = unit.strip_suffix(".service").unwrap_or(&unit);
        let cluster = instance
            .strip_prefix("postgresql@")
            .and_then(|it| it.split_once('-'));
        match cluster {
            Some((version, name)) => Self::Cluster {
                version: version.to_owned(),
                name: name.to_owned(),
            },
            None => Self::Own,
        }
    }

    /// The one that a run before this one has seen: `unit` owned the server.
    pub fn remembered(unit: Option<String>) -> Self {
        match unit.filter(|_| Path::new(SYSTEMD).exists()) {
            Some(unit) => Self::Unit(unit),
            None => Self::Own,
        }
    }

    /// The one that owns the server whose postmaster is `pid`. `known` is a unit that is sure to be the
    /// server's.
    pub fn owner_of(pid: i32, known: Option<&str>) -> Self {
        let Some(unit) = unit_of(pid).filter(|_| Path::new(SYSTEMD).exists()) else {
            return Self::Own;
        };
        // What we run in ourselves is cron's, sshd's or the pool's.
        let ours = i32::try_from(std::process::id()).ok().and_then(unit_of);
        let is_its = Some(unit.as_str()) == known
            || (Some(&unit) != ours.as_ref() && main_process(&unit) == Some(pid));
        match is_its {
            true => Self::Unit(unit),
            false => Self::Own,
        }
    }

    /// Its unit.
    pub fn unit(&self) -> Option<&str> {
        match self {
            Self::Unit(unit) => Some(unit),
            _ => None,
        }
    }

    /// Has systemd stop the unit, and not start it again. The server itself is then on its way down; that is
    /// not waited for. `None`: there is no unit.
    pub fn stop(&self, deadline: Deadline) -> Option<Result<(), RunError>> {
        let unit = self.unit()?;
        Some(systemctl(&["stop", "--no-block", unit], deadline.at_most(WORD_TIME)).map(drop))
    }

    /// Starts the server, as far as that is not left to its own programs. `settings` are its own for this
    /// start. One that takes longer than `deadline` goes on.
    pub fn start(
        &self,
        user: &SystemUser,
        settings: &[&str],
        deadline: Deadline,
    ) -> Option<Result<Output, RunError>> {
        let started = match self {
            Self::Own => return None,
            // A unit takes no settings.
            Self::Unit(_) if !settings.is_empty() => return None,
            Self::Unit(unit) => {
                let start = || systemctl(&["start", unit], deadline);
                start().or_else(|error| match error {
                    // It was started too often in too short a time.
                    RunError::Failed { .. } => {
                        systemctl(&["reset-failed", unit], deadline.at_most(WORD_TIME))?;
                        start()
                    }
                    other => Err(other),
                })
            }
            Self::Cluster { version, name } => {
                let cmd = Cmd::new(CTLCLUSTER)
                    .as_user(user)
                    .args(["--skip-systemctl-redirect"])
                    .args(
                        settings
                            .iter()
                            .flat_map(|it| ["-o".to_owned(), format!("-c {it}")]),
                    )
                    .args([version, name, "start"]);
                run(&cmd, deadline).and_then(|out| out.checked(&cmd))
            }
        };
        Some(match started {
            Err(RunError::TimedOut { .. }) => Ok(Output::default()),
            other => other,
        })
    }

    /// The command by which a person, as root, starts the server; `None`: its own program does.
    pub fn start_by_hand(&self) -> Option<String> {
        match self {
            Self::Own => None,
            Self::Unit(unit) => Some(format!("systemctl start {unit}")),
            Self::Cluster { version, name } => {
                Some(format!("pg_ctlcluster {version} {name} start"))
            }
        }
    }

    /// A property of the unit, as `systemctl show` has it. `None`: there is no unit, or it cannot be asked.
    pub fn property(&self, name: &str, deadline: Deadline) -> Option<String> {
        let Self::Unit(unit) = self else { return None };
        property(unit, name, deadline)
    }

    /// Where the server, or who starts it, says why it does not start; `None`: in the log of our own start.
    pub fn log(&self) -> Option<String> {
        match self {
            Self::Own => None,
            Self::Unit(unit) => Some(format!("journalctl -u {unit}")),
            Self::Cluster { version, name } => Some(format!(
                "/var/log/postgresql/postgresql-{version}-{name}.log"
            )),
        }
    }
}

/// As the user that we are, whom a rule of polkit may let; else by sudo, where that is installed.
fn systemctl(args: &[&str], deadline: Deadline) -> Result<Output, RunError> {
    let direct = Cmd::new(SYSTEMCTL)
        .arg("--no-ask-password")
        .args(args.to_vec());
    let first = run(&direct, deadline).and_then(|out| out.checked(&direct));
    let refused = matches!(first, Err(RunError::Failed { .. }));
    if !refused || nix::unistd::geteuid().is_root() || !Path::new(SUDO).exists() {
        return first;
    }
    // A sudoers line is about these very words.
    let by_sudo = Cmd::new(SUDO).args(["-n", SYSTEMCTL]).args(args.to_vec());
    let second = run(&by_sudo, deadline).and_then(|out| out.checked(&by_sudo));
    second.or(first)
}

fn main_process(unit: &str) -> Option<i32> {
    let pid = property(unit, "MainPID", Deadline::after(WORD_TIME))?
        .parse()
        .ok();
    pid.filter(|it| *it > 0)
}

fn property(unit: &str, name: &str, deadline: Deadline) -> Option<String> {
    let cmd = Cmd::new(SYSTEMCTL).args(["show", &format!("--property={name}"), unit]);
    let out = run(&cmd, deadline.at_most(WORD_TIME)).ok()?;
    let value = out.stdout.trim().strip_prefix(name)?.strip_prefix('=')?;
    Some(value.to_owned()).filter(|value| !value.is_empty())
}

/// The unit in whose cgroup a process is.
pub fn unit_of(pid: i32) -> Option<String> {
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    unit_in(&cgroup).map(str::to_owned)
}

/// The systemd service in what `/proc/PID/cgroup` says; none for a session's, or another manager's.
pub(crate) fn unit_in(cgroup: &str) -> Option<&str> {
    let mut paths = cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let last = |path: &str| {
        path.rsplit('/')
            .next()
            .is_some_and(|it| it.ends_with(".service"))
    };
    let path = paths.find(|path| last(path))?;
    path.rsplit('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_shows_in_the_cgroup() {
        for (text, expected) in [
            (
                "0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n",
                Some("postgresql@15-main.service"),
            ),
            ("0::/user.slice/user-0.slice/session-4.scope\n", None),
            ("0::/\n", None),
            ("", None),
        ] {
            assert_eq!(unit_in(text), expected, "{text}");
        }
    }

    /// What is said here is what the samples let the database's user say.
    #[test]
    fn the_samples_allow_it() {
        let sudoers = include_str!("../../../../etc/failover-tools.sudoers");
        let rules = include_str!("../../../../etc/failover-tools.polkit.rules");
        let unit = "postgresql@15-main.service";
        for words in [
            &["stop", "--no-block", unit][..],
            &["start", unit],
            &["reset-failed", unit],
        ] {
            let line = format!(" {SYSTEMCTL} {}\n", words.join(" "));
            assert!(sudoers.contains(&line), "{line}");
            assert!(rules.contains(&format!("\"{}\"", words[0])), "{words:?}");
        }
        assert!(rules.contains(unit));
    }

    #[test]
    fn a_name_is_a_units_or_a_clusters() {
        let unit = |name: &str| Supervisor::Unit(name.to_owned());
        let cluster = Supervisor::Cluster {
            version: "15".to_owned(),
            name: "main-2".to_owned(),
        };
        for (name, systemd, expected) in [
            ("postgresql-15", true, unit("postgresql-15.service")),
            ("postgresql-15", false, Supervisor::Own),
            (
                "postgresql@15-main-2",
                true,
                unit("postgresql@15-main-2.service"),
            ),
            ("postgresql@15-main-2", false, cluster.clone()),
            ("postgresql@15-main-2.service", false, cluster),
        ] {
            assert_eq!(Supervisor::of(name, systemd), expected, "{name} {systemd}");
        }
    }
}
