//! How patient the ledger is with a bank.

use std::time::Duration;

/// How withdrawals are repeated, inquired and given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// How many attempts a withdrawal has, 1 ..= [`Policy::ATTEMPTS_MAX`]; an opening refuses others, 0 too
    /// ([`crate::OpenError::InvalidOption`]). Default 4.
    pub attempts_max: u32,
    /// How long after the first attempt that was not sent the second one comes; doubled for each one more, ± 20 %.
    /// Default 1 s.
    pub backoff: Duration,
    /// The longest wait between attempts. Default 60 s.
    pub backoff_max: Duration,
    /// How long after an ambiguous or accepted attempt the bank is first asked. Default 5 s.
    pub settle_delay: Duration,
    /// How long between two inquiries; doubled each time up to `backoff_max`, ± 20 %. Default 5 s.
    pub inquiry_interval: Duration,
    /// How long after its first attempt a withdrawal whose fate is unknown goes to review. Default 24 h.
    pub deadline: Duration,
    /// For how long after the first attempt the bank recognises a repeat of a reference; `None`: it does not, and an
    /// ambiguous attempt is never repeated. It must leave room for the longest time that a request can be under way, so
    /// that a repeat that was sent while it was open cannot arrive when it is closed. Default `None`.
    pub idempotency_window: Option<Duration>,
}

impl Policy {
    /// The most attempts that a withdrawal can have: each keeps up to a kibibyte of what the bank said, and a withdrawal has to
    /// fit into a block of a snapshot, which has at most a mebibyte.
    pub const ATTEMPTS_MAX: u32 = 512;
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            attempts_max: 4,
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            settle_delay: Duration::from_secs(5),
            inquiry_interval: Duration::from_secs(5),
            deadline: Duration::from_secs(24 * 3600),
            idempotency_window: None,
        }
    }
}
