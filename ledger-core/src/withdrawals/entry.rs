//! What can happen to a withdrawal, as the journal keeps it.

use std::fmt;

use crate::types::{Amount, Currency, Fingerprint, IdempotencyKey, Operator, Timestamp, TransactionId, UserId};
use crate::view::Status;

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
    /// Who said it, where it was an operator.
    pub operator: Option<Operator<'a>>,
    /// The key of the command that this is, and the hash of what it said. Kept only where it was done: a discrepancy does
    /// not use its key up.
    pub command: Option<(IdempotencyKey<'a>, Fingerprint)>,
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
    /// The bank was asked for as long as the policy allows, and never told.
    DeadlinePassed,
    /// It was given up before its first attempt.
    Cancelled,
    /// An operator decided.
    Resolved {
        /// How.
        outcome: Resolution,
    },
    /// The bank told something by itself.
    Noticed {
        /// What.
        outcome: NoticeOutcome,
        /// When it happened, by the bank's clock.
        occurred_at: Timestamp,
    },
    /// The bank told that what it had paid came back.
    Returned {
        /// Who has the money now.
        credit: ReturnCredit,
        /// When it happened, by the bank's clock.
        occurred_at: Timestamp,
    },
    /// After its end somebody said that it ended otherwise: a discrepancy, for a person to look at.
    Contradicted {
        /// Who said what.
        said: Said,
        /// What that says of the money: `Paid` after a release, `Released` after a payment, `Stands` where the bank may
        /// yet pay what was released.
        says: Reservation,
        /// Whether the payment is posted from suspense to the world outside: the user has spent the money, or may.
        posted: bool,
    },
    /// The log may lack what was done since, as after a restore: it counts as attempted.
    Doubted,
}

/// How an operator decides.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Resolution {
    /// The bank paid.
    Completed,
    /// The bank did not pay, and will not.
    Failed,
}

/// What the bank tells by itself of a reference.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NoticeOutcome {
    /// It was paid.
    Settled,
    /// It was definitely not paid and will not be.
    Failed,
    /// It is under way.
    Pending,
    /// It was paid, and the money came back.
    Returned,
}

/// Who has the money of a payment that came back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReturnCredit {
    /// The user, by a transaction of its own: its id is the entry's seq.
    User,
    /// Suspense: the account has no room, or the payment was posted from there.
    Suspense,
    /// Nobody: the payment was never recorded, so nor is its return.
    Nobody,
}

/// Who said something of a withdrawal, and what.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Said {
    /// An attempt ended.
    Attempt {
        /// From 1.
        attempt: u32,
        /// Its class.
        class: AttemptClass,
    },
    /// The bank answered an inquiry.
    Inquiry {
        /// What it said.
        answer: InquiryAnswer,
    },
    /// The bank told by itself.
    Notice {
        /// What it told.
        outcome: NoticeOutcome,
    },
    /// An operator.
    Operator {
        /// How he wanted to decide.
        outcome: Resolution,
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
    /// The bank cannot be asked.
    Unsupported,
    /// The bank can be asked, but did not answer this time: ask again.
    Unanswered,
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

/// What a substatus means for the money that was set aside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Reservation {
    /// It stays reserved.
    Stands,
    /// It left for the bank.
    Paid,
    /// It is the user's to spend again.
    Released,
}

impl Event {
    /// The word: `attempt_started`, `attempt_ended`, `inquired`, `deadline_passed`, `cancelled`, `resolved`, `noticed`,
    /// `returned`, `contradicted` or `doubted`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Event::AttemptStarted { .. } => "attempt_started",
            Event::AttemptEnded { .. } => "attempt_ended",
            Event::Inquired { .. } => "inquired",
            Event::DeadlinePassed => "deadline_passed",
            Event::Cancelled => "cancelled",
            Event::Resolved { .. } => "resolved",
            Event::Noticed { .. } => "noticed",
            Event::Returned { .. } => "returned",
            Event::Contradicted { .. } => "contradicted",
            Event::Doubted => "doubted",
        }
    }
}

impl Resolution {
    /// Both, in the order of their declaration.
    pub const ALL: [Resolution; 2] = [Resolution::Completed, Resolution::Failed];

    /// The word: `completed` or `failed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Resolution::Completed => "completed",
            Resolution::Failed => "failed",
        }
    }

    /// What it says of the money.
    pub const fn says(self) -> Reservation {
        match self {
            Resolution::Completed => Reservation::Paid,
            Resolution::Failed => Reservation::Released,
        }
    }
}

impl NoticeOutcome {
    /// Every outcome, in the order of their declaration.
    pub const ALL: [NoticeOutcome; 4] =
        [NoticeOutcome::Settled, NoticeOutcome::Failed, NoticeOutcome::Pending, NoticeOutcome::Returned];

    /// The word: `settled`, `failed`, `pending` or `returned`.
    pub const fn as_str(self) -> &'static str {
        match self {
            NoticeOutcome::Settled => "settled",
            NoticeOutcome::Failed => "failed",
            NoticeOutcome::Pending => "pending",
            NoticeOutcome::Returned => "returned",
        }
    }
}

