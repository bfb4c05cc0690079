//! Those who watch a drill, and the questions that are the same after every drill.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::client::{Client, ClientReport};
use crate::host::Node;
use crate::lab::Lab;
use crate::prober::{Overlap, Prober, Span};
use crate::wait::wait_for;

/// For what goes on already.
const SHORT: Duration = Duration::from_secs(10);
/// For what may have to wait for a failover.
const LONG: Duration = Duration::from_secs(60);

/// Until a standby that was cut off has noticed it, and has what it missed: `wal_receiver_timeout`.
const CATCH_UP: Duration = Duration::from_secs(90);

/// A client that writes all the time, perhaps others on hosts of the cluster, and a prober on every
/// host.
#[derive(Debug)]
pub struct Watch<'a> {
    lab: &'a Lab,
    client: Client,
    others: Vec<Client>,
    prober: Prober,
    begun: Instant,
}

/// How a drill has to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Number of the only primary's host.
    pub primary: u8,
    /// Everything else is as it should be, too: see [`Lab::is_whole`].
    pub whole: bool,
    /// What may be lost: nothing, if there is no reason.
    pub may_lose: Option<Loss>,
    /// Two databases may take writes, and two hosts have the VIP, for at most so long, if that is
    /// what the drill is about.
    pub two: Option<Excuse>,
}

/// Why acknowledged rows may be lost, and which: those that were acknowledged while another database
/// than the last primary's took writes, and no earlier than [`TAIL`] before the harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// In a word.
    pub why: &'static str,
    /// When the harm was done.
    pub harm: Instant,
}

/// What an asynchronous standby may lack when its primary dies, and how late a client hears of a
/// commit.
const TAIL: Duration = Duration::from_secs(2);

/// Why there may be two of what should be one, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Excuse {
    /// In a word.
    pub why: &'static str,
    /// The most.
    pub at_most: Duration,
}

impl Loss {
    /// `spans`: when other databases than the last primary's took writes.
    fn excuses(&self, acknowledged: Instant, spans: &[Span]) -> bool {
        let near = |span: &Span| span.from <= acknowledged + TAIL && acknowledged <= span.to + TAIL;
        acknowledged + TAIL >= self.harm && spans.iter().any(near)
    }
}

impl Expected {
    /// A whole cluster with this primary, nothing lost, never two of anything.
    pub fn whole(primary: u8) -> Self {
        Self {
            whole: true,
            ..Self::primary(primary)
        }
    }

    /// The same of the primary and the VIP; the rest is not asked for.
    pub fn primary(primary: u8) -> Self {
        Self {
            primary,
            whole: false,
            may_lose: None,
            two: None,
        }
    }
}

/// The answers to the questions that are the same after every drill.
#[derive(Debug, Clone)]
pub struct Answers {
    /// Everything that is not as it has to be; empty if all is well.
    pub problems: Vec<String>,
    /// What the client saw.
    pub client: ClientReport,
    /// How many rows were acknowledged, to all clients.
    pub acknowledged: usize,
    /// Those of them that are not there.
    pub lost: Vec<u64>,
    /// Two databases that took writes at the same time.
    pub two_writers: Option<Overlap>,
    /// Two hosts that had the VIP at the same time.
    pub two_holders: Option<Overlap>,
}

