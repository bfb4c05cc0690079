//! Every reader with bytes of any kind: usual ones that were cut, mixed and broken.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use std::fs;
use std::time::{Duration, Instant};

/// For each reader; `make fuzz` goes on where this ends.
const CASES: u32 = 2_000;
/// As much as a host or a program may say.
const MUCH: usize = 1 << 20;
/// For as much, in a build without optimization on a busy machine.
const LONG: Duration = Duration::from_secs(20);

/// What breaks readers.
const ODD: [&[u8]; 18] = [
    b"\0",
    b"\n",
    b"\r\n",
    b"'",
    b"\"",
    b"\\",
    b"%",
    b"|",
    b"{",
    b"}",
    b"=",
    b",",
    b" ",
    b"\xff\xfe",
    b"99999999999999999999",
    b"-1",
    "密".as_bytes(),
    "\u{10ffff}".as_bytes(),
];

/// A change of what is usually read: where, what, and how much.
fn change(bytes: &mut Vec<u8>, (kind, at, what): (u8, usize, usize)) {
    let at = at % (bytes.len() + 1);
    let end = (at + what % 20).min(bytes.len());
    let odd = ODD[what % ODD.len()];
    match kind % 5 {
        0 => drop(bytes.splice(at..at, odd.iter().copied())),
        1 => drop(bytes.splice(at..end, odd.iter().copied())),
        2 => drop(bytes.drain(at..end)),
        3 => bytes.truncate(at),
        _ => {
            let again = bytes[at..end].to_vec();
            drop(bytes.splice(at..at, again));
        }
    }
}

fn try_all(reader: Reader, runs: Runs) {
    let samples: Vec<Vec<u8>> = reader
        .samples
        .iter()
        .map(|it| it.as_bytes().to_vec())
        .collect();
    let usual = proptest::sample::select(samples);
    let changes = vec((any::<u8>(), any::<usize>(), any::<usize>()), 0..8);
    let changed = (usual, changes).prop_map(|(mut bytes, changes)| {
        changes.into_iter().for_each(|it| change(&mut bytes, it));
        bytes
    });
    let bytes = prop_oneof![3 => changed, 1 => vec(any::<u8>(), 0..200)];
    let tried = TestRunner::new(runs).run(&bytes, |bytes| {
        (reader.read)(&bytes);
        Ok(())
    });
    if let Err(error) = tried {
        panic!("{}: {error}", reader.name);
    }
}

#[test]
fn no_reader_fails_whatever_it_reads() {
    let runs = Runs {
        cases: CASES,
        failure_persistence: None,
        ..Runs::default()
    };
    for reader in READERS {
        reader
            .samples
            .iter()
            .for_each(|it| (reader.read)(it.as_bytes()));
        try_all(reader, runs.clone());
    }
}

/// Neither in the square of what it reads, nor for ever.
#[test]
fn no_reader_takes_long_for_much() {
    for reader in READERS {
        let samples = reader.samples.iter().map(|it| it.as_bytes());
        for piece in samples.chain(ODD) {
            let much = piece.repeat(MUCH / piece.len());
            let begun = Instant::now();
            (reader.read)(&much);
            let took = begun.elapsed();
            assert!(took < LONG, "{}: {took:?} for {piece:?}", reader.name);
        }
    }
}

/// Each has its target, and a corpus to begin with.
#[test]
fn each_reader_is_fuzzed() {
    let fuzz = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz");
    let manifest = fs::read_to_string(format!("{fuzz}/Cargo.toml")).unwrap();
    for reader in READERS {
        let name = reader.name;
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
        let target = fs::read_to_string(format!("{fuzz}/targets/{name}.rs")).unwrap();
        assert!(target.contains(&format!("read(\"{name}\", ")), "{name}");
        let corpus = fs::read_dir(format!("{fuzz}/corpus/{name}")).unwrap();
        assert!(corpus.count() >= reader.samples.len(), "{name}");
    }
}

/// Not a test: writes the samples into `fuzz/corpus`, after a change of them.
#[test]
#[ignore = "writes into the sources"]
fn write_corpus() {
    let fuzz = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz");
    for reader in READERS {
        let dir = format!("{fuzz}/corpus/{}", reader.name);
        fs::create_dir_all(&dir).unwrap();
        for (sample, at) in reader.samples.iter().zip(1..) {
            fs::write(format!("{dir}/sample-{at}"), sample).unwrap();
        }
    }
}
