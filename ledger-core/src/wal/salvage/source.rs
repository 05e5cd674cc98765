//! Which part of a damaged log is taken, and what is not.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::parts::{Found, Parts};
use super::walk::Walk;
use super::{Candidate, Left};
use crate::error::OpenError;
use crate::sys::Storage;
use crate::types::{Epoch, Seq};
use crate::wal::mark::Mark;
use crate::wal::segment::ReadLink;
use crate::wal::{Base, Record, names, twin};

/// What can be read without judging it.
pub(super) struct Source {
    pub(super) uuid: Uuid,
    pub(super) mark: Option<Mark>,
    pub(super) segments: Vec<Found>,
    /// Oldest first. Where there are any, the log need not begin with seq 1.
    pub(super) snapshots: Vec<Candidate>,
    /// Segments whose header is gone, or another ledger's.
    pub(super) without_header: Vec<Left>,
}

/// A part of the log that is whole.
pub(super) struct Part {
    /// Which of the linked segments it begins with.
    pub(super) start: usize,
    pub(super) last_seq: Seq,
    pub(super) known_durable: Seq,
    pub(super) epoch_max: Epoch,
    pub(super) walked: Walked,
}

/// What a walk found beside what it took.
#[derive(Default)]
pub(super) struct Walked {
    pub(super) left: Vec<Left>,
    /// The last seq that a segment is known to have held.
    pub(super) ends: BTreeMap<u64, Seq>,
    /// Snapshots of this very log, by their seqs: what they name of it was met.
    pub(super) met: BTreeSet<Seq>,
}

impl Source {
    pub(super) fn read(
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
    pub(super) fn linked(&self) -> impl DoubleEndedIterator<Item = (&Found, ReadLink)> {
        self.segments.iter().filter_map(|found| Some((found, found.link?)))
    }

    /// The first seq of the part that begins with that segment.
    pub(super) fn first_seq(&self, start: usize) -> Seq {
        let first = self.linked().nth(start).filter(|_| !self.snapshots.is_empty());
        first.map_or(Seq::new(1), |(_, read)| read.header.first_seq)
    }

    /// The part that goes furthest, of those that prove a state.
    pub(super) fn longest(
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
    pub(super) fn copied(&self, start: usize, walked: &Walked, last: Seq) -> Vec<&Candidate> {
        let first_seq = self.first_seq(start);
        let is_for =
            |base: &Base| first_seq <= base.first_seq_max() && base.anchor <= last && walked.met.contains(&base.seq);
        let is_needed = first_seq > Seq::new(1);
        self.snapshots.iter().filter(|snapshot| is_needed && snapshot.base().is_some_and(is_for)).collect()
    }

    /// Why nothing can be taken.
    pub(super) fn nothing(&self, from: &dyn Storage) -> Result<OpenError, OpenError> {
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
    pub(super) fn left(
        &self,
        start: usize,
        walked: Walked,
        (last, durable): (Seq, Seq),
        copied: &[&Candidate],
    ) -> Vec<Left> {
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
                Ok(_) => "the log at its end is not there, or of another history",
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
