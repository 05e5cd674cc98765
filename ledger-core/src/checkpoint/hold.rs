//! How long a checkpoint holds locks that writers may wait for: the longest time is what it promises to keep short, and tells.

use std::cell::Cell;
use std::ops::DerefMut;
use std::time::{Duration, Instant};

/// The longest time that a lock was held.
#[derive(Debug, Default)]
pub(crate) struct LongestHold(Cell<Duration>);

/// When a lock was taken.
pub(crate) struct Held(Instant);

impl LongestHold {
    /// Does `work` with what a lock guards, and lets go of it.
    pub(crate) fn hold<G: DerefMut, R>(&self, mut guard: G, work: impl FnOnce(&mut G::Target) -> R) -> R {
        let held = self.begin();
        let done = work(&mut guard);
        drop(guard);
        self.end(held);
        done
    }

    /// A lock was taken.
    pub(crate) fn begin(&self) -> Held {
        Held(Instant::now())
    }

    /// It was let go.
    pub(crate) fn end(&self, held: Held) {
        self.0.set(self.0.get().max(held.0.elapsed()));
    }

    pub(crate) fn get(&self) -> Duration {
        self.0.get()
    }
}
