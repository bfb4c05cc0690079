//! A run of a tool as a person remembers it: what it did, when, for how long, and how it ended.

use super::lsn::Timeline;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What a run was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A primary was replaced, or that was tried.
    Failover,
    /// A standby went down, and the primary was seen to.
    StandbyDown,
    /// A node was made a standby again: rewound, copied, started or pointed to its primary.
    Recovery,
    /// A primary was stopped, by its own host, or because another one is right.
    Stop,
    /// A primary was seen to: its VIP, its standbys, its place in the pool.
    Upkeep,
}

/// A run that did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its name in the logs of events.
    pub name: String,
    /// The host that it ran on.
    pub host: IpAddr,
    /// What it was for.
    pub kind: Kind,
    /// Wall clock at its start (RFC 3339).
    pub started: String,
    /// From its first step to the end of its last, in milliseconds.
    pub milliseconds: u64,
    /// It did what it was for.
    pub succeeded: bool,
    /// What came of it.
    pub what: String,
    /// The timeline before it and the one after it, where its events have them.
    #[serde(default)]
    pub timelines: Option<(Timeline, Timeline)>,
    /// How many runs after it ended just so; they are not listed.
    #[serde(default)]
    pub again: u32,
}

/// One step of one run, as the log of events has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepSeen {
    /// The run.
    pub run: String,
    /// The step's name.
    pub step: String,
    /// It did something, and did not only look.
    pub did: bool,
    /// It failed.
    pub failed: bool,
    /// What was seen or done.
    pub detail: String,
    /// Wall clock at its start (RFC 3339).
    pub started: String,
    /// The same in milliseconds since 1970.
    pub started_ms: i64,
    /// How long it took.
    pub milliseconds: u64,
}

/// Steps that look, and change nothing that anybody remembers.
const LOOKS: [&str; 18] = [
    "disk",
    "trust-ip",
    "quorum",
    "pool",
    "decide",
    "recover.ask-primary",
    "recover.can",
    "recover.lock",
    "primary.forget",
    "fence.verify",
    "standby.look",
    "standby.find-primary",
    "start.streaming",
    "follow.check",
    "take-over.look",
    "take-over.confirm",
    "choose",
    "promote.check",
];

/// The run of these steps, which belong to one run on `host`, in their order. `None`: it did nothing that anybody
/// would remember.
pub fn run(host: IpAddr, steps: &[StepSeen]) -> Option<Run> {
    let first = steps.first()?;
    let failed = steps.iter().find(|it| it.failed);
    let is_failover = |it: &StepSeen| it.step == "fence" || it.step.starts_with("promote");
    let is_standby_down = |it: &StepSeen| it.step.starts_with("standby.");
    let did = |it: &&StepSeen| it.did && !LOOKS.contains(&it.step.as_str());
    let kind = if steps.iter().any(is_failover) {
        Kind::Failover
    } else if steps.iter().any(is_standby_down) {
        Kind::StandbyDown
    } else {
        let done = steps.iter().find(did).or(failed)?;
        match done.step.split('.').next().unwrap_or_default() {
            "recover" if done.step == "recover.attach-elsewhere" => Kind::Upkeep,
            "recover" | "start" | "follow" | "wait" | "take-over" => Kind::Recovery,
            "self-fence" | "wrong-primary" => Kind::Stop,
            _ => Kind::Upkeep,
        }
    };
    let end = |it: &StepSeen| it.started_ms + i64::try_from(it.milliseconds).unwrap_or(0);
    let last = steps.iter().map(end).max().unwrap_or(first.started_ms);
    let begin = steps
        .iter()
        .map(|it| it.started_ms)
        .min()
        .unwrap_or(first.started_ms);
    Some(Run {
        name: first.run.clone(),
        host,
        kind,
        started: first.started.clone(),
        milliseconds: u64::try_from(last - begin).unwrap_or(0),
        succeeded: failed.is_none(),
        what: what(kind, steps, failed),
        timelines: steps
            .iter()
            .filter_map(|it| timelines_in(&it.detail))
            .next_back(),
        again: 0,
    })
}

