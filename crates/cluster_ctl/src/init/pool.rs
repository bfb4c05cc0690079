//! The pool of this host: its configuration, where it can be found.

use anyhow::{Context as _, Result, bail};
use failover_core::deadline::Deadline;
use failover_core::flavor::POSTGRES;
use failover_core::process::{Cmd, run};
use failover_core::running::Running;
use failover_core::settings;
use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Where packages have it.
const PLACES: [&str; 3] = [
    "/etc/pgpool2/pgpool.conf",
    "/etc/pgpool-II/pgpool.conf",
    "/usr/local/etc/pgpool.conf",
];
/// Where packages have its program.
const PROGRAMS: [&str; 3] = [
    "/usr/sbin/pgpool",
    "/usr/bin/pgpool",
    "/usr/local/bin/pgpool",
];

/// What its configuration says.
#[derive(Clone, Debug, Default)]
pub struct PoolFile {
    pub path: PathBuf,
    pub settings: BTreeMap<String, String>,
    /// The users of its `pcp.conf`.
    pub pcp_users: Vec<String>,
    /// Its program's answer to `--version`; empty where there is none.
    pub version: String,
}

/// The pool's configuration: `given`, else where the vendor or the packages have it.
pub fn find(given: Option<&Path>, server: &Running, deadline: Deadline) -> Result<PoolFile> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => {
            let mut places = vec![];
            // KingbaseES: beside db/bin.
            if let Some(cluster) = server.programs.ancestors().nth(2) {
                places.push(cluster.join("kingbasecluster/etc/kingbasecluster.conf"));
            }
            places.extend(PLACES.map(PathBuf::from));
            let found = places.into_iter().find(|it| it.exists());
            found.context("no pool's configuration was found: name it with --pool-config FILE")?
        }
    };
    let text = match settings::read(&path)? {
        Some(text) => text,
        None => bail!("{}: no such file", path.display()),
    };
    let pcp = fs::read_to_string(path.with_file_name("pcp.conf")).unwrap_or_default();
    Ok(PoolFile {
        settings: read(&text),
        pcp_users: users(&pcp),
        version: version(deadline),
        path,
    })
}

fn read(text: &str) -> BTreeMap<String, String> {
    let all = settings::all(text);
    all.map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect()
}

/// `user:md5`, one a line.
fn users(pcp: &str) -> Vec<String> {
    let lines = pcp.lines().map(str::trim);
    lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace))
        .map(|(name, _)| name.to_owned())
        .collect()
}

fn version(deadline: Deadline) -> String {
    let program = PROGRAMS.iter().find(|it| Path::new(it).exists());
    let said = program.and_then(|it| run(&Cmd::new(it).arg("--version"), deadline).ok());
    said.map(|it| format!("{}{}", it.stdout, it.stderr).trim().to_owned())
        .unwrap_or_default()
}

impl PoolFile {
    /// A setting that has a value.
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.settings.get(&name.to_ascii_lowercase())?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// A port.
    pub fn port(&self, name: &str) -> Option<u16> {
        self.get(name)?.parse().ok()
    }

    /// The pools' hosts that the watchdog knows, by their number.
    pub fn hosts(&self) -> Vec<Ipv4Addr> {
        let hosts = (0..).map_while(|number| self.get(&format!("hostname{number}")));
        hosts.filter_map(|host| host.parse().ok()).collect()
    }

    /// The addresses in a list with commas.
    pub fn addresses(&self, name: &str) -> Vec<Ipv4Addr> {
        let all = self.get(name).unwrap_or_default().split(',');
        all.filter_map(|it| it.trim().parse().ok()).collect()
    }

    /// What this version calls the address of its watchdog: from 4.4 on another name.
    pub fn delegate(&self) -> &'static str {
        let old = [
            "version 3.",
            "version 4.0",
            "version 4.1",
            "version 4.2",
            "version 4.3",
        ];
        match old.iter().any(|it| self.version.contains(it)) {
            true => "delegate_IP",
            false => "delegate_ip",
        }
    }
}

/// Whether a pool of these servers is pgpool-II itself.
pub fn is_pgpool(server: &Running) -> bool {
    server.flavor == &POSTGRES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_tells_what_it_has_and_nothing_else() {
        let pool = PoolFile {
            settings: read(
                "port = 9999\n#pcp_port = 1\ndelegate_IP = '192.168.1.201'\n\
                 trusted_servers = '192.168.1.1, gateway'\nhostname0 = '192.168.1.101'\n\
                 hostname1 = '192.168.1.102'\nhostname3 = 'x'\nhealth_check_user = ''\n",
            ),
            version: "pgpool-II version 4.3.5 (tamahomeboshi)".to_owned(),
            ..PoolFile::default()
        };
        assert_eq!(
            (pool.port("port"), pool.port("pcp_port")),
            (Some(9999), None)
        );
        assert_eq!(pool.get("delegate_ip"), Some("192.168.1.201"));
        assert_eq!(pool.get("health_check_user"), None);
        assert_eq!(pool.hosts().len(), 2);
        assert_eq!(pool.addresses("trusted_servers").len(), 1);
        assert_eq!(pool.delegate(), "delegate_IP");
        assert_eq!(PoolFile::default().delegate(), "delegate_ip");
    }

    #[test]
    fn a_comment_is_no_user() {
        let text = "# USERID:MD5PASSWD\n\n postgres:e8a48653\nx\n:y\n";
        assert_eq!(users(text), ["postgres"]);
    }
}
