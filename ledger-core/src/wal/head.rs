//! The head: one hash that stands for the whole history up to a seq.
//!
//! A frame's chain (XXH3) finds damage; whoever can write the files can also write chains that fit. The head is BLAKE3
//! over every frame of records and the head before it, and whoever wrote one down earlier can tell whether the log still
//! leads to it. What must hold: it is a function of the records and of how they were committed together, and of nothing
//! else, so that it survives what an opening does to a log (frames that are copied get new places and chains).
//!
//! Each segment's link seals the head before it. So an opening hashes the last segment alone, the heads go on when
//! earlier segments are retired, and a check of the whole log compares every seal with what it computed.

use std::fmt;

use uuid::Uuid;

use super::frame::Header;
use crate::types::{Head, Seq};

/// A head without its seq.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct HeadHash([u8; HeadHash::BYTES]);

impl HeadHash {
    pub(super) const BYTES: usize = 32;

    /// Before the first record of a ledger. Another ledger with equal records has other heads.
    pub(super) fn before_all(uuid: Uuid) -> HeadHash {
        HeadHash(blake3::derive_key("ledger head v1", uuid.as_bytes()))
    }

    pub(super) fn from_bytes(bytes: [u8; HeadHash::BYTES]) -> HeadHash {
        HeadHash(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; HeadHash::BYTES] {
        &self.0
    }

    pub(super) fn at(self, seq: Seq) -> Head {
        Head { seq, hash: self.0 }
    }

    /// After one more frame of records. Where the frame lies, what was durable then and its checksums are left out.
    pub(super) fn after(self, header: &Header, payload: &[u8]) -> HeadHash {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(&self.0)
            .update(&header.epoch.get().to_le_bytes())
            .update(&header.first_seq.get().to_le_bytes())
            .update(&header.count.to_le_bytes())
            .update(&header.base_time.micros().to_le_bytes())
            .update(&(payload.len() as u32).to_le_bytes())
            .update(payload);
        HeadHash(hasher.finalize().into())
    }
}

impl fmt::Debug for HeadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
