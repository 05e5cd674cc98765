//! A history that is carried over piece by piece is what it was.

use super::super::settle_bytes;
use super::exact::mixed;
use super::*;

/// Records of three accounts, some so long that chunks end early.
fn told() -> (History, [HistoryList; 3], Vec<(RecordRef, NewRecord<'static>)>) {
    static LONG: [u8; Metadata::BYTES_MAX] = [7; Metadata::BYTES_MAX];
    let (mut history, mut lists, mut records) = (History::new(), [HistoryList::default(); 3], Vec::new());
    for n in 1..400 {
        let account = [0, 1, 0, 2][n as usize % 4];
        let record = mixed(n, account);
        let record = if n % 13 == 0 { NewRecord { metadata: Metadata::new(&LONG), ..record } } else { record };
        records.push((history.push(&mut lists[account as usize], &record), record));
    }
    (history, lists, records)
}

/// The pieces of a history up to `end`, with where each begins.
fn pieces(history: &History, end: u64) -> Vec<(u64, Vec<u8>)> {
    let (mut at, mut pieces) = (0, Vec::new());
    while at < end {
        let (bytes, next) = history.piece(at, end);
        pieces.push((at, bytes.to_vec()));
        at = next;
    }
    assert_eq!(at, end);
    pieces
}

#[test]
fn pieces_are_chunks_and_end_where_they_are_to() {
    let (history, ..) = told();
    let end = history.end();
    assert_eq!((end.address, end.anchors), (history.records.next_address(0), history.anchors.len()));
    let whole = pieces(&history, end.address);
    let chunk = 1u64 << 16;
    assert!(whole.len() >= 3);
    for (index, (at, bytes)) in whole.iter().enumerate() {
        assert_eq!(*at, index as u64 * chunk);
        assert_eq!(bytes[..], *history.records.rest(*at));
    }
    // From the middle of a chunk, to the middle of the same and of a later one, and to its end.
    for (from, end) in [(40, 400), (40, chunk), (40, chunk + 4_000), (chunk - 8, chunk), (chunk, chunk + 40)] {
        let (bytes, next) = history.piece(from, end);
        let last = end.min((from / chunk + 1) * chunk);
        let rest = history.records.rest(from);
        assert_eq!((bytes, next), (&rest[..rest.len().min((last - from) as usize)], last), "{from} to {end}");
    }
}

#[test]
fn a_restored_history_is_what_it_was() {
    let (history, lists, records) = told();
    let anchors: Vec<_> = (0..history.end().anchors).map(|index| history.anchor(index)).collect();
    let (mut again, mut made) = (History::new(), [HistoryList::default(); 3]);
    let mut expected = records.iter();
    for (at, bytes) in pieces(&history, history.end().address) {
        assert!(again.restore_piece(at, &bytes));
        let (mut at, end) = (at, at + bytes.len() as u64);
        while at < end {
            let restored = again.restored(at, &anchors).expect("a record");
            let (reference, record) = expected.next().expect("no more than there were");
            assert_eq!((restored.reference, restored.account), (*reference, record.account));
            assert_eq!((restored.seq, restored.at), (record.id.seq(), record.at));
            let hold = record.release_at.filter(|_| record.direction == Direction::Credit);
            assert_eq!(restored.hold, hold.map(|release| (record.amount.minor(), release)));
            assert_eq!(restored.can_change, record.status == Status::Pending);
            assert_eq!(again.can_change(*reference), record.status == Status::Pending);
            again.restore_to_list(&mut made[record.account as usize], &restored);
            at = restored.next();
        }
        assert_eq!(at, end);
    }
    assert!(expected.next().is_none());
    assert_eq!((again.end(), made), (history.end(), lists));
    for account in 0..3 {
        let own: Vec<_> = records.iter().copied().filter(|(_, record)| record.account == account).collect();
        check_list(&again, &made[account as usize], &own);
    }
    for (reference, record) in &records {
        assert_eq!((again.get(*reference), again.find(record.id, None)), (*record, Some(*reference)));
    }
}

#[test]
fn records_that_do_not_follow_are_refused() {
    let (history, ..) = told();
    let (bytes, _) = history.piece(0, 400);
    let mut again = History::new();
    assert!(!again.restore_piece(4, bytes) && !again.restore_piece(1 << 16, bytes));
    assert!(again.restore_piece(0, bytes));
    assert!(!again.restore_piece(0, bytes) && !again.restore_piece(396, bytes) && !again.restore_piece(404, bytes));
    // Not a multiple of the unit, though it is where they end.
    assert!(again.restore_piece(400, &bytes[..3]) && !again.restore_piece(403, bytes));
    assert!(!again.restore_piece(BYTES_END, bytes), "no reference reaches that far");
    let mut none = History::new();
    assert!(none.restore_piece(0, bytes));
    assert!(none.restored(0, &[]).is_none() && none.restored(400, &[(1, 1)]).is_none());
}

#[test]
fn settled_bytes_say_nothing_of_what_came_later_nor_of_the_seed() {
    let (mut history, ..) = told();
    let end = history.end().address;
    let copy = |history: &History| pieces(history, end);
    let (before, records) = (copy(&history), told().2);
    for (reference, record) in &records {
        if record.status == Status::Pending {
            history.set_status(*reference, Status::Failed, Seq::new(999_999));
        }
    }
    let mut count = 0;
    for ((_, mut old), (_, mut new)) in before.into_iter().zip(copy(&history)) {
        assert_ne!(old, new);
        let each = settle_bytes(&mut old, false);
        assert_eq!(each, settle_bytes(&mut new, false));
        assert_eq!(old, new);
        count += each;
        settle_bytes(&mut new, true);
        assert_ne!(old, new, "the hashes are gone, too");
    }
    assert_eq!(count, records.len() as u64);
    let (bytes, _) = history.piece(0, records[3].0.address());
    let mut three = bytes.to_vec();
    assert_eq!(settle_bytes(&mut three, true), 3);
    let hashes = records[..3].iter().map(|(_, record)| record.key_hash.to_le_bytes());
    assert!(hashes.into_iter().all(|hash| !three.windows(8).any(|window| window == hash)));
}

#[test]
#[should_panic(expected = "whole records were copied")]
fn half_a_record_is_no_whole_one() {
    let (history, _, records) = told();
    let (bytes, _) = history.piece(0, records[1].0.address() - 4);
    settle_bytes(&mut bytes.to_vec(), false);
}
