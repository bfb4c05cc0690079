//! The command line, in both its forms, turned once into a [`Request`].

use clap::error::ErrorKind;
use clap::{Parser, ValueEnum};
use failover_core::config::Cidr;
use failover_core::exit::Exit;
use failover_core::process::Cmd;
use failover_core::terminal::one_line;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  vip_ctl status                    is KB_VIP here, and who else answers for it?
  vip_ctl add                       put KB_VIP on DEV, unless somebody else answers for it
  vip_ctl del --host 192.168.1.101  take it off that host

KB_VIP and DEV are those of HAmodule.conf. Exit codes: 0 done or nothing to do, 1 somebody else
answers for the address, 2 wrong arguments or configuration, 66 failed.";

/// Puts the database VIP on this host, takes it off, or says who has it.
#[derive(Debug, Parser)]
#[command(name = "vip_ctl", version = failover_version::VERSION, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do; doing it twice does no harm
    action: Action,
    /// The address with its prefix length [default: KB_VIP]
    #[arg(long, value_name = "CIDR")]
    vip: Option<Cidr>,
    /// The network device [default: DEV]
    #[arg(long, value_parser = device)]
    dev: Option<String>,
    /// Do it on that host, over ssh, with that host's own vip_ctl and configuration
    #[arg(long)]
    host: Option<String>,
    /// Print one JSON object instead of a sentence
    #[arg(long)]
    json: bool,
    /// Look, and say what would be done
    #[arg(long)]
    dry_run: bool,
    /// add: don't ask whether somebody else answers for the address
    #[arg(long)]
    force: bool,
    /// Milliseconds in which somebody else has to answer [default: PROBE_TIMEOUT]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    window: Option<u64>,
    /// The configuration [default: ../etc/HAmodule.conf beside the program]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The host that the order is for: another one refuses it
    #[arg(long = "for", value_name = "ADDRESS", hide = true)]
    meant_for: Option<IpAddr>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Put the address on this host and announce it.
    Add,
    /// Take it off this host.
    Del,
    /// Only look.
    Status,
}

impl Action {
    /// The word for it on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Del => "del",
            Self::Status => "status",
        }
    }
}

/// Under which name we were called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `vip_ctl`.
    VipCtl,
    /// `change_vip.sh`.
    Script,
}

impl Form {
    /// The one of a command line, the program's name first.
    pub fn of(words: &[OsString]) -> Self {
        let name = words.first().and_then(|it| Path::new(it).file_name());
        match name.is_some_and(|name| name == Self::Script.name()) {
            true => Self::Script,
            false => Self::VipCtl,
        }
    }

    /// That name.
    pub fn name(self) -> &'static str {
        match self {
            Self::VipCtl => "vip_ctl",
            Self::Script => "change_vip.sh",
        }
    }
}

/// A valid command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// How it was written, and how the answer is.
    pub form: Form,
    /// What to do.
    pub action: Action,
    /// The address, if given.
    pub vip: Option<Cidr>,
    /// The device, if given.
    pub dev: Option<String>,
    /// The other host that it is for.
    pub host: Option<String>,
    /// Answer in JSON.
    pub json: bool,
    /// Change nothing.
    pub dry_run: bool,
    /// Add without asking.
    pub force: bool,
    /// How long to wait for somebody else's answer.
    pub window: Option<Duration>,
    /// The configuration file, if given.
    pub config: Option<PathBuf>,
    /// The host that it is for, if whoever asks has said so.
    pub meant_for: Option<IpAddr>,
}

