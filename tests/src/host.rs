//! One host: its power, its cables, its files, and running programs on it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::boot::Hardware;
use crate::enter::{Launch, Running, ToolRun};
use crate::files::{self, DISKS, on_disk};
use crate::lab::Shared;
use crate::layout::{DATABASE_VIP, DB_BIN, DB_ETC, LOG, POOL_BIN, POOL_ETC, POOL_VIP, address};
use crate::process::{Process, run};

const BOOT: Duration = Duration::from_secs(30);

/// One host of a lab. All methods may be called from several threads.
#[derive(Debug)]
pub struct Node {
    pub(crate) shared: Arc<Shared>,
    number: u8,
}

impl Node {
    pub(crate) fn new(shared: Arc<Shared>, number: u8) -> Self {
        Self { shared, number }
    }

    /// 101, 102 or 103: the last part of its address.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Its node id in the pool: 0 for node101.
    pub fn id(&self) -> u8 {
        self.number - 101
    }

    /// Its name: `node101`.
    pub fn name(&self) -> String {
        format!("node{}", self.number)
    }

    /// Its database's `application_name`.
    pub fn application_name(&self) -> String {
        self.shared.options.flavor.application_name(self.number)
    }

    /// Its own address.
    pub fn address(&self) -> Ipv4Addr {
        address(self.number)
    }

    // Power.

    /// Switches it on, and waits until sshd listens; then starts its pool, if it has one. Cron
    /// runs if the lab's options say so. The database stays down, as after a power cut.
    ///
    /// # Errors
    /// It is on already, or something of this failed.
    pub fn power_on(&self) -> Result<()> {
        self.boot()?;
        if self.has_pool() {
            self.start_pool()?;
        }
        Ok(())
    }

    pub(crate) fn boot(&self) -> Result<()> {
        ensure!(!self.is_up(), "{} is on already", self.name());
        let name = self.name();
        let disk = self.shared.disk(self.number);
        let hardware = Hardware {
            hostname: name.clone(),
            network: self.shared.network.file(&name),
            overlay: self.shared.overlay(self.number),
            disks: DISKS
                .iter()
                .map(|(name, path)| (disk.join(name), PathBuf::from(path)))
                .collect(),
            cron: self.shared.options.cron || self.shared.options.recovery,
            debian: self.shared.options.debian,
        };
        self.shared.network.plug_in(&name, self.address())?;
        let file = self.state_file("hardware");
        fs::write(&file, serde_json::to_vec(&hardware)?)?;
        let program = self.shared.program.to_string_lossy();
        let pid = run(&program, &["boot", &file.to_string_lossy()], BOOT)
            .with_context(|| format!("switch on {name}"))?;
        let pid = pid.trim().parse()?;
        let init = Process::find(pid).with_context(|| format!("{name} went off at once"))?;
        fs::write(self.state_file("init"), init.identity())?;
        Ok(())
    }

    /// Cuts the power: from one moment to the next nothing of it is on the network any more,
    /// not even a FIN, then all its processes are gone. Its disks keep what was written.
    ///
    /// # Errors
    /// It is off already.
    pub fn power_off(&self) -> Result<()> {
        let init = self.init()?;
        self.shared.network.set_cable(self.address(), false)?;
        init.kill()?;
        self.shared.network.unplug(&self.name(), self.address())?;
        fs::remove_file(self.state_file("init"))?;
        Ok(())
    }

    /// Is it switched on?
    pub fn is_up(&self) -> bool {
        self.init().is_ok()
    }

    /// Pid, on the machine, of its first process.
    ///
    /// # Errors
    /// It is off.
    pub fn init_pid(&self) -> Result<i32> {
        Ok(self.init()?.pid)
    }

    pub(crate) fn init(&self) -> Result<Process> {
        fs::read_to_string(self.state_file("init"))
            .ok()
            .and_then(|identity| Process::parse(&identity))
            .with_context(|| format!("{} is powered off", self.name()))
    }

    fn state_file(&self, name: &str) -> PathBuf {
        self.shared.run.join(format!("{}.{name}", self.name()))
    }

    // Cables.

