//! Tests that failed, and what becomes of them when they run once more. Nothing is run here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// One program with tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    /// For a person: package and target.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Where cargo would start it: the directory of its package.
    pub dir: Option<PathBuf>,
    /// It needs root and the lab.
    pub needs_lab: bool,
    /// It is of the lab's own package: each of its tests has hosts of its own, and may run in a process of its own.
    pub is_the_labs: bool,
}

/// The directory of the package with the lab.
const LAB: &str = "tests";
/// Packages whose unit tests need neither root nor the lab, and whose other tests do.
const BESIDE_THE_LAB: [&str; 2] = ["core", "vip_ctl"];

/// A test that failed in the first run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Its suite and its name.
    pub test: String,
    /// It passed when it ran alone.
    pub passed: bool,
}

/// The suites in cargo's messages, one object of JSON a line.
///
/// # Errors
/// A line is no JSON.
pub fn suites(messages: &str) -> Result<Vec<Suite>> {
    let mut found = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Value =
            serde_json::from_str(line).with_context(|| format!("not of cargo: {line}"))?;
        let text = |path: &str| message.pointer(path).and_then(Value::as_str);
        let is_test = message.pointer("/profile/test") == Some(&Value::Bool(true));
        let Some(program) = text("/executable").filter(|_| is_test) else {
            continue;
        };
        let dir = text("/manifest_path").map(Path::new).and_then(Path::parent);
        let package = dir.and_then(Path::file_name).unwrap_or_default();
        let target = text("/target/name").unwrap_or_default();
        let package = package.to_string_lossy();
        let is_end_to_end = text("/target/kind/0") == Some("test");
        found.push(Suite {
            name: format!("{package} {target}"),
            program: program.into(),
            dir: dir.map(Path::to_owned),
            needs_lab: is_end_to_end
                && (package == LAB || BESIDE_THE_LAB.contains(&package.as_ref())),
            is_the_labs: is_end_to_end && package == LAB,
        });
    }
    Ok(found)
}

/// The names in what a suite says to `--list --format terse`.
pub fn listed_tests(said: &str) -> Vec<String> {
    let names = said.lines().filter_map(|line| line.strip_suffix(": test"));
    names.map(str::to_owned).collect()
}

/// Suites whose tests take long.
const LONG: [&str; 3] = ["matrix", "samples", "drills"];

/// Puts the tests of suites that take long first, so that none of them is left alone in the end. All others stay in
/// their order.
pub fn first_the_long(tests: &mut [(&Suite, String)]) {
    let is_long = |suite: &Suite| LONG.iter().any(|name| suite.name.ends_with(name));
    tests.sort_by_key(|(suite, _)| !is_long(suite));
}

/// The names of the tests that failed, from what a suite said.
pub fn failed_tests(said: &str) -> Vec<String> {
    let failed = |line: &str| {
        let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
        Some(name.trim_end_matches(" - should panic").to_owned())
    };
    let mut names: Vec<String> = said.lines().filter_map(failed).collect();
    // What a test prints may come between its name and its end: the summary has all of them.
    if let Some((_, summary)) = said.rsplit_once("\nfailures:\n") {
        let listed = summary.lines().map_while(|line| line.strip_prefix("    "));
        names.extend(listed.map(str::to_owned));
    }
    names.sort();
    names.dedup();
    names
}

