//! The pool: what it says about its nodes, and attaching and detaching one.
//!
//! Does not say which change is right. Uses `server`, `run` and what those use; the tools may use it.
//!
//! The table of `show pool_nodes` is read by column name (3.6 has nine columns, 4.x more). PCP is
//! spoken through the pool's own programs: its protocol differs between versions.

mod by_pcp;
mod each;
mod settings;

use crate::clock;
use crate::config::{Config, Secret};
use crate::deadline::Deadline;
use crate::flavor::{Flavor, PcpPassword};
use crate::journal::Journal;
use crate::process::{Cmd, Output, RunError, run};
use crate::sql::{Session, SqlError, SqlFailure, Table, Target};
pub use each::Said;
pub use failover_rules::facts::pool::{Change, PoolNode};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks at a node that is to change.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// For a pool to restart its PCP process.
const PCP_RESTART: Duration = Duration::from_secs(3);
/// For one such look: the pool drops sessions, or lets them wait, while it changes a node, and since 4.3 it
/// knocks at each database for its table, for its `connect_timeout` of 10 s at a dead host.
const LOOK_TIME: Duration = Duration::from_secs(15);

/// A pool has that many nodes at most.
const MOST_NODES: usize = 128;

/// A table of a hundred nodes is smaller.
const MAX_BYTES: u64 = 1 << 20;

/// The address of `node`, also where the pool knows it by its node name.
pub fn address_of(node: &PoolNode, config: &Config) -> Option<IpAddr> {
    let mut hosts = config.kb_all_ip.iter().copied();
    let named = |host: &IpAddr| node.is(*host, config.node_name_of(*host));
    node.host.parse().ok().or_else(|| hosts.find(named))
}

/// From the cells of a row, by column name; `None` where it is none of a node.
fn from_cells<'a>(cell: impl Fn(&str) -> Option<&'a str>) -> Option<PoolNode> {
    let delay = cell("replication_delay").and_then(|bytes| bytes.parse().ok());
    // Since 4.1 it is told whether the delay is of anything.
    let is_known = cell("replication_state").is_none_or(|state| state == "streaming");
    Some(PoolNode {
        id: cell("node_id")?.parse().ok()?,
        host: cell("hostname")?.to_owned(),
        status: cell("status")?.to_owned(),
        role: cell("role")?.to_owned(),
        replication_delay: delay.filter(|bytes| *bytes > 0 || is_known),
    })
}

/// Without the delays that are none: a pool shows 0 for a node that is down, and for all while it has no
/// primary to compare them with.
fn without_guesses(mut nodes: Vec<PoolNode>) -> Vec<PoolNode> {
    let compared = nodes.iter().any(|node| node.is_primary() && node.is_up());
    for node in &mut nodes {
        if node.replication_delay == Some(0) && !(compared && node.is_up()) {
            node.replication_delay = None;
        }
    }
    nodes
}

/// What the pool says about its nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolNodes {
    /// As it came, with whatever columns this pool has.
    pub table: Table,
    /// The same as nodes.
    pub nodes: Vec<PoolNode>,
}

impl PoolNodes {
    /// `None`: `table` is not about nodes.
    fn from_table(table: Table) -> Option<Self> {
        if table.rows.len() > MOST_NODES {
            return None;
        }
        let nodes = table
            .rows
            .iter()
            .map(|row| {
                from_cells(|name| {
                    let at = table.columns.iter().position(|column| column == name)?;
                    row.get(at)?.as_deref()
                })
            })
            .collect::<Option<Vec<_>>>()?;
        let nodes = without_guesses(nodes);
        (!nodes.is_empty()).then_some(Self { table, nodes })
    }

    /// The node with this id.
    pub fn by_id(&self, id: u32) -> Option<&PoolNode> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The node of the host with this address.
    pub fn by_address(&self, address: IpAddr, config: &Config) -> Option<&PoolNode> {
        let mut nodes = self.nodes.iter();
        nodes.find(|node| address_of(node, config) == Some(address))
    }

    /// The node that writes are sent to.
    pub fn primary(&self) -> Option<&PoolNode> {
        let mut up = self.nodes.iter().filter(|node| node.is_up());
        up.find(|node| node.is_primary())
    }

