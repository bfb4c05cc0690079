//! Logins to the other hosts as a failover and a recovery need them, tried from here side by side.

use crate::config::Config;
use crate::deadline::Deadline;
use crate::host::ThisHost;
use crate::instance::Instance;
use crate::login::{Tried, try_replication};
use crate::sql::{Session, Target};
use crate::ssh::{Login as Account, Ssh};
use crate::standby::StandbyFiles;
use crate::users::SystemUser;
use crate::workers::{self, Pending};
use failover_rules::facts::host::Login;
use std::net::IpAddr;

/// What became of them.
#[derive(Default)]
pub struct Logins {
    /// Over ssh.
    pub ssh: Vec<Login>,
    /// As `KB_USER`.
    pub sql: Vec<Login>,
    /// For replication.
    pub replication: Vec<Login>,
}

/// Logins that are being tried.
pub struct Begun {
    ssh: Vec<One>,
    sql: Vec<One>,
    replication: Vec<One>,
}

/// One of them.
struct One {
    to: IpAddr,
    user: String,
    refused: Pending<Option<String>>,
}

/// Begins to try all of them.
pub fn begin(host: &ThisHost, deadline: Deadline) -> Begun {
    let config = &host.config;
    let others = || config.other_hosts();
    let mut ssh = Vec::new();
    for to in others() {
        for (user, account) in accounts(host, to) {
            let refused = workers::begin(move || {
                Ssh::connect(&account.forgetting(), deadline)
                    .err()
                    .map(|error| error.to_string())
            });
            ssh.push(One { to, user, refused });
        }
    }
    let mut sql = Vec::new();
    for to in others() {
        let target = Target::new(config, to);
        let refused = workers::begin(move || {
            Session::open(&target, deadline)
                .err()
                .map(|error| error.to_string())
        });
        let user = config.kb_user.clone();
        sql.push(One { to, user, refused });
    }
    let mut replication = Vec::new();
    if let Ok(instance) = Instance::new(config) {
        for to in others() {
            let (config, instance) = (config.clone(), instance.clone());
            let user = config.kb_user.clone();
            let refused = workers::begin(move || replicates(&config, &instance, to, deadline));
            replication.push(One { to, user, refused });
        }
    }
    Begun {
        ssh,
        sql,
        replication,
    }
}

/// As whom the tools log in at the host with address `to`: root as root; the database's user as itself;
/// root tries both, where the pool or cron may run as that user.
fn accounts(host: &ThisHost, to: IpAddr) -> Vec<(String, Account)> {
    let config = &host.config;
    let user = &config.kb_execute_sys_user;
    if !host.us.is_root() {
        return vec![(user.clone(), host.login(to))];
    }
    let mut all = vec![("root".to_owned(), host.login(to))];
    if config.kb_pool_execute_sys_user == *user
        && let Ok(theirs) = SystemUser::named(user)
    {
        all.push((user.clone(), Account::new(config, to, user, &theirs)));
    }
    all
}

/// Why a standby here would not be let in there.
fn replicates(
    config: &Config,
    instance: &Instance,
    to: IpAddr,
    deadline: Deadline,
) -> Option<String> {
    let files = StandbyFiles::of(instance, config);
    let tried = files
        .conninfo(&to.to_string())
        .and_then(|conninfo| try_replication(instance, &conninfo, to, deadline));
    match tried {
        Ok(Tried::LetIn | Tried::Untried(_)) => None,
        Ok(Tried::Refused { said, .. }) => Some(said),
        Err(error) => Some(format!("{error:#}")),
    }
}

impl Begun {
    /// What became of them until `deadline`.
    pub fn end(self, deadline: Deadline) -> Logins {
        let ended = |all: Vec<One>| {
            let late = || Some("no answer in time".to_owned());
            all.into_iter()
                .map(|one| Login {
                    to: one.to,
                    user: one.user,
                    refused: one.refused.within(deadline).unwrap_or_else(late),
                })
                .collect()
        };
        Logins {
            ssh: ended(self.ssh),
            sql: ended(self.sql),
            replication: ended(self.replication),
        }
    }
}
