//! Puts what a report says into a language.

use super::en::ENGLISH;
use super::zh::CHINESE;
use failover_core::logs::civil;
use failover_core::terminal::foreign;
use failover_rules::report::said::{Saying, Value, Word};
use failover_rules::report::{Level, PhaseKind, StoryKind, Topic};

/// Whoever wrote a log decides how long a value is.
const LONGEST: usize = 300;

/// A language.
#[derive(Debug)]
pub struct Language {
    /// As HTML has it.
    pub code: &'static str,
    /// Its seconds.
    pub seconds: &'static str,
    /// Its minutes.
    pub minutes: &'static str,
    /// Its hours.
    pub hours: &'static str,
    /// Between the names of settings.
    pub between_settings: &'static str,
    /// A sentence for each word.
    pub sentences: &'static [(Word, &'static str)],
    /// What is said of each phase.
    pub phases: &'static [(PhaseKind, PhaseWords)],
    /// What stands above and beside.
    pub labels: &'static [(Label, &'static str)],
}

/// What is said of a phase.
#[derive(Clone, Copy, Debug)]
pub struct PhaseWords {
    /// What it is.
    pub name: &'static str,
    /// What would make it shorter.
    pub shorter: &'static str,
    /// What that costs.
    pub cost: &'static str,
}

/// What stands above and beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    Title,
    Failover,
    StandbyDown,
    Recovery,
    Of,
    To,
    ClientsWaited,
    ClientsFelt,
    Promoted,
    NobodyPromoted,
    RunBy,
    Run,
    Moments,
    Phases,
    SetBy,
    Shorter,
    Costs,
    Tries,
    Could,
    InPlaceOf,
    Verdicts,
    Lost,
    Writers,
    Refused,
    Redundancy,
    Good,
    Unknown,
    Bad,
    Notes,
    Read,
    Nothing,
    MakesUpFor,
    LogPool,
    LogServer,
    LogScript,
    LogEvents,
}

impl Language {
    /// By its code; English where it is another one.
    pub fn of(code: &str) -> &'static Self {
        match code {
            "zh" => &CHINESE,
            _ => &ENGLISH,
        }
    }

    /// What stands above or beside.
    pub fn label(&self, label: Label) -> &'static str {
        let found = self.labels.iter().find(|(it, _)| *it == label);
        found.map_or("", |(_, text)| text)
    }

    /// What is said of a phase.
    pub fn phase(&self, kind: PhaseKind) -> PhaseWords {
        const NONE: PhaseWords = PhaseWords {
            name: "",
            shorter: "",
            cost: "",
        };
        let found = self.phases.iter().find(|(it, _)| *it == kind);
        found.map_or(NONE, |(_, words)| *words)
    }

    /// A sentence with its values.
    pub fn sentence(&self, saying: &Saying) -> String {
        let found = self.sentences.iter().find(|(it, _)| *it == saying.word);
        let mut text = String::new();
        let mut rest = found.map_or("", |(_, text)| text);
        while let Some((before, after)) = rest.split_once('{') {
            text.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                break;
            };
            let value = saying.values.iter().find(|(it, _)| *it == name);
            text.push_str(&value.map_or_else(String::new, |(_, value)| self.value(value)));
            rest = after;
        }
        text.push_str(rest);
        text
    }

    fn value(&self, value: &Value) -> String {
        match value {
            Value::Text(text) => foreign(text, LONGEST),
            Value::Count(count) => count.to_string(),
            Value::At { at_ms } => clock(*at_ms),
            Value::Span { ms } => self.span(*ms),
        }
    }

    /// `84 s`, `0.35 s`, `62 min 3 s`; with a minus where it is negative.
    pub fn span(&self, ms: i64) -> String {
        let sign = if ms < 0 { "-" } else { "" };
        let ms = ms.unsigned_abs();
        let (whole, part) = (ms / 1_000, ms % 1_000);
        match whole {
            0..600 if part == 0 => format!("{sign}{whole} {}", self.seconds),
            0..10 => format!("{sign}{whole}.{:02} {}", part / 10, self.seconds),
            10..600 => format!("{sign}{whole}.{} {}", part / 100, self.seconds),
            600..7_200 => {
                let rest = whole % 60;
                let minutes = format!("{sign}{} {}", whole / 60, self.minutes);
                match rest {
                    0 => minutes,
                    _ => format!("{minutes} {rest} {}", self.seconds),
                }
            }
            _ => {
                let rest = whole / 60 % 60;
                let hours = format!("{sign}{} {}", whole / 3_600, self.hours);
                match rest {
                    0 => hours,
                    _ => format!("{hours} {rest} {}", self.minutes),
                }
            }
        }
    }

    /// What a story is about.
    pub fn kind(&self, kind: StoryKind) -> &'static str {
        self.label(match kind {
            StoryKind::Failover => Label::Failover,
            StoryKind::StandbyDown => Label::StandbyDown,
            StoryKind::Recovery => Label::Recovery,
        })
    }

    /// What a verdict is about.
    pub fn topic(&self, topic: Topic) -> &'static str {
        self.label(match topic {
            Topic::Lost => Label::Lost,
            Topic::Writers => Label::Writers,
            Topic::Refused => Label::Refused,
            Topic::Redundancy => Label::Redundancy,
        })
    }

    /// How it is.
    pub fn level(&self, level: Level) -> &'static str {
        self.label(match level {
            Level::Good => Label::Good,
            Level::Unknown => Label::Unknown,
            Level::Bad => Label::Bad,
        })
    }
}

