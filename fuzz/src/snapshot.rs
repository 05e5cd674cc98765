//! The layout of a snapshot's files, written a second time from its specification (the doc of `ledger-core`'s module
//! `journal::snapshot`), so that a target can change what is in them and make every checksum right again.

use ledger_core::sim::SimDisk;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

use crate::layout;

const HEADER: usize = 64;
const BLOCK_HEAD: usize = 16;
const SECTION: usize = 32;
const TRAILER: usize = 48;
const META: u16 = 1;

/// Whether a file of this name belongs to a snapshot.
pub fn is_part(name: &str) -> bool {
    name.ends_with(".snapshot") || name.ends_with(".history")
}

/// One block of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// What its payload is; see the specification.
    pub kind: u16,
    /// Whose it is.
    pub shard: u16,
    /// What it says.
    pub payload: Vec<u8>,
}

/// A file, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// The header without its checksum.
    pub header: Vec<u8>,
    /// All blocks, in their order.
    pub blocks: Vec<Block>,
}

impl Parts {
    /// Takes a file apart that is right.
    pub fn of(bytes: &[u8]) -> Parts {
        let directory = u64_at(bytes, bytes.len() - TRAILER + 8) as usize;
        let mut blocks = Vec::new();
        let mut at = HEADER;
        while at < directory {
            let end = at + BLOCK_HEAD + u32::from_le_bytes(array(&bytes[at..at + 4])) as usize;
            let (kind, shard) = (u16_at(bytes, at + 4), u16_at(bytes, at + 6));
            blocks.push(Block { kind, shard, payload: bytes[at + BLOCK_HEAD..end].to_vec() });
            at = end + 8;
        }
        Parts { header: bytes[..HEADER - 8].to_vec(), blocks }
    }

    /// The file with all checksums right, and its digest.
    pub fn seal(&self) -> (Vec<u8>, u128) {
        let mut file = self.header.clone();
        let seed = xxh3_64_with_seed(&file, xxh3_64(&file[16..32]));
        file.extend_from_slice(&seed.to_le_bytes());
        let mut directory = Vec::new();
        let mut ordinal = 0u64;
        for section in self.blocks.chunk_by(|one, next| (one.kind, one.shard) == (next.kind, next.shard)) {
            let offset = file.len();
            let mut checksums = Vec::new();
            for Block { kind, shard, payload } in section {
                let at = file.len();
                file.extend_from_slice(&(payload.len() as u32).to_le_bytes());
                file.extend_from_slice(&kind.to_le_bytes());
                file.extend_from_slice(&shard.to_le_bytes());
                file.extend_from_slice(&ordinal.to_le_bytes());
                file.extend_from_slice(payload);
                let checksum = xxh3_64_with_seed(&file[at..], seed).to_le_bytes();
                file.extend_from_slice(&checksum);
                checksums.extend_from_slice(&checksum);
                ordinal += 1;
            }
            directory.extend_from_slice(&section[0].kind.to_le_bytes());
            directory.extend_from_slice(&section[0].shard.to_le_bytes());
            directory.extend_from_slice(&(section.len() as u32).to_le_bytes());
            for number in [offset as u64, (file.len() - offset) as u64, xxh3_64_with_seed(&checksums, seed)] {
                directory.extend_from_slice(&number.to_le_bytes());
            }
        }
        debug_assert!(directory.len().is_multiple_of(SECTION));
        let digest = xxh3_128_with_seed(&[&file[..HEADER], &directory].concat(), seed);
        let mut trailer = b"LEDGREND".to_vec();
        trailer.extend_from_slice(&(file.len() as u64).to_le_bytes());
        trailer.extend_from_slice(&(directory.len() as u64).to_le_bytes());
        trailer.extend_from_slice(&digest.to_le_bytes());
        trailer.extend_from_slice(&xxh3_64_with_seed(&trailer, seed).to_le_bytes());
        file.extend(directory);
        file.extend(trailer);
        (file, digest)
    }
}

/// Writes the parts of a file back to the disk; and where it is a history file, the digests in the snapshots that name it.
pub fn put(disk: &SimDisk, name: &str, parts: &Parts) {
    let (bytes, digest) = parts.seal();
    layout::write(disk, name, &bytes);
    let Some((seq, _)) = name.strip_suffix(".history").and_then(|stem| stem.split_once('-')) else { return };
    let seq = u64::from_str_radix(seq, 16).expect("a history file is called by its seq");
    for snapshot in disk.names().iter().filter(|name| name.ends_with(".snapshot")) {
        let mut parts = Parts::of(&disk.read(snapshot).expect("a listed file is there"));
        for block in parts.blocks.iter_mut().filter(|block| block.kind == META) {
            if let Some(meta) = renamed(&block.payload, seq, bytes.len() as u64, digest) {
                block.payload = meta;
            }
        }
        layout::write(disk, snapshot, &parts.seal().0);
    }
}

