//! Room for records: in the pipe (memory) and in the segments (disk), promised before anything is appended.
//!
//! What must hold: whatever order the promised records arrive in and however they are cut into frames, each frame fits
//! into the current segment or the next ready spare. So a full disk is noticed by who asks for room, never by a commit.
//!
//! A record's promise covers the worst case, alone in a frame padded to 4 KiB. Records that were appended together go into
//! one frame, so they keep the promise of one, and the rest is given back with what else of the reservation was not used:
//! kept until the frame is written, a thousand small records would hold 4 MiB of a segment. Where all are to be appended together
//! no more than the promise of one frame is asked for. Of a segment that is not the
//! last, a frame's length is not counted: that much may be left over when the next frame does not fit.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::frame::{BLOCK, FRAME_OVERHEAD_MAX, RECORD_OVERHEAD_MAX};
use super::segment::{FRAMES_AT, SegmentHeader};
use crate::sync::{Arc, AtomicBool, AtomicI64, CachePadded, Condvar, Mutex, MutexGuard, Ordering, fence};
use crate::sys::StorageFile;

/// How long a full disk is left alone: an attempt writes zeros until there is no room again.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What some records need.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Need {
    /// Bytes of a frame's payload.
    pub(super) pipe: i64,
    /// Bytes of segments.
    pub(super) disk: i64,
}

impl Need {
    /// Of records that may each come into a frame of its own.
    pub(super) fn of(records: usize, bytes: usize) -> Need {
        Need::in_frames(records, records, bytes)
    }

    /// Of records that come into one frame.
    pub(super) fn of_together(records: usize, bytes: usize) -> Need {
        Need::in_frames(1, records, bytes)
    }

    fn in_frames(frames: usize, records: usize, bytes: usize) -> Need {
        let payload = records * RECORD_OVERHEAD_MAX + bytes;
        Need { pipe: payload as i64, disk: (payload + frames * FRAME_OVERHEAD_MAX) as i64 }
    }

    pub(super) fn covers(self, other: Need) -> bool {
        self.pipe >= other.pipe && self.disk >= other.disk
    }

    pub(super) fn add(&mut self, other: Need) {
        (self.pipe, self.disk) = (self.pipe + other.pipe, self.disk + other.disk);
    }

    pub(super) fn subtract(&mut self, other: Need) {
        (self.pipe, self.disk) = (self.pipe - other.pipe, self.disk - other.disk);
    }
}

/// What is missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lack {
    Pipe,
    Disk,
}

/// A segment that was prepared and not yet begun.
pub(super) struct Spare {
    pub(super) header: SegmentHeader,
    pub(super) file: Arc<dyn StorageFile>,
}

/// How many bytes of frames a fresh segment takes: all but its header, its link and a closing frame.
pub(super) fn usable(segment_bytes: u64) -> u64 {
    segment_bytes - FRAMES_AT - BLOCK as u64
}

pub(super) struct Room {
    pipe_max: i64,
    pipe_free: CachePadded<AtomicI64>,
    disk_free: CachePadded<AtomicI64>,
    /// Somebody waits for room: newcomers queue behind, and whoever gives room back says so.
    crowded: AtomicBool,
    turn: Mutex<()>,
    gate: Mutex<()>,
    given_back: Condvar,
    segments: Mutex<Segments>,
}

/// What the disk has ready.
struct Segments {
    frame_bytes_max: u64,
    current_left: u64,
    spares: VecDeque<Spare>,
    /// What [`Segments::capacity`] was when it was last told to `disk_free`.
    counted: i64,
    /// The first commit was made: an idle log prepares nothing.
    begun: bool,
    /// What the head of the queue waits for.
    demand: i64,
    /// How often preparing a spare found the disk full.
    failures: u64,
    /// It did so, and nobody asked again since.
    resting: bool,
    /// When it last did so, if no spare was prepared since.
    full_since: Option<Instant>,
}

