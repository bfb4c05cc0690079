//! The log of a pool: kingbasecluster's and pgpool-II's, 3.6 to 4.7, whatever its `log_line_prefix`, as a file, by
//! syslog or from a container.
//!
//! Two things are in it that are no lines of its own: what its commands say on standard error, and, where somebody
//! copied it from a terminal, lines broken at the terminal's width.

use super::line::{self, Line};
use super::sink::Sink;
use super::stamp::{Today, in_prefix, leading};
use super::told::{between, host_of, number_after};
use failover_rules::report::fact::Fact;

/// Of a broken line so many pieces are put together.
const MOST_PIECES: usize = 4;
/// A line that is longer than this is not kept for its continuation.
const LONGEST: usize = 8 << 10;

/// Reads one log, line by line.
pub struct PoolReader {
    today: Today,
    /// Where its lines were broken, in bytes.
    width: Option<usize>,
    /// The line that may go on: it has told nothing yet.
    open: Vec<u8>,
    /// Of it, how long its prefix is, and where its text begins.
    parts: (usize, usize),
    /// The bytes of its last piece.
    piece: usize,
    pieces: usize,
    /// A line that begins with a time and has no level: its rest may follow.
    begun: Vec<u8>,
    last: Option<i64>,
}

impl PoolReader {
    /// `head`: the beginning of the log, by which it is seen whether its lines are broken.
    pub fn new(today: Today, head: &[u8]) -> Self {
        Self {
            today,
            width: width(head),
            open: Vec::new(),
            parts: (0, 0),
            piece: 0,
            pieces: 0,
            begun: Vec::new(),
            last: None,
        }
    }

    /// One line.
    pub fn line(&mut self, raw: &[u8], sink: &mut Sink) {
        if let Some(parts) = line::parts(raw) {
            if !self.begun.is_empty() && in_prefix(parts.prefix, self.today).is_none() {
                let whole = [std::mem::take(&mut self.begun).as_slice(), raw].concat();
                if let Some(parts) = line::parts(&whole) {
                    return self.open_line(&whole, &parts, raw.len(), sink);
                }
            }
            self.begun.clear();
            return self.open_line(raw, &parts, raw.len(), sink);
        }
        if self.goes_on() {
            self.open.extend_from_slice(raw);
            self.piece = raw.len();
            self.pieces += 1;
            return;
        }
        self.end(sink);
        if leading(raw).is_some() && raw.len() < LONGEST {
            self.begun = raw.to_vec();
        }
        self.foreign(raw, sink);
    }

    /// The last line is whole.
    pub fn end(&mut self, sink: &mut Sink) {
        let line = std::mem::take(&mut self.open);
        if !line.is_empty() {
            let (prefix, text) = self.parts;
            let prefix = line.get(..prefix).unwrap_or_default();
            let text = line.get(text..).unwrap_or_default();
            self.whole(prefix, text.trim_ascii(), sink);
        }
        // The buffer is used again.
        self.open = line;
        self.open.clear();
    }

    fn open_line(&mut self, line: &[u8], parts: &Line<'_>, piece: usize, sink: &mut Sink) {
        self.end(sink);
        self.piece = piece;
        self.pieces = 1;
        let prefix = parts.prefix.len();
        self.parts = (prefix, prefix + parts.level.len() + 1);
        self.open.extend_from_slice(line);
    }

    fn goes_on(&self) -> bool {
        let is_open = !self.open.is_empty() && self.pieces < MOST_PIECES;
        let is_short = self.open.len() < LONGEST;
        is_open && is_short && (self.width == Some(self.piece) || is_unbalanced(&self.open))
    }

    fn whole(&mut self, prefix: &[u8], text: &[u8], sink: &mut Sink) {
        let text = String::from_utf8_lossy(text);
        let mut told = 0;
        let mut at = None;
        facts(&text, |fact| {
            told += 1;
            at = at.or_else(|| {
                let stamp = in_prefix(prefix, self.today)?;
                Some(sink.at(&stamp))
            });
            match at {
                Some(at) => {
                    self.last = Some(at);
                    sink.tell(at, fact);
                }
                None => sink.timeless(),
            }
        });
        if told == 0 {
            sink.plain();
            // What a command says next has no time of its own.
            if let Some(stamp) = leading(prefix) {
                self.last = Some(sink.at(&stamp));
            }
        }
    }

