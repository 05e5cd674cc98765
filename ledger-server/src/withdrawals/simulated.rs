//! A bank in process, for demonstrations and tests: seeded, with every outcome that a bank can have at a rate of its
//! own, and with books of its own, so that inquiries are answered truthfully and both books can be compared.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ledger_core::withdrawals::{AttemptClass, BankReference, Inquiry, InquiryAnswer, Submission};
use ledger_core::{Amount, Currency};
use tokio::time::Instant;

use super::draw::Draw;
use super::gateway::{Gateway, Payout};

/// How long before its window closes the bank stops promising to recognise a repeat: room for a request under way.
const WINDOW_MARGIN: Duration = Duration::from_secs(60);

/// How the simulated bank behaves. The four special rates are drawn first, together; of what is left, `success_rate` is
/// paid and the rest is not sent.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SimulatedBankOptions {
    /// Equal seeds behave equally for equal transaction ids and attempts, whatever the order of the calls.
    pub seed: u64,
    /// Of the attempts that have no special outcome, the part that is paid. Default 0.7.
    pub success_rate: f64,
    /// Definite refusals. Default 0, as for all special rates.
    pub rejected_rate: f64,
    /// Taken, and paid only after `settles_after`.
    pub accepted_rate: f64,
    /// Paid, but the answer is lost.
    pub ambiguous_paid_rate: f64,
    /// Lost on the way, so that nobody can tell.
    pub ambiguous_unpaid_rate: f64,
    /// How long an answer takes. Default 1 s.
    pub latency: Latency,
    /// How long an accepted payout takes to be paid. Default 3 s.
    pub settles_after: Duration,
    /// For how long it recognises a repeat of a reference, and a minute less is promised. `None`: it pays again. Default
    /// 25 h, an hour more than the ledger's patience.
    pub idempotency_window: Option<Duration>,
}

impl Default for SimulatedBankOptions {
    fn default() -> SimulatedBankOptions {
        SimulatedBankOptions {
            seed: 0,
            success_rate: 0.7,
            rejected_rate: 0.0,
            accepted_rate: 0.0,
            ambiguous_paid_rate: 0.0,
            ambiguous_unpaid_rate: 0.0,
            latency: Latency::exactly(Duration::from_secs(1)),
            settles_after: Duration::from_secs(3),
            idempotency_window: Some(Duration::from_secs(25 * 3600)),
        }
    }
}

/// How long an answer takes: between these two, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latency {
    min: Duration,
    max: Duration,
}

impl Latency {
    /// Always so long.
    pub const fn exactly(duration: Duration) -> Latency {
        Latency { min: duration, max: duration }
    }

    /// `None` if `max` is less than `min`.
    pub fn between(min: Duration, max: Duration) -> Option<Latency> {
        (min <= max).then_some(Latency { min, max })
    }

    /// The longest.
    pub const fn max(self) -> Duration {
        self.max
    }

    /// The point at `fraction` (0 to 1) of the range.
    fn at(self, fraction: f64) -> Duration {
        self.min + (self.max - self.min).mul_f64(fraction)
    }
}

/// What became of a reference in the bank's book.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BankState {
    /// Taken; it will be paid at this time.
    Pending(Instant),
    /// Paid.
    Paid,
    /// Definitely refused.
    Refused,
}

/// One line of the bank's book.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BankRecord {
    /// The ledger's reference.
    pub reference: BankReference,
    /// In which currency.
    pub currency: Currency,
    /// How much was paid each time.
    pub amount: Amount,
    /// What became of it.
    pub state: BankState,
    /// How often money left for it: more than once is a double payment.
    pub payments: u32,
    /// How often the ledger sent it and the bank heard it.
    pub heard: u32,
    first_heard: Instant,
}

/// The bank. It acts on a request when that arrives, before its answer sets out: a caller that gives up waiting may have
/// been paid for.
#[derive(Debug)]
pub struct SimulatedBank {
    options: SimulatedBankOptions,
    book: Mutex<HashMap<BankReference, BankRecord>>,
}

impl SimulatedBank {
    /// # Errors
    /// A rate outside 0 to 1, or special rates that sum to more than 1.
    pub fn new(options: SimulatedBankOptions) -> Result<SimulatedBank, String> {
        let special = [
            ("rejected", options.rejected_rate),
            ("accepted", options.accepted_rate),
            ("ambiguous-paid", options.ambiguous_paid_rate),
            ("ambiguous-unpaid", options.ambiguous_unpaid_rate),
        ];
        for (name, rate) in special.into_iter().chain([("success", options.success_rate)]) {
            if !(0.0..=1.0).contains(&rate) {
                return Err(format!("the bank's {name} rate is {rate}; it must be between 0 and 1"));
            }
        }
        let sum: f64 = special.iter().map(|(_, rate)| rate).sum();
        // Decimal rates that sum to 1 on paper may sum to a little more in binary.
        if sum > 1.0 + 1e-9 {
            return Err(format!(
                "the bank's rejected, accepted and ambiguous rates sum to {sum}; they must not exceed 1"
            ));
        }
        Ok(SimulatedBank { options, book: Mutex::default() })
    }

