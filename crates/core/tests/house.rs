//! The house has three floors and no way up: tools use core and rules, core uses rules, rules use
//! nothing of ours. On each floor no two rooms need each other, and in the core no two modules.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates of ours that each crate may stand on. One that is not here is a tool.
const FLOORS: [(&str, &[&str]); 5] = [
    ("version", &[]),
    ("rules", &[]),
    ("core", &["failover-rules"]),
    ("sim", &["failover-rules"]),
    // Never shipped: it makes the manual of the tools.
    ("manual", &["failover-core", "failover_stream"]),
];
/// What a tool may stand on.
const OF_A_TOOL: &[&str] = &["failover-core", "failover-rules", "failover-version"];

/// What no safe interface does, the only files that do it, each one thing, and a test that shows it. Its
/// reason stands beside it.
const UNSAFE: [(&str, &str, &str); 12] = [
    (
        "core/src/host/exchange.rs",
        "a system call that old C libraries have no function for",
        "two_directories_exchange_their_names_or_nothing_happens",
    ),
    (
        "core/src/host/process.rs",
        "a child becomes another user",
        "a_child_is_another_users_with_that_ones_groups",
    ),
    (
        "core/src/host/rights.rs",
        "whether a file has capabilities",
        "file_capabilities_serve_another_user",
    ),
    (
        "core/src/net/packet.rs",
        "the address of a packet socket",
        "the_address_is_everybodys",
    ),
    (
        "core/src/run/inherited/descriptors.rs",
        "descriptors of whoever started us",
        "all_from_one_up_are_closed_and_none_below",
    ),
    (
        "core/src/run/inherited/signals.rs",
        "signals of whoever started us",
        "what_was_ignored_or_blocked_is_so_no_more",
    ),
    (
        "core/src/run/supervised.rs",
        "a child of one thread does the work",
        "a_child_does_the_work_and_says_how_it_went",
    ),
    (
        "core/src/time/workers.rs",
        "the allocator's arenas",
        "threads_share_the_memory_of_one",
    ),
    (
        "vip_ctl/src/environment.rs",
        "the environment of a caller with fewer rights",
        "nothing_of_the_callers_environment_is_left",
    ),
    (
        "vip_ctl/src/privilege.rs",
        "whether the caller has fewer rights",
        "file_capabilities_are_for_the_configured_address_only",
    ),
    (
        "core/tests/hosts/mod.rs",
        "a test enters a network of its own",
        "who_has_an_address",
    ),
    (
        "vip_ctl/tests/vip_ctl.rs",
        "a test is a stranger who traces",
        "nobody_gets_a_raw_socket_out_of_it",
    ),
];

/// Crates whose rooms need each other. The simulator's world holds those that act on it.
const ROUND: [&str; 1] = ["sim"];

/// Modules that others are known by as well: `host` gives the tools a path to `this_host`.
const OTHER_PATHS: [&str; 1] = ["pub use crate::this_host::{Host, ThisHost};"];

/// Who uses whom.
type Uses = BTreeMap<String, BTreeSet<String>>;

fn crates() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let entries = fs::read_dir(root).unwrap().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn file_name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(sources(&path)),
            false => found.push(path),
        }
    }
    found
}

/// The path of the module in `file`: `a::b` for `src/a/b.rs`, `a` for `src/a/mod.rs`.
fn module(src: &Path, file: &Path) -> String {
    let path = file.strip_prefix(src).unwrap().with_extension("");
    let names = path.iter().map(|name| name.to_str().unwrap());
    names
        .filter(|name| *name != "mod")
        .collect::<Vec<_>>()
        .join("::")
}

/// The code of a file without its comments and its tests.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = text.lines();
    let code = lines.filter(|line| {
        let line = line.trim();
        !line.starts_with("//") && !OTHER_PATHS.contains(&line)
    });
    code.collect::<Vec<_>>().join("\n")
}

/// The paths that `text` names after `word`: `crate::a::{b, c}` gives `a::b` and `a::c`.
fn paths_after(text: &str, word: &str) -> Vec<String> {
    let is_of_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    let mut found = Vec::new();
    for rest in text.split(word).skip(1) {
        let end = rest.find(|c| !is_of_path(c)).unwrap_or(rest.len());
        let (path, rest) = rest.split_at(end);
        let list = rest.strip_prefix('{').and_then(|it| it.split('}').next());
        for name in list.unwrap_or_default().split(',') {
            let name = name.trim().split(' ').next().unwrap_or_default();
            found.push(format!("{path}{name}"));
        }
    }
    found
}

/// The shorter paths that the root of a crate gives to modules of its rooms.
fn short_paths(root: &str) -> BTreeMap<String, String> {
    let mut short = BTreeMap::new();
    for path in paths_after(root, "pub use ") {
        if let Some((_, name)) = path.split_once("::") {
            short.insert(name.to_owned(), path.clone());
        }
    }
    short
}

