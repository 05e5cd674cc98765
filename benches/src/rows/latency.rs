//! How long a caller is blocked, beside the disk alone.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Instant;

use tempfile::TempDir;

use super::{Row, rate};
use crate::latency::{Latencies, short};
use crate::load;
use crate::pairs::Pairs;
use crate::place::{self, Mode, Opened};
use crate::scale::Scale;
use crate::workload::Work;

const BLOCK: usize = 4096;

/// A file that was zero-written, as the log's are, so that no write allocates anything.
#[derive(Debug)]
pub struct Disk {
    file: File,
    blocks: u64,
    _directory: TempDir,
}

impl Disk {
    /// A file of so many blocks.
    pub fn new(blocks: u64) -> Disk {
        let directory = place::directory();
        let path = directory.path().join("blocks");
        let file = OpenOptions::new().create_new(true).write(true).open(path).expect("a file can be made");
        for block in 0..blocks {
            file.write_all_at(&[0; BLOCK], block * BLOCK as u64).expect("the disk has room");
        }
        file.sync_all().expect("the disk syncs");
        Disk { file, blocks, _directory: directory }
    }

    /// Writes and syncs one block, numbered from 0 and again from 0 behind the last.
    pub fn write_and_sync_block(&self, number: u64) {
        let at = number % self.blocks * BLOCK as u64;
        self.file.write_all_at(&[number as u8 | 1; BLOCK], at).expect("the disk writes");
        self.file.sync_data().expect("the disk syncs");
    }

    /// Writes and syncs block after block.
    fn write_and_sync(&self) -> (f64, Latencies) {
        let mut latencies = Latencies::new();
        let begin = Instant::now();
        for block in 0..self.blocks {
            let start = Instant::now();
            self.write_and_sync_block(block);
            latencies.add(start.elapsed());
        }
        (self.blocks as f64 / begin.elapsed().as_secs_f64(), latencies)
    }
}

pub(super) fn one_caller(scale: &Scale) -> Vec<Row> {
    let disk = Disk::new(scale.blocking_each as u64);
    let ledger = Opened::new(Mode::Durable);
    load::fund(&ledger, scale.accounts);
    let work = Work::Charges { accounts: scale.accounts };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let pairs = Pairs::measure(
        scale.pairs,
        || {
            let (rate, latencies) = load::blocking(&ledger, work, 1, scale.blocking_each);
            ours.push(latencies);
            rate
        },
        || {
            let (rate, latencies) = disk.write_and_sync();
            theirs.push(latencies);
            rate
        },
    );
    vec![
        Row::new("one blocking caller, a charge each", "0.9")
            .rates(&pairs, "4 KiB pwrite + fdatasync")
            .latencies(&Latencies::merged(&ours)),
        Row::new("the same loop without the ledger", "").latencies(&Latencies::merged(&theirs)),
    ]
}

pub(super) fn many_callers(scale: &Scale) -> Vec<Row> {
    let disk = Disk::new(scale.blocking_each as u64);
    let ledger = Opened::new(Mode::Durable);
    load::fund(&ledger, scale.accounts);
    let work = Work::Charges { accounts: scale.accounts };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let pairs = Pairs::measure(
        scale.pairs,
        || {
            let (rate, latencies) = load::blocking(&ledger, work, 64, scale.blocking_each);
            ours.push(latencies);
            rate
        },
        || {
            let (rate, latencies) = disk.write_and_sync();
            theirs.push(latencies);
            rate
        },
    );
    let disk_p99 = short(Latencies::merged(&theirs).quantile(0.99));
    vec![
        Row::new("64 blocking callers, a charge each", "180 k/s, p99 1 ms")
            .rates(&pairs, "one 4 KiB fdatasync each")
            .baseline(format!("one 4 KiB fdatasync each: {}, p99 {disk_p99}", rate(pairs.baseline().median)))
            .latencies(&Latencies::merged(&ours)),
    ]
}
