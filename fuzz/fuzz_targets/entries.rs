//! Arbitrary bytes as one entry of the log: refused, or read; and there is one way to write what was read.
//!
//! Half of the inputs are real records with edits, since few arbitrary ones get past their first bytes.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use ledger_core::fuzzing::{decode_entry, encode_entry};
use ledger_fuzz::samples;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Record {
    Bytes(Vec<u8>),
    Edited { sample: u8, edits: Vec<(u16, u8)>, cut: u8, tail: Vec<u8> },
}

impl Record {
    fn bytes(self) -> Vec<u8> {
        match self {
            Record::Bytes(bytes) => bytes,
            Record::Edited { sample, edits, cut, tail } => {
                let samples = samples::records();
                let mut bytes = samples[usize::from(sample) % samples.len()].clone();
                for (at, value) in edits {
                    let at = usize::from(at) % bytes.len();
                    bytes[at] = value;
                }
                bytes.truncate(bytes.len() - usize::from(cut) % bytes.len());
                bytes.extend(tail);
                bytes
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(record) = Record::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let bytes = record.bytes();
    let Ok(entry) = decode_entry(&bytes) else { return };
    let mut written = Vec::new();
    encode_entry(&entry, &mut written);
    // A second way to write the same fact would give it a second checksum, and a chain that depends on who wrote it.
    assert_eq!(bytes, written, "{entry:?} was read, and is written otherwise");
});
