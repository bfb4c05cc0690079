//! Servers that run on this host, found without any configuration of ours.

use crate::flavor::{Flavor, KINGBASE, POSTGRES};
use crate::process::{kernel_name, owner_in, status_of};
use crate::supervisor::unit_of;
use crate::users::SystemUser;
use nix::unistd::User;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A server that runs.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its names.
    pub flavor: &'static Flavor,
    /// Its data directory.
    pub data: PathBuf,
    /// The directory of its programs.
    pub programs: PathBuf,
    /// The system user that it runs as.
    pub user: SystemUser,
    /// The port that it listens on.
    pub port: u16,
    /// The directory of its socket. `None`: it has none.
    pub socket: Option<PathBuf>,
    /// The systemd unit that it belongs to.
    pub unit: Option<String>,
}

/// All servers that run here and could be looked at; and how many processes with a server's name could not.
///
/// # Errors
/// The kernel does not tell the processes.
pub fn servers() -> io::Result<(Vec<Running>, usize)> {
    let (mut found, mut closed) = (Vec::new(), 0);
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else {
            continue;
        };
        let name = kernel_name(pid).unwrap_or_default();
        let Some(flavor) = [&KINGBASE, &POSTGRES]
            .into_iter()
            .find(|flavor| flavor.server == name)
        else {
            continue;
        };
        match server(flavor, pid) {
            Ok(server) => found.extend(server),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => closed += 1,
            // It ended, or is no server.
            Err(_) => {}
        }
    }
    found.sort_by(|one, other| one.data.cmp(&other.data));
    Ok((found, closed))
}

/// The server whose first process is `pid`. `None`: that is one of its other processes.
fn server(flavor: &'static Flavor, pid: i32) -> io::Result<Option<Running>> {
    let link = |name| fs::read_link(format!("/proc/{pid}/{name}"));
    let data = link("cwd")?;
    let text = fs::read_to_string(data.join(flavor.pid_file))?;
    let Some(told) = Told::in_pid_file(&text).filter(|told| told.pid == pid) else {
        return Ok(None);
    };
    let programs = link("exe")?;
    let owner = owner_in(&status_of(pid)).and_then(|uid| User::from_uid(uid).ok()?);
    let Some((user, programs)) = owner.zip(programs.parent().map(Path::to_owned)) else {
        return Ok(None);
    };
    Ok(Some(Running {
        flavor,
        data,
        programs,
        user: user.into(),
        port: told.port,
        socket: told.socket,
        unit: unit_of(pid),
    }))
}

/// What a server's pid file tells: its process, its data directory, when it began, its port, the directory of its
/// socket.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    pid: i32,
    port: u16,
    socket: Option<PathBuf>,
}

impl Told {
    fn in_pid_file(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let socket = lines.get(4).filter(|line| line.starts_with('/'));
        Some(Self {
            pid: lines.first()?.parse().ok()?,
            port: lines.get(3)?.parse().ok()?,
            socket: socket.map(PathBuf::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_tells_port_and_socket() {
        let told = Told::in_pid_file("12\n/data\n1700000000\n5433\n/run/pg\n*\n 1 2\nready\n");
        let expected = Told {
            pid: 12,
            port: 5433,
            socket: Some("/run/pg".into()),
        };
        assert_eq!(told, Some(expected));
        let none = Told::in_pid_file("12\n/data\n1700000000\n5433\n\n*\n").unwrap();
        assert_eq!(none.socket, None);
        // One that is starting, or single-user.
        for text in [
            "",
            "12\n/data\n",
            "x\n/data\n1\n5433\n",
            "-12\n/data\n1\nport\n",
        ] {
            assert_eq!(Told::in_pid_file(text), None, "{text}");
        }
    }

    #[test]
    fn what_runs_here_can_be_asked_for() {
        servers().unwrap();
    }
}
