//! `failover-manual DIRECTORY`: what a package has beside the programs and the manual of `docs/`: manual pages,
//! completions for three shells, and the notices of everything that is built in. Made from the tools' own
//! command lines and the table of keys, so that they can't differ.

mod configuration;
mod notices;
mod pages;

use anyhow::{Context, Result};
use failover_core::terminal::complain;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

fn main() -> ExitCode {
    let result = match env::args_os().skip(1).collect::<Vec<_>>().as_slice() {
        [directory] => write(Path::new(directory)),
        _ => Err(anyhow::anyhow!("usage: failover-manual DIRECTORY")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain("failover-manual", &format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Everything, below `directory`.
fn write(directory: &Path) -> Result<()> {
    let mut files = pages::all()?;
    files.push((
        PathBuf::from("man/man5/HAmodule.conf.5"),
        configuration::page()?,
    ));
    files.push((PathBuf::from("NOTICES.txt"), notices::all()?.into_bytes()));
    for (name, content) in files {
        let path = directory.join(name);
        let parent = path.parent().context("no directory")?;
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        fs::write(&path, content).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
