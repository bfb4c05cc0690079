//! One run: look, decide, do.

use crate::ask::{Answer, ask};
use crate::budget;
use crate::look::{Eyes, policy};
use crate::plan::steps;
use crate::status::Seen;
use crate::steps::{own, room, server};
use crate::work::{Break, Work, places_for_kept};
use crate::{TOOL, wrong};
use anyhow::{Context, Result, anyhow};
use failover_core::clock;
use failover_core::config::Config;
use failover_core::deadline::Deadline;
use failover_core::disk::{self, DiskCheck, Mount};
use failover_core::durable;
use failover_core::exit::{Exit, usage};
use failover_core::host::ThisHost;
use failover_core::instance::{self, Instance, StopError};
use failover_core::journal::{Beside, Journal, Outcome, syslog};
use failover_core::ping;
use failover_core::pool::Pool;
use failover_core::procedure::{self, Frame, Planned};
use failover_core::promotion::{self, WITHDRAW_TIME};
use failover_core::sql::Session;
use failover_core::standby::StandbyFiles;
use failover_core::state::{Pause, Recovery, RunLock, Stage, State, StateDir};
use failover_core::teller::Teller;
use failover_core::workers;
use failover_rules::facts::view::{Policy, PoolSays, View};
use failover_rules::recovery::{
    Action, Decision, Verdict, begins_anew_at, decide, goes_on, must_drop_vip,
};
use network_rewind::cli::Cli;
use serde_json::{Value, json};
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often is decided in one run: a standby that was started is looked at again, and a primary that
/// was stopped.
const ROUNDS: usize = 4;
/// After a look at another host that took so long this host's own server is looked at anew.
const LATE: Duration = Duration::from_secs(1);
/// For a first look at the data directory, before its disk was checked.
const GLANCE: Duration = Duration::from_secs(1);

/// For a lock or a few bytes of state. Their disk may hang for good.
const STATE_TIME: Duration = Duration::from_secs(2);

/// The whole tool.
pub fn run(cli: &Cli, teller: &Teller) -> Exit {
    let site = match Site::load(cli) {
        Ok(Some(site)) => site,
        Ok(None) => {
            let text =
                "this host has no database: KB_LOCALHOST_IP is none of KB_ALL_IP; nothing to do";
            return teller.ends(Exit::Done, text);
        }
        Err(error) => return wrong(teller, &format!("{error:#}")),
    };
    if cli.pause.is_some() || cli.resume {
        return match &site.lost {
            Some(lost) => wrong(teller, lost),
            None => pause_or_resume(cli, &site, teller),
        };
    }
    if cli.status {
        let seen = Seen::of(&site.here, &site.instance, &site.state);
        return seen.told(site.lost.as_deref(), teller);
    }
    if cli.dry_run {
        let journal = match cli.json {
            true => Journal::to_machine(),
            false => Journal::to_terminal(),
        }
        .hiding(site.here.config.secrets());
        return end(teller, &journal, Run::new(cli, &site, &journal).all());
    }
    // Before anything that could hang as that one does: no run must pile up behind another.
    if let Some(pid) = stuck_twin() {
        let text = format!("{ANOTHER_RUN}; process {pid} of it hangs on a disk");
        return only_disks(cli, &site, teller, &text, Exit::Done);
    }
    let state = site.state.clone();
    let taken = workers::within(Deadline::after(STATE_TIME), move || state.lock_run());
    match taken {
        Some(Ok(Some(lock))) => alone(cli, &site, teller, lock),
        Some(Ok(None)) => another_run(cli, &site, teller),
        None => {
            let state = site.state.path().display();
            let text = format!("the disk of STATE_DIR {state} hangs");
            teller.complain(&text);
            only_disks(cli, &site, teller, &text, Exit::Failed)
        }
        Some(Err(error)) => {
            let why = format!("{:#}", anyhow!(error));
            syslog(&format!("{TOOL}: {why}"));
            teller.ends(Exit::Failed, &why)
        }
    }
}

