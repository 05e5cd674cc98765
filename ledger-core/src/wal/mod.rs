//! The write-ahead log: records in, positions out. It knows bytes and seqs, and nothing of money.
//!
//! This page is the specification of what lies on the disk. All numbers are little-endian; all checksums are XXH3,
//! seeded with the XXH3-64 of the ledger's UUID (16 bytes, big-endian as in its text), so that another ledger's bytes
//! are never taken for ours. They find damage, not tampering.
//!
//! # Files
//!
//! | name | what |
//! | --- | --- |
//! | `durable.mark` | a lower bound of what is durable |
//! | `<number, 16 hex digits>.segment` | the log, in order of the numbers; numbers may skip |
//! | `<number>-<offset, 8 hex digits>.torn` | bytes that a power cut left behind the log; nothing reads them |
//! | `executor.stopped` | a restore's, named by a UUID as text: no withdrawal is performed |
//! | `executor.released` | the UUID of the stop that an operator let go |
//! | `restore.unfinished` | no ledger yet: a restore or a salvage fills the directory |
//! | `backup.made` | no ledger: a backup, which only a restore makes one of |
//! | `<any of these>.tmp` | not whole yet; removed at the next opening |
//!
//! The directory itself is locked (flock) by who has the ledger open. A file appears under its name when all its bytes are durable: temporary name, write, fsync, rename, fsync of the
//! directory. A segment is zero-written to its full length before it is used, and keeps that length.
//!
//! # Segment
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..4096 | header |
//! | 4096..8192 | the link, a frame; a segment without one is a spare and is removed at the next opening |
//! | 8192.. | frames, each on a multiple of 4096; then zeros |
//!
//! | header | what |
//! | --- | --- |
//! | 0..8 | `LEDGRWAL` |
//! | 8..10, 10..12 | format version (2; 1 is read too); the oldest reader's version (2) |
//! | 12..16 | zero |
//! | 16..32 | the ledger's UUID |
//! | 32..40 | the segment's number |
//! | 40..48 | the epoch that created it |
//! | 48..56 | its length in bytes |
//! | 56..64 | the most bytes that can be written into it and not synced |
//! | 64..4088 | zero |
//! | 4088..4096 | XXH3-64 of the bytes before |
//!
//! # Frame
//!
//! One group commit. Frames start on 4 KiB, so an append never rewrites a block that holds acknowledged bytes.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..4 | `LFRM` |
//! | 4, 5 | version (1); type: 1 link, 2 records, 3 closing |
//! | 6..8 | zero |
//! | 8..12 | payload length, `p` |
//! | 12..16 | number of records; 0 in a link and a closing frame |
//! | 16..24 | the segment's number |
//! | 24..32 | epoch of the records |
//! | 32..40 | seq of the first record (of the next one, if there is none) |
//! | 40..48 | the highest seq known to be synced when the frame was written |
//! | 48..56 | time of the first record (of the last one before, if there is none), microseconds since 1970, signed |
//! | 56..72 | chain of the frame before |
//! | 72..80 | XXH3-64 of the bytes before; verified before any of them is believed |
//! | 80..80+p | payload |
//! | ..−16 | zeros up to the next multiple of 4096, less 16 |
//! | −16.. | chain: XXH3-128 of all the frame's bytes before (and so of all frames before) |
//!
//! A record in a payload is `length (varint), time since the record before in microseconds (varint; 0 for the first),
//! bytes`. Varints are LEB128. The payload of a link is `number of the segment before (u64; 0: none), the byte at which
//! that one ends (u64), the head there (32 bytes; format 1 had none)`: whatever the earlier segment holds from there on is
//! no part of the log. A closing frame has no payload and is not in the chain of what follows; nothing follows it in its
//! segment.
//!
//! # Head
//!
//! The head after a frame of records is BLAKE3 of `the head before, epoch (u64), first seq (u64), count (u32), time of the
//! first record (i64), payload length (u32), payload`; before the first it is BLAKE3's derived key of the UUID, in the
//! context `ledger head v1`. Whoever wrote a head down can tell later whether the log still leads to it. It vouches for
//! the records: their bytes, order, times, epochs and which were committed together; not for marks, closing frames and
//! paddings, which say nothing of what happened.
//!
//! # Mark
//!
//! Two slots of 4096 bytes, written in turn; the one with the higher count holds.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..8, 8..10 | `LEDGRMRK`; format (1) |
//! | 16..32 | the ledger's UUID |
//! | 32..40, 40..48 | epoch; seq up to which all is durable |
//! | 48..64 | chain of the records frame that ends with that seq (0 before the first) |
//! | 64..72 | how many marks were written before |
//! | 4088..4096 | XXH3-64 of the bytes before |
//!
//! # Opening
//!
//! Everything is synced before it is read, and the last segment is read from the device. A segment ends where its
//! successor's link says. At the first bad frame of the last one, expecting seq L, the log is refused if the mark, a
//! closing frame or any header further on says that L was durable, or if more follows than can have been in flight;
//! otherwise it ends there, and what follows is saved as a torn tail. Frames that nothing proves to be durable are
//! copied (with new chains, and the epochs that they had) into the new segment, whose link says that the old one ends
//! before them. The reasons are in `recovery.rs`.
//!
//! The one gap: the last acknowledged frame rots *and* the power fails before the mark was synced behind it (100 ms).

