//! The parts of a file: header, block, section, trailer. The layout is in the [module's doc](super).

use uuid::Uuid;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

use crate::types::{Epoch, Seq};

const MAGIC: [u8; 8] = *b"LEDGRSNP";
const END: [u8; 8] = *b"LEDGREND";
/// The format that is written.
const FORMAT: u16 = 1;
/// The oldest format whose readers can read what is written.
const FORMAT_READER_MIN: u16 = 1;

pub(super) const HEADER_BYTES: usize = 64;
pub(super) const BLOCK_HEAD_BYTES: usize = 16;
pub(super) const CHECKSUM_BYTES: usize = 8;
pub(super) const SECTION_BYTES: usize = 32;
pub(super) const TRAILER_BYTES: usize = 48;
/// No payload is longer.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Which of the two kinds of files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FileKind {
    Snapshot = 1,
    History = 2,
}

/// What the blocks of a section hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Meta = 1,
    Sums = 2,
    Accounts = 3,
    Anchors = 4,
    Records = 5,
    Withdrawals = 6,
    Keys = 7,
    Locator = 8,
}

impl Kind {
    fn of(code: u16) -> Option<Kind> {
        use Kind::{Accounts, Anchors, Keys, Locator, Meta, Records, Sums, Withdrawals};
        let all = [Meta, Sums, Accounts, Anchors, Records, Withdrawals, Keys, Locator];
        all.into_iter().find(|kind| *kind as u16 == code)
    }
}

/// A file's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) kind: FileKind,
    pub(crate) uuid: Uuid,
    /// The last entry that is in it.
    pub(crate) seq: Seq,
    /// The last entry that is in the history file before.
    pub(crate) since: Seq,
    pub(crate) epoch: Epoch,
}

/// Why bytes are not a header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NotAHeader {
    Damaged,
    Newer(String),
}

/// The seed of all checksums of one file: its header's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seed(pub(super) u64);

impl Seed {
    pub(super) fn checksum(self, bytes: &[u8]) -> u64 {
        xxh3_64_with_seed(bytes, self.0)
    }

    pub(super) fn digest(self, bytes: &[u8]) -> u128 {
        xxh3_128_with_seed(bytes, self.0)
    }
}

impl Header {
    pub(super) fn encode(&self) -> ([u8; HEADER_BYTES], Seed) {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[10..12].copy_from_slice(&FORMAT_READER_MIN.to_le_bytes());
        bytes[12..16].copy_from_slice(&(self.kind as u32).to_le_bytes());
        bytes[16..32].copy_from_slice(self.uuid.as_bytes());
        bytes[32..40].copy_from_slice(&self.seq.get().to_le_bytes());
        bytes[40..48].copy_from_slice(&self.since.get().to_le_bytes());
        bytes[48..56].copy_from_slice(&self.epoch.get().to_le_bytes());
        let checksum = xxh3_64_with_seed(&bytes[..56], xxh3_64(self.uuid.as_bytes()));
        bytes[56..].copy_from_slice(&checksum.to_le_bytes());
        (bytes, Seed(checksum))
    }

    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<(Header, Seed), NotAHeader> {
        let checksum = u64_at(bytes, 56);
        if bytes[..8] != MAGIC || checksum != xxh3_64_with_seed(&bytes[..56], xxh3_64(&bytes[16..32])) {
            return Err(NotAHeader::Damaged);
        }
        let reader_min = u16_at(bytes, 10);
        if reader_min > FORMAT {
            return Err(NotAHeader::Newer(format!("a snapshot of format {reader_min}")));
        }
        let kind = match u32_at(bytes, 12) {
            1 => FileKind::Snapshot,
            2 => FileKind::History,
            other => return Err(NotAHeader::Newer(format!("a file of snapshots of kind {other}"))),
        };
        let uuid = Uuid::from_bytes(bytes[16..32].try_into().expect("sixteen bytes"));
        let (seq, since) = (Seq::new(u64_at(bytes, 32)), Seq::new(u64_at(bytes, 40)));
        Ok((Header { kind, uuid, seq, since, epoch: Epoch::new(u64_at(bytes, 48)) }, Seed(checksum)))
    }
}

/// The head of a block.
pub(super) fn block_head(payload: usize, kind: Kind, shard: u16, ordinal: u64) -> [u8; BLOCK_HEAD_BYTES] {
    let mut head = [0; BLOCK_HEAD_BYTES];
    head[..4].copy_from_slice(&(payload as u32).to_le_bytes());
    head[4..6].copy_from_slice(&(kind as u16).to_le_bytes());
    head[6..8].copy_from_slice(&shard.to_le_bytes());
    head[8..].copy_from_slice(&ordinal.to_le_bytes());
    head
}

/// Where the blocks of one kind and shard stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Section {
    pub(crate) kind: Kind,
    pub(crate) shard: u16,
    pub(super) blocks: u32,
    pub(super) offset: u64,
    pub(crate) bytes: u64,
    /// Over the checksums of its blocks.
    pub(super) checksum: u64,
}

impl Section {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.kind as u16).to_le_bytes());
        out.extend_from_slice(&self.shard.to_le_bytes());
        out.extend_from_slice(&self.blocks.to_le_bytes());
        for number in [self.offset, self.bytes, self.checksum] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Section> {
        Some(Section {
            kind: Kind::of(u16_at(bytes, 0))?,
            shard: u16_at(bytes, 2),
            blocks: u32_at(bytes, 4),
            offset: u64_at(bytes, 8),
            bytes: u64_at(bytes, 16),
            checksum: u64_at(bytes, 24),
        })
    }
}

/// The end of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Trailer {
    pub(super) directory: u64,
    pub(super) directory_bytes: u64,
    pub(super) digest: u128,
}

impl Trailer {
    pub(super) fn encode(&self, seed: Seed) -> [u8; TRAILER_BYTES] {
        let mut bytes = [0; TRAILER_BYTES];
        bytes[..8].copy_from_slice(&END);
        bytes[8..16].copy_from_slice(&self.directory.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.directory_bytes.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.digest.to_le_bytes());
        let checksum = seed.checksum(&bytes[..40]);
        bytes[40..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; TRAILER_BYTES], seed: Seed) -> Option<Trailer> {
        if bytes[..8] != END || u64_at(bytes, 40) != seed.checksum(&bytes[..40]) {
            return None;
        }
        let digest = u128::from_le_bytes(bytes[24..40].try_into().expect("sixteen bytes"));
        Some(Trailer { directory: u64_at(bytes, 8), directory_bytes: u64_at(bytes, 16), digest })
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
