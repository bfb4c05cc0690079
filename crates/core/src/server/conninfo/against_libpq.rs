//! A connection string is to libpq what it is to us, before and after a change of its host.

#![allow(clippy::disallowed_methods)]

use super::{BadConninfo, build, pairs, with_host, with_only_host};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRng, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// One program reads all of them.
const CASES: u32 = 20_000;
/// What a host is changed to.
const HOST: &str = "192.0.2.9";

/// Reads strings that end with a NUL. Writes for each the number of keywords, each with its value, and a NUL
/// behind each; `unknown` where a keyword is none of libpq's, `wrong` where all is.
const SCRIPT: &str = r#"
import ctypes, sys
class Option(ctypes.Structure):
    _fields_ = [(name, ctypes.c_char_p) for name in ("keyword", "envvar", "compiled", "val", "label", "dispchar")]
    _fields_.append(("dispsize", ctypes.c_int))
pq = ctypes.CDLL("libpq.so.5")
pq.PQconninfoParse.restype = ctypes.POINTER(Option)
pq.PQconninfoParse.argtypes = [ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p)]
pq.PQconninfoFree.argtypes = [ctypes.POINTER(Option)]
out = []
for text in sys.stdin.buffer.read().split(b"\0")[:-1]:
    error = ctypes.c_char_p()
    options = pq.PQconninfoParse(text, ctypes.byref(error))
    if not options:
        known = b"invalid connection option" in error.value or b"invalid URI query parameter" in error.value
        out.append(b"unknown" if known else b"wrong")
        continue
    found, at = [], 0
    while options[at].keyword:
        if options[at].val is not None:
            found += [options[at].keyword, options[at].val]
        at += 1
    pq.PQconninfoFree(options)
    out += [b"%d" % (len(found) // 2)] + found
sys.stdout.buffer.write(b"".join(it + b"\0" for it in out))
"#;

/// What libpq makes of a string.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Theirs {
    Taken(BTreeMap<String, Vec<u8>>),
    UnknownKeyword,
    Refused,
}

/// `None`: there is no libpq here, or nothing to ask it with.
fn libpqs(texts: &[String]) -> Option<Vec<Theirs>> {
    let mut program = Command::new("python3")
        .args(["-c", SCRIPT])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut input = program.stdin.take()?;
    let all: String = texts.iter().map(|it| format!("{it}\0")).collect();
    let writer = std::thread::spawn(move || input.write_all(all.as_bytes()));
    let output = program.wait_with_output().ok()?;
    let _ = writer.join();
    if !output.status.success() {
        return None;
    }
    let mut cells = output.stdout.split(|byte| *byte == 0);
    let answer = |_| match cells.next().unwrap() {
        b"unknown" => Theirs::UnknownKeyword,
        b"wrong" => Theirs::Refused,
        count => {
            let count: usize = str::from_utf8(count).unwrap().parse().unwrap();
            let pair = |_| {
                let keyword = String::from_utf8(cells.next().unwrap().to_vec()).unwrap();
                (keyword, cells.next().unwrap().to_vec())
            };
            Theirs::Taken((0..count).map(pair).collect())
        }
    };
    Some(texts.iter().map(answer).collect())
}

const KEYWORDS: [&str; 8] = [
    "host", "host", "hostaddr", "port", "user", "password", "options", "dbname",
];
const BETWEEN: [&str; 7] = ["=", "=", "=", " = ", "\t=", "= ", ""];
const PIECES: [&str; 22] = [
    "a", "b1", "10.0.0.1", "::1", "5432", ",", "/", ":", "@", "?", "&", "=", "%", "%41", "%20",
    "\\", "\\'", "'", "[", "]", "密", " ",
];
const BLANKS: [&str; 6] = [" ", "  ", "\n", "\t", "\u{b}", "\u{a0}"];

fn one_of(all: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    proptest::sample::select(all)
}

fn text(most: usize) -> impl Strategy<Value = String> {
    proptest::collection::vec(one_of(&PIECES), 0..most).prop_map(|pieces| pieces.concat())
}

/// `host=a port = '1'`, more or less.
fn keywords() -> impl Strategy<Value = String> {
    let quoted = text(4).prop_map(|it| format!("'{}'", it.replace('\'', "\\'")));
    let plain = proptest::collection::vec(one_of(&PIECES[..6]), 1..4).prop_map(|it| it.concat());
    let value = prop_oneof![3 => plain, 2 => quoted, 1 => text(4)];
    let field = (one_of(&KEYWORDS), one_of(&BETWEEN), value, one_of(&BLANKS));
    let field = field
        .prop_map(|(keyword, between, value, blank)| format!("{keyword}{between}{value}{blank}"));
    proptest::collection::vec(field, 0..4).prop_map(|fields| fields.concat())
}

/// `postgresql://user:password@host:1,other:2/dbname?port=3`, more or less.
fn uri() -> impl Strategy<Value = String> {
    let optional = |before: &'static str, most| {
        proptest::option::weighted(0.5, text(most))
            .prop_map(move |it| it.map_or(String::new(), |it| format!("{before}{it}")))
    };
    let user =
        (text(3), optional(":", 2)).prop_map(|(user, password)| format!("{user}{password}@"));
    let user = proptest::option::of(user).prop_map(Option::unwrap_or_default);
    let host = prop_oneof![
        3 => one_of(&["a", "10.0.0.1", "[::1]", "%2Ftmp", "", "db.example"]).prop_map(str::to_owned),
        1 => text(3)
    ];
    let port = one_of(&["", "", ":5432", ":", ":1"]);
    let host = (host, port).prop_map(|(host, port)| format!("{host}{port}"));
    let hosts = proptest::collection::vec(host, 0..3).prop_map(|it| it.join(","));
    let field = (one_of(&KEYWORDS), text(3)).prop_map(|(keyword, it)| format!("{keyword}={it}"));
    let query = proptest::collection::vec(field, 1..3).prop_map(|it| format!("?{}", it.join("&")));
    let query = proptest::option::of(query).prop_map(Option::unwrap_or_default);
    let scheme = one_of(&["postgresql://", "postgres://"]);
    (scheme, user, hosts, optional("/", 2), query).prop_map(|(scheme, user, hosts, name, query)| {
        format!("{scheme}{user}{hosts}{name}{query}")
    })
}

