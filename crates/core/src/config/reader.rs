//! From assignments to typed values, with a finding for whatever does not fit.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use super::keys::{KEYS, KeySpec};
use super::syntax::{Line, Value};
use super::value::Kind;
use super::{Finding, Severity};

/// The vendor's keys for the pools' hosts: this, and a number.
const POOL_IP: &str = "KB_POOL_IP";

/// The vendor's other keys: its scripts and its `kingbase_monitor.sh` read them, these tools do not.
const VENDORS: [&str; 22] = [
    "POOL_EXENAME",
    "KINGBASECLUSTERSOCKET1",
    "KINGBASECLUSTERSOCKET2",
    "KINGBASECLUSTERSOCKET3",
    "KINGBASECLUSTERSOCKET4",
    "CLUSTER_STAT_FILE",
    "CLUSTER_LOG_PATH",
    "CLUSTER_LOG_NAME",
    "POOL_RESTART",
    "KB_REAL_DEV",
    "KB_DEV",
    "KB_POOL_PATH",
    "KB_POOL_LD_PATH",
    "CLUSTER_ETC_FILE",
    "KB_VIRTUAL_IP",
    "KB_VIRTUAL_DEV_NAME",
    "CLUSTER_GATEWAY_ROUTE",
    "ES_PORT",
    "ES_USER",
    "ES_PASS",
    "KB_RECOVERY_FLAG",
    "KB_PRIMARY_FLAG",
];

/// How alike two keys are, of 1, for one to be taken for a slip of the other.
const ALIKE: f64 = 0.8;

/// How much of a wrong value an error shows, in characters.
const SHOWN: usize = 60;

/// The assignments of a file that count, and what has been said about the file so far.
pub(super) struct Reader<'a> {
    path: &'a Path,
    /// By key, the last assignment of each, as in a shell.
    last: BTreeMap<String, Assigned>,
    findings: Vec<Finding>,
}

