//! The procedure: read the configuration, look, decide, do, report.

use anyhow::Result;
use attach_node::cli::Cli;
use failover_core::config::Config;
use failover_core::deadline::Deadline;
use failover_core::exit::{Exit, usage};
use failover_core::flavor::Flavor;
use failover_core::host::ThisHost;
use failover_core::journal::Journal;
use failover_core::pool::{Change, Pool, PoolNode, PoolNodes, address_of};
use failover_core::replication::{self, Standby};
use failover_core::sql::{Session, SqlError, Table, Target};
use failover_core::teller::Teller;
use failover_rules::attach::{Plan, Replication, Wish, decide};
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::time::Duration;

/// For one answer of a database.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// For the pool: before it tells of a node on a dead host it waits for its `connect_timeout`, 10 s.
const POOL_TIME: Duration = Duration::from_secs(15);

/// Does what the command line asks.
pub fn run(cli: &Cli, teller: &Teller) -> Result<Exit> {
    let mut config = ThisHost::load(cli.config.as_deref())?.config;
    config.kb_pool_vip = cli.pool.unwrap_or(config.kb_pool_vip);
    let names = Flavor::of(&config).map_err(usage)?;
    let pool = Pool::new(&config, names);
    let journal = match cli.json {
        true => Journal::to_nobody(),
        false => Journal::to_terminal(),
    }
    .hiding(config.secrets());

    let (nodes, closed) = pool.nodes_by_any_way(Deadline::after(POOL_TIME))?;
    if let Some(why) = closed {
        journal.line(format!("{why}; the nodes as PCP tells them:"));
    }
    journal.lines(narrow(&nodes.table).to_string());
    let node = find(cli.node.as_deref(), &nodes, &config)?.clone();
    let wish = cli.wish();
    let replication = match wish.asks_for_replication(&node, nodes.primary().is_some()) {
        true => look(&node, &nodes, &config, names),
        false => Replication::NotAsked,
    };
    let plan = decide(wish, &node, &replication, config.data_size_diff << 20);

    let mut outcome = Outcome::of(&plan, wish, &node, cli.dry_run);
    let mut after = nodes;
    if let (Plan::Do(change), false) = (&plan, cli.dry_run) {
        if *change == Change::MakePrimary {
            journal.line(format!(
                "the pool has {node} up, names no primary and has stopped looking; the database is a primary: \
                 telling the pool"
            ));
        }
        let deadline = Deadline::after(Duration::from_secs(cli.timeout));
        after = pool.change(*change, node.id, &journal, deadline)?;
        journal.lines(narrow(&after.table).to_string());
        let status = after.by_id(node.id).map_or("gone", |node| &node.status);
        outcome.sentence = match change {
            Change::MakePrimary => format!("{node} is {status}, and is the pool's primary"),
            _ => format!("{node} is {status}"),
        };
    }
    match outcome.exit {
        Exit::Done => journal.line(&outcome.sentence),
        _ => teller.complain(&outcome.sentence),
    }
    let report = outcome.report(&node, &after);
    Ok(teller.object(outcome.exit, &outcome.sentence, report))
}

/// What is said of it in the end.
struct Outcome {
    exit: Exit,
    did: &'static str,
    sentence: String,
}

impl Outcome {
    fn of(plan: &Plan, wish: Wish, node: &PoolNode, dry_run: bool) -> Self {
        let (exit, did, sentence) = match plan {
            Plan::Nothing => (Exit::Done, "nothing", format!("{node} is {}", node.status)),
            Plan::AlreadySo => (
                Exit::Done,
                "nothing",
                format!("{node} is {} already", node.status),
            ),
            Plan::Do(change) if dry_run => {
                (Exit::Done, "nothing", format!("would {change} {node}"))
            }
            Plan::Do(Change::Attach) => (Exit::Done, "attached", String::new()),
            Plan::Do(Change::Detach) => (Exit::Done, "detached", String::new()),
            Plan::Do(Change::MakePrimary) => (Exit::Done, "made primary", String::new()),
            Plan::Refuse(why) => {
                let what = match wish.change {
                    Some(Change::Detach) => "detached",
                    _ => "attached",
                };
                let sentence =
                    format!("{node} is not {what}: {why} (--force does it all the same)");
                (Exit::NeedsPerson, "refused", sentence)
            }
        };
        Self {
            exit,
            did,
            sentence,
        }
    }

