//! The report for a terminal.

use super::words::{Label, Language, clock, date};
use crate::words::{column, wrapped};
use failover_rules::report::{Lane, Phase, Report, Story, StoryKind};
use std::fmt::Write as _;

/// Of a host's name.
const HOST: usize = 16;

/// What takes less is not worth a thought, in milliseconds.
const WORTH_IT: i64 = 1_000;

/// All of it.
pub fn page(report: &Report, language: &Language) -> String {
    let mut text = String::new();
    if report.stories.is_empty() {
        let _ = writeln!(text, "{}", language.label(Label::Nothing));
    }
    for story in &report.stories {
        tell(&mut text, report, story, language);
    }
    let _ = writeln!(text, "{}", language.label(Label::Notes));
    for (source, lane, _) in &report.sources {
        if source.kind.is_some() {
            let host = lane_name(report, *lane);
            let lines = format!("{} {}", source.lines, language.label(Label::Read));
            let _ = writeln!(
                text,
                "{}",
                wrapped("  ", &format!("{} ({host}): {lines}", source.name))
            );
        }
    }
    for note in &report.notes {
        let _ = writeln!(text, "{}", wrapped("  ", &language.sentence(note)));
    }
    text
}

/// A host by its address, and its name where it has another one.
pub fn lane_name(report: &Report, lane: Option<usize>) -> String {
    match lane.and_then(|it| report.lanes.get(it)) {
        Some(Lane { host, name }) if name.is_empty() => host.clone(),
        Some(Lane { host, name }) => format!("{host} {name}"),
        None => "-".to_owned(),
    }
}

/// What a story is, and of whom: one line.
pub fn heading(report: &Report, story: &Story, language: &Language) -> String {
    let node = lane_name(report, story.node);
    let of = language.label(Label::Of);
    let what = format!("{} {of} {node}", language.kind(story.kind)).replace("  ", " ");
    let (from, to) = (clock(story.from), clock(story.to));
    let took = language.span(story.to - story.from);
    let until = language.label(Label::To);
    format!("{what}: {} {from} {until} {to}, {took}", date(story.from))
}

/// Who waited, who was promoted, who ran it: a line for each.
pub fn summary(report: &Report, story: &Story, language: &Language) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some((from, to)) = story.outage {
        lines.push((
            language.label(Label::ClientsWaited),
            language.span(to - from),
        ));
    }
    match story.promoted {
        Some((lane, at)) => lines.push((
            language.label(Label::Promoted),
            match lane {
                Some(_) => format!("{} ({})", lane_name(report, lane), clock(at)),
                None => clock(at),
            },
        )),
        None if story.kind == StoryKind::Failover => {
            lines.push((
                language.label(Label::Promoted),
                language.label(Label::NobodyPromoted).to_owned(),
            ));
        }
        None => {}
    }
    lines.push((language.label(Label::RunBy), lane_name(report, story.lane)));
    if let Some(run) = &story.run {
        lines.push((language.label(Label::Run), run.clone()));
    }
    if let Some(cause) = story.cause.and_then(|it| report.stories.get(it)) {
        let when = format!("{} ({})", lane_name(report, cause.node), clock(cause.from));
        lines.push((language.label(Label::MakesUpFor), when));
    }
    lines
}

fn tell(text: &mut String, report: &Report, story: &Story, language: &Language) {
    let _ = writeln!(text, "{}", heading(report, story, language));
    for (name, value) in summary(report, story, language) {
        let _ = writeln!(text, "{}", wrapped(&format!("  {name}: "), &value));
    }
    let _ = writeln!(text, "\n  {}", language.label(Label::Moments));
    for moment in &story.moments {
        let lane = moment.lane.and_then(|it| report.lanes.get(it));
        let host = lane.map_or("", |it| it.host.as_str());
        let first = format!(
            "  {} {} ",
            column(&clock(moment.at), 12),
            column(host, HOST)
        );
        let _ = writeln!(
            text,
            "{}",
            wrapped(&first, &language.sentence(&moment.saying))
        );
    }
    let _ = writeln!(text, "\n  {}", language.label(Label::Phases));
    for phase in &story.phases {
        text.push_str(&phase_lines(phase, language));
    }
    if let Some(could) = story.could {
        let _ = writeln!(text, "{}", wrapped("  ", &could_be(story, could, language)));
    }
    let _ = writeln!(text, "\n  {}", language.label(Label::Verdicts));
    for verdict in &story.verdicts {
        let level = column(language.level(verdict.level), 4);
        let first = format!("  {level} {}: ", language.topic(verdict.topic));
        let _ = writeln!(
            text,
            "{}",
            wrapped(&first, &language.sentence(&verdict.saying))
        );
    }
    text.push('\n');
}

/// How long it would have been: whole seconds are as much as anybody can promise.
pub fn could_be(story: &Story, could: i64, language: &Language) -> String {
    let rounded = match could {
        0..1_000 => could,
        _ => (could + 500) / 1_000 * 1_000,
    };
    format!(
        "{} {}, {} {}.",
        language.label(Label::Could),
        language.span(rounded),
        language.label(Label::InPlaceOf),
        language.span(story.to - story.from)
    )
}

/// What a phase is: its name, its step, how many times.
pub fn phase_name(phase: &Phase, language: &Language) -> String {
    let mut name = match (&phase.step, language.phase(phase.kind).name) {
        (Some(step), words) if phase.kind == failover_rules::report::PhaseKind::Step => {
            format!("{words} {step}")
        }
        (_, words) => words.to_owned(),
    };
    if let Some(rounds) = phase.rounds {
        let _ = write!(name, " ({rounds} {})", language.label(Label::Tries));
    }
    name
}

/// What sets it, what makes it shorter and what that costs: a line for each.
pub fn advice(phase: &Phase, language: &Language) -> Vec<(&'static str, String)> {
    let Some(advice) = &phase.advice else {
        return Vec::new();
    };
    let words = language.phase(phase.kind);
    let settings = advice.settings.join(language.between_settings);
    let mut lines = Vec::new();
    if !settings.is_empty() {
        lines.push((language.label(Label::SetBy), settings));
    }
    let is_long = phase.to - phase.from >= WORTH_IT;
    if !words.shorter.is_empty() && (advice.could.is_some() || (is_long && advice.is_slow)) {
        let shorter = match advice.could {
            Some(could) => format!("{} ({})", words.shorter, language.span(could)),
            None => words.shorter.to_owned(),
        };
        lines.push((language.label(Label::Shorter), shorter));
        lines.push((language.label(Label::Costs), words.cost.to_owned()));
    }
    lines
}

fn phase_lines(phase: &Phase, language: &Language) -> String {
    let mut text = String::new();
    let indent = "  ".repeat(usize::from(phase.depth));
    let took = language.span(phase.to - phase.from);
    let first = format!("  {indent}{} {took:>8}  ", column(&clock(phase.from), 12));
    let _ = writeln!(text, "{}", wrapped(&first, &phase_name(phase, language)));
    let blanks = " ".repeat(first.chars().count() + 2);
    for (name, value) in advice(phase, language) {
        let _ = writeln!(text, "{}", wrapped(&format!("{blanks}{name}: "), &value));
    }
    text
}
