//! What a promotion on this host needs beside its data: known before anything is done to the old
//! primary, and told to a person who asks in good time.

use crate::config::{Config, Finding, Severity};
use crate::deadline::Deadline;
use crate::flavor::Flavor;
use crate::host::ThisHost;
use crate::identity::Identity;
use crate::process::RunError;
use crate::programs::{MissingProgram, Programs};
use crate::sql::Session;
use crate::ssh::{Login, Ssh};
use crate::users::SystemUser;
use crate::vip::{Rights, Vip, VipError, find, ipv4_addresses};
use nix::errno::Errno;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

/// For the server's answer to a question about its settings.
const SERVER_TIME: Duration = Duration::from_millis(800);
/// For this host's own sshd to take a connection or to refuse it.
const OWN_SSHD: Duration = Duration::from_millis(100);
/// And to refuse a login.
const OWN_LOGIN: Duration = Duration::from_millis(500);

/// Why this host is sure not to get the database VIP. `None`: it has it, may get it, or there is none.
pub fn vip_obstacle(host: &ThisHost) -> Option<String> {
    let vip = host.vip.as_ref()?;
    // Where nothing has to be added nothing is needed for it.
    if find(vip.cidr.addr).is_ok_and(|held| held.is_some()) {
        return None;
    }
    no_device(vip)
        .or_else(|| no_ip(host).map(|missing| missing.to_string()))
        .or_else(|| no_rights(host).map(|error| error.to_string()))
}

/// The device by any of its names, as `ip` takes them.
fn no_device(vip: &Vip) -> Option<String> {
    let gone = if_nametoindex(vip.dev.as_str()) == Err(Errno::ENODEV);
    gone.then(|| {
        let others = ipv4_addresses().unwrap_or_default();
        let mut others: Vec<String> = others
            .into_iter()
            .filter(|own| !own.addr.is_loopback())
            .map(|own| format!("{} has {}", own.dev, own.addr))
            .collect();
        others.dedup();
        let known = match others.is_empty() {
            true => "no device has an address".to_owned(),
            false => others.join(", "),
        };
        format!(
            "this host has no network device {} ({known}): correct DEV",
            vip.dev
        )
    })
}

/// `ip`, as whoever changes addresses in our place takes it.
fn no_ip(host: &ThisHost) -> Option<MissingProgram> {
    let programs = Programs {
        only_roots: matches!(own_rights(host), Ok(Rights::ViaVipCtl(_))),
        ..host.programs.clone()
    };
    programs.ip().err()
}

/// Without a login as root@localhost.
fn own_rights(host: &ThisHost) -> Result<Rights, VipError> {
    Rights::choose(&Programs {
        root: None,
        ..host.programs.clone()
    })
}

fn no_rights(host: &ThisHost) -> Option<VipError> {
    let Err(VipError::NoRights { vip_ctl, .. }) = own_rights(host) else {
        return None;
    };
    // It costs more than a look should, and is less than what a promotion costs that fails after the fence.
    let why = refused(host.root_login())?;
    Some(VipError::NoRights {
        vip_ctl,
        ssh: Some(why.to_string()),
    })
}

/// Why this host's own sshd lets nobody in that way. One that is slow may yet.
fn refused(root: Login) -> Option<RunError> {
    let hopeless = root.is_hopeless(Deadline::after(OWN_SSHD));
    hopeless.or_else(|| Ssh::refused(&root.forgetting(), Deadline::after(OWN_LOGIN)))
}

/// Why the database's user cannot change addresses here, by a login as root@localhost where that is its only
/// way: this tool runs as that user where cron starts it, and where root is refused from elsewhere.
pub fn rights_of_database_user(host: &ThisHost) -> Option<String> {
    host.vip.as_ref()?;
    let user = SystemUser::named(&host.config.kb_execute_sys_user).ok()?;
    if user.is_root() || host.programs.capable_vip_ctl().is_some() {
        return None;
    }
    let root = Login::new(&host.config, Ipv4Addr::LOCALHOST.into(), "root", &user);
    let why = refused(root)?;
    let error = VipError::NoRights {
        vip_ctl: host.programs.vip_ctl.clone(),
        ssh: Some(why.to_string()),
    };
    Some(format!("as {}: {error}", user.name))
}

