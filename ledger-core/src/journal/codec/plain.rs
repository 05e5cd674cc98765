//! A second decoder, of what nearly every log is full of: a completed charge or transfer of one posting, with a key of
//! ASCII and nothing attached. It reads no more than that, and what it reads the general decoder reads alike, which a
//! test holds against bytes of every kind; what it does not read is left to the general one to read or to refuse.

use super::{HAS_RELEASE, TRANSACTION};
use crate::state::apply::is_between_its_parties;
use crate::state::{Party, Posting};
use crate::types::{Amount, Currency, Timestamp, UserId};
use crate::view::TransactionKind;

/// A completed charge or transfer of one posting, between the parties that it has, with nothing attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PlainEntry<'a> {
    /// A charge or a transfer.
    pub(crate) kind: TransactionKind,
    /// Printable ASCII.
    pub(crate) key: &'a [u8],
    pub(crate) fingerprint: u128,
    pub(crate) posting: Posting,
}

/// What stands before the key: the entry's kind, the transaction's, flags and the key's length.
const HEAD: usize = 4;
const FINGERPRINT: usize = 16;

/// The entry that fills `bytes` exactly, if it is plain.
#[inline]
pub(crate) fn decode_plain(bytes: &[u8]) -> Option<PlainEntry<'_>> {
    let &[TRANSACTION, kind, 0, key_len, ..] = bytes else { return None };
    let kind = match kind {
        1 => TransactionKind::Charge,
        2 => TransactionKind::Transfer,
        _ => return None,
    };
    let (key, rest) = bytes[HEAD..].split_at_checked(key_len.into())?;
    let (fingerprint, rest) = rest.split_first_chunk::<FINGERPRINT>()?;
    let &[1, shape, ref rest @ ..] = rest else { return None };
    if key.is_empty() || !is_printable_ascii(key) {
        return None;
    }
    let (code, rest) = rest.split_at_checked(usize::from(shape >> 5) + 3)?;
    let mut numbers = Numbers(rest);
    let posting = Posting {
        currency: Currency::from_code(code)?,
        amount: Amount::new(numbers.next()?)?,
        debit: numbers.party(shape & 3)?,
        credit: numbers.party(shape >> 2 & 3)?,
        release_at: if shape & HAS_RELEASE == 0 { None } else { Some(numbers.time()?) },
    };
    let is_plain = numbers.0.is_empty() && is_between_its_parties(kind, &posting);
    is_plain.then_some(PlainEntry { kind, key, fingerprint: u128::from_le_bytes(*fingerprint), posting })
}

/// Whether all bytes are within 0x20 ..= 0x7E: eight at a time.
#[inline]
fn is_printable_ascii(bytes: &[u8]) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // What sets the highest bit of a byte: itself where it is no ASCII, one more where it is 0x7F; and what clears it, if it
    // is set first: 0x20 less. No byte borrows from or carries to its neighbour, unless that is refused already.
    let bad = |word: u64| word | word.wrapping_add(ONES) | !(word | HIGH).wrapping_sub(ONES << 5);
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    let found = words.iter().fold(bad(u64::from_le_bytes(last)), |found, word| found | bad(u64::from_le_bytes(*word)));
    found & HIGH == 0
}

/// Varints that are left to read.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    /// A number of at most 63 bits: no larger one is plain.
    #[inline]
    fn next(&mut self) -> Option<u64> {
        let mut value = 0;
        for (index, byte) in self.0.iter().take(9).enumerate() {
            value |= u64::from(byte & 0x7F) << (7 * index);
            if *byte < 0x80 {
                self.0 = &self.0[index + 1..];
                // A zero at the end is a longer form than there needs to be.
                return (*byte != 0 || index == 0).then_some(value);
            }
        }
        None
    }

    /// A user or the world outside: no other is a party of what is plain.
    #[inline]
    fn party(&mut self, code: u8) -> Option<Party> {
        Some(match code {
            0 => Party::User(UserId::new(self.next()?)?),
            1 => Party::External,
            _ => return None,
        })
    }

    #[inline]
    fn time(&mut self) -> Option<Timestamp> {
        let zigzag = self.next()?;
        Timestamp::from_micros((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_printable_where_each_of_its_bytes_is() {
        for len in 1..=40 {
            assert!(is_printable_ascii(&vec![b'a'; len]));
            for (at, byte) in (0..len).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
                for others in [b' ', b'~'] {
                    let mut key = vec![others; len];
                    key[at] = byte;
                    assert_eq!(is_printable_ascii(&key), (0x20..0x7F).contains(&byte), "{byte:#x} at {at} of {len}");
                }
            }
            // What two words find does not cancel out.
            for byte in [0, 0x1F, 0x7F, 0x80, 0xFF] {
                assert!(!is_printable_ascii(&vec![byte; len]), "{len} times {byte:#x}");
            }
        }
    }
}
