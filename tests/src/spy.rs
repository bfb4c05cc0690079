//! Who looks at every process's command line all the time, as anybody on a host may.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::client::{Worker, lock};

/// Between two looks. A program that lives for less may be missed in one run, not in all.
const PAUSE: Duration = Duration::from_millis(2);

/// A running spy. Dropped, it stops.
#[derive(Debug)]
pub struct Spy {
    seen: Arc<Mutex<BTreeSet<String>>>,
    worker: Worker,
}

impl Spy {
    /// Starts looking at the processes of all hosts, also of other labs. What the machine itself runs to
    /// set them up does not count.
    pub fn start() -> Self {
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let list = Arc::clone(&seen);
        let worker = Worker::start(move |stop| {
            loop {
                lock(&list).extend(command_lines());
                if stop.after(PAUSE) {
                    return;
                }
            }
        });
        Self { seen, worker }
    }

    /// The command lines that were seen, their words separated by spaces.
    pub fn stop(mut self) -> BTreeSet<String> {
        self.worker.stop();
        std::mem::take(&mut *lock(&self.seen))
    }
}

fn command_lines() -> impl Iterator<Item = String> {
    let machine = fs::read_link("/proc/self/ns/pid").ok();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let of_hosts = processes.filter(move |entry| {
        let namespace = fs::read_link(entry.path().join("ns/pid"));
        namespace.is_ok_and(|it| Some(it) != machine)
    });
    let lines = of_hosts.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
}
