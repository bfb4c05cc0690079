//! What a tool says: lines for the operator's log and events for machines, both from here, so
//! that they can't disagree.
//!
//! A step that runs on another host has no log of its own: there the journal writes messages to
//! standard output, one JSON object a line, and the coordinator that started it adds them to its
//! own journal.
//!
//! Nothing here fails or waits: a log that cannot be written must never stop a failover. What
//! cannot be written to a file goes to syslog; the files are written by a thread of their own, for
//! a disk that hangs is one of the reasons why a primary dies.

use crate::clock;
use crate::deadline::Deadline;
use crate::durable;
use crate::screen::{Amount, Screen};
use crate::terminal;
use crate::users::SystemUser;
use crate::workers;
use nix::syslog::{Facility, Priority, Severity};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SendError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Characters of a line of the log, and of a text in an event.
const LONGEST_LINE: usize = 4000;

/// Secrets shorter than this are not looked for in the text: hiding each `1` of a log because
/// somebody's password is `1` would hide the log.
const SHORTEST_SECRET: usize = 4;

/// What the end of a run waits for its log to be written.
const FLUSH_TIME: Duration = Duration::from_millis(300);

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It did its work.
    Done,
    /// What it is for was so already.
    AlreadySo,
    /// It did not apply.
    Skipped,
    /// It failed, and the procedure went on without it.
    Warned,
    /// It failed, and the procedure ended.
    Failed,
}

/// One step of one run, for the event log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The run that it belongs to, the same for all its steps on all hosts.
    pub run: String,
    /// The step's name.
    pub step: String,
    /// The host that it was done on.
    pub host: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was seen or done, or why it failed.
    pub detail: String,
    /// Wall clock at its start (RFC 3339).
    pub started: String,
    /// How long it took.
    pub milliseconds: u64,
}

/// What a step on another host sends to the coordinator.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// A line for the operator's log.
    Line(String),
    /// An event for the event log.
    Event(Event),
    /// The step's answer; the last message of a step that succeeded.
    Answer(Value),
    /// Why the step failed; the last message of one that did.
    Failed(String),
    /// Why the step could not even be begun.
    Unable(String),
}

/// Where the journal goes.
#[derive(Debug)]
pub struct Journal {
    run: String,
    secrets: Vec<String>,
    sink: Mutex<Sink>,
}

#[derive(Debug)]
enum Sink {
    /// The thread that writes the files, and who else gets a part of it.
    Files {
        writer: Sender<Entry>,
        beside: Beside,
    },
    /// Messages to a writer: standard output on a remote host, a channel within the process.
    Messages(Box<dyn FnMutMessage>),
}

/// Who, beside the files, gets what a run says while it is at work.
#[derive(Debug)]
pub enum Beside {
    /// Nobody.
    Nobody,
    /// A machine: each event on standard output (`--json`).
    Machine,
    /// A person.
    Person(Screen),
}

impl Beside {
    /// Whoever started the tool.
    pub fn starter(json: bool) -> Self {
        match json {
            true => Self::Machine,
            false => Screen::of_stderr().map_or(Self::Nobody, Self::Person),
        }
    }
}

/// For the thread that writes the files.
#[derive(Debug)]
enum Entry {
    Line(String),
    Event(String),
    /// All before it is written.
    Written(Sender<()>),
}

/// Takes messages one by one.
trait FnMutMessage: FnMut(Message) + Send {}
impl<F: FnMut(Message) + Send> FnMutMessage for F {}
impl std::fmt::Debug for dyn FnMutMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a function")
    }
}

impl Journal {
    /// The journal of a run that writes `log` (the operator's) and `events`, and tells `beside`, too. New
    /// files belong to `owner` if we are root: the tools that write them next may run as the database's
    /// user.
    pub fn to_files(
        run: String,
        log: &Path,
        events: &Path,
        beside: Beside,
        owner: Option<SystemUser>,
    ) -> Self {
        let (writer, entries) = channel();
        let mut log = LogFile::new(log, owner.clone());
        let mut events = LogFile::new(events, owner);
        workers::start(move || {
            for entry in entries {
                match entry {
                    Entry::Line(line) => log.append(&line),
                    Entry::Event(json) => events.append(&json),
                    Entry::Written(tell) => drop(tell.send(())),
                }
            }
        });
        Self::new(run, Sink::Files { writer, beside })
    }

