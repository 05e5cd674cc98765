//! Histories against plain lists of records.

mod bytes;
mod carried;
mod exact;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What a record is made of, owned, with the seq and the time as steps from the record before.
#[derive(Clone, Debug)]
struct Sketch {
    seq_step: u64,
    time_step: i64,
    kind: TransactionKind,
    status: Status,
    direction: Direction,
    amount: u64,
    account: u32,
    counterparty: Option<u64>,
    release_in: Option<i64>,
    key_hash: u64,
    metadata: Option<Vec<u8>>,
    destination: Option<String>,
    batch: Option<(u32, u32)>,
    changed_by: Option<u64>,
}

impl Sketch {
    fn record(&self, seq: u64, micros: i64) -> NewRecord<'_> {
        let release_at = self.release_in.map(|micros_in| {
            let micros = micros.saturating_add(micros_in);
            let micros = micros.clamp(Timestamp::MIN.micros(), Timestamp::MAX.micros());
            Timestamp::from_micros(micros).unwrap()
        });
        NewRecord {
            id: TransactionId::new(seq).unwrap(),
            at: Timestamp::from_micros(micros).unwrap(),
            kind: self.kind,
            status: self.status,
            direction: self.direction,
            amount: Amount::new(self.amount).unwrap(),
            account: self.account,
            counterparty: self.counterparty.map(|user| UserId::new(user).unwrap()),
            release_at,
            key_hash: self.key_hash,
            metadata: self.metadata.as_deref().map(|bytes| Metadata::new(bytes).unwrap()),
            destination: self.destination.as_deref().map(|text| Destination::new(text).unwrap()),
            batch: self.batch,
            last_seq: Seq::new(self.changed_by.unwrap_or(seq)),
        }
    }
}

/// Numbers of every width.
fn number(max: u64) -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(move |(number, shift)| (number >> shift).clamp(1, max))
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let steps = (
        prop_oneof![1 => Just(0), 8 => 1..5u64, 2 => number(1 << 20), 1 => number(1 << 50)],
        prop_oneof![4 => 0..5i64, 4 => 0..2_000_000i64, 1 => 0..1i64 << 50],
    );
    let words = (
        prop_oneof![Just(TransactionKind::Charge), Just(TransactionKind::Transfer), Just(TransactionKind::Withdrawal)],
        prop_oneof![Just(Status::Pending), Just(Status::Completed), Just(Status::Failed)],
        prop_oneof![Just(Direction::Credit), Just(Direction::Debit)],
    );
    let numbers = (
        number(crate::types::INTEGER_MAX),
        prop_oneof![8 => 0..3u32, 1 => any::<u32>()],
        prop::option::of(number(crate::types::INTEGER_MAX)),
        prop::option::of(prop_oneof![any::<i64>(), number(1 << 62).prop_map(|n| n as i64)]),
        any::<u64>(),
    );
    let texts = (
        prop::option::weighted(
            0.2,
            prop_oneof![
                8 => prop::collection::vec(any::<u8>(), 1..40),
                1 => (1..=Metadata::BYTES_MAX).prop_map(|len| vec![7; len])
            ],
        ),
        prop::option::weighted(0.2, prop_oneof!["[a-z]{1,20}", "\\PC{1,60}", Just("d".repeat(255))]),
        prop::option::weighted(0.2, any::<(u32, u32)>()),
        prop::option::weighted(0.1, 1..u64::MAX),
    );
    (steps, words, numbers, texts).prop_map(|(steps, words, numbers, texts)| Sketch {
        seq_step: steps.0,
        time_step: steps.1,
        kind: words.0,
        status: words.1,
        direction: words.2,
        amount: numbers.0,
        account: numbers.1,
        counterparty: numbers.2,
        release_in: numbers.3,
        key_hash: numbers.4,
        metadata: texts.0,
        destination: texts.1,
        batch: texts.2,
        changed_by: texts.3,
    })
}

#[derive(Default)]
struct Model<'a> {
    records: Vec<(RecordRef, NewRecord<'a>)>,
    /// Indexes into `records`.
    lists: BTreeMap<u32, Vec<usize>>,
}

fn naive_sums<'a>(records: impl Iterator<Item = &'a NewRecord<'a>>) -> Sums {
    let mut sums = Sums::default();
    for record in records {
        let amount = record.amount.minor();
        let sum = match (record.kind, record.direction) {
            (_, Direction::Credit) => &mut sums.credited,
            (TransactionKind::Withdrawal, Direction::Debit) => &mut sums.withdrawn,
            (_, Direction::Debit) => &mut sums.debited,
        };
        *sum = sum.wrapping_add(amount);
        if record.direction == Direction::Credit && record.release_at.is_some() {
            sums.held = sums.held.wrapping_add(amount);
        }
    }
    sums
}

