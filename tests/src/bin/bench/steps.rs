//! Where the time inside a tool goes, from its event log: as a chart in the terminal and in the docs.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use lab::{Event, Node};

use crate::figures::Samples;

/// Width of the terminal's bars, in characters.
const BAR: usize = 48;

/// The steps of a tool's runs.
pub struct Steps {
    title: String,
    /// In the order of the first run: start within the run, and length, in milliseconds.
    steps: Vec<(String, Samples, Samples)>,
}

impl Steps {
    pub fn new(title: String) -> Self {
        Self {
            title,
            steps: Vec::new(),
        }
    }

    /// Adds the last run that a host has coordinated.
    pub fn add_last_run(&mut self, node: &Node) -> Result<()> {
        let events = node.events()?;
        let last = &events.last().context("no events")?.run;
        let run: Vec<&Event> = events.iter().filter(|event| event.run == *last).collect();
        let starts = run.iter().map(|event| time_of_day(&event.started));
        let starts: Vec<f64> = starts.collect::<Result<_>>()?;
        let begin = starts.iter().copied().fold(f64::INFINITY, f64::min);
        for (event, start) in run.iter().zip(starts) {
            let at = match self.steps.iter().position(|(name, ..)| *name == event.step) {
                Some(at) => at,
                None => {
                    let new = (event.step.clone(), Samples::default(), Samples::default());
                    self.steps.push(new);
                    self.steps.len() - 1
                }
            };
            let (_, starts, lengths) = &mut self.steps[at];
            starts.add(start - begin);
            #[allow(clippy::cast_precision_loss, reason = "minutes at most")]
            lengths.add(event.milliseconds as f64);
        }
        Ok(())
    }

    /// Medians of start and length, those that were started first first. What takes no time is left
    /// out.
    fn medians(&self) -> Vec<(&str, f64, f64)> {
        let mut all: Vec<_> = self
            .steps
            .iter()
            .filter_map(|(name, starts, lengths)| {
                Some((name.as_str(), starts.median()?, lengths.median()?))
            })
            .collect();
        all.retain(|(_, _, length)| *length >= 0.5);
        // Of those that start together the longest is the whole of the others.
        all.sort_by(|a, b| a.1.total_cmp(&b.1).then(b.2.total_cmp(&a.2)));
        all
    }

    /// It has parts, which are shown too.
    fn is_whole(&self, name: &str) -> bool {
        let parts = format!("{name}.");
        self.steps.iter().any(|(it, ..)| it.starts_with(&parts))
    }

    fn end(medians: &[(&str, f64, f64)]) -> f64 {
        let ends = medians.iter().map(|(_, start, length)| start + length);
        ends.fold(1.0, f64::max)
    }

    pub fn chart(&self) -> String {
        let medians = self.medians();
        let end = Self::end(&medians);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "0 to BAR"
        )]
        let column = |ms: f64| (ms / end * BAR as f64).round() as usize;
        let mut text = format!("{}\n", self.title);
        for (name, start, length) in medians {
            let from = column(start).min(BAR - 1);
            let to = column(start + length).clamp(from + 1, BAR);
            let mark = if self.is_whole(name) { "-" } else { "#" };
            let bar = format!("{}{}", " ".repeat(from), mark.repeat(to - from));
            let _ = writeln!(text, "  {name:<20} |{bar:<BAR$}| {length:>6.0} ms");
        }
        text
    }
}

/// All charts in one drawing.
pub fn svg<'a>(all: impl Iterator<Item = &'a Steps>) -> String {
    const ROW: usize = 16;
    const NAME: f64 = 150.0;
    const WIDTH: f64 = 560.0;
    let mut body = String::new();
    let mut y = 0;
    for steps in all {
        let medians = steps.medians();
        let scale = WIDTH / Steps::end(&medians);
        y += ROW + ROW / 2;
        let _ = writeln!(
            body,
            r#"<text x="0" y="{y}" class="title">{}</text>"#,
            escape(&steps.title)
        );
        for (name, start, length) in medians {
            y += ROW;
            let (x, width) = (NAME + start * scale, (length * scale).max(1.0));
            let class = if steps.is_whole(name) {
                "whole"
            } else {
                "part"
            };
            let (top, after) = (y - 11, NAME + (start + length) * scale + 4.0);
            let _ = writeln!(
                body,
                r#"<text x="0" y="{y}">{}</text><rect class="{class}" x="{x:.1}" y="{top}" width="{width:.1}" height="12"/><text x="{after:.1}" y="{y}">{length:.0} ms</text>"#,
                escape(name)
            );
        }
    }
    let (width, height) = (NAME + WIDTH + 60.0, y + ROW);
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">
<style>text {{ font: 11px sans-serif; fill: #333 }} .title {{ font-weight: bold }} .paper {{ fill: #fff }} .part {{ fill: #3b7dd8 }} .whole {{ fill: #c5d9f3 }}</style>
<rect class="paper" width="100%" height="100%"/>
{body}</svg>
"##
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Milliseconds since midnight of `2026-01-31T16:42:01.123+00:00`.
fn time_of_day(stamp: &str) -> Result<f64> {
    let parts = || {
        let time = stamp.split_once('T')?.1.get(..12)?;
        let mut parts = time.split(':').map(str::parse::<f64>);
        let mut next = || parts.next()?.ok();
        Some((next()? * 60.0 + next()?) * 60_000.0 + next()? * 1000.0)
    };
    parts().with_context(|| format!("{stamp:?} is no time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_milliseconds() {
        let at = |stamp| time_of_day(stamp).unwrap();
        assert_eq!(at("2026-01-31T00:00:01.250+00:00"), 1250.0);
        assert_eq!(at("2026-01-31T01:01:00.000+02:00"), 3_660_000.0);
        assert!(time_of_day("yesterday").is_err());
    }

    #[test]
    fn a_chart_has_each_step_where_it_was() {
        let sampled = |value| {
            let mut samples = Samples::default();
            samples.add(value);
            samples
        };
        let step = |name: &str, start, length| (name.to_owned(), sampled(start), sampled(length));
        let steps = Steps {
            title: "t".to_owned(),
            steps: vec![
                step("b.b", 24.0, 24.0),
                step("a", 0.0, 24.0),
                step("b", 24.0, 24.0),
            ],
        };
        let chart = steps.chart();
        let (half, none) = ("#".repeat(24), " ".repeat(24));
        assert!(
            chart.contains(&format!("|{half}{none}|     24 ms")),
            "{chart}"
        );
        assert!(
            chart.contains(&format!("|{none}{half}|     24 ms")),
            "{chart}"
        );
        assert!(
            chart.contains(&format!("|{none}{}|", "-".repeat(24))),
            "{chart}"
        );
        assert_eq!(svg([&steps].into_iter()).matches("<rect").count(), 4);
    }
}
