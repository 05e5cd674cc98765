//! The typed history: entries as bytes in the log, and the state as bytes in snapshots. The only place that knows both money
//! and its files.

pub(crate) mod codec;
pub(crate) mod snapshot;