    /// Its book, by transaction id.
    pub fn records(&self) -> Vec<BankRecord> {
        let now = Instant::now();
        let mut records: Vec<_> = self
            .book()
            .values_mut()
            .map(|record| {
                record.settle(now);
                *record
            })
            .collect();
        records.sort_by_key(|record| (record.reference.id, record.reference.epoch));
        records
    }

    fn book(&self) -> MutexGuard<'_, HashMap<BankReference, BankRecord>> {
        // Every change to the book is one assignment, so a panic elsewhere leaves it whole.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the bank does when the request arrives.
    fn act(&self, payout: &Payout, draw: &mut Draw) -> (AttemptClass, &'static str) {
        let now = Instant::now();
        let mut book = self.book();
        if let Some(record) = book.get_mut(&payout.reference) {
            record.settle(now);
            record.heard += 1;
            let is_recognised = self.options.idempotency_window.is_some_and(|w| now < record.first_heard + w);
            if is_recognised {
                return match record.state {
                    BankState::Paid => (AttemptClass::Settled, "a repeat: paid before"),
                    BankState::Pending(_) => (AttemptClass::Accepted, "a repeat: under way"),
                    BankState::Refused => (AttemptClass::Rejected, "a repeat: refused before"),
                };
            }
        }
        let (class, words, state) = self.outcome(now, draw);
        if let Some(state) = state {
            let record = book.entry(payout.reference).or_insert(BankRecord {
                reference: payout.reference,
                currency: payout.currency,
                amount: payout.amount,
                state,
                payments: 0,
                heard: 1,
                first_heard: now,
            });
            record.state = state;
            record.payments += u32::from(state == BankState::Paid);
        }
        (class, words)
    }

    /// A new request's outcome, what the bank says, and what it writes into its book.
    fn outcome(&self, now: Instant, draw: &mut Draw) -> (AttemptClass, &'static str, Option<BankState>) {
        let options = &self.options;
        let special = draw.fraction();
        let mut bound = 0.0;
        let mut falls_below = |rate: f64| {
            bound += rate;
            special < bound
        };
        if falls_below(options.rejected_rate) {
            (AttemptClass::Rejected, "the destination's bank refuses", Some(BankState::Refused))
        } else if falls_below(options.accepted_rate) {
            let state = BankState::Pending(now + options.settles_after);
            (AttemptClass::Accepted, "taken, to be paid later", Some(state))
        } else if falls_below(options.ambiguous_paid_rate) {
            (AttemptClass::Ambiguous, "the connection was reset", Some(BankState::Paid))
        } else if falls_below(options.ambiguous_unpaid_rate) {
            (AttemptClass::Ambiguous, "the connection was reset", None)
        } else if draw.fraction() < options.success_rate {
            (AttemptClass::Settled, "paid", Some(BankState::Paid))
        } else {
            (AttemptClass::NotSent, "not executed, try again", None)
        }
    }
}

impl BankRecord {
    fn settle(&mut self, now: Instant) {
        if let BankState::Pending(due) = self.state
            && due <= now
        {
            self.state = BankState::Paid;
            self.payments += 1;
        }
    }
}

impl Gateway for SimulatedBank {
    async fn submit(&self, payout: &Payout) -> Submission {
        let mut draw = Draw::new(self.options.seed, payout.reference.id.get(), payout.attempt);
        let latency = self.options.latency.at(draw.fraction());
        let (class, words) = self.act(payout, &mut draw);
        wait(latency).await;
        Submission { class, evidence: words.to_owned() }
    }

    async fn inquire(&self, payout: &Payout) -> Inquiry {
        let now = Instant::now();
        let answer = match self.book().get_mut(&payout.reference) {
            None => InquiryAnswer::NotFound,
            Some(record) => {
                record.settle(now);
                match record.state {
                    BankState::Paid => InquiryAnswer::Settled,
                    BankState::Pending(_) => InquiryAnswer::Pending,
                    BankState::Refused => InquiryAnswer::Failed,
                }
            }
        };
        wait(self.options.latency.min).await;
        Inquiry { answer, evidence: format!("the book says {answer}") }
    }

    fn idempotency_window(&self) -> Option<Duration> {
        self.options.idempotency_window.map(|window| window.saturating_sub(WINDOW_MARGIN))
    }
}

/// Waits as long as the bank's answer takes; the runtime's timer would turn none into a millisecond.
async fn wait(latency: Duration) {
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
}

#[cfg(test)]
mod tests;
