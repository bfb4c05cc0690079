//! Whether the newest timeline that this node and the primary have in common is the same one. Two standbys
//! that were promoted at the same position have the same history, to the byte, and not the same WAL: each
//! goes on with a record of its own that has the time of its promotion in it. Neither a server nor a rewind
//! looks at more than the history.

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
/// histories have that timeline in common. `None`: it does not, or that WAL is gone on one of the two.
pub fn parts_at(
    session: &Session,
    instance: &Instance,
    me: &Status,
    [own, theirs]: [Option<&History>; 2],
    deadline: Deadline,
) -> Result<Option<Lsn>, SqlError> {
    let (Some(own), Some(theirs), Some(size)) = (own, theirs, me.segment_size) else {
        return Ok(None);
    };
    let Some(common) = own.last_common(theirs) else {
        return Ok(None);
    };
    let (begins, names) = (common.begins, instance.flavor);
    let at = session.value(&format!("SELECT {}()", names.current_write), deadline)?;
    let at = at.and_then(|at| at.parse::<Lsn>().ok()).unwrap_or_default();
    let segment_end = Lsn((begins.0 / size + 1) * size);
    // Behind any of these positions the file has what was there before.
    let ends = [
        Some(me.position()),
        Some(at),
        Some(segment_end),
        common.left,
    ];
    let end = ends.into_iter().flatten().min().unwrap_or_default();
    let (offset, length) = (begins.0 % size, end.0.saturating_sub(begins.0).min(WINDOW));
    if length == 0 {
        return Ok(None);
    }
    // A promotion within the segment has copied it to the next timeline, and the old one's may be gone.
    let files = |history: &History| {
        [common.timeline, history.of_segment(segment_end)].map(|timeline| {
            let segment = segment_name(timeline, begins.0 / size, size);
            format!("{}/{segment}", names.wal_dir)
        })
    };
    let [first, second] = files(theirs).map(|file| quote(&file));
    let read = names.read_binary_file;
    let statement = format!(
        "SELECT encode(coalesce({read}({first}, {offset}, {length}, true), \
         {read}({second}, {offset}, {length}, true)), 'hex')"
    );
    let theirs = session.value(&statement, deadline)?;
    let mine = files(own).into_iter().find_map(|file| {
        let file = std::fs::File::open(instance.data().join(&file)).ok()?;
        let mut bytes = vec![0; usize::try_from(length).ok()?];
        file.read_exact_at(&mut bytes, offset).ok()?;
        Some(hex(&bytes))
    });
    Ok(match (theirs, mine) {
        (Some(theirs), Some(mine)) if mine != theirs => Some(begins),
        _ => None,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