/// How a step's detail ends that has led from one timeline to another.
pub fn from_timeline_to((from, to): (Timeline, Timeline)) -> String {
    format!(", timeline {from} -> {to}")
}

/// The timelines in a detail that ends so.
fn timelines_in(detail: &str) -> Option<(Timeline, Timeline)> {
    let (_, both) = detail.rsplit_once(", timeline ")?;
    let (from, to) = both.split_once(" -> ")?;
    from.parse().ok().zip(to.parse().ok())
}

/// In one sentence.
fn what(kind: Kind, steps: &[StepSeen], failed: Option<&StepSeen>) -> String {
    if let Some(failed) = failed {
        return format!("failed at {}: {}", failed.step, failed.detail);
    }
    let detail = |name: &str| {
        let mut found = steps.iter().filter(|it| it.step == name && it.did);
        found.next_back().map(|it| it.detail.clone())
    };
    let told = match kind {
        Kind::Failover => [detail("fence"), detail("promote")],
        Kind::StandbyDown => [detail("standby.async"), detail("failover.detach")],
        Kind::Recovery => {
            let copied = detail("recover.copy");
            let rewound = detail("recover.rewind");
            let other = detail("decide");
            let streams = detail("recover.streaming").or_else(|| detail("start.streaming"));
            [copied.or(rewound).or(other), streams]
        }
        Kind::Stop | Kind::Upkeep => [detail("decide"), None],
    };
    let told: Vec<String> = told.into_iter().flatten().collect();
    match told.is_empty() {
        true => "done".to_owned(),
        false => told.join("; "),
    }
}

