//! The table of keys. Each row is the one place that knows a key: its field, its type, its
//! default and its meaning. The struct [`Config`], the list [`KEYS`] and the reader are made from
//! it, and a test holds the manual to it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::reader::Reader;
use super::told::Told as _;
use super::value::{self, Kind};
use super::{
    Cidr, DbFlavor, FailoverCandidate, FailoverQuorum, GatewayLostAction, PromoteWithoutFence,
    RequireAuth, RewindFallback, Secret, SshHostKeys, SslMode, SyncDegrade,
};

/// What there is to know about one key of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySpec {
    /// The key; `KB_POOL_IPn` stands for `KB_POOL_IP1`, `KB_POOL_IP2` and so on.
    pub name: &'static str,
    /// Its meaning in one line.
    pub meaning: &'static str,
    /// The value it has when it is not set, or how that one comes about; `None`: it must be set.
    pub default: Option<&'static str>,
    /// The values it accepts.
    pub accepted: &'static str,
}

const fn spec<T>(
    name: &'static str,
    meaning: &'static str,
    default: Option<&'static str>,
    kind: &Kind<T>,
) -> KeySpec {
    KeySpec {
        name,
        meaning: meaning.trim_ascii(),
        default,
        accepted: kind.expected,
    }
}

/// Each row: `/// meaning`, then `KEY field: Type = how(kind, default, value of the default);`
/// where `how` is the method of [`Reader`] that reads it:
/// - `required(kind)`: an error when it is not set;
/// - `defaulted(kind, "text")`: not set is the same as `KEY=text`;
/// - `optional(kind, "what then")`: `None` when it is not set;
/// - `derived(kind, "what then", value)` and `numbered(...)`: made from the fields above it.
///   They are `Option`s there, `None` when they are wrong themselves.
macro_rules! keys {
    ($(
        #[doc = $meaning:literal]
        $name:ident $field:ident: $type:ty =
            $how:ident($kind:ident $(, $default:literal $(, $value:expr)?)?);
    )+) => {
        /// `HAmodule.conf`, read and checked. The fields are its keys in lower case.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Config {
            /// The file that all this stands in.
            pub path: PathBuf,
            /// Whether it was read from a file that nobody but root can write to.
            pub only_roots: bool,
            $(#[doc = $meaning] pub $field: $type,)+
        }

        /// Every key that the tools know, in the order of the manual.
        pub const KEYS: &[KeySpec] = &[$(specs::$name),+];

        #[allow(non_upper_case_globals, reason = "KB_POOL_IPn")]
        mod specs {
            use super::{spec, value, KeySpec};

            $(pub(super) const $name: KeySpec = spec(
                stringify!($name),
                $meaning,
                (&[$($default)?] as &[&'static str]).first().copied(),
                &value::$kind,
            );)+
        }

        impl Config {
            /// Reads every key, so that every error is found; `None` if there is one.
            pub(super) fn from_reader(path: &Path, reader: &mut Reader<'_>) -> Option<Self> {
                $(let $field: Option<$type> =
                    reader.$how(&specs::$name, &value::$kind $($(, $value)?)?);)+
                Some(Self {
                    path: path.to_owned(),
                    only_roots: false,
                    $($field: $field?,)+
                })
            }

            /// Every key with its value as text; of a secret what `digest` makes of it.
            pub fn told(&self, digest: impl Fn(&str) -> String) -> Vec<(&'static str, String)> {
                vec![$((stringify!($name), self.$field.told(&digest))),+]
            }
        }
    };
}

keys! {
    /// This host's address, as the pool knows it.
    KB_LOCALHOST_IP kb_localhost_ip: IpAddr = required(ADDRESS);
    /// The addresses of all database hosts, this one included.
    KB_ALL_IP kb_all_ip: Vec<IpAddr> = required(ADDRESSES);
    /// This node's name: its `application_name`, and its slot is `slot_<name>`.
    NODE_NAME node_name: String = required(NODE_NAME);
    /// The names of all nodes, in the order of `KB_ALL_IP`.
    ALL_NODE_NAME all_node_name: Vec<String> = required(NODE_NAMES);
    /// Trust IPs, usually the gateway: who reaches none of them is cut off.
    KB_GATEWAY_IP kb_gateway_ip: Vec<IpAddr> = required(ADDRESSES);
    /// Pings to a trust IP in one try.
    PING_TIMES ping_times: u32 = defaulted(TRIES, "3");

    /// The database VIP, which is always on the primary's host, with its prefix length.
    KB_VIP kb_vip: Option<Cidr> = optional(CIDR, "no database VIP");
    /// The network device on this host that carries `KB_VIP`.
    DEV dev: Option<String> = optional(DEVICE, "none; required with `KB_VIP`");
    /// Directory of the program `ip`.
    CMD_IP_PATH cmd_ip_path: Option<PathBuf> =
        optional(PATH, "searched in PATH, then /sbin, /usr/sbin");
    /// Directory of `arping` in the log's line of the case study. The program is not run.
    CMD_ARPING_PATH cmd_arping_path: Option<PathBuf> = optional(PATH, "none");

    /// The cluster VIP, by which the pool is reached. It belongs to the pool.
    KB_POOL_VIP kb_pool_vip: IpAddr = required(VIP);
    /// The pool's port for SQL.
    KB_POOL_PORT kb_pool_port: u16 = defaulted(PORT, "9999");
    /// The pool's port for PCP.
    KB_POOL_PCP_PORT kb_pool_pcp_port: u16 = defaulted(PORT, "9898");
    /// The addresses of the pools' hosts, one key for each.
    KB_POOL_IPn kb_pool_ips: Vec<IpAddr> =
        numbered(ADDRESS, "those of `KB_ALL_IP`", kb_all_ip.clone());
    /// PCP user.
    PCP_USER pcp_user: String = required(NAME);
    /// PCP password, in base64.
    PCP_PASS pcp_pass: Secret = required(PASSWORD);
    /// Directory of the pool's programs.
    CLUSTER_BIN_PATH cluster_bin_path: PathBuf = required(PATH);
    /// Directory of the pool's libraries.
    CLUSTER_LIB_PATH cluster_lib_path: Option<PathBuf> = optional(PATH, "the system's");
    /// The system user that the pool runs as. Not used: who runs the tool is seen.
    KB_POOL_EXECUTE_SYS_USER kb_pool_execute_sys_user: String = defaulted(SYSTEM_USER, "root");

    /// SQL user, a superuser.
    KB_USER kb_user: String = required(NAME);
    /// SQL password, in base64.
    KB_PASS kb_pass: Secret = required(PASSWORD);
    /// The database that the tools log in to.
    KB_DATANAME kb_dataname: String = required(NAME);
    /// The database's port, the same on all hosts.
    KB_PORT kb_port: u16 = defaulted(PORT, "54321");
    /// By which methods a server or a pool may let the tools in, as libpq's `require_auth`.
    KB_REQUIRE_AUTH kb_require_auth: RequireAuth = defaulted(AUTH_METHODS, "!password");
    /// Whether the tools' sessions are encrypted, as libpq's `sslmode`.
    KB_SSLMODE kb_sslmode: SslMode = defaulted(SSL_MODE, "prefer");
    /// The certificates that a server's is believed by, as libpq's `sslrootcert`.
    KB_SSLROOTCERT kb_sslrootcert: Option<PathBuf> =
        optional(FILE, "none; required with verify-ca and verify-full");
    /// Directory of the database's programs, and of these tools.
    KB_PATH kb_path: PathBuf = required(PATH);
    /// Directory with the files that a recovery puts back into the data directory.
    KB_ETC_PATH kb_etc_path: PathBuf = required(PATH);
    /// The data directory.
    KB_DATA_PATH kb_data_path: PathBuf = required(PATH);
    /// Directory of the server's configuration, where that is not the data directory.
    KB_CONFIG_PATH kb_config_path: Option<PathBuf> = optional(PATH, "found by itself");
    /// Directory of the database's libraries.
    KB_LD_PATH kb_ld_path: Option<PathBuf> = optional(PATH, "the system's");
    /// The system user that the database runs as.
    KB_EXECUTE_SYS_USER kb_execute_sys_user: String = defaulted(SYSTEM_USER, "kingbase");
    /// The systemd unit that owns the database's server.
    DB_SERVICE db_service: Option<String> = optional(UNIT, "the one in whose cgroup it runs");
    /// Which family of programs, files and SQL names the database has.
    DB_FLAVOR db_flavor: Option<DbFlavor> =
        optional(FLAVOR, "by what `KB_PATH` holds: `sys_ctl` or `pg_ctl`");

    /// Synchronous cluster: a commit waits for a standby.
    SYNC_FLAG sync_flag: bool = defaulted(SWITCH, "1");
    /// A synchronous primary has lost its last standby: go on asynchronously, or let commits wait.
    SYNC_DEGRADE sync_degrade: SyncDegrade = defaulted(DEGRADE, "always");
    /// MB of lag up to which a standby may be attached to the pool.
    DATA_SIZE_DIFF data_size_diff: u64 = defaulted(MEGABYTES, "16");

    /// Which standby is promoted: the furthest one, or the one that the pool gives.
    FAILOVER_CANDIDATE failover_candidate: FailoverCandidate = defaulted(CANDIDATE, "best");
    /// Of three or more hosts, how many have to be seen for a failover: more than half, or none.
    FAILOVER_QUORUM failover_quorum: FailoverQuorum = defaulted(QUORUM, "majority");
    /// MB of WAL that the new primary may miss; -1 for any.
    MAX_FAILOVER_LAG max_failover_lag: Option<u64> = defaulted(MEGABYTES_OR_ANY, "-1");
    /// Promote although nobody could stop the old primary: never, if it shows no life, or always.
    PROMOTE_WITHOUT_FENCE promote_without_fence: PromoteWithoutFence =
        defaulted(WITHOUT_FENCE, "unreachable");
    /// Milliseconds in which a living host must show a sign of life.
    PROBE_TIMEOUT probe_timeout: Duration = defaulted(MILLISECONDS, "500");
    /// Seconds for a whole failover, the promotion itself not counted.
    FAILOVER_TIMEOUT failover_timeout: Duration = defaulted(SECONDS, "8");
    /// Seconds for the promotion, in which the standby replays what it has received.
    PROMOTE_TIMEOUT promote_timeout: Duration = defaulted(SECONDS, "90");
    /// Seconds that a failover waits for the checkpoint, which then goes on in the server.
    CHECKPOINT_WAIT checkpoint_wait: Duration = defaulted(SECONDS_OR_ZERO, "1");

    /// An old primary may become a standby without a person's consent.
    AUTO_PRIMARY_RECOVERY auto_primary_recovery: bool = defaulted(SWITCH, "0");
    /// Start the last primary again when every database is down.
    MAX_AVAILABLE_LEVEL max_available_level: bool = defaulted(SWITCH, "0");
    /// What to do when a rewind has failed twice: nothing, or copy the whole primary.
    REWIND_FALLBACK rewind_fallback: RewindFallback = defaulted(FALLBACK, "none");
    /// A primary reaches no trust IP: stop it if it is isolated from all hosts, always, or never.
    GATEWAY_LOST_ACTION gateway_lost_action: GatewayLostAction =
        defaulted(GATEWAY_LOST, "isolated");
    /// How often is looked, within two seconds, before a primary counts as without standbys.
    HEALTH_CHECK_MAX_RETRIES health_check_max_retries: u32 = defaulted(TRIES, "3");
    /// Seconds between two looks of the scripts. Not used: the looks have no pauses of seconds.
    HEALTH_CHECK_RETRY_DELAY health_check_retry_delay: Duration =
        defaulted(SECONDS_OR_ZERO, "3");
    /// Stop the database when the disk check fails.
    USE_CHECK_DISK use_check_disk: bool = defaulted(SWITCH, "1");
    /// The directories that the disk check writes to.
    MOUNT_POINT_DIR_LIST mount_point_dir_list: Vec<PathBuf> =
        derived(PATHS, "`KB_DATA_PATH`", kb_data_path.clone().map(|path| vec![path]));
    /// How often the disk check is tried before it counts as failed.
    MOUNT_CHECK_MAX_RETRIES mount_check_max_retries: u32 = defaulted(TRIES, "6");

    /// Seconds for one ssh connect.
    CONNECTTIMEOUT connecttimeout: Duration = defaulted(SECONDS, "10");
    /// The port of sshd, the same on all hosts.
    SSH_PORT ssh_port: u16 = defaulted(PORT, "22");
    /// The private key for ssh.
    SSH_KEY_FILE ssh_key_file: Option<PathBuf> =
        optional(FILE, "the usual `~/.ssh/id_*`, then the agent");
    /// Host keys: only those that are known, new ones too, or any (no protection).
    SSH_HOST_KEYS ssh_host_keys: SshHostKeys = defaulted(HOST_KEYS, "accept-new");

    /// The log of `failover_stream`: a file, in spite of the name.
    FAILOVER_LOG_DIR failover_log_dir: PathBuf = required(FILE);
    /// The log of `network_rewind`: a file, in spite of the name.
    RECOVERY_LOG_DIR recovery_log_dir: PathBuf = required(FILE);
    /// The file that receives the last `show pool_nodes`.
    KB_CLUSTER_STATUS kb_cluster_status: Option<PathBuf> = optional(FILE, "not written");
    /// Directory of locks and state.
    STATE_DIR state_dir: PathBuf = derived(
        PATH,
        "the directory of `RECOVERY_LOG_DIR`",
        recovery_log_dir.as_deref().and_then(Path::parent).map(Path::to_owned)
    );
    /// The file of events, one line of JSON for each.
    EVENT_LOG event_log: PathBuf = derived(
        FILE,
        "`events.jsonl` in `STATE_DIR`",
        state_dir.as_deref().map(|dir| dir.join("events.jsonl"))
    );
}
