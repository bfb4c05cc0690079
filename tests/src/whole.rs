//! Is the cluster whole? Each question is one look whose error says what was seen instead, so
//! that it can be asked once, or by [`crate::wait_for`] until the answer is yes.

use anyhow::{Result, ensure};

use crate::host::Node;
use crate::lab::Lab;

impl Lab {
    /// Does the pool show this status and role of each node, in the order of their ids?
    ///
    /// # Errors
    /// It does not, or does not answer.
    pub fn pool_shows(&self, wanted: &[(&str, &str)]) -> Result<()> {
        let nodes = self.pool_nodes()?;
        let seen = nodes
            .iter()
            .map(|node| (node.status.as_str(), node.role.as_str()));
        ensure!(
            seen.eq(wanted.iter().copied()),
            "the pool shows {nodes:?}, not {wanted:?}"
        );
        Ok(())
    }

    /// Does the pool show every node `up`, and this one as the primary?
    ///
    /// # Errors
    /// It does not, or does not answer.
    pub fn pool_shows_all_up(&self, primary: u8) -> Result<()> {
        let role = |node: &Node| {
            if node.number() == primary {
                ("up", "primary")
            } else {
                ("up", "standby")
            }
        };
        let wanted: Vec<_> = self.nodes().iter().map(role).collect();
        self.pool_shows(&wanted)
    }

    /// Does a host's database stream from the primary's, as that one sees it? In a synchronous lab
    /// it also has to be `sync` or `quorum`; or `potential`, where another standby may be `sync`.
    ///
    /// # Errors
    /// It does not; the text has what `pg_stat_replication` shows.
    pub fn streams(&self, standby: u8, primary: u8) -> Result<()> {
        let name = self.node(standby).application_name();
        let seen = self.node(primary).psql(&format!(
            "select state, sync_state from pg_stat_replication where application_name = '{name}'"
        ))?;
        let states: &[&str] = match (self.options().sync, self.nodes().len()) {
            (false, _) => &["async"],
            (true, 2) => &["sync", "quorum"],
            (true, _) => &["sync", "quorum", "potential"],
        };
        let wanted = |state: &&str| seen == format!("streaming|{state}");
        ensure!(
            states.iter().any(wanted),
            "node{primary} shows {name} as {seen:?}, not streaming as one of {states:?}"
        );
        Ok(())
    }

    /// Is all as it should be, with this primary? Alone it takes writes and has the VIP, all
    /// others stream from it, commits wait for one of them if the lab is synchronous, and the pool,
    /// where there is one, shows every node `up`.
    ///
    /// # Errors
    /// The first thing that is not so.
    pub fn is_whole(&self, primary: u8) -> Result<()> {
        // What is longest in coming goes first: it is asked every few milliseconds.
        for node in self.nodes().iter().filter(|it| it.number() != primary) {
            self.streams(node.number(), primary)?;
        }
        if self.options().sync {
            let seen = self.node(primary).psql(
                "select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum')",
            )?;
            ensure!(seen != "0", "no standby of node{primary} is synchronous");
        }
        let (primaries, holders) = (self.primaries()?, self.vip_holders()?);
        ensure!(primaries == [primary], "primaries are {primaries:?}");
        ensure!(holders == [primary], "the VIP is on {holders:?}");
        if self.options().pools > 0 {
            self.pool_shows_all_up(primary)?;
        }
        Ok(())
    }
}
