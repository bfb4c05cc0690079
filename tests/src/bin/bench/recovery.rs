//! How long an old primary needs until it streams from the new one.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lab::layout::{DATA, DATABASE, DATABASE_PORT, DB_BIN, HOME, LOG, POOL_BIN, SQL_USER, USER};
use lab::{Lab, LabOptions, Node, wait_for};

use crate::contenders;
use crate::figures::{Table, Verdict};
use crate::snapshot::Snapshot;
use crate::steps::Steps;
use crate::{Part, measured, order, progress};

const LIMIT: Duration = Duration::from_secs(60);
/// For what writes two gigabytes.
const FILL: Duration = Duration::from_secs(900);

/// How large the data directory is, and how much the old primary wrote that the new one never had.
#[derive(Debug, Clone, Copy)]
struct Case {
    data_mb: u32,
    diverged_mb: u32,
    /// So many small tables, each of them files.
    tables: u32,
    /// The old primary was killed: crash recovery comes first.
    killed: bool,
}

impl Case {
    const USUAL: [Self; 4] = [
        Self::new(100, 0),
        Self::new(100, 50),
        Self::new(100, 500),
        Self::new(2048, 50),
    ];
    /// What takes longest, and where each sync of the whole directory shows. repmgr rejoins no server that was
    /// killed, and the shell version only waits longer.
    const LARGE: [Self; 2] = [
        Self {
            tables: 20_000,
            killed: true,
            ..Self::new(100, 50)
        },
        Self {
            killed: true,
            ..Self::new(4096, 50)
        },
    ];

    const fn new(data_mb: u32, diverged_mb: u32) -> Self {
        Self {
            data_mb,
            diverged_mb,
            tables: 0,
            killed: false,
        }
    }

    /// What distinguishes it, short.
    fn name(self) -> String {
        let tables = match self.tables {
            0 => String::new(),
            many => format!(", {many} tables"),
        };
        let killed = if self.killed { ", killed" } else { "" };
        let (data, diverged) = (self.data_mb, self.diverged_mb);
        format!("{data} MB{tables}, {diverged} MB diverged{killed}")
    }

    fn title(self) -> String {
        format!("recovery, data directory of {}", self.name())
    }

    /// Who is measured: these, or the other build and this one.
    fn contenders(self, beside: Option<&Path>) -> &'static [Contender] {
        match (beside, self.killed) {
            (Some(_), _) => &[Contender::Before, Contender::Ours],
            (None, true) => &[Contender::Bare, Contender::Ours],
            (None, false) => &Contender::ALL,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contender {
    Bare,
    Ours,
    /// The tools of another build.
    Before,
    Repmgr,
    Shell,
}

impl Contender {
    const ALL: [Self; 4] = [Self::Bare, Self::Ours, Self::Repmgr, Self::Shell];

    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare: pg_rewind, pg_ctl start",
            Self::Ours => "network_rewind",
            Self::Before => "the other build",
            Self::Repmgr => "repmgr node rejoin --force-rewind",
            Self::Shell => "shell, as in the case study",
        }
    }

    /// Run as the database's user on the old primary's host.
    fn command(self, old: &Node, new: &Node) -> Vec<String> {
        match self {
            Self::Bare => vec!["sh".to_owned(), "-c".to_owned(), bare(old, new)],
            Self::Ours | Self::Before => vec![format!("{DB_BIN}/network_rewind")],
            Self::Repmgr => contenders::repmgr_rejoin(new),
            Self::Shell => vec![format!("{POOL_BIN}/shell/network_rewind.sh")],
        }
    }
}

/// What nobody can do without.
fn bare(old: &Node, new: &Node) -> String {
    let source = format!(
        "host={} port={DATABASE_PORT} user={SQL_USER}",
        new.address()
    );
    let name = old.name();
    format!(
        "set -e; cd {DB_BIN}
         ./pg_rewind --target-pgdata={DATA} --source-server='{source} dbname={DATABASE}'
         touch {DATA}/standby.signal
         cat >>{DATA}/postgresql.auto.conf <<END
primary_conninfo = '{source} passfile={HOME}/.pgpass application_name={name}'
primary_slot_name = 'slot_{name}'
END
         ./pg_ctl start -w -D {DATA} -l {LOG}/database.log"
    )
}