/// The run that has the lock.
fn alone(cli: &Cli, site: &Site, teller: &Teller, lock: RunLock) -> Exit {
    let journal = site.journal(Beside::starter(cli.json));
    if cli.unfence
        && let Err(error) = unfence(site, &journal)
    {
        return end(teller, &journal, Err(error));
    }
    let exit = end(teller, &journal, Run::new(cli, site, &journal).all());
    if !journal.flush() {
        // A thread hangs on the log's disk, and keeps this process. The lock stays with it: the next
        // run must not hang beside it.
        std::mem::forget::<RunLock>(lock);
    }
    exit
}

/// How a run ended, and why.
struct Ended {
    exit: Exit,
    why: String,
    /// What `--dry-run` shows.
    plan: Option<Vec<Planned>>,
}

impl Ended {
    fn new(exit: Exit, why: String) -> Self {
        Self {
            exit,
            why,
            plan: None,
        }
    }
}

/// Tells how a run ended.
fn end(teller: &Teller, journal: &Journal, result: Result<Ended>) -> Exit {
    let Ended { exit, why, plan } = result.unwrap_or_else(|error| {
        let why = format!("{error:#}");
        journal.stamped(format!("recovery failed: {}", journal.redact(why.clone())));
        match error.downcast_ref::<Break>() {
            Some(Break::NeedsPerson(_)) => Ended::new(Exit::NeedsPerson, why),
            _ => Ended::new(Exit::of(&error), why),
        }
    });
    let why = journal.redact(why);
    journal.settle();
    let mut more = json!({ "run": journal.run() });
    if let Some(plan) = &plan {
        match plan.is_empty() {
            true => teller.say("nothing would be done"),
            false => teller.say(&procedure::lines(plan)),
        }
        more["plan"] = json!(plan);
    }
    if exit != Exit::Done {
        teller.complain(&why);
    }
    teller.object(exit, &why, more)
}

/// This host, as far as it does not change during a run.
struct Site {
    here: ThisHost,
    /// Why this host may not be the one of its configuration. All that is done then is what a primary
    /// that is cut off owes to the others: it stops itself.
    lost: Option<String>,
    instance: Instance,
    pool: Pool,
    state: StateDir,
}

impl Site {
    /// `None`: it has no database.
    fn load(cli: &Cli) -> Result<Option<Self>> {
        let (here, lost) = ThisHost::load_even_lost(cli.config.as_deref())?;
        if !here.config.has_database() {
            return Ok(None);
        }
        let user = &here.config.kb_execute_sys_user;
        if here.us.name != *user {
            return Err(usage(format!(
                "run it as {user} (KB_EXECUTE_SYS_USER) or root, not as {}",
                here.us.name
            )));
        }
        let instance = here.instance().map_err(usage)?;
        Ok(Some(Self {
            pool: Pool::new(&here.config, instance.flavor),
            state: here.state().map_err(usage)?,
            instance,
            here,
            lost,
        }))
    }

    fn journal(&self, beside: Beside) -> Journal {
        let config = &self.here.config;
        let owner = Some(self.instance.user().clone());
        let (log, events) = (&config.recovery_log_dir, &config.event_log);
        Journal::to_files(clock::run_name(), log, events, beside, owner).hiding(config.secrets())
    }
}

fn pause_or_resume(cli: &Cli, site: &Site, teller: &Teller) -> Exit {
    let pause = cli.pause.as_ref().map(|why| Pause {
        since: clock::stamp(),
        why: why.trim().to_owned(),
    });
    let text = match &pause {
        Some(_) => "paused: nothing is changed until network_rewind --resume",
        None => "resumed",
    };
    match site.state.update(|state| state.paused = pause) {
        Ok(_) => {
            let journal = site.journal(Beside::Nobody);
            journal.stamped(text);
            journal.flush();
            teller.ends(Exit::Done, text)
        }
        Err(error) => {
            let path = site.state.path().display();
            let why = format!("failed to write the state in {path}: {error}");
            teller.ends(Exit::Failed, &why)
        }
    }
}