fn drawn() -> Vec<String> {
    let texts = RefCell::new(Vec::new());
    let runs = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(runs.rng_algorithm);
    let strings = prop_oneof![keywords(), uri()];
    let tried = TestRunner::new_with_rng(runs, rng).run(&strings, |text| {
        texts.borrow_mut().push(text);
        Ok(())
    });
    assert_eq!(tried, Ok(()));
    texts.into_inner()
}

fn ours(text: &str) -> Result<BTreeMap<String, Vec<u8>>, BadConninfo> {
    let pairs = pairs(text)?.into_iter();
    Ok(pairs
        .map(|(keyword, value)| (keyword, value.into_bytes()))
        .collect())
}

/// Bytes that are no text are no connection string to us, also where another value comes after.
fn is_text(uri: &str) -> bool {
    let mut parts = uri.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part.get(..2).and_then(|it| u8::from_str_radix(it, 16).ok());
        bytes.extend(byte);
        bytes.extend(part.bytes().skip(2));
    }
    str::from_utf8(&bytes).is_ok()
}

/// The first server that libpq tries.
fn first(values: &BTreeMap<String, Vec<u8>>) -> Option<String> {
    let named = |keyword| values.get(keyword).filter(|it| !it.is_empty());
    let list = named("hostaddr").or_else(|| named("host"))?;
    let list = String::from_utf8_lossy(list).into_owned();
    list.split(',').next().map(str::to_owned)
}

fn without_hosts(values: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    let mut rest = values.clone();
    rest.retain(|keyword, _| !["host", "hostaddr", "port"].contains(&keyword.as_str()));
    rest
}

#[test]
fn what_libpq_reads_is_what_we_read() {
    let texts = drawn();
    let Some(answers) = libpqs(&texts) else {
        return;
    };
    let (mut taken, mut refused) = (Vec::new(), 0);
    for (text, theirs) in texts.iter().zip(answers) {
        match (ours(text), theirs) {
            (_, Theirs::UnknownKeyword) => {}
            (Ok(ours), Theirs::Taken(theirs)) => {
                assert_eq!(ours, theirs, "{text:?}");
                taken.push((text, theirs));
            }
            (Err(_), Theirs::Refused) => refused += 1,
            (Err(BadConninfo::BadPercent), Theirs::Taken(_)) if !is_text(text) => {}
            (ours, theirs) => panic!("{text:?}: {ours:?} and {theirs:?}"),
        }
    }
    assert!(
        taken.len() > 5_000 && refused > 1_000,
        "{} {refused}",
        taken.len()
    );

    // And with another host.
    let change = |text: &str, values: &BTreeMap<String, Vec<u8>>| {
        let each = values
            .iter()
            .map(|(key, it)| (key.as_str(), str::from_utf8(it).unwrap()));
        let built = build(&each.collect::<Vec<_>>());
        [
            built,
            with_host(text, HOST).unwrap(),
            with_only_host(text, HOST).unwrap(),
        ]
    };
    let changed: Vec<String> = taken
        .iter()
        .flat_map(|(text, it)| change(text, it))
        .collect();
    let answers = libpqs(&changed).unwrap();
    for (((text, before), after), changed) in
        taken.iter().zip(answers.chunks(3)).zip(changed.chunks(3))
    {
        let text = format!("{text:?}: {changed:?}");
        assert_eq!(after[0], Theirs::Taken(before.clone()), "{text}");
        for (changed, how) in after[1..].iter().zip(["", "only "]) {
            let Theirs::Taken(values) = changed else {
                panic!("{how}{HOST} in {text}: {changed:?}");
            };
            assert_eq!(first(values).as_deref(), Some(HOST), "{how}{text}");
            assert_eq!(without_hosts(values), without_hosts(before), "{how}{text}");
        }
    }
}
