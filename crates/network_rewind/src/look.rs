//! Looking: fills the [`View`], and changes nothing.

use crate::ask::{Answer, down_at};
use crate::budget;
use crate::compare::parts_at;
use failover_core::clock;
use failover_core::config::{Config, RewindFallback};
use failover_core::deadline::Deadline;
use failover_core::flavor::Flavor;
use failover_core::history::{History, file_name};
use failover_core::host::ThisHost;
use failover_core::instance::{Instance, START_LOG};
use failover_core::life::seen;
use failover_core::lsn::Timeline;
use failover_core::peer;
use failover_core::pool::{Pool, address_of};
use failover_core::replication::{Standby, standbys};
use failover_core::sql::{Session, SqlError, Target, quote};
use failover_core::ssh::Login;
use failover_core::standby::{self, StandbyFiles};
use failover_core::state::{Recovery, State, has_outlived};
use failover_core::status::{self, Status};
use failover_core::workers;
use failover_rules::facts::view::{
    BaseBackup, Fence, Policy, PoolSays, PoolView, Primary, Seen, View,
};
use failover_rules::recovery::Look;
use std::net::IpAddr;

/// What a rewind and a copy leave in the data directory until a server is started on it.
pub const LABEL: &str = "backup_label";

/// Where the looking is done from.
#[derive(Clone, Copy, Debug)]
pub struct Eyes<'a> {
    /// This host.
    pub here: &'a ThisHost,
    /// Its instance.
    pub instance: &'a Instance,
    /// The name of the run, for the other hosts.
    pub run: &'a str,
}

