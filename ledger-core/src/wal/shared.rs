//! What callers, the committer and the background share: the front buffer, how far the log has come, and who waits.

use std::time::Instant;

use uuid::Uuid;

use super::bundle::Bundle;
use super::frame::{Chain, HEADER_BYTES};
use super::group_commit::Due;
use super::head::HeadHash;
use super::options::{Durability, WalOptions};
use super::room::{Need, Room};
use super::stats::Counters;
use super::waiters::{Waiter, Waiters};
use super::{Level, Stamp};
use crate::error::Halted;
use crate::sync::thread::Thread;
use crate::sync::{Arc, AtomicBool, AtomicI64, AtomicU8, AtomicU64, CachePadded, Mutex, OnceLock, Ordering, fence};
use crate::types::{Epoch, Head, Seq, Timestamp};

pub(super) struct Shared {
    pub(super) options: WalOptions,
    pub(super) uuid: Uuid,
    pub(super) epoch: Epoch,
    /// Keeps nothing: appending is all.
    pub(super) in_memory: bool,
    pub(super) room: Room,
    pub(super) front: CachePadded<Mutex<Front>>,
    /// The log's time, in microseconds: no record to come is earlier.
    time: CachePadded<AtomicI64>,
    pub(super) appended: AtomicU64,
    written: AtomicU64,
    durable: AtomicU64,
    /// Somebody waits for the sync of this seq.
    pub(super) sync_wanted: AtomicU64,
    /// The last durable seq, and the chain of the frame that ends there.
    pub(super) synced: Mutex<(Seq, Chain)>,
    /// A durable seq, at most a commit behind the last one, and the head there.
    pub(super) head: Mutex<Head>,
    pub(super) waiters: Mutex<Waiters>,
    halted: OnceLock<Arc<str>>,
    phase: AtomicU8,
    closing_frame: AtomicBool,
    pub(super) segments_begun: AtomicU64,
    pub(super) on_segment_begun: OnceLock<Box<dyn Fn() + Send + Sync>>,
    pub(super) commits_done: AtomicU64,
    pub(super) counters: Counters,
    pub(super) committer: Sleeper,
    pub(super) background: Sleeper,
}

/// Where appended records gather until the next commit.
pub(super) struct Front {
    pub(super) buf: Vec<u8>,
    pub(super) count: u32,
    pub(super) first_seq: Seq,
    pub(super) base_time: Timestamp,
    pub(super) last: Stamp,
    pub(super) promised: Need,
    is_open: bool,
}

impl Front {
    pub(super) fn empty(&mut self) {
        self.count = 0;
        self.promised = Need::default();
    }
}

const RUNNING: u8 = 0;
const CLOSING: u8 = 1;
/// The committer has finished: the background writes the last mark.
const STOPPING: u8 = 2;

impl Shared {
    pub(super) fn new(
        options: WalOptions,
        uuid: Uuid,
        epoch: Epoch,
        last: Stamp,
        synced: Chain,
        head: HeadHash,
        room: Room,
    ) -> Shared {
        let seq = last.seq.get();
        Shared {
            options,
            uuid,
            epoch,
            in_memory: false,
            room,
            front: CachePadded::new(Mutex::new(Front {
                buf: vec![0; HEADER_BYTES],
                count: 0,
                first_seq: last.seq,
                base_time: last.time,
                last,
                promised: Need::default(),
                is_open: true,
            })),
            time: CachePadded::new(AtomicI64::new(last.time.micros())),
            appended: AtomicU64::new(seq),
            written: AtomicU64::new(seq),
            durable: AtomicU64::new(seq),
            sync_wanted: AtomicU64::new(0),
            synced: Mutex::new((last.seq, synced)),
            head: Mutex::new(head.at(last.seq)),
            waiters: Mutex::new(Waiters::default()),
            halted: OnceLock::new(),
            phase: AtomicU8::new(RUNNING),
            closing_frame: AtomicBool::new(false),
            segments_begun: AtomicU64::new(0),
            on_segment_begun: OnceLock::new(),
            commits_done: AtomicU64::new(0),
            counters: Counters::default(),
            committer: Sleeper::default(),
            background: Sleeper::default(),
        }
    }

    // Appending.

