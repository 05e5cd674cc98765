//! What the ledger has promised so far: which entries must survive what.

use std::fmt;

use ledger_core::Durability;

/// What must not have happened, and by which check it was seen.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) check: &'static str,
    pub(crate) why: String,
}

pub(crate) type Checked<T = ()> = Result<T, Violation>;

impl Violation {
    pub(crate) fn new(check: &'static str, why: impl Into<String>) -> Violation {
        Violation { check, why: why.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.why)
    }
}

/// Names the check that a comparison belongs to.
pub(crate) trait Sees<T> {
    fn sees(self, check: &'static str) -> Checked<T>;
}

impl<T> Sees<T> for Result<T, String> {
    fn sees(self, check: &'static str) -> Checked<T> {
        self.map_err(|why| Violation { check, why })
    }
}

/// How far the answers that have left bind the ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promise {
    durability: Durability,
    /// The last entry that any answer rested on.
    acknowledged: u64,
    /// The last entry that was said to be synced.
    durable: u64,
}

impl Promise {
    pub(crate) fn new(durability: Durability) -> Promise {
        Promise { durability, acknowledged: 0, durable: 0 }
    }

    /// An answer left that rested on entry `seq`, and the ledger said that `durable` was synced.
    pub(crate) fn answered(&mut self, seq: u64, durable: u64) {
        self.acknowledged = self.acknowledged.max(seq);
        self.synced(durable);
    }

    pub(crate) fn synced(&mut self, durable: u64) {
        self.durable = self.durable.max(durable);
    }

    /// All up to here must be there after the process was killed.
    pub(crate) fn after_kill(&self) -> u64 {
        self.acknowledged.max(self.durable)
    }

    /// All up to here must be there after a power cut.
    pub(crate) fn after_power_cut(&self) -> u64 {
        match self.durability {
            Durability::Sync => self.after_kill(),
            Durability::Interval(_) => self.durable,
        }
    }

    /// A recovery found the entries up to `seq`, and made them durable.
    pub(crate) fn recovered(&mut self, seq: u64) {
        (self.acknowledged, self.durable) = (seq, seq);
    }
}
