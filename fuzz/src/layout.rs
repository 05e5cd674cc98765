//! The log's layout, written a second time from its specification (the doc of `ledger-core`'s module `wal`).
//!
//! Nearly every damage is stopped by a checksum. To reach what lies behind them, a target needs directories that are
//! right down to the records and wrong there; and a second implementation, which shares no code with the first, shows
//! when the layout moves without its specification.

use ledger_core::sim::SimDisk;
use ledger_core::{Storage, StorageFile};
use std::sync::Arc;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

const BLOCK: usize = 4096;
const FRAME_HEADER: usize = 80;
/// Of every log that is built here: the same in every run, so that an input that failed fails again.
const UUID: [u8; 16] = *b"a ledger's UUID!";
/// As long as any built log needs, and no longer.
const SEGMENT_BYTES: usize = 256 * BLOCK;

/// The name of the mark.
pub const MARK: &str = "durable.mark";

/// The name of a segment.
pub fn segment_name(number: u64) -> String {
    format!("{number:016x}.segment")
}

/// Records that go to the disk together.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// How much higher the epoch is than that of the frame before.
    pub epoch_step: u64,
    /// How much later than the frame before, in microseconds.
    pub later: i64,
    /// Each with how much later than the one before it is, in microseconds.
    pub records: Vec<(u64, Vec<u8>)>,
}

/// A disk with a whole log of one segment: its header, its link and these frames, all checksums right.
pub fn build(first_time: i64, frames: &[Frame], marked: bool, closed: bool) -> SimDisk {
    let seed = xxh3_64(&UUID);
    let mut segment = vec![0; SEGMENT_BYTES];
    segment[..8].copy_from_slice(b"LEDGRWAL");
    (segment[8], segment[10]) = (1, 1);
    segment[16..32].copy_from_slice(&UUID);
    put(&mut segment, 32, 1);
    put(&mut segment, 40, 1);
    put(&mut segment, 48, SEGMENT_BYTES as u64);
    put(&mut segment, 56, SEGMENT_BYTES as u64);
    seal(&mut segment[..BLOCK], seed);

    let mut writer = Writer { seed, segment, at: BLOCK, chain: 0, next_seq: 1, epoch: 1, time: first_time };
    writer.frame(1, 0, &[0; 16]);
    let mut records_chain = 0;
    for frame in frames {
        if writer.records(frame) {
            records_chain = writer.chain;
        }
    }
    let Writer { next_seq, epoch, .. } = writer;
    if closed {
        writer.frame(3, 0, &[]);
    }
    let mut mark = vec![0; 2 * BLOCK];
    for (slot, count) in [(0, 0), (1, 1)] {
        let block = &mut mark[slot * BLOCK..][..BLOCK];
        block[..8].copy_from_slice(b"LEDGRMRK");
        block[8] = 1;
        block[16..32].copy_from_slice(&UUID);
        if marked && slot == 1 {
            put(block, 32, epoch);
            put(block, 40, next_seq - 1);
            block[48..64].copy_from_slice(&records_chain.to_le_bytes());
        }
        put(block, 64, count);
        seal(block, seed);
    }
    let disk = SimDisk::new(0);
    write(&disk, MARK, &mark);
    write(&disk, &segment_name(1), &writer.segment);
    disk
}

struct Writer {
    seed: u64,
    segment: Vec<u8>,
    at: usize,
    chain: u128,
    next_seq: u64,
    epoch: u64,
    time: i64,
}

impl Writer {
    /// Whether there was room and anything to write.
    fn records(&mut self, frame: &Frame) -> bool {
        let mut payload = Vec::new();
        let mut time = self.time.saturating_add(frame.later);
        let first_time = time;
        for (index, (later, bytes)) in frame.records.iter().enumerate() {
            let later = if index == 0 { 0 } else { *later };
            time = time.saturating_add_unsigned(later);
            varint(&mut payload, bytes.len() as u64);
            varint(&mut payload, later);
            payload.extend_from_slice(bytes);
        }
        let length = (FRAME_HEADER + payload.len() + 16).next_multiple_of(BLOCK);
        if frame.records.is_empty() || self.at + length + BLOCK > SEGMENT_BYTES {
            return false;
        }
        self.epoch += frame.epoch_step;
        self.time = first_time;
        self.frame(2, frame.records.len() as u32, &payload);
        self.time = time;
        self.next_seq += frame.records.len() as u64;
        true
    }

