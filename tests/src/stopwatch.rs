//! When did it happen? Asks one server one thing, in one session, until the answer is the wanted one.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::client::{Worker, lock};
use crate::host::Node;
use crate::lab::Lab;
use crate::layout::DATABASE_VIP;
use crate::network::enter;
use crate::sql::{Login, Session};
use crate::wait::wait_for;

/// Short, so that a connection that was begun while nobody had the address holds up little.
const CONNECT: Duration = Duration::from_millis(100);
/// More than any answer here takes: one that was given up would have to be asked for anew.
const STATEMENT: Duration = Duration::from_secs(60);
/// Between two questions: the precision.
const PAUSE: Duration = Duration::from_millis(2);

/// A running stopwatch. Dropped, it stops.
#[derive(Debug)]
pub struct Stopwatch {
    what: String,
    asked: Arc<AtomicBool>,
    seen: Arc<Mutex<Option<Instant>>>,
    _worker: Worker,
}

impl Stopwatch {
    fn start(
        login: Login,
        network: PathBuf,
        address: Ipv4Addr,
        sql: String,
        wanted: String,
    ) -> Self {
        let (seen, asked) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
        let (told, began) = (Arc::clone(&seen), Arc::clone(&asked));
        let what = format!("{wanted:?} from {address}");
        let worker = Worker::start(move |stop| {
            let mut session = None;
            loop {
                if ask(&login, &mut session, &network, address, &sql).is_ok_and(|it| it == wanted) {
                    *lock(&told) = Some(Instant::now());
                    return;
                }
                began.store(true, Ordering::Relaxed);
                if stop.after(PAUSE) {
                    return;
                }
            }
        });
        Self {
            what,
            asked,
            seen,
            _worker: worker,
        }
    }

    /// Waits until it has asked once: from then on an answer costs no login.
    ///
    /// # Errors
    /// It has not within `limit`.
    pub fn wait_until_asked(&self, limit: Duration) -> Result<()> {
        wait_for(&format!("{} to be asked for", self.what), limit, || {
            ensure!(self.asked.load(Ordering::Relaxed), "not yet");
            Ok(())
        })
    }

    /// When it was answered as wanted, if it was by now.
    pub fn seen(&self) -> Option<Instant> {
        *lock(&self.seen)
    }

    /// Waits until it is.
    ///
    /// # Errors
    /// It is not within `limit`.
    pub fn wait(&self, limit: Duration) -> Result<Instant> {
        wait_for(&self.what, limit, || self.seen().context("not yet"))
    }
}

fn ask(
    login: &Login,
    session: &mut Option<Session>,
    network: &Path,
    address: Ipv4Addr,
    sql: &str,
) -> Result<String> {
    let mut open = match session.take() {
        Some(open) => open,
        None => {
            enter(network)?;
            Session::connect(login, address, CONNECT)?
        }
    };
    let answer = open.query(sql, STATEMENT);
    // A standby refuses a write, and keeps its session.
    let refused = answer.as_ref().is_err_and(|error| {
        let error = error.downcast_ref::<tokio_postgres::Error>();
        error.is_some_and(|error| !error.is_closed() && error.as_db_error().is_some())
    });
    if answer.is_ok() || refused {
        *session = Some(open);
    }
    Ok(answer?.to_string())
}

impl Lab {
    /// From now on the client tries to commit a row on that host's database, under its own address
    /// or (`vip`) under the database VIP, until it is in.
    pub fn first_commit(&self, node: &Node, vip: bool) -> Stopwatch {
        let address = if vip { DATABASE_VIP } else { node.address() };
        // Under the VIP it may be another one that answers.
        let sql = "insert into probe values ('client'); show cluster_name";
        Stopwatch::start(
            self.shared().login(),
            self.client_network(),
            address,
            sql.into(),
            node.name(),
        )
    }

    /// From now on the primary is asked whether a host streams from it, until it does.
    ///
    /// # Errors
    /// It streams already, or the primary does not answer.
    pub fn first_streaming(&self, standby: &Node, primary: &Node) -> Result<Stopwatch> {
        let name = standby.application_name();
        let sql = format!(
            "select count(*) from pg_stat_replication \
             where application_name = '{name}' and state = 'streaming'"
        );
        ensure!(primary.psql(&sql)? == "0", "{name} streams already");
        let address = primary.address();
        Ok(Stopwatch::start(
            self.shared().login(),
            self.client_network(),
            address,
            sql,
            "1".into(),
        ))
    }
}
