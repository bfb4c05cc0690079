//! `--status`: what this node is, what runs have left here, and who is at work. Looks, and changes nothing.

use failover_core::config::Config;
use failover_core::deadline::Deadline;
use failover_core::exit::Exit;
use failover_core::host::ThisHost;
use failover_core::instance::Instance;
use failover_core::standby::StandbyFiles;
use failover_core::state::{FenceMark, Holder, Holders, Recovery, Stage, State, StateDir};
use failover_core::status::{self, Status};
use failover_core::steps::{facts, history};
use failover_core::teller::Teller;
use failover_core::workers;
use failover_rules::facts::run::Run;
use serde_json::{Value, json};
use std::time::Duration;

/// For the whole look.
const LIMIT: Duration = Duration::from_secs(5);
/// For what lies on a disk that may hang.
const DISK_TIME: Duration = Duration::from_secs(1);

/// What was seen.
pub struct Seen<'a> {
    config: &'a Config,
    file: String,
    server: Status,
    /// The host that its standby settings name (empty: none). `None`: it has no such settings.
    follows: Option<String>,
    state: Result<State, String>,
    holders: Option<Holders>,
    wanted: bool,
    unfinished: bool,
    last_look: Option<u64>,
    last_run: Option<Run>,
}

impl<'a> Seen<'a> {
    /// All of it.
    pub fn of(here: &'a ThisHost, instance: &Instance, state: &StateDir) -> Self {
        let (config, deadline) = (&here.config, Deadline::after(LIMIT));
        let on_disk = Deadline::after(DISK_TIME);
        let loaded = {
            let state = state.clone();
            workers::within(on_disk, move || {
                (state.load(), state.holders(), state.promotion_is_wanted())
            })
        };
        let (loaded, holders, wanted) = match loaded {
            Some((loaded, holders, wanted)) => {
                (loaded.map_err(|it| it.to_string()), holders, wanted)
            }
            None => (Err("its disk hangs".to_owned()), None, false),
        };
        let unfinished = loaded.is_ok() && state.rewind_is_unfinished(&config.kb_data_path);
        let runs = history::look(here, deadline.at_most(DISK_TIME));
        Self {
            server: status::look(here, instance, deadline),
            follows: StandbyFiles::of(instance, config).follows(),
            file: state.file().display().to_string(),
            last_look: facts::last_look(config, deadline),
            last_run: runs.unwrap_or_default().pop(),
            state: loaded,
            unfinished,
            holders,
            wanted,
            config,
        }
    }

    /// Tells it; `lost` is why this host may not be the one of its configuration.
    pub fn told(&self, lost: Option<&str>, teller: &Teller) -> Exit {
        let text = self.headline();
        teller.say(&text);
        for (name, what) in self.rows(lost) {
            teller.say(&format!("  {name:<10} {what}"));
        }
        match &self.state {
            Ok(_) => teller.object(Exit::Done, &text, self.members(lost)),
            Err(why) => {
                let why = format!("the state in {} cannot be read: {why}", self.file);
                teller.complain(&why);
                teller.object(Exit::Failed, &why, self.members(lost))
            }
        }
    }