    /// Waits until all is written, but not for a disk that hangs; whether it is.
    pub fn flush(&self) -> bool {
        let (tell, written) = channel();
        match &*self.sink() {
            // Without a writer, `tell` comes back in the error and is dropped.
            Sink::Files { writer, .. } => drop(writer.send(Entry::Written(tell))),
            Sink::Messages(_) => return true,
        }
        let deadline = Deadline::after(FLUSH_TIME);
        let late = written.recv_timeout(deadline.remaining()) == Err(RecvTimeoutError::Timeout);
        if late {
            syslog("the log was not written in time: does its disk hang?");
        }
        !late
    }

    /// Waits until a person has seen all of it, but not for a terminal that is stopped: what is written to
    /// standard error next comes after it.
    pub fn settle(&self) {
        let settling = match &mut *self.sink() {
            Sink::Files {
                beside: Beside::Person(screen),
                ..
            } => screen.settling(),
            _ => return,
        };
        settling.wait();
    }

    /// A journal whose lines and events are handed to `take`.
    pub fn to_messages(run: String, take: impl FnMut(Message) + Send + 'static) -> Self {
        Self::new(run, Sink::Messages(Box::new(take)))
    }

    /// A journal that prints its messages to standard output: that of a step on a remote host.
    pub fn to_stdout(run: String) -> Self {
        Self::to_messages(run, |message| print_json(&message))
    }

    /// A journal whose lines are for the person who started the tool: its only log.
    pub fn to_terminal() -> Self {
        Self::to_messages(clock::run_name(), |message| {
            if let Message::Line(line) = message {
                terminal::say(&line);
            }
        })
    }

    /// A journal whose events are for a machine, on standard output, and which has no log.
    pub fn to_machine() -> Self {
        Self::to_messages(clock::run_name(), |message| {
            if let Message::Event(event) = message {
                print_json(&event);
            }
        })
    }

    /// A journal that says nothing, for a tool that answers otherwise.
    pub fn to_nobody() -> Self {
        Self::to_messages(clock::run_name(), drop)
    }

    fn new(run: String, sink: Sink) -> Self {
        Self {
            run,
            secrets: Vec::new(),
            sink: Mutex::new(sink),
        }
    }

