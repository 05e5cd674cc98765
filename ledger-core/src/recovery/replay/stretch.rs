//! Records that were read one after the other, decoded and dealt out to the shards and the locks of keys that they concern.

use uuid::Uuid;

use super::Refused;
use crate::journal::codec::{self, PlainEntry};
use crate::ledger::{Keys, LockedShard, Logged, Origin, Tables, check_alone, new_key};
use crate::state::idempotency::KeyRecord;
use crate::state::locator::Locator;
use crate::state::replayed::PlainSide;
use crate::state::shard::TOUCHED_TOGETHER;
use crate::types::{Currency, Epoch, Seq, Timestamp, TransactionId, UserId};
use crate::view::Direction;
use crate::wal::{FramePlace, Record, Stamp};

/// How many locks of keys are one piece of work.
const LOCKS_TOGETHER: usize = 16;

/// Records one after the other. Each is named by its number, from 0.
pub(super) struct Stretch {
    /// The seq of the record 0; of the others it follows.
    first: Seq,
    len: u32,
    frames: Vec<Frame>,
    /// For each shard, what concerns it.
    sides: Box<[Vec<Side>]>,
    /// For each lock, the keys that are settled.
    keys: Box<[Keyed]>,
    /// For each record the shard that keeps its transaction, plus one; zero: it makes none.
    homes: Vec<u8>,
    general: General,
    /// What they take, about.
    bytes: usize,
    /// The record after the last.
    refused: Option<Refused>,
}

/// Where a frame's records begin.
struct Frame {
    number: u32,
    epoch: Epoch,
    place: FramePlace,
}

/// What concerns one shard of a record.
enum Side {
    Plain(PlainSide),
    /// One of [`General::records`], and an account that it names.
    General(u32, UserId, Currency),
}

/// Keys of one lock.
#[derive(Default)]
struct Keyed {
    /// Their hashes, and the number of the record that settles each.
    hashes: Vec<(u64, u32)>,
    /// Their records, one after the other.
    records: Vec<u8>,
}

