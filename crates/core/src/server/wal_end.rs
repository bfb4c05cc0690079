//! How far the WAL in a data directory goes, by its pages: for a standby that gives no answer. Its control
//! file is older, and a WAL receiver that would tell is gone with the primary.

use crate::instance::{Instance, on_disk};
use failover_rules::facts::lsn::{Lsn, Timeline, segment_name, segment_number};
use std::fs::{self, File};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of a page of WAL (`XLOG_BLCKSZ`; a server may be built with another).
const PAGE: u64 = 8192;
/// Where a page's header has the position that it begins at (`xlp_pageaddr`, little-endian).
const PAGE_ADDRESS: u64 = 8;

impl Instance {
    /// The end of the WAL of `timeline`, in segments of `segment_size` bytes; `None`: there is none. In a
    /// segment that was used before, up to a page more than there is.
    pub fn end_of_wal(&self, timeline: Timeline, segment_size: u64) -> Option<Lsn> {
        let dir = self.data().join(self.flavor.wal_dir);
        on_disk(move || end_of_wal(&dir, timeline, segment_size)).flatten()
    }
}

impl Instance {
    /// Bytes of WAL that are written behind `from`, in the segments of `segment_size` bytes of the newest of
    /// these timelines; `None`: they cannot be read. What a switch to the next segment left unwritten (with
    /// `archive_mode` each shutdown makes one) is not counted.
    pub fn written_behind(
        &self,
        from: Lsn,
        timelines: RangeInclusive<Timeline>,
        segment_size: u64,
    ) -> Option<u64> {
        let dir = self.data().join(self.flavor.wal_dir);
        on_disk(move || written_behind(&dir, from, &timelines, segment_size)).flatten()
    }
}

fn written_behind(
    dir: &Path,
    from: Lsn,
    timelines: &RangeInclusive<Timeline>,
    size: u64,
) -> Option<u64> {
    let written = |number: u64| {
        let mut newest_first = timelines.clone().rev();
        let file = newest_first
            .find_map(|it| File::open(dir.join(segment_name(it, number, size))).ok())?;
        let end = end_in(&file, number * size, size)?;
        Some(end.since(Lsn(from.0.max(number * size))))
    };
    let first = from.0 / size;
    let all = (first..).map_while(written);
    written(first)?;
    Some(all.sum())
}

fn end_of_wal(dir: &Path, timeline: Timeline, size: u64) -> Option<Lsn> {
    let names = fs::read_dir(dir).ok()?.flatten();
    let mut numbers: Vec<u64> = names
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let number = segment_number(&name, size)?;
            (segment_name(timeline, number, size) == name).then_some(number)
        })
        .collect();
    numbers.sort_unstable();
    // Those that are only there to be used next still have the positions of what they were before.
    numbers.into_iter().rev().find_map(|number| {
        let file = File::open(dir.join(segment_name(timeline, number, size))).ok()?;
        end_in(&file, number * size, size)
    })
}

/// The end of what is written in the segment that begins at `begin`; `None`: nothing is.
fn end_in(file: &File, begin: u64, size: u64) -> Option<Lsn> {
    let is_written = |page: u64| {
        let mut address = [0; 8];
        let at = page * PAGE + PAGE_ADDRESS;
        file.read_exact_at(&mut address, at).is_ok()
            && u64::from_le_bytes(address) == begin + page * PAGE
    };
    // Pages are written one after the other.
    let (mut written, mut unwritten) = (0, size / PAGE);
    if !is_written(0) {
        return None;
    }
    while unwritten - written > 1 {
        let middle = written + (unwritten - written) / 2;
        match is_written(middle) {
            true => written = middle,
            false => unwritten = middle,
        }
    }
    let mut page = [0; PAGE as usize];
    file.read_exact_at(&mut page, written * PAGE).ok()?;
    let length = page.iter().rposition(|byte| *byte != 0)? as u64 + 1;
    // Records begin at multiples of eight.
    Some(Lsn(begin + written * PAGE + length.next_multiple_of(8)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 20;

    /// A segment with pages from `first` on, of which the last one has `length` bytes.
    fn segment(first: u64, pages: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; SIZE as usize];
        for page in 0..pages {
            let at = (page * PAGE) as usize;
            let end = if page + 1 == pages {
                length
            } else {
                PAGE as usize
            };
            bytes[at..at + end].fill(7);
            bytes[at + 8..at + 16].copy_from_slice(&(first + page * PAGE).to_le_bytes());
        }
        bytes
    }

    #[test]
    fn the_last_page_that_is_where_it_should_be() {
        let dir = std::env::temp_dir().join(format!("wal-end-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let write = |number: u64, bytes: &[u8]| {
            fs::write(dir.join(segment_name(3, number, SIZE)), bytes).unwrap();
        };
        assert_eq!(end_of_wal(&dir, 3, SIZE), None);
        write(5, &segment(5 * SIZE, 128, 8192));
        write(6, &segment(6 * SIZE, 3, 101));
        // To be used next: it has what it was before.
        write(7, &segment(2 * SIZE, 128, 8192));
        // Another timeline's.
        fs::write(dir.join(segment_name(2, 9, SIZE)), segment(9 * SIZE, 1, 50)).unwrap();
        let end = 6 * SIZE + 2 * PAGE + 104;
        assert_eq!(end_of_wal(&dir, 3, SIZE), Some(Lsn(end)));
        assert_eq!(end_of_wal(&dir, 4, SIZE), None);

        // Behind a switch: only what is written.
        let behind = |from: u64, timelines| written_behind(&dir, Lsn(from), &timelines, SIZE);
        assert_eq!(behind(6 * SIZE + 8, 1..=3), Some(2 * PAGE + 104 - 8));
        write(5, &segment(5 * SIZE, 2, 64));
        let all = PAGE + 64 - 16 + 2 * PAGE + 104;
        assert_eq!(behind(5 * SIZE + 16, 2..=3), Some(all));
        assert_eq!(behind(5 * SIZE + 16, 2..=2), None);
        fs::remove_dir_all(&dir).unwrap();
    }
}