/// A person says that the failover which stopped this primary is over: it is started again once no other
/// host has a primary. That it was one is not forgotten, nor what that means for its rows.
fn unfence(site: &Site, journal: &Journal) -> Result<()> {
    let (config, instance) = (&site.here.config, &site.instance);
    StandbyFiles::of(instance, config).unfence()?;
    let mut was = None;
    site.state.update(|state| {
        if let Some(mark) = &mut state.fenced {
            mark.lasts = 0;
            was = Some(mark.run.clone());
        }
    })?;
    journal.stamped(match was {
        Some(run) => format!("the mark of failover {run} is taken back"),
        None => "no failover has left a mark here".to_owned(),
    });
    Ok(())
}

const ANOTHER_RUN: &str = "another run of network_rewind is under way, this one ends";

/// Another run has the lock.
fn another_run(cli: &Cli, site: &Site, teller: &Teller) -> Exit {
    teller.say(ANOTHER_RUN);
    let journal = site.journal(Beside::Nobody);
    journal.stamped(ANOTHER_RUN);
    journal.flush();
    let exit = match cli.force {
        // A person's order is not taken by the run that is under way.
        true => Exit::Failed,
        false => Exit::Done,
    };
    teller.object(exit, ANOTHER_RUN, Value::Null)
}

/// All that can be done where the disk of the state and of the log hangs: look at the other disks.
/// Nothing is written, it would hang, too.
fn only_disks(cli: &Cli, site: &Site, teller: &Teller, text: &str, exit: Exit) -> Exit {
    teller.say(text);
    syslog(&format!("{TOOL}: {text}"));
    let journal = Journal::to_nobody();
    let run = Run::new(cli, site, &journal);
    // What cannot be read cannot hold back what protects the data.
    if run.state().is_ok_and(|state| state.paused.is_some()) {
        return teller.object(exit, text, Value::Null);
    }
    let (failure, _, _) = run.check_disks();
    let Some(failure) = failure else {
        return teller.object(exit, text, Value::Null);
    };
    syslog(&format!("{TOOL}: {failure}"));
    end(teller, &journal, run.disk_failed(&failure))
}

/// A process of this program, other than ours, that waits for a disk.
fn stuck_twin() -> Option<i32> {
    let ours = fs::read_link("/proc/self/exe").ok()?;
    let this = i32::try_from(std::process::id()).ok()?;
    // By its threads: of a process that has ended but for one of them, nothing else is left.
    let waits = |task: fs::DirEntry| {
        let task = task.path();
        let waits = || {
            let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
            let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
            state.is_some_and(|state| state.starts_with('D'))
        };
        fs::read_link(task.join("exe")).is_ok_and(|exe| exe == ours) && waits()
    };
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        // Of most processes one look is enough, and there may be thousands. One that has ended but for a
        // thread has no program any more; that of another user's, and of its threads, cannot be read.
        let other = match fs::read_link(entry.path().join("exe")) {
            Ok(exe) => exe != ours,
            Err(error) => error.kind() == ErrorKind::PermissionDenied,
        };
        if other || pid == this || disk::is_probe(pid) {
            return None;
        }
        let mut tasks = fs::read_dir(entry.path().join("task")).ok()?.flatten();
        tasks.any(waits).then_some(pid)
    })
}

/// One run at work.
struct Run<'a> {
    cli: &'a Cli,
    site: &'a Site,
    journal: &'a Journal,
    me: String,
}

impl<'a> Run<'a> {
    fn new(cli: &'a Cli, site: &'a Site, journal: &'a Journal) -> Self {
        let me = site.here.config.kb_localhost_ip.to_string();
        Self {
            cli,
            site,
            journal,
            me,
        }
    }

