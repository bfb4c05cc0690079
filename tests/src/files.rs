//! What lies on a host's disks before it is switched on for the first time.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use nix::fcntl::{Flock, FlockArg};

use crate::flavor::Flavor;
use crate::host::Node;
use crate::lab::Shared;
use crate::layout::{
    DATA, DATABASE, DATABASE_PORT, DATABASE_VIP, DB_BIN, DB_ETC, DEVICE, GATEWAY, HOME, LOG,
    PCP_PASSWORD, PCP_PORT, PCP_USER, POOL_BIN, POOL_ETC, POOL_PORT, POOL_VIP, R3HA, SQL_PASSWORD,
    SQL_USER, TOOLS, UID, USER, address,
};
use crate::process::{run, run_command};
use crate::{servers, standin};

const LIMIT: Duration = Duration::from_secs(60);

/// The accounts of a host that log in to others: name, home on the host, uid.
const ACCOUNTS: [(&str, &str, u32); 2] = [("root", "/root", 0), (USER, HOME, UID)];

/// Directories of a host that are on disk and survive its power cuts: name in the lab's
/// directory, and path on the host. All of `HOME`, so that the data directory is not a mount
/// point and can be renamed.
pub(crate) const DISKS: [(&str, &str); 5] = [
    ("home", HOME),
    ("root", "/root"),
    ("cron.d", "/etc/cron.d"),
    ("postgresql", "/var/lib/postgresql"),
    ("log", "/var/log"),
];

/// The file on the machine that a host has at `path`; `None` when it is on no disk of its own.
pub(crate) fn on_disk(disk: &Path, path: &str) -> Option<PathBuf> {
    DISKS.iter().find_map(|(name, mounted)| {
        let rest = Path::new(path).strip_prefix(mounted).ok()?;
        Some(disk.join(name).join(rest))
    })
}

/// Writes the disks of one host.
pub(crate) fn prepare(shared: &Shared, number: u8) -> Result<()> {
    let disk = shared.disk(number);
    let at = |path: &str| on_disk(&disk, path).with_context(|| format!("{path} is on no disk"));
    for (name, _) in DISKS {
        directory(&disk.join(name), 0o755, 0)?;
    }
    directory(&at("/root")?, 0o700, 0)?;
    if shared.options.debian {
        system_files(shared, number)?;
        return host_keys(shared, number);
    }
    directory(&at(HOME)?, 0o755, UID)?;
    for path in [
        "/home/kingbase/cluster",
        "/home/kingbase/cluster/R3HA",
        "/home/kingbase/cluster/R3HA/db",
        DB_BIN,
        DB_ETC,
        "/home/kingbase/cluster/R3HA/db/lib",
        "/home/kingbase/cluster/R3HA/kingbasecluster",
        POOL_BIN,
        POOL_ETC,
        "/home/kingbase/cluster/R3HA/kingbasecluster/lib",
        LOG,
    ] {
        directory(&at(path)?, 0o755, UID)?;
    }
    let config = match shared.options.flavor {
        Flavor::Postgres => {
            programs(shared, &at(DB_BIN)?, &at(POOL_BIN)?)?;
            config(shared, number)
        }
        Flavor::Kingbase => {
            standin::programs(shared, &at(R3HA)?)?;
            standin::config(shared, number)
        }
    };
    for path in [DB_ETC, POOL_ETC] {
        // Root's, readable by the database's group: else vip_ctl would not use its rights.
        let path = at(path)?.join("HAmodule.conf");
        write(&path, &config, 0o640, 0)?;
        chown(&path, None, Some(UID))?;
    }
    let passwords = format!("*:*:*:{SQL_USER}:{}\n", escaped(SQL_PASSWORD));
    write(&at(HOME)?.join(".pgpass"), &passwords, 0o600, UID)?;
    system_files(shared, number)?;
    ssh_files(shared, number)
}

