//! The picture of a story: hosts as lanes, phases as bars, what clients felt as a band across. SVG written here, with
//! one function that escapes: charts of a library (`plotters`, `charming`) have axes of numbers and no lanes, and
//! what they bring is more than these few rectangles.

use super::html::escaped;
use super::text::{lane_name, phase_name};
use super::words::{Label, Language, clock};
use failover_rules::report::{Phase, PhaseKind, Report, Story};
use std::fmt::Write as _;

/// Of the picture, in its own units; it is as wide as the page.
const WIDTH: f64 = 1000.0;
/// Where the lanes begin.
const LEFT: f64 = 150.0;
const RIGHT: f64 = 20.0;
/// A bar, and what lies between two of them.
const BAR: f64 = 16.0;
const ROW: f64 = 20.0;
/// Above the lanes.
const TOP: f64 = 44.0;
/// No bar is narrower.
const LEAST: f64 = 2.0;
/// Of a letter.
const LETTER: f64 = 6.2;

/// The colour of a phase: light enough to be printed, and to be told apart by those who see no red.
fn colour(kind: PhaseKind) -> &'static str {
    match kind {
        PhaseKind::Notice | PhaseKind::Tries | PhaseKind::Looks => "#d55e00",
        PhaseKind::Election | PhaseKind::PoolVip | PhaseKind::Votes => "#cc79a7",
        PhaseKind::Command => "#999999",
        PhaseKind::Fence | PhaseKind::TrustIp => "#e69f00",
        PhaseKind::Promote | PhaseKind::Start | PhaseKind::Vip => "#009e73",
        PhaseKind::Rewind | PhaseKind::Files => "#0072b2",
        _ => "#56b4e9",
    }
}

/// A lane with its bars, each in a row in which it does not lie on another.
struct Rows<'a> {
    lane: Option<usize>,
    rows: Vec<Vec<&'a Phase>>,
}

fn lanes<'a>(report: &Report, story: &'a Story) -> Vec<Rows<'a>> {
    let mut all: Vec<Rows<'a>> = (0..report.lanes.len())
        .map(|lane| Rows {
            lane: Some(lane),
            rows: Vec::new(),
        })
        .collect();
    for phase in story.phases.iter().filter(|it| it.to > it.from) {
        let at = all.iter().position(|it| it.lane == phase.lane);
        let at = at.unwrap_or_else(|| {
            all.push(Rows {
                lane: phase.lane,
                rows: Vec::new(),
            });
            all.len() - 1
        });
        let rows = &mut all[at].rows;
        let free = |row: &Vec<&Phase>| {
            row.iter()
                .all(|it| it.to <= phase.from && it.depth == phase.depth)
        };
        match rows.iter_mut().find(|it| free(it)) {
            Some(row) => row.push(phase),
            None => rows.push(vec![phase]),
        }
    }
    let told = |lane: Option<usize>| story.moments.iter().any(|it| it.lane == lane);
    all.retain(|it| !it.rows.is_empty() || told(it.lane) || it.lane == story.node);
    all
}

/// Where a time lies.
struct Scale {
    from: i64,
    to: i64,
}

impl Scale {
    fn x(&self, at: i64) -> f64 {
        let whole = (self.to - self.from).max(1) as f64;
        let part = (at.clamp(self.from, self.to) - self.from) as f64 / whole;
        LEFT + part * (WIDTH - LEFT - RIGHT)
    }
}

