//! The command line, and what the pool means by it.

use clap::Parser;
use failover_core::config::Config;
use failover_core::deadline::Deadline;
use failover_core::lsn::{Lsn, Timeline};
use failover_core::steps::{Leader, Order, Promotion};
use failover_core::terminal::printable;
use failover_core::workers;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

/// How long the resolver may take for a host name.
const RESOLVE_TIME: Duration = Duration::from_secs(1);

/// The pool's failover_command: fences the old primary, promotes the best standby and moves the
/// database VIP to it.
#[derive(Debug, Parser)]
#[command(
    version = failover_version::VERSION,
    override_usage = "failover_stream [OPTIONS] %H %P %d %h %O %m %M %D\n       \
                      failover_stream [OPTIONS] --new-primary-host=\"%H\" --old-primary-id=\"%P\" ...",
    after_help = "Example (node 0, the primary on 192.168.1.101, is down):\n  \
        failover_stream 192.168.1.102 0 0 192.168.1.101 192.168.1.101 1 0 /home/kingbase/cluster/R3HA/db/data\n\n\
        Exit codes: 0 done, 2 wrong arguments or configuration, 66 failed or refused: the log says why."
)]
pub struct Args {
    /// %H %P %d %h %O %m %M %D, in the order of kingbasecluster
    #[arg(allow_negative_numbers = true, value_name = "PLACEHOLDER")]
    pub placeholders: Vec<String>,

    /// Host of the new main node
    #[arg(long, value_name = "%H", allow_hyphen_values = true)]
    pub new_primary_host: Option<String>,
    /// Id of the old primary
    #[arg(long, value_name = "%P", allow_hyphen_values = true)]
    pub old_primary_id: Option<String>,
    /// Id of the node that went down
    #[arg(long, value_name = "%d", allow_hyphen_values = true)]
    pub failed_node_id: Option<String>,
    /// Host of the node that went down
    #[arg(long, value_name = "%h", allow_hyphen_values = true)]
    pub failed_node_host: Option<String>,
    /// Host of the old primary (%N in pgpool-II 4.1 and later)
    #[arg(long, value_name = "%O", allow_hyphen_values = true)]
    pub old_primary_host: Option<String>,
    /// Id of the new main node
    #[arg(long, value_name = "%m", allow_hyphen_values = true)]
    pub new_primary_id: Option<String>,
    /// Id of the old main node
    #[arg(long, value_name = "%M", allow_hyphen_values = true)]
    pub old_main_id: Option<String>,
    /// Data directory of the node that went down
    #[arg(long, value_name = "%D", allow_hyphen_values = true)]
    pub data_dir: Option<String>,

    /// Configuration file [default: ../etc/HAmodule.conf beside the program]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Show the steps and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print each step's event, and then how it ended, as one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Read the configuration, say all that is wrong with it, and stop
    #[arg(long)]
    pub check_config: bool,
    /// Print what the configuration has for a key, without quotes (for scripts), and stop
    #[arg(long, value_name = "KEY")]
    pub print_config: Option<String>,

    /// Do one step of a failover on this host and answer in JSON lines (for the coordinator)
    #[arg(long, value_enum, value_name = "STEP", requires = "deadline")]
    pub step: Option<StepName>,
    /// Milliseconds that the step may take
    #[arg(long, value_name = "MS", requires = "step")]
    pub deadline: Option<u64>,
    /// The coordinator's run
    #[arg(long, value_name = "NAME", hide = true)]
    pub run: Option<String>,
    /// The host that the order is for: another one refuses it
    #[arg(long = "for", value_name = "ADDRESS", requires = "step", hide = true)]
    pub meant_for: Option<IpAddr>,
    /// With --step fence: the coordinator's host
    #[arg(long, value_name = "ADDRESS", requires = "step", hide = true)]
    pub coordinator: Option<IpAddr>,
    /// With --step promote: whose slot to keep; with --step hold: whom not to listen to
    #[arg(long, value_name = "ADDRESS", requires = "step", hide = true)]
    pub old_primary: Option<IpAddr>,
    /// With --step promote: the old primary's timeline
    #[arg(long, value_name = "NUMBER", requires = "step", hide = true)]
    pub old_timeline: Option<Timeline>,
    /// With --step promote: the old primary's shutdown checkpoint
    #[arg(long, value_name = "LSN", requires = "step", hide = true)]
    pub wait_for: Option<Lsn>,
    /// With --step promote: how many other standbys are being pointed to this host
    #[arg(
        long,
        value_name = "NUMBER",
        requires = "step",
        hide = true,
        default_value_t = 0
    )]
    pub followers: usize,
    /// With --step follow and promote: the newest timeline that any host has
    #[arg(
        long,
        value_name = "NUMBER",
        requires = "step",
        hide = true,
        default_value_t = 0
    )]
    pub newest_timeline: Timeline,
    /// With --step follow, back to the old primary: whom it may have been told to follow meanwhile
    #[arg(long, value_name = "ADDRESS", requires = "step", hide = true)]
    pub instead_of: Option<IpAddr>,
    /// With --step follow: the host to follow
    #[arg(
        long,
        value_name = "ADDRESS",
        required_if_eq("step", "follow"),
        hide = true
    )]
    pub primary: Option<IpAddr>,
    /// Have the host with this address look after its database as soon as it answers (left behind by a
    /// failover that could not fence it)
    #[arg(long, value_name = "ADDRESS", conflicts_with = "step", hide = true)]
    pub watch: Option<IpAddr>,
    /// With --step facts: try the logins to the other hosts, too
    #[arg(long, requires = "step", hide = true)]
    pub try_logins: bool,
    /// For drills: die as by a power cut after the step of this name
    #[arg(long, value_name = "NAME", hide = true)]
    pub die_after: Option<String>,
}