/// Users and host name in `/etc`, and sshd's configuration: in the overlay's upper layer.
fn system_files(shared: &Shared, number: u8) -> Result<()> {
    let overlay = shared.overlay(number);
    for name in [
        "upper",
        "work",
        "root",
        "upper/etc",
        "upper/etc/ssh",
        "upper/home",
    ] {
        directory(&overlay.join(name), 0o755, 0)?;
    }
    directory(&overlay.join("upper").join(&HOME[1..]), 0o755, UID)?;
    let etc = overlay.join("upper/etc");
    let accounts = [
        (
            "passwd",
            format!("{USER}:x:{UID}:{UID}::{HOME}:/bin/bash"),
            0o644,
        ),
        ("group", format!("{USER}:x:{UID}:"), 0o644),
        // No password, but not locked either, which sshd would refuse.
        ("shadow", format!("{USER}:*:20000:0:99999:7:::"), 0o640),
    ];
    for (file, line, mode) in accounts {
        let machine = fs::read_to_string(Path::new("/etc").join(file))?;
        let ours = format!("{USER}:");
        let others = machine.lines().filter(|line| !line.starts_with(&ours));
        let text: String = others
            .chain([line.as_str()])
            .flat_map(|l| [l, "\n"])
            .collect();
        write(&etc.join(file), &text, mode, 0)?;
    }
    write(&etc.join("hostname"), &format!("node{number}\n"), 0o644, 0)?;
    let mut hosts = String::from("127.0.0.1 localhost\n");
    for number in shared.host_numbers() {
        hosts += &format!("{} node{number}\n", address(number));
    }
    write(&etc.join("hosts"), &hosts, 0o644, 0)?;
    // None of the machine's own jobs.
    write(&etc.join("crontab"), "", 0o644, 0)?;
    if shared.options.debian {
        return Ok(());
    }
    let sshd = "HostKey /etc/ssh/ssh_host_ed25519_key\n\
                HostKey /etc/ssh/ssh_host_ecdsa_key\n\
                HostKey /etc/ssh/ssh_host_rsa_key\n\
                UsePAM no\n\
                UseDNS no\n\
                PasswordAuthentication no\n\
                KbdInteractiveAuthentication no\n\
                PermitRootLogin prohibit-password\n";
    write(&etc.join("ssh/sshd_config"), sshd, 0o644, 0)
}

/// What its sshd shows.
fn host_keys(shared: &Shared, number: u8) -> Result<()> {
    let etc = shared.overlay(number).join("upper/etc/ssh");
    for kind in HOST_KEYS {
        let key = key(number, "host", kind)?;
        copy(&key, &etc.join(format!("ssh_host_{kind}_key")), 0o600, 0)?;
        let public = etc.join(format!("ssh_host_{kind}_key.pub"));
        copy(&key.with_extension("pub"), &public, 0o644, 0)?;
    }
    Ok(())
}

/// Host keys, and for both accounts a key that every host of the lab lets in.
fn ssh_files(shared: &Shared, number: u8) -> Result<()> {
    host_keys(shared, number)?;
    let mut authorized = String::new();
    let mut known = String::new();
    for other in shared.host_numbers() {
        for (account, _, _) in ACCOUNTS {
            let key = key(other, account, "ed25519")?;
            authorized += &fs::read_to_string(key.with_extension("pub"))?;
        }
        for kind in HOST_KEYS {
            let public = fs::read_to_string(key(other, "host", kind)?.with_extension("pub"))?;
            known += &format!("{} {public}", address(other));
        }
    }
    for (account, home, uid) in ACCOUNTS {
        let home = on_disk(&shared.disk(number), home).context("a home is on disk")?;
        let ssh = home.join(".ssh");
        directory(&ssh, 0o700, uid)?;
        let key = key(number, account, "ed25519")?;
        copy(&key, &ssh.join("id_ed25519"), 0o600, uid)?;
        copy(
            &key.with_extension("pub"),
            &ssh.join("id_ed25519.pub"),
            0o644,
            uid,
        )?;
        write(&ssh.join("authorized_keys"), &authorized, 0o600, uid)?;
        if shared.options.known_hosts {
            write(&ssh.join("known_hosts"), &known, 0o600, uid)?;
        }
    }
    Ok(())
}

const HOST_KEYS: [&str; 3] = ["ed25519", "ecdsa", "rsa"];

/// A key pair, made once and used by all labs: an RSA key takes up to a second.
fn key(number: u8, owner: &str, kind: &str) -> Result<PathBuf> {
    cached(&format!("key-node{number}-{owner}-{kind}"), |path| {
        let comment = format!("{owner}@node{number}");
        let path = path.to_string_lossy();
        let args = ["-q", "-N", "", "-t", kind, "-C", &comment, "-f", &path];
        run("ssh-keygen", &args, LIMIT)?;
        Ok(())
    })
}

