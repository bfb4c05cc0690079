//! A whole lab: bringing it up, finding it again, taking it down.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::enter::lab_program;
use crate::files::{self, STORE};
use crate::flavor::Flavor;
use crate::host::Node;
use crate::layout::{CLIENT, GATEWAY, LOG};
use crate::network::Network;
use crate::prober::Prober;
use crate::sql::Login;
use crate::wait::wait_for;
use crate::{database, pool};

/// What kind of lab to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LabOptions {
    /// Its name: lower-case letters, digits and `-`. Labs of different names do not meet; one
    /// name has one lab at a time.
    pub name: String,
    /// What its databases and its pool are.
    pub flavor: Flavor,
    /// Major version of PostgreSQL, 14 to 18, whose programs are fetched when they are first needed;
    /// `None`: Debian's 15.
    pub server: Option<u8>,
    /// A version of pgpool-II, 3.6 to 4.7: the pools, which are the installed ones, have its ways wherever the
    /// tools touch them. `None`: their own, 4.3's. Not with V8R3's pool, which has its own.
    pub pool_ways: Option<String>,
    /// Hosts: 2 or 3.
    pub nodes: u8,
    /// Pools on the first hosts: 0 for none.
    pub pools: u8,
    /// Number of the host whose pool leads at first. One that dies together with its host costs
    /// an election, some ten seconds more until the failover command runs.
    pub leader: u8,
    /// One more host, after those with a database, that has a pool and no database: the third vote.
    pub witness: bool,
    /// The hosts have nothing but Debian's packages, as `apt-get` leaves them after
    /// [`Node::install_packages`]: no databases, pools, keys and tools of the lab's. What is done on them after
    /// that is the test's.
    pub debian: bool,
    /// MB of a disk of its own for the data directory of each host, see [`Node::data_disk`]; 0 for
    /// none. It is mounted until its host is switched off.
    pub data_disk: u64,
    /// Synchronous replication, and `SYNC_FLAG=1`; else asynchronous, and 0.
    pub sync: bool,
    /// Data checksums, and no hint bits in the WAL; else the other way round. For PostgreSQL only.
    pub checksums: bool,
    /// Run cron on every host (its table is empty: see `/etc/cron.d`).
    pub cron: bool,
    /// Run cron, and in it `network_rewind` each minute, from the first start of a host on.
    pub recovery: bool,
    /// Fill both users' `known_hosts`; else they start without one.
    pub known_hosts: bool,
    /// Directory that the tools are copied from. Those that it lacks are left out.
    pub tools: PathBuf,
    /// Settings of `HAmodule.conf`, added to or in place of the usual ones, as written.
    pub config: Vec<(String, String)>,
    /// Settings for the end of `postgresql.conf`, as written there.
    pub postgres: Vec<(String, String)>,
    /// Settings for the end of `pgpool.conf`, as written there.
    pub pgpool: Vec<(String, String)>,
    /// The pool's whole configuration: to it come the databases and a host's own paths, and nothing else.
    /// Empty: the lab's own.
    pub pgpool_conf: String,
    /// The pool's `failover_command`, if not the usual one of the flavor.
    pub failover_command: String,
}

impl Default for LabOptions {
    /// Two hosts, synchronous, without pool, cron and recovery; this workspace's tools.
    fn default() -> Self {
        Self {
            name: "lab".into(),
            flavor: Flavor::Postgres,
            server: None,
            pool_ways: None,
            nodes: 2,
            pools: 0,
            leader: 102,
            witness: false,
            debian: false,
            data_disk: 0,
            sync: true,
            checksums: false,
            cron: false,
            recovery: false,
            known_hosts: false,
            tools: built_tools(),
            config: Vec::new(),
            postgres: Vec::new(),
            pgpool: Vec::new(),
            pgpool_conf: String::new(),
            failover_command: String::new(),
        }
    }
}

impl LabOptions {
    /// With pools that fail over at the first sign of a database that is gone.
    #[must_use]
    pub fn failing_over_at_once(mut self) -> Self {
        let pgpool = [
            ("health_check_max_retries", "0"),
            ("health_check_timeout", "10"),
            ("connect_timeout", "10000"),
        ];
        let pgpool = pgpool.map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.pgpool.extend(pgpool);
        self
    }
}

