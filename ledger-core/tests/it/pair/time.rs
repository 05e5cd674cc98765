//! What the rules say of the ledger's time while a test moves its clocks.

use std::time::Duration;

use ledger_core::sim::SimClock;
use ledger_core::{Clock, Timestamp};

use super::LEAP;

/// What the rules say of the ledger's time while a test moves its clocks.
pub(super) struct TimeRules {
    opened_wall: Timestamp,
    opened_monotonic: Duration,
    pub(super) last: Timestamp,
    last_monotonic: Duration,
    pub(super) stepped: bool,
    stepped_back: bool,
    /// How far reads may have pushed the ledger's time on.
    pub(super) slack: Duration,
    /// The latest moment that an answer rested on: an entry's time, or a hold that was seen to have matured.
    floor: Timestamp,
}

impl TimeRules {
    pub(super) fn opened(clock: &SimClock, last: Option<Timestamp>) -> TimeRules {
        TimeRules {
            opened_wall: clock.wall(),
            opened_monotonic: clock.monotonic(),
            last: last.unwrap_or(Timestamp::MIN).max(clock.wall().saturating_sub(LEAP)),
            last_monotonic: clock.monotonic(),
            stepped: false,
            stepped_back: false,
            slack: Duration::ZERO,
            floor: last.unwrap_or(Timestamp::MIN),
        }
    }

    pub(super) fn stepped(&mut self, from: Timestamp, to: Timestamp) {
        self.stepped |= from != to;
        self.stepped_back |= to < from;
    }

    pub(super) fn rests_on(&mut self, moment: Option<Timestamp>) {
        self.floor = self.floor.max(moment.unwrap_or(Timestamp::MIN));
    }

    pub(super) fn accepted(&mut self, clock: &SimClock) {
        self.opened_wall = clock.wall();
        self.opened_monotonic = clock.monotonic();
        self.last_monotonic = Duration::ZERO;
        self.stepped = true;
    }

    /// Where the rules leave a choice (a clock that was set back and is ahead again), only the bounds are checked.
    pub(super) fn check(&mut self, clock: &SimClock, now: Timestamp, leap: Option<Duration>) -> Result<(), String> {
        let (wall, monotonic) = (clock.wall(), clock.monotonic());
        let expected = self.opened_wall.saturating_add(monotonic - self.opened_monotonic);
        let leapt = wall > expected.saturating_add(LEAP);
        let elapsed = monotonic.saturating_sub(self.last_monotonic);
        let latest = self
            .last
            .saturating_add(elapsed)
            .max(if leapt { expected.saturating_add(LEAP) } else { wall })
            .saturating_add(self.slack);
        let says = format!("now {now}, wall {wall}, last {}, by the monotonic clock {expected}", self.last);
        if now < self.floor {
            return Err(format!("the ledger's time went back: {says}"));
        }
        if now > latest {
            return Err(format!("the ledger's time leapt: {says}"));
        }
        // A wall clock that was set back is overtaken: so much time has passed.
        let least = self.last.saturating_add(elapsed).max(wall);
        if !self.stepped && (now < least || now > least.saturating_add(self.slack)) {
            return Err(format!("the ledger's time is not the clock's: {says}"));
        }
        if !self.stepped_back && (now < expected || leapt != leap.is_some()) {
            return Err(format!("a leap of {leap:?} is told: {says}"));
        }
        (self.last, self.last_monotonic) = (self.last.max(now), monotonic);
        Ok(())
    }
}
