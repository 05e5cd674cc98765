//! The ledger over HTTP: a thin server around [`ledger_core`].
//!
//! [`run`] serves an open ledger on a listener until it is told to stop. Everything else is how a request is read
//! (`wire`), answered (`routes`, [`error`]), counted ([`metrics`]) and carried ([`serve`]), and how the program is
//! told what to do ([`config`]). The server decides nothing about money: what is accepted and what is refused, beyond the
//! form of a request, is the ledger's answer.
#![forbid(unsafe_code)]

pub mod app;
pub mod archive;
pub mod bank;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
pub mod config;
pub mod copies;
pub mod error;
pub mod files;
pub mod inspect;
pub mod metrics;
pub mod payouts;
pub mod progress;
pub mod remedy;
pub mod route;
pub mod salvage;
pub mod serve;
pub mod signing;
pub mod telemetry;
pub mod verify;
pub mod withdrawals;

mod checkpoints;
mod memory;
mod openapi;
mod origin;
mod reconciliation;
mod routes;
mod run;
mod watch;
mod wire;

pub use origin::Origin;
pub use run::{Ended, StartError, exit_code, open, open_unless, run};
pub use wire::operation::Terms;