/// The database's and the pool's programs as links, and the tools as copies.
fn programs(shared: &Shared, db: &Path, pool: &Path) -> Result<()> {
    let postgres = servers::bin(shared.options.server)?;
    let missing = || format!("PostgreSQL is not installed in {}", postgres.display());
    for entry in fs::read_dir(&postgres).with_context(missing)? {
        let entry = entry?;
        symlink(entry.path(), db.join(entry.file_name()))?;
    }
    for name in [
        "pgpool",
        "pg_md5",
        "pcp_node_info",
        "pcp_attach_node",
        "pcp_detach_node",
        "pcp_promote_node",
    ] {
        symlink(Path::new("/usr/sbin").join(name), pool.join(name))?;
    }
    if let Some(version) = &shared.options.pool_ways {
        standin::pool_programs(shared, pool, version)?;
    }
    install_tools(&shared.options.tools, db, pool)
}

/// The tools in `from`. Those that are not built yet are left out; whoever needs one will miss it.
fn install_tools(from: &Path, db: &Path, pool: &Path) -> Result<()> {
    for name in TOOLS {
        let tool = from.join(name);
        if tool.exists() {
            for bin in [db, pool] {
                install(&tool, &bin.join(name))?;
            }
        }
    }
    Ok(())
}

impl Node {
    /// Replaces the tools by those of another build, in the directory `from`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn install_tools(&self, from: &Path) -> Result<()> {
        install_tools(from, &self.path(DB_BIN)?, &self.path(POOL_BIN)?)
    }
}

/// `HAmodule.conf` of a host.
fn config(shared: &Shared, number: u8) -> String {
    let all = |item: &dyn Fn(u8) -> String| -> String {
        let items: Vec<String> = shared.numbers().map(item).collect();
        format!("({})", items.join(" "))
    };
    let mut settings: Vec<(String, String)> = [
        ("KB_LOCALHOST_IP", address(number).to_string()),
        ("KB_ALL_IP", all(&|number| address(number).to_string())),
        ("NODE_NAME", format!("node{number}")),
        ("ALL_NODE_NAME", all(&|number| format!("node{number}"))),
        ("KB_GATEWAY_IP", GATEWAY.to_string()),
        ("PING_TIMES", "3".into()),
        ("KB_VIP", format!("{DATABASE_VIP}/24")),
        ("DEV", DEVICE.into()),
        ("CMD_IP_PATH", "/sbin".into()),
        ("CMD_ARPING_PATH", "/usr/bin".into()),
        ("KB_POOL_VIP", POOL_VIP.to_string()),
        ("KB_POOL_PORT", POOL_PORT.to_string()),
        ("KB_POOL_PCP_PORT", PCP_PORT.to_string()),
        ("PCP_USER", PCP_USER.into()),
        ("PCP_PASS", BASE64.encode(PCP_PASSWORD)),
        ("KB_USER", SQL_USER.into()),
        ("KB_PASS", BASE64.encode(SQL_PASSWORD)),
        ("KB_DATANAME", DATABASE.into()),
        ("KB_PORT", DATABASE_PORT.to_string()),
        ("KB_PATH", DB_BIN.into()),
        ("KB_ETC_PATH", DB_ETC.into()),
        ("KB_DATA_PATH", DATA.into()),
        ("CLUSTER_BIN_PATH", POOL_BIN.into()),
        ("KB_EXECUTE_SYS_USER", USER.into()),
        ("KB_POOL_EXECUTE_SYS_USER", "root".into()),
        ("SYNC_FLAG", u8::from(shared.options.sync).to_string()),
        ("FAILOVER_LOG_DIR", format!("{LOG}/failover.log")),
        ("RECOVERY_LOG_DIR", format!("{LOG}/recovery.log")),
        ("KB_CLUSTER_STATUS", format!("{LOG}/cluster_status")),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    // The pools' hosts, where they are not simply all hosts.
    if shared.options.pools > 0 && !shared.pool_numbers().eq(shared.numbers()) {
        for (index, number) in (1..).zip(shared.pool_numbers()) {
            settings.push((format!("KB_POOL_IP{index}"), address(number).to_string()));
        }
    }
    let text = settings.iter().fold(String::new(), |text, (key, value)| {
        text + &format!("{key}={value}\n")
    });
    let overrides = shared.options.config.iter();
    with_settings(
        &text,
        overrides.map(|(key, value)| (key.as_str(), value.as_str())),
    )
}

/// The text of a `HAmodule.conf` with settings changed, or added at its end.
pub(crate) fn with_settings<'a>(
    text: &str,
    settings: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (key, value) in settings {
        lines.retain(|line| line.split('=').next() != Some(key));
        lines.push(format!("{key}={value}"));
    }
    lines.join("\n") + "\n"
}

