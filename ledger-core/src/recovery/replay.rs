//! Replaying the log with all cores: while this thread reads and checks the log, others apply what was read.
//!
//! Records are gathered into *stretches*. The threads of a stretch go through all of it, each for its own part of the
//! tables (see [`Part`](crate::ledger::Part)), while the next one is read. So a record that cannot be is noticed when the
//! log has been read past it; it is reported where it is, and before anything that is wrong behind it.

use smallvec::SmallVec;
use uuid::Uuid;

use crate::error::OpenError;
use crate::journal::codec;
use crate::ledger::{Origin, Part, REPLAYED_TOGETHER, Tables};
use crate::sync::{Arc, thread};
use crate::types::{Epoch, Seq, Timestamp};
use crate::wal::{FramePlace, Record, Stamp};

/// Records of a stretch, and bytes: enough that to start the threads for it is nothing beside it, and few enough that
/// what is gathered does not matter beside the state.
const STRETCH_RECORDS: usize = 1 << 16;
/// Of fewer records than this part of a stretch this thread applies all by itself: most logs of a small ledger.
const ALONE: usize = 64;
const STRETCH_BYTES: usize = 8 << 20;
/// Each thread decodes every entry: more than a few would gain nothing.
const PARTS_MAX: usize = 4;

/// A replay that is under way.
pub(super) struct Replay {
    tables: Arc<Tables>,
    parts: usize,
    /// Records of a full stretch.
    records: usize,
    filling: Stretch,
    under_way: Option<UnderWay>,
    refused: Option<Refused>,
}

/// Records that were read, one after the other.
#[derive(Default)]
struct Stretch {
    records: Vec<Gathered>,
    bytes: Vec<u8>,
}

/// A record but for its bytes, which end at `end`.
struct Gathered {
    seq: Seq,
    time: Timestamp,
    epoch: Epoch,
    place: FramePlace,
    end: usize,
}

struct UnderWay {
    stretch: Arc<Stretch>,
    threads: Vec<thread::JoinHandle<Result<(), Refused>>>,
}

/// An entry that does not follow from those before it.
#[derive(Clone)]
struct Refused {
    seq: Seq,
    place: FramePlace,
    reason: String,
}

impl Replay {
    /// Into `tables`, by so many threads.
    pub(super) fn new(tables: Tables, threads: usize) -> Replay {
        Replay::in_stretches(tables, threads, STRETCH_RECORDS)
    }

    fn in_stretches(tables: Tables, threads: usize, records: usize) -> Replay {
        Replay {
            tables: Arc::new(tables),
            parts: threads.min(PARTS_MAX),
            records,
            filling: Stretch::default(),
            under_way: None,
            refused: None,
        }
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// It is in vain: [`Replay::settle`] tells of a record that was refused.
    pub(super) fn take(&mut self, record: &Record<'_>) -> Result<(), String> {
        self.filling.push(record);
        if self.filling.records.len() >= self.records || self.filling.bytes.len() >= STRETCH_BYTES {
            self.apply_gathered();
        }
        match &self.refused {
            Some(refused) => Err(refused.reason.clone()),
            None => Ok(()),
        }
    }

    /// Returns when all records that were taken are applied.
    ///
    /// # Errors
    /// The first that does not follow from those before it.
    pub(super) fn settle(&mut self) -> Result<(), OpenError> {
        self.apply_gathered();
        self.await_stretch();
        match &self.refused {
            Some(refused) => Err(refused.place.damaged(refused.seq, refused.reason.clone())),
            None => Ok(()),
        }
    }

    /// The tables with all that was taken, once that is settled.
    pub(super) fn into_tables(self) -> Tables {
        Arc::into_inner(self.tables).expect("the threads have ended")
    }

    /// Begins with what was gathered, once what came before it is done.
    fn apply_gathered(&mut self) {
        let free = self.await_stretch();
        if self.refused.is_some() || self.filling.records.is_empty() {
            return;
        }
        if self.parts == 1 || self.filling.records.len() < self.records / ALONE {
            self.refused = self.filling.apply(&mut self.tables.whole()).err();
            self.filling.clear();
            return;
        }
        let stretch = Arc::new(std::mem::replace(&mut self.filling, free));
        let mut threads = Vec::with_capacity(self.parts);
        for index in 0..self.parts {
            let (tables, shared, parts) = (Arc::clone(&self.tables), Arc::clone(&stretch), self.parts);
            let apply = move || shared.apply(&mut tables.part(index, parts));
            match thread::Builder::new().name("ledger-replay".to_owned()).spawn(apply) {
                Ok(thread) => threads.push(thread),
                // The system has no thread to give: then this one does it.
                Err(_) => {
                    let done = stretch.apply(&mut self.tables.part(index, self.parts));
                    self.note(done);
                }
            }
        }
        self.under_way = Some(UnderWay { stretch, threads });
    }

    /// Keeps the first refusal by seq.
    fn note(&mut self, done: Result<(), Refused>) {
        if let Err(refused) = done
            && self.refused.as_ref().is_none_or(|other| refused.seq < other.seq)
        {
            self.refused = Some(refused);
        }
    }

    /// Waits for the stretch under way, and gives what it was gathered in, to be used again.
    fn await_stretch(&mut self) -> Stretch {
        let Some(UnderWay { stretch, threads }) = self.under_way.take() else { return Stretch::default() };
        for thread in threads {
            let done = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            self.note(done);
        }
        let mut free = Arc::into_inner(stretch).expect("the threads have ended");
        free.clear();
        free
    }
}

impl Stretch {
    fn push(&mut self, record: &Record<'_>) {
        let Record { seq, time, epoch, place, bytes } = *record;
        self.bytes.extend_from_slice(bytes);
        self.records.push(Gathered { seq, time, epoch, place, end: self.bytes.len() });
    }

