//! Sorting work by the lock that it needs, so that each lock is taken once for all of it.

use std::mem;

/// Things by the lock that they need, each group in their order.
pub(super) struct Grouped {
    sorted: Vec<u32>,
    /// Where the things of each lock end.
    ends: Vec<usize>,
}

impl Grouped {
    /// Things by which of so many `locks` each needs.
    pub(super) fn by(locks: usize, needed: impl ExactSizeIterator<Item = usize>) -> Grouped {
        // Sorted by counting: there are few locks. `next` is where the next thing of each lock goes.
        let mut next = vec![0; locks];
        let needed: Vec<u32> = needed.map(|lock| lock as u32).collect();
        needed.iter().for_each(|lock| next[*lock as usize] += 1);
        let mut start = 0;
        for next in &mut next {
            start += mem::replace(next, start);
        }
        let mut sorted = vec![0; needed.len()];
        for (index, lock) in (0..).zip(needed) {
            let next = &mut next[lock as usize];
            sorted[*next] = index;
            *next += 1;
        }
        Grouped { sorted, ends: next }
    }

    /// The locks that something needs, rising, each with what needs it.
    pub(super) fn groups(&self) -> impl Iterator<Item = (usize, &[u32])> {
        let mut start = 0;
        let groups = self.ends.iter().enumerate();
        let groups = groups.map(move |(lock, &end)| (lock, &self.sorted[mem::replace(&mut start, end)..end]));
        groups.filter(|(_, group)| !group.is_empty())
    }

    /// Takes what needs the last of the locks out.
    pub(super) fn take_last(&mut self) -> Vec<u32> {
        self.ends.pop();
        self.sorted.split_off(self.ends.last().copied().unwrap_or_default())
    }

    /// What needs each of the locks that something needs: rising from any of them, and then those before. Threads that begin at
    /// other ones seldom meet.
    pub(super) fn from(&self, first: u64) -> impl Iterator<Item = &[u32]> {
        let first = first as usize % self.ends.len();
        let after = self.groups().filter(move |(lock, _)| *lock >= first);
        after.chain(self.groups().filter(move |(lock, _)| *lock < first)).map(|(_, group)| group)
    }

    /// All things in the order of their locks.
    pub(super) fn sorted(&self) -> &[u32] {
        &self.sorted
    }
}
