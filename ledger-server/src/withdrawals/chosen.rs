//! The bank that the server was told to use: one of those that come with it.

use std::time::Duration;

use ledger_core::withdrawals::{Inquiry, Submission};

use super::gateway::{Gateway, Payout};
use super::http::HttpBank;
use super::simulated::SimulatedBank;

/// One of the gateways that come with the server.
#[derive(Debug)]
#[cfg_attr(
    feature = "console",
    expect(
        clippy::large_enum_variant,
        reason = "hyper's client is larger with what the console needs of it; there is one"
    )
)]
pub enum ChosenBank {
    /// In this process.
    Simulated(SimulatedBank),
    /// Over HTTP.
    Http(HttpBank),
}

impl Gateway for ChosenBank {
    async fn submit(&self, payout: &Payout) -> Submission {
        match self {
            ChosenBank::Simulated(bank) => bank.submit(payout).await,
            ChosenBank::Http(bank) => bank.submit(payout).await,
        }
    }

    async fn inquire(&self, payout: &Payout) -> Inquiry {
        match self {
            ChosenBank::Simulated(bank) => bank.inquire(payout).await,
            ChosenBank::Http(bank) => bank.inquire(payout).await,
        }
    }

    fn idempotency_window(&self) -> Option<Duration> {
        match self {
            ChosenBank::Simulated(bank) => bank.idempotency_window(),
            ChosenBank::Http(bank) => bank.idempotency_window(),
        }
    }
}
