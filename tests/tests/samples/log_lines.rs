//! `docs/log-lines.md` against what the tools can say. Its tables have a line in the first column, `…`
//! standing for what differs from one time to the next. Every sentence of the sources has to be there,
//! nothing may be there that no source says, and the logs of real runs are held against it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lab::manual::{self, first_columns};

/// In a line, for what differs.
const ANY: char = '…';
/// A line with less text of its own than this could stand for anything.
const LEAST_TEXT: usize = 4;
/// The part of the manual with what other programs say.
const FOREIGN: &str = "## What other programs say";
/// What no tool has.
const ONLY_TESTED: [&str; 6] = [
    "/tests.rs",
    "/rules/src/sample.rs",
    "/readers.rs",
    "/against_bash.rs",
    "/against_libpq.rs",
    "/against_server.rs",
];
/// Modules of the core whose sentences are about the configuration file: docs/configuration.md.
const CONFIGURATION: &str = "core/src/config";

/// What the sources have of sentences that are said to nobody: what another program's output is
/// searched for, what it is called with, and details of events.
const SAID_TO_NOBODY: [&str; 36] = [
    "cd … && …",
    "ALTER ROLE CURRENT_USER IN DATABASE … SET … = …",
    "need to copy …",
    "# reserved for a promotion: another host has a timeline of this number (failover-tools)",
    "wal receiver process",
    "# A failover stopped this primary: network_rewind --unfence takes that back.",
    "node … (…)",
    "with id …",
    "attach_node",
    " (at most … ms; its failure ends the run)",
    " (at most … ms; its failure is a warning)",
    "… […] …% …/… ……",
    "connect_timeout=10 …",
    "host=… port=… user=… dbname=… …",
    "in crash recovery",
    "shut down in recovery",
    "Database cluster state",
    "Latest checkpoint …",
    "Latest checkpoint's TimeLineID",
    "Latest checkpoint's REDO location",
    "Minimum recovery ending location",
    "Min recovery ending loc's timeline",
    "Data page checksum version",
    "CRC checksum does not match",
    "Bytes per WAL segment",
    "BACKUP METHOD: streamed",
    "Failure, exiting",
    "FATAL:  the database system is …",
    "DETAIL:  Consistent recovery state …",
    "select 33333;",
    "standby … streams",
    "no other standby streams",
    "out of recovery…",
    "… was primary already",
    "… is primary…",
    ", timeline … -> …",
];

/// The lines that the manual explains.
pub struct Manual {
    own: Vec<String>,
    foreign: Vec<String>,
}

impl Manual {
    pub fn read() -> Result<Self> {
        let file = root().join("docs/log-lines.md");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let (own, foreign) = text.split_once(FOREIGN).context("no part of others")?;
        Ok(Self {
            own: first_columns(own),
            foreign: first_columns(foreign),
        })
    }

    fn knows(&self, line: &str) -> bool {
        let mut lines = self.own.iter().chain(&self.foreign);
        lines.any(|pattern| fits(pattern, line))
    }

