//! JSON in and out, by hand: what a client may say, read strictly, and what it is answered.
//!
//! The types of the wire are not the ledger's: a change of JSON cannot move the disk format. Bodies are scanned once,
//! without a tree and without copies; a request with anything in it that nobody named is refused, so that a misspelt
//! `release_at` can never release money early.

pub(crate) mod asked;
pub(crate) mod body;
pub(crate) mod cursor;
pub(crate) mod fields;
pub(crate) mod interventions;
pub(crate) mod json;
pub(crate) mod key;
pub(crate) mod metadata;
pub(crate) mod operation;
pub(crate) mod query;
pub(crate) mod reply;
pub(crate) mod scan;
pub(crate) mod statement;
pub(crate) mod time;
pub(crate) mod views;
pub(crate) mod withdrawals;
