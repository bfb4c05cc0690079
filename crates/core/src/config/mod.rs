//! `HAmodule.conf`: where it is, how it is read, and what it says.
//!
//! Does not look whether what it says is so on this host. Uses no other room; every room may use it.
//!
//! The file is the one that the shell scripts use, unchanged. They `eval` it; here it is data: a
//! value is never executed and no variable is expanded. [`KEYS`] is the table of all keys, and
//! [`Config`] has a field for each.

#[cfg(test)]
mod against_bash;
mod checks;
mod cidr;
mod error;
mod keys;
mod reader;
mod require_auth;
mod secret;
mod ssl_mode;
mod syntax;
#[cfg(test)]
mod tests;
mod told;
mod value;

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

pub use cidr::{Cidr, NoCidr};
pub use error::{ConfigError, Finding, Severity};
pub use failover_rules::facts::policy::{
    FailoverCandidate, FailoverQuorum, GatewayLostAction, PromoteWithoutFence, RewindFallback,
    SyncDegrade,
};
pub use keys::{Config, KEYS, KeySpec};
use reader::Reader;
pub use require_auth::{AuthMethod, RequireAuth};
pub use secret::Secret;
pub use ssl_mode::SslMode;
use syntax::Value;

/// `HAmodule.conf` has some 50 lines; what is larger than this is another file.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// `DB_FLAVOR`: whose names the database's programs, files and functions have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DbFlavor {
    /// KingbaseES V8R3.
    Kingbase,
    /// PostgreSQL 12 and later.
    Postgres,
}

/// `SSH_HOST_KEYS`: which host keys are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SshHostKeys {
    /// Only those in `known_hosts`.
    Strict,
    /// Also those of hosts that are not in `known_hosts` yet.
    AcceptNew,
    /// Any.
    Off,
}

impl Config {
    /// The file to read: the one given with `--config`, else `../etc/HAmodule.conf` seen from the
    /// directory of the program, symlinks resolved.
    ///
    /// # Errors
    /// The file is not there, no regular file, or not readable; or the program's own place cannot
    /// be found out.
    pub fn find(explicit: Option<&Path>) -> Result<PathBuf, ConfigError> {
        let path = match explicit {
            Some(path) => path.to_owned(),
            None => beside_program()?,
        };
        open(&path)?;
        Ok(path)
    }

    /// Reads and checks the file.
    ///
    /// # Errors
    /// It cannot be read, or at least one key is wrong or missing.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let (contents, metadata) = contents(path)?;
        let config = Self::parse(path, &contents)?;
        Ok(Self {
            only_roots: metadata.uid() == 0 && metadata.mode() & 0o022 == 0,
            ..config
        })
    }

    /// Reads and checks the contents of a file; `path` is what errors call it.
    ///
    /// # Errors
    /// At least one key is wrong or missing.
    pub fn parse(path: &Path, contents: &[u8]) -> Result<Self, ConfigError> {
        let (config, mut findings) = read(path, contents);
        findings.retain(|finding| finding.severity == Severity::Error);
        match config {
            Some(config) if findings.is_empty() => Ok(config),
            _ => Err(ConfigError { errors: findings }),
        }
    }

    /// What the file has for `key`, without its quotes, the words of a list `(a b)` with blanks between them:
    /// for scripts, which need no reader of their own. `None`: nothing.
    ///
    /// # Errors
    /// The file cannot be read, or at least one key is wrong or missing.
    pub fn written(path: &Path, key: &str) -> Result<Option<String>, ConfigError> {
        Self::load(path)?;
        let (contents, _) = contents(path)?;
        let text = syntax::decode(&contents).unwrap_or_default();
        let mut lines = syntax::parse(&text);
        lines.retain(|line| line.key.as_deref() == Some(key));
        let value = lines.pop().and_then(|line| line.value.ok());
        Ok(value
            .filter(|value| !value.is_empty())
            .map(Value::into_text))
    }

    /// Everything there is to say about the file, for `--check-config`: errors and notes in the
    /// order of the file. What has to hold between keys is looked at once each of them is right.
    #[must_use]
    pub fn check(path: &Path) -> Vec<Finding> {
        match contents(path) {
            Ok((bytes, _)) => {
                let mut findings = read(path, &bytes).1;
                findings.extend(readable_by_all(path));
                findings
            }
            Err(error) => vec![error],
        }
    }

    /// The name of the node with this address: the n-th name belongs to the n-th address.
    #[must_use]
    pub fn node_name_of(&self, host: IpAddr) -> Option<&str> {
        let nodes = self.kb_all_ip.iter().zip(&self.all_node_name);
        let (_, name) = nodes.into_iter().find(|(address, _)| **address == host)?;
        Some(name)
    }

    /// The address of the node with this name.
    #[must_use]
    pub fn address_of(&self, name: &str) -> Option<IpAddr> {
        let nodes = self.kb_all_ip.iter().zip(&self.all_node_name);
        let (address, _) = nodes.into_iter().find(|(_, known)| *known == name)?;
        Some(*address)
    }

    /// The replication slot of the node with this address: `slot_<node name>`.
    #[must_use]
    pub fn slot_name_of(&self, host: IpAddr) -> Option<String> {
        self.node_name_of(host).map(|name| format!("slot_{name}"))
    }

    /// Whether this host has a database. One that has only a pool, the third vote, is none of
    /// `KB_ALL_IP`, and one of the `KB_POOL_IPn`.
    #[must_use]
    pub fn has_database(&self) -> bool {
        self.kb_all_ip.contains(&self.kb_localhost_ip)
    }

    /// The database hosts other than this one.
    pub fn other_hosts(&self) -> impl Iterator<Item = IpAddr> {
        let hosts = self.kb_all_ip.iter().copied();
        hosts.filter(|&host| host != self.kb_localhost_ip)
    }

    /// All hosts with a database or a pool but this one, each once.
    pub fn rest_of_cluster(&self) -> HashSet<IpAddr> {
        let pools = self.kb_pool_ips.iter().copied();
        let all = self.other_hosts().chain(pools);
        all.filter(|host| *host != self.kb_localhost_ip).collect()
    }

    /// What must never be printed: both passwords, plain and encoded, without empty ones. Longer
    /// ones come first, so that hiding one after the other leaves no rest of a longer one.
    #[must_use]
    pub fn secrets(&self) -> Vec<&str> {
        let mut secrets: Vec<&str> = [&self.kb_pass, &self.pcp_pass]
            .into_iter()
            .flat_map(|secret| [secret.encoded(), secret.expose()])
            .filter(|secret| !secret.is_empty())
            .collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse((secret.len(), *secret)));
        secrets.dedup();
        secrets
    }
}

