//! A drill under way: the words that its steps are told in, and what was seen meanwhile.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use crate::host::Node;
use crate::lab::Lab;
use crate::rounds::Rounds;
use crate::wait::{look_each, next, wait_for};
use crate::watch::{Expected, Loss, Watch};

/// For what is nearly there.
pub const SHORT: Duration = Duration::from_secs(15);
/// Until the pool has noticed and failed over; without its leader an election comes on top.
pub const FAILOVER: Duration = Duration::from_secs(120);
/// Until recovery has made the cluster whole: perhaps two rounds of cron, and what they do.
pub const RECOVERY: Duration = Duration::from_secs(240);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// How the last steps of a drill leave the cluster.
pub type Played = Result<Expected>;

/// One drill under way.
pub struct Scene<'a> {
    /// The cluster.
    pub lab: &'a Lab,
    watch: Watch<'a>,
    rounds: Option<Rounds>,
    diary: Vec<(Instant, String)>,
    broken: Option<Instant>,
    redundant: Option<Duration>,
    reads: Vec<String>,
    figures: Vec<(String, Duration)>,
    seed: u64,
}

impl<'a> Scene<'a> {
    /// `seed`: what is left to chance follows from it.
    pub(super) fn begin(lab: &'a Lab, seed: u64) -> Result<Self> {
        let mut scene = Self {
            lab,
            watch: Watch::start(lab)?,
            rounds: None,
            diary: Vec::new(),
            broken: None,
            redundant: None,
            reads: Vec::new(),
            figures: Vec::new(),
            seed,
        };
        scene.note("all is well, a client writes");
        // Where cron does not do it.
        if !lab.options().recovery {
            scene.start_rounds();
        }
        Ok(scene)
    }

    /// A line for the one who has to find out why a drill failed.
    pub fn note(&mut self, text: impl Into<String>) {
        self.diary.push((Instant::now(), text.into()));
    }

    /// Does something to the cluster.
    ///
    /// # Errors
    /// That of `act`.
    pub fn does<T>(&mut self, what: &str, act: impl FnOnce(&Lab) -> Result<T>) -> Result<T> {
        self.note(what);
        act(self.lab).with_context(|| what.to_owned())
    }

    /// Does the harm that the drill is about: the time to full redundancy begins.
    ///
    /// # Errors
    /// That of `act`.
    pub fn breaks<T>(&mut self, what: &str, act: impl FnOnce(&Lab) -> Result<T>) -> Result<T> {
        self.broken.get_or_insert_with(Instant::now);
        self.redundant = None;
        self.does(what, act)
    }

    /// Waits for a state.
    ///
    /// # Errors
    /// It has not come within `limit`.
    pub fn sees<T>(
        &mut self,
        what: &str,
        limit: Duration,
        look: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let seen = look_each(PAUSE, what, limit, look)?;
        self.note(format!("seen: {what}"));
        Ok(seen)
    }

    /// Waits until this host is seen to be as `look` asks for.
    ///
    /// # Errors
    /// It has not come within `limit`.
    pub fn sees_on(
        &mut self,
        number: u8,
        what: &str,
        limit: Duration,
        look: impl Fn(&Node) -> Result<bool>,
    ) -> Result<()> {
        let node = self.lab.node(number);
        let what = format!("{}: {what}", node.name());
        self.sees(&what, limit, || {
            ensure!(look(node)?, "it is not so");
            Ok(())
        })
    }

    /// Waits until another than `from` is the primary, has the VIP, and the pool has done with it.
    ///
    /// # Errors
    /// There is none after [`FAILOVER`].
    pub fn fails_over(&mut self, from: u8) -> Result<u8> {
        let lab = self.lab;
        self.sees("a failover", FAILOVER, || {
            let mut primaries = Vec::new();
            for node in lab.nodes().iter().filter(|it| it.number() != from) {
                if !node.pids_of_database().is_empty() && !node.in_recovery()? {
                    primaries.push(node.number());
                }
            }
            let [new] = primaries[..] else {
                bail!("other primaries are {primaries:?}");
            };
            ensure!(lab.node(new).has_vip()?, "node{new} has no VIP");
            let nodes = lab.pool_nodes()?;
            let is_primary = nodes
                .iter()
                .any(|it| it.id == lab.node(new).id() && it.role == "primary" && it.status == "up");
            ensure!(is_primary, "the pool shows {nodes:?}");
            Ok(new)
        })
    }

