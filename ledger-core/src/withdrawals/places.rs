//! How many withdrawals may wait for, or be in, their first attempt.

use crate::sync::{AtomicUsize, Ordering};

/// Places for first attempts. One is taken before a withdrawal is planned, given back if it is rejected, and held until
/// its first attempt has ended, so that a surge is refused before anything is recorded.
///
/// A place guards a count and publishes no memory (what is known of a withdrawal lies behind its shard's lock), so every
/// ordering here is relaxed.
#[derive(Debug)]
pub(crate) struct Places {
    taken: AtomicUsize,
    capacity: Option<usize>,
}

impl Places {
    /// `None`: as many as are asked for.
    pub(crate) fn new(capacity: Option<usize>) -> Places {
        Places { taken: AtomicUsize::new(0), capacity }
    }

    /// Takes a place; `false`: every one is taken.
    pub(crate) fn take(&self) -> bool {
        let capacity = self.capacity.unwrap_or(usize::MAX);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < capacity).then_some(taken + 1))
            .is_ok()
    }

    /// Gives back a place that was taken.
    pub(crate) fn give_back(&self) {
        let given = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| taken.checked_sub(1));
        debug_assert!(given.is_ok(), "a place was given back twice");
    }

    /// How many are taken now.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Arc, thread};

    #[test]
    fn the_place_after_the_last_one_is_refused() {
        let places = Places::new(Some(2));
        assert!(places.take() && places.take() && !places.take());
        places.give_back();
        assert_eq!(places.taken(), 1);
        assert!(places.take() && !places.take());
    }

    #[test]
    fn no_capacity_refuses_everyone_and_none_nobody() {
        assert!(!Places::new(Some(0)).take());
        let unlimited = Places::new(None);
        assert!((0..1_000).all(|_| unlimited.take()));
        assert_eq!(unlimited.taken(), 1_000);
    }

    #[test]
    fn threads_never_hold_more_places_than_there_are() {
        let places = Arc::new(Places::new(Some(3)));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let places = places.clone();
                thread::spawn(move || {
                    for _ in 0..2_000 {
                        if places.take() {
                            assert!(places.taken() <= 3);
                            places.give_back();
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(places.taken(), 0);
    }
}
