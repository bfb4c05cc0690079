//! How a host's instance is: looks, and changes nothing. What cannot be found out is said, not an
//! error. Hosts tell it to each other as JSON; both ends are this project's.

use crate::deadline::Deadline;
use crate::host::ThisHost;
use crate::instance::Instance;
use crate::sql::{Session, SqlError, SqlFailure};
use crate::state::StateDir;
use crate::vip;
use crate::workers;
pub use failover_rules::facts::status::Status;
use failover_rules::promotion::Unasked;
use nix::sys::statvfs::statvfs;
use std::time::Duration;

/// A server that lives answers in milliseconds; one that is frozen never.
const SQL_TIME: Duration = Duration::from_millis(800);

/// For a disk that lives to say how full it is.
const DISK_TIME: Duration = Duration::from_millis(300);

/// SQLSTATE of a server that has no connection left.
const TOO_MANY_CONNECTIONS: &str = "53300";

/// How the instance of this host is.
pub fn look(host: &ThisHost, instance: &Instance, deadline: Deadline) -> Status {
    look_and_stay(host, instance, deadline).0
}

/// [`look`], and the session with the server that answered, for whoever has more to ask: a login
/// costs both sides a millisecond of work.
pub fn look_and_stay(
    host: &ThisHost,
    instance: &Instance,
    deadline: Deadline,
) -> (Status, Option<Session>) {
    let mut status = Status {
        in_work: host.state().is_ok_and(|state| state.is_locked()),
        obstacle: obstacle(host, instance),
        macs: host.macs(),
        vip_here: host
            .vip
            .as_ref()
            .is_some_and(|vip| vip::find(vip.cidr.addr).is_ok_and(|held| held.is_some())),
        ..Status::default()
    };
    match instance.processes() {
        Ok(processes) => status.running = !processes.is_empty(),
        Err(error) => {
            // Down is what others build on: it has to be seen.
            status.running = true;
            status.trouble = Some(format!("/proc cannot be read: {error}"));
        }
    }
    match instance.control_data(deadline) {
        Ok(control) => {
            status.timeline = control.timeline.max(control.min_recovery_timeline);
            status.control = Some(control.checkpoint.max(control.min_recovery));
            status.control_state = Some(control.state);
            status.segment_size = Some(control.segment_size);
            let full = no_room(instance, control.segment_size, deadline);
            status.obstacle = status.obstacle.take().or(full);
        }
        Err(error) => status.trouble = Some(error.to_string()),
    }
    let in_wal = instance.newest_timeline_in_wal();
    status.timeline = status.timeline.max(in_wal.unwrap_or(0));
    if !status.running {
        return (status, None);
    }
    if let Some(process) = instance.stopped_process() {
        let pid = process.pid;
        status.obstacle.get_or_insert_with(|| {
            format!(
                "process {pid} of its database is stopped (SIGSTOP): have it go on (kill -CONT {pid})"
            )
        });
        // It gives no answer, and the wait for one is time that a failover does not have.
        if !Instance::is_startup(&process) {
            status.trouble = Some(format!("process {pid} of its database is stopped"));
            return (status, None);
        }
    }
    match ask_server(host, instance, &mut status, deadline.at_most(SQL_TIME)) {
        Ok(session) => (status, Some(session)),
        Err(error) => {
            if matches!(error.failure, SqlFailure::Login(_)) {
                status.obstacle.get_or_insert_with(|| error.to_string());
            }
            look_without_session(instance, &mut status);
            if is_crowded(&error) && is_primary_by_files(instance, &status) {
                status.in_recovery = Some(false);
            }
            status.trouble = Some(error.to_string());
            (status, None)
        }
    }
}

/// Adds what only others need to know of the runs before.
pub fn add_marks(host: &ThisHost, status: &mut Status) {
    let state = host.state().ok().and_then(|state| state.load().ok());
    let state = state.unwrap_or_default();
    status.told = state.timeline;
    status.undecided = state.undecided.is_some();
    status.fenced = state.fenced.is_some();
}

