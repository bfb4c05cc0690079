//! Our own `events.jsonl`.

use super::sink::Sink;
use super::stamp::{Today, in_prefix};
use crate::journal::{Event, Outcome};
use failover_rules::report::fact::{Ending, Fact, Step};

/// Its times have a year.
const ANY_DAY: Today = Today {
    year: 1970,
    month: 1,
};

/// One line. Half of one, as a power cut leaves it, is strange.
pub fn line(raw: &[u8], sink: &mut Sink) {
    let Ok(event) = serde_json::from_slice::<Event>(raw) else {
        return match raw.trim_ascii().is_empty() {
            true => sink.plain(),
            false => sink.strange(),
        };
    };
    let Some(stamp) = in_prefix(event.started.as_bytes(), ANY_DAY) else {
        return sink.timeless();
    };
    let at = sink.at(&stamp);
    let ending = match event.outcome {
        Outcome::Done => Ending::Done,
        Outcome::AlreadySo => Ending::AlreadySo,
        Outcome::Skipped => Ending::Skipped,
        Outcome::Warned => Ending::Warned,
        Outcome::Failed => Ending::Failed,
    };
    let step = Step {
        run: event.run,
        name: event.step,
        host: event.host,
        ending,
        detail: event.detail,
        milliseconds: event.milliseconds,
    };
    sink.tell(at, Fact::Step(Box::new(step)));
}