    fn role(&self) -> &'static str {
        match (self.server.running, self.server.in_recovery) {
            (false, _) => "down",
            (true, Some(false)) => "primary",
            (true, Some(true)) => "standby",
            (true, None) => "silent",
        }
    }

    fn headline(&self) -> String {
        let config = self.config;
        let mut text = format!(
            "{} ({}): {}",
            config.node_name,
            config.kb_localhost_ip,
            self.role()
        );
        if self.server.timeline > 0 {
            text += &format!(", timeline {}", self.server.timeline);
        }
        match self.follows.as_deref() {
            None => {}
            Some("") => text += ", follows nobody",
            Some(host) => text += &format!(", follows {host}"),
        }
        if self.server.vip_here {
            text += ", has the database VIP";
        }
        text
    }

    /// What stands below, with its name.
    fn rows(&self, lost: Option<&str>) -> Vec<(&'static str, String)> {
        let mut rows = vec![("state", self.file.clone())];
        let mut row = |name, what: Option<String>| rows.extend(what.map(|what| (name, what)));
        row("identity", lost.map(str::to_owned));
        row("server", self.server.trouble.clone());
        row("obstacle", self.server.obstacle.clone());
        let state = self.state.as_ref().ok().cloned().unwrap_or_default();
        let none = state
            == State {
                timeline: state.timeline,
                unit: state.unit.clone(),
                ..State::default()
            };
        row(
            "marks",
            (none && self.state.is_ok()).then(|| "none".to_owned()),
        );
        row(
            "paused",
            state.paused.map(|it| match it.why.as_str() {
                "" => format!("since {}", it.since),
                why => format!("since {}: {why}", it.since),
            }),
        );
        row("fenced", state.fenced.as_ref().map(mark));
        row(
            "held",
            state.held.as_ref().map(|it| match it.word_only {
                true => format!("{}, by a word only", mark(it)),
                false => mark(it),
            }),
        );
        row("promotion", state.promotion.as_ref().map(mark));
        row(
            "stopped",
            state
                .self_fenced
                .map(|it| format!("by itself since {it}: it saw nobody any more")),
        );
        row(
            "undecided",
            state
                .undecided
                .map(|it| format!("since {it}: beside another primary")),
        );
        row(
            "recovery",
            state.recovery.as_ref().map(|it| self.recovery(it)),
        );
        row("unit", state.unit);
        row("locks", Some(self.locks()));
        row(
            "last look",
            Some(match self.last_look {
                Some(seconds) => format!("{seconds} s ago"),
                None => "never, or not known".to_owned(),
            }),
        );
        row(
            "last run",
            self.last_run.as_ref().map(|run| {
                let seconds = run.milliseconds as f64 / 1000.0;
                format!("{} ({seconds:.1} s): {}", run.started, run.what)
            }),
        );
        rows
    }

    fn recovery(&self, recovery: &Recovery) -> String {
        let mut text = format!("from {}, {}", recovery.primary, stage(recovery.stage));
        if self.unfinished {
            text += "; UNFINISHED: the data directory is half one history and half another";
        }
        if recovery.failures > 0 {
            text += &format!("; failed {} times", recovery.failures);
        }
        if !recovery.slots.is_empty() {
            text += &format!("; slots to be made again: {}", recovery.slots.join(", "));
        }
        text
    }

    fn locks(&self) -> String {
        let Some(holders) = self.holders else {
            return "not known".to_owned();
        };
        let held = |holder| match holder {
            Holder::Nobody => "free".to_owned(),
            Holder::Process(0) => "held".to_owned(),
            Holder::Process(process) => format!("held by process {process}"),
        };
        let mut text = format!(
            "run {}, instance {}",
            held(holders.run),
            held(holders.instance)
        );
        if self.wanted {
            text += ", a promotion waits for it";
        }
        text
    }

    fn members(&self, lost: Option<&str>) -> Value {
        let state = self.state.as_ref().ok();
        let holder = |of: fn(&Holders) -> Holder| match self.holders.as_ref().map(of) {
            Some(Holder::Process(process)) => json!(process),
            _ => Value::Null,
        };
        let of_mark = |mark: &Option<FenceMark>| {
            mark.as_ref()
                .map(|it| json!({ "since": it.since, "run": it.run }))
        };
        let recovery = state.and_then(|it| it.recovery.as_ref()).map(|it| {
            json!({
                "primary": it.primary,
                "stage": it.stage,
                "unfinished": self.unfinished,
                "failures": it.failures,
                "slots": it.slots,
            })
        });
        json!({
            "node": self.config.node_name,
            "address": self.config.kb_localhost_ip,
            "role": self.role(),
            "timeline": self.server.timeline,
            "follows": self.follows,
            "database_vip": self.server.vip_here,
            "trouble": lost.or(self.server.trouble.as_deref()),
            "obstacle": self.server.obstacle,
            "state_file": self.file,
            "paused": state.and_then(|it| it.paused.as_ref()).map(|it| json!({ "since": it.since, "why": it.why })),
            "fenced": state.and_then(|it| of_mark(&it.fenced)),
            "held": state.and_then(|it| of_mark(&it.held)),
            "promotion": state.and_then(|it| of_mark(&it.promotion)),
            "self_fenced": state.and_then(|it| it.self_fenced.as_ref()),
            "undecided": state.and_then(|it| it.undecided.as_ref()),
            "recovery": recovery,
            "run_lock": holder(|it| it.run),
            "instance_lock": holder(|it| it.instance),
            "promotion_waits": self.wanted,
            "last_look_seconds": self.last_look,
            "last_run": self.last_run,
        })
    }
}

fn mark(mark: &FenceMark) -> String {
    format!("by failover {} since {}", mark.run, mark.since)
}

fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Preparing => "being prepared",
        Stage::Rewinding => "the rewind",
        Stage::Copying => "the copy of the primary",
        Stage::Following => "rewound, to follow",
    }
}
