//! Copies the state as it was at a cut, a little at a time: the most that is copied while a lock is held is a chunk of
//! records or keys (64 KiB), 512 accounts, or 32 withdrawals, fewer where they have much evidence (64 KiB and one more).

use std::io;

use super::hold::{self, LongestHold};
use crate::journal::snapshot::{Kind, PAYLOAD_BYTES_MAX, Sink, rows};
use crate::ledger::{Keys, Tables};
use crate::state::arena::RecordArena;
use crate::state::cut::ShardCut;
use crate::state::history::{HistoryEnd, settle_bytes};
use crate::state::idempotency::KeyRecord;
use crate::types::{Seq, TransactionId};

/// Withdrawals that are copied with their shard locked once, as long as they make no more than a block's bytes: each may have tens
/// of kilobytes of evidence, and a block has a limit.
const WITHDRAWALS_AT_ONCE: usize = 32;
/// Anchors likewise.
const ANCHORS_AT_ONCE: usize = 4_096;
/// Sums that come into one block: a shard may have those of tens of thousands of currencies, and a block has a limit.
const SUMS_AT_ONCE: usize = 512;
/// Payload of a block of keys or withdrawals, about, and of the locator.
const BLOCK_BYTES: usize = 64 << 10;

/// The most that is copied under one lock, but for withdrawals with much evidence: an address, and a chunk that begins there.
const PIECE_BYTES_MAX: usize = size_of::<u64>() + RecordArena::CHUNK_ITEMS;
/// The most keys that a chunk has.
const PLACES_MAX: usize = RecordArena::CHUNK_ITEMS / KeyRecord::BYTES_MIN;

/// Up to where the tables were copied, by the checkpoints before.
#[derive(Clone, Debug)]
pub(crate) struct Positions {
    /// The last entry that is copied.
    pub(crate) seq: Seq,
    /// For each shard.
    pub(crate) history: Vec<HistoryEnd>,
    /// For each shard of the keys, an address behind which all later keys lie.
    pub(crate) keys: Vec<u64>,
}

impl Positions {
    /// Nothing is copied.
    pub(crate) fn start(shards: usize) -> Positions {
        Positions { seq: Seq::ZERO, history: vec![HistoryEnd::default(); shards], keys: vec![0; Keys::LOCKS] }
    }

    /// All that the tables have up to `seq`, their last entry, is copied.
    pub(crate) fn end(tables: &Tables, seq: Seq) -> Positions {
        let history = tables.shards.iter().map(|shard| shard.read().history.end()).collect();
        let keys = (0..Keys::LOCKS).map(|index| tables.keys.with(index, false, |shard| shard.end())).collect();
        Positions { seq, history, keys }
    }
}

/// How much was copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) accounts: u64,
    pub(crate) records: u64,
    pub(crate) keys: u64,
}

/// Copies what a cut holds.
pub(crate) struct Copier<'a> {
    tables: &'a Tables,
    /// The last entry that is to be copied.
    seq: Seq,
    shards: &'a [ShardCut],
    since: &'a Positions,
    /// Says that all is in vain.
    is_stopped: &'a dyn Fn() -> bool,
    pub(crate) counts: Counts,
    holds: &'a LongestHold,
    /// What is copied while a lock is held.
    piece: Vec<u8>,
    /// Of a piece of keys: the entries, and where in it their keys begin.
    places: Vec<(Seq, usize)>,
}