/// A field of a password file, where `:` ends one.
pub(crate) fn escaped(field: &str) -> String {
    field.replace('\\', r"\\").replace(':', r"\:")
}

/// Something expensive that all labs share, made once: `make` writes the file or directory
/// whose path it is given (and perhaps others with the same beginning).
pub(crate) fn cached(name: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let cache = Path::new(STORE).join("cache");
    fs::create_dir_all(&cache)?;
    let _lock = lock(&cache.join("lock"), FlockArg::LockExclusive)?;
    let path = cache.join(name);
    // The mark is made last: what a killed run has left half made is made again.
    let mark = cache.join(format!("{name}.made"));
    if !mark.exists() {
        remove(&path)?;
        make(&path).with_context(|| format!("make {}", path.display()))?;
        File::create(mark)?;
    }
    Ok(path)
}

/// Where labs have their disks.
pub(crate) const STORE: &str = "/var/tmp/failover-lab";

/// Opens and locks a file, as long as the result lives.
pub(crate) fn lock(path: &Path, how: FlockArg) -> Result<Flock<File>> {
    let file = File::options().create(true).append(true).open(path)?;
    Flock::lock(file, how)
        .map_err(|(_, error)| error)
        .with_context(|| format!("lock {}", path.display()))
}

/// Removes a file or directory, if it is there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if metadata.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    }
    .with_context(|| format!("remove {}", path.display()))
}

/// Copies a directory tree with owners and modes.
pub(crate) fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    ensure!(!to.exists(), "{} exists", to.display());
    let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
    run("cp", &["-a", &from, &to], LIMIT).map(drop)
}

/// Runs a program of the machine as one of its users, with text on its stdin.
pub(crate) fn run_as_user(uid: u32, program: &Path, args: &[&str], input: &str) -> Result<String> {
    use std::io::{Seek, Write};
    use std::os::unix::process::CommandExt;

    let memory = nix::sys::memfd::memfd_create("input", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    let mut stdin = File::from(memory);
    stdin.write_all(input.as_bytes())?;
    stdin.rewind()?;
    let mut command = Command::new(program);
    command
        .args(args)
        .uid(uid)
        .current_dir("/")
        .stdin(Stdio::from(stdin));
    run_command(&mut command, LIMIT)
}

/// Makes a directory, or gives an existing one this mode and owner.
pub(crate) fn directory(path: &Path, mode: u32, owner: u32) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("make {}", path.display()))?;
    own(path, mode, owner)
}

/// Writes a file with this mode and owner.
pub(crate) fn write(path: &Path, text: &str, mode: u32, owner: u32) -> Result<()> {
    write_bytes(path, text.as_bytes(), mode, owner)
}

pub(crate) fn write_bytes(path: &Path, bytes: &[u8], mode: u32, owner: u32) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    // A host's programs are links: written through one, the file would be the machine's.
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    options
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .with_context(|| format!("write {}", path.display()))?;
    own(path, mode, owner)
}

pub(crate) fn copy(from: &Path, to: &Path, mode: u32, owner: u32) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    own(to, mode, owner)
}

fn own(path: &Path, mode: u32, owner: u32) -> Result<()> {
    chown(path, Some(owner), Some(owner))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .with_context(|| format!("owner and mode of {}", path.display()))
}

/// Puts a tool into place, also over one that runs. `vip_ctl` gets the rights that `make install`
/// gives it: with them the database's user moves the VIP without a login as root.
pub(crate) fn install(from: &Path, to: &Path) -> Result<()> {
    remove(to)?;
    if !to.ends_with("vip_ctl") {
        return copy(from, to, 0o755, UID);
    }
    copy(from, to, 0o750, 0)?;
    chown(to, None, Some(UID)).with_context(|| format!("group of {}", to.display()))?;
    // Last: a change of owner takes capabilities away.
    let capabilities = "cap_net_admin,cap_net_raw+ep";
    run("setcap", &[capabilities, &to.to_string_lossy()], LIMIT).map(drop)
}
