//! Goes through a damaged log for as long as each frame follows the one before, and writes what it takes.

use super::parts::{Found, readable};
use super::source::{Source, Walked};
use super::{Candidate, Left};
use crate::error::OpenError;
use crate::sys::{ReadFrom, Storage};
use crate::types::{Epoch, Seq, Timestamp};
use crate::wal::frame::{self, BLOCK, Chain, HEADER_BYTES, Header, Kind, Records, Seal};
use crate::wal::head::HeadHash;
use crate::wal::reader::Window;
use crate::wal::segment::{FRAMES_AT, LINK_AT, Link, NewFile, ReadLink, SegmentHeader};
use crate::wal::{FramePlace, Record};

/// The state after the last frame that was taken.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// In the source.
    pub(super) chain: Chain,
    /// In the copy.
    pub(super) records_chain: Chain,
    pub(super) next_seq: Seq,
    pub(super) time: Timestamp,
    pub(super) epoch: Epoch,
    pub(super) head: HeadHash,
}

pub(super) struct Walk<'a> {
    source: &'a Source,
    seal: Seal,
    from: &'a dyn Storage,
    /// Nothing is written where there is none.
    into: Option<&'a dyn Storage>,
    /// Nothing later was durable, as far as the copy says.
    durable_max: Seq,
    visit: &'a mut dyn FnMut(Record<'_>) -> Result<(), String>,
    pub(super) at: Place,
    copy: Option<Copy<'a>>,
    /// Where the last finished segment of the copy ends, and its number.
    copied: Link,
    copy_chain: Chain,
    pub(super) durable: Seq,
    pub(super) epoch_max: Epoch,
    start: usize,
    pub(super) walked: Walked,
}

/// The segment of the copy that is being written.
struct Copy<'a> {
    new: NewFile<'a>,
    header: SegmentHeader,
    offset: u64,
}

