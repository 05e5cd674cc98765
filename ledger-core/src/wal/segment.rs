//! A segment file: its header, and how one comes to be whole or not at all.

use std::io;

use uuid::Uuid;

use super::frame::{BLOCK, Chain, HEADER_BYTES, Header, Seal, u64_at};
use super::head::HeadHash;
use super::names;
use crate::sync::Arc;
use crate::sys::{Storage, StorageFile, is_out_of_room};
use crate::types::{Epoch, Seq};

const MAGIC: [u8; 8] = *b"LEDGRWAL";
/// The format that is written. Format 1 had no head in its links.
const FORMAT: u16 = 2;
/// The oldest format whose readers can read what is written.
const FORMAT_READER_MIN: u16 = 2;
const CHECKSUM_AT: usize = BLOCK - 8;

/// Where a segment's link stands.
pub(super) const LINK_AT: u64 = BLOCK as u64;
/// Where the frames after the link stand.
pub(super) const FRAMES_AT: u64 = 2 * BLOCK as u64;

/// What is known of a segment before anything is written into it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SegmentHeader {
    pub(super) uuid: Uuid,
    pub(super) number: u64,
    /// The epoch that created it; the frames that a recovery copied into it may be older.
    pub(super) epoch: Epoch,
    pub(super) bytes: u64,
    pub(super) in_flight_max: u64,
}

/// Why a block is not a segment's header.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NotAHeader {
    Damaged,
    Newer(String),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..8].copy_from_slice(&MAGIC);
        block[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        block[10..12].copy_from_slice(&FORMAT_READER_MIN.to_le_bytes());
        block[16..32].copy_from_slice(self.uuid.as_bytes());
        block[32..40].copy_from_slice(&self.number.to_le_bytes());
        block[40..48].copy_from_slice(&self.epoch.get().to_le_bytes());
        block[48..56].copy_from_slice(&self.bytes.to_le_bytes());
        block[56..64].copy_from_slice(&self.in_flight_max.to_le_bytes());
        seal_block(&mut block, Seal::of(self.uuid));
        block
    }

    pub(super) fn decode(block: &[u8; BLOCK]) -> Result<SegmentHeader, NotAHeader> {
        let uuid = Uuid::from_bytes(block[16..32].try_into().expect("sixteen bytes"));
        if block[..8] != MAGIC || !is_sealed(block, Seal::of(uuid)) {
            return Err(NotAHeader::Damaged);
        }
        let reader_min = u16::from_le_bytes([block[10], block[11]]);
        if reader_min > FORMAT {
            return Err(NotAHeader::Newer(format!("a log of format {reader_min}")));
        }
        Ok(SegmentHeader {
            uuid,
            number: u64_at(block, 32),
            epoch: Epoch::new(u64_at(block, 40)),
            bytes: u64_at(block, 48),
            in_flight_max: u64_at(block, 56),
        })
    }
}

/// Puts a block's checksum into its last eight bytes.
pub(super) fn seal_block(block: &mut [u8; BLOCK], seal: Seal) {
    let checksum = seal.checksum(&block[..CHECKSUM_AT]);
    block[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
}

/// Whether a block's checksum is right.
pub(super) fn is_sealed(block: &[u8; BLOCK], seal: Seal) -> bool {
    u64_at(block, CHECKSUM_AT) == seal.checksum(&block[..CHECKSUM_AT])
}

/// The payload of a segment's first frame: where the log comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Link {
    /// The segment before; 0 before the first.
    pub(super) previous: u64,
    /// Where that one ends: whatever it holds from there on is no part of the log.
    pub(super) previous_end: u64,
    /// The head there; a log of format 1 has none.
    pub(super) head: Option<HeadHash>,
}

/// A link as it was read: its payload, its header and its own chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ReadLink {
    pub(super) link: Link,
    pub(super) header: Header,
    pub(super) chain: Chain,
}

impl ReadLink {
    /// The last seq before this segment.
    pub(super) fn before(&self) -> Seq {
        Seq::new(self.header.first_seq.get() - 1)
    }
}

const LINK_BYTES_V1: usize = 16;
const LINK_BYTES: usize = LINK_BYTES_V1 + HeadHash::BYTES;

