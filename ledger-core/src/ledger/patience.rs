//! Which policy a withdrawal is decided by.
//!
//! A bank recognises a repeat for so long after the first attempt. Where nobody can tell how long ago that was, the window
//! counts as closed: a repeat too late would be a second payment.

use crate::types::Timestamp;
use crate::withdrawals::{Policy, Withdrawal};

/// The policy, and the same without an idempotency window.
pub(crate) struct Patience {
    policy: Policy,
    windowless: Policy,
    /// Attempts up to this time were made by an earlier opening, and the clock was set back since: how long ago is unknown.
    doubtful_until: Option<Timestamp>,
}

impl Patience {
    pub(super) fn new(policy: Policy) -> Patience {
        let windowless = Policy { idempotency_window: None, ..policy.clone() };
        Patience { policy, windowless, doubtful_until: None }
    }

    /// The clock is behind the log's last entry, at `last`.
    pub(super) fn doubt_until(&mut self, last: Timestamp) {
        self.doubtful_until = Some(last);
    }

    /// The policy for `withdrawal`. `leapt`: the wall clock is ahead and not believed, so more time may have passed than
    /// the ledger counts, as when the machine slept.
    pub(super) fn of(&self, withdrawal: &Withdrawal, leapt: bool) -> &Policy {
        let is_doubtful = withdrawal.first_attempt_at.is_some_and(|first| self.doubtful_until >= Some(first));
        if leapt || is_doubtful { &self.windowless } else { &self.policy }
    }
}
