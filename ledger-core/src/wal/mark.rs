//! The mark: a lower bound of what is durable, kept outside the log so that a log which lost its end does not look whole.
//!
//! Two slots in blocks of their own are written in turn, so that a torn write costs the newer bound, never both.

use uuid::Uuid;

use super::frame::{BLOCK, Chain, Seal, u64_at};
use super::names;
use super::segment::{Failure, NewFile, during, is_sealed, seal_block};
use crate::sync::Arc;
use crate::sys::{ReadFrom, Storage, StorageFile, is_unreadable};
use crate::types::{Epoch, Seq};

const MAGIC: [u8; 8] = *b"LEDGRMRK";
const FORMAT: u16 = 1;

/// All up to `seq` is durable, and the frame that ends there has this chain (0 before the first).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub(super) uuid: Uuid,
    pub(super) epoch: Epoch,
    pub(super) seq: Seq,
    pub(super) chain: Chain,
    /// How many marks were written before; the slot is its lowest bit.
    pub(super) count: u64,
}

/// Why there is no mark.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NoMark {
    Damaged,
    Newer(String),
}

impl Mark {
    /// The seed of all checksums of the ledger.
    pub(super) fn seal(&self) -> Seal {
        Seal::of(self.uuid)
    }

    pub(super) fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..8].copy_from_slice(&MAGIC);
        block[8..10].copy_from_slice(&FORMAT.to_le_bytes());
        block[16..32].copy_from_slice(self.uuid.as_bytes());
        block[32..40].copy_from_slice(&self.epoch.get().to_le_bytes());
        block[40..48].copy_from_slice(&self.seq.get().to_le_bytes());
        block[48..64].copy_from_slice(&self.chain.to_le_bytes());
        block[64..72].copy_from_slice(&self.count.to_le_bytes());
        seal_block(&mut block, Seal::of(self.uuid));
        block
    }

    fn decode(block: &[u8; BLOCK]) -> Result<Mark, NoMark> {
        let uuid = Uuid::from_bytes(block[16..32].try_into().expect("sixteen bytes"));
        if block[..8] != MAGIC || !is_sealed(block, Seal::of(uuid)) {
            return Err(NoMark::Damaged);
        }
        let format = u16::from_le_bytes([block[8], block[9]]);
        if format > FORMAT {
            return Err(NoMark::Newer(format!("a mark of format {format}")));
        }
        Ok(Mark {
            uuid,
            epoch: Epoch::new(u64_at(block, 32)),
            seq: Seq::new(u64_at(block, 40)),
            chain: u128::from_le_bytes(block[48..64].try_into().expect("sixteen bytes")),
            count: u64_at(block, 64),
        })
    }

    /// The newer of the two slots that can be read. One that the device cannot read is as one that is damaged.
    pub(super) fn read(file: &dyn StorageFile, from: ReadFrom) -> std::io::Result<Result<Mark, NoMark>> {
        match Mark::read_slots(file, from)? {
            (Err(NoMark::Damaged), Some(lost)) => Err(lost),
            (best, _) => Ok(best),
        }
    }

    /// As [`Mark::read`], and what the device said of a slot that it cannot read.
    pub(super) fn read_slots(
        file: &dyn StorageFile,
        from: ReadFrom,
    ) -> std::io::Result<(Result<Mark, NoMark>, Option<std::io::Error>)> {
        let mut best: Result<Mark, NoMark> = Err(NoMark::Damaged);
        let mut lost = None;
        for slot in 0..2 {
            let mut block = [0; BLOCK];
            let read = match file.read_from(from, &mut block, slot * BLOCK as u64) {
                Err(err) if is_unreadable(&err) => {
                    lost = Some(err);
                    0
                }
                read => read?,
            };
            let found = if read == BLOCK { Mark::decode(&block) } else { Err(NoMark::Damaged) };
            best = match (best, found) {
                (Ok(one), Ok(other)) => Ok(if one.count > other.count { one } else { other }),
                (Err(NoMark::Newer(what)), _) | (_, Err(NoMark::Newer(what))) => Err(NoMark::Newer(what)),
                (Err(NoMark::Damaged), found) => found,
                (best, Err(NoMark::Damaged)) => best,
            };
        }
        Ok((best, lost))
    }
}

/// Writes the mark.
pub(super) struct MarkFile {
    file: Arc<dyn StorageFile>,
    last: Mark,
}

impl MarkFile {
    /// Of a new ledger: both slots say that nothing is durable. The directory is the caller's to sync.
    pub(super) fn create(storage: &dyn Storage, uuid: Uuid) -> Result<MarkFile, Failure> {
        let last = Mark { uuid, epoch: Epoch::new(0), seq: Seq::ZERO, chain: 0, count: 1 };
        let new = NewFile::create(storage, names::MARK.to_owned())?;
        new.write_at(&Mark { count: 0, ..last }.encode(), 0)?;
        new.write_at(&last.encode(), BLOCK as u64)?;
        Ok(MarkFile { file: new.finish()?, last })
    }

    pub(super) fn resume(file: Arc<dyn StorageFile>, last: Mark) -> MarkFile {
        MarkFile { file, last }
    }

    pub(super) fn last(&self) -> Mark {
        self.last
    }

    /// Raises the mark. The slot that holds the present one is not touched.
    pub(super) fn advance(&mut self, epoch: Epoch, seq: Seq, chain: Chain) -> Result<(), Failure> {
        let mark = Mark { uuid: self.last.uuid, epoch, seq, chain, count: self.last.count + 1 };
        during(self.file.write_at(&mark.encode(), mark.count % 2 * BLOCK as u64), "writing", names::MARK)?;
        during(self.file.sync_data(), "syncing", names::MARK)?;
        self.last = mark;
        Ok(())
    }
}
