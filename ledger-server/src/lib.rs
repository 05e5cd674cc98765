//! The ledger over HTTP.
#![forbid(unsafe_code)]

pub mod withdrawals;
