//! Doing: changes the state as an entry says, and cannot fail. Replay calls this alone.

use super::account::{Slot, has_room_for};
use super::entry::{Party, Posting, TransactionEntry};
use super::history::NewRecord;
use super::shard::{HeldWithdrawal, Shard};
use crate::types::{Seq, Timestamp, TransactionId, UserId};
use crate::view::{Direction, Status, TransactionKind};
use crate::withdrawals::{BankReference, Event, Reservation, ReturnCredit, Withdrawal, WithdrawalEntry};

/// What comes with an entry from the log and from its key.
#[derive(Clone, Copy)]
pub(crate) struct Applied {
    pub(crate) seq: Seq,
    pub(crate) time: Timestamp,
    pub(crate) key_hash: u64,
    /// What the bank knows the transaction by, if it is a withdrawal.
    pub(crate) reference: BankReference,
}

/// Whether a transaction's entry is of a kind that commands make, whatever the state.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_kind(entry: &TransactionEntry<'_>) -> Result<(), String> {
    if entry.kind == TransactionKind::Return {
        return Err("a return that is not an entry of its withdrawal".into());
    }
    if (entry.kind == TransactionKind::Withdrawal) != (entry.status == Status::Pending) {
        return Err(format!("a {} that is {}", entry.kind.as_str(), entry.status.as_str()));
    }
    let [posting] = &entry.postings[..] else {
        return Err(format!("a {} of {} postings", entry.kind.as_str(), entry.postings.len()));
    };
    if !is_between_its_parties(entry.kind, posting) {
        return Err(format!("a {} from {:?} to {:?}", entry.kind.as_str(), posting.debit, posting.credit));
    }
    Ok(())
}

/// Whether the money goes the way that its kind says.
pub(crate) fn is_between_its_parties(kind: TransactionKind, posting: &Posting) -> bool {
    match (kind, posting.debit, posting.credit) {
        (TransactionKind::Charge, Party::External, Party::User(_)) => true,
        (TransactionKind::Transfer, Party::User(debit), Party::User(credit)) => debit != credit,
        (TransactionKind::Withdrawal, Party::User(_), Party::External) => true,
        _ => false,
    }
}

impl Shard {
    /// Does what the entry's posting says to the account that pays, which is `user`'s and of this shard. Says where that
    /// account is; `known` does, if somebody knows.
    pub(crate) fn debit(
        &mut self,
        entry: &TransactionEntry<'_>,
        posting: &Posting,
        user: UserId,
        known: Option<Slot>,
        applied: &Applied,
    ) -> Slot {
        let amount = posting.amount.minor();
        let slot = self.slot_kept(user, posting, known);
        let pending = entry.status == Status::Pending;
        let account = self.accounts.note_entry(slot, applied.seq, applied.time);
        if pending {
            account.reserved += amount;
        } else {
            account.total -= amount;
        }
        let sums = self.sums_mut(posting.currency);
        if pending {
            sums.reserved += u128::from(amount);
        } else {
            sums.total -= u128::from(amount);
            match posting.credit {
                Party::User(_) => {}
                Party::External => sums.external += i128::from(amount),
                Party::Suspense => sums.suspense += i128::from(amount),
            }
        }
        let release_at = posting.release_at.filter(|&release_at| release_at > applied.time);
        let record = self.record(entry, posting, slot, Direction::Debit, posting.credit.user(), release_at, applied);
        if entry.kind == TransactionKind::Withdrawal {
            let id = TransactionId::new(applied.seq.get()).expect("the first seq is 1");
            let withdrawal = Withdrawal::reserved(
                id,
                user,
                posting.currency,
                posting.amount,
                entry.destination,
                applied.reference,
                applied.time,
            );
            self.changed.push(id);
            self.withdrawals.insert(id, HeldWithdrawal { withdrawal, record, slot, last_seq: applied.seq });
            self.register.add(id);
        }
        slot
    }

