//! `cluster_ctl report`: what happened last night, by the logs.

mod en;
mod html;
mod machine;
mod picture;
mod text;
mod words;
mod zh;

use anyhow::{Result, bail};
use cluster_ctl::cli::{Format, Lang, Report as Arguments};
use failover_core::exit::{Exit, usage};
use failover_core::journal::print_json;
use failover_core::logs::{Today, Window, in_prefix, read_files};
use failover_core::teller::Teller;
use failover_core::terminal::say;
use failover_rules::report::fact::Logs;
use failover_rules::report::{Report, Story, StoryKind, report};
use std::io::{self, Write};
use words::Language;

/// Recoveries within so many milliseconds after a failover are told with it by `--last`.
const AFTERMATH: i64 = 7 * 24 * 3_600_000;

/// The whole command.
pub fn run(args: &Arguments, teller: &Teller) -> Result<Exit> {
    let window = window(args)?;
    let language = Language::of(match args.lang.unwrap_or_else(spoken) {
        Lang::En => "en",
        Lang::Zh => "zh",
    });
    let logs = logs(args, window)?;
    if !logs.sources.iter().any(|it| it.kind.is_some()) {
        let report = report(&logs);
        for note in &report.notes {
            teller.complain(&language.sentence(note));
        }
        bail!(
            "not a single log was read: name files or directories with cluster.log, failover.log, recovery.log"
        );
    }
    let mut told = report(&logs);
    choose(&mut told, args, window);
    match (args.format, args.json) {
        (Format::Json, _) | (_, true) => print_json(&machine::object(&told, language)),
        (Format::Text, _) => say(&text::page(&told, language)),
        (Format::Html, _) => {
            // Nobody may be listening any more.
            let _ = io::stdout().write_all(html::page(&told, language).as_bytes());
        }
    }
    Ok(Exit::Done)
}

fn logs(args: &Arguments, window: Window) -> Result<Logs> {
    if args.files.is_empty() {
        return Err(usage(
            "no file or directory is named; see cluster_ctl report --help",
        ));
    }
    Ok(read_files(&args.files, window))
}

/// By the environment.
fn spoken() -> Lang {
    let set = ["LC_ALL", "LC_MESSAGES", "LANG"];
    let locale = set
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|it| !it.is_empty()));
    match locale {
        Some(locale) if locale.starts_with("zh") => Lang::Zh,
        _ => Lang::En,
    }
}

fn window(args: &Arguments) -> Result<Window> {
    let time = |given: &Option<String>, what: &str| match given {
        None => Ok(None),
        Some(text) => match moment(text) {
            Some(at) => Ok(Some(at)),
            None => Err(usage(format!(
                "{what}: found \"{text}\", expected a time like \"2022-08-30 15:38\""
            ))),
        },
    };
    Ok(Window {
        since: time(&args.since, "--since")?.unwrap_or(i64::MIN),
        until: time(&args.until, "--until")?.unwrap_or(i64::MAX),
    })
}

/// `2022-08-30`, `2022-08-30 15:38`, `2022-08-30 15:38:09`.
fn moment(text: &str) -> Option<i64> {
    let whole = match text.trim().len() {
        10 => format!("{} 00:00:00", text.trim()),
        16 => format!("{}:00", text.trim()),
        19 => text.trim().to_owned(),
        _ => return None,
    };
    let today = Today {
        year: 1970,
        month: 1,
    };
    in_prefix(whole.as_bytes(), today)
        .filter(|it| it.begin == 0 && !it.yearless)
        .map(|it| it.at)
}

/// Leaves what was asked for.
fn choose(report: &mut Report, args: &Arguments, window: Window) {
    let mut keep: Vec<bool> = report
        .stories
        .iter()
        .map(|it| it.to >= window.since && it.from <= window.until)
        .collect();
    if args.last {
        let is_failover = |it: &Story| it.kind == StoryKind::Failover;
        let any = report.stories.iter().any(is_failover);
        let counts = |it: &Story| it.kind != StoryKind::Recovery || (!any && it.cause.is_none());
        let stories = report.stories.iter().zip(&keep).enumerate();
        let last = stories
            .filter(|(_, (it, keep))| **keep && (is_failover(it) || (!any && counts(it))))
            .map(|(at, _)| at)
            .next_back();
        for (at, story) in report.stories.iter().enumerate() {
            let after = |last: usize| {
                let end = report.stories.get(last).map_or(0, |it| it.to);
                story.cause == Some(last) && story.from <= end + AFTERMATH
            };
            keep[at] = keep[at] && last.is_some_and(|last| at == last || after(last));
        }
    }
    // Causes are places in the list.
    let mut place = 0;
    let places: Vec<Option<usize>> = keep
        .iter()
        .map(|keep| {
            keep.then(|| {
                place += 1;
                place - 1
            })
        })
        .collect();
    let stories = std::mem::take(&mut report.stories).into_iter().zip(&keep);
    report.stories = stories
        .filter(|(_, keep)| **keep)
        .map(|(story, _)| Story {
            cause: story.cause.and_then(|it| places.get(it).copied().flatten()),
            ..story
        })
        .collect();
}

#[cfg(test)]
mod tests;
