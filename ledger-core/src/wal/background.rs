//! What is done behind the commits' back: the next segment is prepared, and the mark follows what is durable.
//!
//! A state machine without a thread of its own: [`Background::due`] says when there is something to do and
//! [`Background::step`] does one thing.

use std::time::{Duration, Instant};

use super::frame::BLOCK;
use super::group_commit::Due;
use super::mark::MarkFile;
use super::names;
use super::room::Spare;
use super::segment::{Failure, NewFile, SegmentHeader, during};
use super::shared::Shared;
use crate::sync::{Arc, Ordering};
use crate::sys::{Storage, StorageFile};
use crate::types::Seq;

/// How long after `durable` moved the mark follows. With the time of its own sync it stays within 100 ms.
const MARK_DELAY: Duration = Duration::from_millis(50);
/// Without threads there is no time: the mark follows every so many commits.
const MARK_COMMITS: u64 = 4;

pub(super) struct Background {
    storage: Arc<dyn Storage>,
    mark: MarkFile,
    next_number: u64,
    /// No spare was prepared since the opening.
    is_first_spare: bool,
    mark_due: Option<Instant>,
    /// What was last seen of [`Shared::segments_begun`].
    segments_seen: u64,
    commits_at_mark: u64,
}

impl Background {
    pub(super) fn new(storage: Arc<dyn Storage>, mark: MarkFile, next_number: u64) -> Background {
        Background {
            storage,
            mark,
            next_number,
            is_first_spare: true,
            mark_due: None,
            segments_seen: 0,
            commits_at_mark: 0,
        }
    }

    /// When there is something to do. Says `Never` only if nothing but [`Shared::wake_background`] can change that.
    pub(super) fn due(&mut self, shared: &Shared) -> Due {
        if shared.halted().is_some() {
            return Due::Never;
        }
        if !shared.is_stopping() && shared.room.wants_spare() {
            return Due::Now;
        }
        if self.unmarked(shared).is_none() {
            self.mark_due = None;
            return Due::Never;
        }
        // Acquire: pairs with the committer's Release when it begins a segment.
        let is_urgent = shared.is_stopping() || shared.segments_begun.load(Ordering::Acquire) != self.segments_seen;
        if is_urgent {
            return Due::Now;
        }
        if !shared.options.threads {
            let commits = shared.commits_done.load(Ordering::Relaxed); // One thread: no order is needed.
            return if commits >= self.commits_at_mark + MARK_COMMITS { Due::Now } else { Due::Never };
        }
        let now = Instant::now();
        let due = *self.mark_due.get_or_insert(now + MARK_DELAY);
        if due <= now { Due::Now } else { Due::At(due) }
    }

    /// Does one thing. Whoever calls it halts the log on a failure.
    pub(super) fn step(&mut self, shared: &Shared) -> Result<(), Failure> {
        if !shared.is_stopping() && shared.room.wants_spare() {
            return self.prepare_spare(shared);
        }
        self.advance_mark(shared)
    }

    fn unmarked(&self, shared: &Shared) -> Option<(Seq, super::frame::Chain)> {
        let (seq, chain) = *shared.synced.lock();
        (seq > self.mark.last().seq).then_some((seq, chain))
    }

    fn advance_mark(&mut self, shared: &Shared) -> Result<(), Failure> {
        self.segments_seen = shared.segments_begun.load(Ordering::Acquire); // As in `due`.
        self.commits_at_mark = shared.commits_done.load(Ordering::Relaxed); // A pace, not an order.
        self.mark_due = None;
        match self.unmarked(shared) {
            Some((seq, chain)) => self.mark.advance(shared.epoch, seq, chain),
            None => Ok(()),
        }
    }

    /// Readies one more segment, unless the disk is full or the log is stopped meanwhile.
    fn prepare_spare(&mut self, shared: &Shared) -> Result<(), Failure> {
        let options = &shared.options;
        let header = SegmentHeader {
            uuid: shared.uuid,
            number: self.next_number,
            epoch: shared.epoch,
            bytes: if self.is_first_spare { options.first_spare_bytes() } else { options.segment_bytes },
            in_flight_max: options.in_flight_max(),
        };
        // A number is never used twice: what a failed attempt leaves behind stays out of the next one's way.
        self.next_number += 1;
        match self.write_spare(shared, header) {
            Ok(None) => return Ok(()),
            Ok(Some(file)) => {
                // A name that may or may not be there can be neither used nor taken back: not even a full disk
                // excuses this one. (An unused segment before a used one would be a hole in the log.)
                if !shared.skips_directory_sync() {
                    during(self.storage.sync_directory(), "syncing", &self.storage.describe())?;
                }
                self.is_first_spare = false;
                shared.room.add_spare(Spare { header, file });
            }
            Err(failure) if failure.is_full() => shared.room.disk_is_full(),
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    /// `None` when the log was stopped meanwhile.
    fn write_spare(&self, shared: &Shared, header: SegmentHeader) -> Result<Option<Arc<dyn StorageFile>>, Failure> {
        let new = NewFile::create(&*self.storage, names::segment(header.number))?;
        let stop = || shared.is_stopping() || shared.halted().is_some();
        let write = || {
            new.write_at(&header.encode(), 0)?;
            let is_whole = new.write_zeros(BLOCK as u64, header.bytes, &stop)?;
            if is_whole { new.finish().map(Some) } else { Ok(None) }
        };
        let written = write();
        if !matches!(written, Ok(Some(_))) {
            new.abandon();
        }
        written
    }
}