mod background;
mod bundle;
mod copy;
mod frame;
mod group_commit;
mod head;
mod look;
mod mark;
mod names;
mod options;
mod reader;
mod recovery;
mod reservation;
mod room;
mod salvage;
mod segment;
mod shared;
mod start;
mod stats;
pub(crate) mod stop;
mod threads;
mod twin;
mod wait;
mod waiters;
mod writer;

#[cfg(all(test, feature = "loom"))]
mod exhaustive;
#[cfg(all(test, not(feature = "loom")))]
mod tests;

use uuid::Uuid;

pub(crate) use look::{Scanned, identity, is_there, leads_on, reaches_back_to_the_first, scan};
pub(crate) use options::WalOptions;
pub use options::{Durability, WhenFull};
pub(crate) use recovery::lock;
pub(crate) use reservation::Reservation;
pub(crate) use salvage::{Candidate, Left, salvage};
pub(crate) use start::{Base, Start};
pub(crate) use stats::{COMMIT_ENTRIES, Counts, FSYNC_MICROS, WalStats};

pub(crate) use names::{EXECUTOR_STOPPED, is_temporary};
pub(crate) use twin::{Kept, compare, copy_checked};

use crate::error::{Halted, OpenError};
use crate::sync::{Arc, Mutex, thread};
use crate::sys::{DirectoryLock, Storage};
use crate::types::{Epoch, Head, Seq, Timestamp};
use background::Background;
pub(crate) use bundle::Bundle;
pub(crate) use copy::{copy, epochs_skipped};
pub(crate) use frame::{Chain, FramePlace};
use group_commit::Committer;
use head::HeadHash;
use room::{Need, Room};
use shared::Shared;
use threads::{Drivers, Engine};

/// The position and time that a record got, fixed together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    pub(crate) seq: Seq,
    pub(crate) time: Timestamp,
}

/// A record as it is read back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) seq: Seq,
    pub(crate) time: Timestamp,
    /// The opening of the ledger that decided it.
    pub(crate) epoch: Epoch,
    /// The frame that it is in.
    pub(crate) place: FramePlace,
    pub(crate) bytes: &'a [u8],
}

/// How far a record must have come before an answer that depends on it may leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Level {
    /// As far as the ledger's durability option promises its callers.
    Acknowledged,
    /// Synced, whatever the option says.
    Durable,
}

/// Why no room was given. Nothing was appended.
#[derive(Clone, Debug)]
pub(crate) enum Refused {
    /// The disk has no room.
    StorageFull,
    /// Too much is in flight, and the log was told not to wait.
    Overloaded,
    /// More bytes than one frame can hold.
    TooLarge {
        bytes: usize,
        bytes_max: usize,
    },
    /// The log is closed.
    Closed,
    Halted(Halted),
}

