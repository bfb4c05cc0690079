//! Where this host's server has its files: the data directory, and the configuration, which need not be in
//! it. Debian's packages keep that in `/etc/postgresql/15/main`.
//!
//! Whoever needs the configuration asks here. What a server has in its data directory wherever its
//! configuration is (its pid file, `standby.signal`, the settings that it writes itself) is found there.

use crate::config::Config;
use crate::configuration;
use crate::flavor::Flavor;
use std::fs;
use std::path::{Path, PathBuf};

/// Where Debian's packages have the configuration of each cluster: `VERSION/NAME` below it.
const DEBIAN: &str = "/etc/postgresql";

/// The directories of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    flavor: &'static Flavor,
    data: PathBuf,
    /// The configuration file, where it is not in the data directory.
    apart: Option<PathBuf>,
}

impl Layout {
    /// With everything in the data directory.
    pub fn plain(flavor: &'static Flavor, data: &Path) -> Self {
        Self {
            flavor,
            data: data.to_owned(),
            apart: None,
        }
    }

    /// The layout of the server in `data`: as the one that runs was started, else as the last one was,
    /// else by `KB_CONFIG_PATH`, else as Debian's packages have it. A data directory with a configuration of
    /// its own needs none of the last two.
    ///
    /// Reads files that may lie on a disk that hangs.
    pub fn find(flavor: &'static Flavor, config: &Config, data: &Path) -> Self {
        let plain = Self::plain(flavor, data);
        let started = running(flavor, data).or_else(|| last(flavor, data));
        let named = started.and_then(|arguments| configuration_in(&arguments, flavor));
        let by_key = || {
            let dir = config.kb_config_path.as_ref()?;
            Some(dir.join(flavor.conf_file))
        };
        let other = || {
            let own = plain.conf_in(data).exists();
            by_key().or_else(|| (!own).then(|| debian(Path::new(DEBIAN), flavor, data))?)
        };
        // The files that it includes are looked for from its own name on, and not from where that leads to.
        let real = |path: &Path| fs::canonicalize(path).unwrap_or(path.to_owned());
        let own = real(&plain.conf_in(data));
        Self {
            apart: named.or_else(other).filter(|it| real(it) != own),
            ..plain
        }
    }

    /// The names of the server's files.
    pub fn flavor(&self) -> &'static Flavor {
        self.flavor
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Whether the configuration is elsewhere than in the data directory.
    pub fn is_apart(&self) -> bool {
        self.apart.is_some()
    }

    /// The configuration file, for the server on `dir`: the data directory, a copy of it, or what was kept
    /// of it.
    pub fn conf_in(&self, dir: &Path) -> PathBuf {
        match &self.apart {
            Some(file) => file.clone(),
            None => dir.join(self.flavor.conf_file),
        }
    }

    /// Whether this node has a configuration of its own, where `dir` takes the place of the data directory.
    pub fn is_configured(&self, dir: &Path) -> bool {
        fs::symlink_metadata(self.conf_in(dir)).is_ok()
    }

    /// The setting by which the server's programs find a configuration that is elsewhere.
    pub fn setting(&self) -> Option<String> {
        let file = self.apart.as_ref()?;
        Some(format!("config_file={}", file.display()))
    }

    /// What the server on `dir` has for `name` at its next start or reload, as far as its files tell.
    pub fn value(&self, dir: &Path, name: &str) -> Option<String> {
        // The first is read last.
        let files = [dir.join(self.flavor.auto_conf), self.conf_in(dir)];
        files
            .iter()
            .find_map(|file| configuration::value(file, name))
    }
}

/// The arguments of the postmaster that runs on `data`.
fn running(flavor: &Flavor, data: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(data.join(flavor.pid_file)).ok()?;
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    let link = |name| fs::read_link(format!("/proc/{pid}/{name}")).ok();
    let is_it = link("cwd")? == data && link("exe")?.ends_with(flavor.server);
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = arguments.split(|byte| *byte == 0);
    let words = words.map(|word| String::from_utf8_lossy(word).into_owned());
    is_it.then(|| words.collect())
}

