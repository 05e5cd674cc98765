//! How a log behaves.

use std::time::Duration;

use uuid::Uuid;

use super::frame;
use crate::error::OpenError;
#[cfg(any(test, feature = "sim"))]
use crate::sim::PlantedBug;

/// When a reply may leave. Whatever is chosen, a withdrawal's reservation and each started attempt are synced before
/// any byte leaves for the bank.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// When its entry survives a power cut (fdatasync).
    Sync,
    /// When its entry's bytes are with the operating system, which are synced this often: a power cut may lose so much,
    /// the end of the process nothing.
    Interval(Duration),
}

/// What a command does that finds the pipe to the disk full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenFull {
    /// Waits, blocking its thread.
    Wait,
    /// Is rejected with [`crate::Rejection::Overloaded`].
    Refuse,
}

/// The options of [`super::Wal::open`].
#[derive(Clone, Debug)]
pub(crate) struct WalOptions {
    /// The size of a segment file: 1 MiB ..= 1 GiB, in whole blocks of 4 KiB.
    pub(crate) segment_bytes: u64,
    pub(crate) durability: Durability,
    pub(crate) when_full: WhenFull,
    /// Whether threads of its own drive the log. Without, whoever waits does all the work: slow, and the same each time.
    pub(crate) threads: bool,
    /// How long a commit waits for more while many callers wait. Zero: what gathered during the last commit is the batch.
    pub(crate) commit_delay: Duration,
    /// A new ledger's identity; random if `None`. Ignored for a ledger that has one.
    pub(crate) uuid: Option<Uuid>,
    #[cfg(any(test, feature = "sim"))]
    pub(crate) planted: Option<PlantedBug>,
}

impl Default for WalOptions {
    fn default() -> WalOptions {
        WalOptions {
            segment_bytes: 64 << 20,
            durability: Durability::Sync,
            when_full: WhenFull::Wait,
            threads: true,
            commit_delay: Duration::ZERO,
            uuid: None,
            #[cfg(any(test, feature = "sim"))]
            planted: None,
        }
    }
}

const SEGMENT_BYTES_MIN: u64 = 1 << 20;
const FIRST_SEGMENT_BYTES: u64 = 1 << 20;
const FIRST_SPARE_BYTES: u64 = 16 << 20;
const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Larger frames gain nothing (2-3 GB/s from 1 MiB on) and make everybody in them wait for the last byte.
const FRAME_PAYLOAD_BYTES_MAX: u64 = 8 << 20;

impl WalOptions {
    pub(super) fn check(&self) -> Result<(), OpenError> {
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes)
            || !self.segment_bytes.is_multiple_of(frame::BLOCK as u64)
        {
            let reason = format!(
                "segment_bytes is {}: it must be {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}, in steps of {}",
                self.segment_bytes,
                frame::BLOCK
            );
            return Err(OpenError::InvalidOption { reason });
        }
        if matches!(self.durability, Durability::Interval(every) if every.is_zero()) {
            let reason = "the sync interval is zero: choose Sync, or a longer interval".to_owned();
            return Err(OpenError::InvalidOption { reason });
        }
        Ok(())
    }

    /// The most payload that a frame can have: any frame fits four times into a segment.
    pub(super) fn frame_payload_max(&self) -> usize {
        (self.segment_bytes / 4).min(FRAME_PAYLOAD_BYTES_MAX) as usize
    }

    /// The most that a frame can take on the disk.
    pub(super) fn frame_bytes_max(&self) -> u64 {
        frame::frame_bytes(self.frame_payload_max())
    }

    /// The most bytes that can be written and not yet synced: what a torn tail can have. Besides the frames themselves,
    /// a link before them and a closing frame after them.
    pub(super) fn in_flight_max(&self) -> u64 {
        let frames = match self.durability {
            Durability::Sync => 1,
            Durability::Interval(_) => 4,
        };
        frames * self.frame_bytes_max() + 2 * frame::BLOCK as u64
    }

    /// The size of the segment that an opening starts with. Smaller than the others, since its zeros are written while
    /// the caller waits, and since each opening leaves one; the first spare is prepared behind his back.
    pub(super) fn first_segment_bytes(&self) -> u64 {
        FIRST_SEGMENT_BYTES.min(self.segment_bytes)
    }

    /// The size of the first spare of an opening. Smaller than those after it too: the promise to a batch of a thousand is more
    /// than the first segment, so the first batch waits until this one's zeros are synced, which took 0.4 s for 64 MiB. Twice
    /// the largest frame, so that it takes any.
    pub(super) fn first_spare_bytes(&self) -> u64 {
        FIRST_SPARE_BYTES.min(self.segment_bytes)
    }

    #[cfg(any(test, feature = "sim"))]
    pub(super) fn has(&self, bug: PlantedBug) -> bool {
        self.planted == Some(bug)
    }
}