    /// What a command of the pool said.
    fn foreign(&mut self, raw: &[u8], sink: &mut Sink) {
        let text = String::from_utf8_lossy(raw);
        let ssh = text
            .strip_prefix("ssh: connect to host ")
            .and_then(|rest| rest.split_once(" port "));
        match (ssh, self.last) {
            (Some((host, rest)), Some(at)) => {
                let why = rest.split_once(": ").map_or(rest, |(_, why)| why);
                sink.tell(at, Fact::NoLogin(host.to_owned(), why.to_owned()));
            }
            _ if text.trim().is_empty() => sink.plain(),
            _ => sink.strange(),
        }
    }
}

/// A quotation mark or a bracket is still open.
fn is_unbalanced(line: &[u8]) -> bool {
    let count = |wanted: u8| memchr::memchr_iter(wanted, line).count();
    let last = |wanted: u8| memchr::memrchr(wanted, line);
    count(b'"') % 2 == 1 || last(b'(') > last(b')') || last(b'[') > last(b']')
}

/// The width at which the lines of a log were broken: that of its longest lines, where several of them are followed
/// by what is no line of the pool's own. Of others the rest may have been left out.
fn width(head: &[u8]) -> Option<usize> {
    const LEAST: usize = 60;
    const TIMES: usize = 3;
    let lines: Vec<&[u8]> = head.split(|it| *it == b'\n').collect();
    let longest = lines.iter().map(|it| it.len()).max()?;
    let broken: Vec<bool> = lines
        .windows(2)
        .filter(|it| it[0].len() == longest)
        .map(|it| line::parts(it[1]).is_none())
        .collect();
    let times = broken.iter().filter(|it| **it).count();
    (longest >= LEAST && times >= TIMES && times * 4 >= broken.len()).then_some(longest)
}

/// `192.168.1.102:9999 Linux node102`: the host, and its name.
fn pool_of(quoted: &str) -> (String, String) {
    let mut words = quoted.split(' ');
    let host = host_of(words.next().unwrap_or_default());
    let name = words.next_back().unwrap_or_default();
    (host.to_owned(), name.to_owned())
}

/// All that a line says.
fn facts(text: &str, mut tell: impl FnMut(Fact)) {
    if let Some(rest) = text.strip_prefix("remote node \"") {
        if let Some((quoted, rest)) = rest.split_once('"') {
            let (host, name) = pool_of(quoted);
            tell(Fact::PeerPool(host.clone(), name));
            match rest.trim() {
                "is shutting down" => tell(Fact::PeerLeaves(host)),
                "is not reachable" | "is lost" => tell(Fact::PeerLost(host)),
                _ => {}
            }
        }
        return;
    }
    let peers = [
        "setting the remote node \"",
        "adding watchdog node \"",
        "new watchdog node connection is received from \"",
    ];
    if let Some(rest) = peers.iter().find_map(|it| text.strip_prefix(it)) {
        if let Some((quoted, _)) = rest.split_once('"') {
            let (host, name) = pool_of(quoted);
            tell(Fact::PeerPool(host, name));
        }
        return;
    }
    if text.starts_with("local ") || text.starts_with("setting the local node \"") {
        if let Some(quoted) = between(text, " node \"", "\"") {
            let (host, name) = pool_of(quoted);
            tell(Fact::LocalPool(host, name));
        }
        if text.ends_with("is the lock holder") {
            tell(Fact::Lock);
        }
        return;
    }
    if let Some(fact) = of_watchdog(text)
        .or_else(|| of_check(text))
        .or_else(|| of_failover(text))
    {
        tell(fact);
    }
}