    /// As [`Shard::debit`], to the account that is credited.
    pub(crate) fn credit(
        &mut self,
        entry: &TransactionEntry<'_>,
        posting: &Posting,
        user: UserId,
        known: Option<Slot>,
        applied: &Applied,
    ) -> Slot {
        let amount = posting.amount.minor();
        let slot = self.slot_kept(user, posting, known);
        let release_at = posting.release_at.filter(|&release_at| release_at > applied.time);
        self.accounts.note_entry(slot, applied.seq, applied.time).total += amount;
        if let Some(release_at) = release_at {
            self.accounts.hold(slot, applied.time, amount, release_at);
        }
        let sums = self.sums_mut(posting.currency);
        sums.total += u128::from(amount);
        if let Some(release_at) = release_at {
            sums.holds.add(release_at, amount.into());
        }
        match posting.debit {
            Party::User(_) => {}
            Party::External => sums.external -= i128::from(amount),
            Party::Suspense => sums.suspense -= i128::from(amount),
        }
        self.record(entry, posting, slot, Direction::Credit, posting.debit.user(), release_at, applied);
        slot
    }

    /// Where the account is, opened if it was never used, and set aside for a checkpoint that wants it as it was.
    fn slot_kept(&mut self, user: UserId, posting: &Posting, known: Option<Slot>) -> Slot {
        let slot = known.unwrap_or_else(|| self.slot_opened(user, posting.currency));
        self.keep_account(slot);
        slot
    }

    #[allow(clippy::too_many_arguments, reason = "each is one column of the record")]
    fn record(
        &mut self,
        entry: &TransactionEntry<'_>,
        posting: &Posting,
        slot: Slot,
        direction: Direction,
        counterparty: Option<UserId>,
        release_at: Option<Timestamp>,
        applied: &Applied,
    ) -> super::history::RecordRef {
        let record = NewRecord {
            id: TransactionId::new(applied.seq.get()).expect("the first seq is 1"),
            at: applied.time,
            kind: entry.kind,
            status: entry.status,
            direction,
            amount: posting.amount,
            account: slot,
            counterparty,
            release_at,
            key_hash: applied.key_hash,
            metadata: entry.metadata,
            destination: entry.destination,
            batch: entry.batch.map(|batch| (batch.index, batch.count)),
            last_seq: applied.seq,
        };
        self.history.push(&mut self.accounts.get_mut(slot).list, &record)
    }

    /// Whether a debit of `amount` follows from the account, which is `user`'s and at `slot`, if it was ever used: what
    /// `plan` made sure of, for entries that come from a log.
    ///
    /// # Errors
    /// What does not follow.
    #[inline]
    pub(crate) fn check_debit(
        &self,
        amount: u64,
        user: UserId,
        slot: Option<Slot>,
        time: Timestamp,
    ) -> Result<(), String> {
        let withdrawable = self.parts_of(slot, time).0.withdrawable();
        if withdrawable < amount {
            return Err(format!("a debit of {amount} from user {user}, who has {withdrawable}"));
        }
        Ok(())
    }

