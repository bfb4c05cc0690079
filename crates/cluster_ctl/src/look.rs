//! Looks at the whole cluster: every host's own copy of the tools is asked over the login that a failover
//! uses, and every pool at its own address. All of them side by side; changes nothing.

use failover_core::clock;
use failover_core::config::Config;
use failover_core::deadline::Deadline;
use failover_core::flavor::Flavor;
use failover_core::host::{Host as Way, ThisHost};
use failover_core::journal::{Journal, Message};
use failover_core::peer::{self, PeerError};
use failover_core::pool::Pool;
use failover_core::ssh::Ssh;
use failover_core::steps::Order;
use failover_core::workers::{self, Pending};
use failover_rules::facts::cluster::{Cluster, Host, NoFacts, Policies, PoolSeen};
use failover_rules::facts::host::HostFacts;
use serde::de::DeserializeOwned;
use std::net::IpAddr;
use std::time::Duration;

/// For an answer to come back.
const RETURN: Duration = Duration::from_millis(200);

/// A host's answer, and by how many milliseconds its clock is off.
type Answer = Result<(HostFacts, i64), NoFacts>;

/// What can be seen until `deadline`. `thorough`: every host tries its logins, and PCP is tried.
pub fn cluster(here: &ThisHost, thorough: bool, deadline: Deadline) -> Cluster {
    let config = &here.config;
    let run = clock::run_name();
    let asked: Vec<(IpAddr, Pending<Answer>)> = addresses(config)
        .into_iter()
        .map(|address| {
            let (here, run) = (here.clone(), run.clone());
            let asked = workers::begin(move || ask(&here, address, &run, thorough, deadline));
            (address, asked)
        })
        .collect();
    let pool = Flavor::of(config)
        .ok()
        .map(|names| Pool::new(config, names));
    let pools: Vec<(IpAddr, Pending<PoolSeen>)> = config
        .kb_pool_ips
        .iter()
        .filter_map(|host| Some((*host, pool.clone()?)))
        .map(|(host, pool)| {
            let asked = workers::begin(move || ask_pool(&pool.at(host), thorough, deadline));
            (host, asked)
        })
        .collect();
    let at_vip = pool.map(|pool| {
        workers::begin(move || match pool.is_open(earlier(deadline)) {
            true => Ok(()),
            false => Err("it takes no session".to_owned()),
        })
    });
    let hosts = asked.into_iter().map(|(address, asked)| {
        let late = || Err(NoFacts::Unreachable("no answer in time".to_owned()));
        host(config, address, asked.within(deadline).unwrap_or_else(late))
    });
    let hosts = hosts.collect();
    let pools = pools.into_iter().map(|(host, asked)| {
        asked.within(deadline).unwrap_or_else(|| PoolSeen {
            host,
            nodes: Err("no answer in time".to_owned()),
            closed: None,
            settings: Default::default(),
            pcp: None,
        })
    });
    Cluster {
        me: config.kb_localhost_ip,
        hosts,
        pools: pools.collect(),
        pool_vip: config.kb_pool_vip,
        pool_vip_answers: at_vip.map(|asked| {
            let late = || Err("no answer in time".to_owned());
            asked.within(deadline).unwrap_or_else(late)
        }),
        vip: config.kb_vip.map(|vip| IpAddr::V4(vip.addr)),
        sync: config.sync_flag,
        lag_limit: config.data_size_diff << 20,
        port: config.kb_port,
        tool: "failover_stream",
        policies: policies(config),
    }
}

fn policies(config: &Config) -> Policies {
    let milliseconds = config.probe_timeout.as_millis();
    Policies {
        promote_without_fence: config.promote_without_fence,
        candidate: config.failover_candidate,
        quorum: config.failover_quorum,
        sync_degrade: config.sync_degrade,
        gateway_lost: config.gateway_lost_action,
        max_failover_lag: config.max_failover_lag,
        probe_ms: u64::try_from(milliseconds).unwrap_or(u64::MAX),
        trust_ips: config.kb_gateway_ip.len(),
    }
}

/// Those with a database first, then those with only a pool.
pub fn addresses(config: &Config) -> Vec<IpAddr> {
    let mut all = config.kb_all_ip.clone();
    for pool in &config.kb_pool_ips {
        if !all.contains(pool) {
            all.push(*pool);
        }
    }
    all
}

