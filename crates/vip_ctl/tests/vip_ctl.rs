//! `vip_ctl` as it is installed, on a host of its own beside a neighbor. As root.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../../core/tests/hosts/mod.rs"]
mod hosts;

use failover_core::arp::{Mac, own_mac};
use failover_core::process::{Cmd, Output, run};
use failover_core::vip::{Did, Held, Report, find};
use hosts::{HERE, Hosts, PEER, ip, soon};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 200);
/// For `setpriv`: a user without any rights.
const AS_NOBODY: &str = "--reuid 65534 --regid 65534 --clear-groups";
const SAMPLE: &str = include_str!("../../../etc/HAmodule.conf");

/// `vip_ctl` installed as `bin/vip_ctl` with `etc/HAmodule.conf` beside it, on one of two hosts.
struct Installed {
    hosts: Hosts,
    dir: PathBuf,
}

impl Installed {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vip_ctl-{}-{number}", std::process::id());
        let installed = Self {
            hosts: Hosts::new(),
            dir: std::env::temp_dir().join(name),
        };
        installed.copy_to("db", "");
        installed
    }

    /// One more installation in `DIR/<name>`, whose configuration has `more` in it.
    fn copy_to(&self, name: &str, more: &str) -> PathBuf {
        let prefix = self.dir.join(name);
        for part in ["bin", "etc"] {
            fs::create_dir_all(prefix.join(part)).unwrap();
        }
        let program = prefix.join("bin/vip_ctl");
        fs::copy(env!("CARGO_BIN_EXE_vip_ctl"), &program).unwrap();
        let ours = [
            "KB_LOCALHOST_IP=",
            "KB_ALL_IP=",
            "KB_VIP=",
            "DEV=",
            "KB_PATH=",
            "CMD_IP_PATH=",
        ];
        let others = SAMPLE
            .lines()
            .filter(|line| !ours.iter().any(|key| line.starts_with(key)));
        let mut conf = others.collect::<Vec<_>>().join("\n");
        conf.push_str(&format!(
            "\nKB_LOCALHOST_IP={HERE}\nKB_ALL_IP=({HERE} {PEER})\nKB_VIP=\"{VIP}/24\"\nDEV=eth0\n\
             KB_PATH={}\n{more}\n",
            self.dir.join("db/bin").display()
        ));
        fs::write(prefix.join("etc/HAmodule.conf"), conf).unwrap();
        program
    }

    fn program(&self) -> PathBuf {
        self.dir.join("db/bin/vip_ctl")
    }

    /// Runs it on the host as root.
    fn run(&self, args: &str) -> Output {
        self.run_cmd(Cmd::new(self.program()).args(words(args)))
    }

    /// Runs `program` on the host as `nobody`.
    fn run_as_nobody(&self, program: &Path, args: &str) -> Output {
        let cmd = Cmd::new("/usr/bin/setpriv")
            .args(words(AS_NOBODY))
            .arg(program)
            .args(words(args));
        self.run_cmd(cmd)
    }

    fn run_cmd(&self, cmd: Cmd) -> Output {
        self.hosts.on_here(|| run(&cmd, soon())).unwrap()
    }

    fn held(&self) -> Option<Held> {
        self.hosts.on_here(|| find(VIP)).unwrap()
    }

    fn give_to_peer(&self) -> Mac {
        ip(&format!(
            "-n {} addr add {VIP}/24 dev eth0",
            self.hosts.peer
        ));
        self.hosts.on_peer(|| own_mac("eth0")).unwrap()
    }

    fn set_capabilities(&self) {
        let cmd = Cmd::new("/sbin/setcap")
            .arg("cap_net_admin,cap_net_raw+ep")
            .arg(self.program());
        run(&cmd, soon()).and_then(|out| out.checked(&cmd)).unwrap();
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
}

fn report(out: &Output) -> Report {
    assert_eq!(out.stdout.lines().count(), 1, "{out:?}");
    serde_json::from_str(&out.stdout).unwrap()
}

