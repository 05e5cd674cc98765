//! A clock that stands until it is moved, to let a million holds mature at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ledger_core::{Clock, Timestamp};

/// 2026-01-01T00:00:00Z, in microseconds.
const START: i64 = 1_767_225_600_000_000;

/// Clones show the same time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that stands at the start of a year.
    #[expect(clippy::new_without_default, reason = "no time is the natural one")]
    pub fn new() -> ManualClock {
        ManualClock(Arc::new(AtomicI64::new(START)))
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        // Relaxed: the time publishes nothing.
        self.0.fetch_add(by.as_micros() as i64, Ordering::Relaxed);
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        self.wall()
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed)).expect("a time of this century")
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros((self.0.load(Ordering::Relaxed) - START) as u64)
    }
}
