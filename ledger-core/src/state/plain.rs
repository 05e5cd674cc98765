//! Plain movements: completed charges and transfers with nothing but what each has, between accounts that are there and of which
//! nothing is held. Nearly all are such. What they do is what [`Shard::credit`] and [`Shard::debit`] do; without a general entry
//! and record in between it takes a third of the instructions.

use super::account::{Parts, Slot, has_room_for};
use super::history::PlainRecord;
use super::shard::Shard;
use crate::types::{Amount, Currency, Timestamp, TransactionId, UserId};
use crate::view::{Direction, Status, TransactionKind};

/// A plain movement, as it comes with its entry from the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainMovement {
    pub(crate) id: TransactionId,
    pub(crate) at: Timestamp,
    pub(crate) currency: Currency,
    pub(crate) amount: Amount,
    pub(crate) key_hash: u64,
}

impl Shard {
    /// Whether a plain movement of `amount` may be credited to the account at `slot`. Whatever the time: nothing of it matures.
    #[inline]
    pub(crate) fn takes_plain(&self, slot: Slot, amount: Amount) -> bool {
        let parts = self.accounts.parts_without_holds(slot);
        parts.is_some_and(|parts| has_room_for(parts.total, amount.minor()))
    }

    /// As [`Shard::takes_plain`], whether the account can pay it.
    #[inline]
    pub(crate) fn pays_plain(&self, slot: Slot, amount: Amount) -> bool {
        let parts = self.accounts.parts_without_holds(slot);
        parts.is_some_and(|parts| parts.withdrawable() >= amount.minor())
    }

    /// Does what the entry of a plain movement says, to an account that [`takes`](Shard::takes_plain) it: of a transfer from `from`,
    /// or of a charge. Returns the account's parts.
    #[inline(always)]
    pub(crate) fn credit_plain(&mut self, slot: Slot, movement: &PlainMovement, from: Option<UserId>) -> Parts {
        self.keep_account(slot);
        self.accounts.get_mut(slot).total += movement.amount.minor();
        let kind = if from.is_some() { TransactionKind::Transfer } else { TransactionKind::Charge };
        let parts = self.record_plain(slot, movement, kind, Direction::Credit, from);
        let sums = self.sums_mut(movement.currency);
        sums.total += u128::from(movement.amount.minor());
        if from.is_none() {
            sums.external -= i128::from(movement.amount.minor());
        }
        parts
    }

    /// As [`Shard::credit_plain`], to an account that [`pays`](Shard::pays_plain) for a transfer to `to`.
    #[inline]
    pub(crate) fn debit_plain(&mut self, slot: Slot, movement: &PlainMovement, to: UserId) -> Parts {
        self.keep_account(slot);
        self.accounts.get_mut(slot).total -= movement.amount.minor();
        let parts = self.record_plain(slot, movement, TransactionKind::Transfer, Direction::Debit, Some(to));
        self.sums_mut(movement.currency).total -= u128::from(movement.amount.minor());
        parts
    }

    #[inline(always)]
    fn record_plain(
        &mut self,
        slot: Slot,
        movement: &PlainMovement,
        kind: TransactionKind,
        direction: Direction,
        counterparty: Option<UserId>,
    ) -> Parts {
        let PlainMovement { id, at, amount, key_hash, .. } = *movement;
        let (account, status) = (slot, Status::Completed);
        let record = PlainRecord { id, at, kind, status, direction, amount, account, counterparty, key_hash };
        let account = self.accounts.get_mut(slot);
        account.set_last_seq(id.seq());
        self.history.push_plain(&mut account.list, &record);
        account.parts_without_holds().expect("nothing of it was held")
    }
}