    /// Shows `****` wherever one of `secrets` would be written.
    pub fn hiding<'a>(mut self, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        self.secrets = secrets
            .into_iter()
            .filter(|secret| secret.len() >= SHORTEST_SECRET)
            .map(str::to_owned)
            .collect();
        self
    }

    /// The name of this run.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// A line. A line end inside it, of a server's message, is none.
    pub fn line(&self, text: impl AsRef<str>) {
        self.message(Message::Line(text.as_ref().to_owned()));
    }

    /// The lines of a text of ours, such as a table.
    pub fn lines(&self, text: impl AsRef<str>) {
        text.as_ref().lines().for_each(|line| self.line(line));
    }

    /// A line with the time before it.
    pub fn stamped(&self, text: impl AsRef<str>) {
        self.line(format!("{} {}", clock::stamp(), text.as_ref()));
    }

    /// The event of a step on `host` that began at `started` and took `took`.
    pub fn event(
        &self,
        step: &str,
        host: &str,
        outcome: Outcome,
        detail: impl Into<String>,
        started: String,
        took: Duration,
    ) {
        self.message(Message::Event(Event {
            run: self.run.clone(),
            step: step.to_owned(),
            host: host.to_owned(),
            outcome,
            detail: detail.into(),
            started,
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }));
    }

    /// A person sees from here on that the step which does `what` is at work.
    pub fn begins(&self, what: &str) {
        let what = self.fit(what.to_owned());
        self.on_screen(|screen| screen.begins(&what));
    }

    /// How far that step is. A person at a terminal always sees it, the log has it where it is `due`.
    pub fn progress(&self, due: bool, amount: Option<Amount>, text: impl FnOnce() -> String) {
        let mut drawn = false;
        self.on_screen(|screen| drawn = screen.draws());
        if !due && !drawn {
            return;
        }
        let text = self.fit(text());
        let line = due.then(|| format!("{} {text}", clock::stamp()));
        match &mut *self.sink() {
            Sink::Messages(take) => line.into_iter().for_each(|it| take(Message::Line(it))),
            Sink::Files { writer, beside } => {
                if let Beside::Person(screen) = beside {
                    screen.is_at(&text, amount, line.as_deref());
                }
                if let Some(line) = line {
                    write_line(writer, line);
                }
            }
        }
    }

    /// The step is over.
    pub fn ends(&self) {
        self.on_screen(Screen::ends);
    }

    fn on_screen(&self, show: impl FnOnce(&mut Screen)) {
        if let Sink::Files {
            beside: Beside::Person(screen),
            ..
        } = &mut *self.sink()
        {
            show(screen);
        }
    }

    /// Adds what a step somewhere else said. An answer is not for the journal.
    pub fn message(&self, message: Message) {
        let message = match message {
            Message::Line(line) => Message::Line(self.fit(line)),
            Message::Event(event) => Message::Event(Event {
                run: self.fit(event.run),
                step: self.fit(event.step),
                host: self.fit(event.host),
                detail: self.fit(event.detail),
                started: self.fit(event.started),
                ..event
            }),
            Message::Failed(why) => Message::Failed(self.fit(why)),
            Message::Unable(why) => Message::Unable(self.fit(why)),
            answer @ Message::Answer(_) => answer,
        };
        match &mut *self.sink() {
            Sink::Messages(take) => take(message),
            Sink::Files { writer, beside } => match message {
                Message::Line(line) => {
                    if let Beside::Person(screen) = beside {
                        screen.line(&line);
                    }
                    write_line(writer, line);
                }
                Message::Event(event) => {
                    let json = serde_json::to_string(&event).unwrap_or_default();
                    let _ = writer.send(Entry::Event(json));
                    if matches!(beside, Beside::Machine) {
                        print_json(&event);
                    }
                }
                Message::Answer(_) | Message::Failed(_) | Message::Unable(_) => {}
            },
        }
    }

    /// As the log can have it, whoever said it.
    fn fit(&self, text: String) -> String {
        terminal::foreign(&self.redact(text), LONGEST_LINE)
    }

    /// `text` with every secret in it hidden.
    pub fn redact(&self, text: String) -> String {
        self.secrets.iter().fold(text, |text, secret| {
            if text.contains(secret) {
                text.replace(secret, "****")
            } else {
                text
            }
        })
    }

    fn sink(&self) -> MutexGuard<'_, Sink> {
        // A writer that panicked left whole lines: go on.
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What no file gets goes to syslog.
fn write_line(writer: &Sender<Entry>, line: String) {
    if let Err(SendError(Entry::Line(line))) = writer.send(Entry::Line(line)) {
        syslog(&line);
    }
}

/// Prints one object as one line. A reader that went away is no reason to stop.
pub fn print_json(value: &impl Serialize) {
    if let Ok(json) = serde_json::to_string(value) {
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{json}").and_then(|()| out.flush());
    }
}

/// A file that only grows, by whole lines.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    owner: Option<SystemUser>,
    file: Option<File>,
    /// It ends with half a line, as a full disk leaves one: the next line begins on its own.
    torn: bool,
    /// Said once per run, not per line.
    complained: bool,
}

impl LogFile {
    fn new(path: &Path, owner: Option<SystemUser>) -> Self {
        Self {
            path: path.to_owned(),
            owner,
            file: None,
            torn: false,
            complained: false,
        }
    }

    fn append(&mut self, line: &str) {
        if let Err(error) = self.write(line) {
            self.torn = true;
            if !self.complained {
                self.complained = true;
                syslog(&format!(
                    "failed to write {}: {error}; its lines follow here",
                    self.path.display()
                ));
            }
            syslog(line);
        }
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        self.open()?;
        let text = match self.torn {
            true => format!("\n{line}\n"),
            false => format!("{line}\n"),
        };
        self.open()?.write_all(text.as_bytes())?;
        self.torn = false;
        Ok(())
    }

    fn open(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            self.file = Some(open_for_append(&self.path, self.owner.as_ref())?);
            self.torn = ends_torn(&self.path);
        }
        self.file
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Whether the file does not end with a whole line.
fn ends_torn(path: &Path) -> bool {
    let last = || -> io::Result<Option<u8>> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() || meta.len() == 0 {
            return Ok(None);
        }
        let mut byte = [0];
        file.read_exact_at(&mut byte, meta.len() - 1)?;
        Ok(Some(byte[0]))
    };
    // One that cannot be read is taken for whole.
    matches!(last(), Ok(Some(byte)) if byte != b'\n')
}