    fn config(&self) -> &'a Config {
        &self.site.here.config
    }

    /// Does `work` as a step of the event log.
    fn timed<T>(&self, step: &str, work: impl FnOnce() -> (T, Outcome, String)) -> T {
        let (started, begin) = (clock::event_stamp(), Instant::now());
        self.journal.begins(doing(step));
        let (value, outcome, detail) = work();
        self.journal.ends();
        self.journal
            .event(step, &self.me, outcome, detail, started, begin.elapsed());
        value
    }

    fn say_beginning(&self) {
        let journal = self.journal;
        journal.line("---------------------------------------------------------------------");
        journal.stamped("recover beging...");
        journal.line(format!(
            "my pid is {},officially began to perform recovery",
            std::process::id()
        ));
    }

    fn all(&self) -> Result<Ended> {
        let journal = self.journal;
        self.say_beginning();
        let state = self.state();
        // A state that cannot be read is no pause: the data has to be protected all the same.
        if !state.as_ref().is_ok_and(|state| state.paused.is_some())
            && !self.cli.dry_run
            && self.site.lost.is_none()
            && let Some(failure) = self.timed("disk", || self.check_disks())
            && let Some(failure) = self.after_making_room(&state, failure)
        {
            return self.disk_failed(&failure);
        }
        let state = state?;
        if state.promotion.is_some() && state.paused.is_none() && self.site.lost.is_none() {
            self.clear_up_promotion()?;
        }
        let network = self.timed("trust-ip", || self.trust_ip())?;
        if !self.cli.dry_run {
            self.unbar(&state);
            // What cannot be written now is written by the next run.
            let _ = self.site.instance.remember_unit();
        }
        let mut pool = self.ask_pool(network);
        let eyes = Eyes {
            here: &self.site.here,
            instance: &self.site.instance,
            run: journal.run(),
        };
        let mut before = None;
        for _ in 0..ROUNDS {
            let state = self.state()?;
            let copy_program = self.site.instance.flavor.basebackup;
            let wanted = policy(self.config(), copy_program, self.cli.force);
            let (view, verdict, session) = self.timed("decide", || {
                let (view, verdict, session) =
                    see_and_decide(&eyes, wanted, &state, network, &pool);
                let why = verdict.why.clone();
                ((view, verdict, session), Outcome::Done, why)
            });
            if before == Some(verdict.action) {
                break;
            }
            if let Some(lost) = &self.site.lost
                && verdict.action != Action::SelfFence
            {
                return Err(usage(lost));
            }
            self.say_role(&view);
            journal.stamped(format!("decision: {}", verdict.why));
            if self.cli.dry_run {
                return Ok(self.plan(&view, &verdict, &pool.pool));
            }
            self.drop_vip(&view, &eyes);
            self.carry_out(&view, &verdict, &pool.pool, session)?;
            self.forget_consent(&view, verdict.action, &pool.pool)?;
            if verdict.undecided && !view.undecided {
                let since = Some(clock::stamp());
                self.site.state.update(|state| state.undecided = since)?;
            }
            match verdict.action {
                Action::Start { .. } | Action::StartStandby | Action::StopWrongPrimary { .. } => {
                    before = Some(verdict.action);
                    pool = self.ask_pool(network);
                }
                action => return Ok(Ended::new(exit_of(action), verdict.why)),
            }
        }
        Err(anyhow!(
            "what was done changed nothing that can be seen: the next run looks again"
        ))
    }

    fn state(&self) -> Result<State> {
        let (state, path) = (self.site.state.clone(), self.site.state.path().display());
        let loaded = workers::within(Deadline::after(STATE_TIME), move || state.load());
        loaded
            .with_context(|| format!("the disk of STATE_DIR {path} hangs"))?
            .with_context(|| {
                format!(
                    "failed to read the state in {path}: find out whether a rewind of this node was \
                     under way, and remove network_rewind.json there"
                )
            })
    }

    /// A data directory that is whole may be started by whoever wants to. A run that was killed may have
    /// left it barred. One that was rewound, and has no standby settings yet, would start as a second
    /// primary on the timeline of the first.
    fn unbar(&self, state: &State) {
        let instance = &self.site.instance;
        let half = |it: &Recovery| match it.stage {
            Stage::Preparing => false,
            Stage::Rewinding | Stage::Copying => true,
            Stage::Following => !instance.is_set_up_as_standby(),
        };
        if !state.recovery.as_ref().is_some_and(half) {
            // Where it cannot be changed it was not: a start says what is wrong with it.
            let _ = instance::unbar(self.site.instance.data());
        }
    }

    /// What is wrong with a disk; `None`: they are good.
    fn check_disks(&self) -> (Option<String>, Outcome, String) {
        let mut check = match DiskCheck::from_config(self.config()) {
            Ok(check) => check,
            Err(error) => {
                let why = error.to_string();
                return (Some(why.clone()), Outcome::Failed, why);
            }
        };
        // A data directory that is gone is for the decision; its disk is that of the one above.
        let data = &self.config().kb_data_path;
        for directory in check.directories.iter_mut().filter(|it| *it == data) {
            let path = directory.clone();
            let there = workers::within(Deadline::after(GLANCE), move || {
                let gone =
                    |it: &PathBuf| fs::metadata(it).is_err_and(|e| e.kind() == ErrorKind::NotFound);
                let mut path = path;
                while gone(&path) && path.pop() {}
                path
            });
            *directory = there.unwrap_or_else(|| directory.clone());
        }
        let mounts = check.run(self.journal);
        let failures: Vec<String> = mounts
            .into_iter()
            .filter(|mount| !mount.is_good())
            .map(|mount: Mount| mount.failure.unwrap_or_default())
            .collect();
        match failures.is_empty() {
            true => (None, Outcome::Done, "good".to_owned()),
            false => {
                let why = failures.join("; ");
                (Some(why.clone()), Outcome::Failed, why)
            }
        }
    }

    /// A rewind that was killed on a disk that it had filled: without what it has brought there is room for
    /// this run, which says what is missing. What fails all the same.
    fn after_making_room(&self, state: &Result<State>, failure: String) -> Option<String> {
        let rewinding = |it: &Recovery| it.stage == Stage::Rewinding;
        let recovery = state.as_ref().ok().and_then(|it| it.recovery.as_ref());
        if !recovery.is_some_and(rewinding) {
            return Some(failure);
        }
        let (instance, journal) = (self.site.instance.clone(), self.journal);
        let state = self.site.state.path().to_owned();
        // The disk may be one that hangs.
        let freed = workers::within(Deadline::after(DiskCheck::LIMIT), move || {
            let data = instance.data();
            if instance.kill_strays(Deadline::after(GLANCE)).is_err()
                || !instance.refuses(Deadline::after(GLANCE))
            {
                return 0;
            }
            let kept = places_for_kept(data, &state);
            kept.iter()
                .map(|kept| room::take_back(instance.flavor, data, kept))
                .sum()
        });
        match freed.unwrap_or(0) {
            0 => Some(failure),
            bytes => {
                room::say_freed(journal, bytes);
                self.timed("disk", || self.check_disks())
            }
        }
    }

    /// A database whose disk is gone must not keep the VIP, nor come back with half of its writes.
    fn disk_failed(&self, why: &str) -> Result<Ended> {
        if !self.config().use_check_disk {
            let text = format!("{why}: USE_CHECK_DISK is 0, so nothing is stopped");
            self.journal.stamped(&text);
            return Ok(Ended::new(Exit::Failed, text));
        }
        self.journal.stamped(format!(
            "the disk check failed, the database is stopped: {why}"
        ));
        let stopped = self.timed("disk.stop", || {
            let stopped = self.site.instance.stop(Deadline::after(budget::SELF_FENCE));
            match &stopped {
                Ok(ended) => (None, Outcome::Done, ended.to_string()),
                // As good as stopped.
                Err(error @ StopError::Stuck { .. }) => {
                    self.journal.stamped(error.to_string());
                    (None, Outcome::Done, error.to_string())
                }
                Err(error) => (Some(error.to_string()), Outcome::Failed, error.to_string()),
            }
        });
        self.timed("disk.vip-off", || {
            let detail = self.vip_off();
            ((), Outcome::Done, detail)
        });
        match stopped {
            None => {
                let why = format!("{why}: the database is stopped");
                Ok(Ended::new(Exit::Failed, why))
            }
            Some(error) => Err(anyhow!(
                "{why}; and the database could not be stopped: {error}"
            )),
        }
    }

    fn vip_off(&self) -> String {
        let Some(vip) = &self.site.here.vip else {
            return "there is no database VIP".to_owned();
        };
        let result = self.site.here.vip_off(vip, Deadline::after(budget::VIP));
        let text = match result {
            Ok(did) => format!("database VIP {vip}: {did:?}").to_lowercase(),
            Err(error) => format!("warning: the database VIP may be here still: {error}"),
        };
        self.journal.stamped(&text);
        text
    }

    fn trust_ip(&self) -> (Result<bool>, Outcome, String) {
        let (config, journal) = (self.config(), self.journal);
        journal.stamped("check if the network is ok");
        let asked = || -> Result<Option<IpAddr>> {
            let program = self.site.here.programs.ping()?;
            let deadline = Deadline::after(budget::TRUST_IP);
            let (all, times) = (&config.kb_gateway_ip, config.ping_times);
            Ok(ping::first_answer(&program, all, times, deadline)?)
        };
        let times = config.ping_times;
        match asked() {
            Ok(Some(address)) => {
                journal.line(format!(
                    "ping trust ip {address} success ping times :[{times}], success times:[1]"
                ));
                (Ok(true), Outcome::Done, format!("{address} answers"))
            }
            Ok(None) => {
                let all: Vec<String> = config.kb_gateway_ip.iter().map(IpAddr::to_string).collect();
                let all = all.join(",");
                journal.line(format!(
                    "ping trust ip {all} failed ping times :[{times}], success times:[0]"
                ));
                (Ok(false), Outcome::Failed, format!("no answer from {all}"))
            }
            Err(error) => {
                let why = format!("{error:#}");
                (Err(error), Outcome::Failed, why)
            }
        }
    }

    fn ask_pool(&self, network: bool) -> Answer {
        self.timed("pool", || {
            self.journal.line("determine if i am master or standby");
            let limit = match network {
                true => budget::POOL,
                // On this very host it may answer all the same.
                false => budget::TRUST_IP,
            };
            let pool = ask(&self.site.pool, self.config(), limit);
            if let Some(why) = &pool.instead {
                let host = pool.pool.host();
                self.journal
                    .stamped(format!("{why}: the pool at {host} is asked"));
            }
            let (outcome, text) = match &pool.nodes {
                Ok(nodes) => (Outcome::Done, nodes.table.to_string()),
                Err(error) => (Outcome::Warned, error.to_string()),
            };
            self.journal.lines(&text);
            if pool.nodes.is_ok() && !self.cli.dry_run {
                self.write_status(&text);
            }
            let detail = match outcome {
                Outcome::Done => "answers".to_owned(),
                _ => text,
            };
            (pool, outcome, detail)
        })
    }

    /// A promotion whose run was killed may come true whenever its server gets to it.
    fn clear_up_promotion(&self) -> Result<()> {
        let site = self.site;
        if self.cli.dry_run {
            let text = "a promotion that was asked for and not seen through would be withdrawn";
            self.journal.line(text);
            return Ok(());
        }
        // Whoever has the lock may be that very promotion.
        let Some(_lock) = site.state.lock_for_recovery()? else {
            return Ok(());
        };
        let deadline = Deadline::after(WITHDRAW_TIME);
        promotion::clear_up(
            &site.here,
            &site.instance,
            &site.state,
            self.journal,
            deadline,
        )
    }

    fn write_status(&self, table: &str) {
        let Some(file) = &self.config().kb_cluster_status else {
            return;
        };
        let user = self.site.instance.user();
        let text = format!("{table}\n");
        let owner = Some((user.uid, user.gid));
        let written = durable::write_unsynced(file, text.as_bytes(), 0o640, owner);
        if let Err(error) = written {
            self.journal.stamped(format!(
                "warning: KB_CLUSTER_STATUS {} cannot be written: {error}",
                file.display()
            ));
        }
    }

    fn say_role(&self, view: &View) {
        match (&view.pool.says, view.me.in_recovery) {
            (PoolSays::Me, _) => self.journal.line("i am primary in cluster"),
            (_, Some(false)) => self.journal.line("i am a primary, and not the pool's"),
            _ => self
                .journal
                .line("i am standby in cluster,determine if recovery is needed"),
        }
    }

    /// A node that is no primary must not have the database VIP.
    fn drop_vip(&self, view: &View, eyes: &Eyes<'_>) {
        let Some(vip) = self
            .site
            .here
            .vip
            .as_ref()
            .filter(|_| view.paused.is_none())
        else {
            return;
        };
        if view.me.in_recovery == Some(false) {
            return;
        }
        if must_drop_vip(&view.me) {
            // A promotion has it on before the database is out of recovery.
            let lock = self.site.state.lock_for_recovery();
            if matches!(lock, Ok(None)) || !must_drop_vip(&eyes.me()) {
                let text = "a promotion of this node is at work: the database VIP stays";
                return self.journal.stamped(text);
            }
            self.journal
                .stamped(format!("now will del vip [{}]", vip.cidr));
            self.vip_off();
        } else if !view.me.vip_here {
            let cidr = vip.cidr;
            self.journal.stamped(format!("now will del vip [{cidr}]"));
            self.journal
                .line(format!("but no {cidr} on my DEV, nothing to do with del"));
        }
    }

    /// A recovery that was begun, and turned out not to be needed, leaves no consent behind: not for
    /// an operator's promotion next year.
    fn forget_consent(&self, view: &View, action: Action, pool: &Pool) -> Result<()> {
        let streams = view.me.in_recovery == Some(true)
            && matches!(
                action,
                Action::Nothing | Action::Follow { .. } | Action::Rejoin { .. }
            );
        let begun = |it: &Recovery| it.stage == Stage::Preparing;
        if streams && view.paused.is_none() && view.left.as_ref().is_some_and(begun) {
            self.site.state.update(|state| state.recovery = None)?;
        }
        if streams && view.paused.is_none() && view.fenced.is_some() {
            self.site.state.update(|state| state.fenced = None)?;
        }
        if streams && view.paused.is_none() && view.undecided {
            self.site.state.update(|state| state.undecided = None)?;
        }
        if streams && view.paused.is_none() && view.outlived {
            self.forget_mark(&self.work(view, action, pool))?;
        }
        Ok(())
    }

    /// Of a rewind whose data is not there any more, nor is there a use for what was kept of it.
    fn forget_mark(&self, work: &Work<'_>) -> Result<()> {
        if work.load()?.recovery.is_none() {
            return Ok(());
        }
        self.journal.stamped(
            "what was being rewound is not in the data directory any more: the mark is forgotten",
        );
        own::forget(work)?;
        work.update(|state| state.recovery = None)?;
        Ok(())
    }

    /// What `--dry-run` shows.
    fn plan(&self, view: &View, verdict: &Verdict, pool: &Pool) -> Ended {
        let work = self.work(view, verdict.action, pool);
        let plan = procedure::describe(&steps(verdict.action), &work, &self.me);
        Ended {
            plan: Some(plan),
            ..Ended::new(exit_of(verdict.action), verdict.why.clone())
        }
    }

    fn work(&self, view: &View, action: Action, pool: &Pool) -> Work<'a> {
        let site = self.site;
        Work {
            here: &site.here,
            instance: &site.instance,
            pool: pool.clone(),
            journal: self.journal,
            state: &site.state,
            stays_standby: action == Action::StartStandby,
            unnamed: !matches!(view.pool.says, PoolSays::Other(_)),
            old: match action {
                Action::FailOver { old } => Some(old),
                _ => None,
            },
            primary: action.follows().unwrap_or(site.here.config.kb_localhost_ip),
            me: view.me.clone(),
            was_held: view.held.is_some(),
            session: None,
            seen: None,
            down_at: view.down_at.clone(),
            nodes: None,
            lock: None,
            stopped_standby: false,
            copies: false,
            fork: None,
            primary_wal: Vec::new(),
            checkpoint: None,
            redo: None,
            short: false,
            marked: false,
        }
    }

    /// A recovery whose rewind is done, and has led to a standby that cannot follow.
    fn begin_anew(&self, view: &View) -> Result<()> {
        let stage = begins_anew_at(view);
        self.site.state.update(|state| {
            if let Some(recovery) = &mut state.recovery {
                recovery.stage = stage;
            }
        })?;
        Ok(())
    }

    /// `own` is a session with this host's server.
    fn carry_out(
        &self,
        view: &View,
        verdict: &Verdict,
        pool: &Pool,
        own: Option<Session>,
    ) -> Result<()> {
        let steps = steps(verdict.action);
        if steps.is_empty() {
            return Ok(());
        }
        let mut work = self.work(view, verdict.action, pool);
        if verdict.action == Action::KeepPrimary {
            work.session = own;
        }
        let marked = |it: &Recovery| it.stage == Stage::Rewinding;
        let replaced = view.outlived
            // A copy has taken the place of what was half rewound, as an older version has marked it.
            || matches!(verdict.action, Action::Start { .. })
                && view.left.as_ref().is_some_and(marked);
        // These have no time for it, and the second one forgets it anyway.
        if replaced && !matches!(verdict.action, Action::SelfFence | Action::KeepPrimary) {
            self.forget_mark(&work)?;
        }
        if let Action::Recover { primary }
        | Action::StopWrongPrimary {
            primary,
            recover: true,
        } = verdict.action
        {
            let done = |it: &Recovery| it.stage == Stage::Following;
            if view.left.as_ref().is_some_and(done) && !goes_on(view) {
                self.begin_anew(view)?;
            }
            let begun = view.left.as_ref().is_some_and(|it| it.primary == primary);
            if !begun {
                // The consent that it was begun with outlives this run.
                work.update_recovery(|_| ())?;
            }
        }
        let frame = Frame {
            journal: self.journal,
            host: &self.me,
            deadline: Deadline::after(budget::COPY),
            die_after: self.cli.die_after.as_deref(),
        };
        if let Err(error) = procedure::run(&steps, &mut work, frame) {
            let_go(&mut work);
            if let Ok(state) = self.state() {
                self.unbar(&state);
            }
            return Err(error);
        }
        if matches!(
            verdict.action,
            Action::Recover { .. } | Action::Follow { .. } | Action::Rejoin { .. }
        ) {
            self.journal
                .line("recovery success,exit script with success");
        }
        Ok(())
    }
}

