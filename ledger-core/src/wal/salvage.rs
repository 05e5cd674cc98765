//! Takes what can be proved out of a log that is refused, and writes it anew elsewhere.
//!
//! What must hold: the source is only read; what is taken is a prefix of what was written, frame by frame and with the
//! heads that it had, or a snapshot that says what its beginning came to and the frames from where it needs them on; what is not
//! taken is listed, files that are missing too, with the seqs that it is known to have held; and the copy's epochs are
//! none that the source or another copy of it can have used, so that no name that an opening gave is given again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use uuid::Uuid;

use super::copy::{epochs_skipped, may_hold_copy};
use super::frame::{self, BLOCK, Chain, HEADER_BYTES, Header, Kind, Records, Seal};
use super::head::HeadHash;
use super::mark::{Mark, MarkFile, NoMark};
use super::names;
use super::reader::{self, Window};
use super::recovery;
use super::segment::{FRAMES_AT, LINK_AT, Link, NewFile, ReadLink, SegmentHeader, during};
use super::{Base, FramePlace, Record, Stamp, twin};
use crate::error::OpenError;
use crate::sync::Arc;
use crate::sys::{ReadFrom, Storage, StorageFile, is_unreadable};
use crate::types::{Epoch, Head, Seq, Timestamp};

/// What was taken, and what was left.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) uuid: Uuid,
    pub(crate) last: Stamp,
    pub(crate) head: Head,
    /// The highest seq that something in the source says was durable.
    pub(crate) known_durable: Seq,
    pub(crate) left: Vec<Left>,
}

/// A piece of the source that is not in the copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Left {
    pub(crate) file: String,
    pub(crate) bytes: Range<u64>,
    /// The first and the last that it is known to have held.
    pub(crate) seqs: Option<(Seq, Seq)>,
    pub(crate) reason: String,
}

/// A snapshot of the source.
pub(crate) struct Candidate {
    /// The file that names the others.
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) seq: Seq,
    /// What it says of the log, and all of its files; or what is wrong with it.
    pub(crate) found: Result<(Base, Vec<String>), OpenError>,
}

impl Candidate {
    fn base(&self) -> Option<&Base> {
        self.found.as_ref().ok().map(|(base, _)| base)
    }

    fn leave(&self, reason: &str) -> Left {
        let seqs = Some((Seq::new(1), self.seq));
        Left { file: self.file.clone(), bytes: 0..self.bytes, seqs, reason: reason.to_owned() }
    }
}

/// Copies the longest part of the log on `from` that is whole and proves a state, and that `visit` has no objection to, into the empty
/// directory `into`, where `begin` writes first. It begins with seq 1, or where one of the `snapshots` needs it, oldest
/// first: where several parts go as far, the one that begins first. `visit` is shown what begins with the first segment alone.
///
/// # Errors
/// [`OpenError::Damaged`] if nothing can be taken; [`OpenError::InvalidOption`] if `into` is not empty. Nothing was made then.
pub(crate) fn salvage(
    from: &dyn Storage,
    into: &dyn Storage,
    begin: &dyn Fn(&dyn Storage) -> Result<(), OpenError>,
    snapshots: &dyn Fn(Uuid) -> Result<Vec<Candidate>, OpenError>,
    visit: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
) -> Result<Taken, OpenError> {
    let _held = recovery::lock(from)?;
    if has_files(into)? {
        let reason = format!("{} is not empty: name a directory that is, or that does not exist", into.describe());
        return Err(OpenError::InvalidOption { reason });
    }
    let source = Source::read(from, snapshots)?;
    let Some(best) = source.longest(from, visit)? else { return Err(source.nothing(from)?) };
    let Part { start, mut last_seq, mut known_durable, mut epoch_max, mut walked } = best;
    let _filled = recovery::lock(into)?;
    begin(into)?;
    // Twice: what the copy says was durable must not be later than its end, and is otherwise left as it is, since a
    // snapshot names the chains that it is part of.
    let at = loop {
        let wanted = last_seq;
        let mut only_those = move |record: Record<'_>| if record.seq > wanted { Err(String::new()) } else { Ok(()) };
        let mut walk = Walk::new(&source, start, (from, Some(into)), wanted, &mut only_those);
        walk.run()?;
        (known_durable, epoch_max) = (known_durable.max(walk.durable), epoch_max.max(walk.epoch_max));
        if walk.last_seq() == wanted {
            break walk.at;
        }
        // What could be read before cannot any more: again, up to there.
        (last_seq, walked) = (walk.last_seq(), walk.walked);
        remove_segments(into)?;
        if last_seq < source.first_seq(start) {
            return Err(source.nothing(from)?);
        }
    };
    let copied = source.copied(start, &walked, last_seq);
    let files: BTreeSet<String> = copied
        .iter()
        .filter_map(|snapshot| snapshot.found.as_ref().ok())
        .flat_map(|(_, files)| files.clone())
        .collect();
    twin::copy_files(from, into, &files.into_iter().collect::<Vec<_>>())?;
    let left = source.left(start, walked, (last_seq, known_durable), &copied);
    let mut mark = MarkFile::create(into, source.uuid)?;
    let epoch = Epoch::new(epoch_max.get() + epochs_skipped());
    mark.advance(epoch, last_seq, at.records_chain)?;
    during(into.sync_directory(), "syncing", &into.describe())?;
    Ok(Taken {
        uuid: source.uuid,
        last: Stamp { seq: last_seq, time: at.time },
        head: at.head.at(last_seq),
        known_durable,
        left,
    })
}