    fn clear(&mut self) {
        self.records.clear();
        self.bytes.clear();
    }

    /// Applies what concerns the part.
    fn apply(&self, part: &mut Part<'_>) -> Result<(), Refused> {
        let mut start = 0;
        for records in self.records.chunks(REPLAYED_TOGETHER) {
            let refused =
                |index: usize, reason| Refused { seq: records[index].seq, place: records[index].place, reason };
            let mut entries: SmallVec<[_; REPLAYED_TOGETHER]> = SmallVec::new();
            let mut undecodable = None;
            for &Gathered { seq, time, epoch, end, .. } in records {
                match codec::decode(&self.bytes[start..end]) {
                    // The log's identity is known once it has been read.
                    Ok(entry) => entries.push((entry, Origin { ledger: Uuid::nil(), epoch }, Stamp { seq, time })),
                    Err(reason) => {
                        undecodable = Some(refused(entries.len(), reason.to_owned()));
                        break;
                    }
                }
                start = end;
            }
            part.replay_together(&entries).map_err(|(index, reason)| refused(index, reason))?;
            undecodable.map_or(Ok(()), Err)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    mod exact;

    use proptest::prelude::*;
    use smallvec::smallvec;

    use super::*;
    use crate::checkpoint::digest;
    use crate::state::{Entry, Party, Posting, TransactionEntry};
    use crate::types::{Amount, Currency, Fingerprint, IdempotencyKey, UserId};
    use crate::view::{Status, TransactionKind};

    const SHARDS: usize = 5;

    /// A charge of `to`, or a transfer from another user.
    #[derive(Clone, Copy, Debug)]
    struct Move {
        from: Option<u64>,
        to: u64,
        amount: u64,
        /// Says the key of an earlier one again.
        repeats: bool,
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let each = (prop::option::weighted(0.4, 1..12u64), 12..24u64, 1..1_000u64, prop::bool::weighted(0.005));
        let each = each.prop_map(|(from, to, amount, repeats)| Move { from, to, amount, repeats });
        prop::collection::vec(each, 1..200)
    }

    fn encode(index: usize, a: Move) -> Vec<u8> {
        let key = if a.repeats { "key-0".to_owned() } else { format!("key-{index}") };
        let user = |id| Party::User(UserId::new(id).unwrap());
        let posting = Posting {
            currency: Currency::USD,
            amount: Amount::new(a.amount).unwrap(),
            debit: a.from.map_or(Party::External, user),
            credit: user(a.to),
            release_at: None,
        };
        let entry = TransactionEntry {
            kind: if a.from.is_some() { TransactionKind::Transfer } else { TransactionKind::Charge },
            status: Status::Completed,
            key: IdempotencyKey::new(&key).unwrap(),
            fingerprint: Fingerprint::new(index as u128),
            postings: smallvec![posting],
            destination: None,
            metadata: None,
            batch: None,
        };
        let mut bytes = Vec::new();
        codec::encode(&Entry::Transaction(entry), &mut bytes);
        bytes
    }

    /// The state after the records, or which was the first that was refused, and where.
    fn replayed(records: &[Vec<u8>], threads: usize, stretch: usize) -> Result<u128, (String, u64, Option<u64>)> {
        let mut replay = Replay::in_stretches(Tables::seeded(SHARDS, 7), threads, stretch);
        for (index, bytes) in records.iter().enumerate() {
            let (seq, place) = (Seq::new(index as u64 + 1), FramePlace::new(1, 4096 * (index as u64 / 10)));
            let record = Record { seq, time: Timestamp::EPOCH, epoch: Epoch::new(1), place, bytes };
            if replay.take(&record).is_err() {
                break;
            }
        }
        replay.settle().map_err(|err| match err {
            OpenError::Damaged { file, offset, seq, .. } => (file, offset, seq),
            other => panic!("{other}"),
        })?;
        let last = Stamp { seq: Seq::new(records.len() as u64), time: Timestamp::EPOCH };
        Ok(digest(&replay.into_tables(), || last).1)
    }

    proptest! {
        #[test]
        fn threads_come_to_what_one_comes_to_and_refuse_what_it_refuses(moves in moves()) {
            // Who is debited has something at first; how long it lasts is left to chance.
            let opening = (1..12).map(|to| Move { from: None, to, amount: 5_000, repeats: false });
            let records: Vec<_> =
                opening.chain(moves).enumerate().map(|(index, a)| encode(index, a)).collect();
            let alone = replayed(&records, 1, 1);
            for (threads, stretch) in [(2, 1), (2, 16), (3, 7), (4, 1 << 10)] {
                prop_assert_eq!(&replayed(&records, threads, stretch), &alone, "{} threads", threads);
            }
        }
    }
}
