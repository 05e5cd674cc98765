//! Records against the table that says how they lie in bytes, written down once more.

use super::super::layout::{self, BYTES_MAX};
use super::*;

/// What the table of `layout.rs` says, field by field.
fn laid_out(record: &NewRecord<'_>, anchor: Anchor) -> Vec<u8> {
    let code = |number: u64, widths: [usize; 4]| {
        widths.iter().position(|width| *width == 8 || number < 1 << (8 * width)).expect("a width that holds it") as u16
    };
    let (seqs, times, amounts, accounts) = ([1, 2, 4, 8], [2, 3, 4, 8], [2, 3, 4, 7], [1, 2, 3, 4]);
    let (releases, users) = ([4, 5, 6, 8], [3, 4, 5, 7]);
    let (seq, time) = (record.id.get() - anchor.seq, (record.at.micros() - anchor.micros) as u64);
    let (amount, account) = (record.amount.minor(), u64::from(record.account));
    let release = record.release_at.map(|release| (release.micros() - record.at.micros()) as u64);
    let user = record.counterparty.map(UserId::get);
    let last_seq = (record.status == Status::Pending || record.last_seq != record.id.seq()).then_some(record.last_seq);
    let parts = [
        release.is_some(),
        user.is_some(),
        last_seq.is_some(),
        record.batch.is_some(),
        record.metadata.is_some(),
        record.destination.is_some(),
    ];
    let extras = parts.iter().rev().fold(0u16, |bits, part| bits * 2 + u16::from(*part));
    let status = match record.status {
        Status::Pending => 0u16,
        Status::Completed => 1,
        Status::Failed => 2,
    };
    let kind = match record.kind {
        TransactionKind::Charge => 0u16,
        TransactionKind::Transfer => 1,
        TransactionKind::Withdrawal => 2,
        TransactionKind::Return => 3,
    };
    let mut head = status + kind * 4;
    head += if record.direction == Direction::Debit { 16 } else { 0 };
    head += if extras > 0 { 32 } else { 0 };
    head += code(seq, seqs) * 64 + code(time, times) * 256 + code(amount, amounts) * 1_024;
    head += code(account, accounts) * 4_096;
    let mut bytes = head.to_le_bytes().to_vec();
    let put = |bytes: &mut Vec<u8>, number: u64, widths: [usize; 4]| {
        bytes.extend_from_slice(&number.to_le_bytes()[..widths[usize::from(code(number, widths))]]);
    };
    if extras > 0 {
        let widths = code(release.unwrap_or(0), releases) * 64 + code(user.unwrap_or(0), users) * 256;
        bytes.extend_from_slice(&(extras + widths).to_le_bytes());
    }
    put(&mut bytes, seq, seqs);
    put(&mut bytes, time, times);
    put(&mut bytes, amount, amounts);
    put(&mut bytes, account, accounts);
    release.iter().for_each(|release| put(&mut bytes, *release, releases));
    user.iter().for_each(|user| put(&mut bytes, *user, users));
    bytes.extend_from_slice(&record.key_hash.to_le_bytes());
    last_seq.iter().for_each(|seq| bytes.extend_from_slice(&seq.get().to_le_bytes()));
    if let Some((index, count)) = record.batch {
        bytes.extend_from_slice(&index.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
    }
    if let Some(metadata) = record.metadata {
        bytes.extend_from_slice(&(metadata.as_bytes().len() as u16).to_le_bytes());
        bytes.extend_from_slice(metadata.as_bytes());
    }
    if let Some(destination) = record.destination {
        bytes.push(destination.as_str().len() as u8);
        bytes.extend_from_slice(destination.as_str().as_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

const ANCHOR: Anchor = Anchor { seq: 1_000, micros: 1_700_000_000_000_000, first: RecordRef(0) };

/// A record of which every number is narrow.
fn narrow() -> NewRecord<'static> {
    NewRecord {
        id: TransactionId::new(1_007).unwrap(),
        at: Timestamp::from_micros(ANCHOR.micros + 300).unwrap(),
        amount: Amount::new(513).unwrap(),
        key_hash: 0x0102_0304_0506_0708,
        last_seq: Seq::new(1_007),
        ..charge(1, 9)
    }
}

/// Of each number the last that a width holds and the first that it does not, as far as it may go.
fn edges(widths: &[u32], max: u64) -> Vec<u64> {
    let edges = widths.iter().flat_map(|width| [(1u64 << (8 * width)) - 1, 1 << (8 * width)]);
    edges.filter(|edge| *edge <= max).chain([1, max]).collect()
}

/// Records with each edge of each number, alone and with every set of extras, of every kind, status and direction.
fn records() -> Vec<NewRecord<'static>> {
    let mut records = vec![narrow()];
    let id = |seq: u64| NewRecord { id: TransactionId::new(seq).unwrap(), last_seq: Seq::new(seq), ..narrow() };
    records.extend(edges(&[1, 2, 4], u64::MAX - 1_001).into_iter().map(|step| id(1_000 + step)));
    let at = |micros: u64| NewRecord { at: Timestamp::from_micros(ANCHOR.micros + micros as i64).unwrap(), ..narrow() };
    let until_the_end = (Timestamp::MAX.micros() - ANCHOR.micros) as u64;
    records.extend(edges(&[2, 3, 4], until_the_end).into_iter().map(at));
    let amounts = edges(&[2, 3, 4], crate::types::INTEGER_MAX).into_iter();
    records.extend(amounts.map(|amount| NewRecord { amount: Amount::new(amount).unwrap(), ..narrow() }));
    let accounts = edges(&[1, 2, 3], u32::MAX.into()).into_iter();
    records.extend(accounts.map(|account| NewRecord { account: account as u32, ..narrow() }));
    let releases = edges(&[4, 5, 6], until_the_end - 300).into_iter();
    records.extend(releases.map(|micros| NewRecord {
        release_at: Timestamp::from_micros(narrow().at.micros() + micros as i64),
        ..narrow()
    }));
    let users = edges(&[3, 4, 5], crate::types::INTEGER_MAX).into_iter();
    records.extend(users.map(|user| NewRecord { counterparty: UserId::new(user), ..narrow() }));
    for extras in 0..64 {
        let has = |bit: u32| extras >> bit & 1 == 1;
        records.push(NewRecord {
            release_at: has(0).then(|| Timestamp::from_micros(ANCHOR.micros + 5_000_000).unwrap()),
            counterparty: has(1).then(|| UserId::new(0x01_0203).unwrap()),
            last_seq: Seq::new(if has(2) { 0x0807_0605_0403_0201 } else { 1_007 }),
            batch: has(3).then_some((0x1122_3344, 0x5566_7788)),
            metadata: has(4).then(|| Metadata::new(b"what it was for").unwrap()),
            destination: has(5).then(|| Destination::new("to a bank").unwrap()),
            ..narrow()
        });
    }
    const LONG: &[u8] = &[0xA5; Metadata::BYTES_MAX];
    const LONG_TEXT: &str = match std::str::from_utf8(&[b'd'; 200]) {
        Ok(text) => text,
        Err(_) => panic!(),
    };
    // A length that begins no text, and a text that is none without its last byte.
    for destination in [LONG_TEXT, "\u{fc}"] {
        records.push(NewRecord { destination: Destination::new(destination), ..narrow() });
    }
    for length in [1, 255, 256, 257, Metadata::BYTES_MAX] {
        let destination = Destination::new(if length % 2 == 1 { "d" } else { "dd" });
        records.push(NewRecord { metadata: Metadata::new(&LONG[..length]), destination, ..narrow() });
        records.push(NewRecord { metadata: Metadata::new(&LONG[..length]), ..narrow() });
    }
    for kind in
        [TransactionKind::Charge, TransactionKind::Transfer, TransactionKind::Withdrawal, TransactionKind::Return]
    {
        for status in [Status::Pending, Status::Completed, Status::Failed] {
            for direction in [Direction::Credit, Direction::Debit] {
                records.push(NewRecord { kind, status, direction, ..narrow() });
            }
        }
    }
    records
}

/// As it comes into an arena of its own.
fn encoded(record: &NewRecord<'_>) -> Vec<u8> {
    let mut arena = RecordArena::new();
    let encoded = layout::encode(record, ANCHOR);
    encoded.push_to(&mut arena);
    assert_eq!(arena.rest(0).len(), encoded.len());
    arena.rest(0).to_vec()
}

#[test]
fn every_record_lies_as_the_table_says_and_comes_back() {
    for record in records() {
        let bytes = encoded(&record);
        assert_eq!(bytes, laid_out(&record, ANCHOR), "{record:?}");
        // What stands behind it is another record's.
        let followed = [&bytes[..], &[0xFF; 16]].concat();
        assert_eq!(layout::decode(&followed, ANCHOR), record);
        let units = (bytes.len() / UNIT) as u32;
        assert_eq!(layout::scan(&followed, ANCHOR.seq), (record.id.get(), record.account, units), "{record:?}");
    }
}

#[test]
fn a_record_from_a_file_says_of_itself_what_it_is() {
    for record in records() {
        let bytes = encoded(&record);
        let keeps = record.status == Status::Pending || record.last_seq != record.id.seq();
        assert_eq!(layout::can_change(&bytes), keeps);
        let outline = layout::check(&bytes, ANCHOR).expect("a record");
        assert_eq!(
            (outline.units as usize * UNIT, outline.account, outline.seq, outline.micros),
            (bytes.len(), record.account, record.id.get(), record.at.micros())
        );
        assert_eq!((outline.amount, outline.is_credit), (record.amount.minor(), record.direction == Direction::Credit));
        assert_eq!((outline.release, outline.can_change), (record.release_at.map(Timestamp::micros), keeps));
    }
}

#[test]
fn a_record_that_does_not_end_within_its_bytes_is_none() {
    for record in records().into_iter().filter(|record| record.metadata.is_none_or(|m| m.as_bytes().len() < 99)) {
        let bytes = encoded(&record);
        assert_eq!(layout::units_checked(&bytes), Some((bytes.len() / UNIT) as u32));
        for length in 0..bytes.len() {
            assert_eq!(layout::units_checked(&bytes[..length]), None, "{length} of {record:?}");
            assert!(layout::check(&bytes[..length], ANCHOR).is_none());
        }
    }
}

#[test]
fn what_cannot_be_in_a_record_is_noticed() {
    let at = |needle: &[u8], bytes: &[u8]| bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    let changed = |record: &NewRecord<'_>, needle: &[u8], to: &[u8]| {
        let mut bytes = encoded(record);
        let at = at(needle, &bytes);
        bytes[at..at + to.len()].copy_from_slice(to);
        layout::check(&bytes, ANCHOR).is_some()
    };
    let whole = NewRecord {
        amount: Amount::new(0x0A0B_0C0D).unwrap(),
        counterparty: UserId::new(0x11_2233),
        metadata: Metadata::new(b"metadata"),
        destination: Destination::new("Gr\u{fc}\u{df}e"),
        ..narrow()
    };
    let text = "Gr\u{fc}\u{df}e".as_bytes();
    assert!(changed(&whole, text, text));
    assert!(!changed(&whole, &[0xC3, 0xBC], &[0xFF]), "no text");
    assert!(!changed(&whole, &[0x9F, b'e'], &[0x9F, 0xFF]), "none to the last byte");
    assert!(!changed(&whole, &[0x0D, 0x0C, 0x0B, 0x0A], &[0; 4]), "no amount");
    assert!(!changed(&whole, &[0x33, 0x22, 0x11], &[0; 3]), "no user");
    assert!(changed(&NewRecord { destination: None, ..whole }, b"\x08\0metadata", b"\x07\0"), "a byte less, of fill");
    assert!(!changed(&NewRecord { destination: None, ..whole }, b"\x08\0metadata", b"\0\0"), "no metadata");
    let bytes = encoded(&narrow());
    let none = |anchor: Anchor| layout::check(&bytes, anchor).is_none();
    assert!(none(Anchor { seq: u64::MAX - 6, ..ANCHOR }) && none(Anchor { micros: i64::MAX - 299, ..ANCHOR }));
    assert!(none(Anchor { micros: Timestamp::MAX.micros() - 299, ..ANCHOR }));
    assert!(none(Anchor { micros: Timestamp::MIN.micros() - 301, ..ANCHOR }));
    assert!(!none(Anchor { micros: Timestamp::MAX.micros() - 300, ..ANCHOR }));
    let zero = encoded(&NewRecord { id: TransactionId::new(1_000).unwrap(), last_seq: Seq::new(1_000), ..narrow() });
    assert!(layout::check(&zero, Anchor { seq: 0, ..ANCHOR }).is_none(), "no transaction");
    let held = NewRecord { release_at: Timestamp::from_micros(narrow().at.micros() + 0x0102_0304), ..narrow() };
    assert!(layout::check(&encoded(&held), Anchor { micros: Timestamp::MAX.micros() - 300, ..ANCHOR }).is_none());
}

#[test]
fn what_happened_to_a_record_can_be_written_and_forgotten() {
    for record in records().into_iter().filter(|record| record.status == Status::Pending) {
        for (status, seq) in [(Status::Completed, 1), (Status::Failed, u64::MAX), (Status::Pending, 77)] {
            let mut bytes = encoded(&record);
            layout::set_status(&mut bytes, status, Seq::new(seq));
            let changed = NewRecord { status, last_seq: Seq::new(seq), ..record };
            assert_eq!(bytes, laid_out_with_room(&changed), "{changed:?}");
            layout::forget_status(&mut bytes);
            let forgotten = NewRecord { status: Status::Pending, last_seq: Seq::ZERO, ..record };
            assert_eq!(bytes, laid_out(&forgotten, ANCHOR));
        }
    }
    for record in records() {
        let mut bytes = encoded(&record);
        layout::forget_key_hash(&mut bytes);
        assert_eq!(bytes, laid_out(&NewRecord { key_hash: 0, ..record }, ANCHOR));
        if !layout::can_change(&bytes) {
            let before = bytes.clone();
            layout::forget_status(&mut bytes);
            assert_eq!(bytes, before, "what never changes says nothing of a change");
        }
    }
}

/// As [`laid_out`], for a last seq that may be the record's own: the room is there.
fn laid_out_with_room(record: &NewRecord<'_>) -> Vec<u8> {
    let unlike = 1u64 << 63 | 1;
    let mut bytes = laid_out(&NewRecord { last_seq: Seq::new(unlike), ..*record }, ANCHOR);
    let at = bytes.windows(8).position(|window| window == unlike.to_le_bytes()).expect("a last seq");
    bytes[at..at + 8].copy_from_slice(&record.last_seq.get().to_le_bytes());
    bytes
}

#[test]
fn the_longest_record_has_everything_at_its_widest() {
    const LONG: &[u8] = &[0xA5; Metadata::BYTES_MAX];
    let text = "d".repeat(Destination::BYTES_MAX);
    let longest = NewRecord {
        id: TransactionId::new(u64::MAX - 1).unwrap(),
        at: Timestamp::MAX,
        amount: Amount::new(crate::types::INTEGER_MAX).unwrap(),
        account: u32::MAX,
        counterparty: UserId::new(crate::types::INTEGER_MAX),
        // Before the record's own time: the difference wraps, and takes all eight bytes.
        release_at: Some(Timestamp::MIN),
        metadata: Metadata::new(LONG),
        destination: Destination::new(&text),
        batch: Some((u32::MAX, u32::MAX)),
        status: Status::Pending,
        ..narrow()
    };
    // 2 + 2 + 8 + 8 + 7 + 4 + 8 + 7 + 8 + 8 + 8, the metadata and the destination with their lengths: 4,424 in units.
    let bytes = encoded(&longest);
    assert_eq!((bytes.len(), BYTES_MAX), (4_424, 4_424));
    assert_eq!(layout::decode(&bytes, ANCHOR), longest);
}