    /// Appends all of the bundle's records or none, adjacent and in one frame. Room for them was promised. Says too whether they are
    /// the first since the last commit.
    pub(super) fn append(
        &self,
        not_before: Timestamp,
        bundle: &Bundle,
        promised: Need,
    ) -> Result<(Stamp, bool), Halted> {
        let mut front = self.front.lock();
        if !front.is_open {
            return Err(self.refusal());
        }
        // Acquire: a read that raised the time did so with all that it knew.
        let raised = Timestamp::from_micros(self.time.load(Ordering::Acquire)).expect("only timestamps are stored");
        let time = not_before.max(raised);
        let first = Stamp { seq: front.last.seq.next(), time };
        let last = Stamp { seq: Seq::new(front.last.seq.get() + bundle.count() as u64), time };
        let is_first = front.count == 0;
        if !self.in_memory {
            let after = if is_first {
                (front.first_seq, front.base_time) = (first.seq, time);
                time
            } else {
                front.last.time
            };
            bundle.push_to(&mut front.buf, after, time);
            front.count += bundle.count() as u32;
            front.promised.add(promised);
        }
        front.last = last;
        // Release: who sees the time, or the seq, sees the record in the buffer behind the lock.
        self.time.fetch_max(time.micros(), Ordering::Release);
        self.appended.store(last.seq.get(), Ordering::Release);
        if self.in_memory {
            self.written.store(last.seq.get(), Ordering::Release);
            self.durable.store(last.seq.get(), Ordering::Release);
        }
        Ok((first, is_first))
    }

    fn refusal(&self) -> Halted {
        self.halted().unwrap_or_else(|| Halted { outcome_unknown: false, reason: "the log is closed".into() })
    }

    pub(super) fn time(&self) -> Timestamp {
        // Acquire: the entry whose time this is was appended before.
        Timestamp::from_micros(self.time.load(Ordering::Acquire)).expect("only timestamps are stored")
    }

    pub(super) fn raise_time(&self, time: Timestamp) {
        // A look first: most reads are of a time that has been reached, and a load shares the line.
        if self.time.load(Ordering::Acquire) < time.micros() {
            self.time.fetch_max(time.micros(), Ordering::AcqRel);
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase.load(Ordering::Acquire) == RUNNING // Acquire: as the store in `stop_appends`.
    }

    /// Wakes the committer if it sleeps and there is something for it.
    pub(super) fn wake_committer(&self) {
        // The append before this and the sleeper's last look: at least one sees the other.
        fence(Ordering::SeqCst);
        self.committer.wake(true);
    }

    /// Wakes the background if it sleeps; out of a sleep until the next mark only if it is urgent.
    pub(super) fn wake_background(&self, is_urgent: bool) {
        fence(Ordering::SeqCst); // As in `wake_committer`.
        self.background.wake(is_urgent);
    }

    // How far.

    pub(super) fn durable(&self) -> Seq {
        Seq::new(self.durable.load(Ordering::Acquire)) // Acquire: the sync happened before.
    }

    pub(super) fn acknowledged(&self) -> Seq {
        Seq::new(self.written.load(Ordering::Acquire)) // Acquire: the write happened before.
    }

    pub(super) fn reached(&self, seq: Seq, level: Level) -> Option<Result<(), Halted>> {
        if self.durable() >= seq {
            return Some(Ok(()));
        }
        if let Some(halted) = self.halted() {
            // Looked at again: what became durable before the halt stays so.
            let is_durable = self.durable() >= seq;
            return Some(if is_durable { Ok(()) } else { Err(Halted { outcome_unknown: true, ..halted }) });
        }
        // Acquire: the write happened before.
        (level == Level::Acknowledged && self.written.load(Ordering::Acquire) >= seq.get()).then_some(Ok(()))
    }

    /// Registers who waits, unless there is an answer already.
    pub(super) fn register(&self, seq: Seq, level: Level, waiter: Waiter) -> Option<Result<(), Halted>> {
        let mut waiters = self.waiters.lock();
        // Looked at under the lock: who publishes later takes the lock later, and finds the waiter.
        let answer = self.reached(seq, level);
        if answer.is_none() {
            waiters.add(seq, level, waiter);
        }
        answer
    }

    /// Says that the sync of `seq` is waited for, where nobody would hurry otherwise.
    pub(super) fn want(&self, seq: Seq, level: Level) {
        if level == Level::Durable && self.options.durability != Durability::Sync {
            self.sync_wanted.fetch_max(seq.get(), Ordering::SeqCst); // SeqCst: see `wake_committer`.
        }
        self.wake_committer();
    }

    pub(super) fn publish_written(&self, seq: Seq) {
        self.written.store(seq.get(), Ordering::Release); // Publishes the write.
        self.wake_reached();
    }

    pub(super) fn publish_durable(&self, seq: Seq, chain: Chain) {
        *self.synced.lock() = (seq, chain);
        if self.options.durability == Durability::Sync {
            self.written.store(seq.get(), Ordering::Release); // As in `publish_written`.
        }
        self.durable.store(seq.get(), Ordering::Release); // Publishes the sync.
        self.wake_reached();
    }

    fn wake_reached(&self) {
        let mut reached = Vec::new();
        let written = Seq::new(self.written.load(Ordering::Acquire)); // Acquire: as in `reached`.
        self.waiters.lock().take(written, self.durable(), &mut reached);
        reached.into_iter().for_each(Waiter::wake);
    }

    // Stopping.

    pub(super) fn halted(&self) -> Option<Halted> {
        let reason = self.halted.get()?;
        Some(Halted { outcome_unknown: false, reason: Arc::clone(reason) })
    }

    /// Refuses everything from now on; the first reason stays.
    pub(super) fn halt(&self, reason: &str) {
        if self.halted.set(reason.into()).is_err() {
            return;
        }
        // Under the lock: an append that was let in before has its seq, and none is let in after.
        self.front.lock().is_open = false;
        let waiting = self.waiters.lock().take_all();
        waiting.into_iter().for_each(Waiter::wake);
        self.room.look_again();
        self.wake_committer();
        self.wake_background(true);
    }

    /// Lets nothing more in. The committer finishes what was appended.
    pub(super) fn stop_appends(&self, with_closing_frame: bool) {
        self.front.lock().is_open = false;
        self.closing_frame.store(with_closing_frame, Ordering::Release);
        self.phase.store(CLOSING, Ordering::Release); // Publishes the closed front and the line above.
        self.room.look_again();
        self.wake_committer();
    }

    /// Ends the background, once the committer has finished.
    pub(super) fn stop_background(&self) {
        self.phase.store(STOPPING, Ordering::Release); // Publishes the committer's last sync.
        self.wake_background(true);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.phase.load(Ordering::Acquire) != RUNNING // Acquire: see `stop_appends`.
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.phase.load(Ordering::Acquire) == STOPPING // Acquire: see `stop_background`.
    }

    pub(super) fn wants_closing_frame(&self) -> bool {
        self.closing_frame.load(Ordering::Acquire) // Acquire: see `stop_appends`.
    }

    pub(super) fn skips_directory_sync(&self) -> bool {
        #[cfg(any(test, feature = "sim"))]
        return self.options.has(crate::sim::PlantedBug::SkipDirectoryFsync);
        #[cfg(not(any(test, feature = "sim")))]
        false
    }
}

const AWAKE: u8 = 0;
/// Sleeps, and wants to hear of everything.
const ASLEEP: u8 = 1;
/// Sleeps until a time, and wants to hear only of what cannot wait until then.
const DOZING: u8 = 2;

/// What ends a sleep that has an end of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wake {
    ForAnything,
    ForUrgent,
}