impl Segments {
    fn capacity(&self) -> i64 {
        let lengths = std::iter::once(self.current_left).chain(self.spares.iter().map(|it| usable(it.header.bytes)));
        let all: u64 = lengths.clone().map(|left| left.saturating_sub(self.frame_bytes_max)).sum();
        let last = lengths.last().expect("there is a current segment");
        (all - last.saturating_sub(self.frame_bytes_max) + last) as i64
    }
}

impl Room {
    pub(super) fn new(pipe_max: usize, frame_bytes_max: u64, current_left: u64) -> Room {
        let mut segments = Segments {
            frame_bytes_max,
            current_left,
            spares: VecDeque::new(),
            counted: 0,
            begun: false,
            demand: 0,
            failures: 0,
            resting: false,
            full_since: None,
        };
        segments.counted = segments.capacity();
        Room {
            pipe_max: pipe_max as i64,
            pipe_free: CachePadded::new(AtomicI64::new(pipe_max as i64)),
            disk_free: CachePadded::new(AtomicI64::new(segments.counted)),
            crowded: AtomicBool::new(false),
            turn: Mutex::new(()),
            gate: Mutex::new(()),
            given_back: Condvar::new(),
            segments: Mutex::new(segments),
        }
    }

    pub(super) fn pipe_max(&self) -> usize {
        self.pipe_max as usize
    }

    pub(super) fn pipe_used(&self) -> u64 {
        // A figure for people: it orders nothing.
        (self.pipe_max - self.pipe_free.load(Ordering::Relaxed)).max(0) as u64
    }

    /// Whether newcomers must queue. Relaxed: a newcomer who misses it overtakes once, no more.
    pub(super) fn is_crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// As [`Room::is_crowded`], never missed by who has appended: either he sees here that somebody queues, or that one has
    /// yet to look for room, and finding none wakes the log, which sees what was appended.
    pub(super) fn is_crowded_after_append(&self) -> bool {
        fence(Ordering::SeqCst); // Against the one in `Shared::wake_committer`.
        self.crowded.load(Ordering::SeqCst)
    }

    /// Takes all of it or nothing.
    pub(super) fn try_take(&self, need: Need) -> Result<(), Lack> {
        if !take(&self.pipe_free, need.pipe) {
            return Err(Lack::Pipe);
        }
        if !take(&self.disk_free, need.disk) {
            self.give_back(Need { pipe: need.pipe, disk: 0 });
            return Err(Lack::Disk);
        }
        Ok(())
    }

    pub(super) fn give_back(&self, need: Need) {
        // SeqCst, against the one in `Turn::wait`: either this sees that somebody waits, or he sees what is given.
        if need.pipe != 0 {
            self.pipe_free.fetch_add(need.pipe, Ordering::SeqCst);
        }
        if need.disk != 0 {
            self.disk_free.fetch_add(need.disk, Ordering::SeqCst);
        }
        if self.crowded.load(Ordering::SeqCst) {
            self.look_again();
        }
    }

    /// Lets the head of the queue look whether anything has changed for him.
    pub(super) fn look_again(&self) {
        drop(self.gate.lock());
        self.given_back.notify_one();
    }