/// Opens for appending, creating it with mode 0640. The directory may belong to the database's
/// user while we are root, so no symbolic link is followed and no FIFO waited for.
fn open_for_append(path: &Path, owner: Option<&SystemUser>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .append(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let file = options.create_new(true).open(path)?;
            give_to(&file, path, owner)?;
            Ok(file)
        }
        opened => opened,
    }
}

/// Makes `owner` the owner of a file that we made as `path`, where we may, see [`durable::give`].
pub(crate) fn give_to(file: &File, path: &Path, owner: Option<&SystemUser>) -> io::Result<()> {
    match owner {
        Some(user) if nix::unistd::geteuid().is_root() => {
            durable::give(file, path, user.uid, user.gid)
        }
        _ => Ok(()),
    }
}

/// A line for the system log: the last place where somebody may look.
pub fn syslog(line: &str) {
    let error = Priority::new(Severity::LOG_ERR, Facility::LOG_DAEMON);
    let _ = nix::syslog::syslog(error, &line.replace('\0', " "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_in_lines_and_events() {
        let seen = std::sync::Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let journal = Journal::to_messages("r".into(), move |message| {
            sink.lock()
                .unwrap()
                .push(serde_json::to_string(&message).unwrap());
        })
        .hiding(["pässword$", "x"]);
        journal.lines("conn=pässword$ x\nsecond");
        journal.event(
            "s",
            "h",
            Outcome::Failed,
            "pässword$",
            String::new(),
            Duration::ZERO,
        );
        let seen = seen.lock().unwrap().join("\n");
        assert!(
            !seen.contains("pässword") && seen.contains("conn=**** x"),
            "{seen}"
        );
        assert!(seen.contains(r#"{"line":"second"}"#), "{seen}");
    }

    #[test]
    fn words_of_others_forge_no_line_and_no_terminal() {
        let seen = std::sync::Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let journal = Journal::to_messages("r".into(), move |message| {
            sink.lock().unwrap().push(message)
        });
        let forged = "down\n2026-08-30 15:39:32 promoted\r\u{1b}]0;x\u{7}\u{9b}2J\u{2028}y";
        journal.line(forged);
        // A peer's, whatever it puts into its JSON.
        journal.message(Message::Line(forged.to_owned()));
        journal.message(Message::Failed("x".repeat(900_000)));
        journal.event(
            "s",
            "h",
            Outcome::Failed,
            forged,
            String::new(),
            Duration::ZERO,
        );
        journal.lines("two\nlines");
        let seen = seen.lock().unwrap();
        let clean = "down 2026-08-30 15:39:32 promoted ?]0;x??2J?y";
        let text = |message: &Message| match message {
            Message::Line(text) | Message::Failed(text) => text.clone(),
            Message::Event(event) => event.detail.clone(),
            other => panic!("{other:?}"),
        };
        let all: Vec<String> = seen.iter().map(text).collect();
        assert_eq!([&all[0], &all[1], &all[3]], [clean; 3]);
        assert_eq!(
            all[2].len(),
            LONGEST_LINE + "... (896000 more characters)".len()
        );
        assert_eq!(all[4..], ["two", "lines"]);
    }

    #[test]
    fn half_a_line_is_not_continued() {
        let dir = std::env::temp_dir().join(format!("torn-{}", clock::run_name()));
        std::fs::create_dir(&dir).unwrap();
        let file = dir.join("events");
        for (before, expected) in [
            ("", "new\n"),
            ("old\n", "old\nnew\n"),
            ("{\"half", "{\"half\nnew\n"),
        ] {
            std::fs::write(&file, before).unwrap();
            LogFile::new(&file, None).append("new");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), expected);
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_log_that_cannot_be_written_is_no_error_and_a_link_is_not_followed() {
        let dir = std::env::temp_dir().join(format!("journal-{}", clock::run_name()));
        std::fs::create_dir(&dir).unwrap();
        let target = dir.join("target");
        std::fs::write(&target, "as it was").unwrap();
        std::os::unix::fs::symlink(&target, dir.join("log")).unwrap();
        let journal = Journal::to_files(
            "r".into(),
            &dir.join("log"),
            &dir.join("no/such"),
            Beside::Nobody,
            None,
        );
        journal.line("a line");
        journal.event("s", "h", Outcome::Done, "", String::new(), Duration::ZERO);
        journal.flush();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "as it was");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
