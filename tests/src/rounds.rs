//! Recovery in rounds: what cron does each minute, more often.

use std::sync::Arc;
use std::time::Duration;

use crate::client::Worker;
use crate::host::Node;
use crate::lab::Lab;

/// Between the end of a run and the next one on the same host.
const PAUSE: Duration = Duration::from_secs(3);
/// More than any recovery of a lab's database takes.
const RUN: Duration = Duration::from_secs(120);

/// `network_rewind`, on every host with a database that is on, again and again. Dropped, it waits
/// for the runs that are under way, and starts no other.
#[derive(Debug)]
pub struct Rounds(#[allow(dead_code, reason = "held until it is dropped")] Vec<Worker>);

impl Lab {
    /// Starts the rounds on every host that has a database.
    pub fn start_rounds(&self) -> Rounds {
        self.start_rounds_each(PAUSE)
    }

    /// The same, with another time between the end of a run and the next one.
    pub fn start_rounds_each(&self, pause: Duration) -> Rounds {
        Rounds(
            self.nodes()
                .iter()
                .map(|node| self.rounds_of(node, pause))
                .collect(),
        )
    }

    fn rounds_of(&self, node: &Node, pause: Duration) -> Worker {
        let node = Node::new(Arc::clone(&node.shared), node.number());
        Worker::start(move |stop| {
            loop {
                if node.is_up() {
                    // How it ends is in the host's log; it may have been switched off meanwhile.
                    let _ = node.recover(&[], RUN);
                }
                if stop.after(pause) {
                    return;
                }
            }
        })
    }
}
