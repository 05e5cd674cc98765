//! The disk alone: what a reply that waits for it cannot be faster than.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::time::Instant;

use tempfile::TempDir;

use crate::latency::Latencies;
use crate::place;

const BLOCK: usize = 4096;

/// A file that was zero-written, as the log's are, so that no write allocates anything.
pub struct Disk {
    file: File,
    blocks: u64,
    _directory: TempDir,
}

impl Disk {
    /// Of so many blocks of 4 KiB.
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

    /// Writes and syncs block after block: how many a second, and how long each took.
    pub fn write_and_sync(&self) -> (f64, Latencies) {
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
