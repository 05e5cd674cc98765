//! Carrying a shard's records over into a file and back. Records lie in the file as they lie in memory, so that millions of
//! them are loaded by copying; the lists, which a later record of an account changes, are made again from them.

use super::{Anchor, History, HistoryList, RecordArena, RecordRef, UNIT, layout};
use crate::types::{Seq, Timestamp};

const CHUNK_BYTES: u64 = RecordArena::CHUNK_ITEMS as u64;

/// How far a shard's history had come: what was before will never change, but for the status of what was pending.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct HistoryEnd {
    pub(crate) address: u64,
    pub(crate) anchors: usize,
}

/// A record that was read back, and is not yet in its account's list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restored {
    pub(crate) reference: RecordRef,
    pub(crate) account: u32,
    pub(crate) seq: Seq,
    pub(crate) at: Timestamp,
    /// A credit that is, or was, held: how much, until when.
    pub(crate) hold: Option<(u64, Timestamp)>,
    /// Whether it was pending once.
    pub(crate) can_change: bool,
    next: u64,
}

impl Restored {
    /// Where the next record begins, if it is in the same piece.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }
}

impl History {
    /// Where the next record will begin.
    pub(crate) fn end(&self) -> HistoryEnd {
        HistoryEnd { address: self.records.next_address(0), anchors: self.anchors.len() }
    }

    /// The records from `address` to the end of their chunk or to `end`, and where the next chunk begins.
    pub(crate) fn piece(&self, address: u64, end: u64) -> (&[u8], u64) {
        let next = (address / CHUNK_BYTES + 1) * CHUNK_BYTES;
        let rest = self.records.rest(address);
        let wanted = end.min(next) - address;
        (&rest[..rest.len().min(wanted as usize)], next.min(end))
    }

    /// The seq and the time, in microseconds, that the differences of records from the nth KiB on refer to.
    pub(crate) fn anchor(&self, index: usize) -> (u64, i64) {
        (self.anchors[index].seq, self.anchors[index].micros)
    }

    /// Adds records that lay at `address` in the history that they are restored from; `false`: they do not follow.
    pub(crate) fn restore_piece(&mut self, address: u64, bytes: &[u8]) -> bool {
        address.is_multiple_of(UNIT as u64) && address < super::BYTES_END && self.records.restore(address, bytes)
    }

    /// The restored record at `address`; `None` where there is none. `anchors` are those of all KiB, from the first on.
    pub(crate) fn restored(&mut self, address: u64, anchors: &[(u64, i64)]) -> Option<Restored> {
        let reference = RecordRef::at(address);
        let &(seq, micros) = anchors.get(reference.anchor())?;
        while self.anchors.len() <= reference.anchor() {
            self.anchors.push_among_many(Anchor { seq, micros, first: reference });
        }
        let outline = layout::check(self.records.rest(address), self.anchors[reference.anchor()])?;
        let release = outline.release.and_then(Timestamp::from_micros);
        Some(Restored {
            reference,
            account: outline.account,
            seq: Seq::new(outline.seq),
            at: Timestamp::from_micros(outline.micros)?,
            hold: release.filter(|_| outline.is_credit).map(|release| (outline.amount, release)),
            can_change: outline.can_change,
            next: address + u64::from(outline.units) * UNIT as u64,
        })
    }

    /// Whether the record was pending once.
    pub(crate) fn can_change(&self, reference: RecordRef) -> bool {
        layout::can_change(self.records.rest(reference.address()))
    }

    /// Adds a restored record as the newest of `list`.
    pub(crate) fn restore_to_list(&mut self, list: &mut HistoryList, record: &Restored) {
        self.push_to_list(list, record.reference, record.seq, record.at);
    }
}

/// Makes whole records, as they lie in a history, independent of what happened to them later, and of the hash's seed too
/// where the bytes are to be compared between processes; gives how many there are.
///
/// # Panics
/// Where the bytes are no whole records.
pub(crate) fn settle_bytes(mut bytes: &mut [u8], without_key_hash: bool) -> u64 {
    let mut records = 0;
    while !bytes.is_empty() {
        let units = layout::units_checked(bytes).expect("whole records were copied");
        layout::forget_status(bytes);
        if without_key_hash {
            layout::forget_key_hash(bytes);
        }
        bytes = &mut bytes[units as usize * UNIT..];
        records += 1;
    }
    records
}