/// The order that such a command line gives.
pub fn order(step: StepName, args: &Args) -> Order {
    match step {
        StepName::Hold => Order::Hold {
            newer: args.newest_timeline,
            old: args.old_primary,
        },
        // The command line demands it.
        StepName::Follow => match args.primary {
            Some(address) => Order::Follow(Leader {
                address,
                timeline: args.newest_timeline,
                instead_of: args.instead_of,
            }),
            None => Order::Hold {
                newer: 0,
                old: None,
            },
        },
        StepName::Status => Order::Status,
        StepName::Facts => Order::Facts {
            try_logins: args.try_logins,
        },
        StepName::History => Order::History,
        StepName::Fence => Order::Fence(args.coordinator),
        StepName::Promote => Order::Promote(Promotion {
            old_primary: args.old_primary,
            old_timeline: args.old_timeline,
            wait_for: args.wait_for,
            followers: args.followers,
            newest_timeline: args.newest_timeline,
        }),
    }
}

/// The placeholders by name, in the order of their positions; is it the id of a node?
const NAMED: [(&str, bool); 8] = [
    ("--new-primary-host", false),
    ("--old-primary-id", true),
    ("--failed-node-id", true),
    ("--failed-node-host", false),
    ("--old-primary-host", false),
    ("--new-primary-id", true),
    ("--old-main-id", true),
    ("--data-dir", false),
];

/// Those that say whether a node is left, for which every pool has a value, be it `""` or -1: a command
/// line without one of them is no pool's.
const NEEDED: [usize; 2] = [0, 5];

/// The command line with each named placeholder as one word, `--NAME=VALUE`. pgpool-II from 4.4 on
/// writes a blank before an id (`--failed-node-id=%d` becomes `--failed-node-id= 0`), and a name
/// whose value the shell has dropped would take the next name for its value.
pub fn joined(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words = words.into_iter().peekable();
    let mut all = Vec::new();
    while let Some(word) = words.next() {
        let Some((name, value, is_id)) = named(&word) else {
            all.push(word);
            continue;
        };
        let next = words.next_if(|next| match &value {
            None => !next.as_encoded_bytes().starts_with(b"--"),
            Some(value) => is_id && tidy(Some(value)).is_empty() && is_number(next),
        });
        let mut whole = OsString::from(format!("{name}="));
        whole.push(next.unwrap_or_else(|| value.unwrap_or_default().into()));
        all.push(whole);
    }
    all
}

/// A named placeholder and its value, if that is in the same word.
fn named(word: &OsStr) -> Option<(&'static str, Option<String>, bool)> {
    let text = word.to_str()?;
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    let (name, is_id) = NAMED.into_iter().find(|(known, _)| *known == name)?;
    Some((name, value, is_id))
}

fn is_number(word: &OsStr) -> bool {
    word.to_str()
        .is_some_and(|word| word.trim().parse::<i32>().is_ok())
}

/// The steps that a host does for the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum StepName {
    /// Say how the instance is.
    Status,
    /// Say what the whole cluster is looked at for.
    Facts,
    /// Say what the runs on this host did.
    History,
    /// Stop the instance and drop the VIP.
    Fence,
    /// Stop listening to the old primary.
    Hold,
    /// Follow the new primary.
    Follow,
    /// Take the VIP and become primary.
    Promote,
}

