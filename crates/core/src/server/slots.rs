//! Physical replication slots.

use crate::deadline::Deadline;
use crate::flavor::Flavor;
use crate::procedure::Done;
use crate::sql::{Session, SqlError, quote};
use serde_json::Value;

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
        "SELECT active, restart_lsn, row_to_json(slot) FROM {} AS slot WHERE slot_name = {}",
        names.replication_slots,
        quote(slot)
    );
    let found = session.query(&look, deadline)?;
    match found.first().map(Vec::as_slice) {
        Some([_, Some(position), row]) if !is_invalid(row.as_deref()) => {
            return Ok(Done::AlreadySo(format!("{slot} keeps WAL from {position}")));
        }
        // It keeps nothing, and only a new one can be made to.
        Some([active, ..]) if !session.as_truth(&look, active.clone())? => {
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

/// Whether the server has given a slot up, for which it keeps a position all the same. The columns that tell
/// are of later versions.
fn is_invalid(row: Option<&str>) -> bool {
    let row: Value = row
        .and_then(|it| serde_json::from_str(it).ok())
        .unwrap_or_default();
    row["wal_status"] == "lost" || row["invalidation_reason"].is_string()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_was_given_up_keeps_nothing() {
        for (row, expected) in [
            (r#"{"slot_name":"lost","restart_lsn":"0/1"}"#, false),
            (
                r#"{"wal_status":"reserved","invalidation_reason":null}"#,
                false,
            ),
            (r#"{"wal_status":"lost"}"#, true),
            (
                r#"{"wal_status":"reserved","invalidation_reason":"idle_timeout"}"#,
                true,
            ),
        ] {
            assert_eq!(is_invalid(Some(row)), expected, "{row}");
        }
        assert!(!is_invalid(None));
    }
}
