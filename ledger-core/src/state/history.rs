//! What happened to the accounts of one shard: a compact record of each transaction, and for each account the list of
//! its records.
//!
//! Both grow for ever, so both are append-only and compact, and nothing that was written is moved or copied again:
//!
//! - **Records** lie one after the other in an arena. A record's numbers are as wide as they need to be; its seq and
//!   time are differences to an *anchor*, the first record that begins in the same KiB. The anchors are also the sparse
//!   index by which a record is found by its seq. A transfer has a record for each of its parties, as that party sees
//!   it, in the party's shard.
//! - **Lists** are references in the order of the records, in *stretches* of 64. A stretch is a chain of runs that
//!   double in size, so that a short list is small. From the second stretch on, each has a header with the time and the
//!   seq at which it begins and the sums of everything before it: a position by time or seq and a balance at a past
//!   moment cost a bisection of the headers and a look into one stretch.
//!
//! What must hold: records are pushed in the order of their seqs, and their times do not fall; a list is used only with
//! the history that it was made by; only the status and the last seq of a record change, and only where it was pending.
//!
//! Cost, measured at a million transactions a second over 64 shards: 20.8 bytes for a charge of 10,000.00 without
//! metadata, 28.9 with a hold of a week, 24.9 for a transfer's side; and in the list 4.3 to 8.5 bytes, from 128 records
//! on 5.3 to 6.9, and up to 9.1 where the second stretch has just begun.

mod layout;
mod restore;
#[cfg(test)]
mod tests;

pub(crate) use layout::PlainRecord;
pub(crate) use restore::{HistoryEnd, Restored, settle_bytes};

use crate::types::{Amount, Destination, Metadata, Seq, Timestamp, TransactionId, UserId};
use crate::view::{Direction, Status, TransactionKind};

use super::arena::{Chunked, RecordArena, RunArena};
use crate::ahead::Block;

/// A transaction as its owner sees it, on its way into the history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NewRecord<'a> {
    /// The seq of its first entry.
    pub(crate) id: TransactionId,
    /// The time of that entry.
    pub(crate) at: Timestamp,
    /// What it is.
    pub(crate) kind: TransactionKind,
    /// Where it is in its life. Only a pending one can change.
    pub(crate) status: Status,
    /// Which way the money went for the owner.
    pub(crate) direction: Direction,
    /// How much.
    pub(crate) amount: Amount,
    /// The owner's account in the shard.
    pub(crate) account: u32,
    /// The other user of a transfer.
    pub(crate) counterparty: Option<UserId>,
    /// Until when the credit is held; `None` where it is not.
    pub(crate) release_at: Option<Timestamp>,
    /// The hash of its key, by which the key is found.
    pub(crate) key_hash: u64,
    /// The bytes that came with the command.
    pub(crate) metadata: Option<Metadata<'a>>,
    /// Where a withdrawal is paid to.
    pub(crate) destination: Option<Destination<'a>>,
    /// Its index in an atomic batch, and how many operations that had.
    pub(crate) batch: Option<(u32, u32)>,
    /// The last entry that changed it: that of its id, except where an old state is restored.
    pub(crate) last_seq: Seq,
}

/// A record as it stands now. It has the same parts as when it was new; `status` and `last_seq` may have changed.
pub(crate) type RecordView<'a> = NewRecord<'a>;

/// Where a record lies in its shard: for ever the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct RecordRef(u32);

/// The records of one account, oldest first. A handle: what it stands for is in the history that made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct HistoryList {
    len: u32,
    /// With one record, its reference; with more, the address of the newest run.
    tail: u32,
    /// With more than a stretch, the index of its headers.
    long: u32,
}

impl HistoryList {
    /// How many records there are.
    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }
}

