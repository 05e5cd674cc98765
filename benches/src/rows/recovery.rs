//! How fast a ledger opens, beside reading its files.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use ledger_core::{Ledger, Options};
use xxhash_rust::xxh3::Xxh3;

use super::Row;
use crate::load;
use crate::pairs::Pairs;
use crate::place;
use crate::scale::Scale;
use crate::workload::Work;

pub(super) fn recovery(scale: &Scale) -> Vec<Row> {
    let directory = place::directory();
    write(directory.path(), scale.accounts, scale.recovered);
    let entries = scale.recovered as f64;
    let pairs = Pairs::measure(
        scale.pairs,
        || entries / open(directory.path(), scale.recovered).as_secs_f64(),
        || {
            let start = Instant::now();
            checksum(directory.path());
            entries / start.elapsed().as_secs_f64()
        },
    );
    let what = format!("recovery of {} entries (page cache)", scale.recovered);
    vec![Row::new(what, "10 M/s").rates(&pairs, "read and XXH3 the files")]
}

/// From a snapshot of everything, in turn with the log of everything.
pub(super) fn snapshot(scale: &Scale) -> Vec<Row> {
    let (log, with_snapshot) = (place::directory(), place::directory());
    write(log.path(), scale.accounts, scale.recovered);
    write_snapshot(with_snapshot.path(), scale.accounts, scale.recovered);
    let entries = scale.recovered as f64;
    let pairs = Pairs::measure(
        scale.pairs,
        || entries / open(with_snapshot.path(), scale.recovered).as_secs_f64(),
        || entries / open(log.path(), scale.recovered).as_secs_f64(),
    );
    let what = format!("opening from a snapshot of {} entries (page cache)", scale.recovered);
    vec![Row::new(what, "30 M/s").rates(&pairs, "recovery from the log")]
}

/// Without checkpoints but those that are asked for.
fn options() -> Options {
    Ledger::options().checkpoint_bytes(None)
}

/// How long it takes to open a ledger of so many entries.
pub fn open(directory: &Path, entries: usize) -> Duration {
    let start = Instant::now();
    let ledger = options().open(directory).expect("the ledger opens");
    let took = start.elapsed();
    assert_eq!(ledger.appended().get(), entries as u64);
    ledger.close().expect("the ledger closes");
    took
}

/// Leaves a log of so many charges.
pub fn write(directory: &Path, accounts: u64, entries: usize) {
    let ledger = options().open(directory).expect("a new ledger opens");
    load::fill(&ledger, Work::Charges { accounts }, entries);
    ledger.close().expect("the ledger closes");
}

/// Leaves a snapshot of so many charges.
pub fn write_snapshot(directory: &Path, accounts: u64, entries: usize) {
    write(directory, accounts, entries);
    let ledger = options().open(directory).expect("the ledger opens");
    ledger.checkpoint().expect("the snapshot is written");
    ledger.close().expect("the ledger closes");
}

/// Reads every file of the directory once, and checksums it.
fn checksum(directory: &Path) -> u64 {
    let mut hash = Xxh3::new();
    let mut chunk = vec![0; 1 << 20];
    for entry in fs::read_dir(directory).expect("the directory is there") {
        let mut file = File::open(entry.expect("the directory can be read").path()).expect("the file opens");
        loop {
            let read = file.read(&mut chunk).expect("the file can be read");
            if read == 0 {
                break;
            }
            hash.update(&chunk[..read]);
        }
    }
    std::hint::black_box(hash.digest())
}
