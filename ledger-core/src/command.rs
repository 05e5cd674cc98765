//! What a caller can ask for: charges, transfers and withdrawals. A command borrows its texts, so that a batch of
//! thousands allocates nothing.

use crate::types::{
    Amount, Currency, Destination, Evidence, IdempotencyKey, Metadata, Operator, Timestamp, TransactionId, UserId,
};
use crate::withdrawals::{BankReference, NoticeOutcome, Resolution};

/// Credit a user's account from the world outside.
#[derive(Clone, Copy, Debug)]
pub struct Charge<'a> {
    /// Who is credited.
    pub user: UserId,
    /// How much.
    pub amount: Amount,
    /// The caller's name for this command.
    pub key: IdempotencyKey<'a>,
    /// In which currency; `USD` unless set.
    pub currency: Currency,
    /// Until when the money is held: in `total` at once, `withdrawable` from then on. One in the past is no hold.
    pub release_at: Option<Timestamp>,
    /// Opaque bytes to keep with the transaction.
    pub metadata: Option<Metadata<'a>>,
}

/// Move money from one user to another.
#[derive(Clone, Copy, Debug)]
pub struct Transfer<'a> {
    /// Who pays, out of `withdrawable`.
    pub from: UserId,
    /// Who is credited; not the same user.
    pub to: UserId,
    /// How much.
    pub amount: Amount,
    /// The caller's name for this command.
    pub key: IdempotencyKey<'a>,
    /// In which currency; `USD` unless set.
    pub currency: Currency,
    /// Until when the credited money is held. One in the past is no hold.
    pub release_at: Option<Timestamp>,
    /// Opaque bytes to keep with the transaction.
    pub metadata: Option<Metadata<'a>>,
}

/// Reserve money for a payout by the bank.
#[derive(Clone, Copy, Debug)]
pub struct Withdraw<'a> {
    /// Who is paid out, from `withdrawable`.
    pub user: UserId,
    /// How much.
    pub amount: Amount,
    /// The caller's name for this command.
    pub key: IdempotencyKey<'a>,
    /// In which currency; `USD` unless set.
    pub currency: Currency,
    /// Where the bank pays to.
    pub destination: Option<Destination<'a>>,
    /// Opaque bytes to keep with the transaction.
    pub metadata: Option<Metadata<'a>>,
}

/// Give a withdrawal up before its first attempt.
#[derive(Clone, Copy, Debug)]
pub struct CancelWithdrawal<'a> {
    /// Which.
    pub id: TransactionId,
    /// The caller's name for this command. It names the withdrawal's transaction from then on.
    pub key: IdempotencyKey<'a>,
}

/// Decide a withdrawal whose fate the bank does not tell.
#[derive(Clone, Copy, Debug)]
pub struct ResolveWithdrawal<'a> {
    /// Which.
    pub id: TransactionId,
    /// How.
    pub outcome: Resolution,
    /// What the operator goes by.
    pub evidence: Evidence<'a>,
    /// Who decides.
    pub operator: Operator<'a>,
    /// The caller's name for this command. It names the withdrawal's transaction from then on.
    pub key: IdempotencyKey<'a>,
}

/// What a bank tells by itself. A repeat changes nothing, so it needs no key.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// Of which withdrawal.
    pub reference: BankReference,
    /// What.
    pub outcome: NoticeOutcome,
    /// When it happened, by the bank's clock.
    pub occurred_at: Timestamp,
    /// What the bank said, for people to read; cut to 1 KiB.
    pub evidence: &'a str,
}

/// Any of the commands, for batches.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// See [`Charge`].
    Charge(Charge<'a>),
    /// See [`Transfer`].
    Transfer(Transfer<'a>),
    /// See [`Withdraw`].
    Withdraw(Withdraw<'a>),
}

impl<'a> Charge<'a> {
    /// Credits `user` with `amount` of `USD`, to be spent at once.
    pub fn new(user: UserId, amount: Amount, key: IdempotencyKey<'a>) -> Charge<'a> {
        Charge { user, amount, key, currency: Currency::USD, release_at: None, metadata: None }
    }

    /// In `currency`.
    #[must_use]
    pub fn currency(self, currency: Currency) -> Charge<'a> {
        Charge { currency, ..self }
    }

    /// Held until `release_at`.
    #[must_use]
    pub fn release_at(self, release_at: Timestamp) -> Charge<'a> {
        Charge { release_at: Some(release_at), ..self }
    }

    /// With `metadata` attached.
    #[must_use]
    pub fn metadata(self, metadata: Metadata<'a>) -> Charge<'a> {
        Charge { metadata: Some(metadata), ..self }
    }
}

impl<'a> Transfer<'a> {
    /// Moves `amount` of `USD` from one user to the other, to be spent at once.
    pub fn new(from: UserId, to: UserId, amount: Amount, key: IdempotencyKey<'a>) -> Transfer<'a> {
        Transfer { from, to, amount, key, currency: Currency::USD, release_at: None, metadata: None }
    }

    /// In `currency`.
    #[must_use]
    pub fn currency(self, currency: Currency) -> Transfer<'a> {
        Transfer { currency, ..self }
    }

    /// The credit held until `release_at`.
    #[must_use]
    pub fn release_at(self, release_at: Timestamp) -> Transfer<'a> {
        Transfer { release_at: Some(release_at), ..self }
    }

    /// With `metadata` attached.
    #[must_use]
    pub fn metadata(self, metadata: Metadata<'a>) -> Transfer<'a> {
        Transfer { metadata: Some(metadata), ..self }
    }
}

impl<'a> Withdraw<'a> {
    /// Reserves `amount` of `USD` for a payout to `user`.
    pub fn new(user: UserId, amount: Amount, key: IdempotencyKey<'a>) -> Withdraw<'a> {
        Withdraw { user, amount, key, currency: Currency::USD, destination: None, metadata: None }
    }

    /// In `currency`.
    #[must_use]
    pub fn currency(self, currency: Currency) -> Withdraw<'a> {
        Withdraw { currency, ..self }
    }

    /// To be paid to `destination`.
    #[must_use]
    pub fn destination(self, destination: Destination<'a>) -> Withdraw<'a> {
        Withdraw { destination: Some(destination), ..self }
    }

    /// With `metadata` attached.
    #[must_use]
    pub fn metadata(self, metadata: Metadata<'a>) -> Withdraw<'a> {
        Withdraw { metadata: Some(metadata), ..self }
    }
}

impl<'a> From<Charge<'a>> for Command<'a> {
    fn from(charge: Charge<'a>) -> Command<'a> {
        Command::Charge(charge)
    }
}

impl<'a> From<Transfer<'a>> for Command<'a> {
    fn from(transfer: Transfer<'a>) -> Command<'a> {
        Command::Transfer(transfer)
    }
}

impl<'a> From<Withdraw<'a>> for Command<'a> {
    fn from(withdraw: Withdraw<'a>) -> Command<'a> {
        Command::Withdraw(withdraw)
    }
}
