//! A frame: the bytes of one group commit, and the records in it. The layout is in the [module's doc](super).

use uuid::Uuid;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

use super::names;
use crate::error::OpenError;
use crate::types::{Epoch, Seq, Timestamp};

/// Frames begin and end on multiples of this, so that no write touches a block that holds acknowledged bytes.
pub(super) const BLOCK: usize = 4096;
pub(super) const HEADER_BYTES: usize = 80;
const HEADER_CHECKSUM_AT: usize = 72;
const CHAIN_BYTES: usize = 16;
const MAGIC: [u8; 4] = *b"LFRM";
/// The newest frame version that is written and read.
const VERSION: u8 = 1;

/// The most that a record takes beside its own bytes: a length below 2^28 and a time difference below 2^63 as varints.
pub(super) const RECORD_OVERHEAD_MAX: usize = 4 + 9;
/// The most that a frame takes on the disk beside its payload.
pub(super) const FRAME_OVERHEAD_MAX: usize = HEADER_BYTES + CHAIN_BYTES + BLOCK - 1;

/// XXH3-128 over a frame and, by way of its header, over all frames before it.
pub(crate) type Chain = u128;

/// Seeds every checksum with the ledger's identity, so that another ledger's bytes are never taken for ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seal(u64);

impl Seal {
    pub(super) fn of(uuid: Uuid) -> Seal {
        Seal(xxh3_64(uuid.as_bytes()))
    }

    pub(super) fn checksum(self, bytes: &[u8]) -> u64 {
        xxh3_64_with_seed(bytes, self.0)
    }

    fn chain(self, bytes: &[u8]) -> Chain {
        xxh3_128_with_seed(bytes, self.0)
    }
}

/// Where a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FramePlace {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

impl FramePlace {
    #[cfg(test)]
    pub(crate) fn new(segment: u64, offset: u64) -> FramePlace {
        FramePlace { segment, offset }
    }

    /// Says that what is in the record `seq`, which lies there, cannot be.
    pub(crate) fn damaged(self, seq: Seq, reason: String) -> OpenError {
        let file = names::segment(self.segment);
        OpenError::Damaged { file, offset: self.offset, seq: Some(seq.get()), reason }
    }
}

/// What a frame is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The first of a segment: where the log comes from.
    Link = 1,
    Records = 2,
    /// The log was closed in good order: nothing follows in this segment.
    Closing = 3,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) payload_bytes: u32,
    /// How many records: none in a link or a closing frame.
    pub(super) count: u32,
    pub(super) segment: u64,
    pub(super) epoch: Epoch,
    /// The first record's seq; the next record's, where there is none.
    pub(super) first_seq: Seq,
    /// Known to be synced when the frame was written.
    pub(super) durable: Seq,
    /// The first record's time; the last record's before, where there is none.
    pub(super) base_time: Timestamp,
    pub(super) previous: Chain,
}

/// Why bytes are not a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NotAFrame {
    /// No header with a right checksum.
    Header,
    /// A right header of a kind that this version does not know.
    Newer(String),
    /// The header is right; the frame's chain is not.
    Chain,
}

impl Header {
    pub(super) fn last_seq(&self) -> Seq {
        Seq::new(self.first_seq.get() + u64::from(self.count) - 1)
    }

    pub(super) fn next_seq(&self) -> Seq {
        Seq::new(self.first_seq.get() + u64::from(self.count))
    }

    pub(super) fn frame_bytes(&self) -> u64 {
        frame_bytes(self.payload_bytes as usize)
    }

    /// Whether the frame, in a segment of the epoch `segment`, may be a copy of one that was there in the epoch `then`, with a chain
    /// of its own: an opening copies what was not known to be durable, under the epoch that it had.
    pub(super) fn is_copied_since(&self, then: Epoch, segment: Epoch) -> bool {
        segment > then && self.epoch <= then
    }

