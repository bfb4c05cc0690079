//! Recoveries: runs that made a standby of a node that came back, or tried to. Runs with nothing to do are left out.

use super::advice::could;
use super::fact::{Ending, Fact, LogKind, Step};
use super::phases::{of_marks, of_steps};
use super::said::{Saying, Word};
use super::{Level, Mark, Moment, Scene, Story, StoryKind, Topic, Verdict};

/// Between a run's first line and its first event, in milliseconds.
const NEAR: i64 = 3_000;

type Run<'a> = (&'a str, Vec<(Mark<'a>, &'a Step)>);

/// All of them.
pub(super) fn stories(scene: &Scene<'_>) -> Vec<Story> {
    let mut runs: Vec<Run<'_>> = scene
        .runs()
        .into_iter()
        .filter(|(_, steps)| is_recovery(steps))
        .collect();
    let mut told = Vec::new();
    for marks in logged(scene) {
        let Some(first) = marks.first() else { continue };
        let same = |(_, steps): &Run<'_>| {
            let begin = steps.first();
            begin.is_some_and(|(mark, _)| {
                (mark.at - first.at).abs() <= NEAR && mark.lane == first.lane
            })
        };
        let run = runs.iter().position(same).map(|at| runs.remove(at));
        if run.is_some() || did_something(&marks) {
            told.push(tell(scene, &marks, run.as_ref()));
        }
    }
    told.extend(runs.iter().map(|run| tell(scene, &[], Some(run))));
    told
}

/// It did something to a node that was to be a standby.
fn is_recovery(steps: &[(Mark<'_>, &Step)]) -> bool {
    let worked = |step: &Step| {
        let first = step.name.split('.').next().unwrap_or_default();
        let looks = ["recover.ask-primary", "recover.can", "recover.lock"];
        let counts = matches!(step.ending, Ending::Done | Ending::Failed);
        let works = matches!(first, "recover" | "start" | "follow" | "take-over");
        works
            && counts
            && step.name != "recover.attach-elsewhere"
            && (!looks.contains(&step.name.as_str()) || step.ending == Ending::Failed)
    };
    let failover = |step: &Step| step.name == "fence" || step.name == "promote";
    steps.iter().any(|(_, it)| worked(it)) && !steps.iter().any(|(_, it)| failover(it))
}

fn did_something(marks: &[Mark<'_>]) -> bool {
    marks.iter().any(|it| {
        matches!(
            it.fact,
            Fact::Needed(_)
                | Fact::Rewinds
                | Fact::Starts
                | Fact::Attaches
                | Fact::RecoveryFailed(_)
        )
    })
}

/// The runs of the logs of recovery, each by its lines.
fn logged<'a>(scene: &Scene<'a>) -> Vec<Vec<Mark<'a>>> {
    let mut runs: Vec<Vec<Mark<'a>>> = Vec::new();
    for mark in &scene.marks {
        if mark.kind != LogKind::Recovery {
            continue;
        }
        let open = runs
            .iter_mut()
            .rev()
            .find(|it| it.first().is_some_and(|first| first.source == mark.source));
        match (mark.fact, open) {
            (Fact::RecoveryBegins, _) | (_, None) => runs.push(vec![*mark]),
            (_, Some(run)) => run.push(*mark),
        }
    }
    runs
}

fn tell(scene: &Scene<'_>, marks: &[Mark<'_>], run: Option<&Run<'_>>) -> Story {
    let steps = run.map_or(&[][..], |(_, steps)| steps.as_slice());
    let from = marks
        .first()
        .into_iter()
        .chain(steps.first().map(|(mark, _)| mark))
        .map(|it| it.at)
        .min()
        .unwrap_or_default();
    let ends = steps
        .iter()
        .map(|(mark, step)| mark.at + i64::try_from(step.milliseconds).unwrap_or(0));
    let to = ends
        .chain(marks.last().map(|it| it.at))
        .max()
        .unwrap_or(from);
    let first = marks.first().or(steps.first().map(|(mark, _)| mark));
    let lane = first.and_then(|it| it.lane);
    let phases = match steps.is_empty() {
        true => of_marks(marks, 0),
        false => of_steps(scene, steps, 0),
    };
    let failure = failure(marks, steps);
    let is_over = failure.is_some()
        || steps.iter().any(|(_, it)| it.name == "recover.done")
        || marks.iter().any(|it| *it.fact == Fact::RecoveryEnds)
        || (marks.is_empty() && !steps.is_empty());
    let verdicts = vec![match &failure {
        Some(why) => verdict(
            Level::Bad,
            Saying::of(Word::RecoveryFailed).text("why", why),
        ),
        None if is_over => verdict(Level::Good, Saying::of(Word::RecoveryEnds)),
        None => verdict(Level::Unknown, Saying::of(Word::RecoveryUnended)),
    }];
    Story {
        kind: StoryKind::Recovery,
        lane,
        node: lane,
        run: run.map(|(name, _)| (*name).to_owned()),
        from,
        to,
        is_over,
        outage: None,
        promoted: None,
        moments: moments(scene, marks, steps),
        could: could(to - from, &phases),
        phases,
        verdicts,
        cause: None,
    }
}

