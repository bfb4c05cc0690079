//! Would a failover and a recovery work now? What was seen of a whole cluster goes in, one finding for
//! each thing that is wrong comes out, with its sentence and what to do.
//!
//! What could not be asked is no finding of its own: the host, the pool or the server that gave no answer
//! is one.

mod databases;
mod hosts;
mod pools;
mod replication;
#[cfg(test)]
mod tests;

use crate::facts::cluster::{Cluster, Host};

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A failover or a recovery works all the same.
    Warning,
    /// One of them does not, or the cluster is not whole.
    Failure,
}

/// What a finding is about. Each is a line of `cluster_ctl check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// The hosts answer, and are who they should be.
    Hosts,
    /// Every host can log in to every other.
    Logins,
    /// The tools and their configuration, alike on every host.
    Configuration,
    /// Something starts `network_rewind` each minute.
    Schedule,
    /// The servers run, and are set up for a failover and a recovery.
    Servers,
    /// One primary, and everybody else follows it.
    Replication,
    /// Commits wait for whom they should.
    Commits,
    /// The database VIP is where it belongs, and can be moved.
    Vip,
    /// The pools answer, agree, and call our tool.
    Pools,
    /// There is room for a rewind and a promotion.
    Room,
    /// What failovers, recoveries and people have left behind.
    Marks,
}

impl Topic {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 11] = [
        Self::Hosts,
        Self::Logins,
        Self::Configuration,
        Self::Schedule,
        Self::Servers,
        Self::Replication,
        Self::Commits,
        Self::Vip,
        Self::Pools,
        Self::Room,
        Self::Marks,
    ];

    /// Its name on the terminal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::Logins => "logins",
            Self::Configuration => "configuration",
            Self::Schedule => "schedule",
            Self::Servers => "servers",
            Self::Replication => "replication",
            Self::Commits => "commits",
            Self::Vip => "database VIP",
            Self::Pools => "pools",
            Self::Room => "room",
            Self::Marks => "marks",
        }
    }

    /// What is said of it where nothing is wrong.
    pub fn good(self) -> &'static str {
        match self {
            Self::Hosts => "every host answers, and their clocks agree",
            Self::Logins => "every host can log in to every other, by ssh and by SQL",
            Self::Configuration => "the tools and their configuration are alike on every host",
            Self::Schedule => "network_rewind runs each minute on every host",
            Self::Servers => "the servers run, and are set up for a failover and a recovery",
            Self::Replication => "there is one primary, and every other server streams from it",
            Self::Commits => "commits wait for whom they should",
            Self::Vip => "the database VIP is on the primary's host, and every host may take it",
            Self::Pools => "the pools answer, agree, and call failover_stream",
            Self::Room => "there is room for a promotion and a rewind",
            Self::Marks => "nothing is left of a failover or a recovery, and no host is paused",
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is about.
    pub topic: Topic,
    /// A name for machines, which stays.
    pub code: &'static str,
    /// The node, or the host of the pool.
    pub node: Option<String>,
    /// What is wrong.
    pub sentence: String,
    /// What a person can do.
    pub advice: String,
}

/// All that is wrong with `cluster`: failures first, and by topic.
pub fn judge(cluster: &Cluster) -> Vec<Finding> {
    let mut said = Said(Vec::new());
    hosts::judge(cluster, &mut said);
    databases::judge(cluster, &mut said);
    replication::judge(cluster, &mut said);
    pools::judge(cluster, &mut said);
    let mut all = said.0;
    all.sort_by_key(|finding| (std::cmp::Reverse(finding.level), finding.topic));
    all
}

/// A rule about one setting of a server or a pool: its name, which is the finding's code, too; whether a value of
/// it is wrong; whether that is a failure; what follows; what to do.
type Rule = (
    &'static str,
    fn(&str) -> bool,
    bool,
    &'static str,
    &'static str,
);

/// What was found so far.
struct Said(Vec<Finding>);

impl Said {
    /// A finding for each setting with a wrong value. `value`: what it is; `is`: that it is so, as a sentence
    /// begins.
    fn by_rules<'a>(
        &mut self,
        (topic, host): (Topic, Option<&Host>),
        rules: &[Rule],
        value: impl Fn(&str) -> Option<&'a str>,
        is: impl Fn(&str, &str) -> String,
    ) {
        for &(setting, is_wrong, is_failure, follows, advice) in rules {
            let Some(value) = value(setting).filter(|value| is_wrong(value)) else {
                continue;
            };
            let level = match is_failure {
                true => Level::Failure,
                false => Level::Warning,
            };
            self.open(level, topic, setting, host)
                .says(format!("{}: {follows}", is(setting, value)), advice);
        }
    }

    fn failure(&mut self, topic: Topic, code: &'static str, host: Option<&Host>) -> Open<'_> {
        self.open(Level::Failure, topic, code, host)
    }

    fn warning(&mut self, topic: Topic, code: &'static str, host: Option<&Host>) -> Open<'_> {
        self.open(Level::Warning, topic, code, host)
    }

    fn open(
        &mut self,
        level: Level,
        topic: Topic,
        code: &'static str,
        host: Option<&Host>,
    ) -> Open<'_> {
        Open {
            said: self,
            level,
            topic,
            code,
            node: host.map(|host| host.name.clone()),
        }
    }
}

/// A finding that lacks its words.
struct Open<'a> {
    said: &'a mut Said,
    level: Level,
    topic: Topic,
    code: &'static str,
    node: Option<String>,
}

impl Open<'_> {
    /// What is wrong, and what to do.
    fn says(self, sentence: impl Into<String>, advice: impl Into<String>) {
        self.said.0.push(Finding {
            level: self.level,
            topic: self.topic,
            code: self.code,
            node: self.node,
            sentence: sentence.into(),
            advice: advice.into(),
        });
    }
}

/// So many bytes, for a person.
pub fn bytes(count: u64) -> String {
    match count {
        0..=9_999 => format!("{count} B"),
        10_000..=9_999_999 => format!("{} kB", count >> 10),
        10_000_000..=9_999_999_999 => format!("{} MB", count >> 20),
        _ => format!("{} GB", count >> 30),
    }
}
