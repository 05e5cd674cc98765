//! Where a log ends: what is certain there, what is not, and what is no frame.

use crate::types::{Seq, Timestamp};
use crate::wal::frame::{Chain, Header};
use crate::wal::head::HeadHash;

/// Where the log ends, and what is known there.
#[derive(Clone, Debug)]
pub(in crate::wal) struct End {
    pub(in crate::wal) last_seq: Seq,
    /// The log's time there.
    pub(in crate::wal) last_time: Timestamp,
    /// When the last record was made, which may be earlier.
    pub(in crate::wal) record_time: Timestamp,
    /// All up to here is certainly durable.
    pub(in crate::wal) durable: Seq,
    pub(in crate::wal) head: HeadHash,
    /// The head at the seq that was asked about, if a commit ended there.
    pub(in crate::wal) head_then: Option<HeadHash>,
    /// The first seq whose record is in the log.
    pub(in crate::wal) first_seq: Seq,
    /// The place in the last segment up to which every frame is certainly durable, and the state there.
    pub(in crate::wal) settled: Settled,
    /// The frames after that place, in order: accepted, but perhaps only in a cache.
    pub(in crate::wal) unsettled: Vec<Unsettled>,
    pub(in crate::wal) clean: bool,
    pub(in crate::wal) torn: Option<Torn>,
    pub(in crate::wal) frames: u64,
    pub(in crate::wal) bytes: u64,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::wal) struct Settled {
    pub(in crate::wal) offset: u64,
    pub(in crate::wal) chain: Chain,
    pub(in crate::wal) next_seq: Seq,
    pub(in crate::wal) time: Timestamp,
    pub(in crate::wal) records_chain: Chain,
    /// `None` before the segment from whose seal on frames are hashed.
    pub(in crate::wal) head: Option<HeadHash>,
}

impl Settled {
    pub(super) fn before_all() -> Settled {
        Settled { offset: 0, chain: 0, next_seq: Seq::new(1), time: Timestamp::MIN, records_chain: 0, head: None }
    }
}

#[derive(Clone, Copy, Debug)]
pub(in crate::wal) struct Unsettled {
    pub(in crate::wal) offset: u64,
    pub(in crate::wal) header: Header,
    pub(super) after: Settled,
}

/// Bytes after the last good frame that are no frame: a write that a power cut interrupted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::wal) struct Torn {
    pub(in crate::wal) segment: u64,
    pub(in crate::wal) offset: u64,
    pub(in crate::wal) end: u64,
}
