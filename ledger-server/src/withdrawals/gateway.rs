//! What the ledger asks of a bank.

use std::future::Future;
use std::time::Duration;

use ledger_core::withdrawals::{Attempt, BankReference, Inquiry, Submission, Withdrawal};
use ledger_core::{Amount, Currency, UserId};

/// A bank. Every outcome is classified here, by type and never by text: what a gateway calls *rejected* or *not sent*
/// must be certain not to have been executed, and not to be executed later; everything else it cannot read is
/// *ambiguous*.
pub trait Gateway: Send + Sync + 'static {
    /// Asks the bank to pay. Called only once the log says, durably, that this attempt was started. It may be cancelled
    /// at any point (after the executor's timeout, or at a stop); the attempt then counts as ambiguous.
    fn submit(&self, payout: &Payout) -> impl Future<Output = Submission> + Send;

    /// Asks the bank what became of a payout, by its reference. A call that fails is *unanswered*, and so must be an
    /// answer that is about another amount or currency; *unsupported* says that this bank can never be asked.
    fn inquire(&self, payout: &Payout) -> impl Future<Output = Inquiry> + Send;

    /// For how long after the first attempt the bank recognises a repeat of a reference, less the longest time that a
    /// request can be under way; `None`: it does not. Goes into the ledger's [`ledger_core::withdrawals::Policy`].
    fn idempotency_window(&self) -> Option<Duration>;
}

/// A withdrawal as the bank is told of it, in an attempt or a question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payout {
    /// The same for every attempt.
    pub reference: BankReference,
    /// Whose money.
    pub user: UserId,
    /// In which currency.
    pub currency: Currency,
    /// How much.
    pub amount: Amount,
    /// Where to, where the caller said.
    pub destination: Option<Box<str>>,
    /// How many attempts were started, this one included.
    pub attempt: u32,
    /// Whether an earlier attempt may have paid. Then another one repeats it, and is safe only where the bank recognises a
    /// repeat. It may be the first that the log knows, as after a restore.
    pub is_repeat: bool,
}

impl From<Withdrawal> for Payout {
    fn from(withdrawal: Withdrawal) -> Payout {
        Payout {
            reference: withdrawal.reference,
            user: withdrawal.user,
            currency: withdrawal.currency,
            amount: withdrawal.amount,
            destination: withdrawal.destination,
            attempt: withdrawal.attempts,
            is_repeat: withdrawal.maybe_paid,
        }
    }
}

impl From<Attempt> for Payout {
    fn from(attempt: Attempt) -> Payout {
        let Attempt { number, withdrawal } = attempt;
        Payout { attempt: number, ..Payout::from(withdrawal) }
    }
}
