//! What a value of `HAmodule.conf` can be: each [`Kind`] has its words for the operator and turns
//! the text of the file into a type, so that the rest of the project never sees a string.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ssl_mode::SSL_MODES;
use super::syntax::Value;
use super::{
    Cidr, DbFlavor, FailoverCandidate, FailoverQuorum, GatewayLostAction, PromoteWithoutFence,
    RequireAuth, RewindFallback, Secret, SshHostKeys, SslMode, SyncDegrade,
};

/// One kind of value: what is accepted, and how it is read.
pub(super) struct Kind<T> {
    /// Follows "expected" in an error; the column "accepted" of the manual.
    pub(super) expected: &'static str,
    /// The value must not show up in an error.
    pub(super) secret: bool,
    /// The typed value, or the part of the value that is wrong.
    pub(super) parse: fn(&Value) -> Result<T, String>,
}

const fn kind<T>(expected: &'static str, parse: fn(&Value) -> Result<T, String>) -> Kind<T> {
    Kind {
        expected,
        secret: false,
        parse,
    }
}

pub(super) const ADDRESS: Kind<IpAddr> = kind("an IP address", |value| parsed(value, from_str));

/// The vendor's comments show one with the length of its prefix, which is the pool's business.
pub(super) const VIP: Kind<IpAddr> = kind("an IP address", |value| {
    parsed(value, |text| match text.split_once('/') {
        Some(_) => text.parse::<Cidr>().ok().map(|vip| IpAddr::V4(vip.addr)),
        None => from_str(text),
    })
});

pub(super) const ADDRESSES: Kind<Vec<IpAddr>> =
    kind("IP addresses, separated by blanks or commas", |value| {
        list(value, LIST_SEPARATORS, from_str)
    });

pub(super) const CIDR: Kind<Cidr> = kind(
    "an IPv4 address with its prefix length, such as 192.168.1.200/24",
    |value| parsed(value, from_str),
);

pub(super) const DEVICE: Kind<String> = kind(
    "the name of a network device: 1 to 15 characters, no blank, '/' or ':'",
    |value| {
        parsed(value, |name| {
            let fits = (1..=15).contains(&name.len()) && name != "." && name != "..";
            let clean = |c: char| c.is_ascii_graphic() && !"/:$`".contains(c);
            (fits && name.chars().all(clean)).then(|| name.to_owned())
        })
    },
);

pub(super) const NODE_NAME: Kind<String> =
    kind(NODE_NAME_EXPECTED, |value| parsed(value, node_name));

pub(super) const NODE_NAMES: Kind<Vec<String>> = kind(
    "node names like NODE_NAME, separated by blanks or commas",
    |value| match value {
        // As `synchronous_standby_names` has them, and the vendor's comments show: `1 (node101, node102)`.
        Value::Text(text) => {
            let rest = text
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .trim_start();
            let numbered = rest.len() < text.len() && rest.starts_with('(');
            let text = if numbered { rest } else { text };
            list(&Value::Text(text.to_owned()), LIST_SEPARATORS, node_name)
        }
        value => list(value, LIST_SEPARATORS, node_name),
    },
);

pub(super) const PORT: Kind<u16> = kind("a port number (1 to 65535)", |value| {
    number(value, 1..=65535)
});

pub(super) const TRIES: Kind<u32> =
    kind("a number from 1 to 1000", |value| number(value, 1..=1000));

/// A time limit. Zero would mean "never works".
pub(super) const SECONDS: Kind<Duration> = kind("a number of seconds from 1 to 86400", |value| {
    number(value, 1..=86400).map(Duration::from_secs)
});

/// A time that may be skipped.
pub(super) const SECONDS_OR_ZERO: Kind<Duration> =
    kind("a number of seconds from 0 to 86400", |value| {
        number(value, 0..=86400).map(Duration::from_secs)
    });

pub(super) const MILLISECONDS: Kind<Duration> =
    kind("a number of milliseconds from 1 to 60000", |value| {
        number(value, 1..=60000).map(Duration::from_millis)
    });

/// So many that it never overflows when it is turned into bytes.
const MAX_MEGABYTES: u64 = 1_000_000_000;

