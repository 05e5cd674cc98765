//! Deciding: reads the state, says yes or no, changes nothing.

use smallvec::SmallVec;

use super::account::has_room_for;
use super::entry::{Party, Posting, TransactionEntry};
use crate::command::Command;
use crate::error::Rejection;
use crate::types::{Amount, Currency, Fingerprint, Timestamp, UserId};
use crate::view::{Status, TransactionKind};

/// A command's money, without what makes it a charge, a transfer or a withdrawal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Movement {
    pub(crate) currency: Currency,
    pub(crate) amount: Amount,
    /// Whose withdrawable balance pays.
    pub(crate) debit: Option<UserId>,
    /// Whose total grows.
    pub(crate) credit: Option<UserId>,
    pub(crate) release_at: Option<Timestamp>,
}

impl Movement {
    pub(crate) fn of(command: &Command<'_>) -> Movement {
        match *command {
            Command::Charge(c) => Movement {
                currency: c.currency,
                amount: c.amount,
                debit: None,
                credit: Some(c.user),
                release_at: c.release_at,
            },
            Command::Transfer(t) => Movement {
                currency: t.currency,
                amount: t.amount,
                debit: Some(t.from),
                credit: Some(t.to),
                release_at: t.release_at,
            },
            Command::Withdraw(w) => {
                Movement { currency: w.currency, amount: w.amount, debit: Some(w.user), credit: None, release_at: None }
            }
        }
    }

    /// The user whose view a reply shows: the source, or of a charge, the one charged.
    pub(crate) fn viewer(&self) -> UserId {
        self.debit.or(self.credit).expect("a command names at least one user")
    }
}

/// Decides a movement, from what is withdrawable of the account that pays, at the time to plan with, and from the total of the
/// one that is credited. What is accepted here becomes the entry that [`entry_of`] says.
///
/// # Errors
/// The first reason to say no, in the order of [`Rejection`].
#[inline]
pub(crate) fn plan(movement: &Movement, withdrawable: Option<u64>, total: Option<u64>) -> Result<(), Rejection> {
    let amount = movement.amount.minor();
    if let Some(withdrawable) = withdrawable
        && withdrawable < amount
    {
        return Err(Rejection::InsufficientBalance { withdrawable });
    }
    if let Some(total) = total
        && !has_room_for(total, amount)
    {
        return Err(Rejection::BalanceOverflow);
    }
    // Past here nothing may fail: replay applies without deciding again.
    Ok(())
}

/// The entry of a command that was accepted at `now`, whose money `movement` is.
#[inline]
pub(crate) fn entry_of<'a>(
    command: &Command<'a>,
    movement: &Movement,
    fingerprint: Fingerprint,
    now: Timestamp,
) -> TransactionEntry<'a> {
    let (kind, status, key, destination, metadata) = match *command {
        Command::Charge(c) => (TransactionKind::Charge, Status::Completed, c.key, None, c.metadata),
        Command::Transfer(t) => (TransactionKind::Transfer, Status::Completed, t.key, None, t.metadata),
        Command::Withdraw(w) => (TransactionKind::Withdrawal, Status::Pending, w.key, w.destination, w.metadata),
    };
    let posting = Posting {
        currency: movement.currency,
        amount: movement.amount,
        debit: movement.debit.map_or(Party::External, Party::User),
        credit: movement.credit.map_or(Party::External, Party::User),
        release_at: movement.release_at.filter(|&release_at| release_at > now),
    };
    TransactionEntry {
        kind,
        status,
        key,
        fingerprint,
        postings: SmallVec::from_buf([posting]),
        destination,
        metadata,
        batch: None,
    }
}