/// Where cargo has put the tools: `release` or `debug` beside this program, whichever has
/// the newer `failover_stream`.
fn built_tools() -> PathBuf {
    let age = |directory: &PathBuf| {
        let tool = fs::metadata(directory.join("failover_stream"));
        tool.and_then(|it| it.modified()).ok()
    };
    lab_program()
        .ok()
        .and_then(|program| Some(program.parent()?.parent()?.to_owned()))
        .and_then(|target| {
            let profiles = ["release", "debug"].map(|profile| target.join(profile));
            profiles
                .into_iter()
                .filter(|it| age(it).is_some())
                .max_by_key(age)
        })
        .unwrap_or_default()
}

/// What all parts of a lab know.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: LabOptions,
    /// Its directory on a tmpfs of its own: overlays, and the state of the lab.
    pub(crate) run: PathBuf,
    pub(crate) network: Network,
    /// The program `lab`.
    pub(crate) program: PathBuf,
}

impl Shared {
    fn new(options: LabOptions) -> Result<Self> {
        Ok(Self {
            run: run_directory(&options.name),
            network: Network::of(&options.name),
            program: lab_program()?,
            options,
        })
    }

    /// How its databases and pools are logged in to.
    pub(crate) fn login(&self) -> Login {
        match self.options.debian {
            true => Login::DEBIAN,
            false => Login::OWN,
        }
    }

    /// Numbers of the hosts with a database.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u8> + use<> {
        101..101 + self.options.nodes
    }

    /// Number of the host with a pool and without a database, if there is one.
    fn witness(&self) -> Option<u8> {
        self.options.witness.then_some(101 + self.options.nodes)
    }

    /// Numbers of all hosts.
    pub(crate) fn host_numbers(&self) -> impl Iterator<Item = u8> + use<> {
        self.numbers().chain(self.witness())
    }

    /// Numbers of the hosts with a pool.
    pub(crate) fn pool_numbers(&self) -> impl Iterator<Item = u8> + use<> {
        (101..101 + self.options.pools).chain(self.witness())
    }

    /// Directory of a host's disks.
    pub(crate) fn disk(&self, number: u8) -> PathBuf {
        disk_directory(&self.options.name).join(format!("node{number}"))
    }

    /// Directory of a host's overlay.
    pub(crate) fn overlay(&self, number: u8) -> PathBuf {
        self.run.join(format!("node{number}"))
    }
}

/// Mount point of a lab's tmpfs, and next to it its lock.
const RUN: &str = "/run/failover-lab";

fn run_directory(name: &str) -> PathBuf {
    Path::new(RUN).join(name)
}

fn disk_directory(name: &str) -> PathBuf {
    Path::new(STORE).join("labs").join(name)
}

/// The state of a lab, in its directory: enough to drive it from another process.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    options: LabOptions,
    /// Left up on purpose by [`Lab::keep`].
    kept: bool,
}

/// A running cluster. Dropped, it is taken down, also by a panic.
#[derive(Debug)]
pub struct Lab {
    shared: Arc<Shared>,
    /// Those with a database come first.
    hosts: Vec<Node>,
    /// Of the owner, who takes it down in the end.
    lock: Option<Flock<File>>,
}

/// More rows than one client ever writes.
const CLIENT_ROWS: u64 = 1_000_000_000;

impl Lab {
    /// Starts a lab, and waits until everything in it works: standbys stream (synchronously, if
    /// wanted), the pool shows all nodes up. The database VIP is on node101.
    ///
    /// What a killed run of the same name has left is removed first.
    ///
    /// # Errors
    /// A lab of that name is up, in another process or on purpose ([`Self::keep`]); or which
    /// step failed. What was started until then is taken down.
    pub fn start(options: LabOptions) -> Result<Self> {
        let name = options.name.clone();
        ensure!(
            (2..=3).contains(&options.nodes) && options.pools <= options.nodes,
            "a lab has 2 or 3 hosts with a database, and at most as many with a pool, too"
        );
        let led_by_witness = options.witness && options.leader == 101 + options.nodes;
        ensure!(
            options.pools == 0
                || (101..101 + options.pools).contains(&options.leader)
                || led_by_witness,
            "host {} has no pool that could lead",
            options.leader
        );
        let lock = lock(&name)?;
        if let Ok(state) = read_state(&name) {
            ensure!(
                !state.kept,
                "lab {name} was left up on purpose: `lab down` first"
            );
        }
        remove_all(&name).with_context(|| format!("remove what is left of lab {name}"))?;
        let lab = Self::new(options, Some(lock))?;
        lab.bring_up().with_context(|| {
            let saved = lab.save_logs();
            format!("start lab {name} (logs of the hosts: {saved})")
        })?;
        Ok(lab)
    }

