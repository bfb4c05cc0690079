//! Timeline history: which timelines a node's WAL came through, and where it left each.
//!
//! A promotion begins a new timeline and writes `0000000N.history` with all timelines before it.
//! Whether a standby can follow a primary, and where two nodes parted, is read from there.

use super::lsn::{BadLsn, Lsn, Timeline};

/// A timeline and those it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    timeline: Timeline,
    /// Oldest first, each with the position at which the next one begins.
    parents: Vec<(Timeline, Lsn)>,
}

/// A timeline that two histories have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Common {
    /// Its number.
    pub timeline: Timeline,
    /// The position at which it begins.
    pub begins: Lsn,
    /// Where the first of the two has left it; `None`: neither has.
    pub left: Option<Lsn>,
}

/// How the WAL of another node stands to a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is a part of it.
    Part,
    /// It has WAL on `timeline` beyond `at`, where this history left that timeline.
    Left {
        /// The other's timeline, a parent here.
        timeline: Timeline,
        /// The last position that both have.
        at: Lsn,
    },
    /// The other's timeline is not in this history.
    Foreign,
}

/// A text that is no timeline history.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHistory {
    /// Not `parent<TAB>switchpoint`.
    #[error("line {0} of a timeline history does not begin with a timeline and a WAL position")]
    Line(usize),
    /// The position cannot be read.
    #[error("line {0} of a timeline history: {1}")]
    Position(usize, BadLsn),
    /// Each timeline is newer than the one before, and begins no earlier.
    #[error("line {0} of a timeline history is out of order")]
    Order(usize),
    /// A timeline with a file has a parent: one without would look like another cluster.
    #[error("the history of timeline {0} names no parent")]
    Empty(Timeline),
}

/// Name of a timeline's history file, in the directory of the WAL.
pub fn file_name(timeline: Timeline) -> String {
    format!("{timeline:08X}.history")
}

/// The timeline of which a file with this name has the history.
pub fn timeline_of(file: &str) -> Option<Timeline> {
    let digits = file.strip_suffix(".history")?;
    let timeline = Timeline::from_str_radix(digits, 16).ok()?;
    (file_name(timeline) == file).then_some(timeline)
}

impl History {
    /// The history of a timeline that has no file, as timeline 1.
    pub fn first(timeline: Timeline) -> Self {
        Self {
            timeline,
            parents: Vec::new(),
        }
    }

