//! Reads a log and judges it: what is recovered, what is a torn tail, and what is damage. Changes nothing.
//!
//! Opening and [`super::scan`] share this one reader, so that what `verify` calls good is what an opening accepts.
//!
//! What must hold: every record that is visited was written, in order and without a gap, and no record that anything
//! in the directory says was durable is left out silently. When in doubt, refuse.

use std::io::ErrorKind;

use super::frame::{self, BLOCK, Chain, HEADER_BYTES, Header, Kind, NotAFrame, Records, Seal};
use super::head::HeadHash;
use super::mark::{Mark, NoMark};
use super::names;
use super::segment::{FRAMES_AT, LINK_AT};
use super::segment::{Link, NotAHeader, ReadLink, SegmentHeader};
use super::start::{self, Base, Start};
use super::{Record, options::WalOptions};
use crate::error::OpenError;
use crate::sync::Arc;
use crate::sys::{ReadFrom, Storage, StorageFile};
use crate::types::{Epoch, Seq, Timestamp};

/// How a directory is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    /// Nobody else has the directory, and everything in it was synced just now: the last segment is read from the
    /// device, since a sync that failed in an earlier life left bytes in the cache that the device never got.
    Exclusive,
    /// Somebody may be writing. What looks like damage is looked at again before it is called so.
    Shared,
}

impl Reading {
    /// Where links, spares and the last segment are read from.
    fn from(self) -> ReadFrom {
        match self {
            Reading::Exclusive => ReadFrom::Device,
            Reading::Shared => ReadFrom::Cache,
        }
    }
}

/// A directory that was read to its end.
pub(super) struct Log {
    pub(super) mark: Option<Mark>,
    /// In order, each linked with the one before.
    pub(super) segments: Vec<Segment>,
    /// Without a link: prepared, and never used (or torn when they were first written to).
    pub(super) spares: Vec<u64>,
    /// Left behind by an interrupted creation.
    pub(super) leftovers: Vec<String>,
    /// The highest number that any segment has.
    pub(super) number_max: u64,
    /// The highest epoch that anything was written under.
    pub(super) epoch_max: Epoch,
    pub(super) end: End,
}

pub(super) struct Segment {
    pub(super) header: SegmentHeader,
    /// Kept open for the last segment and the spares alone: a log has more segments than a process may have open files.
    file: Option<Arc<dyn StorageFile>>,
    pub(super) link: Option<ReadLink>,
}

impl Segment {
    /// The file of the last segment, or of a spare.
    pub(super) fn open_file(&self) -> &dyn StorageFile {
        self.file.as_deref().expect("the last segment and the spares are kept open")
    }

    /// The first record in it, or to come; `None`: nothing was ever written into it.
    pub(super) fn first_seq(&self) -> Option<Seq> {
        self.link.as_ref().map(|link| link.header.first_seq)
    }

    pub(super) fn close(&mut self) {
        self.file = None;
    }
}

/// Where the log ends, and what is known there.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) last_seq: Seq,
    /// The log's time there.
    pub(super) last_time: Timestamp,
    /// When the last record was made, which may be earlier.
    pub(super) record_time: Timestamp,
    /// All up to here is certainly durable.
    pub(super) durable: Seq,
    pub(super) head: HeadHash,
    /// The head at the seq that was asked about, if a commit ended there.
    pub(super) head_then: Option<HeadHash>,
    /// The first seq whose record is in the log.
    pub(super) first_seq: Seq,
    /// The place in the last segment up to which every frame is certainly durable, and the state there.
    pub(super) settled: Settled,
    /// The frames after that place, in order: accepted, but perhaps only in a cache.
    pub(super) unsettled: Vec<Unsettled>,
    pub(super) clean: bool,
    pub(super) torn: Option<Torn>,
    pub(super) frames: u64,
    pub(super) bytes: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    pub(super) offset: u64,
    pub(super) chain: Chain,
    pub(super) next_seq: Seq,
    pub(super) time: Timestamp,
    pub(super) records_chain: Chain,
    /// `None` before the segment from whose seal on frames are hashed.
    pub(super) head: Option<HeadHash>,
}

