//! Replaying plain transactions: what a shard does of one side of a charge or a transfer to which nothing is attached. It
//! comes to what [`Shard::debit`] and [`Shard::credit`] come to, without an entry in between: a log has millions of them.

use std::hint::black_box;

use super::account::Slot;
use super::entry::{Party, Posting};
use super::history::NewRecord;
use super::shard::{Shard, TOUCHED_TOGETHER};
use super::slots::Start;
use crate::types::{Amount, Currency, Seq, Timestamp, TransactionId, UserId};
use crate::view::{Direction, Status, TransactionKind};

/// One side of a completed transaction of one posting, of which nothing is kept but what each has: 64 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainSide {
    key_hash: u64,
    time: Timestamp,
    /// Not after `time`: no hold.
    release_at: Timestamp,
    user: UserId,
    /// `user` again, where the other side is none.
    counterparty: UserId,
    amount: Amount,
    currency: Currency,
    pub(crate) number: u32,
    kind: TransactionKind,
    direction: Direction,
    other: Other,
}

/// Who is on the other side: a [`Party`] in one byte.
#[derive(Clone, Copy, Debug)]
enum Other {
    User,
    External,
    Suspense,
}

impl PlainSide {
    /// The side of `user`, whom the posting names where the `direction` says. The `number` is the caller's own.
    #[inline]
    pub(crate) fn new(
        kind: TransactionKind,
        posting: &Posting,
        (user, direction): (UserId, Direction),
        (time, key_hash): (Timestamp, u64),
        number: u32,
    ) -> PlainSide {
        let other = if direction == Direction::Debit { posting.credit } else { posting.debit };
        let (other, counterparty) = match other {
            Party::User(other) => (Other::User, other),
            Party::External => (Other::External, user),
            Party::Suspense => (Other::Suspense, user),
        };
        PlainSide {
            key_hash,
            time,
            release_at: posting.release_at.unwrap_or(Timestamp::MIN),
            user,
            counterparty,
            amount: posting.amount,
            currency: posting.currency,
            number,
            kind,
            direction,
            other,
        }
    }

    /// Whose account it is, and in what.
    pub(crate) const fn account(&self) -> (UserId, Currency) {
        (self.user, self.currency)
    }
}

impl Shard {
    /// Where accounts are, at most [`TOUCHED_TOGETHER`] (`None`: never used). The index's slots, the accounts and the ends
    /// of their lists are brought into the cache, each a miss in a large ledger: one account after the other they would be
    /// waited for, as reads that do not depend on each other they overlap.
    pub(crate) fn find_ahead(
        &self,
        accounts: impl Iterator<Item = (UserId, Currency)> + Clone,
    ) -> [Option<Slot>; TOUCHED_TOGETHER] {
        let (mut starts, mut found) = ([Start::default(); TOUCHED_TOGETHER], [None; TOUCHED_TOGETHER]);
        let mut touched = 0;
        for (start, (user, currency)) in starts.iter_mut().zip(accounts.clone()) {
            *start = self.accounts.start(self.hash(user, currency));
            touched ^= self.accounts.touch(*start);
        }
        black_box(touched);
        for ((found, start), (user, currency)) in found.iter_mut().zip(starts).zip(accounts) {
            *found = self.accounts.find_from(start, user, currency);
        }
        let lists = found.iter().flatten().map(|&slot| self.history.touch(&self.accounts.get(slot).list));
        black_box(lists.fold(0, |sum, tail| sum ^ tail));
        found
    }

    /// Does what the entry `seq` says to the account of this side, which is of this shard. `known` says where that is, if
    /// somebody knows. The shard has room for it.
    ///
    /// # Errors
    /// What does not follow.
    #[inline]
    pub(crate) fn replay_plain(&mut self, side: &PlainSide, known: Option<Slot>, seq: Seq) -> Result<(), String> {
        let PlainSide { user, currency, time, .. } = *side;
        let known = known.or_else(|| self.slot(user, currency));
        let amount = side.amount.minor();
        match side.direction {
            Direction::Debit => self.check_debit(amount, user, known, time)?,
            Direction::Credit => self.check_credit(amount, user, known)?,
        }
        let slot = known.unwrap_or_else(|| self.slot_opened(user, currency));
        self.keep_account(slot);
        let release_at = Some(side.release_at).filter(|&release_at| release_at > time);
        let account = self.accounts.note_entry(slot, seq, time);
        match side.direction {
            Direction::Debit => account.total -= amount,
            Direction::Credit => account.total += amount,
        }
        let sums = self.sums_mut(currency);
        let moved = match side.direction {
            Direction::Debit => {
                sums.total -= u128::from(amount);
                i128::from(amount)
            }
            Direction::Credit => {
                sums.total += u128::from(amount);
                -i128::from(amount)
            }
        };
        match side.other {
            Other::User => {}
            Other::External => sums.external += moved,
            Other::Suspense => sums.suspense += moved,
        }
        if let Some(release_at) = release_at.filter(|_| side.direction == Direction::Credit) {
            sums.holds.add(release_at, amount.into());
            self.accounts.hold(slot, time, amount, release_at);
        }
        let record = NewRecord {
            id: TransactionId::new(seq.get()).expect("the first seq is 1"),
            at: time,
            kind: side.kind,
            status: Status::Completed,
            direction: side.direction,
            amount: side.amount,
            account: slot,
            counterparty: matches!(side.other, Other::User).then_some(side.counterparty),
            release_at,
            key_hash: side.key_hash,
            metadata: None,
            destination: None,
            batch: None,
            last_seq: seq,
        };
        self.history.push(&mut self.accounts.get_mut(slot).list, &record);
        Ok(())
    }
}

const _: () = assert!(size_of::<PlainSide>() == 64);
