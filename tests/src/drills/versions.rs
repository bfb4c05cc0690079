//! The full circle on each version of the server, and with the ways of each version of the pool: `make matrix`,
//! and `docs/versions.md`.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::outcome::Outcome;
use super::scene::{Played, RECOVERY, SHORT, Scene};
use super::{Drill, two_hosts, workspace};
use crate::flavor::Flavor;
use crate::host::Node;
use crate::lab::LabOptions;
use crate::layout::{DB_BIN, USER};

const FILE: &str = "docs/versions.md";
const BEFORE: &str = include_str!("versions.md");

const SERVER: &str = "PostgreSQL";
const POOL: &str = "pgpool-II";

/// What the circle is called in the figures.
const THERE: &str = "there";
const BACK: &str = "back";

/// A circle on one version: of the server, or of the pool.
macro_rules! circles {
    ($($row:ident $way:literal $what:literal $server:expr, $pool:expr;)*) => {
        [$(Drill {
            row: $row,
            way: $way,
            flavor: Flavor::Postgres,
            what: $what,
            fast: false,
            options: || LabOptions {
                server: $server,
                pool_ways: $pool.map(str::to_owned),
                ..two_hosts()
            },
            play: circle,
        }),*]
    };
}

const NONE: Option<&str> = None;

/// All rows of `docs/versions.md`. What is said of a pool is what the tools see of that version.
const MATRIX: [Drill; 15] = circles! {
    SERVER "14" "" Some(14), NONE;
    SERVER "15" "" Some(15), NONE;
    SERVER "16" "" Some(16), NONE;
    SERVER "17" "" Some(17), NONE;
    SERVER "18" "" Some(18), NONE;
    POOL "3.6" "no `%N`; 9 columns; `pcp_node_info` prints 5 words" None, Some("3.6");
    POOL "3.7" "no `%N`; 9 columns; 6 words" None, Some("3.7");
    POOL "4.0" "no `%N`; 10 columns; 9 words" None, Some("4.0");
    POOL "4.1" "12 columns; 11 words, of which two may be empty" None, Some("4.1");
    POOL "4.2" "as 4.1" None, Some("4.2");
    POOL "4.3" "14 columns; 13 words. Real, on all other rows, too" None, NONE;
    POOL "4.4" "a blank before `%d` and `%m`; delays in seconds; else as 4.3" None, Some("4.4");
    POOL "4.5" "as 4.4" None, Some("4.5");
    POOL "4.6" "as 4.4" None, Some("4.6");
    POOL "4.7" "as 4.4" None, Some("4.7");
};

/// The oldest server with the oldest pool's ways, and the newest with the newest's: `make test` plays these.
const ENDS: [Drill; 2] = circles! {
    SERVER "oldest" "" Some(14), Some("3.6");
    SERVER "newest" "" Some(18), Some("4.7");
};

/// The circle on every version.
pub fn matrix() -> Vec<Drill> {
    MATRIX.to_vec()
}

/// The circle on the oldest versions, and on the newest.
pub fn ends() -> [Drill; 2] {
    ENDS
}

/// One direction by a power cut, the other by a crash of the database. Then a person and the pool.
fn circle(scene: &mut Scene<'_>) -> Played {
    let version = "select split_part(current_setting('server_version'), ' ', 1)";
    let version = scene.lab.node(101).psql(version)?;
    scene.operator_reads(&version);
    let harm = Instant::now();
    scene.breaks("node101 loses its power", |lab| lab.node(101).power_off())?;
    scene.fails_over(101)?;
    scene.client_writes(SHORT)?;
    scene.does("the power is back", |lab| lab.node(101).power_on())?;
    scene.is_whole(102)?;
    scene.figure(THERE, harm.elapsed());
    let harm = Instant::now();
    scene.breaks("the database of node102 is killed", |lab| {
        lab.node(102).kill_database()
    })?;
    scene.fails_over(102)?;
    scene.is_whole(101)?;
    scene.figure(BACK, harm.elapsed());
    by_hand(scene)?;
    scene.is_whole(101)
}

/// What a person does by `attach_node`: out and in, and a look at a pool that has no node left and answers
/// by PCP only.
fn by_hand(scene: &mut Scene<'_>) -> Result<()> {
    scene.stop_rounds();
    let lab = scene.lab;
    for (args, shown) in [
        (&["--detach", "-n", "1"][..], "is down"),
        (&["-n", "1"], "is up"),
        (&["--detach", "-n", "1"], "is down"),
        (&["--detach", "--force", "-n", "0"], "is down"),
    ] {
        let what = format!("attach_node {}", args.join(" "));
        scene.sees(&what, SHORT, || {
            let said = attach_node(lab.node(101), args)?;
            ensure!(said.contains(shown), "{said}");
            Ok(())
        })?;
    }
    scene.sees("the pool's nodes by PCP", SHORT, || {
        let said = attach_node(lab.node(101), &["--status"])?;
        let down = said.lines().filter(|line| line.contains("down")).count();
        ensure!(down >= 2, "{said}");
        Ok(())
    })?;
    scene.start_rounds();
    Ok(())
}

fn attach_node(node: &Node, args: &[&str]) -> Result<String> {
    let program = format!("{DB_BIN}/attach_node");
    let command = [&[program.as_str()], args].concat();
    let run = node.run_as(USER, &command, RECOVERY)?;
    ensure!(run.code == Some(0), "{run}");
    Ok(run.stdout)
}

/// Writes the page from what the last run on each version has measured.
///
/// # Errors
/// One of them was not played, or did not pass.
pub fn write_versions() -> Result<()> {
    let mut servers = String::new();
    let mut pools = String::new();
    for drill in matrix() {
        let outcome =
            Outcome::kept(&drill)?.with_context(|| format!("{} was not played", drill.name()))?;
        ensure!(outcome.passed(), "{} did not pass", outcome.name);
        let figure = |what| {
            let mut figures = outcome.figures.iter();
            figures.find_map(|(name, time)| (name == what).then(|| seconds(*time)))
        };
        let measured = format!(
            "as expected, {} rows lost | {} | {} | {} |",
            outcome.rows.1,
            seconds(outcome.gap),
            figure(THERE).unwrap_or_default(),
            figure(BACK).unwrap_or_default(),
        );
        // Writing to a String cannot fail.
        let _ = match drill.row {
            SERVER => {
                let version = outcome.reads.first().cloned().unwrap_or_default();
                writeln!(servers, "| {} | {version} | {measured}", drill.way)
            }
            _ => writeln!(pools, "| {} | {} | {measured}", drill.way, drill.what),
        };
    }
    let text = BEFORE
        .replace("@SERVERS@\n", &servers)
        .replace("@POOLS@\n", &pools);
    fs::write(workspace(FILE)?, text)?;
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
