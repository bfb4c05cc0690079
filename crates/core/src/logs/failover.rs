//! `failover.log`, as the scripts write it and `failover_stream` does.

use super::sink::Sink;
use super::stamp::leading;
use super::told::{between, number_after};
use failover_rules::report::fact::{Arguments, Fact};

/// Reads one log, line by line. A line without a time has that of the one before it.
#[derive(Default)]
pub struct FailoverReader {
    last: Option<i64>,
}

impl FailoverReader {
    /// One line.
    pub fn line(&mut self, raw: &[u8], sink: &mut Sink) {
        let stamp = leading(raw);
        if let Some(stamp) = &stamp {
            self.last = Some(sink.at(stamp));
        }
        let rest = stamp.map_or(raw, |it| raw.get(it.end..).unwrap_or_default());
        let text = String::from_utf8_lossy(rest);
        match (fact(text.trim()), self.last) {
            (Some(fact), Some(at)) => sink.tell(at, fact),
            (Some(_), None) => sink.timeless(),
            (None, _) if text.contains('\u{fffd}') => sink.strange(),
            (None, _) => sink.plain(),
        }
    }
}

fn fact(text: &str) -> Option<Fact> {
    if text.starts_with("failover beging") {
        return Some(Fact::Begins);
    }
    if text.starts_with("failover end") {
        return Some(Fact::Ends);
    }
    if let Some(rest) = text.strip_prefix("----failover-stats is ") {
        return arguments(rest).map(|it| Fact::Arguments(Box::new(it)));
    }
    if text.starts_with("ping trust ip ") {
        return match text.rsplit(' ').next() {
            Some("success") => Some(Fact::TrustIp(true)),
            Some("failed") => Some(Fact::TrustIp(false)),
            _ => None,
        };
    }
    if let Some(rest) = text.strip_prefix("ssh connect host:") {
        let (host, rest) = rest.split_once(' ')?;
        let why = rest.split_once(", ").map_or(rest, |(_, why)| why);
        return Some(Fact::NoLogin(host.to_owned(), why.to_owned()));
    }
    if let Some(rest) = text.strip_prefix("old primary ") {
        let (_, rest) = rest.split_once(" is ")?;
        let (how, why) = rest.split_once(": ")?;
        let why = why.to_owned();
        return match how {
            "fenced" => Some(Fact::Fenced(why)),
            "unreachable" => Some(Fact::Unreachable(why)),
            "alive, not fenced" => Some(Fact::Alive(why)),
            _ => None,
        };
    }
    let host = |before: &str| text.strip_prefix(before).map(str::to_owned);
    if let Some(host) = host("del old primary VIP on ") {
        return Some(Fact::Fences(host));
    }
    if let Some(host) = host("add VIP on ") {
        return Some(Fact::DatabaseVip(host));
    }
    if text.starts_with("promote begin...") {
        let host = between(text, "let ", " become")?;
        return Some(Fact::Promotes(host.to_owned()));
    }
    if text.starts_with("after execute promote ,") && text.ends_with("status is ok.") {
        return Some(Fact::Promoted);
    }
    if let Some(why) = host("failover failed: ") {
        return Some(Fact::Refused(why));
    }
    match text {
        "sync to async" => Some(Fact::Asynchronous),
        "make checkpoint" => Some(Fact::Checkpoint),
        _ if text.starts_with("standby down, ") => Some(Fact::StandbyDown),
        _ => None,
    }
}

/// `%H = hostname of the new master node [192.168.1.102], %P = ...`.
fn arguments(text: &str) -> Option<Arguments> {
    let word = |name: &str| {
        let (_, rest) = text.split_once(name)?;
        between(rest, "[", "]").map(str::to_owned)
    };
    let number = |name: &str| {
        let (_, rest) = text.split_once(name)?;
        number_after(rest, "[")
    };
    Some(Arguments {
        new_host: word("%H = ")?,
        old_primary: number("%P = ")?,
        failed: number("%d = ")?,
        failed_host: word("%h = ")?,
        old_host: word("%O = ").or_else(|| word("%N = ")).unwrap_or_default(),
        new_main: number("%m = ").unwrap_or(-1),
    })
}
