//! What was measured, as tables: the same for the terminal and for the docs.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// What one contender needed, one number for each repetition.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    pub fn add_ms(&mut self, time: Duration) {
        self.add(time.as_secs_f64() * 1000.0);
    }

    pub fn min(&self) -> Option<f64> {
        self.0.first().copied()
    }

    pub fn max(&self) -> Option<f64> {
        self.0.last().copied()
    }

    /// Of an even number the mean of the two in the middle.
    pub fn median(&self) -> Option<f64> {
        let (upper, lower) = (self.0.len() / 2, self.0.len().checked_sub(1)? / 2);
        Some(f64::midpoint(*self.0.get(lower)?, *self.0.get(upper)?))
    }
}

impl fmt::Display for Samples {
    /// `min / median / max`, `-` where there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min(), self.median(), self.max()) {
            (Some(min), Some(median), Some(max)) => {
                write!(f, "{} / {} / {}", short(min), short(median), short(max))
            }
            _ => f.write_str("-"),
        }
    }
}

/// Three digits are as many as mean something.
pub fn short(value: f64) -> String {
    match value.abs() {
        it if it >= 100.0 || it == it.trunc() => format!("{value:.0}"),
        it if it >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Contenders by row, what was measured by column. Ratios are those of the medians, against the first
/// row that has one.
#[derive(Debug, Clone)]
pub struct Table {
    pub title: String,
    pub measures: Vec<&'static str>,
    pub rows: Vec<(String, Vec<Samples>)>,
}

impl Table {
    pub fn new(title: String, measures: &[&'static str], names: &[&str]) -> Self {
        let empty = vec![Samples::default(); measures.len()];
        Self {
            title,
            measures: measures.to_vec(),
            rows: names
                .iter()
                .map(|name| ((*name).to_owned(), empty.clone()))
                .collect(),
        }
    }

    pub fn cell(&mut self, row: usize, measure: usize) -> &mut Samples {
        &mut self.rows[row].1[measure]
    }

    pub fn median(&self, row: usize, measure: usize) -> Option<f64> {
        self.rows.get(row)?.1.get(measure)?.median()
    }

    fn lines(&self) -> Vec<Vec<String>> {
        let mut heading = vec![self.title.clone()];
        for measure in &self.measures {
            heading.extend([(*measure).to_owned(), "ratio".to_owned()]);
        }
        let row = |(name, cells): &(String, Vec<Samples>)| {
            let mut line = vec![name.clone()];
            for (at, cell) in cells.iter().enumerate() {
                let base = self.rows.iter().find_map(|(_, cells)| cells[at].median());
                let ratio = match (cell.median(), base) {
                    (Some(own), Some(base)) if base > 0.0 => short(own / base),
                    _ => "-".to_owned(),
                };
                line.extend([cell.to_string(), ratio]);
            }
            line
        };
        std::iter::once(heading)
            .chain(self.rows.iter().map(row))
            .collect()
    }
}

impl fmt::Display for Table {
    /// In Markdown that is also good to read in a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&aligned(&self.lines()))
    }
}

/// A Markdown table whose first line is the heading.
pub fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |at: usize| {
        let cells = lines.iter().filter_map(|line| line.get(at));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text += "|\n";
        if number == 0 {
            for width in &widths {
                let _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text += "|\n";
        }
    }
    text
}

/// A figure that has to be held, and whether it was.
#[derive(Debug, Clone)]
pub struct Verdict {
    pub figure: String,
    pub limit: String,
    pub measured: String,
    pub holds: bool,
}

impl Verdict {
    /// Not measured is not held.
    pub fn at_most(figure: impl Into<String>, limit: f64, unit: &str, value: Option<f64>) -> Self {
        let measured = value.map_or("not measured".to_owned(), |it| {
            format!("{} {unit}", short(it))
        });
        Self {
            figure: figure.into(),
            limit: format!("at most {} {unit}", short(limit)),
            measured: measured.trim_end().to_owned(),
            holds: value.is_some_and(|it| it <= limit),
        }
    }
}

pub fn verdicts(all: &[Verdict]) -> String {
    let mut lines = vec![
        ["figure", "to hold", "measured", "holds"]
            .map(str::to_owned)
            .to_vec(),
    ];
    lines.extend(all.iter().map(|it| {
        let holds = if it.holds { "yes" } else { "NO" };
        let (limit, measured) = (it.limit.trim_end().to_owned(), it.measured.clone());
        vec![it.figure.clone(), limit, measured, holds.to_owned()]
    }));
    aligned(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_ratios_are_to_the_first_row_that_has_one() {
        let mut table = Table::new("t".to_owned(), &["ms", "MB"], &["bare", "ours"]);
        for value in [3.0, 1.0, 20.0] {
            table.cell(0, 0).add(value);
        }
        for value in [2.0, 10.0] {
            table.cell(1, 0).add(value);
            table.cell(1, 1).add(value);
        }
        assert_eq!((table.median(0, 0), table.median(0, 1)), (Some(3.0), None));
        let shown = table.to_string();
        assert!(
            shown.contains("| bare | 1 / 3 / 20 | 1     | -          | -     |"),
            "{shown}"
        );
        assert!(
            shown.contains("| ours | 2 / 6 / 10 | 2     | 2 / 6 / 10 | 1     |"),
            "{shown}"
        );
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        assert!(!Verdict::at_most("f", 1.0, "ms", None).holds);
        assert!(!Verdict::at_most("f", 1.0, "ms", Some(1.5)).holds);
        assert!(Verdict::at_most("f", 1.0, "ms", Some(1.0)).holds);
    }
}