    /// Starts a lab, does something on it, and takes it down. Where that failed, the error says
    /// where the hosts' logs are kept.
    ///
    /// # Errors
    /// That of [`Self::start`], or of what was done.
    pub fn with(options: LabOptions, drill: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let lab = Self::start(options)?;
        drill(&lab).with_context(|| format!("logs of the hosts: {}", lab.save_logs()))
    }

    /// The lab of that name that another process has started. Dropping it changes nothing.
    ///
    /// # Errors
    /// There is none.
    pub fn attach(name: &str) -> Result<Self> {
        let state = read_state(name).with_context(|| format!("there is no lab {name}"))?;
        Self::new(state.options, None)
    }

    /// Takes down the lab of that name, if there is one.
    ///
    /// # Errors
    /// A running process owns it; or something could not be removed.
    pub fn remove(name: &str) -> Result<()> {
        let _lock = lock(name)?;
        remove_all(name)
    }

    /// Leaves the lab up when this process ends.
    ///
    /// # Errors
    /// Its state cannot be written; then it is taken down.
    pub fn keep(mut self) -> Result<()> {
        self.write_state(true)?;
        self.lock = None;
        Ok(())
    }

    fn new(options: LabOptions, lock: Option<Flock<File>>) -> Result<Self> {
        let shared = Arc::new(Shared::new(options)?);
        let hosts = shared.host_numbers();
        let hosts = hosts
            .map(|number| Node::new(Arc::clone(&shared), number))
            .collect();
        Ok(Self {
            shared,
            hosts,
            lock,
        })
    }

    fn bring_up(&self) -> Result<()> {
        let shared = &self.shared;
        fs::create_dir_all(&shared.run)?;
        let (none, options) = (None::<&str>, Some("mode=755"));
        mount(
            Some("lab"),
            &shared.run,
            Some("tmpfs"),
            MsFlags::empty(),
            options,
        )
        .with_context(|| format!("mount {}", shared.run.display()))?;
        // Overlays are mounted from it in every host; none of that belongs on the machine.
        mount(none, &shared.run, none, MsFlags::MS_PRIVATE, none)?;
        self.write_state(false)?;

        shared.network.create()?;
        shared.network.plug_in(GATEWAY_HOST, GATEWAY)?;
        shared.network.plug_in(CLIENT_HOST, CLIENT)?;
        self.for_each(|node| {
            files::prepare(shared, node.number())?;
            if shared.options.debian {
                return node.boot();
            }
            if node.has_database() {
                database::prepare(node)?;
            }
            if node.has_pool() {
                pool::prepare(node)?;
            }
            if shared.options.recovery {
                node.enable_recovery()?;
            }
            node.boot()?;
            if node.has_database() && shared.options.data_disk > 0 {
                node.move_data(shared.options.data_disk)?;
            }
            Ok(())
        })?;
        if shared.options.debian {
            return Ok(());
        }
        self.node(101).add_vip()?;
        database::start(self)?;
        if shared.options.pools > 0 {
            pool::start(self)?;
        }
        Ok(())
    }

    fn write_state(&self, kept: bool) -> Result<()> {
        let state = State {
            options: self.shared.options.clone(),
            kept,
        };
        Ok(fs::write(
            state_file(&self.shared.options.name),
            serde_json::to_vec(&state)?,
        )?)
    }

    /// What it was started with.
    pub fn options(&self) -> &LabOptions {
        &self.shared.options
    }

