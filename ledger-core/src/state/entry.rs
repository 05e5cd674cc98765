//! Entries: immutable decided facts. They hold effects, never requests, so a reader of the log needs no rules.

use smallvec::SmallVec;

use crate::types::{Amount, Currency, Destination, Fingerprint, IdempotencyKey, Metadata, Timestamp, UserId};
use crate::view::{Status, TransactionKind};
use crate::withdrawals::WithdrawalEntry;

/// One immutable decided fact. Its seq and time are the log's, and come beside it.
#[derive(Clone, PartialEq, Debug)]
pub enum Entry<'a> {
    /// A command was accepted.
    Transaction(TransactionEntry<'a>),
    /// Something happened to a withdrawal.
    Withdrawal(WithdrawalEntry<'a>),
}

/// An accepted command with its postings, all or none. The seq of this entry is the transaction's id.
#[derive(Clone, PartialEq, Debug)]
pub struct TransactionEntry<'a> {
    /// What it is.
    pub kind: TransactionKind,
    /// `Completed`: the postings moved their money. `Pending`: they reserved it on the debit's side.
    pub status: Status,
    /// The caller's name for the command.
    pub key: IdempotencyKey<'a>,
    /// What the command said.
    pub fingerprint: Fingerprint,
    /// The movements; one for all kinds so far.
    pub postings: SmallVec<[Posting; 1]>,
    /// Where a withdrawal is paid to.
    pub destination: Option<Destination<'a>>,
    /// The bytes that came with the command.
    pub metadata: Option<Metadata<'a>>,
    /// Where in an atomic batch it stood.
    pub batch: Option<BatchPosition>,
}

impl TransactionEntry<'_> {
    /// The user whose view a reply shows, and whose shard keeps the transaction: the source, or of a charge, the one
    /// charged.
    pub(crate) fn viewer(&self) -> UserId {
        let posting = &self.postings[0];
        posting.debit.user().or(posting.credit.user()).expect("a transaction names at least one user")
    }
}

/// One movement of an amount, from one account to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Posting {
    /// In which currency.
    pub currency: Currency,
    /// How much.
    pub amount: Amount,
    /// Whose account pays.
    pub debit: Party,
    /// Whose account is credited.
    pub credit: Party,
    /// Until when the credit is held. Not after the entry's time: no hold.
    pub release_at: Option<Timestamp>,
}

/// One side of a posting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Party {
    /// A user's account in the posting's currency.
    User(UserId),
    /// The world outside.
    External,
    /// Payouts that turned out paid after they were released.
    Suspense,
}

/// Where the accounts are that the debit and the credit of one posting name, as far as that is known.
pub(crate) type KnownSlots = [Option<super::account::Slot>; 2];

impl Posting {
    /// The users whose accounts it names: of the debit, of the credit.
    pub(crate) const fn users(&self) -> [Option<UserId>; 2] {
        [self.debit.user(), self.credit.user()]
    }
}

impl Party {
    /// The user, where it is one.
    pub const fn user(self) -> Option<UserId> {
        match self {
            Party::User(user) => Some(user),
            Party::External | Party::Suspense => None,
        }
    }
}

/// Where in an atomic batch a transaction stood: it can be told from the log that the whole batch is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchPosition {
    /// Its index, from 0.
    pub index: u32,
    /// How many operations the batch had.
    pub count: u32,
}
