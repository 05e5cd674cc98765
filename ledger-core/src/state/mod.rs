//! The deterministic state: no I/O, no clock, no randomness, no threads. The same entries in the same order give the
//! same state.

pub(crate) mod arena;
pub(crate) mod history;
pub(crate) mod holds;
pub(crate) mod idempotency;
pub(crate) mod locator;
pub(crate) mod slots;
