//! Integers, byte by byte.

use super::*;

fn varint(bytes: &[u8]) -> Result<(u64, usize), &'static str> {
    let mut input = Input(bytes);
    Ok((input.varint()?, input.0.len()))
}

#[test]
fn an_integer_has_one_form() {
    assert_eq!((varint(&[0]), varint(&[0x7F, 9])), (Ok((0, 0)), Ok((127, 1))));
    assert_eq!(varint(&[0x80, 1]), Ok((128, 0)));
    assert_eq!(varint(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]), Ok((u64::MAX, 0)));
    for overlong in [&[0x80, 0][..], &[0xFF, 0], &[0x80, 0x80, 0]] {
        assert_eq!(varint(overlong), Err("an integer that is longer than it needs to be"));
    }
    assert_eq!(varint(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2]), Err("an integer that is too large"));
    assert_eq!((varint(&[]), varint(&[0x80])), (Err("bytes that end early"), Err("bytes that end early")));
}

#[test]
fn the_plain_decoder_reads_numbers_in_their_one_form() {
    let (currency, amount) = (Currency::USD, Amount::new(300).unwrap());
    let credit = Party::User(UserId::new(7).unwrap());
    let posting = Posting { currency, amount, debit: Party::External, credit, release_at: Some(Timestamp::EPOCH) };
    let entry = TransactionEntry {
        kind: TransactionKind::Charge,
        status: Status::Completed,
        key: IdempotencyKey::new("key").unwrap(),
        fingerprint: Fingerprint::new(9),
        postings: smallvec::smallvec![posting],
        destination: None,
        metadata: None,
        batch: None,
    };
    let mut bytes = Vec::new();
    encode_transaction(&entry, &mut bytes);
    assert_eq!(bytes[bytes.len() - 4..], [0xAC, 2, 7, 0], "the amount, the user and the time");
    assert_eq!(decode_plain(&bytes).map(|plain| plain.posting), Some(posting));
    bytes.truncate(bytes.len() - 2);
    for (numbers, is_plain) in
        [(&[7, 0][..], true), (&[0x87, 0, 0], false), (&[7, 0x80, 0], false), (&[0x87, 1, 2], true), (&[7], false)]
    {
        assert_eq!(decode_plain(&[&bytes, numbers].concat()).is_some(), is_plain, "{numbers:?}");
    }
}
