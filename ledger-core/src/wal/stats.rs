//! What the log counts about itself.

use std::time::Duration;

use crate::sync::{AtomicU64, Ordering};

/// Upper bounds of the fsync buckets, in microseconds; one more bucket takes what is slower.
pub(crate) const FSYNC_MICROS: [u64; 12] =
    [50, 100, 150, 200, 300, 500, 1_000, 2_500, 5_000, 10_000, 100_000, 1_000_000];
/// Upper bounds of the buckets of entries a commit; one more takes what is larger.
pub(crate) const COMMIT_ENTRIES: [u64; 12] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 1_024, 4_096, 16_384];
/// How much less than a byte of records one of padding takes an opening. Both are read and checked, 4 KiB in some 2 µs; 4 KiB of
/// records are replayed besides, which takes some 10 µs more.
const PADDING_LESS: u64 = 4;

/// Relaxed throughout: the counters order nothing, and a reader that sees one a little before another does not mind.
#[derive(Default)]
pub(super) struct Counters {
    commits: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
    opening_bytes: AtomicU64,
    fsync: Histogram,
    commit_entries: Histogram,
}

#[derive(Default)]
struct Histogram {
    buckets: [AtomicU64; 13],
    sum: AtomicU64,
}

impl Histogram {
    fn add(&self, value: u64, bounds: &[u64; 12]) {
        self.buckets[bounds.partition_point(|bound| *bound < value)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    fn counts(&self) -> Counts {
        Counts {
            buckets: std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed)),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

impl Counters {
    /// A frame of `bytes`, of which `padding` fill its last block.
    pub(super) fn committed(&self, entries: u64, bytes: u64, padding: u64) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.entries.fetch_add(entries, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.opening_bytes.fetch_add(bytes - padding + padding / PADDING_LESS, Ordering::Relaxed);
        self.commit_entries.add(entries, &COMMIT_ENTRIES);
    }

    pub(super) fn synced(&self, took: Duration) {
        self.fsync.add(took.as_micros() as u64, &FSYNC_MICROS);
    }

    pub(super) fn read(&self, in_flight_bytes: u64) -> WalStats {
        WalStats {
            commits: self.commits.load(Ordering::Relaxed),
            entries: self.entries.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            opening_bytes: self.opening_bytes.load(Ordering::Relaxed),
            in_flight_bytes,
            fsync_micros: self.fsync.counts(),
            commit_entries: self.commit_entries.counts(),
        }
    }
}

/// What happened since the log was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct WalStats {
    /// Frames with records that were written.
    pub(crate) commits: u64,
    /// Records in them.
    pub(crate) entries: u64,
    /// Bytes of them, padding included.
    pub(crate) bytes: u64,
    /// The same with a quarter of the padding: what an opening would take as long for, were it full of records.
    pub(crate) opening_bytes: u64,
    /// Bytes that are reserved or wait for their commit.
    pub(crate) in_flight_bytes: u64,
    /// By [`FSYNC_MICROS`].
    pub(crate) fsync_micros: Counts,
    /// By [`COMMIT_ENTRIES`].
    pub(crate) commit_entries: Counts,
}

/// A histogram: how many values fell into each bucket (not cumulated), and their sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) buckets: [u64; 13],
    pub(crate) sum: u64,
}