/// What an opening found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Opened {
    pub(crate) uuid: Uuid,
    /// The epoch of the records to come.
    pub(crate) epoch: Epoch,
    pub(crate) last_seq: Seq,
    /// The log's time: no record to come is earlier. [`Timestamp::MIN`] in an empty log.
    pub(crate) last_time: Timestamp,
    /// When the last record was made.
    pub(crate) record_time: Timestamp,
    /// Bytes of frames that were read.
    pub(crate) log_bytes: u64,
    pub(crate) torn: Option<TornTail>,
    /// The log was closed in good order, or is new.
    pub(crate) clean: bool,
}

/// Bytes behind the log that a power cut left, none of them ever acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TornTail {
    /// Where they were saved; empty if they were left where they are.
    pub(crate) file: String,
    pub(crate) bytes: u64,
    /// Where they were found.
    pub(crate) segment: String,
    pub(crate) offset: u64,
}

/// An open log. Clones are handles to the same one; when the last is dropped, everything that was appended is synced
/// (best effort: nobody is told), and the threads end.
#[derive(Clone)]
pub(crate) struct Wal {
    log: Arc<Log>,
}

struct Log {
    shared: Arc<Shared>,
    drivers: Mutex<Drivers>,
    storage: Option<Arc<dyn Storage>>,
    /// With threads: for the log's own, or for a caller who finds that one asleep.
    committer: Option<Arc<Mutex<Committer>>>,
    /// Given back when the log is closed.
    lock: Mutex<Option<DirectoryLock>>,
}

impl Wal {
    /// Opens a log, or makes a new one, and shows every record that is in it to `replay`, in order. When nobody else has the
    /// directory any more, `load` is told whose it is, and up to where it is durable at least, and says where to begin. Before anything is changed, `accept` is asked about the log's last seq and time.
    ///
    /// # Errors
    /// Nothing was changed if the log is refused: [`OpenError::Damaged`] (also when `replay` says no) or
    /// [`OpenError::Unsupported`]. After [`OpenError::Io`] opening can be tried again.
    pub(crate) fn open_after(
        storage: Arc<dyn Storage>,
        options: WalOptions,
        load: &mut dyn FnMut(Option<(Uuid, Seq)>) -> Result<Start, OpenError>,
        replay: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
        accept: &dyn Fn(Stamp) -> Result<(), OpenError>,
    ) -> Result<(Wal, Opened), OpenError> {
        let recovered = recovery::open(&*storage, &options, load, replay, accept)?;
        let opened = recovered.opened;
        let room = Room::new(options.frame_payload_max(), options.frame_bytes_max(), recovered.writer.left());
        let last = Stamp { seq: opened.last_seq, time: opened.record_time };
        let is_threaded = options.threads;
        let (chain, head) = (recovered.writer.records_chain, recovered.writer.head);
        let shared = Arc::new(Shared::new(options, opened.uuid, opened.epoch, last, chain, head, room));
        shared.raise_time(opened.last_time);
        let committer = Committer::new(recovered.writer);
        let background = Background::new(Arc::clone(&storage), recovered.mark, recovered.next_number);
        let (drivers, committer) = if is_threaded {
            let committer = Arc::new(Mutex::new(committer));
            let drivers = threads::spawn(&shared, &committer, background)
                .map_err(|source| OpenError::Io { context: "starting the log's threads".to_owned(), source })?;
            (drivers, Some(committer))
        } else {
            (Drivers::Manual(Box::new(Engine { committer, background })), None)
        };
        let lock = Mutex::new(Some(recovered.lock));
        let log = Log { shared, drivers: Mutex::new(drivers), storage: Some(storage), committer, lock };
        Ok((Wal { log: Arc::new(log) }, opened))
    }

    /// As [`Wal::open_after`], from the first record on.
    #[cfg(all(test, not(feature = "loom")))]
    fn open(
        storage: Arc<dyn Storage>,
        options: WalOptions,
        replay: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
        accept: &dyn Fn(Stamp) -> Result<(), OpenError>,
    ) -> Result<(Wal, Opened), OpenError> {
        Wal::open_after(storage, options, &mut |_| Ok(Start::First), replay, accept)
    }

