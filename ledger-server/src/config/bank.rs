//! What the server is told of the bank, of its patience with it, and of how it is known there.

use std::time::Duration;

use ledger_core::withdrawals::Policy;

use super::{Bank, DurabilityMode, Settings, SpanRange, at_least, span};
use crate::withdrawals::{BankAddress, BankToken, HttpBankOptions, Trust};

/// Which bank pays, and how it is spoken to.
#[derive(Clone, Debug)]
pub enum BankConfig {
    /// One in this process.
    Simulated(SimulatedBankConfig),
    /// One over HTTP.
    Http(HttpBankOptions),
}

/// How the simulated bank behaves.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SimulatedBankConfig {
    /// How often it pays at once.
    pub success_rate: f64,
    /// How often it refuses for good.
    pub rejected_rate: f64,
    /// How often it takes a payout and tells later.
    pub accepted_rate: f64,
    /// How often it pays and does not answer.
    pub ambiguous_paid_rate: f64,
    /// How often it neither pays nor answers.
    pub ambiguous_unpaid_rate: f64,
    /// How long it takes.
    pub latency: SpanRange,
    /// What its dice start from; `None`: anything.
    pub seed: Option<u64>,
}

impl BankConfig {
    /// The bank that `settings` name, each call of which takes at most `timeout`.
    pub(super) fn resolve(settings: &Settings, timeout: Duration, workers: usize) -> Result<BankConfig, String> {
        let bank = settings.bank.as_deref().map_or(Ok(Bank::Simulated), str::parse);
        match &bank.map_err(|fault| format!("bank: {fault}"))? {
            Bank::Simulated => {
                let for_http = [
                    ("bank-idempotency-window", settings.bank_idempotency_window.is_some()),
                    ("bank-token-file", settings.bank_token_file.is_some()),
                    ("bank-ca-file", settings.bank_ca_file.is_some()),
                ];
                match for_http.into_iter().find(|(_, is_given)| *is_given) {
                    Some((name, _)) => {
                        Err(format!("{name} is for a bank over HTTP; name one with --bank http://HOST:PORT"))
                    }
                    None => simulated(settings).map(BankConfig::Simulated),
                }
            }
            Bank::Http(address) => {
                if settings.durability == Some(DurabilityMode::Memory) {
                    return Err(format!(
                        "bank is {address} and durability is memory; a ledger that forgets what it sent would send it again: \
                         keep a log, or use --bank simulated"
                    ));
                }
                let for_simulated = [
                    ("bank-success-rate", settings.bank_success_rate.is_some()),
                    ("bank-rejected-rate", settings.bank_rejected_rate.is_some()),
                    ("bank-accepted-rate", settings.bank_accepted_rate.is_some()),
                    ("bank-ambiguous-paid-rate", settings.bank_ambiguous_paid_rate.is_some()),
                    ("bank-ambiguous-unpaid-rate", settings.bank_ambiguous_unpaid_rate.is_some()),
                    ("bank-latency", settings.bank_latency.is_some()),
                    ("bank-seed", settings.bank_seed.is_some()),
                ];
                match for_simulated.into_iter().find(|(_, is_given)| *is_given) {
                    Some((name, _)) => Err(format!(
                        "{name} is for the simulated bank, and bank is {address}; leave it out, or use --bank simulated"
                    )),
                    None => over_http(settings, address, timeout, workers).map(BankConfig::Http),
                }
            }
        }
    }
}

