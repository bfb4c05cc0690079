//! `simulate --seeds 10000 [--from N] [--hard] [--today] [--without MEND]...`, or `--replay SEED [--trace]`.

use failover_sim::plan::HARD;
use failover_sim::{Options, Plan, Violation, run, run_plan, shrink};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// As `println!`, which panics where nobody listens any more (`simulate ... | head -1`).
macro_rules! say {
    ($($words:tt)*) => {{
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}

const USAGE: &str = "usage: simulate [--seeds N] [--from N] [--hard] [--today] [--without MEND]... \
                     [--replay SEED [--trace]] [--show N] [--kind KIND]";

struct Args {
    seeds: u64,
    from: u64,
    hard: bool,
    show: usize,
    kind: Option<String>,
    replay: Option<u64>,
    options: Options,
}

fn args() -> Result<Args, String> {
    let mut found = Args {
        seeds: 10_000,
        from: 0,
        hard: false,
        show: 5,
        kind: None,
        replay: None,
        options: Options::default(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64, String> {
            let value = words.next().unwrap_or_default();
            let bad = |_| format!("{word}: found {value:?}, expected a number\n{USAGE}");
            value.parse().map_err(bad)
        };
        match word.as_str() {
            "--seeds" => found.seeds = number()?,
            "--from" => found.from = number()?,
            "--show" => found.show = number()? as usize,
            "--replay" => found.replay = Some(number()?),
            "--kind" => found.kind = words.next(),
            "--hard" => found.hard = true,
            "--trace" => found.options.trace = true,
            "--today" => {
                found.options = Options {
                    trace: found.options.trace,
                    ..Options::today()
                }
            }
            "--without" => {
                let name = words.next().unwrap_or_default();
                if !found.options.take_out(&name) {
                    let all = Options::NAMES.join(", ");
                    return Err(format!("--without: found {name:?}, expected one of {all}"));
                }
            }
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(found)
}

/// Runs all seeds on all processors: half of them from `from` on, half of them hard
/// ones, or all of them hard.
fn all(args: &Args) -> Vec<(u64, Violation)> {
    let next = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    let work = || {
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            if nth >= args.seeds {
                break;
            }
            let seed = match args.hard {
                true => args.from + nth + HARD,
                // By turns anything that may happen, and what is hard.
                false => args.from + nth / 2 + HARD * (nth % 2),
            };
            if let Some(violation) = run(seed, args.options).violation {
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.push((seed, violation));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|it| it.0);
    failed
}

fn describe(seed: u64, options: Options) {
    let plan = shrink(seed, options);
    say!("  {:?}", plan.setup);
    for fault in &plan.faults {
        let (at, until) = (fault.at as f64 / 1e3, fault.until as f64 / 1e3);
        say!("  {:?} from {at} s to {until} s", fault.what);
    }
}

fn replay(seed: u64, options: Options) -> ExitCode {
    let plan = match options.trace {
        true => shrink(
            seed,
            Options {
                trace: false,
                ..options
            },
        ),
        false => Plan::draw(seed, options.obstacles),
    };
    let outcome = run_plan(&plan, seed, options);
    say!("{:?}", plan.setup);
    outcome.trace.iter().for_each(|line| say!("{line}"));
    match outcome.violation {
        Some(it) => {
            say!("seed {seed}: {:?} at {} ms: {}", it.what, it.when, it.story);
            ExitCode::FAILURE
        }
        None => {
            say!("seed {seed}: all is well");
            ExitCode::SUCCESS
        }
    }
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(text) => {
            let _ = writeln!(std::io::stderr(), "{text}");
            return ExitCode::from(2);
        }
    };
    if let Some(seed) = args.replay {
        return replay(seed, args.options);
    }
    let begin = Instant::now();
    let failed = all(&args);
    let seconds = begin.elapsed().as_secs_f64();
    say!(
        "{} seeds in {seconds:.1} s ({:.0} a second), {} failed",
        args.seeds,
        args.seeds as f64 / seconds,
        failed.len()
    );
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (_, it) in &failed {
        *kinds.entry(format!("{:?}", it.what)).or_default() += 1;
    }
    for (kind, count) in kinds {
        say!("{count:>6} {kind}");
    }
    let wanted = |it: &&(u64, Violation)| {
        let kind = args.kind.as_ref();
        kind.is_none_or(|kind| format!("{:?}", it.1.what) == *kind)
    };
    for (seed, it) in failed.iter().filter(wanted).take(args.show) {
        say!("seed {seed}: {:?} at {} ms: {}", it.what, it.when, it.story);
        describe(*seed, args.options);
    }
    match failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