/// Nothing on standard output, one clear line on standard error.
fn one_line(out: &Output, code: i32) -> &str {
    assert_eq!((out.code, out.stdout.as_str()), (code, ""), "{out:?}");
    assert_eq!(out.stderr.lines().count(), 1, "{out:?}");
    out.stderr.trim()
}

#[test]
fn add_and_del_twice_are_add_and_del_once() {
    let host = Installed::new();
    let steps = [
        ("status --json", false, Did::Nothing),
        ("add --json", true, Did::Added),
        ("add --json", true, Did::Nothing),
        ("status --json", true, Did::Nothing),
        ("del --json", false, Did::Removed),
        ("del --json", false, Did::Nothing),
        ("add --force --json", true, Did::Added),
        ("add --force --json", true, Did::Nothing),
    ];
    for (args, here, did) in steps {
        let started = Instant::now();
        let out = host.run(args);
        println!("{args}: {:?}", started.elapsed());
        assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{args}: {out:?}");
        let report = report(&out);
        let expected = Report {
            vip: "10.9.0.200/24".to_owned(),
            device: "eth0".to_owned(),
            here,
            answered_by: None,
            also_by: Vec::new(),
            did,
        };
        assert_eq!(report, expected, "{args}");
        assert_eq!(host.held().is_some(), here, "{args}");
    }
}

#[test]
fn it_says_what_it_did() {
    let host = Installed::new();
    let said = |args: &str| {
        let out = host.run(args);
        assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{out:?}");
        out.stdout
    };
    assert_eq!(said("status"), "10.9.0.200/24 is not on this host\n");
    assert_eq!(
        said("add --dry-run"),
        "would add 10.9.0.200/24 to eth0 and announce it\n"
    );
    assert_eq!(host.held(), None);
    assert_eq!(said("add"), "10.9.0.200/24 added to eth0, announced\n");
    assert_eq!(said("add"), "10.9.0.200/24 is on eth0 already, announced\n");
    assert_eq!(
        said("del --dry-run"),
        "would remove 10.9.0.200/24, it is on eth0\n"
    );
    assert_eq!(said("del"), "10.9.0.200/24 removed, it was on eth0\n");
    assert_eq!(said("del"), "10.9.0.200/24 is not on this host\n");
}

#[test]
fn an_address_that_somebody_else_has_is_refused_by_name() {
    let host = Installed::new();
    let mac = host.give_to_peer();
    let out = host.run("add");
    let line = one_line(&out, 1);
    assert!(line.contains(&format!("{mac} answers for it")), "{line}");
    assert_eq!(host.held(), None);
    let out = host.run("add --json");
    assert_eq!(out.code, 1);
    let refused = report(&out);
    assert_eq!((refused.did, refused.here), (Did::Refused, false));
    assert_eq!(refused.answered_by, Some(mac));

    let started = Instant::now();
    let looked = report(&host.run("status --json"));
    assert_eq!(looked.answered_by, Some(mac));
    println!("status, answered: {:?}", started.elapsed());

    // Here and there: not announced, and seen from here although it is our own address.
    let out = host.run("add --force");
    assert_eq!(out.code, 0, "{out:?}");
    assert!(one_line(&host.run("add"), 1).contains("is on eth0, and"));
    // Taking it off asks nobody.
    assert_eq!(report(&host.run("del --json")).did, Did::Removed);
}

#[test]
fn an_address_that_only_looks_alike_is_left_alone() {
    let host = Installed::new();
    let short = Ipv4Addr::new(10, 9, 0, 20);
    ip(&format!(
        "-n {} addr add {short}/24 dev eth0",
        host.hosts.here
    ));
    assert!(!report(&host.run("status --json")).here);
    assert_eq!(report(&host.run("del --json")).did, Did::Nothing);
    assert_eq!(report(&host.run("add --json")).did, Did::Added);
    assert_eq!(
        report(&host.run("del --vip 10.9.0.20/24 --json")).did,
        Did::Removed
    );
    assert!(host.held().is_some());
    assert!(host.hosts.on_here(|| find(HERE)).unwrap().is_some());
}