    /// A log that keeps nothing: a record is durable as soon as it is appended.
    pub(crate) fn in_memory() -> Wal {
        let options = WalOptions { threads: false, ..WalOptions::default() };
        let room = Room::new(options.frame_payload_max(), options.frame_bytes_max(), 0);
        let last = Stamp { seq: Seq::ZERO, time: Timestamp::MIN };
        let uuid = options.uuid.unwrap_or_else(Uuid::new_v4);
        let mut shared = Shared::new(options, uuid, Epoch::new(1), last, 0, HeadHash::before_all(uuid), room);
        shared.in_memory = true;
        let (drivers, lock) = (Mutex::new(Drivers::Stopped), Mutex::new(None));
        let log = Log { shared: Arc::new(shared), drivers, storage: None, committer: None, lock };
        Wal { log: Arc::new(log) }
    }

    fn shared(&self) -> &Shared {
        &self.log.shared
    }

    /// The ledger's identity.
    pub(crate) fn uuid(&self) -> Uuid {
        self.shared().uuid
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.shared().epoch
    }

    /// Appends one record. Its time is the larger of `not_before` and the log's time.
    ///
    /// # Errors
    /// The log has halted or is closed. Nothing was appended: [`Halted::outcome_unknown`] is `false`.
    pub(crate) fn append(
        &self,
        reservation: &mut Reservation<'_>,
        not_before: Timestamp,
        record: &[u8],
    ) -> Result<Stamp, Halted> {
        self.append_together(reservation, not_before, &Bundle::of(&[record]))
    }

    /// A bundle for records of this log, without any yet.
    pub(crate) fn bundle(&self) -> Bundle {
        Bundle::new(!self.shared().in_memory)
    }

    /// Appends records with adjacent seqs and one time, in one frame; the stamp is the first one's.
    ///
    /// # Errors
    /// As [`Wal::append`].
    pub(crate) fn append_together(
        &self,
        reservation: &mut Reservation<'_>,
        not_before: Timestamp,
        bundle: &Bundle,
    ) -> Result<Stamp, Halted> {
        let shared = self.shared();
        if shared.in_memory {
            return shared.append(not_before, bundle, Need::default()).map(|(stamp, _)| stamp);
        }
        let need = Need::of_together(bundle.count(), bundle.bytes());
        if bundle.count() == 0 || !bundle.is_kept() || !reservation.left.covers(need) {
            // The caller's mistake. Appending all the same could leave a commit without room on the disk.
            shared.halt("more was appended than was reserved");
        }
        let (stamp, is_first) = shared.append(not_before, bundle, need)?;
        reservation.left.subtract(need);
        let is_alone = is_first && bundle.count() == 1;
        reservation.wakes |= !is_alone || shared.options.durability != Durability::Sync;
        Ok(stamp)
    }

    /// The log's time: no record to come has an earlier one. Takes no lock.
    pub(crate) fn time(&self) -> Timestamp {
        self.shared().time()
    }

    /// Raises the log's time to `time`, if it is behind. Takes no lock.
    pub(crate) fn raise_time(&self, time: Timestamp) {
        self.shared().raise_time(time);
    }

    /// The last record that was appended, with its time. Whoever needs it to stay the last keeps others from appending.
    pub(crate) fn last(&self) -> Stamp {
        self.shared().front.lock().last
    }

    /// The last record that is synced, and the chain of the frame that ends with it.
    pub(crate) fn synced(&self) -> (Seq, Chain) {
        *self.shared().synced.lock()
    }

    /// Has `notify` called, quickly and by the log's own thread, whenever a segment is begun. Only the first one counts.
    pub(crate) fn on_segment_begun(&self, notify: Box<dyn Fn() + Send + Sync>) {
        // A second one would be a mistake without a consequence.
        let _ = self.shared().on_segment_begun.set(notify);
    }

    /// Removes the segments that nobody needs who has a snapshot as old as `base`; gives how many.
    ///
    /// # Errors
    /// What the storage refused. Nothing that is needed was removed.
    pub(crate) fn retire(&self, storage: &dyn Storage, base: &Base) -> Result<u64, (String, std::io::Error)> {
        let halt = |err: &std::io::Error| self.halt(&format!("syncing {}: {err}", storage.describe()));
        let sync = || storage.sync_directory().inspect_err(halt);
        start::retire(storage, self.uuid(), base, &sync).map_err(|failure| (failure.context, failure.source))
    }