    /// Waits until one primary is left and all is as it should be; which one that is.
    ///
    /// # Errors
    /// It is not after [`RECOVERY`].
    pub fn one_is_left(&mut self) -> Result<u8> {
        let lab = self.lab;
        self.sees("one primary is left, the pool's", RECOVERY, || {
            let primaries = lab.primaries()?;
            let [primary] = primaries[..] else {
                bail!("primaries are {primaries:?}");
            };
            lab.is_whole(primary)?;
            Ok(primary)
        })
    }

    /// Waits until all is as it should be, with this primary: full redundancy is back.
    ///
    /// # Errors
    /// It is not after [`RECOVERY`].
    pub fn is_whole(&mut self, primary: u8) -> Played {
        let lab = self.lab;
        let what = format!("the cluster is whole, node{primary} its primary");
        self.sees(&what, RECOVERY, || lab.is_whole(primary))?;
        // A primary may show a standby that does not answer any more as streaming.
        let flushed = "select pg_current_wal_flush_lsn()";
        let flushed = lab.node(primary).psql(flushed)?;
        let replayed = format!("select pg_last_wal_replay_lsn() >= '{flushed}'");
        for node in lab.nodes().iter().filter(|it| it.number() != primary) {
            let what = format!("{} has it all", node.name());
            look_each(PAUSE, &what, RECOVERY, || {
                ensure!(node.psql(&replayed)? == "t", "it has not");
                Ok(())
            })?;
        }
        self.watch.client().wait_for_acks(20, RECOVERY)?;
        self.redundant = self.broken.map(|broken| broken.elapsed());
        Ok(Expected::whole(primary))
    }

    /// Rows may be lost, for a reason: see [`Loss`].
    pub fn may_lose(&self, why: &'static str) -> Option<Loss> {
        self.broken.map(|harm| Loss { why, harm })
    }

    /// Waits until the client writes again.
    ///
    /// # Errors
    /// It does not within `limit`.
    pub fn client_writes(&mut self, limit: Duration) -> Result<()> {
        self.watch.client().wait_for_acks(50, limit)?;
        self.note("the client writes");
        Ok(())
    }