fn of_watchdog(text: &str) -> Option<Fact> {
    if let Some(rest) = text.strip_prefix("the last heartbeat from \"") {
        let (host, rest) = rest.split_once('"')?;
        let seconds = u64::try_from(number_after(rest, "received ")?).ok()?;
        return Some(Fact::Heartbeat(host_of(host).to_owned(), seconds));
    }
    if let Some(rest) = text.strip_prefix("watchdog node state changed from [") {
        return Some(Fact::WatchdogState(between(rest, "[", "]")?.to_owned()));
    }
    if text.starts_with("I am the cluster leader node") {
        return Some(Fact::Leader);
    }
    if let Some(vip) = text.strip_prefix("successfully acquired the delegate IP:") {
        return Some(Fact::PoolVip(vip.trim_matches('"').to_owned()));
    }
    let lost = [
        "watchdog cluster has lost the coordinator node",
        "We have lost the cluster master node",
        "We have lost the cluster leader node",
    ];
    if lost.iter().any(|it| text.starts_with(it)) {
        return Some(Fact::LeaderLost);
    }
    let wanted = ["waiting for consensus", "building consensus for request"];
    if wanted.iter().any(|it| text.ends_with(it)) {
        return Some(Fact::VotesWanted);
    }
    if text.starts_with("we have got the consensus to perform the failover") {
        return Some(Fact::VotesGiven);
    }
    None
}

fn of_check(text: &str) -> Option<Fact> {
    if let Some(rest) = text.strip_prefix("health checking retry count ") {
        return Some(Fact::HealthTry(None, rest.trim().parse().ok()?));
    }
    if let Some(rest) = text.strip_prefix("health check retrying on DB node: ") {
        if rest.ends_with("succeeded") {
            return Some(Fact::HealthGood);
        }
        let node = rest.split(' ').next()?.parse().ok()?;
        let round = u32::try_from(number_after(rest, "round:")?).ok()?;
        return Some(Fact::HealthTry(Some(node), round));
    }
    if text.starts_with("failed to connect to ") {
        let (host, rest) = text.split_once("server on \"")?.1.split_once('"')?;
        let why =
            between(rest, "error \"", "\"").unwrap_or_else(|| rest.trim_start_matches([',', ' ']));
        return Some(Fact::NoConnection(host_of(host).to_owned(), why.to_owned()));
    }
    if text.ends_with("the database system is shutting down")
        || text.ends_with("was shutdown by administrative command")
    {
        return Some(Fact::DatabaseStops);
    }
    if text.starts_with("setting backend node ") && text.ends_with("to NODE DOWN") {
        return Some(Fact::NodeDown(number_after(text, "backend node ")?));
    }
    if text.starts_with("health check failed on node ") {
        return Some(Fact::NodeDown(number_after(text, "on node ")?));
    }
    if text.starts_with("received degenerate backend request for node_id:") {
        return Some(Fact::DownRequest(number_after(text, "node_id:")?));
    }
    None
}

fn of_failover(text: &str) -> Option<Fact> {
    if let Some(line) = text.strip_prefix("execute command: ") {
        return Some(Fact::Command(line.to_owned()));
    }
    if text.starts_with("find_primary_node_repeatedly: waiting") {
        return Some(Fact::Search);
    }
    if let Some(rest) = text.strip_prefix("failover: set new primary node:") {
        return Some(Fact::NewPrimary(rest.trim().parse().ok()?));
    }
    if text.len() < 100 && text.contains("successfully started") {
        let version = text.split_once("version ").map_or("", |(_, it)| it);
        return Some(Fact::PoolStarts(version.to_owned()));
    }
    // From 4.3 on between `===`.
    let text = text.trim_matches(['=', ' ']);
    if !text.starts_with(['s', 'S', 'f', 'F']) {
        return None;
    }
    let (what, host) = text.split_once(" host ")?;
    let host = host_of(host.split(' ').next()?).to_owned();
    match what {
        "starting degeneration. shutdown" | "Starting degeneration. shutdown" => {
            Some(Fact::Degenerating(host))
        }
        "starting quarantine. shutdown" | "Starting quarantine. shutdown" => {
            Some(Fact::Quarantine(host))
        }
        "failover done. shutdown" | "Failover done. shutdown" => Some(Fact::FailoverDone(host)),
        "failback done. reconnect" | "Failback done. reconnect" => Some(Fact::FailbackDone(host)),
        _ => None,
    }
}
