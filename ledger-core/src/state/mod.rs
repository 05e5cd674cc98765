//! The deterministic state: no I/O, no clock, no randomness, no threads. The same entries in the same order give the
//! same state. `plan` decides and changes nothing; `apply` changes and cannot fail.

pub(crate) mod account;
pub(crate) mod apply;
pub(crate) mod arena;
pub(crate) mod audit;
pub(crate) mod cut;
mod entry;
pub(crate) mod history;
pub(crate) mod holds;
pub(crate) mod idempotency;
pub(crate) mod locator;
pub(crate) mod plain;
pub(crate) mod plan;
pub(crate) mod register;
pub(crate) mod replayed;
mod restore;
pub(crate) mod shard;
pub(crate) mod slots;

pub(crate) use entry::KnownSlots;
pub use entry::{BatchPosition, Entry, Party, Posting, TransactionEntry};
