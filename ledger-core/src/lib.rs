//! An in-memory, lock-sharded double-entry ledger with a write-ahead log.
#![forbid(unsafe_code)]

mod command;
mod error;
mod journal;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod state;
mod sync;
mod sys;
mod types;
mod view;
mod wal;
pub mod withdrawals;

pub use command::{Charge, Command, Transfer, Withdraw};
pub use error::{Error, Halted, OpenError, Rejection};
pub use journal::{BatchPosition, Entry, Party, Posting, TransactionEntry};
pub use sys::{Clock, DirectoryLock, DirectoryStorage, ReadFrom, Storage, StorageFile, SystemClock};
pub use types::{
    Amount, Currency, Destination, Epoch, Fingerprint, INTEGER_MAX, IdempotencyKey, Metadata, Seq, Timestamp,
    TransactionId, UserId,
};
pub use view::{
    Audit, Balance, CurrencyAudit, Direction, Page, PageStart, Payout, Query, Receipt, Status, Transaction,
    TransactionKind,
};
pub use withdrawals::{BankReference, Substatus};
