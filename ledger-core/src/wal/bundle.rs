//! Records on their way into the log together.

use super::frame::push_varint;
use crate::types::Timestamp;

/// Records that are appended at once, with adjacent seqs and one time, in one frame: laid out as they will lie there, so that
/// nothing but a copy is done while the log is locked. For a log that keeps nothing they are only counted.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    /// Each record behind its length and by how much it is later than the one before, which is nothing.
    framed: Vec<u8>,
    count: usize,
    /// Of the records themselves.
    bytes: usize,
    is_kept: bool,
}

impl Bundle {
    /// Without a record.
    pub(super) fn new(is_kept: bool) -> Bundle {
        Bundle { is_kept, ..Bundle::default() }
    }

    /// Of these records.
    pub(crate) fn of(records: &[&[u8]]) -> Bundle {
        let mut bundle = Bundle::new(true);
        records.iter().for_each(|record| bundle.push(record.len(), |bytes| bytes.extend_from_slice(record)));
        bundle
    }

    /// Adds a record: what `encode` appends, for which room for about `bytes` is made.
    #[inline]
    pub(crate) fn push(&mut self, bytes: usize, encode: impl FnOnce(&mut Vec<u8>)) {
        self.count += 1;
        if !self.is_kept {
            return;
        }
        let start = self.framed.len();
        self.framed.reserve(HEAD + bytes);
        self.framed.extend_from_slice(&[0; HEAD]);
        encode(&mut self.framed);
        let len = self.framed.len() - start - HEAD;
        self.bytes += len;
        match u8::try_from(len) {
            Ok(short) if short < 0x80 => self.framed[start] = short,
            _ => self.make_room_for_length(start, len),
        }
    }

    /// A length of more than one byte: what comes behind it is moved.
    #[cold]
    fn make_room_for_length(&mut self, start: usize, len: usize) {
        let mut length = Vec::with_capacity(HEAD);
        push_varint(&mut length, len as u64);
        self.framed.splice(start..=start, length);
    }

    /// Whether it has the records, and does not only count them.
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// How many records there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Bytes of the records themselves.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes all records out.
    pub(crate) fn clear(&mut self) {
        self.framed.clear();
        (self.count, self.bytes) = (0, 0);
    }

    /// Appends the records, which are of `time`, to a payload. `after` is the time of the record before them in the frame.
    pub(super) fn push_to(&self, payload: &mut Vec<u8>, after: Timestamp, time: Timestamp) {
        let later = time.micros().abs_diff(after.micros());
        if later == 0 {
            payload.extend_from_slice(&self.framed);
        } else if let Some(last) = self.framed.iter().position(|byte| *byte < 0x80) {
            // The first record's length is behind us; in place of no time comes how much later it is.
            payload.extend_from_slice(&self.framed[..=last]);
            push_varint(payload, later);
            payload.extend_from_slice(&self.framed[last + HEAD..]);
        }
    }
}

/// Bytes of a short record's length and of no time.
const HEAD: usize = 2;

#[cfg(test)]
mod tests {
    use super::super::frame::push_record;
    use super::*;

    fn time(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros).unwrap()
    }

    #[test]
    fn a_bundle_lies_in_a_frame_as_its_records_do_one_by_one() {
        const LENGTHS: [usize; 7] = [0, 1, 60, 127, 128, 255, 20_000];
        let records: Vec<Vec<u8>> = LENGTHS.iter().map(|&len| (0..len).map(|at| at as u8).collect()).collect();
        for (first, later) in (0..LENGTHS.len()).flat_map(|first| [0, 1, 127, 128, 1 << 40].map(|later| (first, later)))
        {
            let records: Vec<&[u8]> = records[first..].iter().map(Vec::as_slice).collect();
            let bundle = Bundle::of(&records);
            assert_eq!(bundle.count(), records.len());
            assert_eq!(bundle.bytes(), LENGTHS[first..].iter().sum());
            let (mut payload, mut expected) = (b"before".to_vec(), b"before".to_vec());
            bundle.push_to(&mut payload, time(-7), time(later - 7));
            let mut after = time(-7);
            for record in records {
                push_record(&mut expected, after, time(later - 7), record);
                after = time(later - 7);
            }
            assert_eq!(payload, expected, "from {first}, {later} later");
        }
    }

    #[test]
    fn a_bundle_that_is_not_kept_only_counts_and_one_that_was_emptied_has_nothing() {
        let mut bundle = Bundle::new(false);
        bundle.push(3, |_| unreachable!("it is not kept"));
        assert_eq!((bundle.count(), bundle.bytes()), (1, 0));
        let mut bundle = Bundle::of(&[b"a", b"bc"]);
        bundle.clear();
        assert_eq!((bundle.count(), bundle.bytes()), (0, 0));
        let mut payload = Vec::new();
        bundle.push_to(&mut payload, time(1), time(2));
        assert!(payload.is_empty());
    }
}