    /// Reads the text of `timeline`'s history file.
    pub fn parse(timeline: Timeline, text: &str) -> Result<Self, BadHistory> {
        let mut parents: Vec<(Timeline, Lsn)> = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let mut words = line.split_ascii_whitespace();
            let Some(parent) = words.next().filter(|word| !word.starts_with('#')) else {
                continue;
            };
            let bad_line = BadHistory::Line(number);
            let (Ok(parent), Some(at)) = (parent.parse::<Timeline>(), words.next()) else {
                return Err(bad_line);
            };
            let at = at
                .parse::<Lsn>()
                .map_err(|why| BadHistory::Position(number, why))?;
            let follows = parents
                .last()
                .is_none_or(|&(last, left)| last < parent && left <= at);
            if !follows || parent >= timeline {
                return Err(BadHistory::Order(number));
            }
            parents.push((parent, at));
        }
        if parents.is_empty() {
            return Err(BadHistory::Empty(timeline));
        }
        Ok(Self { timeline, parents })
    }

    /// The newest timeline.
    pub fn timeline(&self) -> Timeline {
        self.timeline
    }

    /// The position at which the newest timeline begins; `None`: it has no parent.
    pub fn begins(&self) -> Option<Lsn> {
        self.parents.last().map(|&(_, at)| at)
    }

    /// The timeline with whose name the segment that ends at `end` is whole: a promotion within it copies
    /// what it has of it to the new timeline.
    pub fn of_segment(&self, end: Lsn) -> Timeline {
        let mut parents = self.parents.iter();
        parents
            .find(|(_, at)| *at >= end)
            .map_or(self.timeline, |(timeline, _)| *timeline)
    }

    /// How a node stands to this history that is on `timeline` and has WAL up to `position`. A
    /// node on the newest timeline is a part of it, however far it is.
    pub fn standing(&self, timeline: Timeline, position: Lsn) -> Standing {
        if timeline == self.timeline {
            return Standing::Part;
        }
        match self.parents.iter().find(|parent| parent.0 == timeline) {
            Some(&(_, at)) if position <= at => Standing::Part,
            Some(&(timeline, at)) => Standing::Left { timeline, at },
            None => Standing::Foreign,
        }
    }

    /// The last timeline that both came through, and the position up to which they are the same.
    /// None where they never part, being on the same timeline, and none where they have not even
    /// the oldest one in common.
    ///
    /// Two timelines that have the same number and begin at different positions (both nodes were
    /// promoted) are different ones, as `pg_rewind` has it.
    pub fn fork_with(&self, other: &Self) -> Option<(Timeline, Lsn)> {
        let mut fork = None;
        for (mine, theirs) in self.steps().zip(other.steps()) {
            if mine.0 != theirs.0 {
                break;
            }
            let first_left = [mine.1, theirs.1].into_iter().flatten().min();
            fork = first_left.map(|at| (mine.0, at));
            if mine.1 != theirs.1 {
                break;
            }
        }
        fork
    }

    /// The newest timeline that both came through as far as their histories tell. None where that is the oldest
    /// one, which no promotion began, and none where they have not even that in common.
    pub fn last_common(&self, other: &Self) -> Option<Common> {
        let (mut common, mut begins) = (None, None);
        for (mine, theirs) in self.steps().zip(other.steps()) {
            if mine.0 != theirs.0 {
                break;
            }
            let left = [mine.1, theirs.1].into_iter().flatten().min();
            common = begins.map(|begins| Common {
                timeline: mine.0,
                begins,
                left,
            });
            if mine.1 != theirs.1 {
                break;
            }
            begins = mine.1;
        }
        common
    }

    /// All timelines, oldest first, each with the position at which it was left, if it was.
    fn steps(&self) -> impl Iterator<Item = (Timeline, Option<Lsn>)> {
        let left = self.parents.iter().map(|&(line, at)| (line, Some(at)));
        left.chain([(self.timeline, None)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(timeline: Timeline, parents: &[(Timeline, u64)]) -> History {
        let parents = parents.iter().map(|&(line, at)| (line, Lsn(at))).collect();
        History { timeline, parents }
    }

    #[test]
    fn reads_what_the_server_writes() {
        let text = "1\t0/5000098\tno recovery target specified\n\n\
            # a comment\r\n\
            2\t16/B374D848\tbefore 2024-01-01 00:00:00+00\n  \n\
            4 16/B374D848\n";
        let parents = [(1, 0x500_0098), (2, 0x16_B374_D848), (4, 0x16_B374_D848)];
        let read = History::parse(15, text);
        assert_eq!(read, Ok(history(15, &parents)));
        assert_eq!(file_name(15), "0000000F.history");
        assert_eq!(timeline_of("0000000F.history"), Some(15));
        for other in [
            "0000000F",
            "F.history",
            "00000002.history.aside",
            "x.history",
        ] {
            assert_eq!(timeline_of(other), None, "{other}");
        }
        assert_eq!(History::first(1), history(1, &[]));
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, expected) in [
            ("1", BadHistory::Line(1)),
            ("x\t0/1", BadHistory::Line(1)),
            ("1\t0/1\n-1\t0/2", BadHistory::Line(2)),
            ("2\t0/1\n\n1\t0/2", BadHistory::Order(3)),
            ("1\t0/1\n1\t0/2", BadHistory::Order(2)),
            ("1\t0/2\n2\t0/1", BadHistory::Order(2)),
            ("3\t0/1", BadHistory::Order(1)),
            ("", BadHistory::Empty(3)),
            ("# 1\t0/1\n", BadHistory::Empty(3)),
        ] {
            assert_eq!(History::parse(3, text), Err(expected), "{text:?}");
        }
        let error = History::parse(3, "1\t0x1").unwrap_err();
        assert!(error.to_string().starts_with("line 1 "), "{error}");
    }

    #[test]
    fn a_node_is_a_part_up_to_the_switch_point() {
        let mine = history(4, &[(1, 100), (3, 300)]);
        let left = |timeline, at| Standing::Left {
            timeline,
            at: Lsn(at),
        };
        for (timeline, position, expected) in [
            (4, 300, Standing::Part),
            (4, 9999, Standing::Part),
            (3, 300, Standing::Part),
            (3, 301, left(3, 300)),
            (1, 0, Standing::Part),
            (1, 100, Standing::Part),
            (1, 101, left(1, 100)),
            (2, 50, Standing::Foreign),
            (5, 50, Standing::Foreign),
        ] {
            let found = mine.standing(timeline, Lsn(position));
            assert_eq!(found, expected, "{timeline} {position}");
        }
    }

    #[test]
    fn a_segment_in_which_a_promotion_happened_is_the_new_timelines() {
        let mine = history(5, &[(1, 100), (2, 250), (4, 260)]);
        for (end, expected) in [(50, 1), (100, 1), (101, 2), (250, 2), (255, 4), (300, 5)] {
            assert_eq!(mine.of_segment(Lsn(end)), expected, "{end}");
        }
        assert_eq!(History::first(1).of_segment(Lsn(50)), 1);
    }

    #[test]
    fn two_histories_part_at_the_earlier_switch_point() {
        let fork = |timeline, at| Some((timeline, Lsn(at)));
        for (one, other, expected) in [
            (history(1, &[]), history(1, &[]), None),
            (history(1, &[]), history(2, &[(1, 100)]), fork(1, 100)),
            (history(2, &[(1, 100)]), history(2, &[(1, 100)]), None),
            // One was promoted to 2, the other to 3, from the same timeline.
            (
                history(2, &[(1, 100)]),
                history(3, &[(1, 150)]),
                fork(1, 100),
            ),
            (
                history(2, &[(1, 100)]),
                history(3, &[(1, 100)]),
                fork(1, 100),
            ),
            // One is still on a timeline that the other has left.
            (
                history(2, &[(1, 100)]),
                history(4, &[(1, 100), (2, 200), (3, 300)]),
                fork(2, 200),
            ),
            (
                history(5, &[(1, 100), (2, 250), (4, 400)]),
                history(3, &[(1, 100), (2, 200)]),
                fork(2, 200),
            ),
            // Both were promoted to 2.
            (
                history(2, &[(1, 100)]),
                history(2, &[(1, 150)]),
                fork(1, 100),
            ),
            (
                history(3, &[(1, 100), (2, 200)]),
                history(3, &[(1, 150), (2, 200)]),
                fork(1, 100),
            ),
            // Two clusters.
            (history(7, &[]), history(2, &[(1, 100)]), None),
        ] {
            assert_eq!(one.fork_with(&other), expected, "{one:?} {other:?}");
            assert_eq!(other.fork_with(&one), expected, "{other:?} {one:?}");
        }
    }

    #[test]
    fn the_last_timeline_in_common() {
        let of = |timeline, begins, left: Option<u64>| {
            Some(Common {
                timeline,
                begins: Lsn(begins),
                left: left.map(Lsn),
            })
        };
        let own = history(3, &[(1, 100), (2, 200)]);
        for (other, expected) in [
            (history(3, &[(1, 100), (2, 200)]), of(3, 200, None)),
            (history(2, &[(1, 100)]), of(2, 100, Some(200))),
            (history(3, &[(1, 100), (2, 150)]), of(2, 100, Some(150))),
            (
                history(4, &[(1, 100), (2, 200), (3, 300)]),
                of(3, 200, Some(300)),
            ),
            (history(2, &[(1, 90)]), None),
            (History::first(1), None),
            (History::first(5), None),
        ] {
            assert_eq!(own.last_common(&other), expected, "{other:?}");
            assert_eq!(other.last_common(&own), expected, "{other:?}");
        }
    }
}