/// The runs by their start, with those that end as the one before them on their host counted there: what a
/// person has to do is said each minute.
pub fn in_order(mut runs: Vec<Run>) -> Vec<Run> {
    runs.sort_by(|one, other| one.started.cmp(&other.started));
    let mut kept: Vec<Run> = Vec::new();
    for run in runs {
        let mut before = kept.iter_mut().rev().filter(|it| it.host == run.host);
        match before.next() {
            Some(before)
                if !run.succeeded && before.kind == run.kind && before.what == run.what =>
            {
                before.again += 1;
            }
            _ => kept.push(run),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip() -> IpAddr {
        IpAddr::from([192, 168, 1, 102])
    }

    /// `step outcome detail`, each 10 ms after the one before, and 5 ms long.
    fn steps(lines: &[(&str, &str, &str)]) -> Vec<StepSeen> {
        let step = |(at, (step, outcome, detail)): (i64, &(&str, &str, &str))| StepSeen {
            run: "r".to_owned(),
            step: (*step).to_owned(),
            did: *outcome == "done",
            failed: *outcome == "failed",
            detail: (*detail).to_owned(),
            started: format!("2026-12-01T02:00:{at:02}"),
            started_ms: at * 10,
            milliseconds: 5,
        };
        (0..).zip(lines).map(step).collect()
    }

    #[test]
    fn a_run_is_what_a_person_remembers_of_it() {
        let of = |lines: &[(&str, &str, &str)]| {
            let run = run(ip(), &steps(lines))?;
            Some((run.kind, run.succeeded, run.what, run.milliseconds))
        };
        let look = [
            ("disk", "done", "good"),
            ("trust-ip", "done", "answers"),
            ("pool", "done", "answers"),
        ];
        let with = |more: &[(&'static str, &'static str, &'static str)]| [&look[..], more].concat();
        let quiet = with(&[("decide", "done", "all is well")]);
        assert_eq!(of(&quiet), None);
        let primary = with(&[
            ("decide", "done", "this node is the primary, and runs"),
            ("primary.sync", "already-so", "commits wait for nobody"),
            (
                "recover.attach-elsewhere",
                "already-so",
                "no other pool has it down",
            ),
        ]);
        assert_eq!(of(&primary), None);
        let upkeep = with(&[
            ("decide", "done", "this node is the primary, and runs"),
            ("primary.vip", "done", "192.168.1.200/24 on enp0s3"),
        ]);
        let expected = "this node is the primary, and runs".to_owned();
        assert_eq!(of(&upkeep), Some((Kind::Upkeep, true, expected, 45)));
        let failover = [
            ("trust-ip", "done", "answers"),
            ("fence.stop", "already-so", "was not running"),
            ("fence", "done", "fenced: database was not running"),
            ("promote.promote", "done", "out of recovery"),
            ("promote", "done", "192.168.1.102 is primary"),
        ];
        let expected = "fenced: database was not running; 192.168.1.102 is primary".to_owned();
        assert_eq!(of(&failover), Some((Kind::Failover, true, expected, 45)));
        let refused = [
            ("trust-ip", "done", "answers"),
            ("fence", "failed", "it lives"),
        ];
        let expected = "failed at fence: it lives".to_owned();
        assert_eq!(of(&refused), Some((Kind::Failover, false, expected, 15)));
        let recovery = with(&[
            ("decide", "done", "it is recovered"),
            ("recover.ask-primary", "done", "is one"),
            ("recover.stop", "already-so", "was not running"),
            ("recover.rewind", "done", "rewound"),
            ("recover.copy", "skipped", "it is not needed"),
            ("recover.streaming", "done", "streams, 0 bytes behind"),
        ]);
        let expected = "rewound; streams, 0 bytes behind".to_owned();
        assert_eq!(of(&recovery), Some((Kind::Recovery, true, expected, 85)));
        let cannot = with(&[
            ("decide", "done", "it is recovered"),
            ("recover.can", "failed", "no WAL"),
        ]);
        let expected = "failed at recover.can: no WAL".to_owned();
        assert_eq!(of(&cannot), Some((Kind::Recovery, false, expected, 45)));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn the_timelines_are_those_of_the_step_that_has_led_to_another() {
        let of =
            |lines: &[(&str, &str, &str)]| run(ip(), &steps(lines)).and_then(|it| it.timelines);
        let promoted = format!("192.168.1.102 is primary{}", from_timeline_to((1, 4)));
        assert_eq!(
            of(&[("fence", "done", "x"), ("promote", "done", &promoted)]),
            Some((1, 4))
        );
        let rewound = format!("rewound{}", from_timeline_to((3, 4)));
        assert_eq!(of(&[("recover.rewind", "done", &rewound)]), Some((3, 4)));
        for none in [
            "192.168.1.102 is primary",
            "x, timeline 1",
            "x, timeline 1 -> x",
            "",
        ] {
            assert_eq!(of(&[("promote", "done", none)]), None, "{none}");
        }
    }

    #[test]
    fn what_fails_each_minute_is_one_line() {
        let run = |started: &str, what: &str, succeeded| Run {
            name: "r".to_owned(),
            host: ip(),
            kind: Kind::Recovery,
            started: started.to_owned(),
            milliseconds: 1,
            succeeded,
            what: what.to_owned(),
            timelines: None,
            again: 0,
        };
        let elsewhere = Run {
            host: IpAddr::from([192, 168, 1, 103]),
            ..run("2", "x", true)
        };
        let all = vec![
            run("5", "rewound", true),
            run("1", "no WAL", false),
            elsewhere.clone(),
            run("3", "no WAL", false),
            run("4", "no WAL", false),
            run("6", "rewound", true),
        ];
        let mut first = run("1", "no WAL", false);
        first.again = 2;
        let expected = [
            first,
            elsewhere,
            run("5", "rewound", true),
            run("6", "rewound", true),
        ];
        assert_eq!(in_order(all), expected);
    }
}
