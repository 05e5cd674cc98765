//! An in-memory, lock-sharded double-entry ledger with a write-ahead log.
//!
//! Every account is kept in memory, every accepted change in an append-only log in one directory. A command is decided at
//! once and acknowledged when its entry is durable:
//!
//! ```
//! use ledger_core::{Amount, Charge, IdempotencyKey, Ledger, Transfer, UserId};
//!
//! # let directory = tempfile::tempdir()?;
//! let ledger = Ledger::open(directory.path())?;
//! let (alice, bob) = (UserId::new(1).unwrap(), UserId::new(2).unwrap());
//! let key = |key| IdempotencyKey::new(key).unwrap();
//! let cents = |cents| Amount::new(cents).unwrap();
//!
//! ledger.charge(Charge::new(alice, cents(1_000), key("charge-1")))?.wait()?;
//! let receipt = ledger.transfer(Transfer::new(alice, bob, cents(300), key("transfer-1")))?.wait()?;
//! assert_eq!(receipt.balance.withdrawable, 700);
//! assert!(ledger.audit()?.wait()?.is_balanced());
//! ledger.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In reading order: [`Charge`], [`Transfer`] and [`Withdraw`] say what is asked; [`Ledger`] is asked, with [`Options`] to
//! open it; a [`Commit`] is an answer on its way; [`Balance`], [`Transaction`] and [`Audit`] are what is answered,
//! [`Rejection`] and [`Halted`] how it says no. [`withdrawals`] is how a payout lives, for who brings a bank of their own;
//! [`CancelWithdrawal`], [`ResolveWithdrawal`] and [`Notice`] are what owners, operators and banks say of one.
//! [`verify`] and [`inspect`] read a directory without opening it. `Storage` and `Clock` are where the disk and time come from.
#![forbid(unsafe_code)]

mod ahead;
mod backup;
mod checkpoint;
mod command;
mod commit;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod inspect;
mod journal;
mod ledger;
mod mirror;
mod options;
mod recovery;
mod salvage;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod state;
mod sync;
mod sys;
mod types;
mod view;
mod wal;
pub mod withdrawals;

pub use backup::{Backup, RestoreTo, backup, is_executor_stopped, release_executor, restore};
#[cfg(any(test, feature = "sim"))]
pub use backup::{Beside, backup_beside, restore_with};
pub use checkpoint::{Checkpoint, CheckpointError};
pub use command::{CancelWithdrawal, Charge, Command, Notice, ResolveWithdrawal, Transfer, Withdraw};
pub use commit::{Commit, CommitFuture};
pub use error::{Error, Halted, OpenError, Rejection};
pub use inspect::{Inspected, Verified, inspect, is_there, verify, verify_since, verify_storage};
pub use ledger::{Checkpoints, Ledger};
pub use mirror::{MirroredStorage, OnSideFailure};
pub use options::Options;
pub use recovery::{Phase, Progress, Recovered};
pub use salvage::{GivenUp, Salvaged, salvage, salvage_on};
#[cfg(any(test, feature = "sim"))]
pub use sim::PlantedBug;
pub use state::{BatchPosition, Entry, Party, Posting, TransactionEntry};
pub use sys::{Clock, DirectoryLock, DirectoryStorage, ReadFrom, Storage, StorageFile, SystemClock};
pub use types::{
    Amount, Currency, Destination, Epoch, Evidence, Fingerprint, Head, INTEGER_MAX, IdempotencyKey, Metadata, NoHead,
    Operator, Seq, Timestamp, TransactionId, UserId,
};
pub use view::{
    AtomicReceipt, Audit, Balance, CurrencyAudit, Direction, Histogram, Memory, NoticeChange, Noticed, Page, PageStart,
    Payout, Query, Receipt, Stats, Status, Transaction, TransactionKind, WithdrawalFigures, WithdrawalPage,
    WithdrawalQuery,
};
pub use wal::{Durability, WhenFull};
pub use withdrawals::{BankReference, Substatus};
