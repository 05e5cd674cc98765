//! The end of the log: puts frames behind one another, from segment to segment. One owner, no locks.

use super::frame::{self, BLOCK, Chain, HEADER_BYTES, Header, Kind, Seal};
use super::head::HeadHash;
use super::names;
use super::room::Spare;
use super::segment::{FRAMES_AT, Failure, LINK_AT, Link, SegmentHeader, during};
use crate::sync::Arc;
use crate::sys::StorageFile;
use crate::types::{Epoch, Seq, Timestamp};

pub(super) struct Writer {
    pub(super) file: Arc<dyn StorageFile>,
    pub(super) segment: SegmentHeader,
    pub(super) seal: Seal,
    pub(super) epoch: Epoch,
    pub(super) offset: u64,
    pub(super) chain: Chain,
    /// Of the last frame with records.
    pub(super) records_chain: Chain,
    /// After the last frame that was [hashed](Writer::hash).
    pub(super) head: HeadHash,
    /// The frame of records that was written last, while it is not hashed.
    pub(super) unhashed: Option<Header>,
    pub(super) next_seq: Seq,
    pub(super) last_time: Timestamp,
    /// Bytes that were written and not synced.
    pub(super) unsynced: u64,
}

/// What was appended since the last commit, with room for the header before it.
pub(super) struct Batch {
    pub(super) buf: Vec<u8>,
    pub(super) count: u32,
    pub(super) first_seq: Seq,
    pub(super) base_time: Timestamp,
    pub(super) last_time: Timestamp,
    /// What was promised to these records on the disk.
    pub(super) promised: i64,
}

impl Writer {
    /// How many bytes of frames still fit; a closing frame always does.
    pub(super) fn left(&self) -> u64 {
        self.segment.bytes - self.offset - BLOCK as u64
    }

    pub(super) fn last_seq(&self) -> Seq {
        Seq::new(self.next_seq.get() - 1)
    }

    pub(super) fn write(&mut self, batch: &mut Batch, durable: Seq) -> Result<(), Failure> {
        debug_assert_eq!(batch.first_seq, self.next_seq);
        debug_assert!(self.unhashed.is_none());
        let header = self.header(Kind::Records, batch.count, batch.base_time, durable);
        let payload_bytes = (batch.buf.len() - HEADER_BYTES) as u32;
        self.put(&mut batch.buf, header)?;
        self.unhashed = Some(Header { payload_bytes, ..header });
        self.records_chain = self.chain;
        self.next_seq = header.next_seq();
        self.last_time = batch.last_time;
        Ok(())
    }

    /// Takes what was written last into the head. Apart from [`Writer::write`], so that nobody waits for it.
    pub(super) fn hash(&mut self, written: &Batch) {
        if let Some(header) = self.unhashed.take() {
            let payload = &written.buf[HEADER_BYTES..HEADER_BYTES + header.payload_bytes as usize];
            self.head = self.head.after(&header, payload);
        }
    }

    /// `time` is the log's, which may be later than the last record's: no later opening begins before it.
    pub(super) fn write_closing(&mut self, time: Timestamp) -> Result<(), Failure> {
        self.last_time = self.last_time.max(time);
        let header = self.header(Kind::Closing, 0, self.last_time, self.last_seq());
        self.put(&mut vec![0; HEADER_BYTES], header)
    }

    /// Goes on in `spare`. The present segment was synced whole: once its successor is begun, nothing else says so.
    pub(super) fn begin(&mut self, spare: Spare) -> Result<(), Failure> {
        debug_assert_eq!(self.unsynced, 0);
        debug_assert!(self.unhashed.is_none());
        let link = Link { previous: self.segment.number, previous_end: self.offset, head: Some(self.head) };
        (self.segment, self.file, self.offset) = (spare.header, spare.file, LINK_AT);
        let mut buf = Vec::with_capacity(BLOCK);
        link.payload(&mut buf);
        let header = self.header(Kind::Link, 0, self.last_time, self.last_seq());
        self.put(&mut buf, header)?;
        debug_assert_eq!(self.offset, FRAMES_AT);
        Ok(())
    }

    pub(super) fn sync(&mut self) -> Result<(), Failure> {
        during(self.file.sync_data(), "syncing", &names::segment(self.segment.number))?;
        self.unsynced = 0;
        Ok(())
    }

    fn header(&self, kind: Kind, count: u32, base_time: Timestamp, durable: Seq) -> Header {
        Header {
            kind,
            payload_bytes: 0,
            count,
            segment: self.segment.number,
            epoch: self.epoch,
            first_seq: self.next_seq,
            durable,
            base_time,
            previous: self.chain,
        }
    }

    fn put(&mut self, buf: &mut Vec<u8>, header: Header) -> Result<(), Failure> {
        let chain = frame::finish(buf, header, self.seal);
        during(self.file.write_device_at(buf, self.offset), "writing", &names::segment(self.segment.number))?;
        self.chain = chain;
        self.offset += buf.len() as u64;
        self.unsynced += buf.len() as u64;
        Ok(())
    }
}
