//! What lies in the arena and the index of a shard's keys, exactly, and how it is carried over.

use super::*;

fn hash(n: u64) -> u64 {
    (n ^ n << 40).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

/// Keys of 1 to 60 bytes, settled by their own entries and each third by a later one.
fn told(count: u64) -> KeyShard {
    let mut shard = KeyShard::new();
    for n in 1..=count {
        let seq = Seq::new(if n % 3 == 0 { n + 1_000_000 } else { n });
        shard.settle_by(hash(n), &key(n), !n, id(n), seq);
    }
    shard
}

fn key(n: u64) -> String {
    format!("{n:0width$}", width = (n % 60) as usize + 1)
}

/// All records from `address` on, with their addresses.
fn records(shard: &KeyShard, mut address: u64) -> Vec<(u64, Vec<u8>, TransactionId, Vec<u8>)> {
    let mut records = Vec::new();
    while let Some((mut bytes, next)) = shard.piece(address) {
        while let Some(record) = KeyRecord::first(bytes) {
            records.push((address, record.bytes.to_vec(), record.id, record.key.to_vec()));
            bytes = &bytes[record.bytes.len()..];
            address += record.bytes.len() as u64;
        }
        assert!(bytes.is_empty(), "whole records");
        assert!(next > address - 1 && next % CHUNK_BYTES == 0 && next - CHUNK_BYTES < address);
        address = next;
    }
    records
}

#[test]
fn a_record_lies_as_it_is_said() {
    let mut shard = KeyShard::new();
    shard.settle(5, "ab", 0x1122_3344_5566_7788, id(0x0102_0304_0506));
    let bytes = [2, 6, 5, 4, 3, 2, 1, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, b'a', b'b'];
    assert_eq!(shard.piece(0), Some((&bytes[..], 1 << 16)));
    let record = KeyRecord::first(&bytes).unwrap();
    assert_eq!((record.bytes, record.id, record.key), (&bytes[..], id(0x0102_0304_0506), &b"ab"[..]));
    let followed = [&bytes[..], &[9; 40]].concat();
    assert_eq!(KeyRecord::first(&followed), Some(record));
    for length in 0..bytes.len() {
        assert_eq!(KeyRecord::first(&bytes[..length]), None, "{length} bytes");
    }
    let changed = |at: usize, to: u8| {
        let mut bytes = bytes;
        bytes[at] = to;
        KeyRecord::first(&bytes).is_some()
    };
    assert!(changed(0, 1) && !changed(0, 0) && !changed(0, 3));
    assert_eq!(KeyRecord::first(&[[1].as_slice(), &[0; 6], &[1; 9]].concat()), None, "no transaction has the id 0");
    assert_eq!(KeyRecord::BYTES_MIN, 16);
    assert_eq!(shard.lookup(5, "ab"), Lookup::Settled { id: id(0x0102_0304_0506), fingerprint: 0x1122_3344_5566_7788 });
}

#[test]
fn records_lie_in_the_order_in_which_they_were_settled_and_say_who_settled_them() {
    // Several chunks.
    let shard = told(4_000);
    assert!(shard.end() > 2 << 16);
    let all = records(&shard, 0);
    assert_eq!(all.len(), 4_000);
    for (n, (address, bytes, of, text)) in (1u64..).zip(&all) {
        assert_eq!((bytes.len(), *of, &text[..]), (HEAD + key(n).len(), id(n), key(n).as_bytes()));
        let by = if n % 3 == 0 { n + 1_000_000 } else { n };
        assert_eq!(shard.settled_by(*address, *of), Seq::new(by));
        assert_eq!(shard.lookup(hash(n), &key(n)), Lookup::Settled { id: id(n), fingerprint: !n });
    }
    assert_eq!(shard.later.len(), 4_000 / 3);
    let from = all[1_700].0;
    assert_eq!(records(&shard, from), all[1_700..]);
    assert_eq!((shard.piece(shard.end()), shard.piece(shard.end() + 1)), (None, None));
    assert_eq!(KeyShard::new().piece(0), None);
    assert_eq!((KeyShard::new().end(), told(1).end()), (0, 17));
}

#[test]
fn restored_keys_are_what_they_were() {
    let (shard, mut again) = (told(500), KeyShard::new());
    again.expect(500);
    let expected = again.bytes();
    let mut expectation = SlotIndex::new();
    expectation.expect(500);
    assert_eq!(expected, expectation.bytes());
    for (n, (address, bytes, ..)) in (1..).zip(records(&shard, 0)) {
        assert_eq!(again.end(), address);
        assert!(again.restore(hash(n), &KeyRecord::first(&bytes).unwrap(), id(n).seq()));
    }
    for n in 1..=500 {
        assert_eq!(again.lookup(hash(n), &key(n)), Lookup::Settled { id: id(n), fingerprint: !n });
        assert_eq!(again.key_of(hash(n), id(n)), Some(&*key(n)));
        assert_eq!(again.key_of(hash(n), id(n + 1)), None);
    }
    assert_eq!((again.end(), again.lookup(hash(501), &key(501))), (shard.end(), Lookup::Free));
}

#[test]
fn the_bytes_are_those_of_the_parts() {
    let mut shard = told(100);
    (0..9).for_each(|n| shard.claim(n));
    let parts = shard.index.bytes() + shard.records.bytes();
    assert!(shard.later.capacity() > 1 && shard.claims.hashes.capacity() > 1);
    assert_eq!(shard.bytes(), parts + shard.later.capacity() * 16 + shard.claims.hashes.capacity() * 8);
    assert_eq!(shard.unfilled_bytes(), (1 << 16) - shard.end() as usize);
    assert_eq!((KeyShard::new().bytes(), KeyShard::new().unfilled_bytes()), (0, 0));
}

#[test]
fn what_is_touched_is_read() {
    let mut shard = KeyShard::new();
    assert_eq!((shard.touch(shard.start(7)), shard.touch_record(7)), (0, 0));
    shard.settle(7, "a key of nineteen b", 1, id(1));
    assert_eq!(shard.touch_record(7), 19, "its length");
    assert!(shard.touch(shard.start(7)) > 1);
    assert_eq!(shard.touch_record(8), 0);
}

#[test]
fn claims_are_noted_once_and_given_back_one_by_one() {
    let mut shard = KeyShard::new();
    [5, 3, 5, 9].into_iter().for_each(|hash| shard.claim(hash));
    let sorted = |shard: &KeyShard| {
        let mut claims = shard.claims();
        claims.sort_unstable();
        claims
    };
    assert_eq!(sorted(&shard), [3, 5, 9]);
    assert!(shard.is_claimed(5) && !shard.is_claimed(4));
    shard.release(5);
    shard.release(4);
    assert_eq!(sorted(&shard), [3, 9]);
    shard.settle(9, "nine", 0, id(1));
    assert_eq!(sorted(&shard), [3]);
    assert_eq!((shard.lookup(3, "three"), shard.lookup(9, "other")), (Lookup::Claimed, Lookup::Free));
}

#[test]
fn claims_given_back_together_leave_those_of_others() {
    // 8 and 72 are told apart by more than their bit, and so are 1 and 65.
    for others in [vec![], vec![8, 72]] {
        let mut shard = KeyShard::new();
        [1, 65, 3].iter().chain(&others).for_each(|hash| shard.claim(*hash));
        shard.add(1, "one", 0, id(1));
        assert_eq!(shard.lookup(1, "other"), Lookup::Claimed, "it is settled, and claimed still");
        shard.release_all(&[1, 65, 3]);
        let mut left = shard.claims();
        left.sort_unstable();
        assert_eq!(left, others);
        assert_eq!(shard.lookup(1, "one"), Lookup::Settled { id: id(1), fingerprint: 0 });
        for hash in [1, 3, 8, 65, 72, 129] {
            let expected = if others.contains(&hash) { Lookup::Claimed } else { Lookup::Free };
            assert_eq!(shard.lookup(hash, "other"), expected, "{hash}");
        }
    }
}