/// The arguments of the last postmaster on `data`, which leaves them there.
fn last(flavor: &Flavor, data: &Path) -> Option<Vec<String>> {
    let text = fs::read_to_string(data.join(flavor.opts_file)).ok()?;
    let arguments = text.trim_end().split_once(" \"")?.1;
    let words = arguments
        .strip_suffix('"')
        .unwrap_or(arguments)
        .split("\" \"");
    Some(words.map(str::to_owned).collect())
}

/// The configuration file that a postmaster was started with. `-D` may name its directory, too,
/// and the data directory stands in that file then. `None`: it tells of none that is there.
fn configuration_in(arguments: &[String], flavor: &Flavor) -> Option<PathBuf> {
    let (mut file, mut dir) = (None, None);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let (option, value) = match word.get(..2) {
            Some("--") => ("-c", word[2..].to_owned()),
            Some(option @ ("-c" | "-D")) => match &word[2..] {
                "" => (option, words.next()?.clone()),
                value => (option, value.to_owned()),
            },
            _ => continue,
        };
        match (option, value.split_once('=')) {
            ("-D", _) => dir = Some(PathBuf::from(value)),
            (_, Some((name, path))) if name.replace('-', "_") == "config_file" => {
                file = Some(PathBuf::from(path));
            }
            _ => {}
        }
    }
    let in_dir = || dir.map(|it| it.join(flavor.conf_file));
    file.or_else(in_dir)
        .filter(|it| it.is_absolute() && it.exists())
}

