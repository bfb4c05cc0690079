//! The prober: tries a write on *every* host's own database all the time, from inside the host,
//! so that it also sees a primary that nobody else can reach; and looks for the database VIP there.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::ifaddrs::getifaddrs;

use crate::client::{Worker, lock};
use crate::layout::DATABASE_VIP;
use crate::network::enter;
use crate::sql::{Login, Session};

const CONNECT: Duration = Duration::from_millis(500);
const STATEMENT: Duration = Duration::from_secs(1);
/// Between two looks: two writers at once for longer than this are seen.
const PAUSE: Duration = Duration::from_millis(30);

/// A time in which a database took every write that was tried, or a host had the VIP at every look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// When the first write was sent, or the first look began.
    pub from: Instant,
    /// When the last write was acknowledged, or the last look was over.
    pub to: Instant,
}

/// What only one host may do, done by two at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// Numbers of the hosts.
    pub hosts: (u8, u8),
    /// For how long, at least.
    pub overlap: Duration,
    /// When it began, after the prober's start.
    pub after: Duration,
}

/// What was seen on one host.
#[derive(Debug, Default)]
struct Seen {
    writes: Mutex<Spans>,
    vip: Mutex<Spans>,
}

#[derive(Debug, Default)]
struct Spans {
    list: Vec<Span>,
    /// Does the last one still go on?
    open: bool,
}

/// A running prober. Dropped, it stops.
#[derive(Debug)]
pub struct Prober {
    hosts: Vec<(u8, Arc<Seen>)>,
    started: Instant,
    _workers: Vec<Worker>,
}

impl Prober {
    /// One thread for each host: its number, and the file of its network.
    pub(crate) fn start(login: Login, hosts: Vec<(u8, PathBuf)>) -> Self {
        let mut prober = Self {
            hosts: Vec::new(),
            started: Instant::now(),
            _workers: Vec::new(),
        };
        for (number, network) in hosts {
            let seen = Arc::new(Seen::default());
            prober.hosts.push((number, Arc::clone(&seen)));
            prober._workers.push(Worker::start(move |stop| {
                let mut session = None;
                loop {
                    note(&seen.writes, write(&login, &mut session, number, &network));
                    // After the write, which has taken the thread to where the host is now.
                    note(&seen.vip, find_vip());
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
            .map(|(_, seen)| lock(&seen.writes).list.clone())
            .unwrap_or_default()
    }

    /// Two databases that took writes at the same time, if that ever happened: the longest time.
    pub fn two_writers(&self) -> Option<Overlap> {
        self.overlap(|seen| &seen.writes)
    }

    /// Two hosts that had the database VIP at the same time, if that ever happened: the longest time.
    pub fn two_holders(&self) -> Option<Overlap> {
        self.overlap(|seen| &seen.vip)
    }

    fn overlap(&self, what: fn(&Seen) -> &Mutex<Spans>) -> Option<Overlap> {
        let spans = |seen| lock(what(seen)).list.clone();
        let mut found: Option<Overlap> = None;
        for (index, (one, seen)) in self.hosts.iter().enumerate() {
            for (other, seen_there) in &self.hosts[index + 1..] {
                for a in spans(seen) {
                    for b in spans(seen_there) {
                        let (from, to) = (a.from.max(b.from), a.to.min(b.to));
                        if from > to || found.as_ref().is_some_and(|it| it.overlap >= to - from) {
                            continue;
                        }
                        found = Some(Overlap {
                            hosts: (*one, *other),
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

fn note(spans: &Mutex<Spans>, seen: Result<Span>) {
    let mut spans = lock(spans);
    let open = spans.open;
    spans.open = seen.is_ok();
    let Ok(span) = seen else { return };
    match spans.list.last_mut().filter(|_| open) {
        Some(last) => last.to = span.to,
        None => spans.list.push(span),
    }
}

/// Is the VIP on the host that this thread is on?
fn find_vip() -> Result<Span> {
    let from = Instant::now();
    let held = getifaddrs()?.any(|it| {
        let address = it.address.as_ref().and_then(|it| it.as_sockaddr_in());
        address.is_some_and(|it| it.ip() == DATABASE_VIP)
    });
    ensure!(held, "it is not");
    let to = Instant::now();
    Ok(Span { from, to })
}

/// One write on the host's own database. A standby refuses it, and keeps its session.
fn write(login: &Login, session: &mut Option<Session>, number: u8, network: &Path) -> Result<Span> {
    let mut open = match session.take() {
        Some(open) => open,
        None => {
            // Anew each time: after a power cycle it is another network of the same name.
            enter(network)?;
            let mut open = Session::connect(login, Ipv4Addr::LOCALHOST, CONNECT)?;
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
