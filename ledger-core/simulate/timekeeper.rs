//! The rules of the ledger's time, while its clocks are set: it never goes back behind what an answer rested on, and a
//! wall clock that leaps ahead takes it nowhere until somebody accepts it.

use std::time::Duration;

use ledger_core::sim::SimClock;
use ledger_core::{Clock, Timestamp};

use crate::promise::{Checked, Violation};

/// The largest step ahead that is believed.
const STEP_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Timekeeper {
    /// The latest that the ledger's time may be at `since` of the monotonic clock.
    latest: Timestamp,
    since: Duration,
    /// The latest moment that an answer or an entry rested on.
    rests: Timestamp,
}

impl Timekeeper {
    pub(crate) fn new(clock: &SimClock) -> Timekeeper {
        Timekeeper { latest: clock.wall(), since: clock.monotonic(), rests: Timestamp::MIN }
    }

    /// The ledger was opened; `last` is its last entry's time, `closed_at` the latest that a clean stop may have kept.
    pub(crate) fn opened(&mut self, clock: &SimClock, last: Option<Timestamp>, closed_at: Timestamp) {
        let last = last.unwrap_or(Timestamp::MIN);
        *self = Timekeeper { latest: clock.wall().max(last).max(closed_at), since: clock.monotonic(), rests: last };
    }

    pub(crate) fn rests_on(&mut self, moment: Timestamp) {
        self.rests = self.rests.max(moment);
    }

    /// The wall clock was set. Small steps ahead are believed, each for itself.
    pub(crate) fn stepped(&mut self, from: Timestamp, to: Timestamp) {
        if to > from && to.saturating_since(from) <= STEP_MAX {
            self.latest = self.latest.saturating_add(to.saturating_since(from));
        }
    }

    pub(crate) fn accepted(&mut self, clock: &SimClock) {
        self.latest = self.latest_at(clock).max(clock.wall());
        self.since = clock.monotonic();
    }

    fn latest_at(&self, clock: &SimClock) -> Timestamp {
        self.latest.saturating_add(clock.monotonic() - self.since)
    }

    pub(crate) fn check(&self, clock: &SimClock, now: Timestamp) -> Checked {
        if now < self.rests {
            return Err(Violation::new("time went back", format!("it is {now}, and was {}", self.rests)));
        }
        // A believed clock that was set back and ahead again is ahead by one believed step at most.
        let latest = self.latest_at(clock).saturating_add(STEP_MAX);
        if now > latest {
            return Err(Violation::new("time leapt", format!("it is {now}, and {latest} at the most")));
        }
        Ok(())
    }
}