    /// Joins the queue; returns at its head.
    pub(super) fn queue(&self) -> Turn<'_> {
        let turn = self.turn.lock();
        self.crowded.store(true, Ordering::SeqCst); // See `give_back`.
        Turn { room: self, _turn: turn }
    }

    /// The current segment has so much left, and its frames have used up what was promised to their records.
    pub(super) fn written(&self, current_left: u64, promised: i64) {
        let delta = self.recount(|segments| {
            segments.current_left = current_left;
            segments.begun = true;
        });
        self.give_back(Need { pipe: 0, disk: promised + delta });
    }

    /// The next spare becomes the current segment.
    pub(super) fn take_spare(&self) -> Option<Spare> {
        let mut taken = None;
        let delta = self.recount(|segments| {
            taken = segments.spares.pop_front();
            if let Some(spare) = &taken {
                segments.current_left = usable(spare.header.bytes);
            }
        });
        self.give_back(Need { pipe: 0, disk: delta });
        taken
    }

    pub(super) fn add_spare(&self, spare: Spare) {
        let delta = self.recount(|segments| {
            segments.spares.push_back(spare);
            segments.resting = false;
            segments.full_since = None;
        });
        self.give_back(Need { pipe: 0, disk: delta });
    }

    /// A spare could not be prepared: the disk is full. It is tried again when somebody asks for room.
    pub(super) fn disk_is_full(&self) {
        let mut segments = self.segments.lock();
        segments.failures += 1;
        segments.resting = true;
        segments.full_since = Some(Instant::now());
        drop(segments);
        self.look_again();
    }

    /// Whether the disk was full when a spare was last tried, and it does not have `need` ready. One who asks long enough
    /// after has it tried again, behind his back: `true` in the second place says that the background is to be woken.
    pub(super) fn is_known_full(&self, need: Need) -> (bool, bool) {
        if self.disk_free.load(Ordering::SeqCst) >= need.disk {
            return (false, false);
        }
        let mut segments = self.segments.lock();
        let Some(since) = segments.full_since else { return (false, false) };
        let tries_again = segments.resting && since.elapsed() >= TRY_AGAIN_AFTER;
        segments.resting &= !tries_again;
        (true, tries_again)
    }

    /// Whether the last spare could not be prepared.
    pub(super) fn is_full(&self) -> bool {
        self.segments.lock().full_since.is_some()
    }

    pub(super) fn wants_spare(&self) -> bool {
        let segments = self.segments.lock();
        let is_short = segments.demand > self.disk_free.load(Ordering::SeqCst);
        !segments.resting && (is_short || segments.begun && segments.spares.is_empty())
    }

    fn recount(&self, change: impl FnOnce(&mut Segments)) -> i64 {
        let mut segments = self.segments.lock();
        change(&mut segments);
        let before = std::mem::replace(&mut segments.counted, 0);
        segments.counted = segments.capacity();
        segments.counted - before
    }
}

/// Takes `need` of what is free, if there is so much. AcqRel: the memory that is taken was given back with all that its
/// former holder did to it (SeqCst for the handshake in [`Room::give_back`]).
fn take(free: &AtomicI64, need: i64) -> bool {
    free.fetch_update(Ordering::SeqCst, Ordering::Relaxed, |free| (free >= need).then(|| free - need)).is_ok()
}

/// The head of the queue for room.
pub(super) struct Turn<'a> {
    room: &'a Room,
    _turn: MutexGuard<'a, ()>,
}

impl Turn<'_> {
    /// Asks for spares until `disk` bytes are free. Returns how often that had failed before.
    pub(super) fn demand(&self, disk: i64) -> u64 {
        let mut segments = self.room.segments.lock();
        segments.demand = disk;
        segments.resting = false;
        segments.failures
    }

    /// How often preparing a spare found the disk full.
    pub(super) fn failures(&self) -> u64 {
        self.room.segments.lock().failures
    }

    /// Waits until something has changed, unless `is_ready` says that it has.
    pub(super) fn wait(&self, is_ready: impl FnOnce() -> bool) {
        let mut gate = self.room.gate.lock();
        // Checked under the gate: who gives back after this looks at the gate after it.
        if !is_ready() {
            self.room.given_back.wait(&mut gate);
        }
    }

    /// Whether `need` could be taken now.
    pub(super) fn has(&self, need: Need) -> bool {
        self.room.pipe_free.load(Ordering::SeqCst) >= need.pipe
            && self.room.disk_free.load(Ordering::SeqCst) >= need.disk
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.room.segments.lock().demand = 0;
        self.room.crowded.store(false, Ordering::SeqCst); // The next in the queue says it again.
    }
}
