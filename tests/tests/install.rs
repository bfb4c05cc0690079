//! `make install` over a cluster's scripts, and `make uninstall`. Needs root.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

const SCRIPTS: [&str; 3] = ["failover_stream.sh", "network_rewind.sh", "change_vip.sh"];

/// Any user will do: Debian's, whose group has another name.
const USER: &str = "sync";

/// A directory of its own, removed in the end.
struct Cluster(PathBuf);

impl Cluster {
    /// With scripts as an operator has them: of another owner, of strange modes, a link, and a program
    /// of his own under the name of one of our tools, with capabilities.
    fn new(name: &str) -> Result<Self> {
        let cluster = Self(PathBuf::from(format!("/var/tmp/failover install {name}")));
        let _ = fs::remove_dir_all(&cluster.0);
        for bin in ["db/bin", "kingbasecluster/bin"] {
            let bin = cluster.0.join(bin);
            fs::create_dir_all(&bin)?;
            for script in SCRIPTS {
                fs::write(bin.join(script), format!("#!/bin/bash\n# {script}\n"))?;
            }
            chown(bin.join("failover_stream.sh"), Some(2001), Some(2002))?;
            fs::set_permissions(
                bin.join("network_rewind.sh"),
                fs::Permissions::from_mode(0o4711),
            )?;
            fs::rename(bin.join("change_vip.sh"), bin.join("change_vip.real"))?;
            symlink("change_vip.real", bin.join("change_vip.sh"))?;
            fs::copy("/bin/true", bin.join("rw_check"))?;
            run(
                "setcap",
                &["cap_net_raw+ep", &bin.join("rw_check").to_string_lossy()],
            )?;
            fs::write(bin.join("sys_ctl"), "the server's own")?;
        }
        Ok(cluster)
    }

    fn make(&self, target: &str) -> Result<()> {
        let cluster = format!("CLUSTER={}", self.0.display());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let root = root.to_string_lossy();
        let user = format!("DB_USER={USER}");
        run("make", &["-s", "-C", &root, target, &cluster, &user])
    }