/// A meta section in which the history file of `seq` has these bytes and this digest; `None` where it is not whole.
fn renamed(meta: &[u8], seq: u64, bytes: u64, digest: u128) -> Option<Vec<u8>> {
    let mut rest = meta;
    let mut out = Vec::new();
    // Seq, time, anchor, chain, shards, the keys' seed, accounts.
    for width in [0, 0, 0, 16, 0, 8, 0] {
        copy(&mut rest, &mut out, width)?;
    }
    let files = copy(&mut rest, &mut out, 0)?;
    for _ in 0..files {
        let is_it = copy(&mut rest, &mut out, 0)? == seq;
        copy(&mut rest, &mut out, 0)?;
        copy(&mut rest, &mut out, 0)?;
        let mut old = Vec::new();
        copy(&mut rest, &mut old, 0)?;
        copy(&mut rest, &mut old, 16)?;
        if is_it {
            old.clear();
            layout::varint(&mut old, bytes);
            old.extend_from_slice(&digest.to_le_bytes());
        }
        out.extend(old);
        copy(&mut rest, &mut out, 0)?;
        copy(&mut rest, &mut out, 0)?;
    }
    out.extend_from_slice(rest);
    Some(out)
}

/// Moves `width` bytes, or a varint where that is 0, and gives its value.
fn copy(from: &mut &[u8], to: &mut Vec<u8>, width: usize) -> Option<u64> {
    let is_last = |byte: &u8| byte & 0x80 == 0;
    let length = if width == 0 { from.iter().position(is_last)? + 1 } else { width };
    let (taken, rest) = from.split_at_checked(length)?;
    to.extend_from_slice(taken);
    *from = rest;
    let value = |value: u64, byte: &u8| value.checked_shl(7).map_or(0, |high| high | u64::from(byte & 0x7F));
    Some(if width == 0 { taken.iter().rev().fold(0, value) } else { 0 })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(&bytes[at..at + 2]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(&bytes[at..at + 8]))
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("so many bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn files_that_are_taken_apart_are_sealed_as_they_were() {
        let disk = samples::snapshots();
        let names = disk.names();
        let files: Vec<&String> = names.iter().filter(|name| is_part(name)).collect();
        assert_eq!(files.len(), 4, "two snapshots and two history files: {names:?}");
        for name in files {
            let bytes = disk.read(name).expect("a listed file is there");
            assert_eq!(Parts::of(&bytes).seal().0, bytes, "{name}");
            put(&disk, name, &Parts::of(&bytes));
            assert_eq!(disk.read(name), Some(bytes), "{name}");
        }
        let verified = ledger_core::verify_storage(&disk).expect("nothing was changed");
        assert_eq!(verified.snapshots, 2);
    }

    #[test]
    fn a_history_file_that_was_changed_is_still_the_one_that_snapshots_name() {
        let disk = samples::snapshots();
        let name = disk.names().into_iter().find(|name| name.ends_with(".history")).expect("there are two");
        let mut parts = Parts::of(&disk.read(&name).expect("a listed file is there"));
        // The end of a key: its record lies in the wrong shard of keys then.
        let keys = parts.blocks.iter_mut().find(|block| block.kind == 7).expect("there are keys");
        *keys.payload.last_mut().expect("a record has bytes") ^= 1;
        put(&disk, &name, &parts);
        let refused = ledger_core::verify_storage(&disk).expect_err("a key was changed").to_string();
        assert!(!refused.contains("is not the file that"), "{refused}");
    }
    /// Found by fuzzing: it was loaded, and the books were out of balance.
    #[test]
    fn a_snapshot_whose_system_accounts_do_not_balance_is_passed_over() {
        let disk = samples::snapshots();
        let name = disk.names().into_iter().rfind(|name| name.ends_with(".snapshot")).expect("there are two");
        let mut parts = Parts::of(&disk.read(&name).expect("a listed file is there"));
        let sums = parts.blocks.iter_mut().find(|block| block.kind == 2).expect("some shard has accounts");
        sums.payload[64] ^= 2; // The suspense account, the last 16 bytes of the first currency's row.
        put(&disk, &name, &parts);
        let ledger = samples::options().open_on(disk).expect("an older snapshot is there");
        assert_eq!(ledger.recovered().passed_over.len(), 1);
        assert!(ledger.audit_deep().and_then(|commit| commit.wait()).expect("an open ledger answers").is_balanced());
    }
}
