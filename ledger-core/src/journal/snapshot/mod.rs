//! Snapshots: the state at one entry, in files that are loaded instead of replaying the log from its beginning.
//!
//! This page is the specification of what lies on the disk. Numbers are little-endian or, where it says so, LEB128
//! varints.
//!
//! # Files
//!
//! | name | what |
//! | --- | --- |
//! | `<seq, 16 hex digits>.snapshot` | the accounts at that entry, and a list of history files; two are kept |
//! | `<seq, 16 hex digits>-<epoch, 8 hex digits>.history` | what came to be since the history file before, up to that entry: records, keys, withdrawals; written once, and named by every later snapshot, until one that names a file with all that it has and more, while it is small |
//! | `<any of these>.tmp` | not whole yet; in the way of nothing |
//!
//! A file appears under its name when all its bytes are durable and were read back: temporary name, write, fsync, read and
//! check, rename, fsync of the directory; and a snapshot's only when the log is durable up to its entry.
//!
//! # File
//!
//! A header, blocks, a directory and a trailer, without a gap. All checksums are XXH3 with the seed that its line names, so
//! neither another file's blocks nor this one's in another order are taken for right.
//!
//! | header | what |
//! | --- | --- |
//! | 0..8 | `LEDGRSNP` |
//! | 8..10, 10..12 | format version (1); the oldest reader's version (1) |
//! | 12..16 | 1: snapshot; 2: history |
//! | 16..32 | the ledger's UUID |
//! | 32..40 | the last entry that is in it |
//! | 40..48 | the last entry that is in the history file before (0: it is the first; in a snapshot, 0) |
//! | 48..56 | the epoch that wrote it |
//! | 56..64 | XXH3-64 of the bytes before; seed: XXH3-64 of the UUID |
//!
//! | block | what |
//! | --- | --- |
//! | 0..4 | payload length, `p` (at most 1 MiB) |
//! | 4..6, 6..8 | kind; which shard |
//! | 8..16 | how many blocks are before it in the file |
//! | 16..16+p | payload |
//! | ..+8 | XXH3-64 of the bytes before; seed: the header's checksum |
//!
//! Blocks of one kind and shard stand together: a section. The directory has 32 bytes for each, in their order: kind (u16),
//! shard (u16), blocks (u32), offset (u64), bytes (u64), and XXH3-64 of its blocks' checksums (u64). The trailer, the last 48
//! bytes: `LEDGREND`, the directory's offset (u64), its bytes (u64), XXH3-128 of header and directory (the file's digest, by
//! which snapshots name history files), XXH3-64 of the trailer so far; seed of both: the header's checksum.
//!
//! # Sections
//!
//! | kind | in | payload |
//! | --- | --- | --- |
//! | 1 meta | snapshot | see `Meta` in `rows.rs` |
//! | 2 sums | snapshot | for each currency of the shard, in the order of first use: its code, padded to 8 bytes; accounts (u64); total, reserved (u128); external, suspense (i128) |
//! | 3 accounts | snapshot | each account, in the order of first use, with the holds folded in that had matured at the time of the entry |
//! | 4 anchors | history | seq (u64) and time (i64) for each KiB of records that begins in this file |
//! | 5 records | history | an address (u64) and the records from there on, as `state/history/layout.rs` lays them out, all pending that ever were |
//! | 6 withdrawals | history | those that changed since the file before, in the order of their ids, as they were at the entry |
//! | 7 keys | history | as `state/idempotency.rs` lays them out, in the order of the entries that settled them; the shards are 256, by the first byte of XXH3-64 of the key, seeded by the ledger's own seed, which is in the meta section |
//! | 8 locator | history | for each seq since the file before, one more than the shard that keeps the transaction; 0: none |
//!
//! Which account has a record's number follows from the order of first use, so all is in an order that depends on the
//! entries alone: equal states, reached by the same checkpoints, give equal bytes.

mod format;
pub(crate) mod names;
mod read;
pub(crate) mod rows;
mod write;

pub(crate) use format::{FileKind, Header, Kind, PAYLOAD_BYTES_MAX};
pub(crate) use read::FileReader;
pub(crate) use write::{FileWriter, Sink};

#[cfg(all(test, not(feature = "loom")))]
mod tests;