    /// What has the pool send writes to `node`, whose database is a primary. `None`: it names a primary,
    /// this or another one, and that is not taken from it.
    pub fn lacks(&self, node: &PoolNode) -> Option<Change> {
        match (self.primary(), node.is_up()) {
            (Some(_), _) => None,
            (None, true) => Some(Change::MakePrimary),
            // It looks for a primary whenever a node comes back.
            (None, false) => Some(Change::Attach),
        }
    }
}

/// The PCP program for a change.
fn program(change: Change) -> &'static str {
    match change {
        Change::Attach => "pcp_attach_node",
        Change::Detach => "pcp_detach_node",
        Change::MakePrimary => "pcp_promote_node",
    }
}

/// Why the pool did not answer or not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// It cannot be asked.
    #[error("the pool gives no answer: {0}")]
    Sql(SqlError),
    /// It is no pool.
    #[error("{0}: its answer to \"show pool_nodes\" has no nodes: is it the pool's port?")]
    NoNodes(String),
    /// The PCP program could not do its work.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The PCP login was refused.
    #[error(
        "PCP login of user {user} on {server} refused: check PCP_USER and PCP_PASS, and the pool's \
         pcp.conf"
    )]
    Login {
        /// `PCP_USER`.
        user: String,
        /// Address and port.
        server: String,
    },
    /// The pool said no.
    #[error("{program} for node {id} on {server} failed: {why}")]
    Refused {
        /// The PCP program.
        program: &'static str,
        /// The node.
        id: u32,
        /// Address and port.
        server: String,
        /// What it said.
        why: String,
    },
    /// The password cannot be handed over.
    #[error("failed to write a file for the PCP password in {0}: {1}")]
    PassFile(PathBuf, io::Error),
    /// It was asked for, and did not happen.
    #[error(
        "the pool took the order to {change} node {id}, and {} ms later {seen}: see the pool's log",
        .given.as_millis()
    )]
    NotDone {
        /// What was asked for.
        change: Change,
        /// The node.
        id: u32,
        /// How long it was waited for.
        given: Duration,
        /// What was seen last.
        seen: String,
    },
}

impl PoolError {
    /// Whether there may be a pool that lets nobody in at the moment: it is [closed](Self::is_closed), or it
    /// took the connection and says nothing, or nothing more.
    pub fn is_busy(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        matches!(error.failure, SqlFailure::Silent(_) | SqlFailure::Dropped) || self.is_closed()
    }

    /// Whether there is a pool that lets nobody in: a node of it is gone, or all are. Its words have a
    /// code of class 08 (connection exception); those about a login, or itself, have others.
    pub fn is_closed(&self) -> bool {
        let Self::Sql(error) = self else { return false };
        matches!(&error.failure, SqlFailure::Server { code, .. } if code.starts_with("08"))
    }
}

/// The pool, as this host reaches it.
#[derive(Clone, Debug)]
pub struct Pool {
    target: Target,
    bin: PathBuf,
    lib: Option<PathBuf>,
    host: IpAddr,
    pcp_port: u16,
    pcp_user: String,
    pcp_pass: Secret,
    password: PcpPassword,
    state_dir: PathBuf,
    /// How many database hosts there are.
    hosts: usize,
}

impl Pool {
    /// The one that `config` describes.
    pub fn new(config: &Config, names: &Flavor) -> Self {
        Self {
            target: Target::pool(config),
            bin: config.cluster_bin_path.clone(),
            lib: config.cluster_lib_path.clone(),
            host: config.kb_pool_vip,
            pcp_port: config.kb_pool_pcp_port,
            pcp_user: config.pcp_user.clone(),
            pcp_pass: config.pcp_pass.clone(),
            password: names.pcp_password,
            state_dir: config.state_dir.clone(),
            hosts: config.kb_all_ip.len(),
        }
    }

    /// The same cluster's pool at `host`, one of `KB_POOL_IPn`, whoever has the cluster VIP.
    pub fn at(&self, host: IpAddr) -> Self {
        Self {
            target: self.target.at(host),
            host,
            ..self.clone()
        }
    }

    /// Where it is asked.
    pub fn host(&self) -> IpAddr {
        self.host
    }

    /// `show pool_nodes`. A pool that fails over ends the processes that its clients have come to, those
    /// that wait to be let in too: it is asked again.
    pub fn nodes(&self, deadline: Deadline) -> Result<PoolNodes, PoolError> {
        let nodes = self.unless_dropped(deadline, |session| {
            session.table("show pool_nodes", deadline)
        });
        PoolNodes::from_table(nodes?).ok_or_else(|| PoolError::NoNodes(self.target.server()))
    }