/// The eight values as the pool gave them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placeholders {
    /// %H
    pub new_primary_host: String,
    /// %P
    pub old_primary_id: String,
    /// %d
    pub failed_node_id: String,
    /// %h
    pub failed_node_host: String,
    /// %O (kingbasecluster) or %N (pgpool-II from 4.1)
    pub old_primary_host: String,
    /// %m
    pub new_primary_id: String,
    /// %M
    pub old_main_id: String,
    /// %D
    pub data_dir: String,
}

/// What the pool wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// No node is left to promote.
    NobodyLeft,
    /// A standby went down.
    StandbyDown {
        /// Its address.
        failed: IpAddr,
        /// The primary's address, if the pool named it.
        primary: Option<IpAddr>,
    },
    /// The primary went down.
    PrimaryDown {
        /// Its address.
        old_primary: IpAddr,
        /// The new main node: the lowest live id, not necessarily the best standby.
        given: IpAddr,
    },
}

impl Placeholders {
    /// From the command line: by name, or all eight by position.
    pub fn from_args(args: &Args) -> Result<Self, String> {
        let named = [
            &args.new_primary_host,
            &args.old_primary_id,
            &args.failed_node_id,
            &args.failed_node_host,
            &args.old_primary_host,
            &args.new_primary_id,
            &args.old_main_id,
            &args.data_dir,
        ];
        let any_named = named.iter().any(|value| value.is_some());
        let values: Vec<String> = match (any_named, args.placeholders.as_slice()) {
            (true, []) => {
                if let Some(missing) = NEEDED.iter().find(|&&place| named[place].is_none()) {
                    return Err(format!(
                        "found no {}, expected all by name: --new-primary-host=%H \
                         --old-primary-id=%P --failed-node-id=%d --failed-node-host=%h \
                         --new-primary-id=%m ...; see --help",
                        NAMED[*missing].0
                    ));
                }
                named.iter().map(|value| tidy(value.as_deref())).collect()
            }
            (true, [extra, ..]) => {
                return Err(format!(
                    "found \"{extra}\" beside named arguments, expected either all by name or all by position"
                ));
            }
            (false, given) => Self::eight(given)?,
        };
        let [h, p, d, failed_host, o, m, main, data] = <[String; 8]>::try_from(values)
            .map_err(|found| format!("found {} values, expected 8", found.len()))?;
        Ok(Self {
            new_primary_host: h,
            old_primary_id: p,
            failed_node_id: d,
            failed_node_host: failed_host,
            old_primary_host: o,
            new_primary_id: m,
            old_main_id: main,
            data_dir: data,
        })
    }

    /// By position: host, id, id, host, host, id, id, path. An empty placeholder vanishes in old
    /// pools, and all that follow shift to the left; a host, or the path, shows by its shape.
    fn eight(given: &[String]) -> Result<Vec<String>, String> {
        let values: Vec<String> = given.iter().map(|value| tidy(Some(value))).collect();
        if values.len() == 8 {
            return Ok(values);
        }
        let mut rest = values.iter().peekable();
        let mut all = Vec::new();
        for is_id in [false, true, true, false, false, true, true] {
            let fits = |value: &&String| value.parse::<i32>().is_ok() == is_id;
            match rest.next_if(|value| fits(value)) {
                Some(value) => all.push(value.clone()),
                None if is_id => break,
                None => all.push(String::new()),
            }
        }
        // A node that went down has a host in every pool: without it these are other words.
        let has_failed = all.get(3).is_some_and(|host| !host.is_empty());
        // %m is empty only when no node is left, and then %H is, too.
        let nobody_left = all.first().is_some_and(String::is_empty) && all.len() >= 6;
        if has_failed && (all.len() == 7 || nobody_left) {
            all.resize(7, String::new());
            all.push(rest.next().cloned().unwrap_or_default());
            if rest.next().is_none() {
                return Ok(all);
            }
        }
        Err(format!(
            "found {} arguments, expected 8: %H %P %d %h %O %m %M %D (a placeholder that is empty \
             vanishes in old pools: put each in quotes, or give them by name, \
             --new-primary-host=\"%H\" ...; see --help)",
            values.len()
        ))
    }