impl Request {
    /// The command that asks the same of `program` on the host with `address`.
    pub fn command(&self, program: &Path, address: IpAddr) -> Cmd {
        let action = match self.action {
            Action::Add => "add",
            Action::Del => "del",
            Action::Status => "status",
        };
        let mut cmd = Cmd::new(program).arg(action);
        for (name, wanted) in [
            ("--json", self.json),
            ("--dry-run", self.dry_run),
            ("--force", self.force),
        ] {
            if wanted {
                cmd = cmd.arg(name);
            }
        }
        for (name, value) in [
            ("--for", Some(address.to_string())),
            ("--vip", self.vip.map(|vip| vip.to_string())),
            ("--dev", self.dev.clone()),
            (
                "--window",
                self.window.map(|window| window.as_millis().to_string()),
            ),
        ] {
            if let Some(value) = value {
                cmd = cmd.arg(name).arg(value);
            }
        }
        cmd
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Ask {
    /// Work.
    Do(Request),
    /// Only an answer: help, version, or one of the script's own.
    Say {
        /// The answer.
        text: String,
        /// How it ends.
        exit: Exit,
    },
    /// It is wrong; why, in one line.
    Wrong(String),
}

/// Parses `args`, the program's name first, in their form.
pub fn parse(form: Form, args: Vec<OsString>) -> Ask {
    if form == Form::Script {
        let words = args.iter().skip(1);
        let words: Vec<String> = words
            .map(|arg| arg.to_string_lossy().into_owned())
            .collect();
        return script(&words);
    }
    match Cli::try_parse_from(args) {
        Ok(cli) => Ask::Do(Request {
            form: Form::VipCtl,
            action: cli.action,
            vip: cli.vip,
            dev: cli.dev,
            host: cli.host,
            json: cli.json,
            dry_run: cli.dry_run,
            force: cli.force,
            window: cli.window.map(Duration::from_millis),
            config: cli.config,
            meant_for: cli.meant_for,
        }),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ask::Say {
                text: error.to_string(),
                exit: Exit::Done,
            },
            _ => Ask::Wrong(one_line(&error.to_string())),
        },
    }
}

/// `change_vip.sh VIP DEV add|del [first [DATA]]`. With `first`, the start of a whole cluster, a
/// node that has the settings of a standby in DATA gets no address.
fn script(words: &[String]) -> Ask {
    let word = |n: usize| words.get(n).map_or("", String::as_str);
    let (vip, dev, operation) = (word(0), word(1), word(2));
    if vip.is_empty() {
        return Ask::Say {
            text: format!("no pass the dbvip,details set vip[{vip}], return"),
            exit: Exit::Done,
        };
    }
    let action = match operation {
        "add" => Some(Action::Add),
        "del" => Some(Action::Del),
        _ => None,
    };
    // The script passed a bare address on to `ip`, which takes it for a /32.
    let address = vip.parse().ok().or_else(|| {
        let addr: Ipv4Addr = vip.parse().ok()?;
        Some(Cidr { addr, prefix: 32 })
    });
    let device = if dev.is_empty() {
        Ok(None)
    } else {
        device(dev).map(Some)
    };
    let (Some(action), Some(address), Ok(dev)) = (action, address, device) else {
        return Ask::Say {
            text: format!("oprate vip failed, details vip[{vip}], dev[{dev}], oprate[{operation}]"),
            exit: Exit::NeedsPerson,
        };
    };
    if action == Action::Add
        && !word(3).is_empty()
        && Path::new(word(4)).join("recovery.conf").exists()
    {
        return Ask::Say {
            text: "No VIP for a standby, nothing to do.".to_owned(),
            exit: Exit::Done,
        };
    }
    Ask::Do(Request {
        form: Form::Script,
        action,
        vip: Some(address),
        dev,
        host: None,
        json: false,
        dry_run: false,
        force: false,
        window: None,
        config: None,
        meant_for: None,
    })
}

/// The name of a device as the kernel takes it, and that `ip` cannot take for an option.
fn device(text: &str) -> Result<String, String> {
    let fits = (1..=15).contains(&text.len()) && !text.starts_with('-');
    let clean = text
        .chars()
        .all(|c| c.is_ascii_graphic() && !"/:".contains(c));
    if fits && clean && text != "." && text != ".." {
        Ok(text.to_owned())
    } else {
        Err("expected the name of a network device, such as enp0s3".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(line: &str) -> Ask {
        let words = line.split(' ');
        let words = words.map(|word| OsString::from(word.replace('~', "")));
        let words: Vec<OsString> = words.collect();
        parse(Form::of(&words), words)
    }

    fn request(line: &str) -> Request {
        match ask(line) {
            Ask::Do(request) => request,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn both_forms_ask_for_the_same() {
        let ours = request("vip_ctl add --vip 192.168.1.200/24 --dev enp0s3");
        let script = request("/opt/db/bin/change_vip.sh 192.168.1.200/24 enp0s3 add");
        assert_eq!(
            Request {
                form: Form::Script,
                ..ours
            },
            script
        );
    }

    #[test]
    fn wrong_arguments_are_one_line() {
        for line in [
            "vip_ctl",
            "vip_ctl ad",
            "vip_ctl add --vip 192.168.1.200",
            "vip_ctl add --vip 192.168.1.300/24",
            "vip_ctl add --dev enp0s3/../x",
            "vip_ctl add --dev=-all",
            "vip_ctl status --window 0",
            "vip_ctl add --verbose",
            "vip_ctl add del",
        ] {
            match ask(line) {
                Ask::Wrong(why) => {
                    assert!(!why.contains('\n') && !why.is_empty(), "{line}: {why}");
                    assert!(!why.starts_with("error"), "{why}");
                }
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn help_has_an_example() {
        assert!(
            matches!(ask("vip_ctl --help"), Ask::Say { text, .. } if text.contains("Examples:"))
        );
        assert!(matches!(ask("vip_ctl --version"), Ask::Say { .. }));
    }

    #[test]
    fn the_scripts_short_answers() {
        let answer = |line: &str| match ask(line) {
            Ask::Say { text, exit } => (text, exit),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(answer("change_vip.sh ~ enp0s3 add").1, Exit::Done);
        let (line, exit) = answer("change_vip.sh 192.168.1.200/24 enp0s3 replace");
        assert_eq!(exit, Exit::NeedsPerson);
        assert_eq!(
            line,
            "oprate vip failed, details vip[192.168.1.200/24], dev[enp0s3], oprate[replace]"
        );
        // A bare address, as the pool's stop script passes it.
        let pool_vip = request("change_vip.sh 192.168.1.201 enp0s3 del").vip;
        assert_eq!(
            pool_vip.map(|vip| vip.to_string()),
            Some("192.168.1.201/32".to_owned())
        );
    }

    #[test]
    fn at_the_first_start_a_standby_gets_no_address() {
        let data = std::env::temp_dir().join(format!("change_vip-{}", std::process::id()));
        std::fs::create_dir_all(&data).unwrap();
        let line = format!(
            "change_vip.sh 192.168.1.200/24 enp0s3 add first {}",
            data.display()
        );
        assert!(matches!(ask(&line), Ask::Do(_)));
        std::fs::write(data.join("recovery.conf"), "").unwrap();
        assert!(matches!(
            ask(&line),
            Ask::Say {
                exit: Exit::Done,
                ..
            }
        ));
        std::fs::remove_dir_all(&data).unwrap();
    }
}
