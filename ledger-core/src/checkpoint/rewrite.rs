//! Which history files a checkpoint writes again, together with what is new: the last ones, while they are small.
//!
//! Else each checkpoint would leave one more file for ever, and an opening would have as many to read. It is written again
//! from the tables, which have all of it, so nothing is read for it and damage to an old file is not carried on. The older
//! snapshot goes on naming the old files until it is retired itself.
//!
//! What must hold: a file is written again only into one of at least twice its size, or of [`ALWAYS_BYTES`], and never once
//! it has the size from which on files are left alone. So a byte is written again a logarithmic number of times, and there
//! are few more files than whole ones of that size.

use super::copy::Positions;
use crate::journal::snapshot::rows::HistoryFile;
use crate::ledger::Tables;
use crate::types::{Seq, TransactionId};

/// From this size on a history file is left alone.
pub(crate) const HISTORY_BYTES: u64 = 64 << 20;
/// Smaller ones are always written again: that costs nothing beside the accounts, which each checkpoint writes.
const ALWAYS_BYTES: u64 = 64 << 10;
/// How many files at once: what must be known of each takes 4 KiB of memory. Only a ledger has more of them that was
/// written before they were written again at all.
const FILES_MAX: usize = 4_096;

/// About what an entry adds to a file beside its records: its key, of 24 bytes, and its place in the locator.
const ENTRY_BYTES: u64 = 40;

/// What must be known of a history file to write it again.
#[derive(Clone, Debug)]
pub(crate) struct Small {
    /// Up to where the tables were copied before it.
    pub(crate) since: Positions,
    /// The withdrawals that are in it, for each shard; in no order.
    pub(crate) withdrawals: Vec<Vec<TransactionId>>,
}

impl Small {
    /// Nothing is known yet.
    pub(crate) fn start(since: Seq, shards: usize) -> Small {
        Small { since: Positions { seq: since, ..Positions::start(shards) }, withdrawals: vec![Vec::new(); shards] }
    }
}

/// How many of the last of `files` a later checkpoint may write again, none of which has `left_alone` bytes.
pub(crate) fn small(files: &[HistoryFile], left_alone: u64) -> usize {
    files.iter().rev().take(FILES_MAX).take_while(|file| file.bytes < left_alone).count()
}

/// How many of the last of `files` a checkpoint writes again that has about `new_bytes` to write beside. `known` of them
/// could be.
pub(crate) fn rewritten(files: &[HistoryFile], known: usize, new_bytes: u64) -> usize {
    let mut bytes = new_bytes;
    let joins = |file: &&HistoryFile| {
        let joins = file.bytes <= bytes.max(ALWAYS_BYTES);
        bytes += file.bytes;
        joins
    };
    files.iter().rev().take(known).take_while(joins).count()
}

/// About how long a history file would be of what the tables have since `since`, up to `last`.
pub(crate) fn expected_bytes(tables: &Tables, since: &Positions, last: Seq) -> u64 {
    let ends = tables.shards.iter().map(|shard| shard.read().history.end().address);
    let records: u64 = ends.zip(&since.history).map(|(end, since)| end - since.address).sum();
    records + (last.get() - since.seq.get()) * ENTRY_BYTES
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use crate::types::Epoch;

    fn file(bytes: u64) -> HistoryFile {
        let (seq, epoch) = (Seq::new(1), Epoch::new(1));
        HistoryFile { seq, since: Seq::ZERO, epoch, bytes, digest: 0, records: 0, keys: 0 }
    }

    /// The files after checkpoints of these sizes, and how many bytes were written for them.
    fn after(sizes: impl Iterator<Item = u64>, left_alone: u64) -> (Vec<u64>, u64) {
        let (mut files, mut written) = (Vec::new(), 0);
        for new in sizes {
            let again = rewritten(&files, small(&files, left_alone), new);
            let joined: u64 = files.drain(files.len() - again..).map(|file: HistoryFile| file.bytes).sum();
            files.push(file(joined + new));
            written += joined + new;
        }
        (files.iter().map(|file| file.bytes).collect(), written)
    }

    #[test]
    fn thousands_of_checkpoints_leave_few_files_and_write_each_byte_a_few_times() {
        const MIB: u64 = 1 << 20;
        for (size, checkpoints) in [(1_000, 100_000), (100_000, 20_000), (3 * MIB, 2_000), (70 * MIB, 50)] {
            let bytes = size * checkpoints;
            let (files, written) = after((0..checkpoints).map(|_| size), HISTORY_BYTES);
            let most = bytes / HISTORY_BYTES + 12;
            assert!(files.len() as u64 <= most, "{} files of {checkpoints} checkpoints of {size} bytes", files.len());
            assert_eq!(files.iter().sum::<u64>(), bytes);
            let always = checkpoints * ALWAYS_BYTES;
            assert!((bytes..=bytes * 11 + always).contains(&written), "{written} bytes were written of {bytes}");
        }
        // One large checkpoint among small ones.
        let (files, _) = after((0..10_000).map(|n| if n % 1_000 == 7 { 80 * MIB } else { 5_000 }), HISTORY_BYTES);
        assert!(files.len() <= 10 + 12, "{files:?}");
    }

    #[test]
    fn a_file_that_is_large_enough_is_left_alone_and_so_are_those_before_it() {
        let files = [file(10), file(HISTORY_BYTES), file(20), file(30)];
        assert_eq!(small(&files, HISTORY_BYTES), 2);
        assert_eq!(rewritten(&files, 2, 1 << 30), 2);
        assert_eq!(rewritten(&files, 0, 1 << 30), 0);
        assert_eq!(rewritten(&[file(ALWAYS_BYTES + 1), file(1)], 2, 1), 1, "the first one is larger than the rest");
        assert_eq!(small(&files, 0), 0);
        let many = vec![file(1_000); 30_000];
        assert_eq!(rewritten(&many, small(&many, HISTORY_BYTES), 10), FILES_MAX);
    }
}