/// What a person sees while a step is at work that is of no procedure.
fn doing(step: &str) -> &str {
    match step {
        "disk" => "check the disks",
        "disk.stop" => "stop the database",
        "disk.vip-off" => "take the database VIP off",
        "trust-ip" => "ask the trust IP",
        "pool" => "ask the pool",
        "decide" => "look at this host, and at others where that is needed",
        other => other,
    }
}

/// What is seen, what follows from it, and the session with this host's server.
fn see_and_decide(
    eyes: &Eyes<'_>,
    wanted: Policy,
    state: &State,
    network: bool,
    pool: &Answer,
) -> (View, Verdict, Option<Session>) {
    let (mut view, session) = eyes.view(wanted, state, network, pool);
    loop {
        match decide(&view) {
            Decision::Look(look) => {
                let begun = Instant::now();
                eyes.look(look, &mut view, &pool.pool);
                if begun.elapsed() > LATE {
                    view.me = eyes.me();
                }
            }
            Decision::Do(verdict) => return (view, verdict, session),
        }
    }
}

/// A standby that was stopped for a recovery which cannot go on is started again: it may be the one
/// that has to be promoted next.
fn let_go(work: &mut Work<'_>) {
    let whole = work.stage().is_ok_and(|stage| stage == Stage::Preparing);
    if !(work.stopped_standby && whole) {
        return;
    }
    work.journal.stamped("the standby is started again");
    let data = work.data();
    let started = work
        .standby_files(data)
        .put_back()
        .map_err(anyhow::Error::from)
        .and_then(|()| server::run_again(work, Deadline::after(budget::STREAMING)));
    if let Err(error) = started {
        work.journal.stamped(format!("warning: {error:#}"));
    }
    work.lock = None;
}

/// How a run ends that did what was decided.
fn exit_of(action: Action) -> Exit {
    match action {
        Action::NeedsPerson => Exit::NeedsPerson,
        Action::Refuse | Action::SelfFence => Exit::Failed,
        _ => Exit::Done,
    }
}
