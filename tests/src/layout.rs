//! Names, addresses and paths of the case study, the same on every host.

use std::net::Ipv4Addr;

/// The network device of every host.
pub const DEVICE: &str = "enp0s3";
/// The gateway, and the tools' trust IP.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
/// The host that the SQL client runs on.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 50);
/// The database VIP: `KB_VIP` without its prefix length, which is 24.
pub const DATABASE_VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 200);
/// The cluster VIP: `KB_POOL_VIP`, moved by the pool's watchdog only.
pub const POOL_VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 201);

/// Port of every database.
pub const DATABASE_PORT: u16 = 54321;
/// Port of the pool for SQL.
pub const POOL_PORT: u16 = 9999;
/// Port of the pool for PCP.
pub const PCP_PORT: u16 = 9898;

/// The superuser that everybody logs in as: `KB_USER`. In upper case, as V8R3 has its names.
pub const SQL_USER: &str = "SUPERMANAGER_V8ADMIN";
/// Its password; `KB_PASS` has it base64-encoded. Whatever quotes it wrong, or not at all, fails.
pub const SQL_PASSWORD: &str = r#"Sql'Secret "1" $HOME\n a=b 密码"#;
/// Whom the pool's checks log in as, who may do nothing else. The password is in the pool's
/// configuration, which knows no way to write a quote.
pub const CHECK_USER: &str = "pool_check";
/// Its password.
pub const CHECK_PASSWORD: &str = "Check-Secret-3";
/// The database of tests and tools: `KB_DATANAME`.
pub const DATABASE: &str = "TEST";
/// PCP login: `PCP_USER`.
pub const PCP_USER: &str = "kingbase";
/// PCP password; `PCP_PASS` has it base64-encoded.
pub const PCP_PASSWORD: &str = r#"Pcp:Secret' "2" $HOME\t a=b 口令"#;

/// The system user that the database runs as, and its uid and gid inside the hosts.
pub const USER: &str = "kingbase";
/// See [`USER`].
pub const UID: u32 = 2001;

/// Home of [`USER`].
pub const HOME: &str = "/home/kingbase";
/// Installation of the cluster.
pub const R3HA: &str = "/home/kingbase/cluster/R3HA";
/// Programs of the database, and the tools: `KB_PATH`.
pub const DB_BIN: &str = "/home/kingbase/cluster/R3HA/db/bin";
/// Configuration of the tools on the database's side: `KB_ETC_PATH`.
pub const DB_ETC: &str = "/home/kingbase/cluster/R3HA/db/etc";
/// Data directory: `KB_DATA_PATH`.
pub const DATA: &str = "/home/kingbase/cluster/R3HA/db/data";
/// Programs of the pool, and the tools: `CLUSTER_BIN_PATH`.
pub const POOL_BIN: &str = "/home/kingbase/cluster/R3HA/kingbasecluster/bin";
/// Configuration of the pool, and of the tools on its side.
pub const POOL_ETC: &str = "/home/kingbase/cluster/R3HA/kingbasecluster/etc";
/// Logs: `failover.log`, `recovery.log`, `cluster.log` (pool), `database.log`.
pub const LOG: &str = "/home/kingbase/cluster/R3HA/log";

/// PostgreSQL's own programs.
pub(crate) const POSTGRES_BIN: &str = "/usr/lib/postgresql/15/bin";

/// What this project installs, as far as it has been built.
pub(crate) const TOOLS: [&str; 6] = [
    "cluster_ctl",
    "failover_stream",
    "network_rewind",
    "attach_node",
    "vip_ctl",
    "rw_check",
];

/// What the pool calls `failover_stream` with when node101, the primary, went down and node102 is
/// left: `%H %P %d %h %O %m %M %D`.
pub const PRIMARY_DOWN: [&str; 8] = [
    "192.168.1.102",
    "0",
    "0",
    "192.168.1.101",
    "192.168.1.101",
    "1",
    "0",
    DATA,
];

/// The same when node102, a standby, went down and node101 is the primary.
pub const STANDBY_DOWN: [&str; 8] = [
    "192.168.1.101",
    "0",
    "1",
    "192.168.1.102",
    "192.168.1.101",
    "0",
    "0",
    DATA,
];

/// The address of a host: node101 is 192.168.1.101.
pub(crate) fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 168, 1, number)
}