impl Link {
    /// The beginning of a frame: room for the header, then the payload.
    pub(super) fn payload(self, buf: &mut Vec<u8>) {
        buf.clear();
        buf.resize(HEADER_BYTES, 0);
        buf.extend_from_slice(&self.previous.to_le_bytes());
        buf.extend_from_slice(&self.previous_end.to_le_bytes());
        if let Some(head) = &self.head {
            buf.extend_from_slice(head.as_bytes());
        }
    }

    /// From a whole frame that is a link; `None` if its length is wrong.
    pub(super) fn decode(header: &Header, frame: &[u8]) -> Option<Link> {
        let payload = &frame[HEADER_BYTES..];
        let head = match header.payload_bytes as usize {
            LINK_BYTES_V1 => None,
            LINK_BYTES => {
                let bytes = payload[LINK_BYTES_V1..LINK_BYTES].try_into().expect("thirty-two bytes");
                Some(HeadHash::from_bytes(bytes))
            }
            _ => return None,
        };
        Some(Link { previous: u64_at(payload, 0), previous_end: u64_at(payload, 8), head })
    }
}

/// Something that the storage refused, and what was being done.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) context: String,
    pub(super) source: io::Error,
}

impl Failure {
    /// Nothing is broken, and it may be tried again.
    pub(super) fn is_full(&self) -> bool {
        is_out_of_room(&self.source)
    }
}

/// Says what was being done when the storage refused.
pub(super) fn during<T>(result: io::Result<T>, what: &str, file: &str) -> Result<T, Failure> {
    result.map_err(|source| Failure { context: format!("{what} {file}"), source })
}

/// A new file that appears under its name only when all its bytes are durable.
pub(super) struct NewFile<'a> {
    storage: &'a dyn Storage,
    name: String,
    temporary: String,
    file: Arc<dyn StorageFile>,
}

impl<'a> NewFile<'a> {
    pub(super) fn create(storage: &'a dyn Storage, name: String) -> Result<NewFile<'a>, Failure> {
        let temporary = names::temporary(&name);
        let file = during(storage.create(&temporary), "creating", &temporary)?;
        Ok(NewFile { storage, name, temporary, file })
    }

    /// What is written into.
    pub(super) fn file(&self) -> &dyn StorageFile {
        &*self.file
    }

    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), Failure> {
        during(self.file.write_device_at(bytes, offset), "writing", &self.temporary)
    }

    /// Writes zeros ahead: a write into a file that has never been written journals metadata, which costs as much as
    /// the write. They are synced as they are written, since a commit's sync queues behind all that the disk was given before.
    /// `stop` is asked now and then; `false` is returned when it said so.
    pub(super) fn write_zeros(&self, from: u64, to: u64, stop: &dyn Fn() -> bool) -> Result<bool, Failure> {
        const AT_ONCE: u64 = 1 << 20;
        let mut at = from;
        while at < to {
            if stop() {
                return Ok(false);
            }
            let length = (to - at).min(AT_ONCE);
            during(self.file.write_zeros_at(length, at), "writing", &self.temporary)?;
            at += length;
            if at < to {
                during(self.file.sync_data(), "syncing", &self.temporary)?;
            }
        }
        Ok(true)
    }

    /// Syncs the bytes, then gives the name. The caller syncs the directory.
    pub(super) fn finish(&self) -> Result<Arc<dyn StorageFile>, Failure> {
        during(self.file.sync_data(), "syncing", &self.temporary)?;
        during(self.storage.rename(&self.temporary, &self.name), "renaming", &self.temporary)?;
        Ok(Arc::clone(&self.file))
    }

    /// Gives the space back of a file that was not finished, best effort: what stays is removed at the next opening.
    pub(super) fn abandon(&self) {
        let _ = self.storage.remove(&self.temporary);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_no_bit_of_it_is_idle() {
        let header = SegmentHeader {
            uuid: Uuid::from_u128(1),
            number: 2,
            epoch: Epoch::new(3),
            bytes: 1 << 20,
            in_flight_max: 4 << 10,
        };
        let block = header.encode();
        assert_eq!(SegmentHeader::decode(&block), Ok(header));
        for bit in 0..BLOCK * 8 {
            let mut bad = block;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bad), Err(NotAHeader::Damaged), "bit {bit}");
        }
    }
}