/// Whether there is anything in a directory, which need not be there.
fn has_files(into: &dyn Storage) -> Result<bool, OpenError> {
    match into.list() {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(false),
        names => Ok(!during(names, "listing", &into.describe())?.is_empty()),
    }
}

fn remove_segments(into: &dyn Storage) -> Result<(), OpenError> {
    for name in during(into.list(), "listing", &into.describe())? {
        if names::segment_number(&name).is_some() {
            during(into.remove(&name), "removing", &name)?;
        }
    }
    Ok(())
}

/// What a damaged log still says, and where it says nothing.
pub(super) struct Evidence {
    /// Whose it is, if anything says so.
    pub(super) uuid: Option<Uuid>,
    /// The highest seq that something in it says was durable.
    pub(super) durable: Seq,
    /// The last entry of the frames that are whole, of the last opening's segments: what an earlier one left unfinished may lie in
    /// its own.
    pub(super) whole: Seq,
    /// The highest epoch that something in it names.
    pub(super) epoch: Epoch,
    /// The device could not read all of the mark.
    pub(super) is_mark_unread: bool,
    /// The highest number of a segment of which the device could not read all.
    pub(super) unread: Option<u64>,
    /// The highest number of a segment without a header, for whatever reason.
    pub(super) headless: Option<u64>,
}

/// What the damaged log on `from` still says.
///
/// # Errors
/// The storage's, but for bytes that the device cannot read.
pub(super) fn evidence(from: &dyn Storage) -> Result<Evidence, OpenError> {
    let Parts { uuid, mark, is_mark_unread, segments, headless } = Parts::read(from)?;
    let mut evidence = Evidence {
        uuid,
        durable: mark.map_or(Seq::ZERO, |mark| mark.seq),
        whole: Seq::ZERO,
        epoch: mark.map_or(Epoch::new(0), |mark| mark.epoch),
        is_mark_unread,
        unread: headless.iter().filter(|headless| headless.is_unread).map(|headless| headless.number).max(),
        headless: headless.iter().map(|headless| headless.number).max(),
    };
    let newest = segments.iter().map(|found| found.header.epoch).max();
    for found in &segments {
        let is_newest = Some(found.header.epoch) == newest;
        let seal = Seal::of(found.header.uuid);
        evidence.epoch = evidence.epoch.max(found.header.epoch);
        let file = found.open(from)?;
        let end = found.written(&*file, LINK_AT)?;
        let mut window = Window::new(&*file, ReadFrom::Device, end);
        for at in (LINK_AT..end).step_by(BLOCK) {
            match readable(window.bytes(at, BLOCK as u64), &found.name)?.map(|block| Header::decode(block, seal)) {
                None => evidence.unread = evidence.unread.max(Some(found.header.number)),
                Some(Ok(header)) => {
                    evidence.durable = evidence.durable.max(header.durable);
                    evidence.epoch = evidence.epoch.max(header.epoch);
                    let frame = window.bytes(at, header.frame_bytes());
                    if is_newest && readable(frame, &found.name)?.is_some_and(|frame| frame::check(frame, seal).is_ok())
                    {
                        evidence.whole = evidence.whole.max(Seq::new(header.next_seq().get() - 1));
                    }
                }
                Some(Err(_)) => {}
            }
        }
    }
    Ok(evidence)
}

