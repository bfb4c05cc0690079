//! What this host says of itself for the whole cluster to be looked at. Looks, and changes nothing: not a
//! byte on a disk, no known host.

mod logins;
mod schedule;
mod server;

use crate::clock;
use crate::config::{Config, Severity};
use crate::deadline::Deadline;
use crate::host::ThisHost;
use crate::identity;
use crate::needs;
use crate::state::Stage;
use crate::users::SystemUser;
use crate::workers;
use failover_rules::facts::host::{HostFacts, Marks, Remark};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// For whatever is looked up on this host's own disks.
const DISK_TIME: Duration = Duration::from_millis(500);

/// The keys that may differ between the hosts: what a host is called, and where it has its files. All
/// others are told to whoever compares.
pub const OF_ONE_HOST: [&str; 21] = [
    "KB_LOCALHOST_IP",
    "NODE_NAME",
    "DEV",
    "CMD_IP_PATH",
    "CMD_ARPING_PATH",
    "CLUSTER_BIN_PATH",
    "CLUSTER_LIB_PATH",
    "KB_POOL_EXECUTE_SYS_USER",
    "KB_SSLROOTCERT",
    "KB_ETC_PATH",
    "KB_DATA_PATH",
    "KB_CONFIG_PATH",
    "KB_LD_PATH",
    "DB_SERVICE",
    "MOUNT_POINT_DIR_LIST",
    "SSH_KEY_FILE",
    "FAILOVER_LOG_DIR",
    "RECOVERY_LOG_DIR",
    "KB_CLUSTER_STATUS",
    "STATE_DIR",
    "EVENT_LOG",
];

/// All that this host says. `try_logins`: logs in to the others, too, as a failover and a recovery do.
/// `run`: the name of whoever asks; digests of secrets differ from run to run.
pub fn look(host: &ThisHost, run: &str, try_logins: bool, deadline: Deadline) -> HostFacts {
    let config = &host.config;
    let user_obstacle = (try_logins && config.has_database()).then(|| {
        let host = host.clone();
        workers::begin(move || needs::rights_of_database_user(&host))
    });
    let logins =
        try_logins.then(|| logins::begin(host, deadline.at_most(deadline.remaining() * 9 / 10)));
    let remarks = {
        let config = config.clone();
        workers::begin(move || remarks(config))
    };
    let has_database = config.has_database();
    let mut facts = HostFacts {
        node: config.node_name.clone(),
        keys: keys(config, run),
        server: has_database.then(|| server::look(host, deadline)).flatten(),
        marks: marks(host),
        last_look: last_look(config, deadline),
        schedule: schedule::look(config, deadline.at_most(DISK_TIME)),
        pool_vip_here: identity::is_here(config.kb_pool_vip),
        vip_obstacle: has_database.then(|| needs::vip_obstacle(host)).flatten(),
        removes_ipc: has_database && removes_ipc(config),
        ..HostFacts::default()
    };
    facts.remarks = remarks.within(deadline).unwrap_or_default();
    if let Some(obstacle) = user_obstacle.and_then(|it| it.within(deadline).flatten()) {
        facts.vip_obstacle.get_or_insert(obstacle);
    }
    if let Some(logins) = logins {
        let tried = logins.end(deadline);
        (facts.ssh, facts.sql, facts.replication) = (tried.ssh, tried.sql, tried.replication);
    }
    // Last: it is compared with the asker's when the answer has come.
    facts.clock_ms = clock::milliseconds();
    facts
}