    /// A moment within so much time, by chance.
    pub fn some_moment(&mut self, within: Duration) -> Duration {
        self.seed = next(self.seed);
        // Seeds that follow each other are not to give moments that do.
        let mixed = next((self.seed ^ (self.seed >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let per_mille = u32::try_from((mixed >> 33) % 1000).unwrap_or_default();
        within * per_mille / 1000
    }

    /// A time that was measured, for those who play a drill many times.
    pub fn figure(&mut self, what: &str, time: Duration) {
        self.note(format!("{what}: {:.2} s", time.as_secs_f64()));
        self.figures.push((what.to_owned(), time));
    }

    /// Waits until so much time has passed since the harm was done, where the row says how long.
    ///
    /// # Errors
    /// No harm was done.
    pub fn lasts(&mut self, time: Duration) -> Result<()> {
        let broken = self.broken.context("nothing is broken")?;
        let what = format!("{} s have passed", time.as_secs());
        self.sees(&what, time + SHORT, || {
            ensure!(broken.elapsed() >= time, "not yet");
            Ok(())
        })
    }

    /// Waits until so much time has passed since now, where the row says how long.
    ///
    /// # Errors
    /// None: time passes.
    pub fn passes(&mut self, time: Duration) -> Result<()> {
        let begun = Instant::now();
        let what = format!("{:.1} s have passed since", time.as_secs_f64());
        self.sees(&what, time + SHORT, || {
            ensure!(begun.elapsed() >= time, "not yet");
            Ok(())
        })
    }

    /// Waits until it is so long before the full minute, in which cron starts what it starts.
    ///
    /// # Errors
    /// None: time passes.
    pub fn waits_for_the_minute(&mut self, before: Duration) -> Result<()> {
        let left = 60_000 - millis_of_day() % 60_000;
        let before = u64::try_from(before.as_millis())? % 60_000;
        self.passes(Duration::from_millis((left + 60_000 - before) % 60_000))
    }

    /// What the operator reads: a line with this text has to come in this log of a host.
    ///
    /// # Errors
    /// There is none within `limit`.
    pub fn reads_within(
        &mut self,
        number: u8,
        log: &str,
        text: &str,
        limit: Duration,
    ) -> Result<()> {
        let node = self.lab.node(number);
        let line = wait_for(&format!("{text:?} in {log} of node{number}"), limit, || {
            let log = node.log(log)?;
            let line = log.lines().rev().find(|line| line.contains(text));
            Ok(without_time(line.context("it is not there")?).to_owned())
        })?;
        self.note(format!("node{number}, {log}: {line}"));
        self.reads.push(line);
        Ok(())
    }

    /// [`Self::reads_within`] a short time.
    ///
    /// # Errors
    /// The same.
    pub fn reads(&mut self, number: u8, log: &str, text: &str) -> Result<()> {
        self.reads_within(number, log, text, SHORT)
    }

    /// A line for the column of what the operator reads, where no log is asked.
    pub fn operator_reads(&mut self, line: &str) {
        self.note(line);
        self.reads.push(line.to_owned());
    }

    /// One more client, on a host of the cluster.
    ///
    /// # Errors
    /// It cannot write.
    pub fn add_client_on(&mut self, number: u8) -> Result<()> {
        self.note(format!("a client writes on node{number}, too"));
        self.watch.add_client_on(self.lab.node(number))
    }

    /// Runs `network_rewind` on every host, again and again.
    pub fn start_rounds(&mut self) {
        if self.rounds.is_none() {
            self.rounds = Some(self.lab.start_rounds());
        }
    }

    /// Stops that; runs that are under way end first.
    pub fn stop_rounds(&mut self) {
        self.rounds = None;
    }

    /// The watchers.
    pub fn watch(&self) -> &Watch<'a> {
        &self.watch
    }

    /// Nothing is started any more; those who watch, and what was seen.
    pub(super) fn end(self) -> (Watch<'a>, Seen) {
        drop(self.rounds);
        let seen = Seen {
            begun: self.watch.begun(),
            diary: self.diary,
            redundant: self.redundant,
            reads: self.reads,
            figures: self.figures,
        };
        (self.watch, seen)
    }
}

/// What was seen of a drill.
pub(super) struct Seen {
    begun: Instant,
    diary: Vec<(Instant, String)>,
    pub(super) redundant: Option<Duration>,
    pub(super) reads: Vec<String>,
    pub(super) figures: Vec<(String, Duration)>,
}

impl Seen {
    /// The diary: time of day (UTC), seconds since the drill began, what.
    #[allow(
        clippy::disallowed_methods,
        reason = "the time of day, by which the hosts' logs are found"
    )]
    pub(super) fn lines(&self) -> Vec<String> {
        let now = (Instant::now(), SystemTime::now());
        let lines = self.diary.iter().map(|(at, text)| {
            let day = now.1 - now.0.duration_since(*at);
            let day = day.duration_since(SystemTime::UNIX_EPOCH);
            let day = day.unwrap_or_default().as_secs() % 86_400;
            let (hour, minute, second) = (day / 3600, day / 60 % 60, day % 60);
            let after = at.saturating_duration_since(self.begun).as_secs_f64();
            format!("{hour:02}:{minute:02}:{second:02} {after:6.1} s  {text}")
        });
        lines.collect()
    }
}

/// The time of day, by which cron goes.
#[allow(
    clippy::disallowed_methods,
    reason = "the time of day, by which cron goes"
)]
fn millis_of_day() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let millis = now.unwrap_or_default().as_millis() % 86_400_000;
    u64::try_from(millis).unwrap_or_default()
}

/// A line of a log, without the time before it.
fn without_time(line: &str) -> &str {
    let shape = "2022-08-30 15:39:23 ";
    let is_time = line.len() > shape.len()
        && line.bytes().zip(shape.bytes()).all(|(found, wanted)| {
            found == wanted || found.is_ascii_digit() && wanted.is_ascii_digit()
        });
    match is_time {
        true => &line[shape.len()..],
        false => line,
    }
}