    /// Whether each line of a log is explained; tables aside.
    pub fn explains(&self, log: &str) -> Result<()> {
        let strange: Vec<&str> = log
            .lines()
            .map(without_time)
            .filter(|line| !is_of_a_table(line) && !self.knows(line))
            .collect();
        ensure!(strange.is_empty(), "not in docs/log-lines.md: {strange:#?}");
        Ok(())
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Whether `line` is one of those that `pattern` stands for.
fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split(ANY);
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Without the time at its beginning.
fn without_time(line: &str) -> &str {
    let shape = "2022-08-30 16:42:01 ";
    let is_time = |text: &str| {
        let mut both = text.bytes().zip(shape.bytes());
        both.all(|(found, wanted)| match wanted {
            b'0'..=b'9' => found.is_ascii_digit(),
            _ => found == wanted,
        })
    };
    match line.split_at_checked(shape.len()) {
        Some((time, rest)) if is_time(time) => rest,
        _ => line,
    }
}

/// What the SQL client would print around an answer.
fn is_of_a_table(line: &str) -> bool {
    let is_rule = |line: &str| line.len() > 3 && line.chars().all(|c| matches!(c, '-' | '+'));
    let counts =
        |line: &str| line.starts_with('(') && line.ends_with("row)") || line.ends_with(" rows)");
    let is_row = |line: &str| line.starts_with(" (") && line.ends_with(",)");
    let answers = [
        " t",
        " done",
        " pg_reload_conf",
        " SYS_RELOAD_CONF",
        " pg_create_physical_replication_slot",
        " SYS_CREATE_PHYSICAL_REPLICATION_SLOT",
    ];
    line.trim().is_empty()
        || line.contains(" | ")
        || is_rule(line)
        || counts(line)
        || is_row(line)
        || answers.contains(&line)
}

/// A string literal, and the code of its statement before it.
struct Literal {
    text: String,
    before: String,
}

/// The literals of a source file, without those of tests and attributes; messages of errors, which are
/// attributes, count.
fn literals(source: &str) -> Vec<Literal> {
    let end = source
        .find("#[cfg(test)]\nmod tests")
        .unwrap_or(source.len());
    let mut rest = source[..end].chars().peekable();
    let (mut found, mut before) = (Vec::new(), String::new());
    // Brackets that are open within an attribute.
    let mut attribute = 0;
    while let Some(c) = rest.next() {
        match c {
            '/' if rest.peek() == Some(&'/') => while rest.next_if(|c| *c != '\n').is_some() {},
            '\'' => skip_char(&mut rest),
            '"' => {
                let text = string(&mut rest);
                if attribute == 0 || before.contains("#[error(") {
                    found.push(Literal {
                        text,
                        before: before.trim_end().to_owned(),
                    });
                }
                before.push('"');
            }
            ';' | '{' | '}' => before.clear(),
            _ => {
                before.push(c);
                match c {
                    '[' if attribute > 0 || before.ends_with("#[") || before.ends_with("#![") => {
                        attribute += 1;
                    }
                    ']' if attribute > 0 => {
                        attribute -= 1;
                        if attribute == 0 {
                            before.clear();
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    found
}

/// `'x'` and `'\n'`; of a lifetime only its quote is gone, which does no harm.
fn skip_char(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    let mut ahead = rest.clone();
    let escaped = ahead.next() == Some('\\');
    if escaped {
        ahead.next();
    }
    if ahead.next() == Some('\'') {
        *rest = ahead;
    }
}

/// The rest of a string whose quote was read.
fn string(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let mut text = String::new();
    while let Some(c) = rest.next() {
        match c {
            '"' => break,
            '\\' => match rest.next() {
                Some('\n') => while rest.next_if(|c| c.is_whitespace()).is_some() {},
                Some('n') => text.push('\n'),
                Some(c) => text.push(c),
                None => {}
            },
            c => text.push(c),
        }
    }
    text
}

/// `{name}` as `…`.
fn pattern(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        result += before;
        rest = match after.strip_prefix('{') {
            Some(after) => {
                result.push('{');
                after
            }
            None => {
                result.push(ANY);
                after.split_once('}').map_or("", |(_, after)| after)
            }
        };
    }
    result + rest
}

/// Whether it is a sentence for an operator: what goes into a log, or has several words, and is neither
/// SQL, nor an event's detail or a step's description (docs/failover.md, docs/recovery.md).
fn is_said(literal: &Literal, line: &str) -> bool {
    let own = line.chars().filter(|c| *c != ANY && *c != ' ').count();
    if own < LEAST_TEXT || is_of_a_table(line) {
        return false;
    }
    let other = [
        "Done::",
        "Outcome::",
        "step(",
        "what:",
        "EXAMPLES",
        "part(",
        "expect(",
    ];
    if other.iter().any(|it| literal.before.contains(it)) {
        return false;
    }
    if SAID_TO_NOBODY.iter().any(|pattern| fits(pattern, line)) {
        return false;
    }
    let sql = [
        "SELECT ",
        "SET ",
        "PGPOOL SHOW ",
        "SHOW ",
        "ALTER SYSTEM SET",
        "-c ",
    ];
    if sql.iter().any(|it| line.starts_with(it)) {
        return false;
    }
    let journal = [".line(", ".stamped("];
    let words = line.split_whitespace().filter(|word| word.len() > 1);
    words.count() >= 3 || journal.iter().any(|it| literal.before.contains(it))
}

/// No tool's: tests, the simulator, what makes the manual, and the version. What `cluster_ctl` says has a page of its own, `docs/cluster.md`, to
/// which its rules are held by their own tests.
const APART: [&str; 9] = [
    "/tests",
    "/crates/manual",
    "/crates/sim",
    "/crates/version",
    "/crates/cluster_ctl",
    "/preflight",
    "/foretell",
    // What is looked for in the logs of others, and what is told of it: docs/report.md.
    "/core/src/logs",
    "/rules/src/report",
];

/// Every source file of the tools with its path.
fn sources() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut directories = vec![root().join("crates")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let name = path.to_string_lossy().into_owned();
            if path.is_dir() {
                if !APART.iter().any(|it| name.ends_with(it)) {
                    directories.push(path);
                }
            } else if name.ends_with(".rs") && !ONLY_TESTED.iter().any(|it| name.ends_with(it)) {
                found.push((name, fs::read_to_string(&path)?));
            }
        }
    }
    ensure!(found.len() > 50, "only {} files", found.len());
    Ok(found)
}

#[test]
fn every_sentence_of_the_sources_is_in_the_manual() -> Result<()> {
    let manual = Manual::read()?;
    let mut missing = Vec::new();
    let mut count = 0;
    for (name, source) in sources()? {
        if name.contains(CONFIGURATION) {
            continue;
        }
        for literal in literals(&source) {
            let text = pattern(&literal.text);
            for line in text.lines().filter(|line| is_said(&literal, line)) {
                count += 1;
                if !manual.knows(line) {
                    missing.push(format!("{name}: {line}"));
                }
            }
        }
    }
    // A reader of sources that finds nothing would find nothing missing.
    ensure!(count > 250, "only {count} sentences were found");
    ensure!(
        missing.is_empty(),
        "docs/log-lines.md lacks {} lines: {missing:#?}",
        missing.len()
    );
    Ok(())
}

#[test]
fn every_line_of_the_manual_is_said() -> Result<()> {
    let manual = Manual::read()?;
    let mut said = Vec::new();
    for (_, source) in sources()? {
        for literal in literals(&source) {
            said.extend(pattern(&literal.text).lines().map(str::to_owned));
        }
    }
    let own = |pattern: &str| pattern.chars().filter(|c| *c != ANY && *c != ' ').count();
    for pattern in manual.own.iter().chain(&manual.foreign) {
        ensure!(own(pattern) >= LEAST_TEXT, "{pattern:?} could be anything");
    }
    let stale = manual
        .own
        .iter()
        .filter(|pattern| !said.iter().any(|line| fits(pattern, line)));
    let stale: Vec<&String> = stale.collect();
    ensure!(stale.is_empty(), "said by nobody: {stale:#?}");
    Ok(())
}

/// The names of steps in a source. Those of a procedure are in its list; the others are only timed.
fn steps_of(source: &str, calls: &[&str]) -> Vec<String> {
    let named = |before: &str| before.split_whitespace().next_back() == Some("name:");
    let names = |before: &str| named(before) || calls.iter().any(|it| before.ends_with(it));
    let literals = literals(source).into_iter();
    literals
        .filter(|it| names(&it.before) && !it.text.contains(' '))
        .map(|it| it.text)
        .collect()
}

#[test]
fn every_step_of_an_event_is_in_the_manual() -> Result<()> {
    let log_lines = fs::read_to_string(root().join("docs/log-lines.md"))?;
    let pages = [manual::FAILOVER, manual::RECOVERY, &log_lines];
    let sources = sources()?;
    let steps = sources
        .iter()
        .flat_map(|(_, source)| steps_of(source, &["step(", "timed("]));
    let mut steps: Vec<String> = steps.map(|step| format!("`{step}`")).collect();
    ensure!(steps.len() > 50, "only {} steps were found", steps.len());
    steps.retain(|step| !pages.iter().any(|page| page.contains(step.as_str())));
    ensure!(steps.is_empty(), "in no page of docs: {steps:#?}");
    Ok(())
}

/// Drill D1 kills each tool after every step of these tables.
#[test]
fn the_tables_of_steps_are_the_lists_of_the_tools() -> Result<()> {
    let sources = sources()?;
    for (tool, page) in [
        ("plan/recovery", manual::RECOVERY),
        ("plan/failover", manual::FAILOVER),
    ] {
        let of_tool = sources.iter().filter(|(name, _)| name.contains(tool));
        let listed: BTreeSet<String> = of_tool
            .flat_map(|(_, source)| steps_of(source, &["step("]))
            .collect();
        // Where nothing was found there would be no difference.
        ensure!(listed.len() > 15, "of {tool} only {listed:#?}");
        let table: BTreeSet<String> = first_columns(page).into_iter().collect();
        let differ: Vec<&String> = table.symmetric_difference(&listed).collect();
        ensure!(
            differ.is_empty(),
            "{tool}: only in one of the two: {differ:#?}"
        );
    }
    Ok(())
}

#[test]
fn the_reader_of_sources_reads_them() {
    let source = r##"
        //! "no"
        #[arg(long, value_name = "no it is not")]
        #[error("{0}: what \"went\" {{wrong}}")]
        struct A<'a>(&'a str);
        fn f() { let c = '"'; journal.line(format!("one \
            {two:?} three")); g('\'', "Done!"); } // "no"
        #[cfg(test)]
mod tests { "no" }"##;
    let found: Vec<String> = literals(source)
        .iter()
        .map(|it| pattern(&it.text))
        .collect();
    assert_eq!(found, ["…: what \"went\" {wrong}}", "one … three", "Done!"]);
    assert!(
        literals(source)[1]
            .before
            .ends_with("journal.line(format!(")
    );
}

#[test]
fn a_line_fits_its_pattern_only() {
    for (pattern, line) in [
        ("add VIP on …", "add VIP on 192.168.1.102"),
        ("… lives: …", "a lives: b"),
        ("done", "done"),
        ("a … b … c", "a 1 b 2 b 3 c"),
    ] {
        assert!(fits(pattern, line), "{pattern} {line}");
    }
    for (pattern, line) in [
        ("add VIP on …", "del VIP on x"),
        ("done", "done."),
        ("a …b", "a b c"),
        ("ab…b", "ab"),
    ] {
        assert!(!fits(pattern, line), "{pattern} {line}");
    }
    assert_eq!(without_time("2026-11-25 14:00:00 add"), "add");
    assert_eq!(without_time("2026-11-25 add"), "2026-11-25 add");
    assert!(is_of_a_table("---------+------") && !is_of_a_table("----ping trust ip"));
}