fn over_http(
    settings: &Settings,
    address: &BankAddress,
    timeout: Duration,
    workers: usize,
) -> Result<HttpBankOptions, String> {
    let named = |name: &'static str| move |fault: String| format!("{name}: {fault}");
    let token = settings.bank_token_file.as_deref().map(BankToken::from_file).transpose();
    let token = token.map_err(named("bank-token-file"))?;
    if token.is_some() && !address.is_secure() && !address.is_loopback() {
        return Err(format!("bank is {address}, where a token would be sent in the clear; use https"));
    }
    let trust = settings.bank_ca_file.as_deref().map(Trust::from_file).transpose();
    let trust = trust.map_err(named("bank-ca-file"))?;
    if trust.is_some() && !address.is_secure() {
        return Err(format!("bank-ca-file is given, and bank is {address}, which shows no certificate; use https"));
    }
    Ok(HttpBankOptions {
        address: address.clone(),
        token,
        trust: trust.unwrap_or_else(Trust::public),
        timeout,
        idempotency_window: settings.bank_idempotency_window.map(|window| window.0),
        connections: workers,
    })
}

fn simulated(settings: &Settings) -> Result<SimulatedBankConfig, String> {
    let rate = |name: &str, given: Option<f64>, default: f64| {
        let rate = given.unwrap_or(default);
        if (0.0..=1.0).contains(&rate) { Ok(rate) } else { Err(format!("{name} is {rate}; it must be from 0 to 1")) }
    };
    let bank = SimulatedBankConfig {
        success_rate: rate("bank-success-rate", settings.bank_success_rate, 0.7)?,
        rejected_rate: rate("bank-rejected-rate", settings.bank_rejected_rate, 0.0)?,
        accepted_rate: rate("bank-accepted-rate", settings.bank_accepted_rate, 0.0)?,
        ambiguous_paid_rate: rate("bank-ambiguous-paid-rate", settings.bank_ambiguous_paid_rate, 0.0)?,
        ambiguous_unpaid_rate: rate("bank-ambiguous-unpaid-rate", settings.bank_ambiguous_unpaid_rate, 0.0)?,
        latency: settings
            .bank_latency
            .unwrap_or(SpanRange { from: Duration::from_secs(1), to: Duration::from_secs(1) }),
        seed: settings.bank_seed,
    };
    let drawn_first = bank.rejected_rate + bank.accepted_rate + bank.ambiguous_paid_rate + bank.ambiguous_unpaid_rate;
    if drawn_first > 1.0 + 1e-9 {
        return Err(format!("the bank's rates other than that of success add up to {drawn_first}; at most 1 can be"));
    }
    Ok(bank)
}

/// How patient the ledger is; the bank's window is the gateway's to say.
pub(super) fn policy(settings: &Settings) -> Result<Policy, String> {
    let defaults = Policy::default();
    let or = |given: Option<super::Span>, default: Duration| given.map_or(default, |span| span.0);
    let least = Duration::from_millis(1);
    let policy = Policy {
        attempts_max: at_least("bank-attempts", settings.bank_attempts.unwrap_or(defaults.attempts_max), 1)?,
        backoff: at_least("bank-backoff", or(settings.bank_backoff, defaults.backoff), least)?,
        backoff_max: at_least("bank-backoff-max", or(settings.bank_backoff_max, defaults.backoff_max), least)?,
        settle_delay: at_least("bank-settle-delay", or(settings.bank_settle_delay, defaults.settle_delay), least)?,
        inquiry_interval: at_least(
            "bank-inquiry-interval",
            or(settings.bank_inquiry_interval, defaults.inquiry_interval),
            least,
        )?,
        deadline: at_least("bank-deadline", or(settings.bank_deadline, defaults.deadline), least)?,
        idempotency_window: None,
    };
    if policy.attempts_max > Policy::ATTEMPTS_MAX {
        return Err(format!(
            "bank-attempts is {}; it must be at most {}: choose a longer bank-backoff where they are to last",
            policy.attempts_max,
            Policy::ATTEMPTS_MAX
        ));
    }
    if policy.backoff > policy.backoff_max {
        return Err(format!(
            "bank-backoff is {:?} and bank-backoff-max is {:?}; the longest wait cannot be less than the first",
            policy.backoff, policy.backoff_max
        ));
    }
    Ok(policy)
}

/// The longest time of one call.
pub(super) fn timeout(settings: &Settings) -> Result<Duration, String> {
    at_least("bank-timeout", span(settings.bank_timeout, 30), Duration::from_millis(1))
}
