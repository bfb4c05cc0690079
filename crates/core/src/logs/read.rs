//! Reads whole logs: of files, and of whatever can be read.

use super::events;
use super::failover::FailoverReader;
use super::files::{self, Log};
use super::kind::{self, Form};
use super::lines::Lines;
use super::pool::PoolReader;
use super::recovery::RecoveryReader;
use super::server::ServerReader;
use super::sink::{Sink, Window};
use super::stamp::{Today, civil};
use failover_rules::report::fact::{Flaw, LogKind, Logs};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// By so much of its beginning a log is known.
const HEAD: usize = 256 << 10;
/// By which other programs' packed files are known.
const PACKED: [(&[u8], &str); 3] = [
    (b"\xfd7zXZ", "xz"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
];

/// All logs of these files and directories.
pub fn read_files(given: &[PathBuf], window: Window) -> Logs {
    let mut logs = Logs::default();
    for log in files::logs(given) {
        logs.add(read_rotated(&log, window));
    }
    logs
}

/// One log, which may be several files. Of a directory's files only logs are told of.
fn read_rotated(log: &Log, window: Window) -> Logs {
    let mut sink = Sink::new(log.name.clone(), log.host.clone(), window);
    let mut known: Option<(Form, Reader)> = None;
    for file in &log.files {
        match open(file) {
            Ok((from, today)) => read_into(&mut known, &log.name, from, today, &mut sink),
            Err(error) => sink.flaw(Flaw::Unreadable(error.to_string())),
        }
    }
    finish(known, sink, log.was_named)
}

/// A log that is no file, of this host.
pub fn read_log(
    name: &str,
    host: Option<String>,
    from: impl Read + 'static,
    today: Today,
    window: Window,
) -> Logs {
    let mut sink = Sink::new(name.to_owned(), host, window);
    let mut known = None;
    read_into(&mut known, name, Box::new(from), today, &mut sink);
    finish(known, sink, true)
}

fn finish(known: Option<(Form, Reader)>, mut sink: Sink, was_named: bool) -> Logs {
    let is_known = known.is_some();
    if let Some((form, mut reader)) = known {
        sink.is_of(form.kind());
        reader.end(&mut sink);
    }
    let (source, facts) = sink.end();
    if !is_known && !was_named && !source.name.contains("log") {
        return Logs::default();
    }
    Logs {
        sources: vec![source],
        facts,
    }
}

fn open(file: &Path) -> io::Result<(Box<dyn Read>, Today)> {
    let opened = File::open(file)?;
    let meta = opened.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let today = meta.modified().map_or(0, milliseconds);
    let [year, month, ..] = civil(today);
    Ok((Box::new(opened), Today { year, month }))
}

fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |it| i64::try_from(it.as_millis()).unwrap_or(0))
}

/// As much as there is of the beginning.
fn head_of(from: &mut impl Read) -> (Vec<u8>, io::Result<()>) {
    let mut head = Vec::new();
    let read = from.take(HEAD as u64).read_to_end(&mut head);
    (head, read.map(drop))
}

fn read_into(
    known: &mut Option<(Form, Reader)>,
    name: &str,
    mut from: Box<dyn Read>,
    today: Today,
    sink: &mut Sink,
) {
    let mut first = [0; 6];
    let count = fill(&mut from, &mut first);
    let first = &first[..count];
    let begun: Box<dyn Read> = Box::new(Cursor::new(first.to_vec()).chain(from));
    if let Some((_, how)) = PACKED.iter().find(|(magic, _)| first.starts_with(magic)) {
        return sink.flaw(Flaw::Packed((*how).to_owned()));
    }
    let mut from: Box<dyn Read> = match first.starts_with(&[0x1f, 0x8b]) {
        true => Box::new(MultiGzDecoder::new(begun)),
        false => begun,
    };
    let (head, read) = head_of(&mut from);
    if let Err(error) = &read {
        sink.flaw(Flaw::Torn(error.to_string()));
    }
    let form = match known {
        Some((form, _)) => Some(*form),
        None => kind::form(&head, name),
    };
    let Some(form) = form else {
        if memchr::memchr(0, &head).is_some() {
            sink.flaw(Flaw::Binary);
        }
        return;
    };
    let (_, reader) = known.get_or_insert_with(|| (form, Reader::of(form, today, &head)));
    let rest: Box<dyn Read> = match read {
        Ok(()) => from,
        Err(_) => Box::new(io::empty()),
    };
    let mut lines = Lines::new(Cursor::new(head).chain(rest));
    loop {
        match lines.next() {
            Ok(Some(line)) => {
                sink.begin_line();
                reader.line(line, sink);
            }
            Ok(None) => return,
            Err(error) => sink.flaw(Flaw::Torn(error.to_string())),
        }
    }
}

/// As many bytes as there are, of the first few.
fn fill(from: &mut impl Read, bytes: &mut [u8]) -> usize {
    let mut count = 0;
    while let Some(rest) = bytes.get_mut(count..).filter(|it| !it.is_empty()) {
        match from.read(rest) {
            Ok(0) | Err(_) => break,
            Ok(more) => count += more,
        }
    }
    count
}

/// The reader of one log.
enum Reader {
    Pool(PoolReader),
    Failover(FailoverReader),
    Recovery(RecoveryReader),
    Events,
    Server(ServerReader),
}

impl Reader {
    fn of(form: Form, today: Today, head: &[u8]) -> Self {
        match form {
            Form::Lines(LogKind::Pool) => Self::Pool(PoolReader::new(today, head)),
            Form::Lines(LogKind::Failover) => Self::Failover(FailoverReader::default()),
            Form::Lines(LogKind::Recovery) => Self::Recovery(RecoveryReader::default()),
            Form::Lines(LogKind::Events) => Self::Events,
            Form::Lines(LogKind::Server) => Self::Server(ServerReader::new(today, false)),
            Form::ServerCsv => Self::Server(ServerReader::new(today, true)),
        }
    }

    fn line(&mut self, raw: &[u8], sink: &mut Sink) {
        match self {
            Self::Pool(reader) => reader.line(raw, sink),
            Self::Failover(reader) => reader.line(raw, sink),
            Self::Recovery(reader) => reader.line(raw, sink),
            Self::Events => events::line(raw, sink),
            Self::Server(reader) => reader.line(raw, sink),
        }
    }

    fn end(&mut self, sink: &mut Sink) {
        if let Self::Pool(reader) = self {
            reader.end(sink);
        }
    }
}