    /// The last record that was appended.
    pub(crate) fn appended(&self) -> Seq {
        // Acquire: pairs with the append's Release.
        Seq::new(self.shared().appended.load(crate::sync::Ordering::Acquire))
    }

    /// Every record up to this one is synced.
    pub(crate) fn durable(&self) -> Seq {
        self.shared().durable()
    }

    /// A durable seq, at most a commit behind [`Wal::durable`], and the head there; `None` where nothing is kept.
    pub(crate) fn head(&self) -> Option<Head> {
        (!self.shared().in_memory).then(|| *self.shared().head.lock())
    }

    /// Every record up to this one has come as far as the durability option promises callers: who asks now may have been
    /// told of it.
    pub(crate) fn acknowledged(&self) -> Seq {
        self.shared().acknowledged()
    }

    /// Whether `seq` has come as far as `level` asks; `None`: not yet. Hurries nothing; [`Wal::wait`] and [`Wal::poll`]
    /// do.
    pub(crate) fn reached(&self, seq: Seq, level: Level) -> Option<Result<(), Halted>> {
        self.shared().reached(seq, level)
    }

    /// Takes one step of what the threads would do, in their place. `false`: there is nothing to do.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn step_by_hand(&self, interval_is_over: bool) -> bool {
        if interval_is_over {
            self.shared().want(self.appended(), Level::Durable);
        }
        self.step()
    }

    /// Whether this bug is put into the ledger.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn has(&self, bug: crate::sim::PlantedBug) -> bool {
        self.shared().options.has(bug)
    }

    /// What happened since the log was opened.
    pub(crate) fn stats(&self) -> WalStats {
        self.shared().counters.read(self.shared().room.pipe_used())
    }

    /// As [`Storage::degraded`].
    pub(crate) fn degraded(&self) -> Option<String> {
        self.log.storage.as_ref().and_then(|storage| storage.degraded())
    }

    /// Whether there was no room for the next segment when one was last prepared.
    pub(crate) fn is_out_of_room(&self) -> bool {
        self.shared().room.is_full()
    }

    /// The log has failed, or was halted.
    pub(crate) fn halted(&self) -> Option<Halted> {
        self.shared().halted()
    }

    /// Refuses everything from now on. The first reason stays.
    pub(crate) fn halt(&self, reason: &str) {
        self.shared().halt(reason);
    }

    /// Syncs all, writes the closing frame and stops; appends are refused from now on. Idempotent.
    ///
    /// # Errors
    /// The log has halted, now or before; [`Halted::outcome_unknown`] says whether something appended is not durable.
    pub(crate) fn close(&self) -> Result<(), Halted> {
        self.log.stop(true);
        match self.halted() {
            Some(halted) => Err(Halted { outcome_unknown: self.appended() > self.durable(), ..halted }),
            None => Ok(()),
        }
    }
}

impl Log {
    /// Ends everything that drives the log, after it has synced what was appended.
    fn stop(&self, with_closing_frame: bool) {
        let mut drivers = self.drivers.lock();
        let shared = &self.shared;
        match std::mem::replace(&mut *drivers, Drivers::Stopped) {
            Drivers::Threads { committer, background } => {
                shared.stop_appends(with_closing_frame);
                join(committer);
                shared.stop_background();
                join(background);
            }
            Drivers::Manual(mut engine) => {
                shared.stop_appends(with_closing_frame);
                while !engine.committer.is_done() && engine.step(shared) {}
                shared.stop_background();
                while engine.step(shared) {}
            }
            Drivers::Stopped => shared.stop_appends(with_closing_frame),
        }
        drop(self.lock.lock().take());
    }
}

/// A thread that panicked has halted the log. One of the log's own threads may drop the last handle, inside a waker: it
/// cannot wait for itself, and ends by itself.
fn join(handle: thread::JoinHandle<()>) {
    if handle.thread().id() != thread::current().id() {
        let _ = handle.join();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.stop(false);
    }
}
