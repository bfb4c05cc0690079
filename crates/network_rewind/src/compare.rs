//! Whether this node's newest timeline is the primary's. Two standbys that were promoted at the same
//! position have the same history, to the byte, and not the same WAL: each goes on with a record of its own
//! that has the time of its promotion in it. Neither a server nor a rewind looks at more than the history.

use failover_core::deadline::Deadline;
use failover_core::instance::Instance;
use failover_core::sql::{Session, SqlError, quote};
use failover_rules::facts::history::History;
use failover_rules::facts::lsn::{Lsn, segment_name};
use failover_rules::facts::status::Status;
use std::os::unix::fs::FileExt;

/// So much is compared: the first record of a timeline is much smaller.
const WINDOW: u64 = 8192;

/// The position at which this node's WAL parts from that of the primary with `session`, though their
/// histories are the same. `None`: it does not, or that WAL is gone on one of the two.
pub fn parts_at(
    session: &Session,
    instance: &Instance,
    me: &Status,
    [own, theirs]: [Option<&History>; 2],
    deadline: Deadline,
) -> Result<Option<Lsn>, SqlError> {
    let (Some(own), Some(size)) = (own.filter(|own| Some(*own) == theirs), me.segment_size) else {
        return Ok(None);
    };
    let Some(begin) = own.begins() else {
        return Ok(None);
    };
    let names = instance.flavor;
    let at = session.value(&format!("SELECT {}()", names.current_write), deadline)?;
    let at = at.and_then(|at| at.parse::<Lsn>().ok()).unwrap_or_default();
    // Behind either position the file has what was there before.
    let end = me.position().min(at).0.min((begin.0 / size + 1) * size);
    let length = end.saturating_sub(begin.0).min(WINDOW);
    if length == 0 {
        return Ok(None);
    }
    let segment = segment_name(own.timeline(), begin.0 / size, size);
    let file = format!("{}/{segment}", names.wal_dir);
    let offset = begin.0 % size;
    let statement = format!(
        "SELECT encode({}({}, {offset}, {length}, true), 'hex')",
        names.read_binary_file,
        quote(&file)
    );
    let theirs = session.value(&statement, deadline)?;
    let mine = std::fs::File::open(instance.data().join(&file)).and_then(|file| {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        file.read_exact_at(&mut bytes, offset).map(|()| bytes)
    });
    Ok(match (theirs, mine) {
        (Some(theirs), Ok(mine)) if hex(&mine) != theirs => Some(begin),
        _ => None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