/// A thread that sleeps when there is nothing to do, and costs who wakes it one load when it does not.
#[derive(Default)]
pub(super) struct Sleeper {
    state: AtomicU8,
    thread: OnceLock<Thread>,
}

impl Sleeper {
    pub(super) fn is_this(&self, thread: Thread) {
        // A sleeper has one thread for life.
        let _ = self.thread.set(thread);
    }

    fn wake(&self, is_urgent: bool) {
        // Relaxed load: the fence of who calls orders it. AcqRel swap: one waker unparks, and shows what he did.
        let state = self.state.load(Ordering::Relaxed);
        if (state == ASLEEP || state == DOZING && is_urgent)
            && self.state.swap(AWAKE, Ordering::AcqRel) != AWAKE
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Whether it sleeps, or is about to. A hint: it may wake at any time.
    pub(super) fn is_asleep(&self) -> bool {
        self.state.load(Ordering::Relaxed) != AWAKE
    }

    /// Sleeps until woken, or until `due` says so. `due` is asked once more after it is known that this one sleeps.
    pub(super) fn sleep(&self, wake: Wake, mut due: impl FnMut() -> Due) {
        let state = match due() {
            Due::Now => return,
            Due::At(_) if wake == Wake::ForUrgent => DOZING,
            _ => ASLEEP,
        };
        self.state.store(state, Ordering::Relaxed);
        fence(Ordering::SeqCst); // Orders the store before the look, against the fence of who wakes.
        match due() {
            Due::Never if state == ASLEEP => self.park_until(None),
            Due::At(at) => self.park_until(Some(at)),
            _ => {} // There is something to do, or another way to sleep.
        }
        self.state.store(AWAKE, Ordering::Relaxed); // Whoever misses it unparks once too often.
    }

    /// Unparks may be stale or meant for something else, so the state decides.
    fn park_until(&self, at: Option<Instant>) {
        // Acquire: what the waker did is seen.
        while self.state.load(Ordering::Acquire) != AWAKE {
            match at.map(|at| at.saturating_duration_since(Instant::now())) {
                None => crate::sync::thread::park(),
                Some(left) if left.is_zero() => return,
                Some(left) => crate::sync::thread::park_timeout(left),
            }
        }
    }
}