    /// Everything below it: what it is, its owner, mode, capabilities and content.
    fn snapshot(&self) -> Result<BTreeMap<PathBuf, String>> {
        let mut found = BTreeMap::new();
        for bin in ["db/bin", "kingbasecluster/bin"] {
            for entry in fs::read_dir(self.0.join(bin))? {
                let path = entry?.path();
                let meta = fs::symlink_metadata(&path)?;
                let content = match meta.is_symlink() {
                    true => fs::read_link(&path)?.display().to_string(),
                    false => format!("{:?}", fs::read(&path)?),
                };
                let rights = match meta.is_symlink() {
                    true => String::new(),
                    false => output("getcap", &[&path.to_string_lossy()])?,
                };
                let facts = (meta.uid(), meta.gid(), meta.mode(), rights, content);
                found.insert(path, format!("{facts:?}"));
            }
        }
        Ok(found)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    // Cargo's own variables make no sense to what `make` might start.
    command.args(args).env_remove("MAKEFLAGS");
    command
}

#[allow(clippy::disallowed_methods, reason = "short programs of the machine")]
fn output(program: &str, args: &[&str]) -> Result<String> {
    let output = command(program, args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| program.to_owned())?;
    ensure!(
        output.status.success(),
        "{program} {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    output(program, args).map(drop)
}

#[test]
fn install_and_uninstall_leave_everything_as_it_was() -> Result<()> {
    let cluster = Cluster::new("over")?;
    let before = cluster.snapshot()?;
    cluster.make("install")?;
    let installed = cluster.snapshot()?;
    // An upgrade: once more.
    cluster.make("install")?;
    assert_eq!(cluster.snapshot()?, installed);

    for bin in ["db/bin", "kingbasecluster/bin"] {
        let bin = cluster.0.join(bin);
        for (script, tool) in [
            ("failover_stream.sh", "failover_stream"),
            ("network_rewind.sh", "network_rewind"),
            ("change_vip.sh", "vip_ctl"),
        ] {
            assert_eq!(fs::read_link(bin.join(script))?, Path::new(tool));
            let kept = bin.join(format!("{script}.orig"));
            assert_eq!(
                installed.get(&kept),
                before.get(&bin.join(script)),
                "{script} as it was"
            );
            let version = output(&bin.join(script).to_string_lossy(), &["--version"]);
            if script != "change_vip.sh" {
                let version = version?;
                assert!(version.starts_with(tool), "{script} runs {tool}");
                assert!(version.contains(" (commit "), "{version}");
                assert!(version.contains(", built 2"), "{version}");
            }
        }
        let vip_ctl = fs::metadata(bin.join("vip_ctl"))?;
        assert_eq!((vip_ctl.uid(), vip_ctl.mode() & 0o7777), (0, 0o750));
        assert_eq!(
            vip_ctl.gid().to_string(),
            output("id", &["-g", USER])?.trim()
        );
        let rights = output("getcap", &[&bin.join("vip_ctl").to_string_lossy()])?;
        assert!(
            rights.trim().ends_with("cap_net_admin,cap_net_raw=ep"),
            "{rights}"
        );
    }

    cluster.make("uninstall")?;
    assert_eq!(cluster.snapshot()?, before);
    // Nothing is installed: nothing to do.
    cluster.make("uninstall")?;
    assert_eq!(cluster.snapshot()?, before);
    Ok(())
}

#[test]
fn what_is_kept_is_never_overwritten() -> Result<()> {
    let cluster = Cluster::new("twice")?;
    let orig = cluster.0.join("db/bin/failover_stream.sh.orig");
    fs::write(&orig, "an operator's own copy")?;
    let error = cluster.make("install").unwrap_err();
    assert!(error.to_string().contains("is there already"), "{error}");
    assert_eq!(fs::read_to_string(&orig)?, "an operator's own copy");
    Ok(())
}

/// `etc/install.sh` itself, with tools that are a few bytes, and killed before its `at`-th rename or link.
fn script(cluster: &Cluster, arguments: [&str; 2], at: u32) -> Result<std::process::Output> {
    let directory = cluster.0.join("made");
    fs::create_dir_all(&directory)?;
    let tools = "failover_stream network_rewind vip_ctl attach_node rw_check cluster_ctl";
    for tool in tools.split(' ') {
        fs::write(directory.join(tool), format!("#!/bin/sh\necho {tool}\n"))?;
    }
    fs::write(directory.join("count"), "0")?;
    for program in ["mv", "ln"] {
        let text = format!(
            "#!/bin/sh\ncd '{}'\nread count <count\necho $((count + 1)) >count\n\
             [ $((count + 1)) -ne {at} ] || {{ kill -9 $PPID; exit 1; }}\nexec /bin/{program} \"$@\"\n",
            directory.display()
        );
        fs::write(directory.join(program), text)?;
        fs::set_permissions(directory.join(program), fs::Permissions::from_mode(0o755))?;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/install.sh");
    let path = format!("{}:{}", directory.display(), std::env::var("PATH")?);
    let [action, user] = arguments;
    let root = cluster.0.display().to_string();
    let made = directory.display().to_string();
    let mut command = command(
        "sh",
        &[&script.to_string_lossy(), action, &root, user, &made],
    );
    #[allow(clippy::disallowed_methods, reason = "a short script")]
    Ok(command.env("PATH", path).stdin(Stdio::null()).output()?)
}

/// At every moment there is a script to be called, and a second run goes on where the first was killed.
#[test]
fn killed_anywhere_it_leaves_a_tool_under_every_name() -> Result<()> {
    let mut killed = 0;
    // Every third place: an install has some thirty of them.
    for at in (1..).step_by(3) {
        let cluster = Cluster::new("killed")?;
        let before = cluster.snapshot()?;
        // Over the vendor's scripts, and as an upgrade.
        for upgrade in [false, true] {
            if upgrade {
                let done = script(&cluster, ["install", USER], 0)?;
                ensure!(done.status.success(), "{at}: {done:?}");
            }
            let run = script(&cluster, ["install", USER], at)?;
            killed += u32::from(!run.status.success());
            for bin in ["db/bin", "kingbasecluster/bin"] {
                for name in SCRIPTS {
                    let path = cluster.0.join(bin).join(name);
                    ensure!(!fs::read(&path)?.is_empty(), "{at}: {path:?}");
                }
            }
        }
        let done = script(&cluster, ["install", USER], 0)?;
        ensure!(done.status.success(), "{at}: {done:?}");
        let last = script(&cluster, ["install", USER], at)?.status.success();
        let done = script(&cluster, ["uninstall", USER], 0)?;
        ensure!(done.status.success(), "{at}: {done:?}");
        assert_eq!(cluster.snapshot()?, before, "{at}");
        if last {
            break;
        }
    }
    ensure!(killed > 8, "{killed}");
    Ok(())
}

#[test]
fn what_is_wrong_is_found_before_anything_is_replaced() -> Result<()> {
    let cluster = Cluster::new("asked")?;
    let before = cluster.snapshot()?;
    let run = script(&cluster, ["install", "no-such-user"], 0)?;
    let said = String::from_utf8_lossy(&run.stderr);
    ensure!(
        said.contains("no system user or group no-such-user"),
        "{said}"
    );
    let mut after = cluster.snapshot()?;
    after.retain(|path, _| !path.to_string_lossy().ends_with(".new"));
    assert_eq!(after, before);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let error = run_in(
        "make",
        &["-s", "-C", &root.to_string_lossy(), "install", "CLUSTER="],
    );
    ensure!(error.contains("expected the absolute path"), "{error}");
    ensure!(!Path::new("/db").exists());
    Ok(())
}

fn run_in(program: &str, arguments: &[&str]) -> String {
    run(program, arguments).map_or_else(|error| format!("{error:#}"), |()| String::new())
}

/// The vendor's upgrade puts its script over ours: it is newer than what was kept.
#[test]
fn a_newer_script_of_the_vendors_is_kept() -> Result<()> {
    let cluster = Cluster::new("newer")?;
    ensure!(script(&cluster, ["install", USER], 0)?.status.success());
    let path = cluster.0.join("db/bin/failover_stream.sh");
    fs::remove_file(&path)?;
    fs::write(&path, "the vendor's newer one")?;
    ensure!(script(&cluster, ["install", USER], 0)?.status.success());
    assert_eq!(fs::read_link(&path)?, Path::new("failover_stream"));
    ensure!(script(&cluster, ["uninstall", USER], 0)?.status.success());
    assert_eq!(fs::read_to_string(&path)?, "the vendor's newer one");
    Ok(())
}
