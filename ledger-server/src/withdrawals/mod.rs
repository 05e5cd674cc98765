//! Payouts on their way to a bank: the bank as a trait ([`Gateway`]), one that is simulated in process
//! ([`SimulatedBank`]), one that is spoken to over HTTP ([`HttpBank`]), and the [`Executor`] that drives the ledger's open
//! withdrawals against any of them.

mod chosen;
mod draw;
mod executor;
mod figures;
mod gateway;
mod http;
mod shares;
mod signature;
mod simulated;

pub use chosen::ChosenBank;
pub(crate) use draw::Draw;
pub use executor::{Executor, ExecutorOptions};
pub use figures::Figures;
pub use gateway::{Gateway, Payout};
pub(crate) use http::Transport;
pub use http::{BankAddress, BankToken, HttpBank, HttpBankOptions, Trust};
pub use signature::{BadSignature, NoticeSecret, SIGNATURE_HEADER};
pub use simulated::{BankRecord, BankState, Latency, SimulatedBank, SimulatedBankOptions};