impl Settled {
    fn before_all() -> Settled {
        Settled { offset: 0, chain: 0, next_seq: Seq::new(1), time: Timestamp::MIN, records_chain: 0, head: None }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Unsettled {
    pub(super) offset: u64,
    pub(super) header: Header,
    after: Settled,
}

/// Bytes after the last good frame that are no frame: a write that a power cut interrupted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Torn {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) end: u64,
}

fn io_error(what: &str, file: &str) -> impl FnOnce(std::io::Error) -> OpenError {
    let context = format!("{what} {file}");
    move |source| OpenError::Io { context, source }
}

fn damaged(file: impl Into<String>, offset: u64, seq: Option<Seq>, reason: impl Into<String>) -> OpenError {
    OpenError::Damaged { file: file.into(), offset, seq: seq.map(Seq::get), reason: reason.into() }
}

/// Reads and checks everything from `start` on, and shows every record in order to `visit`. Finds the head as it was at
/// the seq `then`, for which it hashes all.
pub(super) fn read(
    storage: &dyn Storage,
    reading: Reading,
    start: Start,
    options: &WalOptions,
    then: Option<Seq>,
    visit: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
) -> Result<Log, OpenError> {
    // The mark before the segments: it is a lower bound, and the log of a running ledger only grows.
    let mark = read_mark(storage)?;
    let names = storage.list().map_err(io_error("listing", &storage.describe()))?;
    let leftovers = names.iter().filter(|name| names::is_temporary(name)).cloned().collect();
    let numbers: Vec<u64> = names.iter().filter_map(|name| names::segment_number(name)).collect();
    let Some(mark) = mark else {
        return match numbers.first() {
            None => Ok(Log::empty(None, leftovers)),
            Some(first) => Err(damaged(
                names::MARK,
                0,
                None,
                format!(
                    "it is missing, while there is {}; how much of the log was durable is unknown",
                    names::segment(*first)
                ),
            )),
        };
    };
    let mut segments = start::open_segments(storage, reading, &numbers, &mark, start)?;
    let unlinked = segments.iter().rev().take_while(|segment| segment.link.is_none()).count();
    let spares = segments.split_off(segments.len() - unlinked);
    if segments.is_empty() {
        return no_linked_segment(mark, spares, start, leftovers);
    }
    start::check_first(&segments[0], start)?;
    let epoch_max = segments.iter().chain(&spares).map(|segment| segment.header.epoch).fold(mark.epoch, Epoch::max);
    let mut cursor = Cursor::new(storage, &mark, reading, options, visit);
    cursor.then = then;
    cursor.begin(&segments[0], start);
    cursor.follow(&segments)?;
    let torn_spare = cursor.look_into_spares(&spares)?;
    let mut end = cursor.finish()?;
    end.torn = end.torn.or(torn_spare);
    Ok(Log {
        number_max: numbers.last().copied().unwrap_or(0),
        epoch_max,
        spares: spares.iter().map(|spare| spare.header.number).collect(),
        segments,
        mark: Some(mark),
        leftovers,
        end,
    })
}

impl Log {
    fn empty(mark: Option<Mark>, leftovers: Vec<String>) -> Log {
        let settled = Settled::before_all();
        let uuid = mark.map_or(uuid::Uuid::nil(), |mark| mark.uuid);
        let end = End {
            head: HeadHash::before_all(uuid),
            head_then: None,
            first_seq: Seq::new(1),
            last_seq: Seq::ZERO,
            last_time: Timestamp::MIN,
            record_time: Timestamp::MIN,
            durable: Seq::ZERO,
            settled,
            unsettled: Vec::new(),
            clean: true,
            torn: None,
            frames: 0,
            bytes: 0,
        };
        let epoch_max = mark.map_or(Epoch::new(0), |mark| mark.epoch);
        Log { mark, segments: Vec::new(), spares: Vec::new(), leftovers, number_max: 0, epoch_max, end }
    }
}

/// A ledger whose creation was interrupted has a mark and no segment. Any other log that has lost all of them is lost.
fn no_linked_segment(mark: Mark, spares: Vec<Segment>, start: Start, leftovers: Vec<String>) -> Result<Log, OpenError> {
    if let Some(first) = spares.first() {
        let name = names::segment(first.header.number);
        return Err(damaged(name, LINK_AT, Some(Seq::new(1)), "the first segment has no link"));
    }
    if mark.seq > Seq::ZERO || mark.epoch > Epoch::new(0) || start.base().is_some() {
        return Err(damaged(
            names::MARK,
            0,
            Some(Seq::new(1)),
            format!("it says that seqs 1 to {} were durable, and there is no segment", mark.seq),
        ));
    }
    Ok(Log::empty(Some(mark), leftovers))
}

pub(super) fn read_mark(storage: &dyn Storage) -> Result<Option<Mark>, OpenError> {
    let file = match storage.open(names::MARK) {
        Ok(file) => file,
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(io_error("opening", names::MARK)(err)),
    };
    match Mark::read(&*file).map_err(io_error("reading", names::MARK))? {
        Ok(mark) => Ok(Some(mark)),
        Err(NoMark::Newer(reason)) => Err(OpenError::Unsupported { file: names::MARK.to_owned(), reason }),
        Err(NoMark::Damaged) => Err(damaged(names::MARK, 0, None, "neither of its slots can be read")),
    }
}

pub(super) fn open_segment(
    storage: &dyn Storage,
    reading: Reading,
    number: u64,
    mark: &Mark,
) -> Result<Segment, OpenError> {
    let name = names::segment(number);
    let file = storage.open(&name).map_err(io_error("opening", &name))?;
    let mut block = [0; BLOCK];
    let read = file.read_at(&mut block, 0).map_err(io_error("reading", &name))?;
    let header = match SegmentHeader::decode(&block) {
        Ok(header) if read == BLOCK => header,
        Err(NotAHeader::Newer(reason)) => return Err(OpenError::Unsupported { file: name, reason }),
        _ => return Err(damaged(name, 0, None, "its header cannot be read")),
    };
    if header.uuid != mark.uuid {
        return Err(damaged(name, 16, None, format!("it belongs to ledger {}, not to {}", header.uuid, mark.uuid)));
    }
    if header.number != number {
        return Err(damaged(name, 32, None, format!("it is segment {} under another's name", header.number)));
    }
    let length = file.len().map_err(io_error("reading", &name))?;
    if length != header.bytes {
        let reason = format!("it has {length} bytes and should have {}", header.bytes);
        return Err(damaged(name, length.min(header.bytes), None, reason));
    }
    let link = read_link(&*file, reading.from(), number, mark.seal()).map_err(io_error("reading", &name))?;
    Ok(Segment { header, file: Some(file), link })
}

pub(super) fn read_link(
    file: &dyn StorageFile,
    from: ReadFrom,
    number: u64,
    seal: Seal,
) -> std::io::Result<Option<ReadLink>> {
    let mut block = [0; BLOCK];
    let read = file.read_from(from, &mut block, LINK_AT)?;
    let Ok(header) = Header::decode(&block[..read], seal) else { return Ok(None) };
    if header.kind != Kind::Link || header.segment != number || header.frame_bytes() != BLOCK as u64 || read < BLOCK {
        return Ok(None);
    }
    let Ok(chain) = frame::check(&block, seal) else { return Ok(None) };
    Ok(Link::decode(&header, &block).map(|link| ReadLink { link, header, chain }))
}

/// Where reading stands.
struct Cursor<'a> {
    storage: &'a dyn Storage,
    mark: &'a Mark,
    seal: Seal,
    reading: Reading,
    options: &'a WalOptions,
    /// The segment before the first that is read.
    previous: u64,
    visit: &'a mut dyn FnMut(Record<'_>) -> Result<(), String>,
    at: Settled,
    record_time: Timestamp,
    epoch: Epoch,
    durable: Seq,
    /// The mark's seq was met at a frame's end, with its chain.
    mark_met: bool,
    /// What the snapshot says, and whether its anchor was met in the same way.
    base: Option<Base>,
    base_met: bool,
    settled: Settled,
    unsettled: std::collections::VecDeque<Unsettled>,
    clean: bool,
    torn: Option<Torn>,
    frames: u64,
    bytes: u64,
    /// Where the first bad frame is.
    bad: Option<(String, u64)>,
    /// The head at this seq is wanted.
    then: Option<Seq>,
    head_then: Option<HeadHash>,
    first_seq: Seq,
}

