//! Which log is it? By its beginning, and where that tells nothing, by its name.

use super::line;
use super::stamp::leading;
use failover_rules::report::fact::LogKind;
use memchr::memmem::find;

/// A form of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lines of this log.
    Lines(LogKind),
    /// The server's, as csv.
    ServerCsv,
}

impl Form {
    /// Which log it is.
    pub fn kind(self) -> LogKind {
        match self {
            Self::Lines(kind) => kind,
            Self::ServerCsv => LogKind::Server,
        }
    }
}

/// What only a pool says.
const OF_A_POOL: [&[u8]; 12] = [
    b"watchdog",
    b"kingbasecluster",
    b"gpool-II",
    b"find_primary_node",
    b"health check",
    b"degenerat",
    b"failover: set new",
    b"DB node",
    b"execute command: ",
    b"child process with pid",
    b"sr_check",
    b"pool_",
];

/// `None`: no log that is known. `name`: the file's.
pub fn form(head: &[u8], name: &str) -> Option<Form> {
    let has = |words: &[u8]| find(head, words).is_some();
    if has(b"\"run\":\"") && has(b"\"milliseconds\":") && has(b"\"outcome\":") {
        return Some(Form::Lines(LogKind::Events));
    }
    if has(b"failover beging---") || has(b"----failover-stats is ") {
        return Some(Form::Lines(LogKind::Failover));
    }
    if has(b"recover beging...") || has(b"officially began to perform recovery") {
        return Some(Form::Lines(LogKind::Recovery));
    }
    if is_csv(head) {
        return Some(Form::ServerCsv);
    }
    let levels = head
        .split(|it| *it == b'\n')
        .take(2_000)
        .filter_map(line::parts);
    let (mut pool, mut all) = (0, 0);
    for parts in levels {
        all += 1;
        pool += usize::from(OF_A_POOL.iter().any(|it| find(parts.text, it).is_some()));
    }
    let of_server: [&[u8]; 6] = [
        b"database system",
        b"checkpoint",
        b"streaming WAL",
        b"listening on",
        b"autovacuum",
        "数据库".as_bytes(),
    ];
    if pool > 0 && pool * 50 >= all {
        return Some(Form::Lines(LogKind::Pool));
    }
    if all > 0 && of_server.iter().any(|it| has(it)) {
        return Some(Form::Lines(LogKind::Server));
    }
    by_name(
        name,
        all > 0
            || head
                .split(|it| *it == b'\n')
                .any(|it| leading(it).is_some()),
    )
}

/// A time, and so many cells.
fn is_csv(head: &[u8]) -> bool {
    const CELLS: usize = 20;
    let lines = head.split(|it| *it == b'\n').take(50);
    lines.filter(|it| leading(it).is_some()).any(|it| {
        it.iter().filter(|it| **it == b',').count() >= CELLS && find(it, b"\",").is_some()
    })
}

/// A log that was cut where nothing tells it from others.
fn by_name(name: &str, has_times: bool) -> Option<Form> {
    if !has_times {
        return None;
    }
    let known = [
        ("failover", LogKind::Failover),
        ("recovery", LogKind::Recovery),
        ("pgpool", LogKind::Pool),
        ("cluster", LogKind::Pool),
        ("postgres", LogKind::Server),
        ("kingbase", LogKind::Server),
    ];
    let kind = known.iter().find(|(word, _)| name.contains(word))?.1;
    Some(Form::Lines(kind))
}
