//! The client: writes numbered rows through the database VIP all the time, and remembers
//! which of them were acknowledged, and when.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::layout::DATABASE_VIP;
use crate::network::enter;
use crate::sql::{Login, Session};
use crate::wait::wait_for;

/// Until a connection is given up. Short: nobody answers ARP for the VIP while it moves.
const CONNECT: Duration = Duration::from_millis(500);
/// Until a statement is given up with its connection. More than any commit here takes, and less
/// than the gaps that are measured.
const STATEMENT: Duration = Duration::from_secs(1);
/// Between two rows.
const PAUSE: Duration = Duration::from_millis(5);

/// A running client. Dropped, it stops.
#[derive(Debug)]
pub struct Client {
    acknowledged: Arc<Mutex<Vec<(u64, Instant)>>>,
    worker: Worker,
    started: Instant,
}

/// What a client has seen.
#[derive(Debug, Clone)]
pub struct ClientReport {
    /// Numbers of the acknowledged rows, ascending.
    pub acknowledged: Vec<u64>,
    /// When each of them was.
    pub times: Vec<Instant>,
    /// The longest time without an acknowledgement between its start and its stop.
    pub longest_gap: Duration,
}

impl ClientReport {
    /// The acknowledged rows that are not among those present: commits that were lost.
    pub fn lost(&self, present: &BTreeSet<u64>) -> Vec<u64> {
        let rows = self.acknowledged.iter().copied();
        rows.filter(|n| !present.contains(n)).collect()
    }
}

impl Client {
    /// Numbers its rows from `first` on: each number is used once in a lab.
    pub(crate) fn start(login: Login, network: PathBuf, first: u64) -> Self {
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&acknowledged);
        let worker = Worker::start(move |stop| {
            // A lab that is gone ends the client, too.
            if enter(&network).is_err() {
                return;
            }
            let mut session = None;
            for number in first.. {
                match write(&login, &mut session, number) {
                    Ok(()) => lock(&list).push((number, Instant::now())),
                    // Not known whether it was committed: this number is not used again.
                    Err(_) => session = None,
                }
                if stop.after(PAUSE) {
                    return;
                }
            }
        });
        Self {
            acknowledged,
            worker,
            started: Instant::now(),
        }
    }

    /// Numbers of the rows acknowledged so far, ascending.
    pub fn acknowledged(&self) -> Vec<u64> {
        lock(&self.acknowledged).iter().map(|&(n, _)| n).collect()
    }

    /// The longest time without an acknowledgement since its start, the one that lasts included.
    pub fn longest_gap(&self) -> Duration {
        self.longest_gap_since(self.started)
    }

    /// The longest time without an acknowledgement from a moment on, the one that lasts included.
    pub fn longest_gap_since(&self, since: Instant) -> Duration {
        let list = lock(&self.acknowledged);
        let times = list.iter().map(|&(_, time)| time);
        let mut last = since;
        let mut longest = Duration::ZERO;
        for time in times.filter(|it| *it > since).chain([Instant::now()]) {
            longest = longest.max(time - last);
            last = time;
        }
        longest
    }

    /// Waits until `count` more rows than now are acknowledged.
    ///
    /// # Errors
    /// They are not within `limit`.
    pub fn wait_for_acks(&self, count: usize, limit: Duration) -> Result<()> {
        let wanted = lock(&self.acknowledged).len() + count;
        wait_for(&format!("{count} acknowledged rows"), limit, || {
            let missing = wanted.saturating_sub(lock(&self.acknowledged).len());
            ensure!(missing == 0, "{missing} still missing");
            Ok(())
        })
    }

    /// Stops writing.
    pub fn stop(mut self) -> ClientReport {
        self.worker.stop();
        let times = lock(&self.acknowledged)
            .iter()
            .map(|&(_, time)| time)
            .collect();
        ClientReport {
            acknowledged: self.acknowledged(),
            times,
            longest_gap: self.longest_gap(),
        }
    }
}

fn write(login: &Login, session: &mut Option<Session>, number: u64) -> Result<()> {
    let mut open = match session.take() {
        Some(open) => open,
        None => Session::connect(login, DATABASE_VIP, CONNECT)?,
    };
    open.query(&format!("insert into rows values ({number})"), STATEMENT)?;
    *session = Some(open);
    Ok(())
}

/// A thread that does something until it is told to stop. Dropped, it is told and waited for.
#[derive(Debug)]
pub(crate) struct Worker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How a [`Worker`]'s thread learns that it has to stop.
pub(crate) struct Stop(Receiver<()>);

impl Stop {
    /// Waits for a while; `true`, at once, when it is time to stop.
    pub(crate) fn after(&self, pause: Duration) -> bool {
        self.0.recv_timeout(pause) != Err(RecvTimeoutError::Timeout)
    }
}

impl Worker {
    pub(crate) fn start(work: impl FnOnce(Stop) + Send + 'static) -> Self {
        let (stop, stopped) = channel();
        Self {
            stop: Some(stop),
            thread: Some(std::thread::spawn(move || work(Stop(stopped)))),
        }
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by then; here it may be a second one.
            let _ = thread.join();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Locks a list that is only ever pushed to: it is whole even if a thread panicked.
pub(crate) fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
