//! Failure drills: what the tools are tried against. Each sets up a cluster, breaks something while a
//! client writes, waits for states, heals, and asks the same questions in the end ([`Watch::answers`]).

mod a;
mod b;
mod c;
mod d;
mod e;
mod killed;
mod needs;
mod outcome;
mod scene;
mod table;
mod versions;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::flavor::Flavor;
use crate::lab::{Lab, LabOptions};

pub use outcome::Outcome;
pub use scene::{Played, Scene};
pub use table::write_table;
pub use versions::{ends, matrix, write_versions};

/// One drill.
#[derive(Clone, Copy)]
pub struct Drill {
    /// Its row: `A6`.
    pub row: &'static str,
    /// Which of several ways the row is played in; empty where there is one.
    pub way: &'static str,
    /// On what.
    pub flavor: Flavor,
    /// What happens.
    pub what: &'static str,
    /// It is one of those that `make test` runs, too.
    pub fast: bool,
    options: fn() -> LabOptions,
    play: fn(&mut Scene<'_>) -> Played,
}

impl Drill {
    /// Its name: `A6-90-s`, `A1-v8r3`.
    pub fn name(&self) -> String {
        let way = match self.way {
            "" => String::new(),
            way => format!("-{}", way.replace(' ', "-")),
        };
        let on = match self.flavor {
            Flavor::Postgres => "",
            Flavor::Kingbase => "-v8r3",
        };
        format!("{}{way}{on}", self.row)
    }

    /// What the table says of it, in brackets: which way, and on what.
    fn aside(&self) -> String {
        let on = match self.flavor {
            Flavor::Postgres => "",
            Flavor::Kingbase => "on the stand-in for V8R3",
        };
        match [self.way, on].map(str::is_empty) {
            [true, true] => String::new(),
            [false, true] => format!(" ({})", self.way),
            [true, false] => format!(" ({on})"),
            [false, false] => format!(" ({}, {on})", self.way),
        }
    }

    /// Is it meant by one of these words: its row, or its name, in any case?
    pub fn is_one_of(&self, words: &[String]) -> bool {
        let name = self.name();
        words
            .iter()
            .any(|word| word.eq_ignore_ascii_case(self.row) || word.eq_ignore_ascii_case(&name))
    }

    /// Plays it in a lab of its own.
    pub fn run(&self) -> Outcome {
        self.run_with(by_the_clock())
    }

    /// Plays it in a lab of its own; what is left to chance follows from the seed.
    pub fn run_with(&self, seed: u64) -> Outcome {
        self.run_on((self.options)(), seed)
    }

    /// Plays it with other tools than this workspace's: those in this directory.
    pub fn run_with_tools(&self, tools: &Path) -> Outcome {
        let options = LabOptions {
            tools: tools.to_owned(),
            ..(self.options)()
        };
        self.run_on(options, by_the_clock())
    }

    fn run_on(&self, options: LabOptions, seed: u64) -> Outcome {
        let begun = Instant::now();
        let options = LabOptions {
            name: format!("dr-{}", self.name().to_lowercase().replace('.', "-")),
            flavor: self.flavor,
            ..options
        };
        let lab = match Lab::start(options) {
            Ok(lab) => lab,
            Err(error) => return Outcome::without_lab(self, &error, begun.elapsed()),
        };
        let outcome = match Scene::begin(&lab, seed) {
            Ok(mut scene) => {
                let played = (self.play)(&mut scene);
                Outcome::of(self, &lab, scene, played, begun)
            }
            Err(error) => Outcome::without_lab(self, &error, begun.elapsed()),
        };
        drop(lab);
        outcome
    }
}

/// Milliseconds since 1970: a seed that is another one each time, and what cron goes by.
#[allow(
    clippy::disallowed_methods,
    reason = "a seed, and the time of day by which cron goes"
)]
pub fn by_the_clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |it| it.as_secs() * 1000 + u64::from(it.subsec_millis()))
}

/// The rows that are played on the stand-in for V8R3, too: those in which its own programs, files and
/// SQL do the work.
const ON_THE_STAND_IN: [&str; 8] = ["A1", "A2", "A4", "A8", "A9", "B1", "B3", "B7"];

/// All drills, in the order of their rows; those on the stand-in come last.
pub fn all() -> Vec<Drill> {
    let mut drills = [a::DRILLS, b::DRILLS, c::DRILLS, d::DRILLS, e::DRILLS].concat();
    let again = drills.iter().filter(|drill| drill.way.is_empty());
    let again = again.filter(|drill| ON_THE_STAND_IN.contains(&drill.row));
    let again: Vec<Drill> = again
        .map(|drill| Drill {
            flavor: Flavor::Kingbase,
            fast: false,
            ..*drill
        })
        .collect();
    drills.extend(again);
    drills
}

/// Two hosts, synchronous, with a pool each; an old primary may come back by itself.
fn two_hosts() -> LabOptions {
    LabOptions {
        pools: 2,
        config: settings(&[("AUTO_PRIMARY_RECOVERY", "1")]),
        ..LabOptions::default()
    }
}

fn three_hosts() -> LabOptions {
    LabOptions {
        nodes: 3,
        ..two_hosts()
    }
}

fn settings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// `LabOptions` with cron in the place of rounds.
fn by_cron(options: LabOptions) -> LabOptions {
    LabOptions {
        recovery: true,
        ..options
    }
}

fn asynchronous(options: LabOptions) -> LabOptions {
    LabOptions {
        sync: false,
        ..options
    }
}

/// A directory of the workspace.
fn workspace(directory: &str) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    Ok(root.context("the workspace")?.join(directory))
}
