//! The prober: tries a write on *every* host's own database all the time, from inside the host,
//! so that it also sees a primary that nobody else can reach.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::client::{Worker, lock};
use crate::layout::DATABASE_PORT;
use crate::network::enter;
use crate::sql::Session;

const CONNECT: Duration = Duration::from_millis(500);
const STATEMENT: Duration = Duration::from_secs(1);
/// Between two writes: two writers at once for longer than this are seen.
const PAUSE: Duration = Duration::from_millis(30);

/// A time in which a database took every write that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// When the first of them was sent.
    pub from: Instant,
    /// When the last of them was acknowledged.
    pub to: Instant,
}

/// Two databases that took writes at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwoWriters {
    /// Numbers of the hosts.
    pub hosts: (u8, u8),
    /// For how long, at least.
    pub overlap: Duration,
    /// When it began, after the prober's start.
    pub after: Duration,
}

/// A running prober. Dropped, it stops.
#[derive(Debug)]
pub struct Prober {
    hosts: Vec<(u8, Arc<Mutex<Vec<Span>>>)>,
    started: Instant,
    _workers: Vec<Worker>,
}

impl Prober {
    /// One thread for each host: its number, and the file of its network.
    pub(crate) fn start(hosts: Vec<(u8, PathBuf)>) -> Self {
        let mut prober = Self {
            hosts: Vec::new(),
            started: Instant::now(),
            _workers: Vec::new(),
        };
        for (number, network) in hosts {
            let spans = Arc::new(Mutex::new(Vec::<Span>::new()));
            let list = Arc::clone(&spans);
            prober.hosts.push((number, spans));
            prober._workers.push(Worker::start(move |stop| {
                let mut session = None;
                // Is the last span still going on?
                let mut open = false;
                loop {
                    match write(&mut session, number, &network) {
                        Ok(span) => {
                            let mut list = lock(&list);
                            match list.last_mut().filter(|_| open) {
                                Some(last) => last.to = span.to,
                                None => list.push(span),
                            }
                            open = true;
                        }
                        Err(_) => open = false,
                    }
                    if stop.after(PAUSE) {
                        return;
                    }
                }
            }));
        }
        prober
    }

    /// The times in which each host's database took writes, ascending.
    pub fn spans(&self, number: u8) -> Vec<Span> {
        let mut hosts = self.hosts.iter();
        hosts
            .find(|(it, _)| *it == number)
            .map(|(_, spans)| lock(spans).clone())
            .unwrap_or_default()
    }

    /// Two databases that took writes at the same time, if that ever happened: the longest time.
    pub fn two_writers(&self) -> Option<TwoWriters> {
        let mut found: Option<TwoWriters> = None;
        for (index, &(one, _)) in self.hosts.iter().enumerate() {
            for &(other, _) in &self.hosts[index + 1..] {
                for a in self.spans(one) {
                    for b in self.spans(other) {
                        let (from, to) = (a.from.max(b.from), a.to.min(b.to));
                        if from > to || found.as_ref().is_some_and(|it| it.overlap >= to - from) {
                            continue;
                        }
                        found = Some(TwoWriters {
                            hosts: (one, other),
                            overlap: to - from,
                            after: from - self.started,
                        });
                    }
                }
            }
        }
        found
    }
}

/// One write on the host's own database. A standby refuses it, and keeps its session.
fn write(session: &mut Option<Session>, number: u8, network: &Path) -> Result<Span> {
    let mut open = match session.take() {
        Some(open) => open,
        None => {
            // Anew each time: after a power cycle it is another network of the same name.
            enter(network)?;
            let mut open = Session::connect(Ipv4Addr::LOCALHOST, DATABASE_PORT, CONNECT)?;
            // Can it write, is the question: not whether a standby confirms.
            open.query("set synchronous_commit = local", STATEMENT)?;
            open
        }
    };
    let from = Instant::now();
    let written = open.query(
        &format!("insert into probe values ('node{number}')"),
        STATEMENT,
    );
    let to = Instant::now();
    let refused = written.as_ref().is_err_and(|error| {
        let error = error.downcast_ref::<tokio_postgres::Error>();
        error.is_some_and(|error| !error.is_closed() && error.as_db_error().is_some())
    });
    if written.is_ok() || refused {
        *session = Some(open);
    }
    written.map(|_| Span { from, to })
}