/// What is known of a standby that gives no answer. It can be promoted all the same, unless it is stopped.
fn look_without_session(instance: &Instance, status: &mut Status) {
    status.recovers = recovers(instance, status.control_state.as_deref());
    if status.recovers {
        let size = status.segment_size.unwrap_or(16 << 20);
        let in_wal = instance.end_of_wal(status.timeline, size);
        status.received = instance.received_by_title().max(in_wal);
    }
}

/// Whether the server lives, takes sessions, and has none left for us: its clients hang, say, where their
/// commits wait for a standby.
fn is_crowded(error: &SqlError) -> bool {
    matches!(&error.failure, SqlFailure::Server { code, .. } if code == TOO_MANY_CONNECTIONS)
}

/// A server that lives writes this into its control file at the end of its recovery, and not before.
fn is_primary_by_files(instance: &Instance, status: &Status) -> bool {
    !status.recovers
        && !instance.is_set_up_as_standby()
        && status.control_state.as_deref() == Some("in production")
}

/// Whether the server is in recovery by its files and processes; `control_state` is its control file's.
pub fn recovers(instance: &Instance, control_state: Option<&str>) -> bool {
    let seen = Unasked {
        control_state,
        set_up_as_standby: instance.is_set_up_as_standby(),
        replays: instance.startup().is_ok_and(|it| it.is_some()),
    };
    seen.is_in_recovery()
}

/// What stands in the way of a promotion and is seen without the server.
fn obstacle(host: &ThisHost, instance: &Instance) -> Option<String> {
    let unfinished = |state: StateDir| state.rewind_is_unfinished(instance.data());
    if host.state().is_ok_and(unfinished) {
        return Some("its rewind is unfinished: half of it is another history".to_owned());
    }
    let fenced = host
        .state()
        .ok()
        .and_then(|state| state.load().ok()?.fenced);
    if let Some(mark) = fenced {
        return Some(format!(
            "a failover stopped its primary on {} and it was not recovered since: it may lack what \
             was committed after that (network_rewind --unfence there takes the mark back)",
            mark.since
        ));
    }
    let ctl = instance.missing_ctl()?;
    Some(format!("no program {}: correct KB_PATH", ctl.display()))
}

/// The first thing that a promoted server writes is a whole segment, of its new timeline; one that cannot
/// write it ends.
fn no_room(instance: &Instance, segment: u64, deadline: Deadline) -> Option<String> {
    let wal = instance.data().join(instance.flavor.wal_dir);
    let dir = wal.clone();
    let disk = workers::within(deadline.at_most(DISK_TIME), move || statvfs(&dir))?.ok()?;
    let room = disk.blocks_available() * disk.fragment_size();
    (room < segment).then(|| {
        format!(
            "{} has {} KB left, and a promotion needs a WAL segment of {} KB: make room there",
            wal.display(),
            room >> 10,
            segment >> 10
        )
    })
}

fn ask_server(
    host: &ThisHost,
    instance: &Instance,
    status: &mut Status,
    deadline: Deadline,
) -> Result<Session, SqlError> {
    let names = instance.flavor;
    let session = Session::open(&host.sql_target(), deadline)?;
    // On a primary the positions are NULL; without a WAL receiver its view has no row, or NULLs.
    let statement = format!(
        "SELECT {}(), {}(), {}(), received_tli, \
         (1000 * extract(epoch FROM clock_timestamp() - last_msg_receipt_time))::bigint \
         FROM (SELECT 1) AS one LEFT JOIN {} ON true",
        names.is_in_recovery, names.last_receive, names.last_replay, names.stat_wal_receiver
    );
    let [in_recovery, received, replayed, timeline, silent] = session.row(&statement, deadline)?;
    let in_recovery = session.as_truth(&statement, in_recovery)?;
    if in_recovery {
        let position = |text: Option<String>| text.and_then(|text| text.parse().ok());
        status.received = position(received);
        status.replayed = position(replayed);
        let timeline = timeline.and_then(|text| text.parse().ok());
        status.timeline = status.timeline.max(timeline.unwrap_or(0));
        // A clock that was set back makes it negative: just now, then.
        status.receiver_silent_ms = silent
            .and_then(|text| text.parse::<i64>().ok())
            .map(|ms| u64::try_from(ms).unwrap_or(0));
    }
    status.in_recovery = Some(in_recovery);
    Ok(session)
}
