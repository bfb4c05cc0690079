//! Physical replication slots.

use crate::deadline::Deadline;
use crate::flavor::Flavor;
use crate::procedure::Done;
use crate::sql::{Session, SqlError, quote};

/// Makes sure that `slot` is there and keeps WAL, from now on at the latest.
///
/// # Errors
/// The server does not answer, or has no room for another slot.
pub fn reserve(
    session: &Session,
    names: &Flavor,
    slot: &str,
    deadline: Deadline,
) -> Result<Done, SqlError> {
    let look = format!(
        "SELECT active, restart_lsn FROM {} WHERE slot_name = {}",
        names.replication_slots,
        quote(slot)
    );
    let found = session.query(&look, deadline)?;
    match found.first().map(Vec::as_slice) {
        Some([_, Some(position)]) => {
            return Ok(Done::AlreadySo(format!("{slot} keeps WAL from {position}")));
        }
        // Without a position it keeps nothing, and only a new one can be made to.
        Some([active, None]) if !session.as_truth(&look, active.clone())? => {
            session.query(
                &format!("SELECT {}({})", names.drop_slot, quote(slot)),
                deadline,
            )?;
        }
        Some(_) => return Ok(Done::AlreadySo(format!("{slot} is in use"))),
        None => {}
    }
    session.query(
        &format!(
            "SELECT {}({}, true)",
            names.create_physical_slot,
            quote(slot)
        ),
        deadline,
    )?;
    Ok(Done::Did(format!("{slot} made")))
}

/// Drops the physical slot `slot`, if it is there and nobody reads from it; whether it was.
///
/// # Errors
/// The server does not answer.
pub fn release(
    session: &Session,
    names: &Flavor,
    slot: &str,
    deadline: Deadline,
) -> Result<bool, SqlError> {
    let dropped = session.query(
        &format!(
            "SELECT {}(slot_name) FROM {} \
             WHERE slot_name = {} AND slot_type = 'physical' AND NOT active",
            names.drop_slot,
            names.replication_slots,
            quote(slot)
        ),
        deadline,
    )?;
    Ok(!dropped.is_empty())
}
