//! Where the last checkpoint before a position of the WAL is, by the WAL itself: a rewind begins there, and
//! fails where a segment on the way is gone. The control file knows the newest one only.

use failover_rules::facts::lsn::Lsn;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes of a page of WAL (`XLOG_BLCKSZ`; a server may be built with another).
const PAGE: u64 = 8192;
/// Of its header, and of that of a segment's first page.
const HEADERS: (u64, u64) = (24, 40);
/// Of a record's header (`XLogRecord`): length (4 bytes), transaction (4), position of the record before it
/// (8), information, resource manager.
const RECORD: usize = 24;
/// What is read at once. No segment is smaller.
const CHUNK: u64 = 1 << 20;

/// What the WAL tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastCheckpoint {
    /// It is there, and so is all WAL from it on.
    At(Lsn),
    /// The segment of this number is not there. The checkpoint is in it, or before it.
    Gone(u64),
    /// No record begins at that position yet, or the pages are of a kind that is not known here.
    Unknown,
}

/// Looks for the last checkpoint before `fork`, in segments of `size` bytes, which `open` opens by their
/// number.
pub fn before(fork: Lsn, size: u64, open: &mut dyn FnMut(u64) -> Option<File>) -> LastCheckpoint {
    let mut wal = Wal {
        size,
        open,
        segment: None,
        chunk: (0, Vec::new()),
    };
    let mut at = fork.0;
    loop {
        let record = match wal.record(at) {
            Ok(record) => record,
            Err(end) => return end,
        };
        if at < fork.0 && record.is_checkpoint {
            return LastCheckpoint::At(Lsn(at));
        }
        if record.before == 0 || record.before >= at {
            return LastCheckpoint::Unknown;
        }
        at = record.before;
    }
}

struct Record {
    /// Where the record before it begins.
    before: u64,
    is_checkpoint: bool,
}

struct Wal<'a> {
    size: u64,
    open: &'a mut dyn FnMut(u64) -> Option<File>,
    segment: Option<(u64, File)>,
    /// Where it begins, and what was read.
    chunk: (u64, Vec<u8>),
}

