//! What the minute costs in which there is nothing to do.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::layout::{DATABASE_PORT, DB_BIN, GATEWAY, POOL_BIN, POOL_PORT, USER};
use lab::{Lab, LabOptions, Node, ToolRun};

use crate::contenders;
use crate::figures::{Table, Verdict};
use crate::steps::Steps;
use crate::{Part, order, progress};

const LIMIT: Duration = Duration::from_secs(60);
/// Where a trace is written, on the host.
const TRACE: &str = "/tmp/trace";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contender {
    Ours,
    /// The tools of another build.
    Before,
    Shell,
}

impl Contender {
    const ALL: [Self; 2] = [Self::Ours, Self::Shell];

    /// Those that are measured: all, or the other build and this one.
    fn all(beside: Option<&Path>) -> Vec<Self> {
        match beside {
            Some(_) => vec![Self::Before, Self::Ours],
            None => Self::ALL.to_vec(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "network_rewind",
            Self::Before => "the other build",
            Self::Shell => "shell, as in the case study",
        }
    }

    fn program(self) -> String {
        match self {
            Self::Ours | Self::Before => format!("{DB_BIN}/network_rewind"),
            Self::Shell => format!("{POOL_BIN}/shell/network_rewind.sh"),
        }
    }

    /// The ping that it waits for: the first answer, or three packets.
    fn ping(self) -> [&'static str; 2] {
        match self {
            Self::Ours | Self::Before => ["-c", "1"],
            Self::Shell => ["-c", "3"],
        }
    }
}

const MEASURES: [&str; 7] = [
    "wall, ms",
    "without the ping, ms",
    "CPU, ms",
    "memory, MB",
    "processes",
    "ssh logins",
    "SQL logins",
];

pub fn run(lab_name: &str, repetitions: usize, beside: Option<&Path>) -> Result<Part> {
    let contenders = Contender::all(beside);
    let hosts = [(101, "primary"), (102, "standby")];
    let names: Vec<&str> = contenders.iter().map(|it| it.name()).collect();
    let mut tables =
        hosts.map(|(_, role)| Table::new(format!("idle minute, {role}"), &MEASURES, &names));
    let mut steps = hosts.map(|(_, role)| Steps::new(format!("idle minute, {role}")));
    let options = LabOptions {
        name: lab_name.to_owned(),
        pools: 2,
        ..LabOptions::default()
    };
    Lab::with(options, |lab| {
        contenders::install(lab)?;
        for (number, _) in hosts {
            // The first run may find something to do.
            timed(lab.node(number), Contender::Ours)?;
        }
        for repetition in 0..repetitions {
            progress("idle minute", repetition, repetitions);
            for (at, (number, _)) in hosts.into_iter().enumerate() {
                for row in order(repetition, contenders.len()) {
                    let contender = contenders[row];
                    contenders::take_turns(lab, beside, contender == Contender::Before)?;
                    measure(
                        lab.node(number),
                        contender,
                        row,
                        &mut tables[at],
                        &mut steps[at],
                    )?;
                }
            }
        }
        Ok(())
    })?;
    Ok(Part {
        verdicts: match beside {
            Some(_) => tables.iter().flat_map(beside_before).collect(),
            None => tables.iter().flat_map(verdicts).collect(),
        },
        tables: tables.into(),
        steps: steps.into(),
    })
}

fn measure(
    node: &Node,
    contender: Contender,
    row: usize,
    table: &mut Table,
    steps: &mut Steps,
) -> Result<()> {
    let gateway = GATEWAY.to_string();
    let [flag, count] = contender.ping();
    let ping = ["ping", "-n", flag, count, "-w", "2", &gateway];
    let ping = node.run_as(USER, &ping, LIMIT)?;
    let run = timed(node, contender)?;
    if contender == Contender::Ours {
        steps.add_last_run(node)?;
    }
    let started = Started::of(node, contender)?;
    #[allow(clippy::cast_precision_loss, reason = "small")]
    let values = [
        ms(run.wall),
        ms(run.wall.saturating_sub(ping.wall)),
        ms(run.cpu),
        run.max_rss_kb as f64 / 1024.0,
        started.processes as f64,
        started.ssh as f64,
        started.sql as f64,
    ];
    for (measure, value) in values.into_iter().enumerate() {
        table.cell(row, measure).add(value);
    }
    Ok(())
}

fn timed(node: &Node, contender: Contender) -> Result<ToolRun> {
    let run = node.run_as(USER, &[&contender.program()], LIMIT)?;
    ensure!(run.code == Some(0), "{run}\n{}", node.recovery_log()?);
    Ok(run)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What one run starts and whom it calls: counted by a trace, in a run that is not timed.
#[derive(Debug, Default)]
struct Started {
    processes: usize,
    ssh: usize,
    sql: usize,
}

impl Started {
    fn of(node: &Node, contender: Contender) -> Result<Self> {
        let program = contender.program();
        let calls = "trace=execve,clone,clone3,fork,vfork,connect";
        let strace = [
            "strace", "-f", "-u", USER, "-e", calls, "-o", TRACE, &program,
        ];
        let run = node.run(&strace, LIMIT)?;
        ensure!(run.code == Some(0), "{run}\n{}", node.recovery_log()?);
        Self::count(&node.read(TRACE)?).with_context(|| format!("nothing in {TRACE}"))
    }

    fn count(trace: &str) -> Option<Self> {
        let mut started = Self::default();
        for line in trace.lines() {
            // `PID call(...`; what was interrupted comes a second time as `<... call resumed>`.
            let call = line.split_once(' ')?.1.trim_start();
            let name = call.split('(').next()?;
            match name {
                // Not a thread.
                "fork" | "vfork" => started.processes += 1,
                "clone" | "clone3" if !call.contains("CLONE_THREAD") => started.processes += 1,
                "connect" => {
                    let to = |port: u16| call.contains(&format!("sin_port=htons({port})"));
                    started.ssh += usize::from(to(22));
                    started.sql += usize::from(to(DATABASE_PORT) || to(POOL_PORT));
                }
                _ => {}
            }
        }
        // Itself.
        started.processes += 1;
        trace.contains("execve").then_some(started)
    }
}

fn beside_before(table: &Table) -> Vec<Verdict> {
    let of = |measure: usize| {
        let what = format!("{}: {}", table.title, MEASURES[measure]);
        crate::beside_before(&what, table.median(1, measure), table.median(0, measure))
    };
    [1, 2].map(of).into()
}

fn verdicts(table: &Table) -> Vec<Verdict> {
    let limits = [
        (1, 60.0, "ms"),
        (2, 15.0, "ms"),
        (3, 12.0, "MB"),
        (5, 0.0, ""),
        (6, 3.0, ""),
    ];
    let verdict = |(measure, limit, unit): (usize, f64, &str)| {
        let what = MEASURES[measure].split(',').next().unwrap_or_default();
        Verdict::at_most(
            format!("{}: {what}", table.title),
            limit,
            unit,
            table.median(0, measure),
        )
    };
    limits.into_iter().map(verdict).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_no_processes_and_only_these_ports_count() {
        let trace = "7 execve(\"/x\", [\"/x\"], 0x7 /* 3 vars */) = 0\n\
                     7 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0}, 88) = 9\n\
                     7 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD <unfinished ...>\n\
                     7 <... clone resumed>, child_tidptr=0x7) = 8\n\
                     9 connect(5, {sa_family=AF_INET, sin_port=htons(54321), sin_addr=...}, 16) = -1\n\
                     9 connect(5, {sa_family=AF_INET, sin_port=htons(1025), sin_addr=...}, 16) = 0\n\
                     9 connect(5, {sa_family=AF_INET, sin_port=htons(22), sin_addr=...}, 16) = 0\n\
                     8 +++ exited with 0 +++\n";
        let started = Started::count(trace).unwrap();
        assert_eq!((started.processes, started.ssh, started.sql), (2, 1, 1));
        assert!(Started::count("").is_none());
    }
}
