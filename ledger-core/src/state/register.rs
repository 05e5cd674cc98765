//! The withdrawals of one shard in order: to list them, to count them, and to find those that need somebody.
//!
//! Nearly all withdrawals end as completed, so only the others stand in a tree by substatus; all stand in a list by id,
//! which grows at its end alone, since ids rise within a shard. Everything follows from the entries, so a replay makes
//! the same register.
//!
//! Cost: 8 bytes a withdrawal, and about 30 for one that is not completed.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::size_of;
use std::ops::Bound;

use crate::types::TransactionId;
use crate::withdrawals::Substatus;

/// The withdrawals of one shard in order.
#[derive(Default)]
pub(crate) struct Register {
    /// Every withdrawal.
    all: Vec<TransactionId>,
    /// Those that are not completed.
    by_substatus: BTreeSet<(Substatus, TransactionId)>,
    counts: [u64; Substatus::ALL.len()],
    discrepancies: u64,
    returned: u64,
    /// From a return's transaction to its withdrawal.
    returns: BTreeMap<TransactionId, TransactionId>,
}

impl Register {
    /// A withdrawal was reserved. Its id is larger than all before.
    pub(crate) fn add(&mut self, id: TransactionId) {
        debug_assert!(self.all.last().is_none_or(|last| *last < id), "ids rise within a shard");
        self.all.push(id);
        self.enter(id, Substatus::Reserved);
    }

    /// A withdrawal changed.
    pub(crate) fn change(&mut self, id: TransactionId, from: Substatus, to: Substatus) {
        if from == to {
            return;
        }
        self.counts[from as usize] -= 1;
        if from != Substatus::Completed {
            self.by_substatus.remove(&(from, id));
        }
        self.enter(id, to);
    }

    fn enter(&mut self, id: TransactionId, substatus: Substatus) {
        self.counts[substatus as usize] += 1;
        if substatus != Substatus::Completed {
            self.by_substatus.insert((substatus, id));
        }
    }

    /// A discrepancy was recorded.
    pub(crate) fn add_discrepancy(&mut self) {
        self.discrepancies += 1;
    }

    /// A payment came back, by a transaction where the user was credited.
    pub(crate) fn add_return(&mut self, of: TransactionId, by: Option<TransactionId>) {
        self.returned += 1;
        self.returns.extend(by.map(|by| (by, of)));
    }

    /// The withdrawal whose money a return brings back.
    pub(crate) fn returned_by(&self, id: TransactionId) -> Option<TransactionId> {
        self.returns.get(&id).copied()
    }

    /// How many are in `substatus`.
    pub(crate) fn count(&self, substatus: Substatus) -> u64 {
        self.counts[substatus as usize]
    }

    pub(crate) fn discrepancies(&self) -> u64 {
        self.discrepancies
    }

    pub(crate) fn returned(&self) -> u64 {
        self.returned
    }

    /// All after `after`, rising.
    pub(crate) fn after(&self, after: Option<TransactionId>) -> impl Iterator<Item = TransactionId> {
        let start = after.map_or(0, |after| self.all.partition_point(|id| *id <= after));
        self.all[start..].iter().copied()
    }

    /// Those in `substatus`, which is not completed, after `after`, rising.
    pub(crate) fn in_substatus(
        &self,
        substatus: Substatus,
        after: Option<TransactionId>,
    ) -> impl Iterator<Item = TransactionId> {
        debug_assert_ne!(substatus, Substatus::Completed, "most are, so they are not in the tree");
        let first = TransactionId::new(1).expect("not zero");
        let last = TransactionId::new(u64::MAX).expect("not zero");
        let start = after.map_or(Bound::Included((substatus, first)), |after| Bound::Excluded((substatus, after)));
        self.by_substatus.range((start, Bound::Included((substatus, last)))).map(|(_, id)| *id)
    }

    /// Bytes on the heap, as far as they are known: the trees' nodes are estimated.
    pub(crate) fn bytes(&self) -> usize {
        self.all.capacity() * size_of::<TransactionId>()
            + self.by_substatus.len() * 2 * size_of::<(Substatus, TransactionId)>()
            + self.returns.len() * 2 * size_of::<(TransactionId, TransactionId)>()
    }
}

#[cfg(test)]
mod tests;
