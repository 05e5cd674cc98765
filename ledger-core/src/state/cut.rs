//! A checkpoint's view of one shard: what it was at the instant of the cut, while writers go on.
//!
//! Nothing is copied at the instant itself. Afterwards the copier takes a few accounts at a time, and a writer that is
//! about to change an account which was not copied yet sets it aside first, as it was. So no lock is held for long, and the
//! memory that this takes is bounded by the accounts that are changed meanwhile. Withdrawals are set aside in the same
//! way: those that changed between the checkpoint before and the cut, which the log between two checkpoints bounds, and
//! change again before they are copied. Records are never changed, so of those it is enough to know where they ended.
//!
//! What must hold: whoever changes an account or a withdrawal asks [`Shard::keep_account`] or [`Shard::keep_withdrawal`]
//! first. The entry that changes it is later than the cut, so its `last_seq` says whether it was changed since.

#[cfg(test)]
mod tests;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::account::{Frozen, Slot};
use super::history::HistoryEnd;
use super::shard::{CurrencySums, HeldWithdrawal, Shard};
use crate::types::{Seq, Timestamp, TransactionId};

/// Accounts that are copied with their shard locked once.
pub(crate) const ACCOUNTS_AT_ONCE: Slot = 512;

/// What a shard was at the instant of a cut, as far as it has not been copied.
pub(crate) struct Cut {
    seq: Seq,
    time: Timestamp,
    /// Withdrawals that were last changed by then are in an earlier checkpoint.
    since: Seq,
    accounts: Slot,
    copied: Slot,
    /// By chunk of slots: a table of all of them would be moved while a writer holds the lock, by the million.
    set_aside: HashMap<Slot, Vec<(Slot, Frozen)>, RandomState>,
    /// The withdrawals up to this id are copied.
    withdrawals_copied: Option<TransactionId>,
    /// In boxes: a table that grows while a writer holds the lock moves 16 bytes of each.
    withdrawals_set_aside: HashMap<TransactionId, Box<HeldWithdrawal>, RandomState>,
}

/// The sums of one currency in one shard at the instant of a cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FrozenSums {
    pub(crate) currency: crate::types::Currency,
    pub(crate) accounts: u64,
    pub(crate) total: u128,
    pub(crate) reserved: u128,
    pub(crate) external: i128,
    pub(crate) suspense: i128,
}

impl FrozenSums {
    pub(super) fn of(sums: &CurrencySums) -> FrozenSums {
        let CurrencySums { currency, accounts, total, reserved, external, suspense, holds: _ } = *sums;
        FrozenSums { currency, accounts, total, reserved, external, suspense }
    }
}

/// What is taken of a shard at the instant of a cut.
pub(crate) struct ShardCut {
    pub(crate) history: HistoryEnd,
    pub(crate) sums: Vec<FrozenSums>,
    /// Withdrawals that changed since the last checkpoint, each at least once, in no order.
    pub(crate) withdrawals: Vec<TransactionId>,
}

impl Shard {
    /// Begins a checkpoint of the state at `seq`, the last entry of all, made at `time`. In no proportion to anything but
    /// the number of currencies.
    pub(crate) fn begin_cut(&mut self, seq: Seq, time: Timestamp, since: Seq) -> ShardCut {
        let accounts = self.accounts.len() as Slot;
        self.cut = Some(Box::new(Cut {
            seq,
            time,
            since,
            accounts,
            copied: 0,
            set_aside: HashMap::with_hasher(RandomState::default()),
            withdrawals_copied: None,
            withdrawals_set_aside: HashMap::with_hasher(RandomState::default()),
        }));
        ShardCut {
            history: self.history.end(),
            sums: self.sums().iter().map(FrozenSums::of).collect(),
            withdrawals: std::mem::take(&mut self.changed),
        }
    }

    /// Ends a checkpoint. `not_kept` are the withdrawals that it was to keep, if it failed. What it had set aside by then
    /// may be much: to be dropped when the shard is not locked any more.
    #[must_use]
    pub(crate) fn end_cut(&mut self, not_kept: Vec<TransactionId>) -> Option<Box<Cut>> {
        if !not_kept.is_empty() {
            // What changed meanwhile is less, mostly, than what is put back.
            let later = std::mem::replace(&mut self.changed, not_kept);
            self.changed.extend(later);
        }
        self.cut.take()
    }

    /// Shows up to [`ACCOUNTS_AT_ONCE`] more accounts as they were at the cut; none when all were shown.
    pub(crate) fn copy_accounts(&mut self, mut copy: impl FnMut(&Frozen)) {
        let Some(cut) = &mut self.cut else { return };
        let end = cut.accounts.min(cut.copied.saturating_add(ACCOUNTS_AT_ONCE));
        let mut set_aside = cut.set_aside.remove(&(cut.copied / ACCOUNTS_AT_ONCE)).unwrap_or_default();
        set_aside.sort_unstable_by_key(|(slot, _)| *slot);
        let mut set_aside = set_aside.into_iter().peekable();
        for slot in cut.copied..end {
            let earlier = set_aside.next_if(|(of, _)| *of == slot);
            copy(&earlier.map_or_else(|| self.accounts.freeze(slot, cut.time), |(_, frozen)| frozen));
        }
        cut.copied = end;
    }

    /// Shows a withdrawal as it was at the cut. They are asked for in the order of their ids.
    pub(crate) fn copy_withdrawal<R>(&mut self, id: TransactionId, copy: impl FnOnce(&HeldWithdrawal) -> R) -> R {
        let set_aside = self.cut.as_mut().and_then(|cut| {
            debug_assert!(cut.withdrawals_copied < Some(id), "{id} comes after {:?}", cut.withdrawals_copied);
            cut.withdrawals_copied = Some(id);
            cut.withdrawals_set_aside.remove(&id)
        });
        match &set_aside {
            Some(held) => copy(held),
            None => copy(&self.withdrawals[&id]),
        }
    }

    /// Sets an account aside that is about to be changed, if a checkpoint has yet to copy it.
    #[inline]
    pub(super) fn keep_account(&mut self, slot: Slot) {
        if self.cut.is_some() {
            self.set_account_aside(slot);
        }
    }

    fn set_account_aside(&mut self, slot: Slot) {
        let Some(cut) = &mut self.cut else { return };
        if (cut.copied..cut.accounts).contains(&slot) && self.accounts.get(slot).last_seq() <= cut.seq {
            let frozen = self.accounts.freeze(slot, cut.time);
            // Once: from now on its last change is later than the cut.
            cut.set_aside.entry(slot / ACCOUNTS_AT_ONCE).or_default().push((slot, frozen));
        }
    }

    /// Sets a withdrawal aside that is about to be changed, if a checkpoint has yet to copy it.
    pub(super) fn keep_withdrawal(&mut self, id: TransactionId) {
        let Some(cut) = &mut self.cut else { return };
        let held = &self.withdrawals[&id];
        if cut.withdrawals_copied < Some(id) && held.last_seq <= cut.seq && held.last_seq > cut.since {
            cut.withdrawals_set_aside.insert(id, Box::new(held.clone()));
        }
    }
}
