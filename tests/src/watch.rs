//! Those who watch a drill, and the questions that are the same after every drill.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::client::{Client, ClientReport};
use crate::lab::Lab;
use crate::prober::Prober;

/// For what goes on already.
const SHORT: Duration = Duration::from_secs(10);
/// For what may have to wait for a failover.
const LONG: Duration = Duration::from_secs(60);

/// A client that writes all the time, and a prober on every host.
#[derive(Debug)]
pub struct Watch<'a> {
    lab: &'a Lab,
    client: Client,
    prober: Prober,
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
            prober: lab.start_prober(),
        };
        watch.client.wait_for_acks(20, SHORT)?;
        Ok(watch)
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// In the middle of a drill: the client's commits go on, on one primary that has all of them,
    /// and alone the VIP. Never did two databases take writes, or two hosts have the VIP.
    ///
    /// # Errors
    /// What of this is not so.
    pub fn check(&self, primary: u8) -> Result<()> {
        self.client.wait_for_acks(20, LONG)?;
        let lab = self.lab;
        let (primaries, holders) = (lab.primaries()?, lab.vip_holders()?);
        ensure!(primaries == [primary], "primaries are {primaries:?}");
        ensure!(holders == [primary], "the VIP is on {holders:?}");
        // Before the rows: those of a moment later may not be there yet.
        let mut lost = self.client.acknowledged();
        let present = lab.rows_present(lab.node(primary))?;
        lost.retain(|row| !present.contains(row));
        ensure!(lost.is_empty(), "lost {lost:?}");
        let (writers, holders) = (self.prober.two_writers(), self.prober.two_holders());
        ensure!(writers.is_none(), "two took writes: {writers:?}");
        ensure!(holders.is_none(), "two had the VIP: {holders:?}");
        Ok(())
    }

    /// [`Self::check`] at the end, with nothing of a run left on any host; what the client saw.
    ///
    /// # Errors
    /// What of this is not so.
    pub fn finish(self, primary: u8) -> Result<ClientReport> {
        self.check(primary)?;
        self.lab.wait_until_nothing_is_left(SHORT)?;
        let report = self.client.stop();
        let lost = report.lost(&self.lab.rows_present(self.lab.node(primary))?);
        ensure!(lost.is_empty(), "lost {lost:?}");
        Ok(report)
    }
}
