//! Replaying the log with all cores: while this thread reads, checks and decodes the log, others apply what was read.
//!
//! Records are gathered into *stretches*, and dealt out as they come to the shards and the locks of keys that they concern
//! (see [`crate::ledger`]'s replay). The threads of a stretch take one shard after the other, and some locks after others,
//! while the next one is read; who read it takes part once that is full. So a record that cannot be is noticed when the log
//! has been read past it; it is reported where it is, and before anything that is wrong behind it.

mod stretch;

use crate::error::OpenError;
use crate::ledger::Tables;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, thread};
use crate::types::Seq;
use crate::wal::{FramePlace, Record};
use stretch::Stretch;

/// Records of a stretch, and bytes: enough that to start the threads for it is nothing beside it, and few enough that
/// what is gathered does not matter beside the state.
const STRETCH_RECORDS: usize = 1 << 16;
/// Of fewer records than this part of a stretch this thread applies all by itself: most logs of a small ledger.
const ALONE: usize = 64;
const STRETCH_BYTES: usize = 8 << 20;
/// One thread reads: more than it can feed would gain nothing.
const THREADS_MAX: usize = 8;
/// For no more entries room is made beforehand, whatever the mark says: it may lie, and is believed once the log was read.
const EXPECTED_MAX: u64 = 1 << 25;

/// A replay that is under way.
pub(super) struct Replay {
    tables: Arc<Tables>,
    threads: usize,
    /// Records of a full stretch.
    records: usize,
    filling: Stretch,
    under_way: Option<UnderWay>,
    refused: Option<Refused>,
}

struct UnderWay {
    work: Arc<Work>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// A stretch that is being applied. Who takes part takes one piece of work after the other.
struct Work {
    tables: Arc<Tables>,
    stretch: Stretch,
    next: AtomicUsize,
    refused: Mutex<Option<Refused>>,
}

/// An entry that does not follow from those before it.
#[derive(Clone)]
struct Refused {
    seq: Seq,
    /// At which step of its checks: of several the first is told.
    step: u8,
    place: FramePlace,
    reason: String,
}

impl Replay {
    /// Into `tables`, by so many threads. About `expected` entries will come.
    pub(super) fn new(tables: Tables, threads: usize, expected: u64) -> Replay {
        // A table that grows moves each of its slots several times. Nearly every entry settles a key.
        tables.keys.expect(expected.min(EXPECTED_MAX) as usize);
        Replay::in_stretches(tables, threads, STRETCH_RECORDS)
    }