    /// A host by its number: 101, 102, 103.
    ///
    /// # Panics
    /// The lab has no such host.
    #[allow(
        clippy::panic,
        reason = "a mistake in the test, not something that happens"
    )]
    pub fn node(&self, number: u8) -> &Node {
        let mut hosts = self.hosts.iter();
        let node = hosts.find(|node| node.number() == number);
        node.unwrap_or_else(|| panic!("lab {} has no node{number}", self.options().name))
    }

    /// All hosts with a database, ascending.
    pub fn nodes(&self) -> &[Node] {
        &self.hosts[..usize::from(self.options().nodes)]
    }

    /// All hosts, ascending: [`Self::nodes`], and the one that has only a pool.
    pub fn hosts(&self) -> &[Node] {
        &self.hosts
    }

    /// Numbers of the hosts whose database runs and is not in recovery: one, if all is well.
    ///
    /// # Errors
    /// A database runs and does not answer.
    pub fn primaries(&self) -> Result<Vec<u8>> {
        let mut found = Vec::new();
        for node in self.nodes() {
            if !node.pids_of_database().is_empty() && !node.in_recovery()? {
                found.push(node.number());
            }
        }
        Ok(found)
    }

    /// Numbers of the hosts that hold the database VIP: one, if all is well.
    ///
    /// # Errors
    /// A host's addresses cannot be listed.
    pub fn vip_holders(&self) -> Result<Vec<u8>> {
        let mut found = Vec::new();
        for node in &self.hosts {
            if node.has_vip()? {
                found.push(node.number());
            }
        }
        Ok(found)
    }

    /// Takes the gateway from the network.
    ///
    /// # Errors
    /// Its cable cannot be pulled.
    pub fn gateway_down(&self) -> Result<()> {
        self.shared.network.set_cable(GATEWAY, false)
    }

    /// Brings the gateway back.
    ///
    /// # Errors
    /// Its cable cannot be put back.
    pub fn gateway_up(&self) -> Result<()> {
        self.shared.network.set_cable(GATEWAY, true)
    }

    /// Puts the database VIP on the gateway: a stranger answers for it from then on.
    ///
    /// # Errors
    /// It has it already.
    pub fn gateway_takes_vip(&self) -> Result<()> {
        self.shared.network.add_vip(GATEWAY_HOST)
    }

    /// The gateway answers ARP for every address from then on, as far as anybody asks: that of `node`, the
    /// database VIP, and one that nobody has. The host has to be off.
    ///
    /// # Errors
    /// It does already.
    pub fn gateway_answers_for_all(&self, node: &Node) -> Result<()> {
        let nobodys = std::net::Ipv4Addr::new(192, 0, 2, 1);
        for address in [node.address(), crate::layout::DATABASE_VIP, nobodys] {
            self.shared
                .network
                .gateway_answers_for(GATEWAY_HOST, address)?;
        }
        Ok(())
    }

    /// Undoes [`Self::gateway_takes_vip`].
    ///
    /// # Errors
    /// It does not have it.
    pub fn gateway_drops_vip(&self) -> Result<()> {
        self.shared.network.del_vip(GATEWAY_HOST)
    }

    /// Starts a client that writes rows through the database VIP until it is stopped. Each
    /// client of a lab numbers its rows from another billion on.
    ///
    /// # Errors
    /// The lab is gone.
    pub fn start_client(&self) -> Result<Client> {
        self.client_in(self.client_network())
    }

    /// [`Self::start_client`] on a host of the cluster: whatever is cut off from it, it reaches the
    /// VIP that this host has.
    ///
    /// # Errors
    /// The lab is gone.
    pub fn start_client_on(&self, node: &Node) -> Result<Client> {
        self.client_in(self.shared.network.file(&node.name()))
    }

    fn client_in(&self, network: PathBuf) -> Result<Client> {
        for client in 0.. {
            // A mark for each client, since another process may start one, too.
            let mark = self.shared.run.join(format!("client.{client}"));
            match File::create_new(&mark) {
                Ok(_) => {
                    let login = self.shared.login();
                    return Ok(Client::start(login, network, client * CLIENT_ROWS + 1));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| mark.display().to_string()),
            }
        }
        bail!("no number is left for a client")
    }

    /// Starts a prober that tries writes on every host's own database until it is dropped.
    pub fn start_prober(&self) -> Prober {
        let nodes = self.nodes().iter();
        let hosts = nodes.map(|node| (node.number(), self.shared.network.file(&node.name())));
        Prober::start(self.shared.login(), hosts.collect())
    }

    /// Numbers of the client's rows that a host's own database has.
    ///
    /// # Errors
    /// It does not answer.
    pub fn rows_present(&self, node: &Node) -> Result<BTreeSet<u64>> {
        node.rows()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn client_network(&self) -> PathBuf {
        self.shared.network.file(CLIENT_HOST)
    }

    /// Does the same on all hosts side by side; the error is that of the first host with one.
    pub(crate) fn for_each(&self, work: impl Fn(&Node) -> Result<()> + Sync) -> Result<()> {
        let work = &work;
        std::thread::scope(|scope| {
            let threads: Vec<_> = self
                .hosts
                .iter()
                .map(|node| (node, scope.spawn(move || work(node))))
                .collect();
            let results: Vec<Result<()>> = threads
                .into_iter()
                .map(|(node, thread)| {
                    let result = thread.join().map_err(|_| anyhow!("panicked"));
                    result.and_then(|it| it).with_context(|| node.name())
                })
                .collect();
            results.into_iter().collect()
        })
    }

    /// Keeps the hosts' logs of a test that fails, where the next one does not remove them;
    /// says where.
    fn save_logs(&self) -> String {
        let saved = Path::new(STORE).join("failed").join(&self.options().name);
        match self.copy_logs(&saved) {
            Ok(()) => saved.display().to_string(),
            Err(error) => format!("lost: {error:#}"),
        }
    }

    /// Copies the logs of all hosts to a directory of the machine, which is made anew: one
    /// directory for each.
    ///
    /// # Errors
    /// One of them cannot be read or written.
    pub fn copy_logs(&self, to: &Path) -> Result<()> {
        files::remove(to)?;
        fs::create_dir_all(to)?;
        let logs = match self.options().debian {
            true => "/var/log",
            false => LOG,
        };
        self.hosts
            .iter()
            .try_for_each(|node| files::copy_tree(&node.path(logs)?, &to.join(node.name())))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.lock.is_none() {
            return;
        }
        if std::thread::panicking() {
            crate::complain!("logs of the hosts: {}", self.save_logs());
        }
        // Nobody is left to hand an error to; the next start of this name tries again.
        if let Err(error) = remove_all(&self.shared.options.name) {
            crate::complain!(
                "lab {} is not all gone: {error:#}",
                self.shared.options.name
            );
        }
    }
}