const MEASURES: [&str; 2] = ["until it streams, ms", "inside the command, ms"];
const STREAMS: usize = 0;
const INSIDE: usize = 1;

/// The usual sizes, or the large ones.
pub fn run(lab_name: &str, repetitions: usize, beside: Option<&Path>, large: bool) -> Result<Part> {
    let mut part = Part::default();
    let cases: &[Case] = if large { &Case::LARGE } else { &Case::USUAL };
    for case in cases.iter().copied() {
        let contenders = case.contenders(beside);
        let names: Vec<&str> = contenders.iter().map(|it| it.name()).collect();
        let mut table = Table::new(case.title(), &MEASURES, &names);
        let mut steps = Steps::new(case.title());
        Lab::with(options(lab_name), |lab| {
            let cluster = Cluster::prepare(lab, case)?;
            for repetition in 0..repetitions {
                progress(&case.title(), repetition, repetitions);
                for row in order(repetition, contenders.len()) {
                    let contender = contenders[row];
                    let what = format!("{} by {}", case.title(), contender.name());
                    contenders::take_turns(lab, beside, contender == Contender::Before)?;
                    measured(&what, contender == Contender::Ours, || {
                        cluster.measure(contender, row, &mut table, &mut steps)
                    })?;
                }
            }
            Ok(())
        })?;
        part.verdicts.extend(match beside {
            Some(_) => vec![crate::beside_before(
                &format!("{}: {}", table.title, MEASURES[STREAMS]),
                table.median(1, STREAMS),
                table.median(0, STREAMS),
            )],
            None => verdicts(case, &table),
        });
        part.tables.push(table);
        part.steps.push(steps);
    }
    Ok(part)
}

/// Settings by which WAL that was only filled in does not stay in the data directory: a rewind copies
/// what lies there.
fn options(name: &str) -> LabOptions {
    let settings = [
        ("max_wal_size", "'256MB'"),
        ("min_wal_size", "'64MB'"),
        ("wal_keep_size", "'64MB'"),
    ];
    LabOptions {
        name: name.to_owned(),
        pools: 2,
        config: vec![("AUTO_PRIMARY_RECOVERY".to_owned(), "1".to_owned())],
        postgres: settings
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        ..LabOptions::default()
    }
}

/// Two hosts after a failover, as the pool left them: the old primary is down, and has left the
/// history of the new one.
struct Cluster<'a> {
    lab: &'a Lab,
    old: &'a Node,
    new: &'a Node,
    diverged: Snapshot,
}

impl<'a> Cluster<'a> {
    fn prepare(lab: &'a Lab, case: Case) -> Result<Self> {
        let (old, new) = (lab.node(101), lab.node(102));
        contenders::install(lab)?;
        contenders::register(old, new)?;
        fill(old, "ballast", case.data_mb)?;
        make_tables(old, case.tables)?;
        for node in [old, new] {
            node.kill_pool()?;
        }
        new.stop_database("fast")?;
        fill(old, "diverged", case.diverged_mb)?;
        match case.killed {
            true => old.kill_database()?,
            false => old.stop_database("fast")?,
        }
        contenders::take_vip(old)?;

        new.start_database()?;
        let promote = contenders::repmgr(&["standby", "promote"]);
        let promote: Vec<&str> = promote.iter().map(String::as_str).collect();
        new.run_as(USER, &promote, LIMIT)?.success()?;
        new.add_vip()?;
        new.psql(&format!(
            "select pg_create_physical_replication_slot('slot_{}', true)",
            old.name()
        ))?;
        new.psql("checkpoint")?;
        for node in [old, new] {
            node.write(&format!("{LOG}/pgpool_status"), "down\nup\n", 0o600, 0)?;
            node.start_pool()?;
        }
        wait_for("the pools", FILL, || {
            lab.pool_shows(&[("down", "standby"), ("up", "primary")])
        })?;
        Ok(Self {
            lab,
            old,
            new,
            diverged: Snapshot::take(old)?,
        })
    }

