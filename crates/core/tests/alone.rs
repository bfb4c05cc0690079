//! What only a process of one thread can do. The usual harness starts a thread for each test, so this is a
//! program of its own: each test runs it anew, by a name, as the process that is looked at.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a program of tests, in the way of the usual harness"
)]

use failover_core::deadline::Deadline;
use failover_core::exit::Exit;
use failover_core::process::{Background, Cmd, run};
use failover_core::{supervised, workers};
use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;
use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Barrier;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// The tests.
const TESTS: [(&str, fn()); 4] = [
    (
        "a_child_does_the_work_and_says_how_it_went",
        a_child_does_the_work_and_says_how_it_went,
    ),
    (
        "who_waits_ends_by_the_signal_that_has_ended_the_child",
        who_waits_ends_by_the_signal_that_has_ended_the_child,
    ),
    (
        "no_child_outlives_who_waits_for_it",
        no_child_outlives_who_waits_for_it,
    ),
    (
        "threads_share_the_memory_of_one",
        threads_share_the_memory_of_one,
    ),
];

/// By this a test starts this program as the process that is looked at.
const ALONE: &str = "--alone";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [option, word] = &words[..]
        && option == ALONE
    {
        return alone(word);
    }
    let exact = words.iter().any(|it| it == "--exact");
    let filters: Vec<&str> = words
        .iter()
        .map(|it| &**it)
        .filter(|it| !it.starts_with('-'))
        .collect();
    let is_meant = |name: &str| match exact {
        true => filters.contains(&name),
        false => filters.is_empty() || filters.iter().any(|it| name.contains(it)),
    };
    let mut failed = false;
    for (name, test) in TESTS.into_iter().filter(|it| is_meant(it.0)) {
        let passed = std::panic::catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed |= !passed;
    }
    match failed {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

fn alone(word: &str) -> ExitCode {
    match word {
        "says" => supervised::run("", begin, || Exit::NeedsPerson),
        "is-not-begun" => supervised::run("", || Err(Exit::Usage), || unreachable!("not begun")),
        "dies" => supervised::run("", begin, || {
            let _ = raise(Signal::SIGUSR1);
            Exit::Done
        }),
        "stays" => supervised::run("", begin, || {
            loop {
                nix::unistd::pause();
            }
        }),
        "own-memory" => ExitCode::from(arenas()),
        "shared-memory" => {
            workers::share_memory();
            ExitCode::from(arenas())
        }
        _ => panic!("{word}"),
    }
}

/// Says whose process it is.
fn begin() -> Result<(), Exit> {
    let mut out = stdout();
    let _ = writeln!(out, "{} of {}", Pid::this(), Pid::parent());
    Ok(())
}

fn command(word: &str) -> Cmd {
    Cmd::new(std::env::current_exe().unwrap()).args([ALONE, word])
}

/// The process that worked, and its parent.
fn worked(line: &str) -> (i32, i32) {
    let (child, parent) = line.trim().split_once(" of ").unwrap();
    (child.parse().unwrap(), parent.parse().unwrap())
}

fn a_child_does_the_work_and_says_how_it_went() {
    let out = run(&command("says"), Deadline::after(LIMIT)).unwrap();
    assert_eq!(out.code, Exit::NeedsPerson as i32);
    let (_, parent) = worked(&out.stdout);
    assert_ne!(parent, Pid::this().as_raw(), "it worked itself");
    let out = run(&command("is-not-begun"), Deadline::after(LIMIT)).unwrap();
    assert_eq!((out.code, &*out.stdout), (Exit::Usage as i32, ""));
}

fn who_waits_ends_by_the_signal_that_has_ended_the_child() {
    let out = run(&command("dies"), Deadline::after(LIMIT)).unwrap();
    assert_eq!(out.code, 128 + Signal::SIGUSR1 as i32, "{out:?}");
}

fn no_child_outlives_who_waits_for_it() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let mut running = Background::spawn(&command("stays")).unwrap();
        let deadline = Deadline::after(LIMIT);
        let mut seen = None;
        let begun = deadline.poll(Duration::from_millis(5), || {
            running.look(|_, line| seen = Some(worked(line)));
            seen
        });
        let (child, parent) = begun.unwrap();
        kill(Pid::from_raw(parent), signal).unwrap();
        // One that nobody waits for any more is a zombie until the first process has seen to it.
        let gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
            (state.is_empty() || state.starts_with('Z')).then_some(())
        };
        assert!(
            deadline.poll(Duration::from_millis(5), gone).is_some(),
            "{signal}"
        );
        let out = running.wait(deadline).unwrap();
        assert_eq!(out.code, 128 + signal as i32);
    }
}

/// For how many arenas this process has reserved addresses once eight threads have got memory: 64 MB each.
fn arenas() -> u8 {
    let barrier = Barrier::new(9);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let held = vec![1_u8; 1000];
                barrier.wait();
                barrier.wait();
                drop(held);
            });
        }
        barrier.wait();
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        barrier.wait();
        u8::try_from(maps.lines().filter(|line| is_reserve(line)).count()).unwrap()
    })
}

/// What an arena has not used yet of its addresses.
fn is_reserve(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let (range, rights) = (words.next().unwrap(), words.next().unwrap());
    let (from, to) = range.split_once('-').unwrap();
    let [from, to] = [from, to].map(|it| u64::from_str_radix(it, 16).unwrap());
    rights == "---p" && to - from > 32 << 20
}

fn threads_share_the_memory_of_one() {
    if !cfg!(target_env = "gnu") || !Path::new("/proc/self/maps").exists() {
        return;
    }
    let arenas = |word| run(&command(word), Deadline::after(LIMIT)).unwrap().code;
    let [own, shared] = ["own-memory", "shared-memory"].map(arenas);
    assert!(own > 1, "{own}: the test sees no arena");
    assert_eq!(shared, 0);
}
