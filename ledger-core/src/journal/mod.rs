//! The typed history: what happened ([`entry`]) and how it lies in bytes ([`codec`]). The only place that knows both
//! money and the log.

pub(crate) mod codec;
mod entry;

pub use entry::{BatchPosition, Entry, Party, Posting, TransactionEntry};