impl<'a> Eyes<'a> {
    fn config(&self) -> &'a Config {
        &self.here.config
    }

    /// What can be seen from here, and what the pool said; and the session with this host's server.
    pub fn view(
        &self,
        policy: Policy,
        state: &State,
        network: bool,
        pool: &Answer,
    ) -> (View, Option<Session>) {
        let data = self.instance.data();
        let files = StandbyFiles::of(self.instance, self.config());
        let deadline = Deadline::after(budget::ANSWER);
        let (me, session) = status::look_and_stay(self.here, self.instance, deadline);
        let alone = session
            .as_ref()
            .is_some_and(|session| self.is_alone(&me, session));
        let outlived = |it: &Recovery| has_outlived(it, data);
        let outlived = state.recovery.as_ref().is_some_and(outlived);
        let policy = match me.running {
            true => policy,
            false => Policy {
                start_command: self.start_command(),
                ..policy
            },
        };
        let held = state.held.as_ref();
        let held = held.filter(|mark| mark.is_young(clock::seconds()));
        let view = View {
            policy,
            paused: state.paused.clone(),
            left: state.recovery.clone().filter(|_| !outlived),
            outlived,
            fenced: state.fenced.as_ref().map(|mark| Fence {
                since: mark.since.clone(),
                run: mark.run.clone(),
                young: mark.is_young(clock::seconds()),
                started_by: self.instance.started_by(),
            }),
            self_fenced: state.self_fenced.is_some(),
            undecided: state.undecided.is_some(),
            network,
            seen: None,
            has_data: has_data(self.instance),
            copy: base_backup(self.instance),
            unstarted: data.join(LABEL).exists(),
            history: own_history(self.instance, me.timeline),
            follows: files.follows(),
            unread: me.in_recovery == Some(true) && files.written_since_start(self.instance),
            kept_on: session
                .as_ref()
                .and_then(|session| self.kept_on(&me, session)),
            me,
            pool: self.pool_view(pool),
            down_at: None,
            primary: None,
            primary_host: None,
            others: None,
            rival: None,
            held: held.map(|mark| mark.newer),
            word_only: held.is_some_and(|mark| mark.word_only),
            told: state.timeline,
            alone,
        };
        (view, session)
    }

    /// Whether this host's server is a primary, and no standby streams from it. In doubt one does.
    fn is_alone(&self, me: &Status, session: &Session) -> bool {
        let deadline = Deadline::after(budget::ANSWER);
        me.in_recovery == Some(false)
            && standbys(session, self.instance.flavor, deadline)
                .is_ok_and(|all| !all.iter().any(Standby::streams))
    }

    /// By which a person starts it, as the tools would.
    fn start_command(&self) -> String {
        let log = self.config().state_dir.join(START_LOG);
        self.instance.start_by_hand(&log)
    }

    /// What keeps this host's standby on a timeline.
    fn kept_on(&self, me: &Status, session: &Session) -> Option<String> {
        if me.in_recovery != Some(true) {
            return None;
        }
        let deadline = Deadline::after(budget::ANSWER);
        standby::kept_on(session, self.instance.flavor, deadline).unwrap_or_default()
    }

    /// This host's instance.
    pub fn me(&self) -> Status {
        status::look(self.here, self.instance, Deadline::after(budget::ANSWER))
    }

    fn pool_view(&self, pool: &Answer) -> PoolView {
        let config = self.config();
        let nodes = match &pool.nodes {
            Ok(nodes) => nodes,
            Err(error) => {
                return PoolView {
                    says: PoolSays::NoAnswer(error.to_string()),
                    me_up: None,
                    down: Vec::new(),
                    all_down: pool.all_down,
                    own: false,
                };
            }
        };
        let me = config.kb_localhost_ip;
        let says = match nodes.primary() {
            None => PoolSays::Nobody,
            Some(node) => match address_of(node, config) {
                Some(address) if address == me => PoolSays::Me,
                Some(address) if config.kb_all_ip.contains(&address) => PoolSays::Other(address),
                _ => PoolSays::Stranger(node.to_string()),
            },
        };
        let down = nodes.nodes.iter().filter(|node| !node.is_up());
        PoolView {
            says,
            down: down.filter_map(|node| address_of(node, config)).collect(),
            me_up: nodes.by_address(me, config).map(|node| node.is_up()),
            all_down: false,
            own: pool.own,
        }
    }

    /// Adds what a decision needs. `pool`: the one that answered.
    pub fn look(&self, look: Look, view: &mut View, pool: &Pool) {
        match look {
            Look::Primary(address) => {
                let deadline = Deadline::after(budget::ANSWER);
                let names = self.instance.flavor;
                let ask = || -> Result<Primary, SqlError> {
                    let session = Session::open(&Target::new(self.config(), address), deadline)?;
                    let mut seen = primary(&session, names, deadline)?;
                    let mine = seen.standby(view.policy.me, view.policy.my_name());
                    let streams = mine.is_some_and(Standby::streams);
                    if !seen.in_recovery && !streams {
                        seen.wal = wal_files(&session, names, deadline)?;
                    }
                    if !streams || view.pool.me_up == Some(false) {
                        let histories = [view.history.as_ref(), seen.history.as_ref()];
                        // A server that cannot be asked for it is one where it is not known.
                        seen.parts_at =
                            parts_at(&session, self.instance, &view.me, histories, deadline)
                                .unwrap_or_default();
                    }
                    Ok(seen)
                };
                view.primary = Some(ask().map_err(|error| error.to_string()));
            }
            Look::PrimaryHost(address) => {
                let mut answers = self.ask_hosts(&[address]);
                view.primary_host = answers.pop().map(|(_, answer)| answer);
            }
            Look::Others => {
                let others: Vec<IpAddr> = self.config().other_hosts().collect();
                view.others = Some(self.ask_hosts(&others));
            }
            Look::Rival(address) => {
                let deadline = Deadline::after(budget::ANSWER);
                let names = self.instance.flavor;
                let ask = || -> Result<Primary, SqlError> {
                    let session = Session::open(&Target::new(self.config(), address), deadline)?;
                    primary(&session, names, deadline)
                };
                view.rival = Some((address, ask().map_err(|error| error.to_string())));
            }
            Look::Pools => view.down_at = Some(down_at(pool, self.config())),
            Look::Life => view.seen = Some(self.life()),
        }
    }

    /// What the hosts' own copies of the tools say, side by side.
    pub fn ask_hosts(&self, hosts: &[IpAddr]) -> Vec<(IpAddr, Result<Status, String>)> {
        let deadline = Deadline::after(budget::OTHER_HOST);
        let (config, run) = (self.config().clone(), self.run.to_owned());
        let logins: Vec<Login> = hosts.iter().map(|host| self.here.login(*host)).collect();
        let asked: Vec<_> = hosts.iter().copied().zip(logins).collect();
        let found = workers::side_by_side(asked, deadline, move |(address, login)| {
            let answer = peer::status(&config, &login, address, &run, deadline);
            answer.map_err(|error| error.to_string())
        });
        let late = || {
            Err(format!(
                "no answer within {} s",
                budget::OTHER_HOST.as_secs()
            ))
        };
        hosts
            .iter()
            .zip(found)
            .map(|(address, answer)| (*address, answer.unwrap_or_else(late)))
            .collect()
    }

    /// Which other hosts show a sign of life. Only one that was really seen counts: here silence, or
    /// a network that is down, is what is looked for.
    fn life(&self) -> Seen {
        let config = self.config();
        let others = config.rest_of_cluster();
        let hosts = others.len() + 1;
        let answers = seen(others, config, &self.here.programs);
        Seen {
            others: answers.iter().filter(|alive| *alive).count(),
            hosts,
        }
    }
}

/// What is allowed and wanted. As the configuration says; `copy_program` is the server's own.
pub fn policy(config: &Config, copy_program: &str, force: bool) -> Policy {
    Policy {
        me: config.kb_localhost_ip,
        names: config
            .kb_all_ip
            .iter()
            .copied()
            .zip(config.all_node_name.iter().cloned())
            .collect(),
        hosts: config.rest_of_cluster().len() + 1,
        force,
        auto_recovery: config.auto_primary_recovery,
        max_available: config.max_available_level,
        may_copy: may_copy(config),
        sync: config.sync_flag,
        lag_limit: config.data_size_diff << 20,
        gateway_lost: config.gateway_lost_action,
        has_vip: config.kb_vip.is_some(),
        copy_command: format!(
            "{} -D {} -h PRIMARY -p {} -U {} -X stream --checkpoint=fast",
            config.kb_path.join(copy_program).display(),
            config.kb_data_path.display(),
            config.kb_port,
            config.kb_user
        ),
        start_command: String::new(),
    }
}