const GATEWAY_HOST: &str = "gateway";
const CLIENT_HOST: &str = "client";

fn state_file(name: &str) -> PathBuf {
    run_directory(name).join("lab.json")
}

fn read_state(name: &str) -> Result<State> {
    Ok(serde_json::from_slice(&fs::read(state_file(name))?)?)
}

/// Takes the name of a lab for this process.
fn lock(name: &str) -> Result<Flock<File>> {
    ensure!(
        !name.is_empty()
            && name.len() <= 32
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
        "a lab's name is made of a-z, 0-9 and -, not {name:?}"
    );
    fs::create_dir_all(RUN)?;
    let path = Path::new(RUN).join(format!("{name}.lock"));
    files::lock(&path, FlockArg::LockExclusiveNonblock)
        .with_context(|| format!("lab {name} is in use by another process"))
}

/// Removes processes, networks, mounts and directories of a lab, whoever started it.
fn remove_all(name: &str) -> Result<()> {
    Network::of(name).remove()?;
    let run = run_directory(name);
    // Its users' mount namespaces are gone a moment after their last process.
    wait_for(
        "the lab's tmpfs to be free",
        Duration::from_secs(10),
        || {
            match umount2(&run, MntFlags::empty()) {
                // Not mounted, or never made.
                Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
                Err(error) => Err(error).with_context(|| format!("unmount {}", run.display())),
            }
        },
    )?;
    files::remove(&run)?;
    files::remove(&disk_directory(name))
}