    /// Pulls its network cable. The host stays on, its card sees the carrier go.
    ///
    /// # Errors
    /// It is off.
    pub fn link_down(&self) -> Result<()> {
        self.shared.network.set_cable(self.address(), false)
    }

    /// Puts the cable back.
    ///
    /// # Errors
    /// It is off.
    pub fn link_up(&self) -> Result<()> {
        self.shared.network.set_cable(self.address(), true)
    }

    /// Drops everything between this host and another, silently; both still reach all others.
    /// Lasts until [`Self::unblock`], or until one of the two is switched off.
    ///
    /// # Errors
    /// One of them is off.
    pub fn block_to(&self, other: &Node) -> Result<()> {
        self.shared.network.cut(self.address(), other.address())
    }

    /// Undoes [`Self::block_to`].
    ///
    /// # Errors
    /// Nothing was blocked, or one of them is off.
    pub fn unblock(&self, other: &Node) -> Result<()> {
        self.shared.network.mend(self.address(), other.address())
    }

    /// Loses so many of a hundred packets that this host sends to another, and none that come back.
    /// Lasts until [`Self::loses_nothing_to`], or until one of the two is switched off.
    ///
    /// # Errors
    /// One of them is off.
    pub fn loses_to(&self, other: &Node, percent: u32) -> Result<()> {
        let network = &self.shared.network;
        network.lose(self.address(), other.address(), percent)
    }

    /// Undoes [`Self::loses_to`].
    ///
    /// # Errors
    /// Nothing was lost, or one of them is off.
    pub fn loses_nothing_to(&self, other: &Node) -> Result<()> {
        self.shared
            .network
            .find_again(self.address(), other.address())
    }

    /// Addresses on its network card, with prefix length: `192.168.1.101/24`.
    ///
    /// # Errors
    /// It is off.
    pub fn addresses(&self) -> Result<Vec<String>> {
        self.shared.network.addresses(&self.name())
    }

    /// Does it hold the database VIP? A host that is off does not.
    ///
    /// # Errors
    /// Its addresses cannot be listed.
    pub fn has_vip(&self) -> Result<bool> {
        self.holds(DATABASE_VIP)
    }

    /// Does it hold the pool's VIP? A host that is off does not.
    ///
    /// # Errors
    /// Its addresses cannot be listed.
    pub fn has_pool_vip(&self) -> Result<bool> {
        self.holds(POOL_VIP)
    }

    fn holds(&self, vip: Ipv4Addr) -> Result<bool> {
        if !self.is_up() {
            return Ok(false);
        }
        let vip = format!("{vip}/");
        Ok(self.addresses()?.iter().any(|it| it.starts_with(&vip)))
    }

    /// Puts the database VIP on its card, under the label that the tools use.
    ///
    /// # Errors
    /// It is off, or has the address already.
    pub fn add_vip(&self) -> Result<()> {
        self.shared.network.add_vip(&self.name())
    }

    // Files.

    /// Where a file of the host is on the machine. What is not on its own disks (`/home/kingbase`,
    /// `/root`, `/etc/cron.d`, `/var/lib/postgresql`, `/var/log`) is there only while the host is on.
    ///
    /// # Errors
    /// The host is off, and the file on none of its disks.
    pub fn path(&self, path: &str) -> Result<PathBuf> {
        if let Some(path) = on_disk(&self.shared.disk(self.number), path) {
            return Ok(path);
        }
        let root = PathBuf::from(format!("/proc/{}/root", self.init()?.pid));
        Ok(root.join(path.trim_start_matches('/')))
    }