pub(super) const MEGABYTES: Kind<u64> = kind("a number of MB from 0 to 1000000000", |value| {
    number(value, 0..=MAX_MEGABYTES)
});

pub(super) const MEGABYTES_OR_ANY: Kind<Option<u64>> = kind(
    "a number of MB from 0 to 1000000000, or -1 for any",
    |value| match value {
        Value::Text(text) if text == "-1" => Ok(None),
        value => number(value, 0..=MAX_MEGABYTES).map(Some),
    },
);

pub(super) const SWITCH: Kind<bool> =
    kind("1 or 0, on or off, true or false, yes or no", |value| {
        let on = ["1", "on", "true", "yes"].map(|word| (word, true));
        let off = ["0", "off", "false", "no"].map(|word| (word, false));
        choice(value, &[on, off].concat())
    });

pub(super) const PATH: Kind<PathBuf> =
    kind("an absolute path", |value| parsed(value, absolute_path));

/// The vendor calls its log files `..._LOG_DIR`: a directory given there is worth an error.
pub(super) const FILE: Kind<PathBuf> = kind("the absolute path of a file", |value| {
    parsed(value, |text| {
        absolute_path(text).filter(|path| !text.ends_with('/') && path.file_name().is_some())
    })
});

pub(super) const PATHS: Kind<Vec<PathBuf>> = kind("absolute paths, separated by blanks", |value| {
    list(value, &[' ', '\t'], absolute_path)
});

