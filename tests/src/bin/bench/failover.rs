//! How long clients wait when a primary is gone: from the start of the command until the first commit.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::layout::{
    DATA, DATABASE_PORT, DATABASE_VIP, DB_BIN, DEVICE, POOL_BIN, PRIMARY_DOWN, USER,
};
use lab::{Lab, LabOptions, Node, Running, wait_for};

use crate::contenders;
use crate::figures::{Table, Verdict};
use crate::snapshot::Snapshot;
use crate::steps::Steps;
use crate::{Part, measured, order, progress};

const LIMIT: Duration = Duration::from_secs(60);
/// For the VIP, after a command has ended that moves it.
const VIP_LIMIT: Duration = Duration::from_secs(5);

/// What happens to the old primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scene {
    DeadHost,
    DeadDatabase,
    Detach,
}

impl Scene {
    const ALL: [Self; 3] = [Self::DeadHost, Self::DeadDatabase, Self::Detach];

    fn title(self) -> &'static str {
        match self {
            Self::DeadHost => "failover, dead host (power cut)",
            Self::DeadDatabase => "failover, living host, dead database (kill -9)",
            Self::Detach => "failover, operator's detach (the old primary serves)",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contender {
    Bare,
    Ours,
    /// The tools of another build.
    Before,
    Pgpool,
    Repmgr,
    Shell,
}

impl Contender {
    const ALL: [Self; 5] = [
        Self::Bare,
        Self::Ours,
        Self::Pgpool,
        Self::Repmgr,
        Self::Shell,
    ];

    /// Those that are measured: all, or the other build and this one.
    fn all(beside: Option<&Path>) -> Vec<Self> {
        match beside {
            Some(_) => vec![Self::Before, Self::Ours],
            None => Self::ALL.to_vec(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare: pg_ctl promote -w",
            Self::Ours => "failover_stream",
            Self::Before => "the other build",
            Self::Pgpool => "pgpool-II's failover.sh.sample",
            Self::Repmgr => "repmgr standby promote",
            Self::Shell => "shell, as in the case study",
        }
    }

    /// repmgr does not promote beside a primary that it can reach.
    fn can(self, scene: Scene) -> bool {
        (self, scene) != (Self::Repmgr, Scene::Detach)
    }

    /// The others leave the database VIP where it is, and commits waiting for a standby.
    fn goes_all_the_way(self) -> bool {
        matches!(self, Self::Ours | Self::Before | Self::Shell)
    }

    /// Starts it on the new primary's host, as whoever starts it there.
    fn start(self, node: &Node) -> Result<Running> {
        let (port, pg_ctl) = (DATABASE_PORT.to_string(), format!("{DB_BIN}/pg_ctl"));
        let named = |program: String| {
            let mut command = vec![program];
            command.extend(PRIMARY_DOWN.map(str::to_owned));
            command
        };
        let (as_pool, command): (bool, Vec<String>) = match self {
            Self::Ours | Self::Before => (true, named(format!("{POOL_BIN}/failover_stream"))),
            Self::Shell => (true, named(format!("{POOL_BIN}/shell/failover_stream.sh"))),
            Self::Bare => {
                let command = [&pg_ctl, "promote", "-w", "-D", DATA];
                (false, command.map(str::to_owned).into())
            }
            Self::Repmgr => (false, contenders::repmgr(&["standby", "promote"])),
            Self::Pgpool => {
                // %d %h %p %D %m %H %M %P %r %R %N %S
                let [new, old] = ["192.168.1.102", "192.168.1.101"];
                let command = [
                    contenders::PGPOOL_SAMPLE,
                    "0",
                    old,
                    &port,
                    DATA,
                    "1",
                    new,
                    "0",
                    "0",
                    &port,
                    DATA,
                    old,
                    &port,
                ];
                (true, command.map(str::to_owned).into())
            }
        };
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        match as_pool {
            true => node.spawn_as_pool(&command, LIMIT),
            false => node.spawn(USER, &command, LIMIT),
        }
    }
}

/// What the columns are.
const MEASURES: [&str; 3] = [
    "inside the command, ms",
    "until the first commit on the new primary, ms",
    "until the first commit through the VIP, ms",
];
const INSIDE: usize = 0;
const COMMIT: usize = 1;
const VIP: usize = 2;
/// Of the detach only: elsewhere it begins with the harm, which is not the command's.
const CLIENT_GAP: &str = "longest client gap through the VIP, ms";
const GAP: usize = 3;

pub fn run(lab_name: &str, repetitions: usize, beside: Option<&Path>) -> Result<Part> {
    let contenders = Contender::all(beside);
    let names: Vec<&str> = contenders.iter().map(|it| it.name()).collect();
    let mut tables = Scene::ALL.map(|it| {
        let mut measures = MEASURES.to_vec();
        measures.extend((it == Scene::Detach).then_some(CLIENT_GAP));
        Table::new(it.title().to_owned(), &measures, &names)
    });
    let mut steps = Scene::ALL.map(|it| Steps::new(it.title().to_owned()));
    let options = LabOptions {
        name: lab_name.to_owned(),
        ..LabOptions::default()
    };
    Lab::with(options, |lab| {
        let cluster = Cluster::prepare(lab)?;
        for repetition in 0..repetitions {
            progress("failover", repetition, repetitions);
            for (at, scene) in Scene::ALL.into_iter().enumerate() {
                for row in order(repetition, contenders.len()) {
                    let contender = contenders[row];
                    if contender.can(scene) {
                        let what = format!("{} by {}", scene.title(), contender.name());
                        contenders::take_turns(lab, beside, contender == Contender::Before)?;
                        measured(&what, contender == Contender::Ours, || {
                            let (table, steps) = (&mut tables[at], &mut steps[at]);
                            cluster.measure(scene, contender, row, table, steps)
                        })?;
                    }
                }
            }
        }
        Ok(())
    })?;
    Ok(Part {
        verdicts: match beside {
            Some(_) => beside_before(&tables),
            None => verdicts(&tables),
        },
        tables: tables.into(),
        steps: steps.into(),
    })
}

/// Two hosts without a pool: the commands are started as it starts them, without its time to notice.
struct Cluster<'a> {
    lab: &'a Lab,
    old: &'a Node,
    new: &'a Node,
    snapshots: [Snapshot; 2],
}

impl<'a> Cluster<'a> {
    fn prepare(lab: &'a Lab) -> Result<Self> {
        let (old, new) = (lab.node(101), lab.node(102));
        contenders::install(lab)?;
        contenders::register(old, new)?;
        new.stop_database("fast")?;
        old.stop_database("fast")?;
        Ok(Self {
            lab,
            old,
            new,
            snapshots: [Snapshot::take(old)?, Snapshot::take(new)?],
        })
    }

    /// As it was: a primary with the VIP, and a synchronous standby.
    fn reset(&self) -> Result<()> {
        if !self.old.is_up() {
            self.old.power_on()?;
        }
        // The new primary's host first: it gives the other one its orders.
        contenders::end_runs(self.new)?;
        contenders::end_runs(self.old)?;
        for (node, snapshot) in [self.old, self.new].into_iter().zip(&self.snapshots) {
            node.kill_database()?;
            contenders::take_vip(node)?;
            snapshot.restore()?;
            contenders::forget_runs(node)?;
        }
        self.old.add_vip()?;
        // Else the clients would still have the new primary's hardware address, from the time before.
        let vip = DATABASE_VIP.to_string();
        let announce = ["arping", "-U", "-c", "1", "-w", "1", "-I", DEVICE, &vip];
        self.old.run(&announce, LIMIT)?;
        self.old.start_database()?;
        self.new.start_database()?;
        wait_for("a primary and its standby", LIMIT, || {
            self.lab.is_whole(101)
        })
    }

    fn set(&self, scene: Scene) -> Result<()> {
        let wait = |sql: &str, wanted: &str| {
            wait_for("the standby to notice", LIMIT, || {
                let seen = self.new.psql(sql)?;
                ensure!(seen == wanted, "{seen}");
                Ok(())
            })
        };
        match scene {
            // What comes later than the last message is what the pool's checks would see.
            Scene::DeadHost => {
                self.old.power_off()?;
                let silent = "select coalesce(bool_and(clock_timestamp() - last_msg_receipt_time \
                              > interval '2 s'), true) from pg_stat_wal_receiver";
                wait(silent, "t")?;
                // By then it is long known that nobody has the address, as in the case study.
                let forget = ["ip", "neigh", "flush", "dev", DEVICE];
                self.new.run(&forget, LIMIT)?.success().map(drop)
            }
            Scene::DeadDatabase => {
                self.old.kill_database()?;
                wait("select count(*) from pg_stat_wal_receiver", "0")
            }
            Scene::Detach => Ok(()),
        }
    }

    fn measure(
        &self,
        scene: Scene,
        contender: Contender,
        row: usize,
        table: &mut Table,
        steps: &mut Steps,
    ) -> Result<()> {
        self.reset()?;
        if !contender.goes_all_the_way() {
            // Done for them: else nothing would ever be committed.
            self.new
                .psql("alter system set synchronous_standby_names = ''")?;
            self.new.psql("select pg_reload_conf()")?;
        }
        self.set(scene)?;
        let commit = self.lab.first_commit(self.new, false);
        commit.wait_until_asked(LIMIT)?;
        // Where it stays with an old primary that lives, a commit through it waits for a standby.
        let moves_vip = contender.goes_all_the_way();
        let through_vip = moves_vip.then(|| self.lab.first_commit(self.new, true));
        let client = match scene == Scene::Detach && moves_vip {
            true => Some(self.lab.start_client()?),
            false => None,
        };
        if let Some(client) = &client {
            client.wait_for_acks(20, LIMIT)?;
        }
        let running = contender.start(self.new)?;
        let begin = Instant::now();
        let run = running.wait()?;
        ensure!(run.code == Some(0), "{run}\n{}", self.new.failover_log()?);
        let committed = commit.wait(LIMIT)?;
        let through_vip = through_vip.map(|it| it.wait(VIP_LIMIT)).transpose()?;
        if let Some(client) = client {
            client.wait_for_acks(1, LIMIT)?;
            table.cell(row, GAP).add_ms(client.stop().longest_gap);
        }
        table.cell(row, INSIDE).add_ms(run.wall);
        table
            .cell(row, COMMIT)
            .add_ms(committed.duration_since(begin));
        if let Some(committed) = through_vip {
            table.cell(row, VIP).add_ms(committed.duration_since(begin));
        }
        ensure!(!self.new.in_recovery()?, "it is no primary");
        if contender == Contender::Ours {
            steps.add_last_run(self.new)?;
            if scene != Scene::DeadHost {
                let left = self.old.pids_of_database();
                ensure!(left.is_empty(), "the old primary is not fenced: {left:?}");
            }
        }
        Ok(())
    }
}

fn beside_before(tables: &[Table; 3]) -> Vec<Verdict> {
    let [before, ours] = [0, 1];
    let of = |table: &Table, measure: usize| {
        let what = format!("{}: {}", table.title, MEASURES[measure]);
        let (ours, before) = (table.median(ours, measure), table.median(before, measure));
        crate::beside_before(&what, ours, before)
    };
    let both = |table| [INSIDE, COMMIT].map(|measure| of(table, measure));
    tables.iter().flat_map(both).collect()
}

fn verdicts(tables: &[Table; 3]) -> Vec<Verdict> {
    let row = |contender| Contender::ALL.iter().position(|it| *it == contender);
    let commit = |scene: usize, contender| tables[scene].median(row(contender)?, COMMIT);
    let inside = |scene: usize, contender| tables[scene].median(row(contender)?, INSIDE);
    let beyond = |scene| Some(commit(scene, Contender::Ours)? - commit(scene, Contender::Bare)?);
    let quicker = |scene, than| Some(commit(scene, Contender::Ours)? / commit(scene, than)?);
    let inside_to = |scene, than| Some(inside(scene, Contender::Ours)? / inside(scene, than)?);
    let [dead, killed, detach] = [0, 1, 2];
    let mut all = vec![
        Verdict::at_most(
            "dead host: first commit, beyond the bare promotion",
            700.0,
            "ms",
            beyond(dead),
        ),
        Verdict::at_most(
            "dead host: first commit, to the shell version",
            0.1,
            "times",
            quicker(dead, Contender::Shell),
        ),
    ];
    for (scene, name) in [(killed, "dead database"), (detach, "detach")] {
        all.extend([
            Verdict::at_most(
                format!("living host, {name}: first commit, beyond the bare promotion"),
                350.0,
                "ms",
                beyond(scene),
            ),
            Verdict::at_most(
                format!("living host, {name}: first commit, to pgpool-II's sample"),
                1.0,
                "times",
                quicker(scene, Contender::Pgpool),
            ),
            Verdict::at_most(
                format!("living host, {name}: inside the command, to pgpool-II's sample"),
                1.0,
                "times",
                inside_to(scene, Contender::Pgpool),
            ),
        ]);
    }
    all
}
