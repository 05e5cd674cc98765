//! The committer: writes whatever gathered since the last commit as one frame, syncs it, and wakes who waited for it.
//!
//! A state machine without a thread of its own, like [`super::background::Background`]. What must hold: nothing is called
//! durable before its sync returned; a failed sync is never tried again; a segment is synced whole before the first
//! frame goes into its successor; and no more is in flight than the segment's header says.

use std::time::Instant;

use super::frame::{self, HEADER_BYTES};
use super::options::Durability;
use super::segment::Failure;
use super::shared::Shared;
use super::writer::{Batch, Writer};
use crate::sync::Ordering;
use crate::types::Seq;

/// When a state machine has something to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    Now,
    At(Instant),
    /// When it is woken.
    Never,
}

pub(super) struct Committer {
    writer: Writer,
    /// The buffer that the next batch is swapped for.
    idle_buf: Vec<u8>,
    durable: Seq,
    last_sync: Instant,
    is_done: bool,
}

impl Committer {
    pub(super) fn new(writer: Writer) -> Committer {
        let durable = writer.last_seq();
        Committer { writer, idle_buf: Vec::new(), durable, last_sync: Instant::now(), is_done: false }
    }

    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// When there is something to do.
    pub(super) fn due(&self, shared: &Shared) -> Due {
        if self.is_done || shared.halted().is_some() {
            return Due::Never;
        }
        // SeqCst: paired with the fence of who wakes the log after appending.
        let has_batch = shared.appended.load(Ordering::SeqCst) > self.writer.last_seq().get();
        if has_batch || shared.is_closing() || self.must_sync(shared) {
            return Due::Now;
        }
        match shared.options.durability {
            // Without threads there is no time: only who asks for more makes it sync.
            Durability::Interval(every) if self.writer.unsynced > 0 && shared.options.threads => {
                Due::At(self.last_sync + every)
            }
            _ => Due::Never,
        }
    }

    /// Commits once, or syncs, or stops. Whoever calls it halts the log on a failure.
    pub(super) fn step(&mut self, shared: &Shared) -> Result<(), Failure> {
        // Read before the batch is taken: nothing is appended after it, so the batch is then the last.
        let is_closing = shared.is_closing();
        if self.owes_sync(shared) {
            return self.sync(shared);
        }
        if let Some(batch) = self.take_batch(shared) {
            return self.commit(shared, batch);
        }
        if is_closing {
            self.sync(shared)?;
            if shared.wants_closing_frame() {
                self.writer.write_closing(shared.time())?;
                self.sync(shared)?;
            }
            self.is_done = true;
            return Ok(());
        }
        self.sync(shared)
    }

    fn take_batch(&mut self, shared: &Shared) -> Option<Batch> {
        let mut front = shared.front.lock();
        if front.count == 0 {
            return None;
        }
        self.idle_buf.clear();
        self.idle_buf.resize(HEADER_BYTES, 0);
        let batch = Batch {
            buf: std::mem::replace(&mut front.buf, std::mem::take(&mut self.idle_buf)),
            count: front.count,
            first_seq: front.first_seq,
            base_time: front.base_time,
            last_time: front.last.time,
            promised: front.promised.disk,
        };
        let pipe = front.promised.pipe;
        front.empty();
        drop(front);
        shared.room.give_back(super::room::Need { pipe, disk: 0 });
        Some(batch)
    }

    fn commit(&mut self, shared: &Shared, mut batch: Batch) -> Result<(), Failure> {
        let bytes = frame::frame_bytes(batch.buf.len() - HEADER_BYTES);
        let padding = bytes - batch.buf.len() as u64;
        if bytes > self.writer.left() {
            self.begin_segment(shared)?;
        } else if self.writer.unsynced + bytes > self.writer.segment.in_flight_max - frame::BLOCK as u64 {
            self.sync(shared)?;
        }
        self.writer.write(&mut batch, self.durable)?;
        shared.room.written(self.writer.left(), batch.promised);
        shared.counters.committed(u64::from(batch.count), bytes, padding);
        shared.commits_done.fetch_add(1, Ordering::Relaxed); // A pace for the mark; it orders nothing.
        #[cfg(any(test, feature = "sim"))]
        if shared.options.has(crate::sim::PlantedBug::AckBeforeFsync) {
            shared.publish_durable(self.writer.last_seq(), self.writer.records_chain);
        }
        match shared.options.durability {
            Durability::Sync if shared.options.threads => {
                self.sync(shared)?;
                self.hash(shared, batch);
                Ok(())
            }
            // Without threads in a step of its own, so that a simulation can do something else in between.
            Durability::Sync => {
                self.hash(shared, batch);
                Ok(())
            }
            Durability::Interval(every) => {
                shared.publish_written(self.writer.last_seq());
                self.hash(shared, batch);
                if self.must_sync(shared) || shared.options.threads && self.last_sync.elapsed() >= every {
                    self.sync(shared)?;
                }
                Ok(())
            }
        }
    }

    /// Takes what was written into the head, once nobody waits for it any more.
    fn hash(&mut self, shared: &Shared, batch: Batch) {
        self.writer.hash(&batch);
        self.idle_buf = batch.buf;
        self.publish_head(shared);
    }

    /// Only what is durable is vouched for.
    fn publish_head(&self, shared: &Shared) {
        if self.durable == self.writer.last_seq() && self.writer.unhashed.is_none() {
            *shared.head.lock() = self.writer.head.at(self.durable);
        }
    }

    fn begin_segment(&mut self, shared: &Shared) -> Result<(), Failure> {
        self.sync(shared)?;
        let Some(spare) = shared.room.take_spare() else {
            // Room was promised, so this is a mistake in the counting; it must not become a lost record.
            let source = std::io::Error::other("no segment was ready for records that had been promised room");
            return Err(Failure { context: "beginning a segment".to_owned(), source });
        };
        self.writer.begin(spare)?;
        // Release: who sees the number sees the sync before it. The mark follows at once.
        shared.segments_begun.fetch_add(1, Ordering::Release);
        if let Some(notify) = shared.on_segment_begun.get() {
            notify();
        }
        Ok(())
    }

    fn must_sync(&self, shared: &Shared) -> bool {
        // SeqCst: as in `due`.
        self.owes_sync(shared)
            || self.writer.unsynced > 0 && shared.sync_wanted.load(Ordering::SeqCst) > self.durable.get()
    }

    /// A frame was written that others wait for, and no other frame comes before its sync.
    fn owes_sync(&self, shared: &Shared) -> bool {
        self.writer.unsynced > 0 && shared.options.durability == Durability::Sync
    }

    fn sync(&mut self, shared: &Shared) -> Result<(), Failure> {
        if self.writer.unsynced == 0 {
            return Ok(());
        }
        let begun = Instant::now();
        let synced = self.writer.sync();
        #[cfg(any(test, feature = "sim"))]
        let synced = match synced {
            Err(_) if shared.options.has(crate::sim::PlantedBug::RetryFsync) => self.writer.sync(),
            synced => synced,
        };
        synced?;
        self.last_sync = Instant::now();
        shared.counters.synced(self.last_sync - begun);
        self.durable = self.writer.last_seq();
        shared.publish_durable(self.durable, self.writer.records_chain);
        self.publish_head(shared);
        Ok(())
    }
}