impl Wal<'_> {
    fn record(&mut self, at: u64) -> Result<Record, LastCheckpoint> {
        let mut bytes = Vec::with_capacity(RECORD);
        let mut at = at;
        // A record's header may go on on the next page.
        while bytes.len() < RECORD {
            let page = at - at % PAGE;
            let address: [u8; 8] = self.bytes(page + 8)?;
            if u64::from_le_bytes(address) != page {
                return Err(LastCheckpoint::Unknown);
            }
            if at == page {
                at += if page.is_multiple_of(self.size) {
                    HEADERS.1
                } else {
                    HEADERS.0
                };
            }
            while at < page + PAGE && bytes.len() < RECORD {
                bytes.extend(self.bytes::<1>(at)?);
                at += 1;
            }
        }
        let word = |from: usize| {
            let bytes = bytes.get(from..from + 8)?.try_into().ok()?;
            Some(u64::from_le_bytes(bytes))
        };
        // Of the manager of the WAL itself: at a shutdown, or while the server runs.
        let is_checkpoint = bytes[17] == 0 && matches!(bytes[16] & 0xf0, 0x00 | 0x10);
        let length = word(0).unwrap_or(0) & u64::from(u32::MAX);
        match word(8) {
            Some(before) if length >= RECORD as u64 => Ok(Record {
                before,
                is_checkpoint,
            }),
            _ => Err(LastCheckpoint::Unknown),
        }
    }

    /// Some bytes, which lie in one chunk.
    fn bytes<const N: usize>(&mut self, at: u64) -> Result<[u8; N], LastCheckpoint> {
        let begin = at - at % CHUNK;
        if self.chunk.1.is_empty() || self.chunk.0 != begin {
            self.chunk = (begin, self.read(begin)?);
        }
        let from = (at - begin) as usize;
        let found = self.chunk.1.get(from..from + N);
        found
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(LastCheckpoint::Unknown)
    }

    fn read(&mut self, begin: u64) -> Result<Vec<u8>, LastCheckpoint> {
        let number = begin / self.size;
        let file = match self.segment.take() {
            Some((open, file)) if open == number => file,
            _ => (self.open)(number).ok_or(LastCheckpoint::Gone(number))?,
        };
        let mut bytes = vec![0; CHUNK as usize];
        let read = file.read_exact_at(&mut bytes, begin % self.size);
        self.segment = Some((number, file));
        read.map(|()| bytes).map_err(|_| LastCheckpoint::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::PathBuf;

    const SIZE: u64 = 1 << 20;

    /// Segments, as a server writes them.
    struct Written {
        dir: PathBuf,
        segments: BTreeMap<u64, Vec<u8>>,
        at: u64,
        last: u64,
    }

    impl Written {
        fn new(name: &str, at: u64) -> Self {
            let dir = std::env::temp_dir().join(format!("wal-{name}-{}", std::process::id()));
            fs::create_dir_all(&dir).unwrap();
            Self {
                dir,
                segments: BTreeMap::new(),
                at,
                last: 8,
            }
        }

        fn put(&mut self, bytes: &[u8]) {
            for byte in bytes {
                let page = self.at - self.at % PAGE;
                let segment = self.segments.entry(self.at / SIZE);
                let segment = segment.or_insert_with(|| vec![0; SIZE as usize]);
                let offset = (page % SIZE) as usize;
                segment[offset + 8..offset + 16].copy_from_slice(&page.to_le_bytes());
                if self.at == page {
                    self.at += if page.is_multiple_of(SIZE) {
                        HEADERS.1
                    } else {
                        HEADERS.0
                    };
                }
                segment[(self.at % SIZE) as usize] = *byte;
                self.at += 1;
            }
        }

        /// A record of `length` bytes; where it begins.
        fn record(&mut self, info: u8, manager: u8, length: usize) -> u64 {
            self.at = self.at.next_multiple_of(8);
            let begin = self.at;
            let mut bytes = vec![9; length];
            bytes[..4].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
            bytes[8..16].copy_from_slice(&self.last.to_le_bytes());
            (bytes[16], bytes[17]) = (info, manager);
            self.put(&bytes);
            self.last = begin;
            begin
        }

        fn found(&self, fork: u64) -> LastCheckpoint {
            before(Lsn(fork), SIZE, &mut |number| {
                let path = self.dir.join(number.to_string());
                fs::write(&path, self.segments.get(&number)?).unwrap();
                File::open(path).ok()
            })
        }
    }

    impl Drop for Written {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }

    #[test]
    fn it_is_found_from_record_to_record() {
        let mut wal = Written::new("walk", 5 * SIZE);
        wal.record(0x10, 0, 114);
        let last = wal.record(0x13, 0, 114);
        // A switch, and a record of somebody else's with the same information.
        wal.record(0x40, 0, 24);
        for length in 0..40 {
            // Each header is cut by the end of a page somewhere else.
            wal.record(0x10, 10, 8192 + 8 * length);
        }
        // Into the next segments.
        for _ in 0..300 {
            wal.record(0x00, 11, 7777);
        }
        let fork = wal.record(0x00, 0, 114);
        wal.record(0x00, 0, 114);
        assert!(fork / SIZE > 6);
        assert_eq!(wal.found(fork), LastCheckpoint::At(Lsn(last)));
        wal.segments.remove(&6);
        assert_eq!(wal.found(fork), LastCheckpoint::Gone(6));
        wal.segments.clear();
        assert_eq!(wal.found(fork), LastCheckpoint::Gone(fork / SIZE));
    }

    #[test]
    fn what_is_no_wal_tells_nothing() {
        let mut wal = Written::new("none", 5 * SIZE);
        let first = wal.record(0x10, 0, 114);
        let end = wal.at.next_multiple_of(8);
        // Nothing is behind it; nothing before it is known.
        assert_eq!(wal.found(end), LastCheckpoint::Unknown);
        wal.last = end;
        let odd = wal.record(0x20, 0, 30);
        assert_eq!(wal.found(odd), LastCheckpoint::Unknown);
        assert_eq!(wal.found(first + 16), LastCheckpoint::Unknown);
        assert_eq!(wal.found(5 * SIZE + 3 * PAGE), LastCheckpoint::Unknown);
        wal.segments.insert(5, vec![0xff; 100]);
        assert_eq!(wal.found(odd), LastCheckpoint::Unknown);
    }
}