fn host(config: &Config, address: IpAddr, answer: Answer) -> Host {
    let (answer, clock_off_ms) = match answer {
        Ok((facts, off)) => (Ok(facts), off),
        Err(why) => (Err(why), 0),
    };
    let name = config.node_name_of(address).map(str::to_owned);
    Host {
        address,
        has_database: name.is_some(),
        name: name.unwrap_or_else(|| address.to_string()),
        answer,
        clock_off_ms,
    }
}

/// So that what is found by then comes back in time.
fn earlier(deadline: Deadline) -> Deadline {
    Deadline::after(deadline.remaining().saturating_sub(RETURN))
}

/// What each host's tools answer to `order`, side by side, in the order of [`addresses`].
pub fn ask_all<T: DeserializeOwned + Send + 'static>(
    here: &ThisHost,
    order: &Order,
    deadline: Deadline,
) -> Vec<(IpAddr, Result<T, NoFacts>)> {
    let run = clock::run_name();
    let hosts = addresses(&here.config);
    let (order, asker) = (order.clone(), here.clone());
    let told = workers::side_by_side(hosts.clone(), deadline, move |host| {
        report(&asker, host, &order, &run, deadline)
    });
    let late = || Err(NoFacts::Unreachable("no answer in time".to_owned()));
    let told = told.into_iter().map(|it| it.unwrap_or_else(late));
    hosts.into_iter().zip(told).collect()
}

/// The report of one host's own copy of the tools.
fn report<T: DeserializeOwned>(
    here: &ThisHost,
    address: IpAddr,
    order: &Order,
    run: &str,
    deadline: Deadline,
) -> Result<T, NoFacts> {
    let value = match here.reach(address) {
        Way::Local => order
            .carry_out(
                here,
                &Journal::to_messages(run.to_owned(), drop::<Message>),
                None,
                deadline,
            )
            .map_err(|error| NoFacts::NoTools(format!("{error:#}"))),
        Way::Remote(login) => {
            let ssh = Ssh::connect(&login.forgetting(), deadline)
                .map_err(|error| NoFacts::Unreachable(error.to_string()))?;
            let limit = earlier(deadline).remaining();
            let cmd = order.command(&here.config.kb_path, address, run, None, limit);
            peer::run_step(&ssh, &cmd, deadline, drop)
                .0
                .map_err(no_facts)
        }
    }?;
    peer::read(value, address).map_err(no_facts)
}

fn ask(here: &ThisHost, address: IpAddr, run: &str, thorough: bool, deadline: Deadline) -> Answer {
    let order = Order::Facts {
        try_logins: thorough,
    };
    let asked = clock::milliseconds();
    let facts: HostFacts = report(here, address, &order, run, deadline)?;
    let told = clock::milliseconds();
    let off = match facts.clock_ms {
        then if then > told => then - told,
        then if then < asked => then - asked,
        _ => 0,
    };
    // An answer from elsewhere is signed.
    let mut facts = facts;
    if facts.tools.is_empty() {
        facts.tools = failover_version::VERSION.to_owned();
    }
    Ok((facts, off))
}

fn no_facts(error: PeerError) -> NoFacts {
    match error {
        PeerError::NotRun(why) => NoFacts::Unreachable(why),
        PeerError::NotUnderstood(why) | PeerError::Failed(why) => NoFacts::NoTools(why),
    }
}

/// The settings come first: for its table of nodes a new pool knocks at every host, dead ones included.
fn ask_pool(pool: &Pool, thorough: bool, deadline: Deadline) -> PoolSeen {
    let half = deadline.at_most(deadline.remaining() / 2);
    let settings = match thorough {
        true => pool.all_settings(half),
        false => pool.settings(half),
    };
    // A session waits for every database that the pool has up; PCP tells of the others meanwhile.
    let (nodes, closed) = match pool.nodes(half) {
        Ok(nodes) => (Ok(nodes), None),
        Err(error) if !error.is_busy() => (Err(error), None),
        Err(error) => match pool.nodes_by_pcp(earlier(deadline)) {
            Ok(nodes) if !nodes.nodes.is_empty() => (Ok(nodes), Some(error.to_string())),
            _ => (Err(error), None),
        },
    };
    PoolSeen {
        host: pool.host(),
        nodes: nodes.map(|it| it.nodes).map_err(|error| error.to_string()),
        closed,
        settings: settings.unwrap_or_default(),
        pcp: thorough.then(|| {
            pool.try_pcp(earlier(deadline))
                .map_err(|error| error.to_string())
        }),
    }
}
