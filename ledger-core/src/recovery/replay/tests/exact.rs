//! When a stretch is begun, by whom it is applied, and which refusal is told.

use super::*;
use crate::state::locator::Locator;

const RECORDS: usize = 2 * ALONE;

/// A replay in stretches of [`RECORDS`], and how many records it was given.
struct Given {
    replay: Replay,
    last: u64,
}

impl Given {
    fn new(threads: usize) -> Given {
        Given { replay: Replay::in_stretches(Tables::seeded(SHARDS, 7), threads, RECORDS), last: 0 }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.last += 1;
        let place = FramePlace::new(1, 4096 * self.last);
        let record = Record { seq: Seq::new(self.last), time: Timestamp::EPOCH, epoch: Epoch::new(1), place, bytes };
        self.replay.take(&record)
    }

    /// Charges of a thousand users, one after the other.
    fn charges(&mut self, count: usize) {
        for _ in 0..count {
            let charge = Move::new(None, 1_000 + self.last, 5);
            self.take(&encode(self.last as usize + 1_000_000, charge)).unwrap();
        }
    }

    /// A transfer from a user who has nothing.
    fn refused(&mut self, from: u64) -> Result<(), String> {
        self.take(&encode(self.last as usize + 1_000_000, Move::new(Some(from), 1, 1)))
    }

    /// (gathered, whether threads are at work)
    fn state(&self) -> (usize, bool) {
        (self.replay.filling.len(), self.replay.under_way.is_some())
    }

    fn settled(&mut self) -> Result<(), (u64, u64)> {
        self.replay.settle().map_err(|err| match err {
            OpenError::Damaged { offset, seq: Some(seq), .. } => (offset / 4096, seq),
            other => panic!("{other}"),
        })
    }
}

#[test]
fn threads_begin_when_a_stretch_is_full() {
    let mut given = Given::new(2);
    given.charges(RECORDS - 1);
    assert_eq!(given.state(), (RECORDS - 1, false));
    given.charges(1);
    assert_eq!(given.state(), (0, true));
    given.charges(3);
    assert_eq!(given.state(), (3, true));
    assert_eq!((given.settled(), given.state()), (Ok(()), (0, false)));
    assert_eq!(given.replay.filling.bytes(), 0);
    let tables = given.replay.into_tables();
    let last = Stamp { seq: Seq::new(131), time: Timestamp::EPOCH };
    let mut alone = Given::new(1);
    alone.charges(131);
    assert_eq!((alone.state(), alone.settled()), ((3, false), Ok(())));
    assert_eq!(digest(&tables, || last).1, digest(&alone.replay.into_tables(), || last).1);
}

#[test]
fn a_few_records_are_applied_by_who_read_them() {
    for (threads, records, by_threads) in [(1, 1, false), (1, 100, false), (2, 1, false), (2, 2, true), (3, 100, true)]
    {
        let mut given = Given::new(threads);
        given.charges(records);
        given.replay.apply_gathered();
        assert_eq!(given.state(), (0, by_threads), "{threads} threads, {records} records");
        assert_eq!(given.settled(), Ok(()));
    }
    assert_eq!((Given::new(9).replay.threads, Given::new(3).replay.threads), (THREADS_MAX, 3));
}

#[test]
fn a_stretch_is_full_by_its_bytes_too() {
    let mut given = Given::new(2);
    given.replay.records = 1 << 20;
    let metadata = vec![7; Metadata::BYTES_MAX];
    let mut bytes = 0;
    while bytes < STRETCH_BYTES {
        assert_eq!(given.state(), (given.last as usize, false));
        let key = format!("key-{}", given.last);
        let user = UserId::new(1_000 + given.last % 50).unwrap();
        let posting = Posting {
            currency: Currency::USD,
            amount: Amount::new(1).unwrap(),
            debit: Party::External,
            credit: Party::User(user),
            release_at: None,
        };
        let entry = TransactionEntry {
            kind: TransactionKind::Charge,
            status: Status::Completed,
            key: IdempotencyKey::new(&key).unwrap(),
            fingerprint: Fingerprint::new(1),
            postings: smallvec![posting],
            destination: None,
            metadata: Metadata::new(&metadata),
            batch: None,
        };
        let mut record = Vec::new();
        codec::encode(&Entry::Transaction(entry), &mut record);
        bytes += record.len();
        given.take(&record).unwrap();
    }
    assert_eq!(given.state().0, 0);
    assert_eq!(given.settled(), Ok(()));
}

#[test]
fn what_is_refused_in_a_stretch_under_way_is_told_whatever_was_gathered_since() {
    let mut given = Given::new(2);
    given.charges(5);
    given.refused(77).unwrap();
    given.charges(RECORDS - 6 + 1);
    assert_eq!(given.state(), (1, true));
    assert_eq!(given.settled(), Err((6, 6)));
    assert_eq!(given.settled(), Err((6, 6)), "and again");
    assert!(given.take(&encode(0, Move::new(None, 1, 1))).is_err());
}

#[test]
fn of_two_that_are_refused_the_first_is_told_whichever_part_they_are_of() {
    // Of two parts some of these users are in the one and some in the other.
    for (first, second) in (0..12).map(|n| (20, 20 + n)).chain((1..12).map(|n| (20 + n, 20))) {
        let mut given = Given::new(2);
        given.charges(9);
        given.refused(first).unwrap();
        given.charges(9);
        given.refused(second).unwrap();
        given.charges(9);
        assert_eq!(given.settled(), Err((10, 10)), "{first} {second}");
    }
    // What nobody can read all parts refuse.
    let mut given = Given::new(4);
    given.charges(4);
    given.take(&[0xFF; 9]).unwrap();
    given.charges(4);
    assert_eq!(given.settled(), Err((5, 5)));
    // Who has no other thread is told so at once, however few were gathered.
    let mut given = Given::new(1);
    given.charges(4);
    assert!(given.take(&[0xFF; 9]).is_err());
}

#[test]
fn a_seq_that_no_shard_can_be_found_by_is_refused() {
    let mut given = Given::new(1);
    given.last = Locator::SEQ_END - 3;
    given.charges(1);
    assert_eq!(given.settled(), Ok(()));
    given.charges(1);
    assert_eq!(given.settled(), Ok(()));
    assert!(given.take(&encode(7, Move::new(None, 1_000, 5))).is_err());
    assert_eq!(given.settled(), Err((Locator::SEQ_END, Locator::SEQ_END)));
}

#[test]
fn a_ledger_of_one_shard_finds_its_transactions() {
    let mut given = Given::new(1);
    given.replay = Replay::in_stretches(Tables::seeded(1, 7), 1, RECORDS);
    given.charges(3);
    assert_eq!(given.settled(), Ok(()));
    let tables = given.replay.into_tables();
    assert_eq!([0, 1, 3, 4].map(|seq| tables.locator.get(Seq::new(seq))), [None, Some(0), Some(0), None]);
}