    fn frame(&mut self, kind: u8, count: u32, payload: &[u8]) {
        let length = (FRAME_HEADER + payload.len() + 16).next_multiple_of(BLOCK);
        let frame = &mut self.segment[self.at..self.at + length];
        frame[..4].copy_from_slice(b"LFRM");
        (frame[4], frame[5]) = (1, kind);
        frame[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        frame[12..16].copy_from_slice(&count.to_le_bytes());
        put(frame, 16, 1);
        put(frame, 24, self.epoch);
        put(frame, 32, self.next_seq);
        put(frame, 40, self.next_seq - 1);
        put(frame, 48, self.time as u64);
        frame[56..72].copy_from_slice(&self.chain.to_le_bytes());
        let checksum = xxh3_64_with_seed(&frame[..72], self.seed);
        put(frame, 72, checksum);
        frame[FRAME_HEADER..FRAME_HEADER + payload.len()].copy_from_slice(payload);
        self.chain = xxh3_128_with_seed(&frame[..length - 16], self.seed);
        frame[length - 16..].copy_from_slice(&self.chain.to_le_bytes());
        self.at += length;
    }
}

/// The records of a log that is right.
pub fn records(disk: &SimDisk) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for name in disk.names().iter().filter(|name| name.ends_with(".segment")) {
        let segment = disk.read(name).expect("a listed file is there");
        let mut at = BLOCK;
        while segment.get(at..at + 4) == Some(b"LFRM") {
            let frame = &segment[at..];
            let (length, count) = (u32_at(frame, 8) as usize, u32_at(frame, 12));
            let mut rest = &frame[FRAME_HEADER..FRAME_HEADER + length];
            for _ in 0..count {
                let bytes = take_varint(&mut rest) as usize;
                take_varint(&mut rest);
                let (record, after) = rest.split_at(bytes);
                records.push(record.to_vec());
                rest = after;
            }
            at += (FRAME_HEADER + length + 16).next_multiple_of(BLOCK);
        }
    }
    records
}

/// Puts a file on the disk, durably, in place of any that has its name.
pub fn write(disk: &SimDisk, name: &str, bytes: &[u8]) {
    if disk.names().iter().any(|there| there == name) {
        disk.erase(name);
    }
    let file: Arc<dyn StorageFile> = disk.create(name).expect("the name is free");
    file.write_at(bytes, 0).expect("the disk has room");
    file.sync_data().expect("the disk syncs");
    disk.sync_directory().expect("the disk syncs");
}

fn seal(block: &mut [u8], seed: u64) {
    let checksum = xxh3_64_with_seed(&block[..BLOCK - 8], seed);
    put(block, BLOCK - 8, checksum);
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Appends a number as LEB128.
pub fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn take_varint(from: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = from[0];
        *from = &from[1..];
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return value;
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{judge, samples};

    #[test]
    fn a_log_that_is_built_here_is_opened() {
        let records = samples::records();
        let frames: Vec<Frame> = records
            .chunks(3)
            .map(|records| Frame { epoch_step: 0, later: 1, records: records.iter().map(|r| (1, r.clone())).collect() })
            .collect();
        for (marked, closed) in [(false, false), (true, false), (true, true)] {
            let disk = build(samples::NOW.micros() - 1_000_000, &frames, marked, closed);
            let opened = judge::judge(&disk).unwrap_or_else(|err| panic!("refused: {err}"));
            assert_eq!(opened, records.len() as u64);
        }
    }

    #[test]
    fn sample_logs_are_opened() {
        for disk in samples::disks() {
            judge::judge(&disk).unwrap_or_else(|err| panic!("refused: {err}"));
        }
    }

    /// Found by fuzzing: it was followed, and the opening after it met an epoch that had fallen.
    #[test]
    fn a_frame_of_a_later_epoch_than_its_segment_is_refused() {
        let record = samples::records()[0].clone();
        let frame = Frame { epoch_step: 98, later: 0, records: vec![(0, record)] };
        let disk = build(samples::NOW.micros() - 1_000_000, &[frame], false, false);
        assert!(matches!(judge::judge(&disk), Err(ledger_core::OpenError::Damaged { .. })));
    }
}