    fn encode(&self, to: &mut [u8], seal: Seal) {
        to[..4].copy_from_slice(&MAGIC);
        to[4] = VERSION;
        to[5] = self.kind as u8;
        to[6..8].fill(0);
        to[8..12].copy_from_slice(&self.payload_bytes.to_le_bytes());
        to[12..16].copy_from_slice(&self.count.to_le_bytes());
        to[16..24].copy_from_slice(&self.segment.to_le_bytes());
        to[24..32].copy_from_slice(&self.epoch.get().to_le_bytes());
        to[32..40].copy_from_slice(&self.first_seq.get().to_le_bytes());
        to[40..48].copy_from_slice(&self.durable.get().to_le_bytes());
        to[48..56].copy_from_slice(&self.base_time.micros().to_le_bytes());
        to[56..72].copy_from_slice(&self.previous.to_le_bytes());
        let checksum = seal.checksum(&to[..HEADER_CHECKSUM_AT]);
        to[HEADER_CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    }

    /// The header at the start of `bytes`. Its length is believed only because its checksum is right.
    pub(super) fn decode(bytes: &[u8], seal: Seal) -> Result<Header, NotAFrame> {
        if bytes.len() < HEADER_BYTES
            || bytes[..4] != MAGIC
            || u64_at(bytes, HEADER_CHECKSUM_AT) != seal.checksum(&bytes[..HEADER_CHECKSUM_AT])
        {
            return Err(NotAFrame::Header);
        }
        if bytes[4] > VERSION {
            return Err(NotAFrame::Newer(format!("a frame of version {}", bytes[4])));
        }
        let kind = match bytes[5] {
            1 => Kind::Link,
            2 => Kind::Records,
            3 => Kind::Closing,
            other => return Err(NotAFrame::Newer(format!("a frame of type {other}"))),
        };
        let base_time = i64::from_le_bytes(bytes[48..56].try_into().expect("eight bytes"));
        let (count, first_seq) = (u32_at(bytes, 12), u64_at(bytes, 32));
        if first_seq == 0
            || first_seq.checked_add(u64::from(count)).is_none()
            || (count == 0) == (kind == Kind::Records)
        {
            return Err(NotAFrame::Header);
        }
        Ok(Header {
            kind,
            payload_bytes: u32_at(bytes, 8),
            count,
            segment: u64_at(bytes, 16),
            epoch: Epoch::new(u64_at(bytes, 24)),
            first_seq: Seq::new(first_seq),
            durable: Seq::new(u64_at(bytes, 40)),
            base_time: Timestamp::from_micros(base_time).ok_or(NotAFrame::Header)?,
            previous: u128::from_le_bytes(bytes[56..72].try_into().expect("sixteen bytes")),
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// What a frame with so much payload takes.
pub(super) const fn frame_bytes(payload: usize) -> u64 {
    (HEADER_BYTES + payload + CHAIN_BYTES).next_multiple_of(BLOCK) as u64
}

/// Makes a frame of `buf`, in place: the payload stands after room for the header. Returns its chain.
pub(super) fn finish(buf: &mut Vec<u8>, mut header: Header, seal: Seal) -> Chain {
    header.payload_bytes = u32::try_from(buf.len() - HEADER_BYTES).expect("a payload is bounded by 8 MiB");
    header.encode(&mut buf[..HEADER_BYTES], seal);
    let end = header.frame_bytes() as usize;
    buf.resize(end, 0);
    rechain(buf, seal)
}

/// Puts a frame's chain at its end.
pub(super) fn rechain(frame: &mut [u8], seal: Seal) -> Chain {
    let (hashed, stored) = frame.split_at_mut(frame.len() - CHAIN_BYTES);
    let chain = seal.chain(hashed);
    stored.copy_from_slice(&chain.to_le_bytes());
    chain
}

/// The chain of a whole frame, if it is right.
pub(super) fn check(frame: &[u8], seal: Seal) -> Result<Chain, NotAFrame> {
    let (hashed, stored) = frame.split_at(frame.len() - CHAIN_BYTES);
    let chain = seal.chain(hashed);
    if stored == chain.to_le_bytes() { Ok(chain) } else { Err(NotAFrame::Chain) }
}

/// Appends one record to a payload. `after` is the time of the record before it in the frame.
pub(super) fn push_record(payload: &mut Vec<u8>, after: Timestamp, time: Timestamp, record: &[u8]) {
    push_varint(payload, record.len() as u64);
    push_varint(payload, time.micros().abs_diff(after.micros()));
    payload.extend_from_slice(record);
}

/// Appends a number to a payload.
pub(super) fn push_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        let bits = u64::from(byte & 0x7F);
        if bits << shift >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The records of a payload, with their times; `None` in place of the first that cannot be read.
pub(super) struct Records<'a> {
    rest: &'a [u8],
    left: u32,
    time: Timestamp,
}

impl<'a> Records<'a> {
    pub(super) fn of(header: &Header, frame: &'a [u8]) -> Records<'a> {
        let payload = &frame[HEADER_BYTES..HEADER_BYTES + header.payload_bytes as usize];
        Records { rest: payload, left: header.count, time: header.base_time }
    }

    fn take(&mut self) -> Option<(Timestamp, &'a [u8])> {
        let length = usize::try_from(take_varint(&mut self.rest)?).ok()?;
        let later = i64::try_from(take_varint(&mut self.rest)?).ok()?;
        self.time = Timestamp::from_micros(self.time.micros().checked_add(later)?)?;
        let (record, rest) = self.rest.split_at_checked(length)?;
        (self.rest, self.left) = (rest, self.left - 1);
        // What follows the last record would be bytes that nobody reads.
        (self.left > 0 || rest.is_empty()).then_some((self.time, record))
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Option<(Timestamp, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let taken = self.take();
        if taken.is_none() {
            self.left = 0;
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(count: u32, base_time: Timestamp) -> Header {
        Header {
            kind: Kind::Records,
            payload_bytes: 0,
            count,
            segment: 3,
            epoch: Epoch::new(4),
            first_seq: Seq::new(5),
            durable: Seq::new(2),
            base_time,
            previous: 7,
        }
    }

    fn build(records: &[(Timestamp, Vec<u8>)]) -> (Vec<u8>, Chain, Seal) {
        let seal = Seal::of(Uuid::from_u128(9));
        let mut buf = vec![0; HEADER_BYTES];
        let mut after = records[0].0;
        for (time, record) in records {
            let before = buf.len();
            push_record(&mut buf, after, *time, record);
            assert!(buf.len() - before <= record.len() + RECORD_OVERHEAD_MAX);
            after = *time;
        }
        let chain = finish(&mut buf, header(records.len() as u32, records[0].0), seal);
        (buf, chain, seal)
    }

    proptest! {
        #[test]
        fn records_come_back_from_a_frame_as_they_went_in(
            mut times in prop::collection::vec(Timestamp::MIN.micros()..=Timestamp::MAX.micros(), 1..40),
            bytes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 40),
        ) {
            times.sort_unstable();
            let records: Vec<_> =
                times.iter().zip(bytes).map(|(time, bytes)| (Timestamp::from_micros(*time).unwrap(), bytes)).collect();
            let (frame, chain, seal) = build(&records);
            prop_assert_eq!(frame.len() % BLOCK, 0);
            let decoded = Header::decode(&frame, seal).unwrap();
            prop_assert_eq!(decoded.frame_bytes(), frame.len() as u64);
            prop_assert_eq!(Header { payload_bytes: 0, ..decoded }, header(records.len() as u32, records[0].0));
            prop_assert_eq!(check(&frame, seal), Ok(chain));
            let read: Option<Vec<_>> =
                Records::of(&decoded, &frame).map(|taken| taken.map(|(time, bytes)| (time, bytes.to_vec()))).collect();
            prop_assert_eq!(read, Some(records));
        }

        #[test]
        fn no_payload_makes_the_reader_panic(payload in prop::collection::vec(any::<u8>(), 0..200), count in 1u32..20) {
            let mut frame = vec![0; HEADER_BYTES];
            frame.extend_from_slice(&payload);
            let header = Header { payload_bytes: payload.len() as u32, ..header(count, Timestamp::EPOCH) };
            prop_assert!(Records::of(&header, &frame).count() <= count as usize);
        }

        #[test]
        fn no_bytes_make_the_header_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Header::decode(&bytes, Seal(1)).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let (frame, _, seal) = build(&[(Timestamp::EPOCH, vec![1; 50]), (Timestamp::EPOCH, vec![2; 10])]);
        for bit in 0..frame.len() * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(check(&bad, seal).is_err());
            assert_eq!(Header::decode(&bad, seal).is_err(), bit < HEADER_BYTES * 8, "bit {bit}");
        }
        assert!(check(&frame, Seal::of(Uuid::from_u128(10))).is_err());
    }
}