    /// As [`Shard::check_debit`], of a credit.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub(crate) fn check_credit(&self, amount: u64, user: UserId, slot: Option<Slot>) -> Result<(), String> {
        let total = slot.map_or(0, |slot| self.accounts.get(slot).total);
        if !has_room_for(total, amount) {
            return Err(format!("a credit of {amount} to user {user}, whose account has no room for it"));
        }
        Ok(())
    }

    /// Whether the entry follows from the withdrawal, which is of this shard.
    ///
    /// # Errors
    /// What does not follow.
    pub(crate) fn check_withdrawal(&self, entry: &WithdrawalEntry<'_>) -> Result<(), String> {
        let withdrawal = &self.withdrawals[&entry.id].withdrawal;
        let same =
            (withdrawal.user, withdrawal.currency, withdrawal.amount) == (entry.user, entry.currency, entry.amount);
        if !same {
            return Err(format!("an entry about withdrawal {} with another user, currency or amount", entry.id));
        }
        let (before, after) = (withdrawal.substatus.reservation(), entry.to.reservation());
        if before != Reservation::Stands && before != after {
            return Err(format!(
                "an entry that takes withdrawal {} from {} to {}",
                entry.id, withdrawal.substatus, entry.to
            ));
        }
        match entry.event {
            Event::Contradicted { posted: true, .. } if after != Reservation::Released || withdrawal.is_paid_late() => {
                Err(format!("a late payment of withdrawal {}, which was paid before", entry.id))
            }
            Event::Returned { .. } if withdrawal.dossier().returned.is_some() => {
                Err(format!("a second return of withdrawal {}", entry.id))
            }
            Event::Returned { credit: ReturnCredit::User, .. } if !self.has_room_for_return(entry.id) => {
                Err(format!("a return of withdrawal {}, for which the account has no room", entry.id))
            }
            Event::Returned { credit, .. } => {
                let fits = match credit {
                    ReturnCredit::User => after == Reservation::Paid,
                    ReturnCredit::Suspense => after == Reservation::Paid || withdrawal.is_paid_late(),
                    ReturnCredit::Nobody => after == Reservation::Released && !withdrawal.is_paid_late(),
                };
                let what = || format!("a return of withdrawal {} to {}", entry.id, credit.as_str());
                if fits { Ok(()) } else { Err(what()) }
            }
            _ => Ok(()),
        }
    }

    /// Whether the account of a withdrawal, which is of this shard, can take its money back, and the shard the
    /// record.
    pub(crate) fn has_room_for_return(&self, id: TransactionId) -> bool {
        let held = &self.withdrawals[&id];
        // While it is open its money is still counted in the account.
        let is_open = held.withdrawal.substatus.is_open();
        let fits = is_open || has_room_for(self.accounts.get(held.slot).total, held.withdrawal.amount.minor());
        fits && self.has_room_for(1)
    }

    /// Does what the entry says to a withdrawal of this shard.
    pub(crate) fn apply_withdrawal(&mut self, entry: &WithdrawalEntry<'_>, seq: Seq, time: Timestamp) {
        self.keep_withdrawal(entry.id);
        self.changed.push(entry.id);
        let held = self.withdrawals.get_mut(&entry.id).expect("a withdrawal's entries follow its reservation");
        let (slot, record, from) = (held.slot, held.record, held.withdrawal.substatus);
        held.withdrawal.apply(entry, seq, time);
        held.last_seq = seq;
        self.register.change(entry.id, from, entry.to);
        let amount = entry.amount.minor();
        let (paid, released) = match (from.reservation(), entry.to.reservation()) {
            (Reservation::Stands, Reservation::Paid) => (amount, 0),
            (Reservation::Stands, Reservation::Released) => (0, amount),
            _ => (0, 0),
        };
        self.history.set_status(record, entry.to.status(), seq);
        if paid + released > 0 {
            self.keep_account(slot);
            self.accounts.fold(slot, time);
            self.accounts.end_reservation(slot, time, paid, released);
            self.accounts.get_mut(slot).set_last_seq(seq);
            let sums = self.sums_mut(entry.currency);
            sums.reserved -= u128::from(paid + released);
            sums.total -= u128::from(paid);
            sums.external += i128::from(paid);
        }
        match entry.event {
            Event::Contradicted { posted, .. } => {
                self.register.add_discrepancy();
                if posted {
                    let sums = self.sums_mut(entry.currency);
                    sums.suspense -= i128::from(amount);
                    sums.external += i128::from(amount);
                }
            }
            Event::Returned { credit, .. } => self.take_back(entry, credit, slot, seq, time),
            _ => {}
        }
    }

    /// What was paid came back.
    fn take_back(&mut self, entry: &WithdrawalEntry<'_>, credit: ReturnCredit, slot: Slot, seq: Seq, time: Timestamp) {
        let id = TransactionId::new(seq.get()).expect("the first seq is 1");
        self.register.add_return(entry.id, (credit == ReturnCredit::User).then_some(id));
        if credit == ReturnCredit::Nobody {
            return;
        }
        let amount = entry.amount.minor();
        let sums = self.sums_mut(entry.currency);
        sums.external -= i128::from(amount);
        if credit == ReturnCredit::Suspense {
            sums.suspense += i128::from(amount);
            return;
        }
        sums.total += u128::from(amount);
        self.keep_account(slot);
        self.accounts.fold(slot, time);
        self.accounts.get_mut(slot).total += amount;
        self.accounts.get_mut(slot).set_last_seq(seq);
        let record = NewRecord {
            id,
            at: time,
            kind: TransactionKind::Return,
            status: Status::Completed,
            direction: Direction::Credit,
            amount: entry.amount,
            account: slot,
            counterparty: None,
            release_at: None,
            key_hash: 0,
            metadata: None,
            destination: None,
            batch: None,
            last_seq: seq,
        };
        self.history.push(&mut self.accounts.get_mut(slot).list, &record);
    }
}