    /// What they mean in the cluster of `config`.
    pub fn request(&self, config: &Config) -> Result<Request, String> {
        let id = |what, value: &str| {
            value
                .parse::<i32>()
                .map_err(|_| format!("{what}: found \"{value}\", expected the id of a node"))
        };
        let nobody = self.new_primary_host.is_empty()
            || self.new_primary_id.is_empty()
            || self.new_primary_id == "-1";
        if nobody {
            return Ok(Request::NobodyLeft);
        }
        id("%m (new primary id)", &self.new_primary_id)?;
        let failed_id = id("%d (failed node id)", &self.failed_node_id)?;
        let primary_id = id("%P (old primary id)", &self.old_primary_id)?;
        let failed = address("%h (failed node host)", &self.failed_node_host, config)?;
        if failed_id != primary_id {
            let primary = match self.old_primary_host.as_str() {
                "" => None,
                host => Some(address("old primary host", host, config)?),
            };
            return Ok(Request::StandbyDown { failed, primary });
        }
        let given = address("%H (new primary host)", &self.new_primary_host, config)?;
        if given == failed {
            return Err(format!(
                "%H (new primary host) and %h (failed node host) are both {given}, expected two hosts"
            ));
        }
        Ok(Request::PrimaryDown {
            old_primary: failed,
            given,
        })
    }
}

/// A placeholder without blanks around it; `""` is what some pools write for an empty one. It goes
/// into the log as it is, so it must not end a line there.
fn tidy(value: Option<&str>) -> String {
    match value.unwrap_or_default().trim() {
        "\"\"" | "''" => String::new(),
        other => printable(other),
    }
}

/// The address of a database host, by address, by node name, or by a name that resolves to one.
fn address(what: &str, host: &str, config: &Config) -> Result<IpAddr, String> {
    let known = |address: &IpAddr| config.kb_all_ip.contains(address);
    let by_name = || config.address_of(host);
    let found = match host.parse() {
        Ok(address) => Some(address).filter(known),
        Err(_) if host.is_empty() => None,
        Err(_) => by_name().or_else(|| resolve(host).into_iter().find(|a| known(a))),
    };
    found.ok_or_else(|| {
        format!(
            "{what}: found \"{host}\", expected one of the hosts in KB_ALL_IP of {}",
            config.path.display()
        )
    })
}

