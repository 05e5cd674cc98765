//! Positions in the journal.

use std::fmt;

/// An entry's position in the journal: dense, rising by one, the first is 1. Zero stands before every entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Seq(u64);

impl Seq {
    /// The position before the first entry.
    pub const ZERO: Seq = Seq(0);

    /// The position `seq`.
    pub const fn new(seq: u64) -> Seq {
        Seq(seq)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which opening of the ledger wrote an entry: raised at each opening, never falls, may skip.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch `epoch`.
    pub const fn new(epoch: u64) -> Epoch {
        Epoch(epoch)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A transaction's name: the seq of its first entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TransactionId(Seq);

impl TransactionId {
    /// `None` for zero, which stands before every entry.
    pub const fn new(id: u64) -> Option<TransactionId> {
        if id == 0 { None } else { Some(TransactionId(Seq(id))) }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }

    /// The seq of the transaction's first entry.
    pub const fn seq(self) -> Seq {
        self.0
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
