//! Lists, anchors and bytes of a history, exactly, at every length where something begins.

use super::*;

/// Where a list has just got a run, a stretch, or is about to.
const LENGTHS: [u64; 27] =
    [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 66, 79, 80, 81, 96, 97, 127, 128, 129, 193];

/// The nth of a list that has everything that sums tell apart, and pairs of equal times.
pub(super) fn mixed(n: u64, account: u32) -> NewRecord<'static> {
    let held = charge(n, account).at.saturating_add(std::time::Duration::from_secs(n));
    let at = Timestamp::from_micros(1_700_000_000_000_000 + n as i64 / 2 * 7).unwrap();
    let amount = Amount::new(1 << (n % 40)).unwrap();
    let record = NewRecord { id: TransactionId::new(2 * n).unwrap(), at, amount, ..charge(n, account) };
    let record = NewRecord { last_seq: Seq::new(2 * n), ..record };
    let debit = Direction::Debit;
    match n % 4 {
        0 => record,
        1 => NewRecord { release_at: Some(held), ..record },
        2 => NewRecord { direction: debit, kind: TransactionKind::Transfer, counterparty: UserId::new(n), ..record },
        _ => NewRecord { direction: debit, kind: TransactionKind::Withdrawal, status: Status::Pending, ..record },
    }
}

#[test]
fn lists_of_every_length_beside_one_another_are_what_was_pushed() {
    let (mut history, mut lists) = (History::new(), [HistoryList::default(); LENGTHS.len()]);
    let mut model = vec![Vec::new(); LENGTHS.len()];
    let mut seq = 0;
    // Round by round, so that the runs of all lists lie among each other.
    for round in 0..193 {
        for (account, length) in LENGTHS.iter().enumerate().filter(|(_, length)| round < **length) {
            seq += 1;
            let record = mixed(seq, account as u32);
            model[account].push((history.push(&mut lists[account], &record), record));
            assert_eq!(model[account].len() as u64, (round + 1).min(*length));
        }
    }
    for (list, records) in lists.iter().zip(&model) {
        check_list(&history, list, records);
        assert_eq!(history.sums_through(list, Timestamp::MIN), Sums::default());
        for (reference, record) in records {
            assert_eq!(history.get(*reference), *record);
        }
    }
    // By seq: each is there, none between two is, and of an account there is only its own.
    for (account, records) in model.iter().enumerate() {
        for (reference, record) in records {
            let id = |seq: u64| TransactionId::new(seq).unwrap();
            assert_eq!(history.find(record.id, None), Some(*reference));
            assert_eq!(history.find(record.id, Some(account as u32)), Some(*reference));
            assert_eq!(history.find(record.id, Some(account as u32 + 1)), None);
            assert_eq!(
                (history.find(id(record.id.get() + 1), None), history.find(id(record.id.get() - 1), None)),
                (None, None)
            );
        }
    }
    assert_eq!(history.find(TransactionId::new(2 * seq + 2).unwrap(), None), None);
}

#[test]
fn where_no_list_is_long_nobody_looks_for_headers() {
    for length in [1, 63, 64] {
        let (mut history, mut list) = (History::new(), HistoryList::default());
        let records: Vec<_> = (1..=length)
            .map(|n| {
                let record = mixed(n, 0);
                (history.push(&mut list, &record), record)
            })
            .collect();
        check_list(&history, &list, &records);
    }
}

#[test]
fn a_list_takes_its_runs_one_after_the_other_and_no_word_more() {
    let (mut history, mut list) = (History::new(), HistoryList::default());
    // The words of a first stretch: two, then a link and twice as many each time; of a later one sixteen, a link and …
    let mut words = 0;
    for n in 0..300 {
        words += match (n / 64, n % 64) {
            (0, 1) => 2,
            (0, place @ (2 | 4 | 8 | 16 | 32)) => 1 + place,
            (1.., 0) => 16,
            (1.., place @ (16 | 32)) => 1 + place,
            _ => 0,
        };
        history.push(&mut list, &charge(n + 1, 0));
        assert_eq!(history.runs.next_address(0), words, "{} records", n + 1);
        assert_eq!((history.long.len(), list.len()), (usize::from(n >= 64), n as usize + 1));
        if n >= 64 {
            assert_eq!(history.long[list.long as usize].len() as u64, n / 64);
        }
    }
    assert_eq!(words, 2 + 3 + 5 + 9 + 17 + 33 + 3 * (16 + 17 + 33) + (16 + 17 + 33));
}

