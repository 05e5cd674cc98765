//! The facade: open, ask, close.

use std::path::Path;
use std::time::Duration;

use uuid::Uuid;

use crate::command::{Charge, Command, Transfer, Withdraw};
use crate::commit::Commit;
use crate::error::{Error, Halted, OpenError, Rejection};
use crate::options::Options;
use crate::sync::Arc;
use crate::sys::Storage;
use crate::types::{Currency, Epoch, IdempotencyKey, Seq, Timestamp, TransactionId, UserId};
use crate::view::{AtomicReceipt, Audit, Balance, Page, Query, Receipt, Stats, Transaction};
use crate::withdrawals::{Attempt, Due, Inquiry, Submission, Substatus, Withdrawal};

/// An open ledger. Clones are handles to the same one.
#[derive(Clone)]
pub struct Ledger {}

#[allow(unused_variables, missing_docs, clippy::unimplemented)]
impl Ledger {
    /// Opens the ledger in the directory `path` with the default options, creating it where there is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Ledger, OpenError> {
        Options::default().open(path)
    }
    pub fn options() -> Options {
        Options::default()
    }
    pub(crate) fn recover(options: Options, storage: Arc<dyn Storage>) -> Result<Ledger, OpenError> {
        unimplemented!()
    }
    pub(crate) fn without_log(options: Options) -> Result<Ledger, OpenError> {
        unimplemented!()
    }

    // Commands. Outer Err: known at once. A rejection that depends on entries in flight comes out of the commit.
    pub fn charge(&self, charge: Charge<'_>) -> Result<Commit<Receipt>, Error> {
        unimplemented!()
    }
    pub fn transfer(&self, transfer: Transfer<'_>) -> Result<Commit<Receipt>, Error> {
        unimplemented!()
    }
    pub fn withdraw(&self, withdraw: Withdraw<'_>) -> Result<Commit<Receipt>, Error> {
        unimplemented!()
    }
    pub fn submit(&self, command: Command<'_>) -> Result<Commit<Receipt>, Error> {
        unimplemented!()
    }
    /// Independent commands, one wait; results in the order of the commands. Same key twice: the second is a repeat.
    pub fn batch(&self, commands: &[Command<'_>]) -> Result<Commit<Vec<Result<Receipt, Rejection>>>, Error> {
        unimplemented!()
    }
    /// All or none. Rejected with `BatchRejected { index, .. }` (or BatchTooLarge, StorageFull, Overloaded, ...).
    pub fn batch_atomic(&self, commands: &[Command<'_>]) -> Result<Commit<AtomicReceipt>, Error> {
        unimplemented!()
    }

    // Reads. Zeros for an account never used.
    pub fn balance(&self, user: UserId, currency: Currency) -> Result<Commit<Balance>, Error> {
        unimplemented!()
    }
    /// Past or future: money as recorded by then, holds as matured by then.
    pub fn balance_at(&self, user: UserId, currency: Currency, at: Timestamp) -> Result<Commit<Balance>, Error> {
        unimplemented!()
    }
    pub fn transactions(&self, query: &Query) -> Result<Commit<Page>, Error> {
        unimplemented!()
    }
    /// `viewer`: None = the source user's view (of a charge, the credited user's); Some(other) = None if not a party.
    pub fn transaction(&self, id: TransactionId, viewer: Option<UserId>) -> Result<Commit<Option<Transaction>>, Error> {
        unimplemented!()
    }
    pub fn transaction_by_key(&self, key: IdempotencyKey<'_>) -> Result<Commit<Option<Transaction>>, Error> {
        unimplemented!()
    }
    pub fn audit(&self) -> Result<Commit<Audit>, Error> {
        unimplemented!()
    }
    pub fn audit_deep(&self) -> Result<Commit<Audit>, Error> {
        unimplemented!()
    }

    // Withdrawals, for an executor.
    pub fn withdrawal(&self, id: TransactionId) -> Result<Commit<Option<Withdrawal>>, Error> {
        unimplemented!()
    }
    /// Takes up to `max` open withdrawals whose time has come out of the due queue, earliest first: `fresh` ones (no
    /// attempt yet and accepted by this process, so holding a place) or the others (retries, inquiries, resumed work).
    /// Each is handed out once until its next change; hand it back with `defer_withdrawal` if it cannot be done now.
    pub fn due_withdrawals(&self, fresh: bool, max: usize) -> Vec<Due> {
        unimplemented!()
    }
    pub fn defer_withdrawal(&self, id: TransactionId, until: Timestamp) {
        unimplemented!()
    }
    /// How long until the next withdrawal is due; `None`: nothing is.
    pub fn next_due_in(&self) -> Option<Duration> {
        unimplemented!()
    }
    /// Called (from any thread, must be quick) whenever a withdrawal may have become due earlier than told before.
    pub fn on_withdrawal_due(&self, notify: impl Fn() + Send + Sync + 'static) {
        unimplemented!()
    }
    /// Logs "attempt n started"; the commit waits for the disk in every durability mode. Only then may a byte leave.
    pub fn start_attempt(&self, id: TransactionId) -> Result<Commit<Attempt>, Error> {
        unimplemented!()
    }
    pub fn end_attempt(
        &self,
        id: TransactionId,
        attempt: u32,
        outcome: &Submission,
    ) -> Result<Commit<Substatus>, Error> {
        unimplemented!()
    }
    pub fn record_inquiry(&self, id: TransactionId, outcome: &Inquiry) -> Result<Commit<Substatus>, Error> {
        unimplemented!()
    }

    // The ledger itself.
    pub fn stats(&self) -> Stats {
        unimplemented!()
    }
    pub fn halted(&self) -> Option<Halted> {
        unimplemented!()
    }
    pub fn durable(&self) -> Seq {
        unimplemented!()
    }
    pub fn appended(&self) -> Seq {
        unimplemented!()
    }
    pub fn uuid(&self) -> Uuid {
        unimplemented!()
    }
    pub fn epoch(&self) -> Epoch {
        unimplemented!()
    }
    /// The ledger's time now.
    pub fn now(&self) -> Timestamp {
        unimplemented!()
    }
    /// How far the wall clock has stepped ahead and is not believed; None: all is well.
    pub fn clock_leap(&self) -> Option<Duration> {
        unimplemented!()
    }
    pub fn accept_clock(&self) {
        unimplemented!()
    }
    /// Refuses new commands (Rejection::ShuttingDown), syncs all, writes the closing frame.
    pub fn close(&self) -> Result<(), Error> {
        unimplemented!()
    }
}
