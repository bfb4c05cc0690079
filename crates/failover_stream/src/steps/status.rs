//! The status step: looks, and changes nothing. What cannot be found out is said, not an error.

use super::Here;
use crate::report::Status;
use failover_core::deadline::Deadline;
use failover_core::replication::is_in_recovery;
use failover_core::sql::{Session, SqlError, SqlFailure};
use failover_core::state::StateDir;
use failover_core::vip;
use std::time::Duration;

/// A server that lives answers in milliseconds; one that is frozen never.
const SQL_TIME: Duration = Duration::from_millis(800);

/// How the instance of this host is.
pub fn look(here: &Here<'_>, deadline: Deadline) -> Status {
    let mut status = Status {
        in_work: here.host.state().is_ok_and(|state| state.is_locked()),
        obstacle: obstacle(here),
        macs: here.host.macs(),
        vip_here: here
            .host
            .vip
            .as_ref()
            .is_some_and(|vip| vip::find(vip.cidr.addr).is_ok_and(|held| held.is_some())),
        ..Status::default()
    };
    match here.instance.processes() {
        Ok(processes) => status.running = !processes.is_empty(),
        Err(error) => status.trouble = Some(format!("/proc cannot be read: {error}")),
    }
    match here.instance.control_data(deadline) {
        Ok(control) => {
            status.timeline = control.timeline.max(control.min_recovery_timeline);
            status.control = Some(control.checkpoint.max(control.min_recovery));
        }
        Err(error) => status.trouble = Some(error.to_string()),
    }
    let in_wal = here.instance.newest_timeline_in_wal();
    status.timeline = status.timeline.max(in_wal.unwrap_or(0));
    let limit = deadline.at_most(SQL_TIME);
    if status.running
        && let Err(error) = ask_server(here, &mut status, limit)
    {
        if matches!(error.failure, SqlFailure::Login(_)) {
            status.obstacle.get_or_insert_with(|| error.to_string());
        }
        status.trouble = Some(error.to_string());
    }
    status
}

/// What stands in the way of a promotion and is seen without the server.
fn obstacle(here: &Here<'_>) -> Option<String> {
    let unfinished = |state: StateDir| state.rewind_is_unfinished();
    if here.host.state().is_ok_and(unfinished) {
        return Some("its rewind is unfinished: half of it is another history".to_owned());
    }
    if let Some(ctl) = here.instance.missing_ctl() {
        return Some(format!("no program {}: correct KB_PATH", ctl.display()));
    }
    // Needed for the VIP only.
    here.host.vip.as_ref()?;
    here.host.programs.ip().err().map(|error| error.to_string())
}

fn ask_server(here: &Here<'_>, status: &mut Status, deadline: Deadline) -> Result<(), SqlError> {
    let names = here.instance.flavor;
    let session = Session::open(&here.sql_target(), deadline)?;
    let in_recovery = is_in_recovery(&session, names, deadline)?;
    if in_recovery {
        let [received, replayed] = session.row(
            &format!("SELECT {}(), {}()", names.last_receive, names.last_replay),
            deadline,
        )?;
        let position = |text: Option<String>| text.and_then(|text| text.parse().ok());
        status.received = position(received);
        status.replayed = position(replayed);
        // No row, or NULLs, without a receiver.
        let receiver = session.query(
            &format!(
                "SELECT received_tli, \
                 (1000 * extract(epoch FROM clock_timestamp() - last_msg_receipt_time))::bigint \
                 FROM {}",
                names.stat_wal_receiver
            ),
            deadline,
        )?;
        if let Some([timeline, silent]) = receiver.first().map(Vec::as_slice) {
            let timeline = timeline.as_ref().and_then(|text| text.parse().ok());
            status.timeline = status.timeline.max(timeline.unwrap_or(0));
            // A clock that was set back makes it negative: just now, then.
            status.receiver_silent_ms = silent
                .as_ref()
                .and_then(|text| text.parse::<i64>().ok())
                .map(|ms| u64::try_from(ms).unwrap_or(0));
        }
    }
    status.in_recovery = Some(in_recovery);
    Ok(())
}
