//! What a checkpoint does while it holds a lock that writers may wait for: the longest time is what it promises to keep
//! short, and tells. The time follows from how much is copied under one lock, which is what can be tested, and from where
//! to: into a [`buffer`] that has room and was written to before. A vector that grows moves all that it has, and the first
//! write to a page may have the kernel clear two megabytes (5 to 10 ms were measured of either, with ten million keys).

use std::cell::Cell;
use std::hint::black_box;
use std::ops::DerefMut;
use std::time::{Duration, Instant};

/// The longest time that a lock was held, and the most that was copied under one.
#[derive(Debug, Default)]
pub(crate) struct LongestHold {
    time: Cell<Duration>,
    bytes: Cell<usize>,
}

/// An empty vector with room for so many items, which was written to: not with zeros, which the allocator may give without.
pub(crate) fn buffer<T: Clone>(item: T, len: usize) -> Vec<T> {
    let mut buffer = black_box(vec![item; len]);
    buffer.clear();
    buffer
}

/// When a lock was taken, and what there was to copy to.
pub(crate) struct Held {
    at: Instant,
    bytes: usize,
    room: usize,
}

impl LongestHold {
    /// Copies something of what a lock guards into a buffer, and lets go of it.
    pub(crate) fn copy<G: DerefMut, R>(
        &self,
        mut guard: G,
        out: &mut Vec<u8>,
        copy: impl FnOnce(&mut G::Target, &mut Vec<u8>) -> R,
    ) -> R {
        let held = self.begin(out);
        let done = copy(&mut guard, out);
        drop(guard);
        self.end(held, out);
        done
    }

    /// A lock was taken.
    pub(crate) fn begin(&self, out: &Vec<u8>) -> Held {
        Held { at: Instant::now(), bytes: out.len(), room: out.capacity() }
    }

    /// It was let go.
    pub(crate) fn end(&self, held: Held, out: &Vec<u8>) {
        self.time.set(self.time.get().max(held.at.elapsed()));
        self.bytes.set(self.bytes.get().max(out.len() - held.bytes));
        debug_assert_eq!(out.capacity(), held.room, "a buffer grew while a lock was held");
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
        let (holds, mut out) = (LongestHold::default(), buffer(0xff, 32));
        for (added, millis) in [(16, 2), (8, 0)] {
            let held = holds.begin(&out);
            std::thread::sleep(Duration::from_millis(millis));
            out.extend(vec![0; added]);
            holds.end(held, &out);
            assert_eq!(holds.bytes(), 16);
            assert!(holds.time() >= Duration::from_millis(2));
        }
    }

    #[cfg(all(debug_assertions, not(feature = "loom")))]
    #[test]
    #[should_panic(expected = "a buffer grew")]
    fn a_buffer_that_grows_while_a_lock_is_held_is_a_fault() {
        let (lock, mut out) = (crate::sync::Mutex::new(()), buffer(0xff, 16));
        LongestHold::default().copy(lock.lock(), &mut out, |(), out| out.extend([0; 17]));
    }
}