#[test]
fn an_address_is_found_with_whatever_prefix_and_device() {
    let host = Installed::new();
    let here = &host.hosts.here;
    ip(&format!("-n {here} link add other type veth peer name end"));
    ip(&format!("-n {here} link set other up"));
    ip(&format!("-n {here} addr add {VIP}/32 dev eth0"));
    ip(&format!(
        "-n {here} addr add {VIP}/16 dev other label other:vip"
    ));
    assert_eq!(report(&host.run("add --force --json")).did, Did::Nothing);
    assert_eq!(report(&host.run("del --json")).did, Did::Removed);
    assert_eq!(host.held(), None);
    // And put on with a prefix other than the device's.
    assert_eq!(
        report(&host.run("add --vip 10.9.0.200/32 --json")).did,
        Did::Added
    );
    assert_eq!(host.held().unwrap().prefix, 32);
}

#[test]
fn file_capabilities_serve_another_user() {
    let host = Installed::new();
    host.set_capabilities();
    let run = |args: &str| host.run_as_nobody(&host.program(), args);
    for (args, did) in [
        ("add --json", Did::Added),
        ("status --json", Did::Nothing),
        ("del --json", Did::Removed),
        ("del --json", Did::Nothing),
    ] {
        let out = run(args);
        assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{args}: {out:?}");
        assert_eq!(report(&out).did, did, "{args}");
    }
    let mac = host.give_to_peer();
    assert!(one_line(&run("add"), 1).contains(&mac.to_string()));
}

/// A pool that is not root's has this program as its own `if_up_cmd` and `if_down_cmd`.
#[test]
fn file_capabilities_serve_the_pools_address() {
    let host = Installed::new();
    host.copy_to("db", "KB_POOL_VIP=10.9.0.202");
    host.set_capabilities();
    let run = |args: &str| host.run_as_nobody(&host.program(), args);
    let held = || {
        let found = host.hosts.on_here(|| find("10.9.0.202".parse().unwrap()));
        found.unwrap()
    };
    let added = run("add --force --vip 10.9.0.202/24");
    assert_eq!(added.code, 0, "{added:?}");
    assert_eq!(held().unwrap().prefix, 24);
    assert_eq!(host.held(), None);
    let removed = run("del --vip 10.9.0.202/24");
    assert_eq!((removed.code, held()), (0, None), "{removed:?}");
    // With another network it would take the way to other hosts.
    let refused = run("add --force --vip 10.9.0.202/1");
    let line = one_line(&refused, 2);
    assert!(line.contains("or KB_POOL_VIP 10.9.0.202/24"), "{line}");
    assert_eq!(held(), None);
}

#[test]
fn file_capabilities_are_for_the_configured_address_only() {
    let host = Installed::new();
    host.set_capabilities();
    for args in [
        "add --vip 10.9.0.201/24",
        "add --vip 10.9.0.200/25",
        "add --dev lo",
        "del --vip 10.9.0.1/24",
        "add --config /tmp/HAmodule.conf",
        // Nobody's frames reach a network, or a host, that the configuration does not name.
        "status --dev lo",
        "status --vip 10.9.0.3/32",
    ] {
        let out = host.run_as_nobody(&host.program(), args);
        let line = one_line(&out, 2);
        assert!(line.contains("file capabilities"), "{args}: {line}");
    }
    let started = Instant::now();
    let asked = format!("status --json --window 60000 --vip {PEER}/32");
    let peer = report(&host.run_as_nobody(&host.program(), &asked));
    assert!(peer.answered_by.is_some());
    let vip = report(&host.run_as_nobody(&host.program(), "status --json --window 60000"));
    assert_eq!(vip.answered_by, None);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "PROBE_TIMEOUT is 500 ms"
    );
    assert_eq!(host.held(), None);
    assert!(host.hosts.on_here(|| find(HERE)).unwrap().is_some());
}