    /// Whether it takes sessions, or says that it has no node for them. One that runs its
    /// `failover_command`, or looks for its primary, does neither. The table of nodes would be too much to
    /// ask for here: since 4.3 the pool knocks at each database for it, dead hosts included.
    pub fn is_open(&self, deadline: Deadline) -> bool {
        match self.unless_dropped(deadline, |_| Ok(())) {
            Ok(()) => true,
            Err(error) => error.is_closed(),
        }
    }

    fn unless_dropped<T>(
        &self,
        deadline: Deadline,
        ask: impl Fn(&Session) -> Result<T, SqlError>,
    ) -> Result<T, PoolError> {
        loop {
            match Session::open(&self.target, deadline).and_then(|session| ask(&session)) {
                Err(error)
                    if error.failure == SqlFailure::Dropped
                        && deadline.remaining() > LOOK_INTERVAL =>
                {
                    deadline.pause(LOOK_INTERVAL);
                }
                answer => return answer.map_err(PoolError::Sql),
            }
        }
    }

    /// Attaches or detaches node `id` and waits until the pool shows it so; what it shows then.
    /// PCP only queues the order, and its programs exit 0 whatever the pool thinks of it.
    pub fn change(
        &self,
        change: Change,
        id: u32,
        journal: &Journal,
        deadline: Deadline,
    ) -> Result<PoolNodes, PoolError> {
        journal.line(self.attempt(change, id));
        let refusal = match self.order_anew(change, id, deadline) {
            Ok(said) => {
                journal.line(said);
                return self.await_change(change, id, deadline);
            }
            Err(error) => error,
        };
        // It may have done so by itself meanwhile, and then refuses to do it again.
        match self.nodes_by_any_way(deadline.at_most(LOOK_TIME)) {
            Ok((nodes, _)) if nodes.by_id(id).is_some_and(|it| change.is_done(it)) => Ok(nodes),
            _ => Err(refusal),
        }
    }

    /// Waits until the pool shows what was ordered; what it shows then.
    pub fn await_change(
        &self,
        change: Change,
        id: u32,
        deadline: Deadline,
    ) -> Result<PoolNodes, PoolError> {
        let given = deadline.remaining();
        let mut seen = String::new();
        let done = deadline.poll(LOOK_INTERVAL, || {
            let limit = deadline.at_most(LOOK_TIME);
            let answer = match change {
                // It is done when the pool takes sessions again: PCP tells of it earlier.
                Change::Attach | Change::MakePrimary => self.nodes(limit),
                // Of the last node: no session will ever tell.
                Change::Detach => self.nodes_by_any_way(limit).map(|(nodes, _)| nodes),
            };
            let nodes = match answer {
                Ok(nodes) => nodes,
                Err(error) => {
                    seen = error.to_string();
                    return None;
                }
            };
            match nodes.by_id(id) {
                Some(node) if change.is_done(node) => return Some(nodes),
                Some(node) if change == Change::MakePrimary => {
                    seen = format!("it is {}, and {} there", node.status, node.role);
                }
                Some(node) => seen = format!("it is {}", node.status),
                None => seen = "it is not there any more".to_owned(),
            }
            None
        });
        done.ok_or(PoolError::NotDone {
            change,
            id,
            given,
            seen,
        })
    }

    /// What the pool says where it says anything: by PCP where it takes no sessions, which is so when
    /// it has no node up. Then there is no role and no lag, and the error tells why.
    pub fn nodes_by_any_way(
        &self,
        deadline: Deadline,
    ) -> Result<(PoolNodes, Option<PoolError>), PoolError> {
        match self.nodes(deadline) {
            Ok(nodes) => Ok((nodes, None)),
            Err(error) if error.is_closed() => Ok((self.nodes_by_pcp(deadline)?, Some(error))),
            Err(error) => Err(error),
        }
    }

    /// The line before an order. It is the scripts', whatever the program takes: theirs took a port,
    /// too, and the password as it is, where the line had the encoded one.
    pub fn attempt(&self, change: Change, id: u32) -> String {
        format!(
            "IM Node is {id}, will try [{} -U {} -W **** -h {} -n {id}]",
            program(change),
            self.pcp_user,
            self.host
        )
    }

