//! What a checkpoint does while it holds a lock that writers may wait for: the longest time is what it promises to keep
//! short, and tells. The time follows from how much is copied under one lock, which is what can be tested.

use std::cell::Cell;
use std::ops::DerefMut;
use std::time::{Duration, Instant};

/// The longest time that a lock was held, and the most that was copied under one.
#[derive(Debug, Default)]
pub(crate) struct LongestHold {
    time: Cell<Duration>,
    bytes: Cell<usize>,
}

/// When a lock was taken, and how much had been copied by then.
pub(crate) struct Held(Instant, usize);

impl LongestHold {
    /// Copies something of what a lock guards into `out`, and lets go of it.
    pub(crate) fn copy<G: DerefMut, T, R>(
        &self,
        mut guard: G,
        out: &mut Vec<T>,
        copy: impl FnOnce(&mut G::Target, &mut Vec<T>) -> R,
    ) -> R {
        let held = self.begin(out);
        let done = copy(&mut guard, out);
        drop(guard);
        self.end(held, out);
        done
    }

    /// A lock was taken.
    pub(crate) fn begin<T>(&self, out: &[T]) -> Held {
        Held(Instant::now(), size_of_val(out))
    }

    /// It was let go.
    pub(crate) fn end<T>(&self, held: Held, out: &[T]) {
        self.time.set(self.time.get().max(held.0.elapsed()));
        self.bytes.set(self.bytes.get().max(size_of_val(out) - held.1));
    }

    pub(crate) fn time(&self) -> Duration {
        self.time.get()
    }

    /// The most that was copied under one lock.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_time_and_the_most_that_was_copied_under_one_lock_are_told() {
        let (holds, mut out) = (LongestHold::default(), vec![0_u64; 3]);
        for (added, millis) in [(2, 2), (1, 0)] {
            let held = holds.begin(&out);
            std::thread::sleep(Duration::from_millis(millis));
            out.extend(vec![0; added]);
            holds.end(held, &out);
            assert_eq!(holds.bytes(), 16);
            assert!(holds.time() >= Duration::from_millis(2));
        }
    }
}