impl<'a> Watch<'a> {
    /// Starts both, and waits for the first commits.
    ///
    /// # Errors
    /// There are none.
    pub fn start(lab: &'a Lab) -> Result<Self> {
        let watch = Self {
            lab,
            client: lab.start_client()?,
            others: Vec::new(),
            prober: lab.start_prober(),
            begun: Instant::now(),
        };
        watch.client.wait_for_acks(20, SHORT)?;
        Ok(watch)
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The prober.
    pub fn prober(&self) -> &Prober {
        &self.prober
    }

    /// When it began.
    pub fn begun(&self) -> Instant {
        self.begun
    }

    /// One more client, on a host of the cluster: see [`Lab::start_client_on`].
    ///
    /// # Errors
    /// It cannot write.
    pub fn add_client_on(&mut self, node: &Node) -> Result<()> {
        let client = self.lab.start_client_on(node)?;
        client.wait_for_acks(20, SHORT)?;
        self.others.push(client);
        Ok(())
    }

    /// The clients on hosts of the cluster, in the order in which they came.
    pub fn others(&self) -> &[Client] {
        &self.others
    }

    /// How many rows the clients on hosts of the cluster have had acknowledged.
    pub fn acknowledged_on_hosts(&self) -> usize {
        let others = self.others.iter();
        others.map(|client| client.acknowledged().len()).sum()
    }

    /// In the middle of a drill: the client's commits go on, on one primary that has all of them,
    /// and alone the VIP. Never did two databases take writes, or two hosts have the VIP.
    ///
    /// # Errors
    /// What of this is not so.
    pub fn check(&self, primary: u8) -> Result<()> {
        self.client.wait_for_acks(20, LONG)?;
        // Before the rows: those of a moment later may not be there yet.
        let acknowledged = self.client.acknowledged();
        let expected = Expected::primary(primary);
        let (problems, _) = look(self.lab, &self.prober, &expected, &acknowledged);
        ensure!(problems.is_empty(), "{}", problems.join("; "));
        Ok(())
    }

    /// [`Self::check`] at the end, with nothing of a run left on any host; what the client saw.
    ///
    /// # Errors
    /// What of this is not so.
    pub fn finish(self, primary: u8) -> Result<ClientReport> {
        let answers = self.answers(&Expected::primary(primary));
        ensure!(
            answers.problems.is_empty(),
            "{}",
            answers.problems.join("; ")
        );
        Ok(answers.client)
    }

    /// Asks all questions at the end of a drill.
    pub fn answers(self, expected: &Expected) -> Answers {
        let mut problems = Vec::new();
        let mut note = |asked: Result<()>| {
            if let Err(error) = asked {
                problems.push(format!("{error:#}"));
            }
        };
        note(self.client.wait_for_acks(20, LONG));
        if expected.whole {
            note(wait_for("the cluster to be whole", SHORT, || {
                self.lab.is_whole(expected.primary)
            }));
        }
        note(self.lab.wait_until_nothing_is_left(SHORT));
        let client = self.client.stop();
        let others: Vec<ClientReport> = self.others.into_iter().map(Client::stop).collect();
        let reports = || [&client].into_iter().chain(&others);
        let acknowledged: Vec<u64> = reports()
            .flat_map(|report| report.acknowledged.iter().copied())
            .collect();
        let (found, lost) = look(self.lab, &self.prober, expected, &acknowledged);
        problems.extend(found);
        if let Some(loss) = expected.may_lose {
            let times = reports()
                .flat_map(|report| report.acknowledged.iter().zip(&report.times))
                .filter(|(row, _)| lost.contains(row));
            let others = |node: &&Node| node.number() != expected.primary;
            let spans: Vec<Span> = self
                .lab
                .nodes()
                .iter()
                .filter(others)
                .flat_map(|node| self.prober.spans(node.number()))
                .collect();
            let unexcused = times.filter(|(_, time)| !loss.excuses(**time, &spans));
            let rows: Vec<u64> = unexcused.map(|(row, _)| *row).collect();
            if !rows.is_empty() {
                problems.push(format!(
                    "{} acknowledged rows are not on node{}, for which there is no excuse: {:?}",
                    rows.len(),
                    expected.primary,
                    &rows[..rows.len().min(10)]
                ));
            }
        }
        Answers {
            problems,
            client,
            acknowledged: acknowledged.len(),
            lost,
            two_writers: self.prober.two_writers(),
            two_holders: self.prober.two_holders(),
        }
    }
}

/// What is not as it has to be of primary, VIP and rows; the rows that are lost.
fn look(
    lab: &Lab,
    prober: &Prober,
    expected: &Expected,
    acknowledged: &[u64],
) -> (Vec<String>, Vec<u64>) {
    let primary = expected.primary;
    let mut problems = Vec::new();
    for (what, seen) in [
        ("primaries are", lab.primaries()),
        ("the database VIP is on", lab.vip_holders()),
    ] {
        match seen {
            Ok(seen) if seen == [primary] => {}
            Ok(seen) => problems.push(format!("{what} {seen:?}, not [{primary}]")),
            Err(error) => problems.push(format!("{what} not known: {error:#}")),
        }
    }
    let lost = match lab.rows_present(lab.node(primary)) {
        Ok(present) => {
            let rows = acknowledged.iter().copied();
            rows.filter(|row| !present.contains(row)).collect()
        }
        Err(error) => {
            problems.push(format!("the rows of node{primary}: {error:#}"));
            Vec::new()
        }
    };
    if !lost.is_empty() && expected.may_lose.is_none() {
        let first: Vec<u64> = lost.iter().copied().take(10).collect();
        problems.push(format!(
            "{} acknowledged rows are not on node{primary}: {first:?}",
            lost.len()
        ));
    }
    if expected.whole {
        problems.extend(missing_on_standbys(lab, primary, acknowledged, &lost));
    }
    for (what, seen) in [
        ("two databases took writes", prober.two_writers()),
        ("two hosts had the VIP", prober.two_holders()),
    ] {
        let too_long = |overlap: &Overlap| {
            expected
                .two
                .is_none_or(|excuse| overlap.overlap > excuse.at_most)
        };
        if let Some(overlap) = seen.filter(too_long) {
            problems.push(format!("{what} at the same time: {overlap:?}"));
        }
    }
    (problems, lost)
}

/// What the primary has of the client, its standbys get.
fn missing_on_standbys(lab: &Lab, primary: u8, acknowledged: &[u64], lost: &[u64]) -> Vec<String> {
    let others = lab.nodes().iter().filter(|it| it.number() != primary);
    let looked = others.map(|node| {
        wait_for("a standby's rows", CATCH_UP, || {
            let present = lab.rows_present(node)?;
            let rows = acknowledged.iter().filter(|row| !lost.contains(row));
            let missing = rows.filter(|row| !present.contains(row)).count();
            ensure!(missing == 0, "{} lacks {missing} rows", node.name());
            Ok(())
        })
    });
    looked
        .filter_map(|it| it.err().map(|error| format!("{error:#}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_old_primary_took_after_the_harm_may_be_lost() {
        let zero = Instant::now();
        let at = |seconds| zero + Duration::from_secs(seconds);
        let loss = Loss {
            why: "",
            harm: at(100),
        };
        let spans = [Span {
            from: at(10),
            to: at(120),
        }];
        for (acknowledged, excused) in [(90, false), (99, true), (120, true), (130, false)] {
            assert_eq!(
                loss.excuses(at(acknowledged), &spans),
                excused,
                "{acknowledged}"
            );
        }
        assert!(!loss.excuses(at(110), &[]));
    }
}