/// What `--check-config` has to say about this host.
pub fn check(config: Config) -> Vec<Finding> {
    let path = config.path.clone();
    let mut said = Said(Vec::new());
    match Identity::of(&config) {
        Identity::Ours => {}
        Identity::Unplugged => said.note(
            "KB_LOCALHOST_IP",
            "this host has no address of its own now, so whether the file is this host's is not known",
        ),
        Identity::Lost(why) | Identity::Another(why) => {
            let text = why.split_once(": ").map_or(why.as_str(), |(_, text)| text);
            said.error("KB_LOCALHOST_IP", text);
        }
    }
    match ThisHost::new(config) {
        Ok(host) => {
            if let Err(missing) = host.programs.ping() {
                said.error("KB_GATEWAY_IP", missing);
            }
            of_pool(&host.config, &mut said);
            of_keys(&host, &mut said);
            if host.config.has_database() {
                of_database(&host.config, &mut said);
                of_server(&host, &mut said);
                of_vip(&host, &mut said);
            }
        }
        Err(error) => said.error("KB_EXECUTE_SYS_USER", error),
    }
    let about = |(severity, key, text): (Severity, &str, String)| Finding {
        severity,
        path: path.clone(),
        line: None,
        key: Some(key.to_owned()),
        text,
    };
    said.0.into_iter().map(about).collect()
}

