//! The ledger's behaviour, through its public API alone: what it answers, what it keeps, and what survives.
//!
//! [`model`] is a second ledger, written without care for speed, that shares no code with the engine; [`pair`] drives
//! both and compares every answer. [`property`] lets chance write the commands, [`story`] people, [`crash`] pulls the
//! plug at every storage operation (and [`liar`] shows that it would notice), [`payouts`] does so with all that can happen
//! to one withdrawal, [`concurrent`] checks recorded histories of many threads, [`room`] that who waits for the log keeps
//! nobody waiting, [`format`] pins the bytes on disk, and [`house`] the rules of the source itself.
#![allow(missing_docs, reason = "tests are named by sentences and documented by their modules")]

mod backup;
mod concurrent;
mod crash;
mod descriptors;
mod engine;
mod format;
mod gaps;
mod golden;
mod house;
mod kept_log;
mod liar;
mod mirror;
mod model;
mod pair;
mod payouts;
mod property;
mod retired;
mod room;
mod salvage;
mod snapshot;
mod stage;
mod story;
