//! Which open withdrawals are to be looked at, and when.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{Timestamp, TransactionId};

/// Open withdrawals by the time when they are due, then by id; each at most once. Fresh ones (no attempt yet, holding a
/// place) and the others (retries, inquiries, resumed work) are kept apart, so that neither has to be searched for the
/// other.
#[derive(Debug, Default)]
pub(crate) struct DueQueue {
    fresh: BTreeSet<(Timestamp, TransactionId)>,
    other: BTreeSet<(Timestamp, TransactionId)>,
    by_id: BTreeMap<TransactionId, (Timestamp, bool)>,
}

impl DueQueue {
    /// Puts `id` in the queue, in place of where it was.
    pub(crate) fn schedule(&mut self, id: TransactionId, due: Timestamp, fresh: bool) {
        if let Some((due, fresh)) = self.by_id.insert(id, (due, fresh)) {
            self.line(fresh).remove(&(due, id));
        }
        self.line(fresh).insert((due, id));
    }

    /// Takes `id` out; `false`: it was not there.
    pub(crate) fn remove(&mut self, id: TransactionId) -> bool {
        let Some((due, fresh)) = self.by_id.remove(&id) else { return false };
        self.line(fresh).remove(&(due, id))
    }

    /// Takes out up to `max` that are due at `now`, earliest first.
    pub(crate) fn take(&mut self, fresh: bool, now: Timestamp, max: usize) -> Vec<TransactionId> {
        let mut taken = Vec::new();
        while taken.len() < max {
            let Some(&(due, id)) = self.line(fresh).first().filter(|(due, _)| *due <= now) else { break };
            self.line(fresh).remove(&(due, id));
            self.by_id.remove(&id);
            taken.push(id);
        }
        taken
    }

    /// When the next one of either line is due, not before `now`; `None`: the queue is empty.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let first = |line: &BTreeSet<(Timestamp, TransactionId)>| line.first().map(|(due, _)| *due);
        let earliest = match (first(&self.fresh), first(&self.other)) {
            (Some(fresh), Some(other)) => fresh.min(other),
            (fresh, other) => fresh.or(other)?,
        };
        Some(earliest.max(now))
    }

    fn line(&mut self, fresh: bool) -> &mut BTreeSet<(Timestamp, TransactionId)> {
        if fresh { &mut self.fresh } else { &mut self.other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u64) -> TransactionId {
        TransactionId::new(n).unwrap()
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros).unwrap()
    }

    #[test]
    fn the_earliest_comes_first_and_the_smaller_id_among_equals() {
        let mut queue = DueQueue::default();
        for (n, due) in [(3, 10), (2, 10), (9, 5), (1, 20)] {
            queue.schedule(id(n), at(due), false);
        }
        queue.schedule(id(7), at(1), true);
        assert_eq!(queue.next(at(0)), Some(at(1)));
        assert_eq!(queue.next(at(8)), Some(at(8)), "what is overdue is due now");
        assert_eq!(queue.take(false, at(10), 2), [id(9), id(2)]);
        assert_eq!(queue.take(false, at(10), 9), [id(3)]);
        assert_eq!(queue.take(true, at(10), 9), [id(7)]);
        assert_eq!((queue.by_id.len(), queue.next(at(10))), (1, Some(at(20))));
    }

    proptest! {
        /// Against a plain list that is sorted whenever it is asked.
        #[test]
        fn it_does_what_a_sorted_list_does(steps in prop::collection::vec((0u8..4, 1u64..12, 0i64..20, any::<bool>()), 0..80)) {
            let (mut queue, mut list) = (DueQueue::default(), Vec::<(Timestamp, TransactionId, bool)>::new());
            for (step, n, micros, fresh) in steps {
                match step {
                    0 | 1 => {
                        queue.schedule(id(n), at(micros), fresh);
                        list.retain(|(_, other, _)| *other != id(n));
                        list.push((at(micros), id(n), fresh));
                    }
                    2 => {
                        let was_there = list.iter().any(|(_, other, _)| *other == id(n));
                        prop_assert_eq!(queue.remove(id(n)), was_there);
                        list.retain(|(_, other, _)| *other != id(n));
                    }
                    _ => {
                        list.sort();
                        let max = n as usize / 3;
                        let expected: Vec<_> =
                            list.iter().filter(|(due, _, f)| *f == fresh && *due <= at(micros)).map(|e| e.1).take(max).collect();
                        list.retain(|(_, other, _)| !expected.contains(other));
                        prop_assert_eq!(queue.take(fresh, at(micros), max), expected);
                    }
                }
                prop_assert_eq!(queue.by_id.len(), list.len());
                prop_assert_eq!(queue.next(Timestamp::MIN), list.iter().map(|e| e.0).min());
            }
        }
    }
}