    /// The same as [`Self::order`]. After each failover and each node that comes or goes a pool restarts its PCP
    /// process, and nobody listens for a moment: such an order has not reached it, and is given again.
    fn order_anew(&self, change: Change, id: u32, deadline: Deadline) -> Result<String, PoolError> {
        let nobody_listens = |answer: &Result<String, PoolError>| matches!(answer, Err(PoolError::Refused { why, .. }) if why.contains("Connection refused"));
        let first = self.order(change, id, deadline);
        if !nobody_listens(&first) {
            return first;
        }
        let limit = deadline.at_most(PCP_RESTART);
        let again = limit.poll(LOOK_INTERVAL, || {
            Some(self.order(change, id, deadline)).filter(|answer| !nobody_listens(answer))
        });
        again.unwrap_or(first)
    }

    /// Queues it; what the program printed.
    pub fn order(&self, change: Change, id: u32, deadline: Deadline) -> Result<String, PoolError> {
        let output = self.pcp(program(change), id, deadline)?;
        match said_success(&output) {
            Some(line) => Ok(line.to_owned()),
            None => Err(self.refusal(program(change), id, &output)),
        }
    }

    /// Runs a PCP program for a node.
    fn pcp(&self, program: &'static str, id: u32, deadline: Deadline) -> Result<Output, PoolError> {
        // Open until the program has ended.
        let file = match self.password {
            PcpPassword::Argument => None,
            PcpPassword::File => Some(
                self.pass_file(id)
                    .map_err(|error| PoolError::PassFile(self.state_dir.clone(), error))?,
            ),
        };
        Ok(run(&self.command(program, id, file.as_ref()), deadline)?)
    }

    fn command(&self, program: &str, id: u32, pass_file: Option<&File>) -> Cmd {
        let mut cmd = Cmd::new(self.bin.join(program)).args(["-U", &self.pcp_user]);
        if let Some(lib) = &self.lib {
            cmd = cmd.env("LD_LIBRARY_PATH", lib);
        }
        cmd = match pass_file {
            None => cmd.arg("-W").secret_arg(self.pcp_pass.expose()),
            Some(file) => {
                let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
                cmd.env("PCPPASSFILE", path).arg("-w")
            }
        };
        let (host, port) = (self.host.to_string(), self.pcp_port.to_string());
        cmd.args(["-h", &host, "-p", &port, "-n", &id.to_string()])
    }

    /// A file with the password that nobody but us and our children can find: it has no name any
    /// more, so nothing is left of it however we end.
    fn pass_file(&self, id: u32) -> io::Result<File> {
        let name = format!("pcppass.{}.{id}", clock::run_name());
        let path = self.state_dir.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        fs::remove_file(&path)?;
        let line = format!(
            "*:*:{}:{}\n",
            escape(&self.pcp_user),
            escape(self.pcp_pass.expose())
        );
        file.write_all(line.as_bytes())?;
        Ok(file)
    }

    fn refusal(&self, program: &'static str, id: u32, output: &Output) -> PoolError {
        let server = format!("{}:{}", self.host, self.pcp_port);
        // The first line is the error, further ones are hints.
        let lines = output.stderr.lines().chain(output.stdout.lines());
        let why = lines.map(str::trim).find(|line| !line.is_empty());
        let why = why.unwrap_or("it said nothing").to_owned();
        if why.contains("authentication failed") {
            return PoolError::Login {
                user: self.pcp_user.clone(),
                server,
            };
        }
        PoolError::Refused {
            program,
            id,
            server,
            why,
        }
    }
}

/// The line in which a PCP program reports success; its exit code is 0 also on a server's error.
/// The scripts' log has both outputs of the vendor's in one, so either may have the line.
fn said_success(output: &Output) -> Option<&str> {
    let mut lines = output.stdout.lines().chain(output.stderr.lines());
    lines
        .find(|line| line.contains("Command Successful"))
        .filter(|_| output.code == 0)
}

/// A field of a password file: `:` ends one, and `\` escapes.
fn escape(field: &str) -> String {
    field.replace('\\', r"\\").replace(':', r"\:")
}

