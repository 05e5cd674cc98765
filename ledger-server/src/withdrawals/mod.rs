//! Payouts on their way to a bank: the bank as a trait ([`Gateway`]), one that is simulated in process
//! ([`SimulatedBank`]), and the [`Executor`] that drives the ledger's open withdrawals against either.

mod executor;
mod figures;
mod gateway;
mod shares;
mod signature;
mod simulated;

pub use executor::{Executor, ExecutorOptions};
pub use figures::Figures;
pub use gateway::{Gateway, Payout};
pub use signature::{BadSignature, NoticeSecret, SIGNATURE_HEADER};
pub use simulated::{BankRecord, BankState, Latency, SimulatedBank, SimulatedBankOptions};
