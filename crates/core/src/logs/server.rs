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
    /// The time of the line before.
    last: Option<i64>,
    /// It has not said since its start that it is down.
    is_up: bool,
}

impl ServerReader {
    /// As csv, or as it comes on standard error.
    pub fn new(today: Today, is_csv: bool) -> Self {
        Self {
            today,
            is_csv,
            open: Vec::new(),
            last: None,
            is_up: true,
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

    fn whole(&mut self, prefix: &[u8], level: &[u8], text: &[u8], sink: &mut Sink) {
        let found = fact(&String::from_utf8_lossy(text), level);
        let is_down = found == Some(Fact::ServerDown);
        let stamp = in_prefix(prefix, self.today);
        if is_start(text)
            && let (true, Some(last)) = (self.is_up, self.last)
        {
            sink.tell(last, Fact::LastWord);
        }
        self.is_up = match found {
            Some(Fact::ServerReady) => true,
            _ => self.is_up && !is_down && !is_start(text),
        };
        match (found, stamp) {
            (Some(fact), Some(stamp)) => {
                let at = sink.at(&stamp);
                self.last = Some(at);
                sink.tell(at, fact);
            }
            (Some(_), None) => sink.timeless(),
            (None, Some(stamp)) => {
                self.last = Some(sink.at(&stamp));
                sink.plain();
            }
            (None, None) => sink.plain(),
        }
    }
}

/// A server starts.
fn is_start(text: &[u8]) -> bool {
    let words: [&[u8]; 5] = [
        b"starting PostgreSQL",
        b"starting Kingbase",
        b"database system was interrupted",
        "正在启动".as_bytes(),
        "数据库系统中断".as_bytes(),
    ];
    words.iter().any(|it| text.starts_with(it))
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

#[cfg(test)]
mod tests {
    use super::super::sink::Window;
    use super::*;

    const TODAY: Today = Today {
        year: 2026,
        month: 1,
    };

    fn facts(is_csv: bool, text: &str) -> Vec<(i64, Fact)> {
        let mut sink = Sink::new("x".to_owned(), None, Window::ALL);
        let mut reader = ServerReader::new(TODAY, is_csv);
        for line in text.lines() {
            sink.begin_line();
            reader.line(line.as_bytes(), &mut sink);
        }
        let seen = sink.end().1.into_iter();
        seen.map(|it| (it.at % 60_000, it.fact)).collect()
    }

    #[test]
    fn a_start_without_a_stop_shows_when_the_server_was_gone() {
        let text = "2026-12-01 11:20:01.100 UTC [9] LOG:  database system is ready to accept connections\n\
            2026-12-01 11:20:02.200 UTC [9] LOG:  checkpoint starting: time\n\
            2026-12-01 11:20:30.000 UTC [7] LOG:  starting PostgreSQL 15.5\n\
            2026-12-01 11:20:31.000 UTC [7] LOG:  database system was interrupted; last known up at x\n\
            2026-12-01 11:20:32.000 UTC [7] LOG:  received fast shutdown request\n\
            2026-12-01 11:20:33.000 UTC [7] LOG:  database system is shut down\n\
            2026-12-01 11:20:40.000 UTC [8] LOG:  starting PostgreSQL 15.5\n";
        let expected = [
            (1_100, Fact::ServerReady),
            (2_200, Fact::LastWord),
            (31_000, Fact::ServerStarts),
            (32_000, Fact::ServerStops("fast".to_owned())),
            (33_000, Fact::ServerDown),
        ];
        assert_eq!(facts(false, text), expected);
    }

    #[test]
    fn csv_and_chinese_are_read_too() {
        let cells = |level: &str, text: &str| {
            format!(
                "2026-12-01 11:20:01.100 CST,,,9,,x,1,,,0,,{level},00000,\"{text}\",,,,,,,,,\"\"\n"
            )
        };
        let text = [
            cells("日志", "接收到提或请求"),
            cells("日志", "已选择的新时间线ID：7"),
            cells("LOG", "a \"\"quoted\"\"\nlong, text"),
            cells("LOG", "database system is shut down"),
        ]
        .concat();
        let expected = [
            (1_100, Fact::PromoteRequest),
            (1_100, Fact::NewTimeline(7)),
            (1_100, Fact::ServerDown),
        ];
        assert_eq!(facts(true, &text), expected);
    }
}
