//! An in-memory, lock-sharded double-entry ledger with a write-ahead log.
#![forbid(unsafe_code)]

mod command;
mod commit;
mod error;
mod inspect;
mod journal;
mod ledger;
mod options;
mod recovery;
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
pub use commit::{Commit, CommitFuture};
pub use error::{Error, Halted, OpenError, Rejection};
pub use inspect::{Inspected, Verified, inspect, verify};
pub use ledger::Ledger;
pub use options::Options;
pub use state::{BatchPosition, Entry, Party, Posting, TransactionEntry};
pub use sys::{Clock, DirectoryLock, DirectoryStorage, ReadFrom, Storage, StorageFile, SystemClock};
pub use types::{
    Amount, Currency, Destination, Epoch, Fingerprint, INTEGER_MAX, IdempotencyKey, Metadata, Seq, Timestamp,
    TransactionId, UserId,
};
pub use view::{
    AtomicReceipt, Audit, Balance, CurrencyAudit, Direction, Histogram, Memory, Page, PageStart, Payout, Query,
    Receipt, Stats, Status, Transaction, TransactionKind,
};
#[cfg(any(test, feature = "sim"))]
pub use wal::PlantedBug;
pub use wal::{Durability, WhenFull};
pub use withdrawals::{BankReference, Substatus};