fn verdict(level: Level, saying: Saying) -> Verdict {
    Verdict {
        topic: Topic::Redundancy,
        level,
        saying,
    }
}

fn failure(marks: &[Mark<'_>], steps: &[(Mark<'_>, &Step)]) -> Option<String> {
    let by_events = steps
        .iter()
        .find(|(_, step)| step.ending == Ending::Failed)
        .map(|(_, step)| format!("{}: {}", step.name, step.detail));
    by_events.or_else(|| {
        marks.iter().find_map(|it| match it.fact {
            Fact::RecoveryFailed(why) => Some(why.clone()),
            _ => None,
        })
    })
}

fn moments(scene: &Scene<'_>, marks: &[Mark<'_>], steps: &[(Mark<'_>, &Step)]) -> Vec<Moment> {
    let mut told: Vec<Moment> = Vec::new();
    for mark in marks {
        if let Some(saying) = saying(scene, mark, marks)
            && !told.iter().any(|it| it.saying == saying)
        {
            told.push(Moment {
                at: mark.at,
                lane: mark.lane,
                saying,
            });
        }
    }
    for (mark, step) in steps {
        if step.ending == Ending::Failed || step.ending == Ending::Warned {
            let saying = Saying::of(Word::StepFailed)
                .text("step", &step.name)
                .text("why", &step.detail);
            told.push(Moment {
                at: mark.at,
                lane: scene.hosts.lane(&step.host).or(mark.lane),
                saying,
            });
        }
    }
    told.sort_by_key(|it| it.at);
    told
}

fn saying(scene: &Scene<'_>, mark: &Mark<'_>, all: &[Mark<'_>]) -> Option<Saying> {
    let own = mark.lane.map_or("", |it| scene.hosts.name(it));
    let of = |word| Some(Saying::of(word).text("host", own));
    match mark.fact {
        Fact::RecoveryBegins => of(Word::RecoveryBegins),
        Fact::Node(row) if row.status == "down" => {
            Some(Saying::of(Word::NodeIsDown).text("host", &row.host))
        }
        Fact::Decision(what) => Some(Saying::of(Word::Decided).text("what", what)),
        Fact::Needed(primary) => Some(
            Saying::of(Word::Needed)
                .text("primary", primary)
                .text("host", own),
        ),
        Fact::Look(round, most) => {
            let last = all.iter().rev().find_map(|it| match it.fact {
                Fact::Look(round, _) => Some(*round),
                _ => None,
            });
            (last == Some(*round)).then(|| {
                let said = Saying::of(Word::Looks).count("round", i64::from(*round));
                said.count("most", i64::from(*most)).text("host", own)
            })
        }
        Fact::PartsAt(position, timeline) => {
            let said = Saying::of(Word::Parts).text("position", position);
            Some(said.count("timeline", i64::from(*timeline)))
        }
        Fact::Rewound => of(Word::Rewound),
        Fact::Starts => of(Word::Starts),
        Fact::Started => of(Word::Streams),
        Fact::Synchronous => Some(Saying::of(Word::Synchronous)),
        Fact::Attached => of(Word::Attached),
        _ => None,
    }
}

/// A recovery makes up for the last failover before it in which its node went down, or, of a standby that follows
/// the new primary, for the last one at all.
pub(super) fn link(stories: &mut [Story]) {
    for at in 0..stories.len() {
        let (before, rest) = stories.split_at_mut(at);
        let Some(story) = rest.first_mut() else { break };
        if story.kind != StoryKind::Recovery {
            continue;
        }
        let failovers = || {
            let all = before.iter().enumerate().rev();
            all.filter(|(_, it)| it.kind != StoryKind::Recovery)
        };
        let own = failovers().find(|(_, it)| it.node.is_some() && it.node == story.node);
        story.cause = own.or_else(|| failovers().next()).map(|(at, _)| at);
    }
}