    /// The text of a file; what is not UTF-8 is replaced.
    ///
    /// # Errors
    /// See [`Self::path`]; or it cannot be read.
    pub fn read(&self, path: &str) -> Result<String> {
        let bytes =
            fs::read(self.path(path)?).with_context(|| format!("{}: read {path}", self.name()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Writes a file; `owner` is a uid and gid ([`crate::layout::UID`] for kingbase, 0 for root).
    ///
    /// # Errors
    /// See [`Self::path`]; or it cannot be written.
    pub fn write(&self, path: &str, text: &str, mode: u32, owner: u32) -> Result<()> {
        files::write(&self.path(path)?, text, mode, owner)
    }

    /// `failover.log`; empty when nothing has written it.
    ///
    /// # Errors
    /// It is there, but cannot be read.
    pub fn failover_log(&self) -> Result<String> {
        self.log("failover.log")
    }

    /// `recovery.log`; empty when nothing has written it.
    ///
    /// # Errors
    /// It is there, but cannot be read.
    pub fn recovery_log(&self) -> Result<String> {
        self.log("recovery.log")
    }

    /// A file of the log directory; empty when there is none.
    ///
    /// # Errors
    /// It is there, but cannot be read.
    pub fn log(&self, name: &str) -> Result<String> {
        let path = format!("{LOG}/{name}");
        if self.path(&path)?.exists() {
            self.read(&path)
        } else {
            Ok(String::new())
        }
    }

    /// Changes or adds settings in both `HAmodule.conf` of the host, also while it is off.
    /// Values are written as they are: quotes are the caller's.
    ///
    /// # Errors
    /// One of them cannot be read or written.
    pub fn set_config(&self, settings: &[(&str, &str)]) -> Result<()> {
        for directory in [DB_ETC, POOL_ETC] {
            let path = self.path(&format!("{directory}/HAmodule.conf"))?;
            let text = files::with_settings(&fs::read_to_string(&path)?, settings.iter().copied());
            // In place: owner and mode stay as they are.
            fs::write(path, text)?;
        }
        Ok(())
    }

    // Programs.

    /// Runs a program as root, in `/`, with an environment of its own, for at most `limit`.
    /// A program that fails is no error here: see [`ToolRun::success`].
    ///
    /// # Errors
    /// The host is off, goes off meanwhile, or has no such program.
    pub fn run(&self, command: &[&str], limit: Duration) -> Result<ToolRun> {
        self.run_as("root", command, limit)
    }

    /// [`Self::run`] as a user of the host.
    ///
    /// # Errors
    /// As [`Self::run`]; or there is no such user.
    pub fn run_as(&self, user: &str, command: &[&str], limit: Duration) -> Result<ToolRun> {
        self.spawn(user, command, limit)?.wait()
    }

    /// [`Self::run`] as the pool runs its failover command: stdio on /dev/null, SIGTERM blocked,
    /// three listening sockets inherited. So it prints nothing.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_as_pool(&self, command: &[&str], limit: Duration) -> Result<ToolRun> {
        self.spawn_as_pool(command, limit)?.wait()
    }

    /// Starts a program as [`Self::run_as_pool`] does, and lets it run for at most `limit`.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn spawn_as_pool(&self, command: &[&str], limit: Duration) -> Result<Running> {
        let mut launch = self.launch("root", command, limit)?;
        launch.like_pool = true;
        self.start(&launch)
    }

    /// Starts a program as a user of the host, and lets it run for at most `limit`.
    ///
    /// # Errors
    /// As [`Self::run_as`].
    pub fn spawn(&self, user: &str, command: &[&str], limit: Duration) -> Result<Running> {
        self.start(&self.launch(user, command, limit)?)
    }

    /// Starts a program that belongs to the host's first process from then on: nobody waits
    /// for it, and it ends with the host at the latest. Its output is lost.
    ///
    /// # Errors
    /// As [`Self::run_as`].
    pub fn spawn_daemon(&self, user: &str, command: &[&str]) -> Result<()> {
        // Forked once more, inside the host: an orphan goes to the first process of its *parent's*
        // pid namespace, which for a child of ours would be the machine's.
        let command = [&["setsid", "--fork"], command].concat();
        self.run_as(user, &command, BOOT)?.success().map(drop)
    }

    /// Runs `failover_stream` as root with these arguments, its output captured.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn failover(&self, args: &[&str], limit: Duration) -> Result<ToolRun> {
        let program = format!("{POOL_BIN}/failover_stream");
        let command: Vec<&str> = [program.as_str()]
            .into_iter()
            .chain(args.iter().copied())
            .collect();
        self.run(&command, limit)
    }