/// The nodes in `file` (`KB_CLUSTER_STATUS`), which recovery writes each minute; empty if it is
/// older than `max_age` seconds or not there.
pub fn last_status(file: &Path, max_age: u64) -> io::Result<Vec<PoolNode>> {
    let meta = match fs::metadata(file) {
        Ok(meta) => meta,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    if !meta.is_file() || meta.len() > MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "this is no table of nodes",
        ));
    }
    // One from the future would never get old.
    if clock::seconds_since(meta.modified()?).is_none_or(|age| age > max_age) {
        return Ok(Vec::new());
    }
    Ok(parse_table(&String::from_utf8_lossy(&fs::read(file)?)))
}

/// Reads the table as the SQL client prints it. Rows that are none are left out.
pub(crate) fn parse_table(text: &str) -> Vec<PoolNode> {
    let mut columns: Vec<&str> = Vec::new();
    let mut nodes = Vec::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if cells.contains(&"node_id") {
            columns = cells;
            continue;
        }
        nodes.extend(from_cells(|name| {
            let at = columns.iter().position(|column| *column == name)?;
            cells.get(at).copied()
        }));
    }
    without_guesses(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flavor::{KINGBASE, POSTGRES};
    use std::net::TcpListener;

    const NINE: &str = " node_id |   hostname    | port  | status | lb_weight |  role   | select_cnt | load_balance_node | replication_delay
---------+---------------+-------+--------+-----------+---------+------------+-------------------+-------------------
 0       | 192.168.1.101 | 54321 | down   | 0.500000  | standby | 0          | false             | 4096
 1       | 192.168.1.102 | 54321 | up     | 0.500000  | primary | 0          | true              | 0
(2 rows)";

    fn table(text: &str) -> Table {
        let cells = |line: &str| -> Vec<String> {
            line.split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        let mut lines = text.lines().filter(|line| line.contains('|'));
        Table {
            columns: cells(lines.next().unwrap()),
            rows: lines
                .map(|line| cells(line).into_iter().map(Some).collect())
                .collect(),
        }
    }

    const CONFIG: &str = include_str!("../../../../etc/HAmodule.conf");

    fn pool_of(config: &str, names: &Flavor) -> Pool {
        let config = Config::parse("HAmodule.conf".as_ref(), config.as_bytes()).unwrap();
        Pool::new(&config, names)
    }

    fn pool(names: &Flavor) -> Pool {
        pool_of(CONFIG, names)
    }

    #[test]
    fn reads_nine_columns_and_more_by_name() {
        let more = " node_id | hostname | port | status | pg_status | lb_weight | role | replication_delay | replication_state\n\
             2 | db3 | 5432 | waiting | up | 0.3 | standby | 1.5 second |  \n";
        let nodes = parse_table(NINE);
        assert_eq!(nodes.len(), 2);
        assert_eq!((nodes[0].id, nodes[0].replication_delay), (0, Some(4096)));
        assert!(nodes[1].is_up() && !nodes[0].is_up());
        assert!(nodes[1].is("192.168.1.102".parse().unwrap(), None));
        let nodes = parse_table(more);
        assert!(nodes[0].is_up() && nodes[0].replication_delay.is_none());
        assert!(nodes[0].is("192.168.1.103".parse().unwrap(), Some("db3")));
        assert!(parse_table("junk | x\n\n|||").is_empty());
    }

    #[test]
    fn a_delay_of_nothing_is_no_delay() {
        let delays = |text: &str| {
            let nodes = parse_table(text);
            nodes
                .iter()
                .map(|node| node.replication_delay)
                .collect::<Vec<_>>()
        };
        let up = NINE.replace("4096", "0").replace("down", "up");
        assert_eq!(delays(&up), [Some(0), Some(0)]);
        assert_eq!(delays(&NINE.replace("4096", "0")), [None, Some(0)], "down");
        assert_eq!(
            delays(&up.replace("primary", "standby")),
            [None, None],
            "no primary"
        );
        let more = "node_id | hostname | status | role | replication_delay | replication_state\n\
             0 | a | up | primary | 0 | \n1 | b | up | standby | 0 | streaming\n2 | c | up | standby | 0 | \n";
        assert_eq!(delays(more), [None, Some(0), None]);
    }

    #[test]
    fn a_status_of_tomorrow_is_none_of_today() {
        let file = std::env::temp_dir().join(format!("status-{}", clock::run_name()));
        fs::write(&file, NINE).unwrap();
        assert_eq!(last_status(&file, 120).unwrap().len(), 2);
        let set = |seconds: &str| {
            let touch = Cmd::new("/usr/bin/touch").args(["-d", seconds]).arg(&file);
            run(&touch, Deadline::after(Duration::from_secs(9)))
                .unwrap()
                .checked(&touch)
                .unwrap();
        };
        for (when, nodes) in [("1 hour", 0), ("-1 hour", 0), ("-60 seconds", 2)] {
            set(when);
            assert_eq!(last_status(&file, 120).unwrap().len(), nodes, "{when}");
        }
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn the_table_is_printed_as_it_is_in_the_log() {
        let nodes = PoolNodes::from_table(table(NINE)).unwrap();
        assert_eq!(nodes.nodes, parse_table(NINE));
        assert_eq!(nodes.table.to_string(), NINE);
        assert_eq!(nodes.primary().map(|node| node.id), Some(1));
        // Another server's answer, and one without rows.
        assert_eq!(PoolNodes::from_table(table("a | b\n1 | 2")), None);
        assert_eq!(PoolNodes::from_table(Table::default()), None);
    }

    #[test]
    fn a_node_is_found_by_address_or_node_name() {
        let mut nodes = PoolNodes::from_table(table(NINE)).unwrap();
        nodes.nodes[1].host = "node2".to_owned();
        let text = include_str!("../../../../etc/HAmodule.conf");
        let text = format!(
            "{text}\nKB_LOCALHOST_IP=192.168.1.101\nNODE_NAME=node1\n\
             KB_ALL_IP=(192.168.1.101 192.168.1.102)\nALL_NODE_NAME=(node1 node2)\n"
        );
        let config = Config::parse("HAmodule.conf".as_ref(), text.as_bytes()).unwrap();
        for (address, id) in [
            ("192.168.1.101", Some(0)),
            ("192.168.1.102", Some(1)),
            ("::1", None),
        ] {
            let found = nodes.by_address(address.parse().unwrap(), &config);
            assert_eq!(found.map(|node| node.id), id);
        }
        nodes.nodes[1].host = "db2".to_owned();
        assert_eq!(address_of(&nodes.nodes[1], &config), None);
    }

    #[test]
    fn a_primary_that_is_down_is_none() {
        let mut nodes = PoolNodes::from_table(table(NINE)).unwrap();
        for (status, up) in [("waiting", true), ("quarantine", false), ("down", false)] {
            nodes.nodes[1].status = status.to_owned();
            assert_eq!(nodes.primary().is_some(), up, "{status}");
            assert_eq!(Change::Attach.is_done(&nodes.nodes[1]), up);
            assert_eq!(Change::Detach.is_done(&nodes.nodes[1]), !up);
            assert_eq!(Change::MakePrimary.is_done(&nodes.nodes[1]), up);
        }
    }

    #[test]
    fn a_pool_is_told_of_a_primary_only_where_it_names_none() {
        let mut nodes = PoolNodes::from_table(table(NINE)).unwrap();
        let lacks = |nodes: &PoolNodes, at: usize| nodes.lacks(&nodes.nodes[at]);
        assert_eq!([lacks(&nodes, 0), lacks(&nodes, 1)], [None, None]);
        nodes.nodes[1].role = "standby".to_owned();
        assert_eq!(lacks(&nodes, 1), Some(Change::MakePrimary));
        assert_eq!(lacks(&nodes, 0), Some(Change::Attach));
        assert!(!Change::MakePrimary.is_done(&nodes.nodes[1]));
    }

    #[test]
    fn each_pool_gets_its_password_in_its_way() {
        let kingbase = pool(&KINGBASE).command("pcp_attach_node", 0, None);
        assert!(
            kingbase
                .to_string()
                .ends_with("/pcp_attach_node -U kingbase -W **** -h 192.168.1.201 -p 9898 -n 0"),
            "{kingbase}"
        );
        // What the vendor's script gave it: not what stands in the file, MTIzNDU2.
        let line = kingbase.shell_line();
        assert!(line.contains(" -W 123456 "), "{line}");
        let file = File::open("/dev/null").unwrap();
        let mut pool = pool(&POSTGRES);
        pool.pcp_port = 9899;
        let postgres = pool.command("pcp_detach_node", 1, Some(&file)).shell_line();
        assert!(
            postgres.ends_with("/pcp_detach_node -U kingbase -w -h 192.168.1.201 -p 9899 -n 1"),
            "{postgres}"
        );
    }

    #[test]
    fn an_order_that_found_nobody_listening_is_given_again() {
        let bin = std::env::temp_dir().join(format!("pcp-anew-{}", std::process::id()));
        fs::create_dir_all(&bin).unwrap();
        let mut pool = pool(&KINGBASE);
        pool.bin.clone_from(&bin);
        // So often nobody listens; then what the program prints.
        let program = |refusals: u32, then: &str| {
            let count = bin.join("count");
            let _ = fs::remove_file(&count);
            let text = format!(
                "#!/bin/sh\necho x >>{0}\n[ $(wc -l <{0}) -gt {refusals} ] && exec {then}\n\
                 echo 'ERROR: connection to socket \"x\" failed with error \"Connection refused\"' >&2\nexit 1\n",
                count.display()
            );
            let path = bin.join("pcp_attach_node");
            let _ = fs::remove_file(&path);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
                .unwrap();
            move || fs::read_to_string(&count).unwrap().lines().count()
        };
        let order = |pool: &Pool| {
            pool.order_anew(Change::Attach, 0, Deadline::after(Duration::from_secs(30)))
        };
        let tried = program(2, "echo pcp_attach_node -- Command Successful");
        assert!(order(&pool).is_ok());
        assert_eq!(tried(), 3);
        // What was heard is not said twice.
        let tried = program(0, "echo ERROR: invalid node id");
        assert!(
            order(&pool)
                .unwrap_err()
                .to_string()
                .contains("invalid node id")
        );
        assert_eq!(tried(), 1);
        let tried = program(u32::MAX, "true");
        assert!(
            order(&pool)
                .unwrap_err()
                .to_string()
                .contains("Connection refused")
        );
        assert!(tried() > 3);
        fs::remove_dir_all(bin).unwrap();
    }

    #[test]
    fn what_the_pool_says_counts_and_not_the_exit_code() {
        let pool = pool(&POSTGRES);
        let output = |code: i32, stdout: &str, stderr: &str| Output {
            code,
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
        };
        let good = output(0, "pcp_attach_node -- Command Successful\n", "");
        assert!(said_success(&good).is_some());
        let elsewhere = output(0, "", "pcp_attach_node -- Command Successful\n");
        assert!(said_success(&elsewhere).is_some());
        let invalid = output(0, "", "ERROR:  invalid node id : 7\n\n");
        assert!(said_success(&invalid).is_none());
        let text = pool.refusal("pcp_attach_node", 7, &invalid).to_string();
        assert!(text.contains("node 7 on 192.168.1.201:9898"), "{text}");
        assert!(text.ends_with("ERROR:  invalid node id : 7"), "{text}");
        let login = output(
            1,
            "",
            "FATAL:  authentication failed for user \"kingbase\"\nDETAIL:  password\n\n",
        );
        let text = pool.refusal("pcp_attach_node", 0, &login).to_string();
        assert!(text.contains("check PCP_USER and PCP_PASS") && !text.contains('\n'));
    }

    #[test]
    fn a_pool_that_drops_its_clients_is_asked_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let config = CONFIG
            .replace("9999", &port)
            .replace("192.168.1.201", "127.0.0.1");
        let dropping = std::thread::spawn(move || {
            for _ in 0..2 {
                drop(listener.accept().unwrap());
            }
        });
        let deadline = Deadline::after(Duration::from_secs(9));
        let error = pool_of(&config, &POSTGRES).nodes(deadline).unwrap_err();
        assert!(error.to_string().contains("refused"), "{error}");
        dropping.join().unwrap();
    }

    #[test]
    fn a_pool_that_lets_nobody_in_is_told_from_a_wrong_password() {
        let error = |failure| {
            PoolError::Sql(SqlError {
                server: "192.168.1.201:9999".to_owned(),
                failure,
            })
        };
        let said = |code: &str, message: &str| SqlFailure::Server {
            code: code.to_owned(),
            message: message.to_owned(),
        };
        let closed = said("08S01", "pgpool is not accepting any new connections");
        assert!(error(closed).is_closed());
        for other in [
            said("XX000", "SCRAM authentication failed"),
            SqlFailure::Login("password authentication failed".to_owned()),
            SqlFailure::Silent(Duration::ZERO),
        ] {
            assert!(!error(other).is_closed());
        }
    }

    #[test]
    fn a_password_may_have_any_character() {
        assert_eq!(escape(r"a:b\c"), r"a\:b\\c");
    }
}