    fn in_stretches(tables: Tables, threads: usize, records: usize) -> Replay {
        Replay {
            filling: Stretch::new(tables.shards.len()),
            tables: Arc::new(tables),
            threads: threads.min(THREADS_MAX),
            records,
            under_way: None,
            refused: None,
        }
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// It is in vain: [`Replay::settle`] tells of a record that was refused.
    pub(super) fn take(&mut self, record: &Record<'_>) -> Result<(), String> {
        self.filling.push(&self.tables, record);
        let Replay { filling, records, .. } = self;
        if filling.len() >= *records || filling.bytes() >= STRETCH_BYTES || filling.is_refused() {
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
        if self.refused.is_some() || self.filling.is_empty() {
            return;
        }
        let is_for_one = self.filling.len() < self.records / ALONE;
        let stretch = std::mem::replace(&mut self.filling, free);
        let tables = Arc::clone(&self.tables);
        let work = Arc::new(Work { tables, stretch, next: AtomicUsize::new(0), refused: Mutex::new(None) });
        // This thread reads meanwhile. Where the system has no other to give, it does all.
        let others = if is_for_one { 0 } else { self.threads - 1 };
        let start = || {
            let work = Arc::clone(&work);
            thread::Builder::new().name("ledger-replay".to_owned()).spawn(move || work.take_part()).ok()
        };
        let threads: Vec<_> = (0..others).filter_map(|_| start()).collect();
        let goes_on = !threads.is_empty();
        self.under_way = Some(UnderWay { work, threads });
        if !goes_on {
            self.filling = self.await_stretch();
        }
    }

    /// Takes part in the stretch under way until it is done, and gives what it was gathered in, to be used again.
    fn await_stretch(&mut self) -> Stretch {
        let Some(UnderWay { work, threads }) = self.under_way.take() else {
            return Stretch::new(self.tables.shards.len());
        };
        work.take_part();
        for thread in threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        let Work { mut stretch, refused, .. } = Arc::into_inner(work).expect("the threads have ended");
        self.refused = self.refused.take().or(refused.into_inner());
        stretch.clear();
        stretch
    }
}

impl Work {
    /// Does pieces of the work as long as there are some that nobody has taken.
    fn take_part(&self) {
        // Relaxed: a ticket, which orders nothing. What is done is seen by who joins the threads.
        let take = || self.next.fetch_add(1, Ordering::Relaxed);
        while let Some(piece) = Some(take()).filter(|piece| *piece < self.stretch.works()) {
            if let Err(refused) = self.stretch.apply(piece, &self.tables) {
                let mut first = self.refused.lock();
                if first.as_ref().is_none_or(|first| (refused.seq, refused.step) < (first.seq, first.step)) {
                    *first = Some(refused);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    mod exact;

    use proptest::prelude::*;
    use smallvec::smallvec;

    use super::*;
    use crate::checkpoint::digest;
    use crate::journal::codec;
    use crate::state::{Entry, Party, Posting, TransactionEntry};
    use crate::types::{
        Amount, Currency, Destination, Epoch, Fingerprint, IdempotencyKey, Metadata, Timestamp, TransactionId, UserId,
    };
    use crate::view::{Status, TransactionKind};
    use crate::wal::Stamp;
    use crate::withdrawals::{Event, Substatus, WithdrawalEntry};

    const SHARDS: usize = 5;

    /// What an entry says.
    #[derive(Clone, Copy, Debug)]
    struct Move {
        /// A transfer from another user; a charge, where it is `None`.
        from: Option<u64>,
        to: u64,
        amount: u64,
        /// Says the key of an earlier one again.
        repeats: bool,
        /// More than is plain.
        more: More,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    enum More {
        Nothing,
        /// It is held so long after the epoch.
        Held(i64),
        Metadata,
        /// A second posting, which charges another user.
        Second(u64),
        /// It is a withdrawal of `to`'s.
        Withdrawal,
        /// The same, and the next entry cancels it.
        Cancelled,
        /// An entry about a withdrawal that is not there.
        Stray,
    }

    impl Move {
        fn new(from: Option<u64>, to: u64, amount: u64) -> Move {
            Move { from, to, amount, repeats: false, more: More::Nothing }
        }
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let more = prop_oneof![
            20 => Just(More::Nothing),
            3 => (-1..3i64).prop_map(More::Held),
            3 => Just(More::Metadata),
            3 => (1..24u64).prop_map(More::Second),
            3 => Just(More::Withdrawal),
            3 => Just(More::Cancelled),
        ];
        let more = (more, prop::bool::weighted(0.003)).prop_map(|(more, stray)| if stray { More::Stray } else { more });
        let from = prop::option::weighted(0.4, 1..12u64);
        let each = (from, 12..24u64, 1..1_000u64, prop::bool::weighted(0.005), more);
        let each = each.prop_map(|(from, to, amount, repeats, more)| Move { from, to, amount, repeats, more });
        prop::collection::vec(each, 1..200)
    }

    /// The entries of the moves, one after the other.
    fn records(moves: impl Iterator<Item = Move>) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        for a in moves {
            records.push(encode(records.len(), a));
            if a.more == More::Cancelled {
                records.push(about(records.len(), records.len() as u64, a));
            }
        }
        records
    }

    fn user(id: u64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn encode(index: usize, a: Move) -> Vec<u8> {
        if a.more == More::Stray {
            return about(index, 1 + a.amount % 200, a);
        }
        let is_withdrawal = matches!(a.more, More::Withdrawal | More::Cancelled);
        let key = if a.repeats { "key-0".to_owned() } else { format!("key-{index}") };
        let posting = Posting {
            currency: Currency::USD,
            amount: Amount::new(a.amount).unwrap(),
            debit: a.from.map_or(Party::External, |from| Party::User(user(from))),
            credit: Party::User(user(a.to)),
            release_at: match a.more {
                More::Held(at) => Timestamp::from_micros(at),
                _ => None,
            },
        };
        let postings = match a.more {
            More::Second(to) => smallvec![
                Posting { debit: Party::External, ..posting },
                Posting { debit: Party::External, credit: Party::User(user(to)), ..posting }
            ],
            _ if is_withdrawal => smallvec![Posting { debit: posting.credit, credit: Party::External, ..posting }],
            _ => smallvec![posting],
        };
        let entry = TransactionEntry {
            kind: match a.from {
                _ if is_withdrawal => TransactionKind::Withdrawal,
                Some(_) => TransactionKind::Transfer,
                None => TransactionKind::Charge,
            },
            status: if is_withdrawal { Status::Pending } else { Status::Completed },
            key: IdempotencyKey::new(&key).unwrap(),
            fingerprint: Fingerprint::new(index as u128),
            postings,
            destination: is_withdrawal.then(|| Destination::new("bank").unwrap()),
            metadata: (a.more == More::Metadata).then(|| Metadata::new(b"note").unwrap()),
            batch: None,
        };
        let mut bytes = Vec::new();
        codec::encode(&Entry::Transaction(entry), &mut bytes);
        bytes
    }

    /// The cancellation of the withdrawal `id` that the move says.
    fn about(index: usize, id: u64, a: Move) -> Vec<u8> {
        let key = format!("cancel-{index}");
        let entry = WithdrawalEntry {
            id: TransactionId::new(id).unwrap(),
            user: user(a.to),
            currency: Currency::USD,
            amount: Amount::new(a.amount).unwrap(),
            event: Event::Cancelled,
            to: Substatus::Cancelled,
            due: None,
            evidence: "",
            operator: None,
            command: Some((IdempotencyKey::new(&key).unwrap(), Fingerprint::new(7))),
        };
        let mut bytes = Vec::new();
        codec::encode(&Entry::Withdrawal(entry), &mut bytes);
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
            let opening = (1..24).map(|to| Move::new(None, to, if to < 12 { 5_000 } else { 20_000 }));
            let records = records(opening.chain(moves));
            let alone = replayed(&records, 1, 1);
            for (threads, stretch) in [(2, 1), (2, 16), (3, 7), (4, 1 << 10)] {
                prop_assert_eq!(&replayed(&records, threads, stretch), &alone, "{} threads", threads);
            }
        }
    }
}
