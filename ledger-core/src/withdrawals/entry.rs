//! What can happen to a withdrawal, as the journal keeps it.

use crate::types::{Amount, Currency, Timestamp, TransactionId, UserId};

/// Something happened to a withdrawal. The effect is decided: `to` says where the withdrawal is now, and with that
/// whether its reservation stands (`reserved`, `submitting`, `accepted`, `unknown`, `needs_review`), left for the bank
/// (`completed`) or was released (`failed`, `cancelled`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WithdrawalEntry<'a> {
    /// Which withdrawal.
    pub id: TransactionId,
    /// Whose account.
    pub user: UserId,
    /// In which currency.
    pub currency: Currency,
    /// How much is reserved for it.
    pub amount: Amount,
    /// What happened.
    pub event: Event,
    /// Where the withdrawal is now.
    pub to: Substatus,
    /// When to look at it again; `None` where nothing is to be done by itself.
    pub due: Option<Timestamp>,
    /// What the bank or the operator said, for people to read: at most 1 KiB of UTF-8.
    pub evidence: &'a str,
}

/// What happened to a withdrawal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Bytes may leave for the bank from now on.
    AttemptStarted {
        /// From 1.
        attempt: u32,
    },
    /// The attempt's outcome.
    AttemptEnded {
        /// From 1.
        attempt: u32,
        /// Its class.
        class: AttemptClass,
    },
    /// The bank was asked what became of the reference.
    Inquired {
        /// What it said.
        answer: InquiryAnswer,
    },
}

/// How an attempt ended, by type, never by text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AttemptClass {
    /// The bank paid.
    Settled,
    /// The bank took it and will tell later.
    Accepted,
    /// A documented, definite refusal.
    Rejected,
    /// Definitely not executed: no connection, or the bank's own "not executed, try again".
    NotSent,
    /// Nobody here knows: a timeout, a reset, a 5xx, an unreadable reply.
    Ambiguous,
}

/// What the bank says of a reference.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum InquiryAnswer {
    /// It was paid.
    Settled,
    /// It was definitely not paid and will not be.
    Failed,
    /// It is under way.
    Pending,
    /// The bank does not know it (never proof that it was not paid: replicas lag).
    NotFound,
    /// The bank cannot be asked, or did not answer.
    Unsupported,
}

/// Where in its life a withdrawal is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Substatus {
    /// Money set aside, no attempt yet (or between attempts that were definitely not executed).
    Reserved,
    /// An attempt is under way.
    Submitting,
    /// The bank took it and will tell later.
    Accepted,
    /// An attempt may have paid; the bank will be asked.
    Unknown,
    /// Only a person can tell.
    NeedsReview,
    /// Paid.
    Completed,
    /// Definitely not paid; released.
    Failed,
    /// Given up before the first attempt; released.
    Cancelled,
    /// Paid, and the money came back as a new credit.
    Returned,
}