struct Assigned {
    line: usize,
    /// `None`: broken, which has been said.
    value: Option<Value>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &'a Path, lines: Vec<Line>) -> Self {
        let mut reader = Self {
            path,
            last: BTreeMap::new(),
            findings: Vec::new(),
        };
        for line in lines {
            reader.assign(line);
        }
        reader
    }

    fn assign(&mut self, line: Line) {
        let number = Some(line.number);
        if let Err(text) = line.value {
            self.say(Severity::Error, number, line.key.as_deref(), text);
        }
        let Some(key) = line.key else { return };
        if !is_known(&key) && !VENDORS.contains(&key.as_str()) {
            let text = match meant(&key) {
                Some(known) => {
                    format!("unknown key, not used by these tools: did you mean {known}?")
                }
                None => "unknown key, not used by these tools".to_owned(),
            };
            self.say(Severity::Note, number, Some(&key), text);
        }
        let assigned = Assigned {
            line: line.number,
            value: line.value.ok(),
        };
        if let Some(earlier) = self.last.insert(key.clone(), assigned) {
            let text = format!("set again in line {}, which counts", line.number);
            self.say(Severity::Note, Some(earlier.line), Some(&key), text);
        }
    }

    /// All that was said: in the order of the file, then what has no line.
    pub(super) fn into_findings(mut self) -> Vec<Finding> {
        self.findings
            .sort_by_key(|finding| finding.line.unwrap_or(usize::MAX));
        self.findings
    }

    /// Something about a key that is not about its value alone.
    pub(super) fn say_about(&mut self, severity: Severity, key: &str, text: impl Into<String>) {
        let line = self.last.get(key).map(|assigned| assigned.line);
        self.say(severity, line, Some(key), text);
    }

    fn say(
        &mut self,
        severity: Severity,
        line: Option<usize>,
        key: Option<&str>,
        text: impl Into<String>,
    ) {
        self.findings.push(Finding {
            severity,
            path: self.path.to_owned(),
            line,
            key: key.map(str::to_owned),
            text: text.into(),
        });
    }

    // The methods that the table of keys names. Each returns `None` if the value is wrong, after
    // that has been said.

    pub(super) fn required<T>(&mut self, spec: &KeySpec, kind: &Kind<T>) -> Option<T> {
        let value = self.lookup(spec.name, kind)?;
        if value.is_none() {
            let text = format!("not set, but required: {}", spec.meaning);
            self.say_about(Severity::Error, spec.name, text);
        }
        value
    }

    pub(super) fn defaulted<T>(&mut self, spec: &KeySpec, kind: &Kind<T>) -> Option<T> {
        match self.lookup(spec.name, kind)? {
            Some(value) => Some(value),
            None => self.parse(spec.name, kind, &Value::Text(spec.default?.to_owned())),
        }
    }

    pub(super) fn optional<T>(&mut self, spec: &KeySpec, kind: &Kind<T>) -> Option<Option<T>> {
        self.lookup(spec.name, kind)
    }

    pub(super) fn derived<T>(
        &mut self,
        spec: &KeySpec,
        kind: &Kind<T>,
        otherwise: Option<T>,
    ) -> Option<T> {
        self.lookup(spec.name, kind)?.or(otherwise)
    }

    /// The values of `KB_POOL_IP1`, `KB_POOL_IP2`, ... in the order of their numbers. Gaps and
    /// empty ones are fine.
    pub(super) fn numbered(
        &mut self,
        _: &KeySpec,
        kind: &Kind<IpAddr>,
        otherwise: Option<Vec<IpAddr>>,
    ) -> Option<Vec<IpAddr>> {
        let mut keys: Vec<(u32, String)> = self
            .last
            .keys()
            .filter_map(|key| Some((pool_number(key)?, key.clone())))
            .collect();
        keys.sort();
        // All of them are looked at before the first wrong one counts, so that each is said.
        let values: Vec<_> = keys.iter().map(|(_, key)| self.lookup(key, kind)).collect();
        let values: Option<Vec<_>> = values.into_iter().collect();
        let values: Vec<IpAddr> = values?.into_iter().flatten().collect();
        if values.is_empty() {
            otherwise
        } else {
            Some(values)
        }
    }

    /// `Some(None)`: not in the file, or empty. `None`: wrong, which has been said.
    fn lookup<T>(&mut self, key: &str, kind: &Kind<T>) -> Option<Option<T>> {
        let Some(assigned) = self.last.get(key) else {
            return Some(None);
        };
        let value = assigned.value.clone()?;
        // An empty password is one; an empty path is none.
        if value.is_empty() && !kind.secret {
            return Some(None);
        }
        self.parse(key, kind, &value).map(Some)
    }

    fn parse<T>(&mut self, key: &str, kind: &Kind<T>, value: &Value) -> Option<T> {
        let found = match (kind.parse)(value) {
            Ok(value) => return Some(value),
            Err(found) => found,
        };
        let text = if kind.secret {
            format!("found ****, expected {}", kind.expected)
        } else if found.contains(['$', '`']) || found.starts_with('~') {
            format!(
                "found {}, expected {}; variables, commands and ~ are not expanded",
                quoted(&found),
                kind.expected
            )
        } else {
            format!("found {}, expected {}", quoted(&found), kind.expected)
        };
        self.say_about(Severity::Error, key, text);
        None
    }
}

/// The key of ours that somebody may have meant by `key`.
fn meant(key: &str) -> Option<&'static str> {
    let upper = key.to_ascii_uppercase();
    let alike = |spec: &KeySpec| {
        (
            strsim::normalized_damerau_levenshtein(&upper, spec.name),
            spec.name,
        )
    };
    let all = KEYS.iter().map(alike).filter(|(alike, _)| *alike >= ALIKE);
    all.max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

fn is_known(key: &str) -> bool {
    KEYS.iter().any(|spec| spec.name == key) || pool_number(key).is_some()
}

/// The number in `KB_POOL_IP1` and its like.
fn pool_number(key: &str) -> Option<u32> {
    let number = key.strip_prefix(POOL_IP)?;
    let digits = number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| digits)
}

/// In quotes and safe for a terminal; only its beginning if it is long.
fn quoted(found: &str) -> String {
    match found.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &found[..end]),
        None => format!("{found:?}"),
    }
}
