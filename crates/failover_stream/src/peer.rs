//! The hosts that the coordinator works on: each has a thread that carries out one order after
//! the other, here or over one ssh login, and hands over what it hears as it hears it.

use failover_core::deadline::Deadline;
use failover_core::host::{Host, ThisHost};
use failover_core::journal::{Journal, Message};
use failover_core::peer::{self, PeerError, RETURN_TIME, read};
use failover_core::ssh::Ssh;
use failover_core::steps::Order;
use failover_core::workers;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// What comes back for an order.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A line or an event for the journal.
    Say(Message),
    /// The end: the step's report, or why there is none.
    End(Result<Value, PeerError>),
}

/// What all orders of a run share.
#[derive(Debug)]
pub struct Crew {
    /// This host.
    pub here: ThisHost,
    /// The name of the run.
    pub run: String,
    /// For drills, see [`failover_core::procedure::Frame`].
    pub die_after: Option<String>,
    /// It only looks: not even the key of a new host is written down.
    pub only_looks: bool,
}

impl Crew {
    fn reach(&self, address: IpAddr) -> Host {
        match self.here.reach(address) {
            Host::Remote(login) if self.only_looks => Host::Remote(login.forgetting()),
            way => way,
        }
    }
}

/// An order, its time, and who hears the replies.
type Job = (Order, Deadline, Box<dyn FnMut(Reply) + Send>);

/// One host of the cluster.
#[derive(Debug)]
pub struct Peer {
    address: IpAddr,
    crew: Arc<Crew>,
    jobs: Sender<Job>,
}

impl Peer {
    /// The host with `address`. Nothing is connected before the first order.
    pub fn new(crew: &Arc<Crew>, address: IpAddr) -> Self {
        let (jobs, inbox) = channel::<Job>();
        let mut seat = Seat {
            host: crew.reach(address),
            address,
            crew: Arc::clone(crew),
            ssh: None,
        };
        workers::start(move || {
            while let Ok((order, deadline, mut hear)) = inbox.recv() {
                let end = seat.carry_out(&order, deadline, &mut hear);
                hear(Reply::End(end));
            }
        });
        Self {
            address,
            crew: Arc::clone(crew),
            jobs,
        }
    }

    /// Its address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Gives an order and returns at once; `hear` gets the replies, the last one an `End`.
    pub fn order(
        &self,
        order: Order,
        deadline: Deadline,
        hear: impl FnMut(Reply) + Send + 'static,
    ) {
        // The thread ends only with us.
        let _ = self.jobs.send((order, deadline, Box::new(hear)));
    }

    /// Gives an order and waits for its report; what is said meanwhile goes into `journal`.
    pub fn report<T: DeserializeOwned>(
        &self,
        order: Order,
        limit: Duration,
        journal: &Journal,
    ) -> Result<T, PeerError> {
        let patience = limit + order.extra_time(&self.crew.here.config) + RETURN_TIME;
        let deadline = Deadline::after(patience);
        let (told, replies) = channel();
        self.order(order, Deadline::after(limit), move |reply| {
            let _ = told.send(reply);
        });
        loop {
            match replies.recv_timeout(deadline.remaining()) {
                Ok(Reply::Say(message)) => journal.message(message),
                Ok(Reply::End(end)) => return end.and_then(|value| read(value, self.address)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(PeerError::NotRun(format!(
                        "no answer from {} within {} ms",
                        self.address,
                        patience.as_millis()
                    )));
                }
            }
        }
    }
}

/// One order that several hosts carry out side by side.
pub struct Round {
    replies: Receiver<(IpAddr, Reply)>,
    awaited: Vec<IpAddr>,
}

