//! What the ledger does about its checkpoints, whoever asks for one: makes it, counts what became of it, and says by how much an
//! opening has become longer since.

use super::engine::Engine;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::sync::Ordering;
use crate::types::Seq;

/// What became of the checkpoints since the ledger was opened, whoever asked for them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Checkpoints {
    /// How many were made.
    pub made: u64,
    /// How many failed; those apart that were given up because the ledger closed.
    pub failed: u64,
    /// The last entry of the newest snapshot, made since or found at the opening; 0: there is none.
    pub last_seq: Seq,
    /// Bytes that the log has grown by since: an opening would read about as many.
    pub log_bytes_since: u64,
    /// Why the last one failed, if it did.
    pub last_error: Option<String>,
}

/// [`Checkpoints`] while they are counted.
#[derive(Default)]
pub(super) struct Tally {
    made: u64,
    failed: u64,
    last_seq: Seq,
    /// What [`Engine::log_bytes`] and [`Engine::opening_bytes`] were at the last one.
    log_bytes: u64,
    opening_bytes: u64,
    last_error: Option<String>,
}

impl Tally {
    /// Nothing became of any yet; the newest snapshot is of `last_seq`.
    pub(super) fn since(last_seq: Seq) -> Tally {
        Tally { last_seq, ..Tally::default() }
    }
}

impl Engine {
    pub(super) fn checkpoint(&self, is_stopped: &dyn Fn() -> bool) -> Result<Checkpoint, CheckpointError> {
        let checkpointer = self.checkpointer.as_ref().ok_or(CheckpointError::InMemory)?;
        // Relaxed: a hint; one that is missed makes the closing wait.
        let is_closing = || is_stopped() || self.closing.load(Ordering::Relaxed);
        if is_closing() {
            return Err(CheckpointError::Closing);
        }
        let (log_bytes, opening_bytes) = (self.log_bytes(), self.opening_bytes());
        let made = match caught(|| checkpointer.checkpoint(&self.tables, &self.wal, &is_closing)) {
            // A fault is told even then.
            Err(err @ CheckpointError::Panicked { .. }) => Err(err),
            Err(_) if is_closing() => Err(CheckpointError::Closing),
            Err(err) => Err(self.wal.halted().map_or(err, CheckpointError::Halted)),
            made => made,
        };
        let mut tally = self.checkpoints.lock();
        match &made {
            Ok(checkpoint) => {
                tally.made += u64::from(checkpoint.bytes > 0);
                (tally.log_bytes, tally.opening_bytes) = (log_bytes, opening_bytes);
                (tally.last_seq, tally.last_error) = (checkpoint.seq, None);
            }
            // It was given up, and nothing failed.
            Err(CheckpointError::Closing) => {}
            Err(err) => {
                tally.failed += 1;
                tally.last_error = Some(err.to_string());
            }
        }
        drop(tally);
        made
    }

    /// Bytes of the log, those included that the opening read.
    fn log_bytes(&self) -> u64 {
        self.recovered.log_bytes + self.wal.stats().bytes
    }

    /// As [`Engine::log_bytes`], with less of the padding.
    fn opening_bytes(&self) -> u64 {
        self.recovered.log_bytes + self.wal.stats().opening_bytes
    }

    /// By how much an opening has become longer since the last checkpoint.
    pub(super) fn opening_bytes_since(&self) -> u64 {
        // The tally first: a checkpoint in between would note more than was read before.
        let tally = self.checkpoints.lock();
        self.opening_bytes() - tally.opening_bytes
    }

    /// Whether nothing could take the place of the snapshot that the opening loaded, and there is no newer one.
    pub(super) fn is_unbacked(&self) -> bool {
        self.recovered.unbacked.is_some() && self.checkpoints.lock().made == 0
    }

    pub(super) fn checkpoints(&self) -> Checkpoints {
        let tally = self.checkpoints.lock();
        let Tally { made, failed, last_seq, log_bytes, last_error, .. } = &*tally;
        Checkpoints {
            made: *made,
            failed: *failed,
            last_seq: *last_seq,
            log_bytes_since: self.log_bytes() - log_bytes,
            last_error: last_error.clone(),
        }
    }
}

/// Makes an error of a panic: else the thread that makes checkpoints would end, and nobody would hear of it. What a checkpoint
/// holds (its cut of the shards, the lock of the next one) is let go as the panic passes through; the tables it only reads.
fn caught(make: impl FnOnce() -> Result<Checkpoint, CheckpointError>) -> Result<Checkpoint, CheckpointError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(make)).unwrap_or_else(|payload| {
        let message = payload.downcast::<String>().map(|message| *message);
        let message = message.or_else(|payload| payload.downcast::<&str>().map(|message| (*message).to_owned()));
        match message {
            Ok(message) => Err(CheckpointError::Panicked { message }),
            // Not of a fault: a scheduler of interleavings ends its threads so.
            Err(payload) => std::panic::resume_unwind(payload),
        }
    })
}