/// What is said at the end, and whether the whole run counts as passed: each test that failed has
/// passed alone, and there are at most `tolerated` of them.
pub fn verdict(flaws: &[Flaw], tolerated: usize) -> (String, bool) {
    let list = |word: &str, passed: bool| {
        let those = flaws.iter().filter(|flaw| flaw.passed == passed);
        those
            .map(|flaw| format!("{word}: {}", flaw.test))
            .collect::<Vec<_>>()
    };
    let (failed, flaky) = (list("failed twice", false), list("flaky", true));
    let mut lines: Vec<String> = failed.iter().chain(&flaky).cloned().collect();
    let good = failed.is_empty() && flaky.len() <= tolerated;
    lines.push(match (good, failed.is_empty()) {
        (true, _) if flaky.is_empty() => "lab: every test passed".to_owned(),
        (true, _) => format!("lab: {} flaky, each a bug to find", flaky.len()),
        (false, true) => format!(
            "lab: {} tests are flaky, and at most {tolerated} may be",
            flaky.len()
        ),
        (false, false) => format!("lab: {} tests failed twice", failed.len()),
    });
    (lines.join("\n"), good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_programs_are_suites() {
        let messages = r#"
{"reason":"compiler-artifact","manifest_path":"/p/crates/core/Cargo.toml","target":{"kind":["test"],"name":"network"},"profile":{"test":true},"executable":"/t/network-1"}
{"reason":"compiler-artifact","manifest_path":"/p/tests/Cargo.toml","target":{"kind":["bin"],"name":"drills"},"profile":{"test":false},"executable":"/t/drills"}
{"reason":"compiler-artifact","manifest_path":"/p/tests/Cargo.toml","target":{"kind":["test"],"name":"lab"},"profile":{"test":true},"executable":null}
{"reason":"compiler-artifact","manifest_path":"/p/crates/core/Cargo.toml","target":{"kind":["lib"],"name":"failover_core"},"profile":{"test":true},"executable":"/t/core-1"}
{"reason":"build-finished","success":true}"#;
        let suite = |name: &str, program: &str, needs_lab| Suite {
            name: name.to_owned(),
            program: program.into(),
            dir: Some("/p/crates/core".into()),
            needs_lab,
            is_the_labs: false,
        };
        assert_eq!(
            suites(messages).unwrap(),
            [
                suite("core network", "/t/network-1", true),
                suite("core failover_core", "/t/core-1", false),
            ]
        );
        assert!(suites("{no json").is_err());
    }

    #[test]
    fn tests_are_listed_and_those_that_take_long_come_first() {
        let said = "a::one: test\nb::two: test\nc: benchmark\n";
        assert_eq!(listed_tests(said), ["a::one", "b::two"]);
        let suite = |name: &str| Suite {
            name: format!("tests {name}"),
            program: "/t/x".into(),
            dir: None,
            needs_lab: true,
            is_the_labs: true,
        };
        let all = ["attach_node", "drills", "recovery", "matrix"].map(suite);
        let mut tests: Vec<_> = all.iter().map(|it| (it, String::new())).collect();
        first_the_long(&mut tests);
        let order: Vec<_> = tests.iter().map(|(suite, _)| suite.name.as_str()).collect();
        assert_eq!(
            order,
            [
                "tests drills",
                "tests matrix",
                "tests attach_node",
                "tests recovery"
            ]
        );
    }

    #[test]
    fn failed_tests_are_found_also_behind_what_they_print() {
        let said = "\nrunning 3 tests\ntest rows::one ... ok\ntest rows::two ... FAILED\n\
                    test rows::three ... a line of its own\nFAILED\n\nfailures:\n\n---- rows::two \
                    stdout ----\nno\n\n\nfailures:\n    rows::three\n    rows::two\n\ntest result: FAILED.";
        assert_eq!(failed_tests(said), ["rows::three", "rows::two"]);
        assert_eq!(
            failed_tests("test a ... ok\n\ntest result: ok."),
            Vec::<String>::new()
        );
    }

    #[test]
    fn one_that_fails_twice_or_too_many_flaky_ones_are_red() {
        let flaw = |test: &str, passed| Flaw {
            test: test.to_owned(),
            passed,
        };
        assert!(verdict(&[], 3).1);
        let flaky = vec![flaw("a", true), flaw("b", true), flaw("c", true)];
        let (text, good) = verdict(&flaky, 3);
        assert!(good && text.contains("flaky: b"), "{text}");
        assert!(!verdict(&[flaky.clone(), vec![flaw("d", true)]].concat(), 3).1);
        let (text, good) = verdict(&[flaw("a", true), flaw("e", false)], 3);
        assert!(!good && text.contains("failed twice: e"), "{text}");
    }
}