impl Round {
    /// Gives `order` to all of `peers`, and returns at once. Each carries out first what it was told
    /// before.
    pub fn give<'a>(
        peers: impl IntoIterator<Item = &'a Peer>,
        order: &Order,
        deadline: Deadline,
    ) -> Self {
        let (told, replies) = channel();
        let mut awaited = Vec::new();
        for peer in peers {
            let (address, told) = (peer.address, told.clone());
            awaited.push(address);
            peer.order(order.clone(), deadline, move |reply| {
                let _ = told.send((address, reply));
            });
        }
        Self { replies, awaited }
    }

    /// How many were given the order.
    pub fn len(&self) -> usize {
        self.awaited.len()
    }

    /// How it ended on each that `awaits` says has to be waited for; what is said meanwhile goes into
    /// `journal`. One that is not waited for may be among them.
    pub fn ends(
        &self,
        awaits: impl Fn(IpAddr) -> bool,
        deadline: Deadline,
        journal: &Journal,
    ) -> Vec<(IpAddr, Result<Value, PeerError>)> {
        let mut ended: Vec<(IpAddr, Result<Value, PeerError>)> = Vec::new();
        let is_open = |ended: &[(IpAddr, _)]| {
            let mut all = self.awaited.iter().filter(|host| awaits(**host));
            all.any(|host| ended.iter().all(|(it, _)| it != host))
        };
        while is_open(&ended) {
            match self.replies.recv_timeout(deadline.remaining()) {
                Ok((_, Reply::Say(message))) => journal.message(message),
                Ok((host, Reply::End(end))) => ended.push((host, end)),
                Err(_) => break,
            }
        }
        for host in self.awaited.iter().filter(|host| awaits(**host)) {
            if ended.iter().all(|(it, _)| it != host) {
                let why = PeerError::NotRun("no answer in time".to_owned());
                ended.push((*host, Err(why)));
            }
        }
        ended
    }
}

/// The thread's side of a peer.
struct Seat {
    crew: Arc<Crew>,
    host: Host,
    address: IpAddr,
    ssh: Option<Ssh>,
}

impl Seat {
    fn carry_out(
        &mut self,
        order: &Order,
        deadline: Deadline,
        hear: &mut Box<dyn FnMut(Reply) + Send>,
    ) -> Result<Value, PeerError> {
        match &self.host {
            Host::Local => self.locally(order, deadline, hear),
            Host::Remote(login) => {
                let ssh = match self.ssh.take() {
                    Some(ssh) => ssh,
                    None => Ssh::connect(login, deadline)
                        .map_err(|error| PeerError::NotRun(error.to_string()))?,
                };
                let (result, ended) = self.remotely(&ssh, order, deadline, hear);
                // A login on which a command has not ended is good for nothing more.
                self.ssh = ended.then_some(ssh);
                result
            }
        }
    }

    fn locally(
        &self,
        order: &Order,
        deadline: Deadline,
        hear: &mut Box<dyn FnMut(Reply) + Send>,
    ) -> Result<Value, PeerError> {
        let (say, said) = channel();
        let (done, result) = channel();
        let crew = Arc::clone(&self.crew);
        let order = order.clone();
        let limit = Deadline::after(order.limit(deadline));
        workers::start(move || {
            let journal = Journal::to_messages(crew.run.clone(), move |message| {
                let _ = say.send(message);
            });
            let die_after = crew.die_after.as_deref();
            let _ = done.send(order.carry_out(&crew.here, &journal, die_after, limit));
        });
        said.iter().for_each(|message| hear(Reply::Say(message)));
        match result.recv() {
            Ok(result) => result.map_err(|error| PeerError::Failed(format!("{error:#}"))),
            Err(_) => Err(PeerError::NotRun("no thread could be started".to_owned())),
        }
    }

    /// The step's end, and whether its command ended, too.
    fn remotely(
        &self,
        ssh: &Ssh,
        order: &Order,
        deadline: Deadline,
        hear: &mut Box<dyn FnMut(Reply) + Send>,
    ) -> (Result<Value, PeerError>, bool) {
        let crew = &self.crew;
        let limit = order.limit(deadline);
        let bin = &crew.here.config.kb_path;
        let die_after = crew.die_after.as_deref();
        let cmd = order.command(bin, self.address, &crew.run, die_after, limit);
        let patience = deadline.remaining() + order.extra_time(&crew.here.config);
        let hear = |message| hear(Reply::Say(message));
        peer::run_step(ssh, &cmd, Deadline::after(patience), hear)
    }
}