/// Sums over the first records of a list, in minor units, wrapping: over the whole life of an account they may pass any
/// limit, but the differences that make a balance are small, and come out exact.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sums {
    /// All credits.
    pub(crate) credited: u64,
    /// Debits that completed at once: transfers to others.
    pub(crate) debited: u64,
    /// Withdrawals, whatever became of them.
    pub(crate) withdrawn: u64,
    /// Of the credits, those with a hold, matured or not.
    pub(crate) held: u64,
}

impl Sums {
    /// With one more record.
    #[must_use]
    fn plus(mut self, record: &RecordView<'_>) -> Sums {
        let amount = record.amount.minor();
        match (record.direction, record.kind) {
            (Direction::Credit, _) => {
                self.credited = self.credited.wrapping_add(amount);
                if record.release_at.is_some() {
                    self.held = self.held.wrapping_add(amount);
                }
            }
            (Direction::Debit, TransactionKind::Withdrawal) => self.withdrawn = self.withdrawn.wrapping_add(amount),
            (Direction::Debit, _) => self.debited = self.debited.wrapping_add(amount),
        }
        self
    }
}

/// A reference counts bytes in units of this, so that 32 bits reach 16 GiB.
const UNIT: usize = 4;
/// The first address that no reference reaches.
const BYTES_END: u64 = (1 << 32) * UNIT as u64;
/// Units for which there is one anchor: 1 KiB.
const ANCHOR_UNITS_LOG2: u32 = 8;
/// Records in a stretch of a list: what a look-up reads at most, once the headers have led it there.
const STRETCH: usize = 64;
/// The first run of a list's first stretch has two references, that of a later stretch sixteen.
const FIRST_RUN_LOG2: u32 = 1;
const LATER_RUN_LOG2: u32 = 4;

/// The records of one shard, and the lists of its accounts.
#[derive(Debug)]
pub(crate) struct History {
    records: RecordArena,
    /// One for each KiB of `records`.
    anchors: Chunked<Anchor, 4, 10>,
    /// The runs of all lists. All but the first of a stretch begin with the address of the run before.
    runs: RunArena,
    /// The lists with more than one stretch.
    long: Chunked<Headers, 4, 10>,
    /// What all headers have on the heap: counted as it grows, since there may be as many as accounts.
    header_bytes: usize,
}

/// The headers of a list, from its second stretch on.
type Headers = Chunked<Header, 1, 9>;

/// The first record that begins in a KiB, or after it where none begins there.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    seq: u64,
    micros: i64,
    first: RecordRef,
}

impl Block for Anchor {
    fn blank() -> Anchor {
        Anchor { seq: 0, micros: 0, first: RecordRef(0) }
    }
}

/// Where a stretch begins.
#[derive(Clone, Copy, Debug)]
struct Header {
    seq: Seq,
    at: Timestamp,
    /// Over all records before.
    before: Sums,
    /// The newest run of the stretch *before* this one, which is full.
    run_before: u32,
}

/// How far into a list a search looks.
enum Until {
    Seq(Seq),
    Time(Timestamp),
}

impl History {
    /// Without a record or an allocation.
    pub(crate) const fn new() -> History {
        History {
            records: RecordArena::new(),
            anchors: Chunked::new(),
            runs: RunArena::new(),
            long: Chunked::new(),
            header_bytes: 0,
        }
    }

    /// Adds a record as the newest of `list`. Its seq and time are not before those of any other record of the shard.
    ///
    /// # Panics
    ///
    /// When the shard's records have filled 16 GiB: see [`History::has_room_for`].
    pub(crate) fn push(&mut self, list: &mut HistoryList, record: &NewRecord<'_>) -> RecordRef {
        let reference = self.push_record(record);
        self.push_to_list(list, reference, record.id.seq(), record.at);
        reference
    }

    /// As [`History::push`], of a plain record.
    #[inline(always)]
    pub(crate) fn push_plain(&mut self, list: &mut HistoryList, record: &PlainRecord) {
        let reference = self.push_plain_record(record).unwrap_or_else(|| self.push_record(&record.record()));
        self.push_to_list(list, reference, record.id.seq(), record.at);
    }