    fn reset(&self) -> Result<()> {
        if self
            .lab
            .pool_nodes()?
            .iter()
            .any(|it| it.id == self.old.id() && it.status != "down")
        {
            self.lab.pcp_detach(self.old.id())?;
        }
        wait_for("the pool to have it down", LIMIT, || {
            self.lab
                .pool_shows(&[("down", "standby"), ("up", "primary")])
        })?;
        self.old.kill_database()?;
        self.diverged.restore()?;
        contenders::forget_runs(self.old)?;
        // Nobody finds it done already.
        self.new
            .psql("alter system reset synchronous_standby_names")?;
        self.new.psql("select pg_reload_conf()")?;
        wait_for("the primary to have no standby", LIMIT, || {
            let seen = self.new.psql("select count(*) from pg_stat_replication")?;
            ensure!(seen == "0", "it has {seen}");
            Ok(())
        })
    }

    fn measure(
        &self,
        contender: Contender,
        row: usize,
        table: &mut Table,
        steps: &mut Steps,
    ) -> Result<()> {
        self.reset()?;
        let command = contender.command(self.old, self.new);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let watch = self.lab.first_streaming(self.old, self.new)?;
        watch.wait_until_asked(LIMIT)?;
        let running = self.old.spawn(USER, &command, 4 * LIMIT)?;
        let begin = Instant::now();
        let run = running.wait()?;
        ensure!(run.code == Some(0), "{run}\n{}", self.old.recovery_log()?);
        let streams = watch.wait(LIMIT)?;
        table
            .cell(row, STREAMS)
            .add_ms(streams.duration_since(begin));
        table.cell(row, INSIDE).add_ms(run.wall);
        if contender == Contender::Ours {
            self.lab.is_whole(self.new.number())?;
            steps.add_last_run(self.old)?;
        }
        Ok(())
    }
}

/// Tables of a row each, which the standby has, too.
fn make_tables(primary: &Node, tables: u32) -> Result<()> {
    if tables == 0 {
        return Ok(());
    }
    let each = "execute format('create table small_%s as select %s n', i, i); \
                if i % 500 = 0 then commit; end if;";
    let loop_ = format!("do $$ begin for i in 1..{tables} loop {each} end loop; end $$");
    primary.query("set synchronous_commit = local", FILL)?;
    primary.query(&loop_, FILL)?;
    primary.query("checkpoint", FILL).map(drop)
}

/// Writes that many MB into a table of a primary, whether a standby is there or not.
fn fill(primary: &Node, table: &str, mb: u32) -> Result<()> {
    // Eight to a page, and too short to be compressed.
    let rows = u64::from(mb) * 128 * 8;
    primary.query(
        &format!(
            "set synchronous_commit = local;
             create table {table} as
             select n, repeat(md5(n::text), 29) from generate_series(1, {rows}) n"
        ),
        FILL,
    )?;
    // Two, so that the WAL of before is let go.
    for _ in 0..2 {
        primary.query("select pg_switch_wal(); checkpoint", FILL)?;
    }
    Ok(())
}

fn verdicts(case: Case, table: &Table) -> Vec<Verdict> {
    let contenders = case.contenders(None);
    let row = |contender| contenders.iter().position(|it| *it == contender);
    let median = |contender| table.median(row(contender)?, STREAMS);
    let to = |other| Some(median(Contender::Ours)? / median(other)?);
    let beyond = || Some(median(Contender::Ours)? - 1.1 * median(Contender::Bare)?);
    let what = format!("{}: until it streams", case.name());
    if case.killed {
        let text = format!("{what}, to the bare steps");
        return vec![Verdict::at_most(text, 1.15, "times", to(Contender::Bare))];
    }
    vec![
        Verdict::at_most(
            format!("{what}, beyond 1.1 times the bare steps"),
            400.0,
            "ms",
            beyond(),
        ),
        Verdict::at_most(
            format!("{what}, to repmgr node rejoin"),
            1.0,
            "times",
            to(Contender::Repmgr),
        ),
    ]
}