impl<'a> Copier<'a> {
    pub(crate) fn new(
        tables: &'a Tables,
        seq: Seq,
        shards: &'a [ShardCut],
        since: &'a Positions,
        is_stopped: &'a dyn Fn() -> bool,
        holds: &'a LongestHold,
    ) -> Copier<'a> {
        let piece = hold::buffer(0xff, PIECE_BYTES_MAX);
        let places = hold::buffer((Seq::new(u64::MAX), usize::MAX), PLACES_MAX);
        Copier { tables, seq, shards, since, is_stopped, counts: Counts::default(), holds, piece, places }
    }

    fn check_stopped(&self) -> io::Result<()> {
        if (self.is_stopped)() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    /// The accounts and sums of all shards.
    pub(crate) fn copy_accounts(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        for (index, cut) in self.shards.iter().enumerate() {
            for sums in cut.sums.chunks(SUMS_AT_ONCE) {
                let mut bytes = Vec::new();
                sums.iter().for_each(|sums| rows::put_sums(sums, &mut bytes));
                sink.block(Kind::Sums, index as u16, &bytes)?;
            }
            loop {
                self.check_stopped()?;
                self.piece.clear();
                let count = &mut self.counts.accounts;
                self.holds.copy(self.tables.shards[index].write(), &mut self.piece, |shard, piece| {
                    shard.copy_accounts(|account| {
                        rows::put_account(account, piece);
                        *count += 1;
                    });
                });
                if self.piece.is_empty() {
                    break;
                }
                sink.block(Kind::Accounts, index as u16, &self.piece)?;
            }
        }
        Ok(())
    }

    /// The records of all shards that are not copied yet; `without_key_hash` makes them the same for any seed.
    pub(crate) fn copy_records(&mut self, sink: &mut dyn Sink, without_key_hash: bool) -> io::Result<()> {
        for (index, cut) in self.shards.iter().enumerate() {
            let from = self.since.history[index];
            let mut anchor = from.anchors;
            while anchor < cut.history.anchors {
                self.piece.clear();
                let until = cut.history.anchors.min(anchor + ANCHORS_AT_ONCE);
                self.holds.copy(self.tables.shards[index].write(), &mut self.piece, |shard, piece| {
                    (anchor..until).for_each(|anchor| rows::put_anchor(shard.history.anchor(anchor), piece));
                });
                sink.block(Kind::Anchors, index as u16, &self.piece)?;
                anchor = until;
            }
            let mut address = from.address;
            while address < cut.history.address {
                self.check_stopped()?;
                self.piece.clear();
                self.piece.extend_from_slice(&address.to_le_bytes());
                address = self.holds.copy(self.tables.shards[index].write(), &mut self.piece, |shard, piece| {
                    let (records, next) = shard.history.piece(address, cut.history.address);
                    piece.extend_from_slice(records);
                    next
                });
                self.counts.records += settle_bytes(&mut self.piece[8..], without_key_hash);
                if self.piece.len() > 8 {
                    sink.block(Kind::Records, index as u16, &self.piece)?;
                }
            }
        }
        Ok(())
    }

    /// The withdrawals that changed, for each shard in the order of their ids, each once.
    pub(crate) fn copy_withdrawals(&mut self, sink: &mut dyn Sink, ids: &[Vec<TransactionId>]) -> io::Result<()> {
        if ids.iter().any(|ids| !ids.is_empty()) {
            // One may have far more evidence than the others, and together they are one payload.
            self.piece = hold::buffer(0xff, PAYLOAD_BYTES_MAX);
        }
        for (index, ids) in ids.iter().enumerate() {
            let mut left = &ids[..];
            while !left.is_empty() {
                self.check_stopped()?;
                self.piece.clear();
                let copied = self.holds.copy(self.tables.shards[index].write(), &mut self.piece, |shard, piece| {
                    let mut copied = 0;
                    while copied < left.len().min(WITHDRAWALS_AT_ONCE) && piece.len() < BLOCK_BYTES {
                        shard.copy_withdrawal(left[copied], |held| rows::put_withdrawal(held, piece));
                        copied += 1;
                    }
                    copied
                });
                sink.block(Kind::Withdrawals, index as u16, &self.piece)?;
                left = &left[copied..];
            }
        }
        Ok(())
    }

    /// The keys that are not copied yet, and from where on those of the next checkpoint lie.
    pub(crate) fn copy_keys(&mut self, sink: &mut dyn Sink) -> io::Result<Vec<u64>> {
        let mut next = Vec::with_capacity(Keys::LOCKS);
        let mut bytes = Vec::new();
        for index in 0..Keys::LOCKS {
            self.check_stopped()?;
            let (raw, mut keys, later) = self.collect_keys(index);
            next.push(later);
            keys.sort_unstable();
            self.counts.keys += keys.len() as u64;
            for &(_, at) in &keys {
                let record = KeyRecord::first(&raw[at..]).expect("it was found there").bytes;
                if bytes.len() + record.len() > BLOCK_BYTES {
                    sink.block(Kind::Keys, index as u16, &bytes)?;
                    bytes.clear();
                }
                bytes.extend_from_slice(record);
            }
            if !bytes.is_empty() {
                sink.block(Kind::Keys, index as u16, &bytes)?;
                bytes.clear();
            }
        }
        Ok(next)
    }

    /// The keys of one shard that were settled since: their bytes, and for each entry where its key is among them;
    /// and the address of the first one that is too late for this cut.
    fn collect_keys(&mut self, index: usize) -> (Vec<u8>, Vec<(Seq, usize)>, u64) {
        let keys = &self.tables.keys;
        // Keys are settled after their transactions are applied: those of the cut's last ones may be under way.
        keys.await_claims(index);
        let (mut raw, mut found) = (Vec::new(), Vec::new());
        let (mut address, mut later) = (self.since.keys[index], None);
        loop {
            let Copier { piece, places, .. } = self;
            piece.clear();
            places.clear();
            let mut held = self.holds.begin(piece);
            let copied = keys.with(index, false, |shard| {
                held = self.holds.begin(piece);
                let (records, next) = shard.piece(address)?;
                piece.extend_from_slice(records);
                let mut at = 0;
                while let Some(record) = KeyRecord::first(&piece[at..]) {
                    let place = address + at as u64;
                    let seq = shard.settled_by(place, record.id);
                    if seq > self.seq {
                        later = later.or(Some(place));
                    } else if seq > self.since.seq {
                        places.push((seq, at));
                    }
                    at += record.bytes.len();
                }
                // What is settled in the last chunk from now on is too late for this cut, and lies behind what is there.
                let is_last = next > shard.end();
                Some(if is_last { (address + at as u64, true) } else { (next, false) })
            });
            self.holds.end(held, piece);
            debug_assert_eq!(places.capacity(), PLACES_MAX, "it grew while a lock was held");
            let Some((next, is_last)) = copied else { break };
            found.extend(places.iter().map(|(seq, at)| (*seq, raw.len() + at)));
            raw.extend_from_slice(piece);
            address = next;
            if is_last {
                break;
            }
        }
        (raw, found, later.unwrap_or(address))
    }

    /// The locator's bytes.
    pub(crate) fn copy_locator(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        let mut next = self.since.seq.next().get();
        while next <= self.seq.get() {
            self.check_stopped()?;
            let until = self.seq.get().min(next + BLOCK_BYTES as u64 - 1);
            let shard = |seq| self.tables.locator.get(Seq::new(seq)).map_or(0, |shard| shard + 1);
            let bytes: Vec<u8> = (next..=until).map(shard).collect();
            sink.block(Kind::Locator, 0, &bytes)?;
            next = until + 1;
        }
        Ok(())
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests;
