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
                assert!(version?.starts_with(tool), "{script} runs {tool}");
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