/// Whether the primary may be copied where a rewind cannot do.
pub fn may_copy(config: &Config) -> bool {
    config.rewind_fallback == RewindFallback::Basebackup
}

/// What a primary says of itself.
pub fn primary(session: &Session, names: &Flavor, deadline: Deadline) -> Result<Primary, SqlError> {
    let Some(segment) = segment(session, names, deadline)? else {
        return Ok(Primary {
            in_recovery: true,
            history: None,
            standbys: Vec::new(),
            wal: Vec::new(),
            parts_at: None,
        });
    };
    Ok(Primary {
        in_recovery: false,
        history: history(session, names, &segment, deadline)?,
        standbys: standbys(session, names, deadline)?,
        wal: Vec::new(),
        parts_at: None,
    })
}

/// The names of a primary's WAL files.
pub fn wal_files(
    session: &Session,
    names: &Flavor,
    deadline: Deadline,
) -> Result<Vec<String>, SqlError> {
    let listing = format!("SELECT {}({})", names.list_dir, quote(names.wal_dir));
    let rows = session.query(&listing, deadline)?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

/// How a primary came to its timeline. `None`: what it said makes no sense.
fn history(
    session: &Session,
    names: &Flavor,
    segment: &str,
    deadline: Deadline,
) -> Result<Option<History>, SqlError> {
    let Some(timeline) = timeline_of(segment) else {
        return Ok(None);
    };
    if timeline == 1 {
        return Ok(Some(History::first(timeline)));
    }
    let file = format!("{}/{}", names.wal_dir, file_name(timeline));
    let text = session.value(
        &format!("SELECT {}({})", names.read_file, quote(&file)),
        deadline,
    )?;
    Ok(text.and_then(|text| History::parse(timeline, &text).ok()))
}

/// How this host's instance came to its timeline.
fn own_history(instance: &Instance, timeline: Timeline) -> Option<History> {
    let dir = instance.data().join(instance.flavor.wal_dir);
    let text = std::fs::read_to_string(dir.join(file_name(timeline))).ok()?;
    History::parse(timeline, &text).ok()
}

/// The timeline that a primary writes. `None`: it is in recovery, or what it said makes no sense.
pub fn timeline(
    session: &Session,
    names: &Flavor,
    deadline: Deadline,
) -> Result<Option<Timeline>, SqlError> {
    let segment = segment(session, names, deadline)?;
    Ok(segment.as_deref().and_then(timeline_of))
}

/// The name of the WAL segment that a primary writes. `None`: it is in recovery.
fn segment(
    session: &Session,
    names: &Flavor,
    deadline: Deadline,
) -> Result<Option<String>, SqlError> {
    let statement = format!(
        "SELECT CASE WHEN NOT {}() THEN {}({}()) END",
        names.is_in_recovery, names.segment_name, names.current_write
    );
    session.value(&statement, deadline)
}

/// The first eight digits of a segment's name.
fn timeline_of(segment: &str) -> Option<Timeline> {
    let digits = segment.get(..8)?;
    Timeline::from_str_radix(digits, 16).ok()
}

/// Whether there is something in the data directory. A file of the disk check, or what a new file
/// system has, is nothing; one that cannot be looked into is not empty.
fn has_data(instance: &Instance) -> bool {
    let entries = match std::fs::read_dir(instance.data()) {
        Ok(entries) => entries,
        Err(error) => return error.kind() != std::io::ErrorKind::NotFound,
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name != "lost+found" && !name.starts_with("rw_status_file_")
    })
}

/// Whether the data directory is a base backup. Its label lies there until the server is started; that
/// of a rewind, and that of a backup which somebody makes by hand of a primary, name another method. One
/// that has just begun has no label yet, and no control file either.
pub fn base_backup(instance: &Instance) -> Option<BaseBackup> {
    let (data, names) = (instance.data(), instance.flavor);
    let label = std::fs::read(data.join(LABEL)).unwrap_or_default();
    let label = String::from_utf8_lossy(&label);
    let streamed = label
        .lines()
        .any(|line| line.trim_end() == "BACKUP METHOD: streamed");
    if !streamed && data.join(names.control_file).exists() {
        return None;
    }
    match instance.base_backups() {
        Ok(at_work) if at_work.is_empty() => streamed.then_some(BaseBackup::Made),
        Ok(_) => Some(BaseBackup::UnderWay),
        Err(_) => streamed.then_some(BaseBackup::UnderWay),
    }
}