impl ReturnCredit {
    /// The word: `user`, `suspense` or `nobody`.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReturnCredit::User => "user",
            ReturnCredit::Suspense => "suspense",
            ReturnCredit::Nobody => "nobody",
        }
    }
}

impl Said {
    /// Who said it: `attempt`, `inquiry`, `notice` or `operator`.
    pub const fn by(self) -> &'static str {
        match self {
            Said::Attempt { .. } => "attempt",
            Said::Inquiry { .. } => "inquiry",
            Said::Notice { .. } => "notice",
            Said::Operator { .. } => "operator",
        }
    }

    /// The word that was said: of a class, an answer, a notice or a resolution.
    pub const fn as_str(self) -> &'static str {
        match self {
            Said::Attempt { class, .. } => class.as_str(),
            Said::Inquiry { answer } => answer.as_str(),
            Said::Notice { outcome } => outcome.as_str(),
            Said::Operator { outcome } => outcome.as_str(),
        }
    }
}

impl Reservation {
    /// The word: `stands`, `paid` or `released`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Reservation::Stands => "stands",
            Reservation::Paid => "paid",
            Reservation::Released => "released",
        }
    }
}

impl AttemptClass {
    /// Every class, in the order of their declaration.
    pub const ALL: [AttemptClass; 5] = [
        AttemptClass::Settled,
        AttemptClass::Accepted,
        AttemptClass::Rejected,
        AttemptClass::NotSent,
        AttemptClass::Ambiguous,
    ];

    /// The word: `settled`, `accepted`, `rejected`, `not_sent` or `ambiguous`.
    pub const fn as_str(self) -> &'static str {
        match self {
            AttemptClass::Settled => "settled",
            AttemptClass::Accepted => "accepted",
            AttemptClass::Rejected => "rejected",
            AttemptClass::NotSent => "not_sent",
            AttemptClass::Ambiguous => "ambiguous",
        }
    }
}

impl InquiryAnswer {
    /// Every answer, in the order of their declaration.
    pub const ALL: [InquiryAnswer; 6] = [
        InquiryAnswer::Settled,
        InquiryAnswer::Failed,
        InquiryAnswer::Pending,
        InquiryAnswer::NotFound,
        InquiryAnswer::Unsupported,
        InquiryAnswer::Unanswered,
    ];

    /// The word: `settled`, `failed`, `pending`, `not_found`, `unsupported` or `unanswered`.
    pub const fn as_str(self) -> &'static str {
        match self {
            InquiryAnswer::Settled => "settled",
            InquiryAnswer::Failed => "failed",
            InquiryAnswer::Pending => "pending",
            InquiryAnswer::NotFound => "not_found",
            InquiryAnswer::Unsupported => "unsupported",
            InquiryAnswer::Unanswered => "unanswered",
        }
    }
}

impl Substatus {
    /// Every substatus, in the order of their declaration.
    pub const ALL: [Substatus; 9] = [
        Substatus::Reserved,
        Substatus::Submitting,
        Substatus::Accepted,
        Substatus::Unknown,
        Substatus::NeedsReview,
        Substatus::Completed,
        Substatus::Failed,
        Substatus::Cancelled,
        Substatus::Returned,
    ];

    /// The word: `reserved`, `submitting`, `accepted`, `unknown`, `needs_review`, `completed`, `failed`, `cancelled` or
    /// `returned`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Substatus::Reserved => "reserved",
            Substatus::Submitting => "submitting",
            Substatus::Accepted => "accepted",
            Substatus::Unknown => "unknown",
            Substatus::NeedsReview => "needs_review",
            Substatus::Completed => "completed",
            Substatus::Failed => "failed",
            Substatus::Cancelled => "cancelled",
            Substatus::Returned => "returned",
        }
    }

    /// What it means for the money that was set aside.
    pub const fn reservation(self) -> Reservation {
        match self {
            Substatus::Reserved
            | Substatus::Submitting
            | Substatus::Accepted
            | Substatus::Unknown
            | Substatus::NeedsReview => Reservation::Stands,
            Substatus::Completed | Substatus::Returned => Reservation::Paid,
            Substatus::Failed | Substatus::Cancelled => Reservation::Released,
        }
    }

    /// The public status: a withdrawal in review is pending, a cancelled one failed, a returned one completed.
    pub const fn status(self) -> Status {
        match self.reservation() {
            Reservation::Stands => Status::Pending,
            Reservation::Paid => Status::Completed,
            Reservation::Released => Status::Failed,
        }
    }

    /// Whether the withdrawal's fate is open: its money is still reserved.
    pub const fn is_open(self) -> bool {
        matches!(self.reservation(), Reservation::Stands)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for AttemptClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for InquiryAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Substatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_the_word_and_takes_the_room_that_it_is_given() {
        let shown = [
            format!("{:>8}", Event::DeadlinePassed),
            format!("{:<12}|", AttemptClass::Rejected),
            format!("{:^11}", InquiryAnswer::Settled),
            format!("{:.3}", Substatus::NeedsReview),
        ];
        assert_eq!(shown, ["deadline_passed", "rejected    |", "  settled  ", "nee"]);
        assert_eq!(Event::DeadlinePassed.to_string(), Event::DeadlinePassed.as_str());
    }
}