/// What can be read without judging it.
struct Source {
    uuid: Uuid,
    mark: Option<Mark>,
    segments: Vec<Found>,
    /// Oldest first. Where there are any, the log need not begin with seq 1.
    snapshots: Vec<Candidate>,
    /// Segments whose header is gone, or another ledger's.
    without_header: Vec<Left>,
}

/// A part of the log that is whole.
struct Part {
    /// Which of the linked segments it begins with.
    start: usize,
    last_seq: Seq,
    known_durable: Seq,
    epoch_max: Epoch,
    walked: Walked,
}

/// What a walk found beside what it took.
#[derive(Default)]
struct Walked {
    left: Vec<Left>,
    /// The last seq that a segment is known to have held.
    ends: BTreeMap<u64, Seq>,
    /// Snapshots of this very log, by their seqs: what they name of it was met.
    met: BTreeSet<Seq>,
}

/// What there is, be it known whose it is or not.
struct Parts {
    uuid: Option<Uuid>,
    mark: Option<Mark>,
    /// The device could not read all of the mark.
    is_mark_unread: bool,
    segments: Vec<Found>,
    headless: Vec<Headless>,
}

/// A segment whose header is gone, or another ledger's.
struct Headless {
    number: u64,
    /// The device could not read it.
    is_unread: bool,
    left: Left,
}

struct Found {
    name: String,
    header: SegmentHeader,
    link: Option<ReadLink>,
}

impl Found {
    /// One at a time: a log may have more segments than a process may have files open.
    fn open(&self, from: &dyn Storage) -> Result<Arc<dyn StorageFile>, OpenError> {
        Ok(during(from.open(&self.name), "opening", &self.name)?)
    }

    /// Where the zeros begin that it ends with; its end, where that cannot be read.
    fn written(&self, file: &dyn StorageFile, offset: u64) -> Result<u64, OpenError> {
        let zeros = readable(file.zeros_from(ReadFrom::Device, offset), &self.name)?;
        Ok(zeros.unwrap_or(self.header.bytes.max(offset)))
    }
}

/// `None` where the device cannot read it, which is damage like any other.
fn readable<T>(read: std::io::Result<T>, name: &str) -> Result<Option<T>, OpenError> {
    match read {
        Err(err) if is_unreadable(&err) => Ok(None),
        read => Ok(Some(during(read, "reading", name)?)),
    }
}

/// The mark, if it says anything, and whether the device could not read all of it.
fn read_mark(from: &dyn Storage) -> Result<(Option<Mark>, bool), OpenError> {
    let opened = match from.open(names::MARK) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok((None, false)),
        opened => readable(opened, names::MARK)?,
    };
    let Some(file) = opened else { return Ok((None, true)) };
    let (mark, lost) = during(Mark::read_slots(&*file, ReadFrom::Device), "reading", names::MARK)?;
    match mark {
        Ok(mark) => Ok((Some(mark), lost.is_some())),
        Err(NoMark::Damaged) => Ok((None, lost.is_some())),
        Err(NoMark::Newer(reason)) => Err(OpenError::Unsupported { file: names::MARK.to_owned(), reason }),
    }
}