impl<'a> Walk<'a> {
    /// Begins with the linked segment `start`.
    pub(super) fn new(
        source: &'a Source,
        start: usize,
        (from, into): (&'a dyn Storage, Option<&'a dyn Storage>),
        durable_max: Seq,
        visit: &'a mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Walk<'a> {
        // A log whose older segments were retired begins where its first link says.
        let first = source.linked().nth(start).map(|(_, read)| read).filter(|_| !source.snapshots.is_empty());
        let head = first.and_then(|read| read.link.head).unwrap_or(HeadHash::before_all(source.uuid));
        let (chain, next_seq) = first.map_or((0, Seq::new(1)), |read| (read.header.previous, read.header.first_seq));
        let epochs = source.segments.iter().map(|found| found.header.epoch);
        Walk {
            source,
            seal: Seal::of(source.uuid),
            from,
            into,
            durable_max,
            visit,
            at: Place { chain, records_chain: 0, next_seq, time: Timestamp::MIN, epoch: Epoch::new(0), head },
            copy: None,
            copied: first.map_or(Link { previous: 0, previous_end: 0, head: None }, |read| read.link),
            copy_chain: chain,
            durable: source.mark.map_or(Seq::ZERO, |mark| mark.seq),
            epoch_max: epochs.chain(source.mark.map(|mark| mark.epoch)).max().unwrap_or_default(),
            start,
            walked: Walked::default(),
        }
    }

    /// The last record that was taken.
    pub(super) fn last_seq(&self) -> Seq {
        Seq::new(self.at.next_seq.get() - 1)
    }

    pub(super) fn run(&mut self) -> Result<(), OpenError> {
        let source = self.source;
        let linked: Vec<&Found> = source.segments.iter().filter(|found| found.link.is_some()).collect();
        let mut previous = self.copied.previous;
        let mut stopped = None;
        for (index, found) in linked.iter().enumerate() {
            let link = found.link.expect("only those with a link");
            if index < self.start {
                self.leave(found, LINK_AT, "a snapshot has what it says".to_owned())?;
                continue;
            }
            if stopped.is_none() && !self.follows(&link, previous) {
                stopped = Some("it does not follow what could be taken".to_owned());
            }
            if stopped.is_some() {
                self.leave(found, LINK_AT, stopped.clone().unwrap_or_default())?;
                continue;
            }
            (self.at.chain, self.at.time) = (link.chain, self.at.time.max(link.header.base_time));
            self.at.epoch = link.header.epoch;
            self.note(&link.header);
            previous = found.header.number;
            let next = linked.get(index + 1).and_then(|next| next.link).map(|read| read.link);
            let end = next.filter(|next| next.previous == previous).map(|next| next.previous_end);
            if let Some((offset, reason)) = self.take_segment(found, end)? {
                self.leave(found, offset, reason)?;
                stopped = Some("it follows what was lost".to_owned());
            }
        }
        for found in source.segments.iter().filter(|found| found.link.is_none()) {
            self.leave(found, LINK_AT, "its link cannot be read".to_owned())?;
        }
        Ok(())
    }

    fn follows(&self, read: &ReadLink, previous: u64) -> bool {
        read.link.previous == previous
            && read.header.previous == self.at.chain
            && read.header.first_seq == self.at.next_seq
            && read.header.epoch >= self.at.epoch
    }

    /// Takes a segment's frames up to `end`, or as far as they are whole: then where that is, and why.
    fn take_segment(&mut self, found: &Found, end: Option<u64>) -> Result<Option<(u64, String)>, OpenError> {
        self.begin(found)?;
        let file = found.open(self.from)?;
        let mut window = Window::new(&*file, ReadFrom::Device, found.header.bytes);
        let mut offset = FRAMES_AT;
        let outcome = loop {
            if end == Some(offset) {
                break None;
            }
            match self.take_frame(found, &mut window, offset)? {
                Ok(next) => offset = next,
                Err(reason) => break Some((offset, reason)),
            }
        };
        self.finish()?;
        self.walked.ends.insert(found.header.number, self.last_seq());
        Ok(outcome)
    }

    fn take_frame(
        &mut self,
        found: &Found,
        window: &mut Window<'_>,
        offset: u64,
    ) -> Result<Result<u64, String>, OpenError> {
        let bad = |reason: &str| Ok(Err(reason.to_owned()));
        if offset + BLOCK as u64 > found.header.bytes {
            return bad("the segment is full");
        }
        let Some(block) = readable(window.bytes(offset, BLOCK as u64), &found.name)? else {
            return bad("the device cannot read it");
        };
        let Ok(header) = Header::decode(block, self.seal) else { return bad("the frame's header cannot be read") };
        let is_next = header.segment == found.header.number
            && header.kind == Kind::Records
            && header.first_seq == self.at.next_seq
            && header.previous == self.at.chain
            && (self.at.epoch..=found.header.epoch).contains(&header.epoch)
            && header.frame_bytes() <= found.header.bytes - offset;
        if !is_next {
            self.note(&header);
            let is_closing = header.kind == Kind::Closing;
            return bad(if is_closing { "the log was closed here" } else { "the frame is not the next one" });
        }
        let Some(bytes) = readable(window.bytes(offset, header.frame_bytes()), &found.name)? else {
            self.note(&header);
            return bad("the device cannot read it");
        };
        let Ok(chain) = frame::check(bytes, self.seal) else { return bad("the frame's checksum is wrong") };
        let mut time = self.at.time;
        for (index, record) in Records::of(&header, bytes).enumerate() {
            let seq = Seq::new(header.first_seq.get() + index as u64);
            let Some((at, bytes)) = record.filter(|(at, _)| *at >= time) else {
                return bad("a record cannot be read");
            };
            time = at;
            let place = FramePlace { segment: header.segment, offset };
            if let Err(reason) = (self.visit)(Record { seq, time, epoch: header.epoch, place, bytes }) {
                return Ok(Err(reason));
            }
        }
        self.note(&header);
        for base in self.source.snapshots.iter().filter_map(Candidate::base) {
            let is_it = chain == base.chain || header.is_copied_since(base.epoch, found.header.epoch);
            if header.last_seq() == base.anchor && is_it {
                self.walked.met.insert(base.seq);
            }
        }
        let payload = &bytes[HEADER_BYTES..HEADER_BYTES + header.payload_bytes as usize];
        let head = self.at.head.after(&header, payload);
        let copied = Header { durable: header.durable.min(self.durable_max), ..header };
        let records_chain = write_frame(&mut self.copy, self.copy_chain, copied, payload, self.seal)?;
        self.copy_chain = records_chain;
        self.at = Place { chain, records_chain, next_seq: header.next_seq(), time, epoch: header.epoch, head };
        Ok(Ok(offset + header.frame_bytes()))
    }

    /// Begins the copy's segment for a segment of the source.
    fn begin(&mut self, found: &Found) -> Result<(), OpenError> {
        let link = found.link.expect("only those with a link");
        let Some(into) = self.into else { return Ok(()) };
        let new = NewFile::create(into, found.name.clone())?;
        let mut payload = Vec::new();
        // A log of format 1 sealed no heads; one that is added changes the chain.
        Link { head: Some(self.at.head), ..self.copied }.payload(&mut payload);
        let header = Header { durable: link.header.durable.min(self.durable_max), ..link.header };
        self.copy = Some(Copy { new, header: found.header, offset: LINK_AT });
        self.copy_chain = write_frame(&mut self.copy, self.copy_chain, header, &payload[HEADER_BYTES..], self.seal)?;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), OpenError> {
        let Some(Copy { new, header, offset }) = self.copy.take() else { return Ok(()) };
        new.write_at(&SegmentHeader { bytes: offset, ..header }.encode(), 0)?;
        new.finish()?;
        self.copied = Link { previous: header.number, previous_end: offset, head: None };
        Ok(())
    }

    /// What a header, in its place or not, says of epochs and of what was durable.
    fn note(&mut self, header: &Header) {
        self.durable = self.durable.max(header.durable);
        self.epoch_max = self.epoch_max.max(header.epoch);
    }

    /// Lists a segment from `offset` on, if there is anything.
    fn leave(&mut self, found: &Found, offset: u64, reason: String) -> Result<(), OpenError> {
        let file = found.open(self.from)?;
        let end = found.written(&*file, offset)?;
        let mut window = Window::new(&*file, ReadFrom::Device, end);
        let (mut seqs, mut is_closing) = (None, end > offset);
        for at in (offset..end).step_by(BLOCK) {
            let block = readable(window.bytes(at, BLOCK as u64), &found.name)?;
            let header = block
                .and_then(|block| Header::decode(block, self.seal).ok())
                .filter(|header| header.segment == found.header.number);
            is_closing &= header.is_some_and(|header| header.kind == Kind::Closing);
            let Some(header) = header else { continue };
            self.note(&header);
            if header.kind == Kind::Records {
                let first = seqs.map_or(header.first_seq, |(first, _)| first);
                seqs = Some((first, header.last_seq()));
            }
        }
        if let Some((_, last)) = seqs {
            self.walked.ends.insert(found.header.number, last);
        }
        // A closing frame holds nothing that the copy lacks.
        if end > offset && !is_closing {
            self.walked.left.push(Left { file: found.name.clone(), bytes: offset..end, seqs, reason });
        }
        Ok(())
    }
}

fn write_frame(
    copy: &mut Option<Copy<'_>>,
    previous: Chain,
    header: Header,
    payload: &[u8],
    seal: Seal,
) -> Result<Chain, OpenError> {
    let Some(copy) = copy else { return Ok(previous) };
    let mut buf = vec![0; HEADER_BYTES];
    buf.extend_from_slice(payload);
    let chain = frame::finish(&mut buf, Header { previous, ..header }, seal);
    copy.new.write_at(&buf, copy.offset)?;
    copy.offset += buf.len() as u64;
    Ok(chain)
}