#[test]
fn the_bytes_are_those_of_the_parts() {
    let (mut history, mut lists) = (History::new(), [HistoryList::default(); 3]);
    for n in 0..1_300u64 {
        let account = [0, 1, 0, 2, 0, 0][n as usize % 6];
        history.push(&mut lists[account], &charge(n + 1, account as u32));
        if n % 50 == 49 {
            let headers: usize = (0..history.long.len()).map(|long| history.long[long].bytes()).sum();
            let parts = [history.records.bytes(), history.anchors.bytes(), history.runs.bytes(), history.long.bytes()];
            assert_eq!(history.bytes(), parts.iter().sum::<usize>() + headers);
            let unfilled = [
                history.records.unfilled_bytes(),
                history.anchors.unfilled_bytes(),
                history.runs.unfilled_bytes(),
                history.long.unfilled_bytes(),
            ];
            assert_eq!(history.unfilled_bytes(), unfilled.iter().sum::<usize>());
            assert!(n != 1_249 || unfilled.iter().all(|bytes| *bytes > 0), "{unfilled:?}");
        }
    }
    assert_eq!(history.long.len(), 3);
}

#[test]
fn the_end_of_a_list_is_what_is_touched() {
    let (mut history, mut list, mut other) = (History::new(), HistoryList::default(), HistoryList::default());
    history.push(&mut other, &charge(1, 1));
    assert_eq!(history.touch(&list), 0);
    let first = history.push(&mut list, &charge(2, 0));
    assert_eq!(history.touch(&list), 0, "a single one has no run");
    history.push(&mut list, &charge(3, 0));
    assert_eq!(history.touch(&list), first.get());
    assert!(first.get() > 1);
    // A later run begins with the address of the one before it, which is the first of all.
    history.push(&mut list, &charge(4, 0));
    assert_eq!(history.touch(&list), 0);
    for seq in 5..7 {
        history.push(&mut list, &charge(seq, 0));
    }
    assert_eq!(history.touch(&list), 2);
}

#[test]
fn there_is_an_anchor_for_each_kib_and_a_chunk_that_is_too_short_is_left() {
    let (mut history, mut list) = (History::new(), HistoryList::default());
    let metadata = [7; Metadata::BYTES_MAX];
    let mut pushed = Vec::new();
    for seq in 1..200u64 {
        // A long one now and then: some KiB have no beginning of a record, and at the end of a chunk there is no room.
        let record = match seq % 5 {
            0 => NewRecord { metadata: Metadata::new(&metadata), ..charge(3 * seq, 0) },
            _ => charge(3 * seq, 0),
        };
        pushed.push((history.push(&mut list, &record), record));
    }
    assert!(history.records.next_address(0) > 2 << 16);
    let mut expected = Vec::<Anchor>::new();
    for (reference, record) in &pushed {
        while expected.len() as u64 * 1_024 <= reference.address() {
            expected.push(Anchor { seq: record.id.get(), micros: record.at.micros(), first: *reference });
        }
    }
    assert_eq!(history.anchors.len(), expected.len());
    for (index, anchor) in expected.iter().enumerate() {
        let found = history.anchors[index];
        assert_eq!((found.seq, found.micros, found.first), (anchor.seq, anchor.micros, anchor.first));
        assert_eq!(history.anchor(index), (anchor.seq, anchor.micros));
    }
    let crossed = pushed.windows(2).filter(|pair| pair[0].0.address() >> 16 < pair[1].0.address() >> 16);
    assert!(crossed.clone().count() >= 2 && crossed.clone().all(|pair| pair[1].0.address() % (1 << 16) == 0));
    for (reference, record) in &pushed {
        assert_eq!(history.get(*reference), *record);
        assert_eq!(history.find(record.id, None), Some(*reference));
        for id in [record.id.get() - 1, record.id.get() + 1].map(|id| TransactionId::new(id).unwrap()) {
            assert_eq!(history.find(id, None), None);
        }
    }
}

#[test]
fn the_first_of_two_sides_is_found_also_on_either_side_of_an_anchor() {
    let (mut history, mut from, mut to) = (History::new(), HistoryList::default(), HistoryList::default());
    let mut sides = Vec::new();
    // Four KiB, with the first record a little longer or shorter each time.
    for seq in 1..90 {
        let side = NewRecord { kind: TransactionKind::Transfer, ..charge(seq * 2, 1) };
        let debit = NewRecord { direction: Direction::Debit, counterparty: UserId::new(1 << (seq % 40)), ..side };
        let sent = history.push(&mut from, &debit);
        sides.push((
            side.id,
            sent,
            history.push(&mut to, &NewRecord { account: 2, counterparty: UserId::new(1), ..side }),
        ));
    }
    assert!(sides.iter().any(|(_, sent, received)| sent.anchor() < received.anchor()));
    for (id, sent, received) in sides {
        assert_eq!(history.find(id, None), Some(sent));
        assert_eq!((history.find(id, Some(1)), history.find(id, Some(2))), (Some(sent), Some(received)));
        assert_eq!(history.find(id, Some(3)), None);
    }
}

#[test]
fn a_reference_is_the_number_that_it_gives() {
    for number in [0, 1, 2, 77, u32::MAX] {
        let reference = RecordRef::from_raw(number);
        assert_eq!((reference.get(), reference.address()), (number, u64::from(number) * 4));
        assert_eq!((RecordRef::at(reference.address()), reference.anchor()), (reference, number as usize / 256));
    }
}
