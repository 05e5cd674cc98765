//! The write-ahead log: records in, positions out. It knows bytes and seqs, and nothing of money.

use std::task::{Context, Poll};

use crate::error::Halted;
use crate::sync::{Arc, Mutex};
use crate::types::{Epoch, Seq, Timestamp};

/// The position and time that a record got, fixed together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    pub(crate) seq: Seq,
    pub(crate) time: Timestamp,
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

/// Room in the pipe and on the disk for records to come; what is not used is given back on drop.
pub(crate) struct Reservation<'a> {
    _wal: &'a Wal,
}

pub(crate) struct Record<'a> {
    pub(crate) uuid: uuid::Uuid,
    pub(crate) seq: Seq,
    pub(crate) time: Timestamp,
    pub(crate) epoch: Epoch,
    pub(crate) bytes: &'a [u8],
}

pub(crate) struct Opened {
    pub(crate) last_seq: Seq,
    pub(crate) last_time: Timestamp,
}

#[derive(Default)]
pub(crate) struct WalOptions {}

#[derive(Default)]
pub(crate) struct WalStats {
    pub(crate) commits: u64,
    pub(crate) bytes: u64,
    pub(crate) fsync_seconds: crate::view::Histogram,
    pub(crate) commit_entries: crate::view::Histogram,
}

/// An open log. Clones are handles to the same one.
#[derive(Clone)]
pub(crate) struct Wal {
    shared: Arc<Mutex<Stamp>>,
    epoch: Epoch,
}

impl Wal {
    /// A log that keeps nothing: a record is durable as soon as it is appended.
    pub(crate) fn in_memory() -> Wal {
        Wal { shared: Arc::new(Mutex::new(Stamp { seq: Seq::ZERO, time: Timestamp::MIN })), epoch: Epoch::new(1) }
    }

    pub(crate) fn open(
        _storage: Arc<dyn crate::sys::Storage>,
        _options: WalOptions,
        _replay: &mut dyn FnMut(Record<'_>) -> Result<(), String>,
    ) -> Result<(Wal, Opened), crate::error::OpenError> {
        Ok((Wal::in_memory(), Opened { last_seq: Seq::ZERO, last_time: Timestamp::MIN }))
    }

    pub(crate) fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::nil()
    }

    pub(crate) fn appended(&self) -> Seq {
        self.durable()
    }

    pub(crate) fn stats(&self) -> WalStats {
        WalStats::default()
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Makes room for `records` records of `bytes` bytes together. Called before any lock is taken: it may wait.
    pub(crate) fn reserve(&self, _records: usize, _bytes: usize) -> Result<Reservation<'_>, Refused> {
        Ok(Reservation { _wal: self })
    }

    /// Appends one record. Its time is the larger of `not_before` and the log's time.
    pub(crate) fn append(
        &self,
        _reservation: &mut Reservation<'_>,
        not_before: Timestamp,
        _record: &[u8],
    ) -> Result<Stamp, Halted> {
        let mut last = self.shared.lock();
        *last = Stamp { seq: last.seq.next(), time: last.time.max(not_before) };
        Ok(*last)
    }

    /// Appends records with adjacent seqs and one time, in one frame; the stamp is the first one's.
    pub(crate) fn append_together(
        &self,
        reservation: &mut Reservation<'_>,
        not_before: Timestamp,
        records: &[&[u8]],
    ) -> Result<Stamp, Halted> {
        let mut first = None;
        for record in records {
            let stamp = self.append(reservation, not_before, record)?;
            first.get_or_insert(stamp);
        }
        Ok(first.expect("at least one record"))
    }

    /// The log's time: no record to come has an earlier one.
    pub(crate) fn time(&self) -> Timestamp {
        self.shared.lock().time
    }

    /// Raises the log's time to `time`, if it is behind.
    pub(crate) fn raise_time(&self, time: Timestamp) {
        let mut last = self.shared.lock();
        last.time = last.time.max(time);
    }

    /// Every record up to this one is synced.
    pub(crate) fn durable(&self) -> Seq {
        self.shared.lock().seq
    }

    /// Whether `seq` has come as far as `level` asks; `None`: not yet.
    pub(crate) fn reached(&self, _seq: Seq, _level: Level) -> Option<Result<(), Halted>> {
        Some(Ok(()))
    }

    /// Blocks until [`Wal::reached`] has an answer.
    pub(crate) fn wait(&self, _seq: Seq, _level: Level) -> Result<(), Halted> {
        Ok(())
    }

    /// As [`Wal::wait`], without a thread.
    pub(crate) fn poll(&self, _seq: Seq, _level: Level, _cx: &mut Context<'_>) -> Poll<Result<(), Halted>> {
        Poll::Ready(Ok(()))
    }

    /// The log has failed, or was halted.
    pub(crate) fn halted(&self) -> Option<Halted> {
        None
    }

    /// Refuses everything from now on.
    pub(crate) fn halt(&self, _reason: &str) {}

    /// Syncs all, writes the closing frame and stops; appends are refused from now on. Idempotent.
    pub(crate) fn close(&self) -> Result<(), Halted> {
        Ok(())
    }
}
