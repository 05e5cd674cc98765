//! What the executor counts, for those who watch it.

use std::sync::atomic::{AtomicU64, Ordering};

use ledger_core::withdrawals::{AttemptClass, InquiryAnswer};

/// Counts since the executor was started. They rise only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Attempts handed to the bank.
    pub attempts: u64,
    /// Outcomes of attempts by class, in the order of [`AttemptClass::ALL`].
    pub outcomes: [u64; AttemptClass::ALL.len()],
    /// Answers to inquiries, in the order of [`InquiryAnswer::ALL`].
    pub answers: [u64; InquiryAnswer::ALL.len()],
    /// Outcomes that the ledger did not take because the withdrawal was already elsewhere.
    pub refused: u64,
    /// Times that the log had no room, so that the executor waited.
    pub congestions: u64,
}

/// The counts themselves. Each stands alone and publishes nothing, so every ordering is relaxed.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    attempts: AtomicU64,
    outcomes: [AtomicU64; AttemptClass::ALL.len()],
    answers: [AtomicU64; InquiryAnswer::ALL.len()],
    refused: AtomicU64,
    congestions: AtomicU64,
}

impl Counters {
    pub(crate) fn attempt(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn outcome(&self, class: AttemptClass) {
        self.outcomes[class as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn answer(&self, answer: InquiryAnswer) {
        self.answers[answer as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn congestion(&self) {
        self.congestions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Figures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            attempts: read(&self.attempts),
            outcomes: self.outcomes.each_ref().map(read),
            answers: self.answers.each_ref().map(read),
            refused: read(&self.refused),
            congestions: read(&self.congestions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_in_the_order_of_their_indices() {
        assert!(AttemptClass::ALL.iter().enumerate().all(|(index, class)| *class as usize == index));
        assert!(InquiryAnswer::ALL.iter().enumerate().all(|(index, answer)| *answer as usize == index));
    }
}
