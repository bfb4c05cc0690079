//! The full circle on the oldest and on the newest versions; `make matrix` plays it on all. Needs root.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::drills::{ends, matrix};

fn plays(way: &str) -> Result<()> {
    let ends = ends();
    let drill = ends.iter().find(|drill| drill.way == way);
    let outcome = drill.context("there is no such circle")?.run();
    outcome.keep()?;
    let (problems, screen) = (&outcome.problems, &outcome.screen);
    ensure!(outcome.passed(), "{problems:#?}\n{screen}");
    Ok(())
}

#[test]
fn the_circle_on_the_oldest_versions() -> Result<()> {
    plays("oldest")
}

#[test]
fn the_circle_on_the_newest_versions() -> Result<()> {
    plays("newest")
}

#[test]
fn each_version_is_on_the_page() -> Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/versions.md");
    let page = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    for drill in matrix() {
        let row = format!("\n| {} | ", drill.way);
        ensure!(page.contains(&row), "{} is missing", drill.name());
    }
    Ok(())
}