/// What was said so far: how bad it is, about which key, and the text.
struct Said(Vec<(Severity, &'static str, String)>);

impl Said {
    fn error(&mut self, key: &'static str, text: impl ToString) {
        self.0.push((Severity::Error, key, text.to_string()));
    }

    fn note(&mut self, key: &'static str, text: impl ToString) {
        self.0.push((Severity::Note, key, text.to_string()));
    }
}

/// The pool's own programs, by which nodes are attached and detached.
fn of_pool(config: &Config, said: &mut Said) {
    let bin = &config.cluster_bin_path;
    let wanted = ["pcp_attach_node", "pcp_detach_node", "pcp_node_info"];
    let missing: Vec<&str> = wanted
        .into_iter()
        .filter(|it| !bin.join(it).exists())
        .collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        said.note(
            "CLUSTER_BIN_PATH",
            format!(
                "no {missing} in {}: correct the path, or install them there",
                bin.display()
            ),
        );
    }
}

/// The files of a login that the configuration names.
fn of_keys(host: &ThisHost, said: &mut Said) {
    let files = [
        ("SSH_KEY_FILE", &host.config.ssh_key_file),
        ("KB_SSLROOTCERT", &host.config.kb_sslrootcert),
    ];
    for (key, file) in files {
        if let Some(file) = file.as_ref().filter(|file| !file.is_file()) {
            said.note(
                key,
                format!(
                    "there is no file {}: make it, or correct the path",
                    file.display()
                ),
            );
        }
    }
}

fn of_database(config: &Config, said: &mut Said) {
    if let Err(error) = SystemUser::named(&config.kb_execute_sys_user) {
        said.error(
            "KB_EXECUTE_SYS_USER",
            format!("{error}: name the user that the database runs as"),
        );
    }
    match Flavor::of(config) {
        Err(error) => said.error("KB_PATH", error),
        Ok(names) => {
            let bin = &config.kb_path;
            let missing = |program: &str| !bin.join(program).exists();
            if missing(names.ctl) {
                let ctl = bin.join(names.ctl);
                said.error(
                    "KB_PATH",
                    format!("no program {}: correct KB_PATH", ctl.display()),
                );
            }
            for program in [names.controldata, names.rewind]
                .into_iter()
                .filter(|it| missing(it))
            {
                let text =
                    format!("no program {program} in it: a recovery needs it, install it there");
                said.note("KB_PATH", text);
            }
            if missing("failover_stream") {
                let text = "the tools are not installed there, and the other hosts give their orders to those";
                said.note("KB_PATH", text);
            }
        }
    }
    let parent = |file: &Path| file.parent().map(Path::to_owned).unwrap_or_default();
    for directory in config.mount_point_dir_list.iter().filter(|it| !it.is_dir()) {
        let text = format!(
            "there is no directory {}: the disk check fails, and stops the database (USE_CHECK_DISK)",
            directory.display()
        );
        said.note("MOUNT_POINT_DIR_LIST", text);
    }
    let apart = config.kb_config_path.clone();
    let apart = apart.map(|directory| ("KB_CONFIG_PATH", directory));
    for (key, directory) in [
        ("KB_DATA_PATH", config.kb_data_path.clone()),
        ("KB_ETC_PATH", config.kb_etc_path.clone()),
        ("FAILOVER_LOG_DIR", parent(&config.failover_log_dir)),
        ("RECOVERY_LOG_DIR", parent(&config.recovery_log_dir)),
        ("STATE_DIR", config.state_dir.clone()),
        ("EVENT_LOG", parent(&config.event_log)),
    ]
    .into_iter()
    .chain(apart)
    {
        if !directory.is_dir() {
            let directory = directory.display();
            said.note(
                key,
                format!("there is no directory {directory}: make it, or correct the path"),
            );
        }
    }
}

/// What the server itself would refuse, where it runs.
fn of_server(host: &ThisHost, said: &mut Said) {
    if let Some(text) = no_alter_system(host, Deadline::after(SERVER_TIME)) {
        said.note("KB_DATA_PATH", text);
    }
}

/// Whether `ALTER SYSTEM` is turned off (PostgreSQL 17), and what follows from that.
pub fn no_alter_system(host: &ThisHost, deadline: Deadline) -> Option<String> {
    let session = Session::open(&host.sql_target(), deadline).ok()?;
    let question = "SELECT current_setting('allow_alter_system', true)";
    let off = session.value(question, deadline).ok()?? == "off";
    off.then(|| {
        "allow_alter_system is off in this server: from another host nobody can make it asynchronous, and \
         commits wait until the minute's run here has done that in the server's own file. Turn it on, or \
         keep synchronous_standby_names at a number that one standby may miss"
            .to_owned()
    })
}

fn of_vip(host: &ThisHost, said: &mut Said) {
    let Some(vip) = &host.vip else { return };
    if let Some(text) = no_device(vip) {
        return said.error("DEV", text);
    }
    if let Some(missing) = no_ip(host) {
        said.error("CMD_IP_PATH", missing);
    }
    if let Some(error) = no_rights(host) {
        said.note("KB_VIP", error);
    }
    if !host.config.only_roots && host.programs.capable_vip_ctl().is_some() {
        let text = "others than root can change this file, so vip_ctl does not use its file \
                    capabilities: chown root, chmod go-w";
        said.note("KB_VIP", text);
    }
    let Ok(all) = ipv4_addresses() else { return };
    let mut on_device = all.iter().filter(|own| own.dev == vip.dev).peekable();
    let down = |flags: InterfaceFlags| !flags.contains(InterfaceFlags::IFF_UP);
    if on_device.peek().is_some_and(|own| down(own.flags)) {
        let dev = &vip.dev;
        said.note("DEV", format!("{dev} is down: ip link set {dev} up"));
    }
    let reaches =
        |own: &crate::vip::OwnAddress| own.addr != vip.cidr.addr && own.network_has(vip.cidr.addr);
    if !on_device.any(reaches) {
        let text = format!(
            "{} has no address in the network of {vip}: is that the right device?",
            vip.dev
        );
        said.note("DEV", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> Config {
        let text = include_str!("../../../../etc/HAmodule.conf");
        let us = SystemUser::current().unwrap().name;
        let text = format!("{text}\nKB_EXECUTE_SYS_USER={us}\n{more}\n");
        Config::parse("/x/HAmodule.conf".as_ref(), text.as_bytes()).unwrap()
    }

    #[test]
    fn a_device_that_is_not_there_is_an_obstacle() {
        let host = ThisHost::new(config("DEV=no-such-dev0")).unwrap();
        let why = vip_obstacle(&host).unwrap();
        assert!(
            why.starts_with("this host has no network device no-such-dev0 ("),
            "{why}"
        );
        assert!(why.ends_with("): correct DEV"), "{why}");
        // The address is there, wherever: nothing has to be added.
        let here = ThisHost::new(config("DEV=no-such-dev0\nKB_VIP=127.0.0.1/8")).unwrap();
        assert_eq!(vip_obstacle(&here), None);
        let other = ThisHost::new(config("DEV=lo\nCMD_IP_PATH=/sbin")).unwrap();
        if other.us.is_root() {
            assert_eq!(vip_obstacle(&other), None);
        }
    }

    #[test]
    fn what_this_host_lacks_is_said_in_one_line_each() {
        let all = check(config(
            "DEV=no-such-dev0\nKB_PATH=/nowhere\nSTATE_DIR=/nowhere/state",
        ));
        let lines: Vec<String> = all.iter().map(ToString::to_string).collect();
        for start in [
            "/x/HAmodule.conf: DEV: this host has no network device no-such-dev0",
            "/x/HAmodule.conf: KB_PATH: KB_PATH /nowhere holds neither",
            "/x/HAmodule.conf: STATE_DIR: there is no directory /nowhere/state: make it",
        ] {
            let found: Vec<&String> = lines
                .iter()
                .filter(|line| line.starts_with(start))
                .collect();
            assert_eq!(found.len(), 1, "{start}: {lines:#?}");
        }
        assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:#?}");
    }
}
