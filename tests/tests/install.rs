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
fn what_is_wrong_is_found_before_anything_is_touched() -> Result<()> {
    let cluster = Cluster::new("asked")?;
    let before = cluster.snapshot()?;
    let run = script(&cluster, ["install", "no-such-user"], 0)?;
    let said = String::from_utf8_lossy(&run.stderr);
    ensure!(!run.status.success(), "{said}");
    let why = "no system user or group no-such-user";
    ensure!(said.contains(why) && said.lines().count() == 1, "{said}");
    assert_eq!(cluster.snapshot()?, before);

    // One letter too few, and the directory of the programs itself.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let root = root.to_string_lossy().into_owned();
    let misspelt = cluster.0.with_file_name("failover install aske");
    for wrong in [misspelt.clone(), cluster.0.join("db")] {
        let named = format!("CLUSTER={}", wrong.display());
        let user = format!("DB_USER={USER}");
        let error = run_in("make", &["-s", "-C", &root, "install", &named, &user]);
        let why = format!("{} is no cluster", wrong.display());
        ensure!(error.contains(&why), "{error}");
    }
    ensure!(!misspelt.exists() && !cluster.0.join("db/db").exists());
    assert_eq!(cluster.snapshot()?, before);
    let error = run_in("make", &["-s", "-C", &root, "install", "CLUSTER="]);
    ensure!(error.contains("expected the absolute path"), "{error}");
    ensure!(!Path::new("/db").exists());
    Ok(())
}