/// The resolver has no time limit of its own.
fn resolve(host: &str) -> Vec<IpAddr> {
    let name = (host.to_owned(), 0);
    let found = workers::within(Deadline::after(RESOLVE_TIME), move || {
        let sockets = name.to_socket_addrs().ok()?;
        Some(sockets.map(|socket| socket.ip()).collect())
    });
    found.flatten().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config() -> Config {
        let sample = include_str!("../../../etc/HAmodule.conf");
        Config::parse(Path::new("HAmodule.conf"), sample.as_bytes()).unwrap()
    }

    fn request(line: &str) -> Result<Request, String> {
        called_with(line.split(' ').filter(|w| !w.is_empty()))
    }

    fn called_with<'a>(words: impl Iterator<Item = &'a str>) -> Result<Request, String> {
        let words = std::iter::once("failover_stream").chain(words);
        let args =
            Args::try_parse_from(joined(words.map(OsString::from))).map_err(|e| e.to_string())?;
        Placeholders::from_args(&args)?.request(&config())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_case_study_by_position_and_by_name() {
        let primary_down = Request::PrimaryDown {
            old_primary: ip("192.168.1.101"),
            given: ip("192.168.1.102"),
        };
        for line in [
            "192.168.1.102 0 0 192.168.1.101 192.168.1.101 1 0 /data",
            // %D vanished; %O vanished; both.
            "192.168.1.102 0 0 192.168.1.101 192.168.1.101 1 0",
            "192.168.1.102 0 0 192.168.1.101 1 0 /data",
            "192.168.1.102 0 0 192.168.1.101 1 0",
            "node102 0 0 node101 192.168.1.101 1 0 /data",
            "--new-primary-host=192.168.1.102 --old-primary-id=0 --failed-node-id=0 \
             --failed-node-host=192.168.1.101 --old-primary-host= --new-primary-id=1 --old-main-id=0 --data-dir=/d",
        ] {
            assert_eq!(request(line), Ok(primary_down.clone()), "{line}");
        }
        assert_eq!(
            request("192.168.1.101 0 1 192.168.1.102 192.168.1.101 0 0 /data"),
            Ok(Request::StandbyDown {
                failed: ip("192.168.1.102"),
                primary: Some(ip("192.168.1.101"))
            })
        );
        // No primary was known to the pool.
        assert!(matches!(
            request("192.168.1.101 -1 1 192.168.1.102 \"\" 0 0 /data"),
            Ok(Request::StandbyDown { primary: None, .. })
        ));
    }

    /// How a pool writes the placeholders into the command that it gives to the shell
    /// (`trigger_failover_command` in its sources).
    struct Pool {
        /// Those that write it so.
        versions: &'static str,
        /// Before the ids of `%d` and `%m`.
        blank: &'static str,
        /// What the old primary's host is in it.
        old_primary_host: Option<char>,
        /// For a host or an old primary that there is not.
        nothing: &'static str,
    }

    const POOLS: [Pool; 4] = [
        Pool {
            versions: "pgpool-II 3.6, 3.7, 4.0",
            blank: "",
            old_primary_host: None,
            nothing: "\"\"",
        },
        Pool {
            versions: "pgpool-II 4.1, 4.2, 4.3",
            blank: "",
            old_primary_host: Some('N'),
            nothing: "\"\"",
        },
        Pool {
            versions: "pgpool-II 4.4, 4.5, 4.6, 4.7",
            blank: " ",
            old_primary_host: Some('N'),
            nothing: "\"\"",
        },
        // Not seen: what the case study and the scripts show of it, and the old way with nothing.
        Pool {
            versions: "kingbasecluster",
            blank: "",
            old_primary_host: Some('O'),
            nothing: "",
        },
    ];

    /// The state that a pool fills the placeholders from.
    #[derive(Clone, Copy)]
    struct Down {
        failed: usize,
        new_main: Option<usize>,
        primary: Option<usize>,
        data_dir: &'static str,
    }

    const HOSTS: [&str; 2] = ["192.168.1.101", "192.168.1.102"];

    impl Pool {
        fn writes(&self, command: &str, down: &Down) -> String {
            let host = |node: Option<usize>| match node {
                Some(node) => HOSTS[node].to_owned(),
                None => self.nothing.to_owned(),
            };
            let id = |node: Option<usize>| node.map_or("-1".to_owned(), |node| node.to_string());
            let mut written = String::new();
            let mut rest = command.chars();
            while let Some(c) = rest.next() {
                if c != '%' {
                    written.push(c);
                    continue;
                }
                written += &match rest.next().unwrap() {
                    'H' => host(down.new_main),
                    'P' => id(down.primary),
                    'd' => format!("{}{}", self.blank, down.failed),
                    'h' => host(Some(down.failed)),
                    'm' => format!("{}{}", self.blank, id(down.new_main)),
                    'M' => "0".to_owned(),
                    'D' => down.data_dir.to_owned(),
                    other if Some(other) == self.old_primary_host => host(down.primary),
                    // Ignored, without a word.
                    _ => String::new(),
                };
            }
            written
        }
    }

    /// The words that the shell makes of a command.
    #[allow(clippy::disallowed_methods, reason = "it only prints")]
    fn words(command: &str) -> Vec<String> {
        let (_, arguments) = command.split_once(' ').unwrap();
        let script = format!("printf '%s\\n' {arguments}");
        let shell = std::process::Command::new("/bin/sh")
            .args(["-c", &script])
            .output()
            .unwrap();
        assert!(shell.status.success(), "{command}: {shell:?}");
        let text = String::from_utf8(shell.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn command_of(sample: &str) -> &str {
        let mut lines = sample.lines();
        let command = lines.find_map(|line| line.strip_prefix("failover_command = '"));
        command.unwrap().strip_suffix('\'').unwrap()
    }

    /// Each way to write the command that a sample or a manual has, or had.
    fn commands() -> Vec<String> {
        let named = command_of(include_str!("../../../etc/pgpool.conf.sample"));
        let placed = command_of(include_str!("../../../etc/kingbasecluster.conf.sample"));
        assert!(named.contains(" --failed-node-id=\"%d\" ") && placed.contains(" \"%d\" "));
        let mut all = Vec::new();
        for quoted in [named, placed] {
            let bare = quoted.replace('"', "");
            all.extend([quoted, &bare].map(str::to_owned));
            all.extend([quoted, &bare].map(|command| command.replace("%O", "%N")));
            all.push(quoted.replace("=\"", " \""));
            all.push(bare.replace("=%", " %"));
        }
        all.sort();
        all.dedup();
        all
    }

    #[test]
    fn what_every_pool_writes_is_understood() {
        let primary_down = Request::PrimaryDown {
            old_primary: ip(HOSTS[0]),
            given: ip(HOSTS[1]),
        };
        let standby_down = |primary: Option<&str>| Request::StandbyDown {
            failed: ip(HOSTS[1]),
            primary: primary.map(ip),
        };
        let down = |failed, new_main, primary| Down {
            failed,
            new_main,
            primary,
            data_dir: "/data",
        };
        for command in commands() {
            for pool in &POOLS {
                let knows_primary = pool
                    .old_primary_host
                    .is_some_and(|letter| command.contains(&format!("%{letter}")));
                let old_primary = Some(HOSTS[0]).filter(|_| knows_primary);
                for (down, expected) in [
                    (down(0, Some(1), Some(0)), primary_down.clone()),
                    (down(1, Some(0), Some(0)), standby_down(old_primary)),
                    (down(1, Some(0), None), standby_down(None)),
                    (down(0, None, Some(0)), Request::NobodyLeft),
                    (down(0, None, None), Request::NobodyLeft),
                ] {
                    for data_dir in ["/data", ""] {
                        let written = pool.writes(&command, &Down { data_dir, ..down });
                        let words = words(&written);
                        assert_eq!(
                            called_with(words.iter().map(String::as_str)),
                            Ok(expected.clone()),
                            "{}: {written}",
                            pool.versions
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_named_placeholder_is_one_word() {
        for (line, expected) in [
            ("--failed-node-id= 0 more", "--failed-node-id=0 more"),
            ("--new-primary-id= -1", "--new-primary-id=-1"),
            ("--failed-node-id 0 --json", "--failed-node-id=0 --json"),
            // Nothing but the number of a node belongs to an id, and nothing to a host's name.
            ("--failed-node-id= more", "--failed-node-id= more"),
            ("--failed-node-id=1 0", "--failed-node-id=1 0"),
            ("--new-primary-host= 0", "--new-primary-host= 0"),
            (
                "--old-primary-host --data-dir",
                "--old-primary-host= --data-dir=",
            ),
            ("--config --json 1 -1", "--config --json 1 -1"),
        ] {
            let words = joined(line.split(' ').map(OsString::from));
            let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
            assert_eq!(words.join(" "), expected);
        }
    }

    #[test]
    fn no_node_is_left() {
        for line in [
            "\"\" 0 0 192.168.1.101 192.168.1.101 -1 0 /data",
            "192.168.1.102 0 0 192.168.1.101 192.168.1.101 -1 0 /data",
            // %H vanished; %H and %m vanished.
            "0 0 192.168.1.101 192.168.1.101 -1 0 /data",
            "0 0 192.168.1.101 192.168.1.101 0 /data",
            "--new-primary-host= --old-primary-id=0 --failed-node-id=0 --new-primary-id=-1",
            "--new-primary-host= --new-primary-id= -1",
        ] {
            assert_eq!(request(line), Ok(Request::NobodyLeft), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, expected) in [
            ("", "found 0 arguments, expected 8"),
            ("192.168.1.102 0 0", "found 3 arguments, expected 8"),
            ("1 2 3", "found 3 arguments, expected 8"),
            ("1 2 3 4 5", "found 5 arguments, expected 8"),
            ("1", "found 1 arguments, expected 8"),
            ("0 0 0 -1 0", "found 5 arguments, expected 8"),
            ("192.168.1.102 0 0 1 0", "found 5 arguments, expected 8"),
            (
                "--failed-node-id=0",
                "found no --new-primary-host, expected all by name",
            ),
            (
                "--new-primary-host= --old-primary-id=0 --failed-node-id=0",
                "found no --new-primary-id, expected all by name",
            ),
            ("a b c d e f g h i", "found 9 arguments, expected 8"),
            (
                "192.168.1.102 0 x 192.168.1.101 192.168.1.101 1 0 /data",
                "%d (failed node id): found \"x\", expected the id of a node",
            ),
            (
                "192.168.1.109 0 0 192.168.1.101 192.168.1.101 1 0 /data",
                "%H (new primary host): found \"192.168.1.109\", expected one of the hosts in KB_ALL_IP",
            ),
            (
                "192.168.1.102 0 0 192.168.1.101\n9:00\u{1b}[2J 192.168.1.101 1 0 /data",
                "found \"192.168.1.101 9:00?[2J\"",
            ),
            (
                "192.168.1.101 0 0 192.168.1.101 192.168.1.101 1 0 /data",
                "are both 192.168.1.101",
            ),
            (
                "--old-primary-id=0 more",
                "found \"more\" beside named arguments",
            ),
            ("--no-such-thing", "unexpected argument"),
        ] {
            let error = request(line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