/// The records that are not plain. They are decoded again where they are applied.
#[derive(Default)]
struct General {
    records: Vec<GeneralRecord>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
struct GeneralRecord {
    number: u32,
    time: Timestamp,
    key_hash: u64,
    start: usize,
    end: usize,
}

impl Stretch {
    pub(super) fn new(shards: usize) -> Stretch {
        Stretch {
            first: Seq::ZERO,
            len: 0,
            frames: Vec::new(),
            sides: (0..shards).map(|_| Vec::new()).collect(),
            keys: (0..Keys::LOCKS).map(|_| Keyed::default()).collect(),
            homes: Vec::new(),
            general: General::default(),
            bytes: 0,
            refused: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether its last record was refused. It takes no other.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Makes it empty, to be used again.
    pub(super) fn clear(&mut self) {
        (self.len, self.bytes, self.refused) = (0, 0, None);
        self.frames.clear();
        self.sides.iter_mut().for_each(Vec::clear);
        for keyed in &mut self.keys {
            keyed.hashes.clear();
            keyed.records.clear();
        }
        self.homes.clear();
        self.general.records.clear();
        self.general.bytes.clear();
    }

    /// Adds the next record. One that cannot be whatever the state is refused here and now, and what follows it is left out.
    #[inline]
    pub(super) fn push(&mut self, tables: &Tables, record: &Record<'_>) {
        if self.refused.is_some() {
            return;
        }
        let Record { seq, epoch, place, bytes, .. } = *record;
        if self.len == 0 {
            self.first = seq;
        }
        debug_assert_eq!(seq, self.seq(self.len), "seqs rise by one");
        if self.frames.last().is_none_or(|last| (last.place, last.epoch) != (place, epoch)) {
            self.frames.push(Frame { number: self.len, epoch, place });
        }
        self.bytes += bytes.len();
        match codec::decode_plain(bytes) {
            Some(plain) if seq.get() < Locator::SEQ_END => self.push_plain(tables, &plain, record),
            _ => {
                if let Err(reason) = self.push_general(tables, record) {
                    self.refused = Some(Refused { seq, step: 0, place, reason });
                }
            }
        }
        self.len += 1;
    }

    #[inline]
    fn push_plain(&mut self, tables: &Tables, plain: &PlainEntry<'_>, record: &Record<'_>) {
        let number = self.len;
        let key_hash = tables.keys.hash_of(plain.key);
        let id = TransactionId::new(record.seq.get()).expect("the first seq is 1");
        self.keys[Keys::index(key_hash)].push(key_hash, number, id, plain.fingerprint as u64, plain.key);
        let mut home = None;
        for (user, direction) in plain.posting.users().into_iter().zip([Direction::Debit, Direction::Credit]) {
            let Some(user) = user else { continue };
            let (shard, come) = (tables.shard_of(user), (record.time, key_hash));
            let side = PlainSide::new(plain.kind, &plain.posting, (user, direction), come, number);
            self.sides[shard].push(Side::Plain(side));
            home.get_or_insert(shard);
        }
        self.homes.push(home.map_or(0, |home| home as u8 + 1));
    }

    #[cold]
    fn push_general(&mut self, tables: &Tables, record: &Record<'_>) -> Result<(), String> {
        let Record { seq, time, bytes, .. } = *record;
        let number = self.len;
        let entry = codec::decode(bytes)?;
        check_alone(&entry, seq)?;
        let mut key_hash = 0;
        if let Some(new) = new_key(&entry, seq) {
            let (key, settled) = (new.key.as_str(), new.settled);
            key_hash = tables.keys.hash(key);
            self.keys[Keys::index(key_hash)].push(key_hash, number, settled.id, settled.fingerprint, key.as_bytes());
        }
        let index = self.general.records.len() as u32;
        for (shard, user, currency) in tables.concerned(&entry) {
            self.sides[shard].push(Side::General(index, user, currency));
        }
        self.homes.push(tables.home_made_by(&entry).map_or(0, |home| home + 1));
        let start = self.general.bytes.len();
        self.general.bytes.extend_from_slice(bytes);
        let end = self.general.bytes.len();
        self.general.records.push(GeneralRecord { number, time, key_hash, start, end });
        Ok(())
    }

    fn seq(&self, number: u32) -> Seq {
        Seq::new(self.first.get() + u64::from(number))
    }

    /// The frame with the record.
    fn frame(&self, number: u32) -> &Frame {
        &self.frames[self.frames.partition_point(|frame| frame.number <= number) - 1]
    }

    /// How many pieces of work it is. They can be done at the same time.
    pub(super) fn works(&self) -> usize {
        self.sides.len() + Keys::LOCKS / LOCKS_TOGETHER + 1
    }

    /// Does one piece of the work.
    ///
    /// # Errors
    /// The first record that does not follow from those before it, as far as this piece can tell.
    pub(super) fn apply(&self, work: usize, tables: &Tables) -> Result<(), Refused> {
        match work.checked_sub(self.sides.len()) {
            None => self.apply_sides(work, tables),
            Some(locks) if locks < Keys::LOCKS / LOCKS_TOGETHER => (locks * LOCKS_TOGETHER
                ..(locks + 1) * LOCKS_TOGETHER)
                .try_for_each(|lock| self.apply_keys(lock, tables)),
            Some(_) => {
                tables.locator.set_run(self.first, &self.homes);
                self.refused.clone().map_or(Ok(()), Err)
            }
        }
    }

    fn apply_sides(&self, shard: usize, tables: &Tables) -> Result<(), Refused> {
        let sides = &self.sides[shard];
        if sides.is_empty() {
            return Ok(());
        }
        let mut shard = tables.locked_shard(shard);
        for sides in sides.chunks(TOUCHED_TOGETHER) {
            let found = shard.find_ahead(sides.iter().map(Side::account));
            let has_room = shard.has_room_for(sides.len());
            for (side, known) in sides.iter().zip(found) {
                let (number, done) = match side {
                    Side::Plain(side) => {
                        (side.number, shard.replay_plain(side, known, self.seq(side.number), has_room))
                    }
                    Side::General(index, ..) => self.apply_general(*index, &mut shard),
                };
                done.map_err(|reason| self.refused(number, 1, reason))?;
            }
        }
        Ok(())
    }

    #[cold]
    fn apply_general(&self, index: u32, shard: &mut LockedShard<'_>) -> (u32, Result<(), String>) {
        let GeneralRecord { number, time, key_hash, start, end } = self.general.records[index as usize];
        let entry = codec::decode(&self.general.bytes[start..end]).expect("it was decoded when it was gathered");
        // The log's identity is known once it has been read.
        let origin = Origin { ledger: Uuid::nil(), epoch: self.frame(number).epoch };
        let stamp = Stamp { seq: self.seq(number), time };
        (number, shard.replay(&Logged { entry: &entry, key_hash, origin, stamp }))
    }

    fn apply_keys(&self, lock: usize, tables: &Tables) -> Result<(), Refused> {
        let Keyed { hashes, records } = &self.keys[lock];
        let applied = if hashes.is_empty() { Ok(()) } else { tables.replay_keys(lock, hashes, records, self.first) };
        applied.map_err(|(number, reason)| self.refused(number, 2, reason))
    }

    fn refused(&self, number: u32, step: u8, reason: String) -> Refused {
        Refused { seq: self.seq(number), step, place: self.frame(number).place, reason }
    }
}

impl Side {
    fn account(&self) -> (UserId, Currency) {
        match self {
            Side::Plain(side) => side.account(),
            Side::General(_, user, currency) => (*user, *currency),
        }
    }
}

impl Keyed {
    #[inline]
    fn push(&mut self, hash: u64, number: u32, id: TransactionId, fingerprint: u64, key: &[u8]) {
        self.hashes.push((hash, number));
        KeyRecord::lay_out(id, fingerprint, key, &mut self.records);
    }
}
