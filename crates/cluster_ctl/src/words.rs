//! Sentences and columns for a terminal of 80 columns.

use failover_core::terminal::foreign;
use failover_rules::preflight::{Finding, Level};
use textwrap::{Options, WordSplitter};

/// Of a terminal that says nothing about itself.
pub const WIDTH: usize = 80;
/// Whoever answers decides how long a reason is.
const LONGEST: usize = 1_000;

/// `first` before the text's first line, as many blanks before the others.
pub fn wrapped(first: &str, text: &str) -> String {
    let blanks = " ".repeat(first.chars().count());
    let text = foreign(text, LONGEST);
    let options = Options::new(WIDTH)
        .initial_indent(first)
        .subsequent_indent(&blanks)
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false);
    textwrap::fill(&text, options)
}

/// A finding: what is wrong, and below it what to do.
pub fn finding(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Failure => "FAIL  ",
        Level::Warning => "warn  ",
    };
    let sentence = wrapped(level, &finding.sentence);
    let advice = wrapped("      -> ", &finding.advice);
    format!("{sentence}\n{advice}")
}

/// `text` in so many columns, cut where it is longer.
pub fn column(text: &str, width: usize) -> String {
    let text = foreign(text, LONGEST);
    let length = textwrap::core::display_width(&text);
    if length <= width {
        return format!("{text}{}", " ".repeat(width - length));
    }
    let mut cut = String::new();
    for letter in text.chars() {
        let next = format!("{cut}{letter}");
        if textwrap::core::display_width(&next) >= width {
            break;
        }
        cut = next;
    }
    let rest = width.saturating_sub(textwrap::core::display_width(&cut) + 1);
    format!("{cut}~{}", " ".repeat(rest))
}

/// So many seconds ago.
pub fn ago(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_has_its_width_whatever_is_in_it() {
        for (text, expected) in [
            ("ab", "ab   "),
            ("abcde", "abcde"),
            ("abcdef", "abcd~"),
            ("节点一", "节点~"),
            ("节", "节   "),
            ("a\u{1b}[2J", "a?[2J"),
        ] {
            assert_eq!(column(text, 5), expected, "{text}");
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let text = "word ".repeat(60);
        let all = wrapped("FAIL  ", &text);
        assert!(all.lines().all(|line| line.len() <= WIDTH), "{all}");
        assert!(
            all.lines()
                .skip(1)
                .all(|line| line.starts_with("      word"))
        );
    }
}
