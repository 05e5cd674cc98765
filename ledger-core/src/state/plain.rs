//! Plain movements: completed charges and transfers with nothing but what each has, between accounts that are there and of which
//! nothing is held. Nearly all are such. What they do is what [`Shard::credit`] and [`Shard::debit`] do; without a general entry
//! and record in between it takes a third of the instructions.

use std::mem;

use super::account::{Parts, PlainParts, Slot, has_room_for};
use super::history::PlainRecord;
use super::shard::Shard;
use crate::types::{Amount, Currency, Seq, Timestamp, TransactionId, UserId};
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

/// A charge that may be a plain movement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainCharge {
    /// Where the account is.
    pub(crate) slot: Slot,
    pub(crate) currency: Currency,
    pub(crate) amount: Amount,
    pub(crate) key_hash: u64,
}

impl Shard {
    /// Whether all of these charges may be credited as plain movements: in whichever order, and whatever the time.
    pub(crate) fn takes_charges(&self, charges: &[PlainCharge]) -> bool {
        // Several may be of one account: with room for all of them it has room for each.
        let sum = charges.iter().map(|charge| charge.amount.minor()).sum();
        let takes = |parts: Parts| has_room_for(parts.total, sum);
        charges.iter().all(|charge| self.accounts.parts_without_holds(charge.slot).is_some_and(takes))
            && self.has_room_for(charges.len())
    }

    /// Does what the entries of plain charges say, which are adjacent from `first` on. `done` is told of each its number, its id, and
    /// the account's parts after it.
    pub(crate) fn apply_charges(
        &mut self,
        charges: &[PlainCharge],
        first: Seq,
        at: Timestamp,
        mut done: impl FnMut(usize, TransactionId, PlainParts),
    ) {
        // What is added to the sums of the currency of the last ones.
        let (mut currency, mut added) = (charges.first().map_or(Currency::USD, |charge| charge.currency), 0);
        for (number, charge) in charges.iter().enumerate() {
            let PlainCharge { slot, amount, key_hash, .. } = *charge;
            let id = TransactionId::new(first.get() + number as u64).expect("the first seq is 1");
            let movement = PlainMovement { id, at, currency: charge.currency, amount, key_hash };
            if charge.currency != currency {
                self.add_charged(mem::replace(&mut currency, charge.currency), mem::take(&mut added));
            }
            added += u128::from(amount.minor());
            let parts = self.record_plain(slot, &movement, TransactionKind::Charge, Direction::Credit, None);
            done(number, id, parts);
        }
        self.add_charged(currency, added);
    }

    /// Adds what was charged to the sums of its currency.
    fn add_charged(&mut self, currency: Currency, amount: u128) {
        let sums = self.sums_mut(currency);
        sums.total += amount;
        sums.external -= amount as i128;
    }

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
    pub(crate) fn credit_plain(&mut self, slot: Slot, movement: &PlainMovement, from: Option<UserId>) -> PlainParts {
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
    pub(crate) fn debit_plain(&mut self, slot: Slot, movement: &PlainMovement, to: UserId) -> PlainParts {
        let parts = self.record_plain(slot, movement, TransactionKind::Transfer, Direction::Debit, Some(to));
        self.sums_mut(movement.currency).total -= u128::from(movement.amount.minor());
        parts
    }

    /// Moves the amount to or from the account and records it.
    #[inline(always)]
    fn record_plain(
        &mut self,
        slot: Slot,
        movement: &PlainMovement,
        kind: TransactionKind,
        direction: Direction,
        counterparty: Option<UserId>,
    ) -> PlainParts {
        let PlainMovement { id, at, amount, key_hash, .. } = *movement;
        let (account, status) = (slot, Status::Completed);
        let record = PlainRecord { id, at, kind, status, direction, amount, account, counterparty, key_hash };
        self.keep_account(slot);
        let account = self.accounts.get_mut(slot);
        match direction {
            Direction::Credit => account.total += amount.minor(),
            Direction::Debit => account.total -= amount.minor(),
        }
        account.set_last_seq(id.seq());
        self.history.push_plain(&mut account.list, &record);
        PlainParts { total: account.total, reserved: account.reserved }
    }
}
