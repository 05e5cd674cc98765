//! Goes through the frames of a log, one after the other, and shows their records.

use std::collections::VecDeque;

use super::end::{End, Settled, Torn, Unsettled};
use super::files::Segment;
use super::window::Window;
use super::{Reading, damaged, io_error};
use crate::error::OpenError;
use crate::sys::Storage;
use crate::types::{Epoch, Seq, Timestamp};
use crate::wal::frame::{self, BLOCK, HEADER_BYTES, Header, Kind, NotAFrame, Records, Seal};
use crate::wal::head::HeadHash;
use crate::wal::mark::Mark;
use crate::wal::names;
use crate::wal::options::WalOptions;
use crate::wal::segment::{FRAMES_AT, LINK_AT, ReadLink};
use crate::wal::start::{Base, Start};
use crate::wal::{FramePlace, Record};

/// Where reading stands.
pub(super) struct Cursor<'a> {
    storage: &'a dyn Storage,
    mark: &'a Mark,
    pub(super) seal: Seal,
    pub(super) reading: Reading,
    pub(super) options: &'a WalOptions,
    visit: &'a mut dyn FnMut(Record<'_>) -> Result<(), String>,
    pub(super) at: Settled,
    record_time: Timestamp,
    epoch: Epoch,
    pub(super) durable: Seq,
    /// The mark's seq was met at a frame's end, with its chain.
    mark_met: bool,
    /// What the snapshot says, and whether its anchor was met in the same way.
    base: Option<Base>,
    base_met: bool,
    /// Where the frame lies that has the anchor's entry.
    anchor_at: Option<(String, u64)>,
    settled: Settled,
    unsettled: VecDeque<Unsettled>,
    pub(super) clean: bool,
    pub(super) torn: Option<Torn>,
    frames: u64,
    bytes: u64,
    /// Where the first bad frame is.
    pub(super) bad: Option<(String, u64)>,
    /// The head at this seq is wanted.
    pub(super) then: Option<Seq>,
    head_then: Option<HeadHash>,
    first_seq: Seq,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(
        storage: &'a dyn Storage,
        mark: &'a Mark,
        reading: Reading,
        options: &'a WalOptions,
        visit: &'a mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Cursor<'a> {
        let at = Settled::before_all();
        Cursor {
            storage,
            mark,
            seal: mark.seal(),
            reading,
            options,
            visit,
            at,
            record_time: Timestamp::MIN,
            epoch: Epoch::new(0),
            durable: mark.seq,
            mark_met: mark.seq == Seq::ZERO,
            base: None,
            base_met: true,
            anchor_at: None,
            settled: at,
            unsettled: VecDeque::new(),
            clean: false,
            torn: None,
            frames: 0,
            bytes: 0,
            bad: None,
            then: None,
            head_then: None,
            first_seq: Seq::new(1),
        }
    }

    /// Takes the state before the first segment from its link, where those before it are not read.
    pub(super) fn begin(&mut self, first: &Segment, start: Start) {
        let Some(link) = &first.link else { return };
        if start == Start::First {
            return;
        }
        self.first_seq = link.header.first_seq;
        let Header { first_seq, previous, base_time, epoch, .. } = link.header;
        self.at = Settled { chain: previous, next_seq: first_seq, time: base_time, records_chain: previous, ..self.at };
        self.epoch = epoch;
        self.mark_met |= self.mark.seq < first_seq;
        if let Start::After(base) = start {
            self.durable = self.durable.max(base.anchor);
            self.base_met = false;
            self.record_time = base.time;
            self.base = Some(base);
        }
    }

    /// Reads every segment up to where its successor says that it ends, and the last one up to its first bad frame.
    pub(super) fn follow(&mut self, segments: &[Segment]) -> Result<(), OpenError> {
        let hashed_from = self.hashed_from(segments);
        let mut previous: Option<&Segment> = None;
        for (index, segment) in segments.iter().enumerate() {
            let name = names::segment(segment.header.number);
            let Some(link) = &segment.link else {
                return Err(damaged(name, LINK_AT, Some(self.at.next_seq), "its link cannot be read"));
            };
            self.enter(&name, previous, link)?;
            self.take_seal(&name, link, index >= hashed_from)?;
            if self.epoch > segment.header.epoch {
                let reason = format!("its link's epoch is {}, and its own is {}", self.epoch, segment.header.epoch);
                return Err(damaged(name, LINK_AT, Some(self.at.next_seq), reason));
            }
            match segments.get(index + 1) {
                None => self.read_last(segment, &name)?,
                Some(next) => {
                    let Some(read) = &next.link else {
                        let next = names::segment(next.header.number);
                        return Err(damaged(
                            next,
                            LINK_AT,
                            None,
                            "its link cannot be read, and there are later segments",
                        ));
                    };
                    self.read_until(segment, &name, read.link.previous_end)?;
                }
            }
            previous = Some(segment);
        }
        Ok(())
    }

    fn enter(&mut self, name: &str, previous: Option<&Segment>, read: &ReadLink) -> Result<(), OpenError> {
        let refuse = |reason: String| Err(damaged(name, LINK_AT, Some(self.at.next_seq), reason));
        // Whether there may be none before it was decided where the reading begins.
        if let Some(before) = previous.map(|previous| previous.header.number)
            && read.link.previous != before
        {
            return refuse(format!("it follows segment {}, and segment {before} is before it", read.link.previous));
        }
        if read.header.previous != self.at.chain || read.header.first_seq != self.at.next_seq {
            return refuse(format!(
                "it goes on at seq {} where the segment before ends at seq {}",
                read.header.first_seq,
                self.at.next_seq.get() - 1
            ));
        }
        if read.header.epoch < self.epoch {
            return refuse(format!("its epoch is {}, after epoch {}", read.header.epoch, self.epoch));
        }
        self.epoch = read.header.epoch;
        self.at.chain = read.chain;
        self.at.offset = FRAMES_AT;
        // Later than the last record's where the log was closed after an answer that rested on a later time.
        self.at.time = self.at.time.max(read.header.base_time);
        // A segment is synced whole before its successor is begun.
        self.durable = self.durable.max(read.header.durable).max(read.before());
        self.unsettled.clear();
        self.settled = self.at;
        self.clean = false;
        Ok(())
    }

    /// From which segment on frames are hashed. Whoever checks computes everything; whoever opens believes the last seal,
    /// as it believes every other checksum.
    fn hashed_from(&self, segments: &[Segment]) -> usize {
        match self.reading {
            Reading::Exclusive | Reading::Device if self.then.is_none() => {
                let is_sealed = |segment: &Segment| segment.link.is_some_and(|read| read.link.head.is_some());
                segments.iter().rposition(is_sealed).unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Compares the head that a link seals with the one that was computed, or goes on from it.
    fn take_seal(&mut self, name: &str, read: &ReadLink, is_hashed: bool) -> Result<(), OpenError> {
        if read.link.previous == 0 {
            self.at.head = is_hashed.then(|| HeadHash::before_all(self.mark.uuid));
            self.first_seq = read.header.first_seq;
        }
        match (self.at.head, read.link.head) {
            (Some(computed), Some(sealed)) if computed != sealed => {
                let reason = format!("it seals the head {sealed:?}, and what is before it has {computed:?}");
                return Err(damaged(name, LINK_AT, Some(self.at.next_seq), reason));
            }
            (None, sealed) if is_hashed => self.at.head = sealed,
            _ => {}
        }
        self.note_head(read.before());
        self.settled = self.at;
        Ok(())
    }

    fn note_head(&mut self, seq: Seq) {
        if self.then == Some(seq) {
            self.head_then = self.at.head;
        }
    }

    /// A segment that has a successor: all of it is needed.
    fn read_until(&mut self, segment: &Segment, name: &str, end: u64) -> Result<(), OpenError> {
        let file = self.storage.open(name).map_err(io_error("opening", name))?;
        let mut window = Window::new(&*file, self.reading.rest(), segment.header.bytes);
        while self.at.offset < end {
            let offset = self.at.offset;
            match self.next_frame(&mut window, segment, name)? {
                Next::Frame => {}
                Next::Bad(reason) => return Err(damaged(name, offset, Some(self.at.next_seq), reason)),
                Next::Closed => break,
            }
        }
        if self.at.offset != end {
            let reason = format!("its frames end at byte {}, and its successor says at {end}", self.at.offset);
            return Err(damaged(name, self.at.offset, Some(self.at.next_seq), reason));
        }
        Ok(())
    }

    fn read_last(&mut self, segment: &Segment, name: &str) -> Result<(), OpenError> {
        let from = self.reading.from();
        let mut window = Window::new(segment.open_file(), from, segment.header.bytes);
        let mut next = self.next_frame(&mut window, segment, name)?;
        loop {
            match next {
                Next::Frame => next = self.next_frame(&mut window, segment, name)?,
                Next::Closed => return self.check_closed(segment, name, from),
                Next::Bad(reason) => {
                    let judged = self.judge_tail(&mut window, segment, name, &reason, from);
                    if judged.is_ok() || self.reading != Reading::Shared {
                        return judged;
                    }
                    // Between the two looks a running ledger may have written this frame and the one that told on it.
                    window.forget();
                    next = match self.try_frame(&mut window, segment, name)? {
                        Next::Bad(_) => return judged,
                        good => good,
                    };
                }
            }
        }
    }

    pub(super) fn finish(self) -> Result<End, OpenError> {
        let last_seq = Seq::new(self.at.next_seq.get() - 1);
        if !self.forgives() {
            if self.durable > last_seq {
                let (name, offset) = self.bad.clone().unwrap_or_else(|| (names::MARK.to_owned(), 0));
                return Err(self.was_durable(&name, offset, "the log ends there"));
            }
            if !self.mark_met {
                let reason = format!("its chain at seq {} is not the log's", self.mark.seq);
                return Err(damaged(names::MARK, 0, Some(self.mark.seq), reason));
            }
            if let Some(base) = self.base.filter(|_| !self.base_met) {
                let reason = format!(
                    "no frame that ends with seq {} is the one that the snapshot at seq {} names: they are of two histories",
                    base.anchor, base.seq
                );
                let (name, offset) = self.anchor_at.unwrap_or_else(|| (names::MARK.to_owned(), 0));
                return Err(damaged(name, offset, Some(base.anchor), reason));
            }
        }
        let Some(head) = self.at.head else {
            let reason = "no segment seals a head, and the first ones are missing";
            return Err(damaged(names::MARK, 0, Some(self.at.next_seq), reason));
        };
        Ok(End {
            head,
            head_then: self.head_then,
            first_seq: self.first_seq,
            last_seq,
            last_time: self.at.time,
            record_time: self.record_time,
            durable: self.durable,
            settled: self.settled,
            unsettled: self.unsettled.into(),
            clean: self.clean,
            torn: self.torn,
            frames: self.frames,
            bytes: self.bytes,
        })
    }

    /// Takes one more frame, or says why there is none.
    fn next_frame(&mut self, window: &mut Window<'_>, segment: &Segment, name: &str) -> Result<Next, OpenError> {
        let offset = self.at.offset;
        let next = self.try_frame(window, segment, name)?;
        if self.reading != Reading::Shared || !matches!(next, Next::Bad(_)) {
            return Ok(next);
        }
        // The window may be older than the mark, and a frame may be half-way from another thread's buffer.
        window.forget();
        debug_assert_eq!(offset, self.at.offset);
        self.try_frame(window, segment, name)
    }

    fn try_frame(&mut self, window: &mut Window<'_>, segment: &Segment, name: &str) -> Result<Next, OpenError> {
        let offset = self.at.offset;
        if offset + BLOCK as u64 > segment.header.bytes {
            return Ok(Next::Bad("the segment is full".to_owned()));
        }
        let block = window.bytes(offset, BLOCK as u64).map_err(io_error("reading", name))?;
        let header = match Header::decode(block, self.seal) {
            Ok(header) => header,
            Err(NotAFrame::Newer(reason)) => {
                return Err(OpenError::Unsupported {
                    file: name.to_owned(),
                    reason: format!("{reason} at byte {offset}"),
                });
            }
            Err(_) => return Ok(Next::Bad("the frame's header cannot be read".to_owned())),
        };
        if let Some(reason) = self.contradiction(&header, segment, offset) {
            return Err(damaged(name, offset, Some(self.at.next_seq), reason));
        }
        let bytes = window.bytes(offset, header.frame_bytes()).map_err(io_error("reading", name))?;
        let Ok(chain) = frame::check(bytes, self.seal) else {
            return Ok(Next::Bad("the frame's checksum is wrong".to_owned()));
        };
        self.durable = self.durable.max(header.durable);
        self.epoch = header.epoch;
        if header.kind == Kind::Closing {
            self.at.time = self.at.time.max(header.base_time);
            self.durable = self.durable.max(Seq::new(self.at.next_seq.get() - 1));
            self.settle();
            self.settled.time = self.settled.time.max(self.at.time);
            return Ok(Next::Closed);
        }
        for (index, record) in Records::of(&header, bytes).enumerate() {
            let seq = Seq::new(header.first_seq.get() + index as u64);
            let Some((time, bytes)) = record else {
                return Err(damaged(name, offset, Some(seq), "the frame's checksum is right and its records are not"));
            };
            if time < self.at.time {
                return Err(damaged(name, offset, Some(seq), "the record's time is before its predecessor's"));
            }
            (self.at.time, self.record_time) = (time, time);
            if self.base.is_some_and(|base| seq <= base.seq) {
                continue;
            }
            let place = FramePlace { segment: header.segment, offset };
            (self.visit)(Record { seq, time, epoch: header.epoch, place, bytes })
                .map_err(|reason| place.damaged(seq, reason))?;
        }
        self.at.offset += header.frame_bytes();
        self.at.chain = chain;
        self.at.records_chain = chain;
        self.at.next_seq = header.next_seq();
        self.at.head =
            self.at.head.map(|head| head.after(&header, &bytes[HEADER_BYTES..][..header.payload_bytes as usize]));
        self.note_head(header.last_seq());
        // A segment that was begun after the mark may hold a copy of its frame, with a chain of its own. (That such a mark
        // is met at all takes two torn writes of one slot, of which the second makes the first one whole.)
        let is_copy = header.is_copied_since(self.mark.epoch, segment.header.epoch);
        if header.last_seq() == self.mark.seq && (chain == self.mark.chain || is_copy) {
            self.mark_met = true;
        }
        if let Some(base) = &self.base {
            if (header.first_seq..=header.last_seq()).contains(&base.anchor) {
                self.anchor_at = Some((name.to_owned(), offset));
            }
            let is_copy = header.is_copied_since(base.epoch, segment.header.epoch);
            self.base_met |= header.last_seq() == base.anchor && (chain == base.chain || is_copy);
        }
        (self.frames, self.bytes) = (self.frames + 1, self.bytes + header.frame_bytes());
        self.unsettled.push_back(Unsettled { offset, header, after: self.at });
        self.settle();
        Ok(Next::Frame)
    }

    /// Moves the settled place up to what is known to be durable.
    fn settle(&mut self) {
        while let Some(first) = self.unsettled.front()
            && first.header.last_seq() <= self.durable
        {
            self.settled = first.after;
            self.unsettled.pop_front();
        }
    }

    /// A right header in the wrong place was not torn: something moved it.
    fn contradiction(&self, header: &Header, segment: &Segment, offset: u64) -> Option<String> {
        if header.segment != segment.header.number {
            return Some(format!("the frame belongs to segment {}", header.segment));
        }
        if header.kind == Kind::Link {
            return Some("there is a link in the middle of a segment".to_owned());
        }
        if header.first_seq != self.at.next_seq {
            return Some(format!("the frame begins with seq {}", header.first_seq));
        }
        if header.previous != self.at.chain {
            return Some("the frame does not follow the one before it".to_owned());
        }
        if header.epoch < self.epoch {
            return Some(format!("the frame's epoch is {}, after epoch {}", header.epoch, self.epoch));
        }
        // Whoever writes into a segment made it; copies in it are older. A later epoch would be behind those to come.
        if header.epoch > segment.header.epoch {
            return Some(format!(
                "the frame's epoch is {}, in a segment of epoch {}",
                header.epoch, segment.header.epoch
            ));
        }
        if header.frame_bytes() > segment.header.bytes - offset {
            return Some("the frame is longer than its segment".to_owned());
        }
        None
    }
}

enum Next {
    Frame,
    Closed,
    Bad(String),
}
