//! The database server's log, on standard error or as csv, PostgreSQL's and KingbaseES's, in English and Chinese.

use super::line;
use super::sink::Sink;
use super::stamp::{Today, in_prefix};
use super::told::number_after;
use failover_rules::report::fact::Fact;
use memchr::memchr_iter;

/// A record of csv with more lines than this is no record.
const LONGEST: usize = 64 << 10;
/// Where csv has the level and the text.
const LEVEL: usize = 11;
const TEXT: usize = 13;

/// Reads one log, line by line.
pub struct ServerReader {
    today: Today,
    is_csv: bool,
    /// A record of csv whose last text goes on in the next line.
    open: Vec<u8>,
}

impl ServerReader {
    /// As csv, or as it comes on standard error.
    pub fn new(today: Today, is_csv: bool) -> Self {
        Self {
            today,
            is_csv,
            open: Vec::new(),
        }
    }

    /// One line.
    pub fn line(&mut self, raw: &[u8], sink: &mut Sink) {
        if self.is_csv {
            return self.csv(raw, sink);
        }
        match line::parts(raw) {
            Some(parts) => self.whole(parts.prefix, parts.level, parts.text, sink),
            // A statement has many lines.
            None => sink.plain(),
        }
    }

    fn csv(&mut self, raw: &[u8], sink: &mut Sink) {
        let quotes = memchr_iter(b'"', raw).count();
        if self.open.is_empty() && quotes.is_multiple_of(2) {
            return self.record(raw, sink);
        }
        self.open.extend_from_slice(raw);
        self.open.push(b'\n');
        let is_whole = memchr_iter(b'"', &self.open).count().is_multiple_of(2);
        if is_whole || self.open.len() > LONGEST {
            let record = std::mem::take(&mut self.open);
            self.record(&record, sink);
        } else {
            sink.plain();
        }
    }

    fn record(&mut self, record: &[u8], sink: &mut Sink) {
        let mut quoted = false;
        let mut cells: Vec<&[u8]> = Vec::with_capacity(TEXT + 1);
        let mut begin = 0;
        for (at, byte) in record.iter().enumerate() {
            match byte {
                b'"' => quoted = !quoted,
                b',' if !quoted => {
                    cells.push(&record[begin..at]);
                    begin = at + 1;
                    if cells.len() > TEXT {
                        break;
                    }
                }
                _ => {}
            }
        }
        match (cells.first(), cells.get(LEVEL), cells.get(TEXT)) {
            (Some(time), Some(level), Some(text)) => {
                let text = text.strip_prefix(b"\"").unwrap_or(text);
                let text = text.strip_suffix(b"\"").unwrap_or(text);
                self.whole(time, level, text, sink);
            }
            _ => sink.strange(),
        }
    }

    fn whole(&self, prefix: &[u8], level: &[u8], text: &[u8], sink: &mut Sink) {
        let found = fact(&String::from_utf8_lossy(text), level);
        match (found, in_prefix(prefix, self.today)) {
            (Some(fact), Some(stamp)) => {
                let at = sink.at(&stamp);
                sink.tell(at, fact);
            }
            (Some(_), None) => sink.timeless(),
            (None, _) => sink.plain(),
        }
    }
}

fn fact(text: &str, level: &[u8]) -> Option<Fact> {
    if level == b"PANIC" || level == "比致命错误还过分的错误".as_bytes() {
        return Some(Fact::ServerDied(text.to_owned()));
    }
    let is_any = |all: &[&str]| all.iter().any(|it| text.starts_with(it));
    if is_any(&["database system is shut down", "数据库系统已关闭"]) {
        return Some(Fact::ServerDown);
    }
    if is_any(&[
        "database system is ready to accept",
        "数据库系统准备接受连接",
    ]) {
        return Some(Fact::ServerReady);
    }
    if is_any(&[
        "database system was ",
        "数据库上次关闭时间为",
        "数据库系统中断",
    ]) {
        return Some(Fact::ServerStarts);
    }
    if is_any(&["received promote request", "接收到提或请求"]) {
        return Some(Fact::PromoteRequest);
    }
    if is_any(&["selected new timeline ID", "已选择的新时间线ID"]) {
        let end = text.rsplit([' ', ':', '：']).next()?;
        return end.parse().ok().map(Fact::NewTimeline);
    }
    if text.ends_with("shutdown request") || text.ends_with("停止请求") {
        let how = ["fast", "smart", "immediate"];
        let how = how.iter().find(|it| text.contains(*it))?;
        return Some(Fact::ServerStops((*how).to_owned()));
    }
    if let Some(rest) = text.strip_prefix("started streaming WAL from primary at ") {
        let position = rest.split(' ').next().unwrap_or_default();
        let timeline = number_after(rest, "timeline ").and_then(|it| u32::try_from(it).ok());
        return Some(Fact::Streams(position.to_owned(), timeline.unwrap_or(0)));
    }
    None
}