/// The configuration, if it has no error, and what there is to say about the file.
fn read(path: &Path, contents: &[u8]) -> (Option<Config>, Vec<Finding>) {
    let text = match syntax::decode(contents) {
        Ok(text) => text,
        Err((line, text)) => {
            let mut finding = Finding::about_file(path, text);
            finding.line = Some(line);
            return (None, vec![finding]);
        }
    };
    let mut reader = Reader::new(path, syntax::parse(&text));
    let config = Config::from_reader(path, &mut reader);
    for (severity, key, text) in config.iter().flat_map(Config::cross_check) {
        reader.say_about(severity, key, text);
    }
    (config, reader.into_findings())
}

fn beside_program() -> Result<PathBuf, Finding> {
    let program = std::env::current_exe()
        .and_then(|program| program.canonicalize())
        .map_err(|error| {
            let text = format!("cannot tell where this program is ({error}); use --config FILE");
            Finding::about_file(Path::new("HAmodule.conf"), text)
        })?;
    // `<prefix>/bin/<tool>` -> `<prefix>/etc/HAmodule.conf`.
    let prefix = program.ancestors().nth(2).unwrap_or(Path::new("/"));
    Ok(prefix.join("etc/HAmodule.conf"))
}

fn contents(path: &Path) -> Result<(Vec<u8>, Metadata), Finding> {
    let mut bytes = Vec::new();
    let file = open(path)?;
    // Of the very file that is read, whatever its name leads to a moment later.
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let text = "larger than 1 MiB, so not a HAmodule.conf; name the right one with \
                    --config FILE";
        return Err(Finding::about_file(path, text));
    }
    Ok((bytes, metadata))
}

fn open(path: &Path) -> Result<File, Finding> {
    // Looked at before it is opened: opening a fifo would wait for its writer.
    let metadata = path.metadata().map_err(|error| unreadable(path, &error))?;
    if !metadata.is_file() {
        let text = "not a regular file; name the configuration with --config FILE";
        return Err(Finding::about_file(path, text));
    }
    File::open(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> Finding {
    let text = match error.kind() {
        io::ErrorKind::NotFound => {
            "no such file; name the configuration with --config FILE".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied; check its owner and mode, and those of the directories above it"
                .to_owned()
        }
        _ => format!("cannot be read: {error}; name the configuration with --config FILE"),
    };
    Finding::about_file(path, text)
}

fn readable_by_all(path: &Path) -> Option<Finding> {
    let mode = path.metadata().ok()?.permissions().mode();
    (mode & 0o007 != 0).then(|| Finding {
        severity: Severity::Note,
        ..Finding::about_file(
            path,
            format!(
                "mode {:03o} lets every user of this host at the passwords; better chmod o=",
                mode & 0o777
            ),
        )
    })
}
