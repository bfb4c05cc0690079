//! The phases of a run of a tool: by the marks of its log, or by the steps of its log of events.

use super::fact::{Ending, Fact, Step};
use super::{Advice, Mark, Phase, PhaseKind, Scene};

/// A step that was done in less tells nothing, in milliseconds.
const TOO_SHORT: u64 = 5;

/// A phase with what makes it that long.
pub(super) fn phase(kind: PhaseKind, lane: Option<usize>, from: i64, to: i64, depth: u8) -> Phase {
    Phase {
        kind,
        step: None,
        lane,
        from,
        to: to.max(from),
        depth,
        rounds: None,
        advice: Advice::of(kind, to - from, None),
    }
}

/// The same, tried so many times.
pub(super) fn tried(phase: Phase, rounds: u32) -> Phase {
    Phase {
        advice: Advice::of(phase.kind, phase.to - phase.from, Some(rounds)),
        rounds: Some(rounds),
        ..phase
    }
}

/// What begins with a line of the logs of the scripts, and ends with the next of them. `Some(None)`: it ends what
/// came before it, and begins nothing.
fn begins(fact: &Fact) -> Option<Option<PhaseKind>> {
    Some(match fact {
        Fact::Begins => Some(PhaseKind::TrustIp),
        Fact::Fences(_) => Some(PhaseKind::Fence),
        Fact::DatabaseVip(_) => Some(PhaseKind::Vip),
        Fact::Promotes(_) => Some(PhaseKind::Promote),
        Fact::Asynchronous => Some(PhaseKind::Async),
        Fact::Checkpoint => Some(PhaseKind::Checkpoint),
        Fact::RecoveryBegins => Some(PhaseKind::Look),
        Fact::Rewinds => Some(PhaseKind::Rewind),
        Fact::Files => Some(PhaseKind::Files),
        Fact::Starts => Some(PhaseKind::Start),
        Fact::Synchronous => Some(PhaseKind::Sync),
        Fact::Attaches => Some(PhaseKind::Attach),
        Fact::Look(1, _) => Some(PhaseKind::Looks),
        Fact::Promoted
        | Fact::Refused(_)
        | Fact::Ends
        | Fact::StandbyDown
        | Fact::Started
        | Fact::Attached
        | Fact::RecoveryEnds
        | Fact::RecoveryFailed(_) => None,
        _ => return None,
    })
}

/// By the marks of a log: each until the next one.
pub(super) fn of_marks(marks: &[Mark<'_>], depth: u8) -> Vec<Phase> {
    let mut phases: Vec<Phase> = Vec::new();
    let mut open: Option<(PhaseKind, Mark<'_>)> = None;
    for mark in marks {
        let Some(next) = begins(mark.fact) else {
            continue;
        };
        if let Some((kind, from)) = open.take() {
            phases.push(phase(kind, from.lane, from.at, mark.at, depth));
        }
        open = next.map(|kind| (kind, *mark));
    }
    let looks = marks.iter().filter_map(|it| match it.fact {
        Fact::Look(round, _) => Some(*round),
        _ => None,
    });
    let rounds = looks.max();
    let with_rounds = |it: Phase| match rounds {
        Some(rounds) if it.kind == PhaseKind::Looks => tried(it, rounds),
        _ => it,
    };
    phases.into_iter().map(with_rounds).collect()
}

/// The phase that a step of ours is; its name in brackets stands beside it.
fn kind_of(step: &str) -> PhaseKind {
    match step {
        "trust-ip" => PhaseKind::TrustIp,
        "fence" => PhaseKind::Fence,
        "promote" => PhaseKind::Promote,
        "promote.vip-on" => PhaseKind::Vip,
        "promote.async" => PhaseKind::Async,
        "promote.checkpoint" => PhaseKind::Checkpoint,
        "recover.rewind" => PhaseKind::Rewind,
        "recover.files" => PhaseKind::Files,
        "recover.start" => PhaseKind::Start,
        "recover.sync" => PhaseKind::Sync,
        "recover.attach" => PhaseKind::Attach,
        _ => PhaseKind::Step,
    }
}

/// By the steps of a run. A step within another one (`fence.stop`) is a part of it.
pub(super) fn of_steps(scene: &Scene<'_>, steps: &[(Mark<'_>, &Step)], depth: u8) -> Vec<Phase> {
    let whole = |name: &str| {
        let first = name.split('.').next().unwrap_or_default();
        first != name && steps.iter().any(|(_, it)| it.name == first)
    };
    let told = steps.iter().filter(|(_, step)| {
        let idle = matches!(step.ending, Ending::AlreadySo | Ending::Skipped);
        step.milliseconds >= TOO_SHORT && !(idle && step.milliseconds < 20)
    });
    told.map(|(mark, step)| {
        let kind = kind_of(&step.name);
        let to = mark.at + i64::try_from(step.milliseconds).unwrap_or(0);
        let lane = scene.hosts.lane(&step.host).or(mark.lane);
        let depth = depth + u8::from(whole(&step.name));
        Phase {
            step: Some(step.name.clone()),
            ..phase(kind, lane, mark.at, to, depth)
        }
    })
    .collect()
}