#[test]
fn file_capabilities_run_nothing_that_others_can_replace() {
    let host = Installed::new();
    let theirs = host.dir.join("theirs");
    fs::create_dir(&theirs).unwrap();
    let fake = theirs.join("ip");
    let script = format!("#!/bin/sh\necho ran >{}/ran\n", theirs.display());
    fs::write(&fake, script).unwrap();
    fs::set_permissions(&fake, PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(&theirs, PermissionsExt::from_mode(0o777)).unwrap();
    let dir = theirs.display();
    host.copy_to("db", &format!("CMD_IP_PATH={dir}"));
    host.set_capabilities();
    let cmd = Cmd::new("/usr/bin/setpriv")
        .args(words(AS_NOBODY))
        .arg(host.program())
        .args(["add", "--json"])
        .env("PATH", theirs.as_os_str());
    assert_eq!(report(&host.run_cmd(cmd)).did, Did::Added);
    assert!(!theirs.join("ran").exists());
}

/// The attack: whoever may start it takes its packet socket while it listens, with which all traffic of
/// the network can be read and any frame sent.
#[test]
fn nobody_gets_a_raw_socket_out_of_it() {
    let host = Installed::new();
    host.set_capabilities();
    let taken = |program: &Path, args: &str, descriptor: fn(&str) -> bool| {
        let mut command = Command::new("/usr/bin/setpriv");
        command
            .args(words(AS_NOBODY))
            .arg(program)
            .args(words(args));
        let mut victim = host
            .hosts
            .on_here(|| command.stdout(Stdio::null()).spawn().unwrap());
        let pid = i32::try_from(victim.id()).unwrap();
        let found = soon().poll(Duration::from_millis(1), || {
            // Not before it is the program, and the user's.
            let exe = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
            (exe == fs::canonicalize(program).ok()?).then_some(())?;
            let all = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
            let mut all = all.map(|it| it.path());
            all.find(|it| fs::read_link(it).is_ok_and(|to| descriptor(&to.to_string_lossy())))
        });
        let number = found.unwrap();
        let number = number
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        let taken = std::thread::spawn(move || take_as_nobody(pid, number))
            .join()
            .unwrap();
        victim.kill().unwrap();
        victim.wait().unwrap();
        taken
    };
    // What it does to a process without rights: the attack works.
    let plain = taken(Path::new("/bin/sleep"), "9", |it| it == "/dev/null");
    assert_eq!(plain, Ok(()));
    let socket = taken(&host.program(), "status", |it| it.starts_with("socket:"));
    assert_eq!(socket, Err(libc::EPERM));
}

/// `pidfd_getfd` of a descriptor of another process, by the user `nobody` without rights.
fn take_as_nobody(pid: i32, descriptor: i32) -> Result<(), i32> {
    let result = |code: i64| match code {
        -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap()),
        code => Ok(code),
    };
    // SAFETY: system calls with numbers only; the user is that of this thread, which ends.
    unsafe {
        let process = result(libc::syscall(libc::SYS_pidfd_open, pid, 0))?;
        result(libc::syscall(libc::SYS_setresgid, 65534, 65534, 65534))?;
        result(libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534))?;
        result(libc::syscall(libc::SYS_pidfd_getfd, process, descriptor, 0)).map(drop)
    }
}

#[test]
fn no_child_but_ip_has_rights_and_ip_no_more_than_it_needs() {
    let host = Installed::new();
    // Only root's programs are run, from root's directories.
    let roots = PathBuf::from(format!("/run/vip_ctl-{}", std::process::id()));
    fs::create_dir_all(&roots).unwrap();
    let noted = host.dir.join("rights");
    fs::write(&noted, "").unwrap();
    fs::set_permissions(&noted, PermissionsExt::from_mode(0o666)).unwrap();
    let script = format!(
        "#!/bin/sh\ngrep Cap /proc/self/status >{}\nexec /sbin/ip \"$@\"\n",
        noted.display()
    );
    fs::write(roots.join("ip"), script).unwrap();
    fs::set_permissions(roots.join("ip"), PermissionsExt::from_mode(0o755)).unwrap();
    host.copy_to("db", &format!("CMD_IP_PATH={}", roots.display()));
    host.set_capabilities();
    let out = host.run_as_nobody(&host.program(), "add --json");
    fs::remove_dir_all(&roots).unwrap();
    assert_eq!(report(&out).did, Did::Added);
    let rights = fs::read_to_string(&noted).unwrap();
    let net_admin_alone = format!("{:016x}", 1 << 12);
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        let line = format!("{set}:\t{net_admin_alone}");
        assert!(rights.contains(&line), "{line} in {rights}");
    }
}

