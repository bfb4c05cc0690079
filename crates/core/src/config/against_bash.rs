//! A value that both this reader and a shell take is the same to both. The file was written for a shell.

#![allow(clippy::disallowed_methods)]

use super::syntax::{Value, decode, parse};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRng, TestRunner};
use std::cell::RefCell;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Each is an assignment; one shell reads all of them.
const CASES: usize = 3_000;

/// Reads assignments that end with a NUL; writes the number of words, each word and an end, with a NUL behind
/// each. One that is none to it ends a shell of its own only.
const SCRIPT: &str = r#"
while IFS= read -r -d '' line; do
    (
        unset K
        eval "$line" || exit
        printf '%s\0' "${#K[@]}" "${K[@]}"
        printf 'end\0'
    ) 2>/dev/null || printf 'wrong\0'
done
"#;

/// Without what a shell executes or replaces, and we do not: no `$`, backquote, `~`, nor a whole `{a,b}`.
const PIECES: [&str; 26] = [
    "a", "b", "1", "/", ".", "=", "-", "_", ",", ":", "+", "%", "@", "^", "密", "é", " ", "\t",
    "'", "\"", "\\", "#", "'{*'", "(", ")", ";",
];

fn words(value: Value) -> Vec<String> {
    match value {
        Value::Text(text) => vec![text],
        Value::List(words) => words,
    }
}

/// What we make of a line: its words, where it is an assignment to `K`.
fn ours(line: &str) -> Option<Vec<String>> {
    let text = decode(line.as_bytes()).ok()?;
    let lines = parse(&text);
    let [line] = &lines[..] else { return None };
    let is_k = line.key.as_deref() == Some("K");
    let value = line.value.clone().ok().filter(|_| is_k)?;
    Some(words(value))
}

/// What bash makes of each line; `None`: it takes it for something else.
fn bashs(lines: &[String]) -> Vec<Option<Vec<String>>> {
    let mut bash = Command::new("bash")
        .args(["--norc", "--noprofile", "-c", SCRIPT])
        .env_clear()
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = bash.stdin.take().unwrap();
    let all = lines.join("\0") + "\0";
    let writer = std::thread::spawn(move || input.write_all(all.as_bytes()));
    let output = bash.wait_with_output().unwrap().stdout;
    writer.join().unwrap().unwrap();
    let output = String::from_utf8(output).unwrap();
    let mut cells = output.split_terminator('\0');
    let mut answers = Vec::new();
    while let Some(count) = cells.next() {
        let answer = (count != "wrong").then(|| {
            let count = count.parse().unwrap();
            let words = cells.by_ref().take(count).map(str::to_owned).collect();
            assert_eq!(cells.next(), Some("end"));
            words
        });
        answers.push(answer);
    }
    answers
}

#[test]
fn what_both_take_is_the_same_to_both() {
    let lines = RefCell::new(Vec::new());
    let pieces = proptest::sample::select(PIECES.to_vec());
    let pieces = proptest::collection::vec(pieces, 0..9);
    let runs = Config {
        cases: u32::try_from(20 * CASES).unwrap(),
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(runs.rng_algorithm);
    let drawn =
        TestRunner::new_with_rng(runs, rng).run(&(any::<bool>(), pieces), |(list, pieces)| {
            let value = pieces.concat();
            let line = match list {
                true => format!("K=({value})"),
                false => format!("K={value}"),
            };
            // What we refuse may be anything to a shell, a program among others.
            if ours(&line).is_some() && lines.borrow().len() < CASES {
                lines.borrow_mut().push(line);
            }
            Ok(())
        });
    assert_eq!(drawn, Ok(()));
    let lines = lines.into_inner();
    assert_eq!(lines.len(), CASES);
    let answers = bashs(&lines);
    assert_eq!(answers.len(), CASES);
    for (line, answer) in lines.iter().zip(answers) {
        assert_eq!(ours(line), answer, "{line:?}");
    }
}
