//! Loading a shard from a snapshot: its accounts as they were frozen, then its records, from which the accounts' lists
//! and schedules are made again, then its withdrawals, which say what became of the records.

use super::account::Frozen;
use super::cut::FrozenSums;
use super::history::Restored;
use super::shard::{HeldWithdrawal, Shard};
use crate::types::{Timestamp, TransactionId};
use crate::view::{Direction, TransactionKind};
use crate::withdrawals::{Reservation, ReturnCredit, Substatus, Withdrawal};

impl Shard {
    /// Adds the sums of a currency. They come before its accounts.
    pub(crate) fn restore_sums(&mut self, frozen: &FrozenSums) {
        let sums = self.sums_mut(frozen.currency);
        sums.accounts = frozen.accounts;
        sums.total = frozen.total;
        sums.reserved = frozen.reserved;
        sums.external = frozen.external;
        sums.suspense = frozen.suspense;
    }

    /// Adds the next account; `false`: it is there already, no sums count it, or it cannot be.
    pub(crate) fn restore_account(&mut self, frozen: &Frozen) -> bool {
        let parts = frozen.held.checked_add(frozen.reserved);
        let fits = parts.is_some_and(|parts| parts <= frozen.total) && frozen.total <= crate::types::INTEGER_MAX;
        let is_counted = self.sums().iter().any(|sums| sums.currency == frozen.currency);
        if !fits || !is_counted || self.slot(frozen.user, frozen.currency).is_some() || !self.has_room_for(1) {
            return false;
        }
        let hash = self.hash(frozen.user, frozen.currency);
        self.accounts.restore(hash, frozen);
        true
    }

    /// Adds records that lay at `address`, and gives each to `seen`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(crate) fn restore_records(
        &mut self,
        address: u64,
        bytes: &[u8],
        anchors: &[(u64, i64)],
        mut seen: impl FnMut(&Restored) -> Result<(), String>,
    ) -> Result<(), String> {
        if !self.history.restore_piece(address, bytes) {
            return Err(format!("records at {address} that do not follow those before them"));
        }
        let (mut at, end) = (address, address + bytes.len() as u64);
        while at < end {
            let record = self.history.restored(at, anchors).ok_or_else(|| format!("no record at {at}"))?;
            if record.account as usize >= self.accounts.len() {
                return Err(format!("a record of account {}, which is not there", record.account));
            }
            seen(&record)?;
            self.history.restore_to_list(&mut self.accounts.get_mut(record.account).list, &record);
            if let Some((amount, release_at)) = record.hold {
                self.accounts.restore_hold(record.account, record.at, amount, release_at);
                let currency = self.accounts.currency_of(self.accounts.get(record.account));
                self.sums_mut(currency).holds.add(release_at, amount.into());
            }
            at = record.next();
        }
        Ok(())
    }

    /// Adds a withdrawal, in place of what was known of it before.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn restore_withdrawal(&mut self, held: HeldWithdrawal) -> Result<(), String> {
        let withdrawal = &held.withdrawal;
        if held.slot as usize >= self.accounts.len() {
            return Err(format!("withdrawal {} is of an account that is not there", withdrawal.id));
        }
        self.withdrawals.insert(withdrawal.id, held);
        Ok(())
    }

    /// Tells the records and the accounts what became of the withdrawals, once all are there.
    ///
    /// # Errors
    /// A withdrawal without its record, or one of which the record says something else.
    pub(crate) fn settle_withdrawals(&mut self) -> Result<(), String> {
        for id in self.withdrawal_ids() {
            let held = &self.withdrawals[&id];
            if self.history.find(id, Some(held.slot)) != Some(held.record) {
                return Err(format!("withdrawal {id} has no record"));
            }
            if !self.is_of_its_record(held) {
                return Err(format!("withdrawal {id} is not what its record says"));
            }
            let (withdrawal, dossier) = (&held.withdrawal, held.withdrawal.dossier());
            self.register.add(id);
            self.register.change(id, Substatus::Reserved, withdrawal.substatus);
            dossier.discrepancies.iter().for_each(|_| self.register.add_discrepancy());
            if let Some(returned) = &dossier.returned {
                self.register.add_return(id, (returned.credit == ReturnCredit::User).then_some(returned.id));
            }
            self.history.set_status(held.record, withdrawal.substatus.status(), held.last_seq);
            let amount = withdrawal.amount.minor();
            let Some(ending) = &withdrawal.ending else { continue };
            match withdrawal.substatus.reservation() {
                Reservation::Stands => {}
                Reservation::Paid => self.accounts.restore_end(held.slot, ending.at, amount, 0),
                Reservation::Released => self.accounts.restore_end(held.slot, ending.at, 0, amount),
            }
        }
        Ok(())
    }

    /// Whether the two words of a withdrawal agree: money goes where the one says, and comes back as the other does.
    fn is_of_its_record(&self, held: &HeldWithdrawal) -> bool {
        let (record, account) = (self.history.get(held.record), self.accounts.get(held.slot));
        let Withdrawal { user, currency, amount, destination, created_at, .. } = &held.withdrawal;
        (account.user, self.accounts.currency_of(account)) == (*user, *currency)
            && (record.kind, record.direction) == (TransactionKind::Withdrawal, Direction::Debit)
            && (record.amount, record.at) == (*amount, *created_at)
            && record.destination.as_ref().map(|place| place.as_str()) == destination.as_deref()
            && self.history.can_change(held.record)
    }

    /// Whether what was restored adds up: the sums of the accounts, what their open withdrawals reserve, and the holds
    /// folded at `time`.
    ///
    /// # Errors
    /// What does not.
    pub(crate) fn check_restored(&self, time: Timestamp) -> Result<(), String> {
        let mut reserved = vec![0u64; self.accounts.len()];
        for held in self.withdrawals.values() {
            if held.withdrawal.substatus.reservation() == Reservation::Stands {
                let sum = &mut reserved[held.slot as usize];
                *sum = sum.saturating_add(held.withdrawal.amount.minor());
            }
        }
        for (slot, account) in self.accounts.iter() {
            if account.reserved != reserved[slot as usize] {
                return Err(format!("what account {slot} reserves is not what its open withdrawals take"));
            }
            if !self.accounts.is_folded_right(slot, time) {
                return Err(format!("the holds of account {slot} are not those of its history"));
            }
            if account.list.len() == 0 && account.total > 0 {
                return Err(format!("account {slot} has money and no history"));
            }
        }
        let mut audits = Vec::new();
        super::audit::recompute(self, time, &mut audits);
        match audits.iter().find(|audit| audit.deep_mismatches > 0) {
            Some(audit) => Err(format!("the accounts in {} are not what their sums say", audit.currency)),
            None => Ok(()),
        }
    }

    /// All withdrawals, in the order of their ids.
    pub(crate) fn withdrawal_ids(&self) -> Vec<TransactionId> {
        let mut ids: Vec<TransactionId> = self.withdrawals.keys().copied().collect();
        ids.sort_unstable();
        ids
    }
}