/// A configuration that others can write says whatever they like.
#[test]
fn rights_are_not_used_by_a_configuration_that_is_not_roots_alone() {
    let host = Installed::new();
    host.set_capabilities();
    let config = host.dir.join("db/etc/HAmodule.conf");
    let root = nix::unistd::Uid::from_raw(0);
    for (owner, mode) in [(65534, 0o600), (0, 0o664), (0, 0o646)] {
        fs::set_permissions(&config, PermissionsExt::from_mode(mode)).unwrap();
        nix::unistd::chown(&config, Some(owner.into()), None).unwrap();
        for args in ["add --force", "status"] {
            let out = host.run_as_nobody(&host.program(), args);
            assert_eq!(out.code, 66, "{out:?}");
            let said = "can be changed by others than root, so the file capabilities are not used";
            assert!(out.stderr.contains(said), "{out:?}");
            assert_eq!(host.held(), None);
        }
    }
    nix::unistd::chown(&config, Some(root), None).unwrap();
    fs::set_permissions(&config, PermissionsExt::from_mode(0o644)).unwrap();
    let out = host.run_as_nobody(&host.program(), "add --json");
    assert_eq!(report(&out).did, Did::Added);
}

#[test]
fn a_copy_without_rights_goes_through_the_one_that_has_them() {
    let host = Installed::new();
    host.set_capabilities();
    let plain = host.copy_to("plain", "");
    let run = |args: &str| host.run_as_nobody(&plain, args);
    for (args, did) in [
        ("add --json", Did::Added),
        ("add --json", Did::Nothing),
        ("status --json", Did::Nothing),
        ("del --json", Did::Removed),
    ] {
        let out = run(args);
        assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{args}: {out:?}");
        assert_eq!(report(&out).did, did, "{args}");
    }
    let mac = host.give_to_peer();
    assert_eq!(report(&run("status --json")).answered_by, Some(mac));
}

#[test]
fn without_any_rights_it_says_so_and_ends() {
    let host = Installed::new();
    let out = host.run_as_nobody(&host.program(), "add --force");
    let line = one_line(&out, 66);
    assert!(
        line.contains("this user may neither change addresses nor send ARP: give"),
        "{line}"
    );
    // File capabilities without effect: it must not take itself for the one that has them.
    host.set_capabilities();
    let dir = host.dir.display();
    let script = format!(
        "mount --bind {dir} {dir} && mount -o remount,bind,nosuid {dir} && \
         exec setpriv {AS_NOBODY} {} add --force",
        host.program().display()
    );
    let out = host.run_cmd(Cmd::new("/usr/bin/unshare").args(["-m", "sh", "-c", &script]));
    assert_eq!(one_line(&out, 66), line);
}