impl<'a> Cursor<'a> {
    fn new(
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
            previous: 0,
            visit,
            at,
            record_time: Timestamp::MIN,
            epoch: Epoch::new(0),
            durable: mark.seq,
            mark_met: mark.seq == Seq::ZERO,
            base: None,
            base_met: true,
            settled: at,
            unsettled: std::collections::VecDeque::new(),
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
    fn begin(&mut self, first: &Segment, start: Start) {
        let Some(link) = &first.link else { return };
        if start == Start::First {
            return;
        }
        (self.previous, self.first_seq) = (link.link.previous, link.header.first_seq);
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
    fn follow(&mut self, segments: &[Segment]) -> Result<(), OpenError> {
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
        let expected = previous.map_or(self.previous, |previous| previous.header.number);
        let refuse = |reason: String| Err(damaged(name, LINK_AT, Some(self.at.next_seq), reason));
        if read.link.previous != expected {
            return refuse(match expected {
                0 => format!("it follows segment {}, which is missing", read.link.previous),
                _ => format!("it follows segment {}, and segment {expected} is before it", read.link.previous),
            });
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
            Reading::Exclusive if self.then.is_none() => {
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
        let mut window = Window::new(&*file, ReadFrom::Cache, segment.header.bytes);
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
                    if judged.is_ok() || self.reading == Reading::Exclusive {
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

    fn check_closed(&mut self, segment: &Segment, name: &str, from: ReadFrom) -> Result<(), OpenError> {
        let end = self.at.offset + BLOCK as u64;
        let zeros = segment.open_file().zeros_from(from, end).map_err(io_error("reading", name))?;
        if zeros > end {
            return Err(damaged(name, end, Some(self.at.next_seq), "there is something after its closing frame"));
        }
        self.clean = true;
        Ok(())
    }

    /// What begins at the first bad frame of the last segment: damage, nothing, or a torn tail.
    fn judge_tail(
        &mut self,
        window: &mut Window<'_>,
        segment: &Segment,
        name: &str,
        reason: &str,
        from: ReadFrom,
    ) -> Result<(), OpenError> {
        let offset = self.at.offset;
        let end = segment.open_file().zeros_from(from, offset).map_err(io_error("reading", name))?;
        self.bad = Some((name.to_owned(), offset));
        if self.forgives() {
            self.torn = (end > offset).then_some(Torn { segment: segment.header.number, offset, end });
            return Ok(());
        }
        self.look_for_durable(window, segment, name, offset, end)?;
        if self.durable >= self.at.next_seq {
            return Err(self.was_durable(name, offset, reason));
        }
        if end == offset {
            return Ok(());
        }
        if end - offset > segment.header.in_flight_max {
            let reason = format!(
                "{reason}, and {} bytes follow, more than the {} that can have been in flight",
                end - offset,
                segment.header.in_flight_max
            );
            return Err(damaged(name, offset, Some(self.at.next_seq), reason));
        }
        self.torn = Some(Torn { segment: segment.header.number, offset, end });
        Ok(())
    }

    fn was_durable(&self, name: &str, offset: u64, reason: &str) -> OpenError {
        let reason = format!("{reason}, and seqs up to {} were durable", self.durable);
        damaged(name, offset, Some(self.at.next_seq), reason)
    }

    /// Later frames know what was durable when they were written. A header is enough: it has a checksum of its own.
    fn look_for_durable(
        &mut self,
        window: &mut Window<'_>,
        segment: &Segment,
        name: &str,
        start: u64,
        end: u64,
    ) -> Result<(), OpenError> {
        let mut at = start;
        while at < end {
            let block = window.bytes(at, BLOCK as u64).map_err(io_error("reading", name))?;
            if let Ok(header) = Header::decode(block, self.seal)
                && header.segment == segment.header.number
            {
                self.durable = self.durable.max(header.durable);
            }
            at += BLOCK as u64;
        }
        Ok(())
    }

    /// Spares are empty, but for the first: the power may have failed when its first frames were written.
    fn look_into_spares(&mut self, spares: &[Segment]) -> Result<Option<Torn>, OpenError> {
        let mut torn = None;
        for (index, spare) in spares.iter().enumerate() {
            let name = names::segment(spare.header.number);
            let from = self.reading.from();
            let end = spare.open_file().zeros_from(from, LINK_AT).map_err(io_error("reading", &name))?;
            if end == LINK_AT || self.forgives() {
                continue;
            }
            let mut window = Window::new(spare.open_file(), from, spare.header.bytes);
            let durable_before = self.durable;
            self.look_for_durable(&mut window, spare, &name, LINK_AT, end)?;
            let reason = "its link cannot be read";
            if self.reading == Reading::Shared
                && read_link(spare.open_file(), from, spare.header.number, self.seal)
                    .map_err(io_error("reading", &name))?
                    .is_some()
            {
                // A running ledger has begun it meanwhile. What stands there came after this look at the log.
                self.durable = durable_before;
                return Ok(None);
            }
            if self.durable >= self.at.next_seq {
                return Err(self.was_durable(&name, LINK_AT, reason));
            }
            if index > 0 || end - LINK_AT > spare.header.in_flight_max {
                return Err(damaged(name, LINK_AT, Some(self.at.next_seq), reason));
            }
            torn = Some(Torn { segment: spare.header.number, offset: LINK_AT, end });
        }
        Ok(torn)
    }

    /// The planted bug that takes the first bad frame for the end of the log.
    fn forgives(&self) -> bool {
        #[cfg(any(test, feature = "sim"))]
        return self.options.has(crate::sim::PlantedBug::TruncateMidLog);
        #[cfg(not(any(test, feature = "sim")))]
        {
            let _ = self.options;
            false
        }
    }

    fn finish(self) -> Result<End, OpenError> {
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
                let reason = format!("its chain at seq {} is not the one that the snapshot names", base.anchor);
                return Err(damaged(self.bad.map_or_else(String::new, |bad| bad.0), 0, Some(base.anchor), reason));
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
        if self.reading == Reading::Exclusive || !matches!(next, Next::Bad(_)) {
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
            (self.visit)(Record { seq, time, epoch: header.epoch, bytes })
                .map_err(|reason| damaged(name, offset, Some(seq), reason))?;
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
        let is_copy = segment.header.epoch > self.mark.epoch;
        if header.last_seq() == self.mark.seq && (chain == self.mark.chain || is_copy) {
            self.mark_met = true;
        }
        if let Some(base) = &self.base {
            let is_copy = segment.header.epoch > base.epoch;
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

/// A piece of a file in memory, moved along as frames are asked for.
pub(super) struct Window<'a> {
    file: &'a dyn StorageFile,
    from: ReadFrom,
    file_bytes: u64,
    start: u64,
    len: usize,
    buf: Vec<u8>,
    /// How much the next reading takes, at least.
    ahead: u64,
}

/// Reading more at once gains nothing; reading less makes a log of small frames one system call each.
const AHEAD_MAX: u64 = 256 << 10;
/// The first reading: many segments hold little.
const AHEAD_FIRST: u64 = 16 << 10;

impl<'a> Window<'a> {
    pub(super) fn new(file: &'a dyn StorageFile, from: ReadFrom, file_bytes: u64) -> Window<'a> {
        Window { file, from, file_bytes, start: 0, len: 0, buf: Vec::new(), ahead: AHEAD_FIRST }
    }

    /// `length` bytes at `offset`; zeros where the file turned out to be shorter.
    pub(super) fn bytes(&mut self, offset: u64, length: u64) -> std::io::Result<&[u8]> {
        if offset < self.start || offset + length > self.start + self.len as u64 {
            let left = self.file_bytes.saturating_sub(offset);
            let wanted = length.max(self.ahead.min(left)) as usize;
            self.ahead = (self.ahead * 2).min(AHEAD_MAX);
            if self.buf.len() < wanted {
                self.buf.resize(wanted, 0);
            }
            self.len = 0;
            let read = self.file.read_from(self.from, &mut self.buf[..wanted], offset)?;
            self.buf[read..wanted].fill(0);
            (self.start, self.len) = (offset, wanted);
        }
        let at = (offset - self.start) as usize;
        Ok(&self.buf[at..at + length as usize])
    }

    fn forget(&mut self) {
        self.len = 0;
    }
}

/// The bytes of an accepted frame, to be copied. `None` if they are not what they were when they were accepted.
pub(super) fn reread<'w>(
    window: &'w mut Window<'_>,
    frame: &Unsettled,
    seal: Seal,
) -> std::io::Result<Option<&'w [u8]>> {
    let bytes = window.bytes(frame.offset, frame.header.frame_bytes())?;
    let is_same = frame::check(bytes, seal) == Ok(frame.after.chain);
    Ok(is_same.then(|| &bytes[HEADER_BYTES..HEADER_BYTES + frame.header.payload_bytes as usize]))
}