impl Parts {
    fn read(from: &dyn Storage) -> Result<Parts, OpenError> {
        let (mark, is_mark_unread) = read_mark(from)?;
        let mut uuid = mark.map(|mark| mark.uuid);
        let (mut segments, mut headless) = (Vec::new(), Vec::new());
        for name in during(from.list(), "listing", &from.describe())? {
            let Some(number) = names::segment_number(&name) else { continue };
            let file = during(from.open(&name), "opening", &name)?;
            let mut block = [0; BLOCK];
            let is_read = readable(file.read_device_at(&mut block, 0), &name)?.is_some();
            match SegmentHeader::decode(&block) {
                Ok(header) if is_read && header.number == number && header.uuid == *uuid.get_or_insert(header.uuid) => {
                    let seal = Seal::of(header.uuid);
                    let link = reader::read_link(&*file, ReadFrom::Device, number, seal);
                    segments.push(Found { link: readable(link, &name)?.flatten(), name, header });
                }
                _ => {
                    let reason = "its header cannot be read, or is another segment's".to_owned();
                    let bytes = 0..during(file.len(), "reading", &name)?;
                    let left = Left { file: name, bytes, seqs: None, reason };
                    headless.push(Headless { number, is_unread: !is_read, left });
                }
            }
        }
        Ok(Parts { uuid, mark, is_mark_unread, segments, headless })
    }
}

impl Source {
    fn read(
        from: &dyn Storage,
        snapshots: &dyn Fn(Uuid) -> Result<Vec<Candidate>, OpenError>,
    ) -> Result<Source, OpenError> {
        let Parts { uuid, mark, segments, headless, .. } = Parts::read(from)?;
        let Some(uuid) = uuid else {
            let reason = "nothing in the directory says which ledger it is".to_owned();
            return Err(OpenError::Damaged { file: names::MARK.to_owned(), offset: 0, seq: None, reason });
        };
        let without_header = headless.into_iter().map(|headless| headless.left).collect();
        let snapshots = if twin::has_snapshots(from)? { snapshots(uuid)? } else { Vec::new() };
        Ok(Source { uuid, mark, segments, snapshots, without_header })
    }

    /// The segments that say what they follow.
    fn linked(&self) -> impl DoubleEndedIterator<Item = (&Found, ReadLink)> {
        self.segments.iter().filter_map(|found| Some((found, found.link?)))
    }

    /// The first seq of the part that begins with that segment.
    fn first_seq(&self, start: usize) -> Seq {
        let first = self.linked().nth(start).filter(|_| !self.snapshots.is_empty());
        first.map_or(Seq::new(1), |(_, read)| read.header.first_seq)
    }