pub(super) const NAME: Kind<String> = kind("a name without control characters", |value| {
    parsed(value, |text| {
        (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
    })
});

pub(super) const SYSTEM_USER: Kind<String> = kind(
    "a system user: 1 to 32 letters, digits, '_', '-' or '.', not starting with '-' or '.'",
    |value| {
        parsed(value, |name| {
            let fits = (1..=32).contains(&name.len()) && !name.starts_with(['-', '.']);
            let clean = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
            (fits && name.chars().all(clean)).then(|| name.to_owned())
        })
    },
);

pub(super) const UNIT: Kind<String> = kind(
    "the name of a systemd service: letters, digits and ':', '_', '.', '@', '-', not starting with '-'",
    |value| {
        parsed(value, |name| {
            let fits = (1..=255).contains(&name.len()) && !name.starts_with(['-', '.']);
            let clean = |c: char| c.is_ascii_alphanumeric() || ":_.@-".contains(c);
            (fits && name.chars().all(clean)).then(|| name.to_owned())
        })
    },
);

pub(super) const PASSWORD: Kind<Secret> = Kind {
    expected: "the password in base64, as `echo -n PASSWORD | base64` prints it",
    secret: true,
    // What was found is not shown, so nothing of it has to get out of here.
    parse: |value| parsed(value, Secret::decode),
};

pub(super) const AUTH_METHODS: Kind<RequireAuth> = kind(
    "methods of libpq's require_auth, separated by commas: password, md5, scram-sha-256, gss, sspi, none; \
     with ! before each, all others",
    |value| parsed(value, from_str),
);

pub(super) const SSL_MODE: Kind<SslMode> = kind(
    "a mode of libpq's sslmode: disable, allow, prefer, require, verify-ca or verify-full",
    |value| choice(value, &SSL_MODES.map(|(mode, name)| (name, mode))),
);

pub(super) const FLAVOR: Kind<DbFlavor> = kind("kingbase or postgres", |value| {
    choice(
        value,
        &[
            ("kingbase", DbFlavor::Kingbase),
            ("postgres", DbFlavor::Postgres),
        ],
    )
});

pub(super) const HOST_KEYS: Kind<SshHostKeys> = kind("strict, accept-new or off", |value| {
    choice(
        value,
        &[
            ("strict", SshHostKeys::Strict),
            ("accept-new", SshHostKeys::AcceptNew),
            ("off", SshHostKeys::Off),
        ],
    )
});

pub(super) const WITHOUT_FENCE: Kind<PromoteWithoutFence> =
    kind("never, unreachable or always", |value| {
        choice(
            value,
            &[
                ("never", PromoteWithoutFence::Never),
                ("unreachable", PromoteWithoutFence::Unreachable),
                ("always", PromoteWithoutFence::Always),
            ],
        )
    });

pub(super) const DEGRADE: Kind<SyncDegrade> = kind("always or never", |value| {
    choice(
        value,
        &[
            ("always", SyncDegrade::Always),
            ("never", SyncDegrade::Never),
        ],
    )
});

pub(super) const CANDIDATE: Kind<FailoverCandidate> = kind("best or given", |value| {
    choice(
        value,
        &[
            ("best", FailoverCandidate::Best),
            ("given", FailoverCandidate::Given),
        ],
    )
});

pub(super) const QUORUM: Kind<FailoverQuorum> = kind("majority or none", |value| {
    choice(
        value,
        &[
            ("majority", FailoverQuorum::Majority),
            ("none", FailoverQuorum::None),
        ],
    )
});

pub(super) const GATEWAY_LOST: Kind<GatewayLostAction> =
    kind("isolated, always or never", |value| {
        choice(
            value,
            &[
                ("isolated", GatewayLostAction::Isolated),
                ("always", GatewayLostAction::Always),
                ("never", GatewayLostAction::Never),
            ],
        )
    });

pub(super) const FALLBACK: Kind<RewindFallback> = kind("none or basebackup", |value| {
    choice(
        value,
        &[
            ("none", RewindFallback::None),
            ("basebackup", RewindFallback::Basebackup),
        ],
    )
});

const LIST_SEPARATORS: &[char] = &[' ', '\t', ','];

/// A node name is also the replication slot `slot_<name>` and stands unquoted in
/// `synchronous_standby_names`; the server accepts nothing else there.
const NODE_NAME_EXPECTED: &str =
    "1 to 58 lower-case letters, digits and '_', not starting with a digit";

fn node_name(name: &str) -> Option<String> {
    let fits = (1..=58).contains(&name.len()) && !name.starts_with(|c: char| c.is_ascii_digit());
    let clean = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    (fits && name.chars().all(clean)).then(|| name.to_owned())
}

/// Nothing expands variables here, so a path that holds one leads nowhere.
fn absolute_path(text: &str) -> Option<PathBuf> {
    let clean = |c: char| !c.is_control() && c != '$' && c != '`';
    (Path::new(text).is_absolute() && text.chars().all(clean)).then(|| PathBuf::from(text))
}

fn from_str<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn parsed<T>(value: &Value, parse: impl Fn(&str) -> Option<T>) -> Result<T, String> {
    match value {
        Value::Text(text) => parse(text).ok_or_else(|| text.clone()),
        Value::List(words) => Err(format!("({})", words.join(" "))),
    }
}

fn number<T: TryFrom<u64>>(value: &Value, range: RangeInclusive<u64>) -> Result<T, String> {
    parsed(value, |text| {
        // `parse` would also take a leading '+'.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.filter(|_| digits)?.try_into().ok()
    })
}

fn choice<T: Copy>(value: &Value, choices: &[(&str, T)]) -> Result<T, String> {
    parsed(value, |text| {
        let chosen = choices
            .iter()
            .find(|(word, _)| text.eq_ignore_ascii_case(word));
        chosen.map(|&(_, chosen)| chosen)
    })
}

/// The entries of `(a b)` or of a text like `a b` or `(a b)`: the scripts `eval` the second one
/// into the first. The error is the entry that is wrong.
fn list<T>(
    value: &Value,
    separators: &[char],
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, String> {
    let entries: Vec<&str> = match value {
        Value::List(words) if separators.contains(&',') => {
            words.iter().flat_map(|word| word.split(',')).collect()
        }
        Value::List(words) => words.iter().map(String::as_str).collect(),
        Value::Text(text) => {
            let inner = text.strip_prefix('(').and_then(|t| t.strip_suffix(')'));
            inner.unwrap_or(text).split(separators).collect()
        }
    };
    let mut entries = entries.into_iter().filter(|e| !e.is_empty()).peekable();
    if entries.peek().is_none() {
        return Err(String::new());
    }
    entries
        .map(|entry| parse(entry).ok_or_else(|| entry.to_owned()))
        .collect()
}