    /// Copies a tool anew into both bin directories, with the rights that it has there: `from` is a
    /// file of the machine.
    ///
    /// # Errors
    /// It cannot be copied.
    pub fn install(&self, from: &std::path::Path, name: &str) -> Result<()> {
        for bin in [DB_BIN, POOL_BIN] {
            files::install(from, &self.path(&format!("{bin}/{name}"))?)?;
        }
        Ok(())
    }

    /// `vip_ctl` as it is where nobody gave it file capabilities: it has its caller's rights.
    ///
    /// # Errors
    /// The host is off, or it has none already.
    pub fn take_rights_from_vip_ctl(&self) -> Result<()> {
        for bin in [DB_BIN, POOL_BIN] {
            let command = ["setcap", "-r", &format!("{bin}/vip_ctl")];
            self.run(&command, BOOT)?.success()?;
        }
        Ok(())
    }

    /// Stops sshd; sessions that are there go, too.
    ///
    /// # Errors
    /// One survives.
    pub fn stop_sshd(&self) -> Result<()> {
        self.kill_all(|process| process.program == "sshd")
    }

    /// Starts sshd, and waits until it listens.
    ///
    /// # Errors
    /// The host is off, or sshd does not start.
    pub fn start_sshd(&self) -> Result<()> {
        let command = ["/usr/sbin/sshd", "-E", "/var/log/sshd.log"];
        self.run(&command, BOOT)?.success().map(drop)
    }

    /// Starts cron; for labs whose options did not.
    ///
    /// # Errors
    /// The host is off, or cron runs already.
    pub fn start_cron(&self) -> Result<()> {
        self.run(&["/usr/sbin/cron"], BOOT)?.success().map(drop)
    }

    /// Kills cron, but not what it has started.
    ///
    /// # Errors
    /// It survives.
    pub fn stop_cron(&self) -> Result<()> {
        self.kill_all(|process| process.program == "cron")
    }

    fn launch(&self, user: &str, command: &[&str], limit: Duration) -> Result<Launch> {
        Ok(Launch {
            host: self.init()?.pid,
            user: user.to_owned(),
            limit_ms: limit.as_millis().try_into()?,
            like_pool: false,
            command: command.iter().map(|&word| word.to_owned()).collect(),
        })
    }

    fn start(&self, launch: &Launch) -> Result<Running> {
        Running::start(&self.shared.program, &self.name(), launch)
    }

    /// SIGSTOPs every process of the host but its first: nothing on it goes on, and it takes no
    /// part in anything. The kernel still answers: pull the cable, too, for a machine that is paused.
    pub fn freeze(&self) {
        self.signal_all(Signal::SIGSTOP);
    }

    /// SIGCONTs them.
    pub fn thaw(&self) {
        self.signal_all(Signal::SIGCONT);
    }

    fn signal_all(&self, signal: Signal) {
        let init = self.init().map(|init| init.pid);
        for process in self.processes() {
            if init.as_ref().is_ok_and(|init| *init != process.pid) {
                process.signal(signal);
            }
        }
    }

    /// Pids, on the machine, of its processes that run this program; none when it is off.
    pub fn pids_of(&self, program: &str) -> Vec<i32> {
        let processes = self.processes();
        let chosen = processes.iter().filter(|it| it.program == program);
        chosen.map(|it| it.pid).collect()
    }

    /// The host's processes; none when it is off.
    pub(crate) fn processes(&self) -> Vec<Process> {
        self.init().map_or_else(
            |_| Vec::new(),
            |init| {
                let namespace = format!("/proc/{}/ns/pid", init.pid);
                Process::in_namespace("pid", namespace.as_ref())
            },
        )
    }

    /// SIGKILLs the processes that are chosen, and those that they fork meanwhile.
    pub(crate) fn kill_all(&self, chosen: impl Fn(&Process) -> bool) -> Result<()> {
        crate::wait::wait_for("processes to be gone", Duration::from_secs(10), || {
            let mut processes = self.processes();
            processes.retain(&chosen);
            for process in &processes {
                process.signal(Signal::SIGKILL);
            }
            ensure!(processes.is_empty(), "{}: {processes:?}", self.name());
            Ok(())
        })
    }
}
