//! `cluster_ctl init`: from a running cluster to the files with which the tools look after it.

mod draft;
mod look;
mod pool;
mod template;

use crate::words::{column, wrapped};
use anyhow::{Context as _, Result};
use cluster_ctl::cli::Init;
use draft::{Draft, draft};
use failover_core::durable;
use failover_core::exit::{Exit, usage};
use failover_core::teller::Teller;
use look::Seen;
use serde_json::{Value, json};
use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use template::Template;

/// Below the directory: what was found, and what to do.
const PAGE: &str = "TO-DO";

/// The whole command.
pub fn run(args: &Init, teller: &Teller) -> Result<Exit> {
    let directory = std::path::absolute(&args.directory)?;
    is_free(&directory)?;
    let seen = look::look(args, Template::of)?;
    let draft = draft(&seen);
    let page = page(&seen, &draft, &directory);
    write(&directory, &draft, &page)?;
    teller.say(&page);
    let text = format!(
        "wrote {} files below {}",
        draft.files.len() + 1,
        directory.display()
    );
    teller.say(&text);
    Ok(teller.object(Exit::Done, &text, members(&seen, &draft, &directory)))
}

/// Nothing is overwritten: it is not there, or is an empty directory.
fn is_free(directory: &Path) -> Result<()> {
    let taken = match fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => {
            return Err(usage(format!(
                "{}: {error}: name another directory",
                directory.display()
            )));
        }
    };
    match taken {
        true => Err(usage(format!(
            "{} is not empty, and nothing is overwritten: name another directory",
            directory.display()
        ))),
        false => Ok(()),
    }
}

/// All files, under another name until the last one is there.
fn write(directory: &Path, draft: &Draft, page: &str) -> Result<()> {
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = directory.with_file_name(name);
    let written = write_below(&new, draft, page)
        .and_then(|()| fs::rename(&new, directory).map_err(Into::into));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_dir_all(&new);
    }
    written.with_context(|| format!("{}: nothing was written", directory.display()))
}

fn write_below(new: &Path, draft: &Draft, page: &str) -> Result<()> {
    let mut builder = DirBuilder::new();
    // Passwords will be in it.
    builder.mode(0o700).create(new)?;
    let page = (PathBuf::from(PAGE), format!("{page}\n"));
    for (path, text) in draft.files.iter().chain([&page]) {
        let path = new.join(path);
        if let Some(dir) = path.parent().filter(|dir| !dir.exists()) {
            builder.create(dir)?;
        }
        durable::write(&path, text.as_bytes(), 0o600, None)?;
    }
    Ok(())
}

/// What a person reads, and finds again in [`PAGE`].
fn page(seen: &Seen, draft: &Draft, directory: &Path) -> String {
    let server = &seen.server;
    let mut lines = vec!["Found".to_owned()];
    lines.push(wrapped(
        "  server   ",
        &format!(
            "{} {}, data directory {}, port {}, user {}",
            server.flavor.server,
            seen.facts.version,
            server.data.display(),
            server.port,
            server.user.name
        ),
    ));
    for (at, node) in draft.nodes.iter().enumerate() {
        let what = if at == 0 { "primary" } else { "standby" };
        let name = column(what, 7);
        lines.push(format!("  {name}  {}, named {}", node.address, node.name));
    }
    if let Some(pool) = &seen.pool {
        lines.push(wrapped("  pool     ", &pool.path.display().to_string()));
    }
    lines.push(format!(
        "\nTo fill in, in all files below {}",
        directory.display()
    ));
    for (mark, what) in &draft.to_fill_in {
        lines.push(format!("  {mark}"));
        lines.push(wrapped("      ", what));
    }
    lines.push("\nTo look at".to_owned());
    for what in &draft.to_look_at {
        lines.push(wrapped("  - ", what));
    }
    lines.push("\nThen, on each host, its own files".to_owned());
    for (file, place) in places(seen) {
        lines.push(wrapped(&format!("  {}", column(file, 26)), &place));
    }
    let last = match Template::of(&seen.server) {
        Template::Debian => {
            "debian.sh does what the last four rows say, by HAmodule.conf. Then cluster_ctl check says what is \
             still missing."
        }
        _ => "Then cluster_ctl check says what is still missing.",
    };
    lines.push(wrapped("", last));
    lines.join("\n")
}

/// Where each file belongs.
fn places(seen: &Seen) -> Vec<(&'static str, String)> {
    let etc = "db/etc below the cluster's directory, mode 0640, group of the server's user";
    let pool = match &seen.pool {
        Some(pool) => pool.path.display().to_string(),
        None => "the pool's own file".to_owned(),
    };
    let at_end = format!("at the end of {pool}");
    let mut places = vec![("HAmodule.conf", etc.to_owned())];
    match Template::of(&seen.server) {
        Template::Kingbase => places.push(("kingbasecluster.conf.add", at_end)),
        _ => {
            places.push(("pgpool.conf.add", at_end));
            places.push((
                "pgpool_node_id",
                "beside it (pgpool-II from 4.2 on)".to_owned(),
            ));
        }
    }
    let hba = format!("at the end of {}; a reload", seen.facts.hba_file);
    places.push(("pg_hba.conf.add", hba));
    let cron = "/etc/cron.d/failover-tools, root's, mode 0644: the last one";
    places.push(("failover-tools.cron", cron.to_owned()));
    places
}

fn members(seen: &Seen, draft: &Draft, directory: &Path) -> Value {
    let nodes = draft.nodes.iter();
    let nodes: Vec<Value> = nodes
        .map(|node| json!({ "name": node.name, "address": node.address }))
        .collect();
    let fill_in = draft.to_fill_in.iter();
    let fill_in: Vec<Value> = fill_in
        .map(|(mark, what)| json!({ "mark": mark, "what": what }))
        .collect();
    let files: Vec<PathBuf> = draft
        .files
        .iter()
        .map(|(path, _)| directory.join(path))
        .collect();
    json!({
        "directory": directory,
        "nodes": nodes,
        "data_directory": seen.server.data,
        "port": seen.server.port,
        "pool": seen.pool.as_ref().map(|pool| &pool.path),
        "files": files,
        "to_fill_in": fill_in,
        "to_look_at": draft.to_look_at,
    })
}