    /// Reads where the next reference of a list will go, for its cache line.
    pub(crate) fn touch(&self, list: &HistoryList) -> u32 {
        if list.len < 2 { 0 } else { self.runs.rest(list.tail.into()).first().copied().unwrap_or_default() }
    }

    /// A record as it stands now.
    pub(crate) fn get(&self, reference: RecordRef) -> RecordView<'_> {
        let bytes = self.records.rest(reference.address());
        layout::decode(bytes, self.anchors[reference.anchor()])
    }

    /// Changes where a transaction is in its life.
    ///
    /// # Panics
    ///
    /// Where the record was not pending when it was pushed: it has no room for another seq.
    pub(crate) fn set_status(&mut self, reference: RecordRef, status: Status, last_seq: Seq) {
        layout::set_status(self.records.rest_mut(reference.address()), status, last_seq);
    }

    /// The record of the transaction `id`: that of `account`, or the first where none is named, since a transfer
    /// between two accounts of the shard has two. `None` where there is none in this shard.
    pub(crate) fn find(&self, id: TransactionId, account: Option<u32>) -> Option<RecordRef> {
        // The last anchor before `id`: the first of two records with one seq may lie in the KiB before its second.
        let after = self.anchors.partition_point(|anchor| anchor.seq < id.get());
        let mut reference = (self.anchors.len() > 0).then(|| self.anchors[after.saturating_sub(1)].first)?;
        loop {
            let bytes = self.records.rest(reference.address());
            if bytes.is_empty() {
                reference = RecordRef::at(self.records.next_chunk(reference.address())?);
                continue;
            }
            let (seq, owner, units) = layout::scan(bytes, self.anchors[reference.anchor()].seq);
            if seq > id.get() {
                return None;
            }
            if seq == id.get() && account.is_none_or(|account| account == owner) {
                return Some(reference);
            }
            reference.0 += units;
        }
    }

    /// The record at `index` of a list, from 0, the oldest.
    ///
    /// # Panics
    ///
    /// Where the list is not as long.
    pub(crate) fn nth(&self, list: &HistoryList, index: usize) -> RecordRef {
        assert!(index < list.len(), "a list of {} records has none at {index}", list.len);
        if list.len == 1 {
            return RecordRef(list.tail);
        }
        let (stretch, place) = (index / STRETCH, index % STRETCH);
        let last = (list.len() - 1) / STRETCH;
        let (mut run, newest) = if stretch == last {
            (list.tail, (list.len() - 1) % STRETCH)
        } else {
            (self.long[list.long as usize][stretch].run_before, STRETCH - 1)
        };
        let first_log2 = if stretch == 0 { FIRST_RUN_LOG2 } else { LATER_RUN_LOG2 };
        let (mut start, mut links) = run_of(newest, first_log2);
        while place < start {
            run = self.runs.rest(run.into())[0];
            (start, links) = run_of(start - 1, first_log2);
        }
        RecordRef(self.runs.rest(run.into())[place - start + links])
    }

    /// How many records of a list are before `seq`: the index of the first that is not.
    pub(crate) fn position_at_or_after(&self, list: &HistoryList, seq: Seq) -> usize {
        self.position(list, &Until::Seq(seq))
    }

    /// How many records of a list have the time `at` or an earlier one.
    pub(crate) fn position_by_time(&self, list: &HistoryList, at: Timestamp) -> usize {
        self.position(list, &Until::Time(at))
    }

    /// Sums over the records of a list that have the time `at` or an earlier one.
    pub(crate) fn sums_through(&self, list: &HistoryList, at: Timestamp) -> Sums {
        self.sums_of_first(list, self.position_by_time(list, at))
    }

    /// Sums over the first `count` records of a list.
    pub(crate) fn sums_of_first(&self, list: &HistoryList, count: usize) -> Sums {
        let mut start = 0;
        let mut sums = Sums::default();
        if list.len() > STRETCH {
            let headers = &self.long[list.long as usize];
            let stretch = (count / STRETCH).min(headers.len());
            if stretch > 0 {
                (start, sums) = (stretch * STRETCH, headers[stretch - 1].before);
            }
        }
        (start..count).fold(sums, |sums, index| sums.plus(&self.get(self.nth(list, index))))
    }

    /// Bytes on the heap, the allocator's own overhead apart.
    pub(crate) fn bytes(&self) -> usize {
        self.records.bytes() + self.anchors.bytes() + self.runs.bytes() + self.long.bytes() + self.header_bytes
    }

    /// Of those bytes, what no record and no list has used yet.
    pub(crate) fn unfilled_bytes(&self) -> usize {
        self.records.unfilled_bytes()
            + self.anchors.unfilled_bytes()
            + self.runs.unfilled_bytes()
            + self.long.unfilled_bytes()
    }

    /// Whether so many records more fit, however long they are.
    pub(crate) fn has_room_for(&self, records: usize) -> bool {
        // Each may leave as much of a chunk unused as it takes itself.
        let bytes = records as u64 * 2 * layout::BYTES_MAX as u64;
        self.records.next_address(0) + bytes <= BYTES_END
    }

    fn push_record(&mut self, record: &NewRecord<'_>) -> RecordRef {
        if let Some(reference) = PlainRecord::of(record).and_then(|plain| self.push_plain_record(&plain)) {
            return reference;
        }
        let (seq, micros) = (record.id.get(), record.at.micros());
        // Where it will begin depends on how long it is, and how long on the anchor of where it begins. So it is laid
        // out for the next place; if that has no room, for the beginning of a new chunk, which always has.
        let mut address = self.records.next_address(0);
        let mut encoded = layout::encode(record, self.anchor_at(RecordRef::at(address), seq, micros));
        if self.records.next_address(encoded.len()) != address {
            self.records.begin_chunk();
            address = self.records.next_address(0);
            encoded = layout::encode(record, self.anchor_at(RecordRef::at(address), seq, micros));
        }
        let reference = RecordRef::at(address);
        self.note_anchor(reference, seq, micros);
        encoded.push_to(&mut self.records);
        reference
    }

    /// Adds a plain record, unless it needs a new anchor or a new chunk.
    #[inline(always)]
    fn push_plain_record(&mut self, record: &PlainRecord) -> Option<RecordRef> {
        let reference = RecordRef::at(self.records.next_address(0));
        let anchor = *self.anchors.last().filter(|_| reference.anchor() + 1 == self.anchors.len())?;
        let plain = layout::encode_plain(record, anchor);
        plain.push_to(&mut self.records).then_some(reference)
    }

    /// Makes the anchors up to the record at `reference`, where there are none.
    #[inline]
    fn note_anchor(&mut self, reference: RecordRef, seq: u64, micros: i64) {
        while self.anchors.len() <= reference.anchor() {
            self.anchors.push_among_many(Anchor { seq, micros, first: reference });
        }
    }

    /// The anchor of a record that begins at `reference`: one that is there, or the record itself.
    fn anchor_at(&self, reference: RecordRef, seq: u64, micros: i64) -> Anchor {
        if reference.anchor() < self.anchors.len() {
            let anchor = self.anchors[reference.anchor()];
            debug_assert!(anchor.seq <= seq && anchor.micros <= micros, "records come in the order of seq and time");
            return anchor;
        }
        Anchor { seq, micros, first: reference }
    }

    fn push_to_list(&mut self, list: &mut HistoryList, reference: RecordRef, seq: Seq, at: Timestamp) {
        let (stretch, place) = (list.len() / STRETCH, list.len() % STRETCH);
        let first_log2 = if stretch == 0 { FIRST_RUN_LOG2 } else { LATER_RUN_LOG2 };
        let (start, links) = run_of(place, first_log2);
        if list.len == 0 {
            list.tail = reference.0;
            list.len = 1;
            return;
        }
        if list.len == 1 {
            let oldest = std::mem::replace(&mut list.tail, self.new_run(1 << FIRST_RUN_LOG2));
            self.runs.rest_mut(list.tail.into())[0] = oldest;
        } else if place == 0 {
            self.push_header(list, seq, at);
            list.tail = self.new_run(1 << LATER_RUN_LOG2);
        } else if place == start {
            let run = self.new_run(links + start);
            self.runs.rest_mut(run.into())[0] = std::mem::replace(&mut list.tail, run);
        }
        self.runs.rest_mut(list.tail.into())[place - start + links] = reference.0;
        list.len = list.len.checked_add(1).expect("a list has fewer records than there are references");
    }

    /// Begins a stretch with the record of this seq and time, after a full one.
    fn push_header(&mut self, list: &mut HistoryList, seq: Seq, at: Timestamp) {
        if list.len() == STRETCH {
            list.long = u32::try_from(self.long.push(Chunked::new())).expect("fewer long lists than references");
        }
        // The 64 records before are read again, rather than keep a running sum that every push would have to touch.
        let before = self.sums_of_stretch(list);
        let header = Header { seq, at, before, run_before: list.tail };
        let headers = &mut self.long[list.long as usize];
        let before = headers.bytes();
        headers.push(header);
        self.header_bytes += headers.bytes() - before;
    }

    /// Sums over a whole list whose last stretch is full and has no header after it yet.
    fn sums_of_stretch(&self, list: &HistoryList) -> Sums {
        let start = list.len() - STRETCH;
        let headers = &self.long[list.long as usize];
        let before = if start == 0 { Sums::default() } else { headers[headers.len() - 1].before };
        (start..list.len()).fold(before, |sums, index| sums.plus(&self.get(self.nth(list, index))))
    }

    fn new_run(&mut self, words: usize) -> u32 {
        u32::try_from(self.runs.push_empty(words)).expect("the lists of one shard have filled 16 GiB")
    }

    fn position(&self, list: &HistoryList, until: &Until) -> usize {
        let counts = |seq: Seq, at: Timestamp| match until {
            Until::Seq(end) => seq < *end,
            Until::Time(end) => at <= *end,
        };
        let (mut low, mut high) = (0, list.len());
        if list.len() > STRETCH {
            let headers = &self.long[list.long as usize];
            let stretch = headers.partition_point(|header| counts(header.seq, header.at));
            low = stretch * STRETCH;
            high = high.min(low + STRETCH);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            let record = self.get(self.nth(list, middle));
            if counts(record.id.seq(), record.at) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// The run of a stretch that has the reference at `place`: the place of its first one, and how many words stand before
/// that. Runs double, the first two being of one size, so that with each run the stretch is twice as long.
const fn run_of(place: usize, first_log2: u32) -> (usize, usize) {
    if place >> first_log2 == 0 { (0, 0) } else { (1 << place.ilog2(), 1) }
}

impl RecordRef {
    /// The reference to an address, which is a multiple of the unit.
    fn at(address: u64) -> RecordRef {
        debug_assert!(address.is_multiple_of(UNIT as u64));
        RecordRef(u32::try_from(address / UNIT as u64).expect("the records of one shard have filled 16 GiB"))
    }

    const fn address(self) -> u64 {
        self.0 as u64 * UNIT as u64
    }

    /// As a number, for a file.
    pub(crate) const fn get(self) -> u32 {
        self.0
    }

    /// From a number that [`RecordRef::get`] gave.
    pub(crate) const fn from_raw(reference: u32) -> RecordRef {
        RecordRef(reference)
    }

    const fn anchor(self) -> usize {
        (self.0 >> ANCHOR_UNITS_LOG2) as usize
    }
}