/// `15:38:09`, with milliseconds where there are any.
pub fn clock(at: i64) -> String {
    let [_, _, _, hour, minute, second, ms] = civil(at);
    match ms {
        0 => format!("{hour:02}:{minute:02}:{second:02}"),
        _ => format!("{hour:02}:{minute:02}:{second:02}.{ms:03}"),
    }
}

/// `2022-08-30`.
pub fn date(at: i64) -> String {
    let [year, month, day, ..] = civil(at);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn values(text: &str) -> BTreeSet<&str> {
        let parts = text.split('{').skip(1);
        parts.filter_map(|it| Some(it.split_once('}')?.0)).collect()
    }

    #[test]
    fn both_languages_have_a_sentence_with_the_same_values_for_everything() {
        for word in Word::ALL {
            let of = |language: &Language| {
                let mut found = language.sentences.iter().filter(|(it, _)| *it == word);
                let (_, text) = found.next().unwrap();
                assert!(found.next().is_none() && !text.is_empty(), "{word:?}");
                values(text)
            };
            assert_eq!(of(&ENGLISH), of(&CHINESE), "{word:?}");
        }
        for kind in PhaseKind::ALL {
            let words = [ENGLISH.phase(kind), CHINESE.phase(kind)];
            assert!(words.iter().all(|it| !it.name.is_empty()), "{kind:?}");
            assert_eq!(words[0].shorter.is_empty(), words[1].shorter.is_empty());
            assert_eq!(words[0].cost.is_empty(), words[1].cost.is_empty());
        }
        for (label, _) in ENGLISH.labels {
            assert!(
                CHINESE.labels.iter().any(|(it, _)| it == label),
                "{label:?}"
            );
        }
    }

    #[test]
    fn a_time_is_told_as_a_person_would() {
        for (ms, text) in [
            (0, "0 s"),
            (350, "0.35 s"),
            (84_000, "84 s"),
            (12_340, "12.3 s"),
            (3_723_000, "62 min 3 s"),
            (-28_800_000, "-8 h"),
        ] {
            assert_eq!(ENGLISH.span(ms), text);
        }
        assert_eq!(clock(1_661_873_889_000), "15:38:09");
        assert_eq!(date(1_661_873_889_000), "2022-08-30");
    }
}
