//! Room for records, before they are appended: who makes it, how long he waits for it, and when he is told that there is none. What room
//! there is and who is next is in [`room`](super::room).

use super::room::{Lack, Need};
use super::shared::Shared;
use super::{Refused, Wal, WhenFull};

/// Room in the pipe and on the disk for records to come; what is not used is given back on drop. A commit is begun then
/// at the latest, so that a batch wakes the log once; but not for a record that is alone, which is left to who waits for it
/// (see [`Wal::begin`]), unless somebody queues for room.
pub(crate) struct Reservation<'a> {
    shared: &'a Shared,
    pub(super) left: Need,
    pub(super) wakes: bool,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let room = &self.shared.room;
        room.give_back(self.left);
        // Who waits for room has woken the log before he sleeps. What was appended after that takes room which only a
        // commit gives back, so it is not left to who waits for the record: he may himself be waiting for room by now.
        if self.wakes || room.is_crowded_after_append() {
            self.shared.wake_committer();
        }
    }
}

impl Wal {
    /// The most bytes that `records` records can have together in one reservation.
    pub(crate) fn bytes_max(&self, records: usize) -> usize {
        self.shared().room.pipe_max().saturating_sub(Need::of(records, 0).pipe as usize)
    }

    /// Makes room for `records` records of `bytes` bytes together. Called before any lock is taken: it may wait. Who
    /// holds a reservation must not wait for anything that needs another one.
    pub(crate) fn reserve(&self, records: usize, bytes: usize) -> Result<Reservation<'_>, Refused> {
        self.reserve_for(records, bytes, Need::of(records, bytes))
    }

    /// As [`Wal::reserve`], for records that are all appended by one call of [`Wal::append_together`]: on the disk, room for the
    /// one frame.
    pub(crate) fn reserve_together(&self, records: usize, bytes: usize) -> Result<Reservation<'_>, Refused> {
        self.reserve_for(records, bytes, Need::of_together(records, bytes))
    }

    fn reserve_for(&self, records: usize, bytes: usize, need: Need) -> Result<Reservation<'_>, Refused> {
        let shared = self.shared();
        self.check_open()?;
        if shared.in_memory {
            return Ok(Reservation { shared, left: Need::default(), wakes: false });
        }
        if bytes > self.bytes_max(records) {
            return Err(Refused::TooLarge { bytes, bytes_max: self.bytes_max(records) });
        }
        if shared.room.is_crowded() || shared.room.try_take(need).is_err() {
            self.queue_for(need)?;
        }
        Ok(Reservation { shared, left: need, wakes: false })
    }

    fn check_open(&self) -> Result<(), Refused> {
        if let Some(halted) = self.shared().halted() {
            return Err(Refused::Halted(halted));
        }
        if self.shared().is_open() { Ok(()) } else { Err(Refused::Closed) }
    }

    /// There is no room now, or others came before: waits for its turn, then for room.
    fn queue_for(&self, need: Need) -> Result<(), Refused> {
        let shared = self.shared();
        let room = &shared.room;
        if self.is_known_full(need) {
            return Err(Refused::StorageFull);
        }
        let turn = room.queue();
        let mut failures_before = None;
        loop {
            self.check_open()?;
            match room.try_take(need) {
                Ok(()) => return Ok(()),
                Err(Lack::Pipe) if shared.options.when_full == WhenFull::Refuse => return Err(Refused::Overloaded),
                Err(Lack::Pipe) => shared.wake_committer(),
                // He waited behind the one who found it so.
                Err(Lack::Disk) if failures_before.is_none() && self.is_known_full(need) => {
                    return Err(Refused::StorageFull);
                }
                Err(Lack::Disk) => match failures_before {
                    None => {
                        failures_before = Some(turn.demand(need.disk));
                        shared.wake_background(true);
                    }
                    Some(before) if turn.failures() > before => return Err(Refused::StorageFull),
                    Some(_) => {}
                },
            }
            if shared.options.threads {
                turn.wait(|| {
                    turn.has(need)
                        || failures_before.is_some_and(|before| turn.failures() > before)
                        || self.check_open().is_err()
                });
            } else if !self.step() {
                // All that is in the way is promised to others, and they are not going to be waited for here.
                return Err(Refused::Overloaded);
            }
        }
    }

    /// Whether the disk is known to be full: then nobody waits for another attempt. Without threads there is no time, and
    /// every call makes its own.
    fn is_known_full(&self, need: Need) -> bool {
        let shared = self.shared();
        if !shared.options.threads {
            return false;
        }
        let (is_full, tries_again) = shared.room.is_known_full(need);
        if tries_again {
            shared.wake_background(true);
        }
        is_full
    }
}
