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
