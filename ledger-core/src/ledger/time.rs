//! The ledger's time: the wall clock, as far as it is believed, and never behind the log.
//!
//! Where the wall clock is set back, and where it leaps ahead and is not believed, the ledger goes on by the monotonic
//! clock: so much time has passed, whatever the wall says. A bank's idempotency window counts on it.

use std::time::Duration;

use crate::error::OpenError;
use crate::sync::{Arc, AtomicI64, Ordering};
use crate::sys::Clock;
use crate::types::Timestamp;

/// How far the wall clock may step ahead of the monotonic one before it is no longer believed.
const STEP_MAX: i64 = 60_000_000;
/// How far the wall clock may be behind the last entry at opening.
const BEHIND_MAX: Duration = Duration::from_secs(60);
/// How far the wall clock may be ahead of the last entry at opening.
const AHEAD_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often a believed wall clock becomes the new reference, so that slow drift is no step. Rare, so that many small
/// steps do add up to one that is not believed.
const REFERENCE_EVERY: i64 = 3_600_000_000;

/// Reads the two clocks against each other.
pub(crate) struct LedgerTime {
    clock: Arc<dyn Clock>,
    /// Wall minus monotonic, in microseconds, when the wall clock was last taken as the reference.
    offset: AtomicI64,
    /// Monotonic microseconds of that moment.
    referenced: AtomicI64,
    /// How far ahead the wall clock is that is not believed, in microseconds; zero: it is believed.
    leap: AtomicI64,
    /// The largest difference between the ledger's time and the monotonic clock so far, in microseconds: while the wall
    /// clock is behind that, it was set back.
    ahead_of_monotonic: AtomicI64,
}

impl LedgerTime {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> LedgerTime {
        let (wall, monotonic) = (clock.wall().micros(), micros(clock.monotonic()));
        LedgerTime {
            clock,
            offset: AtomicI64::new(wall - monotonic),
            referenced: AtomicI64::new(monotonic),
            leap: AtomicI64::new(0),
            ahead_of_monotonic: AtomicI64::new(i64::MIN),
        }
    }

    /// Goes on from `last`, the time of the log's last entry, where the wall clock is behind it. Says whether it is.
    pub(crate) fn go_on_from(&self, last: Timestamp) -> bool {
        // Relaxed: see `now`.
        let monotonic = micros(self.clock.monotonic());
        self.ahead_of_monotonic.fetch_max(last.micros() - monotonic, Ordering::Relaxed);
        self.clock.wall() < last
    }

    /// Whether the clock fits the log's last entry.
    pub(crate) fn check_against(&self, last: Timestamp) -> Result<(), OpenError> {
        let wall = self.clock.wall();
        let reason = if last.saturating_since(wall) > BEHIND_MAX {
            format!("the clock says {wall}, which is more than 60 s before the last entry at {last}")
        } else if wall.saturating_since(last) > AHEAD_MAX {
            format!("the clock says {wall}, which is more than 30 days after the last entry at {last}")
        } else {
            return Ok(());
        };
        Err(OpenError::Clock { reason })
    }

    /// The time of day as far as it is believed. It may be behind the log's time; the caller takes the larger.
    pub(crate) fn now(&self) -> Timestamp {
        let (believed, monotonic) = self.believed();
        let ahead = believed - monotonic;
        let furthest = self.ahead_of_monotonic.load(Ordering::Relaxed);
        if ahead <= furthest {
            return bounded(monotonic + furthest);
        }
        self.ahead_of_monotonic.fetch_max(ahead, Ordering::Relaxed);
        bounded(believed)
    }

    /// The wall clock as far as it is believed, and the monotonic one, in microseconds.
    fn believed(&self) -> (i64, i64) {
        let (wall, monotonic) = (self.clock.wall().micros(), micros(self.clock.monotonic()));
        // Relaxed, here and below: each cell is a hint of its own; a stale reference is a valid one.
        let expected = monotonic + self.offset.load(Ordering::Relaxed);
        let ahead = wall - expected;
        if ahead > STEP_MAX {
            self.leap.store(ahead, Ordering::Relaxed);
            return (expected, monotonic);
        }
        if self.leap.load(Ordering::Relaxed) != 0 {
            self.leap.store(0, Ordering::Relaxed);
        }
        if monotonic - self.referenced.load(Ordering::Relaxed) > REFERENCE_EVERY {
            self.refer_to(wall, monotonic);
        }
        (wall, monotonic)
    }

    /// How far ahead the wall clock is that is not believed.
    pub(crate) fn leap(&self) -> Option<Duration> {
        self.believed();
        let leap = self.leap.load(Ordering::Relaxed);
        (leap > 0).then(|| Duration::from_micros(leap.unsigned_abs()))
    }

    /// Believes the wall clock as it is now.
    pub(crate) fn accept(&self) {
        self.refer_to(self.clock.wall().micros(), micros(self.clock.monotonic()));
        self.leap.store(0, Ordering::Relaxed);
    }

    fn refer_to(&self, wall: i64, monotonic: i64) {
        self.offset.store(wall - monotonic, Ordering::Relaxed);
        self.referenced.store(monotonic, Ordering::Relaxed);
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn bounded(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).unwrap_or(if micros < 0 { Timestamp::MIN } else { Timestamp::MAX })
}