/// The configuration below `root` that names `data`.
fn debian(root: &Path, flavor: &Flavor, data: &Path) -> Option<PathBuf> {
    let below = |dir: PathBuf| fs::read_dir(dir).into_iter().flatten().flatten();
    let versions = below(root.to_owned());
    let clusters = versions.flat_map(|version| below(version.path()));
    let files = clusters.map(|cluster| cluster.path().join(flavor.conf_file));
    let names_it = |file: &PathBuf| {
        let named = configuration::value(file, "data_directory")?;
        let named = PathBuf::from(named);
        // One that is gone is to be made anew.
        Some(fs::canonicalize(&named).unwrap_or(named) == data)
    };
    let mut found: Vec<PathBuf> = files.filter(|it| names_it(it) == Some(true)).collect();
    found.sort();
    found.pop()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flavor::{KINGBASE, POSTGRES};

    /// Directories with a data directory and a configuration, gone with it.
    struct Site(PathBuf);

    impl Site {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("layout-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            for dir in ["data", "etc/15/ma in", "etc/14/old"] {
                fs::create_dir_all(root.join(dir)).unwrap();
            }
            let site = Self(fs::canonicalize(root).unwrap());
            for dir in ["etc/15/ma in", "etc/14/old"] {
                let data = if dir.ends_with("old") { "gone" } else { "data" };
                let text = format!("data_directory = '{}'\n", site.at(data).display());
                site.write(&format!("{dir}/postgresql.conf"), &text);
            }
            site
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.join(path)
        }

        fn write(&self, path: &str, text: &str) {
            fs::write(self.at(path), text).unwrap();
        }

        fn config(&self, more: &str) -> Config {
            let text = format!(
                "KB_LOCALHOST_IP=192.168.1.101\nKB_ALL_IP=(192.168.1.101 192.168.1.102)\n\
                 NODE_NAME=node101\nALL_NODE_NAME=(node101 node102)\nKB_GATEWAY_IP=192.168.1.1\n\
                 KB_POOL_VIP=192.168.1.201\nPCP_USER=pcp\nPCP_PASS=MTIzNDU2\nKB_USER=repl\n\
                 KB_PASS=aXQncyBhIHNlY3JldA==\nKB_DATANAME=TEST\nKB_PATH=/r3/bin\n\
                 CLUSTER_BIN_PATH=/r3/bin\nFAILOVER_LOG_DIR=/r3/f.log\nRECOVERY_LOG_DIR=/r3/r.log\n\
                 KB_ETC_PATH=/r3/etc\nKB_DATA_PATH={}\n{more}\n",
                self.at("data").display()
            );
            Config::parse(Path::new("HAmodule.conf"), text.as_bytes()).unwrap()
        }

        fn found(&self, more: &str) -> PathBuf {
            let data = self.at("data");
            Layout::find(&POSTGRES, &self.config(more), &data).conf_in(&data)
        }
    }

    impl Drop for Site {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_last_start_tells() {
        let site = Site::new("last");
        let (data, etc) = (site.at("data"), site.at("etc/15/ma in/postgresql.conf"));
        let (data, etc) = (data.to_str().unwrap(), etc.to_str().unwrap());
        let dir = etc.strip_suffix("/postgresql.conf").unwrap();
        let inside = format!("{data}/postgresql.conf");
        for (arguments, expected) in [
            (
                format!("\"-D\" \"{data}\" \"-c\" \"config_file={etc}\""),
                etc,
            ),
            (format!("\"-D{data}\" \"-cconfig_file={etc}\""), etc),
            (format!("\"--config-file={etc}\" \"-D\" \"{data}\""), etc),
            (format!("\"--config_file={etc}\""), etc),
            (format!("\"-D\" \"{dir}\" \"-p\" \"5432\""), etc),
            (format!("\"-D\" \"{data}\""), &inside),
            ("\"-c\" \"config_file=/none\"".to_owned(), &inside),
            ("\"-c\"".to_owned(), &inside),
            (String::new(), &inside),
        ] {
            site.write(
                "data/postmaster.opts",
                &format!("/bin/postgres {arguments}\n"),
            );
            assert_eq!(site.found(""), Path::new(expected), "{arguments}");
        }
    }

    #[test]
    fn a_key_names_it_where_no_start_has() {
        let site = Site::new("key");
        let key = format!("KB_CONFIG_PATH=\"{}\"", site.at("etc/15/ma in").display());
        let etc = site.at("etc/15/ma in/postgresql.conf");
        assert_eq!(site.found(""), site.at("data/postgresql.conf"));
        assert_eq!(site.found(&key), etc);
        // The data directory itself is no other place, whatever leads to it.
        let data = site.at("data");
        std::os::unix::fs::symlink(&data, site.at("link")).unwrap();
        let itself = format!("KB_CONFIG_PATH={}", site.at("link").display());
        site.write("data/postgresql.conf", "");
        let layout = Layout::find(&POSTGRES, &site.config(&itself), &data);
        assert!(!layout.is_apart() && layout.setting().is_none());
        let old = site.at("etc/14/old/postgresql.conf");
        let opts = format!("/bin/postgres \"-c\" \"config_file={}\"\n", old.display());
        site.write("data/postmaster.opts", &opts);
        assert_eq!(site.found(&key), old);
    }

    #[test]
    fn debians_directories_are_looked_through() {
        let site = Site::new("debian");
        let found = |flavor| debian(&site.at("etc"), flavor, &site.at("data"));
        assert_eq!(
            found(&POSTGRES),
            Some(site.at("etc/15/ma in/postgresql.conf"))
        );
        assert_eq!(found(&KINGBASE), None);
        assert_eq!(debian(&site.at("none"), &POSTGRES, &site.at("data")), None);
    }

    #[test]
    fn what_the_server_writes_itself_is_read_last() {
        let site = Site::new("value");
        let data = site.at("data");
        let key = format!("KB_CONFIG_PATH=\"{}\"", site.at("etc/15/ma in").display());
        let layout = Layout::find(&POSTGRES, &site.config(&key), &data);
        let value = |name| layout.value(&data, name);
        site.write("etc/15/ma in/postgresql.conf", "port = 1\nn = 1\n");
        site.write("data/postgresql.auto.conf", "n = 2\n");
        site.write("data/postgresql.conf", "port = 3\n");
        assert_eq!(
            (value("port"), value("n")),
            (Some("1".into()), Some("2".into()))
        );
        assert!(layout.is_configured(&site.at("copy")));
    }
}
