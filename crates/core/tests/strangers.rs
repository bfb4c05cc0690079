//! Processes of strangers are not the database's, whatever they are called and wherever they say they work.
//! As root.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use failover_core::config::Config;
use failover_core::deadline::Deadline;
use failover_core::instance::{Instance, Stopped};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const SAMPLE: &str = include_str!("../../../etc/HAmodule.postgres.conf");
/// Debian's `sync` and `games`: users that do nothing.
const DATABASE: u32 = 4;
const STRANGER: u32 = 5;

/// What its programs do: wait until their standard input ends, or a signal comes.
const WAITS: &str = "read line";

/// A data directory, and shells in it that are called as the server's programs.
struct Place {
    root: PathBuf,
    instance: Instance,
}

impl Place {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("strangers-{name}-{}", std::process::id()));
        for directory in ["data", "other"] {
            let data = root.join(directory);
            fs::create_dir_all(&data).unwrap();
            for program in ["postgres", "pg_rewind", "pg_basebackup"] {
                fs::copy("/bin/sh", data.join(program)).unwrap();
            }
        }
        let settings = format!(
            "{SAMPLE}\nKB_EXECUTE_SYS_USER=sync\nDB_FLAVOR=postgres\nKB_DATA_PATH={}\n",
            root.join("data").display()
        );
        let config = Config::parse(Path::new("/x"), settings.as_bytes()).unwrap();
        let instance = Instance::new(&config).unwrap();
        Self { root, instance }
    }

    fn data(&self) -> String {
        self.root.join("data").display().to_string()
    }

    /// Starts `program` in the data directory, as `user`, with `script`, and with the directory as its last
    /// argument. What is mounted by `mount` only it sees.
    fn start(&self, user: u32, mount: &str, program: &str, script: &str) -> Child {
        let data = self.data();
        let run_as = format!("setpriv --reuid {user} --regid {user} --clear-groups");
        let shell =
            format!("{mount} cd {data} && exec {run_as} ./{program} -c '{script}' x {data}");
        let child = match mount {
            "" => Command::new("sh"),
            _ => {
                let mut command = Command::new("unshare");
                command.args(["--mount", "sh"]);
                command
            }
        }
        .args(["-c", &shell])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
        let runs = Deadline::after(Duration::from_secs(10)).poll(Duration::from_millis(2), || {
            let of = |file: &str| PathBuf::from(format!("/proc/{}/{file}", child.id()));
            let exe = fs::read_link(of("exe")).ok()?;
            // A new program has its file a moment before it has its arguments.
            let arguments = fs::read(of("cmdline")).ok()?;
            (exe.ends_with(program) && !arguments.is_empty()).then_some(())
        });
        assert!(runs.is_some());
        child
    }

    fn server(&self, user: u32) -> Child {
        self.start(user, "", "postgres", WAITS)
    }

    fn found(&self) -> Vec<u32> {
        let all = self.instance.processes().unwrap();
        all.iter().map(|it| it.pid.cast_unsigned()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn lives(child: &mut Child) -> bool {
    child.try_wait().unwrap().is_none()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(4))
}

#[test]
fn a_strangers_process_is_not_the_database() {
    let place = Place::new("owner");
    let mut stranger = place.server(STRANGER);
    assert!(place.found().is_empty());
    assert_eq!(place.instance.stop(soon()).unwrap().how, Stopped::WasDown);
    let mut server = place.server(DATABASE);
    assert_eq!(place.found(), [server.id()]);
    // By root's fence, which may kill anybody.
    assert_ne!(place.instance.stop(soon()).unwrap().how, Stopped::WasDown);
    server.wait().unwrap();
    assert!(lives(&mut stranger));
    end(stranger);
}

#[test]
fn the_same_path_in_a_container_is_another_directory() {
    let place = Place::new("namespace");
    let data = place.data();
    let container = format!(
        "mount --bind {} {data} &&",
        place.root.join("other").display()
    );
    let container = place.start(DATABASE, &container, "postgres", WAITS);
    assert!(place.found().is_empty());
    // A service that has another directory of its own has this one in common.
    let service = "mount -t tmpfs none /mnt &&";
    let service = place.start(DATABASE, service, "postgres", WAITS);
    assert_eq!(place.found(), [service.id()]);
    end(container);
    end(service);
}

#[test]
fn a_name_that_is_no_text_hides_nothing() {
    let place = Place::new("name");
    let rename = format!("printf \"\\377\\376\" >/proc/$$/comm; {WAITS}");
    let server = place.start(DATABASE, "", "postgres", &rename);
    let named = soon().poll(Duration::from_millis(2), || {
        let name = fs::read(format!("/proc/{}/comm", server.id())).ok()?;
        (name == b"\xff\xfe\n").then_some(())
    });
    assert!(named.is_some());
    assert_eq!(place.found(), [server.id()]);
    end(server);
}

#[test]
fn a_stranger_looks_like_no_base_backup_and_no_rewind() {
    let place = Place::new("backup");
    let start = |user, program| place.start(user, "", program, WAITS);
    let mut strangers = ["pg_basebackup", "pg_rewind"].map(|it| start(STRANGER, it));
    assert_eq!(place.instance.base_backups().unwrap(), []);
    let mut rewind = start(DATABASE, "pg_rewind");
    assert_eq!(place.instance.kill_strays(soon()).unwrap(), 1);
    rewind.wait().unwrap();
    assert!(strangers.iter_mut().all(lives));
    strangers.into_iter().for_each(end);
    // A person's: its user's, or root's.
    for user in [DATABASE, 0] {
        let backup = start(user, "pg_basebackup");
        assert_eq!(place.instance.base_backups().unwrap().len(), 1);
        end(backup);
    }
}