/// One line for each thing that it did, and they are true.
#[test]
fn it_says_what_it_did() -> Result<()> {
    let cluster = Cluster::new("told")?;
    let bin = cluster.0.join("db/bin");
    let said = |action: &str| -> Result<Vec<String>> {
        let run = script(&cluster, [action, USER], 0)?;
        ensure!(run.status.success(), "{run:?}");
        let text = String::from_utf8(run.stdout)?;
        let lines = text
            .lines()
            .map(|line| line.replacen("install.sh: ", "", 1));
        Ok(lines.collect())
    };
    let has = |lines: &[String], name: &str, did: &str| {
        let start = format!("{}: {did}", bin.join(name).display());
        let found = lines.iter().filter(|line| line.starts_with(&start)).count();
        ensure!(found == 1, "{start} in {lines:#?}");
        Ok(())
    };
    let before = cluster.snapshot()?.len();
    let first = said("install")?;
    let kept = |snapshot: &BTreeMap<PathBuf, String>| {
        let paths = snapshot.keys();
        paths
            .filter(|it| it.to_string_lossy().ends_with(".orig"))
            .count()
    };
    let now = cluster.snapshot()?;
    let told = first.iter().filter(|line| line.contains(".orig")).count();
    assert_eq!(told, kept(&now));
    // Six tools and three scripts in two directories.
    assert_eq!(first.len(), 18);
    // What stood there is beside them, and the two lists.
    assert_eq!(now.len(), before + 18 + 2, "{now:#?}");
    has(&first, "attach_node", "installed")?;
    has(
        &first,
        "rw_check",
        "installed; what stood there is rw_check.orig",
    )?;
    has(
        &first,
        "failover_stream.sh",
        "installed; what stood there is failover_stream.sh.orig (a link to failover_stream)",
    )?;
    has(&first, "vip_ctl", "installed, root's and for group")?;
    let second = said("install")?;
    assert_eq!(second.len(), 18);
    ensure!(
        second.iter().all(|line| line.contains(": renewed")),
        "{second:#?}"
    );
    fs::remove_file(bin.join("failover_stream.sh"))?;
    fs::write(bin.join("failover_stream.sh"), "the vendor's newer one")?;
    let last = said("uninstall")?;
    assert_eq!(last.len(), 18);
    has(&last, "rw_check", "what stood there before is back")?;
    has(&last, "attach_node", "removed")?;
    has(&last, "failover_stream.sh", "left, it is not ours")?;
    let nothing = said("uninstall")?;
    assert_eq!(nothing.len(), 2, "{nothing:#?}");
    ensure!(nothing.iter().all(|line| line.contains("nothing of ours")));
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

/// `etc/setup.sh`, the `failover-tools-setup` of the packages, with a state of its own, out of a tree as that of
/// a tarball, with tools that are a few bytes.
fn setup(cluster: &Cluster, arguments: &[&str]) -> Result<String> {
    let tree = cluster.0.join("tree");
    fs::create_dir_all(tree.join("bin"))?;
    fs::create_dir_all(tree.join("etc"))?;
    for tool in "failover_stream network_rewind vip_ctl attach_node rw_check cluster_ctl".split(' ')
    {
        let path = tree.join("bin").join(tool);
        fs::write(&path, format!("#!/bin/sh\necho {tool}\n"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    for script in ["install.sh", "setup.sh"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc");
        fs::copy(from.join(script), tree.join("etc").join(script))?;
    }
    let script = tree.join("etc/setup.sh");
    let mut command = command("sh", &[&*script.to_string_lossy()]);
    command.args(arguments);
    command.env("FAILOVER_TOOLS_STATE", cluster.0.join("state"));
    #[allow(clippy::disallowed_methods, reason = "a short script")]
    let output = command.stdin(Stdio::null()).output()?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(output.status.success(), "{said}");
    Ok(said)
}

/// Install, upgrade and removal of a package, as its scriptlets call it.
#[test]
fn a_package_takes_a_cluster_over_and_its_removal_puts_the_scripts_back() -> Result<()> {
    let cluster = Cluster::new("package")?;
    let root = cluster.0.display().to_string();
    let before = cluster.snapshot()?;
    setup(&cluster, &["--refresh"])?;
    assert_eq!(cluster.snapshot()?, before, "no cluster was given to it");

    setup(&cluster, &["--cluster", &root, "--user", USER])?;
    let installed = cluster.snapshot()?;
    assert_eq!(setup(&cluster, &["--list"])?, format!("{USER} {root}\n"));
    let tool = cluster.0.join("kingbasecluster/bin/vip_ctl");
    fs::write(cluster.0.join("new"), "of a version before")?;
    fs::rename(cluster.0.join("new"), &tool)?;
    setup(&cluster, &["--refresh"])?;
    assert_eq!(cluster.snapshot()?, installed, "the capabilities, too");
    // Once more: one line in the list.
    setup(
        &cluster,
        &["--cluster", &format!("{root}/"), "--user", USER],
    )?;
    assert_eq!(setup(&cluster, &["--list"])?, format!("{USER} {root}\n"));

    setup(&cluster, &["--put-back"])?;
    assert_eq!(cluster.snapshot()?, before);
    assert_eq!(setup(&cluster, &["--list"])?, "");
    let error = setup(&cluster, &["--remove", &root]).unwrap_err();
    ensure!(error.to_string().contains("has no tools of this package"));
    setup(&cluster, &["--cluster", &root, "--user", USER])?;
    setup(&cluster, &["--remove", &root])?;
    assert_eq!(cluster.snapshot()?, before);
    Ok(())
}

/// Nothing could take the place of its tools.
#[test]
fn a_cluster_without_scripts_keeps_its_tools_when_the_package_goes() -> Result<()> {
    let cluster = Cluster::new("bare")?;
    let root = cluster.0.display().to_string();
    for bin in ["db/bin", "kingbasecluster/bin"] {
        fs::remove_dir_all(cluster.0.join(bin))?;
        fs::create_dir(cluster.0.join(bin))?;
    }
    setup(&cluster, &["--cluster", &root, "--user", USER])?;
    let installed = cluster.snapshot()?;
    let said = setup(&cluster, &["--put-back"])?;
    ensure!(said.contains("keeps its tools"), "{said}");
    assert_eq!(cluster.snapshot()?, installed);
    // A package that comes back knows it, and a directory that is gone is no error.
    setup(&cluster, &["--refresh"])?;
    fs::remove_dir_all(cluster.0.join("db"))?;
    let said = setup(&cluster, &["--refresh"])?;
    ensure!(said.contains("left out"), "{said}");
    Ok(())
}

#[test]
fn what_setup_is_asked_has_to_make_sense() -> Result<()> {
    let cluster = Cluster::new("asked of setup")?;
    let before = cluster.snapshot()?;
    let root = cluster.0.display().to_string();
    for (arguments, why) in [
        (&["--cluster"][..], "needs the cluster's directory"),
        (&["--cluster", "r3"], "expected the absolute path"),
        (
            &["--cluster", "/nowhere", "--user", USER],
            "no directory /nowhere/db/bin",
        ),
        (&["--cluster", &root, "--postgres"], "one of them"),
        (
            &["--cluster", &root, "--user", "no-such-user"],
            "no system user or group",
        ),
        (&["--frobnicate"], "what is \"--frobnicate\"?"),
        (&[], "--cluster DIRECTORY, or --postgres"),
    ] {
        let error = setup(&cluster, arguments).unwrap_err().to_string();
        ensure!(error.contains(why), "{arguments:?}: {error}");
    }
    assert_eq!(cluster.snapshot()?, before);
    ensure!(setup(&cluster, &["--help"])?.starts_with("Gives the tools"));
    Ok(())
}

/// dpkg says words, rpm how many packages stay. Only a removal takes something back.
#[test]
fn the_scriptlets_of_deb_and_rpm_do_the_same() -> Result<()> {
    let etc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc");
    let called = |scriptlet: &str, argument: &str| -> Result<String> {
        let text = fs::read_to_string(etc.join(format!("package.{scriptlet}")))?;
        let text = text.replace("sh /usr/share/failover-tools/setup.sh", "echo");
        output("sh", &["-ec", &text, scriptlet, argument])
    };
    for (argument, expected) in [
        // dpkg: install, upgrade; a failed one.
        ("configure", "--refresh\n"),
        ("abort-upgrade", ""),
        ("abort-remove", ""),
        // rpm: install, upgrade.
        ("1", "--refresh\n"),
        ("2", "--refresh\n"),
    ] {
        assert_eq!(called("postinstall", argument)?, expected, "{argument}");
    }
    for (argument, expected) in [
        ("remove", "--put-back\n"),
        ("0", "--put-back\n"),
        ("upgrade", ""),
        ("failed-upgrade", ""),
        ("1", ""),
    ] {
        assert_eq!(called("preremove", argument)?, expected, "{argument}");
    }
    for argument in ["remove", "upgrade", "1"] {
        assert_eq!(called("postremove", argument)?, "", "{argument}");
    }
    Ok(())
}

/// The default would kill the database that a run has started, together with that run.
#[test]
fn the_timers_unit_leaves_the_database_running() -> Result<()> {
    let etc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc");
    let service = fs::read_to_string(etc.join("failover-tools.service"))?;
    for line in ["KillMode=process", "Type=oneshot", "SuccessExitStatus=1 66"] {
        ensure!(service.lines().any(|it| it == line), "{line}");
    }
    Ok(())
}
