//! Plain charges: completed, with nothing but what each charge has, of an account that is there and of which nothing is held.
//! Nearly all are. What they do is what [`Shard::credit`] does; without a general entry and record in between it takes a third
//! of the instructions.

use super::account::{Parts, Slot, has_room_for};
use super::history::ChargeRecord;
use super::shard::Shard;
use crate::types::{Amount, Currency, Timestamp, TransactionId};

/// A plain charge, without its user: the account is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainCharge {
    pub(crate) currency: Currency,
    pub(crate) amount: Amount,
    pub(crate) key_hash: u64,
}

impl Shard {
    /// Whether a plain charge of `amount` may be credited to the account at `slot`. Whatever the time: nothing of it matures.
    #[inline]
    pub(crate) fn takes_plain_charge(&self, slot: Slot, amount: Amount) -> bool {
        let parts = self.accounts.parts_without_holds(slot);
        parts.is_some_and(|parts| has_room_for(parts.total, amount.minor()))
    }

    /// Does what the entry of a plain charge says, to an account that [`takes_plain_charge`](Shard::takes_plain_charge). Returns
    /// the account's parts.
    #[inline]
    pub(crate) fn credit_plain(&mut self, slot: Slot, charge: &PlainCharge, id: TransactionId, at: Timestamp) -> Parts {
        let PlainCharge { currency, amount, key_hash } = *charge;
        self.keep_account(slot);
        let account = self.accounts.get_mut(slot);
        account.total += amount.minor();
        account.set_last_seq(id.seq());
        self.history.push_charge(&mut account.list, &ChargeRecord { id, at, amount, account: slot, key_hash });
        let parts = account.parts_without_holds().expect("nothing of it was held");
        let sums = self.sums_mut(currency);
        sums.total += u128::from(amount.minor());
        sums.external -= i128::from(amount.minor());
        parts
    }
}