/// The picture of one story.
pub fn picture(report: &Report, story: &Story, language: &Language) -> String {
    let lanes = lanes(report, story);
    let margin = ((story.to - story.from) / 50).max(200);
    let scale = Scale {
        from: story.from - margin,
        to: story.to + margin,
    };
    let heights: Vec<f64> = lanes
        .iter()
        .map(|it| it.rows.len().max(1) as f64 * ROW + 24.0)
        .collect();
    let height = TOP + heights.iter().sum::<f64>() + 30.0;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n",
        escaped(&super::text::heading(report, story, language))
    );
    band(&mut svg, story, &scale, height, language);
    axis(&mut svg, &scale, height);
    let mut y = TOP;
    for (lane, tall) in lanes.iter().zip(&heights) {
        let _ = writeln!(
            svg,
            "<line x1=\"0\" y1=\"{y}\" x2=\"{WIDTH}\" y2=\"{y}\" class=\"rule\"/>\
             <text x=\"4\" y=\"{}\" class=\"host\">{}</text>",
            y + 18.0,
            escaped(&lane_name(report, lane.lane))
                .replace(' ', &format!("</text><text x=\"4\" y=\"{}\">", y + 34.0))
        );
        marks(&mut svg, story, lane.lane, &scale, y, language);
        for (at, row) in lane.rows.iter().enumerate() {
            for phase in row {
                bar(
                    &mut svg,
                    phase,
                    &scale,
                    y + 18.0 + at as f64 * ROW,
                    language,
                );
            }
        }
        y += tall;
    }
    svg.push_str("</svg>\n");
    svg
}

/// What clients felt, across all lanes.
fn band(svg: &mut String, story: &Story, scale: &Scale, height: f64, language: &Language) {
    let Some((from, to)) = story.outage else {
        return;
    };
    let (x, end) = (scale.x(from), scale.x(to));
    let felt = format!(
        "{} {}",
        language.label(Label::ClientsWaited),
        language.span(to - from)
    );
    let _ = writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"22\" width=\"{:.1}\" height=\"{:.1}\" class=\"band\"/>\
         <text x=\"{:.1}\" y=\"16\" class=\"felt\">{}</text>",
        end - x,
        height - 44.0,
        x + 4.0,
        escaped(&felt)
    );
}

/// Times below the lanes.
fn axis(svg: &mut String, scale: &Scale, height: f64) {
    const STEPS: [i64; 14] = [
        100, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 300_000, 600_000, 1_800_000,
        3_600_000, 21_600_000,
    ];
    let whole = scale.to - scale.from;
    let step = STEPS.into_iter().find(|it| whole / it <= 8);
    let step = step.unwrap_or(whole / 8 + 1);
    let mut at = (scale.from / step + 1) * step;
    while at < scale.to {
        let x = scale.x(at);
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{:.1}\" class=\"tick\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            height - 22.0,
            height - 8.0,
            clock(at)
        );
        at += step;
    }
}

/// Moments of a lane: a small line each, with what happened where the pointer rests.
fn marks(
    svg: &mut String,
    story: &Story,
    lane: Option<usize>,
    scale: &Scale,
    y: f64,
    language: &Language,
) {
    for moment in story.moments.iter().filter(|it| it.lane == lane) {
        let x = scale.x(moment.at);
        let text = format!("{} {}", clock(moment.at), language.sentence(&moment.saying));
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {:.1} l4 7 h-8 z\" class=\"mark\"><title>{}</title></path>",
            y + 5.0,
            escaped(&text)
        );
    }
}

fn bar(svg: &mut String, phase: &Phase, scale: &Scale, y: f64, language: &Language) {
    let (x, end) = (scale.x(phase.from), scale.x(phase.to));
    let width = (end - x).max(LEAST);
    let name = phase_name(phase, language);
    let took = language.span(phase.to - phase.from);
    let _ = write!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{}\">\
         <title>{}</title></rect>",
        colour(phase.kind),
        escaped(&format!("{name}: {took}"))
    );
    // What does not fit stands in the table below.
    let label = format!("{took} {name}");
    let wide = |text: &str| textwrap::core::display_width(text) as f64 * LETTER + 8.0;
    let label = match () {
        () if wide(&label) <= width => Some(label),
        () if wide(&took) <= width => Some(took),
        () => None,
    };
    if let Some(label) = label {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" class=\"bar\">{}</text>",
            x + 4.0,
            y + 12.0,
            escaped(&label)
        );
    }
    svg.push('\n');
}