/// The keys that every host has alike.
fn keys(config: &Config, run: &str) -> BTreeMap<String, String> {
    let told = config.told(|secret| digest(run, secret)).into_iter();
    told.filter(|(key, _)| !OF_ONE_HOST.contains(key))
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// What two hosts can compare, and nobody can take for the secret.
fn digest(run: &str, secret: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(run.as_bytes()) else {
        return String::new();
    };
    mac.update(secret.as_bytes());
    let bytes = mac.finalize().into_bytes();
    bytes
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn remarks(config: Config) -> Vec<Remark> {
    let of_the_file = Config::check(&config.path)
        .into_iter()
        .map(|finding| Remark {
            is_error: finding.severity == Severity::Error,
            text: finding.to_string(),
        });
    let of_the_file: Vec<Remark> = of_the_file.collect();
    // What it names and is not there is missed in a failover or a recovery at the latest.
    let missing = needs::check(config).into_iter().map(|finding| Remark {
        is_error: true,
        text: finding.to_string(),
    });
    of_the_file.into_iter().chain(missing).collect()
}

/// Seconds since a run of `network_rewind` last wrote to its log. `None`: never, or not known.
pub fn last_look(config: &Config, deadline: Deadline) -> Option<u64> {
    let log = config.recovery_log_dir.clone();
    workers::within(deadline.at_most(DISK_TIME), move || written(&log)).flatten()
}

/// Seconds since the file was written.
fn written(file: &Path) -> Option<u64> {
    let modified = fs::metadata(file).ok()?.modified().ok()?;
    // A clock that was set back: just now.
    Some(clock::seconds_since(modified).unwrap_or(0))
}

fn marks(host: &ThisHost) -> Marks {
    let state = host.state().map_err(|error| error.to_string());
    let state = match state.and_then(|state| state.load().map_err(|error| error.to_string())) {
        Ok(state) => state,
        Err(why) => {
            return Marks {
                unreadable: Some(why),
                ..Marks::default()
            };
        }
    };
    let half = |stage| matches!(stage, Stage::Rewinding | Stage::Copying);
    Marks {
        paused: state.paused.map(|pause| (pause.since, pause.why)),
        fenced: state.fenced.map(|mark| mark.since),
        self_fenced: state.self_fenced,
        undecided: state.undecided,
        half_done: state.recovery.is_some_and(|it| half(it.stage)),
        unreadable: None,
    }
}

/// Whether systemd-logind removes what the database's user shares when its last login ends: for users that
/// are no system users, and unless it is told not to.
fn removes_ipc(config: &Config) -> bool {
    const FIRST_LOGIN_UID: u32 = 1000;
    let user = SystemUser::named(&config.kb_execute_sys_user);
    let is_a_persons = user.is_ok_and(|user| user.uid.as_raw() >= FIRST_LOGIN_UID);
    let runs = Path::new("/run/systemd/seats").exists();
    is_a_persons && runs && logind_removes(Path::new("/"))
}

/// By the files of logind below `root`, the last of which counts.
fn logind_removes(root: &Path) -> bool {
    let mut files = vec![root.join("etc/systemd/logind.conf")];
    for dir in ["usr/lib/systemd/logind.conf.d", "etc/systemd/logind.conf.d"] {
        let entries = fs::read_dir(root.join(dir)).into_iter().flatten().flatten();
        let mut more: Vec<_> = entries.map(|entry| entry.path()).collect();
        more.sort();
        files.extend(more);
    }
    let mut values = files.iter().rev().filter_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        let last = text
            .lines()
            .rev()
            .find_map(|line| line.trim().strip_prefix("RemoveIPC="))?;
        Some(last.trim().to_ascii_lowercase())
    });
    values
        .next()
        .is_none_or(|value| !matches!(value.as_str(), "no" | "0" | "off" | "false"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::KEYS;

    #[test]
    fn each_key_of_one_host_is_a_key() {
        for key in OF_ONE_HOST {
            assert!(KEYS.iter().any(|spec| spec.name == key), "{key}");
        }
    }

    #[test]
    fn no_secret_is_told_and_two_hosts_can_compare_them() {
        let text = include_str!("../../../../../etc/HAmodule.conf");
        let config = Config::parse("HAmodule.conf".as_ref(), text.as_bytes()).unwrap();
        let told = keys(&config, "run-1");
        assert_eq!(told["KB_PORT"], "54321");
        assert_eq!(told["KB_ALL_IP"], "192.168.1.101 192.168.1.102");
        assert_eq!(told["KB_VIP"], "192.168.1.200/24");
        assert!(!told.contains_key("KB_LOCALHOST_IP"));
        for secret in config.secrets() {
            assert!(
                told.values().all(|value| !value.contains(secret)),
                "{told:?}"
            );
        }
        assert_eq!(told["KB_PASS"], keys(&config, "run-1")["KB_PASS"]);
        assert_ne!(told["KB_PASS"], keys(&config, "run-2")["KB_PASS"]);
    }

    #[test]
    fn logind_removes_unless_the_last_word_is_no() {
        let root = std::env::temp_dir().join(format!("logind-{}", clock::run_name()));
        let dir = root.join("etc/systemd/logind.conf.d");
        fs::create_dir_all(&dir).unwrap();
        assert!(logind_removes(&root));
        fs::write(
            root.join("etc/systemd/logind.conf"),
            "[Login]\n#RemoveIPC=no\n",
        )
        .unwrap();
        assert!(logind_removes(&root));
        fs::write(
            root.join("etc/systemd/logind.conf"),
            "[Login]\nRemoveIPC=no\n",
        )
        .unwrap();
        assert!(!logind_removes(&root));
        fs::write(dir.join("50.conf"), "[Login]\nRemoveIPC=yes\n").unwrap();
        assert!(logind_removes(&root));
        fs::remove_dir_all(&root).unwrap();
    }
}