    fn report(&self, node: &PoolNode, after: &PoolNodes) -> Value {
        let rows = after.table.rows.iter().map(|row| {
            let cells = after.table.columns.iter().cloned().zip(row);
            Value::Object(
                cells
                    .map(|(name, cell)| (name, json!(cell)))
                    .collect::<Map<_, _>>(),
            )
        });
        json!({
            "node": node.id,
            "host": node.host,
            "did": self.did,
            "nodes": rows.collect::<Vec<_>>(),
        })
    }
}

/// What new pools tell of a node has no room in 80 columns; this has, and is what it is about.
const COLUMNS: [&str; 6] = [
    "node_id",
    "hostname",
    "port",
    "status",
    "role",
    "replication_delay",
];
/// Of a terminal.
const WIDTH: usize = 80;

/// The table, without the columns for which there is no room.
fn narrow(table: &Table) -> Table {
    let fits = table
        .to_string()
        .lines()
        .all(|line| line.chars().count() <= WIDTH);
    match fits {
        true => table.clone(),
        false => table.only(&COLUMNS),
    }
}

/// The node that is meant: by its id, its address, or its name in `ALL_NODE_NAME` or in the pool.
fn find<'a>(named: Option<&str>, nodes: &'a PoolNodes, config: &Config) -> Result<&'a PoolNode> {
    let by_name = |name: &str| {
        let address = name.parse().ok().or_else(|| config.address_of(name));
        let known = address.and_then(|address| nodes.by_address(address, config));
        known.or_else(|| nodes.nodes.iter().find(|node| node.host == name))
    };
    let found = match named {
        Some(named) => match named.parse() {
            Ok(id) => nodes.by_id(id),
            Err(_) => by_name(named),
        },
        None => nodes.by_address(config.kb_localhost_ip, config),
    };
    found.ok_or_else(|| {
        let known: Vec<String> = nodes.nodes.iter().map(ToString::to_string).collect();
        let known = known.join(", ");
        usage(match named {
            Some(named) => format!("the pool has no node {named}, it has {known}"),
            None => format!(
                "the pool has no node with KB_LOCALHOST_IP {}, it has {known}: correct the \
                 configuration, or name the node with -n",
                config.kb_localhost_ip
            ),
        })
    })
}

/// How `node` stands to the pool's primary. What cannot be found out is an answer, too.
fn look(node: &PoolNode, nodes: &PoolNodes, config: &Config, names: &Flavor) -> Replication {
    let deadline = Deadline::after(ANSWER_TIME);
    let Some(address) = address_of(node, config) else {
        return unknown(format!("{node} is none of the hosts of KB_ALL_IP"));
    };
    let result = match nodes
        .primary()
        .map(|primary| (primary, address_of(primary, config)))
    {
        Some((_, Some(primary))) => at_primary(primary, address, config, names, deadline),
        Some((primary, None)) => {
            return unknown(format!("{primary} is none of the hosts of KB_ALL_IP"));
        }
        None => at_itself(address, config, names, deadline),
    };
    result.unwrap_or_else(unknown)
}

fn unknown(why: impl ToString) -> Replication {
    Replication::Unknown(why.to_string())
}

/// What the primary says about the standby with `address`.
fn at_primary(
    primary: IpAddr,
    address: IpAddr,
    config: &Config,
    names: &Flavor,
    deadline: Deadline,
) -> Result<Replication, SqlError> {
    let session = Session::open(&Target::new(config, primary), deadline)?;
    let standbys = replication::standbys(&session, names, deadline)?;
    let name = config.node_name_of(address).unwrap_or_default();
    let mine = |standby: &&Standby| standby.is(address, name);
    let senders: Vec<&Standby> = standbys.iter().filter(mine).collect();
    Ok(match senders.iter().find(|standby| standby.streams()) {
        Some(Standby {
            behind: Some(bytes),
            ..
        }) => Replication::Streams(*bytes),
        Some(_) => Replication::Unknown("it has not said how far it is".to_owned()),
        None => Replication::Not(match senders.first() {
            Some(standby) => format!("{primary} has it in state \"{}\"", standby.state),
            None => format!("{primary} has no WAL sender for it"),
        }),
    })
}

/// The pool has no primary: is the node with `address` one?
fn at_itself(
    address: IpAddr,
    config: &Config,
    names: &Flavor,
    deadline: Deadline,
) -> Result<Replication, SqlError> {
    let session = Session::open(&Target::new(config, address), deadline)?;
    Ok(
        match replication::is_in_recovery(&session, names, deadline)? {
            true => Replication::Not(
                "the pool has no primary (attach that one first: attach_node on its host)"
                    .to_owned(),
            ),
            false => Replication::IsPrimary,
        },
    )
}