    /// The part that goes furthest, of those that prove a state.
    fn longest(
        &self,
        from: &dyn Storage,
        visit: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<Option<Part>, OpenError> {
        let (mut known_durable, mut epoch_max) = (Seq::ZERO, Epoch::new(0));
        let mut walk = |start: usize, visit: &mut dyn FnMut(Record<'_>) -> Result<(), String>| {
            let mut walk = Walk::new(self, start, (from, None), Seq::new(u64::MAX), visit);
            walk.run()?;
            let (last_seq, durable, epoch, walked) = (walk.last_seq(), walk.durable, walk.epoch_max, walk.walked);
            (known_durable, epoch_max) = (known_durable.max(durable), epoch_max.max(epoch));
            let is_first = self.first_seq(start) == Seq::new(1) && last_seq > Seq::ZERO;
            let proves = is_first || !self.copied(start, &walked, last_seq).is_empty();
            Ok::<_, OpenError>(proves.then_some(Part { start, last_seq, known_durable, epoch_max, walked }))
        };
        let mut best = walk(0, visit)?;
        for base in self.snapshots.iter().filter_map(Candidate::base) {
            let holds = |(_, (_, read)): &(usize, (&Found, ReadLink))| read.header.first_seq <= base.first_seq_max();
            let Some((start, (_, read))) = self.linked().enumerate().filter(holds).last() else { continue };
            // Where an earlier one leads to it, it goes no further.
            let is_further = best.as_ref().is_none_or(|best| best.last_seq < base.anchor);
            if start == 0 || !is_further || read.link.head.is_none() {
                continue;
            }
            let part = walk(start, &mut |_| Ok(()))?;
            if part.as_ref().is_some_and(|part| best.as_ref().is_none_or(|best| best.last_seq < part.last_seq)) {
                best = part;
            }
        }
        Ok(best.map(|best| Part { known_durable, epoch_max, ..best }))
    }

    /// The snapshots that go with a part that ends with `last`. One that begins with seq 1 says everything, and a snapshot may be
    /// one of what was lost.
    fn copied(&self, start: usize, walked: &Walked, last: Seq) -> Vec<&Candidate> {
        let first_seq = self.first_seq(start);
        let is_for =
            |base: &Base| first_seq <= base.first_seq_max() && base.anchor <= last && walked.met.contains(&base.seq);
        let is_needed = first_seq > Seq::new(1);
        self.snapshots.iter().filter(|snapshot| is_needed && snapshot.base().is_some_and(is_for)).collect()
    }

    /// Why nothing can be taken.
    fn nothing(&self, from: &dyn Storage) -> Result<OpenError, OpenError> {
        let said = |file: String, offset: u64, seq: Option<Seq>, reason: String| {
            let reason = format!("{reason}, and no entry before it can be taken");
            OpenError::Damaged { file, offset, seq: seq.map(Seq::get), reason }
        };
        let damage = self.snapshots.iter().rev().find_map(|snapshot| snapshot.found.as_ref().err());
        if let Some(damage) = damage.filter(|_| self.first_seq(0) > Seq::new(1)) {
            return Ok(match damage {
                OpenError::Damaged { file, offset, seq, reason } => {
                    said(file.clone(), *offset, seq.map(Seq::new), reason.clone())
                }
                other => said(from.describe(), 0, None, other.to_string()),
            });
        }
        let mut all = |_: Record<'_>| Ok(());
        let is_gone = self.linked().next().is_none() && self.without_header.is_empty();
        let mut walk = Walk::new(self, 0, (from, None), Seq::new(u64::MAX), &mut all);
        walk.run()?;
        let (durable, last) = (walk.durable, Seq::new(self.first_seq(0).get() - 1));
        if is_gone && durable > last {
            let reason = format!("no segment of the log is there, of which all up to seq {durable} was durable");
            return Ok(said(from.describe(), 0, Some(last.next()), reason));
        }
        let left = self.left(0, walk.walked, (last, durable), &[]);
        let is_log = |left: &&Left| names::segment_number(&left.file).is_some();
        Ok(match left.iter().find(is_log) {
            Some(first) => said(first.file.clone(), first.bytes.start, Some(last.next()), first.reason.clone()),
            None => said(from.describe(), 0, Some(Seq::new(1)), "there is no entry in the log".to_owned()),
        })
    }

    /// All that is not in the copy, in the order of the files, with what it is known to have held: files that are missing, too.
    fn left(&self, start: usize, walked: Walked, (last, durable): (Seq, Seq), copied: &[&Candidate]) -> Vec<Left> {
        let Walked { mut left, ends, .. } = walked;
        left.extend(self.without_header.iter().cloned());
        left.extend(self.missing(&left, &ends));
        left.sort_by(|one, other| one.file.cmp(&other.file));
        let of_first = self.linked().nth(start).map_or(0, |(found, _)| found.header.number);
        let (mut expected, mut nowhere) = (last.next(), Vec::new());
        for piece in &mut left {
            let Some(number) = names::segment_number(&piece.file).filter(|number| *number >= of_first) else {
                continue;
            };
            let after = self.linked().find(|(found, _)| found.header.number > number);
            let until = after.filter(|(_, read)| read.link.previous == number).map(|(_, read)| read.before());
            let named = piece.seqs.map(|(_, last)| last).max(until);
            // What stands in the last file of all, behind what could be taken, is what is known and nowhere else.
            let named = named.or((after.is_none() && durable >= expected).then_some(durable));
            let own =
                self.linked().find(|(found, _)| found.header.number == number).map(|(_, read)| read.header.first_seq);
            let first = own.map_or(expected, |own| own.max(expected));
            if let Some(named) = named.filter(|named| *named >= first) {
                if first > expected {
                    nowhere.push((expected, Seq::new(first.get() - 1)));
                }
                piece.seqs = Some((first, named));
                expected = named.next();
            }
        }
        for seqs in nowhere {
            let reason = "nothing that is there says where these were".to_owned();
            left.push(Left { file: names::MARK.to_owned(), bytes: 0..0, seqs: Some(seqs), reason });
        }
        if durable >= expected {
            let linked = self.linked().next_back().map_or(0, |(found, _)| found.header.number);
            // What was prepared before it was written to had the number after it.
            let spare = self.segments.iter().map(|found| found.header.number).find(|number| *number > linked + 1);
            let number = spare.map_or(linked + 1, |spare| spare - 1);
            let file = if self.has(number, &left) { names::MARK.to_owned() } else { names::segment(number) };
            let reason = format!(
                "all up to seq {durable} was durable, and this is in no file that is there: a segment is missing"
            );
            left.push(Left { file, bytes: 0..0, seqs: Some((expected, durable)), reason });
        }
        let is_from_the_first = self.first_seq(start) == Seq::new(1);
        for snapshot in &self.snapshots {
            let is_copied = copied.iter().any(|copied| copied.seq == snapshot.seq);
            if is_copied || (is_from_the_first && snapshot.seq <= last) {
                continue;
            }
            left.push(snapshot.leave(match &snapshot.found {
                Err(_) => "it is damaged",
                Ok(_) if snapshot.seq > last => "it is later than what could be taken of the log",
                Ok(_) => "the log that leads on from it is not there",
            }));
        }
        left.sort_by(|one, other| one.file.cmp(&other.file));
        left
    }

    /// The segments that others follow and that are not there. That the log begins later than with seq 1 is no fault where each
    /// snapshot has what was before.
    fn missing(&self, left: &[Left], ends: &BTreeMap<u64, Seq>) -> Vec<Left> {
        let mut missing = Vec::new();
        let mut before = None;
        for (found, read) in self.linked() {
            let (number, previous) = (found.header.number, read.link.previous);
            let lacks = |base: &&Base| read.header.first_seq > base.first_seq_max();
            let after = match before.replace(number) {
                Some(before) => ends.get(&before).copied(),
                None if self.snapshots.is_empty() => Some(Seq::ZERO),
                None => {
                    self.snapshots.iter().filter_map(Candidate::base).filter(lacks).map(|base| base.seq).next_back()
                }
            };
            if let Some(after) = after.filter(|_| previous != 0 && !self.has(previous, left)) {
                let seqs = (after < read.before()).then(|| (after.next(), read.before()));
                let reason = "it is missing".to_owned();
                missing.push(Left { file: names::segment(previous), bytes: 0..0, seqs, reason });
            }
        }
        missing
    }

    /// Whether there is a segment of that number, be it one that is left.
    fn has(&self, number: u64, left: &[Left]) -> bool {
        let name = names::segment(number);
        self.segments.iter().any(|found| found.name == name) || left.iter().any(|left| left.file == name)
    }
}

/// The state after the last frame that was taken.
#[derive(Clone, Copy)]
struct Place {
    /// In the source.
    chain: Chain,
    /// In the copy.
    records_chain: Chain,
    next_seq: Seq,
    time: Timestamp,
    epoch: Epoch,
    head: HeadHash,
}

struct Walk<'a> {
    source: &'a Source,
    seal: Seal,
    from: &'a dyn Storage,
    /// Nothing is written where there is none.
    into: Option<&'a dyn Storage>,
    /// Nothing later was durable, as far as the copy says.
    durable_max: Seq,
    visit: &'a mut dyn FnMut(Record<'_>) -> Result<(), String>,
    at: Place,
    copy: Option<Copy<'a>>,
    /// Where the last finished segment of the copy ends, and its number.
    copied: Link,
    copy_chain: Chain,
    durable: Seq,
    epoch_max: Epoch,
    start: usize,
    walked: Walked,
}

/// The segment of the copy that is being written.
struct Copy<'a> {
    new: NewFile<'a>,
    header: SegmentHeader,
    offset: u64,
}

impl<'a> Walk<'a> {
    /// Begins with the linked segment `start`.
    fn new(
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
    fn last_seq(&self) -> Seq {
        Seq::new(self.at.next_seq.get() - 1)
    }

    fn run(&mut self) -> Result<(), OpenError> {
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
            let is_it = chain == base.chain || may_hold_copy(found.header.epoch, base.epoch);
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