/// The module that `path` leads into.
fn target<'a>(path: &str, modules: &'a BTreeSet<String>) -> Option<&'a String> {
    let leads = |module: &&String| {
        let rest = path.strip_prefix(module.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    modules
        .iter()
        .filter(leads)
        .max_by_key(|module| module.len())
}

/// Which module of the crate in `dir` uses which other.
fn uses(dir: &Path) -> Uses {
    let src = dir.join("src");
    let is_tests = |file: &PathBuf| file.ends_with("tests.rs");
    let files: Vec<PathBuf> = sources(&src)
        .into_iter()
        .filter(|file| !is_tests(file))
        .collect();
    let modules = files.iter().map(|file| module(&src, file)).collect();
    let root = fs::read_to_string(src.join("lib.rs")).unwrap_or_default();
    let short = short_paths(&root);
    let mut uses = Uses::new();
    for file in &files {
        let own = module(&src, file);
        let above = own.rsplit_once("::").map_or("", |(above, _)| above);
        let code = code(file);
        let mut paths = paths_after(&code, "crate::");
        if !above.is_empty() {
            let siblings = paths_after(&code, "super::").into_iter();
            paths.extend(siblings.map(|path| format!("{above}::{path}")));
        }
        let used = uses.entry(own.clone()).or_default();
        for path in paths {
            let (first, rest) = path.split_once("::").unwrap_or((&path, ""));
            let path = match short.get(first) {
                Some(long) => format!("{long}::{rest}"),
                None => path,
            };
            used.extend(target(&path, &modules).filter(|it| **it != own).cloned());
        }
    }
    uses
}

/// The same between rooms: what stands directly in `src`.
fn between_rooms(uses: &Uses) -> Uses {
    let room = |module: &str| module.split("::").next().unwrap().to_owned();
    let mut rooms = Uses::new();
    for (module, used) in uses {
        let own = room(module);
        let used = used.iter().map(|it| room(it)).filter(|it| *it != own);
        rooms.entry(own.clone()).or_default().extend(used);
    }
    rooms
}

/// Those that are left when whoever uses nobody that is left has gone, again and again: they need each
/// other, or need those that do.
fn round(uses: &Uses) -> Uses {
    let mut left = uses.clone();
    loop {
        let names: BTreeSet<String> = left.keys().cloned().collect();
        for used in left.values_mut() {
            used.retain(|it| names.contains(it));
        }
        let before = left.len();
        left.retain(|_, used| !used.is_empty());
        if left.len() == before {
            return left;
        }
    }
}

#[test]
fn no_two_rooms_need_each_other() {
    for dir in crates() {
        if ROUND.contains(&file_name(&dir)) {
            continue;
        }
        let rooms = between_rooms(&uses(&dir));
        assert!(!rooms.is_empty(), "{}", dir.display());
        assert_eq!(round(&rooms), Uses::new(), "{}", dir.display());
    }
}

#[test]
fn no_two_modules_of_the_core_need_each_other() {
    let mut uses = uses(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(uses["steps::status"].contains("server::instance"));
    assert!(uses["net::arp"].contains("net::vip"));
    // The parts of the configuration share its types, which stand in its root.
    uses.retain(|module, _| !module.starts_with("config"));
    assert_eq!(round(&uses), Uses::new());
}

#[test]
fn no_crate_stands_on_one_above_it() {
    for dir in crates() {
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap();
        let floor = FLOORS.iter().find(|(name, _)| *name == file_name(&dir));
        let may = floor.map_or(OF_A_TOOL, |(_, may)| may);
        // A dependency by path would be one of ours by another way.
        assert!(!manifest.contains("path ="), "{}", dir.display());
        let ours = |line: &&str| line.starts_with("failover-") || line.starts_with("failover_");
        for line in manifest.lines().filter(ours) {
            let name = line.split(['.', ' ', '=']).next().unwrap();
            assert!(may.contains(&name), "{}: {name}", dir.display());
        }
    }
}

/// A block of it has its reason in the lines before.
#[test]
fn what_is_unsafe_is_said_and_nowhere_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = BTreeSet::new();
    let all = crates().into_iter().flat_map(|dir| sources(&dir));
    let left_out = "core/tests/house.rs";
    for file in all.filter(|it| it.extension().is_some_and(|it| it == "rs")) {
        let name = file
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let opens = |line: &str| line.contains("unsafe {") && !line.trim_start().starts_with("//");
        for (at, _) in lines.iter().enumerate().filter(|(_, line)| opens(line)) {
            let before = &lines[at.saturating_sub(4)..at];
            let reason = before.iter().any(|line| line.contains("// SAFETY: "));
            assert!(reason || name == left_out, "{name}:{}", at + 1);
            found.insert(name.clone());
        }
    }
    found.remove(left_out);
    let listed = UNSAFE.map(|(file, ..)| file.to_owned());
    assert_eq!(found, BTreeSet::from(listed));
}

#[test]
fn what_is_unsafe_has_a_test() {
    let on_the_lab = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/tests");
    let mut missing: BTreeSet<&str> = UNSAFE.iter().map(|(.., test)| *test).collect();
    let dirs = crates().into_iter().chain([on_the_lab]);
    for file in dirs.flat_map(|dir| sources(&dir)) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        missing.retain(|test| !text.contains(&format!("#[test]\n    fn {test}()")));
        missing.retain(|test| !text.contains(&format!("#[test]\nfn {test}()")));
        // Those of a harness of its own are in a list.
        missing.retain(|test| !text.contains(&format!("\"{test}\",\n        {test},\n")));
    }
    assert_eq!(missing, BTreeSet::new());
}

#[test]
fn the_check_can_fail() {
    let uses: Uses = [("a", "b"), ("b", "c"), ("c", "b"), ("d", "e")]
        .map(|(user, used)| (user.to_owned(), BTreeSet::from([used.to_owned()])))
        .into();
    let left: Vec<String> = round(&uses).into_keys().collect();
    assert_eq!(left, ["a", "b", "c"]);
    let text = "use crate::a::{b, c as d};\nlet x = crate::e::f(1);";
    assert_eq!(paths_after(text, "crate::"), ["a::b", "a::c", "e::f"]);
}