fn check_list(history: &History, list: &HistoryList, records: &[(RecordRef, NewRecord<'_>)]) {
    assert_eq!(list.len(), records.len());
    for (index, (reference, record)) in records.iter().enumerate() {
        assert_eq!(history.nth(list, index), *reference);
        let (seq, at) = (record.id.seq(), record.at);
        for seq in [Seq::new(seq.get() - 1), seq, seq.next()] {
            let position = records.partition_point(|(_, record)| record.id.seq() < seq);
            assert_eq!(history.position_at_or_after(list, seq), position);
        }
        for at in [Timestamp::MIN, at, at.saturating_add(std::time::Duration::from_micros(1)), Timestamp::MAX] {
            let position = records.partition_point(|(_, record)| record.at <= at);
            assert_eq!(history.position_by_time(list, at), position);
        }
    }
    let mut sums = Sums::default();
    for (count, (_, record)) in records.iter().enumerate() {
        assert_eq!(history.sums_of_first(list, count), sums);
        let position = records.partition_point(|(_, other)| other.at <= record.at);
        let through = naive_sums(records[..position].iter().map(|(_, record)| record));
        assert_eq!(history.sums_through(list, record.at), through);
        sums = naive_sums(records[..=count].iter().map(|(_, record)| record));
    }
    assert_eq!(history.sums_of_first(list, records.len()), sums);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn it_agrees_with_plain_vectors(
        sketches in prop::collection::vec(sketch(), 0..400),
        start in Timestamp::MIN.micros()..2_000_000_000_000_000,
    ) {
        let mut history = History::new();
        let mut lists = BTreeMap::<u32, HistoryList>::new();
        let mut model = Model::default();
        let (mut seq, mut micros) = (1, start);
        for sketch in &sketches {
            seq += sketch.seq_step;
            micros = micros.saturating_add(sketch.time_step).min(Timestamp::MAX.micros());
            let record = sketch.record(seq, micros);
            let reference = history.push(lists.entry(record.account).or_default(), &record);
            model.lists.entry(record.account).or_default().push(model.records.len());
            model.records.push((reference, record));
        }
        for index in (0..model.records.len()).step_by(3) {
            let (reference, record) = &mut model.records[index];
            if record.status == Status::Pending {
                (record.status, record.last_seq) = (Status::Failed, Seq::new(u64::MAX - index as u64));
                history.set_status(*reference, record.status, record.last_seq);
            }
        }
        for (reference, record) in &model.records {
            prop_assert_eq!(history.get(*reference), *record);
            let first = model.records.iter().find(|(_, other)| other.id == record.id).map(|found| found.0);
            prop_assert_eq!(history.find(record.id, None), first);
            let own = |other: &NewRecord<'_>| other.id == record.id && other.account == record.account;
            let first = model.records.iter().find(|(_, other)| own(other)).map(|found| found.0);
            prop_assert_eq!(history.find(record.id, Some(record.account)), first);
            for id in [record.id.get() - 1, record.id.get() + 1].into_iter().filter_map(TransactionId::new) {
                let there = model.records.iter().find(|(_, other)| other.id == id).map(|found| found.0);
                prop_assert_eq!(history.find(id, None), there);
            }
        }
        for (account, indexes) in &model.lists {
            let records: Vec<_> = indexes.iter().map(|index| model.records[*index]).collect();
            check_list(&history, &lists[account], &records);
        }
    }
}

fn charge(seq: u64, account: u32) -> NewRecord<'static> {
    NewRecord {
        id: TransactionId::new(seq).unwrap(),
        at: Timestamp::from_micros(1_700_000_000_000_000 + seq as i64 * 10).unwrap(),
        kind: TransactionKind::Charge,
        status: Status::Completed,
        direction: Direction::Credit,
        amount: Amount::new(1_000_000).unwrap(),
        account,
        counterparty: None,
        release_at: None,
        key_hash: !seq,
        metadata: None,
        destination: None,
        batch: None,
        last_seq: Seq::new(seq),
    }
}

#[test]
fn a_list_is_a_handle_of_twelve_bytes() {
    assert_eq!(size_of::<HistoryList>(), 12);
    assert_eq!(History::new().bytes(), 0);
}

#[test]
fn a_shard_is_full_before_its_references_are() {
    let records_max = (BYTES_END / (2 * layout::BYTES_MAX as u64)) as usize;
    let (mut history, mut list) = (History::new(), HistoryList::default());
    assert!(history.has_room_for(records_max) && !history.has_room_for(records_max + 1));
    (1..1_000).for_each(|seq| {
        history.push(&mut list, &charge(seq, 0));
    });
    assert!(history.has_room_for(records_max - 3) && !history.has_room_for(records_max - 1));
}

#[test]
fn the_longest_record_is_as_long_as_room_is_kept_for() {
    let (mut history, mut list) = (History::new(), HistoryList::default());
    let (metadata, destination) = (vec![7; Metadata::BYTES_MAX], "d".repeat(Destination::BYTES_MAX));
    let longest = NewRecord {
        id: TransactionId::new(u64::MAX - 1).unwrap(),
        account: u32::MAX,
        amount: Amount::new(crate::types::INTEGER_MAX).unwrap(),
        counterparty: UserId::new(crate::types::INTEGER_MAX),
        release_at: Some(Timestamp::MAX),
        metadata: Metadata::new(&metadata),
        destination: Destination::new(&destination),
        batch: Some((1, 2)),
        status: Status::Pending,
        at: Timestamp::MIN,
        ..charge(1, 0)
    };
    history.push(&mut list, &longest);
    history.push(&mut list, &longest);
    assert!(history.records.next_address(0) <= 2 * layout::BYTES_MAX as u64);
}

#[test]
fn an_empty_history_finds_nothing() {
    let (history, list) = (History::new(), HistoryList::default());
    assert_eq!(history.find(TransactionId::new(1).unwrap(), None), None);
    assert_eq!(history.position_at_or_after(&list, Seq::new(1)), 0);
    assert_eq!(history.sums_through(&list, Timestamp::MAX), Sums::default());
}

#[test]
fn both_sides_of_a_transfer_within_a_shard_are_found() {
    let (mut history, mut from, mut to) = (History::new(), HistoryList::default(), HistoryList::default());
    let user = |id| UserId::new(id);
    // Enough of them that somewhere the two sides lie on either side of an anchor, and of a chunk's end.
    for seq in 1..5_000 {
        let side = NewRecord { kind: TransactionKind::Transfer, ..charge(seq, 1) };
        let debit = NewRecord { direction: Direction::Debit, counterparty: user(2), ..side };
        let sent = history.push(&mut from, &debit);
        let received = history.push(&mut to, &NewRecord { account: 2, counterparty: user(1), ..side });
        let id = TransactionId::new(seq).unwrap();
        assert_eq!(history.find(id, None), Some(sent));
        assert_eq!((history.find(id, Some(1)), history.find(id, Some(2))), (Some(sent), Some(received)));
        assert_eq!(history.find(id, Some(3)), None);
    }
    for seq in 1..5_000 {
        let id = TransactionId::new(seq).unwrap();
        assert_eq!(history.find(id, Some(1)), Some(history.nth(&from, seq as usize - 1)));
        assert_eq!(history.find(id, Some(2)), Some(history.nth(&to, seq as usize - 1)));
    }
}

#[test]
#[should_panic(expected = "only a transaction that was pending changes")]
fn a_transaction_that_completed_at_once_never_changes() {
    let (mut history, mut list) = (History::new(), HistoryList::default());
    let reference = history.push(&mut list, &charge(1, 0));
    history.set_status(reference, Status::Failed, Seq::new(2));
}

#[test]
fn a_million_records_of_one_account_are_found_and_summed() {
    const N: u64 = 1 << 20;
    let (mut history, mut list) = (History::new(), HistoryList::default());
    let references: Vec<_> = (1..=N).map(|i| history.push(&mut list, &charge(i * 2, 5))).collect();
    for index in (0..N).step_by(331) {
        let (seq, reference) = ((index + 1) * 2, references[index as usize]);
        assert_eq!(history.nth(&list, index as usize), reference);
        assert_eq!(history.get(reference), charge(seq, 5));
        assert_eq!(history.find(TransactionId::new(seq).unwrap(), Some(5)), Some(reference));
        assert_eq!(history.find(TransactionId::new(seq + 1).unwrap(), None), None);
        assert_eq!(history.position_at_or_after(&list, Seq::new(seq - 1)), index as usize);
        let sums = history.sums_through(&list, charge(seq, 5).at);
        assert_eq!((sums.credited, sums.debited, sums.held), ((index + 1) * 1_000_000, 0, 0));
    }
}

/// What a record and its place in a list cost, with so many records in each of many lists: one shard of 64 at a
/// million transactions a second.
fn bytes_each(records_each: u64, change: impl Fn(NewRecord<'static>) -> NewRecord<'static>) -> (f64, f64) {
    let accounts = 200_000 / records_each;
    let (mut history, mut lists) = (History::new(), vec![HistoryList::default(); accounts as usize]);
    for i in 0..records_each * accounts {
        let account = i % accounts;
        let at = Timestamp::from_micros(1_700_000_000_000_000 + i as i64 * 64).unwrap();
        let record = change(NewRecord { at, ..charge(1 + i * 64, account as u32) });
        history.push(&mut lists[account as usize], &record);
    }
    let count = (records_each * accounts) as f64;
    let records = (history.records.bytes() + history.anchors.bytes()) as f64 / count;
    (records, history.bytes() as f64 / count - records)
}

#[test]
fn a_charge_costs_21_bytes_and_at_most_9_in_its_list() {
    for each in [1, 2, 3, 5, 9, 17, 33, 64, 65, 80, 128, 129, 1_000, 100_000] {
        let (record, list) = bytes_each(each, |charge| charge);
        assert!(record <= 21.0 && list <= 9.2, "{each}: {record} + {list}");
    }
}

#[test]
fn a_side_of_a_transfer_costs_25_bytes_and_a_hold_29() {
    let week = std::time::Duration::from_secs(7 * 86_400);
    let hold = bytes_each(10, |charge| NewRecord { release_at: Some(charge.at.saturating_add(week)), ..charge }).0;
    let counterparty = UserId::new(1_000_000);
    let side = bytes_each(10, |charge| NewRecord { kind: TransactionKind::Transfer, counterparty, ..charge }).0;
    assert!(hold <= 29.1 && side <= 25.1, "{hold}, {side}");
}