#[test]
fn called_as_the_script_it_does_what_the_script_did() {
    let host = Installed::new();
    let script = host.dir.join("db/bin/change_vip.sh");
    symlink("vip_ctl", &script).unwrap();
    let run = |args: &str| {
        let out = host.run_cmd(Cmd::new(&script).args(args.split(' ')));
        assert_eq!((out.code, out.stderr.as_str()), (0, ""), "{args}: {out:?}");
        let lines: Vec<String> = out.stdout.lines().map(str::to_owned).collect();
        lines
    };
    let added = run("10.9.0.200/24 eth0 add");
    assert!(added[0].starts_with("ADD VIP NOW AT 20") && added[0].ends_with(" ON eth0"));
    assert!(added[1].ends_with("/ip addr add 10.9.0.200/24 dev eth0 label eth0:2]"));
    assert!(added[2].ends_with("/arping -U 10.9.0.200 -I eth0 -w 1"));
    assert_eq!(
        added[3..],
        [
            "ARPING 10.9.0.200 from 10.9.0.200 eth0",
            "Sent 1 probes (1 broadcast(s))",
            "Received 0 response(s)"
        ]
    );
    assert_eq!(host.held().unwrap().label.as_deref(), Some("eth0:2"));
    // Again, which the script ended with an error of `ip`.
    run("10.9.0.200/24 eth0 add");

    let removed = run("10.9.0.200/24 eth0 del");
    assert!(removed[0].starts_with("DEL VIP NOW AT 20"));
    assert!(removed[1].ends_with("/ip addr del 10.9.0.200/24 dev eth0]"));
    assert_eq!(removed[2..], ["Oprate del ip cmd end."]);
    assert_eq!(
        run("10.9.0.200/24 eth0 del")[1],
        "No VIP on my dev, nothing to do."
    );

    // DEV of the configuration goes before the argument.
    run("10.9.0.200/24 lo add first /nonexistent");
    assert_eq!(host.held().unwrap().dev, "eth0");
    // The cluster VIP, without its prefix length, as the pool's stop script passes it.
    ip(&format!(
        "-n {} addr add 10.9.0.201/24 dev eth0",
        host.hosts.here
    ));
    run("10.9.0.201 eth0 del");
    let cluster_vip = host.hosts.on_here(|| find(Ipv4Addr::new(10, 9, 0, 201)));
    assert_eq!(cluster_vip.unwrap(), None);
}

#[test]
fn bad_input_is_one_clear_line() {
    let host = Installed::new();
    for (args, says) in [
        ("", "required"),
        ("ad", "invalid value 'ad'"),
        ("add --vip 10.9.0.200", "such as 192.168.1.200/24"),
        ("add --vip 10.9.0.200/33", "such as 192.168.1.200/24"),
        ("add --dev eth0:2", "network device"),
        ("add --window 1s", "invalid"),
        ("add --config /nonexistent", "/nonexistent: no such file"),
    ] {
        let out = host.run(args);
        let line = one_line(&out, 2);
        assert!(line.contains(says), "{args}: {line}");
    }
    let out = host.run("add --force --dev eth7");
    assert!(
        one_line(&out, 66).contains("Cannot find device \"eth7\""),
        "{out:?}"
    );
    let out = host.run("add --dev eth7");
    let why = "this host has no network device eth7";
    assert!(one_line(&out, 66).contains(why), "{out:?}");
}

#[test]
fn a_missing_program_is_one_clear_line() {
    let host = Installed::new();
    // Hidden in a mount namespace of its own, whichever directory it is in.
    let without = |name: &str, args: &str| {
        let real = fs::canonicalize(format!("/sbin/{name}"))
            .or_else(|_| fs::canonicalize(format!("/usr/bin/{name}")))
            .unwrap();
        let script = format!(
            "mount --bind /dev/null {} && exec {} {args}",
            real.display(),
            host.program().display()
        );
        host.run_cmd(Cmd::new("/usr/bin/unshare").args(["-m", "sh", "-c", &script]))
    };
    let out = without("ip", "add --force");
    assert!(one_line(&out, 66).contains("no program ip in /"), "{out:?}");
    assert_eq!(host.held(), None);
}

/// Whoever starts it may have a limit for the size of files: an error of the file, and not its end.
#[test]
fn a_file_that_may_not_grow_is_no_end() {
    let host = Installed::new();
    let (said, program) = (host.dir.join("said"), host.program());
    let script = format!(
        "ulimit -f 0; exec {} add >{}",
        program.display(),
        said.display()
    );
    let out = host.run_cmd(Cmd::new("/bin/sh").args(["-c", &script]));
    assert_eq!(out.code, 0, "{out:?}");
    assert!(host.held().is_some());
    assert_eq!(fs::read_to_string(&said).unwrap(), "");
}

#[test]
fn it_is_quick() {
    let host = Installed::new();
    let took = |args: &str| {
        let started = Instant::now();
        assert_eq!(host.run(args).code, 0);
        started.elapsed()
    };
    for args in ["add --force", "add --force", "del", "del"] {
        let took = took(args);
        println!("{args}: {took:?}");
        assert!(took < Duration::from_millis(400), "{args}: {took:?}");
    }
}
